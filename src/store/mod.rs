//! The two stores, behind two traits: [`Sink`] to write, `Search` to read.
//!
//! A [`Batch`] is what travels to a store. Events are finished JSON documents in one array, which is at once the body
//! of a request, the spool's content and the input of the embedded store; everything rarer is a typed update.
//!
//! # Idempotence
//!
//! Every write may be repeated, in any order relative to other batches: events, learnings, memories and edges have
//! deterministic keys and are ignored when known; [`RunUpdate`]s merge by rules that do not depend on order.

pub mod admit;
pub mod arango;
pub mod edges;
pub mod fields;
mod held;
pub mod meaning;
pub mod memory;
mod open;
pub mod rank;
pub mod runs;
pub mod search;
pub mod sqlite;
pub mod stored;
mod updates;
pub mod words;

use serde::{Deserialize, Serialize};

use crate::record::Micros;
pub use held::held;
pub use open::{Store, open_reader};
pub use search::{ReadError, Search};
pub use updates::{EndRef, RunRef, RunUpdates};

pub const LOG_EVENTS: &str = "log_events";
pub const SCRIPT_RUNS: &str = "script_runs";
pub const AGENT_LEARNINGS: &str = "agent_learnings";
pub const AGENT_MEMORIES: &str = "agent_memories";
pub const LOG_CAUSALITY: &str = "log_causality";

/// Fixes among dead letters: what is kept is what was asked for, as no edge stands yet.
pub const FIXES: &str = "fixes";

/// All collections.
pub const COLLECTIONS: [&str; 5] = [LOG_EVENTS, SCRIPT_RUNS, AGENT_LEARNINGS, AGENT_MEMORIES, LOG_CAUSALITY];

/// Finished documents: always one valid JSON array, `[doc,doc,…]`, each doc beginning with `{"_key":"…"`.
#[derive(Clone, Debug)]
pub struct Docs {
    body: Vec<u8>,
    /// End of each document within `body`.
    ends: Vec<u32>,
}

impl Default for Docs {
    fn default() -> Docs {
        Docs {
            body: b"[]".to_vec(),
            ends: Vec::new(),
        }
    }
}

impl Docs {
    /// Appends the document that `write` writes (one JSON object).
    pub fn push_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.body.pop();
        if !self.ends.is_empty() {
            self.body.push(b',');
        }
        let r = write(&mut self.body);
        self.ends.push(self.body.len() as u32);
        self.body.push(b']');
        r
    }

    pub fn push(&mut self, doc: &[u8]) {
        self.push_with(|b| b.extend_from_slice(doc));
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The JSON array of all documents.
    #[must_use]
    pub fn array(&self) -> &[u8] {
        &self.body
    }

    #[must_use]
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 1 } else { self.ends[i - 1] as usize + 1 };
        self.body.get(start..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    pub fn clear(&mut self) {
        self.body.clear();
        self.body.extend_from_slice(b"[]");
        self.ends.clear();
    }

    /// Whether there is memory in it that is worth using again.
    #[must_use]
    pub fn has_buffer(&self) -> bool {
        self.body.capacity() > 1024
    }

    /// Bytes of the array.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// The `_key` of a document as [`Docs`] holds it; empty if it has none in first place.
#[must_use]
pub fn doc_key(doc: &[u8]) -> &str {
    doc.strip_prefix(b"{\"_key\":\"")
        .and_then(|rest| rest.split(|b| *b == b'"').next())
        .and_then(|k| std::str::from_utf8(k).ok())
        .unwrap_or("")
}

/// What is written to a store in one go.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub events: Docs,
    pub learnings: Docs,
    pub memories: Docs,
    pub runs: RunUpdates,
    pub fixes: Vec<Fix>,
    pub relations: Vec<Relation>,
}

