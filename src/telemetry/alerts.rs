//! Alerts: what a person should know about the agent, said once when it begins and once when it ends.
//!
//! # Vocabulary
//!
//! A *condition* holds or does not, as [`Seen`] shows it at one moment. It is *raised* when it begins to hold and
//! *cleared* when it has not held for [`CALM`]: a condition that flickers is one alert, not many.
//!
//! # Operation
//!
//! [`Watch::step`] is told what is seen about each second, and answers with the [`Alert`]s that begin or end. It is
//! pure: it takes the time and keeps only what its sliding windows need.
//!
//! # Conditions
//!
//! | name | holds when |
//! |---|---|
//! | `store_away`, `store_refuses` | the store takes nothing for a minute; it wants a person |
//! | `failures` | more than `monitoring.alert_failure_percent` of the records of the last five minutes were refused or lost |
//! | `dead_letters` | some arrived within the last five minutes |
//! | `spool_filling` | the spool is at four fifths of its size |
//! | `spool_unreadable` | the spool cannot be read; what is in it waits |
//! | `state_stuck` | the state cannot be written; nothing more is taken in |
//! | `disk_filling` | less than a twentieth of the disk of data directory or embedded store is free: at least 500 MB, at most 10 GB |
//! | `store_filling` | the database is at 70 % of what the server's edition allows; critical at 85 %, and over its limit |
//! | `unreadable` | a source cannot be read |
//! | `lag_growing` | what is not yet read has grown for five minutes, by 16 MiB or more |
//! | `memory` | the agent's own resident memory is above 256 MiB |

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::snapshot::{Snapshot, StoreState};
use crate::record::{Micros, format_time};

const SECOND: Micros = 1_000_000;
/// The sliding window of outcomes, dead letters and lag.
const WINDOW: Micros = 300 * SECOND;
/// How long a store may be away.
const AWAY: Micros = 60 * SECOND;
/// How long a condition must be gone before its alert ends.
const CALM: Micros = 30 * SECOND;
/// Growth of the lag over the window that is worth saying.
const LAG: u64 = 16 << 20;
const MEMORY: u64 = 256 << 20;
/// A twentieth of the disk counts as little, but this little always, and this much never.
const DISK_FREE: (u64, u64) = (500_000_000, 10_000_000_000);
/// Percent of a store's limit that warn, and that are critical.
const STORE_PERCENT: (u64, u64) = (70, 85);
/// Fewer outcomes say nothing about a percentage; a bound of 0 asks for none.
const OUTCOMES: u64 = 10;

/// How full a store is whose edition limits it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filled {
    pub bytes: u64,
    pub limit: u64,
    /// Seconds until it becomes read-only and until it shuts down, once it is over its limit.
    pub over: Option<(u64, u64)>,
}

/// What is seen at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen<'a> {
    pub now: Micros,
    pub snapshot: Option<&'a Snapshot>,
    /// Since when the store has been in its state.
    pub store_since: Micros,
    /// Records that the store refused for good, since the agent's start.
    pub refused: u64,
    /// Free and all bytes of the disk of data directory or embedded store, whichever has less.
    pub disk: Option<(u64, u64)>,
    /// How full the store is, where its edition limits it.
    pub store_size: Option<Filled>,
    /// The system does not let this user read the first source that is unreadable: it is not damaged.
    pub first_unreadable_is_denied: bool,
    /// Resident bytes of the agent.
    pub resident: Option<u64>,
    /// Why the state cannot be written, while it cannot.
    pub state_error: Option<&'a str>,
    /// Why the spool cannot be read, while it cannot.
    pub spool_error: Option<&'a str>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    Error,
    Critical,
}

/// An alert that begins or ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    pub name: &'static str,
    pub state: Change,
    pub severity: Severity,
    /// What happens, and what to do.
    pub message: String,
    /// When it was raised, 27 characters.
    pub since: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Raised,
    Cleared,
}

/// Counts at one moment of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    time: Micros,
    stored: u64,
    failed: u64,
    dead_letters: u64,
    lag: u64,
}

