//! `learn` and `fix` beside a running agent, and the stress test through it: what people and agents add goes the way of
//! every record.

use std::fs;

use serde_json::{Value, json};

use crate::examples::Place;
use crate::harness::{Said, eventually, logagent, say};
use crate::standin::Standin;

const RUN: &str = r#"{"time":"2026-11-10T10:00:00Z","message":"start","run_id":"etl_1","script":"etl","event":"run_start"}
{"time":"2026-11-10T10:00:01Z","level":"ERROR","message":"the database timed out after 30 s","run_id":"etl_1","script":"etl"}
{"time":"2026-11-10T10:00:02Z","message":"over","run_id":"etl_1","script":"etl","event":"run_end","status":"failed"}
"#;

fn json_of(place: &Place, args: &[&str]) -> Value {
    let done = say(place.path("").as_path(), &[args, &["-o", "json"]].concat());
    assert_eq!(done.code, 0, "{args:?}: {}{}", done.out, done.err);
    serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", done.out))
}

/// A place with a failed run in its store, and the key of its error.
fn failed_run() -> (Place, String) {
    let place = Place::new();
    fs::write(place.path("logs/etl.jsonl"), RUN).unwrap();
    place.once();
    let key = place.value("select _key from log_events where level = 'ERROR'");
    (place, key)
}

/// What a learning and a fix leave in the store, without keys and times, whichever way they took.
fn left(place: &Place) -> Value {
    let rows = |sql: &str| Value::from(place.rows(sql));
    json!({
        "learnings": rows("select learning, execution_id, script_name, function_name, confidence, context, tags \
            from agent_learnings order by learning"),
        "memories": rows("select content, type, access_count from agent_memories order by content"),
        "events": rows("select event, message, execution_id, script_name, level from log_events \
            where event in ('learning', 'fix') order by message"),
        "edges": rows("select type, _from, weight, json_extract(metadata, '$.execution_id') e from log_causality"),
        "resolved": rows("select resolved, fix_description from log_events where level = 'ERROR'"),
        "runs": rows("select execution_id, status, end_time, last_seen from script_runs"),
    })
}

fn record_both(place: &Place, key: &str) -> (Value, Value) {
    let learnt = [
        "learn",
        "use batches of 500",
        "--function",
        "load",
        "--context",
        r#"{"table":"x"}"#,
        "--confidence",
        "0.95",
        "-e",
        "etl_1",
        "--tag",
        "sql",
    ];
    let learnt = json_of(place, &learnt);
    assert_eq!(json_of(place, &["learn", "outside of any run"])["recorded"], true);
    // The first 18 characters are what lists show.
    let fixed = json_of(
        place,
        &["fix", &key[..18], "raised the pool size", "--rationale", "it was 5"],
    );
    (learnt, fixed)
}

#[test]
fn learn_and_fix_leave_the_same_by_the_agent_and_without_one() {
    let (alone, key) = failed_run();
    let (learnt, fixed) = record_both(&alone, &key);
    assert_eq!(learnt, json!({"recorded": true, "via": "store"}));
    assert_eq!((&fixed["via"], &fixed["fixed"]["_key"]), (&json!("store"), &json!(key)));

    let (place, same_key) = failed_run();
    // The same line in another place is another record, unless it has the same head and offset.
    let agent = place.start();
    let (learnt, fixed) = record_both(&place, &same_key);
    assert_eq!(learnt, json!({"recorded": true, "via": "agent"}));
    assert_eq!(
        (&fixed["via"], &fixed["fixed"]["_key"]),
        (&json!("agent"), &json!(same_key))
    );
    eventually("the agent has stored them", || {
        (place.value("select count(*) n from log_causality") == "1"
            && place.value("select count(*) n from agent_learnings") == "2")
            .then_some(())
    });
    agent.stop();
    let (mut expected, mut found) = (left(&alone), left(&place));
    for part in [&mut expected, &mut found] {
        part["edges"][0]["_from"].take();
    }
    assert_eq!(found, expected);
    assert_eq!(found["runs"].as_array().map(Vec::len), Some(1), "no run is made of it");
    let groups = place.items(&["errors", "-S", "2026-11-01"]);
    assert_eq!(groups[0]["state"], "resolved");
    assert_eq!(groups[0]["fix_description"], "raised the pool size");
}

#[test]
fn a_store_that_is_named_is_written_to_even_where_an_agent_of_another_one_runs() {
    let place = Place::new();
    let agent = place.start();
    let other = ["learn", "for the other one", "--store", "sqlite:other.db"];
    let learnt = json_of(&place, &other);
    assert_eq!(learnt["via"], "store");
    let asked = json_of(&place, &["learnings", "--store", "sqlite:other.db"]);
    assert_eq!(asked["items"][0]["learning"], "for the other one");
    agent.stop();
    assert_eq!(place.value("select count(*) n from agent_learnings"), "0");
}

