//! A file's lines as jobs. Every line is checked before anything is sent.
//!
//! A JSON line is the call of a job of kind `http` (`service`, `method`, `path`, `headers`, `body`,
//! `expect`), or, if it has a `kind`, a whole job (`kind`, `payload`, `priority`, `run_at`,
//! `unique_key`, `max_attempts`).
//!
//! A CSV has a header with some of the columns `service`, `method`, `path`, `body` (JSON), `body.NAME`
//! (a text field of a JSON body), `header.NAME`, `expect` (statuses, separated by blanks), `priority`,
//! `run_at`, `unique_key`, `max_attempts`. An empty cell is as if it were not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use andon::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::cli::{Failure, Result};
use crate::line::{self, jobs};
use crate::wire::NewJob;
use crate::worker::http_kind::{self, HttpCall};

/// A line that is a job.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The job.
    pub(super) job: NewJob,
    /// How large it is.
    pub(super) bytes: usize,
}

/// A line that cannot be a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Its number, from 1.
    pub(super) number: u64,
    /// What is wrong, and what would be right.
    pub(super) problem: String,
}

/// What lines are checked against.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The services that the line declares.
    pub(super) known: BTreeSet<String>,
    /// Those that were named on the command line.
    pub(super) services: BTreeSet<String>,
}

/// The largest line, so that every job fits into a request.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Reads the file, or standard input for `-`.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = read.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    // Spreadsheets put a byte order mark before the first line.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// All lines as jobs, or all lines that cannot be.
pub(super) fn parse(text: &str, is_csv: bool, rules: &Rules) -> Result<Vec<Line>, Vec<BadLine>> {
    let read = if is_csv {
        csv_lines(text)
    } else {
        json_lines(text)
    };
    let mut lines = Vec::new();
    let mut bad = Vec::new();
    for (number, object) in read {
        match object.and_then(|object| job(number, object, rules)) {
            Ok(line) => lines.push(line),
            Err(problem) => bad.push(BadLine { number, problem }),
        }
    }
    bad.extend(same_keys(&lines));
    bad.extend(invalid(&lines));
    if lines.is_empty() && bad.is_empty() {
        bad.push(BadLine {
            number: 1,
            problem: "the file has no jobs".into(),
        });
    }
    if bad.is_empty() {
        Ok(lines)
    } else {
        bad.sort_by_key(|line| line.number);
        Err(bad)
    }
}

type Object = Map<String, Value>;
type Read = Result<Object, String>;

fn json_lines(text: &str) -> Vec<(u64, Read)> {
    (1u64..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| (number, json_line(line)))
        .collect()
}

fn json_line(line: &str) -> Read {
    if line.len() > LINE_BYTES_MAX {
        return Err("is longer than 4 MiB".into());
    }
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("is not a JSON object such as {\"service\": …, \"path\": …}".into()),
        Err(error) => Err(format!("is no JSON: {}", in_line(&error))),
    }
}

/// What is wrong and at which column: the parser's own line number is always 1.
fn in_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line 1 column {}", error.column());
    match text.strip_suffix(&place) {
        Some(problem) => format!("{problem} at column {}", error.column()),
        None => text,
    }
}

fn csv_lines(text: &str) -> Vec<(u64, Read)> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::Headers)
        .from_reader(text.as_bytes());
    let head = match reader.headers() {
        Ok(head) => head.clone(),
        Err(error) => return vec![(1, Err(error.to_string()))],
    };
    if let Err(problem) = check_head(&head) {
        return vec![(1, Err(problem))];
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let number = record.position().map_or(0, csv::Position::line);
                lines.push((number, csv_line(&head, &record)));
            }
            Err(error) => {
                let number = error.position().map_or(0, csv::Position::line);
                let problem = match error.kind() {
                    csv::ErrorKind::UnequalLengths {
                        expected_len, len, ..
                    } => format!("has {len} cells, the header {expected_len}"),
                    _ => error.to_string(),
                };
                lines.push((number, Err(problem)));
            }
        }
    }
    lines
}

