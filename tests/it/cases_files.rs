//! What happens to log files in real life, case by case, against real files.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use logagent::config::{Copies, StartAt};
use logagent::source::status::FileState;
use logagent::source::streams::Memory;
use logagent::source::{Loss, Room};

use crate::harness::eventually;
use crate::recorder::{Rig, append, gz, opened, timed, timed_line, timed_lines};

fn join(parts: &[Vec<String>]) -> Vec<String> {
    let mut all = parts.concat();
    all.sort();
    all
}

// Case 1.
#[test]
fn a_gz_rotation_that_keeps_path_and_inode_loses_nothing_even_if_the_new_file_is_longer() {
    let mut rig = Rig::new();
    rig.write("app.jsonl", timed("a", 0, 100));
    rig.start();
    rig.wait(100);
    rig.stop();
    // While the agent is down: more is written, the file is compressed and unlinked, and the new one is larger. Writing
    // in place gives it the same inode for certain.
    rig.append("app.jsonl", timed("a", 100, 150));
    let inode = fs::metadata(rig.path("app.jsonl")).unwrap().ino();
    rig.write(
        "app.2026-11-21_02-20-24_054432.jsonl.gz",
        gz(&fs::read(rig.path("app.jsonl")).unwrap()),
    );
    rig.write("app.jsonl", timed("b", 0, 500));
    assert_eq!(fs::metadata(rig.path("app.jsonl")).unwrap().ino(), inode);
    rig.start();
    rig.wait(650);
    rig.settle();
    assert_eq!(
        rig.sorted(),
        join(&[timed_lines("a", 0, 150), timed_lines("b", 0, 500)])
    );
    rig.assert_nothing_again();
}

// Case 1, with the agent running.
#[test]
fn the_same_rotation_while_the_agent_runs_loses_nothing() {
    let mut rig = Rig::new();
    rig.write("app.jsonl", timed("a", 0, 100));
    rig.start();
    rig.wait(100);
    for round in 0..5 {
        let text = fs::read(rig.path("app.jsonl")).unwrap();
        rig.write(&format!("app.2026-11-21_02-20-24_05443{round}.jsonl.gz"), gz(&text));
        rig.write("app.jsonl", timed(&format!("b{round}"), 0, 200 + round * 100));
        let sum: usize = 100 + (0..=round).map(|r| 200 + r * 100).sum::<usize>();
        rig.wait(sum);
    }
    rig.settle();
    rig.assert_nothing_again();
    assert_eq!(rig.lines().len(), 100 + 200 + 300 + 400 + 500 + 600);
}

// Case 2.
#[test]
fn a_hundred_megabytes_unread_when_renamed_are_read_to_the_end_and_the_new_file_from_its_start() {
    let mut rig = Rig::new();
    rig.recorder.book().count_only = true;
    let line = format!(
        "{{\"time\": \"2026-11-21T02:20:24.000001Z\", \"message\": \"{}\"}}\n",
        "x".repeat(950)
    );
    let n = 100_000_000 / line.len() + 1;
    rig.write("app.jsonl", line.repeat(n));
    rig.recorder.set_room(Room::None);
    rig.start();
    rig.settle();
    rig.rename("app.jsonl", "app.2026-11-21_02-20-24_054432.jsonl");
    rig.write("app.jsonl", timed("new", 0, 10));
    rig.settle();
    rig.recorder.set_room(Room::All);
    rig.wait(n + 10);
    rig.settle();
    assert_eq!(rig.recorder.book().count, n as u64 + 10);
}

#[test]
fn a_file_rewritten_before_its_first_line_was_read_is_a_stream_of_its_own() {
    let mut rig = Rig::new();
    rig.recorder.set_room(Room::None);
    rig.write("app.log", timed("a", 0, 10));
    rig.start();
    eventually("the file to be judged", || {
        (!rig.recorder.book().entries.is_empty()).then_some(())
    });
    rig.write("app.log", timed("b", 0, 20));
    rig.settle();
    rig.recorder.set_room(Room::All);
    rig.wait(20);
    rig.stop();
    rig.lose_state();
    rig.once();
    assert_eq!(rig.lines(), timed_lines("b", 0, 20));
    assert_eq!(
        rig.recorder.book().again.len(),
        20,
        "the same keys as when it is met for the first time"
    );
}

