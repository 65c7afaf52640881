//! The API's description: OpenAPI 3.1, generated from the handlers.

use axum::{Json, Router, routing::get};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_swagger_ui::SwaggerUi;

use super::App;

#[derive(OpenApi)]
#[openapi(info(
    title = "andon",
    description = "The andon cord for lines of jobs. Every error is an RFC 9457 problem with a stable \
                   `code`; every POST takes an `Idempotency-Key`; only *resume queue* resumes."
))]
struct Base;

pub(super) fn base() -> Document {
    Base::openapi()
}

pub(super) fn router(document: Document) -> Router<App> {
    let served = document.clone();
    Router::new()
        .route("/api/openapi.json", get(async move || Json(served.clone())))
        .merge(SwaggerUi::new("/api/docs").external_url_unchecked(
            "/api/openapi.json",
            serde_json::to_value(&document).unwrap_or_default(),
        ))
}
