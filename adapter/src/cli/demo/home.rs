//! Where the demo's line is kept: in a folder of its own that goes away, or in an *empty* database.
//!
//! The demo declares its own services, and starts and ends a line. On a line in use that would retire
//! its services and mix its campaigns with the demo's, so a database that holds anything is refused.

use std::path::{Path, PathBuf};

use sqlx::{Connection as _, PgConnection};

use crate::cli::{Exit, Failure};
use crate::store;

/// Where the line is kept.
#[derive(Debug)]
pub(super) enum Home {
    /// An SQLite file in a temporary folder.
    Scratch(Scratch),
    /// A database that was named, and was empty.
    Given(String),
}

/// A folder that is removed when it is dropped, however the demo ends.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Home {
    /// A new folder, or the named database once it is known to be empty.
    pub(super) async fn prepare(database: Option<&str>) -> Result<Self, Failure> {
        let Some(url) = database else {
            return Ok(Self::Scratch(Scratch::create()?));
        };
        if let Some(file) = sqlite_file(url) {
            if file.exists() {
                return Err(Failure::usage(format!(
                    "{} exists: the demo wants a database of its own",
                    file.display()
                ))
                .next("name a file that does not exist, or leave --database out"));
            }
        } else if is_postgres(url) {
            let tables = postgres_tables(url).await?;
            if tables > 0 {
                return Err(Failure::usage(format!(
                    "that database holds {tables} tables: the demo wants an empty one of its own"
                ))
                .next("make one, such as `createdb andon_demo`, and name it in --database"));
            }
        }
        Ok(Self::Given(url.to_owned()))
    }

    /// The database's URL.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Scratch(Scratch(folder)) => {
                format!("sqlite://{}", folder.join("line.db").display())
            }
            Self::Given(url) => url.clone(),
        }
    }

    /// What the line is kept in, in words.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::Scratch(_) => "an embedded SQLite file",
            Self::Given(url) if is_postgres(url) => "PostgreSQL",
            Self::Given(_) => "an SQLite file",
        }
    }

    /// Whether the line is still there when the demo has ended.
    pub(super) fn stays(&self) -> bool {
        matches!(self, Self::Given(_))
    }
}

impl Scratch {
    fn create() -> Result<Self, Failure> {
        let name = format!("andon-demo-{}", uuid::Uuid::new_v4());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).map_err(|error| {
            let folder = folder.display();
            Failure::new(
                Exit::Other,
                format!("cannot make the folder {folder}: {error}"),
            )
            .next("set TMPDIR to a folder that can be written")
        })?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "the demo's folder stays");
        }
    }
}

/// The file of an `sqlite://` URL, without what follows a `?`.
fn sqlite_file(url: &str) -> Option<&Path> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let file = rest.split_once('?').map_or(rest, |(file, _)| file);
    Some(Path::new(file))
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// How many tables the line's schema would find there. This asks a database that is no line yet, so it
/// is no business of a store.
async fn postgres_tables(url: &str) -> Result<i64, store::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let tables = sqlx::query_scalar(
        "SELECT count(*) FROM pg_catalog.pg_class \
         WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scratch_folder_goes_away_with_its_home() {
        let home = Home::prepare(None).await.unwrap();
        let url = home.url();
        let file = sqlite_file(&url).unwrap();
        let folder = file.parent().unwrap();
        assert!(folder.is_dir() && !home.stays());
        drop(home);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_file_that_exists_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("line.db");
        std::fs::write(&file, "precious").unwrap();
        for url in [
            format!("sqlite://{}", file.display()),
            format!("sqlite:{}?mode=rwc", file.display()),
        ] {
            let refused = Home::prepare(Some(&url)).await.unwrap_err();
            assert_eq!(refused.exit, Exit::Usage);
            assert!(refused.message.contains("exists"), "{}", refused.message);
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
