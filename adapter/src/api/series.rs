//! Figures over time, for charts.

use std::collections::BTreeMap;

use andon::{CampaignId, ServiceName};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::Query;
use super::problem::Failure;
use super::queue_management::read_instant;
use super::shapes::time;
use crate::line::series::{self, Asked, CallPoint, JobPoint, POINTS_MAX, Span};
use crate::store::SampleOf;
use crate::wire::{Envelope, time as times};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(jobs))
        .routes(routes!(calls))
}

/// The query of `GET /series/jobs`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JobSeriesQuery {
    /// Only this campaign's jobs; the whole line's if left out.
    #[param(value_type = Option<String>)]
    campaign_id: Option<CampaignId>,
    /// From this time on, at most 14 days before `until`; the last hour if left out.
    since: Option<DateTime<Utc>>,
    /// Up to this time; now if left out.
    until: Option<DateTime<Utc>>,
}

/// The query of `GET /series/calls`.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CallSeriesQuery {
    /// The service.
    #[param(value_type = String)]
    service: ServiceName,
    /// From this time on, at most 14 days before `until`; the last hour if left out.
    since: Option<DateTime<Utc>>,
    /// Up to this time; now if left out.
    until: Option<DateTime<Utc>>,
}

/// Jobs by status over time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobSeriesView {
    /// When the first step begins.
    #[serde(serialize_with = "times::micros")]
    pub since: DateTime<Utc>,
    /// When the series ends.
    #[serde(serialize_with = "times::micros")]
    pub until: DateTime<Utc>,
    /// How far apart points are. Where the next one is farther away, no server was running: nothing is
    /// known in between.
    pub step_seconds: u64,
    /// At most 720, the oldest first.
    pub points: Vec<JobPointView>,
}

/// The jobs as they were last shown in one step.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobPointView {
    /// When the step begins.
    #[serde(serialize_with = "times::micros")]
    pub at: DateTime<Utc>,
    /// Jobs by status. Every status is present.
    pub job_counts: BTreeMap<&'static str, u64>,
    /// Jobs whose lease was held.
    pub in_flight: u64,
    /// Whether the queue, or the campaign, was PAUSED.
    pub paused: bool,
}

impl From<&JobPoint> for JobPointView {
    fn from(point: &JobPoint) -> Self {
        let counts = point.jobs.iter();
        Self {
            at: time(point.at),
            job_counts: counts.map(|(status, n)| (status.as_str(), *n)).collect(),
            in_flight: point.in_flight,
            paused: point.is_paused,
        }
    }
}

/// Calls of a service over time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CallSeriesView {
    /// The service.
    pub service: String,
    /// When the first step begins.
    #[serde(serialize_with = "times::micros")]
    pub since: DateTime<Utc>,
    /// When the series ends.
    #[serde(serialize_with = "times::micros")]
    pub until: DateTime<Utc>,
    /// How far apart points are. Where the next one is farther away, no server was running: nothing is
    /// known in between.
    pub step_seconds: u64,
    /// At most 720, the oldest first.
    pub points: Vec<CallPointView>,
}

/// The calls that were reported in one step.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CallPointView {
    /// When the step begins.
    #[serde(serialize_with = "times::micros")]
    pub at: DateTime<Utc>,
    /// Reported as a success.
    pub succeeded: u64,
    /// Reported as a service error.
    pub failed: u64,
}

impl From<&CallPoint> for CallPointView {
    fn from(point: &CallPoint) -> Self {
        Self {
            at: time(point.at),
            succeeded: point.succeeded,
            failed: point.failed,
        }
    }
}

fn asked(since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Result<Asked, Failure> {
    Ok(Asked {
        since: read_instant("since", since)?,
        until: read_instant("until", until)?,
        points_max: POINTS_MAX,
    })
}

fn step_seconds(span: Span) -> u64 {
    span.step.as_secs()
}

/// Jobs by status over time, of the line or of a campaign: the newest hour every 10 seconds, two weeks
/// every 5 minutes or less often. A campaign is looked at from its start on.
#[utoipa::path(get, path = "/series/jobs", tag = "queue management", params(JobSeriesQuery),
    responses((status = 200, body = Envelope<JobSeriesView>)))]
async fn jobs(
    State(app): State<App>,
    Query(query): Query<JobSeriesQuery>,
) -> Result<Json<Envelope<JobSeriesView>>, Failure> {
    let asked = asked(query.since, query.until)?;
    let of = query.campaign_id.map_or(SampleOf::Line, SampleOf::Campaign);
    let series = app
        .line
        .query(move |tx| Box::pin(series::jobs(tx, of, asked)))
        .await?;
    Ok(Json(Envelope::new(JobSeriesView {
        since: time(series.span.since),
        until: time(series.span.until),
        step_seconds: step_seconds(series.span),
        points: series.points.iter().map(JobPointView::from).collect(),
    })))
}

/// Calls of a service over time, as workers reported them, by minute or less often. Each call counts once.
/// A server that is killed loses what was reported to it in its last second or two.
#[utoipa::path(get, path = "/series/calls", tag = "queue management", params(CallSeriesQuery),
    responses((status = 200, body = Envelope<CallSeriesView>)))]
async fn calls(
    State(app): State<App>,
    Query(query): Query<CallSeriesQuery>,
) -> Result<Json<Envelope<CallSeriesView>>, Failure> {
    let asked = asked(query.since, query.until)?;
    let service = query.service.clone();
    let series = app
        .line
        .query(move |tx| Box::pin(async move { series::calls(tx, &service, asked).await }))
        .await?;
    Ok(Json(Envelope::new(CallSeriesView {
        service: query.service.to_string(),
        since: time(series.span.since),
        until: time(series.span.until),
        step_seconds: step_seconds(series.span),
        points: series.points.iter().map(CallPointView::from).collect(),
    })))
}
