//! One service: its breaker, why it is as it is, its calls, and what a person can do.

use andon::event::Tally;
use andon::{CircuitState, ServiceName};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::charts::{self, ChartShown};
use super::forms::{Act, ActForm, Forms};
use super::html;
use super::page::{Frame, Room, Visit, newest_entry};
use super::show::{Chip, Time, in_path, number, with_ago};
use super::timeline::{self, Timeline};
use super::words::Said;
use crate::api::App;
use crate::api::problem::Failure;
use crate::api::queue_management::{TRANSITIONS, TRANSITIONS_SHOWN, breaker_view};
use crate::api::shapes;
use crate::line;
use crate::store::{JournalFilter, TallyRow, Tx};

/// Reports without effect (R18).
struct TallyShown {
    words: &'static str,
    count: String,
    first: (Time, Time),
    last: (Time, Time),
    said: Option<Said>,
}

impl TallyShown {
    fn of(row: &TallyRow) -> Self {
        Self {
            words: match row.tally {
                Tally::Stale => "from before its last change of state",
                Tally::WhileOpen => "while it was open already",
            },
            count: number(row.count),
            first: with_ago(shapes::time(row.first_at)),
            last: with_ago(shapes::time(row.last_at)),
            said: row.last.as_ref().map(|last| Said::of(&last.describe())),
        }
    }
}

#[derive(Template)]
#[template(path = "service.html")]
struct ServicePage {
    frame: Frame,
    name: String,
    chip: Chip,
    held: bool,
    retired: bool,
    is_closed: bool,
    failures: String,
    opened: Option<(Time, Time)>,
    cause: Option<Said>,
    cool_down_until: Option<Time>,
    tallies: Vec<TallyShown>,
    forms: Vec<ActForm>,
    chart: ChartShown,
    timeline: Timeline,
    history: String,
}

/// `GET /services/{service}`.
pub(super) async fn service(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
    visit: Visit,
) -> Result<Response, Failure> {
    let page = app
        .line
        .query(move |tx| Box::pin(async move { read(tx, &service, &visit).await }))
        .await?;
    Ok(html(StatusCode::OK, &page))
}

async fn read(tx: &mut dyn Tx, service: &ServiceName, visit: &Visit) -> line::Result<ServicePage> {
    let gate = tx.gate().await?;
    let breaker = gate.breaker(service)?;
    let view = breaker_view(&gate, breaker);
    let frame = Frame::read(tx, visit, &gate, Room::Elsewhere).await?;
    let transitions = JournalFilter {
        service: Some(service.clone()),
        kinds: TRANSITIONS.map(str::to_owned).into(),
        limit: TRANSITIONS_SHOWN,
        ..JournalFilter::default()
    };
    let rows = tx.journal(&transitions).await?;
    let timeline = timeline::shown(tx, &rows).await?;
    let forms = Forms {
        visit,
        version: gate.version().get(),
        seen: newest_entry(tx).await?,
    };
    let mut offered = vec![forms.form(&Act::Reset(service.clone()))];
    if !view.retired {
        offered.push(forms.form(&Act::Open(service.clone())));
    }
    let tallies = tx.tallies().await?;
    let own = tallies.iter().filter(|row| row.service == *service);
    Ok(ServicePage {
        frame: frame.titled(service.to_string()),
        name: service.to_string(),
        chip: Chip::breaker(breaker.state()),
        held: view.held,
        retired: view.retired,
        is_closed: breaker.state() == CircuitState::Closed,
        failures: format!("{} of {}", view.failure_count, view.failure_threshold),
        opened: view.opened_at.map(with_ago),
        cause: view.cause.as_deref().map(Said::of),
        cool_down_until: view.cool_down_until.map(Time::of),
        tallies: own.map(TallyShown::of).collect(),
        forms: offered,
        chart: charts::calls(tx, service).await?,
        timeline,
        history: format!("/history?service={}", in_path(service.as_str())),
    })
}
