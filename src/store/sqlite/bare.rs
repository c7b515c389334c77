//! The ruler that the store is measured against: a bare loop over finished rows, without documents, threads or answers.
//! Same schema, same settings of the connection, same full text.

use std::path::Path;

use rusqlite::{Connection, params_from_iter, types::Value};

use super::rows::{self, Cell};
use super::schema::{DERIVED_COLUMNS, EVENT_COLUMNS, TEXT_COLUMNS};
use super::{connect, log};
use crate::store::{Batch, WriteError};

/// A connection with its loop.
pub struct Loop {
    db: Connection,
    next: i64,
}

/// The batch's events as finished rows.
#[must_use]
pub fn rows(batch: &Batch) -> Vec<Vec<Value>> {
    let mut row = rows::empty_row();
    let mut out = Vec::with_capacity(batch.events.len());
    for doc in batch.events.iter() {
        if rows::split(doc, &mut row).is_ok() {
            out.push(row.iter().map(owned).collect());
        }
    }
    out
}

fn owned(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(i) => Value::Integer(*i),
        Cell::Real(f) => Value::Real(*f),
        Cell::Text(t) => Value::Text(t.clone().into_owned()),
    }
}

impl Loop {
    /// Opens a database whose schema stands.
    ///
    /// # Errors
    /// As [`connect::open`].
    pub fn open(path: &Path) -> Result<Loop, WriteError> {
        let db = connect::open(path)?;
        log::watch(&db);
        Ok(Loop { db, next: 0 })
    }

    /// Inserts the rows in one transaction.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn insert(&mut self, rows: &[Vec<Value>]) -> rusqlite::Result<()> {
        let names: Vec<&str> = EVENT_COLUMNS.iter().chain(&DERIVED_COLUMNS).copied().collect();
        let marks = vec!["?"; names.len()].join(",");
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let mut insert = self.db.prepare_cached(&format!(
            "INSERT INTO log_events ({}) VALUES ({marks}) ON CONFLICT (_key) DO NOTHING",
            names.join(",")
        ))?;
        for row in rows {
            insert.execute(params_from_iter(row))?;
        }
        drop(insert);
        self.db
            .prepare_cached(&format!(
                "INSERT INTO log_events_fts (rowid, {TEXT_COLUMNS}) SELECT id, {TEXT_COLUMNS} FROM log_events \
                 WHERE id > ?1"
            ))?
            .execute([self.next])?;
        self.next += rows.len() as i64;
        self.db.execute_batch("COMMIT")?;
        log::checkpoint(&self.db, connect::BUSY)
    }
}