impl Batch {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records() == 0 && self.runs.is_empty()
    }

    /// Puts a refused record back, to be delivered again under its old key. False where it is no record that its
    /// collection could ever hold.
    #[must_use]
    pub fn push_rejected(&mut self, rejected: &Rejected) -> bool {
        let record = rejected.record.as_str();
        let is_document = record.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(record).is_ok();
        let docs = match rejected.collection.as_str() {
            LOG_EVENTS => &mut self.events,
            AGENT_LEARNINGS => &mut self.learnings,
            AGENT_MEMORIES => &mut self.memories,
            SCRIPT_RUNS => {
                let run = serde_json::from_str(record);
                return run.map(|run| self.runs.push(run)).is_ok();
            }
            LOG_CAUSALITY => {
                let relation = serde_json::from_str(record);
                return relation.map(|relation| self.relations.push(relation)).is_ok();
            }
            FIXES => {
                let fix = serde_json::from_str(record);
                return fix.map(|fix| self.fixes.push(fix)).is_ok();
            }
            _ => return false,
        };
        if is_document {
            docs.push(record.as_bytes());
        }
        is_document
    }

    /// Whether any of its events is an error, as its fingerprint tells: a fix may be waiting for it.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        memchr::memmem::find(self.events.array(), b"\"fingerprint\":").is_some()
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.events.clear();
        self.learnings.clear();
        self.memories.clear();
        self.runs.clear();
        self.fixes.clear();
        self.relations.clear();
    }

    /// Documents and updates other than runs.
    #[must_use]
    pub fn records(&self) -> usize {
        self.events.len() + self.learnings.len() + self.memories.len() + self.fixes.len() + self.relations.len()
    }

    /// Approximate size in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.events.bytes()
            + self.learnings.bytes()
            + self.memories.bytes()
            + self.runs.bytes()
            + 256 * (self.fixes.len() + self.relations.len())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Success,
    Failed,
    Crashed,
    Ended,
    Lost,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Failed => "failed",
            Status::Crashed => "crashed",
            Status::Ended => "ended",
            Status::Lost => "lost",
        }
    }

    /// The reverse of [`Status::as_str`]; `None` for `running` and anything unknown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Status> {
        [
            Status::Success,
            Status::Failed,
            Status::Crashed,
            Status::Ended,
            Status::Lost,
        ]
        .into_iter()
        .find(|s| s.as_str() == text)
    }
}

/// What became known of a run. Merged into `script_runs` by `execution_id`, in any order, any number of times:
///
/// * `start_time`: a declared start (`run_start`) wins over a derived one; within the same kind the earlier wins.
/// * `last_seen`: the later wins. `script_name`, `pid`, `host`, `parent_execution_id`, `metadata`: of the declared start
///   alone once there is one; where two updates of one kind name different values, the smaller is kept.
/// * `end`: a declared end (`run_end`) wins over a derived one (the agent saw the process gone), which wins over
///   `lost`; within the same kind the later time wins. No end: `status` is `running`. A `lost` run of which a record
///   with a later time arrives (an update without an end) is `running` again.
/// * `end_time` of a derived end is never before `last_seen`; `duration_seconds` is `end_time - start_time`.
///
/// Stored beside the fields of the interface: `start_declared`, `end_declared` (booleans, only when true), and `end_at`,
/// the time of a derived end where `end_time` had to be moved behind it. [`runs::merge`] is the one definition of this.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunUpdate {
    pub execution_id: String,
    pub script_name: String,
    pub start_time: Micros,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_declared: bool,
    pub last_seen: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_execution_id: Option<String>,
    /// A JSON object, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    pub status: Status,
    pub time: Micros,
    /// Said by the script with `run_end`, not concluded by the agent.
    #[serde(default)]
    pub declared: bool,
    /// At most 1000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A recorded fix: joined to the error it fixes by an edge `FIXED_BY` from the error to the fix's own event.
