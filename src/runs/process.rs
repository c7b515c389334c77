//! One process and its runs: which of them a record belongs to.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::glances::Glances;
use super::run::{Kind, Run, cut};
use super::tracker::Resolved;
use crate::record::{Event, Micros, Record, format_time, unescape};
use crate::store::{RunEnd, RunUpdates, Status};

/// Bound runs that one process keeps open.
pub const BOUND_RUNS: usize = 64;

/// Runs that one process is remembered with, declared ones too. Beyond that the one that was quiet longest makes room, one
/// that has ended before one that has not.
pub const RUNS: usize = 256;

/// The writer of records: a pid alone says nothing, pids are recycled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub host: String,
    /// 0 for the pseudo process that holds the runs of records which name no process.
    pub pid: i64,
    /// Exact for loguru; for flat records the time of the first record.
    pub start: Micros,
}

/// Whether a process can still write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Alive,
    Gone,
    /// It is there, but nothing can be seen of it.
    Unseen,
}

/// What the tracker knows of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pub id: ProcessId,
    /// Runs that are open, or declared and ended (kept while the process lives), oldest first.
    pub runs: Vec<Run>,
    /// Wall clock of the last record.
    pub touched: Micros,
    /// Whether its runs were concluded; a flat record under the same pid is then a new process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
    /// Has something for the store.
    #[serde(skip)]
    pub dirty: bool,
    /// Differs from what is kept.
    #[serde(skip)]
    pub unkept: bool,
    /// The store knows how its runs ended.
    #[serde(skip)]
    pub told: bool,
    /// The state was told of it.
    #[serde(skip)]
    pub kept: bool,
    /// It wrote after it was found gone: it lives where this agent cannot see it, as in another PID namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
    /// Since when it is known to be gone while its files may still be unread.
    #[serde(skip)]
    pub gone_at: Option<Micros>,
    /// What is asked of every run for every record.
    #[serde(skip)]
    glances: Glances,
}

impl Process {
    pub fn new(id: ProcessId, now: Micros) -> Process {
        Process {
            id,
            runs: Vec::new(),
            touched: now,
            over: false,
            told: false,
            kept: false,
            unseen: false,
            dirty: false,
            unkept: false,
            gone_at: None,
            glances: Glances::default(),
        }
    }

    /// Another record of it was read: it is not over. If it was written since the process was found gone, by a clock
    /// that is not ahead of ours, the process lives elsewhere.
    pub fn heard(&mut self, record: &Record<'_>, now: Micros) {
        self.touched = now;
        (self.over, self.told) = (false, false);
        if let (Some(gone), Some(time)) = (self.gone_at.take(), record.time) {
            self.unseen |= time > gone && time <= now;
        }
    }

    /// Takes up the runs that an earlier life kept.
    pub fn restored(mut self) -> Process {
        for run in &mut self.runs {
            run.hash = xxh3_64(run.id.as_bytes());
            run.reported = Some(run.last_seen);
            run.changed = self.over;
        }
        self.dirty = self.over;
        self.glances = Glances::of(&self.runs);
        self.kept = true;
        self
    }

    /// The newest run with this id.
    fn find(&self, hash: u64, id: &str) -> Option<usize> {
        let same = |i: &usize| self.runs.get(*i).is_some_and(|r| r.id == id);
        self.glances.with(hash).find(same)
    }

    /// The index of the run a record belongs to; opens it where it is new. A run that makes room goes to `closed`.
    pub fn run_of(
        &mut self,
        record: &Record<'_>,
        bound: Option<&str>,
        script: &str,
        time: Micros,
        into: &mut Resolved,
        closed: &mut RunUpdates,
    ) -> usize {
        if let Some(id) = bound {
            let hash = xxh3_64(id.as_bytes());
            if let Some(i) = self.find(hash, id) {
                return i;
            }
            return self.open(Kind::Bound, id, hash, script, time, closed);
        }
        let enclosing = self.declared_for(record.thread_id, time);
        if record.bound.event == Some(Event::RunStart) {
            // The same record, read again.
            if let Some(i) = self.runs.iter().position(|r| r.start_declared && r.start == time) {
                return i;
            }
            into.parent = enclosing
                .and_then(|i| self.runs.get(i))
                .filter(|r| r.end.is_none())
                .map(|r| r.id.clone());
            if into.parent.is_some() || self.runs.iter().any(|r| r.kind == Kind::Declared || r.end.is_some()) {
                let salt = time.cast_unsigned() ^ u64::from(into.parent.is_some());
                let id = self.derived_id(script, time, salt);
                let hash = xxh3_64(id.as_bytes());
                if let Some(i) = self.find(hash, &id) {
                    return i;
                }
                return self.open(Kind::Declared, &id, hash, script, time, closed);
            }
        } else if let Some(i) = enclosing {
            return i;
        }
        if let Some(i) = self.runs.iter().position(|r| r.kind == Kind::Derived) {
            return i;
        }
        let id = self.derived_id(script, self.id.start, 0);
        let hash = xxh3_64(id.as_bytes());
        // A declared run may be the derived one under another kind.
        match self.runs.iter().rposition(|r| r.hash == hash) {
            Some(i) => i,
            None => {
                let start = self.id.start.min(time);
                self.open(Kind::Derived, &id, hash, script, start, closed)
            }
        }
    }

