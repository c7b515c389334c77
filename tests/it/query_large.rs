//! Questions to more records than can be looked at one by one, and to runs within runs.

use std::fs;

use serde_json::{Value, json};

use crate::examples::Place;
use crate::harness::say;

/// The answer of a verb as one object.
fn answer(place: &Place, args: &[&str]) -> Value {
    let done = say(&place.path(""), &[args, &["-o", "json"]].concat());
    serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{args:?}: {e}: {}{}", done.out, done.err))
}

#[test]
fn conditions_beside_a_frequent_word_hold_exactly() {
    let place = Place::new();
    let mut text = String::new();
    for n in 0..9_000 {
        let level = if n % 100 == 0 { "ERROR" } else { "INFO" };
        let script = ["etl", "report", "sync"][n % 3];
        let line = json!({"time": format!("2026-11-10T10:{:02}:{:02}.{:06}Z", n / 600, n / 10 % 60, n % 10),
            "level": level, "message": format!("checkpoint {n}"), "run_id": format!("{script}_{}", n / 3000),
            "script": script, "part": n % 7});
        text.push_str(&format!("{line}\n"));
    }
    fs::write(place.path("logs/all.jsonl"), text).unwrap();
    place.once();
    // Each is asked of the full text and, as a ruler, of the table.
    for (args, condition) in [
        (&["-s", "etl"][..], "script_name = 'etl'"),
        (&["-e", "report_1"], "execution_id = 'report_1'"),
        (&["-l", "error"], "level_no >= 40"),
        (
            &["-l", "error", "-s", "sync"],
            "level_no >= 40 and script_name = 'sync'",
        ),
        (&["-l", "warning"], "level_no >= 30"),
        (&["-l", "critical"], "level_no >= 50"),
        (
            &["-e", "etl_2", "-l", "error"],
            "execution_id = 'etl_2' and level_no >= 40",
        ),
        (&["-e", "etl_2", "-s", "report"], "0"),
        (
            &["-S", "2026-11-10T10:05:00Z", "-U", "2026-11-10T10:06:00Z"],
            "timestamp between '2026-11-10T10:05:00.000000Z' and '2026-11-10T10:06:00.000000Z'",
        ),
        (
            &["-S", "2026-11-10T10:05:00Z", "extra_data.part=3"],
            "timestamp >= '2026-11-10T10:05:00.000000Z' and json_extract(extra_data, '$.part') = 3",
        ),
        (&["-s", "etl", "-g", "9$"], "script_name = 'etl' and message like '%9'"),
        (&["-s", "nobody"], "0"),
    ] {
        let sql = format!("select count(*) n from log_events where {condition}");
        let expected = place.value(&sql).parse::<u64>().unwrap();
        for order in ["score", "time"] {
            let all = [&["search", "checkpoint", "--sort", order, "-n", "10000"], args].concat();
            let found = answer(&place, &all);
            assert_eq!(found["total"], expected, "{args:?} by {order}");
            assert_eq!(
                found["items"].as_array().map(Vec::len),
                Some(expected as usize),
                "{args:?}"
            );
        }
    }
    assert_eq!(answer(&place, &["search", "checkpoint"])["total"], 9_000);
    let counts = answer(
        &place,
        &["stats", "--by", "script,level", "-S", "2026-11-01", "-n", "100"],
    );
    let sum: u64 = counts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["count"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 9_000);
}

/// A run of a script that calls another.
const NESTED: &str = r#"{"time":"2026-11-10T10:00:00Z","message":"start","run_id":"outer_1","script":"outer","event":"run_start"}
{"time":"2026-11-10T10:00:01Z","message":"start","run_id":"inner_1","script":"inner","event":"run_start","parent_execution_id":"outer_1"}
{"time":"2026-11-10T10:00:02Z","level":"ERROR","message":"no route","run_id":"inner_1","script":"inner"}
{"time":"2026-11-10T10:00:03Z","message":"retry after a pause helps","run_id":"inner_1","script":"inner","event":"learning"}
{"time":"2026-11-10T10:00:04Z","message":"over","run_id":"inner_1","script":"inner","event":"run_end","status":"success"}
{"time":"2026-11-10T10:00:05Z","message":"over","run_id":"outer_1","script":"outer","event":"run_end","status":"success"}
"#;

