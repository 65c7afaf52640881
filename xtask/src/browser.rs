//! The tests of the operator's screen in a real browser: their set-up, and the run.
//!
//! They are a package of npm's in [`FOLDER`], run by `node --test`: each test starts the program
//! `andon` on a database of its own, and drives Debian's Chromium.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use crate::checks::{WORKSPACE, cargo, run};
use crate::{Failure, postgres, programs};

/// Where the package is, in the workspace.
const FOLDER: &str = "adapter/tests/browser";

/// How the files end that hold tests of the suite.
const TESTS: &str = ".test.js";

/// The oldest version of node that can run them.
const NODE_MIN: u32 = 20;

/// How many tests run at a time: a browser, a server and a worker each keep two cores busy enough.
const AT_A_TIME: &str = "--test-concurrency=2";

/// Chromium under its names on PATH; CHROMIUM may name another place.
const CHROMIUM: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// What is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Every test, or those that these arguments of `node --test` select.
    Tests(Vec<String>),
    /// One page, kept open for so long.
    Soak(Duration),
    /// The pictures for the documents.
    Screenshots,
}

/// Reads `[-- ARGS]`, `--soak TIME` or `--screenshots`.
pub(crate) fn parse(arguments: &[&str]) -> Result<Suite, Failure> {
    match arguments {
        [] => Ok(Suite::whole()),
        ["--", extra @ ..] => {
            let extra = extra.iter().map(ToString::to_string);
            Ok(Suite::Tests(extra.collect()))
        }
        ["--soak", time] => parse_time(time).map(Suite::Soak),
        ["--screenshots"] => Ok(Suite::Screenshots),
        [unknown, ..] => Err(Failure(format!(
            "`browser` does not know `{unknown}`: what selects tests comes after `--`"
        ))),
    }
}

fn parse_time(text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure(format!("`{text}` is no time such as 90s, 15m or 1h"));
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .get(..text.len().saturating_sub(1))
        .and_then(|number| number.parse().ok())
        .filter(|number| *number > 0)
        .ok_or_else(wrong)?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

impl Suite {
    /// Every test.
    pub(crate) const fn whole() -> Self {
        Self::Tests(Vec::new())
    }

    /// Does all set-up, PostgreSQL included, and runs it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // Kept to the end of this function: dropping it stops the server and deletes its data.
        let (_server, url) = postgres::for_tests()?;
        self.run_against(&url)
    }

    /// The same against a PostgreSQL that runs.
    pub(crate) fn run_against(&self, database_url: &str) -> Result<(), Failure> {
        let chromium = chromium()?;
        let folder = Path::new(WORKSPACE).join(FOLDER);
        install_packages(&folder)?;
        // With the features that the other tests have, so that nothing is built twice.
        run(cargo(
            "build --workspace --all-features --bin andon".split(' '),
        ))?;

        let mut command = Command::new("node");
        command
            .current_dir(&folder)
            .env("DATABASE_URL", database_url)
            .env("CHROMIUM", chromium)
            .env("ANDON_BINARY", binary()?)
            .args(["--test", "--test-reporter=spec", AT_A_TIME]);
        match self {
            Self::Tests(extra) => command.args(extra).args(test_files(&folder)?),
            Self::Soak(time) => command
                .env("ANDON_SOAK_SECONDS", time.as_secs().to_string())
                .arg(format!("soak{TESTS}")),
            Self::Screenshots => command.arg("screenshots.js"),
        };
        run(command)
    }
}

