//! Bulk insertion: one array of finished documents, every record accounted for.
//!
//! The body is the batch's own bytes. `overwriteMode=ignore` makes a repetition harmless, `silent=true` makes the usual
//! answer two bytes (`{}`). Any other body says that something failed, but not what: silent answers list failures
//! without positions. So the same array is sent again with `silent=false`, whose answer has one entry per document, in
//! order; what was stored the first time is ignored the second.
//!
//! Documents are never parsed here. A request that is refused because of one record (bad JSON, 400/600) is cut in
//! halves until that record stands alone; so is one that is too big for the server (413) or for its memory (error 32).
//!
//! # What becomes of a record
//!
//! * stored, or known already;
//! * refused for good by its own number: it becomes a [`Rejected`], the rest of the batch goes on;
//! * in the way of a lock: tried again a few times at once, then with the whole batch;
//! * waiting for a cure (a permission, a full disk): the batch fails as [`WriteError::Refused`];
//! * unknown trouble: tried for [`PATIENCE`] batches, then refused;
//! * a server that breaks on it, or runs out of memory over it alone: the same, but only if the server takes others. One
//!   that takes none is short of memory itself, or broken, and will be mended.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::client::{Answer, Client, Request};
use super::errors::{ApiError, Class, Error, Fate};
use crate::store::{Batch, Docs, Rejected, WriteError, doc_key};

/// After so many attempts at the same batch, a record that makes the server fail in an unknown way is given up.
const PATIENCE: u32 = 8;
/// How a batch is sent first, and a second time where the first answer told of failures.
const QUIET: &str = "overwriteMode=ignore&silent=true";
const TELLING: &str = "overwriteMode=ignore&silent=false";
/// Pauses before records that met a lock are tried again within one attempt.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];

/// Documents on their way, without a copy.
#[derive(Clone)]
pub enum Load {
    Events(Arc<Batch>),
    Learnings(Arc<Batch>),
    Memories(Arc<Batch>),
    Own(Arc<Docs>),
}

impl Load {
    fn docs(&self) -> &Docs {
        match self {
            Load::Events(b) => &b.events,
            Load::Learnings(b) => &b.learnings,
            Load::Memories(b) => &b.memories,
            Load::Own(docs) => docs,
        }
    }

    /// The JSON array of the documents in `range`. The usual case, all of them, copies nothing.
    fn body(&self, range: &Range<usize>) -> Bytes {
        if *range == (0..self.docs().len()) {
            return Bytes::from_owner(self.clone());
        }
        let mut part = Docs::default();
        for i in range.clone() {
            if let Some(doc) = self.docs().get(i) {
                part.push(doc);
            }
        }
        Bytes::copy_from_slice(part.array())
    }

    fn bytes(&self, range: &Range<usize>) -> usize {
        range
            .clone()
            .filter_map(|i| self.docs().get(i))
            .map(|d| d.len() + 1)
            .sum::<usize>()
            + 1
    }
}

impl AsRef<[u8]> for Load {
    fn as_ref(&self) -> &[u8] {
        self.docs().array()
    }
}

/// What is remembered from one delivery to the next.
#[derive(Default)]
pub struct Memory {
    /// The server refused a body of twice this size; 0 while it refused none.
    limit: AtomicUsize,
    /// Requests that passed since.
    passed: AtomicUsize,
    /// First keys of batches that failed in an unknown way, with the number of attempts.
    trouble: Mutex<Vec<(String, u32)>>,
}

/// After so many requests that passed a larger one is tried: the proxy that refused it may be gone.
const TRIED_AGAIN: usize = 64;

/// A limit beyond this is none: no batch is so large.
const NO_LIMIT: usize = 64 << 20;

impl Memory {
    /// A body of `bytes` was refused for its size.
    fn too_large(&self, bytes: usize) {
        self.limit.store((bytes / 2).max(1024), Ordering::Relaxed);
        self.passed.store(0, Ordering::Relaxed);
    }

    /// A request passed.
    fn passed(&self) {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == 0 || self.passed.fetch_add(1, Ordering::Relaxed) + 1 < TRIED_AGAIN {
            return;
        }
        self.passed.store(0, Ordering::Relaxed);
        let more = if limit >= NO_LIMIT { 0 } else { limit * 2 };
        self.limit.store(more, Ordering::Relaxed);
    }

    fn attempts(&self, key: &str) -> u32 {
        let trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        trouble.iter().find(|(k, _)| k == key).map_or(0, |(_, n)| *n)
    }

    fn note(&self, key: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, n)) = trouble.iter_mut().find(|(k, _)| k == key) {
            *n += 1;
            return;
        }
        if trouble.len() >= 16 {
            trouble.remove(0);
        }
        trouble.push((key.to_string(), 1));
    }

    fn forget(&self, key: &str) {
        self.trouble
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain(|(k, _)| k != key);
    }
}

