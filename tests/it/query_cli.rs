//! The reading verbs through the real program, on a small known history.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Said, logagent, say};
use crate::sample::{self, A, B, BAD_ROW, C, D, DAY, E, Ev, TIMEOUT, at, key};

fn ask(dir: &tempfile::TempDir, args: &[&str]) -> Said {
    say(dir.path(), args)
}

fn json(dir: &tempfile::TempDir, args: &[&str]) -> Value {
    let said = ask(dir, &[args, &["-o", "json"]].concat());
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}\n{}", said.out, said.err))
}

fn items(dir: &tempfile::TempDir, args: &[&str]) -> Vec<Value> {
    json(dir, args)["items"].as_array().cloned().unwrap_or_default()
}

fn keys(dir: &tempfile::TempDir, args: &[&str]) -> Vec<String> {
    items(dir, args)
        .iter()
        .map(|i| i["_key"].as_str().unwrap_or("").to_owned())
        .collect()
}

fn column(items: &[Value], name: &str) -> Vec<String> {
    items
        .iter()
        .map(|i| i[name].as_str().unwrap_or("").to_owned())
        .collect()
}

#[test]
fn search_finds_words_in_message_exception_function_script_and_tags() {
    let dir = sample::directory();
    assert_eq!(keys(&dir, &["search", "customers"]), [key(B, 0)]);
    assert_eq!(
        keys(&dir, &["search", "ValueError"]),
        [key(B, 2)],
        "the type of the root cause"
    );
    assert_eq!(keys(&dir, &["search", "load"]), [key(B, 2)], "the function");
    assert_eq!(keys(&dir, &["search", "\"import job\""]), [key(A, 5)], "a tag");
    assert_eq!(keys(&dir, &["search", "etl", "customers"]), [key(B, 0)], "the script");
    assert_eq!(
        keys(&dir, &["search", "CUSTOM*"]),
        [key(B, 0)],
        "a prefix, whatever its case"
    );
    assert_eq!(keys(&dir, &["search", "query failed -9"]), [key(C, 1)]);
    let said = ask(&dir, &["search", "nowhere"]);
    assert_eq!(said.code, 1);
    assert!(said.out.is_empty(), "{}", said.out);
    assert!(said.err.contains("0 of 0"), "{}", said.err);
}

