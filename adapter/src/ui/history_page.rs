//! The journal, filtered by the address (R31).

use andon::{CampaignId, ServiceName};
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Deserialize;

use super::campaign_pages::{address, unless_empty};
use super::html;
use super::page::{Frame, Room, Visit};
use super::timeline::{self, Timeline};
use crate::api::App;
use crate::api::extract::{Query, invalid};
use crate::api::problem::Failure;
use crate::api::queue_management::{read_instant, read_kinds};
use crate::store::JournalFilter;

/// How many entries are on a page.
const PER_PAGE: u32 = 50;

/// What is asked for most, and the kinds that it is.
const USUAL: [(&str, &str); 4] = [
    (
        "pauses and resumes",
        "queue_paused,queue_paused_again,stop_acknowledged,queue_resumed,resume_refused",
    ),
    (
        "breakers",
        "breaker_opened,breaker_reopened,breaker_held,breaker_half_opened,breaker_closed,breaker_reset,reset_refused",
    ),
    (
        "campaigns",
        "campaign_created,campaign_started,campaign_paused,campaign_paused_again,campaign_kept,campaign_closed,campaign_cancelled,campaign_settled,campaign_reopened,campaign_deleted",
    ),
    (
        "jobs",
        "job_paused,job_paused_again,job_cancelled,job_retried,job_lease_expired",
    ),
];

/// The fields of the form, as a browser sends them: what is left empty is none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryFields {
    kind: Option<String>,
    service: Option<String>,
    campaign: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<i64>,
}

struct UsualShown {
    name: &'static str,
    kinds: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage {
    frame: Frame,
    usual: Vec<UsualShown>,
    /// Kinds that are none of the usual choices.
    other: Option<String>,
    service: String,
    campaign: String,
    since: String,
    until: String,
    timeline: Timeline,
    first: Option<String>,
    next: Option<String>,
}

/// An instant as a browser's field gives it, in UTC, or as the API does.
fn instant(path: &str, text: &str) -> Result<DateTime<Utc>, Failure> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|at| at.and_utc())
        .ok_or_else(|| invalid(path, "must be a day and a time, such as 2026-01-31T12:00"))
}

impl HistoryFields {
    /// Without what was left empty.
    fn cleaned(self) -> Self {
        Self {
            kind: unless_empty(self.kind),
            service: unless_empty(self.service),
            campaign: unless_empty(self.campaign),
            since: unless_empty(self.since),
            until: unless_empty(self.until),
            after: self.after,
        }
    }

    fn filter(&self) -> Result<JournalFilter, Failure> {
        let time = |path, text: Option<&str>| {
            let at = text.map(|text| instant(path, text)).transpose()?;
            read_instant(path, at)
        };
        let service = self.service.clone().map(ServiceName::new).transpose();
        let campaign = self.campaign.as_deref().map(|id| id.trim().parse());
        let campaign: Option<CampaignId> = campaign
            .transpose()
            .map_err(|_| invalid("campaign", "must be a campaign's identifier"))?;
        Ok(JournalFilter {
            before_seq: self.after,
            kinds: read_kinds(self.kind.as_deref().unwrap_or_default())?,
            service: service.map_err(|error| invalid("service", error.to_string()))?,
            campaign,
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            limit: PER_PAGE + 1,
            ..JournalFilter::default()
        })
    }

    /// The address of these entries from there on.
    fn address(&self, after: Option<&str>) -> String {
        let fields = [
            ("kind", self.kind.as_deref()),
            ("service", self.service.as_deref()),
            ("campaign", self.campaign.as_deref()),
            ("since", self.since.as_deref()),
            ("until", self.until.as_deref()),
            ("after", after),
        ];
        address("/history", &fields)
    }
}

/// `GET /history`.
pub(super) async fn history(
    State(app): State<App>,
    visit: Visit,
    Query(fields): Query<HistoryFields>,
) -> Result<Response, Failure> {
    let fields = fields.cleaned();
    let filter = fields.filter()?;
    let (frame, timeline, last) = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let gate = tx.gate().await?;
                let frame = Frame::read(tx, &visit, &gate, Room::History).await?;
                let mut rows = tx.journal(&filter).await?;
                let is_more = rows.len() > PER_PAGE as usize;
                rows.truncate(PER_PAGE as usize);
                let last = rows.last().map(|row| row.seq).filter(|_| is_more);
                Ok((frame, timeline::shown(tx, &rows).await?, last))
            })
        })
        .await?;
    let kind = fields.kind.as_deref();
    let is_usual = |kinds: &str| kind == Some(kinds);
    let is_other = !USUAL.iter().any(|(_, kinds)| is_usual(kinds));
    let page = HistoryPage {
        frame: frame.titled("History"),
        usual: USUAL
            .map(|(name, kinds)| UsualShown {
                name,
                kinds,
                is_chosen: is_usual(kinds),
            })
            .into(),
        other: fields.kind.clone().filter(|_| is_other),
        timeline,
        first: fields.after.is_some().then(|| fields.address(None)),
        next: last.map(|last| fields.address(Some(&last.to_string()))),
        service: fields.service.unwrap_or_default(),
        campaign: fields.campaign.unwrap_or_default(),
        since: fields.since.unwrap_or_default(),
        until: fields.until.unwrap_or_default(),
    };
    Ok(html(StatusCode::OK, &page))
}
