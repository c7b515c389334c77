//! The schema on ArangoDB: made once, compared for ever after, by anybody who may, at the same time too.

use std::collections::BTreeMap;

use logagent::store::arango::Arango;
use logagent::store::{SchemaAction, SchemaObject, Sink, WriteError};
use serde_json::{Value, json};

use crate::standin::{Fault, Options, Standin, User, What};

const DB: &str = "script_logs";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn ensure(store: &Arango, dry: bool) -> Result<Vec<SchemaObject>, WriteError> {
    runtime().block_on(store.ensure_schema(dry))
}

fn actions(objects: &[SchemaObject]) -> BTreeMap<&str, SchemaAction> {
    objects.iter().map(|o| (o.name.as_str(), o.action)).collect()
}

fn all(objects: &[SchemaObject], action: SchemaAction) -> bool {
    objects.iter().all(|o| o.action == action)
}

fn refusal(result: Result<Vec<SchemaObject>, WriteError>) -> String {
    match result {
        Err(WriteError::Refused(text)) => text,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn everything_is_created_once_and_unchanged_after_that() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    let first = ensure(&store, false).unwrap();
    assert!(all(&first, SchemaAction::Created), "{first:?}");
    for name in [
        DB,
        "log_events",
        "log_events/execution_time",
        "log_events/level_time",
        "log_events/script_time",
        "log_events/time",
        "log_events/fingerprint",
        "script_runs",
        "script_runs/execution",
        "agent_learnings",
        "agent_memories",
        "log_causality",
        "log_events_view",
        "log_relationships",
    ] {
        assert!(actions(&first).contains_key(name), "{name}");
    }
    standin.forget_seen();
    let second = ensure(&store, false).unwrap();
    assert!(all(&second, SchemaAction::Unchanged), "{second:?}");
    assert_eq!(second.len(), first.len());
    assert!(
        standin.seen().iter().all(|s| s.line.starts_with("GET ")),
        "something was written"
    );
    assert_eq!(standin.count("/_api/document/"), 0);
}

#[test]
fn a_dry_run_says_the_same_and_does_nothing() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    let dry = ensure(&store, true).unwrap();
    assert!(!standin.has_database(DB));
    assert!(dry.iter().all(|o| o.dry));
    let wet = ensure(&store, false).unwrap();
    assert_eq!(actions(&dry), actions(&wet));
}

#[test]
fn the_agent_creates_what_is_missing_and_only_says_what_differs() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    ensure(&store, false).unwrap();
    let strict = json!({"rule": {"type": "object", "required": ["_key", "host"]}, "message": "stricter"});
    standin.with_world(|w| {
        let db = w.databases.get_mut(DB).unwrap();
        db.collections
            .get_mut("log_events")
            .unwrap()
            .change(&json!({"schema": strict}))
            .unwrap();
        db.collections.remove("agent_memories").unwrap();
    });
    for round in 0..3 {
        let report = runtime().block_on(store.create_missing()).unwrap();
        let of = |name: &str| report.iter().find(|o| o.name == name).map(|o| (o.action, o.dry));
        assert_eq!(of("log_events"), Some((SchemaAction::Updated, true)), "said, not done");
        let expected = if round == 0 {
            SchemaAction::Created
        } else {
            SchemaAction::Unchanged
        };
        assert_eq!(of("agent_memories"), Some((expected, false)));
        standin.with_world(|w| {
            let events = &w.databases[DB].collections["log_events"];
            assert_eq!(events.properties["schema"]["message"], "stricter");
        });
    }
    // An operator who asks for it gets it.
    ensure(&store, false).unwrap();
    let report = runtime().block_on(store.create_missing()).unwrap();
    assert!(all(&report, SchemaAction::Unchanged), "{report:?}");
}

#[test]
fn what_differs_is_changed_and_the_rest_left_alone() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    ensure(&store, false).unwrap();
    standin.with_world(|w| {
        let db = w.databases.get_mut(DB).unwrap();
        let events = db.collections.get_mut("log_events").unwrap();
        events
            .change(&json!({"schema": {"rule": {"type": "object"}, "message": "old"}}))
            .unwrap();
        let runs = db.collections.get_mut("script_runs").unwrap();
        for index in &mut runs.indexes {
            if index["name"] == "time" {
                index["fields"] = json!(["begin"]);
            }
        }
        let mine = json!({"type": "persistent", "name": "of_the_operator", "fields": ["pid"]});
        runs.add_index(&mine).unwrap();
        db.views.get_mut("log_events_view").unwrap()["links"] = json!({"log_events": {"includeAllFields": true}});
        db.graphs.get_mut("log_relationships").unwrap()["edgeDefinitions"] = json!([]);
    });
    let report = ensure(&store, false).unwrap();
    let updated: Vec<&str> = report
        .iter()
        .filter(|o| o.action == SchemaAction::Updated)
        .map(|o| o.name.as_str())
        .collect();
    assert_eq!(updated, ["log_events", "script_runs/time", "log_events_view"]);
    assert_eq!(
        actions(&report)["log_relationships"],
        SchemaAction::Created,
        "its edges were missing"
    );
    // While the view is made anew, events go on being written.
    let sent: Vec<Value> = standin
        .seen()
        .iter()
        .filter(|s| s.line.contains("/_api/view") && !s.body.is_empty())
        .map(|s| serde_json::from_slice(&s.body).unwrap())
        .collect();
    assert_eq!(sent.len(), 2, "created, and changed");
    assert!(
        sent.iter().all(|b| b["links"]["log_events"]["inBackground"] == true),
        "{sent:?}"
    );
    standin.with_world(|w| {
        let runs = &w.databases[DB].collections["script_runs"];
        let name = |i: &Value| i["name"].as_str().unwrap_or_default().to_string();
        let names: Vec<String> = runs.indexes.iter().map(name).collect();
        assert!(names.contains(&"of_the_operator".to_string()));
    });
    assert!(all(&ensure(&store, false).unwrap(), SchemaAction::Unchanged));
}

