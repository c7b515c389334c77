//! The command line as a person and a script meet it: help, exit codes, what goes to which output.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::harness::{logagent, say};

#[test]
fn help_and_version_are_data_and_mistakes_are_usage() {
    let dir = tempfile::tempdir().unwrap();
    let version = say(dir.path(), &["--version"]);
    assert_eq!((version.code, version.err.as_str()), (0, ""));
    assert_eq!(version.out, format!("logagent {}\n", env!("CARGO_PKG_VERSION")));
    for verb in ["run", "search", "dead-letter", "errors", "query", "mcp"] {
        let help = say(dir.path(), &[verb, "--help"]);
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{verb}");
        assert!(help.out.contains("Usage: logagent "), "{verb}");
    }
    for wrong in [
        &["no-such-verb"][..],
        &["run", "--no-such-flag"],
        &["run", "--timeout", "5"],
        &["dead-letter", "retry"],
        &["search", "-o", "xml"],
        &[],
    ] {
        let said = say(dir.path(), wrong);
        assert_eq!(said.code, 2, "{wrong:?}");
        assert_eq!(said.out, "", "{wrong:?}");
        assert!(!said.err.is_empty(), "{wrong:?}");
    }
    assert!(say(dir.path(), &["run", "--timeout", "5"]).err.contains("5s or 5m"));
    assert!(
        say(dir.path(), &["serch"]).err.contains("search"),
        "a near verb is suggested"
    );
}

#[test]
fn completions_and_manual_pages_are_made_for_every_shell_and_verb() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = say(dir.path(), &["completions", shell]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{shell}");
        assert!(said.out.contains("dead-letter"), "{shell}");
    }
    assert!(say(dir.path(), &["man"]).out.contains(".TH logagent"));
    assert_eq!(say(dir.path(), &["man", "pages"]).code, 0);
    let pages = fs::read_dir(dir.path().join("pages")).unwrap().count();
    assert!(pages > 25, "{pages}");
}

#[test]
fn init_creates_the_store_once_and_a_dry_run_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dry = say(dir.path(), &["init", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert!(dry.out.lines().all(|l| l.starts_with("would create ")), "{}", dry.out);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let first = say(dir.path(), &["init"]);
    assert!(
        first.out.lines().any(|l| l == "created          log_events"),
        "{}",
        first.out
    );
    let second = say(dir.path(), &["init"]);
    assert!(
        second.out.lines().all(|l| l.starts_with("unchanged ")),
        "{}",
        second.out
    );
    assert_eq!(first.out.lines().count(), second.out.lines().count());
}

#[test]
fn check_says_one_line_each_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = say(dir.path(), &["check"]);
    assert_eq!(fresh.code, 0, "{}", fresh.out);
    assert_eq!(fresh.out.lines().count(), 7);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "check changes nothing");

    let nobody = say(dir.path(), &["check", "--store", "http://127.0.0.1:1/db"]);
    assert_eq!(nobody.code, 3, "{}", nobody.out);
    assert!(
        nobody.out.contains("store.arangodb.endpoints or ARANGO_URL"),
        "{}",
        nobody.out
    );

    fs::write(dir.path().join("file"), "x").unwrap();
    let away = say(dir.path(), &["check", "--store", "sqlite:file/logs.db"]);
    assert_eq!(away.code, 3, "{}", away.out);
    assert!(away.out.contains("FAIL  store"), "{}", away.out);

    let wrong = logagent(dir.path())
        .arg("check")
        .env("LOGAGENT_DATA_DIR", "file")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let out = String::from_utf8(wrong.stdout).unwrap();
    assert!(
        out.contains("FAIL  data directory  file is no directory; set data_dir"),
        "{out}"
    );

    let long = "x/".repeat(60);
    let wrong = logagent(dir.path())
        .arg("check")
        .env("LOGAGENT_SOCKET_PATH", long)
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stdout).unwrap().contains("FAIL  socket"));
}

#[test]
fn a_database_that_is_none_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    fs::write(&path, "this is no database, and somebody wants to keep it").unwrap();
    let said = say(dir.path(), &["init", "--store", "sqlite:logs.db"]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("logs.db"), "{}", said.err);
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is no database"));
}

