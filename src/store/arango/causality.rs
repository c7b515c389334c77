//! Writing edges: relations as they are asked for, and fixes, whose error has to be found first.
//!
//! Both are rare. A fix takes a handful of small queries, tried from the surest meaning of its target to the vaguest:
//! key, fingerprint, execution, words of an exception, words of a message. None of them uses the search view, which
//! shows a document about a second late. A fix that is tied already is left alone when its batch is repeated: the open
//! errors of today are not its business.
//!
//! A query that cannot finish holds up nothing: its fix is postponed, comes again by itself, and becomes a dead letter
//! after [`ATTEMPTS`], from where it can be delivered when the server does better.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::cursor::{QueryOptions, text};
use super::deliver::{Load, Memory, deliver};
use super::errors::{Class, Error};
use crate::record::format_time;
use crate::store::edges::{self, Edge, FixedError};
use crate::store::{Batch, Docs, FIXES, Fix, LOG_CAUSALITY, LOG_EVENTS, Rejected, WriteError};

pub const TIED: &str = include_str!("queries/fix_tied.aql");
pub const BY_KEY: &str = include_str!("queries/fix_by_key.aql");
pub const BY_FINGERPRINT: &str = include_str!("queries/fix_by_fingerprint.aql");
pub const BY_EXECUTION: &str = include_str!("queries/fix_by_execution.aql");
pub const BY_TEXT: &str = include_str!("queries/fix_by_text.aql");
pub const NEWEST_OPEN: &str = include_str!("queries/fix_newest_open.aql");
pub const RESOLVE: &str = include_str!("queries/fix_resolve.aql");
pub const WAITING: &str = include_str!("queries/fixes_waiting.aql");
pub const UNMATCHED: &str = include_str!("queries/fix_unmatched.aql");

/// What became of the edges of a batch.
#[derive(Default)]
pub struct Written {
    pub rejected: Vec<Rejected>,
    pub fixes_unmatched: u64,
    /// Fixes that are to be written again later.
    pub postponed: Batch,
}

/// How often the queries of one fix may fail before it is a dead letter.
pub const ATTEMPTS: u32 = 4;

/// How often they may fail for a passing reason before that counts as well.
const PASSING: u32 = 2;

/// The server ends a query of a fix after this time: with its index each takes milliseconds.
const RUNTIME: Duration = Duration::from_secs(10);

/// Fixes that are remembered as unfinished at most.
const REMEMBERED: usize = 10_000;

/// Fixes whose queries failed, and how often.
#[derive(Default)]
pub struct Unfinished(Mutex<HashMap<String, u32>>);

/// What is to become of a fix whose query failed.
enum Verdict {
    /// The whole batch comes again: the server is away, or wants a person.
    Batch(WriteError),
    /// This fix comes again by itself.
    Postponed,
    Refused(Rejected),
}

impl Unfinished {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, fix: &Fix, error: Error) -> Verdict {
        let (own, num) = match &error {
            // Beyond its time, its memory, or what the server understands: the query's own fault.
            Error::Api(e) => (
                matches!(e.num, Some(1500 | 32)) || matches!(e.class(), Class::Caller | Class::Broken | Class::Unknown),
                e.num,
            ),
            _ => (false, None),
        };
        let operator = matches!(&error, Error::Api(e) if e.class() == Class::Operator);
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let failed = known.entry(fix.key.clone()).or_default();
        if operator || !own && *failed < PASSING {
            *failed += u32::from(!operator);
            return Verdict::Batch(failed_write(error));
        }
        *failed += 1;
        if *failed < ATTEMPTS + if own { 0 } else { PASSING } {
            tracing::warn!(
                key = fix.key,
                "a fix is tried again later, its error was not found in time: {error}"
            );
            return Verdict::Postponed;
        }
        known.remove(&fix.key);
        Verdict::Refused(Rejected {
            collection: FIXES.to_owned(),
            key: fix.key.clone(),
            reason: format!("the error that it fixes could not be looked up, {ATTEMPTS} times: {error}"),
            error_num: num,
            record: serde_json::to_string(fix).unwrap_or_default(),
        })
    }

    fn finished(&self, fix: &Fix) {
        let mut known = self.lock();
        if !known.is_empty() {
            known.remove(&fix.key);
        }
    }
}

