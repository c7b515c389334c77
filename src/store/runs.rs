//! How updates of a run become one stored run.
//!
//! Updates come in any order and more than once: from a spool, after a crash, from two files of one script. So merging
//! takes, field by field, the greater of two values by an order of the field's own; the result does not depend on which
//! came first, nor on how often.
//!
//! * A declared start (`run_start`) beats a derived one whole: start time, script, pid, host, parent and metadata are
//!   its own. Between starts of one kind the earlier time wins, and a field that both name takes the smaller value.
//! * `last_seen` is the later.
//! * An end said by the script beats one that the agent concluded, which beats `lost`; of one kind the later wins.
//! * A run that is lost but was seen later than that is running again.

use std::borrow::Cow;

use super::{EndRef, RunEnd, RunUpdate, Status};
use crate::record::Micros;

/// A run as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    pub execution_id: String,
    pub script_name: String,
    pub start_time: Micros,
    pub start_declared: bool,
    pub last_seen: Micros,
    pub pid: Option<i64>,
    pub host: Option<String>,
    pub parent_execution_id: Option<String>,
    /// A JSON object, as text.
    pub metadata: Option<String>,
    /// As it was concluded; its time can be before `last_seen`, see [`RunRow::end_time`].
    pub end: Option<RunEnd>,
}

impl RunRow {
    /// `running`, or how it ended.
    #[must_use]
    pub fn status(&self) -> &'static str {
        self.end.as_ref().map_or("running", |e| e.status.as_str())
    }

    /// When it ended: as the script said, else not before it was last seen.
    #[must_use]
    pub fn end_time(&self) -> Option<Micros> {
        self.end.as_ref().map(|e| end_time(&e.borrowed(), self.last_seen))
    }

    /// Seconds from start to end, never negative; `None` while it runs.
    #[must_use]
    pub fn duration_seconds(&self) -> Option<f64> {
        self.end_time().map(|end| seconds(self.start_time, end))
    }
}

impl From<RunRow> for RunUpdate {
    fn from(row: RunRow) -> RunUpdate {
        RunUpdate {
            execution_id: row.execution_id,
            script_name: row.script_name,
            start_time: row.start_time,
            start_declared: row.start_declared,
            last_seen: row.last_seen,
            pid: row.pid,
            host: row.host,
            parent_execution_id: row.parent_execution_id,
            metadata: row.metadata,
            end: row.end,
        }
    }
}

/// When a run ended that was seen last at `last_seen`: as the script said, else not before that.
#[must_use]
pub fn end_time(end: &EndRef<'_>, last_seen: Micros) -> Micros {
    if end.declared {
        end.time
    } else {
        end.time.max(last_seen)
    }
}

/// From start to end, never negative.
#[must_use]
pub fn seconds(start: Micros, end: Micros) -> f64 {
    end.saturating_sub(start).max(0) as f64 / 1e6
}

/// Whether the run was seen after it was given up.
#[must_use]
pub fn is_back(end: &EndRef<'_>, last_seen: Micros) -> bool {
    rank(end) == 0 && end.time < last_seen
}

/// The stored run after `update` became known.
#[must_use]
pub fn merge(stored: Option<RunRow>, update: &RunUpdate) -> RunRow {
    let new = RunRow {
        execution_id: update.execution_id.clone(),
        script_name: update.script_name.clone(),
        start_time: update.start_time,
        start_declared: update.start_declared,
        last_seen: update.last_seen,
        pid: update.pid,
        host: update.host.clone(),
        parent_execution_id: update.parent_execution_id.clone(),
        metadata: update.metadata.clone(),
        end: update.end.clone(),
    };
    let mut row = match stored {
        None => new,
        Some(old) => join(old, new),
    };
    if row.end.as_ref().is_some_and(|e| is_back(&e.borrowed(), row.last_seen)) {
        row.end = None;
    }
    row
}

fn join(a: RunRow, b: RunRow) -> RunRow {
    let last_seen = a.last_seen.max(b.last_seen);
    let (a_end, b_end) = (a.end.clone(), b.end.clone());
    let mut row = match (a.start_declared, b.start_declared) {
        (true, false) => a,
        (false, true) => b,
        _ => RunRow {
            script_name: match (a.script_name.is_empty(), b.script_name.is_empty()) {
                (true, _) => b.script_name,
                (_, true) => a.script_name,
                _ => a.script_name.min(b.script_name),
            },
            start_time: a.start_time.min(b.start_time),
            pid: least(a.pid, b.pid),
            host: least(a.host, b.host),
            parent_execution_id: least(a.parent_execution_id, b.parent_execution_id),
            metadata: least(a.metadata, b.metadata),
            ..a
        },
    };
    row.last_seen = last_seen;
    row.end = match (a_end, b_end) {
        (Some(a), Some(b)) => Some(if order(&a) >= order(&b) { a } else { b }),
        (a, b) => a.or(b),
    };
    row
}

fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn rank(end: &EndRef<'_>) -> u8 {
    match (end.declared, end.status) {
        (true, _) => 2,
        (false, Status::Lost) => 0,
        (false, _) => 1,
    }
}

/// Ends in rising order of what wins. Behind rank and time only to make it total.
fn order(end: &RunEnd) -> (u8, Micros, &'static str, Option<&str>) {
    let end = end.borrowed();
    (rank(&end), end.time, end.status.as_str(), end.error)
}

/// `_key` of a run: its execution id where that can be a key (at most 254 bytes of what ArangoDB allows in keys), else
/// a hash of it.
#[must_use]
pub fn key(execution_id: &str) -> Cow<'_, str> {
    let allowed = |b: u8| KEY_BYTES.get(usize::from(b)).is_some_and(|ok| *ok);
    if (1..=254).contains(&execution_id.len()) && execution_id.bytes().all(allowed) {
        Cow::Borrowed(execution_id)
    } else {
        Cow::Owned(format!(
            "run_{:032x}",
            xxhash_rust::xxh3::xxh3_128(execution_id.as_bytes())
        ))
    }
}