#[test]
fn status_without_an_agent_shows_what_the_last_one_left_and_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let none = say(dir.path(), &["status"]);
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    assert!(none.err.contains("logagent run"), "{}", none.err);

    let data = dir.path().join(".logagent");
    fs::create_dir(&data).unwrap();
    let last = r#"{"running":true,"pid":7,"version":"0.1.0","started_at":"2026-11-21T02:20:24.054432Z",
        "updated_at":"2026-11-21T02:21:24.000000Z","host":"web1","records":{"read":5,"stored":4,"dropped":1},
        "sources":[{"kind":"file","path":"logs/a\u001b[2J.jsonl","position":10,"size":30,"lag_bytes":20}]}"#;
    fs::write(data.join("status.json"), last).unwrap();
    let text = say(dir.path(), &["status", "--utc"]);
    assert_eq!(text.code, 1);
    assert!(
        text.out.contains("not running, last seen 2026-11-21 02:21:24Z"),
        "{}",
        text.out
    );
    assert!(text.out.contains("5 read, 4 stored, 1 dropped"), "{}", text.out);
    assert!(
        !text.out.contains('\x1b'),
        "a file's name cannot move the cursor: {:?}",
        text.out
    );

    let json = say(dir.path(), &["status", "-o", "json", "-q"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, json.err.as_str()), (1, ""));
    assert_eq!(value["running"], false);
    assert_eq!(value["records"]["stored"], 4);
}

/// Puts one dead letter into the data directory of `dir`, as the agent does.
fn letter(dir: &std::path::Path, key: &str, record: &str) {
    let letters = logagent::state::dead_letters::DeadLetters::of(&dir.join(".logagent"));
    let rejected = logagent::store::Rejected {
        collection: "log_events".into(),
        key: key.into(),
        reason: "illegal document".into(),
        error_num: Some(1620),
        record: record.into(),
    };
    let now = chrono::Utc::now().timestamp_micros();
    letters
        .add(&[logagent::state::dead_letters::letter(rejected, now)], now)
        .unwrap();
}

fn event(key: &str) -> String {
    format!(
        r#"{{"_key":"{key}","timestamp":"2026-11-21T02:20:24.054432Z","level":"INFO","level_no":20,"message":"hello","execution_id":"x","source":{{"kind":"file","path":"p","stream":"s","offset":0}},"seq":1,"ingested_at":"2026-11-21T02:20:25.000000Z"}}"#
    )
}

#[test]
fn dead_letters_are_listed_shown_delivered_and_dropped_without_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let none = say(dir.path(), &["dead-letter", "list"]);
    assert_eq!(
        (none.code, none.out.as_str(), none.err.as_str()),
        (1, "", "no dead letters\n")
    );

    for key in ["good", "other"] {
        letter(dir.path(), key, &event(key));
    }
    letter(dir.path(), "torn", "{\"_key\":\"torn\"");
    let list = say(dir.path(), &["dead-letter", "list", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(value["total"], 3);
    for field in ["key", "collection", "reason", "error_num", "time", "record"] {
        assert!(value["items"][0].get(field).is_some(), "{field}");
    }
    let few = say(dir.path(), &["dead-letter", "list", "-n", "1"]);
    assert_eq!(few.out.lines().count(), 2, "{}", few.out);
    assert_eq!(few.err, "1 of 3, more with -n\n");

    let one = say(dir.path(), &["dead-letter", "show", "good"]);
    assert!(
        one.out.contains("illegal document") && one.out.contains("\"message\": \"hello\""),
        "{}",
        one.out
    );
    assert_eq!(say(dir.path(), &["dead-letter", "show", "nobody"]).code, 1);

    assert_eq!(say(dir.path(), &["init"]).code, 0);
    let retry = say(dir.path(), &["dead-letter", "retry", "good"]);
    assert_eq!((retry.code, retry.err.as_str()), (0, "1 delivered\n"));
    let again = say(dir.path(), &["dead-letter", "retry", "--all"]);
    assert_eq!(again.code, 3, "{}", again.err);
    assert!(again.err.contains("1 refused again"), "{}", again.err);

    let dropped = say(dir.path(), &["dead-letter", "drop", "torn"]);
    assert_eq!((dropped.code, dropped.err.as_str()), (0, "1 deleted\n"));
    assert_eq!(say(dir.path(), &["dead-letter", "list"]).code, 1);
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..2000 {
        if i % 500 == 0 {
            letter(dir.path(), &format!("k{i}"), &event(&"x".repeat(200_000)));
        }
    }
    let mut child = logagent(dir.path())
        .args(["dead-letter", "list", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(String::from_utf8(out.stderr).unwrap(), "");
}

#[test]
fn a_socket_directory_of_somebody_else_is_found_by_check() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let path = closed.join("a.sock");
    let out = logagent(dir.path())
        .arg("check")
        .env("LOGAGENT_SOCKET_PATH", &path)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    // To the superuser every directory is writable.
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(text.contains("FAIL  socket"), !is_root, "{text}");
}
