//! One run as the tracker follows it.

use serde::{Deserialize, Serialize};

use super::process::{ProcessId, error_text};
use crate::record::{Micros, Record, Text, unescape};
use crate::store::{RunEnd, RunRef, Status};

/// Characters of a run's error that are kept.
const ERROR_CHARS: usize = 1000;

/// How a run came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// From host, pid and start alone.
    Derived,
    /// A record bound its id.
    Bound,
    /// A `run_start` without an id, in a process that had a run already.
    Declared,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub kind: Kind,
    pub id: String,
    pub script: String,
    pub start: Micros,
    /// There was a `run_start`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_declared: bool,
    pub last_seen: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
    /// The text of the error, if the last record is an error with an exception.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    pub hash: u64,
    /// `last_seen` as the store was last told; `None` until then.
    #[serde(skip)]
    pub reported: Option<Micros>,
    /// Something else than `last_seen` changed since.
    #[serde(skip)]
    pub changed: bool,
}

impl Run {
    pub fn new(kind: Kind, id: String, hash: u64, script: String, start: Micros) -> Run {
        Run {
            kind,
            id,
            script,
            start,
            start_declared: false,
            last_seen: start,
            thread: None,
            metadata: None,
            parent: None,
            end: None,
            error: None,
            hash,
            reported: None,
            changed: true,
        }
    }

    /// Takes up another run in its place, and its memory.
    pub fn replace(&mut self, kind: Kind, id: &str, hash: u64, script: &str, start: Micros) {
        let used = (std::mem::take(&mut self.id), std::mem::take(&mut self.script));
        *self = Run::new(kind, rewritten(used.0, id), hash, rewritten(used.1, script), start);
    }

    /// When its script said that it ended.
    pub fn said_end(&self) -> Option<Micros> {
        self.end.as_ref().filter(|e| e.declared).map(|e| e.time)
    }

    /// Applies a `run_start`.
    pub fn declare(&mut self, record: &Record<'_>, script: Option<&str>, time: Micros) {
        self.start = if self.start_declared {
            self.start.min(time)
        } else {
            time
        };
        self.start_declared = true;
        self.thread = record.thread_id;
        if let Some(script) = script {
            self.script = script.to_owned();
        }
        if let Some(metadata) = &record.bound.metadata {
            self.metadata = Some(metadata.0.clone().into_owned());
        }
        self.parent = record
            .bound
            .parent_execution_id
            .as_ref()
            .map(plain)
            .or(self.parent.take());
        self.changed = true;
    }

    /// Applies a `run_end`. Without a status a run with an error failed, else it succeeded.
    pub fn declare_end(&mut self, record: &Record<'_>, time: Micros) {
        let error = record.bound.error.as_ref().map(plain).filter(|e| !e.is_empty());
        let failed = match record.bound.status.as_ref().map(plain).as_deref() {
            Some("failed") => true,
            Some(_) => false,
            None => error.is_some() || record.exception.is_some(),
        };
        let status = if failed { Status::Failed } else { Status::Success };
        let error = error
            .or_else(|| failed.then(|| error_text(record)).flatten())
            .map(|e| cut(&e));
        self.end = Some(RunEnd {
            status,
            time,
            declared: true,
            error,
        });
        self.changed = true;
    }

    /// Remembers whether the last record is an error with an exception.
    pub fn note_error(&mut self, record: &Record<'_>) {
        if record.level_no >= 40 && record.exception.is_some() {
            self.error = error_text(record);
        } else if self.error.is_some() {
            self.error = None;
        }
    }

    /// How the run ended, if its process is gone and nothing more comes.
    pub fn conclusion(&self) -> RunEnd {
        let status = match (&self.error, self.start_declared) {
            (Some(_), _) => Status::Failed,
            (None, true) => Status::Crashed,
            (None, false) => Status::Ended,
        };
        RunEnd {
            status,
            time: self.last_seen,
            declared: false,
            error: self.error.clone(),
        }
    }

    /// Whether the store should hear of it: something changed, or it was told long ago.
    pub fn is_due(&self, refresh: Micros) -> bool {
        self.reported
            .is_none_or(|at| self.changed || self.last_seen - at >= refresh)
    }

    /// Whether the store knows an earlier last record than there is.
    pub fn lags(&self) -> bool {
        self.reported.is_some_and(|at| at < self.last_seen)
    }

    /// What the store has to know of it.
    pub fn update<'a>(&'a self, process: &'a ProcessId) -> RunRef<'a> {
        RunRef {
            execution_id: &self.id,
            script_name: &self.script,
            start_time: self.start,
            start_declared: self.start_declared,
            last_seen: self.last_seen,
            pid: (process.pid > 0).then_some(process.pid),
            host: Some(&process.host),
            parent_execution_id: self.parent.as_deref(),
            metadata: self.metadata.as_deref(),
            end: self.end.as_ref().map(RunEnd::borrowed),
        }
    }

    /// Ends a run that is not followed any longer.
    pub fn conclude(&mut self, process: &ProcessId) {
        if self.end.is_none() {
            let end = self.conclusion();
            // Without a process nobody can say how it ended.
            self.end = Some(if process.pid > 0 {
                end
            } else {
                RunEnd {
                    status: Status::Lost,
                    error: None,
                    ..end
                }
            });
        }
    }
}

/// Longer texts give their memory back.
const SHORT: usize = 256;

/// `text`, in the memory of `used`.
fn rewritten(mut used: String, text: &str) -> String {
    if used.capacity() > SHORT {
        used = String::new();
    }
    used.clear();
    used.push_str(text);
    used
}

fn plain(text: &Text<'_>) -> String {
    unescape(&text.0).into_owned()
}

/// At most [`ERROR_CHARS`] characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(ERROR_CHARS) {
        Some((i, _)) => text.get(..i).unwrap_or(text).to_owned(),
        None => text.to_owned(),
    }
}
