//! One line in the log for each entry of the journal, once it is committed: the log retells the line.
//! The journal stays the record (R31).

use andon::event::GateEvent;
use andon::{Entry, Event};
use tracing::field::display;

/// Logs one entry that has been committed. What stops the line, and what somebody was refused, is a
/// warning; everything else is information. No payload and no secret is in an entry.
pub(super) fn committed(entry: &Entry) {
    let (event, stamp) = (&entry.event, entry.stamp);
    let (kind, version, epoch) = (event.kind(), stamp.version.get(), stamp.epoch.get());
    let actor = entry.actor.describe();
    let reason = entry.reason.as_ref().map(ToString::to_string);
    let breaker = event.service().map(display);
    let campaign = event.campaign().map(display);
    let job = event.job().map(display);
    let cause = match event {
        Event::Refused { refusal, .. } => Some(refusal.to_string()),
        _ => event.cause().map(|pause| pause.origin.describe()),
    };
    if is_warning(event) {
        tracing::warn!(
            kind,
            breaker,
            campaign,
            job,
            cause,
            version,
            epoch,
            actor,
            reason,
            "line changed"
        );
    } else {
        tracing::info!(
            kind,
            breaker,
            campaign,
            job,
            cause,
            version,
            epoch,
            actor,
            reason,
            "line changed"
        );
    }
}

fn is_warning(event: &Event) -> bool {
    match event {
        Event::Gate { event } => matches!(
            event,
            GateEvent::BreakerOpened { .. }
                | GateEvent::BreakerReopened { .. }
                | GateEvent::QueuePaused { .. }
        ),
        Event::Refused { .. } => true,
        Event::Campaign { .. } | Event::Job { .. } => false,
    }
}
