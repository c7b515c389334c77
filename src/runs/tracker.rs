//! The tracker: records in, executions and run updates out.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use super::process::{Liveness, Process, ProcessId};
use super::run::Run;
use crate::record::{Event, Micros, Record, unescape};
use crate::store::RunUpdates;

/// Processes that are remembered at once.
pub const PROCESSES: usize = 1024;

/// Of these, so many are forgotten together when there are more.
const AT_ONCE: usize = 64;

/// Script of a run of which nothing names one, as with lines from a socket.
const NAMELESS: &str = "unknown";

/// A running run is reported again when its last record is this much newer than what the store knows.
const REFRESH: Micros = 10_000_000;

/// So long nothing came of a process before the store hears when it was last seen, however short that is after what it
/// knows.
const SILENCE: Micros = 3_000_000;

/// Where a record belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub execution_id: String,
    pub script_name: Option<String>,
    /// The run that encloses a run just declared.
    pub parent: Option<String>,
}

/// Follows processes and their runs. See the module's essay.
pub struct Tracker {
    host: String,
    /// By hash of host, pid and, where it is exact, start. Boxed, since a map has room for nearly twice as many.
    processes: HashMap<u64, Box<Process>, BuildHasherDefault<Hashed>>,
    dirty: Vec<u64>,
    /// Processes of whose runs the store knows an earlier last record.
    lagging: BTreeSet<u64>,
    unkept: Vec<u64>,
    /// Of runs that are not followed any more.
    closed: RunUpdates,
    forgotten: Vec<u64>,
    /// Processes that are over, of which the store may not know yet.
    over: Vec<u64>,
}

impl Tracker {
    /// A tracker of this host, with what an earlier one kept. Entries that cannot be read are left out: their runs are
    /// found again through their records.
    #[must_use]
    pub fn new(host: &str, kept: &[(String, Vec<u8>)]) -> Tracker {
        let processes: HashMap<_, _, _> = kept
            .iter()
            .filter_map(|(key, bytes)| {
                let key = u64::from_str_radix(key, 16).ok()?;
                let process: Process = serde_json::from_slice(bytes).ok()?;
                Some((key, Box::new(process.restored())))
            })
            .collect();
        // The store may not have heard how these ended.
        let over: Vec<u64> = processes.iter().filter(|(_, p)| p.over).map(|(key, _)| *key).collect();
        Tracker {
            host: host.to_owned(),
            processes,
            dirty: over.clone(),
            lagging: BTreeSet::new(),
            unkept: Vec::new(),
            closed: RunUpdates::default(),
            forgotten: Vec::new(),
            over,
        }
    }

    /// Open runs, of all processes.
    #[must_use]
    pub fn open_runs(&self) -> usize {
        self.processes
            .values()
            .flat_map(|p| &p.runs)
            .filter(|r| r.end.is_none())
            .count()
    }

    /// The run of a record, and what the record says about it. `time` is the record's, or the time of reading;
    /// `fallback` is the script name where the record and its run name none; `into` receives the answer.
    pub fn resolve(&mut self, record: &Record<'_>, fallback: &str, time: Micros, now: Micros, into: &mut Resolved) {
        into.execution_id.clear();
        into.parent = None;
        let bound = record.bound.execution_id.as_ref().map(|t| unescape(&t.0));
        let bound = bound.as_deref().filter(|b| !b.is_empty());
        let script = record.bound.script_name.as_ref().map(|t| unescape(&t.0));
        let script = script.as_deref().filter(|s| !s.is_empty());
        if let Some(id) = bound.filter(|_| is_remark(record)) {
            into.execution_id.push_str(id);
            let script = script.or_else(|| self.script_of(id));
            set_script(&mut into.script_name, script.unwrap_or(fallback));
            return;
        }
        let Some(key) = self.process_of(record, bound.is_some(), time, now) else {
            into.execution_id.push_str("unknown");
            set_script(&mut into.script_name, script.unwrap_or(fallback));
            return;
        };
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        process.heard(record, now);
        let named = script.unwrap_or(fallback);
        let at = process.run_of(
            record,
            bound,
            if named.is_empty() { NAMELESS } else { named },
            time,
            into,
            &mut self.closed,
        );
        process.note(at, record, script, time);
        if let Some(run) = process.runs.get(at) {
            into.execution_id.push_str(&run.id);
            set_script(
                &mut into.script_name,
                script.unwrap_or(if run.script == NAMELESS { "" } else { &run.script }),
            );
        }
        if !std::mem::replace(&mut process.dirty, true) {
            self.dirty.push(key);
        }
        if !std::mem::replace(&mut process.unkept, true) {
            self.unkept.push(key);
        }
    }