/// Stores all documents of `load` in `collection`. Returns those that were refused for good; all others are stored.
pub async fn deliver(
    client: &Client,
    memory: &Memory,
    collection: &str,
    load: Load,
) -> Result<Vec<Rejected>, WriteError> {
    let all = 0..load.docs().len();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let key = doc_key(load.docs().get(0).unwrap_or_default()).to_string();
    let mut delivery = Delivery {
        client,
        memory,
        collection,
        load: &load,
        desperate: memory.attempts(&key) >= PATIENCE,
        stored: 0,
        dead: BTreeMap::new(),
        suspects: Vec::new(),
        pending: None,
        puzzled: false,
    };
    let result = delivery.run(all).await;
    if delivery.puzzled && result.is_err() {
        memory.note(&key);
    } else if result.is_ok() {
        memory.forget(&key);
    }
    result?;
    Ok(delivery.dead.into_values().collect())
}

/// Delivers nothing: an empty array, which is taken as one with documents is.
pub async fn knock(client: &Client, collection: &str) -> Result<(), WriteError> {
    let path = ["_api", "document", collection];
    let request = Request::post(&path, Bytes::from_static(b"[]")).query(QUIET);
    match client.send(request).await {
        Ok(_) => Ok(()),
        Err(e) => Err(explain(client, e).await.into_write_error(collection)),
    }
}

struct Delivery<'a> {
    client: &'a Client,
    memory: &'a Memory,
    collection: &'a str,
    load: &'a Load,
    /// Patience is used up: what cannot be understood is refused.
    desperate: bool,
    stored: usize,
    /// By position, so that a record met twice counts once.
    dead: BTreeMap<usize, Rejected>,
    /// Single records on which the server broke, or ran out of memory.
    suspects: Vec<(usize, ApiError)>,
    /// From the first to the last record to try again, and why.
    pending: Option<(Range<usize>, ApiError)>,
    /// Something happened that no rule knows.
    puzzled: bool,
}

enum Next {
    Done,
    Split,
}

