//! What the agent does beside shipping: it publishes its status, concludes runs, and says how it goes.
//!
//! All of it may block (on a disk, on `/proc`), so it has a thread of its own: a disk that hangs stops the status, which
//! `/healthz` shows, and nothing else.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::place;
use super::supervisor::{Fault, Supervisor};
use crate::config::{Settings, StoreKind};
use crate::pipeline::Health;
use crate::pipeline::committer::Committer;
use crate::pipeline::driver::DriverStatus;
use crate::pipeline::intake::PipelineIntake;
use crate::record::{Micros, format_time};
use crate::runs::liveness::liveness;
use crate::source::status::{self as files, FileStatus, FilesStatus};
use crate::state::Change;
use crate::state::dead_letters::DeadLetters;
use crate::store::Batch;
use crate::telemetry::snapshot::{
    LossCounts, Meter, RecordCounts, Snapshot, SourceStatus, SpoolStatus, StoreState, StoreStatus,
};
use crate::telemetry::{Counters, get};

/// How often the snapshot is looked at; it is written only when something changed, and about each ten seconds otherwise.
pub const TICK: Duration = Duration::from_secs(1);

/// To know so many files takes memory that others have to do without: the embedded store has a smaller cache. What
/// becomes known of them lies among what passes by, and tears the heap apart: while records come, it is trimmed in each
/// tick.
const MANY_FILES: u64 = 2000;

/// Everything a snapshot is made of, and what the rounds need beside it.
pub struct Publisher {
    pub data_dir: PathBuf,
    pub counters: Arc<Counters>,
    pub files: Arc<FilesStatus>,
    pub socket: Option<PathBuf>,
    pub driver: Arc<Mutex<DriverStatus>>,
    pub intake: Arc<PipelineIntake>,
    pub dead_letters: Arc<DeadLetters>,
    pub committer: Committer,
    pub fixed: Snapshot,
    pub spool_max: u64,
    pub meter: Meter,
    pub last: Option<Snapshot>,
    /// What the sources in `last` were made of.
    pub listed: Option<Arc<files::Snapshot>>,
    pub watching: super::monitoring::Watching,
    pub supervisor: Supervisor,
    /// Told when a burst of work is over.
    pub quiet: Arc<Notify>,
}

impl Publisher {
    /// The parts of a snapshot that do not change.
    #[must_use]
    pub fn fixed(settings: &Settings, started: Micros) -> Snapshot {
        let (kind, place) = match settings.store.kind {
            StoreKind::Sqlite => ("sqlite", settings.store.sqlite_path.display().to_string()),
            StoreKind::Arangodb => {
                let a = &settings.store.arangodb;
                (
                    "arangodb",
                    format!("{} database {}", a.endpoints.join(", "), a.database),
                )
            }
        };
        Snapshot {
            running: true,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: format_time(started),
            host: settings.host.clone(),
            data_dir: settings.data_dir.clone(),
            store: StoreStatus {
                kind: kind.to_owned(),
                place,
                ..StoreStatus::default()
            },
            ..Snapshot::default()
        }
    }

    /// The snapshot of this moment.
    pub fn snapshot(&mut self, now: Micros) -> Snapshot {
        let mut s = self.fixed.clone();
        let (store_since, stuck);
        {
            let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
            s.store.state = match driver.health {
                Health::Up => StoreState::Up,
                Health::Away => StoreState::Away,
                Health::Refusing => StoreState::Refusing,
            };
            store_since = driver.since;
            s.store.since = format_time(driver.since);
            s.store.last_error.clone_from(&driver.last_error);
            s.spool = SpoolStatus {
                records: driver.spool_records,
                bytes: driver.spool_bytes,
                max_bytes: self.spool_max,
            };
            stuck = super::monitoring::Stuck {
                state: driver.state_error.clone(),
                spool: driver.spool_error.clone(),
            };
        }
        self.put_sources(&mut s);
        s.dead_letters = self.dead_letters.usage().map_or(0, |u| u.letters);
        s.records = RecordCounts::of(&self.counters);
        s.losses = LossCounts::of(&self.counters);
        s.rates = self.meter.sample(now, &self.counters);
        s.open_runs = self.intake.open_runs() as u64;
        s.updated_at = format_time(now);
        self.watching.look(now, store_since, &stuck, &mut s);
        s
    }

    /// A thousand sources are not listed anew each second if nothing happened to them.
    fn put_sources(&mut self, s: &mut Snapshot) {
        let files = self.files.get();
        let same = self.listed.as_ref().is_some_and(|listed| Arc::ptr_eq(listed, &files));
        match &mut self.last {
            Some(last) if same => s.sources = std::mem::take(&mut last.sources),
            _ => {
                let mut sources: Vec<SourceStatus> = files.files.iter().map(file_source).collect();
                if let Some(path) = &self.socket {
                    sources.push(SourceStatus {
                        kind: Cow::Borrowed("socket"),
                        path: path.display().to_string(),
                        state: Cow::Borrowed("listening"),
                        ..SourceStatus::default()
                    });
                }
                s.set_sources(sources);
            }
        }
        let lines = get(&self.counters.socket_lines);
        if let Some(socket) = s.sources.iter_mut().find(|source| source.kind == "socket") {
            (socket.position, socket.size) = (lines, lines);
        }
        s.sources_total = files.watched + u64::from(self.socket.is_some());
        s.lag_bytes = files.lag_bytes;
        self.listed = Some(files);
    }

