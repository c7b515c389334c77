//! The verbs with `ARANGO_URL`: the real program asks the stand-in what it asks the embedded store, and both say the
//! same about the same history.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use logagent::store::arango::Arango;
use logagent::store::{Batch, Sink};
use serde_json::{Value, json};

use crate::harness::{Said, eventually, logagent, say};
use crate::mcp::Talk;
use crate::sample::{self, A, B, BAD_ROW, C, D, DAY, E, Ev, at, key};
use crate::standin::{Options, Standin, User};

const DB: &str = "script_logs";

/// A directory, and a server that holds the history.
struct Place {
    dir: tempfile::TempDir,
    standin: Standin,
}

impl Place {
    fn new() -> Place {
        Place::with(Options::default())
    }

    fn with(options: Options) -> Place {
        let place = Place {
            dir: tempfile::tempdir().unwrap(),
            standin: Standin::with(options),
        };
        place.store(sample::batch());
        place
    }

    fn store(&self, batch: Batch) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let store = Arango::open(&self.standin.settings(DB)).unwrap();
            store.ensure_schema(false).await.unwrap();
            let report = store.write(&Arc::new(batch)).await.unwrap();
            assert!(report.rejected.is_empty(), "{:?}", report.rejected);
        });
        self.standin.commit_views(DB);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = logagent(self.dir.path());
        command
            .args(args)
            .env("ARANGO_URL", self.standin.url())
            .env("ARANGO_USERNAME", "root")
            .env("ARANGO_PASSWORD", "secret-of-root");
        command
    }

    fn say(&self, args: &[&str]) -> Said {
        let out = self.command(args).output().unwrap();
        self.standin.commit_views(DB);
        Said {
            code: out.status.code().unwrap_or(-1),
            out: String::from_utf8(out.stdout).unwrap(),
            err: String::from_utf8(out.stderr).unwrap(),
        }
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.say(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}\n{}", said.out, said.err))
    }

    fn items(&self, args: &[&str]) -> Vec<Value> {
        self.json(args)["items"].as_array().cloned().unwrap_or_default()
    }

    fn keys(&self, collection: &str) -> Vec<String> {
        self.standin.keys(DB, collection)
    }

    fn find(&self, collection: &str, key: &str) -> Value {
        let documents = self.standin.documents(DB, collection);
        let found = documents.into_iter().find(|d| d["_key"] == key);
        found.unwrap_or_else(|| panic!("no {collection}/{key}"))
    }
}

/// What both stores must agree on: not how well something matches, nor when they were asked.
fn comparable(v: &mut Value) {
    match v {
        Value::Object(map) => {
            for own in ["score", "window", "next_cursor", "created_at"] {
                map.remove(own);
            }
            map.values_mut().for_each(comparable);
        }
        Value::Array(items) => items.iter_mut().for_each(comparable),
        Value::Number(n) => *v = json!(n.as_f64()),
        _ => {}
    }
}

/// At least one of each verb. `keys`: of an event, of an error, and the beginning of one.
fn questions([one, other, short]: &[String; 3]) -> Vec<Vec<&str>> {
    vec![
        vec!["search", "-n", "1000"],
        vec!["search", "-n", "7", "-r"],
        vec!["search", "customers"],
        vec!["search", "\"import job\""],
        vec!["search", "CUSTOM*"],
        vec!["search", "query failed -9"],
        vec!["search", "customers OR timed", "--sort", "time"],
        vec!["search", "nowhere"],
        vec!["search", "extra_data.user=1", "extra_data.ok=false", "-n", "50"],
        vec!["search", "-g", r"processed 1\d rows", "-l", "info", "-s", "etl"],
        vec!["search", "-g", "row 1[0-9]$", "--host", "web1"],
        vec!["search", "--tag", "import job"],
        vec!["search", "processed", "-e", A, "-l", "info", "--sort", "time"],
        vec!["get", one],
        vec!["get", short, "-C", "2"],
        vec!["get", "nosuchkey"],
        vec!["errors"],
        vec!["errors", "--new", "-S", "2026-11-10T11:30:00Z"],
        vec!["errors", C],
        vec!["errors", C, "--context", "2m", "-r"],
        vec!["similar", "TimeoutError: database timed out after 77 s"],
        vec!["similar", other],
        vec!["similar", BAD_ROW],
        vec!["patterns"],
        vec!["patterns", "-l", "error", "script_name=report"],
        vec!["stats"],
        vec!["stats", "--by", "level"],
        vec!["stats", "--by", "script,level", "-l", "error"],
        vec!["stats", "--by", "hour"],
        vec!["stats", "--by", "tag"],
        vec!["stats", "--by", "extra_data.user", "-s", "etl"],
        vec!["runs"],
        vec!["runs", "--status", "failed"],
        vec!["runs", "metadata.env=staging", "-n", "1"],
        vec!["runs", "-l", "error", "-s", "report"],
        vec!["runs", "-g", "customers"],
        vec!["summary", A],
        vec!["summary", C],
        vec!["summary", "last"],
        vec!["history"],
        vec!["history", "report"],
        vec!["history", "report", "--by", "metadata.version"],
        vec!["response", "etl"],
        vec!["response", "report", "-n", "5"],
        vec!["response", "etl", "--execution", A],
        vec!["learnings"],
        vec!["learnings", "API", "--min-confidence", "0.8"],
        vec!["learnings", "--recurring"],
        vec!["graph", C],
        vec!["graph", "last"],
    ]
}

