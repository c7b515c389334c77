//! What is known of streams.

use super::*;
use crate::source::{Cursor, Marks, Steps};
use std::path::PathBuf;

fn known(n: u64, parked: bool) -> Identity {
    let parked = parked.then(|| Parked {
        path: PathBuf::new(),
        size: 0,
        mtime: 0,
        since: Instant::now(),
        lost: 0,
        counted: false,
        unwanted: false,
    });
    Identity {
        head: n / 2,
        head_len: 1,
        steps: Steps::default(),
        numbered: None,
        blind: false,
        marks: Marks::default(),
        born_at: 0,
        cursor: Cursor::default(),
        start: 0,
        dev: 1,
        ino: n,
        born: 0,
        finished: false,
        script: None,
        parked,
    }
}

#[test]
fn a_million_rotations_leave_a_state_of_constant_size() {
    let mut streams = Streams::new(1);
    let later = Instant::now() + REMEMBERED.old * 2;
    for n in 0..1_000_000 {
        let id = streams.next_id();
        streams.add(id, known(n, true));
        streams.forget_old(later);
    }
    assert_eq!(streams.len(), REMEMBERED.streams);
    assert!(streams.by_head.len() <= REMEMBERED.streams && streams.by_inode.len() <= REMEMBERED.streams);
}

#[test]
fn many_streams_that_lose_their_files_at_once_stay_known_for_a_while() {
    let mut streams = Streams::new(1);
    let now = Instant::now();
    for n in 0..30_000 {
        streams.add(n + 1, known(n, true));
    }
    streams.forget_old(now);
    while !streams.forget_old(now).is_empty() {}
    assert_eq!(streams.len(), REMEMBERED.at_most);
    assert!(streams.get(30_000).is_some() && streams.get(1).is_none());
    while !streams.forget_old(now + REMEMBERED.old * 2).is_empty() {}
    assert_eq!(streams.len(), REMEMBERED.streams);
}

#[test]
fn streams_with_a_file_or_a_copy_are_never_forgotten() {
    let mut streams = Streams::new(1);
    streams.add(1, known(1, false));
    streams.add(2, known(2, true));
    streams.get_mut(2).unwrap().count_copy(true);
    streams.add(3, known(3, true));
    streams.attach(3, 0, (1, 3), 0);
    let later = Instant::now() + REMEMBERED.old * 2;
    for n in 10..20_000 {
        streams.add(n, known(n, true));
        streams.forget_old(later);
    }
    assert!((1..=3).all(|id| streams.get(id).is_some()));
}

#[test]
fn streams_of_one_head_are_found_in_order_whichever_of_them_went() {
    let head = Head { hash: 7, len: 1 };
    for gone in 1..=5 {
        let mut streams = Streams::new(1);
        for id in 1..=5 {
            let alike = Identity {
                head: 7,
                ..known(id, false)
            };
            streams.add(id, alike);
            streams.add(id + 100, known(id * 50, false));
        }
        streams.remove(gone);
        let found: Vec<StreamId> = streams.with_head(head).map(|(id, _)| id).collect();
        assert_eq!(found, (1..=5).filter(|id| *id != gone).collect::<Vec<_>>());
        streams.add(
            9,
            Identity {
                head: 7,
                ..known(9, false)
            },
        );
        assert_eq!(streams.with_head(head).count(), 5);
    }
}

#[test]
fn a_stream_that_nothing_is_unusual_about_is_small() {
    assert!(size_of::<Option<Known>>() <= 128, "{}", size_of::<Option<Known>>());
    let mut streams = Streams::new(1);
    streams.add(1, known(1, true));
    streams.get_mut(1).unwrap().count_copy(true);
    streams.attach(1, 4, (1, 1), 0);
    streams.get_mut(1).unwrap().count_copy(false);
    assert!(streams.get(1).unwrap().rare.is_none());
}

#[test]
fn what_is_unread_is_overdue_once_and_only_while_no_file_holds_it() {
    let mut streams = Streams::new(1);
    (1..=3).for_each(|id| streams.add(id, known(id, true)));
    streams.attach(2, 0, (1, 2), 0);
    let hold = Duration::from_secs(5);
    assert!(streams.overdue(Instant::now(), hold).is_empty());
    let later = Instant::now() + hold;
    assert_eq!(streams.overdue(later, hold), [1, 3]);
    assert!(streams.overdue(later, hold).is_empty());
}
