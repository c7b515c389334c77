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
mod place;
mod raw;
mod reach;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::Connection;

use self::place::{FileId, open};
use super::{fault, prune};
use crate::store::WriteError;
use crate::store::search::{
    Count, CountAsk, EventAsk, Filter, Fixed, LearningAsk, Mark, Page, PruneAsk, Pruned, RawAsk, RawRow, ReadError,
    RunAsk, Search, Visit,
};
use crate::store::stored::{Edge, Event, Learning, Run};

/// Connections kept for the next question.
const KEPT: usize = 4;

/// The read side of the embedded store.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    /// Each with the file that it reads.
    idle: Mutex<Vec<(FileId, Connection)>>,
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

    /// Asks with a connection of the pool. One that reads a file which was replaced since, by a restored one or by a new
    /// store, would go on answering from the old one: it is closed.
    fn ask<T>(&self, question: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, ReadError> {
        let file = FileId::of(&self.path)?;
        let kept = self.idle.lock().ok().and_then(|mut idle| {
            idle.retain(|(of, _)| *of == file);
            idle.pop()
        });
        let db = match kept {
            Some((_, db)) => db,
            None => open(&self.path)?,
        };
        let answer = question(&db).map_err(|e| e.explain(&self.path));
        // A connection whose question failed may carry limits of that question.
        if answer.is_ok()
            && let Ok(mut idle) = self.idle.lock()
            && idle.len() < KEPT
        {
            idle.push((file, db));
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
        let FileId(device, inode) = FileId::of(&self.path)?;
        self.ask(|db| events::tail(db, filter, mark, limit, &format!("{device}:{inode}")))
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
