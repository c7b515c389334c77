//! Writing one batch: events, their full text, runs, learnings, memories, edges, in one transaction.

use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior, params_from_iter};

use super::rows::{self, Cell};
use super::schema::{DERIVED_COLUMNS, EVENT_COLUMNS, TEXT_COLUMNS, TEXT_WORDS};
use super::{relate, run_rows};
use crate::store::{self, Batch, Docs, Rejected, Report, fields};

/// Writes all of `batch`. Records that no row can be made of are reported as rejected and do not hold up the others.
pub fn batch(db: &Connection, batch: &Batch) -> rusqlite::Result<Report> {
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut report = Report::default();
    events(&tx, &batch.events, &mut report)?;
    documents(&tx, store::AGENT_LEARNINGS, &LEARNING, &batch.learnings, &mut report)?;
    documents(&tx, store::AGENT_MEMORIES, &MEMORY, &batch.memories, &mut report)?;
    run_rows::apply(&tx, &batch.runs)?;
    // Behind the events, so that a fix finds an error of its own batch.
    relate::relations(&tx, &batch.relations)?;
    if batch.has_errors() {
        relate::again(&tx)?;
    }
    report.fixes_unmatched = relate::fixes(&tx, &batch.fixes)?;
    tx.commit()?;
    Ok(report)
}

/// Columns of `agent_learnings`.
const LEARNING: [&str; 9] = [
    "_key",
    "timestamp",
    "execution_id",
    "learning",
    "context",
    "function_name",
    "confidence",
    "script_name",
    "tags",
];

/// Columns of `agent_memories`.
const MEMORY: [&str; 10] = [
    "_key",
    "content",
    "type",
    "timestamp",
    "metadata",
    "access_count",
    "last_accessed",
    "created_at",
    "valid_at",
    "invalid_at",
];

fn events(tx: &Transaction<'_>, docs: &Docs, report: &mut Report) -> rusqlite::Result<()> {
    if docs.is_empty() {
        return Ok(());
    }
    let last: i64 = tx
        .prepare_cached("SELECT coalesce(max(id), 0) FROM log_events")?
        .query_row([], |r| r.get(0))?;
    let mut insert = insert(tx, store::LOG_EVENTS, &EVENT_COLUMNS, &DERIVED_COLUMNS)?;
    let mut row = rows::empty_row();
    for doc in docs.iter() {
        match rows::split(doc, &mut row) {
            Err(e) => report.rejected.push(rejected(store::LOG_EVENTS, doc, &e.to_string())),
            Ok(()) => put(&mut insert, &row, store::LOG_EVENTS, doc, report)?,
        }
    }
    // Only the rows that are new: known ones were not given an id.
    let told = if is_ascii(docs) { TEXT_COLUMNS } else { TEXT_WORDS };
    tx.prepare_cached(&format!(
        "INSERT INTO log_events_fts (rowid, {TEXT_COLUMNS}) SELECT id, {told} FROM log_events WHERE id > ?1"
    ))?
    .execute([last])?;
    Ok(())
}

/// Whether no text in it holds anything but ASCII; then it need not be cut and folded for full text.
fn is_ascii(docs: &Docs) -> bool {
    docs.array().is_ascii() && memchr::memmem::find(docs.array(), b"\\u").is_none()
}

/// Inserts finished documents into a table whose columns are their fields.
fn documents(
    tx: &Transaction<'_>,
    table: &str,
    columns: &[&str],
    docs: &Docs,
    report: &mut Report,
) -> rusqlite::Result<()> {
    if docs.is_empty() {
        return Ok(());
    }
    let mut insert = insert(tx, table, columns, &[])?;
    for doc in docs.iter() {
        let mut row = vec![Cell::Null; columns.len()];
        let mut fault = None;
        for field in fields::of(doc) {
            match field.map(|f| (columns.iter().position(|c| *c == f.name), f)) {
                Some((Some(at), f)) => row[at] = rows::cell(f.value),
                Some((None, f)) => fault = Some(format!("no column for the field {}", f.name)),
                None => fault = Some("not a JSON object".to_owned()),
            }
        }
        match fault {
            Some(reason) => report.rejected.push(rejected(table, doc, &reason)),
            None => put(&mut insert, &row, table, doc, &mut Report::default())?,
        }
    }
    Ok(())
}

fn insert<'c>(
    tx: &'c Transaction<'_>,
    table: &str,
    columns: &[&str],
    more: &[&str],
) -> rusqlite::Result<CachedStatement<'c>> {
    let names: Vec<&str> = columns.iter().chain(more).copied().collect();
    let marks = vec!["?"; names.len()].join(",");
    // Not `OR IGNORE`, which would pass over missing required fields too.
    let sql = format!(
        "INSERT INTO {table} ({}) VALUES ({marks}) ON CONFLICT (_key) DO NOTHING",
        names.join(",")
    );
    tx.prepare_cached(&sql)
}

fn put(
    insert: &mut CachedStatement<'_>,
    row: &[Cell<'_>],
    table: &str,
    doc: &[u8],
    report: &mut Report,
) -> rusqlite::Result<()> {
    match insert.execute(params_from_iter(row)) {
        Ok(changed) => {
            report.stored += 1;
            report.known += u64::from(changed == 0);
            Ok(())
        }
        Err(e) if is_of_the_record(&e) => {
            report.rejected.push(rejected(table, doc, &e.to_string()));
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Whether an error concerns the one row, not the database.
fn is_of_the_record(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    matches!(e.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch))
}

fn rejected(table: &str, doc: &[u8], reason: &str) -> Rejected {
    Rejected {
        collection: table.to_owned(),
        key: store::doc_key(doc).to_owned(),
        reason: reason.to_owned(),
        error_num: None,
        record: String::from_utf8_lossy(doc).into_owned(),
    }
}

/// Returns when everything committed before is on the disk.
pub fn barrier(db: &Connection) -> rusqlite::Result<()> {
    // A commit in this mode syncs the log, and with it all commits before its own.
    db.pragma_update(None, "synchronous", "FULL")?;
    let done = db.execute(
        "INSERT INTO logagent_meta (name, value) VALUES ('barrier', 1) \
         ON CONFLICT (name) DO UPDATE SET value = value + 1",
        [],
    );
    db.pragma_update(None, "synchronous", "NORMAL")?;
    done.map(|_| ())
}
