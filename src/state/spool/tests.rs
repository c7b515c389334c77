use std::fs;
use std::path::Path;

use super::*;
use crate::store::doc_key;

/// A batch of one event with about `bytes` of text that cannot be compressed.
fn batch(key: u64, bytes: usize) -> Batch {
    let mut state = key;
    let mut text = String::new();
    while text.len() < bytes {
        state = xxhash_rust::xxh3::xxh3_64(&state.to_le_bytes());
        text.push_str(&format!("{state:016x}"));
    }
    let mut b = Batch::default();
    b.events
        .push(format!("{{\"_key\":\"k{key}\",\"message\":\"{text}\"}}").as_bytes());
    b
}

fn keys(b: &Batch) -> Vec<u64> {
    b.events.iter().map(|d| doc_key(d)[1..].parse().unwrap()).collect()
}

fn fill(spool: &mut Spool, keys: std::ops::RangeInclusive<u64>, bytes: usize) {
    for k in keys {
        assert_eq!(spool.append(&batch(k, bytes)).unwrap(), k);
    }
}

fn open(dir: &Path, mark: Option<SpoolMark>) -> Spool {
    Spool::open(dir, mark).unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_finished_at_their_size_and_unlinked_when_all_of_them_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    for k in 1..=30 {
        assert_eq!(spool.append(&batch(k, 2 << 20)).unwrap(), k);
    }
    let all = files(dir.path()).len();
    assert!(all > 3, "{all} files");
    let full = spool.bytes();
    for k in 1..=29 {
        let read = spool.read(0, 1, 1).unwrap().unwrap();
        assert_eq!((read.last, keys(&read.batch)), (k, vec![k]));
        if spool.done(k).unwrap() {
            spool.unlink_finished(dir.path()).unwrap();
        }
    }
    assert_eq!(files(dir.path()).len(), 1);
    assert!(spool.bytes() < full / 20 && spool.records() == 1);
    spool.done(30).unwrap();
    spool.unlink_finished(dir.path()).unwrap();
    assert_eq!((files(dir.path()).len(), spool.bytes(), spool.records()), (0, 0, 0));
    assert_eq!(spool.append(&batch(31, 10)).unwrap(), 31);
}

#[test]
fn an_emptied_small_file_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    for k in 1..=50 {
        spool.append(&batch(k, 100)).unwrap();
        assert!(
            !spool.done(k).unwrap(),
            "no file is created and unlinked for every item"
        );
        assert_eq!((spool.records(), spool.bytes()), (0, 0));
    }
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn two_reads_may_be_in_flight_and_be_settled_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    fill(&mut spool, 1..=9, 100);
    let first = spool.read(0, 3, usize::MAX).unwrap().unwrap();
    let second = spool.read(first.last, 3, usize::MAX).unwrap().unwrap();
    assert_eq!(
        (keys(&first.batch), keys(&second.batch)),
        (vec![1, 2, 3], vec![4, 5, 6])
    );
    // A retry reads the same again.
    assert_eq!(keys(&spool.read(0, 3, usize::MAX).unwrap().unwrap().batch), [1, 2, 3]);
    spool.done(second.last).unwrap();
    assert_eq!(keys(&spool.read(0, 9, usize::MAX).unwrap().unwrap().batch), [7, 8, 9]);
    spool.done(first.last).unwrap();
    assert_eq!(spool.records(), 3, "what is done already changes nothing");
}

#[test]
fn a_torn_end_that_nobody_was_promised_is_passed_over_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    fill(&mut spool, 1..=3, 3000);
    let mark = spool.mark();
    spool.append(&batch(4, 3000)).unwrap();
    drop(spool);
    let path = dir.path().join(&files(dir.path())[0]);
    let whole = fs::read(&path).unwrap();
    for cut in [1, 20, 500, 1200] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let mut spool = open(dir.path(), Some(mark));
        let read = spool.read(0, 99, usize::MAX).unwrap().unwrap();
        assert_eq!(
            (keys(&read.batch), read.lost.records),
            (vec![1, 2, 3], 0),
            "cut by {cut}"
        );
        assert_eq!(spool.append(&batch(4, 10)).unwrap(), 4);
        let read = spool.read(0, 99, usize::MAX).unwrap().unwrap();
        assert_eq!(
            (keys(&read.batch), read.lost.records),
            (vec![1, 2, 3, 4], 0),
            "cut by {cut}"
        );
        drop(spool);
        fs::remove_file(dir.path().join(&files(dir.path())[1])).unwrap();
    }
}

#[test]
fn what_is_missing_between_is_counted_and_the_damaged_file_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (spooled, aside) = (dir.path().join("spool"), dir.path().join("aside"));
    let mut spool = open(&spooled, None);
    fill(&mut spool, 1..=9, 3000);
    let mark = spool.mark();
    drop(spool);
    let path = spooled.join(&files(&spooled)[0]);
    let mut bytes = fs::read(&path).unwrap();
    let ninth = bytes.len() / 9;
    bytes[ninth * 3 + 100..ninth * 5].fill(0);
    fs::write(&path, bytes).unwrap();
    let mut spool = open(&spooled, Some(mark));
    let read = spool.read(0, 99, usize::MAX).unwrap().unwrap();
    assert_eq!(
        (keys(&read.batch), read.lost.records, read.last),
        (vec![1, 2, 3, 6, 7, 8, 9], 2, 9)
    );
    assert!(spool.done(9).unwrap());
    spool.unlink_finished(&aside).unwrap();
    assert_eq!((files(&spooled).len(), files(&aside).len()), (0, 1));
}

#[test]
fn giving_up_the_oldest_frees_what_was_asked_for_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    fill(&mut spool, 1..=100, 10_000);
    let before = spool.bytes();
    let dropped = spool.drop_oldest(before / 4).unwrap();
    assert!((25..=27).contains(&dropped.records), "{dropped:?}");
    assert_eq!(
        (before - spool.bytes(), 100 - spool.records()),
        (dropped.bytes, dropped.records)
    );
    let next = spool.read(0, 1, 1).unwrap().unwrap();
    assert_eq!(keys(&next.batch), [dropped.records + 1]);
    let rest = spool.drop_oldest(u64::MAX).unwrap();
    assert_eq!(
        (rest.records, spool.records(), spool.bytes()),
        (100 - dropped.records, 0, 0)
    );
}
