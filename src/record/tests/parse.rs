use super::super::{Key, Placed, encode, format_time};
use super::*;
use crate::config::{Settings, Sources};
use serde_json::{Value, json};

pub(in crate::record) mod any;
mod flat;
mod tracebacks;

/// Rules of the defaults, with some settings changed as the environment would.
pub(crate) fn rules_with(env: &[(&str, &str)]) -> Rules {
    let mut env: Vec<(String, String)> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    env.push(("LOGAGENT_FILES_NAIVE_TIME".into(), "UTC".into()));
    let sources = Sources {
        env,
        dir: "/nonexistent".into(),
        ..Sources::default()
    };
    Rules::new(&Settings::load(&sources).expect("valid settings").0).expect("valid patterns")
}

fn rules() -> Rules {
    rules_with(&[])
}

pub(crate) fn encoded(rec: &mut Record<'_>, rules: &Rules, whole: u64) -> Vec<u8> {
    let key = Key::new(1, 2, 3, 0);
    let execution_id = rec.bound.execution_id.as_ref().map(|t| t.plain().into_owned());
    let script_name = rec.bound.script_name.as_ref().map(|t| t.plain().into_owned());
    let placed = Placed {
        key: &key,
        time: rec.time.unwrap_or(0),
        execution_id: execution_id.as_deref().unwrap_or("unknown"),
        script_name: script_name.as_deref(),
        host: "here",
        source: r#"{"kind":"file","path":"/x","stream":"s""#,
        offset: 9,
        seq: 7,
        ingested_at: "2026-11-21T00:00:00.000000Z",
        whole,
    };
    let mut out = Vec::new();
    encode(rec, &placed, rules, &mut out);
    out
}

fn doc_of(line: &[u8], rest: &[u8], rules: &Rules) -> Value {
    let mut rec = parse(line, rest, rules);
    let out = encoded(&mut rec, rules, 0);
    let text = std::str::from_utf8(&out).expect("UTF-8");
    assert!(super::super::scan::whole(text).is_some(), "a store would refuse {text}");
    assert!(text.starts_with("{\"_key\":\"0000000001"));
    serde_json::from_str(text).expect("JSON")
}

/// The document that a line becomes, as stored, with the defaults.
fn doc(line: impl AsRef<[u8]>) -> Value {
    doc_of(line.as_ref(), b"", &rules())
}

const EXACT: &str = r#"{"text": "2026-11-21 02:20:24.054 | INFO     | __main__:go:8 - hello world\n", "record": {"elapsed": {"repr": "0:00:00.011557", "seconds": 0.011557}, "exception": null, "extra": {}, "file": {"name": "a.py", "path": "/srv/a.py"}, "function": "go", "level": {"icon": "ℹ️", "name": "INFO", "no": 20}, "line": 8, "message": "hello world", "module": "a", "name": "__main__", "process": {"id": 8276, "name": "MainProcess"}, "thread": {"id": 140493260737408, "name": "MainThread"}, "time": {"repr": "2026-11-21 02:20:24.054432+00:00", "timestamp": 1795227624.054432}}}"#;

/// The line above with another `extra`.
fn bound_line(extra: &str) -> String {
    EXACT.replace("\"extra\": {}", &format!("\"extra\": {extra}"))
}

#[test]
fn a_loguru_line_becomes_the_document_of_the_interface() {
    let got = doc(EXACT);
    let expected = json!({
        "_key": "00000000010000000200000000000003".chars().take(31).collect::<String>(),
        "timestamp": "2026-11-21T02:20:24.054432Z", "level": "INFO", "level_no": 20, "message": "hello world",
        "execution_id": "unknown", "function_name": "go", "file_path": "/srv/a.py", "line_number": 8, "module": "a",
        "logger": "__main__", "pid": 8276, "process_name": "MainProcess", "thread_id": 140_493_260_737_408_i64,
        "thread_name": "MainThread", "host": "here",
        "source": {"kind": "file", "path": "/x", "stream": "s", "offset": 9}, "seq": 7,
        "ingested_at": "2026-11-21T00:00:00.000000Z",
    });
    let strip = |mut v: Value| {
        v.as_object_mut().expect("an object").remove("_key");
        v
    };
    assert_eq!(strip(got), strip(expected));
}

