//! Writing edges: relations as they are asked for, and fixes, whose error has to be found first.
//!
//! Both are rare. A fix takes a handful of small queries, tried from the surest meaning of its target to the vaguest:
//! key, fingerprint, execution, words of an exception, words of a message. None of them uses the search view, which
//! shows a document about a second late. A fix that is tied already is left alone when its batch is repeated: the open
//! errors of today are not its business.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::cursor::{QueryOptions, text};
use super::deliver::{Load, Memory, deliver};
use super::errors::Error;
use crate::record::format_time;
use crate::store::edges::{self, Edge, FixedError};
use crate::store::{Batch, Docs, Fix, LOG_CAUSALITY, LOG_EVENTS, Rejected, WriteError};

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
}

/// Writes the relations and fixes of a batch whose events are stored already.
pub async fn write(client: &Client, memory: &Memory, batch: &Batch) -> Result<Written, WriteError> {
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
    let mut resolved: Vec<(FixedError, &Fix)> = Vec::new();
    for fix in &waiting {
        if let Ok(Some(error)) = find(client, fix).await {
            mark_unmatched(client, fix, false).await.map_err(failed)?;
            push(&mut docs, &edges::fixed_by(&error, fix));
            resolved.push((error, fix));
        }
    }
    for relation in &batch.relations {
        push(&mut docs, &edges::edge(relation));
    }
    for fix in &batch.fixes {
        if is_tied(client, fix).await.map_err(failed)? {
            continue;
        }
        let error = find(client, fix).await.map_err(failed)?;
        mark_unmatched(client, fix, error.is_none()).await.map_err(failed)?;
        match error {
            None => written.fixes_unmatched += 1,
            Some(error) => {
                push(&mut docs, &edges::fixed_by(&error, fix));
                resolved.push((error, fix));
            }
        }
    }
    // Marks before the edge: once the edge stands, a repetition takes the fix for done.
    for (error, fix) in resolved {
        resolve(client, &error, fix).await.map_err(failed)?;
    }
    written.rejected = deliver(client, memory, LOG_CAUSALITY, Load::Own(Arc::new(docs))).await?;
    Ok(written)
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

fn failed(error: Error) -> WriteError {
    error.into_write_error("fixes")
}

fn push(docs: &mut Docs, edge: &Edge) {
    if let Ok(doc) = serde_json::to_vec(edge) {
        docs.push(&doc);
    }
}

async fn is_tied(client: &Client, fix: &Fix) -> Result<bool, Error> {
    let binds = json!({"own": format!("{LOG_EVENTS}/{}", fix.key)});
    let (rows, _) = client
        .rows::<_, bool>(text(TIED), &binds, &QueryOptions::default())
        .await?;
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
    let (rows, _) = client
        .rows::<_, Found>(text(query), &binds, &QueryOptions::default())
        .await?;
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
    client.change_with(UNMATCHED, &binds).await.map(|_| ())
}

async fn resolve(client: &Client, error: &FixedError, fix: &Fix) -> Result<(), Error> {
    let binds = json!({
        "key": error.key, "time": format_time(fix.time), "description": fix.description,
        // Never null: that would be every event without a fingerprint.
        "fingerprint": error.fingerprint.as_deref().unwrap_or(""), "script": error.script_name,
    });
    client.change_with(RESOLVE, &binds).await.map(|_| ())
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
