//! `cargo xtask bench`: measures, always optimised and always against a durable PostgreSQL.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::checks::{WORKSPACE, cargo, run};
use crate::postgres::{Durability, Server};
use crate::{Failure, postgres};

/// What criterion measures: the core, and the permit check.
const CORE: &str = "core";

/// The programs of the package of benchmarks, one file each.
const PROGRAMS: &str = "benches/src/bin";

/// What is to be measured, and what its program is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bench {
    name: String,
    arguments: Vec<String>,
}

/// Reads `NAME [-- ARGS]`, or `NAME --write`.
pub(crate) fn parse(arguments: &[&str]) -> Result<Bench, Failure> {
    let names = names()?;
    let known = names.join(", ");
    let [name, rest @ ..] = arguments else {
        return Err(Failure(format!("`bench` needs a name: one of {known}")));
    };
    if !names.iter().any(|known| known == name) {
        return Err(Failure(format!(
            "`bench` does not know `{name}`: it is one of {known}"
        )));
    }
    let arguments = match rest {
        ["--", rest @ ..] => rest,
        [] | ["--write"] => rest,
        [unknown, ..] => {
            return Err(Failure(format!(
                "`bench` does not know `{unknown}`: what {name} is told comes after `--`"
            )));
        }
    };
    Ok(Bench {
        name: (*name).to_owned(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
    })
}

/// What can be measured: the core, and whatever has a program.
fn names() -> Result<Vec<String>, Failure> {
    let folder = Path::new(WORKSPACE).join(PROGRAMS);
    let entries = fs::read_dir(&folder)
        .map_err(|error| Failure(format!("cannot read {}: {error}", folder.display())))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut names: Vec<String> = files
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.push(CORE.into());
    names.sort_unstable();
    Ok(names)
}

impl Bench {
    /// Builds it, starts what it needs, and runs it to its end.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.name == CORE {
            let mut command = cargo("bench --package andon-bench --benches --".split(' '));
            command.args(&self.arguments);
            return run(command);
        }
        let build = format!(
            "build --release --package andon-bench --bin {} --package andon-adapter --bin andon",
            self.name
        );
        run(cargo(build.split(' ')))?;
        // Kept to the end of this function: dropping it stops the server and deletes its data.
        let (_server, url) = server()?;
        let run_it = format!(
            "run --quiet --release --package andon-bench --bin {} --",
            self.name
        );
        let mut command = cargo(run_it.split(' '));
        command
            .args(&self.arguments)
            .env("DATABASE_URL", url)
            .env("ANDON_BINARY", release_binary()?);
        run(command)
    }
}

/// A server that is set as a production server is, or the one that `ANDON_BENCH_DATABASE_URL` names.
fn server() -> Result<(Option<Server>, String), Failure> {
    match env::var("ANDON_BENCH_DATABASE_URL") {
        Ok(url) if !url.is_empty() => Ok((None, url)),
        _ => postgres::start(Durability::Durable),
    }
}

/// The optimised `andon`: where cargo puts it, seen from this program's own place.
fn release_binary() -> Result<PathBuf, Failure> {
    let this = env::current_exe()
        .map_err(|error| Failure(format!("cannot tell where this program is: {error}")))?;
    let target = this.parent().and_then(Path::parent);
    target
        .map(|target| target.join("release/andon"))
        .ok_or_else(|| Failure("this program is in no target folder".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_named_and_what_it_is_told_is_handed_on() {
        let bench = parse(&["store", "--", "--jobs", "7"]).expect("it is known");
        assert_eq!(bench.arguments, ["--jobs", "7"]);
        let bench = parse(&["store", "--write"]).expect("it is known");
        assert_eq!(bench.arguments, ["--write"]);
        assert!(parse(&["core"]).is_ok());
        for (wrong, because) in [
            (&[][..], "needs a name"),
            (&["stroe"], "is one of churn, core, "),
            (&["store", "--jobs"], "after `--`"),
        ] {
            let Failure(text) = parse(wrong).expect_err("it is refused");
            assert!(text.contains(because), "{text}");
        }
    }
}