    /// Dead letters that `logagent dead-letter retry` put up are spooled under their old keys.
    fn retry_letters(&self) {
        let retry = match self.dead_letters.next_retry() {
            Ok(Some(retry)) => retry,
            Ok(None) => return,
            Err(e) => {
                tracing::debug!("the dead letters to be retried cannot be read: {e}");
                return;
            }
        };
        let (mut batch, mut again) = (Batch::default(), Change::default());
        for letter in &retry.letters {
            if !batch.push_rejected(&letter.rejected) {
                again.dead_letters.push(letter.clone());
            }
        }
        again.spool.push(Arc::new(batch));
        if let Err(e) = self.committer.commit_blocking(again, true) {
            tracing::error!("dead letters cannot be retried now: {e}");
            return;
        }
        if let Err(e) = self.dead_letters.retried(&retry) {
            tracing::warn!("retried dead letters stay listed and are sent again, which changes nothing: {e}");
        }
        self.intake.wake();
    }

    /// Publishes if anything changed since the last time, and at least about each ten seconds.
    pub fn publish(&mut self, now: Micros) {
        let before = self.listed.clone();
        let mut fresh = self.snapshot(now);
        let listed_anew = !matches!((&before, &self.listed), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        let same = !listed_anew && self.last.as_mut().is_some_and(|last| is_same(&mut fresh, last));
        if !same && let Err(e) = fresh.publish(&self.data_dir) {
            tracing::debug!("the status could not be written: {e}");
        }
        if same {
            fresh.updated_at = self.last.take().map(|last| last.updated_at).unwrap_or_default();
        }
        self.last = Some(fresh);
    }
}

/// Whether nothing but the time is new, and that by less than about ten seconds. The sources of `last` went to `fresh`.
fn is_same(fresh: &mut Snapshot, last: &mut Snapshot) -> bool {
    if fresh.updated_at.get(..18) != last.updated_at.get(..18) {
        return false;
    }
    std::mem::swap(&mut fresh.sources, &mut last.sources);
    std::mem::swap(&mut fresh.updated_at, &mut last.updated_at);
    let sources = std::mem::take(&mut last.sources);
    let time = std::mem::replace(&mut last.updated_at, fresh.updated_at.clone());
    let same = fresh == last;
    last.updated_at = std::mem::replace(&mut fresh.updated_at, time);
    fresh.sources = sources;
    same
}

fn file_source(file: &FileStatus) -> SourceStatus {
    SourceStatus {
        kind: Cow::Borrowed("file"),
        path: file.path.display().to_string(),
        position: file.position,
        size: file.size,
        lag_bytes: file.lag_bytes,
        state: Cow::Borrowed(file.state.as_str()),
    }
}

/// Publishes status and concludes runs until the other end of `stop` is gone; then a last time.
pub fn keep(mut publisher: Publisher, settings: &Settings, now: fn() -> Micros, stop: &Receiver<()>) {
    let settle = i64::try_from(settings.files.poll_interval.as_micros()).unwrap_or(i64::MAX);
    let lost_after = i64::try_from(settings.runs.lost_after.as_micros()).unwrap_or(i64::MAX);
    let mut said_at = std::time::Instant::now();
    let mut burst = Burst::default();
    let place = place::Place::of(&settings.data_dir);
    let mut first = Duration::ZERO;
    while stop.recv_timeout(std::mem::replace(&mut first, TICK)) == Err(RecvTimeoutError::Timeout) {
        publisher.intake.conclude(Some(settle), lost_after, liveness);
        publisher.publish(now());
        let many = publisher.last.as_ref().is_some_and(|s| s.sources_total >= MANY_FILES);
        crate::store::sqlite::connect::use_less_memory(many);
        if burst.is_over(get(&publisher.counters.read)) {
            super::footprint::release();
            publisher.quiet.notify_one();
        } else if many && burst.under_way {
            super::footprint::trim_heap();
        }
        publisher.retry_letters();
        if let Some(moved) = place.moved() {
            publisher.supervisor.fail(Fault(moved));
        }
        let interval = settings.monitoring.interval;
        if !interval.is_zero() && said_at.elapsed() >= interval {
            said_at = std::time::Instant::now();
            say(publisher.last.as_ref());
        }
    }
    publisher.publish(now());
}

/// Records that came in close succession.
#[derive(Debug, Default)]
struct Burst {
    read: u64,
    quiet_ticks: u32,
    under_way: bool,
}

impl Burst {
    /// So many ticks without a record end it.
    const QUIET: u32 = 5;

    /// Takes how many records were read until this tick; whether it ends a burst.
    fn is_over(&mut self, read: u64) -> bool {
        if read != self.read {
            *self = Burst {
                read,
                quiet_ticks: 0,
                under_way: true,
            };
            return false;
        }
        self.quiet_ticks += 1;
        let over = self.under_way && self.quiet_ticks >= Burst::QUIET;
        self.under_way &= !over;
        over
    }
}

/// The stats line.
fn say(s: Option<&Snapshot>) {
    let Some(s) = s else { return };
    tracing::info!(
        read = s.records.read,
        stored = s.records.stored,
        per_second = format_args!("{:.1}", s.rates.stored_per_second),
        lag_bytes = s.lag_bytes,
        spooled = s.spool.records,
        dead_letters = s.dead_letters,
        dropped = s.records.dropped,
        store = s.store.state.as_str(),
        "so far"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_once_after_some_quiet_ticks() {
        let mut burst = Burst::default();
        assert!((0..20).all(|_| !burst.is_over(0)), "there was none");
        let over = [7, 9, 9, 9, 9, 9, 9, 9, 9, 9].map(|read| burst.is_over(read));
        assert_eq!(over.iter().position(|o| *o), Some(6));
        assert_eq!(over.iter().filter(|o| **o).count(), 1);
    }
}
