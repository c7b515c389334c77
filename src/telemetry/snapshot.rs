//! What the running agent publishes about itself, for processes that only look.
//!
//! The agent writes one JSON file, `status.json` in its data directory, about each second and once more when it ends.
//! It is replaced in one step, so that a reader sees the old or the new one, never half of either. The file does not
//! say whether the agent runs: only the lock of the data directory does, since a killed agent cannot update its file.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Counters, get};
use crate::record::Micros;

const NAME: &str = "status.json";

/// At most this many sources are listed; those with the largest lag come first.
pub const SOURCES: usize = 1000;

/// The state of an agent at one moment. Times are texts of 27 characters in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// As known to whoever shows it; always true in the file.
    pub running: bool,
    pub pid: u32,
    pub version: String,
    pub started_at: String,
    pub updated_at: String,
    pub host: String,
    pub data_dir: PathBuf,
    pub store: StoreStatus,
    pub sources: Vec<SourceStatus>,
    /// All sources, also those beyond [`SOURCES`].
    pub sources_total: u64,
    /// Bytes that all sources have not yet read.
    pub lag_bytes: u64,
    pub spool: SpoolStatus,
    /// How many there are on disk.
    pub dead_letters: u64,
    pub records: RecordCounts,
    pub losses: LossCounts,
    pub rates: Rates,
    pub open_runs: u64,
    /// Alerts that are raised now, in words.
    pub alerts: Vec<String>,
}

/// How the store is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// `sqlite` or `arangodb`.
    pub kind: String,
    /// Where it is, without any password.
    pub place: String,
    pub state: StoreState,
    /// Since when it is in this state.
    pub since: String,
    pub last_error: Option<String>,
}

/// Whether the store takes records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreState {
    #[default]
    Up,
    /// Not reachable; tried again with back-off.
    Away,
    /// It answers, and wants a person: login, permission, missing collection, full disk.
    Refusing,
}

impl StoreState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StoreState::Up => "up",
            StoreState::Away => "away",
            StoreState::Refusing => "refusing",
        }
    }
}

/// One source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// `file` or `socket`.
    pub kind: Cow<'static, str>,
    pub path: String,
    /// Bytes read; for a socket, lines taken since the start.
    pub position: u64,
    /// Bytes there are; for a socket, as the position.
    pub size: u64,
    /// What is not yet read.
    pub lag_bytes: u64,
    /// In a word: of a file `current`, `behind`, `rotated`, `unlinked`, `copy`, `empty`, `archive`, `archive_pending`,
    /// `unreadable`; of the socket `listening`.
    pub state: Cow<'static, str>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpoolStatus {
    pub records: u64,
    pub bytes: u64,
    pub max_bytes: u64,
}

/// Records since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordCounts {
    pub read: u64,
    pub stored: u64,
    pub unparsed: u64,
    pub repaired: u64,
    pub truncated: u64,
    pub redacted: u64,
    pub skipped: u64,
    pub dropped: u64,
}

/// What was read and could not become part of a record, each loss under its name; since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LossCounts {
    pub nul_bytes: u64,
    pub cut_bytes: u64,
    pub unread_bytes: u64,
    pub blank_lines: u64,
    pub copied_lines: u64,
    pub fix_unmatched: u64,
}

/// Means over the last [`Meter::WINDOW`] seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    pub read_per_second: f64,
    pub stored_per_second: f64,
    pub bytes_per_second: f64,
}

impl RecordCounts {
    #[must_use]
    pub fn of(c: &Counters) -> RecordCounts {
        RecordCounts {
            read: get(&c.read),
            stored: get(&c.stored),
            unparsed: get(&c.unparsed),
            repaired: get(&c.repaired),
            truncated: get(&c.truncated),
            redacted: get(&c.redacted),
            skipped: get(&c.skipped),
            dropped: get(&c.dropped),
        }
    }
}

impl LossCounts {
    #[must_use]
    pub fn of(c: &Counters) -> LossCounts {
        LossCounts {
            nul_bytes: get(&c.nul_bytes),
            cut_bytes: get(&c.cut_bytes),
            unread_bytes: get(&c.unread_bytes),
            blank_lines: get(&c.blank_lines),
            copied_lines: get(&c.copied_lines),
            fix_unmatched: get(&c.fix_unmatched),
        }
    }
}

impl Snapshot {
    /// Puts the sources in, the ones that lag most first and at most [`SOURCES`] of them.
    pub fn set_sources(&mut self, mut sources: Vec<SourceStatus>) {
        self.sources_total = sources.len() as u64;
        self.lag_bytes = sources.iter().map(|s| s.lag_bytes).sum();
        sources.sort_by(|a, b| b.lag_bytes.cmp(&a.lag_bytes).then_with(|| a.path.cmp(&b.path)));
        sources.truncate(SOURCES);
        self.sources = sources;
    }

