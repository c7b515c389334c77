//! The one loop that carries out what [`Core`] decides. It owns the ledger and everything that waits in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::{self, JoinSet};

use super::batch::{Formed, Outgoing};
use super::checkpoint::{Saved, ended};
use super::intake::PipelineIntake;
use super::ledger::{Ledger, Progress, Ticket};
use super::{Action, Core, FILLING, Health, Outcome, View};
use crate::config::Settings;
use crate::record::{Micros, format_time};
use crate::source::Room;
use crate::state::{Change, DeadLetter, SpoolId, State, blocking};
use crate::store::{Report, Sink, Store, WriteError};
use crate::telemetry::{Counters, add};

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
    core: Core,
    pub(super) intake: Arc<PipelineIntake>,
    pub(super) state: Arc<State>,
    pub(super) store: Arc<Store>,
    pub(super) counters: Arc<Counters>,
    /// Told when the spool has room again.
    pub(super) freed: Arc<Notify>,
    status: Arc<Mutex<DriverStatus>>,
    pub(super) ledger: Ledger,
    /// What the next checkpoint writes; after a failure, what the last one could not.
    pub(super) pending: Change,
    /// The state could not be written: nothing more is taken in until it can.
    pub(super) stuck: bool,
    held: VecDeque<Outgoing>,
    tasks: JoinSet<Result<Option<Report>, WriteError>>,
    started: HashMap<task::Id, (Action, Option<Outgoing>)>,
    /// Last item of the spool that is on its way or done.
    spool_sent: SpoolId,
    /// Nothing in the spool is behind `spool_sent`, as far as is known.
    pub(super) spool_dry: bool,
    max_records: usize,
    max_bytes: usize,
    flush_interval: Duration,
    pub(super) checkpoint_due: Option<Instant>,
    /// A checkpoint under way: one at a time, so that no older cursor is written over a newer one.
    pub(super) saving: Option<task::JoinHandle<Saved>>,
    fragile_since: Option<Instant>,
    /// Until then the forming batch may grow.
    full_by: Option<Instant>,
    now: fn() -> Micros,
}

