//! What the intake makes of chunks.

use serde_json::Value;

use super::*;
use crate::config::{Settings, Sources};
use crate::source::Item;
use crate::source::chain;
use crate::telemetry::get;

const NOW: Micros = 1_795_300_000_000_000;

fn intake(max_records: usize) -> PipelineIntake {
    let nowhere = tempfile::tempdir().expect("a directory without a configuration");
    let sources = Sources {
        dir: nowhere.path().to_owned(),
        ..Sources::default()
    };
    let mut settings = Settings::load(&sources).expect("the defaults").0;
    settings.batch.max_records = max_records;
    let rules = Arc::new(Rules::new(&settings).expect("the default rules"));
    let tracker = Tracker::new("here", &[]);
    PipelineIntake::new(
        rules,
        tracker,
        "here",
        &settings.batch,
        Arc::new(Counters::default()),
        || NOW,
    )
}

fn stream() -> Arc<Stream> {
    Arc::new(Stream {
        id: 1,
        head: 77,
        name: "s.0".into(),
        script: "etl".into(),
        kind: StreamKind::File {
            path: "logs/etl.jsonl".into(),
        },
    })
}

/// Hands over `lines` as one chunk that begins at the cursor.
fn give(intake: &PipelineIntake, lines: &[&str], cursor: &mut Cursor, fragile: bool) -> Result<(), Closed> {
    let (mut data, mut items) = (Vec::new(), Vec::new());
    for line in lines {
        let start = data.len() as u32;
        data.extend_from_slice(line.as_bytes());
        let end = data.len() as u32;
        cursor.chain = chain(cursor.chain, cursor.offset + u64::from(start), line.as_bytes());
        items.push(Item {
            start,
            line_end: end,
            end,
            offset: cursor.offset + u64::from(start),
            chain: cursor.chain,
            number: 0,
            whole: 0,
        });
        data.push(b'\n');
    }
    cursor.offset += data.len() as u64;
    intake.accept(
        Chunk {
            stream: &stream(),
            data: &data,
            items: &items,
            fragile,
        },
        cursor,
    )
}

fn events(formed: &Formed) -> Vec<Value> {
    serde_json::from_slice(formed.batch.events.array()).expect("a valid array")
}

