//! What a person should know of an SQLite file.

use std::path::Path;

use sqlx::SqlitePool;

use crate::store::{Condition, Error, Result, Weight};

/// With less room than this the line will soon refuse everything.
const ROOM_MIN: u64 = 1 << 30;

/// A write-ahead log as large as this has not been taken over for long.
const LOG_MAX: u64 = 1 << 30;

pub(super) async fn of(path: &Path, readers: &SqlitePool) -> Result<Vec<Condition>> {
    let size = tokio::fs::metadata(path).await.map_err(of_file)?.len();
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(readers)
        .await?;
    let file = Condition {
        about: "file",
        says: format!("{} of SQLite {version}", mebibytes(size)),
        weight: Weight::Well,
        advice: None,
    };
    Ok(vec![file, room(path)?, log(path).await])
}

fn room(path: &Path) -> Result<Condition> {
    let of_volume = rustix::fs::statvfs(path).map_err(|error| of_file(error.into()))?;
    let free = of_volume.f_bavail.saturating_mul(of_volume.f_frsize);
    let is_low = free < ROOM_MIN;
    Ok(Condition {
        about: "disk",
        says: format!("{} are free where the file is", mebibytes(free)),
        weight: if is_low { Weight::Wrong } else { Weight::Well },
        advice: is_low
            .then_some("make room: a line that cannot write refuses everything, and loses nothing"),
    })
}

async fn log(path: &Path) -> Condition {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let size = tokio::fs::metadata(Path::new(&name))
        .await
        .map_or(0, |log| log.len());
    let is_large = size > LOG_MAX;
    Condition {
        about: "write-ahead log",
        says: mebibytes(size),
        weight: if is_large { Weight::Note } else { Weight::Well },
        advice: is_large
            .then_some("something has been reading the file for very long: look for it and end it"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn of_file(error: std::io::Error) -> Error {
    Error::Unreachable(Box::new(error))
}