#[test]
fn last_is_the_newest_run_that_no_other_encloses() {
    let place = Place::new();
    fs::write(place.path("logs/nested.jsonl"), NESTED).unwrap();
    place.once();
    let runs = place.items(&["runs", "-S", "2026-11-01"]);
    assert_eq!(
        (&runs[0]["execution_id"], &runs[0]["parent_execution_id"]),
        (&json!("inner_1"), &json!("outer_1"))
    );
    assert_eq!(answer(&place, &["summary", "last"])["execution_id"], "outer_1");
    assert_eq!(answer(&place, &["graph", "last"])["execution_id"], "outer_1");
}

#[test]
fn a_learning_that_was_logged_is_one_node_and_hangs_on_the_event_before_it() {
    let place = Place::new();
    fs::write(place.path("logs/nested.jsonl"), NESTED).unwrap();
    place.once();
    let graph = answer(&place, &["graph", "inner_1"]);
    let nodes = graph["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4, "{graph}");
    let learnt: Vec<&Value> = nodes.iter().filter(|n| n["kind"] == "learning").collect();
    assert_eq!(learnt.len(), 1);
    let edges = graph["edges"].as_array().unwrap();
    assert!(edges.iter().all(|e| e["from"] != e["to"]), "{edges:?}");
    let learnings: Vec<&Value> = edges.iter().filter(|e| e["type"] == "LEARNED_FROM").collect();
    assert_eq!(learnings.len(), 1, "{edges:?}");
    assert_eq!(learnings[0]["to"], learnt[0]["id"]);
    let error = nodes.iter().find(|n| n["level"] == "ERROR").unwrap();
    assert_eq!(learnings[0]["from"], error["id"]);
    assert!(
        edges.iter().all(|e| e["type"] != "RETRY_OF"),
        "what was learnt about retries is none: {edges:?}"
    );
    say(&place.path(""), &["graph", "inner_1", "--save"]);
    let stored = place.rows("select _to from log_causality where type = 'FOLLOWED_BY'");
    assert!(
        stored
            .iter()
            .all(|e| e["_to"].as_str().is_some_and(|t| t.starts_with("log_events/"))),
        "{stored:?}"
    );
}

/// A script that logs its exception and then ends as failed, and one that only ends so.
const FAILING: &str = r#"{"time":"2026-11-10T10:00:00Z","level":"ERROR","message":"no row 7","run_id":"load_1","script":"load","exception":"KeyError: 7"}
{"time":"2026-11-10T10:00:01Z","level":"ERROR","message":"stopped","run_id":"load_1","script":"load","event":"run_end","status":"failed"}
{"time":"2026-11-10T10:00:02Z","level":"ERROR","message":"stopped","run_id":"load_2","script":"load","event":"run_end","status":"failed"}
"#;

#[test]
fn a_fix_of_a_run_is_for_what_failed_and_not_for_the_end_that_repeats_it() {
    let place = Place::new();
    fs::write(place.path("logs/load.jsonl"), FAILING).unwrap();
    place.once();
    let fixed = |run: &str| answer(&place, &["fix", run, "create the row first"])["fixed"].clone();
    let key = |said: &Value| {
        let found =
            place.rows(&format!("select message from log_events where _key = {}", said["_key"]).replace('"', "'"));
        found[0]["message"].clone()
    };
    assert_eq!(key(&fixed("load_1")), "no row 7");
    assert_eq!(key(&fixed("load_2")), "stopped", "where nothing else failed");
}
