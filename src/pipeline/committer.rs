//! The one owner of the state's changes: a thread that makes them in the order in which they arrive.
//!
//! The driver, the socket's spooler and the retry of dead letters send their changes here, and read the spool through
//! here. What the tracker wants kept of open runs is taken when a change is made, not when it is sent: so no older word
//! is written over a newer one, however long its sender waited for something else.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::intake::PipelineIntake;
use super::ledger;
use crate::source::Cursor;
use crate::state::{Change, Committed, Dropped, SpoolId, SpoolUsage, Spooled, State, StateError};

/// Jobs that may wait; further senders wait without blocking.
const QUEUE: usize = 8;

enum Job {
    Commit {
        change: Box<Change>,
        durable: bool,
        answer: oneshot::Sender<(Box<Change>, Result<Committed, StateError>)>,
    },
    Read {
        after: SpoolId,
        records: usize,
        bytes: usize,
        answer: oneshot::Sender<Result<Option<Spooled>, StateError>>,
    },
    DropOldest {
        bytes: u64,
        answer: oneshot::Sender<Result<Dropped, StateError>>,
    },
    Resume {
        name: String,
        answer: oneshot::Sender<Result<Option<Cursor>, StateError>>,
    },
}

/// A handle on the thread that owns the state's changes. The thread ends with the last handle.
#[derive(Clone)]
pub struct Committer {
    state: Arc<State>,
    jobs: mpsc::Sender<Job>,
}

/// What that thread does.
pub struct Work {
    state: Arc<State>,
    intake: Arc<PipelineIntake>,
    jobs: mpsc::Receiver<Job>,
    /// What is to be kept of runs and could not be written yet.
    unkept: Vec<(String, Option<Vec<u8>>)>,
}

impl Committer {
    /// The handle, and the work for a thread of its own, see [`Work::run`].
    #[must_use]
    pub fn new(state: Arc<State>, intake: Arc<PipelineIntake>) -> (Committer, Work) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let work = Work {
            state: Arc::clone(&state),
            intake,
            jobs: queue,
            unkept: Vec::new(),
        };
        (Committer { state, jobs }, work)
    }

    /// How full the spool is. Never blocks.
    #[must_use]
    pub fn spool_usage(&self) -> SpoolUsage {
        self.state.spool_usage()
    }

    /// Whether a batch of about `bytes` still fits into the spool. Never blocks.
    #[must_use]
    pub fn spool_room(&self, bytes: u64) -> bool {
        self.state.spool_room(bytes)
    }

    /// Makes a change, see [`State::commit`]; it comes back, for a further attempt if it was not made.
    pub async fn commit(&self, change: Change, durable: bool) -> (Change, Result<Committed, StateError>) {
        let (answer, made) = oneshot::channel();
        let job = Job::Commit {
            change: Box::new(change),
            durable,
            answer,
        };
        if let Err(mpsc::error::SendError(Job::Commit { change, .. })) = self.jobs.send(job).await {
            return (*change, Err(StateError::Ended));
        }
        match made.await {
            Ok((change, result)) => (*change, result),
            Err(_) => (Change::default(), Err(StateError::Ended)),
        }
    }

    /// [`Committer::commit`] for a thread that may block.
    ///
    /// # Errors
    /// The change was not made.
    pub fn commit_blocking(&self, change: Change, durable: bool) -> Result<Committed, StateError> {
        let (answer, made) = oneshot::channel();
        let change = Box::new(change);
        let job = Job::Commit {
            change,
            durable,
            answer,
        };
        self.jobs.blocking_send(job).map_err(|_| StateError::Ended)?;
        made.blocking_recv().map_err(|_| StateError::Ended)?.1
    }

    /// Reads what follows `after` in the spool, see [`State::spool_read`].
    ///
    /// # Errors
    /// The spool cannot be read.
    pub async fn spool_read(
        &self,
        after: SpoolId,
        records: usize,
        bytes: usize,
    ) -> Result<Option<Spooled>, StateError> {
        self.ask(|answer| Job::Read {
            after,
            records,
            bytes,
            answer,
        })
        .await
    }

    /// Gives up the oldest items of the spool until `bytes` are free, see [`State::spool_drop_oldest`].
    ///
    /// # Errors
    /// The spool or the database cannot be read or written.
    pub async fn drop_oldest(&self, bytes: u64) -> Result<Dropped, StateError> {
        self.ask(|answer| Job::DropOldest { bytes, answer }).await
    }

    /// How many lines of this named socket stream are durable.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn socket_stream(&self, name: String) -> Result<Option<Cursor>, StateError> {
        self.ask(|answer| Job::Resume { name, answer }).await
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, StateError>>) -> Job) -> Result<T, StateError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| StateError::Ended)?;
        answered.await.map_err(|_| StateError::Ended)?
    }
}

impl Work {
    /// Works until the last handle is gone. Whoever asked may be gone by the time of the answer: that is no error.
    pub fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            match job {
                Job::Commit {
                    change,
                    durable,
                    answer,
                } => drop(answer.send(self.commit(change, durable))),
                Job::Read {
                    after,
                    records,
                    bytes,
                    answer,
                } => drop(answer.send(self.state.spool_read(after, records, bytes))),
                Job::DropOldest { bytes, answer } => drop(answer.send(self.state.spool_drop_oldest(bytes))),
                Job::Resume { name, answer } => drop(answer.send(self.state.socket_stream(&name))),
            }
        }
    }

    fn commit(&mut self, mut change: Box<Change>, durable: bool) -> (Box<Change>, Result<Committed, StateError>) {
        change.runs = std::mem::take(&mut self.unkept);
        ledger::keep_all(&mut change.runs, self.intake.keep_runs());
        let result = self.state.commit(&change, durable);
        let runs = std::mem::take(&mut change.runs);
        if result.is_err() {
            self.unkept = runs;
        }
        (change, result)
    }
}
