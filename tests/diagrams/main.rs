//! The state diagrams of docs/diagrams.md, read off the core by running it.
//!
//! Nothing here is drawn by hand: every command is carried out in every state that a small line can
//! reach, and an arrow stands where one moved an entity. To write the file again:
//! `ANDON_WRITE_DIAGRAMS=1 cargo test --test diagrams`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on must fail; the lints know only functions marked as tests"
)]

mod guard;
#[path = "../kit/mod.rs"]
mod kit;
mod lattice;
mod space;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use andon::{CampaignStatus, CircuitState, JobStatus, QueueState};
use space::{Facts, Step, acts, empty_line, explore};

/// Every step of the small line.
static STEPS: LazyLock<Vec<Step<Facts>>> =
    LazyLock::new(|| explore(empty_line(), &acts(), Facts::of));

/// The start and the end of a diagram: the entity is not there.
const NOWHERE: &str = "[*]";

/// Whose state a diagram shows.
struct Entity {
    title: &'static str,
    text: &'static str,
    state: fn(&Facts) -> &'static str,
    /// What is not shown, since it shows nothing of its own.
    leaves_out: fn(&str) -> bool,
}

const ENTITIES: [Entity; 4] = [
    Entity {
        title: "Queue",
        text: "\
Look at the one arrow back: *resume queue*, and only with every breaker CLOSED (R7, R8). A reset is not
here at all, since it does not touch the queue (R12).",
        state: |facts| match facts.queue {
            QueueState::Active => "ACTIVE",
            QueueState::Paused => "PAUSED",
        },
        leaves_out: |_| false,
    },
    Entity {
        title: "Breaker",
        text: "\
Look at the two ways to CLOSED: a person's reset, or, after a cool-down that is configured, a success that
counts, unless the breaker is held (R12, R13, R15). Whatever leaves CLOSED pauses the queue in that step
(R2); nothing that comes back to CLOSED resumes it.",
        state: |facts| match facts.breaker {
            CircuitState::Closed => "CLOSED",
            CircuitState::Open => "OPEN",
            CircuitState::HalfOpen => "HALF_OPEN",
        },
        leaves_out: |_| false,
    },
    Entity {
        title: "Campaign",
        text: "\
PAUSED is a status and not a stage. It is never stored: a campaign is PAUSED iff its stage is RUNNING and
the queue is PAUSED, or a mark of this epoch holds the campaign (D1). Hence a pause or a resume writes the
same few rows however many campaigns there are, and none can be left half paused. Look at the arrows from
PAUSED to RUNNING: there is one. A PAUSED campaign may still settle or be cancelled (R7, R27).",
        state: |facts| facts.campaign.map_or(NOWHERE, CampaignStatus::as_str),
        // What is done to one job and what is done to the other do the same to the campaign.
        leaves_out: |label| label.starts_with("another job"),
    },
    Entity {
        title: "Job",
        text: "\
PAUSED is no stage here either: below it, a job is PENDING or PROCESSING, and *resume queue* gives back the
one that it was (D2, R9). Work in flight may end while PAUSED, and its result is kept (R23); so there are
arrows from PAUSED to the final statuses, but none to PENDING or PROCESSING other than the resume. What is
added to or sent back to something paused is PAUSED from the start (R26, R28).",
        state: |facts| facts.job.map_or(NOWHERE, JobStatus::as_str),
        leaves_out: |_| false,
    },
];

impl Entity {
    /// The arrows: from, to, and what leads there under which condition, in the order of the acts.
    fn arrows(&self) -> BTreeMap<Arrow, Vec<(String, Vec<&'static str>)>> {
        let mut arrows: BTreeMap<Arrow, Vec<(String, Vec<&str>)>> = BTreeMap::new();
        let labels = acts().into_iter().map(|act| act.label);
        for label in labels.filter(|label| !(self.leaves_out)(label)) {
            let mut steps: BTreeMap<Arrow, Vec<&Step<Facts>>> = BTreeMap::new();
            for step in STEPS.iter().filter(|step| step.act == label) {
                let arrow = ((self.state)(&step.before), (self.state)(&step.after));
                steps.entry(arrow).or_default().push(step);
            }
            for ((from, to), here) in steps.iter().filter(|((from, to), _)| from != to) {
                let elsewhere: Vec<_> = steps
                    .iter()
                    .filter(|((other_from, other_to), _)| other_from == from && other_to != to)
                    .flat_map(|(_, steps)| steps.iter().copied())
                    .collect();
                let Some(guard) = guard::between(here, &elsewhere) else {
                    panic!("no question tells when `{label}` leads from {from} to {to}");
                };
                let lines = arrows.entry((*from, *to)).or_default();
                match lines.iter_mut().find(|(known, _)| *known == guard) {
                    Some((_, labels)) => labels.push(label),
                    None => lines.push((guard, vec![label])),
                }
            }
        }
        arrows
    }

    fn diagram(&self) -> String {
        let mut text = String::from("stateDiagram-v2\n");
        for ((from, to), lines) in self.arrows() {
            let lines: Vec<String> = lines
                .iter()
                .map(|(guard, labels)| match guard.as_str() {
                    "" => labels.join(", "),
                    guard => format!("{} ({guard})", labels.join(", ")),
                })
                .collect();
            // Mermaid ends a label at a colon or a semicolon.
            assert!(!lines.iter().any(|line| line.contains([':', ';', '#', '"'])));
            let _ = writeln!(text, "    {from} --> {to} : {}", lines.join("<br/>"));
        }
        text
    }
}

/// From a state to a state.
type Arrow = (&'static str, &'static str);

fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for entity in &ENTITIES {
        let (title, about, diagram) = (entity.title, entity.text, entity.diagram());
        let _ = write!(
            text,
            "\n## {title}\n\n{about}\n\n```mermaid\n{diagram}```\n"
        );
    }
    let diagram = lattice::diagram();
    let _ = write!(text, "\n{}\n\n```mermaid\n{diagram}```\n", lattice::TEXT);
    text
}

const INTRODUCTION: &str = "\
# Diagrams of the states

These diagrams are generated from the code. Every command is carried out in every state that a small line can
reach (one service with a threshold of 2 and a cool-down, one campaign, two jobs), by the functions that
production runs. An arrow stands where a command moved the entity; what stands in parentheses is the condition
under which it did, checked in every one of those states (of the campaign's jobs: as the command left them). A
command without an arrow was refused or changed nothing there.

*Service error*, *complete* and the like end a job's lease. Its token is good until such an end, also when its
worker was swept (R24).

A test fails when this file is not current; `ANDON_WRITE_DIAGRAMS=1 cargo test --test diagrams` writes it.
";

#[test]
fn the_diagrams_are_those_of_the_code() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/diagrams.md");
    let document = document();
    if std::env::var_os("ANDON_WRITE_DIAGRAMS").is_some() {
        std::fs::write(&file, &document).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == document,
        "docs/diagrams.md is not current: `ANDON_WRITE_DIAGRAMS=1 cargo test --test diagrams` writes it"
    );
}
