//! The promises themselves, each for any store.

use std::sync::Arc;

use logagent::record::{Micros, format_time};
use logagent::store::{
    AGENT_LEARNINGS, AGENT_MEMORIES, Batch, Fix, LOG_CAUSALITY, LOG_EVENTS, Relation, RunEnd, RunUpdate, SCRIPT_RUNS,
    SchemaAction, Sink, Status,
};
use serde_json::{Value, json};

use super::{Backend, stored, write};

const T: Micros = 1_795_227_624_054_432;

/// An event of `script`, `seconds` behind [`T`], with more fields over it.
fn event(key: &str, seconds: i64, level: (&str, i64), message: &str, more: Value) -> Value {
    let mut doc = json!({
        "_key": key,
        "timestamp": format_time(T + seconds * 1_000_000),
        "level": level.0,
        "level_no": level.1,
        "message": message,
        "execution_id": "run_1",
        "script_name": "app",
        "seq": T + seconds * 1_000_000,
        "ingested_at": format_time(T + 3_600_000_000),
    });
    for (name, value) in more.as_object().expect("an object") {
        doc[name] = value.clone();
    }
    doc
}

fn error(key: &str, seconds: i64, message: &str, more: Value) -> Value {
    event(key, seconds, ("ERROR", 40), message, more)
}

fn info(key: &str, seconds: i64, message: &str) -> Value {
    event(key, seconds, ("INFO", 20), message, json!({}))
}

/// A document as it travels: `_key` first.
fn bytes(doc: &Value) -> Vec<u8> {
    let mut rest = doc.as_object().expect("an object").clone();
    let key = rest.remove("_key").unwrap_or_default();
    let rest = serde_json::to_string(&rest).expect("JSON");
    format!("{{\"_key\":{key},{}", &rest[1..]).into_bytes()
}

fn events(docs: &[Value]) -> Batch {
    let mut batch = Batch::default();
    docs.iter().for_each(|d| batch.events.push(&bytes(d)));
    batch
}

fn fix(key: &str, seconds: i64, target: Option<&str>) -> Fix {
    Fix {
        key: key.to_owned(),
        time: T + seconds * 1_000_000,
        execution_id: "run_9".to_owned(),
        script_name: Some("app".to_owned()),
        target: target.map(str::to_owned),
        description: format!("done by {key}"),
        rationale: None,
    }
}

/// The event of a fix and the fix.
fn fixing(key: &str, seconds: i64, target: Option<&str>) -> Batch {
    let doc = event(
        key,
        seconds,
        ("SUCCESS", 25),
        "fixed it",
        json!({"event": "fix", "execution_id": "run_9"}),
    );
    let mut batch = events(&[doc]);
    batch.fixes.push(fix(key, seconds, target));
    batch
}

/// Keys of the errors that edges tie to this fix.
fn fixed_by(b: &impl Backend, fix: &str) -> Vec<String> {
    let edges = b.snapshot().remove(LOG_CAUSALITY).unwrap_or_default();
    edges
        .values()
        .filter(|e| e["_to"] == format!("{LOG_EVENTS}/{fix}") && e["type"] == "FIXED_BY")
        .filter_map(|e| e["_from"].as_str()?.strip_prefix("log_events/").map(str::to_owned))
        .collect()
}

pub async fn what_is_written_is_stored_field_by_field(b: &impl Backend) {
    let full = event(
        "k1",
        0,
        ("ERROR", 40),
        "line one\nline \"two\" \u{1F600} ü \u{0}end",
        json!({
            "function_name": "go", "file_path": "/srv/a.py", "line_number": 8, "module": "a", "logger": "__main__",
            "pid": 4242, "process_name": "MainProcess", "thread_id": 140_493_260_737_408_i64, "thread_name": "T",
            "host": "box", "fingerprint": "f0f0", "event": "fix", "tags": ["a", "b\"c"], "embeddings": [0.5, 1, -2e-3],
            "exception": {"type": "KeyError", "value": "'k'", "traceback": "Traceback\n  x",
                "chain": [{"type": "OSError", "value": "gone"}, {"type": "KeyError", "value": "'k'"}]},
            "extra_data": {"user": 7, "deep": {"list": [1, null, {"x": "}]"}]}, "response": {"ok": true}, "big": "123456789012345678901234567890"},
            "source": {"kind": "file", "path": "/srv/logs/a.jsonl", "stream": "s1", "offset": 0},
            "unparsed": true, "repaired": true, "truncated": ["message"], "redacted": ["jwt"],
        }),
    );
    let bare =
        json!({"_key": "k2", "timestamp": format_time(T), "level": "INFO", "message": "", "execution_id": "unknown"});
    let report = write(b, events(&[full.clone(), bare.clone()])).await;
    assert_eq!((report.stored, report.known, report.rejected), (2, 0, vec![]));
    assert_eq!(stored(b, LOG_EVENTS, "k1"), full);
    assert_eq!(stored(b, LOG_EVENTS, "k2"), bare);
}

