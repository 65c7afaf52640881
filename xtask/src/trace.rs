//! Which code, model property, property test and API test carries each rule of `docs/rules.md`.
//!
//! A rule that nothing cites is a gap, and so is a citation of a rule that does not exist. The table
//! stands at the end of `docs/rules.md`; CI checks that it is current and has no hole.
//!
//! Places are read off the text of the sources, without a compiler: a doc comment belongs to the item
//! below it, any other comment or string to the function around it, and a test's name to the test.

mod cite;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::checks::WORKSPACE;
use cite::Rule;
use source::{Place, Strength};

/// Prints the table. Fails on a hole, on an exception that nothing needs any more, on a citation of a
/// rule that does not exist, and on a table in `docs/rules.md` that is not this one.
pub(crate) fn check() -> Result<(), Failure> {
    let traced = Traced::read(Path::new(WORKSPACE))?;
    println!("{}", traced.table());
    let mut faults = traced.faults();
    if traced.stored_table() != Some(traced.section().as_str()) {
        faults.push(format!(
            "the table in {RULES} is not current: `cargo xtask trace --write` writes it"
        ));
    }
    answer(&faults)
}

/// Writes the table into `docs/rules.md`, and fails as [`check`] does.
pub(crate) fn write() -> Result<(), Failure> {
    let traced = Traced::read(Path::new(WORKSPACE))?;
    let text = format!("{}\n{}", traced.written_by_hand(), traced.section());
    fs::write(Path::new(WORKSPACE).join(RULES), text)
        .map_err(|error| Failure(format!("{RULES} cannot be written: {error}")))?;
    answer(&traced.faults())
}

fn answer(faults: &[String]) -> Result<(), Failure> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure(faults.join("\nxtask: ")))
    }
}

/// What a rule must be carried by, one column of the table each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Code,
    Model,
    Property,
    Api,
}

impl Column {
    const ALL: [Self; 4] = [Self::Code, Self::Model, Self::Property, Self::Api];

    const fn title(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Model => "model property",
            Self::Property => "property test",
            Self::Api => "API test",
        }
    }

    /// Where it is looked for; what is found in an earlier folder is named first.
    const fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Code => &["src", "adapter/src"],
            Self::Model => &["model/src", "model/tests"],
            Self::Property => &["tests"],
            Self::Api => &["adapter/tests"],
        }
    }

    /// Whether a citation there carries its rule, in this column.
    fn counts(self, place: &Place) -> bool {
        match self {
            // A unit test beside the code is not the code, and a text that it prints is no promise.
            Self::Code => !place.in_unit_tests && place.strength != Strength::Text,
            Self::Model => true,
            // What the doc of a file, of a type or of a helper says, no test shows.
            Self::Property | Self::Api => {
                let is_helper = place.file.ends_with("/mod.rs");
                let is_test_file = place.file.contains("/compile_fail/");
                (place.is_function && !is_helper) || is_test_file
            }
        }
    }
}

/// A rule that a column need not carry, with the reason.
type Exception = (&'static str, Column, &'static str);

/// Short on purpose. One that is no longer needed is a fault.
const EXCEPTIONS: &[Exception] = &[
    ("R33", Column::Model, NOT_IN_THE_CORE),
    ("R33", Column::Property, NOT_IN_THE_CORE),
    (
        "D4",
        Column::Model,
        "about what readers of a database see; models look at the state itself",
    ),
];

const NOT_IN_THE_CORE: &str =
    "what an HTTP answer means is decided in the adapter, before the core";

/// What the sources say.
struct Traced {
    /// `docs/rules.md` as it is.
    rules_text: String,
    rules: BTreeSet<Rule>,
    /// By rule and column, the best place first.
    places: BTreeMap<(Rule, Column), Vec<Place>>,
    /// Citations of rules that do not exist.
    unknown: Vec<(Rule, Place)>,
    exceptions: &'static [Exception],
}

