//! R24: the proof that a session is alive comes only from looking at its expiry.
use andon::session::{DeadSession, LiveSession};
use andon::Session;

fn alive(session: &Session) -> LiveSession<'_> {
    LiveSession { session }
}

fn dead(session: &Session) -> DeadSession<'_> {
    DeadSession { session }
}

fn main() {}
