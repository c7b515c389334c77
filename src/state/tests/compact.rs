use std::fs;
use std::path::Path;

use super::{cursor, entry, open};
use crate::state::compact::{finish, swap, worthwhile};
use crate::state::{Change, files};

/// A state that knows stream 1 at this offset, closed.
fn state_at(dir: &Path, offset: u64) {
    let (state, _) = open(dir);
    let change = Change {
        remember: vec![entry(1)],
        cursors: vec![(1, cursor(offset))],
        ..Change::default()
    };
    state.commit(&change, true).unwrap();
}

fn offset(dir: &Path) -> u64 {
    let (_, loaded) = open(dir);
    assert_eq!(loaded.recovered, None);
    assert_eq!(loaded.streams.len(), 1);
    loaded.streams.to_vec()[0].1.offset
}

#[test]
fn a_crash_at_any_step_of_the_swap_leaves_a_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let name = |n: &str| dir.path().join("data").join(n);
    let both = dir.path().join("both");
    state_at(&both, 5);
    // The steps in the essay of the module: what there is besides `state`, which is whole wherever it exists.
    let steps: [&[&str]; 6] = [
        &["state", "state.new"],
        &["state.new", "state.old"],
        &["state", "state.old"],
        &["state.old"],
        &["state", "state.new", "state.old"],
        &["state"],
    ];
    for step in steps {
        fs::create_dir_all(dir.path().join("data")).unwrap();
        for part in step {
            let torn = *part == "state.new" && step.contains(&"state");
            if torn {
                fs::create_dir(name(part)).unwrap();
                fs::write(name(part).join("db"), "half").unwrap();
            } else {
                files::copy_dir(&both.join("state"), &name(part)).unwrap();
            }
        }
        finish(&name("state")).unwrap();
        assert!(!name("state.new").exists() && !name("state.old").exists(), "{step:?}");
        assert_eq!(offset(&dir.path().join("data")), 5, "{step:?}");
        fs::remove_dir_all(dir.path().join("data")).unwrap();
    }
}

#[test]
fn only_a_large_and_mostly_empty_database_is_compacted() {
    const MB: u64 = 1 << 20;
    assert!(!worthwhile(60 * MB, 0));
    assert!(!worthwhile(200 * MB, 60 * MB));
    assert!(worthwhile(200 * MB, 40 * MB));
}

#[test]
fn a_grown_database_shrinks_when_it_is_compacted_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    state_at(dir.path(), 9);
    let size = |dir: &Path| files::bytes_in(&dir.join("state"));
    {
        let (state, _) = open(dir.path());
        let mut round = 0u64;
        while size(dir.path()) <= 70 << 20 {
            let runs = (0..200).map(|i| (format!("run {i} {}", round % 20), Some(vec![round as u8; 20_000])));
            let runs = Change {
                runs: runs.collect(),
                ..Change::default()
            };
            state.commit(&runs, false).unwrap();
            round += 1;
        }
        for i in 0..20 {
            let runs = (0..200).map(|n| (format!("run {n} {i}"), None));
            let runs = Change {
                runs: runs.collect(),
                ..Change::default()
            };
            state.commit(&runs, true).unwrap();
        }
        let kept = Change {
            runs: vec![("kept".into(), Some(vec![1; 10_000]))],
            ..Change::default()
        };
        state.commit(&kept, true).unwrap();
        assert!(state.compact().unwrap());
        assert!(size(dir.path()) < 8 << 20);
        assert!(!state.compact().unwrap(), "once is enough");
        let after = Change {
            cursors: vec![(1, cursor(10))],
            ..Change::default()
        };
        state.commit(&after, true).unwrap();
    }
    let (_, loaded) = open(dir.path());
    assert_eq!(loaded.runs, [("kept".to_owned(), vec![1; 10_000])]);
    assert_eq!((loaded.streams.to_vec()[0].1, loaded.recovered), (cursor(10), None));
}

#[test]
fn a_swap_whose_second_half_fails_however_often_leaves_the_state_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    state_at(dir.path(), 5);
    let state = dir.path().join("state");
    for _ in 0..4 {
        // The copy is not there: it cannot take the place.
        assert!(swap(&state, &dir.path().join("state.new")).is_err());
        assert_eq!(offset(dir.path()), 5);
    }
}

#[test]
fn a_commit_behind_half_a_compaction_finds_the_state_and_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    state_at(dir.path(), 5);
    let (state, _) = open(dir.path());
    // As after a swap that failed twice: nothing is in its place, and the database is closed.
    let place = dir.path().join("state");
    state.lock().db.take().unwrap().close();
    fs::rename(&place, dir.path().join("state.old")).unwrap();
    let change = Change {
        cursors: vec![(2, cursor(7))],
        remember: vec![entry(2)],
        ..Change::default()
    };
    state.commit(&change, true).unwrap();
    drop(state);
    let (_, loaded) = open(dir.path());
    assert_eq!(loaded.streams.to_vec(), [(entry(1), cursor(5)), (entry(2), cursor(7))]);
}