// Case 3.
#[test]
fn lines_appended_to_a_renamed_and_then_unlinked_file_are_delivered() {
    let mut rig = Rig::new();
    let mut writer = opened(&rig.path("app.log"));
    writer.write_all(timed("a", 0, 10).as_bytes()).unwrap();
    rig.start();
    rig.wait(10);
    rig.rename("app.log", "app.log.1");
    rig.write("app.log", timed("b", 0, 1));
    for n in 10..30 {
        if n == 20 {
            fs::remove_file(rig.path("app.log.1")).unwrap();
        }
        writer.write_all((timed_line("a", n) + "\n").as_bytes()).unwrap();
        rig.wait(n + 2);
    }
    // A pause well beyond the time for which a file counts as active.
    rig.watched_for(Duration::from_millis(2500));
    writer.write_all(timed("a", 30, 40).as_bytes()).unwrap();
    rig.wait(41);
    assert_eq!(rig.sorted(), join(&[timed_lines("a", 0, 40), timed_lines("b", 0, 1)]));
    rig.assert_nothing_again();
    assert!(rig.recorder.book().taken.iter().any(|t| t.fragile));
}

// Case 3, for many times as long as a file is held after it last grew: each line begins the time anew.
#[test]
fn a_writer_that_goes_on_to_an_unlinked_file_is_followed_for_as_long_as_it_writes() {
    let mut rig = Rig::new();
    rig.settings.hold = Duration::from_millis(700);
    let mut writer = opened(&rig.path("app.log"));
    writer.write_all(timed("a", 0, 1).as_bytes()).unwrap();
    rig.start();
    rig.wait(1);
    rig.rename("app.log", "app.log.1");
    rig.write("app.log", timed("b", 0, 1));
    rig.wait(2);
    fs::remove_file(rig.path("app.log.1")).unwrap();
    for n in 1..12 {
        rig.watched_for(rig.settings.hold / 2);
        writer.write_all((timed_line("a", n) + "\n").as_bytes()).unwrap();
        rig.wait(n + 2);
    }
    assert_eq!(rig.sorted(), join(&[timed_lines("a", 0, 12), timed_lines("b", 0, 1)]));
    rig.assert_nothing_again();
}

// Case 4.
#[test]
fn an_unread_file_that_is_renamed_compressed_and_unlinked_at_once_is_drained_and_released() {
    let mut rig = Rig::new();
    rig.settings.hold = Duration::from_millis(400);
    rig.recorder.set_room(Room::None);
    rig.write("app.log", timed("a", 0, 5000));
    rig.start();
    eventually("the file to be held open", || {
        (rig.status.get().open_descriptors == 1).then_some(())
    });
    let rotated = "app.2026-11-21_02-20-24_054432.log";
    rig.rename("app.log", rotated);
    let text = fs::read(rig.path(rotated)).unwrap();
    rig.write(&format!("{rotated}.gz"), gz(&text));
    fs::remove_file(rig.path(rotated)).unwrap();
    rig.write("app.log", "");
    rig.settle();
    rig.recorder.set_room(Room::Fragile);
    rig.wait(5000);
    assert!(rig.recorder.book().taken.iter().all(|t| t.fragile));
    // The archive has the same, and brings nothing.
    rig.recorder.set_room(Room::All);
    rig.watched_for(Duration::from_secs(1));
    assert_eq!(rig.sorted(), timed_lines("a", 0, 5000));
    rig.assert_nothing_again();
    let held = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|e| fs::read_link(e.unwrap().path()).ok())
            .any(|p| p.starts_with(rig.dir.path()) && p.to_string_lossy().ends_with("(deleted)"))
    };
    eventually("the descriptor to be released", || (!held()).then_some(()));
}