    /// The declared run for a thread at a time: open then and of the same thread, else the newest open then, else the
    /// one that had ended last. It goes by the record's time because records are read again after a crash, and late
    /// from a second file, when the tracker knows of later runs already.
    fn declared_for(&self, thread: Option<i64>, time: Micros) -> Option<usize> {
        let declared = || self.runs.iter().enumerate().filter(|(_, r)| r.start_declared);
        let begun = || declared().filter(|(_, r)| r.start <= time);
        let same = |(_, r): &(usize, &Run)| r.thread.is_some() && r.thread == thread;
        let newest = |(_, r): &(usize, &Run)| r.start;
        let open_then = || begun().filter(|(_, r)| r.said_end().is_none_or(|end| time <= end));
        open_then()
            .filter(same)
            .max_by_key(newest)
            .or_else(|| open_then().max_by_key(newest))
            .or_else(|| begun().max_by_key(|(_, r)| r.said_end()))
            // A record from before all of them, or a clock that was set back to before the process began.
            .or_else(|| {
                let first = declared().min_by_key(newest);
                first.filter(|(_, r)| r.kind == Kind::Derived || time < self.id.start)
            })
            .map(|(i, _)| i)
    }

    /// Opens a run. Where too many bound runs are open, one that was quiet makes room, and is concluded.
    fn open(&mut self, kind: Kind, id: &str, hash: u64, script: &str, start: Micros, closed: &mut RunUpdates) -> usize {
        if kind == Kind::Bound
            && self.glances.yielding() >= BOUND_RUNS
            && let Some(at) = self.glances.make_room()
            && let Some(slot) = self.runs.get_mut(at)
        {
            slot.conclude(&self.id);
            closed.add(&slot.update(&self.id));
            slot.replace(kind, id, hash, script, start);
            self.glances.replace(at, slot);
            return at;
        }
        if self.runs.len() >= RUNS
            && let Some(at) = self.quietest()
            && let Some(slot) = self.runs.get_mut(at)
        {
            slot.conclude(&self.id);
            closed.add(&slot.update(&self.id));
            slot.replace(kind, id, hash, script, start);
            self.glances.replace(at, slot);
            return at;
        }
        let run = Run::new(kind, id.to_owned(), hash, script.to_owned(), start);
        self.glances.push(&run);
        if self.runs.is_empty() {
            // Most have one, and there are thousands of them.
            self.runs.reserve_exact(1);
        }
        self.runs.push(run);
        self.runs.len() - 1
    }

    /// The place of the run that is forgotten first; never the derived one, which is the process itself.
    fn quietest(&self) -> Option<usize> {
        let others = self.runs.iter().enumerate().filter(|(_, r)| r.kind != Kind::Derived);
        others
            .min_by_key(|(_, r)| (r.end.is_none(), r.last_seen))
            .map(|(at, _)| at)
    }

    /// `{script}_{YYYYMMDD_HHMMSS}_{8 hex}`.
    fn derived_id(&self, script: &str, start: Micros, salt: u64) -> String {
        let mut h = Xxh3::new();
        h.update(self.id.host.as_bytes());
        h.update(&self.id.pid.to_le_bytes());
        h.update(&self.id.start.to_le_bytes());
        h.update(&salt.to_le_bytes());
        let t = format_time(start);
        let part = |range: std::ops::Range<usize>| t.get(range).unwrap_or("");
        format!(
            "{script}_{}{}{}_{}{}{}_{:08x}",
            part(0..4),
            part(5..7),
            part(8..10),
            part(11..13),
            part(14..16),
            part(17..19),
            h.digest() as u32
        )
    }

    /// Applies what a record says to its run.
    pub fn note(&mut self, at: usize, record: &Record<'_>, script: Option<&str>, time: Micros) {
        let Some(run) = self.runs.get_mut(at) else { return };
        let newest = time >= run.last_seen;
        run.last_seen = run.last_seen.max(time);
        if run.end.as_ref().is_some_and(|e| !e.declared && e.time < time) {
            // It was concluded too early, and is concluded again.
            run.end = None;
            run.changed = true;
        }
        match record.bound.event {
            Some(Event::RunStart) => run.declare(record, script, time),
            Some(Event::RunEnd) => run.declare_end(record, time),
            _ if run.kind != Kind::Derived && time < run.start && !run.start_declared => {
                run.start = time;
                run.changed = true;
            }
            _ => {}
        }
        if newest {
            run.note_error(record);
        }
        self.glances.touch(at, run);
    }

    /// Ends all open runs; returns how many. `visible`: the process was seen to be gone, else it is given up.
    pub fn finish(&mut self, visible: bool) -> usize {
        let mut n = 0;
        for run in self.runs.iter_mut().filter(|r| r.end.is_none()) {
            run.end = Some(if visible {
                run.conclusion()
            } else {
                RunEnd {
                    status: Status::Lost,
                    time: run.last_seen,
                    declared: false,
                    error: None,
                }
            });
            run.changed = true;
            n += 1;
        }
        self.over = true;
        n
    }
}

/// At most 1000 characters of a run's error.
pub(super) fn error_text(record: &Record<'_>) -> Option<String> {
    let e = record.exception.as_ref()?;
    let kind = e.kind.as_ref().map(|t| unescape(&t.0).into_owned()).unwrap_or_default();
    let value = e
        .value
        .as_ref()
        .map(|t| unescape(&t.0).into_owned())
        .unwrap_or_default();
    let text = match (kind.is_empty(), value.is_empty()) {
        (false, false) => format!("{kind}: {value}"),
        (false, true) => kind,
        _ => value,
    };
    Some(cut(&text))
}