pub async fn writing_again_changes_nothing(b: &impl Backend) {
    let mut batch = events(&[info("k1", 0, "one"), error("k2", 1, "two", json!({}))]);
    batch.runs.push(seen("run_1", 1));
    batch.relations.push(relation());
    batch.fixes.push(fix("k1", 5, Some("k2")));
    let batch = Arc::new(batch);
    let first = b.sink().write(&batch).await.expect("written");
    let before = b.snapshot();
    for _ in 0..2 {
        let again = b.sink().write(&batch).await.expect("written again");
        assert_eq!((again.stored, again.fixes_unmatched), (first.stored, 0));
        assert_eq!(b.snapshot(), before);
    }
    // A known key keeps what it stands for.
    write(b, events(&[info("k1", 9, "changed"), info("k3", 9, "three")])).await;
    assert_eq!(stored(b, LOG_EVENTS, "k1")["message"], "one");
    assert_eq!(stored(b, LOG_EVENTS, "k3")["message"], "three");
}

pub async fn concurrent_copies_of_a_batch_are_stored_once(b: &impl Backend) {
    let docs: Vec<Value> = (0..200).map(|i| info(&format!("k{i:03}"), i, "some words")).collect();
    let batch = Arc::new(events(&docs));
    let sink = b.sink();
    let (one, two, three) = tokio::join!(sink.write(&batch), sink.write(&batch), sink.write(&batch));
    for report in [one, two, three] {
        assert_eq!(report.expect("written").stored, 200);
    }
    assert_eq!(b.snapshot()[LOG_EVENTS].len(), 200);
}

pub async fn a_faulty_record_is_rejected_and_does_not_hold_up_the_others(b: &impl Backend) {
    let mut bad = info("k2", 0, "no time");
    bad.as_object_mut().expect("an object").remove("timestamp");
    let report = write(b, events(&[info("k1", 0, "good"), bad.clone(), info("k3", 0, "good")])).await;
    assert_eq!(report.stored, 2);
    let [rejected] = report.rejected.as_slice() else {
        panic!("one rejected record, not {:?}", report.rejected);
    };
    assert_eq!(
        (rejected.collection.as_str(), rejected.key.as_str()),
        (LOG_EVENTS, "k2")
    );
    assert!(!rejected.reason.is_empty());
    assert_eq!(
        serde_json::from_str::<Value>(&rejected.record).expect("the whole record"),
        bad
    );
    assert_eq!(b.snapshot()[LOG_EVENTS].keys().collect::<Vec<_>>(), ["k1", "k3"]);
}

pub async fn an_empty_batch_is_taken(b: &impl Backend) {
    let report = write(b, Batch::default()).await;
    assert_eq!((report.stored, report.rejected.len()), (0, 0));
}

fn seen(execution: &str, seconds: i64) -> RunUpdate {
    RunUpdate {
        execution_id: execution.to_owned(),
        script_name: "app".to_owned(),
        start_time: T,
        last_seen: T + seconds * 1_000_000,
        pid: Some(7),
        host: Some("box".to_owned()),
        ..RunUpdate::default()
    }
}

fn ended(execution: &str, seconds: i64, status: Status, declared: bool) -> RunUpdate {
    RunUpdate {
        end: Some(RunEnd {
            status,
            time: T + seconds * 1_000_000,
            declared,
            error: (status == Status::Failed).then(|| "boom".to_owned()),
        }),
        ..seen(execution, seconds)
    }
}

