//! Questions as people and programs put them: what the other tests of the reading verbs take for granted.

use std::process::Stdio;

use logagent::store::Batch;
use serde_json::{Value, json};

use crate::harness::{Said, logagent, say};
use crate::sample::{self, A, B, BAD_ROW, C, D, DAY, E, Ev, at, key};

fn ask(dir: &tempfile::TempDir, args: &[&str]) -> Said {
    say(dir.path(), args)
}

fn json_of(dir: &tempfile::TempDir, args: &[&str]) -> Value {
    let said = ask(dir, &[args, &["-o", "json"]].concat());
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}\n{}", said.out, said.err))
}

fn column(answer: &Value, name: &str) -> Vec<String> {
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|i| i[name].as_str().unwrap_or("").to_owned())
        .collect()
}

#[test]
fn last_stands_for_the_newest_run_wherever_an_execution_is_named() {
    let dir = sample::directory();
    assert_eq!(column(&json_of(&dir, &["search", "-e", "last"]), "execution_id"), [E]);
    assert_eq!(column(&json_of(&dir, &["runs", "-e", "last"]), "execution_id"), [E]);
    assert_eq!(
        json_of(&dir, &["patterns", "-e", "last"])["items"][0]["template"],
        "querying the database"
    );
    let stats = json_of(&dir, &["stats", "--by", "execution", "-e", "last"]);
    assert_eq!(column(&stats, "execution"), [E]);
    let none = ask(&dir, &["errors", "-e", "last"]);
    assert_eq!(none.code, 1, "the newest run has no errors: {}", none.err);
    let empty = tempfile::tempdir().unwrap();
    sample::store(&empty.path().join(".logagent/logs.db"), Batch::default());
    let said = ask(&empty, &["search", "-e", "last"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("no run is known yet"), "{}", said.err);
}

#[test]
fn levels_are_understood_by_every_name_under_which_they_arrive() {
    let dir = sample::directory();
    let keys = |args: &[&str]| column(&json_of(&dir, &[&["search"], args].concat()), "_key");
    assert_eq!(keys(&["level=warn"]), keys(&["level=WARNING"]));
    assert_eq!(keys(&["level=fatal"]), [key(C, 2)]);
    assert_eq!(keys(&["-l", "crit"]), [key(C, 2)]);
    let said = ask(&dir, &["search", "-l", "loud"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("unknown level 'loud'"), "{}", said.err);
}

#[test]
fn a_limit_of_nothing_says_how_many_there_are() {
    let dir = sample::directory();
    for args in [
        &["search"][..],
        &["search", "processed"],
        &["runs", "-S", "2026-11-01"],
        &["errors", "-S", "2026-11-01"],
        &["response", "etl"],
        &["learnings"],
    ] {
        let answer = json_of(&dir, &[args, &["-n", "0"]].concat());
        assert_eq!(
            (&answer["returned"], &answer["truncated"]),
            (&json!(0), &json!(true)),
            "{args:?}"
        );
        assert!(answer["total"].as_u64().unwrap() > 0, "{args:?}");
        let cursor = answer["next_cursor"].as_str().unwrap();
        let all = json_of(&dir, &[args, &["-n", "1000"]].concat());
        let on = json_of(&dir, &[args, &["-n", "1000", "--cursor", cursor]].concat());
        assert_eq!(on["items"], all["items"], "{args:?}: it goes on at the beginning");
    }
    let said = ask(&dir, &["search", "-n", "0"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, ""),
        "found, but not shown: {}",
        said.err
    );
    assert!(said.err.starts_with("0 of 43 of all time"), "{}", said.err);
}

#[test]
fn text_counts_days_and_hours_where_the_reader_lives_and_json_in_utc() {
    let dir = sample::directory();
    let west = |args: &[&str]| {
        let out = logagent(dir.path()).env("TZ", "XST11").args(args).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let by_day = west(&["stats", "--by", "day", "-S", "2026-11-01"]);
    assert!(
        by_day.contains("2026-11-09     30") && by_day.contains("2026-11-10     13"),
        "eleven hours behind, what happened before 11:00 was the day before: {by_day}"
    );
    let by_hour = west(&["stats", "--by", "hour,level", "-S", "2026-11-01", "-l", "error"]);
    assert!(by_hour.contains("2026-11-10T01"), "{by_hour}");
    let utc = west(&["stats", "--by", "hour", "-S", "2026-11-01", "-l", "error", "--utc"]);
    assert!(utc.contains("2026-11-10T12"), "{utc}");
    let json = west(&["stats", "--by", "day", "-S", "2026-11-01", "-o", "jsonl"]);
    assert!(json.starts_with("{\"day\":\"2026-11-10\",\"count\":43"), "{json}");
    let history = west(&["history", "etl", "-S", "2026-11-01"]);
    assert!(
        history.contains("2026-11-09") && history.contains("2026-11-10"),
        "{history}"
    );
    let json = west(&["history", "etl", "-S", "2026-11-01", "-o", "jsonl"]);
    assert!(json.starts_with("{\"day\":\"2026-11-10\",\"runs\":2"), "{json}");
}

/// Pages of one, while something is stored after the first.
fn walked(dir: &tempfile::TempDir, args: &[&str], name: &str, meanwhile: impl FnOnce()) -> Vec<String> {
    let mut meanwhile = Some(meanwhile);
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut asked = [args, &["-n", "1"]].concat();
        if let Some(c) = &cursor {
            asked.extend(["--cursor", c]);
        }
        let page = json_of(dir, &asked);
        found.extend(column(&page, name));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return found,
        }
        if let Some(event) = meanwhile.take() {
            event();
        }
    }
}

#[test]
fn pages_are_of_one_whole_whatever_is_stored_between_them() {
    for (args, name) in [
        (&["search"][..], "_key"),
        (&["search", "processed"][..], "_key"),
        (&["search", "processed", "--sort", "time"][..], "_key"),
        (&["errors", "-S", "2026-11-01"][..], "fingerprint"),
        (&["patterns", "-S", "2026-11-01"][..], "template"),
        (&["stats", "--by", "function,script", "-S", "2026-11-01"][..], "script"),
        (&["similar", "bad row failed"][..], "fingerprint"),
        (&["learnings"][..], "_key"),
        (&["runs", "-S", "2026-11-01"][..], "execution_id"),
    ] {
        let dir = sample::directory();
        let whole = column(&json_of(&dir, &[args, &["-n", "1000"]].concat()), name);
        assert!(
            whole.len() > 2 || args[0] == "similar" || args[0] == "errors",
            "{args:?}: {whole:?}"
        );
        let paged = walked(&dir, args, name, || {
            let mut more = Batch::default();
            // What would come first now, what would come in between, and a new error of an old kind.
            for (n, hour) in [(100, 23), (101, 10), (102, 9)] {
                Ev::new(A, n, at(hour, 0, 1), ("INFO", 20), "processed 1 rows of table 1").put(&mut more);
                Ev::new(A, 100 + n, at(hour, 0, 2), ("ERROR", 40), "a bad row failed otherwise")
                    .with("fingerprint", json!(format!("f0000000000001{n}")))
                    .with("ingested_at", json!("2026-11-12T00:00:00.000000Z"))
                    .put(&mut more);
            }
            Ev::new(B, 300, at(23, 0, 3), ("ERROR", 40), "bad row in another run")
                .with("fingerprint", json!(BAD_ROW))
                .put(&mut more);
            let learning = json!({"_key": "learning9", "timestamp": logagent::record::format_time(at(23, 0, 0)),
                "execution_id": D, "learning": "new", "confidence": 0.5});
            more.learnings.push(learning.to_string().as_bytes());
            sample::store(&dir.path().join(".logagent/logs.db"), more);
        });
        // By time alone a page goes on where the one before it ended: what is stored behind that place is found there.
        let by_place = matches!(args, ["search"]);
        let old: Vec<String> = paged.iter().filter(|k| whole.contains(k)).cloned().collect();
        assert_eq!(old, whole, "{args:?}: each exactly once, in the same order");
        assert_eq!(
            paged.len() - old.len(),
            if by_place { 4 } else { 0 },
            "{args:?}: {paged:?}"
        );
    }
}

#[test]
fn a_script_s_past_and_responses_can_be_narrowed_by_conditions() {
    let dir = sample::directory();
    let past = json_of(
        &dir,
        &[&["history", "report", "metadata.env=staging"], &DAY[..]].concat(),
    );
    assert_eq!(past["totals"]["runs"], 1);
    let all = json_of(&dir, &[&["history", "metadata.env=staging"], &DAY[..]].concat());
    assert_eq!(column(&all, "script").len(), 2);
    let faulty = ask(&dir, &["history", "report", "etl"]);
    assert_eq!(faulty.code, 2);
    assert!(
        faulty.err.contains("'etl' is no FIELD=VALUE condition"),
        "{}",
        faulty.err
    );
    let response = json_of(&dir, &["response", "etl", "extra_data.response.rows=30"]);
    assert_eq!(response["rows"], 30);
    assert_eq!(ask(&dir, &["response", "etl", "host=web2"]).code, 1);
    let alike = json_of(&dir, &["similar", "bad row 17", "script_name=etl"]);
    assert_eq!(column(&alike, "fingerprint"), [BAD_ROW]);
    assert_eq!(ask(&dir, &["similar", "bad row 17", "host=web2"]).code, 1);
}

#[test]
fn several_responses_come_with_their_times_even_where_there_is_but_one() {
    let dir = sample::directory();
    let said = ask(&dir, &["response", "etl", "-n", "5"]);
    assert!(said.out.starts_with("2026-11-10 10:02:29.000 etl_"), "{}", said.out);
    let one = ask(&dir, &["response", "etl"]);
    assert!(one.out.starts_with('{'), "{}", one.out);
}

#[test]
fn nobody_reading_notes_and_data_is_a_quiet_end() {
    let dir = sample::directory();
    for args in [
        &["search"][..],
        &["response", "etl", "-o", "json"],
        &["history", "etl", "-S", "2026-11-01"],
        &["get", "nosuchkey"],
        &["search", "nothing-like-this"],
        &["dead-letter", "list"],
        &["status"],
        &["run", "--once"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let err = writer.try_clone().unwrap();
        let status = logagent(dir.path())
            .args(args)
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(err))
            .status()
            .unwrap();
        assert!(matches!(status.code(), Some(0 | 1)), "{args:?}: {status}");
    }
}

#[test]
fn a_query_can_use_full_text_and_is_paged_like_any_answer() {
    let dir = sample::directory();
    let matching = "SELECT e.message FROM log_events_fts f JOIN log_events e ON e.id = f.rowid \
                    WHERE log_events_fts MATCH 'customers' ORDER BY bm25(log_events_fts)";
    let found = json_of(&dir, &["query", matching]);
    assert_eq!(found["items"][0]["message"], "starting import of customers");
    let by_key = ["query", "SELECT _key FROM log_events ORDER BY _key"];
    let all = column(&json_of(&dir, &by_key), "_key");
    assert_eq!(all.len(), 43);
    let (mut paged, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut args = [&by_key[..], &["-n", "20"]].concat();
        if let Some(c) = &cursor {
            args.extend(["--cursor", c]);
        }
        let page = json_of(&dir, &args);
        assert_eq!(page["truncated"], page["next_cursor"].is_string());
        paged.extend(column(&page, "_key"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let streamed = ask(&dir, &[&by_key[..], &["-o", "jsonl"]].concat());
    assert_eq!((streamed.out.lines().count(), streamed.err.as_str()), (43, "43 rows\n"));
    let other = cursor_of(&dir, &["query", "SELECT 1 UNION SELECT 2", "-n", "1"]);
    assert_eq!(ask(&dir, &[&by_key[..], &["--cursor", &other]].concat()).code, 2);
}

fn cursor_of(dir: &tempfile::TempDir, args: &[&str]) -> String {
    json_of(dir, args)["next_cursor"].as_str().unwrap().to_owned()
}

#[test]
fn learnings_that_match_words_come_oldest_first_where_that_is_asked_for() {
    let dir = sample::directory();
    let found = json_of(&dir, &["learnings", "API OR retry", "-r"]);
    assert_eq!(column(&found, "_key"), ["learning0", "learning1", "learning2"]);
}

#[test]
fn surroundings_are_those_of_an_execution_however_it_is_named() {
    let dir = sample::directory();
    let named = json_of(&dir, &["errors", C, "--context", "40s"]);
    assert_eq!(named["items"][0]["context"].as_array().map(Vec::len), Some(2));
    assert_eq!(json_of(&dir, &["errors", "-e", C, "--context", "40s"]), named);
    let grouped = json_of(&dir, &["errors", "-e", C]);
    assert!(
        grouped["items"][0]["count"].is_number(),
        "narrowed, and grouped: {grouped}"
    );
    let said = ask(&dir, &["errors", "--context", "40s"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("name it"), "{}", said.err);
}
