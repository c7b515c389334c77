//! Exceptions of lines, and tracebacks in lines of their own.

use super::*;

#[test]
fn a_traceback_is_taken_out_of_text() {
    let text = r#"- hello world\nTraceback (most recent call last):\n  File \"/srv/a.py\", line 8, in go\n    x\nValueError: first\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"/srv/a.py\", line 9, in main\n    y\nRuntimeError: second\n"#;
    let line = EXACT
        .replace("- hello world\\n", text)
        .replace(
            "\"exception\": null",
            r#""exception": {"type": "RuntimeError", "value": "second", "traceback": true}"#,
        )
        .replace("\"name\": \"INFO\", \"no\": 20", "\"name\": \"ERROR\", \"no\": 40");
    let got = doc(&line);
    let e = &got["exception"];
    assert_eq!((&e["type"], &e["value"]), (&json!("RuntimeError"), &json!("second")));
    let chain = json!([{"type": "ValueError", "value": "first"}, {"type": "RuntimeError", "value": "second"}]);
    assert_eq!(e["chain"], chain);
    let traceback = e["traceback"].as_str().expect("text");
    assert!(
        traceback.starts_with("Traceback (most") && traceback.ends_with("RuntimeError: second"),
        "{traceback}"
    );
    let expected = crate::record::Fingerprint::of_exception("ValueError", "first", "a.py", "go");
    assert_eq!(got["fingerprint"], json!(expected.to_string()));
}

#[test]
fn lines_of_a_traceback_that_follow_belong_to_the_record() {
    let rest = b"Traceback (most recent call last):\n  File \"/srv/a.py\", line 8, in go\n    x\nValueError: bad\n";
    let rules = rules();
    for line in [
        &b"{\"message\":\"m\",\"level\":\"error\"}"[..],
        b"plain",
        EXACT.as_bytes(),
    ] {
        let got = doc_of(line, rest, &rules);
        assert_eq!(got["exception"]["type"], json!("ValueError"));
        assert_eq!(got["exception"]["value"], json!("bad"));
        assert!(
            got["exception"]["traceback"]
                .as_str()
                .is_some_and(|t| t.ends_with("ValueError: bad"))
        );
    }
}

#[test]
fn a_traceback_that_belongs_to_no_record_is_an_error() {
    let rest = b"  File \"/srv/a.py\", line 8, in go\n    x\nValueError: bad";
    let got = doc_of(b"Traceback (most recent call last):", rest, &rules());
    assert_eq!(got["level"], json!("ERROR"));
    assert_eq!(got["message"], json!("ValueError: bad"));
    assert!(got.get("unparsed").is_none());
    let traceback = got["exception"]["traceback"].as_str().expect("text");
    assert!(
        traceback.starts_with("Traceback (most recent call last):\n  File"),
        "{traceback}"
    );
    assert!(got["fingerprint"].is_string());
}

#[test]
fn errors_without_an_exception_have_a_fingerprint_too() {
    let line = |n: u32| format!(r#"{{"level":"error","message":"user {n} is gone","logger":"l","function":"f"}}"#);
    assert_eq!(doc(line(1))["fingerprint"], doc(line(2))["fingerprint"]);
    assert!(doc(r#"{"level":"warning","message":"m"}"#).get("fingerprint").is_none());
}
