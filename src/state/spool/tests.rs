use std::fs;
use std::path::Path;

use super::*;
use crate::state::files::faults;
use crate::store::{RunUpdate, doc_key};

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

/// All keys that wait, and how many records are lost.
fn waiting(spool: &mut Spool) -> (Vec<u64>, u64) {
    let (mut found, mut lost, mut last) = (Vec::new(), 0, 0);
    while let Some(read) = spool.read(last, 3, usize::MAX).unwrap() {
        found.extend(keys(&read.batch));
        lost += read.lost.records;
        last = read.last;
    }
    (found, lost)
}

#[test]
fn however_often_an_append_fails_on_a_full_disk_it_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    // With a file that holds something, and with one that was just begun.
    for before in [0, 2] {
        let dir = dir.path().join(before.to_string());
        let mut spool = open(&dir, None);
        fill(&mut spool, 1..=before, 3000);
        for room in [0, 1, 39, 41, 500, 0, 1500] {
            faults::leave_room(Some(room));
            assert!(spool.append(&batch(before + 1, 3000)).is_err(), "{room} bytes of room");
        }
        faults::leave_room(None);
        fill(&mut spool, before + 1..=before + 3, 3000);
        let all: Vec<u64> = (1..=before + 3).collect();
        assert_eq!(waiting(&mut spool), (all.clone(), 0));
        let mark = spool.mark();
        drop(spool);
        assert_eq!(waiting(&mut open(&dir, Some(mark))), (all.clone(), 0));
        assert_eq!(waiting(&mut open(&dir, None)), (all, 0));
    }
}

#[test]
fn of_several_batches_that_find_no_room_for_all_none_is_appended_twice_by_the_attempts_that_follow() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    let batches: Vec<Arc<Batch>> = (1..=4).map(|k| Arc::new(batch(k, 3000))).collect();
    for _ in 0..3 {
        // Room for one more and a part of the next.
        faults::leave_room(Some(2500));
        assert!(spool.push(&batches).is_err());
    }
    faults::leave_room(None);
    spool.push(&batches).unwrap();
    spool.committed(&batches);
    assert_eq!(waiting(&mut spool), (vec![1, 2, 3, 4], 0));
    // A batch that comes once more later is a new one: nobody remembers it.
    spool.push(&batches[..1]).unwrap();
    assert_eq!(waiting(&mut spool).0, [1, 2, 3, 4, 1]);
}

#[test]
fn what_a_failed_sync_may_have_lost_is_appended_again_to_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    let batches: Vec<Arc<Batch>> = (1..=2).map(|k| Arc::new(batch(k, 3000))).collect();
    faults::fail_syncs(4);
    for _ in 0..4 {
        assert!(spool.push(&batches).is_err());
    }
    spool.push(&batches).unwrap();
    let last = files(dir.path()).pop().unwrap();
    // Only the last file is known to be on the disk.
    for name in files(dir.path()).iter().filter(|name| **name != last) {
        fs::write(dir.path().join(name), "").unwrap();
    }
    drop(spool);
    assert_eq!(waiting(&mut open(dir.path(), None)), (vec![1, 2], 0));
}

#[test]
fn files_that_a_full_disk_left_empty_hide_nothing_even_if_the_database_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(dir.path(), None);
    fill(&mut first, 1..=5, 100);
    first.done(2).unwrap();
    drop(first);
    let mut next_id = 6;
    for torn in ["", "", "LGS1 torn"] {
        fs::write(dir.path().join(format!("{next_id:020}.spool")), torn).unwrap();
        let mut spool = open(dir.path(), None);
        assert_eq!(spool.records(), 5, "without the database each whole frame counts");
        assert_eq!(waiting(&mut spool), (vec![1, 2, 3, 4, 5], 0));
        let id = spool.append(&batch(99, 100)).unwrap();
        assert!(id > next_id);
        assert_eq!((spool.records(), waiting(&mut spool).0.len()), (6, 6));
        drop(spool);
        fs::remove_file(dir.path().join(format!("{id:020}.spool"))).unwrap();
        next_id = id;
    }
}

#[test]
fn an_item_without_records_waits_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), None);
    let mut runs = Batch::default();
    runs.runs.push(RunUpdate::default());
    spool.push(&[Arc::new(runs)]).unwrap();
    assert_eq!((spool.items(), spool.records()), (1, 0));
    let mark = spool.mark();
    drop(spool);
    let mut spool = open(dir.path(), Some(mark));
    assert_eq!(spool.items(), 1);
    let read = spool.read(0, 9, usize::MAX).unwrap().unwrap();
    assert_eq!(read.batch.runs.len(), 1);
    spool.done(read.last).unwrap();
    assert_eq!(spool.items(), 0);
}

#[test]
fn under_random_faults_of_the_disk_every_batch_that_was_taken_is_delivered_once() {
    for seed in 0..30_u64 {
        let mut dice = seed;
        let mut roll = |sides: u64| {
            dice = xxhash_rust::xxh3::xxh3_64(&dice.to_le_bytes());
            dice % sides
        };
        let dir = tempfile::tempdir().unwrap();
        let (mut taken, mut delivered) = (Vec::new(), Vec::new());
        let mut spool = open(dir.path(), None);
        for key in 1..=30 {
            let size = 10 + roll(4000) as usize;
            let batches = [Arc::new(batch(key, size))];
            for _ in 0..roll(5) {
                if roll(2) == 0 {
                    faults::leave_room(Some(roll(40) as usize));
                } else {
                    faults::fail_syncs(1);
                }
                assert!(spool.push(&batches).is_err(), "seed {seed}");
                faults::leave_room(None);
                faults::fail_syncs(0);
                if roll(3) == 0 {
                    // What was not taken for sure may be there all the same: it comes again under the same key.
                    let mark = (roll(2) == 0).then(|| spool.mark());
                    drop(spool);
                    spool = open(dir.path(), mark);
                }
            }
            spool.push(&batches).unwrap();
            spool.committed(&batches);
            taken.push(key);
            if roll(3) == 0
                && let Some(read) = spool.read(0, 1 + roll(5) as usize, usize::MAX).unwrap()
            {
                assert_eq!(read.lost.records, 0, "seed {seed}");
                delivered.extend(keys(&read.batch));
                if spool.done(read.last).unwrap() {
                    spool.unlink_finished(&dir.path().join("aside")).unwrap();
                }
            }
        }
        let (rest, lost) = waiting(&mut spool);
        delivered.extend(rest);
        delivered.dedup();
        let mut once: Vec<u64> = delivered.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!((once, lost), (taken, 0), "seed {seed}");
        assert!(!dir.path().join("aside").exists(), "seed {seed}: nothing was damaged");
    }
}
