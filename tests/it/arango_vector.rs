//! The optional vector index, on servers of each kind: a collection of its own, copies, and nothing in their way.

use std::process::Command;
use std::sync::Arc;

use logagent::config;
use logagent::store::arango::Arango;
use logagent::store::{Batch, SchemaAction, Sink};
use serde_json::{Value, json};

use crate::harness::logagent;
use crate::standin::{Options, Standin};

const DB: &str = "script_logs";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

fn server(version: &'static str, vectors: bool) -> Standin {
    Standin::with(Options {
        version,
        vectors,
        ..Options::default()
    })
}

fn settings(standin: &Standin) -> config::Arangodb {
    config::Arangodb {
        vector_dimensions: 3,
        ..standin.settings(DB)
    }
}

/// What `init` says of the collection and of its index.
fn init(store: &Arango, dry: bool) -> [Option<SchemaAction>; 2] {
    let report = block_on(store.ensure_schema(dry)).unwrap();
    let of = |name: &str| report.iter().find(|o| o.name == name).map(|o| o.action);
    [of("log_embeddings"), of("log_embeddings/vector")]
}

fn batch(from: usize, n: usize) -> Arc<Batch> {
    let mut b = Batch::default();
    for i in from..from + n {
        let mut doc = json!({"_key": format!("event{i:05}"), "timestamp": "2026-11-21T02:20:24.054432Z", "level": "INFO",
            "level_no": 20, "message": "m", "execution_id": "e", "ingested_at": "2026-11-21T02:20:24.054432Z"});
        match i % 4 {
            0 => doc["embeddings"] = json!([1.0, i, 0.5]),
            1 => doc["embeddings"] = json!([1.0, 2.0]),
            _ => {}
        }
        b.events.push(doc.to_string().as_bytes());
    }
    Arc::new(b)
}

fn index(standin: &Standin) -> Option<Value> {
    standin.with_world(|w| {
        let collection = w.databases.get(DB)?.collections.get("log_embeddings")?;
        collection.indexes.iter().find(|i| i["type"] == "vector").cloned()
    })
}

const CREATED: Option<SchemaAction> = Some(SchemaAction::Created);
const UNCHANGED: Option<SchemaAction> = Some(SchemaAction::Unchanged);

#[test]
fn nothing_of_it_is_there_unless_asked_for() {
    let standin = server("3.12.4", true);
    let store = Arango::open(&standin.settings(DB)).unwrap();
    assert_eq!(init(&store, false), [None, None]);
    assert_eq!(block_on(store.write(&batch(0, 40))).unwrap().stored, 40);
    assert!(standin.keys(DB, "log_embeddings").is_empty());
}

#[test]
fn a_late_server_gets_its_index_before_the_first_vector() {
    for (version, lists) in [("3.12.9", json!(100)), ("3.12.12", Value::Null)] {
        let standin = server(version, true);
        let store = Arango::open(&settings(&standin)).unwrap();
        assert_eq!(init(&store, true), [CREATED, CREATED], "{version}");
        assert_eq!(init(&store, false), [CREATED, CREATED], "{version}");
        assert_eq!(init(&store, false), [UNCHANGED, UNCHANGED], "{version}");
        assert_eq!(index(&standin).unwrap()["params"]["nLists"], lists, "{version}");
    }
}

#[test]
fn an_early_server_gets_it_once_there_are_enough_vectors() {
    let standin = server("3.12.4", true);
    let store = Arango::open(&settings(&standin)).unwrap();
    assert_eq!(init(&store, false), [CREATED, None]);
    assert_eq!(block_on(store.write(&batch(0, 4000))).unwrap().stored, 4000);
    assert_eq!(standin.keys(DB, "log_embeddings").len(), 1000);
    assert_eq!(init(&store, false), [UNCHANGED, CREATED]);
    assert_eq!(index(&standin).unwrap()["params"]["nLists"], 124);
    assert_eq!(init(&store, false), [UNCHANGED, UNCHANGED]);
    // Beside it events without a vector, and with another, are stored as ever.
    let report = block_on(store.write(&batch(4000, 40))).unwrap();
    assert_eq!((report.stored, report.rejected.len()), (40, 0));
    assert_eq!(standin.keys(DB, "log_embeddings").len(), 1010);
}

#[test]
fn copies_stand_under_the_keys_of_their_events_and_are_made_once() {
    let standin = server("3.12.12", true);
    let store = Arango::open(&settings(&standin)).unwrap();
    init(&store, false);
    for _ in 0..2 {
        block_on(store.write(&batch(0, 8))).unwrap();
    }
    assert_eq!(standin.keys(DB, "log_embeddings"), ["event00000", "event00004"]);
    let copy = &standin.documents(DB, "log_embeddings")[1];
    assert_eq!(
        (&copy["embeddings"], &copy["execution_id"]),
        (&json!([1.0, 4, 0.5]), &json!("e"))
    );
}

#[test]
fn a_server_without_the_option_keeps_the_vectors_and_says_which_option_it_wants() {
    for (version, option) in [("3.12.9", "--vector-index"), ("3.12.12", "--vector-index")] {
        let standin = server(version, false);
        let store = Arango::open(&settings(&standin)).unwrap();
        assert_eq!(init(&store, false), [CREATED, None]);
        assert_eq!(block_on(store.write(&batch(0, 8))).unwrap().stored, 8);
        assert_eq!(standin.keys(DB, "log_embeddings").len(), 2);
        let dir = tempfile::tempdir().unwrap();
        let out = program(&standin, &dir, &["init"]).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{said}");
        assert!(
            said.contains(option) && said.contains("log_embeddings/vector"),
            "{said}"
        );
    }
}

#[test]
fn other_dimensions_make_the_index_anew() {
    let standin = server("3.12.12", true);
    init(&Arango::open(&settings(&standin)).unwrap(), false);
    let other = config::Arangodb {
        vector_dimensions: 2,
        ..standin.settings(DB)
    };
    let store = Arango::open(&other).unwrap();
    assert_eq!(
        init(&store, false),
        [Some(SchemaAction::Updated), Some(SchemaAction::Updated)]
    );
    assert_eq!(index(&standin).unwrap()["params"]["dimension"], 2);
}

#[test]
fn vectors_go_with_their_events() {
    let standin = server("3.12.12", true);
    let store = Arango::open(&settings(&standin)).unwrap();
    init(&store, false);
    block_on(store.write(&batch(0, 8))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = program(&standin, &dir, &["prune", "--execution", "e"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    assert!(standin.keys(DB, "log_events").is_empty());
    assert!(standin.keys(DB, "log_embeddings").is_empty());
}

fn program(standin: &Standin, dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = logagent(dir.path());
    command
        .args(args)
        .env("ARANGO_URL", standin.url())
        .env("ARANGO_PASSWORD", "secret-of-root")
        .env("LOGAGENT_STORE_ARANGODB_VECTOR_DIMENSIONS", "3");
    command
}