/// One raised alert.
#[derive(Clone, Debug)]
struct Raised {
    since: Micros,
    /// When the condition last held.
    held: Micros,
    severity: Severity,
    message: String,
}

/// Remembers what is raised and what the windows need.
#[derive(Debug, Default)]
pub struct Watch {
    failure_percent: f64,
    samples: VecDeque<Sample>,
    raised: BTreeMap<&'static str, Raised>,
}

/// A condition that holds: name, severity, what happens and what to do.
type Held = (&'static str, Severity, String);

impl Watch {
    /// `failure_percent`: `monitoring.alert_failure_percent`.
    #[must_use]
    pub fn new(failure_percent: f64) -> Watch {
        Watch {
            failure_percent,
            ..Watch::default()
        }
    }

    /// The alerts that are raised now, in words.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.raised.values().map(|r| r.message.clone()).collect()
    }

    /// Takes what is seen; returns the alerts that begin or end by it.
    pub fn step(&mut self, seen: &Seen<'_>) -> Vec<Alert> {
        let Some(s) = seen.snapshot else { return Vec::new() };
        self.remember(seen, s);
        let mut held = store(seen, s);
        held.extend(self.failures());
        held.extend(self.dead_letters());
        held.extend(spool(s));
        held.extend(stuck(seen));
        held.extend(disk(seen));
        held.extend(store_filling(seen));
        held.extend(unreadable(seen, s));
        held.extend(self.lag_growing());
        held.extend(memory(seen));
        self.change(seen.now, held)
    }

    fn remember(&mut self, seen: &Seen<'_>, s: &Snapshot) {
        self.samples.push_back(Sample {
            time: seen.now,
            stored: s.records.stored,
            failed: seen.refused + s.records.dropped,
            dead_letters: seen.refused,
            lag: s.lag_bytes,
        });
        while self.samples.front().is_some_and(|f| seen.now - f.time > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// First and last sample of the window.
    fn ends(&self) -> Option<(Sample, Sample)> {
        Some((*self.samples.front()?, *self.samples.back()?))
    }

    #[expect(clippy::cast_precision_loss, reason = "a percentage is wanted")]
    fn failures(&self) -> Option<Held> {
        let (first, last) = self.ends()?;
        let failed = last.failed.saturating_sub(first.failed);
        let all = failed + last.stored.saturating_sub(first.stored);
        let percent = failed as f64 * 100.0 / all.max(1) as f64;
        let enough = all >= OUTCOMES || self.failure_percent <= 0.0;
        (enough && percent > self.failure_percent).then(|| {
            let text = format!(
                "{percent:.1} % of the last {all} records were refused or lost; see: logagent dead-letter list"
            );
            ("failures", Severity::Critical, text)
        })
    }

    fn dead_letters(&self) -> Option<Held> {
        let (first, last) = self.ends()?;
        let arrived = last.dead_letters.saturating_sub(first.dead_letters);
        (arrived > 0).then(|| {
            let text = format!("the store refused {arrived} records for good; see: logagent dead-letter list");
            ("dead_letters", Severity::Error, text)
        })
    }

    fn lag_growing(&self) -> Option<Held> {
        let (first, last) = self.ends()?;
        let whole = last.time - first.time >= WINDOW - 5 * SECOND;
        let middle = self.samples.get(self.samples.len() / 2)?;
        let growing = first.lag < middle.lag && middle.lag < last.lag && last.lag - first.lag >= LAG;
        (whole && growing).then(|| {
            let text = format!(
                "{} MB are not yet read, and it grows: more is written than the store takes; see: logagent status",
                last.lag / 1_000_000
            );
            ("lag_growing", Severity::Warning, text)
        })
    }

    /// Compares what holds with what is raised.
    fn change(&mut self, now: Micros, held: Vec<Held>) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (name, severity, message) in held {
            let known = self.raised.get(name);
            let since = known.map_or(now, |r| r.since);
            // What gets worse is said once more.
            let worst = known.map_or(severity, |r| r.severity.max(severity));
            if known.is_none_or(|r| worst > r.severity) {
                alerts.push(Alert {
                    name,
                    state: Change::Raised,
                    severity,
                    message: message.clone(),
                    since: format_time(since),
                });
            }
            let raised = Raised {
                since,
                held: now,
                severity: worst,
                message,
            };
            self.raised.insert(name, raised);
        }
        self.raised.retain(|name, raised| {
            let over = now - raised.held >= CALM;
            if over {
                alerts.push(Alert {
                    name,
                    state: Change::Cleared,
                    severity: raised.severity,
                    message: format!("over: {}", raised.message),
                    since: format_time(raised.since),
                });
            }
            !over
        });
        alerts
    }
}

fn store(seen: &Seen<'_>, s: &Snapshot) -> Vec<Held> {
    let reason = s.store.last_error.as_deref().unwrap_or("no reason known");
    match s.store.state {
        StoreState::Refusing => {
            let text = format!("the store refuses, records wait: {reason}; logagent check says what to do");
            vec![("store_refuses", Severity::Critical, text)]
        }
        StoreState::Away if seen.now - seen.store_since >= AWAY => {
            let text = format!("the store is away since {}, records wait: {reason}", s.store.since);
            vec![("store_away", Severity::Error, text)]
        }
        _ => Vec::new(),
    }
}

fn spool(s: &Snapshot) -> Option<Held> {
    let full = s.spool.max_bytes > 0 && s.spool.bytes >= s.spool.max_bytes / 5 * 4;
    full.then(|| {
        let text = format!(
            "the spool holds {} of {} MB; what happens when it is full says spool.when_full; mend the store, or \
             raise spool.max_size",
            s.spool.bytes / 1_000_000,
            s.spool.max_bytes / 1_000_000
        );
        ("spool_filling", Severity::Error, text)
    })
}

/// What the agent keeps itself.
fn stuck(seen: &Seen<'_>) -> Vec<Held> {
    let mut held = Vec::new();
    if let Some(error) = seen.state_error {
        let text = format!("nothing more is taken in until the state can be written: {error}");
        held.push(("state_stuck", Severity::Critical, text));
    }
    if let Some(error) = seen.spool_error {
        let text = format!(
            "records wait in the spool, which cannot be read: {error}; mend the disk or the permissions, or move the \
             file away"
        );
        held.push(("spool_unreadable", Severity::Error, text));
    }
    held
}

fn disk(seen: &Seen<'_>) -> Option<Held> {
    let (free, all) = seen.disk?;
    let (least, most) = DISK_FREE;
    (free < (all / 20).clamp(least.min(all / 4), most)).then(|| {
        let text = format!(
            "{} MB are free on the disk of the data directory or the store; make room, lower retention.days, or delete \
             with: logagent prune",
            free / 1_000_000
        );
        ("disk_filling", Severity::Error, text)
    })
}

fn store_filling(seen: &Seen<'_>) -> Option<Held> {
    let Filled { bytes, limit, over } = seen.store_size.filter(|f| f.limit > 0)?;
    if let Some((read_only, shut_down)) = over {
        let hours = |seconds: u64| seconds.div_ceil(3600);
        let text = format!(
            "the store holds {} of {} GiB that its edition allows: it takes no records in {} h and shuts down in {} h; \
             delete now, with: logagent prune, and lower retention.days",
            bytes >> 30,
            limit >> 30,
            hours(read_only),
            hours(shut_down)
        );
        return Some(("store_filling", Severity::Critical, text));
    }
    let percent = bytes / (limit / 100).max(1);
    let (warn, critical) = STORE_PERCENT;
    let severity = match percent {
        p if p >= critical => Severity::Critical,
        p if p >= warn => Severity::Warning,
        _ => return None,
    };
    let text = format!(
        "the store holds {} of {} GiB that its edition allows; above it turns read-only, and then shuts down; lower \
         retention.days, or delete with: logagent prune",
        bytes >> 30,
        limit >> 30
    );
    Some(("store_filling", severity, text))
}

fn unreadable(seen: &Seen<'_>, s: &Snapshot) -> Option<Held> {
    let mut sources = s.sources.iter().filter(|source| source.state == "unreadable");
    let first = sources.next()?;
    let more = match sources.count() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let text = if seen.first_unreadable_is_denied {
        format!(
            "{}{more} cannot be read; let the agent's user in (chmod, or a group)",
            first.path
        )
    } else {
        format!(
            "{}{more} is damaged, or no file of the kind that its name says; what could be read of it is stored, the log \
             says more: replace it, or exclude it (files.exclude)",
            first.path
        )
    };
    Some(("unreadable", Severity::Warning, text))
}

fn memory(seen: &Seen<'_>) -> Option<Held> {
    let resident = seen.resident.filter(|r| *r > MEMORY)?;
    let text = format!(
        "the agent uses {} MB of memory; lower batch.max_bytes or files.max_line, and report it",
        resident / 1_000_000
    );
    Some(("memory", Severity::Warning, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::snapshot::SourceStatus;

    /// Steps once a second from `from` for `seconds`; returns names and changes with their second.
    fn steps(
        watch: &mut Watch,
        seconds: std::ops::Range<i64>,
        mut at: impl FnMut(i64, &mut Snapshot) -> u64,
    ) -> Vec<(i64, &'static str, Change)> {
        let mut found = Vec::new();
        for second in seconds {
            let mut s = Snapshot::default();
            let refused = at(second, &mut s);
            let seen = Seen {
                now: second * SECOND,
                snapshot: Some(&s),
                refused,
                ..Seen::default()
            };
            found.extend(watch.step(&seen).into_iter().map(|a| (second, a.name, a.state)));
        }
        found
    }

    #[test]
    fn a_quiet_agent_says_nothing() {
        let mut watch = Watch::new(10.0);
        assert!(
            steps(&mut watch, 0..2000, |t, s| {
                s.records.stored = t as u64 * 100;
                0
            })
            .is_empty()
        );
        assert!(watch.words().is_empty());
    }

    #[test]
    fn a_store_that_is_away_is_said_once_after_a_minute_and_once_when_it_is_back() {
        let mut watch = Watch::new(10.0);
        let found = steps(&mut watch, 0..400, |t, s| {
            if t < 200 {
                s.store.state = StoreState::Away;
            }
            0
        });
        assert_eq!(
            found,
            [(60, "store_away", Change::Raised), (229, "store_away", Change::Cleared)]
        );
    }

    #[test]
    fn a_flickering_condition_is_one_alert() {
        let mut watch = Watch::new(10.0);
        let found = steps(&mut watch, 0..200, |t, s| {
            if t < 100 && t % 10 < 3 {
                s.store.state = StoreState::Refusing;
            }
            0
        });
        assert_eq!(
            found,
            [
                (0, "store_refuses", Change::Raised),
                (122, "store_refuses", Change::Cleared)
            ]
        );
    }

    #[test]
    fn failures_count_over_a_sliding_window() {
        let mut watch = Watch::new(10.0);
        let found = steps(&mut watch, 0..1000, |t, s| {
            s.records.stored = t as u64 * 10;
            if (100..110).contains(&t) {
                (t as u64 - 100) * 100
            } else if t >= 110 {
                1000
            } else {
                0
            }
        });
        let of = |name: &str| found.iter().filter(|f| f.1 == name).map(|f| f.2).collect::<Vec<_>>();
        assert_eq!(of("failures"), [Change::Raised, Change::Cleared]);
        assert_eq!(of("dead_letters"), [Change::Raised, Change::Cleared]);
    }

    #[test]
    fn growing_lag_is_told_from_a_large_one_that_shrinks() {
        let mut shrinking = Watch::new(10.0);
        let found = steps(&mut shrinking, 0..900, |t, s| {
            s.lag_bytes = (1000 - t as u64) << 20;
            0
        });
        assert!(found.is_empty(), "{found:?}");
        let mut growing = Watch::new(10.0);
        let found = steps(&mut growing, 0..900, |t, s| {
            s.lag_bytes = (t as u64) << 20;
            0
        });
        assert_eq!(found, [(295, "lag_growing", Change::Raised)]);
    }

    #[test]
    fn disk_spool_memory_and_sources_are_watched() {
        let mut watch = Watch::new(10.0);
        let mut s = Snapshot::default();
        s.spool.bytes = 90;
        s.spool.max_bytes = 100;
        s.sources.push(SourceStatus {
            path: "logs/a".into(),
            state: "unreadable".into(),
            ..SourceStatus::default()
        });
        let seen = Seen {
            now: 1,
            snapshot: Some(&s),
            disk: Some((1_000_000, 1_000_000_000)),
            resident: Some(300 << 20),
            ..Seen::default()
        };
        let names: Vec<_> = watch.step(&seen).iter().map(|a| a.name).collect();
        assert_eq!(names, ["spool_filling", "disk_filling", "unreadable", "memory"]);
        assert_eq!(watch.words().len(), 4);
    }

    #[test]
    fn a_store_near_its_limit_warns_at_70_and_is_said_again_as_critical_at_85_percent() {
        let mut watch = Watch::new(10.0);
        let mut found = Vec::new();
        for second in 0..100 {
            let seen = Seen {
                now: second * SECOND,
                snapshot: Some(&Snapshot::default()),
                store_size: Some(Filled {
                    bytes: (second as u64) << 30,
                    limit: 100 << 30,
                    over: None,
                }),
                ..Seen::default()
            };
            found.extend(watch.step(&seen).into_iter().map(|a| (second, a.name, a.severity)));
        }
        assert_eq!(
            found,
            [
                (70, "store_filling", Severity::Warning),
                (85, "store_filling", Severity::Critical)
            ]
        );
    }

    #[test]
    fn a_store_over_its_limit_says_when_it_turns_read_only_and_when_it_shuts_down() {
        let seen = Seen {
            store_size: Some(Filled {
                bytes: 101 << 30,
                limit: 100 << 30,
                over: Some((7200, 180_000)),
            }),
            ..Seen::default()
        };
        let (name, severity, text) = store_filling(&seen).unwrap();
        assert_eq!((name, severity), ("store_filling", Severity::Critical));
        assert!(
            text.contains("no records in 2 h") && text.contains("shuts down in 50 h"),
            "{text}"
        );
    }

    #[test]
    fn a_source_that_may_not_be_read_and_one_that_is_damaged_are_told_apart() {
        let mut s = Snapshot::default();
        s.sources.push(SourceStatus {
            path: "logs/a.gz".into(),
            state: "unreadable".into(),
            ..SourceStatus::default()
        });
        let text = |denied| {
            let seen = Seen {
                first_unreadable_is_denied: denied,
                ..Seen::default()
            };
            unreadable(&seen, &s).unwrap().2
        };
        assert!(text(true).contains("chmod") && !text(true).contains("damaged"));
        assert!(text(false).contains("damaged") && !text(false).contains("chmod"));
    }

    #[test]
    fn a_state_or_spool_that_cannot_be_used_is_told_as_long_as_it_cannot() {
        let seen = Seen {
            state_error: Some("the disk is full"),
            spool_error: Some("spool: Is a directory"),
            ..Seen::default()
        };
        let names: Vec<_> = stuck(&seen).iter().map(|held| held.0).collect();
        assert_eq!(names, ["state_stuck", "spool_unreadable"]);
        assert!(stuck(&Seen::default()).is_empty());
    }

    #[test]
    fn little_space_is_measured_by_the_disk_and_within_bounds() {
        let little = |free: u64, all: u64| {
            let seen = Seen {
                disk: Some((free, all)),
                ..Seen::default()
            };
            disk(&seen).is_some()
        };
        let gb = 1_000_000_000;
        assert!(!little(11 * gb, 4000 * gb), "10 GB are enough on any disk");
        assert!(little(9 * gb, 4000 * gb));
        assert!(little(gb, 100 * gb));
        assert!(little(gb / 4, 8 * gb));
        assert!(!little(gb, 8 * gb));
        assert!(!little(gb / 10, gb / 4), "a quarter of a tiny disk is enough");
    }

    #[test]
    fn a_bound_of_0_percent_raises_at_the_first_failure() {
        let mut watch = Watch::new(0.0);
        let found = steps(&mut watch, 0..3, |t, _| u64::from(t > 0));
        assert_eq!(found[0], (1, "failures", Change::Raised));
    }
}
