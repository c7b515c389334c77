//! The verbs that start an agent of their own: what they show, and that nothing stays behind.

use std::fs;

use crate::harness::{logagent, say};

#[test]
fn the_demo_tells_the_whole_story_in_seconds_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let out = logagent(dir.path())
        .arg("demo")
        .env("TMPDIR", scratch.path())
        .output()
        .unwrap();
    let (text, err) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert_eq!(out.status.code(), Some(0), "{text}{err}");
    for part in [
        "$ logagent runs",
        "failed   etl",
        "success  report",
        "$ logagent errors",
        "resolved     1×  KeyError",
        "fixed: orders without a user go to the guest account",
        "open         1×  ConnectionRefusedError",
        "$ logagent search user",
        "$ logagent get ",
        "ImportFailed: order 4714 has no user",
        "$ logagent summary etl_",
        "$ logagent graph last",
        "RETRY_OF",
        "$ logagent response report",
        "\"orders\": 14",
        "logagent run ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}\n{err}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_keeps_its_directory_when_asked_so_that_one_can_go_on_asking() {
    let scratch = tempfile::tempdir().unwrap();
    let out = logagent(scratch.path())
        .args(["demo", "--keep"])
        .env("TMPDIR", scratch.path())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let kept = fs::read_dir(scratch.path()).unwrap().next().unwrap().unwrap().path();
    assert!(String::from_utf8_lossy(&out.stdout).contains(&format!("cd {}", kept.display())));
    let runs = say(&kept, &["runs", "-o", "jsonl", "-q"]);
    assert_eq!((runs.code, runs.out.lines().count()), (0, 4), "{}", runs.err);
    // Nobody runs there any more.
    assert_eq!(say(&kept, &["status", "-q"]).code, 1);
}

#[test]
fn the_stress_test_counts_every_record_through_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let args = ["stress", "--records", "3001", "--writers", "4"];
    let out = logagent(dir.path())
        .args(args)
        .env("TMPDIR", scratch.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for line in [
        "written     3,001 records by 4 writers through files and the socket",
        "stored      3,001 in",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("\nlost        0\nduplicated  0\n"), "{text}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
