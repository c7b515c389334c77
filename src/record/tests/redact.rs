use super::super::parse::tests::{encoded, rules_with};
use super::super::{Rules, parse};
use super::*;
use serde_json::{Value, json};

fn doc_with(rules: &Rules, line: &str) -> Value {
    let mut rec = parse(line.as_bytes(), b"", rules);
    serde_json::from_slice(&encoded(&mut rec, rules, 0)).expect("JSON")
}

fn doc(line: &Value) -> Value {
    doc_with(&rules_with(&[]), &line.to_string())
}

/// Put together here, so that no scanner takes this file for a leak.
fn secret(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn secrets_known_by_their_form_are_hidden_in_messages() {
    let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0";
    for (kind, text) in [
        ("aws_access_key", secret(&["AKIA", "IOSFODNN7EXAMPLE"])),
        ("github_token", secret(&["ghp_", &long[..36]])),
        ("github_token", secret(&["github_pat_", long])),
        ("gitlab_token", secret(&["glpat-", &long[..20]])),
        ("slack_token", secret(&["xoxb-", "123456789012-abcdef"])),
        ("api_key", secret(&["sk-", &long[..32]])),
        ("api_key", secret(&["sk-proj-", long])),
        ("api_key", secret(&["sk-ant-api03-", long])),
        ("google_key", secret(&["AIza", &long[..35]])),
        (
            "jwt",
            secret(&["eyJ", "hbGciOiJIUzI1NiJ9", ".eyJ", "zdWIiOiIxMjM0In0", ".c2ln-_"]),
        ),
        ("npm_token", secret(&["npm_", &long[..36]])),
        ("huggingface_token", secret(&["hf_", &long[..34]])),
        ("stripe_key", secret(&["sk_live_", &long[..24]])),
        ("sendgrid_key", secret(&["SG.", &long[..22], ".", long])),
    ] {
        let got = doc(&json!({"message": format!("using {text} now")}));
        assert_eq!(got["message"], json!(format!("using [REDACTED:{kind}] now")), "{kind}");
        assert_eq!(got["redacted"], json!([kind]));
        // Behind a line feed, whose escape ends in a letter.
        let got = doc(&json!({"message": format!("using\n{text}")}));
        assert_eq!(got["message"], json!(format!("using\n[REDACTED:{kind}]")), "{kind}");
    }
}

#[test]
fn of_headers_and_urls_only_the_secret_is_hidden() {
    for (message, expected) in [
        (
            "Authorization: Bearer abc123DEF456",
            "Authorization: Bearer [REDACTED:bearer]",
        ),
        (
            "authorization: bearer abc123DEF456==, next",
            "authorization: bearer [REDACTED:bearer], next",
        ),
        (
            "{'Authorization': 'Bearer mysecrettoken'} sent",
            "{'Authorization': 'Bearer [REDACTED:bearer]'} sent",
        ),
        (
            "with bearer abcdefghijklmnopqrstuvwxyz",
            "with bearer [REDACTED:bearer]",
        ),
        (
            "Authorization: Basic dXNlcjpwYXNzd29yZA==",
            "Authorization: Basic [REDACTED:basic_auth]",
        ),
        (
            "connect postgres://joe:s3cret@db:5432/x",
            "connect postgres://joe:[REDACTED:url_password]@db:5432/x",
        ),
        ("redis://:pw@cache/0 up", "redis://:[REDACTED:url_password]@cache/0 up"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [REDACTED:aws_secret_key]",
        ),
    ] {
        let got = doc(&json!({"message": message}));
        assert_eq!(got["message"], json!(expected));
    }
}

#[test]
fn a_private_key_is_hidden_whole() {
    let key = secret(&[
        "-----BEGIN RSA PRIVATE",
        " KEY-----\nMIIE\nabc\n-----END RSA PRIVATE",
        " KEY-----",
    ]);
    let got = doc(&json!({"message": format!("key:\n{key}\ndone")}));
    assert_eq!(got["message"], json!("key:\n[REDACTED:private_key]\ndone"));
}

#[test]
fn prose_is_left_alone() {
    for message in [
        "Bearer authentication failed, basic functionality only",
        "risk-assessment-of-everything-else and task-abcdefghijklmnopqrstuvwxyz0123",
        "sk-learn and sk-internationalization-of-things",
        "see https://example.com/a:b@c and http://user@host:80/",
        "basic understanding of tokens, 5 tokens left, token expired",
        "AKIA is short, eyJ too",
    ] {
        let got = doc(&json!({"message": message}));
        assert_eq!(got["message"], json!(message));
        assert!(got.get("redacted").is_none());
    }
}

#[test]
fn fields_are_hidden_by_whole_words_of_their_name() {
    let got = doc(
        &json!({"message": "m", "api_token": "x", "apiToken": "x", "API-TOKEN": "x", "userPassword": "x",
        "x-api-key": "x", "apikey": "x", "Authorization": "x", "tokens_in": "x", "tokenizer": "x", "secretary": "x",
        "token": 5, "secret": true, "password": null, "passwd": "", "token2": "x"}),
    );
    let extra = &got["extra_data"];
    for name in [
        "api_token",
        "apiToken",
        "API-TOKEN",
        "userPassword",
        "x-api-key",
        "apikey",
        "Authorization",
        "token2",
    ] {
        assert!(
            extra[name].as_str().is_some_and(|s| s.starts_with("[REDACTED:")),
            "{name}"
        );
    }
    for name in ["tokens_in", "tokenizer", "secretary"] {
        assert_eq!(extra[name], json!("x"), "{name}");
    }
    assert_eq!(
        (&extra["token"], &extra["secret"], &extra["password"]),
        (&json!(5), &json!(true), &json!(null))
    );
    assert_eq!(extra["passwd"], json!(""));
    let mut kinds: Vec<&str> = got["redacted"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["api_key", "authorization", "password", "token"]);
}

#[test]
fn what_is_nested_is_hidden_too() {
    let got = doc(
        &json!({"message": "m", "config": {"db": {"password": "x", "port": 1}, "urls": ["a://u:p@h"]},
        "secret": {"a": ["x", 1], "b": "y"}}),
    );
    let extra = &got["extra_data"];
    assert_eq!(
        extra["config"]["db"],
        json!({"password": "[REDACTED:password]", "port": 1})
    );
    assert_eq!(extra["config"]["urls"], json!(["a://u:[REDACTED:url_password]@h"]));
    assert_eq!(
        extra["secret"],
        json!({"a": ["[REDACTED:secret]", 1], "b": "[REDACTED:secret]"})
    );
}

#[test]
fn exceptions_runs_and_learnings_hide_their_secrets() {
    let rules = rules_with(&[]);
    let line = json!({"event": "run_end", "status": "failed", "error": "no login at db://u:pw@h", "exception": "E: db://u:pw@h"});
    let line = line.to_string();
    let rec = parse(line.as_bytes(), b"", &rules);
    let shown = format!("{rec:?}");
    assert!(!shown.contains(":pw@"), "{shown}");
    let line = json!({"event": "learning", "message": "m", "context": {"password": "pw1"}}).to_string();
    let rec = parse(line.as_bytes(), b"", &rules);
    assert!(!format!("{rec:?}").contains("pw1"));
    let rest = b"Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nE: db://u:pw@h";
    assert!(!format!("{:?}", parse(b"plain", rest, &rules)).contains(":pw@"));
}

#[test]
fn escapes_do_not_hide_a_secret_nor_a_name() {
    let rules = rules_with(&[]);
    let got = doc_with(&rules, r#"{"message":"a:\/\/u:pw@h","pass\u0077ord":"x"}"#);
    assert_eq!(got["message"], json!("a://u:[REDACTED:url_password]@h"));
    assert_eq!(got["extra_data"]["password"], json!("[REDACTED:password]"));
}

#[test]
fn own_patterns_are_hidden_and_a_faulty_one_is_named() {
    let mut settings = crate::config::Redact {
        enabled: true,
        patterns: vec![r"cust-\d+".into()],
        fields: vec![],
    };
    let redactor = Redactor::new(&settings).expect("valid");
    let mut kinds = Vec::new();
    assert_eq!(
        redactor.scrub("a \\\"cust-12\\\" b", &mut kinds).as_deref(),
        Some("a \\\"[REDACTED:pattern]\\\" b")
    );
    assert_eq!(kinds, ["pattern"]);
    settings.patterns = vec!["(".into()];
    let error = Redactor::new(&settings).expect_err("faulty");
    assert!(error.contains("redact.patterns") && error.contains("\"(\""), "{error}");
}

#[test]
fn nothing_is_hidden_when_switched_off() {
    let rules = rules_with(&[("LOGAGENT_REDACT_ENABLED", "false")]);
    let got = doc_with(&rules, r#"{"message":"a://u:pw@h","password":"x"}"#);
    assert_eq!(
        (&got["message"], &got["extra_data"]["password"]),
        (&json!("a://u:pw@h"), &json!("x"))
    );
}

/// A secret that its pattern takes, for each anchor.
fn sample(anchor: &str) -> String {
    let (letters, hex) = (
        "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0",
        "0123456789abcdef0123456789abcdef01234567",
    );
    match anchor {
        "AKIA" | "ASIA" => format!("{anchor}IOSFODNN7EXAMPLE"),
        "ecret_access_key" | "ECRET_ACCESS_KEY" | "ecretAccessKey" => format!("{anchor} = {letters}"),
        "hooks.slack.com/" => format!("https://{anchor}services/{letters}"),
        "xoxb-" | "xoxp-" | "xoxa-" | "xoxr-" | "xoxs-" | "xoxe-" | "xapp-" => format!("{anchor}12345678901234"),
        "sk-" => format!("{anchor}{}", &letters[..16]),
        "lsv2_" => format!("{anchor}pt_{letters}"),
        ".eyJ" => "eyJhbGciOiJI.eyJzdWIiOiIx.".to_owned(),
        "earer " | "EARER " => format!("{anchor}abc12345"),
        "asic " | "ASIC " => format!("{anchor}dXNlcjpwYXNzd29yZA=="),
        "-----BEGIN " => {
            let body = format!("{letters}{}", &letters[..24]);
            format!("{anchor}RSA PRIVATE KEY-----\\n{body}\\n-----END RSA PRIVATE KEY-----")
        }
        "://" => "redis://:pw@cache".to_owned(),
        "SG." => format!("{anchor}{}.{}", &letters[..22], letters),
        "dop_v1_" | "doo_v1_" | "shpat_" | "shpss_" => {
            format!("{anchor}{}", if anchor.starts_with('s') { &hex[..32] } else { hex })
        }
        _ => format!("{anchor}{letters}"),
    }
}

#[test]
fn the_quick_pass_notices_every_known_form_wherever_it_stands() {
    let rules = rules_with(&[]);
    let redactor = rules.redactor.as_ref().unwrap();
    for anchor in SECRETS.iter().flat_map(|s| s.anchors) {
        let secret = sample(anchor);
        for before in 0..140 {
            let text = format!("{} {secret} and so on", "word ".repeat(30).get(..before).unwrap());
            assert!(redactor.known(&text, &mut Vec::new()).is_some(), "{text}");
            assert!(redactor.suspects(&text), "{text}");
            let quoted = format!("{{\"{}\": \"{secret}\"}}", "k".repeat(before));
            assert!(redactor.suspects(&quoted), "{quoted}");
            let behind = format!("{}\\n{secret}", "word,".repeat(30).get(..before).unwrap());
            assert!(
                redactor.known(&behind, &mut Vec::new()).is_none() || redactor.suspects(&behind),
                "{behind}"
            );
        }
    }
    for hiding in HIDING {
        assert!(redactor.suspects(&format!("some words {hiding}5 more")), "{hiding}");
    }
}

#[test]
fn ordinary_lines_are_passed_quickly() {
    for text in [
        "slow call took 1477.9 ms: compacted memory embedding edge call parsed insert compacted recall response",
        r#"{"seq": 0, "execution_id": "exec_74981e35049e", "script_name": "edge_builder.py", "tags": ["slow", "db"]}"#,
        "read /srv/data/2026-11-21/input.csv in 12 ms\\n  and wrote it",
    ] {
        assert!(!suspicion::suspicious(text), "{text}");
    }
}
