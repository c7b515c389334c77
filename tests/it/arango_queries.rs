//! Every query file of the ArangoDB store has been run by the stand-in's interpreter, in a tour of all that the store
//! does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logagent::config;
use logagent::store::arango::Arango;
use logagent::store::arango::read::ArangoReader;
use logagent::store::{Batch, Fix, Sink};
use serde_json::Value;

use crate::search_contract::{Dice, answers, history, others, pruned};
use crate::standin::{Options, Standin};

const DB: &str = "script_logs";

/// The pieces between the open places of each file, without the comment at its head.
fn files() -> BTreeMap<String, Vec<String>> {
    let places = regex::Regex::new(r"/\* \w+ \*/").unwrap();
    let mut found = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/arango/queries");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let query = logagent::store::arango::cursor::text(&text);
        let pieces = places.split(query).map(str::to_owned).collect();
        found.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), pieces);
    }
    found
}

/// Whether the pieces stand in the query in this order, with anything between them.
fn made_of(query: &str, pieces: &[String]) -> bool {
    let mut rest = query;
    pieces.iter().all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// One fix of each kind: without a target, by text, for nothing.
fn fixes() -> Batch {
    let fix = |key: &str, target: Option<&str>| Fix {
        key: key.into(),
        time: 1_794_268_830_000_000,
        execution_id: "etl_1".into(),
        script_name: Some("etl".into()),
        target: target.map(str::to_owned),
        description: key.into(),
        rationale: None,
    };
    Batch {
        fixes: vec![
            fix("open", None),
            fix("text", Some("no such words anywhere")),
            fix("key", Some("sync_1")),
        ],
        ..Batch::default()
    }
}

#[test]
fn every_query_file_is_run_on_the_stand_in() {
    let standin = Standin::with(Options {
        version: "3.12.12",
        vectors: true,
        ..Options::default()
    });
    let settings = config::Arangodb {
        vector_dimensions: 3,
        ..standin.settings(DB)
    };
    let store = Arango::open(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        store.ensure_schema(false).await.unwrap();
        store.write(&Arc::new(history(&mut Dice(9)))).await.unwrap();
        store.write(&Arc::new(fixes())).await.unwrap();
        assert_eq!(store.lease("retention", "me", Duration::from_secs(60)).await, Ok(true));
    });
    standin.commit_views(DB);
    let reader = ArangoReader::new(&settings).unwrap();
    others(&reader);
    answers(&reader, 9, 12);
    logagent::store::Search::tail(&reader, &logagent::store::search::Filter::default(), None, 5).unwrap();
    pruned(&reader, &|| standin.commit_views(DB));

    let seen: Vec<String> = standin
        .seen()
        .iter()
        .filter(|s| s.line.ends_with("/_api/cursor") && (200..300).contains(&s.status))
        .filter_map(|s| {
            serde_json::from_slice::<Value>(&s.body).ok()?["query"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    let files = files();
    assert!(files.len() > 30);
    let missing: Vec<&String> = files
        .iter()
        .filter(|(_, pieces)| !seen.iter().any(|q| made_of(q, pieces)))
        .map(|(name, _)| name)
        .collect();
    assert!(missing.is_empty(), "never run: {missing:?}");
}