// Case 5. The formats that loguru writes itself are in `cases_loguru`.
#[test]
fn the_unread_rest_is_taken_from_inside_an_archive_made_while_the_agent_was_down() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 100));
    rig.write("other.log", timed("o", 0, 100));
    rig.start();
    rig.wait(200);
    rig.stop();
    rig.append("app.log", timed("a", 100, 300));
    rig.append("other.log", timed("o", 100, 300));
    let text = fs::read(rig.path("app.log")).unwrap();
    rig.write(
        "app.2026-11-21_02-20-24_054432.log.zst",
        zstd::encode_all(&text[..], 3).unwrap(),
    );
    fs::remove_file(rig.path("app.log")).unwrap();
    // logrotate's name, which no pattern wants.
    rig.write("other.log.1.gz", gz(&fs::read(rig.path("other.log")).unwrap()));
    fs::remove_file(rig.path("other.log")).unwrap();
    rig.start();
    rig.wait(600);
    rig.settle();
    assert_eq!(
        rig.sorted(),
        join(&[timed_lines("a", 0, 300), timed_lines("o", 0, 300)])
    );
    rig.assert_nothing_again();
    // And it is not looked into again at the next start.
    rig.stop();
    let before = rig.status.get().bytes_read;
    assert!(before > 0);
    rig.start();
    rig.settle();
    rig.stop();
    assert_eq!(rig.status.get().bytes_read, 0);
    rig.assert_nothing_again();
}

// Case 6.
#[test]
fn a_compressed_copy_of_a_shipped_file_brings_nothing() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 100));
    rig.start();
    rig.wait(100);
    rig.write("app.2.log.gz", gz(&fs::read(rig.path("app.log")).unwrap()));
    fs::copy(rig.path("app.log"), rig.path("copy.log")).unwrap();
    rig.watched_for(Duration::from_millis(800));
    assert_eq!(rig.lines().len(), 100);
    rig.assert_nothing_again();
    // After the loss of the state the archive is still no second stream.
    fs::remove_file(rig.path("copy.log")).unwrap();
    rig.stop();
    rig.lose_state();
    rig.once();
    assert_eq!(rig.lines().len(), 100);
}

#[test]
fn a_plain_copy_is_a_stream_of_its_own_if_copies_are_to_be_shipped() {
    let mut rig = Rig::new();
    rig.settings.copies = Copies::Ship;
    rig.write("app.log", timed("a", 0, 100));
    rig.start();
    rig.wait(100);
    fs::copy(rig.path("app.log"), rig.path("copy.log")).unwrap();
    rig.wait(200);
}

/// Copies the file and truncates it, as logrotate does.
fn copytruncate(rig: &Rig, name: &str, to: &str) {
    fs::copy(rig.path(name), rig.path(to)).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(rig.path(name))
        .unwrap()
        .set_len(0)
        .unwrap();
}

// Case 7.
#[test]
fn copytruncate_to_a_shorter_file_delivers_the_new_content_and_nothing_old_again() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 100));
    rig.start();
    rig.wait(100);
    copytruncate(&rig, "app.log", "app.log.1");
    rig.append("app.log", timed("b", 0, 10));
    rig.wait(110);
    rig.settle();
    assert_eq!(rig.sorted(), join(&[timed_lines("a", 0, 100), timed_lines("b", 0, 10)]));
    rig.assert_nothing_again();
}

// Case 7.
#[test]
fn copytruncate_to_a_longer_file_delivers_the_new_content_and_the_unread_rest_from_the_copy() {
    for running in [true, false] {
        let mut rig = Rig::new();
        rig.write("app.log", timed("a", 0, 100));
        rig.start();
        rig.wait(100);
        if running {
            rig.recorder.set_room(Room::None);
        } else {
            rig.stop();
        }
        rig.append("app.log", timed("a", 100, 120));
        copytruncate(&rig, "app.log", "app.log.1");
        rig.append("app.log", timed("b", 0, 500));
        if running {
            rig.recorder.set_room(Room::All);
        } else {
            rig.start();
        }
        rig.wait(620);
        rig.settle();
        assert_eq!(
            rig.sorted(),
            join(&[timed_lines("a", 0, 120), timed_lines("b", 0, 500)])
        );
        rig.assert_nothing_again();
    }
}

