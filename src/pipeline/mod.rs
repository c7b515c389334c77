//! From chunks to a store: batches, order, retries, and what is durable when.
//!
//! # Constraints
//!
//! Nothing may be lost or doubled when the agent is killed at any moment, when the store is away for an hour, or when an
//! answer is lost after the store accepted. Memory is bounded by the configuration. A record that arrives while all is
//! quiet is sent at once; under load batches grow to their limits by themselves: while files are read that have more, the
//! forming batch is left to fill for some milliseconds.
//!
//! # Vocabulary
//!
//! * *forming*: the batch that the [`intake`] appends to; *ready*: formed, waiting for a free slot; *held*: sent once
//!   without success, waiting for the store.
//! * *live* comes from files as they are read; *spooled* comes out of the spool.
//! * *ticket*: the number of a batch. Batches are numbered as they leave the intake.
//! * *settled*: stored, or spooled.
//!
//! # Operation
//!
//! [`Core`] decides, purely: it is told what happened and sees what waits ([`View`]), and answers with one [`Action`]
//! after another. The driver (one task) carries them out. At most `batch.in_flight` batches are on their way at a time;
//! spooled and live batches take turns, so that neither starves.
//!
//! [`ledger::Ledger`] keeps what a batch makes true once it is settled (cursors, identities, open runs), in ticket
//! order. A *checkpoint* makes everything durable up to the first batch that is not settled, in one atomic change.
//! What comes after it is only repeated after a crash, and keys make repeats harmless; so checkpoints come at
//! intervals, not with every batch. What only the store's word stands for passes the store's barrier before a cursor
//! moves ([`durability`]), and all changes of the state are made by one thread, in order ([`committer`]).
//!
//! # Failure
//!
//! A batch that fails goes back to *held*, and the store counts as away. While it is away, nothing is read but fragile
//! streams (those that cannot be read again later). If there is fragile data, everything that waits in memory is spooled
//! in order, in the same change that moves its cursors. A cheap probe is tried about every second; the first batch after
//! it decides. A probe goes the way of a batch as far as that stores nothing, so a store that takes batches in and loses
//! its answers is found back as soon as one that is down. If batches fail although probes succeed, the exponential
//! back-off with full jitter rules.
//! A store that *refuses* (login, permission, missing collection) is tried again every `retry.max`.
//!
//! # What can be lost
//!
//! Nothing by a crash of the agent, save one case: an unlinked file that only this process held open is gone with it,
//! as far as it had not been read and settled.

mod actions;
pub mod backoff;
pub mod batch;
mod checkpoint;
pub mod committer;
pub mod driver;
mod durability;
pub mod extras;
pub mod intake;
pub mod ledger;
mod parser;
pub mod recall;

use std::time::{Duration, Instant};

use backoff::Backoff;

use crate::config;
use crate::source::Room;
use crate::store::WriteError;

/// Probes of a store that is away follow one another within this time, and on average within half of it: what waits is
/// to be on its way a second after the store's return.
const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// While a source reads on, a batch fills for so long, at most, before it is sent.
const FILLING: Duration = Duration::from_millis(20);

/// How the store is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// Passing trouble.
    Away,
    /// It answers, and wants a person.
    Refusing,
}

/// What waits, as the driver sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Batches that were sent without success.
    pub held: usize,
    /// Batches formed or forming.
    pub live: bool,
    /// All that is live is a batch that is just being filled.
    pub filling: bool,
    /// Some of what is held, ready or forming comes from a stream that cannot be read again.
    pub fragile: bool,
    /// The spool holds something that is not on its way.
    pub spooled: bool,
    /// The spool takes more.
    pub spool_room: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    SendHeld,
    SendLive,
    SendSpooled,
    Probe,
    /// Spool everything that waits in memory.
    Spool,
    /// Make room in the spool by giving up its oldest records.
    DropOldest,
}

/// What came of an action.
#[derive(Clone, Debug)]
pub enum Outcome {
    Stored,
    Failed(WriteError),
    ProbeSucceeded,
    ProbeFailed(WriteError),
}

/// Which lane's turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Live,
    Spool,
}

/// The decisions of the pipeline. Pure: time and randomness come in as arguments.
#[derive(Debug)]
pub struct Core {
    in_flight: usize,
    retry_max: Duration,
    when_full: config::WhenFull,
    backoff: Backoff,
    health: Health,
    sending: usize,
    spool_sending: bool,
    probing: bool,
    /// A probe succeeded and no batch was stored since: one batch goes first.
    probed: bool,
    /// A batch failed after a successful probe: probes prove nothing for now.
    probe_misled: bool,
    retry_at: Option<Instant>,
    turn: Lane,
    last_error: Option<String>,
}