/// Writes the relations and fixes of a batch whose events are stored already.
pub async fn write(
    client: &Client,
    memory: &Memory,
    batch: &Batch,
    unfinished: &Unfinished,
) -> Result<Written, WriteError> {
    let mut written = Written::default();
    // A question that cannot be answered now must not hold up what is to be delivered; the next errors ask again.
    let waiting = match batch.has_errors() {
        true => waiting(client).await.unwrap_or_else(|e| {
            tracing::warn!("fixes that wait for their error were not looked at: {e}");
            Vec::new()
        }),
        false => Vec::new(),
    };
    if batch.fixes.is_empty() && batch.relations.is_empty() && waiting.is_empty() {
        return Ok(written);
    }
    let mut docs = Docs::default();
    let mut found: Vec<(FixedError, &Fix)> = Vec::new();
    let tied = tie_waiting(client, &waiting, &mut docs).await;
    for relation in &batch.relations {
        push(&mut docs, &edges::edge(relation));
    }
    for fix in &batch.fixes {
        match seek(client, fix).await {
            Ok(Sought::Tied) => unfinished.finished(fix),
            Ok(Sought::Nothing) => {
                unfinished.finished(fix);
                written.fixes_unmatched += 1;
            }
            Ok(Sought::Error(error)) => found.push((error, fix)),
            Err(e) => written.judged(unfinished.judge(fix, e), fix)?,
        }
    }
    // Marks before the edge: once the edge stands, a repetition takes the fix for done.
    for (error, fix) in found {
        match resolve(client, &error, fix).await {
            Ok(()) => {
                unfinished.finished(fix);
                push(&mut docs, &edges::fixed_by(&error, fix));
            }
            Err(e) => written.judged(unfinished.judge(fix, e), fix)?,
        }
    }
    let refused = deliver(client, memory, LOG_CAUSALITY, Load::Own(Arc::new(docs))).await?;
    written.rejected.extend(refused);
    for fix in tied {
        if let Err(e) = mark_unmatched(client, fix, false).await {
            tracing::warn!(
                key = fix.key,
                "a fix that was tied to its error still counts as waiting: {e}"
            );
        }
    }
    Ok(written)
}

impl Written {
    fn judged(&mut self, verdict: Verdict, fix: &Fix) -> Result<(), WriteError> {
        match verdict {
            Verdict::Batch(e) => return Err(e),
            Verdict::Postponed => self.postponed.fixes.push(fix.clone()),
            Verdict::Refused(rejected) => self.rejected.push(rejected),
        }
        Ok(())
    }
}

/// What was found for a fix.
enum Sought {
    /// It was tied before.
    Tied,
    Nothing,
    Error(FixedError),
}

async fn seek(client: &Client, fix: &Fix) -> Result<Sought, Error> {
    if is_tied(client, fix).await? {
        return Ok(Sought::Tied);
    }
    let error = find(client, fix).await?;
    mark_unmatched(client, fix, error.is_none()).await?;
    Ok(error.map_or(Sought::Nothing, Sought::Error))
}

/// Ties fixes that came before their error to it; returns those that wait no longer once what is in `docs` is stored.
/// One that cannot be tied now waits on.
async fn tie_waiting<'a>(client: &Client, waiting: &'a [Fix], docs: &mut Docs) -> Vec<&'a Fix> {
    let mut tied = Vec::new();
    for fix in waiting {
        let outcome = async {
            if is_tied(client, fix).await? {
                return Ok(true);
            }
            let Some(error) = find(client, fix).await? else {
                return Ok(false);
            };
            // Marks before the edge: once the edge stands, a repetition takes the fix for done.
            resolve(client, &error, fix).await?;
            push(docs, &edges::fixed_by(&error, fix));
            Ok::<bool, Error>(true)
        };
        match outcome.await {
            Ok(true) => tied.push(fix),
            Ok(false) => {}
            Err(e) => tracing::warn!(key = fix.key, "a fix that waits for its error was not looked at: {e}"),
        }
    }
    tied
}

/// A fix as its event tells it.
#[derive(Deserialize)]
struct Waiting {
    key: String,
    time: String,
    execution_id: String,
    script_name: Option<String>,
    target: String,
    description: String,
    rationale: String,
}

/// Fixes that came before their error.
async fn waiting(client: &Client) -> Result<Vec<Fix>, Error> {
    let options = QueryOptions::default();
    let (rows, _) = client.rows::<_, Waiting>(text(WAITING), &json!({}), &options).await?;
    let some = |text: String| Some(text).filter(|t| !t.is_empty());
    Ok(rows
        .into_iter()
        .map(|w| Fix {
            key: w.key,
            time: crate::store::runs::parse_time(&w.time).unwrap_or_default(),
            execution_id: w.execution_id,
            script_name: w.script_name,
            target: some(w.target),
            description: w.description,
            rationale: some(w.rationale),
        })
        .collect())
}

