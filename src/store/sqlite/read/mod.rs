//! Reading the embedded store.
//!
//! Connections are read-only and few: each question takes one from a small pool, or opens one, and gives it back. WAL
//! mode lets them read while the agent writes; each question is one snapshot where it matters (a page, a grouping).
//!
//! What SQL cannot say as the reference does (regular expressions, conditions on parts of JSON) is said by the
//! reference itself: [`clauses`] registers functions that call [`crate::store::admit`].
//!
//! Memory: a page cache of some MiB for each connection; nothing is mapped. Sorting and grouping spill to temporary
//! files.

mod clauses;
mod events;
mod groups;
mod matching;
mod others;
mod raw;
mod reach;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, OpenFlags};

use super::{fault, prune, schema};
use crate::store::WriteError;
use crate::store::search::{
    Count, CountAsk, EventAsk, Filter, Fixed, LearningAsk, Mark, Page, PruneAsk, Pruned, RawAsk, RawRow, ReadError,
    RunAsk, Search, Visit,
};
use crate::store::stored::{Edge, Event, Learning, Run};

/// Page cache of a reading connection, KiB.
const CACHE_KIB: u32 = 16 << 10;
/// Connections kept for the next question.
const KEPT: usize = 4;

/// The read side of the embedded store.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl SqliteReader {
    /// A reader of the database at `path`, which is opened by the first question.
    #[must_use]
    pub fn new(path: &Path) -> SqliteReader {
        SqliteReader {
            path: path.to_path_buf(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Asks with a connection of the pool.
    fn ask<T>(&self, question: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, ReadError> {
        let kept = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let db = match kept {
            Some(db) => db,
            None => open(&self.path)?,
        };
        let answer = question(&db).map_err(|e| e.explain(&self.path));
        // A connection whose question failed may carry limits of that question.
        if answer.is_ok()
            && let Ok(mut idle) = self.idle.lock()
            && idle.len() < KEPT
        {
            idle.push(db);
        }
        answer
    }
}

/// What went wrong while asking.
#[derive(Debug)]
enum Fault {
    Sqlite(rusqlite::Error),
    Read(ReadError),
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Fault {
        Fault::Sqlite(e)
    }
}

impl From<ReadError> for Fault {
    fn from(e: ReadError) -> Fault {
        Fault::Read(e)
    }
}

impl Fault {
    fn explain(self, path: &Path) -> ReadError {
        match self {
            Fault::Read(e) => e,
            Fault::Sqlite(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
                ReadError::TooLong("the query took too long and was stopped".to_owned())
            }
            Fault::Sqlite(e) => refused(fault::explain(&e, path)),
        }
    }
}

fn refused(e: WriteError) -> ReadError {
    match e {
        WriteError::Away(text) => ReadError::Away(text),
        WriteError::Refused(text) => ReadError::Refused(text),
    }
}

/// Opens the database read-only and checks that it is ours.
fn open(path: &Path) -> Result<Connection, ReadError> {
    if !path.exists() {
        return Err(ReadError::Away(format!(
            "there is no store at {} yet: start the agent with `logagent run`, or name another store with --store",
            path.display()
        )));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let explain = |e: rusqlite::Error| refused(fault::explain(&e, path));
    let mut db = Connection::open_with_flags(path, flags).map_err(explain)?;
    let mut version = schema::version(&db);
    if let Err(schema::SchemaError::Sqlite(e)) = &version
        && matches!(
            e.sqlite_error_code(),
            Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
        )
        && !beside(path, "-wal").exists()
    {
        // A directory that may not be written, and no agent: the file cannot change while it is read.
        let uri = format!("file:{}?immutable=1", uri_path(path));
        db = Connection::open_with_flags(uri, flags).map_err(explain)?;
        version = schema::version(&db);
    }
    match version.map_err(|e| refused(fault::explain_schema(&e, path)))? {
        0 => Err(ReadError::Away(format!(
            "{} holds no logagent tables yet: start the agent with `logagent run`, or run `logagent init`",
            path.display()
        ))),
        _ => {
            prepare(&db).map_err(explain)?;
            Ok(db)
        }
    }
}

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(super::connect::BUSY)?;
    db.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    db.pragma_update(None, "query_only", true)?;
    clauses::register(db)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A path within a `file:` URI.
fn uri_path(path: &Path) -> String {
    path.to_string_lossy().chars().fold(String::new(), |mut out, c| {
        match c {
            '%' => out.push_str("%25"),
            '?' => out.push_str("%3f"),
            '#' => out.push_str("%23"),
            c => out.push(c),
        }
        out
    })
}

impl Search for SqliteReader {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn event(&self, key: &str) -> Result<Option<Event>, ReadError> {
        self.ask(|db| events::one(db, key))
    }

    fn events(&self, ask: &EventAsk) -> Result<Page<(Event, Option<f64>)>, ReadError> {
        self.ask(|db| events::page(db, ask))
    }

    fn scan(&self, filter: &Filter, oldest_first: bool, visit: Visit<'_, Event>) -> Result<(), ReadError> {
        self.ask(|db| events::scan(db, filter, oldest_first, visit))
    }

    fn tail(&self, filter: &Filter, mark: Option<Mark>, limit: usize) -> Result<(Vec<Event>, Mark), ReadError> {
        self.ask(|db| events::tail(db, filter, mark, limit))
    }

    fn latest(&self) -> Result<i64, ReadError> {
        self.ask(events::latest)
    }

    fn counts(&self, ask: &CountAsk, visit: Visit<'_, Count>) -> Result<(), ReadError> {
        self.ask(|db| groups::counts(db, ask, visit))
    }

    fn extent(&self, filter: &Filter) -> Result<Option<(String, String)>, ReadError> {
        self.ask(|db| groups::extent(db, filter))
    }

    fn runs(&self, ask: &RunAsk) -> Result<Page<Run>, ReadError> {
        self.ask(|db| others::runs(db, ask))
    }

    fn learnings(&self, ask: &LearningAsk) -> Result<Page<(Learning, Option<f64>)>, ReadError> {
        self.ask(|db| others::learnings(db, ask))
    }

    fn fixes(&self, fingerprints: &[String]) -> Result<Vec<Fixed>, ReadError> {
        self.ask(|db| others::fixes(db, fingerprints))
    }

    fn edges(&self, execution: &str, keys: &[String], limit: usize) -> Result<Vec<Edge>, ReadError> {
        self.ask(|db| others::edges(db, execution, keys, limit))
    }

    fn prune(&self, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, ReadError> {
        prune::run(&self.path, ask, progress).map_err(refused)
    }

    fn raw(&self, ask: &RawAsk, visit: Visit<'_, RawRow>) -> Result<(), ReadError> {
        raw::run(&self.path, ask, visit)
    }
}
