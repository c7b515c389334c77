//! The embedded store: one SQLite file.
//!
//! # Constraints
//!
//! The agent has a few MiB of memory and must not hold up its runtime; other programs read the file with plain SQL
//! while it is written; a kill at any moment must leave a good file; what the pipeline was told is stored must be there
//! after a power loss too, or be sent again.
//!
//! # Operation
//!
//! [`SqliteStore`] is a handle. One thread owns the one writing connection and takes jobs from a bounded channel, one
//! after the other: a batch is one transaction of prepared statements. The file is opened by the first job that needs
//! it and, after an error that concerns the file itself, again by the next one; so an agent may start before its disk
//! is there. A file that was deleted or replaced under the agent is noticed before each batch and made anew.
//!
//! The file is in WAL mode: readers neither wait nor hold up the writer. The thread checkpoints between batches, after
//! the batch's answer is on its way: often enough that the log stays at some 16 MiB. A reader that keeps a transaction
//! open for long holds the log back; past 64 MiB each checkpoint waits a moment for such readers.
//!
//! # Failure
//!
//! * A killed agent, or a killed prune: the log holds whole transactions or ignores a torn one. Nothing is damaged.
//! * Power loss: with `synchronous=NORMAL` a commit is not synced, so the last transactions can be gone, though never
//!   in part. The pipeline therefore may not make a cursor durable on the strength of `write` alone: it calls
//!   [`Sink::durable_barrier`] first, at most every second or so, which syncs everything written before. One sync a
//!   second instead of one a batch; what is lost between two barriers is read again, under the same keys.
//! * Locked by someone else for more than [`connect::BUSY`]: `Away`. Full disk, no permission, no database, a newer
//!   schema: `Refused`, with what to do. What is not ours is never written to.

pub mod connect;
pub mod fault;
mod log;
pub mod prune;
pub mod read;
mod relate;
pub mod rows;
mod run_rows;
pub mod schema;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::search::{PruneAsk, Pruned};
use super::{Batch, Report, SchemaObject, Sink, WriteError};

/// Jobs that may wait for the writing thread; further callers wait without blocking the runtime.
const QUEUE: usize = 4;

/// A cheap handle on the embedded store's writing thread, which ends with the last handle.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    path: Arc<PathBuf>,
    jobs: mpsc::Sender<writer::Job>,
    shared: Arc<AtomicBool>,
}

impl SqliteStore {
    /// Starts the writing thread for the database at `path`. The file itself is opened when it is first needed.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn open(path: &Path) -> std::io::Result<SqliteStore> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let path = Arc::new(path.to_path_buf());
        let shared = Arc::new(AtomicBool::new(false));
        let mut writer = writer::Writer::new(Arc::clone(&path), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || writer.run(queue))?;
        Ok(SqliteStore { path, jobs, shared })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes what `ask` names, on the writing thread, step by step between batches; `progress` is told after each.
    /// For retention: looks no further than the rows that came first, see [`prune`].
    ///
    /// # Errors
    /// As for writing. What was deleted before stays deleted.
    pub async fn prune(&self, ask: PruneAsk, mut progress: impl FnMut(&Pruned)) -> Result<Pruned, WriteError> {
        let mut pass = Box::new(prune::Pass::new(ask, false));
        loop {
            let (back, more) = self.ask(|answer| writer::Job::Prune(pass, answer)).await??;
            pass = back;
            progress(&pass.done);
            if !more {
                return Ok(pass.done);
            }
        }
    }

    /// Whether another agent wrote to the same file when it was opened last.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// All is quiet: gives back the space of the write-ahead log.
    pub async fn rest(&self) {
        let _ = self.ask(writer::Job::Rest).await;
    }

    /// Closes the file, so that its log is folded in; the next job opens it again.
    pub async fn close(&self) {
        // A thread that has ended has closed it.
        let _ = self.ask(writer::Job::Close).await;
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> writer::Job) -> Result<T, WriteError> {
        let gone = || WriteError::Away("the writing thread of the embedded store failed; it begins anew".to_owned());
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl Sink for SqliteStore {
    async fn write(&self, batch: &Arc<Batch>) -> Result<Report, WriteError> {
        let batch = Arc::clone(batch);
        self.ask(|answer| writer::Job::Write(batch, answer)).await?
    }

    async fn probe(&self) -> Result<(), WriteError> {
        self.ask(writer::Job::Probe).await?
    }

    async fn ensure_schema(&self, dry: bool) -> Result<Vec<SchemaObject>, WriteError> {
        self.ask(|answer| writer::Job::Schema(dry, answer)).await?
    }

    async fn durable_barrier(&self) -> Result<(), WriteError> {
        self.ask(writer::Job::Barrier).await?
    }
}

#[cfg(test)]
mod tests;