fn failed_write(error: Error) -> WriteError {
    error.into_write_error("fixes")
}

fn options() -> QueryOptions {
    QueryOptions {
        max_runtime: RUNTIME,
        ..QueryOptions::default()
    }
}

fn push(docs: &mut Docs, edge: &Edge) {
    if let Ok(doc) = serde_json::to_vec(edge) {
        docs.push(&doc);
    }
}

async fn is_tied(client: &Client, fix: &Fix) -> Result<bool, Error> {
    let binds = json!({"own": format!("{LOG_EVENTS}/{}", fix.key)});
    let (rows, _) = client.rows::<_, bool>(text(TIED), &binds, &options()).await?;
    Ok(!rows.is_empty())
}

/// An error as the queries return it.
#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_key")]
    key: String,
    fingerprint: Option<String>,
    script_name: Option<String>,
    #[serde(default)]
    message: String,
}

async fn one(client: &Client, query: &str, binds: Value) -> Result<Option<FixedError>, Error> {
    let (rows, _) = client.rows::<_, Found>(text(query), &binds, &options()).await?;
    Ok(rows.into_iter().next().map(|f| FixedError {
        key: f.key,
        fingerprint: f.fingerprint,
        script_name: f.script_name,
        message: f.message,
    }))
}

/// The error that a fix is for.
async fn find(client: &Client, fix: &Fix) -> Result<Option<FixedError>, Error> {
    let time = format_time(fix.time);
    let Some(target) = fix.target.as_deref().filter(|t| !t.is_empty()) else {
        let Some(script) = &fix.script_name else {
            return Ok(None);
        };
        return one(
            client,
            NEWEST_OPEN,
            json!({"script": script, "time": time, "own": fix.key, "description": fix.description}),
        )
        .await;
    };
    if let Some(error) = one(client, BY_KEY, json!({"target": target})).await? {
        return Ok(Some(error));
    }
    if let Some(error) = one(client, BY_FINGERPRINT, json!({"target": target, "time": time})).await? {
        return Ok(Some(error));
    }
    // Clocks of two hosts need not agree: an execution means its last error, whenever that was.
    for (ends, time) in [(false, time.as_str()), (true, &time), (false, LATEST)] {
        let binds = json!({"target": target, "time": time, "ends": ends});
        if let Some(error) = one(client, BY_EXECUTION, binds).await? {
            return Ok(Some(error));
        }
    }
    let Some(pattern) = phrase(target) else { return Ok(None) };
    for messages in [false, true] {
        let binds = json!({"pattern": pattern, "messages": messages, "time": time, "own": fix.key});
        if let Some(error) = one(client, BY_TEXT, binds).await? {
            return Ok(Some(error));
        }
    }
    Ok(None)
}

/// Later than any event.
const LATEST: &str = "9999-12-31T23:59:59.999999Z";

/// A pattern that finds the words of `text` one after the other, whatever stands between them; `None` if it has none.
#[must_use]
pub fn phrase(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .collect();
    if words.is_empty() {
        return None;
    }
    let between = r"[^\p{L}\p{N}]";
    Some(format!(
        "(^|{between}){}($|{between})",
        words.join(&format!("{between}+"))
    ))
}

async fn mark_unmatched(client: &Client, fix: &Fix, unmatched: bool) -> Result<(), Error> {
    let binds = json!({"key": fix.key, "unmatched": unmatched.then_some(true)});
    client.change_with(UNMATCHED, &binds, &options()).await.map(|_| ())
}

async fn resolve(client: &Client, error: &FixedError, fix: &Fix) -> Result<(), Error> {
    let binds = json!({
        "key": error.key, "time": format_time(fix.time), "description": fix.description,
        // Never null: that would be every event without a fingerprint.
        "fingerprint": error.fingerprint.as_deref().unwrap_or(""), "script": error.script_name,
    });
    client.change_with(RESOLVE, &binds, &options()).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_found_between_words_only() {
        let found = |target: &str, text: &str| {
            let pattern = format!("(?i){}", phrase(target).unwrap());
            regex::Regex::new(&pattern).unwrap().is_match(text)
        };
        assert!(found("ValueError", "builtins.ValueError: no"));
        assert!(!found("Error", "ValueError"));
        assert!(found("no such table", "sqlite: NO SUCH TABLE x"));
        assert!(found("a.b(c)", "in a.b(c)"));
        assert!(phrase("!?").is_none());
    }
}
