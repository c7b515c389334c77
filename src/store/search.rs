//! What the reading verbs need of a store: few questions, each with an efficient answer in SQL and in AQL.
//!
//! # Vocabulary
//!
//! A [`Filter`] says which events are meant. Its meaning is defined once, by [`Filter::admits`]: the reference store
//! uses it as it stands, the others translate what their indexes can serve and must agree with it.
//!
//! Events are ordered by their *position*: time, sequence number, key. It is total, so that a page can begin exactly
//! where the one before it ended.
//!
//! # Blocking
//!
//! The methods block. They are called on threads for blocking work, never on those of the runtime: an answer is one
//! sequence of questions, and nothing is gained by interleaving it. This also keeps the trait usable as an object.
//!
//! # Bounds
//!
//! Pages have limits, counts stop at [`COUNT_MAX`], scans and groupings hand over one row at a time and stop when the
//! visitor says so. No method holds more than a page in memory.

use std::sync::Arc;

use regex::Regex;

use super::stored::{Edge, Event, Json, Learning, Run};
use crate::record::Micros;

/// Counting stops here: beyond, a total is unknown.
pub const COUNT_MAX: u64 = 100_000;

/// So much of a key must be given.
pub const KEY_START: usize = 6;

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be reached, or does not exist yet.
    #[error("{0}")]
    Away(String),
    /// The store answers, and refuses: login, permission, missing collection.
    #[error("{0}")]
    Refused(String),
    /// The question is at fault: a faulty or writing query, a cursor of another question, a bad expression.
    #[error("{0}")]
    Faulty(String),
    /// The query took longer than it was given.
    #[error("{0}")]
    TooLong(String),
}

/// One `FIELD=VALUE` condition: any of the values, none of them, or above or below the one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldIs {
    /// `["extra_data", "user"]`; digits index arrays.
    pub path: Vec<String>,
    pub values: Vec<String>,
    pub sign: Sign,
}

/// How a field stands to its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sign {
    /// `=`: it is any of them.
    #[default]
    Is,
    /// `!=`: it is none of them; an absent field is none.
    IsNot,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

impl Sign {
    /// As it is typed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Sign::Is => "=",
            Sign::IsNot => "!=",
            Sign::Above => ">",
            Sign::AtLeast => ">=",
            Sign::Below => "<",
            Sign::AtMost => "<=",
        }
    }
}

/// Which events are meant: all conditions hold; an empty list is no condition, a list means any of it.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Inclusive.
    pub since: Option<Micros>,
    /// Inclusive.
    pub until: Option<Micros>,
    pub min_level: Option<i64>,
    pub executions: Vec<String>,
    pub scripts: Vec<String>,
    pub hosts: Vec<String>,
    /// The event has each of these tags.
    pub tags: Vec<String>,
    pub fingerprints: Vec<String>,
    /// Only events that carry `extra_data.response`.
    pub has_response: bool,
    /// Only the events of recorded fixes.
    pub is_fix: bool,
    /// Matches the message, or the exception's type, value or traceback.
    pub grep: Option<Regex>,
    pub fields: Vec<FieldIs>,
    /// Only what was stored when [`Search::latest`] said so: later pages of an answer are cut from the same whole.
    pub stored_until: Option<i64>,
}

/// The order of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Score,
    Newest,
    Oldest,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Behind the event at this position, in the order of the page.
    Position { timestamp: String, seq: i64, key: String },
    /// Behind this many items; for orders that have no position of their own.
    Offset(u64),
}

/// A full-text query: words of which all (or any) occur, phrases, prefixes, exclusions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    pub terms: Vec<Term>,
    /// Any term suffices, instead of all.
    pub any: bool,
}

/// One term of a full-text query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// A word, or several in this order.
    pub text: String,
    /// The last word may go on.
    pub prefix: bool,
    /// Events with it are left out.
    pub without: bool,
}

/// Asks for a page of events.
#[derive(Clone, Debug)]
pub struct EventAsk {
    pub filter: Filter,
    pub words: Option<Words>,
    pub order: Order,
    pub after: Option<After>,
    pub limit: usize,
    /// Also count all that match, up to [`COUNT_MAX`].
    pub count: bool,
}

