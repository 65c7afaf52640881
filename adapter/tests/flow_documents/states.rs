//! What is stored and what is shown, read beside the server, as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use andon::{Entry, Event};

use crate::api_support::Server;
use crate::support::Raw;

/// Every table of a line but the record of its migrations.
const TABLES: [&str; 15] = [
    "andon_queue",
    "andon_services",
    "andon_breakers",
    "andon_tallies",
    "andon_campaigns",
    "andon_counts",
    "andon_count_deltas",
    "andon_jobs",
    "andon_attempts",
    "andon_calls",
    "andon_steps",
    "andon_sessions",
    "andon_journal",
    "andon_idempotency",
    "andon_notes",
];

/// The rows of all tables as they are stored.
pub(crate) type Rows = BTreeMap<&'static str, Vec<String>>;

/// Reads the rows of all tables.
pub(crate) async fn rows(raw: &Raw) -> Rows {
    let mut rows = Rows::new();
    for table in TABLES {
        let dump = raw.dump(&[table]).await;
        let lines = dump.lines().filter(|line| line.starts_with("    "));
        rows.insert(table, lines.map(str::to_owned).collect());
    }
    rows
}

/// How many rows of which tables were added or changed, such as `andon_queue 1, andon_journal 2`.
pub(crate) fn written(before: &Rows, after: &Rows) -> String {
    let mut parts = Vec::new();
    for (table, rows) in after {
        let changed = rows.iter().filter(|row| !before[table].contains(row));
        match changed.count() {
            0 => {}
            n => parts.push(format!("`{table}` {n}")),
        }
    }
    if parts.is_empty() {
        return "nothing".to_owned();
    }
    parts.join(", ")
}

/// A job or a campaign that the tables show.
pub(crate) struct Shown {
    /// Such as `job A1`.
    pub(crate) name: String,
    /// Its id.
    pub(crate) id: String,
    /// Where it is read: `campaigns` or `jobs`.
    pub(crate) noun: &'static str,
}

/// Queue, breakers, campaigns and jobs: what is stored, and under it the status that is derived from it.
pub(crate) async fn state(
    server: &Server,
    services: &[&str],
    shown: &[Shown],
) -> Vec<(String, String)> {
    let raw = server.raw().expect("a server over a database");
    let key = match raw {
        Raw::Postgres(_) => "replace(id::text, '-', '')",
        Raw::Sqlite(_) => "lower(hex(id))",
    };
    let one = async |sql: String| raw.texts(&sql).await.concat();
    let mut facts = vec![(
        "queue".to_owned(),
        one(
            "SELECT state || ', epoch ' || epoch || ', version ' || version FROM andon_queue"
                .into(),
        )
        .await,
    )];
    for service in services {
        let sql = format!(
            "SELECT state || ', since ' || since || ', count ' || failure_count
                 || CASE hold WHEN 'held' THEN ', held' ELSE '' END
             FROM andon_breakers WHERE service = '{service}'"
        );
        facts.push((format!("breaker {service}"), one(sql).await));
    }
    for Shown { name, id, noun } in shown {
        let more = match *noun {
            "jobs" => "|| ', attempt ' || attempt",
            _ => "",
        };
        let sql = format!(
            "SELECT stage || COALESCE(', paused_in ' || paused_in, '') {more}
             FROM andon_{noun} WHERE {key} = '{}'",
            id.replace('-', "")
        );
        facts.push((format!("{name}: stored"), one(sql).await));
        let read = server.get(&format!("/{noun}/{id}")).await;
        let status = read.data()["status"].as_str().expect("a status").to_owned();
        facts.push((format!("{name}: **status**"), status));
    }
    facts
}

/// A table with a column for each look, which shows in bold what has changed since the one before.
pub(crate) fn table(head: &str, looks: &[(String, Vec<(String, String)>)]) -> String {
    let mut text = format!("| {head} |");
    for (title, _) in looks {
        let _ = write!(text, " {title} |");
    }
    let _ = write!(text, "\n| --- |{}", " --- |".repeat(looks.len()));
    for (row, (name, _)) in looks[0].1.iter().enumerate() {
        let _ = write!(text, "\n| {name} |");
        for (column, (_, facts)) in looks.iter().enumerate() {
            let value = &facts[row].1;
            let is_as_before = column > 0 && looks[column - 1].1[row].1 == *value;
            let _ = match (is_as_before, column) {
                (true, _) => write!(text, " · |"),
                (false, 0) => write!(text, " {value} |"),
                (false, _) => write!(text, " **{value}** |"),
            };
        }
    }
    text
}

/// The series of a scrape.
pub(crate) fn series(scrape: &str) -> BTreeMap<String, String> {
    scrape
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The series that some step changes, as looks for [`table`].
pub(crate) fn changing(
    scrapes: &[(String, BTreeMap<String, String>)],
) -> Vec<(String, Vec<(String, String)>)> {
    let first = &scrapes[0].1;
    let names: Vec<&String> = first
        .keys()
        .filter(|name| scrapes.iter().any(|(_, all)| all[*name] != first[*name]))
        .collect();
    let of = |all: &BTreeMap<String, String>| {
        let row = |name: &&String| (format!("`{name}`"), all[*name].clone());
        names.iter().map(row).collect()
    };
    scrapes
        .iter()
        .map(|(title, all)| (title.clone(), of(all)))
        .collect()
}

/// Entries of the journal, oldest first, as a table.
pub(crate) fn journal(entries: &[Entry]) -> String {
    let mut text = String::from(
        "| version | epoch | kind | who | reason or cause |\n| --- | --- | --- | --- | --- |",
    );
    for entry in entries {
        let words = match (&entry.event, entry.event.cause(), &entry.reason) {
            (Event::Refused { refusal, .. }, ..) => refusal.to_string(),
            (_, Some(cause), _) => cause.origin.describe(),
            (_, None, Some(reason)) => reason.to_string(),
            (_, None, None) => String::new(),
        };
        let about = entry
            .event
            .service()
            .map_or(String::new(), |s| format!(" {s}"));
        let about = match entry.event.campaign() {
            Some(id) => format!(" {id}"),
            None => about,
        };
        let _ = write!(
            text,
            "\n| {} | {} | `{}`{about} | {} | {words} |",
            entry.stamp.version.get(),
            entry.stamp.epoch.get(),
            entry.event.kind(),
            entry.actor.describe(),
        );
    }
    text
}
