//! Whether the process lives, and whether it can serve.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Failure;
use super::{App, metrics};
use crate::line;
use crate::store::Program;
use crate::wire::Envelope;

/// That it is well.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Health {
    /// In a word.
    pub state: &'static str,
}

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(scrape))
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "operations",
    responses((status = 200, body = Envelope<Health>)))]
async fn live() -> Json<Envelope<Health>> {
    Json(Envelope::new(Health { state: "live" }))
}

/// The store is reached, and its schema is this program's, or one that a newer program has only added to.
/// A paused line is healthy.
#[utoipa::path(get, path = "/health/ready", tag = "operations",
    responses((status = 200, body = Envelope<Health>)))]
async fn ready(State(app): State<App>) -> Result<Json<Envelope<Health>>, Failure> {
    app.line
        .store()
        .check_schema(Program::Serving)
        .await
        .map_err(line::Error::from)?;
    Ok(Json(Envelope::new(Health { state: "ready" })))
}

/// Figures in Prometheus' text format, computed from the stored rows of this moment.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, body = String)))]
async fn scrape(State(app): State<App>) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let text = metrics::text(&app.line, &app.webhooks).await;
    (
        StatusCode::OK,
        [("content-type", "text/plain; version=0.0.4")],
        text,
    )
}
