//! What both SQL stores share and compiles once: errors, and how a set of rows travels.
//!
//! The transaction itself, `tx.rs` and its modules beside this file, is one source text that is
//! compiled twice, as `postgres::tx` and as `sqlite::tx` (ADR 0005). It names the database only by way
//! of `dialect`.

use andon::{Corrupt, Timestamp};
use serde_json::Value;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use super::{Error, Program, Result};

/// What a column of a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An id.
    Id,
    /// A text.
    Text,
    /// A whole number of 64 bits.
    Int,
    /// Yes or no.
    Bool,
    /// A time.
    Time,
    /// Bytes.
    Bytes,
    /// JSON, as its text: so that JSON's `null` and no value at all stay apart.
    Json,
}

/// A value of a set, of its column's kind or NULL. How it travels is each dialect's.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Cell {
    /// No value.
    #[default]
    Null,
    /// See [`Kind::Id`].
    Id(u128),
    /// See [`Kind::Text`].
    Text(String),
    /// See [`Kind::Int`].
    Int(i64),
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Time`].
    Time(Timestamp),
    /// See [`Kind::Bytes`].
    Bytes(Vec<u8>),
    /// See [`Kind::Json`].
    Json(String),
}

impl Cell {
    /// Whether a column of this kind may hold it.
    pub(crate) fn fits(&self, kind: Kind) -> bool {
        let own = match self {
            Self::Null => return true,
            Self::Id(_) => Kind::Id,
            Self::Text(_) => Kind::Text,
            Self::Int(_) => Kind::Int,
            Self::Bool(_) => Kind::Bool,
            Self::Time(_) => Kind::Time,
            Self::Bytes(_) => Kind::Bytes,
            Self::Json(_) => Kind::Json,
        };
        own == kind
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Cell {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(option: Option<T>) -> Self {
        option.map_or(Self::Null, Into::into)
    }
}

/// A column of a set: its name, and what it holds.
pub(crate) type Column = (&'static str, Kind);

/// The columns of a set.
pub(crate) type Columns = &'static [Column];

/// The names of a set's columns, for a list of columns in SQL.
pub(crate) fn names(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// The stored text of a value that serialises as one, such as a state.
pub(crate) fn word<T: serde::Serialize>(value: T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => Ok(text),
        Ok(other) => Err(Error::Database(format!("{other} is no text").into())),
        Err(error) => Err(Error::Database(Box::new(error))),
    }
}

/// A time as a number of microseconds.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_micros()
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(source) => of_database(source),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unreachable(Box::new(error)),
            sqlx::Error::Migrate(source) => Self::from(*source),
            other => Self::Database(Box::new(other)),
        }
    }
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                Self::from(source)
            }
            other => Self::Database(Box::new(other)),
        }
    }
}

fn of_database(source: Box<dyn DatabaseError>) -> Error {
    if let Some(error) = source.try_downcast_ref::<PgDatabaseError>() {
        let (code, name) = (
            error.code().to_owned(),
            error.constraint().map(str::to_owned),
        );
        return of_postgres(&code, name, source);
    }
    if let Some(error) = source.try_downcast_ref::<SqliteError>() {
        let code = error.code().and_then(|code| code.parse().ok());
        let message = error.message().to_owned();
        return of_sqlite(code.unwrap_or(0), &message, source);
    }
    Error::Database(Box::new(sqlx::Error::Database(source)))
}

/// By SQLSTATE, class first.
fn of_postgres(code: &str, name: Option<String>, source: Box<dyn DatabaseError>) -> Error {
    let source = Box::new(sqlx::Error::Database(source));
    match code {
        // Serialization failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => Error::Conflict(source),
        // Undefined table, column, function, schema.
        "42P01" | "42703" | "42883" | "3F000" => Error::SchemaNotCurrent,
        // Shutdown or start-up, and a standby: the gate is read and written on the primary only (R35).
        "57P01" | "57P02" | "57P03" | "25006" => Error::Unreachable(source),
        _ => match (name, code.get(..2)) {
            (Some(name), _) => Error::Constraint { name, source },
            (None, Some("23")) => Error::Constraint {
                name: code.to_owned(),
                source,
            },
            // Connection exceptions, and resources that are used up.
            (None, Some("08" | "53")) => Error::Unreachable(source),
            (None, _) => Error::Database(source),
        },
    }
}

/// By primary result code; SQLite names a constraint in its message only.
fn of_sqlite(code: i32, message: &str, source: Box<dyn DatabaseError>) -> Error {
    let source = Box::new(sqlx::Error::Database(source));
    match code & 0xff {
        // BUSY, LOCKED.
        5 | 6 => Error::Conflict(source),
        // READONLY, IOERR, FULL, CANTOPEN.
        8 | 10 | 13 | 14 => Error::Unreachable(source),
        // CONSTRAINT: "CHECK constraint failed: NAME", "UNIQUE constraint failed: COLUMNS", or a
        // trigger's own "NAME: why".
        19 => {
            let name = match message.split_once(" constraint failed: ") {
                Some((_, name)) => name,
                None => message.split_once(": ").map_or(message, |(name, _)| name),
            };
            Error::Constraint {
                name: name.to_owned(),
                source,
            }
        }
        _ if message.starts_with("no such table") || message.starts_with("no such column") => {
            Error::SchemaNotCurrent
        }
        _ => Error::Database(source),
    }
}

/// The migrations of a store, kept in a table of their own: an application that shares the database
/// keeps its own in `_sqlx_migrations`.
pub(crate) fn migrator(mut migrations: Migrator) -> Migrator {
    migrations.dangerous_set_table_name("andon_migrations");
    migrations
}

/// A migration that a database has.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Applied {
    version: i64,
    description: String,
    checksum: Vec<u8>,
}

/// Reads them.
pub(crate) const APPLIED: &str =
    "SELECT version, description, checksum FROM andon_migrations ORDER BY version";

/// How the name of a migration begins that takes away what older programs use.
const CONTRACTS: &str = "contract ";

/// Refuses a schema that this program cannot go by. One that has started goes on while newer migrations
/// only expand it: that is what lets servers be replaced one after the other.
pub(crate) fn check(
    applied: &[Applied],
    migrator: &'static Migrator,
    program: Program,
) -> Result<()> {
    let newest = migrator.iter().map(|known| known.version).max();
    let is_expansion = |one: &&Applied| {
        newest.is_none_or(|newest| one.version > newest) && !one.description.starts_with(CONTRACTS)
    };
    let looked_at: Vec<&Applied> = match program {
        Program::Starting => applied.iter().collect(),
        Program::Serving => applied.iter().filter(|one| !is_expansion(one)).collect(),
    };
    match unapplied(&looked_at, migrator)?.as_slice() {
        [] => Ok(()),
        [_, ..] => Err(Error::SchemaNotCurrent),
    }
}

/// The known migrations that are not applied, in order.
pub(crate) fn missing(
    applied: &[Applied],
    migrator: &'static Migrator,
) -> Result<Vec<&'static Migration>> {
    unapplied(&applied.iter().collect::<Vec<_>>(), migrator)
}

/// One that is applied and not known, or altered since, is a newer program's: no state is read from such
/// a schema.
fn unapplied(applied: &[&Applied], migrator: &'static Migrator) -> Result<Vec<&'static Migration>> {
    for one in applied {
        let known = migrator.iter().find(|known| known.version == one.version);
        if known.is_none_or(|known| *known.checksum != *one.checksum) {
            return Err(Error::SchemaUnknown {
                migration: named(one.version, &one.description),
            });
        }
    }
    Ok(migrator
        .iter()
        .filter(|known| !applied.iter().any(|one| one.version == known.version))
        .collect())
}

/// As its file is named.
pub(crate) fn name(migration: &Migration) -> String {
    named(migration.version, &migration.description)
}

fn named(version: i64, description: &str) -> String {
    format!("{version:04}_{}", description.replace(' ', "_"))
}

/// Stored data that cannot be.
pub(crate) fn corrupt(row: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Corrupt(Corrupt::new(row, problem))
}
