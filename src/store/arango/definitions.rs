//! What the schema is: collections with their rules, indexes, the search view and the graph, as the server takes them.
//!
//! * Rules are JSON Schema draft 4 as ArangoDB reads it: every number is `"number"` (`"integer"` matches nothing), and
//!   system attributes are not seen. Level `moderate`: what is written anew must fit, what is there already may stay.
//!   Rules ask for types only; they are there to keep other writers honest, not to drop what a script said.
//! * Only `log_events` has more than one shard. A unique index needs the shard key among its fields, and the others are
//!   small.
//! * The view indexes texts with an analyzer of its own ([`super::words`]) and what is filtered by with `identity`; a field with both is found either
//!   way. Searching a field that the view does not have finds nothing, silently, so add here first.

use serde_json::{Value, json};

use super::words::ANALYZER;
use crate::config;
use crate::store::{AGENT_LEARNINGS, AGENT_MEMORIES, LOG_CAUSALITY, LOG_EVENTS, SCRIPT_RUNS};

pub const VIEW: &str = "log_events_view";
pub const GRAPH: &str = "log_relationships";

/// Copies of vectors, where they are wanted: see [`super::vector`].
pub const LOG_EMBEDDINGS: &str = "log_embeddings";

/// Which agent does what only one at a time should do.
pub const LEASES: &str = "logagent_leases";

/// Fields of `log_events` that the view analyses as text; ranked search looks in these.
pub const TEXT_FIELDS: [&str; 8] = [
    "message",
    "exception.type",
    "exception.value",
    "exception.chain.type",
    "exception.chain.value",
    "function_name",
    "script_name",
    "tags",
];

/// Fields of `log_events` that can be compared in `SEARCH`.
pub const EXACT_FIELDS: [&str; 11] = [
    "timestamp",
    "level",
    "level_no",
    "execution_id",
    "script_name",
    "function_name",
    "host",
    "fingerprint",
    "tags",
    "event",
    "exception.type",
];

/// A collection as it is created.
pub struct Collection {
    pub name: &'static str,
    pub edges: bool,
    pub rule: Value,
    pub shards: u32,
}

/// How far the making of the schema goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Says what it would do.
    Dry,
    /// Creates what is missing, and says what differs.
    Missing,
    /// Creates what is missing and changes what differs.
    All,
}

/// A persistent index.
pub struct Index {
    pub collection: &'static str,
    pub name: &'static str,
    pub fields: &'static [&'static str],
    pub unique: bool,
    pub sparse: bool,
}

const fn index(collection: &'static str, name: &'static str, fields: &'static [&'static str]) -> Index {
    Index {
        collection,
        name,
        fields,
        unique: false,
        sparse: false,
    }
}

/// Names are part of the interface (`collection/index` in the report of `init`).
pub const INDEXES: [Index; 19] = [
    index(LOG_EVENTS, "execution_time", &["execution_id", "timestamp"]),
    index(LOG_EVENTS, "level_time", &["level", "timestamp"]),
    index(LOG_EVENTS, "script_time", &["script_name", "timestamp"]),
    index(LOG_EVENTS, "time", &["timestamp"]),
    // Sparse: only errors have one. Queries say `fingerprint != null`, or compare with a value.
    Index {
        sparse: true,
        ..index(LOG_EVENTS, "fingerprint", &["fingerprint", "timestamp"])
    },
    // Fixes, and which of them wait for their error. Sparse: few events are of a kind.
    Index {
        sparse: true,
        ..index(LOG_EVENTS, "event", &["event", "timestamp"])
    },
    // Retention counts from here.
    index(LOG_EVENTS, "ingested", &["ingested_at"]),
    Index {
        unique: true,
        ..index(SCRIPT_RUNS, "execution", &["execution_id"])
    },
    index(SCRIPT_RUNS, "time", &["start_time"]),
    index(SCRIPT_RUNS, "script_time", &["script_name", "start_time"]),
    index(SCRIPT_RUNS, "status_seen", &["status", "last_seen"]),
    index(AGENT_LEARNINGS, "time", &["timestamp"]),
    index(AGENT_LEARNINGS, "execution", &["execution_id"]),
    index(AGENT_LEARNINGS, "confidence", &["confidence"]),
    index(AGENT_MEMORIES, "type_time", &["type", "timestamp"]),
    index(AGENT_MEMORIES, "execution", &["metadata.execution_id"]),
    index(LOG_CAUSALITY, "type_time", &["type", "created_at"]),
    index(LOG_CAUSALITY, "execution", &["metadata.execution_id"]),
    // Which errors are fixed: not sparse, since the fingerprint it is compared with may be missing.
    index(LOG_CAUSALITY, "fingerprint", &["metadata.fingerprint", "created_at"]),
];

