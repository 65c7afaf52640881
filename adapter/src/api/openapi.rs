//! The API's description: OpenAPI 3.1, generated from the handlers.

use axum::Router;
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

/// The document at `/api/openapi.json`, and pages that show it at `/api/docs`.
pub(super) fn router(document: Document) -> Router<App> {
    SwaggerUi::new("/api/docs")
        .url("/api/openapi.json", document)
        .into()
}