impl Core {
    #[must_use]
    pub fn new(batch: &config::Batch, retry: &config::Retry, spool: &config::Spool) -> Core {
        Core {
            in_flight: batch.in_flight.max(1),
            retry_max: retry.max,
            when_full: spool.when_full,
            backoff: Backoff::new(retry.initial, retry.max),
            health: Health::Up,
            sending: 0,
            spool_sending: false,
            probing: false,
            probed: false,
            probe_misled: false,
            retry_at: None,
            turn: Lane::Live,
            last_error: None,
        }
    }

    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// The last error, kept after recovery.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Batches and probes under way.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.sending > 0 || self.probing
    }

    /// What sources may read.
    #[must_use]
    pub fn room(&self, view: &View) -> Room {
        match self.health {
            Health::Up => Room::All,
            _ if view.spool_room || self.when_full == config::WhenFull::DropOldest => Room::Fragile,
            _ => Room::None,
        }
    }

    /// The next thing to do, if any. The driver starts it and asks again.
    pub fn act(&mut self, now: Instant, view: &View) -> Option<Action> {
        if self.health == Health::Up {
            return self.send(view);
        }
        if view.fragile && self.sending == 0 {
            if view.spool_room {
                return Some(Action::Spool);
            }
            if self.when_full == config::WhenFull::DropOldest {
                return Some(Action::DropOldest);
            }
        }
        let due = self.retry_at.is_none_or(|at| at <= now);
        if !due || self.busy() {
            return None;
        }
        self.probing = true;
        Some(Action::Probe)
    }

    fn send(&mut self, view: &View) -> Option<Action> {
        let slots = if self.probed { 1 } else { self.in_flight };
        if self.sending >= slots {
            return None;
        }
        let spool = view.spooled && !self.spool_sending;
        let live = view.live && !view.filling;
        let action = if view.held > 0 {
            Action::SendHeld
        } else if live && (!spool || self.turn == Lane::Live) {
            self.turn = Lane::Spool;
            Action::SendLive
        } else if spool {
            self.turn = Lane::Live;
            self.spool_sending = true;
            Action::SendSpooled
        } else {
            return None;
        };
        self.sending += 1;
        Some(action)
    }

    /// An action is over, or there was nothing to do for it after all.
    pub fn release(&mut self, action: Action) {
        match action {
            Action::SendHeld | Action::SendLive => self.sending = self.sending.saturating_sub(1),
            Action::SendSpooled => {
                self.sending = self.sending.saturating_sub(1);
                self.spool_sending = false;
            }
            Action::Probe => self.probing = false,
            Action::Spool | Action::DropOldest => {}
        }
    }

    /// Takes in how an action ended. `random` is uniform over all of `u64`.
    pub fn finished(&mut self, action: Action, outcome: Outcome, now: Instant, random: u64) {
        self.release(action);
        match outcome {
            Outcome::Stored => {
                self.backoff.reset();
                self.probed = false;
                self.probe_misled = false;
                self.health = Health::Up;
            }
            Outcome::ProbeSucceeded => {
                self.probed = true;
                self.health = Health::Up;
            }
            Outcome::Failed(e) => {
                self.probe_misled |= self.probed;
                self.fail(&e, now, random);
            }
            Outcome::ProbeFailed(e) => {
                self.probe_misled = false;
                self.fail(&e, now, random);
            }
        }
    }

    fn fail(&mut self, error: &WriteError, now: Instant, random: u64) {
        self.probed = false;
        let delay = match error {
            WriteError::Refused(_) => self.retry_max,
            WriteError::Away(_) if self.probe_misled => self.backoff.next(random),
            // Within the back-off while that is shorter than the time between probes.
            WriteError::Away(_) => {
                let probe = backoff::jitter(PROBE_WITHIN, random);
                self.backoff.next(random).min(probe)
            }
        };
        self.health = match error {
            WriteError::Refused(_) => Health::Refusing,
            WriteError::Away(_) => Health::Away,
        };
        self.last_error = Some(error.to_string());
        self.retry_at = Some(now + delay);
    }

    /// When to ask again although nothing happened.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        if self.health == Health::Up || self.busy() {
            None
        } else {
            self.retry_at
        }
    }
}

#[cfg(test)]
mod tests;