// Case 7.
#[test]
fn copytruncate_to_an_identical_head_is_the_next_generation() {
    let mut rig = Rig::new();
    rig.write("app.log", "starting\none\ntwo\n");
    rig.start();
    rig.wait(3);
    copytruncate(&rig, "app.log", "app.log.1");
    rig.append("app.log", "starting\nthree\n");
    rig.wait(5);
    rig.settle();
    assert_eq!(rig.sorted(), ["one", "starting", "starting", "three", "two"]);
    rig.assert_nothing_again();
    // To one that is longer than the old offset, while the agent is down.
    rig.stop();
    copytruncate(&rig, "app.log", "app.log.1");
    rig.append("app.log", "starting\nfour and much more than there was before\n");
    rig.start();
    rig.wait(7);
    rig.settle();
    assert_eq!(rig.lines().len(), 7);
}

// Case 9.
#[test]
fn a_line_finished_after_a_restart_is_one_record() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 3) + "half a ");
    rig.start();
    rig.wait(3);
    rig.settle();
    rig.stop();
    rig.append("app.log", "line\n");
    rig.start();
    rig.wait(4);
    assert_eq!(rig.lines()[3], "half a line");
}

// Case 9.
#[test]
fn the_last_line_of_a_finished_file_needs_no_line_feed_but_that_of_a_live_file_does() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 3) + "torn");
    rig.write("live.log", timed("l", 0, 3) + "unfinished");
    rig.start();
    rig.wait(6);
    rig.rename("app.log", "app.log.1");
    rig.wait(7);
    assert!(rig.lines().contains(&"torn".to_owned()));
    rig.watched_for(rig.settings.finish_line_after * 2);
    assert_eq!(rig.lines().len(), 7);
    rig.append("live.log", " no more\n");
    rig.wait(8);
    assert!(rig.lines().contains(&"unfinished no more".to_owned()));
}

// Case 10.
#[test]
fn a_small_file_is_delivered_within_one_poll_and_an_empty_one_is_nothing() {
    let mut rig = Rig::new();
    rig.start();
    rig.write("empty.log", "");
    rig.write("app.log", format!("{:<59}\n", "x"));
    rig.wait(1);
    rig.append("empty.log", "now\n");
    rig.wait(2);
}

// Case 11.
#[test]
fn files_with_identical_content_or_the_same_beginning_are_both_delivered() {
    let mut rig = Rig::new();
    let long = format!("{}\n", "y".repeat(5000));
    for name in ["a.log", "b.log"] {
        rig.write(name, "same\nsame again\n");
    }
    rig.write("c.log", long.clone() + "c\n");
    rig.write("d.log", long.clone() + "d\n");
    rig.start();
    rig.wait(8);
    rig.settle();
    assert_eq!(rig.lines().len(), 8);
    // The same keys after the state was lost.
    rig.stop();
    rig.lose_state();
    rig.start();
    rig.settle();
    let book = rig.recorder.book();
    assert_eq!((book.taken.len(), book.again.len()), (8, 8));
}

#[test]
fn a_later_file_that_begins_like_a_live_one_is_delivered_once_it_differs() {
    let mut rig = Rig::new();
    rig.write("a.log", "starting\none\n");
    rig.start();
    rig.wait(2);
    rig.write("b.log", "starting\ntwo\n");
    rig.wait(4);
    assert_eq!(rig.sorted(), ["one", "starting", "starting", "two"]);
}

// Case 13.
#[test]
fn a_line_of_64_megabytes_is_cut_and_its_neighbours_are_whole() {
    let mut rig = Rig::new();
    rig.start();
    rig.append("app.log", timed("a", 0, 2));
    rig.wait(2);
    let mut file = opened(&rig.path("app.log"));
    let block = vec![b'z'; 1 << 20];
    for _ in 0..64 {
        file.write_all(&block).unwrap();
    }
    file.write_all(b"\n").unwrap();
    file.write_all(timed("a", 2, 4).as_bytes()).unwrap();
    rig.wait(5);
    let book = rig.recorder.book();
    assert_eq!((book.taken[2].line.len(), book.taken[2].whole), (1 << 20, 64 << 20));
    assert_eq!(book.taken[4].line, timed_line("a", 3));
    assert!(book.largest_chunk <= 3 << 20);
    let cut: u64 = book
        .losses
        .iter()
        .map(|l| if let Loss::Cut { bytes } = l { *bytes } else { 0 })
        .sum();
    assert_eq!(cut, 63 << 20);
}