/// A declared start, seen, concluded as crashed, seen again, declared as failed.
fn story(execution: &str) -> Vec<RunUpdate> {
    let start = RunUpdate {
        start_declared: true,
        start_time: T - 2_000_000,
        metadata: Some(r#"{"env":"staging"}"#.to_owned()),
        parent_execution_id: Some("parent".to_owned()),
        ..seen(execution, 0)
    };
    vec![
        start,
        seen(execution, 5),
        ended(execution, 6, Status::Crashed, false),
        seen(execution, 9),
        ended(execution, 8, Status::Failed, true),
    ]
}

pub async fn updates_of_a_run_come_in_any_order_and_more_than_once(b: &impl Backend) {
    let orders: [[usize; 5]; 4] = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1], [3, 0, 4, 1, 2]];
    for (n, order) in orders.iter().enumerate() {
        let execution = format!("run_{n}");
        let updates = story(&execution);
        // One batch each, then all in one batch again.
        for i in order {
            let mut batch = Batch::default();
            batch.runs.push(updates[*i].clone());
            write(b, batch).await;
        }
        let all = Batch {
            runs: updates.into(),
            ..Batch::default()
        };
        write(b, all).await;
        assert_eq!(
            stored(b, SCRIPT_RUNS, &execution),
            json!({
                "_key": execution, "execution_id": execution, "script_name": "app",
                "start_time": format_time(T - 2_000_000), "end_time": format_time(T + 8_000_000),
                "last_seen": format_time(T + 9_000_000), "status": "failed", "duration_seconds": 10.0,
                "metadata": {"env": "staging"}, "error": "boom", "pid": 7, "host": "box",
                "parent_execution_id": "parent", "start_declared": true, "end_declared": true,
            })
        );
    }
}

pub async fn a_run_is_running_until_its_end_is_known(b: &impl Backend) {
    let status = |b| stored(b, SCRIPT_RUNS, "run_1")["status"].as_str().map(str::to_owned);
    for (update, expected) in [
        (seen("run_1", 1), "running"),
        (ended("run_1", 1, Status::Lost, false), "lost"),
        (seen("run_1", 3), "running"),
        (ended("run_1", 1, Status::Lost, false), "running"),
        (ended("run_1", 3, Status::Ended, false), "ended"),
    ] {
        let mut batch = Batch::default();
        batch.runs.push(update);
        write(b, batch).await;
        assert_eq!(status(b).as_deref(), Some(expected));
    }
    write(b, {
        let mut batch = Batch::default();
        batch.runs.push(seen("run_1", 8));
        batch
    })
    .await;
    let run = stored(b, SCRIPT_RUNS, "run_1");
    assert_eq!(
        run["end_time"],
        format_time(T + 8_000_000),
        "not before the last record"
    );
    assert_eq!(run["duration_seconds"], 8.0);
}

pub async fn learnings_and_their_memories_are_stored_once(b: &impl Backend) {
    let learning = json!({
        "_key": "l1", "timestamp": format_time(T), "execution_id": "run_1", "learning": "retries need jitter",
        "context": {"n": 3}, "function_name": "go", "confidence": 0.9, "script_name": "app", "tags": ["net"],
    });
    let memory = json!({
        "_key": "l1", "content": "retries need jitter", "type": "learning", "timestamp": format_time(T),
        "metadata": {"execution_id": "run_1", "confidence": 0.9}, "access_count": 0, "created_at": format_time(T),
        "valid_at": format_time(T),
    });
    for _ in 0..2 {
        let mut batch = Batch::default();
        batch.learnings.push(&bytes(&learning));
        batch.memories.push(&bytes(&memory));
        assert_eq!(write(b, batch).await.rejected, vec![]);
    }
    assert_eq!(b.snapshot()[AGENT_LEARNINGS].len(), 1);
    assert_eq!(stored(b, AGENT_LEARNINGS, "l1"), learning);
    assert_eq!(stored(b, AGENT_MEMORIES, "l1"), memory);
}

fn relation() -> Relation {
    Relation {
        from: "k1".to_owned(),
        to: "k2".to_owned(),
        to_collection: LOG_EVENTS.to_owned(),
        kind: "CAUSED_BY".to_owned(),
        weight: 0.75,
        confidence: 0.75,
        rationale: "short".to_owned(),
        method: "relation".to_owned(),
        time: T,
        execution_id: "run_1".to_owned(),
    }
}

pub async fn relations_become_edges_with_every_name_that_readers_look_for(b: &impl Backend) {
    let mut batch = events(&[info("k1", 0, "one"), info("k2", 1, "two")]);
    batch.relations.push(relation());
    batch.relations.push(Relation {
        confidence: 0.1,
        ..relation()
    });
    write(b, batch).await;
    let edges = b.snapshot().remove(LOG_CAUSALITY).expect("edges");
    assert_eq!(edges.len(), 1, "one edge for one kind and one pair of ends");
    let edge = edges.values().next().expect("an edge");
    assert_eq!(
        (&edge["_from"], &edge["_to"]),
        (&json!("log_events/k1"), &json!("log_events/k2"))
    );
    for name in ["type", "relationship_type", "relationship"] {
        assert_eq!(edge[name], "CAUSED_BY");
    }
    assert_eq!((&edge["weight"], &edge["confidence"]), (&json!(0.75), &json!(0.75)));
    assert!(edge["rationale"].as_str().is_some_and(|r| r.chars().count() >= 50));
    for name in ["timestamp", "created_at", "valid_at"] {
        assert_eq!(edge[name], format_time(T));
    }
    assert_eq!(edge["metadata"]["execution_id"], "run_1");
}