    /// Replaces the published snapshot in one step. It is a report, not a state: it is not synced to disk.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn publish(&self, data_dir: &Path) -> io::Result<()> {
        let fresh = data_dir.join(".status.json.new");
        // Piece by piece: a thousand sources would be a quarter of a MiB in one.
        // Never what stands there: it may be a link of somebody else's to a file of ours.
        let _ = fs::remove_file(&fresh);
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&fresh)?;
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, self)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&fresh, data_dir.join(NAME))
    }

    /// The last published snapshot; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a snapshot.
    pub fn read(data_dir: &Path) -> io::Result<Option<Snapshot>> {
        match fs::read(data_dir.join(NAME)) {
            Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Turns counts into rates over a sliding window.
#[derive(Debug, Default)]
pub struct Meter {
    /// (time, records read, records stored, bytes read), oldest first.
    samples: VecDeque<(Micros, u64, u64, u64)>,
}

impl Meter {
    /// Seconds.
    pub const WINDOW: i64 = 10;

    /// Takes the present counts and returns the rates over the window before `now`.
    pub fn sample(&mut self, now: Micros, counters: &Counters) -> Rates {
        let last = (
            now,
            get(&counters.read),
            get(&counters.stored),
            get(&counters.bytes_read),
        );
        self.samples.push_back(last);
        while self.samples.len() > 2
            && self
                .samples
                .front()
                .is_some_and(|s| now - s.0 > Self::WINDOW * 1_000_000)
        {
            self.samples.pop_front();
        }
        let Some(first) = self.samples.front().filter(|s| s.0 < now) else {
            return Rates::default();
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let per_second = |a: u64, b: u64| {
            let rate = b.saturating_sub(a) as f64 * 1e6 / (now - first.0) as f64;
            (rate * 10.0).round() / 10.0
        };
        Rates {
            read_per_second: per_second(first.1, last.1),
            stored_per_second: per_second(first.2, last.2),
            bytes_per_second: per_second(first.3, last.3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::add;

    #[test]
    fn a_published_snapshot_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Snapshot::read(dir.path()).unwrap(), None);
        let mut s = Snapshot {
            running: true,
            pid: 7,
            ..Snapshot::default()
        };
        s.store.last_error = Some("away".into());
        s.publish(dir.path()).unwrap();
        assert_eq!(Snapshot::read(dir.path()).unwrap(), Some(s));
    }

    #[test]
    fn json_has_the_fields_that_programs_rely_on() {
        let mut s = Snapshot::default();
        s.set_sources(vec![SourceStatus::default()]);
        let json = serde_json::to_value(s).unwrap();
        for field in [
            "running",
            "pid",
            "version",
            "started_at",
            "host",
            "data_dir",
            "store",
            "sources",
            "spool",
            "dead_letters",
            "records",
            "rates",
            "open_runs",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(json["store"]["state"], "up");
        assert!(json["store"]["last_error"].is_null());
        for field in ["kind", "path", "position", "size", "lag_bytes", "state"] {
            assert!(keys(&json["sources"][0]).iter().any(|k| k == field), "{field}");
        }
        assert_eq!(
            keys(&json["records"]),
            [
                "dropped",
                "read",
                "redacted",
                "repaired",
                "skipped",
                "stored",
                "truncated",
                "unparsed"
            ]
        );
    }

    #[test]
    fn the_most_lagging_sources_are_listed_and_all_are_counted() {
        let mut s = Snapshot::default();
        let source = |n: u64| SourceStatus {
            lag_bytes: n,
            path: format!("{n:05}"),
            ..SourceStatus::default()
        };
        s.set_sources((0..2000).map(source).collect());
        assert_eq!(s.sources.len(), SOURCES);
        assert_eq!(s.sources[0].lag_bytes, 1999);
        assert_eq!(s.sources_total, 2000);
        assert_eq!(s.lag_bytes, 1999 * 2000 / 2);
    }

    #[test]
    fn rates_are_means_over_the_window() {
        let c = Counters::default();
        let mut meter = Meter::default();
        assert_eq!(meter.sample(0, &c), Rates::default());
        for second in 1..=20 {
            add(&c.read, 100);
            let rates = meter.sample(second * 1_000_000, &c);
            assert!((rates.read_per_second - 100.0).abs() < 0.01, "{rates:?}");
        }
        let quiet = (21..=40).map(|s| meter.sample(s * 1_000_000, &c)).last().unwrap();
        assert_eq!(quiet, Rates::default());
    }
}
