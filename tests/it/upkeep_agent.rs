//! What a running agent does beside shipping: it deletes what is old, and says what a person should know.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::examples::Place;
use crate::harness::eventually;

/// Lines of a run that is over.
fn write_run(place: &Place, script: &str, events: usize) {
    let mut text = String::new();
    for i in 0..events {
        let mut line = json!({"level": "INFO", "message": format!("{script} {i}"), "script": script, "run_id": script});
        if i + 1 == events {
            line["event"] = "run_end".into();
            line["status"] = "success".into();
        }
        text.push_str(&format!("{line}\n"));
    }
    fs::write(place.path(&format!("logs/{script}.jsonl")), text).unwrap();
}

#[test]
fn a_running_agent_deletes_what_was_stored_before_the_days_of_retention_and_nothing_else() {
    let place = Place::new();
    write_run(&place, "long_ago", 50);
    write_run(&place, "yesterday", 5);
    place.once();
    let db = Connection::open(place.path(".logagent/logs.db")).unwrap();
    let old = "UPDATE log_events SET ingested_at = '2020-01-01T00:00:00.000000Z' WHERE script_name = 'long_ago'";
    assert_eq!(db.execute(old, []).unwrap(), 50);
    drop(db);
    let agent = place.start_with(&[("LOGAGENT_RETENTION_DAYS", "2"), ("LOGAGENT_RETENTION_INTERVAL", "1s")]);
    eventually("the old events are gone", || {
        (place.value("select count(*) n from log_events where script_name = 'long_ago'") == "0").then_some(())
    });
    eventually("it is said", || {
        place.agent_log().contains("more than 2 days ago").then_some(())
    });
    assert_eq!(place.value("select count(*) n from log_events"), "5");
    let runs = place.rows("select execution_id e from script_runs");
    assert_eq!(runs, [json!({"e": "yesterday"})], "a run goes with its last event");
    agent.stop();
}

#[test]
fn an_alert_is_said_once_shown_in_the_status_and_told_to_the_command() {
    let place = Place::new();
    fs::create_dir(place.path(".logagent")).unwrap();
    fs::write(place.path(".logagent/logs.db"), "this is no database. ".repeat(100)).unwrap();
    write_run(&place, "waits", 3);
    let agent = place.start_with(&[
        ("LOGAGENT_MONITORING_ON_ALERT", "cat >> told.jsonl"),
        ("LOGAGENT_RETRY_MAX", "500ms"),
        ("LOGAGENT_SHUTDOWN_DEADLINE", "0s"),
    ]);
    let told = eventually("the command is told", || {
        let told = fs::read_to_string(place.path("told.jsonl")).ok()?;
        serde_json::from_str::<Value>(told.lines().next()?).ok()
    });
    assert_eq!(told["name"], "store_refuses");
    assert_eq!(told["state"], "raised");
    assert_eq!(told["severity"], "critical");
    assert!(
        told["message"].as_str().unwrap().contains("not a SQLite database"),
        "{told}"
    );
    eventually("the status shows it", || {
        let status = fs::read(place.path(".logagent/status.json")).ok()?;
        let status: Value = serde_json::from_slice(&status).ok()?;
        let alerts = status["alerts"].as_array()?;
        alerts
            .iter()
            .any(|a| a.to_string().contains("the store refuses"))
            .then_some(())
    });
    let log = place.agent_log();
    let begins = log
        .lines()
        .filter(|l| l.contains("the store refuses, records wait"))
        .count();
    assert_eq!(begins, 1, "{log}");
    agent.stop();
}
