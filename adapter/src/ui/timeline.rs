//! The journal in words (R31).

use std::collections::BTreeMap;

use andon::{CampaignEvent, CampaignId, Event, GateEvent, JobEvent, RefusedCommand};

use super::show::{Time, Tone, short_id, with_ago};
use askama::Template;
use askama::filters::HtmlSafe;

use super::words::Said;
use crate::api::shapes;
use crate::line;
use crate::line::campaigns;
use crate::store::{JournalRow, Tx};

/// Entries of the journal as they are shown.
#[derive(Debug, Clone, Template)]
#[template(path = "timeline.html")]
pub(super) struct Timeline {
    entries: Vec<EntryShown>,
}

impl HtmlSafe for Timeline {}

/// An entry as it is shown.
#[derive(Debug, Clone)]
struct EntryShown {
    seq: i64,
    at: (Time, Time),
    tone: Tone,
    /// What happened.
    words: String,
    /// The campaign it is about, with its name.
    campaign: Option<(String, String)>,
    /// The job it is about, with a short form of it.
    job: Option<(String, String)>,
    /// Who.
    who: String,
    /// Why: the reason given, or what a call or check has met.
    why: Option<Said>,
}

/// Entries as they are shown, with the names of their campaigns.
pub(super) async fn shown(tx: &mut dyn Tx, rows: &[JournalRow]) -> line::Result<Timeline> {
    let ids = rows.iter().filter_map(|row| row.entry.event.campaign());
    let names = campaigns::names(tx, ids).await?;
    Ok(Timeline {
        entries: rows.iter().map(|row| entry(row, &names)).collect(),
    })
}

fn entry(row: &JournalRow, names: &BTreeMap<CampaignId, String>) -> EntryShown {
    let entry = &row.entry;
    let at = shapes::time(entry.stamp.at);
    EntryShown {
        seq: row.seq,
        at: with_ago(at),
        tone: tone(&entry.event),
        words: happened(&entry.event),
        campaign: entry.event.campaign().map(|id| {
            let name = names.get(&id).cloned();
            let name = name.unwrap_or_else(|| short_id(&id.to_string()));
            (id.to_string(), name)
        }),
        job: entry.event.job().map(|id| {
            let id = id.to_string();
            let short = short_id(&id);
            (id, short)
        }),
        who: entry.actor.describe(),
        why: said(row),
    }
}

fn why(row: &JournalRow) -> String {
    if let Event::Refused { refusal, .. } = &row.entry.event {
        return refusal.to_string();
    }
    match (&row.entry.reason, row.entry.event.cause()) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(cause)) => cause.origin.describe(),
        (None, None) => String::new(),
    }
}

/// Why, as it goes on from what happened: a cause says itself how, and a reason is told.
fn said(row: &JournalRow) -> Option<Said> {
    let why = why(row);
    let entry = &row.entry;
    let is_told = entry.reason.is_some() || matches!(entry.event, Event::Refused { .. });
    let joint = if is_told { ": " } else { " " };
    (!why.is_empty()).then(|| Said::of(&format!("{joint}{why}")))
}

/// An entry in one sentence, for a form whose page had not seen it.
pub(super) fn sentence(row: &JournalRow) -> String {
    let (entry, why) = (&row.entry, why(row));
    let what = happened(&entry.event);
    let who = entry.actor.describe();
    let at = entry.stamp.at;
    if why.is_empty() {
        format!("{what} at {at} UTC, {who}")
    } else {
        format!("{what} at {at} UTC, {who}: {why}")
    }
}

fn tone(event: &Event) -> Tone {
    match event {
        Event::Gate { event } => match event {
            GateEvent::BreakerOpened { .. }
            | GateEvent::BreakerReopened { .. }
            | GateEvent::BreakerHeld { .. } => Tone::Bad,
            GateEvent::BreakerHalfOpened { .. }
            | GateEvent::QueuePaused { .. }
            | GateEvent::QueuePausedAgain { .. } => Tone::Wait,
            GateEvent::BreakerClosed { .. }
            | GateEvent::BreakerReset { .. }
            | GateEvent::QueueResumed => Tone::Good,
            GateEvent::FailureCounted { .. }
            | GateEvent::CountCleared { .. }
            | GateEvent::ReportTallied { .. }
            | GateEvent::ServiceDeclared { .. }
            | GateEvent::ServiceConfigured { .. }
            | GateEvent::ServiceRetired { .. }
            | GateEvent::StopAcknowledged { .. } => Tone::Quiet,
        },
        Event::Campaign { event, .. } => match event {
            CampaignEvent::CampaignPaused { .. }
            | CampaignEvent::CampaignPausedAgain { .. }
            | CampaignEvent::CampaignKept { .. } => Tone::Wait,
            CampaignEvent::CampaignStarted => Tone::Good,
            CampaignEvent::CampaignCreated { .. }
            | CampaignEvent::CampaignClosed
            | CampaignEvent::CampaignCancelled
            | CampaignEvent::CampaignSettled { .. }
            | CampaignEvent::CampaignReopened { .. }
            | CampaignEvent::CampaignDeleted => Tone::Quiet,
        },
        Event::Job { event, .. } => match event {
            JobEvent::JobPaused { .. } | JobEvent::JobPausedAgain { .. } => Tone::Wait,
            JobEvent::JobClaimed { .. }
            | JobEvent::JobFinished { .. }
            | JobEvent::JobReturned { .. }
            | JobEvent::JobSwept { .. }
            | JobEvent::JobLeaseEnded { .. }
            | JobEvent::JobCancelled
            | JobEvent::JobLeaseExpired { .. }
            | JobEvent::JobRetried => Tone::Quiet,
        },
        Event::Refused { .. } => Tone::Bad,
    }
}

