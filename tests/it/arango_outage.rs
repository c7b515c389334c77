//! Failures of a server from every side: each kind, at each interface, before and after it accepted; several
//! coordinators; and an outage as a running agent lives through it.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use logagent::store::arango::Arango;
use logagent::store::{Batch, Fix, Relation, Report, RunEnd, RunUpdate, Sink, Status, WriteError};
use serde_json::{Value, json};

use crate::harness::{eventually, logagent};
use crate::standin::{Fault, Standin, What};

const DB: &str = "script_logs";
const INSERT: &str = "POST /_db/script_logs/_api/document/log_events";
const CURSOR: &str = "POST /_db/script_logs/_api/cursor";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

fn opened(standin: &Standin) -> Arango {
    let store = Arango::open(&standin.settings(DB)).unwrap();
    block_on(store.ensure_schema(false)).unwrap();
    standin.forget_seen();
    store
}

/// Writes as the pipeline does: again and again while the store is away.
fn persist(store: &Arango, batch: &Arc<Batch>) -> Report {
    eventually("the batch is taken", || match block_on(store.write(batch)) {
        Ok(report) => Some(report),
        Err(WriteError::Away(_)) => None,
        Err(e) => panic!("{e}"),
    })
}

fn time(second: i64) -> String {
    logagent::record::format_time(1_795_227_624_054_432 + second * 1_000_000)
}

/// Something of everything: events, a run that begins and ends, a learning with its memory, a fix, a relation.
fn everything() -> Arc<Batch> {
    let mut b = Batch::default();
    for n in 0..6 {
        let (level, no) = if n == 3 { ("ERROR", 40) } else { ("INFO", 20) };
        let doc = json!({"_key": format!("event{n}"), "timestamp": time(n), "level": level, "level_no": no, "seq": n,
            "message": format!("message {n}"), "execution_id": "run", "script_name": "app", "fingerprint": "f"});
        b.events.push(doc.to_string().as_bytes());
    }
    let update = RunUpdate {
        execution_id: "run".into(),
        script_name: "app".into(),
        start_time: 1_000_000,
        last_seen: 5_000_000,
        start_declared: true,
        ..RunUpdate::default()
    };
    let end = RunEnd {
        status: Status::Failed,
        time: 6_000_000,
        declared: true,
        error: Some("boom".into()),
    };
    b.runs = vec![
        update.clone(),
        RunUpdate {
            end: Some(end),
            ..update
        },
    ]
    .into();
    let learning = json!({"_key": "learnt", "timestamp": time(7), "execution_id": "run", "learning": "x"});
    b.learnings.push(learning.to_string().as_bytes());
    let memory = json!({"_key": "learnt", "content": "x", "type": "learning", "timestamp": time(7)});
    b.memories.push(memory.to_string().as_bytes());
    b.fixes.push(Fix {
        key: "event5".into(),
        time: 1_795_227_624_054_432 + 5_000_000,
        execution_id: "run".into(),
        script_name: Some("app".into()),
        target: None,
        description: "mended".into(),
        rationale: None,
    });
    b.relations.push(Relation {
        from: "event0".into(),
        to: "event1".into(),
        to_collection: "log_events".into(),
        kind: "FOLLOWED_BY".into(),
        weight: 1.0,
        confidence: 1.0,
        rationale: String::new(),
        method: "test".into(),
        time: 0,
        execution_id: "run".into(),
    });
    Arc::new(b)
}

const COLLECTIONS: [&str; 5] = [
    "log_events",
    "script_runs",
    "agent_learnings",
    "agent_memories",
    "log_causality",
];

/// All that is stored, less what the server counts.
fn stored(standin: &Standin) -> Vec<Value> {
    let mut all = Vec::new();
    for collection in COLLECTIONS {
        for mut doc in standin.documents(DB, collection) {
            doc.as_object_mut().unwrap().remove("_rev");
            all.push(doc);
        }
    }
    all
}

