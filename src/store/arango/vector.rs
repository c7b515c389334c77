//! The optional vector index: a collection of its own for the vectors that scripts store.
//!
//! # Constraints
//!
//! * On 3.12.4 and 3.12.5 a vector index refuses every document without a fitting vector, and up to 3.12.8 it can only
//!   be made once there are vectors to train it with. So it must never stand on `log_events`: with
//!   `vector_dimensions` set, `embeddings` of that length are copied to `log_embeddings`, under the key of their event.
//! * The server has to be started with the feature switched on, under a name that depends on its version.
//! * It is an addition. Without the index vectors are kept all the same, and nothing of it may hold up delivery.
//!
//! # Operation
//!
//! `init` (and `run`, when it starts) makes the collection; then the index: at once from 3.12.9 on, before that as soon
//! as there are [`ENOUGH`] vectors, so `init` is to be run again by then, which it says. The number of lists follows
//! from the number of vectors; from 3.12.10 on the server chooses it. An index of another length is made anew.
//!
//! A query: `FOR d IN log_embeddings SORT APPROX_NEAR_COSINE(d.embeddings, @q) DESC LIMIT 10 RETURN d._key`.

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::definitions::LOG_EMBEDDINGS;
use super::errors::Error;
use crate::store::{Docs, SchemaAction};

/// Name of the index.
pub const INDEX: &str = "vector";

/// Servers before 3.12.9 get the index once there are so many vectors: fewer make a poor one.
pub const ENOUGH: u64 = 1000;

/// How many of its lists a query looks into, unless it says otherwise; the server's own choice of 1 finds little.
const PROBES: u64 = 10;

/// Lists, where the server does not choose and there is nothing to judge from.
const LISTS: u64 = 100;

type Version = (u32, u32, u32);

/// `3.12.4-1` as numbers; zeros for what is no version.
#[must_use]
pub fn version(text: &str) -> Version {
    let mut parts = text.split(['.', '-']).map(|p| p.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// The option that switches the feature on.
#[must_use]
pub fn option(version: Version) -> &'static str {
    if version < (3, 12, 6) {
        "--experimental-vector-index"
    } else {
        "--vector-index"
    }
}

/// The body that makes the index on a server of this version over so many vectors; `None` while they are too few.
#[must_use]
pub fn wish(version: Version, dimensions: u32, vectors: u64) -> Option<Value> {
    let trains_later = version >= (3, 12, 9);
    if !trains_later && vectors < ENOUGH {
        return None;
    }
    let mut params = json!({"metric": "cosine", "dimension": dimensions, "defaultNProbe": PROBES});
    if version < (3, 12, 10) {
        params["nLists"] = if trains_later { LISTS } else { 4 * vectors.isqrt() }.into();
    }
    Some(json!({
        "type": "vector", "name": INDEX, "fields": ["embeddings"], "inBackground": true, "params": params,
    }))
}

/// The vectors of this length among `docs`, as documents of [`LOG_EMBEDDINGS`].
#[must_use]
pub fn copies(docs: &Docs, dimensions: u32) -> Docs {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "_key", borrow)]
        key: &'a RawValue,
        #[serde(borrow)]
        embeddings: &'a RawValue,
        #[serde(borrow)]
        timestamp: &'a RawValue,
        #[serde(borrow)]
        execution_id: &'a RawValue,
        #[serde(borrow)]
        script_name: Option<&'a RawValue>,
    }
    let finder = memchr::memmem::Finder::new(b"\"embeddings\":");
    let mut found = Docs::default();
    for doc in docs.iter().filter(|d| finder.find(d).is_some()) {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(doc) else {
            continue;
        };
        let fits = serde_json::from_str::<Vec<f64>>(event.embeddings.get())
            .is_ok_and(|v| v.len() == dimensions as usize && v.iter().any(|n| *n != 0.0));
        if !fits {
            tracing::debug!(
                key = event.key.get(),
                "embeddings that are no vector of vector_dimensions"
            );
            continue;
        }
        let mut out = format!(
            "{{\"_key\":{},\"timestamp\":{},\"execution_id\":{}",
            event.key, event.timestamp, event.execution_id
        );
        if let Some(script) = event.script_name {
            out.push_str(&format!(",\"script_name\":{script}"));
        }
        out.push_str(&format!(",\"embeddings\":{}}}", event.embeddings));
        found.push(out.as_bytes());
    }
    found
}