#[test]
fn every_reading_verb_says_what_it_says_on_the_embedded_store() {
    let place = Place::new();
    let embedded = sample::directory();
    let dated = ["errors", "patterns", "stats", "runs", "history"];
    let keys = [key(B, 2), key(C, 1), key(A, 10)[..18].to_owned()];
    for mut question in questions(&keys) {
        if dated.contains(&question[0]) && !question.contains(&"-S") {
            question.extend(DAY);
        }
        question.extend(["-o", "json"]);
        let (here, there) = (say(embedded.path(), &question), place.say(&question));
        assert_eq!(here.code, there.code, "{question:?}\n{}\n{}", here.err, there.err);
        let read = |said: &Said| {
            let mut v = serde_json::from_str(&said.out).unwrap_or_default();
            comparable(&mut v);
            v
        };
        assert_eq!(read(&here), read(&there), "{question:?}");
    }
}

#[test]
fn texts_and_notes_are_the_same_too() {
    let place = Place::new();
    let embedded = sample::directory();
    for question in [
        &["search", "-e", B, "-r", "--utc"][..],
        &["search", "customers", "-S", "2026-11-10T13:00:00Z"],
        &["search", "-s", "elt"],
        &["graph", C, "--format", "mermaid"],
        &["summary", B, "--utc"],
    ] {
        let (here, there) = (say(embedded.path(), question), place.say(question));
        assert_eq!((here.code, &here.out), (there.code, &there.out), "{question:?}");
        assert_eq!(here.err, there.err, "{question:?}");
    }
}

#[test]
fn the_tools_for_agents_say_what_they_say_on_the_embedded_store() {
    let place = Place::new();
    let embedded = sample::directory();
    let url = place.standin.url().replace("http://", "http://root:secret-of-root@") + "/" + DB;
    let (mut here, _) = Talk::start(embedded.path(), &[], "2025-06-18");
    let (mut there, _) = Talk::start(place.dir.path(), &["--store", &url], "2025-06-18");
    for (tool, arguments) in [
        ("search", json!({"text": "customers"})),
        ("search", json!({"level": "error", "since": DAY[1], "until": DAY[3]})),
        ("errors", json!({"since": DAY[1], "until": DAY[3]})),
        ("similar", json!({"text": "database timed out"})),
        ("get", json!({"key": &key(C, 1)[..18], "context": 1})),
        ("summary", json!({"execution_id": D, "include": ["response", "graph"]})),
        ("stats", json!({"by": "level", "since": DAY[1]})),
        ("runs", json!({"history": true, "script": "etl", "since": DAY[1]})),
        ("patterns", json!({"since": DAY[1], "limit": 1})),
        ("learnings", json!({"recurring": true})),
    ] {
        let (mut one, _) = here.call(tool, arguments.clone());
        let (mut other, _) = there.call(tool, arguments.clone());
        comparable(&mut one);
        comparable(&mut other);
        assert_eq!(one, other, "{tool} {arguments}");
    }
    here.end();
    there.end();
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let place = Place::new();
    for question in [
        &["search"][..],
        &["search", "processed"],
        &["search", "-r", "-l", "info"],
    ] {
        let whole = place.items(&[question, &["-n", "1000"]].concat());
        let mut paged = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut args = [question, &["-n", "9"]].concat();
            if let Some(c) = &cursor {
                args.extend(["--cursor", c]);
            }
            let page = place.json(&args);
            paged.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(c) => cursor = Some(c.to_owned()),
                None => break,
            }
        }
        let key = |v: &Value| v["_key"].as_str().unwrap().to_owned();
        assert_eq!(
            paged.iter().map(key).collect::<Vec<_>>(),
            whole.iter().map(key).collect::<Vec<_>>(),
            "{question:?}"
        );
    }
}

