//! Reading rows, where anything that cannot be is [`Corrupt`](andon::Corrupt) and names its row; and
//! sets of rows to be written.

use andon::{Epoch, Mark, Pause, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Decode, Type};
use uuid::Uuid;

use super::dialect::{self, Db, Query, Time};
use crate::store::sql::{Cell, Column, corrupt, names};
use crate::store::{Error, Result};

/// A statement that is put together from constants of these modules. Values are always bound.
pub(super) fn statement<'q>(sql: String) -> Query<'q> {
    sqlx::query(AssertSqlSafe(sql))
}

/// A row with the name that errors give it.
pub(super) struct Row<'r> {
    row: &'r dialect::Row,
    name: String,
}

impl<'r> Row<'r> {
    /// The row as `name`.
    pub(super) fn new(row: &'r dialect::Row, name: impl Into<String>) -> Self {
        Self {
            row,
            name: name.into(),
        }
    }

    /// The row named by what it is and its id.
    pub(super) fn with_id(row: &'r dialect::Row, what: &str, column: &str) -> Result<(Self, u128)> {
        let id = Self::new(row, what).id(column)?;
        let name = format!("{what} {}", Uuid::from_u128(id));
        Ok((Self { row, name }, id))
    }

    /// That the row cannot be.
    pub(super) fn corrupt(&self, problem: impl Into<String>) -> Error {
        corrupt(&self.name, problem)
    }

    /// A column that has a value. NULL is asked for by name: SQLite's driver reads it as 0.
    pub(super) fn get<T>(&self, column: &str) -> Result<T>
    where
        for<'d> T: Decode<'d, Db> + Type<Db>,
    {
        self.get_option(column)?
            .ok_or_else(|| self.corrupt(format!("its {column} is missing")))
    }

    /// A column that may be NULL.
    pub(super) fn get_option<T>(&self, column: &str) -> Result<Option<T>>
    where
        for<'d> T: Decode<'d, Db> + Type<Db>,
    {
        use sqlx::Row as _;
        self.row.try_get(column).map_err(|error| match error {
            sqlx::Error::ColumnDecode { source, .. } => {
                self.corrupt(format!("its {column} cannot be read: {source}"))
            }
            other => other.into(),
        })
    }

    /// A column that some rules give meaning to: what they refuse is corrupt.
    pub(super) fn checked<T, S>(&self, column: &str) -> Result<T>
    where
        for<'d> S: Decode<'d, Db> + Type<Db>,
        T: TryFrom<S>,
        T::Error: std::fmt::Display,
    {
        T::try_from(self.get::<S>(column)?)
            .map_err(|problem| self.corrupt(format!("its {column} is wrong: {problem}")))
    }

    /// A counter or another whole number within its range.
    pub(super) fn number<T>(&self, column: &str) -> Result<T>
    where
        T: TryFrom<i64>,
        T::Error: std::fmt::Display,
    {
        self.checked::<T, i64>(column)
    }

    /// A text within its rules.
    pub(super) fn text<T>(&self, column: &str) -> Result<T>
    where
        T: TryFrom<String>,
        T::Error: std::fmt::Display,
    {
        self.checked::<T, String>(column)
    }

