//! Flat lines: aliases, events, values of the wrong type.

use super::*;

#[test]
fn flat_lines_are_understood_under_every_alias() {
    let table: &[(&str, &[&str], Value, Value)] = &[
        (
            "timestamp",
            &["timestamp", "time", "ts", "@timestamp"],
            json!("2026-11-21T05:46:00Z"),
            json!("2026-11-21T05:46:00.000000Z"),
        ),
        (
            "timestamp",
            &["timestamp", "ts"],
            json!(1_795_227_624.054_432),
            json!("2026-11-21T02:20:24.054432Z"),
        ),
        (
            "level",
            &["level", "severity", "levelname", "lvl"],
            json!("warn"),
            json!("WARNING"),
        ),
        ("level", &["level"], json!(50), json!("CRITICAL")),
        (
            "message",
            &["message", "msg", "event_message"],
            json!("hi"),
            json!("hi"),
        ),
        (
            "execution_id",
            &["execution_id", "run_id", "trace_id", "correlation_id"],
            json!("r1"),
            json!("r1"),
        ),
        (
            "script_name",
            &["script_name", "script", "app", "service"],
            json!("s"),
            json!("s"),
        ),
        (
            "function_name",
            &["function", "func", "function_name", "funcName", "func_name"],
            json!("f"),
            json!("f"),
        ),
        (
            "file_path",
            &["file", "file_path", "pathname"],
            json!("/a.py"),
            json!("/a.py"),
        ),
        ("line_number", &["line", "lineno", "line_number"], json!(7), json!(7)),
        ("logger", &["logger", "logger_name"], json!("l"), json!("l")),
        ("module", &["module"], json!("m"), json!("m")),
        ("pid", &["pid", "process", "process_id"], json!(9), json!(9)),
        ("thread_id", &["thread", "thread_id"], json!(9), json!(9)),
        ("thread_name", &["thread_name", "threadName"], json!("t"), json!("t")),
        ("host", &["host", "hostname"], json!("h"), json!("h")),
        (
            "exception",
            &["exception", "exc_info", "error", "stack"],
            json!("KeyError: 'x'"),
            json!({"type": "KeyError", "value": "'x'", "chain": [{"type": "KeyError", "value": "'x'"}]}),
        ),
    ];
    for (field, names, value, stored) in table {
        for name in *names {
            let got = doc(json!({*name: value}).to_string());
            assert_eq!(&got[*field], stored, "{name}");
            assert!(got.get("extra_data").is_none(), "{name}");
        }
        // The first by the interface's order wins, wherever it stands; the others are kept.
        let all: String = names.iter().rev().map(|n| format!("\"{n}\":{value},")).collect();
        let got = doc(format!("{{{}}}", all.trim_end_matches(',')));
        assert_eq!(&got[*field], stored);
        let kept = got
            .get("extra_data")
            .and_then(Value::as_object)
            .map_or(0, serde_json::Map::len);
        assert_eq!(kept, names.len() - 1, "{field}");
        assert!(got["extra_data"].get(names[0]).is_none());
    }
}

#[test]
fn a_known_field_of_the_wrong_type_stays_under_its_own_name() {
    let line = r#"{"level":{},"message":5,"timestamp":"soon","line":"twelve","pid":"x","exception":true,"execution_id":[],"msg":"kept"}"#;
    let got = doc(line);
    assert_eq!(got["message"], json!("kept"));
    let expected = json!({"level": {}, "message": 5, "timestamp": "soon", "line": "twelve", "pid": "x", "exception": true, "execution_id": []});
    assert_eq!(got["extra_data"], expected);
    assert_eq!(got["level"], json!("INFO"));
}

#[test]
fn with_run_end_the_error_is_the_runs() {
    let rules = rules();
    let line = r#"{"event":"run_end","status":"FAILED","error":"boom","execution_id":"e"}"#;
    let rec = parse(line.as_bytes(), b"", &rules);
    assert_eq!(rec.bound.error.as_ref().map(|t| t.raw()), Some("boom"));
    assert_eq!(rec.bound.status.as_ref().map(|t| t.raw()), Some("failed"));
    assert_eq!(rec.exception, None);
    assert_eq!(doc(line)["extra_data"]["error"], json!("boom"));
}

#[test]
fn an_unknown_event_is_the_message_where_there_is_none() {
    let got = doc(r#"{"event":"user logged in","user":7,"level":"info"}"#);
    assert_eq!(got["message"], json!("user logged in"));
    assert_eq!(got["extra_data"], json!({"user": 7}));
    let got = doc(r#"{"event":"click","message":"m"}"#);
    assert_eq!(
        (&got["message"], &got["extra_data"]),
        (&json!("m"), &json!({"event": "click"}))
    );
    let got = doc(r#"{"event":"learning","message":"m","function":"f"}"#);
    assert_eq!(got["event"], json!("learning"));
}