#[test]
fn search_without_words_shows_the_newest_first_and_pages_by_cursor() {
    let dir = sample::directory();
    let all = keys(&dir, &["search", "-n", "1000"]);
    assert_eq!(all.len(), 43);
    assert_eq!(all[0], key(E, 0));
    let mut paged = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args = vec!["search", "-n", "10"];
        if let Some(c) = &cursor {
            args.extend(["--cursor", c]);
        }
        let page = json(&dir, &args);
        assert_eq!(page["total"], 43);
        assert_eq!(page["returned"], page["items"].as_array().map_or(0, Vec::len));
        assert_eq!(page["truncated"], !page["next_cursor"].is_null());
        paged.extend(column(page["items"].as_array().unwrap(), "_key"));
        match page["next_cursor"].as_str() {
            Some(c) => cursor = Some(c.to_owned()),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let mut reversed = keys(&dir, &["search", "-n", "1000", "-r"]);
    reversed.reverse();
    assert_eq!(reversed, all);
    let said = ask(&dir, &["search", "-l", "error", "--cursor", &cursor_of(&dir)]);
    assert_eq!(said.code, 2, "a cursor of another question: {}", said.err);
}

fn cursor_of(dir: &tempfile::TempDir) -> String {
    json(dir, &["search", "-n", "1"])["next_cursor"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn words_are_ranked_and_paged_too() {
    let dir = sample::directory();
    let first = json(&dir, &["search", "processed", "-n", "20"]);
    assert_eq!(
        (first["total"].as_u64(), first["returned"].as_u64()),
        (Some(30), Some(20))
    );
    assert!(first["items"][0]["score"].as_f64().unwrap() > 0.0);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = json(&dir, &["search", "processed", "-n", "20", "--cursor", cursor]);
    assert_eq!(second["returned"], 10);
    let by_time = keys(&dir, &["search", "processed", "--sort", "time", "-n", "2"]);
    assert_eq!(by_time, [key(A, 29), key(A, 28)]);
    let some = ask(&dir, &["search", "customers", "unicorn"]);
    assert_eq!(
        some.code, 0,
        "events that have some of the words are shown where none has all"
    );
    assert!(some.err.contains("no event has all of these words"), "{}", some.err);
}

#[test]
fn every_shared_flag_narrows_what_is_found() {
    let dir = sample::directory();
    let count = |args: &[&str]| keys(&dir, &[&["search", "-n", "1000"], args].concat()).len();
    assert_eq!(count(&["-l", "error"]), 4, "ERROR and CRITICAL");
    assert_eq!(count(&["-l", "warning"]), 5);
    assert_eq!(count(&["-l", "50"]), 1);
    assert_eq!(count(&["-e", B]), 4);
    assert_eq!(count(&["-s", "report"]), 9);
    assert_eq!(count(&["--host", "web1"]), 43);
    assert_eq!(count(&["--tag", "import job"]), 1);
    assert_eq!(count(&["-g", "row 1[0-9]$"]), 1, "in an exception's chain");
    assert_eq!(count(&["-g", r"processed 1\d rows"]), 10);
    assert_eq!(count(&["-S", "2026-11-10T12:00:00Z", "-U", "2026-11-10T12:59:59Z"]), 4);
    assert_eq!(count(&["-S", "1h"]), 0);
    assert_eq!(count(&["level=error"]), 3);
    assert_eq!(count(&["level=error", "level=CRITICAL"]), 4, "the same field: either");
    assert_eq!(count(&["extra_data.user=1"]), 7);
    assert_eq!(
        count(&["extra_data.user=1", "extra_data.ok=false"]),
        7,
        "different fields: both"
    );
    assert_eq!(count(&["extra_data.user=1", "extra_data.ok=true"]), 0);
    assert_eq!(count(&["extra_data.batch.size=7"]), 1);
    assert_eq!(count(&["exception.type=TimeoutError"]), 2);
    assert_eq!(count(&["source.kind=file"]), 43);
    assert_eq!(count(&["tags=nightly"]), 29);
    assert_eq!(count(&["line_number=10"]), 5);
    assert_eq!(count(&["event=fix"]), 1);
}

#[test]
fn faulty_arguments_are_explained_and_end_with_2() {
    let dir = sample::directory();
    for (args, hint) in [
        (&["search", "mesage=x"][..], "did you mean message?"),
        (&["search", "-l", "loud"], "unknown level"),
        (&["search", "-S", "soon"], "cannot read the time"),
        (&["search", "-S", "1h", "-U", "2h"], "later than --until"),
        (&["search", "-g", "("], "--grep"),
        (&["search", "--cursor", "x"], "no cursor"),
        (&["search", "!!"], "no word"),
        (&["stats", "--by", "a,b,c"], "unknown field"),
        (&["stats", "--by", "level,host,pid"], "one or two"),
        (&["errors", "a", "b"], "one execution"),
        (&["errors", C, "--context", "x"], "duration"),
    ] {
        let said = ask(&dir, args);
        assert_eq!(said.code, 2, "{args:?}: {}", said.err);
        assert!(said.err.contains(hint), "{args:?}: {}", said.err);
        assert!(said.out.is_empty());
    }
}

#[test]
fn where_nothing_is_found_the_reason_is_said() {
    let dir = sample::directory();
    let window = ask(&dir, &["search", "customers", "-S", "10m"]);
    assert_eq!(window.code, 1);
    assert!(
        window.err.contains("earlier data exists, the newest from 2026-11-10"),
        "{}",
        window.err
    );
    let script = ask(&dir, &["search", "-s", "elt"]);
    assert!(
        script.err.contains("no stored event has script_name=elt"),
        "{}",
        script.err
    );
    let level = ask(&dir, &["search", "customers", "level=LOUD"]);
    assert!(level.err.contains("no stored event has level=LOUD"), "{}", level.err);
    let word = ask(&dir, &["search", "zzzz"]);
    assert!(word.err.contains("try other words"), "{}", word.err);
    let quiet = ask(&dir, &["search", "-s", "elt", "-q"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (1, ""));
    let empty = tempfile::tempdir().unwrap();
    let said = say(empty.path(), &["search", "x"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("logagent run"), "{}", said.err);
    sample::store(
        &empty.path().join(".logagent/logs.db"),
        logagent::store::Batch::default(),
    );
    let said = say(empty.path(), &["search", "x"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("holds no events yet"), "{}", said.err);
}

#[test]
fn text_is_one_short_line_an_event_and_jsonl_one_item_a_line() {
    let dir = sample::directory();
    let said = ask(&dir, &["search", "-e", B, "-r", "--utc"]);
    let short: Vec<String> = (0..4).map(|n| key(B, n)[..18].to_owned()).collect();
    let want = format!(
        "2026-11-10 11:00:00.000 INFO     etl:main starting import of customers [{}]\n\
         2026-11-10 11:00:01.000 WARNING  etl:main row 17 looks odd [{}]\n\
         2026-11-10 11:00:02.000 ERROR    etl:load import failed: see exception ⟵ ValueError: bad row 17 [{}]\n\
         2026-11-10 11:00:20.000 INFO     etl:main cleaning up [{}]\n",
        short[0], short[1], short[2], short[3]
    );
    assert_eq!(said.out, want);
    assert_eq!(said.err, "4 of 4 of all time\n");
    let lines = ask(&dir, &["search", "-e", B, "-o", "jsonl"]);
    assert_eq!(lines.out.lines().count(), 4);
    for line in lines.out.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|v| v["execution_id"] == B));
    }
}

#[test]
fn get_shows_one_event_whole_with_its_neighbours() {
    let dir = sample::directory();
    let whole = json(&dir, &["get", &key(B, 2)]);
    assert_eq!(whole["exception"]["chain"][0]["type"], "ValueError");
    assert_eq!(whole["source"]["offset"], 2);
    assert!(whole.get("before").is_none());
    let near = json(&dir, &["get", &key(B, 2), "-B", "1", "-A", "5"]);
    assert_eq!(column(near["before"].as_array().unwrap(), "_key"), [key(B, 1)]);
    assert_eq!(column(near["after"].as_array().unwrap(), "_key"), [key(B, 3)]);
    let around = json(&dir, &["get", &key(A, 10), "-C", "2"]);
    assert_eq!(
        column(around["before"].as_array().unwrap(), "_key"),
        [key(A, 8), key(A, 9)]
    );
    let start = &key(B, 2)[..18];
    assert_eq!(
        json(&dir, &["get", start])["_key"],
        key(B, 2),
        "as much of a key as lists show"
    );
    let ambiguous = ask(&dir, &["get", &key(B, 2)[..12]]);
    assert_eq!(ambiguous.code, 2, "{}", ambiguous.err);
    let text = ask(&dir, &["get", &key(B, 2), "--utc"]);
    assert!(text.out.contains("in load"), "the traceback: {}", text.out);
    let lines = ask(&dir, &["get", &key(B, 2), "-C", "1", "-o", "jsonl"]);
    assert_eq!(lines.out.lines().count(), 3);
    let missing = ask(&dir, &["get", "nosuchkey"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("no event has the key"), "{}", missing.err);
}

#[test]
fn errors_are_grouped_by_fingerprint_with_their_state() {
    let dir = sample::directory();
    let groups = items(&dir, &[&["errors"], &DAY[..]].concat());
    assert_eq!(column(&groups, "fingerprint"), [TIMEOUT, BAD_ROW], "the newest first");
    let timeout = &groups[0];
    assert_eq!(timeout["count"], 2);
    assert_eq!(timeout["state"], "returned", "it came back after its fix");
    assert_eq!(timeout["fix_description"], "raised the pool size to 20");
    assert_eq!(timeout["first_seen"], "2026-11-10T12:00:30.000000Z");
    assert_eq!(timeout["last_seen"], "2026-11-10T13:00:30.000000Z");
    assert_eq!(timeout["root_cause"], "TimeoutError: database timed out after 30 s");
    assert_eq!(timeout["example_key"], key(D, 1));
    assert_eq!(timeout["executions"], serde_json::json!([D, C]));
    let bad_row = &groups[1];
    assert_eq!(bad_row["scripts"], serde_json::json!(["etl", "report"]));
    assert_eq!(bad_row["state"], "open");
    let before = items(
        &dir,
        &["errors", "-S", "2026-11-10", "-U", "2026-11-10T12:30:00Z", "--utc"],
    );
    assert_eq!(column(&before, "fingerprint"), [BAD_ROW, TIMEOUT]);
    assert_eq!(before[1]["count"], 1, "only within the window is counted");
    let new = items(&dir, &["errors", "--new", "-S", "2026-11-10T12:30:00Z"]);
    assert!(new.is_empty(), "seen before the window");
    let new = items(&dir, &["errors", "--new", "-S", "2026-11-10T11:30:00Z"]);
    assert_eq!(column(&new, "fingerprint"), [TIMEOUT]);
    let report = items(
        &dir,
        &[&["errors", "-s", "report", "level=critical"], &DAY[..]].concat(),
    );
    assert_eq!(column(&report, "fingerprint"), [BAD_ROW]);
    let today = ask(&dir, &["errors"]);
    assert_eq!(today.code, 1, "the last 24 hours are empty");
    assert!(today.err.contains("earlier data exists"), "{}", today.err);
    let text = ask(&dir, &[&["errors", "--utc"], &DAY[..]].concat());
    assert!(
        text.out
            .starts_with("returned     2×  TimeoutError: database timed out"),
        "{}",
        text.out
    );
}

#[test]
fn errors_of_an_execution_come_with_what_happened_around_them() {
    let dir = sample::directory();
    let found = items(&dir, &["errors", C]);
    assert_eq!(column(&found, "_key"), [key(C, 2), key(C, 1)]);
    assert_eq!(
        found[1]["context"],
        serde_json::json!([]),
        "only of the error that ended the run, unless asked"
    );
    assert!(!found[0]["context"].as_array().unwrap().is_empty());
    let asked = items(&dir, &["errors", C, "--context", "5s"]);
    assert_eq!(
        column(asked[1]["context"].as_array().unwrap(), "_key"),
        [key(C, 2)],
        "±5 s"
    );
    assert_eq!(found[1]["resolved"], true);
    assert_eq!(found[1]["fix_description"], "raised the pool size to 20");
    assert!(found[0].get("resolved").is_none());
    let wide = items(&dir, &["errors", C, "--context", "2m", "-r"]);
    assert_eq!(
        column(wide[0]["context"].as_array().unwrap(), "_key"),
        [key(C, 0), key(C, 2), key(C, 3)]
    );
    let text = ask(&dir, &["errors", C, "--utc"]);
    assert!(
        text.out.contains("▶ ") && text.out.contains("/srv/report.py:11 in main"),
        "{}",
        text.out
    );
    let fine = ask(&dir, &["errors", A]);
    assert_eq!(fine.code, 1);
    assert!(fine.err.contains("no such errors"), "{}", fine.err);
}

#[test]
fn stats_count_by_fields_and_show_what_there_is() {
    let dir = sample::directory();
    let stats = |args: &[&str]| items(&dir, &[&["stats", "-n", "100"], args, &DAY[..]].concat());
    let levels = stats(&["--by", "level"]);
    assert_eq!(
        column(&levels, "level"),
        ["INFO", "DEBUG", "ERROR", "CRITICAL", "WARNING"]
    );
    assert_eq!(levels[0]["count"], 28);
    let both = stats(&["--by", "script,level", "-l", "error"]);
    let pairs: Vec<_> = both
        .iter()
        .map(|g| (g["script"].clone(), g["level"].clone(), g["count"].clone()))
        .collect();
    assert_eq!(pairs.len(), 3);
    assert_eq!(pairs[0], ("report".into(), "ERROR".into(), 2.into()));
    let hours = stats(&["--by", "hour"]);
    assert_eq!(column(&hours, "hour")[0], "2026-11-10T14");
    assert_eq!(column(&stats(&["--by", "day"]), "day"), ["2026-11-10"]);
    let users = stats(&["--by", "extra_data.user", "-s", "etl"]);
    assert_eq!(users.iter().map(|g| g["count"].as_u64().unwrap()).sum::<u64>(), 34);
    let tags = stats(&["--by", "tag"]);
    assert!(
        tags.iter().any(|g| g["tag"] == "import job" && g["count"] == 1),
        "{tags:?}"
    );
    let overview = json(&dir, &[&["stats"], &DAY[..]].concat());
    assert_eq!(overview["events"], 43);
    assert_eq!(overview["scripts"][0]["script"], "etl");
    assert_eq!(overview["first_seen"], "2026-11-10T10:00:00.000000Z");
}

#[test]
fn runs_are_listed_newest_first_with_status_duration_and_errors() {
    let dir = sample::directory();
    let runs = |args: &[&str]| items(&dir, &[&["runs"], args, &DAY[..]].concat());
    let all = runs(&[]);
    assert_eq!(column(&all, "execution_id"), [E, D, C, B, A]);
    assert_eq!(
        column(&all, "status"),
        ["running", "success", "failed", "failed", "success"]
    );
    let errors: Vec<_> = all.iter().map(|r| r["errors"].as_u64().unwrap()).collect();
    assert_eq!(errors, [0, 1, 2, 1, 0]);
    assert_eq!(all[4]["duration_seconds"], 149.0);
    assert_eq!(all[4]["metadata"]["env"], "staging");
    assert_eq!(column(&runs(&["--status", "failed"]), "execution_id"), [C, B]);
    assert_eq!(column(&runs(&["-s", "etl"]), "execution_id"), [B, A]);
    assert_eq!(column(&runs(&["metadata.env=staging"]), "execution_id"), [D, A]);
    assert_eq!(column(&runs(&["-l", "error", "-s", "report"]), "execution_id"), [D, C]);
    assert_eq!(column(&runs(&["-g", "customers"]), "execution_id"), [B]);
    assert_eq!(column(&runs(&["-r", "-n", "1"]), "execution_id"), [A]);
    let page = json(&dir, &[&["runs", "-n", "2"], &DAY[..]].concat());
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = items(&dir, &[&["runs", "-n", "2", "--cursor", cursor], &DAY[..]].concat());
    assert_eq!(column(&next, "execution_id"), [C, B]);
    let text = ask(
        &dir,
        &[&["runs", "--columns", "metadata.version", "--utc"], &DAY[..]].concat(),
    );
    let lines: Vec<&str> = text.out.lines().collect();
    assert!(
        lines[0].starts_with("status   script  started") && lines[0].ends_with("metadata.version"),
        "{}",
        text.out
    );
    assert!(lines[5].contains("2m 29s") && lines[5].ends_with("1.2"), "{}", text.out);
    let none = ask(&dir, &["runs"]);
    assert_eq!(none.code, 1);
    assert!(none.err.contains("widen --since"), "{}", none.err);
}

#[test]
fn summary_says_how_a_run_went() {
    let dir = sample::directory();
    let s = json(&dir, &["summary", C]);
    assert_eq!(s["run"]["status"], "failed");
    assert_eq!(s["total_events"], 4);
    assert_eq!(s["levels"][0], serde_json::json!({"level": "CRITICAL", "count": 1}));
    assert_eq!(s["first_error"]["_key"], key(C, 1));
    assert_eq!(s["last_error"]["_key"], key(C, 2));
    assert_eq!(s["more_errors"], 0);
    assert_eq!(s["learnings"][0]["learning"], "the API allows 5 requests a second");
    let s = json(&dir, &["summary", A]);
    assert_eq!(s["gaps"][0]["seconds"], 121.0);
    assert_eq!(s["gaps"][0]["after_key"], key(A, 9));
    assert_eq!(s["templates"][0]["count"], 30);
    let last = json(&dir, &["summary", "last"]);
    assert_eq!(last["execution_id"], E);
    let text = ask(&dir, &["summary", B, "--utc"]);
    assert!(
        text.out
            .contains("failed  etl on web1, from 2026-11-10 11:00:00.000, 20s"),
        "{}",
        text.out
    );
    let missing = ask(&dir, &["summary", "nobody"]);
    assert_eq!(missing.code, 1);
}

#[test]
fn following_shows_each_new_event_in_under_a_second() {
    let dir = sample::directory();
    let mut child = logagent(dir.path())
        .args(["search", "-f", "-n", "1", "-l", "info", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["_key"], key(E, 0), "the newest that is there");
    let mut batch = logagent::store::Batch::default();
    Ev::new(E, 1, at(14, 0, 1), ("DEBUG", 10), "not this").put(&mut batch);
    Ev::new(E, 2, at(9, 0, 1), ("INFO", 20), "an old time, but new here").put(&mut batch);
    sample::store(&dir.path().join(".logagent/logs.db"), batch);
    assert_eq!(next()["_key"], key(E, 2));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let dir = sample::directory();
    let mut child = logagent(dir.path())
        .args(["search", "-n", "1000", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&out.stderr).contains("error"), "{out:?}");
    assert_eq!(out.status.code(), Some(0));
}
