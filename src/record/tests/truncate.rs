use super::super::parse;
use super::super::parse::tests::{encoded, rules_with};
use super::*;
use serde_json::{Value, json};

fn doc_with(rules: &Rules, line: &Value) -> Value {
    let line = line.to_string();
    let mut rec = parse(line.as_bytes(), b"", rules);
    serde_json::from_slice(&encoded(&mut rec, rules, 0)).expect("JSON")
}

fn small() -> Rules {
    rules_with(&[
        ("LOGAGENT_TRUNCATE_MESSAGE", "20B"),
        ("LOGAGENT_TRUNCATE_STRING", "16B"),
        ("LOGAGENT_TRUNCATE_LIST", "3"),
    ])
}

#[test]
fn what_is_too_long_is_cut_at_a_character_and_named() {
    let got = doc_with(
        &small(),
        &json!({"message": "é".repeat(15), "a": "x".repeat(17), "b": {"c": [1, 2, 3, 4], "d": "\"".repeat(17)}, "e": "x".repeat(16), "tags": ["a", "b", "c", "d"]}),
    );
    assert_eq!(got["message"], json!("é".repeat(10)));
    assert_eq!(got["tags"], json!(["a", "b", "c"]));
    let extra = json!({"a": "x".repeat(16), "b": {"c": [1, 2, 3], "d": "\"".repeat(16)}, "e": "x".repeat(16)});
    assert_eq!(got["extra_data"], extra);
    let truncated = json!(["message", "tags", "extra_data.a", "extra_data.b.c", "extra_data.b.d"]);
    assert_eq!(got["truncated"], truncated);
}

#[test]
fn embeddings_are_exempt() {
    let got = doc_with(
        &small(),
        &json!({"message": "m", "embeddings": vec![0.5; 50], "x": {"embedding": vec![1; 50]}}),
    );
    assert_eq!(got["embeddings"], json!(vec![0.5; 50]));
    assert_eq!(got["extra_data"]["x"]["embedding"], json!(vec![1; 50]));
    assert!(got.get("truncated").is_none());
}

#[test]
fn with_the_defaults_small_things_are_whole_and_large_ones_within_their_caps() {
    let rules = rules_with(&[]);
    let got = doc_with(
        &rules,
        &json!({"message": "m".repeat(32 << 10), "s": "s".repeat(8 << 10), "l": vec![1; 1000]}),
    );
    assert!(got.get("truncated").is_none());
    let got = doc_with(
        &rules,
        &json!({"message": "m".repeat((32 << 10) + 1), "s": "s".repeat((8 << 10) + 1), "l": vec![1; 1001]}),
    );
    assert_eq!(got["message"].as_str().map(str::len), Some(32 << 10));
    assert_eq!(got["extra_data"]["s"].as_str().map(str::len), Some(8 << 10));
    assert_eq!(got["extra_data"]["l"].as_array().map(Vec::len), Some(1000));
    assert_eq!(got["truncated"], json!(["message", "extra_data.l", "extra_data.s"]));
}

#[test]
fn of_a_traceback_both_ends_stay() {
    let trace = format!(
        "Traceback (most recent call last):\n{}ValueError: the end",
        "  File \"a.py\", line 1, in f\n".repeat(5000)
    );
    let got = doc_with(&rules_with(&[]), &json!({"message": "m", "exception": trace}));
    let kept = got["exception"]["traceback"].as_str().expect("text");
    assert!(kept.starts_with("Traceback") && kept.ends_with("ValueError: the end") && kept.len() < 33 << 10);
    assert_eq!(got["exception"]["value"], json!("the end"));
    assert_eq!(got["truncated"], json!(["exception.traceback"]));
}

#[test]
fn a_document_is_brought_under_its_cap_by_its_biggest_parts() {
    let rules = rules_with(&[
        ("LOGAGENT_TRUNCATE_DOCUMENT", "4KiB"),
        ("LOGAGENT_TRUNCATE_MESSAGE", "4KiB"),
        ("LOGAGENT_TRUNCATE_STRING", "4KiB"),
    ]);
    let objects: Vec<Value> = (0..500).map(|i| json!({"i": i, "s": "\"x\""})).collect();
    let many: serde_json::Map<String, Value> = (0..300).map(|i| (format!("k{i}"), json!("some text"))).collect();
    for line in [
        json!({"message": "\"".repeat(9000), "small": "stays"}),
        json!({"message": "stays", "small": "stays", "list": objects}),
        json!({"message": "stays", "small": "stays", "map": many}),
        json!({"message": "stays", "small": "stays", "deep": {"a": {"b": ["x".repeat(8000)]}}}),
        json!({"message": "stays", "small": "stays", "embeddings": vec![0.25; 5000]}),
        json!({"message": "stays", "small": "stays", "exception": format!("Traceback (most recent call last):\nE: {}", "v".repeat(20000))}),
    ] {
        let text = line.to_string();
        let mut rec = parse(text.as_bytes(), b"", &rules);
        let out = encoded(&mut rec, &rules, 0);
        assert!(out.len() <= 4096, "{} bytes", out.len());
        let got: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(got["extra_data"]["small"], json!("stays"));
        assert!(got["truncated"].is_array());
        assert_eq!(line["message"] == json!("stays"), got["message"] == json!("stays"));
        for (name, value) in line.as_object().expect("an object") {
            if let Some(stored) = got["extra_data"].get(name) {
                assert_eq!(
                    std::mem::discriminant(stored),
                    std::mem::discriminant(value),
                    "{name} changed its type"
                );
            }
        }
    }
}

#[test]
fn escapes_are_cut_between_never_within() {
    assert_eq!(cut_at("abc", 3), None);
    assert_eq!(cut_at("\\n\\n\\n", 3), None);
    assert_eq!(cut_at("\\n\\n\\n", 2), Some(4));
    assert_eq!(cut_at("a\\ud83d\\ude00b", 4), Some(1));
    assert_eq!(cut_at("a\\ud83d\\ude00b", 5), Some(13));
    assert_eq!(cut_at("éé", 3), Some(2));
}
