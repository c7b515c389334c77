//! Delivery to ArangoDB, over real HTTP to the stand-in: every way in which a server, or the way to it, can fail.
//!
//! What holds in all of them: no record is lost, none is stored twice, one bad record holds up no other, and no secret
//! stands in an error or in the program's own log.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use logagent::config;
use logagent::store::arango::Arango;
use logagent::store::{Batch, Fix, Relation, Report, RunEnd, RunUpdate, Sink, Status, WriteError};
use serde_json::Value;

use crate::harness::eventually;
use crate::standin::{Fault, Options, Standin, User, What};

const DB: &str = "script_logs";
const INSERT: &str = "POST /_db/script_logs/_api/document/log_events";

/// A store on the stand-in, with its schema.
struct Rig {
    standin: Standin,
    store: Arango,
    runtime: tokio::runtime::Runtime,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn rig() -> Rig {
    rig_with(Options::default(), |_| {})
}

fn rig_with(options: Options, change: impl FnOnce(&mut config::Arangodb)) -> Rig {
    let standin = Standin::with(options);
    let runtime = runtime();
    let admin = Arango::open(&standin.settings(DB)).unwrap();
    runtime.block_on(admin.ensure_schema(false)).unwrap();
    let mut settings = standin.settings(DB);
    change(&mut settings);
    let store = Arango::open(&settings).unwrap();
    standin.forget_seen();
    Rig {
        standin,
        store,
        runtime,
    }
}

impl Rig {
    fn write(&self, batch: &Arc<Batch>) -> Result<Report, WriteError> {
        self.runtime.block_on(self.store.write(batch))
    }

    /// Writes until it succeeds, as the pipeline would.
    fn persist(&self, batch: &Arc<Batch>) -> Report {
        for _ in 0..50 {
            if let Ok(report) = self.write(batch) {
                return report;
            }
        }
        panic!("never stored: {:?}", self.write(batch));
    }

    fn keys(&self) -> Vec<String> {
        self.standin.keys(DB, "log_events")
    }
}

fn event(key: &str) -> String {
    format!(
        r#"{{"_key":"{key}","timestamp":"2026-11-21T02:20:24.054432Z","level":"INFO","level_no":20,"message":"hello {key}","execution_id":"run1","seq":1}}"#
    )
}

fn keys(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("k{i:03}")).collect()
}

fn batch_of(docs: &[String]) -> Arc<Batch> {
    let mut batch = Batch::default();
    for doc in docs {
        batch.events.push(doc.as_bytes());
    }
    Arc::new(batch)
}

fn batch(n: usize) -> Arc<Batch> {
    batch_of(&keys(n).iter().map(|k| event(k)).collect::<Vec<_>>())
}