#[test]
fn a_line_becomes_a_document_and_its_cursor_goes_with_the_batch() {
    let intake = intake(100);
    let mut cursor = Cursor::default();
    give(
        &intake,
        &[r#"{"message":"hello","level":"info","run_id":"r1","user":7}"#],
        &mut cursor,
        false,
    )
    .expect("open");
    let formed = intake.take().expect("a batch");
    let docs = events(&formed);
    assert_eq!(docs[0]["message"], "hello");
    assert_eq!(docs[0]["execution_id"], "r1");
    assert_eq!(docs[0]["script_name"], "etl");
    assert_eq!(docs[0]["host"], "here");
    assert_eq!(docs[0]["extra_data"]["user"], 7);
    assert_eq!(docs[0]["source"]["path"], "logs/etl.jsonl");
    assert_eq!(docs[0]["source"]["offset"], 0);
    assert_eq!(formed.progress.cursors, [(1, cursor)]);
    assert_eq!(formed.batch.runs.len(), 1);
    assert!(intake.take().is_none());
}

#[test]
fn the_same_lines_get_the_same_keys_however_they_are_cut_into_chunks() {
    let lines = ["{\"message\":\"a\"}", "{\"message\":\"b\"}", "{\"message\":\"c\"}"];
    let keys = |cuts: &[usize]| {
        let intake = intake(100);
        let (mut cursor, mut at) = (Cursor::default(), 0);
        for cut in cuts {
            give(&intake, &lines[at..*cut], &mut cursor, false).expect("open");
            at = *cut;
        }
        let docs = events(&intake.take().expect("a batch"));
        docs.iter()
            .map(|d| d["_key"].as_str().expect("a key").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&[3]), keys(&[1, 2, 3]));
    let distinct: std::collections::BTreeSet<_> = keys(&[3]).into_iter().collect();
    assert_eq!(distinct.len(), 3);
}

#[test]
fn seq_rises_within_a_stream_and_follows_the_time() {
    let intake = intake(100);
    let mut cursor = Cursor::default();
    let at = |s: &str| format!("{{\"message\":\"m\",\"time\":\"2026-11-21T02:20:{s}Z\"}}");
    let lines = [at("24.5"), at("24.5"), at("20"), "no time".into(), at("25")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    give(&intake, &lines, &mut cursor, false).expect("open");
    let seqs: Vec<i64> = events(&intake.take().expect("a batch"))
        .iter()
        .filter_map(|d| d["seq"].as_i64())
        .collect();
    assert_eq!(seqs[0], 1_795_227_624_500_000);
    assert!(seqs.windows(2).all(|w| w[0] < w[1]), "{seqs:?}");
    assert_eq!(seqs[4], 1_795_227_625_000_000);
    assert_eq!(cursor.seq, seqs[4]);
}

#[test]
fn a_full_batch_stops_the_sources_until_it_is_taken_and_its_cursor_comes_last() {
    let intake = intake(2);
    let mut cursor = Cursor::default();
    give(
        &intake,
        &["{\"message\":\"1\"}", "{\"message\":\"2\"}", "{\"message\":\"3\"}"],
        &mut cursor,
        false,
    )
    .expect("open");
    assert_eq!(intake.wait_room(Duration::ZERO), Room::None);
    let first = intake.take().expect("a full batch");
    assert_eq!(first.batch.events.len(), 2);
    assert!(first.progress.cursors.is_empty(), "the chunk is not whole yet");
    assert_eq!(intake.wait_room(Duration::ZERO), Room::All);
    let second = intake.take().expect("the rest");
    assert_eq!(second.batch.events.len(), 1);
    assert_eq!(second.progress.cursors, [(1, cursor)]);
}

#[test]
fn what_is_not_worth_storing_is_counted_and_moves_the_cursor_all_the_same() {
    let intake = intake(100);
    let mut cursor = Cursor::default();
    give(&intake, &["{\"message\":\"m\",\"db_store\":false}"], &mut cursor, false).expect("open");
    let formed = intake.take().expect("progress");
    assert!(formed.batch.events.is_empty());
    assert_eq!(formed.progress.cursors, [(1, cursor)]);
    assert_eq!(get(&intake.counters.skipped), 1);
    assert_eq!(get(&intake.counters.read), 1);
}

#[test]
fn a_learning_is_an_event_a_learning_and_a_memory_under_one_key() {
    let intake = intake(100);
    let line = r#"{"event":"learning","message":"retry \"twice\"","function_name":"fetch","confidence":0.9,"context":{"n":2}}"#;
    give(&intake, &[line], &mut Cursor::default(), false).expect("open");
    let batch = intake.take().expect("a batch").batch;
    let learning: Value = serde_json::from_slice(batch.learnings.get(0).expect("one")).expect("JSON");
    let memory: Value = serde_json::from_slice(batch.memories.get(0).expect("one")).expect("JSON");
    let event: Value = serde_json::from_slice(batch.events.get(0).expect("one")).expect("JSON");
    assert_eq!(learning["learning"], "retry \"twice\"");
    assert_eq!(learning["execution_id"], "manual");
    assert_eq!(learning["context"]["n"], 2);
    assert_eq!(learning["confidence"], 0.9);
    assert_eq!(memory["content"], learning["learning"]);
    assert_eq!(memory["metadata"]["function"], "fetch");
    assert!([&learning, &memory].iter().all(|d| d["_key"] == event["_key"]));
}

#[test]
fn a_fix_and_a_relation_are_handed_on_with_their_targets() {
    let intake = intake(100);
    let fix = r#"{"event":"fix","fixes":"KeyError","message":"added a default","rationale":"the field is optional"}"#;
    let relation = r#"{"event":"relation","from_key":"a","to_key":"log_events/b","type":"CAUSED_BY","confidence":0.5,"message":"m"}"#;
    give(&intake, &[fix, relation], &mut Cursor::default(), false).expect("open");
    let batch = intake.take().expect("a batch").batch;
    assert_eq!(batch.fixes[0].target.as_deref(), Some("KeyError"));
    assert_eq!(batch.fixes[0].description, "added a default");
    assert_eq!(batch.fixes[0].rationale.as_deref(), Some("the field is optional"));
    let r = &batch.relations[0];
    assert_eq!(
        (r.from.as_str(), r.to.as_str(), r.to_collection.as_str()),
        ("a", "b", "log_events")
    );
    assert_eq!((r.kind.as_str(), r.confidence), ("CAUSED_BY", 0.5));
}

#[test]
fn once_closed_nothing_is_taken() {
    let intake = intake(100);
    intake.allow(Room::Closed);
    intake.allow(Room::All);
    assert_eq!(intake.wait_room(Duration::ZERO), Room::Closed);
    assert_eq!(give(&intake, &["{}"], &mut Cursor::default(), false), Err(Closed));
    assert!(intake.take().is_none());
}

#[test]
fn fragile_data_is_told_apart() {
    let intake = intake(100);
    let mut cursor = Cursor::default();
    give(&intake, &["{\"message\":\"1\"}"], &mut cursor, false).expect("open");
    let waiting = || {
        let waiting = intake.waiting();
        (waiting.live, waiting.full, waiting.fragile)
    };
    assert_eq!(waiting(), (true, false, false));
    give(&intake, &["{\"message\":\"2\"}"], &mut cursor, true).expect("open");
    assert_eq!(waiting(), (true, false, true));
    assert!(intake.take().expect("a batch").fragile);
    assert_eq!(waiting(), (false, false, false));
}

#[test]
fn a_batch_fills_from_its_first_record_until_it_is_full_or_files_have_no_more() {
    let intake = intake(2);
    let mut cursor = Cursor::default();
    let mut one = || give(&intake, &["{\"message\":\"a\"}"], &mut cursor, false).expect("open");
    assert_eq!(intake.waiting().filling, None, "there is none");
    one();
    assert!(intake.waiting().filling.is_some());
    one();
    assert_eq!(intake.waiting().filling, None, "it is full");
    one();
    assert!(intake.waiting().filling.is_some(), "the next one");
    assert!(futures_util::FutureExt::now_or_never(intake.woken()).is_some());
    intake.idle(Instant::now());
    assert_eq!(intake.waiting().filling, None, "all was read");
    let woken = || futures_util::FutureExt::now_or_never(intake.woken()).is_some();
    assert!(woken(), "it may be sent now");
    intake.idle(Instant::now());
    assert!(!woken(), "nothing is new");
}

#[test]
fn a_buffer_is_used_again_and_what_never_had_one_does_not_become_another() {
    let intake = intake(2);
    let mut cursor = Cursor::default();
    let lines = [r#"{"msg":"a"}"#, r#"{"msg":"b"}"#];
    let mut buffers = std::collections::HashSet::new();
    for _ in 0..20 {
        give(&intake, &lines, &mut cursor, false).expect("the intake is open");
        // The full batch, and one that only says how far the stream was read.
        let full = intake.take().expect("two records make a batch");
        let progress = intake.take().expect("the end of the chunk");
        assert_eq!((full.batch.events.len(), progress.batch.events.len()), (2, 0));
        buffers.insert(full.batch.events.array().as_ptr());
        intake.recycle(Arc::new(full.batch));
        intake.recycle(Arc::new(progress.batch));
    }
    assert_eq!(buffers.len(), 1);
}

#[test]
fn the_driver_is_woken_for_what_it_does_not_know_of_yet_not_for_each_chunk() {
    let intake = intake(4);
    let mut cursor = Cursor::default();
    let woken = || futures_util::FutureExt::now_or_never(intake.woken()).is_some();
    let mut one = |fragile| give(&intake, &["{\"message\":\"a\"}"], &mut cursor, fragile).expect("open");
    one(false);
    assert!(woken(), "something waits");
    one(false);
    assert!(!woken(), "more of it");
    one(true);
    assert!(woken(), "some of it cannot be read again");
    one(true);
    assert!(woken(), "a batch is full");
    one(false);
    assert!(woken(), "the next one begins");
    assert!(intake.take().is_some() && intake.take().is_some() && intake.take().is_none());
    one(false);
    assert!(woken(), "all was taken");
}
