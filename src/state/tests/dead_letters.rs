use std::fs;
use std::path::Path;

use crate::state::dead_letters::{DeadLetters, MAX_LETTERS, letter};
use crate::state::{Change, DeadLetter};
use crate::store::Rejected;

fn a_letter(key: &str, collection: &str, reason: &str) -> DeadLetter {
    let rejected = Rejected {
        collection: collection.into(),
        key: key.into(),
        reason: reason.into(),
        error_num: Some(1620),
        record: format!("{{\"_key\":\"{key}\"}}"),
    };
    letter(rejected, 1_795_227_624_054_432)
}

fn keys(letters: &DeadLetters) -> Vec<String> {
    let mut found = Vec::new();
    letters
        .each(|l| {
            found.push(l.rejected.key);
            true
        })
        .unwrap();
    found
}

fn filled(dir: &Path) -> DeadLetters {
    let letters = DeadLetters::of(dir);
    for (time, names) in [(1, ["a", "b"]), (2, ["c", "d"])] {
        let batch: Vec<_> = names.iter().map(|k| a_letter(k, "log_events", "no")).collect();
        assert_eq!(letters.add(&batch, time).unwrap(), 0);
    }
    letters
}

#[test]
fn letters_are_shown_newest_first_and_can_be_read_with_any_tool() {
    let dir = tempfile::tempdir().unwrap();
    let letters = filled(dir.path());
    assert_eq!(keys(&letters), ["d", "c", "b", "a"]);
    assert_eq!(letters.usage().unwrap().letters, 4);
    let file = fs::read_dir(dir.path().join("dead-letters"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for field in ["key", "collection", "reason", "error_num", "time", "record"] {
        assert!(!first[field].is_null(), "{field} in {first}");
    }
    assert_eq!(first["time"], "2026-11-21T02:20:24.054432Z");
    let nowhere = DeadLetters::of(&dir.path().join("none"));
    assert_eq!((keys(&nowhere).len(), nowhere.usage().unwrap().letters), (0, 0));
    assert!(nowhere.next_retry().unwrap().is_none());
}

#[test]
fn a_key_that_two_collections_refused_is_two_letters_and_a_repeated_one_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::of(dir.path());
    letters
        .add(
            &[
                a_letter("k", "log_events", "first"),
                a_letter("k", "agent_memories", "x"),
            ],
            1,
        )
        .unwrap();
    letters.add(&[a_letter("k", "log_events", "second")], 2).unwrap();
    let found = letters.find("k").unwrap();
    let reasons: Vec<_> = found.iter().map(|l| l.rejected.reason.as_str()).collect();
    assert_eq!(reasons, ["second", "x"]);
    assert!(letters.find("z").unwrap().is_empty());
}

#[test]
fn dropping_takes_what_was_named_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let letters = filled(dir.path());
    assert_eq!(
        letters
            .remove(|l| ["b", "c", "nothing"].contains(&l.rejected.key.as_str()), 9)
            .unwrap(),
        2
    );
    assert_eq!(
        (keys(&letters), letters.usage().unwrap().letters),
        (vec!["d".into(), "a".into()], 2)
    );
    assert_eq!(letters.remove(|_| true, 9).unwrap(), 2);
    assert_eq!((keys(&letters).len(), letters.usage().unwrap().letters), (0, 0));
}

#[test]
fn what_is_to_be_tried_again_waits_until_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let letters = filled(dir.path());
    assert_eq!(letters.retry(|l| l.rejected.key != "a", 9).unwrap(), 3);
    assert_eq!(keys(&letters), ["a"]);
    let mut delivered = Vec::new();
    while let Some(retry) = letters.next_retry().unwrap() {
        delivered.extend(retry.letters.iter().map(|l| l.rejected.key.clone()));
        // The agent may be killed here: the same comes again.
        assert_eq!(letters.next_retry().unwrap().unwrap().letters, retry.letters);
        letters.retried(&retry).unwrap();
    }
    delivered.sort();
    assert_eq!(delivered, ["b", "c", "d"]);
}

#[test]
fn many_letters_are_handed_over_in_portions() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::of(dir.path());
    let big = |k: u64| {
        let mut l = a_letter(&format!("k{k}"), "log_events", "no");
        l.rejected.record = "x".repeat(300_000);
        l
    };
    letters.add(&(0..20).map(big).collect::<Vec<_>>(), 1).unwrap();
    letters.retry(|_| true, 2).unwrap();
    let mut count = 0;
    while let Some(retry) = letters.next_retry().unwrap() {
        assert!(retry.letters.len() <= 4);
        count += retry.letters.len();
        letters.retried(&retry).unwrap();
    }
    assert_eq!(count, 20);
}

#[test]
fn a_line_that_cannot_be_read_is_passed_over_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let letters = filled(dir.path());
    let oldest = dir.path().join("dead-letters/0000000000000001-0000-n2.jsonl");
    let text = fs::read_to_string(&oldest).unwrap();
    fs::write(&oldest, text.replacen("{\"collection\"", "{\"collec", 1)).unwrap();
    let unreadable = letters.each(|_| true).unwrap();
    assert_eq!(
        (keys(&letters), unreadable),
        (vec!["d".into(), "c".into(), "b".into()], 1)
    );
    letters.remove(|_| true, 9).unwrap();
    assert!(keys(&letters).is_empty());
    assert_eq!(
        fs::read_dir(dir.path().join("dead-letters/unreadable"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn their_number_is_bounded_and_what_had_to_go_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::of(dir.path());
    let many = |n: u64, t: i64| {
        let batch: Vec<_> = (0..n)
            .map(|k| a_letter(&format!("{t}-{k}"), "log_events", "no"))
            .collect();
        letters.add(&batch, t).unwrap()
    };
    assert_eq!(many(MAX_LETTERS - 1, 1), 0);
    assert_eq!(many(1, 2), 0);
    assert_eq!(many(2, 3), MAX_LETTERS - 1);
    assert_eq!(keys(&letters), ["3-1", "3-0", "2-0"]);
}

#[test]
fn letters_of_a_commit_are_there_when_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = super::open(dir.path());
    let change = Change {
        dead_letters: vec![a_letter("k", "log_events", "no")],
        ..Change::default()
    };
    assert_eq!(state.commit(&change, true).unwrap().letters_lost, 0);
    assert_eq!(keys(&state.dead_letters()), ["k"]);
}
