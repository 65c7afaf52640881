//! Schemathesis against a real server: right, wrong and chained requests, made from the OpenAPI document that
//! the server itself serves, on SQLite and on PostgreSQL.
//!
//! What it is asked to check stands in `schemathesis/schemathesis.toml`, and what the document cannot say in
//! `schemathesis/hooks.py`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Failure;
use crate::browser::binary;
use crate::checks::{WORKSPACE, cargo, run};
use crate::postgres::{self, Durability};
use crate::programs;

/// A version, so that a new release of the tool cannot break what passed yesterday.
const VERSION: &str = "4.32.5";

/// How many requests are made for each operation if nothing else is asked for.
const EXAMPLES: u32 = 50;

const MISSING: &str = "Python 3.10 or newer with its module venv is needed: install it";

/// The token of the operator that asks, and its hash.
const TOKEN: &str = "operator";
const TOKEN_SHA256: &str = "06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23";

/// What is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Schemathesis {
    examples: u32,
    /// Makes a run again.
    seed: Option<String>,
}

/// Reads `[--examples N] [--seed N]`.
pub(crate) fn parse(arguments: &[&str]) -> Result<Schemathesis, Failure> {
    let mut asked = Schemathesis {
        examples: EXAMPLES,
        seed: None,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let wrong = || {
            Failure(format!(
                "`schemathesis`: `{name}` is not followed by a number"
            ))
        };
        let value = *arguments.next().ok_or_else(wrong)?;
        match *name {
            "--examples" => asked.examples = value.parse().map_err(|_| wrong())?,
            "--seed" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                asked.seed = Some(value.to_owned());
            }
            "--seed" => return Err(wrong()),
            other => return Err(Failure(format!("`schemathesis` does not know `{other}`"))),
        }
    }
    Ok(asked)
}

impl Schemathesis {
    /// Does all set-up, and asks a server on each database.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let program = install()?;
        run(cargo(
            "build --package andon-adapter --bin andon".split(' '),
        ))?;
        self.ask(&program, "sqlite://andon.db")?;
        // Kept to the end of this function: dropping it stops the server and deletes its data.
        let (_server, url) = postgres::start(Durability::ThrownAway)?;
        self.ask(&program, &url)
    }

    fn ask(&self, program: &Path, database: &str) -> Result<(), Failure> {
        let line = Line::start(database)?;
        let own = Path::new(WORKSPACE).join("xtask/src/schemathesis");
        let mut command = Command::new(program);
        command
            .current_dir(&line.folder)
            .env("ANDON_TOKEN", TOKEN)
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .env("PYTHONPATH", &own)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg("--config-file")
            .arg(own.join("schemathesis.toml"))
            .args(["run", &format!("{}/api/openapi.json", line.url)])
            .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
            .args(["--checks", "all", "--continue-on-failure"])
            // A stream of events has no end.
            .args(["--exclude-path-regex", "/events$"])
            .args(["--max-examples", &self.examples.to_string()]);
        if let Some(seed) = &self.seed {
            command.args(["--seed", seed]);
        }
        run(command)
    }
}

/// Where it is installed: below the folder of what is built, apart for each version.
fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty());
    let target = target.map_or_else(|| Path::new(WORKSPACE).join("target"), PathBuf::from);
    target.join(format!("schemathesis-{VERSION}"))
}

/// The program, installed from `PyPI` unless it has been.
fn install() -> Result<PathBuf, Failure> {
    let folder = folder();
    let program = folder.join("bin/schemathesis");
    if program.is_file() {
        return Ok(program);
    }
    let python = programs::find(&["python3"]).ok_or_else(|| Failure(MISSING.into()))?;
    let venv = |python: &Path| {
        let mut command = Command::new(python);
        command.args(["-m", "venv"]).arg(&folder);
        run(command)
    };
    if venv(&python).is_err() {
        programs::install(&["python3-venv"], MISSING)?;
        venv(&python)?;
    }
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", &format!("schemathesis=={VERSION}")]);
    run(pip)?;
    Ok(program)
}

/// A server on a line of its own, which ends with this value.
struct Line {
    server: Child,
    url: String,
    folder: PathBuf,
}

impl Line {
    fn start(database: &str) -> Result<Self, Failure> {
        let kind = database.split(':').next().unwrap_or_default();
        let folder = folder().join(kind);
        let failed = |error: std::io::Error| Failure(format!("{}: {error}", folder.display()));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        fs::create_dir_all(&folder).map_err(failed)?;
        let config = format!(
            "[services.apollo]\nthreshold = 3\n[services.openai]\nthreshold = 1\n\
             [[tokens]]\nname = \"{TOKEN}\"\nrole = \"operator\"\nsha256 = \"{TOKEN_SHA256}\"\n"
        );
        fs::write(folder.join("andon.toml"), config).map_err(failed)?;
        let log = fs::File::create(folder.join("server.log")).map_err(failed)?;
        let mut server = Command::new(binary()?)
            .current_dir(&folder)
            .args(["serve", "--listen", "127.0.0.1:0", "--database", database])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut said = String::new();
        if let Some(stdout) = server.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut said)
                .map_err(failed)?;
        }
        let url = said.trim().strip_prefix("listening on ").map(str::to_owned);
        let line = Self {
            server,
            url: url.clone().unwrap_or_default(),
            folder,
        };
        match url {
            Some(_) => Ok(line),
            None => Err(Failure(format!(
                "the server did not start: see {}",
                line.folder.join("server.log").display()
            ))),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _reaped = self.server.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_a_seed_may_be_given() {
        let asked = |examples, seed: Option<&str>| Schemathesis {
            examples,
            seed: seed.map(str::to_owned),
        };
        assert_eq!(parse(&[]), Ok(asked(EXAMPLES, None)));
        let both = ["--seed", "7", "--examples", "200"];
        assert_eq!(parse(&both), Ok(asked(200, Some("7"))));
        for wrong in [
            &["--seed"][..],
            &["--seed", "x"],
            &["--examples", "-1"],
            &["200", "1"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
