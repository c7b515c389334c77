//! The verbs that look further: history, similar, patterns, response, learnings, graph; and those that write.

use serde_json::{Value, json};

use crate::harness::{Said, say};
use crate::sample::{self, A, B, BAD_ROW, C, D, DAY, E, TIMEOUT, key};

fn ask(dir: &tempfile::TempDir, args: &[&str]) -> Said {
    say(dir.path(), args)
}

fn json_of(dir: &tempfile::TempDir, args: &[&str]) -> Value {
    let said = ask(dir, &[args, &["-o", "json"]].concat());
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}\n{}", said.out, said.err))
}

fn items(dir: &tempfile::TempDir, args: &[&str]) -> Vec<Value> {
    json_of(dir, args)["items"].as_array().cloned().unwrap_or_default()
}

fn column(items: &[Value], name: &str) -> Vec<String> {
    items
        .iter()
        .map(|i| i[name].as_str().unwrap_or("").to_owned())
        .collect()
}

#[test]
fn patterns_group_messages_by_template() {
    let dir = sample::directory();
    let found = items(&dir, &[&["patterns"], &DAY[..]].concat());
    assert_eq!(found[0]["count"], 30);
    assert_eq!(
        found[0]["levels"],
        json!([{"level": "INFO", "count": 20}, {"level": "DEBUG", "count": 10}])
    );
    assert_eq!(found[0]["example"], "processed 29 rows of table 1");
    assert_eq!(found[0]["example_key"], key(A, 29));
    assert_eq!(found[1]["count"], 3, "querying the database");
    let failed = items(
        &dir,
        &[&["patterns", "-l", "error", "script_name=report"], &DAY[..]].concat(),
    );
    assert_eq!(
        failed[0]["count"], 2,
        "query 7 failed and query 9 failed are one template"
    );
    assert_eq!(ask(&dir, &["patterns"]).code, 1);
}

#[test]
fn similar_errors_are_found_by_text_key_and_fingerprint_with_their_fix() {
    let dir = sample::directory();
    for text in ["TimeoutError: database timed out after 77 s", &key(C, 1), TIMEOUT] {
        let found = items(&dir, &["similar", text]);
        assert_eq!(found[0]["fingerprint"], TIMEOUT, "{text}");
        assert_eq!(found[0]["state"], "returned");
        assert_eq!(found[0]["count"], 2);
        assert_eq!(found[0]["fix_description"], "raised the pool size to 20");
        assert!(
            found[0]["fix_rationale"]
                .as_str()
                .unwrap()
                .starts_with("the pool was exhausted")
        );
        assert_eq!(found[0]["fix_key"], key(C, 3));
    }
    let found = items(&dir, &["similar", "bad row 99"]);
    assert_eq!(found[0]["fingerprint"], BAD_ROW);
    let text = ask(&dir, &["similar", "database timed out"]);
    assert!(text.out.contains("fixed    raised the pool size to 20"), "{}", text.out);
    assert_eq!(ask(&dir, &["similar", "an utterly different catastrophe"]).code, 1);
}

#[test]
fn history_adds_up_a_script_by_day_run_and_version() {
    let dir = sample::directory();
    let history = |args: &[&str]| json_of(&dir, &[&["history"], args, &DAY[..]].concat());
    let report = history(&["report"]);
    assert_eq!(report["script"], "report");
    assert_eq!(report["totals"]["runs"], 3);
    assert_eq!(report["totals"]["success_rate"], 0.5);
    assert_eq!(report["totals"]["running"], 1);
    assert_eq!(report["totals"]["errors"], 3);
    assert_eq!(report["totals"]["mean_seconds"], 62.5);
    assert_eq!(report["totals"]["p95_seconds"], 90.0);
    assert_eq!(column(report["items"].as_array().unwrap(), "day"), ["2026-11-10"]);
    let runs = history(&["etl", "--by", "run"]);
    assert_eq!(column(runs["items"].as_array().unwrap(), "run"), [B, A]);
    assert_eq!(
        column(runs["items"].as_array().unwrap(), "status"),
        ["failed", "success"]
    );
    let versions = history(&["etl", "--by", "metadata.version"]);
    assert_eq!(column(versions["items"].as_array().unwrap(), "value"), ["1.3", "1.2"]);
    let all = history(&[]);
    assert_eq!(column(all["items"].as_array().unwrap(), "script").len(), 2);
    assert!(all["items"][0]["trend"].is_object());
    let none = ask(&dir, &["history", "report", "--days", "1", "-S", "1h"]);
    assert_eq!(none.code, 1);
    let text = ask(&dir, &[&["history", "etl"], &DAY[..]].concat());
    assert!(
        text.out.contains("50%") && text.err.contains("2 runs, 50% succeeded"),
        "{}{}",
        text.out,
        text.err
    );
}