/// Whether a byte can stand in a key.
const KEY_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let marks = b"_-:.@()+,=;$!*'%";
    let mut i = 0;
    while i < marks.len() {
        table[marks[i] as usize] = true;
        i += 1;
    }
    table
};

/// Reads the 27 characters of [`crate::record::format_time`]; `None` for anything else.
#[must_use]
pub fn parse_time(text: &str) -> Option<Micros> {
    let b: &[u8; 27] = text.as_bytes().try_into().ok()?;
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        b.get(range)?
            .iter()
            .try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    for (at, mark) in [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
        (26, b'Z'),
    ] {
        if b[at] != mark {
            return None;
        }
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let date = chrono::NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    let days = i64::from(chrono::Datelike::num_days_from_ce(&date)) - 719_163;
    let seconds = days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some(seconds * 1_000_000 + number(20..26)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[a-c]{1,2}")
    }

    fn ends() -> impl Strategy<Value = Option<RunEnd>> {
        let status = prop_oneof![
            Just(Status::Success),
            Just(Status::Failed),
            Just(Status::Crashed),
            Just(Status::Ended),
            Just(Status::Lost)
        ];
        proptest::option::of(
            (status, 0..20_i64, any::<bool>(), texts()).prop_map(|(status, time, declared, error)| RunEnd {
                status,
                time,
                declared,
                error,
            }),
        )
    }

    prop_compose! {
        fn updates()(
            script_name in "[a-c]{0,1}",
            start_time in 0..20_i64,
            start_declared: bool,
            last_seen in 0..20_i64,
            pid in proptest::option::of(1..4_i64),
            host in texts(),
            parent_execution_id in texts(),
            metadata in texts(),
            end in ends(),
        ) -> RunUpdate {
            RunUpdate {
                execution_id: "e".to_owned(),
                script_name,
                start_time,
                start_declared,
                last_seen,
                pid,
                host,
                parent_execution_id,
                metadata,
                end,
            }
        }
    }

    fn merged(updates: &[RunUpdate]) -> Option<RunRow> {
        updates.iter().fold(None, |row, u| Some(merge(row, u)))
    }

    proptest! {
        #[test]
        fn the_order_and_number_of_updates_does_not_matter(
            (one, other) in proptest::collection::vec(updates(), 1..6).prop_flat_map(|list| {
                let twice = [list.clone(), list.clone()].concat();
                (Just(list), Just(twice).prop_shuffle())
            })
        ) {
            prop_assert_eq!(merged(&one), merged(&other));
        }
    }

    fn seen(last_seen: Micros) -> RunUpdate {
        RunUpdate {
            execution_id: "e".to_owned(),
            script_name: "s".to_owned(),
            start_time: 5,
            last_seen,
            pid: Some(7),
            ..RunUpdate::default()
        }
    }

    fn end(status: Status, time: Micros, declared: bool) -> Option<RunEnd> {
        Some(RunEnd {
            status,
            time,
            declared,
            error: None,
        })
    }

    #[test]
    fn a_declared_start_wins_over_an_earlier_derived_one() {
        let declared = RunUpdate {
            start_time: 9,
            start_declared: true,
            ..seen(9)
        };
        let row = merged(&[seen(6), declared, seen(12)]).unwrap();
        assert_eq!((row.start_time, row.last_seen, row.status()), (9, 12, "running"));
    }

    #[test]
    fn a_declared_end_wins_and_keeps_its_time() {
        let said = RunUpdate {
            end: end(Status::Success, 10, true),
            ..seen(10)
        };
        let concluded = RunUpdate {
            end: end(Status::Crashed, 30, false),
            ..seen(30)
        };
        let row = merged(&[said, concluded]).unwrap();
        assert_eq!((row.status(), row.end_time(), row.last_seen), ("success", Some(10), 30));
        assert_eq!(row.duration_seconds(), Some(5e-6));
    }

    #[test]
    fn a_concluded_end_is_never_before_the_last_record() {
        let concluded = RunUpdate {
            end: end(Status::Ended, 10, false),
            ..seen(10)
        };
        assert_eq!(merged(&[concluded, seen(15)]).unwrap().end_time(), Some(15));
    }

    #[test]
    fn a_lost_run_that_is_seen_again_is_running() {
        let lost = RunUpdate {
            end: end(Status::Lost, 10, false),
            ..seen(10)
        };
        assert_eq!(merged(std::slice::from_ref(&lost)).unwrap().status(), "lost");
        assert_eq!(merged(&[lost.clone(), seen(11)]).unwrap().status(), "running");
        assert_eq!(merged(&[seen(11), lost]).unwrap().status(), "running");
    }

    #[test]
    fn keys_are_execution_ids_where_these_can_be_keys() {
        assert_eq!(key("app_20261121_060000_0a1b2c3d"), "app_20261121_060000_0a1b2c3d");
        assert_eq!(key("with space").len(), 36);
        assert_eq!(key("").len(), 36);
        assert_ne!(key("a/b"), key("a/c"));
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for t in [
            0,
            1,
            -1,
            1_795_227_624_054_432,
            -62_167_219_200_000_000,
            253_402_300_799_999_999,
        ] {
            assert_eq!(parse_time(&crate::record::format_time(t)), Some(t));
        }
        for bad in [
            "",
            "2026-11-21T02:20:24.054432",
            "2026-13-21T02:20:24.054432Z",
            "2026-11-21 02:20:24.054432Z",
        ] {
            assert_eq!(parse_time(bad), None);
        }
    }
}
