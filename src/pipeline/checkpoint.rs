//! Checkpoints: what is settled becomes durable.
//!
//! One checkpoint is under way at a time, beside everything else. First the store is asked to make durable what it
//! confirmed, then one atomic change moves the cursors. A change that could not be made is joined with what was settled
//! since, and tried again; while the state cannot be written, nothing more is taken in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task;

use super::driver::Driver;
use super::ledger;
use crate::state::{Change, Committed, State, StateError, blocking};
use crate::store::{Sink, Store, WriteError};
use crate::telemetry::add;

/// Settled batches become durable progress at this interval: a crash repeats at most what was sent in it.
const CHECKPOINT: Duration = Duration::from_millis(500);

/// Where so many identities of files wait to be kept, they do not wait that long: they take much memory.
const IDENTITIES: usize = 512;

/// A state that cannot be written (a full disk) is tried again at this interval.
const STATE_RETRY: Duration = Duration::from_secs(2);

impl Driver {
    /// Begins to make durable what is settled, unless that is under way already.
    pub(super) fn begin_checkpoint(&mut self, durable: bool) {
        self.checkpoint_due = None;
        if self.saving.is_some() {
            return;
        }
        self.ledger.take_settled(&mut self.pending);
        if self.ledger.is_empty() {
            self.intake.settled();
        }
        ledger::keep_all(&mut self.pending.runs, self.intake.keep_runs());
        let change = std::mem::take(&mut self.pending);
        let (store, state) = (Arc::clone(&self.store), Arc::clone(&self.state));
        self.saving = Some(tokio::spawn(save(store, state, change, durable)));
    }

    /// Takes in how a checkpoint ended. On failure everything stays for the next try; returns whether it worked.
    pub(super) fn end_checkpoint(&mut self, ended: Result<Saved, task::JoinError>) -> bool {
        self.saving = None;
        let Saved { change, result } = match ended {
            Ok(saved) => saved,
            Err(e) => {
                // Only a panic gets here; what the change held is read or sent again.
                tracing::error!("a checkpoint failed: {e}");
                return false;
            }
        };
        match result {
            Ok(committed) => {
                self.saved(change, &committed);
                true
            }
            Err(e) => {
                let newer = std::mem::replace(&mut self.pending, change);
                ledger::join(&mut self.pending, newer);
                match e {
                    Unsaved::Store(e) => {
                        tracing::debug!("the store cannot make its records durable yet: {e}");
                        self.checkpoint_due = Some(Instant::now() + STATE_RETRY);
                    }
                    Unsaved::State(e) => self.say_stuck(&e),
                }
                false
            }
        }
    }

    fn saved(&mut self, change: Change, committed: &Committed) {
        add(&self.counters.dropped, committed.letters_lost);
        if committed.letters_lost > 0 {
            tracing::error!(
                count = committed.letters_lost,
                "old dead letters had to make room and are lost"
            );
        }
        if change.spool_done.is_some() {
            self.freed.notify_waiters();
        }
        if !change.spool.is_empty() {
            self.spool_dry = false;
        }
        for batch in change.spool {
            self.intake.recycle(batch);
        }
        if self.stuck {
            tracing::info!("the state can be written again");
        }
        self.stuck = false;
        if self.ledger.has_settled() || !self.pending.cursors.is_empty() || self.pending.spool_done.is_some() {
            self.checkpoint_soon();
        }
    }

    /// There is something to make durable.
    pub(super) fn checkpoint_soon(&mut self) {
        let now = Instant::now();
        let due = self.checkpoint_due.get_or_insert(now + CHECKPOINT);
        if self.saving.is_none() && self.pending.remember.len() >= IDENTITIES {
            *due = now;
        }
    }

    /// Makes durable all that is settled now, and waits for it; returns whether it worked.
    pub(super) async fn checkpoint(&mut self, durable: bool) -> bool {
        if let Some(saving) = self.saving.take() {
            let ended = saving.await;
            self.end_checkpoint(ended);
        }
        self.begin_checkpoint(durable);
        match self.saving.take() {
            Some(saving) => {
                let ended = saving.await;
                self.end_checkpoint(ended)
            }
            None => false,
        }
    }

    /// The state could not be written or read: said once, tried again.
    pub(super) fn say_stuck(&mut self, error: &StateError) {
        if !self.stuck {
            tracing::error!("nothing more is taken in until the state can be written: {error}");
        }
        self.stuck = true;
        self.checkpoint_due = Some(Instant::now() + STATE_RETRY);
    }
}

/// A change that was to be made durable, and what came of it.
pub(super) struct Saved {
    change: Change,
    result: Result<Committed, Unsaved>,
}

/// Who could not make it durable.
enum Unsaved {
    Store(WriteError),
    State(StateError),
}

/// The store must not lose what it confirmed once cursors above it are durable, so it comes first. What is to be
/// spooled waits for nothing.
async fn save(store: Arc<Store>, state: Arc<State>, change: Change, durable: bool) -> Saved {
    if change.spool.is_empty()
        && let Err(e) = store.durable_barrier().await
        && !durable
    {
        return Saved {
            change,
            result: Err(Unsaved::Store(e)),
        };
    }
    let change = Arc::new(change);
    let committing = Arc::clone(&change);
    let result = blocking(move || state.commit(&committing, durable))
        .await
        .map_err(Unsaved::State);
    Saved {
        change: Arc::try_unwrap(change).unwrap_or_else(|shared| (*shared).clone()),
        result,
    }
}

/// Resolves when the checkpoint under way has ended; never, if none is.
pub(super) async fn ended(saving: &mut Option<task::JoinHandle<Saved>>) -> Option<Result<Saved, task::JoinError>> {
    match saving {
        Some(handle) => Some(handle.await),
        None => std::future::pending().await,
    }
}
