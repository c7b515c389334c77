//! The one loop that carries out what [`Core`] decides. It owns the ledger and everything that waits in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::{self, JoinSet};

use super::actions::Step;
use super::backoff::Backoff;
use super::batch::Outgoing;
use super::checkpoint::{LITTLE_PATIENCE, PATIENCE, Pending, Saved, ended};
use super::committer::Committer;
use super::intake::PipelineIntake;
use super::ledger::Ledger;
use super::{Action, Core, Health};
use crate::config::Settings;
use crate::record::Micros;
use crate::source::Room;
use crate::state::SpoolId;
use crate::store::{Report, Store, WriteError};
use crate::telemetry::Counters;

/// So much of the time that a stop may take is kept for spooling what cannot be read again; a quarter of it at most.
const RESERVE: Duration = Duration::from_secs(2);

/// What the rest of the agent wants of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// The sources are closed: finish what waits, by the deadline.
    Draining {
        deadline: Instant,
    },
}

/// How the driver stands, for the status snapshot.
#[derive(Clone, Debug)]
pub struct DriverStatus {
    pub health: Health,
    /// When the store became as it is, and what it said last.
    pub since: Micros,
    pub last_error: Option<String>,
    pub spool_records: u64,
    pub spool_bytes: u64,
    pub held: usize,
    /// Why the state cannot be written, while it cannot.
    pub state_error: Option<String>,
    /// Why the spool cannot be read, while it cannot.
    pub spool_error: Option<String>,
    /// How often the driver has gone round its loop.
    pub turns: u64,
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything is stored.
    Stored,
    /// The deadline came first. What is left stands in its files or in the spool.
    Deadline { last_error: Option<String> },
}

/// Everything the driver works with.
pub struct Driver {
    pub(super) core: Core,
    pub(super) intake: Arc<PipelineIntake>,
    pub(super) committer: Committer,
    pub(super) store: Arc<Store>,
    pub(super) counters: Arc<Counters>,
    /// Told when the spool has room again.
    pub(super) freed: Arc<Notify>,
    status: Arc<Mutex<DriverStatus>>,
    pub(super) ledger: Ledger,
    pub(super) pending: Pending,
    /// Why the state could not be written: nothing more is taken in until it can.
    pub(super) stuck: Option<String>,
    /// When a spool that could not be read is tried again, and why it could not.
    pub(super) spool_retry: Option<Instant>,
    pub(super) spool_backoff: Backoff,
    pub(super) spool_error: Option<String>,
    pub(super) held: VecDeque<Outgoing>,
    pub(super) tasks: JoinSet<Result<Option<Report>, WriteError>>,
    pub(super) started: HashMap<task::Id, (Action, Option<Outgoing>)>,
    /// Last item of the spool that is on its way or done.
    pub(super) spool_sent: SpoolId,
    /// Nothing in the spool is behind `spool_sent`, as far as is known.
    pub(super) spool_dry: bool,
    pub(super) max_records: usize,
    pub(super) max_bytes: usize,
    pub(super) flush_interval: Duration,
    pub(super) checkpoint_due: Option<Instant>,
    /// A checkpoint under way: one at a time, so that no older cursor is written over a newer one.
    pub(super) saving: Option<task::JoinHandle<Saved>>,
    pub(super) fragile_since: Option<Instant>,
    /// Until then the forming batch may grow.
    pub(super) full_by: Option<Instant>,
    pub(super) now: fn() -> Micros,
}

impl Driver {
    #[must_use]
    pub fn new(
        settings: &Settings,
        intake: Arc<PipelineIntake>,
        committer: Committer,
        store: Arc<Store>,
        counters: Arc<Counters>,
        freed: Arc<Notify>,
        now: fn() -> Micros,
    ) -> Driver {
        let status = DriverStatus {
            health: Health::Up,
            since: now(),
            last_error: None,
            spool_records: 0,
            spool_bytes: 0,
            held: 0,
            state_error: None,
            spool_error: None,
            turns: 0,
        };
        Driver {
            core: Core::new(&settings.batch, &settings.retry, &settings.spool),
            intake,
            committer,
            store,
            counters,
            freed,
            status: Arc::new(Mutex::new(status)),
            ledger: Ledger::default(),
            pending: Pending::default(),
            stuck: None,
            spool_retry: None,
            spool_backoff: Backoff::new(settings.retry.initial, settings.retry.max),
            spool_error: None,
            held: VecDeque::new(),
            tasks: JoinSet::new(),
            started: HashMap::new(),
            spool_sent: 0,
            spool_dry: false,
            max_records: settings.batch.max_records.max(1),
            max_bytes: usize::try_from(settings.batch.max_bytes).unwrap_or(usize::MAX).max(1),
            flush_interval: settings.batch.flush_interval,
            checkpoint_due: None,
            saving: None,
            fragile_since: None,
            full_by: None,
            now,
        }
    }