impl Traced {
    fn read(root: &Path) -> Result<Self, Failure> {
        let rules_text = read(&root.join(RULES))?;
        let mut traced = Self::new(rules_text, EXCEPTIONS);
        for column in Column::ALL {
            for folder in column.folders() {
                let mut files = Vec::new();
                sources(&root.join(folder), &mut files)?;
                files.sort();
                for file in files {
                    let shown = file.strip_prefix(root).unwrap_or(&file);
                    traced.add(column, &shown.to_string_lossy(), &read(&file)?);
                }
            }
        }
        Ok(traced)
    }

    fn new(rules_text: String, exceptions: &'static [Exception]) -> Self {
        let (by_hand, _) = split(&rules_text);
        Self {
            rules: cite::defined(by_hand),
            rules_text,
            places: BTreeMap::new(),
            unknown: Vec::new(),
            exceptions,
        }
    }

    /// Adds what one file cites. Files are added in the order in which they are to be named.
    fn add(&mut self, column: Column, file: &str, text: &str) {
        for (rule, place) in source::citations(file, text) {
            if !self.rules.contains(&rule) {
                self.unknown.push((rule, place));
            } else if column.counts(&place) {
                let places = self.places.entry((rule, column)).or_default();
                match places.iter_mut().find(|known| known.name == place.name) {
                    Some(known) => known.strength = known.strength.min(place.strength),
                    None => places.push(place),
                }
                // Stable: places of equal strength stay in the order of folders and files.
                places.sort_by_key(|place| place.strength);
            }
        }
    }

    fn exception(&self, rule: Rule, column: Column) -> Option<&'static str> {
        let id = rule.to_string();
        let mut exceptions = self.exceptions.iter();
        exceptions
            .find_map(|(excused, of, reason)| (*excused == id && *of == column).then_some(*reason))
    }

    fn places(&self, rule: Rule, column: Column) -> &[Place] {
        self.places.get(&(rule, column)).map_or(&[], Vec::as_slice)
    }

    /// The table as Markdown.
    fn table(&self) -> String {
        let mut table = String::from("| rule |");
        for column in Column::ALL {
            let _ = write!(table, " {} |", column.title());
        }
        table.push_str("\n| --- | --- | --- | --- | --- |\n");
        for rule in &self.rules {
            let _ = write!(table, "| {rule} |");
            for column in Column::ALL {
                let _ = write!(table, " {} |", self.cell(*rule, column));
            }
            table.push('\n');
        }
        table
    }

    fn cell(&self, rule: Rule, column: Column) -> String {
        let places = self.places(rule, column);
        let Some(best) = places.first() else {
            let reason = self.exception(rule, column);
            return reason.map_or_else(|| HOLE.into(), |reason| format!("— ({reason})"));
        };
        // The second place stands in another file, if there is one: it tells more.
        let second = places
            .iter()
            .skip(1)
            .min_by_key(|place| (place.file == best.file, place.strength));
        let mut cell = best.shown();
        if let Some(second) = second {
            let _ = write!(cell, ", {}", second.shown());
        }
        if places.len() > 2 {
            let _ = write!(cell, ", +{}", places.len() - 2);
        }
        cell
    }

    /// Everything but the table's being current.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.rules.is_empty() {
            faults.push(format!("no rule is defined in {RULES}"));
        }
        for column in Column::ALL {
            let holes: Vec<String> = self
                .rules
                .iter()
                .filter(|rule| self.places(**rule, column).is_empty())
                .filter(|rule| self.exception(**rule, column).is_none())
                .map(ToString::to_string)
                .collect();
            if !holes.is_empty() {
                let folders = column.folders().join(" and ");
                faults.push(format!(
                    "no {} in {folders} cites {}",
                    column.title(),
                    holes.join(", ")
                ));
            }
        }
        for (excused, column, _) in self.exceptions {
            let rule = self.rules.iter().find(|rule| rule.to_string() == *excused);
            match rule {
                None => faults.push(format!(
                    "an exception is made for {excused}, which is no rule"
                )),
                Some(rule) => {
                    if let Some(place) = self.places(*rule, *column).first() {
                        faults.push(format!(
                            "the exception of {rule} from a {} is no longer needed: {}",
                            column.title(),
                            place.name
                        ));
                    }
                }
            }
        }
        for (rule, place) in &self.unknown {
            faults.push(format!("{} cites {rule}, which is no rule", place.name));
        }
        faults
    }

    /// The generated section, markers included.
    fn section(&self) -> String {
        format!("{BEGIN}\n\n{INTRODUCTION}\n\n{}\n{END}\n", self.table())
    }

    fn written_by_hand(&self) -> &str {
        split(&self.rules_text).0
    }

    fn stored_table(&self) -> Option<&str> {
        split(&self.rules_text).1
    }
}