#[test]
fn two_hosts_may_create_everything_at_the_same_moment() {
    let standin = Standin::start();
    let settings = standin.settings(DB);
    let hosts: Vec<_> = (0..4)
        .map(|_| {
            let settings = settings.clone();
            std::thread::spawn(move || ensure(&Arango::open(&settings).unwrap(), false))
        })
        .collect();
    for host in hosts {
        host.join().unwrap().unwrap();
    }
    // The other host is faster at every single step: it made the object between our look and our creation.
    let slow = Standin::start();
    let store = Arango::open(&slow.settings(DB)).unwrap();
    let exists = |on: &str, num| slow.fail(Fault::on(on, What::RefuseAfter(409, num, "duplicate name")).always());
    exists("POST /_db/_system/_api/database", 1207);
    exists("POST /_db/script_logs/_api/collection", 1207);
    exists("POST /_db/script_logs/_api/view", 1207);
    exists("POST /_db/script_logs/_api/gharial", 1925);
    slow.fail(Fault::on("POST /_db/script_logs/_api/index", What::Refuse(409, 1005, "duplicate")).skip(2));
    let report = ensure(&store, false).unwrap();
    let made = actions(&report);
    assert_eq!(made["log_events"], SchemaAction::Unchanged);
    assert_eq!(made["log_events_view"], SchemaAction::Unchanged);
    assert_eq!(made["log_relationships"], SchemaAction::Unchanged);
    assert_eq!(made["log_events/script_time"], SchemaAction::Unchanged);
}

#[test]
fn a_cluster_gets_its_shards_by_key_and_replicas_are_only_ever_added() {
    let standin = Standin::start();
    let mut settings = standin.settings(DB);
    settings.shards = 6;
    settings.replication_factor = 2;
    ensure(&Arango::open(&settings).unwrap(), false).unwrap();
    let created = |name: &str| -> Value {
        let body = |s: crate::standin::Seen| serde_json::from_slice::<Value>(&s.body).unwrap_or_default();
        let all = standin
            .seen()
            .into_iter()
            .filter(|s| s.line.ends_with("/_api/collection"))
            .map(body);
        all.into_iter().find(|b| b["name"] == name).unwrap()
    };
    let events = created("log_events");
    assert_eq!(
        (&events["numberOfShards"], &events["replicationFactor"]),
        (&json!(6), &json!(2))
    );
    assert_eq!(events["shardKeys"], json!(["_key"]));
    // Its unique index does not hold the shard key. A number that is not wanted is not sent: a database for one shard, and
    // a cluster with its own least number of copies, refuse it.
    assert_eq!(created("script_runs").get("numberOfShards"), None);
    standin.with_world(|w| {
        for c in w.databases.get_mut(DB).unwrap().collections.values_mut() {
            c.properties["replicationFactor"] = if c.name == "log_events" { json!(3) } else { json!(1) };
        }
    });
    let report = ensure(&Arango::open(&settings).unwrap(), true).unwrap();
    assert_eq!(actions(&report)["log_events"], SchemaAction::Unchanged);
    assert_eq!(actions(&report)["script_runs"], SchemaAction::Updated);
}

#[test]
fn what_stands_in_the_way_is_said_with_what_to_do_about_it() {
    let users = || {
        vec![
            User::root("root", "secret-of-root"),
            User::shipper("shipper", "secret-of-shipper", DB),
        ]
    };
    let standin = Standin::with(Options {
        users: users(),
        ..Options::default()
    });
    let mut settings = standin.settings(DB);
    settings.username = "shipper".into();
    settings.password = "secret-of-shipper".into();
    // It may not see whether the database exists, nor make it.
    let text = refusal(ensure(&Arango::open(&settings).unwrap(), false));
    assert!(text.contains("database script_logs"), "{text}");
    ensure(&Arango::open(&standin.settings(DB)).unwrap(), false).unwrap();
    assert!(all(
        &ensure(&Arango::open(&settings).unwrap(), false).unwrap(),
        SchemaAction::Unchanged
    ));
    standin.with_world(|w| w.databases.get_mut(DB).unwrap().views.clear());
    let text = refusal(ensure(&Arango::open(&settings).unwrap(), false));
    assert!(
        text.contains("log_events_view") && text.contains("logagent init"),
        "{text}"
    );
    settings.password = "wrong".into();
    let text = refusal(ensure(&Arango::open(&settings).unwrap(), false));
    assert!(text.contains("user name and password"), "{text}");

    let old = Standin::with(Options {
        version: "3.11.8",
        ..Options::default()
    });
    let text = refusal(ensure(&Arango::open(&old.settings(DB)).unwrap(), false));
    assert!(text.contains("3.11.8") && text.contains("3.12.4"), "{text}");

    old.close();
    let store = Arango::open(&old.settings(DB)).unwrap();
    assert!(matches!(ensure(&store, false), Err(WriteError::Away(text)) if text.contains(&old.url())));
}