#[test]
fn whatever_fails_at_whichever_request_of_a_batch_all_of_it_is_stored_once() {
    let whole = {
        let standin = Standin::start();
        persist(&opened(&standin), &everything());
        assert!(standin.count(CURSOR) >= 4, "runs, and what a fix asks for");
        stored(&standin)
    };
    assert!(whole.len() >= 11, "{whole:#?}");
    let failures = [
        What::Refuse(503, 503, "starting"),
        What::Refuse(409, 1200, "write-write conflict"),
        What::RefuseAfter(500, 1457, "cluster timeout"),
        What::RefuseAfter(410, 21, "request cancelled"),
        What::Say(502, "<html>bad gateway</html>", None),
        What::Cut,
        What::CutAfter,
        What::Half,
    ];
    for request in [
        "/_api/document/log_events",
        "/_api/cursor",
        "agent_learnings",
        "agent_memories",
        "log_causality",
    ] {
        for what in &failures {
            // The first of its kind, and one in the middle.
            for skip in [0, 2] {
                let standin = Standin::start();
                let store = opened(&standin);
                standin.fail(Fault::on(request, what.clone()).skip(skip));
                let report = persist(&store, &everything());
                assert_eq!(report.rejected, [], "{request} {what:?}");
                persist(&store, &everything());
                assert_eq!(stored(&standin), whole, "{request} {what:?} after {skip}");
            }
        }
    }
}

#[test]
fn a_passing_trouble_of_one_record_kills_neither_it_nor_the_others() {
    for num in [
        18, 28, 29, 30, 38, 1200, 1302, 1303, 1304, 1429, 1457, 1464, 1465, 1478, 1491, 1495, 1496,
    ] {
        for text in [Some("as told"), None] {
            let standin = Standin::start();
            let store = opened(&standin);
            standin.fail(Fault::on(INSERT, What::Record("event3", num, text)).times(3));
            let report = persist(&store, &everything());
            assert_eq!(report.rejected, [], "{num}");
            assert_eq!(standin.keys(DB, "log_events").len(), 6, "{num}");
        }
    }
}

#[test]
fn a_record_that_waits_for_a_person_holds_its_batch_and_is_not_refused() {
    for num in [1004, 1104, 1466, 9001] {
        let standin = Standin::start();
        let store = opened(&standin);
        standin.fail(Fault::on(INSERT, What::Record("event3", num, Some("as told"))).always());
        let said = block_on(store.write(&everything()));
        assert!(matches!(said, Err(WriteError::Refused(_))), "{num}: {said:?}");
        standin.heal();
        assert_eq!(persist(&store, &everything()).rejected, [], "{num}");
        assert_eq!(standin.keys(DB, "log_events").len(), 6, "{num}");
    }
}

/// A store on several coordinators of the same data.
fn coordinators(timeout: Duration) -> (Vec<Standin>, Arango) {
    let first = Standin::start();
    opened(&first);
    let all = vec![first.second(), first.second(), first];
    let mut settings = all[2].settings(DB);
    settings.endpoints = all.iter().map(Standin::url).collect();
    settings.timeout = timeout;
    let store = Arango::open(&settings).unwrap();
    (all, store)
}

#[test]
fn when_a_coordinator_goes_the_next_takes_over_within_the_same_call_and_nothing_doubles() {
    let (all, store) = coordinators(Duration::from_secs(30));
    // It accepts and is gone before it answers: the next one is asked for the same.
    all[0].fail(Fault::on(INSERT, What::CutAfter));
    assert_eq!(block_on(store.write(&everything())).unwrap().stored, 6);
    assert_eq!(store.client().endpoint(), all[1].url());
    let revisions = |s: &Standin| -> Vec<Value> {
        s.documents(DB, "log_events")
            .iter()
            .map(|d| d["_rev"].clone())
            .collect()
    };
    let before = revisions(&all[0]);
    all[1].close();
    assert_eq!(block_on(store.write(&everything())).unwrap().stored, 6);
    assert_eq!(store.client().endpoint(), all[2].url());
    all[2].close();
    assert_eq!(
        block_on(store.write(&everything())).unwrap().stored,
        6,
        "round to the first"
    );
    assert_eq!(store.client().endpoint(), all[0].url());
    assert_eq!(revisions(&all[0]), before);
    all[0].close();
    assert!(matches!(block_on(store.write(&everything())), Err(WriteError::Away(_))));
    all[1].open();
    assert_eq!(persist(&store, &everything()).stored, 6);
    assert_eq!(store.client().endpoint(), all[1].url());
}