#[test]
fn a_query_reads_with_bound_values_and_collections() {
    let place = Place::new();
    let levels = "FOR e IN @@coll FILTER e.level == @l COLLECT script = e.script_name WITH COUNT INTO n SORT script \
                  RETURN { script, n }";
    let rows = place.items(&["query", levels, "--bind", "@coll=log_events", "--bind", "l=ERROR"]);
    assert_eq!(
        rows,
        [json!({"script": "etl", "n": 1}), json!({"script": "report", "n": 2})]
    );
    let said = place.say(&["query", "FOR i IN 1..2500 RETURN i", "-o", "jsonl"]);
    assert_eq!(said.out.lines().count(), 2500, "page after page: {}", said.err);
    let cut = place.say(&["query", "FOR i IN 1..2500 RETURN i", "-n", "3", "-o", "jsonl"]);
    assert_eq!(cut.out, "1\n2\n3\n");
    let seen = place.standin.seen();
    let query = seen.iter().rev().find(|s| s.line.ends_with("/_api/cursor")).unwrap();
    let body: Value = serde_json::from_slice(&query.body).unwrap();
    assert_eq!(body["ttl"], 300, "a reader may pause between pages");
    assert_eq!(
        place.standin.count("DELETE /_db/script_logs/_api/cursor/"),
        1,
        "a cursor is not left behind"
    );
    assert_eq!(
        place
            .say(&["query", "FOR e IN log_events FILTER e.level == 'NONE' RETURN e"])
            .code,
        1
    );
}

#[test]
fn a_query_that_would_write_is_refused_before_it_runs() {
    let place = Place::new();
    let before = place.standin.documents(DB, "log_events");
    for query in [
        "FOR e IN log_events REMOVE e IN log_events",
        "INSERT { _key: 'x' } INTO script_runs",
        "UPSERT { _key: 'x' } INSERT { _key: 'x' } UPDATE {} IN script_runs",
        "LET x = (FOR e IN log_events UPDATE e WITH { level: 'X' } IN log_events RETURN 1) RETURN LENGTH(x)",
        "FOR e IN @@c REPLACE e WITH {} IN @@c",
    ] {
        let mut args = vec!["query", query];
        if query.contains("@@c") {
            args.extend(["--bind", "@c=log_events"]);
        }
        let said = place.say(&args);
        assert_eq!(said.code, 2, "{query}: {}", said.err);
        assert!(
            said.err.contains("only reading is allowed") || said.err.contains("1579"),
            "{query}: {}",
            said.err
        );
    }
    assert_eq!(place.standin.documents(DB, "log_events"), before);
    assert_eq!(
        place.standin.count("/_api/cursor"),
        place.standin.count("POST /_db/script_logs/_api/cursor")
    );
}

#[test]
fn what_is_wrong_with_a_query_is_said() {
    let place = Place::new();
    for (args, hint) in [
        (&["FOR e IN log_events"][..], "syntax error"),
        (&["RETURN NOSUCH(1)"], "unknown function"),
        (&["RETURN @x"], "no value specified for declared bind parameter 'x'"),
        (&["RETURN 1", "--bind", "x=1"], "bind parameter 'x' was not declared"),
        (&["FOR e IN @@c RETURN e", "--bind", "@c=7"], "invalid value or type"),
        (&["FOR e IN nowhere RETURN e"], "collection or view not found: nowhere"),
        (&["FOR e IN log_events SEARCH true RETURN e"], "non-view"),
    ] {
        let said = place.say(&[&["query"], args].concat());
        assert_eq!(said.code, 2, "{args:?}: {}", said.err);
        assert!(said.err.contains(hint), "{args:?}: {}", said.err);
        assert_eq!(said.out, "");
    }
    for slow in [
        "RETURN SLEEP(30)",
        "FOR a IN 1..100000 FOR b IN 1..100000 FILTER a + b < 0 RETURN a",
    ] {
        let said = place.say(&["query", slow, "--timeout", "100ms"]);
        assert_eq!(said.code, 3, "{}", said.err);
        assert!(said.err.contains("see --timeout"), "{}", said.err);
    }
}

