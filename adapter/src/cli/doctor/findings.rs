//! What the doctor found, and how it is said.

use console::style;
use serde::Serialize;
use serde_json::{Value, json};

use super::output;
pub(super) use crate::store::Weight;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// Where: `database`, `line`, `server`.
    part: &'static str,
    about: String,
    level: Weight,
    says: String,
    next: Option<String>,
}

/// Everything that was looked at, in order.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    /// Whether a database or a server could not be reached.
    pub(super) is_unreachable: bool,
}

impl Findings {
    /// Something is as it should be.
    pub(super) fn well(&mut self, part: &'static str, about: &str, says: impl Into<String>) {
        self.add(part, about, Weight::Well, says, None);
    }

    /// Something is worth knowing.
    pub(super) fn note(
        &mut self,
        part: &'static str,
        about: &str,
        says: impl Into<String>,
        next: &str,
    ) {
        self.add(part, about, Weight::Note, says, Some(next.to_owned()));
    }

    /// Something is wrong.
    pub(super) fn wrong(
        &mut self,
        part: &'static str,
        about: &str,
        says: impl Into<String>,
        next: impl Into<String>,
    ) {
        self.add(part, about, Weight::Wrong, says, Some(next.into()));
    }

    pub(super) fn add(
        &mut self,
        part: &'static str,
        about: &str,
        level: Weight,
        says: impl Into<String>,
        next: Option<String>,
    ) {
        self.found.push(Finding {
            part,
            about: about.to_owned(),
            level,
            says: says.into(),
            next,
        });
    }

    /// How many have this weight.
    pub(super) fn count(&self, level: Weight) -> usize {
        let of_level = |finding: &&Finding| finding.level == level;
        self.found.iter().filter(of_level).count()
    }

    /// As one JSON document.
    pub(super) fn document(&self) -> Value {
        json!({"ok": self.count(Weight::Wrong) == 0, "findings": self.found})
    }

    /// In words, a line each, and what to do below. Colours only on a terminal.
    pub(super) fn say(&self) {
        let mut part = "";
        for finding in &self.found {
            if finding.part != part {
                part = finding.part;
                output::say(style(part).bold().to_string());
            }
            let mark = match finding.level {
                Weight::Well => style("well ").green(),
                Weight::Note => style("note ").yellow(),
                Weight::Wrong => style("WRONG").red().bold(),
            };
            output::say(format!("  {mark}  {}: {}", finding.about, finding.says));
            if let Some(next) = &finding.next {
                output::say(format!("         → {next}"));
            }
        }
    }
}