#[test]
fn a_coordinator_that_does_not_answer_in_time_is_left_for_the_next_call() {
    let (all, store) = coordinators(Duration::from_millis(500));
    all[0].fail(Fault::on(INSERT, What::Slow(Duration::from_millis(1500))));
    assert!(matches!(block_on(store.write(&everything())), Err(WriteError::Away(_))));
    assert_eq!(store.client().endpoint(), all[1].url());
    assert_eq!(block_on(store.write(&everything())).unwrap().stored, 6);
}

#[test]
fn a_shard_without_a_leader_is_waited_for() {
    let (all, store) = coordinators(Duration::from_secs(30));
    // All coordinators say the same until a follower is promoted.
    all[0].fail(Fault::on(INSERT, What::Refuse(503, 1496, "not a leader")).times(7));
    assert_eq!(persist(&store, &everything()).stored, 6);
}

/// An agent that follows `logs/app.jsonl`, in which one line stands.
struct Following {
    dir: tempfile::TempDir,
    agent: Child,
}

fn line(n: usize) -> String {
    format!("{{\"message\":\"line {n}\",\"script\":\"app\",\"run_id\":\"r\"}}\n")
}

impl Following {
    fn start(standin: &Standin) -> Following {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        fs::write(dir.path().join("logs/app.jsonl"), line(0)).unwrap();
        let agent = logagent(dir.path())
            .arg("run")
            .env("ARANGO_URL", standin.url())
            .env("ARANGO_PASSWORD", "secret-of-root")
            .env("LOGAGENT_FILES_POLL_INTERVAL", "50ms")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stored = || (standin.keys(DB, "log_events").len() == 1).then_some(());
        eventually("the first line", stored);
        Following { dir, agent }
    }

    fn write(&self, lines: usize) {
        let whole: String = (0..lines).map(line).collect();
        fs::write(self.dir.path().join("logs/app.jsonl"), whole).unwrap();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// What is lost is not sent again and again: an empty batch tells when answers come back.
#[test]
fn an_agent_whose_answers_are_lost_knocks_with_nothing_and_delivers_once_an_answer_comes() {
    let standin = Standin::start();
    let agent = Following::start(&standin);
    standin.fail(Fault::on(INSERT, What::CutAfter).always());
    standin.forget_seen();
    agent.write(200);
    let sent = |empty: bool| {
        let seen = standin.seen();
        let inserts = seen.iter().filter(|s| s.line.starts_with(INSERT));
        inserts.filter(|s| (s.body == b"[]") == empty).count()
    };
    eventually("knocks", || (sent(true) >= 6).then_some(()));
    let batches = sent(false);
    assert!(batches <= 2, "{batches} batches were sent");
    standin.heal();
    let back = Instant::now();
    // Stored they were all the time; now the agent hears of it.
    eventually("a batch", || (sent(false) > batches).then_some(()));
    println!("delivered {:?} after the first answer was possible", back.elapsed());
    let all = || (standin.keys(DB, "log_events").len() == 200).then_some(());
    eventually("all lines", all);
}

#[test]
fn an_agent_probes_a_server_that_is_away_cheaply_and_delivers_once_it_is_back() {
    let standin = Standin::start();
    let agent = Following::start(&standin);
    let messages = || standin.keys(DB, "log_events").len();
    standin.fail(Fault::on("/_", What::Refuse(503, 503, "shutting down")).always());
    standin.forget_seen();
    agent.write(200);
    // By now an exponential back-off would wait for many seconds.
    eventually("probes", || {
        (standin.count("/_admin/server/availability") >= 6).then_some(())
    });
    assert!(standin.count(INSERT) <= 2, "data is not sent to a server that is away");
    standin.forget_seen();
    standin.heal();
    let back = Instant::now();
    eventually("all lines", || (messages() == 200).then_some(()));
    println!("all was stored {:?} after the server's return", back.elapsed());
    // Beside delivery the agent asks for the server's licence and size.
    let seen = standin.seen();
    let mut ways = seen
        .iter()
        .map(|s| &s.line)
        .filter(|l| l.contains("availability") || l.contains(INSERT));
    assert!(
        ways.next().is_some_and(|l| l.contains("availability")),
        "a probe comes first"
    );
}