#[test]
fn history_without_a_script_puts_the_worst_change_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = logagent::store::Batch::default();
    for (script, early, late) in [("fine", true, true), ("worse", true, false), ("better", false, true)] {
        for (n, (hour, ok)) in [(2, early), (20, late)].into_iter().enumerate() {
            let t = sample::at(hour, 0, 0);
            batch.runs.push(logagent::store::RunUpdate {
                execution_id: format!("{script}_{n}"),
                script_name: script.to_owned(),
                start_time: t,
                last_seen: t + 1_000_000,
                end: Some(logagent::store::RunEnd {
                    status: if ok {
                        logagent::store::Status::Success
                    } else {
                        logagent::store::Status::Failed
                    },
                    time: t + 1_000_000,
                    declared: true,
                    error: None,
                }),
                ..Default::default()
            });
        }
    }
    sample::store(&dir.path().join(".logagent/logs.db"), batch);
    let found = items(&dir, &[&["history"], &DAY[..]].concat());
    assert_eq!(column(&found, "script"), ["worse", "fine", "better"]);
    assert_eq!(found[0]["trend"]["success_rate"], -1.0);
}

#[test]
fn the_newest_response_is_the_script_s_own_data() {
    let dir = sample::directory();
    assert_eq!(json_of(&dir, &["response", "report"]), json!({"pages": 12}));
    assert_eq!(
        json_of(&dir, &["response", "--execution", A]),
        json!({"rows": 30, "ok": true})
    );
    let several = json_of(&dir, &["response", "etl", "-n", "5"]);
    assert_eq!(several["items"][0]["timestamp"], "2026-11-10T10:02:29.000000Z");
    assert_eq!(several["items"][0]["response"]["rows"], 30);
    let text = ask(&dir, &["response", "report"]);
    assert_eq!(text.out, "{\n  \"pages\": 12\n}\n");
    let none = ask(&dir, &["response", "-e", B]);
    assert_eq!(none.code, 1);
    assert!(none.err.contains("none with a response"), "{}", none.err);
    // Without a name it is about the last run, which returned nothing.
    assert_eq!(ask(&dir, &["response"]).code, 1);
}