/// The verb with the stand-in as the store.
fn say_to(place: &Place, url: &str, args: &[&str]) -> Said {
    let out = logagent(place.path("").as_path())
        .args(args)
        .env("ARANGO_URL", url)
        .env("ARANGO_PASSWORD", "secret-of-root")
        .output()
        .unwrap();
    Said {
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

#[test]
fn while_the_store_is_away_the_agent_takes_learnings_and_fixes_and_delivers_them_later() {
    let standin = Standin::start();
    let place = Place::new();
    let url = standin.url();
    let alone = say_to(&place, "http://127.0.0.1:1", &["learn", "nobody takes this"]);
    assert_eq!(
        alone.code, 3,
        "without an agent and a store it is an error: {}",
        alone.err
    );
    let agent = place.start_with(&[
        ("ARANGO_URL", &url),
        ("ARANGO_PASSWORD", "secret-of-root"),
        ("LOGAGENT_RETRY_INITIAL", "50ms"),
        ("LOGAGENT_RETRY_MAX", "200ms"),
    ]);
    fs::write(place.path("logs/etl.jsonl"), RUN).unwrap();
    let events = || standin.documents("script_logs", "log_events");
    let error = eventually("the error is stored", || {
        events().into_iter().find(|e| e["level"] == "ERROR")
    });
    standin.close();
    let learnt = say_to(&place, &url, &["learn", "learnt in the dark", "-e", "etl_1"]);
    assert_eq!(learnt.code, 0, "{}", learnt.err);
    assert_eq!(learnt.out, "learnt: learnt in the dark (handed to the agent)\n");
    let key = error["_key"].as_str().unwrap();
    let cut = say_to(&place, &url, &["fix", &key[..18], "lit a candle"]);
    assert_eq!(cut.code, 3, "nobody can complete the key now: {}{}", cut.out, cut.err);
    let fixed = say_to(&place, &url, &["fix", key, "lit a candle", "-o", "json"]);
    assert_eq!(fixed.code, 0, "{}", fixed.err);
    let fixed: Value = serde_json::from_str(&fixed.out).unwrap();
    assert_eq!(fixed, json!({"recorded": true, "via": "agent", "fixes": key}));
    let text = say_to(&place, &url, &["fix", "etl_1", "lit two"]);
    assert!(text.out.contains("the store is away"), "{}", text.out);
    standin.open();
    let edges = eventually("the fixes are tied to their error", || {
        let edges = standin.documents("script_logs", "log_causality");
        (edges.len() == 2).then_some(edges)
    });
    for edge in edges {
        assert_eq!(edge["type"], "FIXED_BY");
        assert_eq!(edge["_from"], format!("log_events/{key}"));
    }
    let learnings = standin.documents("script_logs", "agent_learnings");
    assert_eq!(learnings.len(), 1);
    assert_eq!(
        (&learnings[0]["learning"], &learnings[0]["execution_id"]),
        (&json!("learnt in the dark"), &json!("etl_1"))
    );
    agent.stop();
}

#[test]
fn the_stress_test_goes_through_the_files_and_the_socket_of_a_running_agent() {
    let place = Place::new();
    let agent = place.start();
    let done = say(
        place.path("").as_path(),
        &["stress", "--records", "2001", "--writers", "4"],
    );
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.contains("\nlost        0\nduplicated  0\n"), "{}", done.out);
    let execution = done
        .out
        .lines()
        .find_map(|l| l.strip_prefix("execution   "))
        .and_then(|l| l.split(';').next())
        .expect("the execution is said");
    let by = format!(
        "select json_extract(source, '$.kind') k, count(*) n from log_events where execution_id = '{execution}' group by 1 order by 1"
    );
    let ways = place.rows(&by);
    assert_eq!(ways.len(), 2, "{ways:?}");
    assert_eq!(ways[0]["k"], "file");
    assert_eq!(ways[1]["k"], "socket");
    let n = |i: usize| ways[i]["n"].as_i64().unwrap_or(0);
    assert_eq!(n(0) + n(1), 2001);
    assert_eq!(
        fs::read_dir(place.path("logs")).unwrap().count(),
        0,
        "its files are removed when they are stored"
    );
    eventually("its run is over when the program is", || {
        (place.value("select status from script_runs") == "ended").then_some(())
    });
    agent.stop();
}