/// The rules as people wrote them, and the generated section, if there is one.
fn split(rules_text: &str) -> (&str, Option<&str>) {
    match rules_text.find(BEGIN) {
        Some(at) => {
            let (by_hand, section) = rules_text.split_at(at);
            // The blank line between them belongs to the section.
            (by_hand.strip_suffix('\n').unwrap_or(by_hand), Some(section))
        }
        None => (rules_text, None),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure(format!("{} cannot be read: {error}", file.display())))
}

/// Every source below a folder. A folder that does not exist has none.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry
            .map_err(|error| Failure(format!("{} cannot be read: {error}", folder.display())))?
            .path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs" || e == "sql") {
            found.push(path);
        }
    }
    Ok(())
}

const RULES: &str = "docs/rules.md";

/// What stands in a cell that neither a place nor an exception fills.
const HOLE: &str = "**none**";

const BEGIN: &str = "<!-- generated by `cargo xtask trace --write`: do not edit below -->";

const END: &str = "<!-- end of what is generated -->";

const INTRODUCTION: &str = "\
## 10. Where each rule is kept and shown

One or two places for each rule, the most telling first, and the number of further ones. *Code* cites
the rule where it keeps it. A *model property* is checked in every state that a model reaches. A
*property test* shows it on the core, by random stories, by tables of every state × every command, by
cases or by code that must not compile. An *API test* shows it over HTTP, on the command line, in a
worker or on a database.";

#[cfg(test)]
mod tests {
    use super::*;

    const RULES_TEXT: &str = "# Rules\n\n- **R1** One.\n- **R2** Two, as R1.\n- **L1** Live.\n";

    const NO_CODE: &[Exception] = &[("L1", Column::Code, "a property of the whole")];

    /// Every rule carried in every column, but for L1 in the code.
    fn whole() -> Traced {
        let mut traced = Traced::new(RULES_TEXT.into(), NO_CODE);
        traced.add(
            Column::Code,
            "src/a.rs",
            "/// R1, R2: so.\nfn decide() {}\n",
        );
        let property = "fn properties() { always(\"R1, R2: always\"); eventually(\"L1: ends\") }\n";
        traced.add(Column::Model, "model/src/a.rs", property);
        let tests = "fn r1_to_r2_all() {}\nfn l1_all() {}\n";
        traced.add(Column::Property, "tests/a.rs", tests);
        traced.add(Column::Api, "adapter/tests/a.rs", tests);
        traced
    }

    #[test]
    fn a_whole_table_has_no_fault() {
        let traced = whole();
        assert_eq!(traced.faults(), Vec::<String>::new());
        assert_eq!(
            traced.table(),
            "\
| rule | code | model property | property test | API test |
| --- | --- | --- | --- | --- |
| R1 | `src/a.rs::decide` | `model/src/a.rs` “R1, R2: always” | `tests/a.rs::r1_to_r2_all` | `adapter/tests/a.rs::r1_to_r2_all` |
| R2 | `src/a.rs::decide` | `model/src/a.rs` “R1, R2: always” | `tests/a.rs::r1_to_r2_all` | `adapter/tests/a.rs::r1_to_r2_all` |
| L1 | — (a property of the whole) | `model/src/a.rs` “L1: ends” | `tests/a.rs::l1_all` | `adapter/tests/a.rs::l1_all` |
"
        );
    }

