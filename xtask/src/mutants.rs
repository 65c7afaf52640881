//! `cargo xtask mutants`: breaks one rule of the core at a time, and shows which check notices.
//!
//! Each mutant is the core with a few words of its source replaced, in a copy of the checked-in tree. The
//! layers are run from the quickest to the slowest until one fails: the models, then the core's tests. A
//! mutant that no layer notices is a hole in the checks.

mod list;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use list::MUTANTS;

/// The core with one rule broken on purpose.
pub(crate) struct Mutant {
    /// What it is called, here and in the table.
    pub(crate) name: &'static str,
    /// The rules that it breaks.
    pub(crate) rules: &'static str,
    /// What it does, in words.
    pub(crate) what: &'static str,
    /// The file that it changes.
    pub(crate) file: &'static str,
    /// The text that it replaces: it stands exactly once in the file.
    pub(crate) find: &'static str,
    /// What stands there instead.
    pub(crate) replace: &'static str,
}

/// How a mutant fared.
struct Fate {
    mutant: &'static Mutant,
    killed: Option<Killed>,
}

/// What noticed a mutant.
struct Killed {
    layer: &'static str,
    /// The property or test.
    by: String,
    /// How many steps the counter-example has, where there is one.
    steps: Option<usize>,
}

/// A layer may hang on a mutant: it grows a state space, or never ends a story.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs the mutants whose names contain one of `names`, or all. `write` puts the table into the docs.
pub(crate) fn run(names: &[String], write: Writing) -> Result<(), Failure> {
    let chosen: Vec<&Mutant> = MUTANTS
        .iter()
        .filter(|mutant| names.is_empty() || names.iter().any(|name| mutant.name.contains(name)))
        .collect();
    if chosen.is_empty() {
        return Err(Failure(format!(
            "no mutant is called {}",
            names.join(" or ")
        )));
    }
    let tree = Tree::copy()?;
    let begun = Instant::now();
    let mut fates = Vec::new();
    for (number, mutant) in (1..).zip(&chosen) {
        eprintln!(
            "[{number}/{}] {}: {}",
            chosen.len(),
            mutant.name,
            mutant.what
        );
        let killed = tree.judge(mutant)?;
        match &killed {
            Some(killed) => {
                let steps = killed.steps.map(|steps| format!(", in {steps} steps"));
                eprintln!(
                    "    killed by {}: {}{}",
                    killed.layer,
                    killed.by,
                    steps.unwrap_or_default()
                );
            }
            None => eprintln!("    SURVIVED"),
        }
        fates.push(Fate { mutant, killed });
    }
    let table = table(&fates);
    if write == Writing::Docs {
        let file = Path::new(WORKSPACE).join(TABLE);
        fs::write(&file, &table)
            .map_err(|error| Failure(format!("cannot write {TABLE}: {error}")))?;
    }
    print!("{table}");
    let survivors: Vec<&str> = fates
        .iter()
        .filter(|fate| fate.killed.is_none())
        .map(|fate| fate.mutant.name)
        .collect();
    eprintln!(
        "{} mutants in {:.0} s",
        fates.len(),
        begun.elapsed().as_secs_f64()
    );
    if survivors.is_empty() {
        Ok(())
    } else {
        Err(Failure(format!("survived: {}", survivors.join(", "))))
    }
}

/// Where the table goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// To standard output.
    Shown,
    /// And into the docs.
    Docs,
}

/// The models, from the smallest on.
const CHECK: &str = "run --quiet -p andon-model -- check --small --fail-fast";
/// What notices a mutant that breaks no property, and yet changes what is reachable.
const PINNED: &str = "the pinned number of states";
const TABLE: &str = "docs/mutants.md";
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A copy of the sources, to be broken.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn copy() -> Result<Self, Failure> {
        let root = Path::new(WORKSPACE).join("target/mutants/tree");
        let listed = Command::new("git")
            .args("ls-files --cached --others --exclude-standard -z".split(' '))
            .current_dir(WORKSPACE)
            .output()
            .map_err(|error| Failure(format!("`git ls-files` could not be run: {error}")))?;
        let files = String::from_utf8_lossy(&listed.stdout);
        for file in files.split('\0').filter(|file| !file.is_empty()) {
            let from = Path::new(WORKSPACE).join(file);
            // What is deleted, and not yet so in git, is not there.
            let Ok(content) = fs::read(&from) else {
                continue;
            };
            put(&root.join(file), &content)?;
        }
        Ok(Self { root })
    }

    /// Breaks the core, runs the layers, and mends it again.
    fn judge(&self, mutant: &Mutant) -> Result<Option<Killed>, Failure> {
        let file = self.root.join(mutant.file);
        let whole = fs::read_to_string(&file)
            .map_err(|error| Failure(format!("cannot read {}: {error}", mutant.file)))?;
        let broken = mutant.applied(&whole)?;
        fs::write(&file, broken)
            .map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))?;
        let killed = self.models().and_then(|killed| match killed {
            Some(killed) if killed.by != PINNED => Ok(Some(killed)),
            // A number that moved says that something is different, and not what: a test may.
            moved => Ok(self.tests()?.or(moved)),
        });
        fs::write(&file, whole)
            .map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))?;
        killed
    }

    fn cargo(&self, arguments: &str) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(arguments.split(' '))
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.root.join("../target"))
            // The kill counts, not the shortest story.
            .env("PROPTEST_MAX_SHRINK_ITERS", "200");
        command
    }

    /// The models, small.
    fn models(&self) -> Result<Option<Killed>, Failure> {
        let built = output(self.cargo("build --quiet -p andon-model"), LIMIT)?;
        if !built.is_success {
            // No reason to stop, but one to mend the list: it counts as survived.
            eprintln!("    it does not build:\n{}", built.text);
            return Ok(None);
        }
        let checked = output(self.cargo(CHECK), LIMIT)?;
        let killed = checked
            .text
            .lines()
            .filter_map(violation)
            .min_by_key(|killed| killed.steps.unwrap_or(usize::MAX));
        Ok(killed.or_else(|| checked.has_hung.then(|| Killed::hung("models"))))
    }

    /// The core's own tests.
    fn tests(&self) -> Result<Option<Killed>, Failure> {
        let tested = output(
            self.cargo("test --quiet -p andon --lib --tests --no-fail-fast"),
            LIMIT,
        )?;
        let is_built = !tested.text.contains("error: could not compile");
        if tested.is_success || !is_built {
            return Ok(None);
        }
        if tested.has_hung {
            return Ok(Some(Killed::hung("tests")));
        }
        let mut failed = tested.text.lines().rev().filter_map(|line| {
            // `    name` in the list of failures at the end of each test program.
            let name = line.strip_prefix("    ")?;
            let is_name = name
                .chars()
                .all(|c| c.is_alphanumeric() || "_:".contains(c));
            is_name.then(|| name.to_owned())
        });
        let by = failed.next().unwrap_or_else(|| "a test".into());
        Ok(Some(Killed {
            layer: "tests",
            by,
            steps: None,
        }))
    }
}