/// Makes the index where it can be made; says why where it cannot. `None`: not yet.
pub async fn ensure(client: &Client, server: &str, dimensions: u32, dry: bool) -> Result<Option<SchemaAction>, Error> {
    let query = format!("collection={LOG_EMBEDDINGS}");
    let have: Value = match client.send(Request::get(&["_api", "index"]).query(&query)).await {
        Ok(answer) => answer.json()?,
        // A dry run before the first.
        Err(Error::Api(e)) if dry && e.missing() => Value::Null,
        Err(e) => return Err(e),
    };
    let indexes = have.get("indexes").and_then(Value::as_array);
    let known = indexes.and_then(|all| all.iter().find(|i| i.get("type").is_some_and(|t| t == "vector")));
    let length = known
        .and_then(|i| i.pointer("/params/dimension"))
        .and_then(Value::as_u64);
    if length == Some(u64::from(dimensions)) {
        return Ok(Some(SchemaAction::Unchanged));
    }
    let vectors = if have.is_null() { 0 } else { count(client).await? };
    let Some(body) = wish(version(server), dimensions, vectors) else {
        tracing::warn!(
            "{LOG_EMBEDDINGS}/{INDEX}: ArangoDB {server} wants vectors to train it with: run `logagent init` again when \
             there are {ENOUGH} in {LOG_EMBEDDINGS} ({vectors} now)"
        );
        return Ok(None);
    };
    let action = if known.is_some() {
        SchemaAction::Updated
    } else {
        SchemaAction::Created
    };
    if dry {
        return Ok(Some(action));
    }
    if let Some(id) = known.and_then(|i| i.get("id")).and_then(Value::as_str) {
        let id = id.rsplit('/').next().unwrap_or_default();
        let path = ["_api", "index", LOG_EMBEDDINGS, id];
        client.send(Request::new(Method::DELETE, &path)).await?;
    }
    let mut request = Request::post(&["_api", "index"], body.to_string().into()).query(&query);
    request.timeout = Some(std::time::Duration::from_secs(3600));
    match client.send(request).await {
        Ok(_) => Ok(Some(action)),
        Err(Error::Api(e)) if e.already_exists() => Ok(Some(SchemaAction::Unchanged)),
        Err(e) => Err(e),
    }
}

async fn count(client: &Client) -> Result<u64, Error> {
    let path = ["_api", "collection", LOG_EMBEDDINGS, "count"];
    let answer: Value = client.send(Request::get(&path)).await?.json()?;
    Ok(answer.get("count").and_then(Value::as_u64).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_version_decides_option_order_and_lists() {
        assert_eq!(option(version("3.12.4-1")), "--experimental-vector-index");
        assert_eq!(option(version("3.12.5")), "--experimental-vector-index");
        assert_eq!(option(version("3.12.6")), "--vector-index");
        assert!(wish(version("3.12.4"), 3, ENOUGH - 1).is_none());
        assert!(wish(version("3.12.8"), 3, 0).is_none());
        let lists = |v: &str, n| wish(version(v), 3, n).map(|w| w["params"].get("nLists").cloned());
        assert_eq!(lists("3.12.8", 10_000), Some(Some(json!(400))));
        assert_eq!(lists("3.12.9", 0), Some(Some(json!(100))));
        assert_eq!(lists("3.12.10", 0), Some(None));
        assert_eq!(wish(version("3.12.12"), 3, 0).unwrap()["params"]["dimension"], 3);
    }

    #[test]
    fn only_vectors_of_the_given_length_are_copied() {
        let mut docs = Docs::default();
        for (key, embeddings) in [
            ("a", "[1,0.5,2]"),
            ("b", "[1,2]"),
            ("c", "[1,\"x\",2]"),
            ("d", "[0,0,0]"),
        ] {
            docs.push(
                format!(
                    r#"{{"_key":"{key}","timestamp":"t","message":"m","execution_id":"e","embeddings":{embeddings}}}"#
                )
                .as_bytes(),
            );
        }
        docs.push(br#"{"_key":"e","timestamp":"t","message":"no \"embeddings\": here","execution_id":"e"}"#);
        let copied = copies(&docs, 3);
        let all: Vec<&[u8]> = copied.iter().collect();
        assert_eq!(all.len(), 1);
        let want = r#"{"_key":"a","timestamp":"t","execution_id":"e","embeddings":[1,0.5,2]}"#;
        assert_eq!(std::str::from_utf8(all[0]).unwrap(), want);
    }
}