    /// A state or another word of a fixed list.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text = self.get::<String>(column)?;
        serde_json::from_value(Value::String(text))
            .map_err(|problem| self.corrupt(format!("its {column} is unknown: {problem}")))
    }

    /// An id.
    pub(super) fn id(&self, column: &str) -> Result<u128> {
        Ok(self.get::<Uuid>(column)?.as_u128())
    }

    /// An id, if there is one.
    pub(super) fn id_option(&self, column: &str) -> Result<Option<u128>> {
        Ok(self.get_option::<Uuid>(column)?.map(|id| id.as_u128()))
    }

    /// A time.
    pub(super) fn time(&self, column: &str) -> Result<Timestamp> {
        Ok(self.get::<Time>(column)?.0)
    }

    /// A time, if there is one.
    pub(super) fn time_option(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.get_option::<Time>(column)?.map(|time| time.0))
    }

    /// A duration, kept in nanoseconds.
    pub(super) fn duration(&self, column: &str) -> Result<std::time::Duration> {
        Ok(std::time::Duration::from_nanos(self.number(column)?))
    }

    /// JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        self.json_option(column)?
            .ok_or_else(|| self.corrupt(format!("its {column} is missing")))
    }

    /// JSON, if there is any.
    pub(super) fn json_option<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        // First as any JSON, since a type may borrow from what it is read from.
        let Some(Json(value)) = self.get_option::<Json<Value>>(column)? else {
            return Ok(None);
        };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|problem| self.corrupt(format!("its {column} cannot be read: {problem}")))
    }

    /// The mark in `paused_in`, `pause` and `again`.
    pub(super) fn mark(&self) -> Result<Option<Mark>> {
        let paused_in: Option<i64> = self.get_option("paused_in")?;
        let pause: Option<Pause> = self.json_option("pause")?;
        let again: Option<Pause> = self.json_option("again")?;
        match (paused_in, pause, again) {
            (None, None, None) => Ok(None),
            (Some(epoch @ 1..), Some(pause), again) => {
                let epoch = Epoch::try_from(epoch).map_err(|e| self.corrupt(e.to_string()))?;
                Ok(Some(Mark {
                    epoch,
                    pause,
                    again,
                }))
            }
            (Some(epoch), Some(_), _) => Err(self.corrupt(format!("its paused_in is {epoch}"))),
            (None, _, _) | (_, None, _) => {
                Err(self.corrupt("of its epoch and its cause of pause one is missing"))
            }
        }
    }
}

/// Nanoseconds as they are stored; what is longer than 292 years is stored as that.
pub(super) fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A number of rows for a LIMIT or an OFFSET.
pub(super) fn limit(rows: impl TryInto<i64>) -> i64 {
    rows.try_into().unwrap_or(i64::MAX)
}

/// JSON to be bound.
pub(super) fn json<T: Serialize>(value: T) -> Json<T> {
    Json(value)
}

/// Rows to be written in one statement, whatever their number.
pub(super) struct Set<'c> {
    columns: &'c [Column],
    rows: Vec<Vec<Cell>>,
}

impl<'c> Set<'c> {
    /// An empty set. It has a column `ord` besides: the rows' order.
    pub(super) fn new(columns: &'c [Column]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row: its values, in the order of the columns.
    pub(super) fn push(&mut self, values: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = values.into_iter().collect();
        debug_assert!(
            row.len() == self.columns.len()
                && row
                    .iter()
                    .zip(self.columns)
                    .all(|(cell, column)| cell.fits(column.1)),
            "{row:?} does not fit its columns"
        );
        self.rows.push(row);
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Binds it where [`source`] reads it: after all else that the statement has.
    pub(super) fn bind(self, statement: Query<'_>) -> Query<'_> {
        dialect::bind_set(statement, self.columns, self.rows)
    }
}

/// The rows of a set as the table `r`, bound from this parameter on.
pub(super) fn source(columns: &[Column], parameter: usize) -> String {
    dialect::set(columns, parameter)
}

/// INSERT of a set's columns, in the set's order, up to a possible ON CONFLICT.
pub(super) fn insert(table: &str, columns: &[Column]) -> String {
    let names = names(columns);
    let source = source(columns, 1);
    // WHERE: without it SQLite takes ON CONFLICT for a join.
    format!("INSERT INTO {table} ({names}) SELECT {names} FROM {source} WHERE TRUE ORDER BY r.ord")
}

/// `column = r.column` for each of these.
pub(super) fn assignments(columns: &[Column]) -> String {
    let assignments: Vec<String> = columns
        .iter()
        .map(|(name, _)| format!("{name} = r.{name}"))
        .collect();
    assignments.join(", ")
}

/// JSON for a set, as its text.
pub(super) fn json_cell<T: Serialize>(value: &T) -> Result<Cell> {
    serde_json::to_string(value)
        .map(Cell::Json)
        .map_err(|error| Error::Database(Box::new(error)))
}

/// JSON for a set, if there is any.
pub(super) fn json_cell_option<T: Serialize>(value: Option<&T>) -> Result<Cell> {
    value.map_or(Ok(Cell::Null), json_cell)
}