impl Delivery<'_> {
    async fn run(&mut self, all: Range<usize>) -> Result<(), WriteError> {
        self.drain(all).await?;
        for pause in PAUSES {
            let Some((range, _)) = self.pending.take() else { break };
            tokio::time::sleep(pause).await;
            self.drain(range).await?;
        }
        if let Some((range, error)) = self.pending.take() {
            let what = format!("{} of up to {} records", self.collection, range.len());
            return Err(WriteError::Away(format!("{what}: {error}")));
        }
        if let Some((_, error)) = self.suspects.first() {
            self.puzzled = true;
            if self.stored == 0 {
                return Err(Error::Api(error.clone()).into_write_error(self.collection));
            }
        }
        for (i, error) in std::mem::take(&mut self.suspects) {
            self.reject(i, &error);
        }
        Ok(())
    }

    async fn drain(&mut self, all: Range<usize>) -> Result<(), WriteError> {
        let mut todo = vec![all];
        while let Some(range) = todo.pop() {
            let limit = self.memory.limit.load(Ordering::Relaxed);
            let oversized = limit > 0 && range.len() > 1 && self.load.bytes(&range) > limit;
            let next = if oversized {
                Next::Split
            } else {
                self.send(&range).await?
            };
            if matches!(next, Next::Split) {
                let middle = range.start + range.len().div_ceil(2);
                todo.push(middle..range.end);
                todo.push(range.start..middle);
            }
        }
        Ok(())
    }

    async fn send(&mut self, range: &Range<usize>) -> Result<Next, WriteError> {
        match self.post(range, QUIET).await {
            Ok(answer) if answer.body.as_ref() == b"{}" => {
                self.memory.passed();
                self.stored += range.len();
                return Ok(Next::Done);
            }
            Ok(_) => self.memory.passed(),
            Err(e) => return self.refused(range, e).await,
        }
        match self.post(range, TELLING).await {
            Ok(answer) => self.entries(range, &answer).await,
            Err(e) => self.refused(range, e).await,
        }
    }

    async fn post(&self, range: &Range<usize>, query: &str) -> Result<Answer, Error> {
        let path = ["_api", "document", self.collection];
        self.client
            .send(Request::post(&path, self.load.body(range)).query(query))
            .await
    }

    /// The whole request was refused.
    async fn refused(&mut self, range: &Range<usize>, error: Error) -> Result<Next, WriteError> {
        let Error::Api(api) = &error else {
            return Err(error.into_write_error(self.collection));
        };
        let alone = range.len() == 1;
        match api.class() {
            Class::Halve => {
                if api.status == 413 {
                    // A size that is refused once need not be sent again.
                    self.memory.too_large(self.load.bytes(range));
                }
                if !alone {
                    return Ok(Next::Split);
                }
                if api.status == 413 {
                    self.reject(range.start, api);
                    return Ok(Next::Done);
                }
                if self.desperate {
                    self.suspects.push((range.start, api.clone()));
                    return Ok(Next::Done);
                }
                self.puzzled = true;
                Err(error.into_write_error(self.collection))
            }
            Class::Bisect if alone => {
                self.reject(range.start, api);
                Ok(Next::Done)
            }
            Class::Bisect => Ok(Next::Split),
            Class::Broken if self.desperate && alone => {
                self.suspects.push((range.start, api.clone()));
                Ok(Next::Done)
            }
            Class::Broken if self.desperate => Ok(Next::Split),
            Class::Broken | Class::Unknown => {
                self.puzzled = true;
                Err(error.into_write_error(self.collection))
            }
            _ => Err(explain(self.client, error).await.into_write_error(self.collection)),
        }
    }

    /// The answer with one entry per record.
    async fn entries(&mut self, range: &Range<usize>, answer: &Answer) -> Result<Next, WriteError> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            error: bool,
            #[serde(rename = "errorNum")]
            num: Option<i64>,
            #[serde(rename = "errorMessage")]
            message: Option<String>,
        }
        let entries: Vec<Entry> = answer.json().map_err(|e| e.into_write_error(self.collection))?;
        if entries.len() != range.len() {
            let what = format!("{} results for {} records", entries.len(), range.len());
            return Err(WriteError::Away(format!("{}: the server gave {what}", self.collection)));
        }
        let (mut smaller, mut cure) = (false, None);
        for (i, entry) in range.clone().zip(entries) {
            if !entry.error && entry.num.is_none() {
                self.stored += 1;
                continue;
            }
            let error = ApiError {
                status: answer.status,
                num: entry.num,
                message: entry.message.unwrap_or_else(|| "no explanation given".into()),
            };
            match Fate::of(error.num, &error.message) {
                Fate::Dead => self.reject(i, &error),
                Fate::Again => self.again(i, error),
                Fate::Operator => cure = Some(error),
                Fate::Smaller if range.len() > 1 => smaller = true,
                Fate::Smaller if self.desperate => self.suspects.push((i, error)),
                Fate::Unknown if self.desperate => self.reject(i, &error),
                Fate::Smaller | Fate::Unknown => {
                    self.puzzled = true;
                    self.again(i, error);
                }
            }
        }
        if let Some(error) = cure {
            return Err(WriteError::Refused(refusal(
                &explain(self.client, Error::Api(error)).await,
                self.collection,
            )));
        }
        Ok(if smaller { Next::Split } else { Next::Done })
    }

    fn again(&mut self, i: usize, error: ApiError) {
        self.pending = Some(match self.pending.take() {
            None => (i..i + 1, error),
            Some((range, _)) => (range.start.min(i)..range.end.max(i + 1), error),
        });
    }

    fn reject(&mut self, i: usize, error: &ApiError) {
        let doc = self.load.docs().get(i).unwrap_or_default();
        let rejected = Rejected {
            collection: self.collection.to_string(),
            key: doc_key(doc).to_string(),
            reason: match (error.status, error.num) {
                (413, _) => "too large for the server, or for a proxy before it (HTTP 413)".to_string(),
                _ => error.message.clone(),
            },
            error_num: error.num,
            record: String::from_utf8_lossy(doc).into_owned(),
        };
        self.dead.insert(i, rejected);
    }
}

fn refusal(error: &Error, collection: &str) -> String {
    format!("{collection}: {error}{}", error.advice())
}

/// Tells read-only mode from a missing grant: both are 403 with number 1004.
pub(super) async fn explain(client: &Client, error: Error) -> Error {
    #[derive(Deserialize)]
    struct Mode {
        mode: String,
    }
    let Error::Api(mut api) = error else { return error };
    if api.num == Some(1004) {
        let mode = client.send(Request::get(&["_admin", "server", "mode"])).await;
        let mode = mode.and_then(|a| a.json::<Mode>()).map(|m| m.mode);
        let said = match mode.as_deref() {
            Ok("readonly") => "the server is in read-only mode: by its operator, or over its licence's limit",
            Ok(_) => "the server itself takes writes: the user may only read here, or too few replicas are in sync",
            Err(_) => "the server's mode could not be asked",
        };
        api.message = format!("{} [{said}]", api.message);
    }
    Error::Api(api)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_body_is_the_batch_itself_and_a_part_is_an_array_of_its_own() {
        let mut batch = Batch::default();
        for i in 0..3 {
            batch.events.push(format!(r#"{{"_key":"k{i}"}}"#).as_bytes());
        }
        let batch = Arc::new(batch);
        let load = Load::Events(Arc::clone(&batch));
        let whole = load.body(&(0..3));
        assert_eq!(whole.as_ptr(), batch.events.array().as_ptr());
        assert_eq!(load.body(&(1..3)), &br#"[{"_key":"k1"},{"_key":"k2"}]"#[..]);
        assert_eq!(load.bytes(&(1..3)), load.body(&(1..3)).len());
    }
}