    /// Where the driver's status is published.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<DriverStatus>> {
        Arc::clone(&self.status)
    }

    /// Runs until the phase is draining and nothing is left, or its deadline is near.
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Drained {
        let mut draining: Option<Draining> = None;
        loop {
            let now = Instant::now();
            if let Phase::Draining { deadline } = *phase.borrow_and_update() {
                draining = Some(Draining::until(deadline, draining, now));
            }
            let step = self.step(now).await;
            if self.checkpoint_due.is_some_and(|at| at <= now) {
                self.begin_checkpoint(false, PATIENCE);
            }
            self.publish();
            if let Some(draining) = draining {
                let left = draining.give_up_at.saturating_duration_since(Instant::now());
                if self.is_drained() && self.checkpoint(true, left.min(PATIENCE)).await.is_ok() {
                    return Drained::Stored;
                }
                if now >= draining.give_up_at {
                    return self.give_up().await;
                }
            }
            let wake = self.wake_at(step, draining);
            tokio::select! {
                () = self.intake.woken() => self.spool_dry = false,
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.done(done),
                Some(ended) = ended(&mut self.saving) => drop(self.end_checkpoint(ended)),
                () = sleep_until(wake) => {}
                changed = phase.changed() => if changed.is_err() {
                    // The agent is gone: end as at a deadline.
                    return self.give_up().await;
                },
            }
        }
    }

    fn wake_at(&self, step: Step, draining: Option<Draining>) -> Option<Instant> {
        let again = match step {
            Step::Progress => Some(Instant::now()),
            Step::Idle => None,
            Step::Stuck(until) => Some(until),
        };
        let ripe = self
            .fragile_since
            .filter(|_| self.core.health() != Health::Up)
            .map(|at| at + self.flush_interval)
            .filter(|at| *at > Instant::now());
        let full_by = self
            .full_by
            .filter(|at| self.core.health() == Health::Up && *at > Instant::now());
        // One that is under way wakes the loop when it ends.
        let checkpoint = self.checkpoint_due.filter(|_| self.saving.is_none());
        let give_up = draining.map(|d| d.give_up_at);
        let spool_retry = self.spool_retry.filter(|at| *at > Instant::now());
        [
            again,
            self.core.wake_at(),
            checkpoint,
            give_up,
            ripe,
            full_by,
            spool_retry,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn is_drained(&mut self) -> bool {
        let view = self.view(Instant::now());
        // A spool that cannot be read now is not empty for that.
        let spooled = self.committer.spool_usage().items > 0 && !self.spool_dry;
        self.stuck.is_none() && !self.core.busy() && self.held.is_empty() && !view.live && !spooled
    }

    /// The deadline is near: what cannot be read again is spooled, the rest stands in its files.
    async fn give_up(mut self) -> Drained {
        self.intake.allow(Room::Closed);
        self.tasks.abort_all();
        self.held.extend(self.started.drain().filter_map(|(_, (_, out))| out));
        self.held.make_contiguous().sort_by_key(|o| o.ticket);
        self.flush_interval = Duration::ZERO;
        let view = self.view(Instant::now());
        // Nobody else has it: the little that waits here is spooled even if the spool is full.
        if view.fragile {
            self.gather_for_spool();
        }
        let last_error = self.core.last_error().map(str::to_owned);
        let saved = tokio::time::timeout(RESERVE, self.checkpoint(true, LITTLE_PATIENCE)).await;
        let last_error = match (&self.stuck, saved) {
            (Some(stuck), _) => Some(format!("the state cannot be written: {stuck}")),
            (None, Err(_)) => Some("the state could not be written in time".to_owned()),
            (None, Ok(_)) => self.spool_error.take().or(last_error),
        };
        Drained::Deadline { last_error }
    }

    fn publish(&self) {
        let usage = self.committer.spool_usage();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.health != self.core.health() {
            status.health = self.core.health();
            status.since = (self.now)();
        }
        if status.last_error.as_deref() != self.core.last_error() {
            status.last_error = self.core.last_error().map(str::to_owned);
        }
        status.spool_records = usage.records;
        status.spool_bytes = usage.bytes;
        status.held = self.held.len();
        if status.state_error != self.stuck {
            status.state_error.clone_from(&self.stuck);
        }
        if status.spool_error != self.spool_error {
            status.spool_error.clone_from(&self.spool_error);
        }
        status.turns += 1;
    }
}

/// A drain that was begun.
#[derive(Clone, Copy, Debug)]
struct Draining {
    deadline: Instant,
    /// When what is left is spooled: some time before the deadline.
    give_up_at: Instant,
}

impl Draining {
    fn until(deadline: Instant, before: Option<Draining>, now: Instant) -> Draining {
        if let Some(same) = before.filter(|d| d.deadline == deadline) {
            return same;
        }
        let reserve = RESERVE.min(deadline.saturating_duration_since(now) / 4);
        Draining {
            deadline,
            give_up_at: deadline.checked_sub(reserve).unwrap_or(deadline),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Uniform over `u64`; for jitter only.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}
