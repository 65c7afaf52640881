//! The control paths: faults and the call log over HTTP.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::calls;
use super::fault::Fault;
use super::log::CallRecord;
use super::service::{Service, UnknownService};
use super::state::{Inner, Shared};

/// All routes of the server.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/control/faults", get(faults).delete(faults_clear))
        .route(
            "/control/faults/{service}",
            put(fault_set).get(fault).delete(fault_clear),
        )
        .route("/control/calls", get(log).delete(log_clear))
        .route(
            "/control/calls/{service}",
            get(service_log).delete(service_log_clear),
        )
        .fallback(calls::call)
        .with_state(shared)
}

impl IntoResponse for UnknownService {
    fn into_response(self) -> Response {
        problem(StatusCode::NOT_FOUND, &self.to_string())
    }
}

/// An error of the server itself, not of a service it plays.
pub(super) fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.lock().faults.all()).into_response()
}

async fn fault(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response, UnknownService> {
    let service = name.parse()?;
    Ok(Json(shared.lock().faults.all().of(service)).into_response())
}

async fn fault_set(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, UnknownService> {
    let service = name.parse()?;
    let fault: Fault = match serde_json::from_slice(&body) {
        Ok(fault) => fault,
        Err(error) => {
            let reason = format!("not a fault: {error}");
            return Ok(problem(StatusCode::UNPROCESSABLE_ENTITY, &reason));
        }
    };
    let mut inner = shared.lock();
    inner.faults.set(service, Some(fault));
    Ok(Json(inner.faults.all().of(service)).into_response())
}

async fn fault_clear(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<StatusCode, UnknownService> {
    shared.lock().faults.set(name.parse()?, None);
    Ok(StatusCode::NO_CONTENT)
}

async fn faults_clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    let mut inner = shared.lock();
    for service in Service::ALL {
        inner.faults.set(service, None);
    }
    StatusCode::NO_CONTENT
}

async fn log(State(shared): State<Arc<Shared>>) -> Response {
    let inner = shared.lock();
    page(&inner, &Service::ALL)
}

async fn service_log(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response, UnknownService> {
    let service = name.parse()?;
    Ok(page(&shared.lock(), &[service]))
}

async fn log_clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.lock().log.clear_all();
    StatusCode::NO_CONTENT
}

async fn service_log_clear(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<StatusCode, UnknownService> {
    shared.lock().log.clear(name.parse()?);
    Ok(StatusCode::NO_CONTENT)
}

fn page(inner: &Inner, services: &[Service]) -> Response {
    let of_these = |record: &&CallRecord| services.contains(&record.service);
    let calls: Vec<&CallRecord> = inner.log.records().iter().filter(of_these).collect();
    let totals: serde_json::Map<String, Value> = services
        .iter()
        .map(|&service| (service.name().to_owned(), json!(inner.log.totals(service))))
        .collect();
    Json(json!({
        "now_us": inner.log.now_us(),
        "dropped": inner.log.dropped(),
        "totals": totals,
        "calls": calls,
    }))
    .into_response()
}
