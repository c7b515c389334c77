//! The reference store: in memory, simple enough to be right by reading, and able to fail as real stores do.
//!
//! What it holds after a batch is what any store must hold. Tests compare the others with it, and put it behind the
//! pipeline to see what that makes of failures: each write takes the next planned [`Failure`], if there is one.

mod read;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::admit::words_of;
use super::edges::{self, FixedError};
use super::runs::{self, RunRow};
use super::stored::{self, Event, Learning};
use super::{Batch, Docs, Fix, Rejected, Report, SchemaAction, SchemaObject, Sink, WriteError, doc_key};
use crate::record::format_time;

/// What a write is told to do instead of, or beside, storing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is stored.
    Away(String),
    /// Nothing is stored; probes fail alike until it was taken.
    Refused(String),
    /// Everything is stored, but the answer is lost: the caller sees a time-out.
    AnswerLost,
}

/// All that is stored.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// In the order of storing.
    pub events: Vec<Event>,
    pub learnings: Vec<Learning>,
    /// Documents of `agent_memories` by key.
    pub memories: BTreeMap<String, serde_json::Value>,
    /// By execution.
    pub runs: BTreeMap<String, RunRow>,
    /// By key.
    pub edges: BTreeMap<String, edges::Edge>,
    /// Where each event is in `events`.
    places: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Inner {
    contents: Contents,
    failures: VecDeque<Failure>,
    /// Key to reason.
    rejects: HashMap<String, String>,
    delay: Duration,
    writes: u64,
    barriers: u64,
    schema: bool,
}

/// A handle on a store in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

impl MemoryStore {
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// The next `n` writes fail like this, after those planned before.
    pub fn fail(&self, n: usize, failure: &Failure) {
        self.lock().failures.extend(std::iter::repeat_n(failure.clone(), n));
    }

    /// From now on the record with this key is refused for good.
    pub fn reject(&self, key: &str, reason: &str) {
        self.lock().rejects.insert(key.to_owned(), reason.to_owned());
    }