fn text() -> Value {
    json!({"type": "string"})
}

fn whole() -> Value {
    json!({"type": "number", "multipleOf": 1})
}

/// The one form of times: `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
fn time() -> Value {
    json!({"type": "string", "minLength": 27, "maxLength": 27})
}

fn texts() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn rule(name: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "level": "moderate",
        "message": format!(
            "this is no document of {name}: required are {}, and each field has its type (see logagent's README)",
            required.join(", ")
        ),
        "rule": {"type": "object", "required": required, "properties": properties, "additionalProperties": true},
    })
}

/// All collections, in the order of creation.
#[must_use]
pub fn collections(settings: &config::Arangodb) -> Vec<Collection> {
    let document = |name, rule, shards| Collection {
        name,
        edges: false,
        rule,
        shards,
    };
    let mut all = vec![
        document(LOG_EVENTS, events(), settings.shards.max(1)),
        document(SCRIPT_RUNS, runs(), 1),
        document(AGENT_LEARNINGS, learnings(), 1),
        document(AGENT_MEMORIES, memories(), 1),
        Collection {
            name: LOG_CAUSALITY,
            edges: true,
            rule: causality(),
            shards: settings.shards.max(1),
        },
        document(LEASES, leases(), 1),
    ];
    if settings.vector_dimensions > 0 {
        let rule = embeddings(settings.vector_dimensions);
        all.push(document(LOG_EMBEDDINGS, rule, settings.shards.max(1)));
    }
    all
}

fn events() -> Value {
    let link = json!({"type": "object", "properties": {"type": text(), "value": text()}});
    rule(
        LOG_EVENTS,
        &["timestamp", "level", "message", "execution_id"],
        json!({
            "timestamp": time(), "level": text(), "level_no": {"type": "number"}, "message": text(),
            "execution_id": text(), "script_name": text(), "function_name": text(), "file_path": text(),
            "line_number": whole(), "module": text(), "logger": text(), "pid": whole(), "process_name": text(),
            "thread_id": whole(), "thread_name": text(), "host": text(),
            "exception": {"type": "object", "properties": {
                "type": text(), "value": text(), "traceback": text(), "chain": {"type": "array", "items": link}}},
            "extra_data": {"type": "object"}, "tags": texts(), "embeddings": {"type": "array"},
            "fingerprint": text(), "event": text(), "resolved": {"type": "boolean"}, "resolved_at": time(),
            "fix_description": text(), "fix_unmatched": {"type": "boolean"}, "source": {"type": "object"},
            "seq": whole(), "ingested_at": time(), "unparsed": {"type": "boolean"}, "repaired": {"type": "boolean"},
            "truncated": texts(), "redacted": texts(),
        }),
    )
}

fn runs() -> Value {
    rule(
        SCRIPT_RUNS,
        &["execution_id", "script_name", "start_time"],
        json!({
            "execution_id": text(), "script_name": text(), "start_time": time(), "end_time": time(),
            "last_seen": time(), "end_at": time(), "duration_seconds": {"type": "number"}, "metadata": {"type": "object"},
            "status": {"enum": ["running", "success", "failed", "crashed", "ended", "lost"]},
            "error": text(), "pid": whole(), "host": text(), "parent_execution_id": text(),
            "start_declared": {"type": "boolean"}, "end_declared": {"type": "boolean"},
        }),
    )
}

fn learnings() -> Value {
    rule(
        AGENT_LEARNINGS,
        &["timestamp", "execution_id", "learning"],
        json!({
            "timestamp": time(), "execution_id": text(), "learning": text(), "context": {"type": "object"},
            "function_name": text(), "confidence": {"type": "number"}, "script_name": text(), "tags": texts(),
        }),
    )
}