#[test]
fn fields_come_in_the_interfaces_order() {
    let line = r#"{"level":"error","message":"m","exception":{"type":"T","value":"v"},"x":1,"tags":["t"],"embeddings":[0.5],"event":"run_end","status":"failed","timestamp":"2026-01-01T00:00:00Z"}"#;
    let rules = rules();
    let mut rec = parse(line.as_bytes(), b"", &rules);
    let out = encoded(&mut rec, &rules, 5);
    let names: Vec<&str> = super::super::fields(&out).map(|(n, _)| n).collect();
    let expected = [
        "_key",
        "timestamp",
        "level",
        "level_no",
        "message",
        "execution_id",
        "host",
        "exception",
        "extra_data",
        "tags",
        "embeddings",
        "fingerprint",
        "event",
        "source",
        "seq",
        "ingested_at",
        "truncated",
    ];
    assert_eq!(names, expected);
}

#[test]
fn time_less_elapsed_is_the_start_of_the_process_to_the_microsecond() {
    let rules = rules();
    let rec = parse(EXACT.as_bytes(), b"", &rules);
    assert_eq!(
        rec.start.map(format_time).as_deref(),
        Some("2026-11-21T02:20:24.042875Z")
    );
    let whole = EXACT
        .replace("24.054432+00:00", "24+00:00")
        .replace("24.054432,", "24.0,");
    let rec = parse(whole.as_bytes(), b"", &rules);
    assert_eq!(
        rec.time.map(format_time).as_deref(),
        Some("2026-11-21T02:20:24.000000Z")
    );
    let patched = EXACT.replace("2026-11-21 02:20:24.054432+00:00", "at noon");
    let rec = parse(patched.as_bytes(), b"", &rules);
    assert_eq!(
        rec.time.map(format_time).as_deref(),
        Some("2026-11-21T02:20:24.054432Z")
    );
    assert_eq!(
        rec.start.map(format_time).as_deref(),
        Some("2026-11-21T02:20:24.042875Z")
    );
}

