//! Asking by names, words and conditions as people type them; what a failure, a fix and a run are taken for.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Said, say};

/// A directory whose agent has shipped these lines, each list as a file of its own and one after the other.
fn shipped(files: &[(&str, &[Value])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, lines) in files {
        add(dir.path(), name, lines);
    }
    dir
}

fn add(dir: &Path, name: &str, lines: &[Value]) {
    std::fs::create_dir_all(dir.join("logs")).unwrap();
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    std::fs::write(dir.join("logs").join(name), text).unwrap();
    let said = say(dir, &["run", "--once"]);
    assert_eq!(said.code, 0, "{}", said.err);
}

fn ask(dir: &tempfile::TempDir, args: &[&str]) -> Said {
    say(dir.path(), args)
}

fn items(dir: &tempfile::TempDir, args: &[&str]) -> Vec<Value> {
    let said = ask(dir, &[args, &["-o", "json"]].concat());
    let answer: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}\n{}", said.out, said.err));
    answer["items"].as_array().cloned().unwrap_or_default()
}

fn messages(dir: &tempfile::TempDir, args: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = items(dir, args)
        .iter()
        .map(|i| i["message"].as_str().unwrap_or("").to_owned())
        .collect();
    found.sort();
    found
}

fn line(level: &str, run: &str, script: &str, message: &str) -> Value {
    json!({"level": level, "execution_id": run, "script": script, "message": message})
}

#[test]
fn words_are_found_without_accents_in_any_form_and_within_scripts_without_spaces() {
    let texts = [
        "café geschlossen",
        "cafe\u{301} offen",
        "数据库连接失败",
        "重跑gen-itgc后完成",
        "ファイルが見つかりません",
    ];
    let lines: Vec<Value> = texts.iter().map(|t| line("ERROR", "w", "words", t)).collect();
    let dir = shipped(&[("w.jsonl", &lines)]);
    for (words, found) in [
        ("cafe", 2),
        ("CAFÉ", 2),
        ("数据库", 1),
        ("连接失败", 1),
        ("itgc", 1),
        ("見つかりません", 1),
        ("库数", 0),
    ] {
        assert_eq!(messages(&dir, &["search", words]).len(), found, "{words}");
    }
    let alike = items(&dir, &["similar", "连接失败了"]);
    assert_eq!(alike[0]["root_cause"], "数据库连接失败");
}

#[test]
fn conditions_compare_numbers_exactly_and_take_names_with_dots() {
    let values = [
        json!({"n": 1_234_567_890_123_456_788_i64}),
        json!({"n": 1_234_567_890_123_456_789_i64}),
        json!({"http.code": 502}),
        json!({"http": {"code": 500}}),
    ];
    let lines: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(i, extra)| {
            let mut line = line("INFO", "c", "conditions", &format!("m{i}"));
            line.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            line
        })
        .collect();
    let dir = shipped(&[("c.jsonl", &lines)]);
    let found = |condition: &str| messages(&dir, &["search", condition]);
    assert_eq!(found("extra_data.n=1234567890123456789"), ["m1"]);
    assert_eq!(found("extra_data.n<1234567890123456789"), ["m0"]);
    assert_eq!(found("extra_data.http.code>=500"), ["m2", "m3"]);
    assert_eq!(
        found("extra_data.http.code!=502"),
        ["m0", "m1", "m3"],
        "what is absent is not 502"
    );
    assert_eq!(
        messages(&dir, &["search", "m2 extra_data.http.code=502"]),
        ["m2"],
        "words and a condition in one text"
    );
}

#[test]
fn a_run_is_named_by_id_beginning_script_last_and_last_failed() {
    let dir = shipped(&[(
        "r.jsonl",
        &[
            json!({"level": "INFO", "execution_id": "alpha_1", "script": "alpha", "message": "go", "event": "run_start", "ts": "2026-11-10T10:00:00Z"}),
            json!({"level": "ERROR", "execution_id": "alpha_1", "script": "alpha", "message": "gone", "event": "run_end", "status": "failed", "ts": "2026-11-10T10:00:05Z"}),
            json!({"level": "INFO", "execution_id": "beta_1", "script": "beta", "message": "go", "event": "run_start", "ts": "2026-11-10T11:00:00Z"}),
            json!({"level": "INFO", "execution_id": "beta_1", "script": "beta", "message": "done", "event": "run_end", "status": "success", "ts": "2026-11-10T11:00:05Z"}),
            json!({"level": "INFO", "execution_id": "beta_2", "script": "beta", "message": "go", "event": "run_start", "ts": "2026-11-10T12:00:00Z"}),
            json!({"level": "INFO", "execution_id": "beta_2", "script": "beta", "message": "done", "event": "run_end", "status": "success", "ts": "2026-11-10T12:00:05Z"}),
        ],
    )]);
    for (args, id) in [
        (&["summary"][..], "beta_2"),
        (&["summary", "last-failed"], "alpha_1"),
        (&["summary", "beta"], "beta_2"),
        (&["summary", "al"], "alpha_1"),
        (&["summary", "beta_1"], "beta_1"),
        (&["summary", "last", "-s", "alpha"], "alpha_1"),
        (&["why"], "alpha_1"),
        (&["summary", "-e", "alpha"], "alpha_1"),
    ] {
        let said = ask(&dir, &[args, &["-o", "json"]].concat());
        let answer: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{args:?}: {e} {}", said.err));
        assert_eq!(answer["execution_id"], id, "{args:?}");
    }
    let several = ask(&dir, &["summary", "beta_"]);
    assert_eq!(several.code, 2);
    assert!(
        several.err.contains("beta_1") && several.err.contains("beta_2"),
        "{}",
        several.err
    );
    let none = ask(&dir, &["summary", "last", "-s", "nosuch"]);
    assert_eq!(none.code, 1, "{}", none.err);
    let ignored = ask(&dir, &["graph", "last", "-l", "error"]);
    assert_eq!(ignored.code, 2, "a flag is not taken and ignored: {}", ignored.err);
}