#[test]
fn learnings_are_listed_searched_and_grouped() {
    let dir = sample::directory();
    let all = items(&dir, &["learnings"]);
    assert_eq!(column(&all, "_key"), ["learning2", "learning1", "learning0"]);
    assert_eq!(items(&dir, &["learnings", "--min-confidence", "0.8"]).len(), 2);
    assert_eq!(
        column(&items(&dir, &["learnings", "timeouts retry"]), "_key"),
        ["learning1"]
    );
    assert_eq!(items(&dir, &["learnings", "-e", A]).len(), 1);
    assert_eq!(items(&dir, &["learnings", "--tag", "api", "-s", "report"]).len(), 2);
    let recurring = items(&dir, &["learnings", "--recurring"]);
    assert_eq!(recurring.len(), 1);
    assert_eq!(recurring[0]["count"], 2);
    assert_eq!(recurring[0]["confidence"], 0.9);
    let page = json_of(&dir, &["learnings", "-n", "2"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(
        column(&items(&dir, &["learnings", "-n", "2", "--cursor", cursor]), "_key"),
        ["learning0"]
    );
    assert_eq!(ask(&dir, &["learnings", "nonsense"]).code, 1);
    assert_eq!(ask(&dir, &["learnings", "--min-confidence", "7"]).code, 2);
}

#[test]
fn a_graph_joins_errors_fixes_retries_and_learnings() {
    let dir = sample::directory();
    let graph = json_of(&dir, &["graph", D]);
    assert_eq!(
        graph["metadata"],
        json!({"execution_id": D, "total_logs": 4, "folded": 0})
    );
    assert_eq!(graph["nodes"][1]["label"], "ERROR: query 9 failed");
    let edges: Vec<(String, String, String)> = graph["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let text = |n: &str| e[n].as_str().unwrap().to_owned();
            (text("from"), text("type"), text("to"))
        })
        .collect();
    let has = |from: String, kind: &str, to: String| edges.contains(&(from, kind.to_owned(), to));
    assert!(has(key(D, 0), "FOLLOWED_BY", key(D, 1)), "{edges:?}");
    assert!(has(key(D, 2), "RETRY_OF", key(D, 1)));
    assert!(has(key(D, 3), "LEARNED_FROM", "learning1".to_owned()));
    let fixed = json_of(&dir, &["graph", C]);
    let fixes: Vec<&Value> = fixed["edges"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["type"] == "FIXED_BY")
        .collect();
    assert_eq!(fixes[0]["from"], key(C, 1));
    assert_eq!(fixes[0]["method"], "fix", "what was recorded, not what a rule guesses");
    for (format, sign) in [
        ("text", "↳ RETRY_OF"),
        ("json", "\"edges\":["),
        ("dot", "digraph run {"),
        ("mermaid", "flowchart TD"),
        ("svg", "<svg xmlns"),
    ] {
        let said = ask(&dir, &["graph", D, "--format", format]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains(sign), "{format}: {}", said.out);
    }
    let long = ask(&dir, &["graph", A]);
    assert!(long.out.contains("… 28 more"), "plain events are folded: {}", long.out);
    assert_eq!(ask(&dir, &["graph", "nobody"]).code, 1);
}

#[test]
fn saved_edges_are_stored_once() {
    let dir = sample::directory();
    let count = || {
        items(
            &dir,
            &[
                "query",
                "SELECT type, count(*) n FROM log_causality GROUP BY type ORDER BY type",
            ],
        )
    };
    let before = count();
    let said = ask(&dir, &["graph", D, "--save"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let once = count();
    assert_ne!(before, once);
    assert_eq!(ask(&dir, &["graph", D, "--save"]).code, 0);
    assert_eq!(count(), once, "the same edges again");
    let edges = items(&dir, &["query", "SELECT * FROM log_causality WHERE type = 'RETRY_OF'"]);
    assert_eq!(edges[0]["_from"], format!("log_events/{}", key(D, 2)));
    assert_eq!(edges[0]["weight"], 0.85);
    assert!(edges[0]["rationale"].as_str().unwrap().len() >= 50);
    let learnt = items(
        &dir,
        &["query", "SELECT _to FROM log_causality WHERE type = 'LEARNED_FROM'"],
    );
    assert_eq!(learnt[0]["_to"], "agent_learnings/learning1");
    let graph = json_of(&dir, &["graph", D]);
    assert_eq!(
        graph["edges"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["type"] == "RETRY_OF")
            .count(),
        1
    );
}

#[test]
fn a_learning_is_recorded_and_found_again() {
    let dir = sample::directory();
    let said = json_of(
        &dir,
        &[
            "learn",
            "use batches of 500",
            "--function",
            "load",
            "--context",
            r#"{"table":"x"}"#,
            "--confidence",
            "0.95",
            "-e",
            B,
            "--tag",
            "sql,speed",
        ],
    );
    assert_eq!(said, json!({"recorded": true, "via": "store"}));
    let found = items(&dir, &["learnings", "batches", "--tag", "speed"]);
    assert_eq!(found[0]["learning"], "use batches of 500");
    assert_eq!(found[0]["context"], json!({"table": "x"}));
    assert_eq!(
        (&found[0]["execution_id"], &found[0]["script_name"]),
        (&json!(B), &json!("etl"))
    );
    assert_eq!(ask(&dir, &["learn", "no run"]).code, 0);
    assert_eq!(items(&dir, &["learnings", "\"no run\""])[0]["execution_id"], "manual");
    let memory = items(
        &dir,
        &[
            "query",
            "SELECT * FROM agent_memories WHERE content = 'use batches of 500'",
        ],
    );
    assert_eq!(memory[0]["type"], "learning");
    assert_eq!(
        items(&dir, &["search", "event=learning"]).len(),
        2,
        "a learning is an event too"
    );
    for args in [
        &["learn", " "][..],
        &["learn", "x", "--confidence", "2"],
        &["learn", "x", "--context", "[1]"],
    ] {
        assert_eq!(ask(&dir, args).code, 2, "{args:?}");
    }
}

#[test]
fn a_fix_resolves_the_errors_of_its_fingerprint_and_script() {
    let dir = sample::directory();
    let said = json_of(
        &dir,
        &[
            "fix",
            &key(D, 1)[..18],
            "added an index",
            "--rationale",
            "the scan was slow",
        ],
    );
    assert_eq!(said["fixed"]["_key"], key(D, 1));
    assert_eq!(said["fixed"]["fingerprint"], TIMEOUT);
    assert!(said["fixed"]["seconds_to_resolution"].as_f64().unwrap() > 0.0);
    let groups = items(&dir, &[&["errors"], &DAY[..]].concat());
    assert_eq!(groups[0]["state"], "resolved");
    assert_eq!(groups[0]["fix_description"], "added an index");
    assert_eq!(
        json_of(&dir, &["fix", BAD_ROW, "skip bad rows"])["fixed"]["_key"],
        key(C, 2),
        "the newest of a fingerprint"
    );
    let groups = items(&dir, &[&["errors"], &DAY[..]].concat());
    assert_eq!(groups[1]["state"], "open", "still open in the other script");
    assert_eq!(
        json_of(&dir, &["fix", B, "skip bad rows"])["fixed"]["_key"],
        key(B, 2),
        "an execution's last error"
    );
    assert_eq!(json_of(&dir, &["get", &key(B, 2)])["resolved"], true);
    let text = ask(&dir, &["fix", C, "again"]);
    assert!(text.out.starts_with("fixed after "), "{}", text.out);
    assert_eq!(ask(&dir, &["fix", "nothing-like-it", "x"]).code, 1);
    assert_eq!(ask(&dir, &["fix", A, "x"]).code, 1, "a run without errors");
    assert_eq!(ask(&dir, &["fix", B, " "]).code, 2);
}

#[test]
fn prune_deletes_by_age_execution_and_level_and_says_what_hangs_on_it() {
    let dir = sample::directory();
    assert_eq!(ask(&dir, &["prune"]).code, 2, "no criteria");
    let dry = json_of(&dir, &["prune", "--execution", C, "--dry-run"]);
    assert_eq!(
        dry,
        json!({"events": 4, "runs": 1, "learnings": 1, "memories": 0, "edges": 1, "protected": 0, "dry_run": true})
    );
    let done = json_of(&dir, &["prune", "--execution", C]);
    assert_eq!(done["events"], 4);
    assert_eq!(
        (&done["runs"], &done["learnings"], &done["edges"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(ask(&dir, &["search", "raised"]).code, 1, "its full text is gone too");
    assert_eq!(json_of(&dir, &["prune", "--level", "DEBUG"])["events"], 10);
    assert_eq!(items(&dir, &["search", "-n", "1000", "level=DEBUG"]).len(), 0);
    assert_eq!(items(&dir, &[&["runs"], &DAY[..]].concat()).len(), 4, "runs stay");
    let old = json_of(&dir, &["prune", "--older-than", "1d"]);
    let age = 43 - 4 - 10 - 1;
    let expected = if chrono::Utc::now().timestamp_micros() > sample::at(48, 0, 0) {
        age
    } else {
        0
    };
    assert_eq!(old["events"], expected, "all but the running execution");
    assert_eq!(old["protected"], 1);
    assert_eq!(items(&dir, &["search"]).len(), 1);
    assert_eq!(
        json_of(&dir, &["prune", "-e", E])["events"],
        1,
        "named, even a running one goes"
    );
    let again = ask(&dir, &["prune", "--older-than", "1d"]);
    assert_eq!(again.code, 0, "nothing left to do is no failure");
    assert!(again.out.starts_with("deleted 0 events"), "{}", again.out);
}

#[test]
fn a_query_reads_and_cannot_do_anything_else() {
    let dir = sample::directory();
    let rows = items(
        &dir,
        &[
            "query",
            "SELECT level, count(*) AS n FROM log_events GROUP BY level ORDER BY n DESC",
        ],
    );
    assert_eq!(rows[0], json!({"level": "INFO", "n": 28}));
    let bound = items(
        &dir,
        &[
            "query",
            "SELECT message FROM log_events WHERE execution_id = :id AND level_no >= @n",
            "--bind",
            &format!("id={B}"),
            "--bind",
            "n=40",
        ],
    );
    assert_eq!(bound[0]["message"], "import failed: see exception");
    for text in [
        "DELETE FROM log_events",
        "INSERT INTO script_runs (_key) VALUES (1)",
        "SELECT 1; DELETE FROM log_events",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = 0",
        "ATTACH '/tmp/x.db' AS x",
        "CREATE TEMP TABLE t (x)",
        "VACUUM",
        "SELECT load_extension('x')",
        "BEGIN IMMEDIATE",
        "SELECT nonsense FROM log_events",
        "SELECT",
        "",
        "SELECT :missing",
    ] {
        let said = ask(&dir, &["query", text]);
        assert_eq!(said.code, 2, "{text}: {} {}", said.out, said.err);
    }
    assert_eq!(
        ask(&dir, &["query", "SELECT 1", "--bind", "x=1"]).code,
        2,
        "an unknown bind value"
    );
    let words = ask(&dir, &["query", "import failed"]).err;
    assert!(
        words.contains("at: import failed; this takes SQL, words are looked for by `logagent search`"),
        "{words}"
    );
    assert_eq!(items(&dir, &["search", "-n", "1000"]).len(), 43, "nothing was changed");
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let said = ask(&dir, &["query", endless, "--timeout", "200ms"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("--timeout"), "{}", said.err);
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT i FROM n";
    assert_eq!(json_of(&dir, &["query", many])["truncated"], true);
    assert_eq!(
        ask(&dir, &["query", many, "-o", "jsonl"]).out.lines().count(),
        5000,
        "lines stream"
    );
    assert_eq!(ask(&dir, &["query", "SELECT 1 WHERE 0"]).code, 1);
    let table = ask(&dir, &["query", "SELECT 1 AS a, 'x' AS b"]);
    assert_eq!(table.out, "a  b\n1  x\n");
}

#[test]
fn a_summary_can_be_kept_as_a_memory() {
    let dir = sample::directory();
    assert_eq!(ask(&dir, &["summary", C, "--memory"]).code, 0);
    assert_eq!(ask(&dir, &["summary", C, "--memory"]).code, 0);
    let kept = items(&dir, &["query", "SELECT content, type FROM agent_memories"]);
    assert_eq!(
        kept,
        [json!({"content": format!("Execution {C} completed with 2 errors"), "type": "execution_summary"})]
    );
}
