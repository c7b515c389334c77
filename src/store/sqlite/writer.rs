//! The thread that owns the writing connection.
//!
//! A job that panics gets no answer, which its sender takes for a store that is away; the connection is opened anew for
//! the next one. So the thread ends only with the last handle.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Folds the log into the file, as far as nobody reads in it.
    Rest(oneshot::Sender<()>),
    /// Fails as no job should.
    #[cfg(test)]
    Panic(oneshot::Sender<()>),
    /// One step; answers with the pass, and whether there is more to do.
    Prune(Box<Pass>, Answer<(Box<Pass>, bool)>),
}

pub struct Writer {
    path: Arc<PathBuf>,
    db: Option<Open>,
    /// Another agent writes to the same file.
    shared: Arc<AtomicBool>,
}

struct Open {
    db: Connection,
    /// Tells other agents of this one. Let go only behind the connection: closing any descriptor of the file would take
    /// SQLite's own locks on it with it.
    _claim: Option<File>,
    /// (device, inode) of the file: tells whether the path still leads to it.
    file: Option<(u64, u64)>,
    /// The schema was checked, and created where missing, by this connection.
    ready: bool,
    cache_kib: u32,
}

impl Writer {
    pub fn new(path: Arc<PathBuf>, shared: Arc<AtomicBool>) -> Writer {
        Writer { path, db: None, shared }
    }

    /// Works until the last handle is gone.
    pub fn run(&mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            if catch_unwind(AssertUnwindSafe(|| self.work(job))).is_err() {
                tracing::error!(path = %self.path.display(), "the writing thread panicked; the database is opened anew");
                self.db = None;
            }
        }
        self.close();
    }

    /// Answers may have no taker any more: that is no error.
    fn work(&mut self, job: Job) {
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
            Job::Rest(answer) => {
                self.rest();
                let _ = answer.send(());
            }
            Job::Close(answer) => {
                self.close();
                let _ = answer.send(());
            }
            #[cfg(test)]
            Job::Panic(answer) => {
                let _dropped = answer;
                panic!("injected");
            }
        }
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
                let (claim, alone) = claim(&self.path);
                if !self.shared.swap(!alone, Ordering::Relaxed) && !alone {
                    tracing::warn!(
                        path = %self.path.display(),
                        "another agent writes to this database too; both go on, but each needs its own data_dir, and one \
                         agent for all logs of a machine is enough"
                    );
                }
                *none = Some(Open {
                    db,
                    _claim: claim,
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

    /// Folds the log in. Errors are those of the next write, and found there.
    fn rest(&mut self) {
        let Some(open) = &self.db else { return };
        if let Err(error) = log::truncate(&open.db, connect::BUSY) {
            tracing::debug!(%error, "checkpoint");
        }
    }

    /// Keeps the log short. Errors are those of the next write, and found there.
    fn checkpoint(&mut self) {
        let Some(open) = &self.db else { return };
        if let Err(error) = log::checkpoint(&open.db, connect::BUSY) {
            tracing::debug!(%error, "checkpoint");
        }
    }
}

/// Marks the file as written to by this agent; false where another one has done so.
fn claim(path: &Path) -> (Option<File>, bool) {
    use rustix::fs::{FlockOperation, flock};
    let Ok(file) = File::open(path) else {
        return (None, true);
    };
    let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
    // Where the file system knows no such locks, nothing is known of others.
    let alone = taken != Err(rustix::io::Errno::WOULDBLOCK);
    (Some(file), alone)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