// Case 14.
#[test]
fn without_any_hints_lines_and_files_are_found_by_polling() {
    let mut rig = Rig::new();
    rig.hints = false;
    rig.write("app.log", timed("a", 0, 1));
    rig.start();
    rig.wait(1);
    rig.watched_for(Duration::from_millis(2500));
    rig.append("app.log", timed("a", 1, 2));
    rig.wait(2);
    fs::create_dir_all(rig.path("deep/er")).unwrap();
    rig.write("deep/er/new.log", timed("n", 0, 1));
    rig.wait(3);
    rig.rename("app.log", "app.2026-11-21_02-20-24_054432.log");
    rig.write("app.log", timed("b", 0, 1));
    rig.wait(4);
    rig.assert_nothing_again();
}

// Case 18.
#[test]
fn thousands_of_rotations_do_not_make_the_state_grow_and_idle_files_stay_known() {
    let mut rig = Rig::new();
    rig.write("idle.log", timed("idle", 0, 1));
    rig.settings.hold = Duration::from_millis(1);
    rig.memory = Memory {
        streams: 200,
        at_most: 300,
        old: Duration::ZERO,
    };
    rig.start();
    rig.wait(1);
    for n in 0..1500 {
        rig.write("app.log", timed(&format!("r{n}"), 0, 1));
        rig.wait(n + 2);
        rig.rename("app.log", "app.log.1");
    }
    eventually("old streams to be forgotten", || {
        (rig.recorder.book().entries.len() < 400).then_some(())
    });
    let idle = rig
        .recorder
        .book()
        .entries
        .values()
        .any(|e| e.path.ends_with("idle.log"));
    assert!(idle);
    rig.assert_nothing_again();
    // What comes back after it was forgotten is read again under the same keys: the store knows them.
    rig.write("app.log.1", timed("r3", 0, 1));
    eventually("the same record", || {
        (!rig.recorder.book().again.is_empty()).then_some(())
    });
    assert_eq!(rig.lines().len(), 1501);
}

#[test]
fn live_files_are_read_while_a_large_copy_is_compared_with_its_original() {
    let mut rig = Rig::new();
    rig.recorder.book().count_only = true;
    let text = "going on as before, with nothing to tell one line from another\n".repeat(700_000);
    let n = text.lines().count();
    rig.write("app.log", &text);
    let written = fs::metadata(rig.path("app.log")).unwrap().modified().unwrap();
    rig.start();
    rig.wait(n);
    // Only the times that it kept tell a copy from a file that says the same.
    let copy = rig.dir.path().join("copy");
    fs::write(&copy, &text).unwrap();
    fs::File::options()
        .write(true)
        .open(&copy)
        .unwrap()
        .set_modified(written)
        .unwrap();
    fs::rename(&copy, rig.path("copy.log")).unwrap();
    for line in 0..20 {
        rig.append("live.log", timed("live", line, line + 1));
        rig.wait(n + line + 1);
    }
    eventually("the copy to be known as one", || {
        let files = rig.status.get().files.clone();
        files
            .iter()
            .any(|f| f.path.ends_with("copy.log") && f.state == FileState::Copy)
            .then_some(())
    });
    let book = rig.recorder.book();
    assert_eq!(book.count, n as u64 + 20);
    let copied = book.losses.iter().filter(|l| matches!(l, Loss::Copied { .. }));
    assert_eq!(copied.collect::<Vec<_>>(), [&Loss::Copied { lines: n as u64 }]);
}