#[test]
fn what_python_writes_beyond_json_is_stored_and_marked() {
    for (token, stored) in [
        ("NaN", json!("NaN")),
        ("Infinity", json!("Infinity")),
        ("-Infinity", json!("-Infinity")),
        ("1208925819614629174706176", json!("1208925819614629174706176")),
        ("1e400", json!("1e400")),
        (r#""\ud800""#, json!("\u{FFFD}")),
        ("\"a\u{1}b\"", json!("a\u{1}b")),
    ] {
        let got = doc(bound_line(&format!("{{\"x\": {token}, \"y\": 1}}")));
        assert_eq!(got["extra_data"], json!({"x": stored, "y": 1}), "{token}");
        assert_eq!(got["repaired"], json!(true), "{token}");
        assert_eq!(got["message"], json!("hello world"));
        assert!(got.get("unparsed").is_none());
    }
    let digits = "9".repeat(400);
    let got = doc(bound_line(&format!("{{\"x\": {digits}}}")));
    assert_eq!(got["extra_data"]["x"], json!(digits));
}

#[test]
fn integers_of_64_bits_and_whole_surrogate_pairs_stay() {
    let got = doc(bound_line(
        r#"{"u": 18446744073709551615, "i": -9223372036854775808, "s": "\ud83d\ude00 é"}"#,
    ));
    assert_eq!(got["extra_data"], json!({"u": u64::MAX, "i": i64::MIN, "s": "😀 é"}));
    assert!(got.get("repaired").is_none());
}

#[test]
fn of_names_that_come_twice_the_last_wins_and_the_line_is_marked() {
    let got = doc(r#"{"message":"a","x":{"k":1,"k":2},"message":"b"}"#);
    assert_eq!(got["message"], json!("b"));
    assert_eq!(got["extra_data"], json!({"x": {"k": 2}}));
    assert_eq!(got["repaired"], json!(true));
}

#[test]
fn two_hundred_levels_of_nesting_are_kept_within_what_a_store_takes() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for line in [
        bound_line(&format!("{{\"x\": {deep}}}")),
        format!("{{\"message\":\"hello world\",\"x\":{deep}}}"),
    ] {
        let got = doc(&line);
        assert_eq!(got["message"], json!("hello world"));
        assert_eq!(got["repaired"], json!(true));
        let text = got["extra_data"]["x"].to_string();
        assert!(text.contains("[[[[1]]]]"), "{text}");
    }
}

#[test]
fn torn_json_and_text_are_kept_whole() {
    for line in [
        "plain text, \"quoted\" \\ and \ttabbed",
        &EXACT[..200],
        "[1,2]",
        "42",
        "{\"a\":1} {\"b\":2}",
        "{'a': 1}",
    ] {
        let got = doc(line);
        assert_eq!(got["message"], json!(line));
        assert_eq!(got["unparsed"], json!(true));
        assert_eq!(got["level"], json!("INFO"));
    }
}

#[test]
fn a_time_at_the_start_of_a_text_line_is_its_time() {
    for line in [
        "2026-11-21 05:46:00,123 INFO started",
        "[2026-11-21T05:46:00.123Z] started",
    ] {
        let got = doc(line);
        assert_eq!(got["timestamp"], json!("2026-11-21T05:46:00.123000Z"));
        assert_eq!(got["message"], json!("started"));
        assert!(got.get("unparsed").is_none());
    }
}

#[test]
fn what_surrounds_a_line_by_accident_is_dropped() {
    for (line, marked) in [
        ([EXACT.as_bytes(), b"\r"].concat(), false),
        ([b"\xEF\xBB\xBF", EXACT.as_bytes()].concat(), true),
        ([b"\0\0\0", EXACT.as_bytes(), b"\0"].concat(), true),
    ] {
        let got = doc(&line);
        assert_eq!(got["message"], json!("hello world"));
        assert_eq!(got.get("repaired").is_some(), marked);
        assert!(got.get("unparsed").is_none());
    }
    assert_eq!(doc(b"")["message"], json!(""));
    assert_eq!(doc(b"\0\0")["message"], json!(""));
}

#[test]
fn invalid_utf_8_is_replaced_in_its_line_alone() {
    let line = EXACT.replace("hello world", "hello XX world").into_bytes();
    let line: Vec<u8> = line.iter().map(|b| if *b == b'X' { 0xFF } else { *b }).collect();
    let got = doc(&line);
    assert_eq!(got["message"], json!("hello \u{FFFD}\u{FFFD} world"));
    assert_eq!(got["repaired"], json!(true));
    assert_eq!(got["pid"], json!(8276));
    let got = doc(b"caf\xe9");
    assert_eq!(
        (&got["message"], &got["unparsed"]),
        (&json!("caf\u{FFFD}"), &json!(true))
    );
}

#[test]
fn bound_values_with_a_field_are_lifted_out_and_the_others_stay() {
    let got = doc(bound_line(
        r#"{"execution_id": "e1", "script_name": "s.py", "tags": ["a", "b"], "embeddings": [0.5, -1], "hostname": "there", "response": {"ok": true}, "message": "own", "level": 3, "log_category": "X", "z": null}"#,
    ));
    assert_eq!(got["execution_id"], json!("e1"));
    assert_eq!(got["script_name"], json!("s.py"));
    assert_eq!(got["tags"], json!(["a", "b"]));
    assert_eq!(got["embeddings"], json!([0.5, -1]));
    assert_eq!(got["host"], json!("there"));
    let extra = json!({"response": {"ok": true}, "message": "own", "level": 3, "log_category": "X", "z": null});
    assert_eq!(got["extra_data"], extra);
}

#[test]
fn a_bound_value_that_cannot_be_what_it_should_stays_an_extra_value() {
    let extra =
        r#"{"execution_id": ["x"], "script_name": 7, "tags": [1], "embeddings": ["x"], "host": {}, "event": "party"}"#;
    let got = doc(bound_line(extra));
    assert_eq!(got["extra_data"], serde_json::from_str::<Value>(extra).expect("JSON"));
    assert_eq!(got["execution_id"], json!("unknown"));
    assert!(got.get("tags").is_none() && got.get("event").is_none());
}

#[test]
fn events_are_known_by_their_word_and_keep_their_values() {
    let rules = rules();
    let line =
        bound_line(r#"{"event": "RUN_START", "metadata": {"v": 1}, "error": "not here", "parent_execution_id": "p"}"#);
    let rec = parse(line.as_bytes(), b"", &rules);
    assert_eq!(rec.bound.event, Some(super::super::Event::RunStart));
    assert_eq!(rec.bound.metadata.as_ref().map(|t| &*t.0), Some(r#"{"v": 1}"#));
    assert_eq!(rec.bound.error, None);
    assert!(rec.bound.parent_execution_id.is_some());
    let got = doc(&line);
    assert_eq!(got["event"], json!("run_start"));
    assert_eq!(got["extra_data"]["metadata"], json!({"v": 1}));

    let line = bound_line(
        r#"{"log_category": "AGENT_LEARNING", "function_name": "f", "context": {"a": 1}, "confidence": 0.9}"#,
    );
    let rec = parse(line.as_bytes(), b"", &rules);
    assert_eq!(rec.bound.event, Some(super::super::Event::Learning));
    assert_eq!(rec.bound.confidence, Some(0.9));
    assert_eq!(rec.bound.function_name.as_ref().map(|t| t.raw()), Some("f"));

    let got = doc(bound_line(
        r#"{"log_category": "SCRIPT_FINAL_RESPONSE", "payload": {"n": 1}}"#,
    ));
    assert_eq!(got["extra_data"]["response"], json!({"n": 1}));
    assert!(got["extra_data"].get("payload").is_none());

    let line =
        bound_line(r#"{"event": "relation", "from_key": "a", "to_key": "b", "type": "CAUSED_BY", "confidence": 2}"#);
    let rec = parse(line.as_bytes(), b"", &rules);
    assert_eq!(rec.bound.relation.as_ref().map(|t| t.raw()), Some("CAUSED_BY"));
    assert_eq!(rec.bound.confidence, None);
}

#[test]
fn a_line_that_was_cut_says_so() {
    let rules = rules();
    let mut rec = parse(b"start of a long line", b"", &rules);
    let out = encoded(&mut rec, &rules, 64 << 20);
    let got: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(got["truncated"], json!(["line"]));
    assert_eq!(rec.marks.truncated, ["line"]);
}

#[test]
fn ship_rules_decide_what_is_kept() {
    let keeps = |rules: &Rules, line: &str| rules.keeps(&parse(line.as_bytes(), b"", rules));
    let all = rules_with(&[("LOGAGENT_SHIP_MIN_LEVEL", "WARNING")]);
    let marked = rules_with(&[("LOGAGENT_SHIP_KEEP", "marked")]);
    for (line, in_all, in_marked) in [
        (r#"{"message":"m","level":"info"}"#, false, false),
        (r#"{"message":"m","level":"warning"}"#, true, false),
        (r#"{"message":"m","level":"error"}"#, true, true),
        (r#"{"message":"m","level":"error","db_store":false}"#, false, false),
        (r#"{"message":"m","level":"debug","db_store":true}"#, true, true),
        (r#"{"message":"m","level":"info","event":"run_start"}"#, true, true),
        (
            r#"{"message":"m","level":"info","log_category":"AGENT_LEARNING"}"#,
            true,
            true,
        ),
        (
            r#"{"message":"m","level":"info","log_category":"SCRIPT_FINAL_RESPONSE"}"#,
            false,
            true,
        ),
        (r#"{"message":"m","level":"info","log_category":"OTHER"}"#, false, false),
    ] {
        assert_eq!(keeps(&all, line), in_all, "{line}");
        assert_eq!(keeps(&marked, line), in_marked, "{line}");
    }
}

#[test]
fn a_traceback_that_follows_is_stored_from_its_own_first_line_on() {
    let rules = rules();
    let header = "Traceback (most recent call last):";
    let frames = "\n  File \"a.py\", line 1, in f\nValueError: no";
    for (line, rest) in [("boom", format!("\n{header}{frames}")), (header, frames.to_owned())] {
        let mut rec = parse(line.as_bytes(), rest.as_bytes(), &rules);
        let got: Value = serde_json::from_slice(&encoded(&mut rec, &rules, 0)).expect("JSON");
        assert_eq!(got["exception"]["traceback"], json!(format!("{header}{frames}")));
    }
}

#[test]
fn by_default_levels_below_the_lowest_name_are_kept_too() {
    let keeps = |rules: &Rules, line: &str| rules.keeps(&parse(line.as_bytes(), b"", rules));
    let debug = rules_with(&[("LOGAGENT_SHIP_MIN_LEVEL", "debug")]);
    for line in [
        r#"{"message":"m","level":0}"#,
        r#"{"message":"m","level":-3}"#,
        r#"{"text":"m","record":{"message":"m","level":{"name":"FINE","no":2}}}"#,
    ] {
        assert!(keeps(&rules(), line), "{line}");
        assert!(!keeps(&debug, line), "{line}");
    }
}

/// Lines written by loguru itself, checked in with what they must become; `tests/data/loguru/make.py` writes them.
#[test]
fn lines_that_loguru_wrote_are_understood_both_ways() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/loguru");
    let rules = rules();
    let mut count = 0;
    for file in std::fs::read_dir(dir).expect("test data") {
        let path = file.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).expect("text").lines() {
            let got = doc(line);
            assert!(got.get("unparsed").is_none(), "{line}");
            assert!(got["pid"].is_i64() && got["logger"].is_string(), "{line}");
            // White space added takes it off the fast path; the record must be the same.
            let spaced = format!(" {line}");
            let fast = parse(line.as_bytes(), b"", &rules);
            let slow = parse(spaced.as_bytes(), b"", &rules);
            assert_eq!(fast, slow);
            count += 1;
        }
    }
    assert!(count >= 20, "{count} lines");
}