impl Driver {
    #[must_use]
    pub fn new(
        settings: &Settings,
        intake: Arc<PipelineIntake>,
        state: Arc<State>,
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
            turns: 0,
        };
        Driver {
            core: Core::new(&settings.batch, &settings.retry, &settings.spool),
            intake,
            state,
            store,
            counters,
            freed,
            status: Arc::new(Mutex::new(status)),
            ledger: Ledger::default(),
            pending: Change::default(),
            stuck: false,
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

    /// Runs until the phase is draining and nothing is left, or its deadline has come.
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Drained {
        loop {
            let now = Instant::now();
            self.step(now).await;
            if self.checkpoint_due.is_some_and(|at| at <= now) {
                self.begin_checkpoint(false);
            }
            self.publish();
            let current = *phase.borrow_and_update();
            if let Phase::Draining { deadline } = current {
                if self.is_drained() && self.checkpoint(true).await {
                    return Drained::Stored;
                }
                if now >= deadline {
                    return self.give_up().await;
                }
            }
            let wake = self.wake_at(current);
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

    fn wake_at(&self, phase: Phase) -> Option<Instant> {
        let deadline = match phase {
            Phase::Draining { deadline } => Some(deadline),
            Phase::Running => None,
        };
        let ripe = self
            .fragile_since
            .filter(|_| self.core.health() != Health::Up)
            .map(|at| at + self.flush_interval)
            .filter(|at| *at > Instant::now());
        let full_by = self
            .full_by
            .filter(|at| self.core.health() == Health::Up && *at > Instant::now());
        [self.core.wake_at(), self.checkpoint_due, deadline, ripe, full_by]
            .into_iter()
            .flatten()
            .min()
    }

    fn view(&mut self, now: Instant) -> View {
        if self.intake.take_endangered() {
            let sent = self.started.values_mut().filter_map(|(_, out)| out.as_mut());
            sent.chain(self.held.iter_mut())
                .filter(|o| o.spooled.is_none())
                .for_each(|o| o.fragile = true);
        }
        let waiting = self.intake.waiting();
        self.full_by = waiting.filling.map(|since| since + FILLING.min(self.flush_interval));
        let usage = self.state.spool_usage();
        let fragile = waiting.fragile || self.held.iter().any(|o| o.fragile);
        // While the store is away, fragile data gathers for one commit, as long as records may wait.
        self.fragile_since = if fragile {
            self.fragile_since.or(Some(now))
        } else {
            None
        };
        let ripe = waiting.full
            || self
                .fragile_since
                .is_some_and(|since| now >= since + self.flush_interval);
        View {
            held: self.held.len(),
            live: waiting.live,
            filling: !waiting.full && self.full_by.is_some_and(|at| now < at),
            fragile: fragile && ripe,
            spooled: usage.records > 0 && !self.spool_dry,
            spool_room: usage.bytes < usage.max_bytes,
        }
    }

    /// Does all that can be done now.
    async fn step(&mut self, now: Instant) {
        if self.stuck {
            self.intake.allow(Room::None);
            return;
        }
        loop {
            let view = self.view(now);
            self.intake.allow(self.core.room(&view));
            let Some(action) = self.core.act(now, &view) else {
                return;
            };
            match action {
                Action::SendHeld => match self.held.pop_front() {
                    Some(out) => self.send(action, out),
                    None => self.core.release(action),
                },
                Action::SendLive => match self.intake.take() {
                    Some(formed) => self.send_live(action, formed),
                    None => self.core.release(action),
                },
                Action::SendSpooled => self.send_spooled(action).await,
                Action::Probe => self.probe(),
                Action::Spool => {
                    self.gather_for_spool();
                    if !self.checkpoint(true).await {
                        return;
                    }
                }
                Action::DropOldest => self.drop_oldest().await,
            }
        }
    }

    fn send_live(&mut self, action: Action, formed: Formed) {
        let Formed {
            batch,
            progress,
            fragile,
        } = formed;
        let ticket = self.ledger.enter(progress);
        if batch.is_empty() {
            self.core.release(action);
            self.settle(ticket);
            self.intake.recycle(Arc::new(batch));
            return;
        }
        self.send(
            action,
            Outgoing {
                ticket,
                batch: Arc::new(batch),
                fragile,
                spooled: None,
            },
        );
    }

    fn send(&mut self, action: Action, out: Outgoing) {
        let (store, batch) = (Arc::clone(&self.store), Arc::clone(&out.batch));
        let handle = self.tasks.spawn(async move { store.write(&batch).await.map(Some) });
        self.started.insert(handle.id(), (action, Some(out)));
    }

    fn probe(&mut self) {
        let store = Arc::clone(&self.store);
        let handle = self.tasks.spawn(async move { store.probe().await.map(|()| None) });
        self.started.insert(handle.id(), (Action::Probe, None));
    }

    async fn send_spooled(&mut self, action: Action) {
        let (after, records, bytes) = (self.spool_sent, self.max_records, self.max_bytes);
        let state = Arc::clone(&self.state);
        let read = match blocking(move || state.spool_read(after, records, bytes)).await {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.spool_dry = true;
                self.core.release(action);
                return;
            }
            Err(e) => {
                self.say_stuck(&e);
                self.core.release(action);
                return;
            }
        };
        if read.lost.records > 0 {
            add(&self.counters.dropped, read.lost.records);
            tracing::error!(
                records = read.lost.records,
                "the spool is damaged: some of its records are lost"
            );
        }
        self.spool_sent = read.last;
        let ticket = self.ledger.enter(Progress {
            spool_done: Some(read.last),
            ..Progress::default()
        });
        if read.batch.is_empty() {
            self.core.release(action);
            self.settle(ticket);
            return;
        }
        self.send(
            action,
            Outgoing {
                ticket,
                batch: Arc::new(read.batch),
                fragile: false,
                spooled: Some(read.last),
            },
        );
    }

    /// A send or a probe has ended.
    fn done(&mut self, done: Result<(task::Id, Result<Option<Report>, WriteError>), task::JoinError>) {
        let (id, result) = match done {
            Ok(done) => done,
            Err(e) => (e.id(), Err(WriteError::Away(format!("the store's client failed: {e}")))),
        };
        let Some((action, out)) = self.started.remove(&id) else {
            return;
        };
        let before = self.core.health();
        let outcome = match (&out, result) {
            (Some(out), Ok(report)) => {
                self.stored(out, report.unwrap_or_default());
                Outcome::Stored
            }
            (Some(_), Err(e)) => Outcome::Failed(e),
            (None, Ok(_)) => Outcome::ProbeSucceeded,
            (None, Err(e)) => Outcome::ProbeFailed(e),
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        self.core.finished(action, outcome, Instant::now(), random());
        match out {
            Some(out) if failed => {
                let at = self.held.partition_point(|o| o.ticket < out.ticket);
                self.held.insert(at, out);
            }
            Some(out) => self.intake.recycle(out.batch),
            None => {}
        }
        self.say_health(before);
    }

    fn stored(&mut self, out: &Outgoing, report: Report) {
        let c = &self.counters;
        add(&c.stored, report.stored);
        add(&c.fix_unmatched, report.fixes_unmatched);
        if let Some(first) = report.rejected.first() {
            tracing::error!(
                count = report.rejected.len(),
                reason = first.reason,
                "the store refuses records for good; see `logagent dead-letter list`"
            );
            let time = format_time((self.now)());
            let letter = |rejected| DeadLetter {
                rejected,
                time: time.clone(),
            };
            self.pending
                .dead_letters
                .extend(report.rejected.into_iter().map(letter));
        }
        self.settle(out.ticket);
    }

    fn settle(&mut self, ticket: Ticket) {
        self.ledger.settle(ticket);
        if self.ledger.has_settled() {
            self.ledger.take_settled(&mut self.pending);
            self.checkpoint_soon();
        }
    }

    /// Says once when the store goes and once when it comes back.
    fn say_health(&self, before: Health) {
        let (after, why) = (self.core.health(), self.core.last_error().unwrap_or(""));
        if before == after {
            return;
        }
        match after {
            Health::Up => tracing::info!("the store answers again"),
            Health::Away => tracing::warn!("the store is away; files and spool hold the records meanwhile: {why}"),
            Health::Refusing => tracing::error!("the store refuses; nothing is lost and it is tried again: {why}"),
        }
    }

    /// Puts everything that waits in memory into the next change, to be spooled together with its cursors.
    fn gather_for_spool(&mut self) {
        for out in std::mem::take(&mut self.held) {
            if out.spooled.is_some() {
                self.held.push_back(out);
                continue;
            }
            self.pending.spool.push(out.batch);
            self.ledger.settle(out.ticket);
        }
        while let Some(formed) = self.intake.take() {
            let ticket = self.ledger.enter(formed.progress);
            if !formed.batch.is_empty() {
                self.pending.spool.push(Arc::new(formed.batch));
            }
            self.ledger.settle(ticket);
        }
    }

    async fn drop_oldest(&mut self) {
        let state = Arc::clone(&self.state);
        let bytes = self.max_bytes as u64 * 2;
        match blocking(move || state.spool_drop_oldest(bytes)).await {
            Ok(dropped) => {
                add(&self.counters.dropped, dropped.records);
                tracing::error!(
                    records = dropped.records,
                    "the spool is full and spool.when_full is \"drop_oldest\": its oldest records are lost"
                );
            }
            Err(e) => self.say_stuck(&e),
        }
    }

    fn is_drained(&mut self) -> bool {
        let view = self.view(Instant::now());
        !self.stuck && !self.core.busy() && self.held.is_empty() && !view.live && !view.spooled
    }

    /// The deadline has come: what cannot be read again is spooled, the rest stands in its files.
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
        let written = self.checkpoint(true).await;
        let last_error = self.core.last_error().map(str::to_owned);
        Drained::Deadline {
            last_error: last_error.filter(|_| written),
        }
    }

    fn publish(&self) {
        let usage = self.state.spool_usage();
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
        status.turns += 1;
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Uniform over `u64`; for jitter only.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}