/// A page of anything.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// How many there are in all; unknown if not asked for, or more than [`COUNT_MAX`].
    pub total: Option<u64>,
    /// There are more behind this page.
    pub more: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Page<T> {
        Page {
            items: Vec::new(),
            total: Some(0),
            more: false,
        }
    }
}

/// What events are counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A stored field or dotted path; an array counts once for each element.
    Field(Vec<String>),
    /// `YYYY-MM-DDTHH` in UTC.
    Hour,
    /// `YYYY-MM-DD` in UTC.
    Day,
}

/// One group of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// One value for each [`By`]; `None` where the field is absent.
    pub by: Vec<Option<String>>,
    pub count: u64,
    /// Time of the oldest event of the group, 27 characters.
    pub first: String,
    /// Time of the newest.
    pub last: String,
    /// Key of the newest; empty unless asked for.
    pub newest: String,
}

/// Asks for groups of events.
#[derive(Clone, Debug, Default)]
pub struct CountAsk {
    pub filter: Filter,
    /// At most three.
    pub by: Vec<By>,
    /// Also find the key of the newest event of each group.
    pub newest: bool,
}

/// Asks for a page of runs, newest start first unless `oldest`.
#[derive(Clone, Debug, Default)]
pub struct RunAsk {
    /// Runs that were active in the window: not over before it, started no later than its end.
    pub since: Option<Micros>,
    pub until: Option<Micros>,
    pub status: Option<&'static str>,
    pub scripts: Vec<String>,
    pub hosts: Vec<String>,
    pub executions: Vec<String>,
    /// Runs whose id or script's name begins so.
    pub begins: Option<String>,
    pub fields: Vec<FieldIs>,
    /// Only runs that have an event like this; its window and executions are not looked at.
    pub with_event: Option<Filter>,
    pub oldest: bool,
    pub after: Option<After>,
    pub limit: usize,
    pub count: bool,
}

/// Asks for a page of learnings: newest first or oldest first, or with words the best match first.
#[derive(Clone, Debug, Default)]
pub struct LearningAsk {
    pub since: Option<Micros>,
    pub until: Option<Micros>,
    pub words: Option<Words>,
    pub min_confidence: Option<f64>,
    pub executions: Vec<String>,
    pub scripts: Vec<String>,
    pub tags: Vec<String>,
    pub grep: Option<Regex>,
    pub fields: Vec<FieldIs>,
    pub oldest: bool,
    pub after: Option<After>,
    pub limit: usize,
}

/// A recorded fix, as it bears on the errors of one fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    pub fingerprint: String,
    /// Script of the error that was fixed.
    pub script_name: Option<String>,
    /// Key of that error.
    pub error_key: String,
    /// Its time, 27 characters.
    pub error_time: String,
    /// Key of the fix's own event.
    pub fix_key: String,
    /// When it was fixed, 27 characters.
    pub time: String,
    pub description: String,
    pub rationale: String,
    /// Who recorded it, as far as is known: a name that was given, and the user that the socket saw.
    pub author: Option<String>,
    pub host: Option<String>,
}

impl Fixed {
    /// The time up to which it resolves errors: its own, or that of the very error that it names, where clocks disagree.
    #[must_use]
    pub fn reaches(&self) -> &str {
        self.time.as_str().max(self.error_time.as_str())
    }
}

/// Who recorded an event: the author that it names, and the user of the connection that brought it.
#[must_use]
pub fn author(named: Option<&str>, uid: Option<i64>) -> Option<String> {
    match (named.filter(|n| !n.is_empty()), uid) {
        (Some(name), Some(uid)) => Some(format!("{name} (uid {uid})")),
        (Some(name), None) => Some(name.to_owned()),
        (None, Some(uid)) => Some(format!("uid {uid}")),
        (None, None) => None,
    }
}