    /// From now on each write takes this long.
    pub fn slow(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// A copy of everything stored.
    #[must_use]
    pub fn contents(&self) -> Contents {
        self.lock().contents.clone()
    }

    /// Looks at what is stored without copying it.
    pub fn look<R>(&self, at: impl FnOnce(&Contents) -> R) -> R {
        at(&self.lock().contents)
    }

    /// Attempts to write so far, failed ones too.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Durable barriers so far.
    #[must_use]
    pub fn barriers(&self) -> u64 {
        self.lock().barriers
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for MemoryStore {
    async fn write(&self, batch: &Arc<Batch>) -> Result<Report, WriteError> {
        let delay = self.lock().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut inner = self.lock();
        inner.writes += 1;
        let failure = inner.failures.pop_front();
        match failure {
            Some(Failure::Away(text)) => return Err(WriteError::Away(text)),
            Some(Failure::Refused(text)) => return Err(WriteError::Refused(text)),
            Some(Failure::AnswerLost) | None => {}
        }
        let Inner { contents, rejects, .. } = &mut *inner;
        let report = contents.take(batch, rejects);
        match failure {
            Some(Failure::AnswerLost) => Err(WriteError::Away("no answer in time".to_owned())),
            _ => Ok(report),
        }
    }

    async fn probe(&self) -> Result<(), WriteError> {
        match self.lock().failures.front() {
            Some(Failure::Away(text)) => Err(WriteError::Away(text.clone())),
            Some(Failure::Refused(text)) => Err(WriteError::Refused(text.clone())),
            Some(Failure::AnswerLost) | None => Ok(()),
        }
    }

    async fn ensure_schema(&self, dry: bool) -> Result<Vec<SchemaObject>, WriteError> {
        let mut inner = self.lock();
        let action = if inner.schema {
            SchemaAction::Unchanged
        } else {
            SchemaAction::Created
        };
        inner.schema |= !dry;
        let object = |name: &str| SchemaObject {
            name: name.to_owned(),
            action,
            dry,
        };
        Ok(super::COLLECTIONS.iter().map(|name| object(name)).collect())
    }

    async fn durable_barrier(&self) -> Result<(), WriteError> {
        self.lock().barriers += 1;
        Ok(())
    }
}

impl Contents {
    /// The event with this key.
    #[must_use]
    pub fn event(&self, key: &str) -> Option<&Event> {
        self.places.get(key).and_then(|at| self.events.get(*at))
    }

    /// Takes the batch as any store must.
    fn take(&mut self, batch: &Batch, rejects: &HashMap<String, String>) -> Report {
        let mut report = Report::default();
        for (doc, event) in admitted(super::LOG_EVENTS, &batch.events, rejects, &mut report) {
            let event: Event = event;
            report.stored += 1;
            if self.places.contains_key(doc_key(doc)) {
                report.known += 1;
            } else {
                self.places.insert(event.key.clone(), self.events.len());
                self.events.push(event);
            }
        }
        for (_, learning) in admitted(super::AGENT_LEARNINGS, &batch.learnings, rejects, &mut report) {
            let learning: Learning = learning;
            if self.learnings.iter().all(|l| l.key != learning.key) {
                self.learnings.push(learning);
            }
        }
        for (doc, memory) in admitted(super::AGENT_MEMORIES, &batch.memories, rejects, &mut report) {
            self.memories.entry(doc_key(doc).to_owned()).or_insert(memory);
        }
        for update in batch.runs.iter() {
            let row = runs::merge(self.runs.remove(update.execution_id), &update.to_owned());
            self.runs.insert(row.execution_id.clone(), row);
        }
        for relation in &batch.relations {
            self.put(edges::edge(relation));
        }
        if batch.has_errors() {
            for fix in self.waiting() {
                self.fix(&fix);
            }
        }
        for fix in &batch.fixes {
            report.fixes_unmatched += u64::from(!self.fix(fix));
        }
        report
    }

    fn put(&mut self, edge: edges::Edge) {
        self.edges.entry(edge.key.clone()).or_insert(edge);
    }

    /// Fixes that found no error yet, as their events tell them, newest first.
    fn waiting(&self) -> Vec<Fix> {
        let mut waiting: Vec<&Event> = self.events.iter().filter(|e| e.fix_unmatched == Some(true)).collect();
        waiting.sort_by(|a, b| b.timestamp.cmp(&a.timestamp));
        let told = |e: &Event, name: &str| {
            let extra = e.extra_data.as_ref()?.value();
            extra.get(name)?.as_str().map(str::to_owned)
        };
        let fix = |e: &Event| Fix {
            key: e.key.clone(),
            time: runs::parse_time(&e.timestamp).unwrap_or_default(),
            execution_id: e.execution_id.clone(),
            script_name: e.script_name.clone(),
            target: told(e, "fixes"),
            description: e.message.clone(),
            rationale: told(e, "rationale"),
        };
        waiting.into_iter().map(fix).collect()
    }

    /// Ties a fix to its error; false if there is none.
    fn fix(&mut self, fix: &Fix) -> bool {
        let to = format!("{}/{}", super::LOG_EVENTS, fix.key);
        if self
            .edges
            .values()
            .any(|e| e.to == to && e.kind == "FIXED_BY" && e.method == "fix")
        {
            return true;
        }
        let error = self.fixed_error(fix);
        if let Some(own) = self.places.get(&fix.key).and_then(|at| self.events.get_mut(*at)) {
            own.fix_unmatched = error.is_none().then_some(true);
        }
        let Some(error) = error else { return false };
        let time = format_time(fix.time);
        for event in &mut self.events {
            let same = error.fingerprint.is_some()
                && event.fingerprint == error.fingerprint
                && event.script_name == error.script_name
                && event.timestamp <= time;
            let newer = event.resolved_at.as_ref().is_none_or(|t| *t < time);
            if newer && (same || event.key == error.key) {
                event.resolved = Some(true);
                event.resolved_at = Some(time.clone());
                event.fix_description = Some(fix.description.clone());
            }
        }
        self.put(edges::fixed_by(&error, fix));
        true
    }

    fn fixed_error(&self, fix: &Fix) -> Option<FixedError> {
        let time = format_time(fix.time);
        let before = |e: &&Event| e.timestamp <= time && e.key != fix.key;
        let newest = |is: &dyn Fn(&Event) -> bool| {
            self.events
                .iter()
                .filter(before)
                .filter(|e| is(e))
                .max_by_key(|e| (e.timestamp.clone(), e.seq, e.key.clone()))
        };
        let found = match fix.target.as_deref().filter(|t| !t.is_empty()) {
            None => newest(&|e| {
                let stands = !e.repeats_a_failure() || newest(&|o| fails(o, &e.execution_id)).is_none();
                let open = e.is_error() && e.resolved.is_none() && stands;
                open && fix.script_name.is_some() && e.script_name == fix.script_name
            }),
            Some(target) => self
                .event(target)
                .or_else(|| newest(&|e| e.fingerprint.as_deref() == Some(target)))
                .or_else(|| newest(&|e| fails(e, target)))
                .or_else(|| newest(&|e| e.execution_id == target && e.is_error()))
                .or_else(|| {
                    let its = self.events.iter().filter(|e| fails(e, target));
                    its.max_by_key(|e| (e.timestamp.clone(), e.seq, e.key.clone()))
                })
                .or_else(|| self.newest_with(target, fix, true))
                .or_else(|| self.newest_with(target, fix, false)),
        };
        found.map(|e| FixedError {
            key: e.key.clone(),
            fingerprint: e.fingerprint.clone(),
            script_name: e.script_name.clone(),
            message: e.message.clone(),
        })
    }

    /// The error stored last with these words in its exceptions, or also in its message.
    fn newest_with(&self, phrase: &str, fix: &Fix, exception_only: bool) -> Option<&Event> {
        let wanted: Vec<String> = words_of(phrase).collect();
        let time = format_time(fix.time);
        let holds = |text: &str| {
            let words: Vec<String> = words_of(text).collect();
            !wanted.is_empty() && words.windows(wanted.len()).any(|w| w == wanted)
        };
        self.events.iter().rev().find(|e| {
            e.is_error()
                && e.timestamp <= time
                && e.key != fix.key
                && (e.exception.as_ref().is_some_and(|x| holds(&chain_text(x)))
                    || (!exception_only && holds(&e.message)))
        })
    }
}

/// Whether the event is an error of the execution that says what failed.
fn fails(event: &Event, execution: &str) -> bool {
    event.execution_id == execution && event.is_error() && !event.repeats_a_failure()
}

/// Types and values of a whole chain.
fn chain_text(exception: &stored::Exception) -> String {
    if exception.chain.is_empty() {
        let (kind, value) = exception.root();
        return format!("{kind} {value}");
    }
    let parts: Vec<String> = exception
        .chain
        .iter()
        .map(|link| format!("{} {}", link.kind, link.value))
        .collect();
    parts.join(" ")
}

/// The documents that are neither refused by plan nor unreadable, with what they say.
fn admitted<'a, T: serde::de::DeserializeOwned>(
    collection: &str,
    docs: &'a Docs,
    rejects: &HashMap<String, String>,
    report: &mut Report,
) -> Vec<(&'a [u8], T)> {
    let mut good = Vec::new();
    for doc in docs.iter() {
        let read = match rejects.get(doc_key(doc)) {
            Some(reason) => Err(reason.clone()),
            None => required(collection, doc).and_then(|()| serde_json::from_slice(doc).map_err(|e| e.to_string())),
        };
        match read {
            Ok(value) => good.push((doc, value)),
            Err(reason) => report.rejected.push(Rejected {
                collection: collection.to_owned(),
                key: doc_key(doc).to_owned(),
                reason,
                error_num: None,
                record: String::from_utf8_lossy(doc).into_owned(),
            }),
        }
    }
    good
}

/// Refuses a document that lacks a required field.
fn required(collection: &str, doc: &[u8]) -> Result<(), String> {
    let fields: &[&str] = match collection {
        super::LOG_EVENTS => &["_key", "timestamp", "level", "message", "execution_id"],
        super::AGENT_LEARNINGS => &["_key", "timestamp", "learning"],
        _ => &["_key", "content"],
    };
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(doc).map_err(|_| "not a JSON object".to_owned())?;
    match fields
        .iter()
        .find(|f| object.get(**f).is_none_or(serde_json::Value::is_null))
    {
        Some(field) => Err(format!("the required field {field} is missing")),
        None => Ok(()),
    }
}