#[test]
fn a_user_who_may_only_read_reads_and_writes_nothing() {
    let reader = User {
        everywhere: crate::standin::Grant::Read,
        collection: crate::standin::Grant::Read,
        ..User::root("reader", "secret-of-reader")
    };
    let place = Place::with(Options {
        users: vec![User::root("root", "secret-of-root"), reader],
        ..Options::default()
    });
    let as_reader = |args: &[&str]| {
        let mut command = place.command(args);
        command
            .env("ARANGO_USERNAME", "reader")
            .env("ARANGO_PASSWORD", "secret-of-reader");
        let out = command.output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(as_reader(&["search", "customers"]).0, Some(0));
    assert_eq!(
        as_reader(&["query", "FOR e IN log_events LIMIT 1 RETURN e._key"]).0,
        Some(0)
    );
    let (code, said) = as_reader(&["prune", "--older-than", "1d"]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(place.keys("log_events").len(), 43);
}

#[test]
fn a_learning_a_fix_and_saved_edges_reach_the_server() {
    let place = Place::new();
    let said = place.say(&[
        "learn",
        "empty files have no header",
        "--function",
        "load",
        "--confidence",
        "0.95",
    ]);
    assert_eq!(said.code, 0, "{}", said.err);
    let learnt = place.items(&["learnings", "header"]);
    assert_eq!(
        (learnt[0]["execution_id"].as_str(), learnt[0]["confidence"].as_f64()),
        (Some("manual"), Some(0.95))
    );
    assert!(
        place
            .keys("agent_memories")
            .contains(&learnt[0]["_key"].as_str().unwrap().to_owned())
    );

    assert_eq!(place.items(&[&["errors"], &DAY[..]].concat())[1]["state"], "open");
    let said = place.say(&[
        "fix",
        B,
        "skip rows that are empty",
        "--rationale",
        "an empty row has no columns at all",
    ]);
    assert_eq!(said.code, 0, "{}", said.err);
    let error = place.find("log_events", &key(B, 2));
    assert_eq!(
        (error["resolved"].as_bool(), error["fix_description"].as_str()),
        (Some(true), Some("skip rows that are empty"))
    );
    let groups = place.items(&[&["errors"], &DAY[..]].concat());
    let bad_row = groups.iter().find(|g| g["fingerprint"] == BAD_ROW).unwrap();
    assert_eq!(bad_row["fix_description"], "skip rows that are empty");
    let missing = place.say(&["fix", "nosuchkey", "something"]);
    assert_ne!(missing.code, 0, "{}{}", missing.out, missing.err);

    let edges = place.keys("log_causality").len();
    let said = place.say(&["graph", C, "--save"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let saved = place.keys("log_causality").len();
    assert!(saved > edges, "{}", said.err);
    place.say(&["graph", C, "--save"]);
    assert_eq!(place.keys("log_causality").len(), saved, "edges have keys of their own");

    let memories = place.keys("agent_memories").len();
    assert_eq!(place.say(&["summary", A, "--memory"]).code, 0);
    assert_eq!(place.keys("agent_memories").len(), memories + 1);
}

#[test]
fn prune_deletes_with_what_hangs_on_it_and_leaves_running_executions_alone() {
    let place = Place::new();
    let embedded = sample::directory();
    let edges = place.keys("log_causality").len();
    assert!(edges > 0);
    for args in [
        &["prune", "--execution", C, "--dry-run"][..],
        &["prune", "--execution", C],
        &["prune", "--level", "DEBUG", "--dry-run"],
        &["prune", "--level", "DEBUG"],
        &["prune", "--older-than", "1ms", "--dry-run"],
        &["prune", "--older-than", "1ms"],
        &["prune", "--older-than", "1ms"],
    ] {
        let question = [args, &["-o", "json"]].concat();
        let (here, there) = (say(embedded.path(), &question), place.say(&question));
        assert_eq!((here.code, here.out), (there.code, there.out), "{args:?} {}", there.err);
        if args[1] == "--execution" && args.len() == 3 {
            assert!(!place.keys("script_runs").contains(&C.to_owned()));
            assert!(place.keys("log_causality").len() < edges, "an edge goes with its event");
            assert!(!place.keys("agent_learnings").contains(&"learning2".to_owned()));
        }
    }
    assert_eq!(place.keys("log_events"), [key(E, 0)], "the running one stays");
    assert_eq!(place.keys("script_runs"), [E]);
}

#[test]
fn following_shows_what_is_stored_meanwhile() {
    let place = Place::new();
    let mut child = place
        .command(&["search", "-f", "-n", "1", "-l", "info", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["_key"], key(E, 0), "the newest that is there");
    let mut batch = Batch::default();
    Ev::new(E, 1, at(14, 0, 1), ("DEBUG", 10), "not this").put(&mut batch);
    Ev::new(E, 2, at(14, 0, 2), ("INFO", 20), "this").put(&mut batch);
    place.store(batch);
    assert_eq!(next()["_key"], key(E, 2));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_running_agent_deletes_old_events_of_the_server_and_what_hangs_on_them() {
    let place = Place::new();
    assert!(!place.keys("log_causality").is_empty());
    let mut agent = place
        .command(&["run"])
        .env("LOGAGENT_RETENTION_DAYS", "1")
        .env("LOGAGENT_RETENTION_INTERVAL", "1s")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the old events are gone", || {
        (place.keys("log_events") == [key(E, 0)]).then_some(())
    });
    eventually("the runs that ended are gone", || {
        (place.keys("script_runs") == [E]).then_some(())
    });
    eventually("their edges and learnings are gone", || {
        (place.keys("log_causality").is_empty() && place.keys("agent_learnings").is_empty()).then_some(())
    });
    assert_eq!(place.keys("logagent_leases"), ["retention"], "under a lease");
    agent.kill().unwrap();
    agent.wait().unwrap();
}