/// What happened, in words.
fn happened(event: &Event) -> String {
    match event {
        Event::Gate { event } => of_gate(event),
        Event::Campaign { event, .. } => of_campaign(event),
        Event::Job { event, .. } => of_job(event).into(),
        Event::Refused {
            command, service, ..
        } => match (command, service) {
            (RefusedCommand::Resume, _) => "a resume was refused".into(),
            (RefusedCommand::Reset, Some(service)) => format!("a reset of {service} was refused"),
            (RefusedCommand::Reset, None) => "a reset was refused".into(),
        },
    }
}

fn of_gate(event: &GateEvent) -> String {
    match event {
        GateEvent::BreakerOpened { service, .. } => format!("breaker {service} opened"),
        GateEvent::BreakerReopened { service, .. } => format!("breaker {service} opened again"),
        GateEvent::BreakerHeld { service, .. } => format!("breaker {service} is held open"),
        GateEvent::BreakerHalfOpened { service } => format!("breaker {service} is half-open"),
        GateEvent::BreakerClosed { service } => format!("breaker {service} closed"),
        GateEvent::BreakerReset { service, .. } => format!("breaker {service} was reset"),
        GateEvent::FailureCounted { service, .. } => format!("a failure of {service} was counted"),
        GateEvent::CountCleared { service } => format!("the count of {service} was cleared"),
        GateEvent::ReportTallied { service, .. } => format!("a report on {service} had no effect"),
        GateEvent::QueuePaused { .. } => "queue paused".into(),
        GateEvent::QueuePausedAgain { .. } => "queue paused again".into(),
        GateEvent::QueueResumed => "queue resumed".into(),
        GateEvent::StopAcknowledged { .. } => "stop acknowledged".into(),
        GateEvent::ServiceDeclared { service, .. } => format!("service {service} was declared"),
        GateEvent::ServiceConfigured { service, .. } => format!("service {service} was configured"),
        GateEvent::ServiceRetired { service } => format!("service {service} was retired"),
    }
}

fn of_campaign(event: &CampaignEvent) -> String {
    match event {
        CampaignEvent::CampaignCreated { .. } => "campaign created".into(),
        CampaignEvent::CampaignStarted => "campaign started".into(),
        CampaignEvent::CampaignPaused { .. } => "campaign paused".into(),
        CampaignEvent::CampaignPausedAgain { .. } => "campaign paused again".into(),
        CampaignEvent::CampaignKept { .. } => "campaign kept back at a resume".into(),
        CampaignEvent::CampaignClosed => "campaign closed".into(),
        CampaignEvent::CampaignCancelled => "campaign cancelled".into(),
        CampaignEvent::CampaignSettled { stage } => format!("campaign settled: {stage}"),
        CampaignEvent::CampaignReopened { .. } => "campaign runs again".into(),
        CampaignEvent::CampaignDeleted => "campaign deleted".into(),
    }
}

fn of_job(event: &JobEvent) -> &'static str {
    match event {
        JobEvent::JobClaimed { .. } => "job claimed",
        JobEvent::JobFinished { .. } => "job finished",
        JobEvent::JobReturned { .. } => "job returned",
        JobEvent::JobSwept { .. } => "job returned: its worker's session expired",
        JobEvent::JobLeaseEnded { .. } => "a cancelled job's lease ended",
        JobEvent::JobPaused { .. } => "job paused",
        JobEvent::JobPausedAgain { .. } => "job paused again",
        JobEvent::JobCancelled => "job cancelled",
        JobEvent::JobRetried => "job sent back",
        JobEvent::JobLeaseExpired { .. } => "the job's lease was expired by hand",
    }
}