#[test]
fn documents_in_the_place_of_edges_are_refused_and_not_touched() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    ensure(&store, false).unwrap();
    standin.with_world(|w| {
        let edges = w
            .databases
            .get_mut(DB)
            .unwrap()
            .collections
            .get_mut("log_causality")
            .unwrap();
        edges.properties["type"] = json!(2);
    });
    let text = refusal(ensure(&store, false));
    assert!(text.contains("log_causality") && text.contains("edges"), "{text}");
}

#[test]
fn what_the_settings_leave_to_the_server_is_not_asked_for() {
    let standin = Standin::start();
    ensure(&Arango::open(&standin.settings(DB)).unwrap(), false).unwrap();
    let mut made = 0;
    for seen in standin.seen().iter().filter(|s| s.line.ends_with("/_api/collection")) {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        assert!(
            body.get("numberOfShards").is_none() && body.get("replicationFactor").is_none(),
            "{body}"
        );
        made += 1;
    }
    assert!(made >= 6);
}

#[test]
fn a_name_that_something_else_has_is_told_and_nothing_is_reported_that_does_not_stand() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    ensure(&store, false).unwrap();
    standin.with_world(|w| {
        let db = w.databases.get_mut(DB).unwrap();
        db.views.remove("log_events_view");
        let collection = crate::standin::Collection::new(&json!({"name": "log_events_view"}), 7).unwrap();
        db.collections.insert("log_events_view".into(), collection);
    });
    let text = refusal(ensure(&store, false));
    assert!(
        text.contains("log_events_view") && text.contains("a collection has it"),
        "{text}"
    );
    standin.with_world(|w| {
        let db = w.databases.get_mut(DB).unwrap();
        db.collections.remove("log_events_view");
        db.collections.remove("agent_memories");
        db.views.insert("agent_memories".into(), json!({"links": {}}));
    });
    let text = refusal(ensure(&store, false));
    assert!(
        text.contains("agent_memories") && text.contains("a view has it"),
        "{text}"
    );
}

#[test]
fn an_analyzer_of_another_definition_is_left_alone_and_of_the_same_in_other_words_is_ours() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    ensure(&store, false).unwrap();
    standin.with_world(|w| {
        let analyzer = w
            .databases
            .get_mut(DB)
            .unwrap()
            .analyzers
            .get_mut("logagent_words")
            .unwrap();
        analyzer["features"] = json!(["frequency"]);
    });
    standin.forget_seen();
    assert!(all(&ensure(&store, false).unwrap(), SchemaAction::Unchanged));
    let posts: Vec<u16> = standin
        .seen()
        .iter()
        .filter(|s| s.line.starts_with("POST"))
        .map(|s| s.status)
        .collect();
    assert_eq!(posts, [400], "the server was asked whether it is the same, and said no");
    standin.forget_seen();
    assert!(all(&ensure(&store, true).unwrap(), SchemaAction::Unchanged));
    assert!(
        standin.seen().iter().all(|s| s.line.starts_with("GET ")),
        "a dry run asks for no change"
    );
    assert_eq!(standin.count("POST"), 0);
}

#[test]
fn a_unique_index_that_older_documents_stand_against_says_what_to_do() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    ensure(&store, false).unwrap();
    standin.with_world(|w| {
        let runs = w
            .databases
            .get_mut(DB)
            .unwrap()
            .collections
            .get_mut("script_runs")
            .unwrap();
        runs.indexes.retain(|i| i["name"] != "execution");
    });
    let duplicate = What::Refuse(409, 1210, "unique constraint violated");
    standin.fail(Fault::on("POST /_db/script_logs/_api/index", duplicate));
    let text = refusal(ensure(&store, false));
    assert!(
        text.contains("same execution_id") && text.contains("remove the surplus"),
        "{text}"
    );
}

#[test]
fn a_collection_that_is_sharded_by_something_else_is_refused_before_records_are() {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    ensure(&store, false).unwrap();
    let shard_by = |keys: Value| {
        standin.with_world(|w| {
            let db = w.databases.get_mut(DB).unwrap();
            db.collections.get_mut("log_events").unwrap().properties["shardKeys"] = keys;
        });
    };
    shard_by(json!(["_key"]));
    assert!(all(&ensure(&store, false).unwrap(), SchemaAction::Unchanged));
    shard_by(json!(["execution_id"]));
    let text = refusal(ensure(&store, false));
    assert!(text.contains("log_events") && text.contains("by _key alone"), "{text}");
}