// Case 19.
#[test]
fn files_renamed_twice_while_the_agent_is_down_go_on_at_their_own_offset() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 10));
    rig.start();
    rig.wait(10);
    rig.stop();
    rig.append("app.log", timed("a", 10, 20));
    rig.rename("app.log", "app.log.1");
    rig.write("app.log", timed("b", 0, 10));
    rig.rename("app.log.1", "app.log.2");
    rig.rename("app.log", "app.log.1");
    rig.write("app.log", timed("c", 0, 10));
    // "b" came and went under the wanted name while nobody looked: it is only in the rotated file.
    rig.start();
    rig.wait(40);
    rig.settle();
    let b = timed_lines("b", 0, 10);
    assert_eq!(
        rig.sorted(),
        join(&[timed_lines("a", 0, 20), b.clone(), timed_lines("c", 0, 10)])
    );
    rig.stop();
    rig.rename("app.log.2", "app.log.3");
    rig.rename("app.log", "app.log.2");
    rig.append("app.log.2", timed("c", 10, 15));
    rig.append("app.log.3", timed("a", 20, 25));
    rig.start();
    rig.wait(50);
    rig.settle();
    assert_eq!(
        rig.sorted(),
        join(&[timed_lines("a", 0, 25), b, timed_lines("c", 0, 15)])
    );
    rig.assert_nothing_again();
}

// Case 20.
#[test]
fn a_head_or_tail_of_nuls_is_skipped_and_counted() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 100));
    rig.start();
    rig.wait(100);
    // Truncated under a writer that does not append: a hole up to its old position.
    let mut writer = fs::OpenOptions::new().write(true).open(rig.path("app.log")).unwrap();
    let at = writer.seek(SeekFrom::End(0)).unwrap();
    writer.set_len(0).unwrap();
    rig.settle();
    writer.write_all_at(timed("b", 0, 2).as_bytes(), at).unwrap();
    rig.wait(102);
    // A torn block after a power loss.
    rig.append("app.log", [b"torn".as_slice(), &[0; 300]].concat());
    rig.append("app.log", timed("b", 2, 3));
    rig.wait(104);
    let book = rig.recorder.book();
    let nuls: u64 = book
        .losses
        .iter()
        .map(|l| if let Loss::Nul { bytes } = l { *bytes } else { 0 })
        .sum();
    assert_eq!(nuls, at + 300);
    assert_eq!(book.taken[102].line, "torn");
}

// Case 20, large.
#[test]
fn a_hole_of_many_gigabytes_is_passed() {
    let mut rig = Rig::new();
    let file = fs::File::create(rig.path("app.log")).unwrap();
    file.write_all_at(timed("a", 0, 1).as_bytes(), 1 << 30).unwrap();
    rig.start();
    rig.wait(1);
    assert_eq!(rig.recorder.book().taken[0].offset, 1 << 30);
}

// Case 24.
#[test]
fn links_are_followed_retargeted_and_shipped_once() {
    use std::os::unix::fs::symlink;
    let mut rig = Rig::new();
    let outside = rig.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("one"), timed("one", 0, 5)).unwrap();
    fs::write(outside.join("two"), timed("two", 0, 5)).unwrap();
    symlink(outside.join("one"), rig.path("link.log")).unwrap();
    symlink(outside.join("one"), rig.path("second.log")).unwrap();
    symlink(outside.join("nowhere"), rig.path("dangling.log")).unwrap();
    symlink(rig.dir.path().join("logs"), rig.path("loop")).unwrap();
    rig.write("real.log", timed("real", 0, 5));
    fs::hard_link(rig.path("real.log"), rig.path("hard.log")).unwrap();
    rig.start();
    rig.wait(10);
    append(&outside.join("one"), timed("one", 5, 6));
    rig.wait(11);
    fs::remove_file(rig.path("link.log")).unwrap();
    symlink(outside.join("two"), rig.path("link.log")).unwrap();
    rig.wait(16);
    append(&outside.join("one"), timed("one", 6, 7));
    rig.wait(17);
    rig.settle();
    assert_eq!(rig.lines().len(), 17);
    rig.assert_nothing_again();
}

