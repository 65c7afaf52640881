//! What to do after a problem, in commands that can be typed.

use serde_json::Value;

use crate::wire::Problem;

/// The advice after a problem, a line each; empty where the problem says all.
pub(super) fn after(problem: &Problem) -> Vec<String> {
    match (problem.code.as_str(), problem.status) {
        ("resume_blocked" | "start_blocked", _) => after_blocked(problem),
        (_, 412) => vec!["look again (`andon status`), and give the command again".into()],
        (_, 401) => vec!["give a token with --token or ANDON_TOKEN".into()],
        (_, 403) => vec!["ask a person with the role of operator (R36)".into()],
        ("corrupt", _) => {
            vec!["the line stays as it is until that row is repaired in the database (R30)".into()]
        }
        ("unknown_service", _) => match names(problem.facts.get("known_services")) {
            known if known.is_empty() => Vec::new(),
            known => vec![format!("the services are {}", known.join(", "))],
        },
        _ => Vec::new(),
    }
}

/// R8: one reset for each breaker that is not closed, then the resume.
fn after_blocked(problem: &Problem) -> Vec<String> {
    let blockers = problem.facts.get("blockers").and_then(Value::as_array);
    let services = blockers.into_iter().flatten().filter_map(|blocker| {
        blocker
            .get("service")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
    });
    resets(services)
}

/// The commands that lead from these open breakers to a running line.
pub(super) fn resets(services: impl IntoIterator<Item = String>) -> Vec<String> {
    services
        .into_iter()
        .map(|service| format!("blocked by {service}: andon reset {service}"))
        .chain(["then: andon resume".to_owned()])
        .collect()
}

fn names(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(ToOwned::to_owned))
        .collect()
}