fn memories() -> Value {
    rule(
        AGENT_MEMORIES,
        &["content", "type", "timestamp"],
        json!({
            "content": text(), "type": text(), "timestamp": time(), "metadata": {"type": "object"},
            "access_count": whole(),
        }),
    )
}

fn embeddings(dimensions: u32) -> Value {
    let vector = json!({"type": "array", "items": {"type": "number"}, "minItems": dimensions, "maxItems": dimensions});
    rule(
        LOG_EMBEDDINGS,
        &["embeddings"],
        json!({"embeddings": vector, "timestamp": time(), "execution_id": text(), "script_name": text()}),
    )
}

fn leases() -> Value {
    rule(
        LEASES,
        &["holder", "until"],
        json!({"holder": text(), "until": {"type": "number"}}),
    )
}

fn causality() -> Value {
    rule(
        LOG_CAUSALITY,
        &["type"],
        json!({
            "type": text(), "relationship_type": text(), "relationship": text(), "weight": {"type": "number"},
            "confidence": {"type": "number"}, "rationale": text(), "method": text(), "created_at": time(),
            "metadata": {"type": "object"},
        }),
    )
}

/// The search view. `primarySort` cannot be changed later; it makes "the newest matching" cheap.
#[must_use]
pub fn view() -> Value {
    json!({
        "name": VIEW,
        "type": "arangosearch",
        "links": new_links(),
        "primarySort": [{"field": "timestamp", "direction": "desc"}],
        "commitIntervalMsec": 1000,
    })
}

/// The links as they are asked for. Else the server would take the collection for itself while it indexes it, and nothing
/// could be delivered: with many events that takes long. It does not keep the wish, so it is not compared.
#[must_use]
pub fn new_links() -> Value {
    let mut links = links();
    links[LOG_EVENTS]["inBackground"] = true.into();
    links
}

/// The links of the view: the part that may change.
#[must_use]
pub fn links() -> Value {
    let mut fields = json!({});
    let all = TEXT_FIELDS
        .iter()
        .chain(EXACT_FIELDS.iter().filter(|f| !TEXT_FIELDS.contains(f)));
    for field in all {
        let mut analyzers = Vec::new();
        if TEXT_FIELDS.contains(field) {
            analyzers.push(ANALYZER);
        }
        if EXACT_FIELDS.contains(field) {
            analyzers.push("identity");
        }
        place(&mut fields, field, json!(analyzers));
    }
    json!({LOG_EVENTS: {
        "analyzers": ["identity"], "includeAllFields": false, "storeValues": "none", "trackListPositions": false,
        "fields": fields,
    }})
}

/// Puts the analyzers at a dotted path: the fields of objects nest under `fields`.
fn place(fields: &mut Value, path: &str, analyzers: Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let Some(map) = fields.as_object_mut() else { return };
    let entry = map.entry(first).or_insert_with(|| json!({}));
    match rest {
        None => entry["analyzers"] = analyzers,
        Some(rest) => {
            if entry.get("fields").is_none() {
                entry["fields"] = json!({});
            }
            place(&mut entry["fields"], rest, analyzers);
        }
    }
}

/// The graph's one kind of edge.
#[must_use]
pub fn edge_definition() -> Value {
    json!({"collection": LOG_CAUSALITY, "from": [LOG_EVENTS], "to": [AGENT_LEARNINGS, LOG_EVENTS]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_objects_nest_in_the_links() {
        let fields = &links()[LOG_EVENTS]["fields"];
        assert_eq!(fields["message"]["analyzers"], json!([ANALYZER]));
        assert_eq!(fields["script_name"]["analyzers"], json!([ANALYZER, "identity"]));
        assert_eq!(
            fields["exception"]["fields"]["type"]["analyzers"],
            json!([ANALYZER, "identity"])
        );
        assert_eq!(
            fields["exception"]["fields"]["chain"]["fields"]["value"]["analyzers"],
            json!([ANALYZER])
        );
        assert_eq!(fields["level"]["analyzers"], json!(["identity"]));
    }
}
