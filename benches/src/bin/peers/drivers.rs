//! The drivers of the other queues: installed each from its registry, and run as processes of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use andon_bench::Outcome;

use crate::contenders::{Measured, Settings};

/// Whose driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    GraphileWorker,
    PgBoss,
    Apalis,
    Pgqueuer,
    Awa,
    Procrastinate,
}

/// How long a driver may take.
const TIME_MAX: Duration = Duration::from_mins(3);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Installs what is in the lock files, and builds; nothing where that has been done.
pub(crate) fn install() -> Outcome {
    let (node, python, rust) = (
        folder().join("node"),
        folder().join("python"),
        folder().join("rust"),
    );
    // npm notes in the folder what it installed last.
    if is_older(
        &node.join("node_modules/.package-lock.json"),
        &node.join("package-lock.json"),
    ) {
        // The packages need a newer node than many systems have; it is one of what is installed.
        run_to_end(
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund"])
                .current_dir(&node),
        )?;
    }
    let installed = python.join("venv/installed");
    if is_older(&installed, &python.join("requirements.txt")) {
        run_to_end(
            Command::new("python3")
                .args(["-m", "venv", "venv"])
                .current_dir(&python),
        )?;
        let pip = [
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            "requirements.txt",
        ];
        run_to_end(Command::new("venv/bin/pip").args(pip).current_dir(&python))?;
        std::fs::write(installed, "")?;
    }
    let build = ["build", "--release", "--locked", "--target-dir", "target"];
    // apalis-postgres checks its statements against a database that it finds, which is not one of its own.
    let mut cargo = Command::new("cargo");
    cargo.args(build).current_dir(&rust);
    run_to_end(cargo.env("SQLX_OFFLINE", "true").env_remove("DATABASE_URL"))
}

fn is_older(made: &Path, from: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
    match (modified(made), modified(from)) {
        (Some(made), Some(from)) => made < from,
        _ => true,
    }
}

fn run_to_end(command: &mut Command) -> Outcome {
    let status = command
        .status()
        .map_err(|error| format!("{command:?} could not be run: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// Has a driver enqueue and drain so many jobs in this database.
pub(crate) async fn run(
    driver: Driver,
    database: &str,
    settings: Settings,
    jobs: usize,
) -> Outcome<Measured> {
    let (program, script) = match driver {
        Driver::GraphileWorker => (
            "node/node_modules/.bin/node",
            Some("node/graphile-worker.js"),
        ),
        Driver::PgBoss => ("node/node_modules/.bin/node", Some("node/pg-boss.js")),
        Driver::Pgqueuer => ("python/venv/bin/python", Some("python/drive_pgqueuer.py")),
        Driver::Procrastinate => (
            "python/venv/bin/python",
            Some("python/drive_procrastinate.py"),
        ),
        Driver::Apalis => ("rust/target/release/peer-apalis", None),
        Driver::Awa => ("rust/target/release/peer-awa", None),
    };
    let mut command = tokio::process::Command::new(folder().join(program));
    command.args(script.map(|script| folder().join(script)));
    for (name, value) in [
        ("--jobs", jobs),
        ("--chunk", settings.chunk),
        ("--processes", settings.processes),
        ("--concurrency", settings.concurrency),
        ("--batch", settings.batch),
    ] {
        command.args([name, &value.to_string()]);
    }
    command
        .env("DATABASE_URL", database)
        .stderr(std::process::Stdio::inherit())
        .kill_on_drop(true);
    let output = tokio::time::timeout(TIME_MAX, command.output())
        .await
        .map_err(|_| format!("{driver:?} did not come to its end"))??;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("{driver:?} ended with {}: {text}", output.status).into());
    }
    let answer = text.lines().last().ok_or("a driver gave no answer")?;
    Ok(serde_json::from_str(answer)?)
}
