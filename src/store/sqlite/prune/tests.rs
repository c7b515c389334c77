use std::sync::Arc;

use super::*;
use crate::record::Micros;
use crate::store::sqlite::SqliteStore;
use crate::store::{Batch, Relation, RunEnd, RunUpdate, Sink, Status};

const DAY: Micros = 86_400_000_000;
const T: Micros = 1_795_000_000_000_000;

/// Ten days with one execution a day of `events` events each, a learning, a memory and an edge each; the last runs.
fn ten_days(events: usize) -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("logs.db")).unwrap();
    block_on(async {
        for day in 0..10 {
            let mut batch = Batch::default();
            let at = T + day * DAY;
            let (time, run) = (format_time(at), format!("run_{day}"));
            for i in 0..events {
                let (level, no) = if i % 2 == 0 { ("DEBUG", 10) } else { ("ERROR", 40) };
                batch.events.push(
                    format!(
                        r#"{{"_key":"k{day}_{i}","timestamp":"{time}","level":"{level}","level_no":{no},"message":"word{day} and more","execution_id":"{run}","ingested_at":"{time}"}}"#
                    )
                    .as_bytes(),
                );
            }
            batch.learnings.push(
                format!(r#"{{"_key":"l{day}","timestamp":"{time}","execution_id":"{run}","learning":"x"}}"#).as_bytes(),
            );
            batch
                .memories
                .push(format!(r#"{{"_key":"l{day}","content":"x","metadata":{{"execution_id":"{run}"}}}}"#).as_bytes());
            batch.relations.push(Relation {
                from: format!("k{day}_0"),
                to: format!("k{day}_1"),
                to_collection: "log_events".to_owned(),
                kind: "FOLLOWED_BY".to_owned(),
                weight: 1.0,
                confidence: 1.0,
                rationale: String::new(),
                method: "test".to_owned(),
                time: at,
                execution_id: run.clone(),
            });
            batch.runs.push(RunUpdate {
                execution_id: run,
                script_name: "app".to_owned(),
                start_time: at,
                last_seen: at,
                end: (day != 9).then_some(RunEnd {
                    status: Status::Success,
                    time: at,
                    declared: true,
                    error: None,
                }),
                ..RunUpdate::default()
            });
            store.write(&Arc::new(batch)).await.unwrap();
        }
        let manual = r#"{"_key":"m","timestamp":"t","execution_id":"manual","learning":"by hand"}"#;
        let mut batch = Batch::default();
        batch.learnings.push(manual.as_bytes());
        store.write(&Arc::new(batch)).await.unwrap();
    });
    (dir, store)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

fn left(store: &SqliteStore) -> [i64; 5] {
    let db = Connection::open(store.path()).unwrap();
    db.execute_batch("INSERT INTO log_events_fts (log_events_fts, rank) VALUES ('integrity-check', 1)")
        .expect("full text and rows agree");
    [
        "log_events",
        "script_runs",
        "agent_learnings",
        "agent_memories",
        "log_causality",
    ]
    .map(|t| {
        db.query_row(&format!("SELECT count(*) FROM {t}"), [], |r| r.get(0))
            .unwrap()
    })
}

fn pruned(events: u64, runs: u64, protected: u64) -> Pruned {
    Pruned {
        events,
        runs,
        learnings: runs,
        memories: runs,
        edges: runs,
        protected,
    }
}

#[test]
fn old_events_go_with_all_that_hangs_on_them_and_a_dry_run_says_so_before() {
    let (_dir, store) = ten_days(10);
    let mut ask = PruneAsk {
        before: Some(T + 5 * DAY),
        dry_run: true,
        ..PruneAsk::default()
    };
    let expected = pruned(50, 5, 0);
    assert_eq!(run(store.path(), &ask, &mut |_| {}).unwrap(), expected);
    assert_eq!(left(&store), [100, 10, 11, 10, 10]);
    ask.dry_run = false;
    let mut told = 0;
    assert_eq!(run(store.path(), &ask, &mut |p| told = p.events).unwrap(), expected);
    assert_eq!(told, 50);
    assert_eq!(left(&store), [50, 5, 6, 5, 5]);
    assert_eq!(run(store.path(), &ask, &mut |_| {}).unwrap(), Pruned::default());
}

#[test]
fn retention_does_the_same_between_the_batches() {
    let (_dir, store) = ten_days(10);
    let ask = PruneAsk {
        before: Some(T + 5 * DAY),
        ..PruneAsk::default()
    };
    assert_eq!(block_on(store.prune(ask, |_| {})).unwrap(), pruned(50, 5, 0));
    assert_eq!(left(&store), [50, 5, 6, 5, 5]);
}

#[test]
fn a_running_execution_stays_unless_it_is_named() {
    let (_dir, store) = ten_days(4);
    let all = PruneAsk {
        before: Some(T + 100 * DAY),
        ..PruneAsk::default()
    };
    for dry_run in [true, false] {
        let ask = PruneAsk { dry_run, ..all.clone() };
        assert_eq!(run(store.path(), &ask, &mut |_| {}).unwrap(), pruned(36, 9, 1));
    }
    assert_eq!(left(&store), [4, 1, 2, 1, 1]);
    let named = |dry_run| PruneAsk {
        executions: vec!["run_9".to_owned()],
        dry_run,
        ..PruneAsk::default()
    };
    for dry_run in [true, false] {
        assert_eq!(
            run(store.path(), &named(dry_run), &mut |_| {}).unwrap(),
            pruned(4, 1, 0)
        );
    }
    assert_eq!(left(&store), [0, 0, 1, 0, 0]);
}

#[test]
fn a_level_takes_that_level_and_below_and_leaves_runs_that_keep_events() {
    let (_dir, store) = ten_days(10);
    for dry_run in [true, false] {
        let ask = PruneAsk {
            max_level: Some(20),
            dry_run,
            ..PruneAsk::default()
        };
        let done = run(store.path(), &ask, &mut |_| {}).unwrap();
        assert_eq!((done.events, done.runs, done.edges, done.protected), (45, 0, 9, 1));
    }
    assert_eq!(left(&store), [55, 10, 11, 10, 1]);
}

#[test]
fn no_criteria_delete_nothing() {
    let (_dir, store) = ten_days(2);
    assert_eq!(run(store.path(), &PruneAsk::default(), &mut |_| {}).unwrap().events, 0);
    assert_eq!(left(&store), [20, 10, 11, 10, 10]);
}

#[test]
fn space_is_given_back_while_a_reader_and_the_agent_go_on() {
    let (_dir, store) = ten_days(3000);
    let size = || {
        let db = Connection::open(store.path()).unwrap();
        db.query_row("SELECT page_count FROM pragma_page_count", [], |r| r.get::<_, i64>(0))
            .unwrap()
    };
    let before = size();
    let reader = Connection::open(store.path()).unwrap();
    let ask = PruneAsk {
        before: Some(T + 8 * DAY),
        ..PruneAsk::default()
    };
    let mut seen = Vec::new();
    let mut n = 0;
    let done = run(store.path(), &ask, &mut |_| {
        seen.push(
            reader
                .query_row("SELECT count(*) FROM log_events", [], |r| r.get::<_, i64>(0))
                .unwrap(),
        );
        n += 1;
        let mut batch = Batch::default();
        batch.events.push(
            format!(r#"{{"_key":"new{n}","timestamp":"z","level":"INFO","message":"m","execution_id":"run_9"}}"#)
                .as_bytes(),
        );
        block_on(store.write(&Arc::new(batch))).unwrap();
    })
    .unwrap();
    assert_eq!(done.events, 24_000);
    assert_eq!(left(&store)[0], 6000 + n);
    assert!(seen.len() > 6 && seen.iter().any(|c| *c < 20_000), "{seen:?}");
    assert!(size() < before / 2, "{} of {before} pages", size());
}

/// 32,000 events, all of one time, of which a step's free more pages than are given back at once.
fn bulky(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).unwrap();
    let text = "x".repeat(1500);
    let time = format_time(T);
    for first in (0..32_000).step_by(4000) {
        let mut batch = Batch::default();
        for i in first..first + 4000 {
            let doc = format!(
                r#"{{"_key":"k{i:06}","timestamp":"{time}","level":"INFO","message":"{text}","execution_id":"e","ingested_at":"{time}"}}"#
            );
            batch.events.push(doc.as_bytes());
        }
        block_on(store.write(&Arc::new(batch))).unwrap();
    }
    store
}

/// Prunes all events; the most free pages that were left after a step, and how many stay.
fn pruned_pages(store: &SqliteStore) -> (i64, i64) {
    let reader = Connection::open(store.path()).unwrap();
    let free = || {
        let sql = "PRAGMA freelist_count";
        reader.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap()
    };
    let mut most = 0;
    let ask = PruneAsk {
        before: Some(T + DAY),
        ..PruneAsk::default()
    };
    let done = run(store.path(), &ask, &mut |_| most = most.max(free())).unwrap();
    assert_eq!(done.events, 32_000);
    (most, free())
}

#[test]
fn free_pages_do_not_pile_up_while_events_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (most, left) = pruned_pages(&bulky(&dir.path().join("logs.db")));
    assert!(most > PAGES, "a step frees {most} pages");
    assert!(most < 4 * PAGES, "{most} pages wait");
    assert_eq!(left, 0);
}

#[test]
fn a_file_that_another_program_made_and_that_cannot_be_cut_is_pruned_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shared.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE other (a); DROP TABLE other")
        .unwrap();
    let (_, left) = pruned_pages(&bulky(&path));
    assert!(left > 4 * PAGES, "{left} free pages stay");
}

#[test]
fn retention_goes_on_behind_the_old_rows_of_a_run_that_has_not_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("logs.db")).unwrap();
    let write = |from: usize, n: usize, run: &str, at: Micros| {
        let (time, mut batch) = (format_time(at), Batch::default());
        for i in from..from + n {
            batch.events.push(
                format!(
                    r#"{{"_key":"k{i}","timestamp":"{time}","level":"INFO","level_no":20,"message":"same","execution_id":"{run}","ingested_at":"{time}"}}"#
                )
                .as_bytes(),
            );
        }
        batch.runs.push(RunUpdate {
            execution_id: run.to_owned(),
            script_name: "app".to_owned(),
            start_time: at,
            last_seen: at,
            end: (run != "daemon").then_some(RunEnd {
                status: Status::Success,
                time: at,
                declared: true,
                error: None,
            }),
            ..RunUpdate::default()
        });
        block_on(store.write(&Arc::new(batch))).unwrap();
    };
    let stays = usize::try_from(PATIENCE).unwrap() + 3 * usize::try_from(STEP).unwrap();
    write(0, stays, "daemon", T);
    write(stays, 100, "job", T);
    write(stays + 100, 100, "new", T + 9 * DAY);
    let ask = PruneAsk {
        before: Some(T + DAY),
        ..PruneAsk::default()
    };
    let done = block_on(store.prune(ask, |_| {})).unwrap();
    assert_eq!(done.events, 100, "those of the job");
    assert_eq!(left(&store)[0], i64::try_from(stays).unwrap() + 100);
}