/// What `prune` deletes: all given criteria hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneAsk {
    /// Records ingested before this time.
    pub before: Option<Micros>,
    pub executions: Vec<String>,
    /// Events of this level and below; runs, learnings and edges stay unless their events are gone.
    pub max_level: Option<i64>,
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    pub events: u64,
    pub runs: u64,
    pub learnings: u64,
    pub memories: u64,
    pub edges: u64,
    /// Running executions that were left alone.
    pub protected: u64,
}

/// A query in the store's own language.
#[derive(Clone, Debug, Default)]
pub struct RawAsk {
    pub text: String,
    pub binds: Vec<(String, serde_json::Value)>,
    pub timeout: std::time::Duration,
    /// Ends it before that.
    pub stop: Stop,
}

/// Says that nobody waits for an answer any more; clones say it together.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<std::sync::atomic::AtomicBool>);

impl Stop {
    pub fn stop(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// One row of such a query.
#[derive(Clone, Debug, PartialEq)]
pub enum RawRow {
    /// Named columns, in the query's order.
    Columns(Arc<Vec<String>>, Vec<serde_json::Value>),
    /// Any JSON value, where rows need not be objects.
    Value(Json),
}

impl serde::Serialize for RawRow {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            RawRow::Columns(names, values) => s.collect_map(names.iter().zip(values)),
            RawRow::Value(json) => json.serialize(s),
        }
    }
}

/// Where following has come to; means something to the store only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark(pub Vec<String>);

/// Receives rows one at a time; `false` ends the question.
pub type Visit<'a, T> = &'a mut dyn FnMut(T) -> bool;

/// The read side of a store.
pub trait Search: Send + Sync {
    /// What the store calls itself in messages: its path or address, without secrets.
    fn name(&self) -> String;

    /// One event whole, by its key or a beginning of it (at least [`KEY_START`] characters) that only it has.
    fn event(&self, key: &str) -> Result<Option<Event>, ReadError>;

    /// A page of events, whole, with their scores where ordered by score.
    fn events(&self, ask: &EventAsk) -> Result<Page<(Event, Option<f64>)>, ReadError>;

    /// All events of `filter` in order of position. They hold what lists and rules need: not `extra_data`, `source`,
    /// `embeddings`, nor where in the code and by which process they were written.
    fn scan(&self, filter: &Filter, oldest_first: bool, visit: Visit<'_, Event>) -> Result<(), ReadError>;

    /// Events stored since `mark`, in the order of storing, at most `limit`; without a mark none, but where to begin.
    fn tail(&self, filter: &Filter, mark: Option<Mark>, limit: usize) -> Result<(Vec<Event>, Mark), ReadError>;

    /// A number for what is stored by now; it only grows. See [`Filter::stored_until`].
    fn latest(&self) -> Result<i64, ReadError>;

    /// Groups events; groups come in no certain order.
    fn counts(&self, ask: &CountAsk, visit: Visit<'_, Count>) -> Result<(), ReadError>;

    /// Times of the oldest and the newest event of `filter`. Gives up with [`ReadError::TooLong`] where no index helps
    /// and the store is large.
    fn extent(&self, filter: &Filter) -> Result<Option<(String, String)>, ReadError>;

    /// A page of runs.
    fn runs(&self, ask: &RunAsk) -> Result<Page<Run>, ReadError>;

    /// A page of learnings, with their scores where words were asked for.
    fn learnings(&self, ask: &LearningAsk) -> Result<Page<(Learning, Option<f64>)>, ReadError>;

    /// Recorded fixes of errors with these fingerprints, oldest first.
    fn fixes(&self, fingerprints: &[String]) -> Result<Vec<Fixed>, ReadError>;

    /// Stored edges that belong to an execution, or touch one of `keys`; at most `limit`.
    fn edges(&self, execution: &str, keys: &[String], limit: usize) -> Result<Vec<Edge>, ReadError>;

    /// Deletes in batches and tells `progress` after each what has been deleted so far.
    fn prune(&self, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, ReadError>;

    /// Runs a query that only reads.
    fn raw(&self, ask: &RawAsk, visit: Visit<'_, RawRow>) -> Result<(), ReadError>;
}