const COLUMNS: [&str; 9] = [
    "service",
    "method",
    "path",
    "body",
    "expect",
    "priority",
    "run_at",
    "unique_key",
    "max_attempts",
];

fn check_head(head: &csv::StringRecord) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for column in head {
        let is_known = COLUMNS.contains(&column)
            || ["body.", "header."].iter().any(|start| {
                column
                    .strip_prefix(start)
                    .is_some_and(|name| !name.is_empty())
            });
        if !is_known {
            return Err(format!(
                "the header has an unknown column `{column}`: the columns are {}, body.NAME and \
                 header.NAME",
                COLUMNS.join(", ")
            ));
        }
        if !seen.insert(column) {
            return Err(format!("the header has the column `{column}` twice"));
        }
    }
    if seen.contains("body") && head.iter().any(|column| column.starts_with("body.")) {
        return Err("the header has both `body` and `body.NAME`: use one of them".into());
    }
    Ok(())
}

/// A CSV line as the whole job that a JSON line could say.
fn csv_line(head: &csv::StringRecord, record: &csv::StringRecord) -> Read {
    let mut payload = Object::new();
    let mut object = Object::new();
    let mut headers = Object::new();
    let mut body = Object::new();
    for (column, cell) in head.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        let text = Value::from(cell);
        if let Some(name) = column.strip_prefix("header.") {
            headers.insert(name.to_owned(), text);
        } else if let Some(name) = column.strip_prefix("body.") {
            body.insert(name.to_owned(), text);
        } else {
            match column {
                "service" | "method" | "path" => payload.insert(column.to_owned(), text),
                "body" => payload.insert(column.to_owned(), json_cell(column, cell)?),
                "expect" => payload.insert(column.to_owned(), statuses(cell)?),
                "priority" | "max_attempts" => {
                    object.insert(column.to_owned(), json_cell(column, cell)?)
                }
                _ => object.insert(column.to_owned(), text),
            };
        }
    }
    if !headers.is_empty() {
        payload.insert("headers".into(), headers.into());
    }
    if !body.is_empty() {
        payload.insert("body".into(), body.into());
    }
    object.insert("kind".into(), http_kind::KIND.into());
    object.insert("payload".into(), payload.into());
    Ok(object)
}

fn json_cell(column: &str, cell: &str) -> Result<Value, String> {
    serde_json::from_str(cell)
        .map_err(|error| format!("`{column}` is no JSON: {}", in_line(&error)))
}

fn statuses(cell: &str) -> Result<Value, String> {
    let numbers: Result<Vec<u16>, _> = cell.split_whitespace().map(str::parse).collect();
    numbers
        .map(|numbers| json!(numbers))
        .map_err(|_| format!("`expect` must be statuses such as `200 204`, not `{cell}`"))
}

/// The job that a line says, with its unique key.
fn job(number: u64, object: Object, rules: &Rules) -> Result<Line, String> {
    let mut job: NewJob = if object.contains_key("kind") {
        serde_json::from_value(object.into()).map_err(|error| error.to_string())?
    } else {
        NewJob::new(http_kind::KIND, object.into())
    };
    if job.kind == http_kind::KIND {
        let payload = job.payload.take().unwrap_or_default();
        job.payload = Some(check_call(payload, rules)?);
    }
    let text = canonical(&job);
    if job.unique_key.is_none() {
        job.unique_key = Some(unique_key(number, &text));
    }
    if text.len() > LINE_BYTES_MAX {
        return Err("is longer than 4 MiB".into());
    }
    Ok(Line {
        number,
        job,
        bytes: text.len() + OVERHEAD_BYTES,
    })
}

/// What a unique key and separators add to a job's text.
const OVERHEAD_BYTES: usize = 300;

/// The key of a line: the same line at the same place is the same job (R29).
fn unique_key(number: u64, text: &str) -> String {
    use std::fmt::Write as _;
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(16)
        .fold(format!("line {number} "), |mut key, byte| {
            // Writing to a string does not fail.
            let _infallible = write!(key, "{byte:02x}");
            key
        })
}