// Case 25.
#[test]
fn rotated_files_come_before_the_live_one_and_order_is_kept() {
    let rig = Rig::new();
    for (n, name) in [
        "app.2026-11-21_01-00-00_000000.log",
        "app.2026-11-21_02-00-00_000000.log",
        "app.log",
    ]
    .iter()
    .enumerate()
    {
        rig.write(name, timed(&format!("f{n}"), 0, 20_000));
        let age = Duration::from_secs(100 * (3 - n as u64));
        let file = fs::File::options().write(true).open(rig.path(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - age).unwrap();
    }
    rig.once();
    let expected: Vec<String> = (0..3).flat_map(|n| timed_lines(&format!("f{n}"), 0, 20_000)).collect();
    assert!(rig.lines() == expected);
}

#[test]
fn start_at_end_skips_what_is_there_at_first_sight_and_nothing_else() {
    let mut rig = Rig::new();
    rig.settings.start_at = StartAt::End;
    rig.write("app.log", timed("a", 0, 10) + "torn ");
    rig.write("old.log.gz", gz(timed("z", 0, 10).as_bytes()));
    rig.start();
    rig.settle();
    rig.append("app.log", "line\n");
    rig.write("new.log", timed("n", 0, 5));
    rig.wait(6);
    rig.stop();
    rig.write("later.log", timed("m", 0, 5));
    rig.start();
    rig.wait(11);
    rig.settle();
    assert_eq!(rig.lines().len(), 11);
    assert!(rig.lines().contains(&"torn line".to_owned()));
}

#[test]
fn a_traceback_after_a_plain_line_belongs_to_it() {
    let mut rig = Rig::new();
    rig.start();
    let traceback = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: no\n";
    rig.append("app.log", format!("12:00:00 ERROR boom\n{traceback}"));
    rig.wait(1);
    rig.append("app.log", "12:00:01 INFO on\n");
    rig.wait(2);
    assert_eq!(rig.recorder.book().taken[0].more.trim(), traceback.trim());
}

#[test]
fn a_changed_include_list_is_taken_over_without_losing_a_place() {
    use logagent::source::files::Command;
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 5));
    rig.write("app.txt", timed("t", 0, 5));
    rig.start();
    rig.wait(5);
    let pattern = |p: &str| rig.path(p).to_str().unwrap().to_owned();
    rig.command(Command::Reload {
        include: vec![pattern("*.txt")],
        exclude: vec![],
    });
    rig.wait(10);
    rig.append("app.log", timed("a", 5, 6));
    rig.settle();
    assert_eq!(rig.lines().len(), 10);
    rig.command(Command::Reload {
        include: vec![pattern("*.txt"), pattern("*.log")],
        exclude: vec![],
    });
    rig.wait(11);
    rig.assert_nothing_again();
}

#[test]
fn while_the_store_is_away_only_what_cannot_wait_is_read() {
    let mut rig = Rig::new();
    rig.write("app.log", timed("a", 0, 5));
    rig.write("stay.log", timed("s", 0, 5));
    rig.start();
    rig.wait(10);
    rig.recorder.set_room(Room::Fragile);
    rig.append("app.log", timed("a", 5, 10));
    rig.append("stay.log", timed("s", 5, 10));
    rig.settle();
    assert_eq!(rig.lines().len(), 10);
    rig.rename("app.log", "app.log.1");
    rig.wait(15);
    rig.settle();
    assert_eq!(rig.lines().len(), 15);
    rig.recorder.set_room(Room::All);
    rig.wait(20);
}

#[test]
fn names_that_are_not_utf8_and_scripts_of_rotated_names_are_handled() {
    use std::os::unix::ffi::OsStrExt;
    let mut rig = Rig::new();
    let name = std::ffi::OsStr::from_bytes(b"b\xff.2026-11-21_02-20-24_054432.log");
    fs::write(rig.dir.path().join("logs").join(name), timed("a", 0, 2)).unwrap();
    rig.start();
    rig.wait(2);
    assert_eq!(rig.recorder.book().taken[0].script, "b\u{fffd}");
}

#[test]
fn the_agents_own_directory_is_never_watched() {
    let mut rig = Rig::new();
    let own = rig.dir.path().join(".logagent");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("x.log"), timed("x", 0, 3)).unwrap();
    rig.settings.include = vec![rig.dir.path().join("**/*.log").to_str().unwrap().to_owned()];
    rig.write("app.log", timed("a", 0, 3));
    rig.start();
    rig.wait(3);
    rig.settle();
    assert_eq!(rig.lines().len(), 3);
}
