//! The stores that the suite knows, and how to look at all that they hold.

use std::collections::BTreeMap;

use logagent::record::format_time;
use logagent::store::memory::MemoryStore;
use logagent::store::runs::{self, RunRow};
use logagent::store::sqlite::SqliteStore;
use logagent::store::{self};
use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};

use super::{Backend, Snapshot};

pub struct Memory(MemoryStore);

impl Memory {
    pub fn new() -> Memory {
        Memory(MemoryStore::new())
    }
}

impl Backend for Memory {
    type Sink = MemoryStore;

    fn sink(&self) -> &MemoryStore {
        &self.0
    }

    fn snapshot(&self) -> Snapshot {
        let all = self.0.contents();
        let by_key = |docs: Vec<Value>| -> BTreeMap<String, Value> {
            docs.into_iter()
                .map(|d| (d["_key"].as_str().unwrap_or_default().to_owned(), d))
                .collect()
        };
        let tree = |v: &dyn erased::Tree| v.tree();
        Snapshot::from([
            (store::LOG_EVENTS, by_key(all.events.iter().map(|e| tree(e)).collect())),
            (
                store::AGENT_LEARNINGS,
                by_key(all.learnings.iter().map(|e| tree(e)).collect()),
            ),
            (store::AGENT_MEMORIES, all.memories.clone()),
            (store::SCRIPT_RUNS, by_key(all.runs.values().map(run).collect())),
            (
                store::LOG_CAUSALITY,
                by_key(all.edges.values().map(|e| tree(e)).collect()),
            ),
        ])
    }
}

mod erased {
    pub trait Tree {
        fn tree(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Tree for T {
        fn tree(&self) -> serde_json::Value {
            serde_json::to_value(self).expect("a tree")
        }
    }
}

/// A run as a document, fields as in the interface.
fn run(row: &RunRow) -> Value {
    let end = row.end.as_ref();
    let doc = json!({
        "_key": runs::key(&row.execution_id),
        "execution_id": row.execution_id,
        "script_name": row.script_name,
        "start_time": format_time(row.start_time),
        "last_seen": format_time(row.last_seen),
        "end_time": row.end_time().map(format_time),
        "status": row.status(),
        "duration_seconds": row.duration_seconds(),
        "metadata": row.metadata.as_ref().map(|m| serde_json::from_str::<Value>(m).expect("JSON")),
        "error": end.and_then(|e| e.error.clone()),
        "pid": row.pid,
        "host": row.host,
        "parent_execution_id": row.parent_execution_id,
        "start_declared": row.start_declared.then_some(true),
        "end_declared": end.filter(|e| e.declared).map(|_| true),
        "end_at": end.map(|e| e.time).filter(|t| Some(*t) != row.end_time()).map(format_time),
    });
    without_nulls(doc)
}

fn without_nulls(doc: Value) -> Value {
    match doc {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).collect()),
        other => other,
    }
}

pub struct Sqlite {
    dir: tempfile::TempDir,
    store: SqliteStore,
}

impl Sqlite {
    pub fn new() -> Sqlite {
        let dir = tempfile::tempdir().expect("scratch directory");
        let store = SqliteStore::open(&dir.path().join("logs.db")).expect("store");
        Sqlite { dir, store }
    }
}

/// Columns that hold JSON, flags, and what the store keeps for itself.
const JSON: [&str; 10] = [
    "exception",
    "extra_data",
    "tags",
    "embeddings",
    "source",
    "truncated",
    "redacted",
    "metadata",
    "context",
    "chain",
];
const FLAGS: [&str; 6] = [
    "unparsed",
    "repaired",
    "resolved",
    "fix_unmatched",
    "start_declared",
    "end_declared",
];
const OWN: [&str; 3] = ["id", "exception_text", "has_response"];

impl Backend for Sqlite {
    type Sink = SqliteStore;

    fn sink(&self) -> &SqliteStore {
        &self.store
    }

    fn snapshot(&self) -> Snapshot {
        let path = self.dir.path().join("logs.db");
        if !path.exists() {
            return Snapshot::new();
        }
        let db = rusqlite::Connection::open(path).expect("open");
        store::COLLECTIONS
            .iter()
            .filter_map(|name| {
                let mut select = db.prepare(&format!("SELECT * FROM {name}")).ok()?;
                let columns: Vec<String> = select.column_names().iter().map(|c| (*c).to_owned()).collect();
                let mut rows = select.query([]).expect("query");
                let mut docs = BTreeMap::new();
                while let Some(row) = rows.next().expect("row") {
                    let mut doc = Map::new();
                    for (i, column) in columns.iter().enumerate().filter(|(_, c)| !OWN.contains(&c.as_str())) {
                        let value = value(column, row.get_ref(i).expect("value"));
                        if !value.is_null() {
                            doc.insert(column.clone(), value);
                        }
                    }
                    docs.insert(doc["_key"].as_str().expect("key").to_owned(), Value::Object(doc));
                }
                Some((*name, docs))
            })
            .collect()
    }
}

fn value(column: &str, value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
        ValueRef::Integer(i) if FLAGS.contains(&column) => Value::Bool(i == 1),
        ValueRef::Integer(i) => Value::from(i),
        ValueRef::Real(f) => Value::from(f),
        ValueRef::Text(t) if JSON.contains(&column) => serde_json::from_slice(t).expect("JSON"),
        ValueRef::Text(t) => Value::from(std::str::from_utf8(t).expect("UTF-8")),
    }
}