    #[test]
    fn a_hole_is_a_fault_and_stands_in_the_table() {
        let mut traced = whole();
        let r2: Rule = Rule {
            letter: 'R',
            number: 2,
        };
        traced.places.remove(&(r2, Column::Api));
        assert_eq!(traced.faults(), ["no API test in adapter/tests cites R2"]);
        assert!(traced.table().contains("| **none** |"));
    }

    #[test]
    fn an_exception_that_nothing_needs_is_a_fault() {
        let mut traced = whole();
        traced.add(Column::Code, "src/b.rs", "/// L1: here.\nfn live() {}\n");
        let [fault] = &traced.faults()[..] else {
            unreachable!("one fault: {:?}", traced.faults())
        };
        assert!(
            fault.contains("no longer needed: src/b.rs::live"),
            "{fault}"
        );
    }

    #[test]
    fn a_citation_of_no_rule_is_a_fault() {
        let mut traced = whole();
        traced.add(Column::Code, "src/b.rs", "fn a() {\n    // R99: what?\n}\n");
        assert_eq!(traced.faults(), ["src/b.rs::a cites R99, which is no rule"]);
    }

    #[test]
    fn what_only_stands_near_a_test_or_a_unit_test_carries_nothing() {
        let mut traced = Traced::new(RULES_TEXT.into(), &[]);
        let of_a_file = "//! R1: shown here.\nfn helper() {}\n";
        traced.add(Column::Property, "tests/a.rs", of_a_file);
        traced.add(
            Column::Property,
            "tests/a.rs",
            "const TEXT: &str = \"R1\";\n",
        );
        traced.add(
            Column::Property,
            "tests/kit/mod.rs",
            "/// R1\nfn helper() {}\n",
        );
        assert!(traced.places.is_empty());
        let unit_test = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn r1_so() {}\n}\n";
        traced.add(Column::Code, "src/a.rs", unit_test);
        traced.add(Column::Code, "src/a.rs", "fn a() { print(\"R1\") }\n");
        assert!(traced.places.is_empty());
        traced.add(Column::Property, "tests/compile_fail/a.rs", of_a_file);
        assert_eq!(traced.places.len(), 1);
    }

    #[test]
    fn the_second_place_is_of_another_file_and_the_rest_is_counted() {
        let mut traced = Traced::new(RULES_TEXT.into(), &[]);
        let three = "fn r1_a() {}\nfn r1_b() {}\n/// As R1 says.\nfn c() {}\n";
        traced.add(Column::Api, "adapter/tests/a.rs", three);
        traced.add(
            Column::Api,
            "adapter/tests/b.rs",
            "/// As R1 says.\nfn d() {}\n",
        );
        let rule = Rule {
            letter: 'R',
            number: 1,
        };
        assert_eq!(
            traced.cell(rule, Column::Api),
            "`adapter/tests/a.rs::r1_a`, `adapter/tests/b.rs::d`, +2"
        );
    }

    #[test]
    fn what_people_wrote_stays_as_it_is_however_often_the_table_is_written() {
        let mut traced = whole();
        for _ in 0..2 {
            let text = format!("{}\n{}", traced.written_by_hand(), traced.section());
            assert!(text.starts_with(RULES_TEXT));
            traced.rules_text = text;
            assert_eq!(traced.stored_table(), Some(traced.section().as_str()));
            assert_eq!(traced.written_by_hand(), RULES_TEXT);
        }
        // The ids in the table define no rule.
        assert_eq!(
            Traced::new(traced.rules_text.clone(), &[]).rules,
            traced.rules
        );
    }
}