/// A job as text in which the order of fields is fixed.
pub(super) fn canonical(job: &NewJob) -> String {
    // Objects are sorted by key when they become values; a job always becomes one.
    serde_json::to_value(job).unwrap_or_default().to_string()
}

fn check_call(payload: Value, rules: &Rules) -> Result<Value, String> {
    let Value::Object(mut fields) = payload else {
        return Err("`payload` must be a call: an object with service, method and path".into());
    };
    let only = match rules.services.len() {
        1 => rules.services.first(),
        _ => None,
    };
    if let (false, Some(only)) = (fields.contains_key("service"), only) {
        fields.insert("service".into(), only.as_str().into());
    }
    let payload = Value::Object(fields);
    let call: HttpCall =
        serde_json::from_value(payload.clone()).map_err(|error| error.to_string())?;
    call.check()?;
    let allowed = if rules.services.is_empty() {
        &rules.known
    } else {
        &rules.services
    };
    if !allowed.contains(&call.service) || !rules.known.contains(&call.service) {
        let names: Vec<&str> = rules
            .known
            .intersection(allowed)
            .map(String::as_str)
            .collect();
        return Err(format!(
            "unknown service `{}`: the services are {}",
            call.service,
            names.join(", ")
        ));
    }
    Ok(payload)
}

/// Lines whose own unique key stands in an earlier line: they would be lost without a word (R29).
fn same_keys(lines: &[Line]) -> Vec<BadLine> {
    let mut first: BTreeMap<&str, u64> = BTreeMap::new();
    let mut bad = Vec::new();
    for line in lines {
        let Some(key) = &line.job.unique_key else {
            continue;
        };
        match first.get(key.as_str()) {
            Some(earlier) => bad.push(BadLine {
                number: line.number,
                problem: format!("the unique_key `{key}` stands in line {earlier} already"),
            }),
            None => {
                first.insert(key, line.number);
            }
        }
    }
    bad
}

