//! The actions that [`super::Core`] decides upon, carried out. Each says whether it got anywhere: what cannot be done now
//! says when it is to be tried again, so that no loop turns for nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task;

use super::batch::{Formed, Outgoing};
use super::checkpoint::{LITTLE_PATIENCE, Unsaved};
use super::driver::{Driver, random};
use super::ledger::{By, Progress, Ticket};
use super::{Action, FILLING, Health, Outcome, View};
use crate::record::format_time;
use crate::source::Room;
use crate::state::{DeadLetter, StateError};
use crate::store::{Report, Sink, WriteError};
use crate::telemetry::add;

/// So many actions are carried out before the driver looks at what else happened.
const AT_ONCE: usize = 64;

/// A spool that cannot be read is left alone for so long at least.
const SPOOL_REST: Duration = Duration::from_millis(250);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more to do.
    Progress,
    /// Nothing to do until something happens.
    Idle,
    /// It cannot be done now; to be tried again then.
    Stuck(Instant),
}

impl Driver {
    pub(super) fn view(&mut self, now: Instant) -> View {
        if self.intake.take_endangered() {
            let sent = self.started.values_mut().filter_map(|(_, out)| out.as_mut());
            sent.chain(self.held.iter_mut())
                .filter(|o| o.spooled.is_none())
                .for_each(|o| o.fragile = true);
        }
        let waiting = self.intake.waiting();
        self.full_by = waiting.filling.map(|since| since + FILLING.min(self.flush_interval));
        let usage = self.committer.spool_usage();
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
            spooled: usage.items > 0 && !self.spool_dry && !self.spool_rests(now),
            spool_room: usage.bytes < usage.max_bytes,
        }
    }

    /// Whether the spool could not be read or given up in part just before.
    fn spool_rests(&self, now: Instant) -> bool {
        self.spool_retry.is_some_and(|at| now < at)
    }

    /// Does what can be done now, up to a number of actions.
    pub(super) async fn step(&mut self, now: Instant) -> Step {
        if self.stuck.is_some() {
            self.intake.allow(Room::None);
            return Step::Idle;
        }
        for _ in 0..AT_ONCE {
            let view = self.view(now);
            self.intake.allow(self.core.room(&view));
            let Some(action) = self.core.act(now, &view) else {
                return Step::Idle;
            };
            match self.carry_out(action, now).await {
                Step::Progress => {}
                other => return other,
            }
        }
        Step::Progress
    }

    async fn carry_out(&mut self, action: Action, now: Instant) -> Step {
        match action {
            Action::SendHeld => match self.held.pop_front() {
                Some(out) => self.send(action, out),
                None => self.core.release(action),
            },
            Action::SendLive => match self.intake.take() {
                Some(formed) => self.send_live(action, formed),
                None => self.core.release(action),
            },
            Action::SendSpooled => return self.send_spooled(action, now).await,
            Action::Probe => self.probe(),
            Action::Spool => {
                self.gather_for_spool();
                if let Err(Unsaved::State) = self.checkpoint(true, LITTLE_PATIENCE).await {
                    // The state says when it is tried again.
                    return Step::Idle;
                }
            }
            Action::DropOldest => return self.drop_oldest(now).await,
        }
        Step::Progress
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
            self.settle(ticket, By::Store);
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

    async fn send_spooled(&mut self, action: Action, now: Instant) -> Step {
        let read = self
            .committer
            .spool_read(self.spool_sent, self.max_records, self.max_bytes)
            .await;
        let read = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.spool_dry = true;
                self.core.release(action);
                return Step::Progress;
            }
            Err(e) => {
                self.core.release(action);
                return self.let_spool_rest(&e, now);
            }
        };
        self.spool_works();
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
            self.settle(ticket, By::Store);
            return Step::Progress;
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
        Step::Progress
    }

    /// The spool cannot be read: said once and left alone for a while, in which everything else goes on.
    fn let_spool_rest(&mut self, error: &StateError, now: Instant) -> Step {
        if self.spool_error.is_none() {
            tracing::error!("what is spooled waits until the spool can be read, the rest goes on: {error}");
        }
        self.spool_error = Some(error.to_string());
        let again = now + self.spool_backoff.next(random()).max(SPOOL_REST);
        self.spool_retry = Some(again);
        Step::Stuck(again)
    }

    fn spool_works(&mut self) {
        self.spool_retry = None;
        self.spool_backoff.reset();
        if self.spool_error.take().is_some() {
            tracing::info!("the spool can be read again");
        }
    }

    /// A send or a probe has ended.
    pub(super) fn done(&mut self, done: Result<(task::Id, Result<Option<Report>, WriteError>), task::JoinError>) {
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
        if !report.postponed.is_empty() {
            // It takes its turn in the spool, in the change that moves the cursors.
            self.pending.spool.push(Arc::new(report.postponed));
            self.checkpoint_soon();
        }
        self.settle(out.ticket, By::Store);
    }

    fn settle(&mut self, ticket: Ticket, by: By) {
        self.ledger.settle(ticket, by);
        if self.ledger.has_settled() {
            self.ledger.take_settled(&mut self.pending.settled);
            self.checkpoint_soon();
        }
    }

    /// Says once when the store goes and once when it comes back.
    pub(super) fn say_health(&self, before: Health) {
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
    pub(super) fn gather_for_spool(&mut self) {
        for out in std::mem::take(&mut self.held) {
            if out.spooled.is_some() {
                self.held.push_back(out);
                continue;
            }
            self.pending.spool.push(out.batch);
            self.ledger.settle(out.ticket, By::Spool);
        }
        while let Some(formed) = self.intake.take() {
            let ticket = self.ledger.enter(formed.progress);
            if !formed.batch.is_empty() {
                self.pending.spool.push(Arc::new(formed.batch));
            }
            self.ledger.settle(ticket, By::Spool);
        }
    }

    async fn drop_oldest(&mut self, now: Instant) -> Step {
        if self.spool_rests(now) {
            return self.spool_retry.map_or(Step::Idle, Step::Stuck);
        }
        match self.committer.drop_oldest(self.max_bytes as u64 * 2).await {
            Ok(dropped) if dropped.bytes == 0 && dropped.records == 0 => {
                let nothing = StateError::Io {
                    path: std::path::PathBuf::from("spool"),
                    error: "nothing in it can be given up".to_owned(),
                };
                self.let_spool_rest(&nothing, now)
            }
            Ok(dropped) => {
                self.spool_works();
                add(&self.counters.dropped, dropped.records);
                tracing::error!(
                    records = dropped.records,
                    "the spool is full and spool.when_full is \"drop_oldest\": its oldest records are lost"
                );
                Step::Progress
            }
            Err(e) => self.let_spool_rest(&e, now),
        }
    }
}
