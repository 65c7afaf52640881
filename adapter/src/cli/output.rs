//! What commands print: answers on standard output, advice and questions on standard error. A reader
//! that goes away (`| head`) ends the output, and is no error.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use console::{StyledObject, style};
use serde_json::Value;

/// Writes a line to standard output.
pub(super) fn say(text: impl AsRef<str>) {
    // A closed pipe means that nobody reads any more.
    let _nobody_reads = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

/// Writes a line to standard error.
pub(super) fn note(text: impl AsRef<str>) {
    let _nobody_reads = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// Writes one JSON document to standard output.
pub(super) fn document(value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    say(text);
}

/// Writes a table to standard output; nothing but `none` if it has no rows. Cells that are a status
/// have its colour.
pub(super) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, none: &str) {
    if rows.is_empty() {
        say(none);
        return;
    }
    let is_coloured = console::colors_enabled();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(if std::io::stdout().is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    table.set_header(head);
    for row in rows {
        table.add_row(row.map(|text| match tone(&text) {
            Some(tone) if is_coloured => Cell::new(text).fg(match tone {
                Tone::GoesOn => Color::Green,
                Tone::Waits => Color::Yellow,
                Tone::Failed => Color::Red,
            }),
            _ => Cell::new(text),
        }));
    }
    for line in table.trim_fmt().lines() {
        say(line.strip_prefix(' ').unwrap_or(line));
    }
}

/// What a status means to a person who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    GoesOn,
    Waits,
    Failed,
}

fn tone(status: &str) -> Option<Tone> {
    match status {
        "ACTIVE" | "RUNNING" | "PROCESSING" | "COMPLETED" | "closed" => Some(Tone::GoesOn),
        "PAUSED" | "half_open" => Some(Tone::Waits),
        "FAILED" | "CANCELLED" | "open" => Some(Tone::Failed),
        _ => None,
    }
}

/// A status in its colour: green goes on, yellow waits for a person, red has failed.
pub(super) fn status(text: &str) -> StyledObject<String> {
    let plain = style(text.to_owned());
    match tone(text) {
        Some(Tone::GoesOn) => plain.green(),
        Some(Tone::Waits) => plain.yellow().bold(),
        Some(Tone::Failed) => plain.red().bold(),
        None => plain,
    }
}

/// An instant as it is shown: to the second.
pub(super) fn instant(rfc3339: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(rfc3339) {
        Ok(at) => at
            .with_timezone(&chrono::Utc)
            .format("%Y-%m-%d %H:%M:%SZ")
            .to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// The causes of an answer in words (D3), whichever form they have in it.
pub(super) fn causes(value: &Value) -> Vec<String> {
    match value {
        Value::String(words) => vec![words.clone()],
        Value::Array(causes) => causes.iter().flat_map(self::causes).collect(),
        Value::Object(cause) => match cause.get("causes") {
            Some(causes) => self::causes(causes),
            None => ["words", "text", "description"]
                .iter()
                .find_map(|key| cause.get(*key).and_then(Value::as_str))
                .map(ToOwned::to_owned)
                .into_iter()
                .collect(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// A text cut to a width, for a cell.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let start: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{start}…")
}

/// Whether a person is there to be asked: both ends are terminals.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks, and reads one line of answer; none at the end of input.
pub(super) fn ask(question: &str) -> Option<String> {
    let mut stderr = std::io::stderr().lock();
    let _nobody_reads = write!(stderr, "{question} ").and_then(|()| stderr.flush());
    drop(stderr);
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(answer.trim().to_owned()),
    }
}

/// What the server says about its answer in words, if it says anything.
pub(super) fn message(data: &Value) -> Option<String> {
    data.get("message")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(ToOwned::to_owned)
}