impl Mutant {
    /// The file's text with the rule broken.
    fn applied(&self, whole: &str) -> Result<String, Failure> {
        match whole.matches(self.find).count() {
            1 => Ok(whole.replacen(self.find, self.replace, 1)),
            count => Err(Failure(format!(
                "mutant {}: the text that it replaces stands {count} times in {}: bring \
                 xtask/src/mutants/list.rs up to date",
                self.name, self.file
            ))),
        }
    }
}

impl Killed {
    fn hung(layer: &'static str) -> Self {
        Self {
            layer,
            by: format!("it did not end within {} minutes", LIMIT.as_secs() / 60),
            steps: None,
        }
    }
}

/// A line of the models' report that says what was noticed.
fn violation(line: &str) -> Option<Killed> {
    let line = line.trim_start();
    let (by, steps) = if line.starts_with("WRONG") {
        (PINNED, None)
    } else if let Some(violated) = line.strip_prefix("VIOLATED") {
        let (name, rest) = violated.rsplit_once(", in ")?;
        (name.trim(), rest.split(' ').next()?.parse().ok())
    } else {
        (line.strip_prefix("NEVER")?.trim(), None)
    };
    Some(Killed {
        layer: "models",
        by: by.to_owned(),
        steps,
    })
}

/// What a command said.
struct Output {
    text: String,
    is_success: bool,
    has_hung: bool,
}

/// Runs a command to its end, or for so long.
fn output(mut command: Command, limit: Duration) -> Result<Output, Failure> {
    let failed = |error| Failure(format!("cargo could not be run: {error}"));
    let log = Path::new(WORKSPACE).join("target/mutants/output");
    let file = fs::File::create(&log).map_err(failed)?;
    let errors = file.try_clone().map_err(failed)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .map_err(failed)?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Some(status);
        }
        if begun.elapsed() > limit {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Ok(Output {
        text: fs::read_to_string(&log).unwrap_or_default(),
        is_success: status.is_some_and(|status| status.success()),
        has_hung: status.is_none(),
    })
}

/// Writes a file unless it says that already, so that nothing is built anew without need.
fn put(file: &Path, content: &[u8]) -> Result<(), Failure> {
    if fs::read(file).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let written = match file.parent() {
        Some(folder) => fs::create_dir_all(folder).and_then(|()| fs::write(file, content)),
        None => fs::write(file, content),
    };
    written.map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))
}

fn table(fates: &[Fate]) -> String {
    let mut table = String::from(
        "# Mutants\n\n\
         Each line is the core with one rule broken on purpose, and what noticed it first: a property\n\
         of a model, with the length of its shortest counter-example, or a test. A test has no such\n\
         length, nor has a situation that a model no longer reaches. Written by\n\
         `cargo xtask mutants --write`, which takes about half an hour.\n\n\
         | rules | broken on purpose | noticed by | steps |\n| --- | --- | --- | --- |\n",
    );
    for Fate { mutant, killed } in fates {
        let (by, steps) = match killed {
            Some(killed) => (
                format!("{}: {}", killed.layer, killed.by.replace('|', "\\|")),
                killed
                    .steps
                    .map_or_else(String::new, |steps| steps.to_string()),
            ),
            None => ("**nothing**".into(), String::new()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {} | {} | {by} | {steps} |",
            mutant.rules, mutant.what
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mutant_still_finds_what_it_breaks() {
        let mut names = BTreeSet::new();
        for mutant in MUTANTS {
            assert!(names.insert(mutant.name), "{} stands twice", mutant.name);
            let whole = fs::read_to_string(Path::new(WORKSPACE).join(mutant.file)).unwrap();
            let broken = mutant.applied(&whole).unwrap();
            assert_ne!(broken, whole, "{} changes nothing", mutant.name);
        }
    }

    #[test]
    fn the_models_report_is_understood() {
        let killed = violation("  VIOLATED  I7, R12: a reset changes its one breaker, in 3 steps:");
        let killed = killed.unwrap();
        assert_eq!(killed.by, "I7, R12: a reset changes its one breaker");
        assert_eq!(killed.steps, Some(3));
        let never = violation("  NEVER     answered: swept lease").unwrap();
        assert_eq!(
            (never.by.as_str(), never.steps),
            ("answered: swept lease", None)
        );
        assert!(violation("  held      I1").is_none());
    }
}