/// Finds Chromium, node and npm, and installs what of them is missing.
fn chromium() -> Result<PathBuf, Failure> {
    let named = env::var_os("CHROMIUM").filter(|path| !path.is_empty());
    let find = || match &named {
        Some(path) => Some(PathBuf::from(path)),
        None => programs::find(&CHROMIUM),
    };
    let mut missing = Vec::new();
    if find().is_none() {
        missing.push("chromium");
    }
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        if programs::find(&[program]).is_none() {
            missing.push(package);
        }
    }
    if !missing.is_empty() {
        programs::install(&missing, MISSING)?;
    }
    match node_version() {
        Some(version) if version >= NODE_MIN => {}
        _ => return Err(Failure(MISSING.into())),
    }
    find()
        .filter(|path| path.is_file())
        .ok_or_else(|| Failure(MISSING.into()))
}

fn node_version() -> Option<u32> {
    let output = Command::new("node").arg("--version").output().ok()?;
    major_version(&String::from_utf8(output.stdout).ok()?)
}

/// Reads what `node --version` prints, such as `v20.20.2`.
fn major_version(text: &str) -> Option<u32> {
    let (major, _) = text.trim().strip_prefix('v')?.split_once('.')?;
    major.parse().ok()
}

/// Installs the package's dependencies as its lock file has them, unless that has been done.
fn install_packages(folder: &Path) -> Result<(), Failure> {
    let changed = |file: &str| {
        let metadata = fs::metadata(folder.join(file)).ok();
        metadata.and_then(|metadata| metadata.modified().ok())
    };
    let installed = changed("node_modules/.package-lock.json");
    if installed.is_some() && installed >= changed("package-lock.json") {
        return Ok(());
    }
    let mut command = Command::new("npm");
    command
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder);
    run(command)
}

/// The program `andon`, which cargo puts beside this one.
pub(crate) fn binary() -> Result<PathBuf, Failure> {
    let this = env::current_exe()
        .map_err(|error| Failure(format!("cannot tell where this program is: {error}")))?;
    Ok(this.with_file_name("andon"))
}

fn test_files(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(folder)
        .map_err(|error| Failure(format!("cannot read {}: {error}", folder.display())))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(TESTS)).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Err(Failure(format!("there is no test in {}", folder.display())));
    }
    Ok(names)
}

const MISSING: &str =
    "the tests of the operator's screen need Chromium, node (version 20 or newer) \
and npm. Install them:
  Debian, Ubuntu: apt-get install chromium nodejs npm   (as root, this command does that itself;
                  where the packaged node is older than 20, install one from nodejs.org)
  Fedora:         dnf install chromium nodejs npm
  macOS:          brew install node && brew install --cask chromium
and set CHROMIUM to the browser's program where that is not on PATH";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(arguments: &[&str], because: &str) {
        let Failure(text) = parse(arguments).expect_err("it is refused");
        assert!(text.contains(because), "{text}");
    }

    #[test]
    fn the_whole_suite_a_selection_a_soak_and_the_pictures_are_told_apart() {
        assert_eq!(parse(&[]), Ok(Suite::whole()));
        let selected = Suite::Tests(vec!["--test-name-pattern=r8_".into()]);
        assert_eq!(parse(&["--", "--test-name-pattern=r8_"]), Ok(selected));
        assert_eq!(parse(&["--screenshots"]), Ok(Suite::Screenshots));
        for (time, seconds) in [("90s", 90), ("15m", 900), ("1h", 3600)] {
            let soak = Suite::Soak(Duration::from_secs(seconds));
            assert_eq!(parse(&["--soak", time]), Ok(soak));
        }
        refused(&["r8_"], "after `--`");
        for time in ["", "s", "0s", "15", "1d", "-1h"] {
            refused(&["--soak", time], "no time such as");
        }
    }

    #[test]
    fn the_version_of_node_is_read_from_what_it_prints() {
        assert_eq!(major_version("v20.20.2\n"), Some(20));
        assert_eq!(major_version("node: not found"), None);
    }

    #[test]
    fn the_folder_of_the_tests_has_some() {
        let files = test_files(&Path::new(WORKSPACE).join(FOLDER)).expect("the folder is read");
        assert!(files.iter().all(|file| file.ends_with(TESTS)));
    }
}