    /// The script of a bound run of which no process is known.
    fn script_of(&self, id: &str) -> Option<&str> {
        let process = self.processes.get(&process_key(&self.host, 0, None))?;
        let run = process.runs.iter().rev().find(|r| r.id == id)?;
        Some(run.script.as_str()).filter(|s| *s != NAMELESS)
    }

    /// Notes that a process has news.
    fn touch(&mut self, key: u64) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        if !std::mem::replace(&mut process.dirty, true) {
            self.dirty.push(key);
        }
        if !std::mem::replace(&mut process.unkept, true) {
            self.unkept.push(key);
        }
    }

    /// The process of a record, made known if it is new; `None` where the record names none and binds no run.
    fn process_of(&mut self, record: &Record<'_>, bound: bool, time: Micros, now: Micros) -> Option<u64> {
        let pid = record.pid.filter(|pid| *pid > 0);
        if pid.is_none() && !bound {
            return None;
        }
        let named = record.host.as_ref().map(|t| unescape(&t.0));
        let host = named.as_deref().filter(|h| !h.is_empty()).unwrap_or(&self.host);
        let exact = if pid.is_some() { record.start } else { None };
        let key = process_key(host, pid.unwrap_or(0), exact);
        let renewed = match self.processes.get(&key) {
            Some(p) => p.over && exact.is_none() && pid.is_some(),
            None => true,
        };
        if renewed {
            let id = ProcessId {
                host: host.to_owned(),
                pid: pid.unwrap_or(0),
                start: exact.unwrap_or(time),
            };
            self.processes.insert(key, Box::new(Process::new(id, now)));
            if self.processes.len() > PROCESSES {
                self.forget_oldest(key);
            }
        }
        Some(key)
    }

    /// Forgets some at a time, so that not all of them have to be looked at for each new one.
    fn forget_oldest(&mut self, except: u64) {
        let others = self.processes.iter().filter(|(key, _)| **key != except);
        let mut order: Vec<_> = others.map(|(key, p)| (!p.over, p.touched, *key)).collect();
        if order.len() > AT_ONCE {
            order.select_nth_unstable(AT_ONCE);
            order.truncate(AT_ONCE);
        }
        for (_, _, key) in order {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: u64) {
        let Some(process) = self.processes.remove(&key) else {
            return;
        };
        if process.kept {
            self.forgotten.push(key);
        }
        let Process { id, mut runs, .. } = *process;
        for run in runs.iter_mut().filter(|r| r.end.is_none()) {
            run.conclude(&id);
            self.closed.add(&run.update(&id));
        }
    }

    /// The processes that [`Tracker::conclude`] asks about.
    #[must_use]
    pub fn watched_processes(&self) -> Vec<ProcessId> {
        let visible = |p: &Process| !p.over && !p.unseen && p.id.pid > 0 && p.id.host == self.host;
        let processes = self.processes.values().filter(|p| visible(p));
        processes.map(|p| p.id.clone()).collect()
    }

    /// Concludes the runs of processes that are gone, and gives up runs that nobody can see any more.
    ///
    /// `quiet_since` is the last instant at which everything readable had been read (`None`: never yet): a process is
    /// concluded only if it was found gone before that, so that its last records were seen. Returns how many runs
    /// were concluded.
    pub fn conclude(
        &mut self,
        now: Micros,
        quiet_since: Option<Micros>,
        lost_after: Micros,
        liveness: impl Fn(&ProcessId) -> Liveness,
    ) -> usize {
        let mut closed = 0;
        let mut touched = Vec::new();
        for (key, process) in &mut self.processes {
            if process.over || process.runs.iter().all(|r| r.end.is_some()) && process.id.pid == 0 {
                continue;
            }
            let visible = process.id.host == self.host && process.id.pid > 0 && !process.unseen;
            let seen = if visible {
                liveness(&process.id)
            } else {
                Liveness::Unseen
            };
            match seen {
                Liveness::Alive => continue,
                Liveness::Gone => {
                    let gone_at = *process.gone_at.get_or_insert(now);
                    if quiet_since.is_none_or(|quiet| quiet < gone_at) {
                        continue;
                    }
                }
                Liveness::Unseen if now - process.touched < lost_after => continue,
                Liveness::Unseen => {}
            }
            closed += process.finish(seen == Liveness::Gone);
            touched.push(*key);
        }
        for key in touched {
            self.touch(key);
            self.over.push(key);
        }
        closed
    }

    /// The store knows all that was sealed. Of processes that are over nothing has to be kept any more.
    pub fn told(&mut self) {
        let (processes, unkept) = (&mut self.processes, &mut self.unkept);
        self.over.retain(|key| {
            let Some(process) = processes.get_mut(key).filter(|p| p.over) else {
                return false;
            };
            process.told = !process.dirty;
            if process.told && !std::mem::replace(&mut process.unkept, true) {
                unkept.push(*key);
            }
            process.dirty
        });
    }

    /// Takes what the store has to know since the last call, and appends it to `updates`.
    pub fn seal(&mut self, updates: &mut RunUpdates) {
        updates.append(&mut self.closed);
        for key in self.dirty.drain(..) {
            let Some(process) = self.processes.get_mut(&key) else {
                continue;
            };
            process.dirty = false;
            for run in process.runs.iter_mut().filter(|r| r.is_due(REFRESH)) {
                run.reported = Some(run.last_seen);
                run.changed = false;
                updates.add(&run.update(&process.id));
            }
            if process.runs.iter().any(Run::lags) {
                self.lagging.insert(key);
            }
        }
    }

    /// Has the store hear of the last records of processes that have been silent for a while.
    pub fn catch_up(&mut self, now: Micros) {
        let silent: Vec<u64> = self
            .lagging
            .iter()
            .filter(|key| self.processes.get(key).is_none_or(|p| now - p.touched >= SILENCE))
            .copied()
            .collect();
        for key in silent {
            self.lagging.remove(&key);
            let Some(process) = self.processes.get_mut(&key) else {
                continue;
            };
            let mut lags = false;
            for run in process.runs.iter_mut().filter(|r| r.lags()) {
                run.changed = true;
                lags = true;
            }
            if lags {
                self.touch(key);
            }
        }
    }

    /// Gives back memory that a burst needed.
    pub fn rest(&mut self) {
        if self.closed.is_empty() {
            self.closed = RunUpdates::default();
        }
    }

    /// Takes what the state has to keep, by process, since the last call; `None` forgets.
    ///
    /// What is kept may be ahead of the records that are settled: a record that is read again after a crash finds the
    /// run that it opened, and belongs to it as before. How a process ended is kept until the store knows it, see
    /// [`Tracker::told`]: its records may all be settled, and nothing else would say it again.
    pub fn keep(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut out: Vec<_> = self.forgotten.drain(..).map(|key| (state_key(key), None)).collect();
        for key in self.unkept.drain(..) {
            let Some(process) = self.processes.get_mut(&key) else {
                continue;
            };
            process.unkept = false;
            let forgets = process.over && process.told;
            if forgets && !process.kept {
                continue;
            }
            process.kept = !forgets;
            // A text of thousands of these is as long as it has to be.
            let kept = (!forgets).then(|| serde_json::to_vec(process).ok()).flatten();
            out.push((state_key(key), kept.map(|k| k.into_boxed_slice().into_vec())));
        }
        out
    }

    /// Whether [`Tracker::seal`] would say anything that the store has to know.
    #[must_use]
    pub fn has_updates(&self) -> bool {
        !self.closed.is_empty()
            || self
                .dirty
                .iter()
                .filter_map(|k| self.processes.get(k))
                .any(|p| p.runs.iter().any(|r| r.is_due(REFRESH)))
    }
}

/// Whether a record speaks about a run from outside, as `logagent learn --execution` does: it must neither open that
/// run nor make it last longer.
fn is_remark(record: &Record<'_>) -> bool {
    let about = matches!(record.bound.event, Some(Event::Learning | Event::Fix | Event::Relation));
    about && record.pid.is_none()
}

/// Hashes what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
}

/// Sets the name; an empty one is none.
fn set_script(slot: &mut Option<String>, name: &str) {
    if name.is_empty() {
        *slot = None;
        return;
    }
    let slot = slot.get_or_insert_default();
    slot.clear();
    slot.push_str(name);
}

/// The map's key: exact starts make processes distinct, without one the pid has to do.
fn process_key(host: &str, pid: i64, start: Option<Micros>) -> u64 {
    let mixed = xxh3_64(host.as_bytes()) ^ pid.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed.rotate_left(17)
        ^ start
            .unwrap_or(i64::MIN)
            .cast_unsigned()
            .wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

fn state_key(key: u64) -> String {
    format!("{key:016x}")
}
