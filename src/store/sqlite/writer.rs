//! The thread that owns the writing connection.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::prune::Pass;
use super::{connect, fault, log, schema, write};
use crate::store::{Batch, Report, SchemaObject, WriteError};

/// Answer to a job's sender, who may have gone away.
type Answer<T> = oneshot::Sender<Result<T, WriteError>>;

/// What the thread is asked to do.
pub enum Job {
    Write(Arc<Batch>, Answer<Report>),
    Probe(Answer<()>),
    Schema(bool, Answer<Vec<SchemaObject>>),
    Barrier(Answer<()>),
    /// Closes the file until the next job.
    Close(oneshot::Sender<()>),
    /// One step; answers with the pass, and whether there is more to do.
    Prune(Box<Pass>, Answer<(Box<Pass>, bool)>),
}

pub struct Writer {
    path: Arc<PathBuf>,
    db: Option<Open>,
}

struct Open {
    db: Connection,
    /// (device, inode) of the file: tells whether the path still leads to it.
    file: Option<(u64, u64)>,
    /// The schema was checked, and created where missing, by this connection.
    ready: bool,
    cache_kib: u32,
}

impl Writer {
    pub fn new(path: Arc<PathBuf>) -> Writer {
        Writer { path, db: None }
    }

    /// Works until the last handle is gone. Answers may have no taker any more: that is no error.
    pub fn run(&mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Write(batch, answer) => {
                    let _ = answer.send(self.write(&batch));
                    self.checkpoint();
                }
                Job::Probe(answer) => {
                    let _ = answer.send(self.with(|db| db.execute_batch("BEGIN IMMEDIATE; ROLLBACK")));
                }
                Job::Schema(dry, answer) => {
                    let _ = answer.send(self.schema(dry));
                }
                Job::Prune(mut pass, answer) => {
                    let more = self.with(|db| pass.step(db));
                    let _ = answer.send(more.map(|more| (pass, more)));
                    self.checkpoint();
                }
                Job::Barrier(answer) => {
                    let _ = answer.send(self.with(write::barrier));
                }
                Job::Close(answer) => {
                    self.close();
                    let _ = answer.send(());
                }
            }
        }
        self.close();
    }

    fn close(&mut self) {
        if let Some(open) = self.db.take() {
            // The last to close a database removes its log; where readers are left they do it.
            let _ = open.db.close();
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<Report, WriteError> {
        self.with(|db| write::batch(db, batch))
    }

    fn schema(&mut self, dry: bool) -> Result<Vec<SchemaObject>, WriteError> {
        let path = Arc::clone(&self.path);
        if dry && !path.exists() {
            let nothing = Connection::open_in_memory().map_err(|e| fault::explain(&e, &path))?;
            return schema::ensure(&nothing, true).map_err(|e| fault::explain_schema(&e, &path));
        }
        let open = self.open()?;
        let done = schema::ensure(&open.db, dry).map_err(|e| fault::explain_schema(&e, &path));
        open.ready |= done.is_ok() && !dry;
        done
    }

    /// Runs `work` on a connection whose schema is in place.
    fn with<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, WriteError> {
        let path = Arc::clone(&self.path);
        let open = self.open()?;
        if !open.ready {
            schema::ensure(&open.db, false).map_err(|e| fault::explain_schema(&e, &path))?;
            open.ready = true;
        }
        let done = connect::fit_cache(&open.db, &mut open.cache_kib).and_then(|()| work(&open.db));
        done.map_err(|e| {
            if fault::is_fatal(&e) {
                self.db = None;
            }
            fault::explain(&e, &path)
        })
    }

    fn open(&mut self) -> Result<&mut Open, WriteError> {
        let there = identity(&self.path);
        if self.db.as_ref().is_some_and(|o| o.file != there || there.is_none()) {
            tracing::warn!(path = %self.path.display(), "the database file was removed or replaced; opening it anew");
            self.db = None;
        }
        match &mut self.db {
            Some(_) => {}
            none => {
                let db = connect::open(&self.path)?;
                log::watch(&db);
                *none = Some(Open {
                    db,
                    file: identity(&self.path),
                    ready: false,
                    cache_kib: 0,
                });
            }
        }
        self.db
            .as_mut()
            .ok_or_else(|| WriteError::Away("the database is not open".to_owned()))
    }

    /// Keeps the log short. Errors are those of the next write, and found there.
    fn checkpoint(&mut self) {
        let Some(open) = &self.db else { return };
        if let Err(error) = log::checkpoint(&open.db, connect::BUSY) {
            tracing::debug!(%error, "checkpoint");
        }
    }
}

fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
