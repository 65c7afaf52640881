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
    let actor = one_line(&entry.actor.describe());
    let reason = entry
        .reason
        .as_ref()
        .map(|reason| one_line(reason.as_str()));
    let breaker = event.service().map(display);
    let campaign = event.campaign().map(display);
    let job = event.job().map(display);
    let cause = match event {
        Event::Refused { refusal, .. } => Some(one_line(&refusal.to_string())),
        _ => event
            .cause()
            .map(|pause| one_line(&pause.origin.describe())),
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

/// Other people's words without the separators of lines and paragraphs, at which some readers of logs begin
/// a new line. They are no control characters, and so no text is refused for them.
fn one_line(text: &str) -> String {
    text.replace(['\u{2028}', '\u{2029}'], " ")
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use andon::{Actor, ActorName, By, Reason};

    use crate::line::{Error, Line, Settings, queue};
    use crate::store::memory::MemoryStore;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged by this thread until the guard goes.
    fn log() -> (Written, tracing::subscriber::DefaultGuard) {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (written, tracing::subscriber::set_default(subscriber))
    }

    impl Written {
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    #[tokio::test]
    async fn r31_each_change_is_one_line_of_the_log_with_who_and_why() {
        let line = Line::new(Arc::new(MemoryStore::new()), Settings::default());
        line.start_up().await.unwrap();
        let by = By {
            actor: Actor::Operator(ActorName::new("ada").unwrap()),
            reason: Some(Reason::new("smoke \"test\"").unwrap()),
        };
        let (log, _guard) = log();
        line.transact(|tx| {
            let by = by.clone();
            Box::pin(async move { queue::pause(tx, &by).await })
        })
        .await
        .unwrap();
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in [
            "WARN",
            "line changed",
            "kind=\"queue_paused\"",
            "version=1",
            "epoch=1",
            "actor=\"operator ada\"",
            r#"reason="smoke \"test\"""#,
        ] {
            assert!(lines[0].contains(part), "{part} in {}", lines[0]);
        }
    }

    #[tokio::test]
    async fn r31_what_is_rolled_back_is_not_logged() {
        let line = Line::new(Arc::new(MemoryStore::new()), Settings::default());
        line.start_up().await.unwrap();
        let by = By::actor(Actor::Operator(ActorName::new("ada").unwrap()));
        let (log, _guard) = log();
        let refused: Result<(), _> = line
            .transact(|tx| {
                let by = by.clone();
                Box::pin(async move {
                    queue::pause(tx, &by).await?;
                    Err(Error::Invalid(Vec::new()))
                })
            })
            .await;
        assert!(refused.is_err());
        assert_eq!(log.lines(), Vec::<String>::new());
    }
}