/// Errors of several kinds, and something that is none.
fn errors() -> Batch {
    let chain = json!({"type": "RuntimeError", "value": "wrapped", "traceback": "…", "chain": [
        {"type": "ConnectionResetError", "value": "peer went away"}, {"type": "RuntimeError", "value": "wrapped"}]});
    events(&[
        error(
            "e1",
            0,
            "the disk is full",
            json!({"fingerprint": "aaaa", "execution_id": "run_a"}),
        ),
        error(
            "e2",
            1,
            "the disk is full",
            json!({"fingerprint": "aaaa", "execution_id": "run_a"}),
        ),
        error(
            "e3",
            2,
            "request failed",
            json!({"fingerprint": "bbbb", "execution_id": "run_b", "exception": chain}),
        ),
        error(
            "e4",
            3,
            "cannot parse the page",
            json!({"fingerprint": "cccc", "execution_id": "run_c"}),
        ),
        error(
            "e5",
            4,
            "elsewhere",
            json!({"fingerprint": "dddd", "execution_id": "run_d", "script_name": "other"}),
        ),
        event(
            "w1",
            5,
            ("WARNING", 30),
            "the disk is full",
            json!({"execution_id": "run_a"}),
        ),
    ])
}

pub async fn a_fix_finds_its_error_by_key_fingerprint_execution_type_and_text(b: &impl Backend) {
    write(b, errors()).await;
    for (fix, target, error) in [
        ("f1", "e1", "e1"),
        ("f2", "aaaa", "e2"),
        ("f3", "run_a", "e2"),
        ("f4", "ConnectionResetError", "e3"),
        ("f5", "parse the PAGE", "e4"),
        ("f6", "disk is full", "e2"),
        ("f7", "run_d", "e5"),
    ] {
        let report = write(b, fixing(fix, 100, Some(target))).await;
        assert_eq!(report.fixes_unmatched, 0, "{target}");
        assert_eq!(fixed_by(b, fix), [error], "{target}");
    }
}

pub async fn a_fix_without_a_target_is_for_the_newest_open_error_of_its_script(b: &impl Backend) {
    write(b, errors()).await;
    // Each fix finds the newest that those before it left open; e1 goes with e2, as they are one error.
    for (fix, error) in [("f1", "e4"), ("f2", "e3"), ("f3", "e2")] {
        write(b, fixing(fix, 100, None)).await;
        assert_eq!(fixed_by(b, fix), [error]);
    }
    assert_eq!(write(b, fixing("f4", 100, None)).await.fixes_unmatched, 1);
}

/// A run that failed, said so at its end, and the same of a run whose end is the only error.
fn ends() -> Batch {
    let end = |key, seconds, run| {
        let more = json!({"fingerprint": format!("end of {run}"), "execution_id": run, "event": "run_end"});
        error(key, seconds, "stopped", more)
    };
    let failed = json!({"type": "KeyError", "value": "id", "traceback": "…"});
    let mut said = json!({"fingerprint": "ffff", "execution_id": "run_s", "event": "run_end"});
    said["exception"] = failed.clone();
    events(&[
        error(
            "x1",
            0,
            "no id",
            json!({"fingerprint": "ffff", "execution_id": "run_x", "exception": failed}),
        ),
        end("x2", 1, "run_x"),
        end("x3", 1, "run_x"),
        error("s1", 2, "slow", json!({"fingerprint": "abab", "execution_id": "run_s"})),
        error("s2", 3, "no id", said),
        end("o1", 4, "run_o"),
    ])
}

pub async fn an_execution_stands_for_what_failed_and_not_for_its_end(b: &impl Backend) {
    write(b, ends()).await;
    for (fix, target, error) in [
        ("f1", "run_x", "x1"),
        ("f2", "run_s", "s2"),
        ("f3", "run_o", "o1"),
        ("f4", "x2", "x2"),
    ] {
        assert_eq!(
            write(b, fixing(fix, 100, Some(target))).await.fixes_unmatched,
            0,
            "{target}"
        );
        assert_eq!(fixed_by(b, fix), [error], "{target}");
    }
}

