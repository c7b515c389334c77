//! Checkpoints: what is settled becomes durable.
//!
//! One checkpoint is under way at a time, beside everything else. First the store is asked to make durable what it
//! confirmed, then one atomic change moves the cursors. Where the store cannot do that now, what is to be spooled is
//! spooled all the same, and the cursors follow later: until then a crash only repeats what was sent. A change that could
//! not be made is joined with what was settled since, and tried again; while the state cannot be written, nothing more is
//! taken in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task;

use super::committer::Committer;
use super::driver::Driver;
use super::durability::{Durable, Settled};
use crate::state::{Change, Committed, DeadLetter, StateError};
use crate::store::{Batch, Store, WriteError};
use crate::telemetry::add;

/// Settled batches become durable progress at this interval: a crash repeats at most what was sent in it.
const CHECKPOINT: Duration = Duration::from_millis(500);

/// Where so many identities of files wait to be kept, they do not wait that long: they take much memory.
const IDENTITIES: usize = 512;

/// A state that cannot be written (a full disk) is tried again at this interval, and a store that could not make its
/// records durable.
const RETRY: Duration = Duration::from_secs(2);

/// How long a store is waited for that is to make its records durable.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The same where something waits to be spooled, or the agent to end.
pub(super) const LITTLE_PATIENCE: Duration = Duration::from_millis(500);

/// What the next checkpoint writes; after a failure, what the last one could not.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub settled: Settled,
    /// Batches to spool. Their progress is in `settled`.
    pub spool: Vec<Arc<Batch>>,
    pub dead_letters: Vec<DeadLetter>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.spool.is_empty() && self.dead_letters.is_empty()
    }

    /// Adds what came later.
    fn join(&mut self, later: Pending) {
        self.settled.join(later.settled);
        self.spool.extend(later.spool);
        self.dead_letters.extend(later.dead_letters);
    }
}

/// Who could not make it durable.
#[derive(Debug)]
pub(super) enum Unsaved {
    /// What was to be spooled is; cursors wait.
    Store,
    State,
}

/// What came of a checkpoint.
pub(super) struct Saved {
    /// What could not be made durable.
    left: Pending,
    /// Batches that are in the spool now.
    spooled: Vec<Arc<Batch>>,
    /// The spool may have room again.
    frees: bool,
    store: Result<(), WriteError>,
    state: Result<Committed, StateError>,
}

impl Driver {
    /// Begins to make durable what is settled, unless that is under way already: then it stays due.
    pub(super) fn begin_checkpoint(&mut self, durable: bool, patience: Duration) {
        if self.saving.is_some() {
            return;
        }
        self.checkpoint_due = None;
        self.ledger.take_settled(&mut self.pending.settled);
        if self.ledger.is_empty() {
            self.intake.settled();
        }
        let pending = std::mem::take(&mut self.pending);
        let (store, committer) = (Arc::clone(&self.store), self.committer.clone());
        self.saving = Some(tokio::spawn(save(store, committer, pending, durable, patience)));
    }

    /// Takes in how a checkpoint ended. What failed stays for the next try.
    pub(super) fn end_checkpoint(&mut self, ended: Result<Saved, task::JoinError>) -> Result<(), Unsaved> {
        self.saving = None;
        let saved = match ended {
            Ok(saved) => saved,
            // What it held is lost to this process: only a new start reads it again.
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => return Err(Unsaved::State),
        };
        let newer = std::mem::replace(&mut self.pending, saved.left);
        self.pending.join(newer);
        if saved.frees {
            self.freed.notify_waiters();
        }
        if !saved.spooled.is_empty() {
            self.spool_dry = false;
        }
        for batch in saved.spooled {
            self.intake.recycle(batch);
        }
        match saved.state {
            Ok(committed) => self.committed(&committed),
            Err(e) => {
                self.say_stuck(&e);
                return Err(Unsaved::State);
            }
        }
        if let Err(e) = saved.store {
            tracing::debug!("the store cannot make its records durable yet: {e}");
            self.checkpoint_due = Some(Instant::now() + RETRY);
            return Err(Unsaved::Store);
        }
        if self.ledger.has_settled() || !self.pending.is_empty() {
            self.checkpoint_soon();
        }
        Ok(())
    }

    fn committed(&mut self, committed: &Committed) {
        add(&self.counters.dropped, committed.letters_lost);
        if committed.letters_lost > 0 {
            tracing::error!(
                count = committed.letters_lost,
                "old dead letters had to make room and are lost"
            );
        }
        if self.stuck.take().is_some() {
            tracing::info!("the state can be written again");
        }
    }

    /// There is something to make durable.
    pub(super) fn checkpoint_soon(&mut self) {
        let now = Instant::now();
        let due = self.checkpoint_due.get_or_insert(now + CHECKPOINT);
        if self.saving.is_none() && self.pending.settled.identities() >= IDENTITIES {
            *due = now;
        }
    }

    /// Makes durable all that is settled now, and waits for it.
    pub(super) async fn checkpoint(&mut self, durable: bool, patience: Duration) -> Result<(), Unsaved> {
        if let Some(saving) = self.saving.take() {
            let ended = saving.await;
            // What failed is tried again now.
            let _ = self.end_checkpoint(ended);
        }
        self.begin_checkpoint(durable, patience);
        match self.saving.take() {
            Some(saving) => {
                let ended = saving.await;
                self.end_checkpoint(ended)
            }
            None => Err(Unsaved::State),
        }
    }

    /// The state could not be written: said once, tried again.
    fn say_stuck(&mut self, error: &StateError) {
        if self.stuck.is_none() {
            tracing::error!("nothing more is taken in until the state can be written: {error}");
        }
        self.stuck = Some(error.to_string());
        self.checkpoint_due = Some(Instant::now() + RETRY);
    }
}

/// The store must not lose what it confirmed once cursors above it are durable, so it comes first.
async fn save(store: Arc<Store>, committer: Committer, pending: Pending, durable: bool, patience: Duration) -> Saved {
    let mut left = Pending::default();
    let mut change = Change {
        spool: pending.spool,
        dead_letters: pending.dead_letters,
        ..Change::default()
    };
    let patience = if change.spool.is_empty() {
        patience
    } else {
        patience.min(LITTLE_PATIENCE)
    };
    let confirmed = match pending.settled.durable(&*store, patience).await {
        Ok(durable) => {
            durable.into_change(&mut change);
            Ok(())
        }
        Err((settled, e)) => {
            left.settled = settled;
            Err(e)
        }
    };
    let (mut change, state) = committer.commit(change, durable).await;
    let frees = change.spool_done.is_some() && state.is_ok();
    let mut spooled = Vec::new();
    if state.is_ok() {
        spooled = change.spool;
    } else {
        if confirmed.is_ok() {
            left.settled = Durable::taken_from(&mut change).back();
        }
        left.spool = change.spool;
        left.dead_letters = change.dead_letters;
    }
    Saved {
        left,
        spooled,
        frees,
        store: confirmed,
        state,
    }
}

/// Resolves when the checkpoint under way has ended; never, if none is.
pub(super) async fn ended(saving: &mut Option<task::JoinHandle<Saved>>) -> Option<Result<Saved, task::JoinError>> {
    match saving {
        Some(handle) => Some(handle.await),
        None => std::future::pending().await,
    }
}
