//! What every page has: who looks, the line's state in title and icon, the way to the other pages, and
//! what has just been done.

use andon::{Actor, Gate};
use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::actions::Nonce;
use super::forms::Refused;
use super::show::{Icon, Time};
use super::{assets, html};
use crate::api::App;
use crate::api::extract::Caller;
use crate::api::problem::Failure;
use crate::line::{self, LineState};
use crate::ops::config::Role;
use crate::store::{JournalFilter, Tx};

/// A request for a page.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// Who looks.
    pub(super) actor: Actor,
    /// In which role.
    pub(super) role: Role,
    /// The page's own path, with its query.
    pub(super) here: String,
    /// The form that was refused, if this page is its answer.
    pub(super) refused: Option<Refused>,
    /// What was just done, by the key under which its answer is kept.
    said: Option<Nonce>,
    /// Whether there is a session to end.
    has_session: bool,
}

impl Visit {
    /// Who looks, in words. To the rules a viewer is an automation (R36); to itself it is a viewer.
    fn who(&self) -> String {
        match (&self.actor, self.role) {
            (Actor::Automation(name), Role::Viewer) => format!("viewer {name}"),
            (actor, _) => actor.describe(),
        }
    }
}

impl FromRequestParts<App> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let Caller(actor) = Caller::from_request_parts(parts, app).await?;
        let query = parts.uri.query().unwrap_or_default();
        let (said, others): (Vec<&str>, Vec<&str>) = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .partition(|pair| pair.starts_with("said="));
        let said = said.first().and_then(|pair| pair.strip_prefix("said="));
        let path = parts.uri.path();
        Ok(Self {
            actor,
            role: parts.extensions.get().copied().unwrap_or(Role::Viewer),
            here: if others.is_empty() {
                path.to_owned()
            } else {
                format!("{path}?{}", others.join("&"))
            },
            refused: parts.extensions.get().cloned(),
            said: said.and_then(Nonce::read),
            has_session: app.auth.asks(),
        })
    }
}

/// Which of the pages in the navigation this one belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// `/`
    Line,
    /// `/campaigns`
    Campaigns,
    /// `/jobs`
    Jobs,
    /// `/history`
    History,
    /// None of them.
    Elsewhere,
}

/// The frame of a page.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    title: String,
    /// None on a page that is not about the line.
    state: Option<LineState>,
    room: Room,
    who: String,
    has_session: bool,
    /// What has just been done, in the words of its answer.
    notice: Option<String>,
    as_of: Option<Time>,
}

impl Frame {
    /// The frame of a page about a line that could be read, at one instant (D4).
    pub(super) async fn read(
        tx: &mut dyn Tx,
        visit: &Visit,
        gate: &Gate,
        room: Room,
    ) -> line::Result<Self> {
        let notice = match &visit.said {
            Some(said) => notice(tx, said, &visit.actor).await?,
            None => None,
        };
        let now: DateTime<Utc> = crate::api::shapes::time(gate.now(tx.clock().await?));
        Ok(Self {
            title: String::new(),
            state: Some(LineState::of(gate)),
            room,
            who: visit.who(),
            has_session: visit.has_session,
            notice,
            as_of: Some(Time::of(now)),
        })
    }

    /// The same with a title.
    pub(super) fn titled(self, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..self
        }
    }

    /// The frame of a page about a line that could not be read (R30).
    pub(super) fn unknown(visit: &Visit, room: Room, title: &str) -> Self {
        Self {
            title: title.into(),
            state: Some(LineState::Unknown),
            room,
            who: visit.who(),
            has_session: visit.has_session,
            notice: None,
            as_of: None,
        }
    }

    /// The frame of a page that is not about the line, such as the login.
    pub(super) fn bare(title: &str) -> Self {
        Self {
            title: title.into(),
            state: None,
            room: Room::Elsewhere,
            who: String::new(),
            has_session: false,
            notice: None,
            as_of: None,
        }
    }

    // For the template of the frame, which each page's own type renders.

    pub(super) fn icon(&self) -> String {
        assets::url(&format!("{}.svg", self.state().key()))
    }

    pub(super) fn state(&self) -> LineState {
        self.state.unwrap_or(LineState::Unknown)
    }

    pub(super) fn sign(&self) -> Icon {
        Icon::of(self.state())
    }

    pub(super) fn is_running(&self) -> bool {
        self.state() == LineState::Running
    }

    pub(super) fn is_about_the_line(&self) -> bool {
        self.state.is_some()
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn who(&self) -> &str {
        &self.who
    }

    pub(super) fn has_session(&self) -> bool {
        self.has_session
    }

    pub(super) fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    pub(super) fn as_of(&self) -> Option<&Time> {
        self.as_of.as_ref()
    }

    pub(super) fn rooms(&self) -> [(&'static str, &'static str, bool); 4] {
        [
            ("/", "Line", Room::Line),
            ("/campaigns", "Campaigns", Room::Campaigns),
            ("/jobs", "Jobs", Room::Jobs),
            ("/history", "History", Room::History),
        ]
        .map(|(path, name, room)| (path, name, room == self.room))
    }
}

/// What an act of this very person was answered: the text comes from the store, never from the address.
async fn notice(tx: &mut dyn Tx, said: &Nonce, actor: &Actor) -> line::Result<Option<String>> {
    let kept = tx.idempotency(&said.key(actor)).await?;
    Ok(kept.and_then(|row| {
        let message = row.body.pointer("/data/message").and_then(Value::as_str);
        message.map(str::to_owned)
    }))
}

/// The number of the journal's newest entry: what a page has seen, so that its forms can tell what it
/// has not.
pub(super) async fn newest_entry(tx: &mut dyn Tx) -> line::Result<i64> {
    let filter = JournalFilter {
        limit: 1,
        ..JournalFilter::default()
    };
    Ok(tx.journal(&filter).await?.first().map_or(0, |row| row.seq))
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    heading: &'static str,
    detail: String,
    /// Whether nothing is known of the line.
    is_unknown: bool,
}

/// The page of an error.
pub(super) fn error(status: StatusCode, detail: String) -> Response {
    let heading = status.canonical_reason().unwrap_or("Error");
    let page = ErrorPage {
        frame: Frame::bare(heading),
        heading,
        detail,
        is_unknown: status.is_server_error(),
    };
    html(status, &page)
}