/// What the line itself would refuse in a job.
fn invalid(lines: &[Line]) -> Vec<BadLine> {
    let mut bad = Vec::new();
    for line in lines {
        let job = jobs::NewJob {
            kind: line.job.kind.clone(),
            payload: line.job.payload.clone().unwrap_or_default(),
            priority: line.job.priority.unwrap_or_default(),
            run_at: line
                .job
                .run_at
                .map(|at| Timestamp::from_micros(at.timestamp_micros())),
            unique_key: line.job.unique_key.clone(),
            max_attempts: line.job.max_attempts.unwrap_or(jobs::MAX_ATTEMPTS_DEFAULT),
        };
        if let Err(line::Error::Invalid(fields)) = jobs::validate(&[job], "") {
            for field in fields {
                let name = field.path.trim_start_matches("[0].");
                bad.push(BadLine {
                    number: line.number,
                    problem: format!("{name} {}", field.problem),
                });
            }
        }
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            known: ["crm".to_owned(), "openai".to_owned()].into(),
            services: BTreeSet::new(),
        }
    }

    #[track_caller]
    fn check_bad(text: &str, is_csv: bool, expected: &[(u64, &str)]) {
        let bad = parse(text, is_csv, &rules()).unwrap_err();
        let numbers: Vec<u64> = bad.iter().map(|line| line.number).collect();
        let wanted: Vec<u64> = expected.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, wanted, "{bad:?}");
        for (line, (_, says)) in bad.iter().zip(expected) {
            assert!(line.problem.contains(says), "{line:?} does not say {says}");
        }
    }

    const GOOD: &str = r#"{"service":"crm","method":"POST","path":"/a","body":{"x":1}}"#;

    #[test]
    fn a_json_line_is_a_call_or_a_whole_job() {
        let text = format!(
            "{GOOD}\n\n{}\n",
            r#"{"kind":"mine","payload":[1],"priority":3,"unique_key":"k"}"#
        );
        let lines = parse(&text, false, &rules()).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].job.kind, "http");
        assert_eq!((lines[1].number, lines[1].job.kind.as_str()), (3, "mine"));
        assert_eq!(lines[1].job.unique_key.as_deref(), Some("k"));
    }

    #[test]
    fn r29_the_same_line_has_the_same_key_whatever_its_white_space() {
        let spaced = GOOD.replace(':', " : ");
        let [a, b] = [GOOD, &spaced].map(|text| parse(text, false, &rules()).unwrap());
        assert_eq!(a[0].job.unique_key, b[0].job.unique_key);
        let twice = parse(&format!("{GOOD}\n{GOOD}"), false, &rules()).unwrap();
        assert_ne!(twice[0].job.unique_key, twice[1].job.unique_key);
    }

    #[test]
    fn every_bad_line_is_named_by_number() {
        let text = [
            GOOD,
            "{",
            "[1]",
            r#"{"service":"crm","method":"POST"}"#,
            r#"{"service":"vendor","method":"GET","path":"/"}"#,
            r#"{"service":"crm","method":"GET","path":"/","bdy":1}"#,
            r#"{"service":"crm","method":"BREW","path":"/"}"#,
            r#"{"kind":"mine","priority":9}"#,
            r#"{"kind":"mine","unique_key":"k"}"#,
            r#"{"kind":"mine","unique_key":"k"}"#,
            r#"{"kind":"mine","payload":"\u0000"}"#,
        ]
        .join("\n");
        check_bad(
            &text,
            false,
            &[
                (2, "no JSON"),
                (3, "object"),
                (4, "path"),
                (5, "crm, openai"),
                (6, "bdy"),
                (7, "BREW"),
                (8, "priority"),
                (10, "line 9"),
                (11, "NUL"),
            ],
        );
        check_bad("\n\n", false, &[(1, "no jobs")]);
    }

    #[test]
    fn a_csv_says_the_same_as_json_lines() {
        let text = "service,method,path,body.name,body.mail,header.X-A,expect,priority\n\
            crm,POST,/a,\"Ada, B.\",a@example.com,1,200 201,2\n\
            openai,GET,/b,,,,,\n";
        let lines = parse(text, true, &rules()).unwrap();
        assert_eq!(
            lines[0].job.payload,
            Some(json!({
                "service": "crm", "method": "POST", "path": "/a",
                "body": {"name": "Ada, B.", "mail": "a@example.com"},
                "headers": {"X-A": "1"}, "expect": [200, 201],
            }))
        );
        assert_eq!((lines[0].number, lines[0].job.priority), (2, Some(2)));
        assert_eq!(
            lines[1].job.payload,
            Some(json!({"service": "openai", "method": "GET", "path": "/b"}))
        );
    }

    #[test]
    fn bad_csv_lines_are_named_by_number() {
        check_bad("servce,path\ncrm,/\n", true, &[(1, "servce")]);
        check_bad("service,service\n", true, &[(1, "twice")]);
        let text = "service,method,path,body,expect\n\
            crm,GET,/,,\n\
            crm,GET,/\n\
            crm,GET,/,{,\n\
            crm,GET,/,\"\"\"a\nb\"\"\",\n\
            crm,GET,/,,2xx\n";
        check_bad(
            text,
            true,
            &[(3, "3 cells"), (4, "body"), (5, "body"), (7, "expect")],
        );
    }

    #[test]
    fn one_named_service_is_the_default_and_several_are_the_choice() {
        let line = r#"{"method":"GET","path":"/"}"#;
        let mut one = rules();
        one.services = ["crm".to_owned()].into();
        let lines = parse(line, false, &one).unwrap();
        assert_eq!(lines[0].job.payload.as_ref().unwrap()["service"], "crm");
        let other = r#"{"service":"openai","method":"GET","path":"/"}"#;
        assert!(parse(other, false, &one).is_err());
        assert!(
            parse(line, false, &rules()).unwrap_err()[0]
                .problem
                .contains("service")
        );
    }
}