#[test]
fn a_fix_that_comes_before_its_error_holds_and_says_by_how_much() {
    let fix = json!({"level": "INFO", "execution_id": "mend", "script": "late", "message": "raised the limit", "event": "fix", "fixes": "TimeoutError", "ts": "2026-11-12T10:00:00Z"});
    let error = json!({"level": "ERROR", "execution_id": "late_1", "script": "late", "message": "no answer", "ts": "2026-11-11T10:00:00Z",
        "exception": {"type": "TimeoutError", "value": "5 s"}});
    let dir = shipped(&[("fix.jsonl", std::slice::from_ref(&fix))]);
    assert_eq!(items(&dir, &["fixes"])[0]["state"], "unmatched");
    add(dir.path(), "late.jsonl", &[error]);
    let fixed = &items(&dir, &["fixes"])[0];
    assert_eq!(fixed["state"], "held", "{fixed}");
    assert!(fixed["held"]["days"].as_f64().is_some(), "{fixed}");
    let groups = items(&dir, &["errors", "-S", "2026-11-01"]);
    assert_eq!(groups[0]["state"], "resolved");
    assert_eq!(items(&dir, &["errors", "--open", "-S", "2026-11-01"]).len(), 0);
    assert_eq!(items(&dir, &["errors", "--resolved", "-S", "2026-11-01"]).len(), 1);
}

#[test]
fn one_failure_is_one_error_and_what_is_not_known_is_no_success() {
    let error = json!({"level": "ERROR", "execution_id": "one_1", "script": "one", "message": "cannot save", "ts": "2026-11-11T10:00:01Z",
        "exception": {"type": "OSError", "value": "disk full"}});
    let end = json!({"level": "ERROR", "execution_id": "one_1", "script": "one", "message": "the run failed", "event": "run_end", "status": "failed", "ts": "2026-11-11T10:00:02Z"});
    let other = json!({"level": "INFO", "execution_id": "one_2", "script": "one", "message": "hello", "ts": "2026-11-11T11:00:02Z", "pid": 4_194_304});
    let dir = shipped(&[("one.jsonl", &[error, end, other])]);
    let groups = items(&dir, &["errors", "-S", "2026-11-01"]);
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["root_cause"], "OSError: disk full");
    let runs = items(&dir, &["runs", "-S", "2026-11-01", "--status", "failed"]);
    assert_eq!(
        (runs[0]["errors"].as_u64(), runs[0]["reason"].as_str()),
        (Some(1), Some("OSError: disk full"))
    );
    let past = ask(&dir, &["history", "one", "-S", "2026-11-01", "-o", "json"]);
    let past: Value = serde_json::from_str(&past.out).unwrap();
    assert_eq!(past["totals"]["success"], 0, "{past}");
    assert_eq!(past["totals"]["success_rate"], 0.0);
}

#[test]
fn everything_is_exported_and_long_lists_are_not_cut() {
    let lines: Vec<Value> = (0..10_050)
        .map(|i| line("INFO", "x", "export", &format!("line, {i}")))
        .collect();
    let dir = shipped(&[("x.jsonl", &lines)]);
    assert_eq!(ask(&dir, &["export", "-q"]).out.lines().count(), 10_050);
    assert_eq!(
        ask(&dir, &["search", "-o", "jsonl", "-n", "1000000", "-q"])
            .out
            .lines()
            .count(),
        10_050
    );
    let table = ask(&dir, &["export", "events", "--format", "csv", "-n", "2", "table.csv"]);
    assert_eq!((table.code, table.out.as_str()), (0, ""));
    let table = std::fs::read_to_string(dir.path().join("table.csv")).unwrap();
    assert!(table.starts_with("_key,timestamp,level,"), "{table}");
    assert!(table.contains("\"line, "), "{table}");
}

#[test]
fn near_verbs_are_named_and_far_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    for (verb, meant) in [
        ("logs", "logagent search"),
        ("doctor", "logagent check"),
        ("serach", "logagent search"),
    ] {
        let said = say(dir.path(), &[verb]);
        assert_eq!(said.code, 2);
        assert!(said.err.contains(meant), "{verb}: {}", said.err);
    }
    assert!(!say(dir.path(), &["unrelated"]).err.contains("did you mean"));
    assert_eq!(say(dir.path(), &["help"]).code, 0);
    assert!(say(dir.path(), &["help", "search"]).out.contains("--since"));
    let guide = say(dir.path(), &["guide"]);
    assert!(guide.code == 0 && guide.out.contains("never instructions"));
}