///
/// The store finds the error by `target`: an event key, a fingerprint, an execution id (its last error), an exception
/// type or text (the newest matching error); without a target the newest open error of the same script. Times of two
/// hosts need not agree: of an execution that has no error before the fix, the last error of all is meant. A `run_end`
/// without an exception repeats what failed: by execution and script it is meant only where its execution has no other
/// error. Where nothing matches, the fix's event is marked `fix_unmatched`, and the error is looked for again whenever
/// errors are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fix {
    /// `_key` of the fix's own event in `log_events`.
    pub key: String,
    pub time: Micros,
    pub execution_id: String,
    pub script_name: Option<String>,
    pub target: Option<String>,
    pub description: String,
    pub rationale: Option<String>,
}

/// An edge that was asked for with `event="relation"`, or derived by `graph --save`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// Keys of events, without the collection's name.
    pub from: String,
    pub to: String,
    /// Collection of `to`: `log_events`, or `agent_learnings`.
    pub to_collection: String,
    /// `FOLLOWED_BY`, `FIXED_BY`, `RETRY_OF`, `CAUSED_BY`, `LEARNED_FROM`, or a word of the script's own.
    pub kind: String,
    pub weight: f64,
    pub confidence: f64,
    pub rationale: String,
    pub method: String,
    pub time: Micros,
    pub execution_id: String,
}

/// What became of a batch that was written.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events the store now has, new or known already.
    pub stored: u64,
    /// Of those, the ones it had before, where the store can tell.
    pub known: u64,
    /// Fixes that matched no error.
    pub fixes_unmatched: u64,
    /// What could not be finished now, though everything else is stored: it must not hold up what comes after, and is to
    /// be written again later.
    pub postponed: Batch,
    /// Records refused for good; each becomes a dead letter.
    pub rejected: Vec<Rejected>,
}

/// A record that the store refuses for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    pub collection: String,
    pub key: String,
    pub reason: String,
    pub error_num: Option<i64>,
    /// The document as JSON text.
    pub record: String,
}

/// Why a whole batch was not written. Nothing of it counts as written; repeating it is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Passing: no connection, overload, a lock. Tried again with back-off.
    #[error("{0}")]
    Away(String),
    /// The store answers, but wants a person: login, permission, missing collection, full disk. Tried again every
    /// `retry.max`, with an alert.
    #[error("{0}")]
    Refused(String),
}

/// How full a store is whose edition limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Bytes that are stored.
    pub bytes: u64,
    /// Bytes that may be.
    pub limit: u64,
    /// It is over its limit: seconds until it becomes read-only, and until it shuts down.
    pub over: Option<(u64, u64)>,
}

/// What `init` did, or would do, with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaAction {
    Created,
    Updated,
    Unchanged,
}

/// One line of `init`'s report. Indexes are named `collection/index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaObject {
    pub name: String,
    pub action: SchemaAction,
    /// With `--dry-run` nothing was done.
    pub dry: bool,
}

/// The write side of a store. Methods are cancel-safe in the sense that repeating them is always right.
pub trait Sink {
    /// Writes all of `batch`, or fails as a whole; refused records do not hold up the others.
    fn write(&self, batch: &std::sync::Arc<Batch>) -> impl Future<Output = Result<Report, WriteError>> + Send;

    /// Asks cheaply whether the store would take a batch now.
    fn probe(&self) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Creates or upgrades the schema; with `dry` only says what it would do.
    fn ensure_schema(&self, dry: bool) -> impl Future<Output = Result<Vec<SchemaObject>, WriteError>> + Send;

    /// Creates what is missing in the schema and changes nothing that an operator may have changed; says what differs.
    fn create_missing(&self) -> impl Future<Output = Result<Vec<SchemaObject>, WriteError>> + Send
    where
        Self: Sync,
    {
        self.ensure_schema(false)
    }

    /// Returns when everything that `write` confirmed before this call would survive a power loss. To be awaited before
    /// a cursor that rests on it is made durable; calling it at most every second or so keeps it cheap. Stores that
    /// confirm only what is durable enough return at once.
    fn durable_barrier(&self) -> impl Future<Output = Result<(), WriteError>> + Send {
        async { Ok(()) }
    }
}