fn refusal(result: Result<Report, WriteError>) -> String {
    match result {
        Err(WriteError::Refused(text)) => text,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn away(result: Result<Report, WriteError>) -> String {
    match result {
        Err(WriteError::Away(text)) => text,
        other => panic!("expected a passing failure, got {other:?}"),
    }
}

#[test]
fn a_batch_is_one_request_whose_body_is_the_batch_with_its_length_told() {
    let rig = rig();
    let batch = batch(10);
    let report = rig.write(&batch).unwrap();
    assert_eq!((report.stored, report.rejected.len()), (10, 0));
    let seen = rig.standin.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, batch.events.array());
    assert_eq!(
        seen[0].header("content-length"),
        Some(batch.events.bytes().to_string().as_str())
    );
    assert_eq!(seen[0].header("transfer-encoding"), None);
    assert_eq!(rig.keys(), keys(10));
}

#[test]
fn sending_a_batch_again_changes_nothing() {
    let rig = rig();
    let batch = batch(5);
    rig.write(&batch).unwrap();
    let before = rig.standin.documents(DB, "log_events");
    assert_eq!(rig.write(&batch).unwrap().stored, 5);
    assert_eq!(rig.standin.documents(DB, "log_events"), before);
}

#[test]
fn a_record_that_breaks_the_rules_is_refused_alone_with_number_reason_and_text() {
    let rig = rig();
    let bad_level = event("b").replace(r#""level":"INFO""#, r#""level":7"#);
    let bad_key = event("c").replace(r#""c""#, r#""no/key""#);
    let report = rig
        .write(&batch_of(&[event("a"), bad_level.clone(), bad_key, event("e")]))
        .unwrap();
    assert_eq!(report.stored, 2);
    assert_eq!(rig.keys(), ["a", "e"]);
    let numbers: Vec<Option<i64>> = report.rejected.iter().map(|r| r.error_num).collect();
    assert_eq!(numbers, [Some(1620), Some(1221)]);
    let first = &report.rejected[0];
    assert_eq!((first.collection.as_str(), first.key.as_str()), ("log_events", "b"));
    assert_eq!(first.record, bad_level);
    assert!(first.reason.contains("log_events"), "{}", first.reason);
    // One silent request, one that tells.
    assert_eq!(rig.standin.count("silent=true"), 1);
    assert_eq!(rig.standin.count("silent=false"), 1);
}

#[test]
fn a_record_that_is_no_json_is_found_by_halving_and_refused_alone() {
    let rig = rig();
    let mut docs: Vec<String> = keys(16).iter().map(|k| event(k)).collect();
    docs[11] = r#"{"_key":"k011","message":"torn"#.into();
    docs[3] = event("k003").replace(r#""seq":1"#, r#""seq":1,"seq":2"#);
    let report = rig.write(&batch_of(&docs)).unwrap();
    assert_eq!(report.stored, 14);
    let dead: Vec<(&str, Option<i64>)> = report.rejected.iter().map(|r| (r.key.as_str(), r.error_num)).collect();
    assert_eq!(dead, [("k003", Some(600)), ("k011", Some(600))]);
    assert_eq!(rig.keys().len(), 14);
}

#[test]
fn a_body_that_is_too_large_is_halved_and_the_size_is_remembered() {
    let one = event("k000").len();
    let options = Options {
        max_body: 5 * one,
        ..Options::default()
    };
    let rig = rig_with(options, |_| {});
    assert_eq!(rig.write(&batch(16)).unwrap().stored, 16);
    assert_eq!(rig.keys(), keys(16));
    let refused = rig.standin.seen().iter().filter(|s| s.status == 413).count();
    assert!(refused >= 1);
    rig.standin.forget_seen();
    rig.write(&batch(16)).unwrap();
    assert_eq!(rig.standin.seen().iter().filter(|s| s.status == 413).count(), 0);
}

#[test]
fn a_size_that_was_refused_once_is_tried_again_after_many_requests_that_passed() {
    let rig = rig();
    let fault = Fault::on("/_api/document/log_events", What::Refuse(413, 0, "too large"));
    rig.standin.fail(fault.times(2));
    rig.write(&batch(16)).unwrap();
    let mut round = 0;
    let mut requests = || {
        round += 1;
        rig.standin.forget_seen();
        let docs: Vec<String> = (0..16).map(|i| event(&format!("r{round}x{i}"))).collect();
        assert_eq!(rig.write(&batch_of(&docs)).unwrap().stored, 16);
        rig.standin.count("/_api/document/log_events")
    };
    let split = requests();
    assert!(split > 1, "{split}");
    let whole = (0..500).find(|_| requests() == 1);
    assert!(whole.is_some(), "a batch goes whole again at some time");
}

#[test]
fn a_fix_whose_query_cannot_finish_holds_up_nothing_and_is_a_dead_letter_in_the_end() {
    let rig = rig();
    let mut first = Batch::default();
    first.events.push(error_event("e1", 1, "f1").as_bytes());
    rig.write(&Arc::new(first)).unwrap();
    let killed = || What::Refuse(410, 1500, "query killed");
    rig.standin.fail(Fault::on("/_api/cursor", killed()).always());
    let mut batch = Batch::default();
    batch.events.push(event("fix1").as_bytes());
    batch.fixes.push(fix(Some("f1")));
    let report = rig.write(&Arc::new(batch)).unwrap();
    assert_eq!((report.stored, report.postponed.fixes.len()), (1, 1));
    assert_eq!(rig.keys().len(), 2, "the event of the fix is stored");
    let mut postponed = report.postponed;
    let mut letters = Vec::new();
    for attempt in 0..10 {
        // What comes after is stored meanwhile.
        let other = batch_of(&[event(&format!("later{attempt}"))]);
        assert_eq!(rig.write(&other).unwrap().stored, 1);
        let report = rig.write(&Arc::new(postponed)).unwrap();
        letters = report.rejected;
        postponed = report.postponed;
        if !letters.is_empty() {
            break;
        }
    }
    assert!(postponed.is_empty());
    assert_eq!(
        (letters.len(), letters[0].collection.as_str(), letters[0].key.as_str()),
        (1, "fixes", "fix1")
    );
    // From there it is delivered once the server does better.
    rig.standin.heal();
    let mut again = Batch::default();
    assert!(again.push_rejected(&letters[0]));
    assert!(rig.write(&Arc::new(again)).unwrap().rejected.is_empty());
    assert_eq!(rig.standin.documents(DB, "log_causality").len(), 1);
}

#[test]
fn a_single_record_that_is_too_large_is_refused_and_the_others_are_stored() {
    let one = event("k000").len();
    let options = Options {
        max_body: 3 * one,
        ..Options::default()
    };
    let rig = rig_with(options, |_| {});
    let mut docs: Vec<String> = keys(4).iter().map(|k| event(k)).collect();
    docs[2] = event("k002").replace("hello", &"x".repeat(4 * one));
    let report = rig.write(&batch_of(&docs)).unwrap();
    assert_eq!(report.stored, 3);
    assert_eq!(report.rejected[0].key, "k002");
    assert!(report.rejected[0].reason.contains("too large"));
}

#[test]
fn a_resource_limit_halves_the_request_and_refuses_nothing() {
    let options = Options {
        max_documents: 3,
        ..Options::default()
    };
    let rig = rig_with(options, |_| {});
    let report = rig.write(&batch(16)).unwrap();
    assert_eq!((report.stored, report.rejected.len()), (16, 0));
    assert_eq!(rig.keys(), keys(16));
    // The same as an answer to the whole request.
    rig.standin
        .fail(Fault::on(INSERT, What::Refuse(500, 32, "resource limit exceeded")));
    let more = batch_of(&[event("x"), event("y")]);
    assert_eq!(rig.write(&more).unwrap().stored, 2);
}

/// Error 32 for everything is a server that is short of memory itself: an outage.
#[test]
fn a_server_without_memory_for_any_record_refuses_none_however_long_it_lasts() {
    let options = Options {
        max_documents: 0,
        ..Options::default()
    };
    let rig = rig_with(options, |_| {});
    for _ in 0..10 {
        away(rig.write(&batch(3)));
    }
    rig.standin.with_world(|w| w.options.max_documents = usize::MAX);
    let report = rig.write(&batch(3)).unwrap();
    assert_eq!((report.stored, report.rejected.len()), (3, 0));
}

#[test]
fn a_record_that_alone_takes_too_much_memory_is_refused_in_the_end_and_the_others_are_stored() {
    let rig = rig();
    let too_much = What::Record("k001", 32, Some("resource limit exceeded"));
    rig.standin.fail(Fault::on(INSERT, too_much).always());
    let mut tries = 0;
    let report = loop {
        if let Ok(report) = rig.write(&batch(3)) {
            break report;
        }
        tries += 1;
        assert!(tries < 20, "it is tried for ever");
    };
    assert!(tries >= 5, "it was tried {tries} times");
    assert_eq!((report.stored, report.rejected.len()), (2, 1));
    assert_eq!(
        (report.rejected[0].key.as_str(), report.rejected[0].error_num),
        ("k001", Some(32))
    );
}

#[test]
fn a_record_in_a_write_conflict_is_tried_again_at_once() {
    let rig = rig();
    let conflict = What::Record("k002", 1200, Some("write-write conflict"));
    rig.standin.fail(Fault::on("silent=true", conflict.clone()));
    rig.standin.fail(Fault::on("silent=false", conflict));
    assert_eq!(rig.write(&batch(5)).unwrap().stored, 5);
    assert_eq!(rig.keys(), keys(5));
}

#[test]
fn a_record_whose_shard_is_gone_has_no_text_and_waits_for_the_next_attempt() {
    let rig = rig();
    rig.standin
        .fail(Fault::on(INSERT, What::Record("k001", 1478, None)).always());
    let text = away(rig.write(&batch(3)));
    assert!(text.contains("1478"), "{text}");
    assert_eq!(rig.keys(), ["k000", "k002"]);
    rig.standin.heal();
    assert_eq!(rig.write(&batch(3)).unwrap().stored, 3);
    assert_eq!(rig.keys(), keys(3));
}

#[test]
fn a_record_with_an_unknown_number_is_tried_for_long_and_refused_in_the_end() {
    let rig = rig();
    rig.standin
        .fail(Fault::on(INSERT, What::Record("k001", 99_999, Some("never heard of"))).always());
    let report = (0..20)
        .find_map(|_| rig.write(&batch(3)).ok())
        .expect("an end of patience");
    assert_eq!(report.rejected.len(), 1);
    assert_eq!(
        (report.rejected[0].key.as_str(), report.rejected[0].error_num),
        ("k001", Some(99_999))
    );
}

#[test]
fn a_server_that_breaks_on_one_record_gets_the_others_and_a_broken_one_gets_all_later() {
    let rig = rig();
    // Broken for everything: nothing is refused, however long it lasts.
    rig.standin
        .fail(Fault::on(INSERT, What::Refuse(500, 4, "internal error")).always());
    for _ in 0..12 {
        away(rig.write(&batch(4)));
    }
    rig.standin.heal();
    let report = rig.write(&batch(4)).unwrap();
    assert_eq!((report.stored, report.rejected.len()), (4, 0));
}

/// Every row of the contract's table of whole-request errors that is neither about one record nor about a query.
#[test]
fn each_error_of_a_whole_request_is_passing_or_for_a_person_as_the_contract_says() {
    let passing: &[(u16, i64)] = &[
        (406, 1489),
        (406, 1490),
        (408, 0),
        (429, 0),
        (502, 0),
        (504, 0),
        (409, 1200),
        (409, 1601),
        (409, 1447),
        (410, 21),
        (410, 1500),
        (410, 1654),
        (412, 21004),
        (412, 1448),
        (421, 1428),
        (500, 18),
        (500, 29),
        (500, 1302),
        (500, 1303),
        (500, 1304),
        (500, 28),
        (500, 3),
        (500, 4),
        (500, 1305),
        (500, 1100),
        (500, 1),
        (500, 1457),
        (500, 1464),
        (500, 1225),
        (503, 21003),
        (503, 503),
        (503, 30),
        (503, 38),
        (503, 1429),
        (503, 1465),
        (503, 1478),
        (503, 1491),
        (503, 1495),
        (503, 1496),
        (500, 0),
        (503, 0),
    ];
    let for_a_person: &[(u16, i64)] = &[
        (400, 400),
        (400, 10),
        (400, 1204),
        (400, 601),
        (400, 1621),
        (400, 1466),
        (400, 1468),
        (400, 1469),
        (401, 11),
        (403, 11),
        (403, 1004),
        (403, 1230),
        (404, 1203),
        (404, 1228),
        (404, 0),
        (405, 405),
        (501, 9),
        (500, 1104),
        (403, 9001),
        (500, 9008),
    ];
    let rig = rig();
    for (list, refused) in [(passing, false), (for_a_person, true)] {
        for (status, num) in list {
            rig.standin
                .fail(Fault::on(INSERT, What::Refuse(*status, *num, "as told")));
            let result = rig.write(&batch(3));
            match (&result, refused) {
                (Err(WriteError::Away(_)), false) | (Err(WriteError::Refused(_)), true) => {}
                _ => panic!("HTTP {status} with {num}: {result:?}"),
            }
            rig.standin.heal();
        }
    }
    assert_eq!(rig.keys(), Vec::<String>::new());
    let report = rig.write(&batch(3)).unwrap();
    assert_eq!((report.stored, report.rejected.len()), (3, 0));
}

#[test]
fn each_permanent_number_of_a_record_makes_that_record_a_dead_letter() {
    for num in [10, 17, 1216, 1221, 1222, 1226, 1227, 1233, 1620, 1210] {
        let rig = rig();
        rig.standin
            .fail(Fault::on(INSERT, What::Record("k001", num, Some("no"))).always());
        let report = rig.write(&batch(3)).unwrap();
        assert_eq!(report.stored, 2, "{num}");
        assert_eq!(report.rejected[0].error_num, Some(num));
    }
}

#[test]
fn a_missing_vector_is_a_fault_of_the_configuration_and_kills_no_record() {
    let rig = rig();
    let missing = What::Record("k001", 10, Some("vector field not present in document"));
    rig.standin.fail(Fault::on(INSERT, missing).always());
    let text = refusal(rig.write(&batch(3)));
    assert!(text.contains("vector index"), "{text}");
}

#[test]
fn answers_that_were_lost_after_the_server_accepted_double_nothing() {
    let rig = rig();
    for what in [
        What::CutAfter,
        What::Half,
        What::RefuseAfter(500, 1457, "cluster timeout"),
        What::Cut,
    ] {
        rig.standin.fail(Fault::on(INSERT, what).times(2));
    }
    assert_eq!(rig.persist(&batch(20)).stored, 20);
    assert_eq!(rig.keys(), keys(20));
    let revisions: Vec<Value> = rig
        .standin
        .documents(DB, "log_events")
        .iter()
        .map(|d| d["_rev"].clone())
        .collect();
    rig.persist(&batch(20));
    let again: Vec<Value> = rig
        .standin
        .documents(DB, "log_events")
        .iter()
        .map(|d| d["_rev"].clone())
        .collect();
    assert_eq!(revisions, again);
}

#[test]
fn a_slow_server_is_given_up_after_the_time_out_and_the_repetition_is_harmless() {
    let rig = rig_with(Options::default(), |s| s.timeout = Duration::from_millis(200));
    rig.standin
        .fail(Fault::on(INSERT, What::Slow(Duration::from_millis(600))));
    let begun = Instant::now();
    let text = away(rig.write(&batch(3)));
    assert!(text.contains("timed out"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(rig.persist(&batch(3)).stored, 3);
    assert_eq!(rig.keys(), keys(3));
}

#[test]
fn an_answer_that_is_none_of_the_servers_loses_nothing() {
    let rig = rig();
    for body in ["<html>welcome</html>", "[]", "[{}]", "", "null"] {
        rig.standin.fail(Fault::on("silent=true", What::Say(200, body, None)));
        rig.standin.fail(Fault::on("silent=false", What::Say(200, body, None)));
        away(rig.write(&batch(2)));
    }
    assert_eq!(rig.write(&batch(2)).unwrap().stored, 2);
}

#[test]
fn a_server_that_asks_to_wait_is_left_alone_for_that_long() {
    let rig = rig();
    let busy = What::Say(429, "slow down", Some(("Retry-After", "1")));
    rig.standin.fail(Fault::on(INSERT, busy));
    let begun = Instant::now();
    away(rig.write(&batch(1)));
    let text = away(rig.write(&batch(1)));
    assert!(text.contains("asked to wait"), "{text}");
    assert_eq!(rig.standin.count(INSERT), 1);
    eventually("the wait is over", || rig.write(&batch(1)).ok());
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_whose_queue_is_too_long_sheds_a_batch_which_comes_again_later() {
    let rig = rig();
    rig.write(&batch(1)).unwrap();
    assert_eq!(rig.store.client().queue_time(), Duration::ZERO);
    // Half of the time-out of 5 s is what a request may wait.
    rig.standin.with_world(|w| w.queue_time = 2.0);
    assert_eq!(rig.write(&batch(2)).unwrap().stored, 2);
    assert_eq!(rig.store.client().queue_time(), Duration::from_secs(2));
    rig.standin.with_world(|w| w.queue_time = 3.0);
    assert!(away(rig.write(&batch(3))).contains("21004"));
    assert_eq!(rig.keys().len(), 2, "nothing was done");
    rig.standin.with_world(|w| w.queue_time = 0.0);
    assert_eq!(rig.write(&batch(3)).unwrap().stored, 3);
    assert_eq!(
        rig.standin.seen().last().unwrap().header("x-arango-queue-time-seconds"),
        Some("2.500")
    );
}

#[test]
fn another_endpoint_is_asked_at_once_when_one_is_down_or_says_503_and_is_kept() {
    let first = rig();
    let second = first.standin.second();
    let mut settings = first.standin.settings(DB);
    settings.endpoints = vec![first.standin.url(), second.url()];
    let store = Arango::open(&settings).unwrap();
    let write = |n| first.runtime.block_on(store.write(&batch(n)));
    first.standin.close();
    assert_eq!(write(2).unwrap().stored, 2);
    // Kept: the first is open again, and not asked.
    first.standin.open();
    assert_eq!(store.client().endpoint(), second.url());
    assert_eq!(write(3).unwrap().stored, 3);
    first
        .standin
        .fail(Fault::on(INSERT, What::Refuse(503, 30, "shutting down")));
    assert_eq!(write(4).unwrap().stored, 4);
    assert_eq!(store.client().endpoint(), first.standin.url());
    // All of them away.
    first
        .standin
        .fail(Fault::on(INSERT, What::Refuse(503, 503, "starting")).times(2));
    assert!(matches!(write(5), Err(WriteError::Away(_))));
    first.standin.close();
    second.close();
    assert!(matches!(write(5), Err(WriteError::Away(_))));
}

#[test]
fn a_token_is_fetched_once_and_renewed_before_it_dies() {
    let options = Options {
        token_life: Duration::from_secs(1),
        ..Options::default()
    };
    let rig = rig_with(options, |s| s.auth = config::Auth::Jwt);
    for i in 0..5 {
        rig.write(&batch(i + 1)).unwrap();
    }
    assert_eq!(rig.standin.with_world(|w| w.logins), 1);
    eventually("two renewals", || {
        rig.write(&batch(1)).unwrap();
        (rig.standin.with_world(|w| w.logins) >= 3).then_some(())
    });
    let writes = rig.standin.count(INSERT);
    assert!(writes > 10, "a token serves many requests, not {writes}");
    assert_eq!(rig.standin.seen().iter().filter(|s| s.status == 401).count(), 0);
}

#[test]
fn a_restart_that_kills_all_tokens_costs_one_login_and_no_failure() {
    let rig = rig_with(Options::default(), |s| s.auth = config::Auth::Jwt);
    rig.write(&batch(1)).unwrap();
    rig.standin.restart();
    assert_eq!(rig.persist(&batch(2)).stored, 2);
    assert_eq!(rig.standin.with_world(|w| w.logins), 2);
}

#[test]
fn a_second_401_is_for_a_person_and_loses_nothing() {
    let rig = rig_with(Options::default(), |s| s.auth = config::Auth::Jwt);
    rig.standin
        .fail(Fault::on(INSERT, What::Refuse(401, 11, "not authorized")).times(2));
    refusal(rig.write(&batch(2)));
    assert_eq!(rig.standin.with_world(|w| w.logins), 2);
    assert_eq!(rig.write(&batch(2)).unwrap().stored, 2);
}

#[test]
fn a_login_that_cannot_be_reached_passes_and_one_that_is_refused_does_not() {
    let rig = rig_with(Options::default(), |s| s.auth = config::Auth::Jwt);
    rig.standin
        .fail(Fault::on("/_open/auth", What::Refuse(503, 503, "starting up")));
    away(rig.write(&batch(1)));
    assert_eq!(rig.write(&batch(1)).unwrap().stored, 1);
    let mut settings = rig.standin.settings(DB);
    settings.auth = config::Auth::Jwt;
    settings.password = "wrong-password".into();
    let store = Arango::open(&settings).unwrap();
    let text = refusal(rig.runtime.block_on(store.write(&batch(1))));
    assert!(text.contains("root") && !text.contains("wrong-password"), "{text}");
}

#[test]
fn a_server_without_authentication_needs_no_login() {
    let options = Options {
        auth: false,
        ..Options::default()
    };
    let rig = rig_with(options, |s| s.auth = config::Auth::Jwt);
    assert_eq!(rig.write(&batch(2)).unwrap().stored, 2);
    assert_eq!(rig.write(&batch(3)).unwrap().stored, 3);
    assert_eq!(rig.standin.count("/_open/auth"), 1);
}

#[test]
fn compressed_bodies_arrive_whole_and_a_login_is_never_compressed() {
    let rig = rig_with(Options::default(), |s| {
        s.auth = config::Auth::Jwt;
        s.compression = config::Compression::Gzip;
        s.password = format!("{}{}", s.password, "");
    });
    assert_eq!(rig.write(&batch(100)).unwrap().stored, 100);
    let seen = rig.standin.seen();
    let login = seen.iter().find(|s| s.line.contains("/_open/auth")).unwrap();
    assert_eq!(login.header("content-encoding"), None);
    let insert = seen.iter().find(|s| s.line.contains("log_events")).unwrap();
    assert_eq!(insert.header("content-encoding"), Some("gzip"));
    assert!(insert.wire * 3 < insert.body.len());
    assert_eq!(rig.keys().len(), 100);
}

#[test]
fn a_server_is_trusted_by_its_authority_alone() {
    let standin = Standin::secure();
    let mut settings = standin.settings(DB);
    let runtime = runtime();
    let open = |settings: &config::Arangodb| Arango::open(settings).unwrap();
    let failed = runtime.block_on(open(&settings).ensure_schema(false));
    assert!(
        matches!(&failed, Err(WriteError::Away(text)) if text.contains("certificate")),
        "{failed:?}"
    );
    settings.ca_file = Some(crate::standin::AUTHORITY.into());
    let store = open(&settings);
    runtime.block_on(store.ensure_schema(false)).unwrap();
    assert_eq!(runtime.block_on(store.write(&batch(50))).unwrap().stored, 50);
    // The certificate is for an address, not for any name that leads there.
    settings.endpoints = vec![standin.url().replace("127.0.0.1", "127.0.0.2")];
    assert!(runtime.block_on(open(&settings).write(&batch(1))).is_err());
    settings.ca_file = Some("/does/not/exist.pem".into());
    assert!(Arango::open(&settings).is_err());
}

#[test]
fn read_only_mode_and_a_missing_grant_have_the_same_number_and_are_told_apart() {
    let writer = User::shipper("shipper", "secret-of-shipper", DB);
    let reader = User {
        collections: vec![("log_events", crate::standin::Grant::Read)],
        ..User::shipper("reader", "secret-of-reader", DB)
    };
    let options = Options {
        users: vec![User::root("root", "secret-of-root"), writer, reader],
        ..Options::default()
    };
    let rig = rig_with(options, |s| {
        s.username = "shipper".into();
        s.password = "secret-of-shipper".into();
    });
    assert_eq!(rig.write(&batch(1)).unwrap().stored, 1);
    rig.standin.with_world(|w| w.read_only = true);
    let text = refusal(rig.write(&batch(2)));
    assert!(text.contains("read-only mode"), "{text}");
    rig.standin.with_world(|w| w.read_only = false);
    let mut settings = rig.standin.settings(DB);
    settings.username = "reader".into();
    settings.password = "secret-of-reader".into();
    let store = Arango::open(&settings).unwrap();
    let text = refusal(rig.runtime.block_on(store.write(&batch(2))));
    assert!(text.contains("the user may only read"), "{text}");
}

/// Else an outage in which only answers to what is written are lost would look like none.
#[test]
fn a_probe_goes_the_way_of_a_batch_and_leaves_nothing_there() {
    let rig = rig();
    let probe = || rig.runtime.block_on(rig.store.probe());
    assert_eq!(probe(), Ok(()));
    assert_eq!(rig.keys(), Vec::<String>::new());
    let sent: Vec<Vec<u8>> = rig
        .standin
        .seen()
        .into_iter()
        .map(|s| s.body)
        .filter(|b| !b.is_empty())
        .collect();
    assert_eq!(sent, [b"[]"]);
    for what in [What::CutAfter, What::Half, What::Refuse(503, 1478, "no leader")] {
        rig.standin.fail(Fault::on(INSERT, what));
        assert!(matches!(probe(), Err(WriteError::Away(_))));
    }
    rig.standin
        .fail(Fault::on(INSERT, What::Refuse(403, 1004, "read-only")));
    let said = probe();
    assert!(
        matches!(&said, Err(WriteError::Refused(text)) if text.contains("the user may only read")),
        "{said:?}"
    );
    assert_eq!(probe(), Ok(()));
}

#[test]
fn a_missing_collection_or_database_waits_for_init() {
    let rig = rig();
    rig.standin
        .with_world(|w| w.databases.get_mut(DB).unwrap().collections.remove("log_events"));
    let text = refusal(rig.write(&batch(1)));
    assert!(text.contains("logagent init"), "{text}");
    refusal(rig.runtime.block_on(rig.store.probe()).map(|()| Report::default()));
    rig.standin.with_world(|w| w.databases.remove(DB));
    let text = refusal(rig.write(&batch(1)));
    assert!(text.contains("logagent init"), "{text}");
    rig.runtime.block_on(rig.store.ensure_schema(false)).unwrap();
    rig.runtime.block_on(rig.store.probe()).unwrap();
    assert_eq!(rig.write(&batch(1)).unwrap().stored, 1);
}

fn run(id: &str, seen: i64) -> RunUpdate {
    RunUpdate {
        execution_id: id.into(),
        script_name: "job".into(),
        start_time: 1_000_000,
        last_seen: seen,
        pid: Some(7),
        host: Some("h".into()),
        ..RunUpdate::default()
    }
}

#[test]
fn the_runs_of_a_batch_are_one_request_and_merge_in_any_order() {
    let rig = rig();
    let end = RunEnd {
        status: Status::Success,
        time: 9_000_000,
        declared: true,
        error: None,
    };
    let ended = RunUpdate {
        end: Some(end),
        ..run("r1", 9_000_000)
    };
    let of = |runs: Vec<RunUpdate>| {
        Arc::new(Batch {
            runs: runs.into(),
            ..Batch::default()
        })
    };
    rig.write(&of(vec![ended, run("r2", 2_000_000)])).unwrap();
    rig.write(&of(vec![
        run("r1", 5_000_000),
        run("r2", 4_000_000),
        run("r2", 3_000_000),
    ]))
    .unwrap();
    assert_eq!(rig.standin.count("/_api/cursor"), 2);
    let runs = rig.standin.documents(DB, "script_runs");
    assert_eq!(runs.len(), 2);
    assert_eq!(
        (runs[0]["status"].as_str(), runs[0]["duration_seconds"].as_f64()),
        (Some("success"), Some(8.0))
    );
    assert_eq!(runs[1]["status"], "running");
    assert_eq!(runs[1]["last_seen"], "1970-01-01T00:00:04.000000Z");
    assert!(runs[1].get("end_time").is_none());
}

#[test]
fn a_run_that_the_server_refuses_is_found_and_handed_back() {
    let rig = rig();
    // The server's rule was changed by somebody: no run of pid 13.
    rig.standin.with_world(|w| {
        let runs = w
            .databases
            .get_mut(DB)
            .unwrap()
            .collections
            .get_mut("script_runs")
            .unwrap();
        let rule =
            serde_json::json!({"schema": {"message": "unlucky", "rule": {"properties": {"pid": {"maximum": 12}}}}});
        runs.change(&rule).unwrap();
    });
    let unlucky = RunUpdate {
        pid: Some(13),
        ..run("r2", 2_000_000)
    };
    let runs = vec![run("r1", 2_000_000), unlucky, run("r3", 2_000_000)];
    let report = rig
        .write(&Arc::new(Batch {
            runs: runs.into(),
            ..Batch::default()
        }))
        .unwrap();
    assert_eq!(rig.standin.keys(DB, "script_runs"), ["r1", "r3"]);
    assert_eq!(
        (report.rejected[0].key.as_str(), report.rejected[0].error_num),
        ("r2", Some(1620))
    );
}

#[test]
fn a_conflict_between_two_writers_of_one_run_is_tried_again() {
    let rig = rig();
    rig.standin
        .fail(Fault::on("/_api/cursor", What::Refuse(409, 1200, "write-write conflict")).times(2));
    let runs = vec![run("r1", 2_000_000)];
    rig.write(&Arc::new(Batch {
        runs: runs.into(),
        ..Batch::default()
    }))
    .unwrap();
    assert_eq!(rig.standin.keys(DB, "script_runs"), ["r1"]);
}

fn error_event(key: &str, second: u32, fingerprint: &str) -> String {
    format!(
        r#"{{"_key":"{key}","timestamp":"2026-11-21T02:20:{second:02}.000000Z","level":"ERROR","level_no":40,"message":"it broke","execution_id":"run1","script_name":"job","exception":{{"type":"ValueError","value":"no such column","chain":[{{"type":"KeyError","value":"user"}}]}},"fingerprint":"{fingerprint}","seq":{second}}}"#
    )
}

fn fix(target: Option<&str>) -> Fix {
    Fix {
        key: "fix1".into(),
        // 2026-11-21T02:20:30Z
        time: 1_795_227_630_000_000,
        execution_id: "run2".into(),
        script_name: Some("job".into()),
        target: target.map(str::to_string),
        description: "raised the limit".into(),
        rationale: None,
    }
}

#[test]
fn a_fix_finds_its_error_by_key_fingerprint_execution_type_and_text_or_takes_the_newest_open_one() {
    let cases = [
        (Some("e1"), "e1"),
        (Some("f1"), "e2"),
        (Some("run1"), "e3"),
        (Some("ValueError"), "e3"),
        (Some("keyerror"), "e3"),
        (Some("it broke"), "e3"),
        (None, "e3"),
    ];
    for (target, expected) in cases {
        let rig = rig();
        let mut batch = Batch::default();
        for doc in [
            error_event("e1", 10, "f1"),
            error_event("e2", 11, "f1"),
            error_event("e3", 12, "f2"),
        ] {
            batch.events.push(doc.as_bytes());
        }
        // After the fix: not its business.
        batch.events.push(error_event("e4", 50, "f1").as_bytes());
        batch.events.push(event("fix1").as_bytes());
        batch.fixes.push(fix(target));
        let batch = Arc::new(batch);
        let report = rig.write(&batch).unwrap();
        assert_eq!((report.fixes_unmatched, report.rejected.len()), (0, 0));
        let edges = rig.standin.documents(DB, "log_causality");
        assert_eq!(edges.len(), 1);
        assert_eq!(edges[0]["_from"], format!("log_events/{expected}"), "{target:?}");
        assert_eq!(
            (edges[0]["_to"].as_str(), edges[0]["type"].as_str()),
            (Some("log_events/fix1"), Some("FIXED_BY"))
        );
        let resolved = |d: &Value| d["resolved"] == true;
        let events = rig.standin.documents(DB, "log_events");
        assert!(events.iter().any(|d| d["_key"] == expected && resolved(d)));
        assert!(!events.iter().any(|d| d["_key"] == "e4" && resolved(d)));
        // Again: the same edge, the same marks.
        rig.write(&batch).unwrap();
        assert_eq!(rig.standin.documents(DB, "log_causality"), edges);
        assert_eq!(rig.standin.documents(DB, "log_events"), events);
    }
}

#[test]
fn a_fix_that_matches_nothing_is_stored_and_marked() {
    let rig = rig();
    let mut batch = Batch::default();
    batch.events.push(event("fix1").as_bytes());
    batch.fixes.push(fix(Some("nothing like this")));
    let report = rig.write(&Arc::new(batch)).unwrap();
    assert_eq!(report.fixes_unmatched, 1);
    assert_eq!(rig.standin.documents(DB, "log_events")[0]["fix_unmatched"], true);
    assert!(rig.standin.documents(DB, "log_causality").is_empty());
}

#[test]
fn relations_learnings_and_memories_are_stored_once() {
    let rig = rig();
    let mut batch = Batch::default();
    batch
        .learnings
        .push(br#"{"_key":"l1","timestamp":"2026-11-21T02:20:24.054432Z","execution_id":"run1","learning":"x"}"#);
    batch
        .memories
        .push(br#"{"_key":"m1","content":"x","type":"learning","timestamp":"2026-11-21T02:20:24.054432Z"}"#);
    let relation = Relation {
        from: "a".into(),
        to: "l1".into(),
        to_collection: "agent_learnings".into(),
        kind: "LEARNED_FROM".into(),
        weight: 0.5,
        confidence: 0.7,
        rationale: String::new(),
        method: "script".into(),
        time: 0,
        execution_id: "run1".into(),
    };
    let broken = Relation {
        from: "a/b".into(),
        ..relation.clone()
    };
    batch.relations.extend([relation, broken]);
    let batch = Arc::new(batch);
    let report = rig.write(&batch).unwrap();
    assert_eq!(report.rejected.len(), 1);
    assert_eq!(
        (report.rejected[0].collection.as_str(), report.rejected[0].error_num),
        ("log_causality", Some(1233))
    );
    rig.write(&batch).unwrap();
    for (collection, n) in [("agent_learnings", 1), ("agent_memories", 1), ("log_causality", 1)] {
        assert_eq!(rig.standin.documents(DB, collection).len(), n, "{collection}");
    }
}

/// Collects what the program would log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_stands_in_an_error_or_in_the_log_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let mut texts = Vec::new();
    tracing::subscriber::with_default(subscriber, || {
        for auth in [config::Auth::Basic, config::Auth::Jwt] {
            let rig = rig_with(Options::default(), |s| s.auth = auth);
            rig.write(&batch(2)).unwrap();
            for what in [
                What::Cut,
                What::Half,
                What::Refuse(401, 11, "no"),
                What::Refuse(403, 11, "no"),
            ] {
                rig.standin.fail(Fault::on(INSERT, what).times(2));
                texts.push(format!("{:?}", rig.write(&batch(2))));
                rig.standin.heal();
            }
            let mut settings = rig.standin.settings(DB);
            settings.auth = auth;
            settings.endpoints = vec![rig.standin.url().replace("http://", "http://root:secret-in-url@")];
            settings.password = "secret-and-wrong".into();
            let store = Arango::open(&settings).unwrap();
            texts.push(format!(
                "{:?} {settings:?}",
                rig.runtime.block_on(store.write(&batch(2)))
            ));
            rig.standin.close();
            texts.push(format!("{:?}", rig.runtime.block_on(store.write(&batch(2)))));
        }
    });
    texts.push(String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned());
    let basic = "cm9vdDpzZWNyZXQ";
    for text in texts {
        for secret in [
            "secret-of-root",
            "secret-and-wrong",
            "secret-in-url",
            basic,
            "eyJhbGciOiJIUzI1NiJ9",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
