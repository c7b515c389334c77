mod codec;
mod compact;
mod dead_letters;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::source::{Cursor, StreamEntry};
use crate::store::Batch;

const MAX: u64 = 100 << 20;

fn open(dir: &Path) -> (State, Loaded) {
    State::open(dir, MAX).unwrap()
}

fn entry(id: u64) -> StreamEntry {
    StreamEntry {
        id,
        path: format!("/var/log/app/{id}.jsonl").into(),
        script: "app".into(),
        dev: 1,
        ino: 1000 + id,
        head: id * 7,
        head_len: 300,
        finished: id.is_multiple_of(2),
        size: 10 * id,
        mtime: -5,
        start: 3,
        archive: id == 5,
        covers: vec![(9, 10); id as usize],
        ..StreamEntry::default()
    }
}

fn cursor(n: u64) -> Cursor {
    Cursor {
        offset: n,
        chain: u128::from(n.wrapping_mul(3)),
        seq: -(n as i64),
        near: !n,
    }
}

/// A batch of events with keys from a range of numbers.
fn batch(keys: std::ops::Range<u64>) -> Arc<Batch> {
    let mut b = Batch::default();
    for k in keys {
        b.events
            .push(format!("{{\"_key\":\"k{k}\",\"message\":\"number {k}\"}}").as_bytes());
    }
    Arc::new(b)
}

fn keys(b: &Batch) -> Vec<u64> {
    b.events
        .iter()
        .map(|d| crate::store::doc_key(d)[1..].parse().unwrap())
        .collect()
}

fn spool(keys: std::ops::Range<u64>) -> Change {
    Change {
        spool: vec![batch(keys)],
        ..Change::default()
    }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (state, loaded) = open(dir.path());
        assert!(loaded.streams.is_empty() && loaded.recovered.is_none());
        assert_eq!(loaded.next_stream_id, 1);
        let change = Change {
            remember: vec![entry(1), entry(5)],
            cursors: vec![(1, cursor(100))],
            runs: vec![("run_a".into(), Some(vec![7; 9000])), ("run_b".into(), Some(vec![1]))],
            socket_streams: vec![("job-1".into(), cursor(9))],
            ..Change::default()
        };
        state.commit(&change, true).unwrap();
        let change = Change {
            runs: vec![("run_b".into(), None)],
            cursors: vec![(1, cursor(200))],
            ..Change::default()
        };
        state.commit(&change, true).unwrap();
    }
    let (state, loaded) = open(dir.path());
    assert_eq!(
        loaded.streams.to_vec(),
        [(entry(1), cursor(200)), (entry(5), Cursor::default())]
    );
    assert_eq!(loaded.runs, [("run_a".to_owned(), vec![7; 9000])]);
    assert_eq!(loaded.next_stream_id, 6);
    assert_eq!(loaded.recovered, None);
    assert_eq!(state.socket_stream("job-1").unwrap(), Some(cursor(9)));
    assert_eq!(state.socket_stream("job-2").unwrap(), None);
}

#[test]
fn a_value_of_many_rows_that_shrinks_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let run = |n: usize| Change {
        runs: vec![("r".into(), Some(vec![b'x'; n]))],
        ..Change::default()
    };
    for sizes in [[30_000, 10], [10, 30_000], [3_000, 2_980]] {
        for n in sizes {
            let (state, _) = open(dir.path());
            state.commit(&run(n), true).unwrap();
            drop(state);
            let (_, loaded) = open(dir.path());
            assert_eq!(loaded.runs, [("r".to_owned(), vec![b'x'; n])]);
            assert_eq!(loaded.recovered, None);
        }
    }
    let (state, _) = open(dir.path());
    state.commit(&run(30_000), false).unwrap();
    let remove = Change {
        runs: vec![("r".into(), None)],
        ..Change::default()
    };
    state.commit(&remove, true).unwrap();
    drop(state);
    let (_, loaded) = open(dir.path());
    assert_eq!((loaded.runs.len(), loaded.recovered), (0, None));
}

#[test]
fn a_forgotten_stream_is_gone_with_its_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let change = Change {
        remember: vec![entry(1), entry(2)],
        cursors: vec![(1, cursor(1)), (2, cursor(2)), (77, cursor(3))],
        ..Change::default()
    };
    state.commit(&change, false).unwrap();
    let change = Change {
        forget: vec![1],
        ..Change::default()
    };
    state.commit(&change, true).unwrap();
    drop(state);
    let (_, loaded) = open(dir.path());
    assert_eq!(loaded.streams.to_vec(), [(entry(2), cursor(2))]);
    assert_eq!(
        loaded.next_stream_id, 78,
        "a number with an orphaned cursor is not given again"
    );
}

#[test]
fn the_spool_gives_back_what_was_pushed_in_order_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let done = state
        .commit(
            &Change {
                spool: vec![batch(0..3), batch(3..5)],
                ..Change::default()
            },
            true,
        )
        .unwrap();
    assert_eq!(done.spooled, 1..3);
    state.commit(&spool(5..9), true).unwrap();
    assert_eq!(state.spool_usage().records, 9);

    let first = state.spool_front(5, 1 << 20).unwrap().unwrap();
    assert_eq!((first.last, keys(&first.batch)), (2, vec![0, 1, 2, 3, 4]));
    let second = state.spool_read(first.last, 5, 1 << 20).unwrap().unwrap();
    assert_eq!((second.last, keys(&second.batch)), (3, vec![5, 6, 7, 8]));
    assert!(state.spool_read(second.last, 5, 1 << 20).unwrap().is_none());
    let one = state.spool_front(1, 1).unwrap().unwrap();
    assert_eq!(keys(&one.batch), [0, 1, 2], "at least one item, whatever the bounds");
    assert_eq!(first.lost, Dropped::default());

    let settle = |id| Change {
        spool_done: Some(id),
        ..Change::default()
    };
    state.commit(&settle(2), false).unwrap();
    assert_eq!(state.spool_usage().records, 4);
    assert_eq!(
        keys(&state.spool_front(99, 1 << 20).unwrap().unwrap().batch),
        [5, 6, 7, 8]
    );
    state.commit(&settle(3), true).unwrap();
    assert!(state.spool_front(5, 1 << 20).unwrap().is_none());
    assert_eq!((state.spool_usage().records, state.spool_usage().bytes), (0, 0));
}

#[test]
fn the_spool_survives_a_restart_and_goes_on_counting() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6u64 {
        let (state, loaded) = open(dir.path());
        assert_eq!(loaded.recovered, None);
        assert_eq!(state.spool_usage().records, round * 5);
        let change = Change {
            spool: vec![
                batch(round * 10..round * 10 + 5),
                batch(round * 10 + 5..round * 10 + 10),
            ],
            ..Change::default()
        };
        assert_eq!(
            state.commit(&change, true).unwrap().spooled,
            round * 2 + 1..round * 2 + 3,
            "numbers go on"
        );
        let oldest = state.spool_front(1, 1).unwrap().unwrap();
        assert_eq!(keys(&oldest.batch), (round * 5..round * 5 + 5).collect::<Vec<_>>());
        state
            .commit(
                &Change {
                    spool_done: Some(oldest.last),
                    ..Change::default()
                },
                true,
            )
            .unwrap();
    }
    let (state, _) = open(dir.path());
    let rest = state.spool_front(1000, 1 << 20).unwrap().unwrap();
    assert_eq!(keys(&rest.batch), (30..60).collect::<Vec<_>>());
}
