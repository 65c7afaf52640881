//! `andon status --watch`: looks again and again, and shows what has changed.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use console::Term;
use serde_json::{Value, json};

use super::screen;
use crate::cli::error::chain;
use crate::cli::look::Campaign;
use crate::cli::remote::{Hints, Remote};
use crate::cli::{Result, signals};
use crate::client::{Client, Error, HistoryItem, Page, Status};

/// Where the screen is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As text.
    Text,
    /// As one JSON document a line.
    Json,
}

/// The line as it was last seen.
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) campaigns: Vec<Campaign>,
    /// How many unfinished campaigns there are in all.
    pub(super) campaigns_total: u64,
    pub(super) history: Vec<HistoryItem>,
    /// The same as the server gave it.
    raw: [Value; 3],
}

/// Shows the line until the person wants an end, or nobody reads any more.
pub(super) async fn watch(client: Client, form: Form) -> Result {
    let stop = signals::stop()?;
    let mut seen = look(&client).await?;
    let mut hints = Hints::new(Remote::new(client.clone()));
    let mut screen = Screen::new(form);
    let mut trouble: Option<String> = None;
    loop {
        if screen.show(&seen, trouble.as_deref()).is_err() {
            // A reader that goes away ends the output, and is no error.
            return Ok(());
        }
        let looked = async {
            hints.wait(POLL).await;
            tokio::time::timeout(ANSWER_MAX, look(&client)).await
        };
        let looked = tokio::select! {
            looked = looked => looked,
            () = stop.cancelled() => return Ok(()),
        };
        trouble = match looked {
            Ok(Ok(now)) => {
                seen = now;
                None
            }
            Ok(Err(Error::Unreachable { server, .. })) => Some(format!("cannot reach {server}")),
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => Some(format!("cannot reach {}: no answer", client.server())),
        };
    }
}

/// Reads the line. Three questions are not one instant, so they are asked until nothing has changed in between
/// (D4): what stands on one screen was true at once.
async fn look(client: &Client) -> crate::client::Result<Seen> {
    let mut seen = look_once(client).await?;
    for _ in 0..LOOKS_MAX {
        let version = seen.status.queue.version;
        if seen.campaigns.iter().all(|of| of.version == version) {
            break;
        }
        seen = look_once(client).await?;
    }
    Ok(seen)
}

async fn look_once(client: &Client) -> crate::client::Result<Seen> {
    let path = "api/v1/queue-management/history";
    let entries = client.get(path, &[("per_page", ENTRIES)]).await?;
    let query = [
        ("status", "CREATED,RUNNING,PAUSED"),
        ("per_page", CAMPAIGNS),
    ];
    let campaigns = client.get("api/v1/campaigns", &query).await?;
    let path = "api/v1/queue-management/status";
    let status = client.get(path, &[(); 0]).await?;
    let page: Page<Campaign> = campaigns.read()?;
    let history: Page<HistoryItem> = entries.read()?;
    Ok(Seen {
        status: status.read()?,
        campaigns_total: page.total.unwrap_or(page.items.len() as u64),
        campaigns: page.items,
        history: history.items,
        raw: [
            status.data,
            campaigns.data["items"].clone(),
            entries.data["items"].clone(),
        ],
    })
}

/// What is shown, and what was shown last.
struct Screen {
    form: Form,
    /// None where there is no terminal: then each change is a block of its own.
    terminal: Option<Term>,
    shown: Vec<String>,
    drawn: usize,
}

impl Screen {
    fn new(form: Form) -> Self {
        let is_drawn = form == Form::Text && std::io::stdout().is_terminal();
        Self {
            form,
            terminal: is_drawn.then(Term::stdout),
            shown: Vec::new(),
            drawn: 0,
        }
    }

    /// Shows the line if that says anything new. Heartbeats and the clock move all the time, and are no news.
    fn show(&mut self, seen: &Seen, trouble: Option<&str>) -> std::io::Result<()> {
        let lines = screen::lines(seen, trouble);
        if lines == self.shown {
            return Ok(());
        }
        match (&self.terminal, self.form) {
            (Some(terminal), _) => self.drawn = draw(terminal, self.drawn, &lines)?,
            (None, Form::Text) => {
                let mut stdout = std::io::stdout().lock();
                writeln!(stdout, "{}\n", lines.join("\n"))?;
                stdout.flush()?;
            }
            (None, Form::Json) => {
                let mut stdout = std::io::stdout().lock();
                writeln!(stdout, "{}", document(seen, trouble))?;
                stdout.flush()?;
            }
        }
        self.shown = lines;
        Ok(())
    }
}

/// Draws over what was drawn before; gives how many lines that are now. What does not fit is left out: lines
/// that wrapped or scrolled could not be drawn over.
fn draw(terminal: &Term, drawn: usize, lines: &[String]) -> std::io::Result<usize> {
    let (rows, columns) = terminal.size();
    let (rows, columns) = (usize::from(rows), usize::from(columns));
    let fitting = lines.iter().take(rows.saturating_sub(1));
    let fitting: Vec<_> = fitting
        .map(|line| console::truncate_str(line, columns, "…"))
        .collect();
    terminal.clear_last_lines(drawn)?;
    for line in &fitting {
        terminal.write_line(line)?;
    }
    Ok(fitting.len())
}

fn document(seen: &Seen, trouble: Option<&str>) -> Value {
    let [status, campaigns, history] = &seen.raw;
    json!({
        "state": screen::state(seen, trouble).word(),
        "as_of": seen.status.timestamp,
        "trouble": trouble,
        "status": status,
        "campaigns": campaigns,
        "history": history,
    })
}

/// The line is looked at at least this often; changes that it announces are looked at at once.
const POLL: Duration = Duration::from_secs(2);
/// A server that is slower than this is told of.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often a look is repeated on a line that changes all the time.
const LOOKS_MAX: usize = 3;
const ENTRIES: &str = "8";
const CAMPAIGNS: &str = "20";
