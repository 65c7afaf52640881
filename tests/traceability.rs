//! Each rule id is cited by code and by a test, and no citation names a rule that does not exist.
//!
//! Traceability that nothing enforces decays; this test reads the rules and the sources.

#![expect(
    clippy::unwrap_used,
    reason = "a file that cannot be read must fail the test; the lint knows only functions marked as tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Ids that no test can show yet, each with its reason.
const NOT_YET_TESTED: &[(&str, &str)] = &[];

/// Ids that no code cites, each with its reason.
const NOT_IN_CODE: &[(&str, &str)] = &[(
    "L1",
    "a property of the whole, kept by no single place in the code",
)];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "sql") {
            found.push(path);
        }
    }
}

/// The ids that a text cites: `R8`, `I5`, `D2`, `L1`, ranges such as `R7–R11` included, and test names
/// such as `r8_resume_is_refused`.
fn cited(text: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let bytes: Vec<char> = text.chars().collect();
    let mut previous: Option<(char, u32)> = None;
    let mut i = 0;
    while i < bytes.len() {
        let letter = bytes[i];
        let starts_word = i == 0 || !(bytes[i - 1].is_alphanumeric() || bytes[i - 1] == '_');
        if starts_word && "RIDLrid".contains(letter) {
            let digits: String = bytes[i + 1..]
                .iter()
                .take_while(|c| c.is_ascii_digit())
                .take(3)
                .collect();
            let end = i + 1 + digits.len();
            let is_name = letter.is_lowercase() && bytes.get(end) == Some(&'_');
            let is_id = letter.is_uppercase()
                && !bytes
                    .get(end)
                    .is_some_and(|c| c.is_alphanumeric() || *c == '_');
            if let (Ok(number), true) = (digits.parse::<u32>(), is_name || is_id) {
                let letter = letter.to_ascii_uppercase();
                if let Some((from_letter, from)) = previous.take()
                    && from_letter == letter
                {
                    ids.extend((from..number).map(|n| format!("{letter}{n}")));
                }
                ids.insert(format!("{letter}{number}"));
                if bytes.get(end) == Some(&'–') {
                    previous = Some((letter, number));
                }
                i = end;
                continue;
            }
        }
        if letter != '–' {
            previous = None;
        }
        i += 1;
    }
    ids
}

fn rules() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/rules.md")).unwrap();
    let mut ids = BTreeSet::new();
    for part in text.split("**").skip(1).step_by(2) {
        let is_id = part.len() <= 3
            && part.starts_with(['R', 'I', 'D', 'L'])
            && part[1..].chars().all(|c| c.is_ascii_digit())
            && part.len() > 1;
        if is_id {
            ids.insert(part.to_owned());
        }
    }
    ids
}

fn cited_below(folders: &[&str]) -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in folders {
        sources(&root().join(folder), &mut files);
    }
    files
        .iter()
        .flat_map(|file| cited(&fs::read_to_string(file).unwrap()))
        .collect()
}

#[test]
fn every_rule_is_cited_by_code_and_by_a_test() {
    let rules = rules();
    assert!(
        rules.len() > 60,
        "only {} rule ids were found in docs/rules.md",
        rules.len()
    );
    let code = cited_below(&["src", "adapter/src"]);
    let tests = cited_below(&["tests", "adapter/tests", "model/src"]);
    let excused = |list: &[(&str, &str)], id: &str| list.iter().any(|(known, _)| *known == id);
    let no_code: Vec<_> = rules
        .difference(&code)
        .filter(|id| !excused(NOT_IN_CODE, id))
        .collect();
    let no_test: Vec<_> = rules
        .difference(&tests)
        .filter(|id| !excused(NOT_YET_TESTED, id))
        .collect();
    assert!(no_code.is_empty(), "no code cites {no_code:?}");
    assert!(no_test.is_empty(), "no test cites {no_test:?}");
}

#[test]
fn no_citation_names_a_rule_that_does_not_exist() {
    let rules = rules();
    for folder in ["src", "adapter/src", "tests", "adapter/tests", "model/src"] {
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        for file in files {
            if file.ends_with("traceability.rs") {
                continue;
            }
            let ids = cited(&fs::read_to_string(&file).unwrap());
            let unknown: Vec<_> = ids.difference(&rules).collect();
            assert!(unknown.is_empty(), "{} cites {unknown:?}", file.display());
        }
    }
}