pub async fn a_fix_without_a_target_passes_over_ends_that_repeat_a_failure(b: &impl Backend) {
    write(b, ends()).await;
    // "ffff" is one error, in two runs.
    for (fix, error) in [("f1", "o1"), ("f2", "s2"), ("f3", "s1")] {
        write(b, fixing(fix, 100, None)).await;
        assert_eq!(fixed_by(b, fix), [error]);
    }
    assert_eq!(write(b, fixing("f4", 100, None)).await.fixes_unmatched, 1);
}

pub async fn a_fix_resolves_the_earlier_events_of_its_error_but_no_others(b: &impl Backend) {
    write(b, errors()).await;
    let later = error("e9", 200, "the disk is full", json!({"fingerprint": "aaaa"}));
    let foreign = error(
        "e8",
        0,
        "the disk is full",
        json!({"fingerprint": "aaaa", "script_name": "other"}),
    );
    write(b, events(&[later, foreign])).await;
    write(b, fixing("f1", 100, Some("e2"))).await;
    for key in ["e1", "e2"] {
        let event = stored(b, LOG_EVENTS, key);
        assert_eq!(event["resolved"], true, "{key}");
        assert_eq!(event["resolved_at"], format_time(T + 100_000_000));
        assert_eq!(event["fix_description"], "done by f1");
    }
    for key in ["e3", "e8", "e9", "w1"] {
        assert_eq!(stored(b, LOG_EVENTS, key).get("resolved"), None, "{key}");
    }
    let edges = b.snapshot().remove(LOG_CAUSALITY).expect("edges");
    let edge = edges.values().next().expect("an edge");
    assert_eq!((&edge["weight"], &edge["method"]), (&json!(0.9), &json!("fix")));
    assert_eq!(
        edge["metadata"],
        json!({"execution_id": "run_9", "fingerprint": "aaaa", "script_name": "app", "fix_description": "done by f1"})
    );
    assert!(edge["rationale"].as_str().is_some_and(|r| r.chars().count() >= 50));
}

pub async fn a_fix_that_matches_nothing_is_marked_and_counted(b: &impl Backend) {
    write(b, errors()).await;
    for (n, target) in ["nothing like it", "…", "no_such_key", "\"", "e1 OR e2"]
        .into_iter()
        .enumerate()
    {
        let key = format!("f{n}");
        let report = write(b, fixing(&key, 100, Some(target))).await;
        assert_eq!(report.fixes_unmatched, 1, "{target}");
        assert_eq!(stored(b, LOG_EVENTS, &key)["fix_unmatched"], true);
        assert_eq!(fixed_by(b, &key), Vec::<String>::new());
    }
}

pub async fn a_repeated_fix_does_not_fix_another_error(b: &impl Backend) {
    write(b, errors()).await;
    let batch = Arc::new(fixing("f1", 100, None));
    for _ in 0..3 {
        let report = b.sink().write(&batch).await.expect("written");
        assert_eq!(report.fixes_unmatched, 0);
        assert_eq!(fixed_by(b, "f1"), ["e4"]);
    }
}

pub async fn the_schema_is_created_once_and_a_dry_run_creates_nothing(b: &impl Backend) {
    let all = |objects: &[logagent::store::SchemaObject], action, dry| {
        !objects.is_empty() && objects.iter().all(|o| o.action == action && o.dry == dry)
    };
    let sink = b.sink();
    for _ in 0..2 {
        let would = sink.ensure_schema(true).await.expect("said");
        assert!(all(&would, SchemaAction::Created, true), "{would:?}");
    }
    let done = sink.ensure_schema(false).await.expect("created");
    assert!(all(&done, SchemaAction::Created, false), "{done:?}");
    let names: Vec<&str> = done.iter().map(|o| o.name.as_str()).collect();
    for collection in logagent::store::COLLECTIONS {
        assert!(names.contains(&collection), "{names:?}");
    }
    let again = sink.ensure_schema(false).await.expect("unchanged");
    assert!(all(&again, SchemaAction::Unchanged, false), "{again:?}");
}

pub async fn a_barrier_and_a_probe_answer_on_a_working_store(b: &impl Backend) {
    b.sink().probe().await.expect("there");
    write(b, events(&[info("k1", 0, "one")])).await;
    b.sink().durable_barrier().await.expect("durable");
}
