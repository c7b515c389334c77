//! The state against what happens to files and processes: damage of every file, kill at any moment, a full disk, a second
//! agent.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use logagent::source::{Cursor, StreamEntry};
use logagent::state::{Change, DeadLetter, Loaded, OpenError, State, StateError};
use logagent::store::{Batch, Rejected, doc_key};

use crate::harness::eventually;

const MAX: u64 = 1 << 30;

fn entry(id: u64) -> StreamEntry {
    StreamEntry {
        id,
        path: format!("/var/log/app/some-name-{id}.jsonl").into(),
        script: "app".into(),
        head: id * 7,
        head_len: 300,
        ..StreamEntry::default()
    }
}

fn at(offset: u64) -> Cursor {
    Cursor {
        offset,
        ..Cursor::default()
    }
}

/// A batch of events whose keys are these numbers.
fn batch(keys: std::ops::Range<u64>) -> Arc<Batch> {
    let mut b = Batch::default();
    for k in keys {
        b.events
            .push(format!("{{\"_key\":\"k{k}\",\"message\":\"number {k}\"}}").as_bytes());
    }
    Arc::new(b)
}

/// The numbers of everything in the spool, and how many records were reported lost.
fn drain(state: &State) -> (Vec<u64>, u64) {
    let (mut keys, mut lost, mut after) = (Vec::new(), 0, 0);
    while let Some(read) = state.spool_read(after, 7, 1 << 20).unwrap() {
        assert!(read.last > after);
        after = read.last;
        lost += read.lost.records;
        let key = |doc: &[u8]| doc_key(doc).strip_prefix('k').unwrap().parse::<u64>().unwrap();
        keys.extend(read.batch.events.iter().map(key));
    }
    (keys, lost)
}

/// A data directory with a little of everything, closed.
fn filled(dir: &Path) {
    for round in 0..3u64 {
        let (state, _) = State::open(dir, MAX).unwrap();
        for i in 0..40 {
            let id = 1 + round * 40 + i;
            let change = Change {
                remember: vec![entry(id)],
                cursors: vec![(id, at(id * 10)), (1, at(id))],
                runs: vec![(format!("run {id}"), Some(vec![b'r'; 5000]))],
                socket_streams: vec![(format!("0:s{id}"), at(id))],
                ..Change::default()
            };
            state.commit(&change, i % 10 == 0).unwrap();
        }
        for i in 0..10 {
            let first = round * 100 + i * 10;
            let spool = vec![batch(first..first + 10)];
            state
                .commit(
                    &Change {
                        spool,
                        ..Change::default()
                    },
                    true,
                )
                .unwrap();
        }
        let letter = DeadLetter {
            rejected: Rejected {
                collection: "log_events".into(),
                key: format!("letter{round}"),
                reason: "no".into(),
                error_num: Some(1620),
                record: "{}".into(),
            },
            time: "2026-11-21T00:00:00.000000Z".into(),
        };
        let dead_letters = vec![letter];
        state
            .commit(
                &Change {
                    dead_letters,
                    ..Change::default()
                },
                true,
            )
            .unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found)
        } else {
            found.push(path)
        }
    }
    found.sort();
}

/// Something that can happen to a file, with its name.
type Damage = (String, Box<dyn Fn(&Path)>);

/// Everything that can happen to a file.
fn damages() -> Vec<Damage> {
    let mut all: Vec<Damage> = vec![
        ("deleted".into(), Box::new(|p| fs::remove_file(p).unwrap())),
        ("emptied".into(), Box::new(|p| fs::write(p, "").unwrap())),
        (
            "replaced by text".into(),
            Box::new(|p| fs::write(p, "hello, this is no such file\n".repeat(9)).unwrap()),
        ),
        (
            "doubled".into(),
            Box::new(|p| {
                let bytes = fs::read(p).unwrap();
                fs::write(p, [bytes.as_slice(), &bytes].concat()).unwrap();
            }),
        ),
    ];
    for part in [1, 3, 7, 9] {
        all.push((
            format!("cut at {part}/10"),
            Box::new(move |p| {
                let file = fs::File::options().write(true).open(p).unwrap();
                file.set_len(file.metadata().unwrap().len() * part / 10).unwrap();
            }),
        ));
        all.push((
            format!("zeroed from {part}/10"),
            Box::new(move |p| {
                let mut bytes = fs::read(p).unwrap();
                let from = bytes.len() * part as usize / 10;
                bytes[from..].fill(0);
                fs::write(p, bytes).unwrap();
            }),
        ));
    }
    all.push((
        "all zeroes".into(),
        Box::new(|p| fs::write(p, vec![0; fs::metadata(p).unwrap().len() as usize]).unwrap()),
    ));
    for seed in 0..12u64 {
        all.push((
            format!("one byte flipped, {seed}"),
            Box::new(move |p| {
                let file = fs::File::options().read(true).write(true).open(p).unwrap();
                let len = file.metadata().unwrap().len().max(1);
                let offset = xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes()) % len;
                let mut byte = [0];
                if file.read_at(&mut byte, offset).unwrap() == 1 {
                    file.write_all_at(&[byte[0] ^ 0x55], offset).unwrap();
                }
            }),
        ));
    }
    all
}

#[test]
fn whatever_happens_to_any_file_the_state_opens_again_and_works() {
    // Hundreds of starts: in memory, where there is such a file system, since syncing is not what is tested.
    let scratch = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let origin = scratch.path().join("origin");
    filled(&origin);
    let mut files = Vec::new();
    files_below(&origin, &mut files);
    let dir = scratch.path().join("copy");
    for file in &files {
        let name = file.strip_prefix(&origin).unwrap();
        for (damage, apply) in damages() {
            // Files that the state does not read when it opens need not be damaged in every way.
            if name.starts_with("dead-letters") && !damage.starts_with("cut at") {
                continue;
            }
            let case = format!("{} {damage}", name.display());
            copy_tree(&origin, &dir);
            apply(&dir.join(name));
            let (state, loaded) = State::open(&dir, MAX).unwrap_or_else(|e| panic!("{case}: {e}"));
            println!(
                "{case}: {} streams to {:?}, {} runs, {:?}",
                loaded.streams.len(),
                loaded.streams.to_vec().last().map(|s| s.0.id),
                loaded.runs.len(),
                loaded.recovered
            );
            check_opened(&case, name, &dir, state, &loaded);
            fs::remove_dir_all(&dir).unwrap();
        }
    }
}

/// What holds after any damage to one file.
fn check_opened(case: &str, damaged: &Path, dir: &Path, state: State, loaded: &Loaded) {
    let in_spool = damaged.starts_with("spool");
    let in_db = damaged.starts_with("state");
    let (keys, lost) = drain(&state);
    let distinct: BTreeSet<u64> = keys.iter().copied().collect();
    assert_eq!(distinct.len(), keys.len(), "{case}: nothing twice");
    assert!(keys.is_sorted(), "{case}: in order");
    assert_eq!(
        distinct.len() as u64 + lost,
        300,
        "{case}: every spooled record is there or reported"
    );
    assert!(lost == 0 || in_spool, "{case}: {lost} records lost");
    assert!(loaded.recovered.is_none() || in_db, "{case}: {:?}", loaded.recovered);
    if !in_db {
        assert_eq!(loaded.streams.len(), 120, "{case}");
        assert_eq!(loaded.runs.len(), 120, "{case}");
    }
    // A log that lost its end is the state of an earlier moment, and says nothing. Anything else that is missing is said.
    let earlier = (1..)
        .zip(&loaded.streams.to_vec())
        .all(|(id, (entry, _))| entry.id == id);
    let earlier = earlier && loaded.runs.len() == loaded.streams.len() && !loaded.streams.is_empty();
    assert!(
        earlier || loaded.recovered.is_some(),
        "{case}: nothing is lost in silence"
    );
    for (entry, cursor) in &loaded.streams.to_vec() {
        assert!(entry.id < loaded.next_stream_id, "{case}");
        assert!(
            *entry == self::entry(entry.id) && cursor.offset <= 1200,
            "{case}: {entry:?} {cursor:?}"
        );
    }
    // It works, and so does the next start.
    let change = Change {
        remember: vec![entry(999)],
        spool: vec![batch(1000..1003)],
        ..Change::default()
    };
    let last = state.commit(&change, true).unwrap().spooled.end - 1;
    drop(state);
    let (state, again) = State::open(dir, MAX).unwrap_or_else(|e| panic!("{case}, second start: {e}"));
    // sled may come upon a damaged page only when it moves it: then that start is the one that says so.
    assert!(again.recovered.is_none() || in_db, "{case}: {:?}", again.recovered);
    if again.recovered.is_none() {
        assert_eq!(again.streams.len(), loaded.streams.len() + 1, "{case}");
    }
    assert!(drain(&state).0.ends_with(&[1000, 1001, 1002]), "{case}");
    state
        .commit(
            &Change {
                spool_done: Some(last),
                ..Change::default()
            },
            true,
        )
        .unwrap();
    assert_eq!((state.spool_usage().records, drain(&state).0.len()), (0, 0), "{case}");
    if lost > 0 {
        assert!(kept_aside(dir, "spool"), "{case}: a damaged file of the spool is kept");
    }
}

/// Whether a `damaged-…` directory holds such a file.
fn kept_aside(dir: &Path, suffix: &str) -> bool {
    let mut files = Vec::new();
    files_below(dir, &mut files);
    let aside = |p: &PathBuf| p.strip_prefix(dir).unwrap().to_string_lossy().starts_with("damaged-");
    files.iter().any(|p| aside(p) && p.to_string_lossy().ends_with(suffix))
}

/// Runs in a process of its own: commits until it is killed, and says what is durable.
#[test]
fn commits_until_killed() {
    let Ok(dir) = std::env::var("TEST_CRASH_DIR") else {
        return;
    };
    let (state, loaded) = State::open(Path::new(&dir), MAX).unwrap();
    assert_eq!(loaded.recovered, None);
    let mut next = loaded
        .streams
        .to_vec()
        .first()
        .map_or(1, |(_, cursor)| cursor.offset + 1);
    let mut out = std::io::stdout();
    for round in 0u64.. {
        let step = 1 + round % 3;
        let change = Change {
            remember: vec![entry(1)],
            cursors: vec![(1, at(next + step - 1))],
            runs: vec![(format!("run {}", next % 50), Some(vec![b'r'; (next % 7000) as usize]))],
            socket_streams: vec![("0:s".into(), at(next + step - 1))],
            spool: (next..next + step).map(|k| batch(k..k + 1)).collect(),
            ..Change::default()
        };
        state.commit(&change, true).unwrap();
        next += step;
        writeln!(out, "has {}", next - 1).unwrap();
        if round % 5 == 4 {
            let read = state.spool_front(40, 1 << 20).unwrap().unwrap();
            assert_eq!(read.lost.records, 0);
            let done = Change {
                spool_done: Some(read.last),
                ..Change::default()
            };
            state.commit(&done, round % 2 == 0).unwrap();
            let last = doc_key(read.batch.events.iter().last().unwrap()).to_owned();
            writeln!(out, "done {}", last.trim_start_matches('k')).unwrap();
        }
    }
}

fn crash_child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "state::commits_until_killed", "--nocapture"])
        .env("TEST_CRASH_DIR", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_durable_and_moves_no_cursor_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let (mut has, mut done) = (0, 0);
    for round in 0..20u64 {
        let mut child = crash_child(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A moment that differs in every round: after so many reports, and a little later.
        for _ in 0..1 + round * 7 % 40 {
            let line = lines.find(|l| l.as_ref().is_ok_and(|l| l.starts_with("has") || l.starts_with("done")));
            note(&line.unwrap().unwrap(), &mut has, &mut done);
        }
        std::thread::sleep(Duration::from_micros(round * 331 % 4000));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|l| note(&l, &mut has, &mut done));

        let (state, loaded) = State::open(dir.path(), MAX).unwrap();
        assert_eq!(loaded.recovered, None, "a kill is no damage");
        let cursor = loaded.streams.to_vec()[0].1.offset;
        assert!(cursor >= has, "what was said to be durable is ({cursor}, {has})");
        assert_eq!(
            state.socket_stream("0:s").unwrap(),
            Some(at(cursor)),
            "one change, one step"
        );
        let (mut keys, lost) = drain(&state);
        // What was spooled when its commit was cut off is spooled again by the next process.
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(lost, 0);
        let (first, last) = match keys.as_slice() {
            [] => (done + 1, done),
            [first, .., last] => (*first, *last),
            [only] => (*only, *only),
        };
        assert!(keys.iter().copied().eq(first..=last), "without a gap");
        assert!(
            first <= done + 41 && (last >= cursor || keys.is_empty()),
            "{first}..={last}, done {done}, cursor {cursor}"
        );
    }
}

fn note(line: &str, has: &mut u64, done: &mut u64) {
    match line.split_once(' ') {
        Some(("has", n)) => *has = n.parse().unwrap_or(*has),
        Some(("done", n)) => *done = n.parse().unwrap_or(*done),
        _ => {}
    }
}

/// Runs in a process of its own, since the limit is one of the process.
#[test]
fn commits_with_a_limit_on_file_sizes() {
    let Ok(dir) = std::env::var("TEST_FULL_DIR") else {
        return;
    };
    // A write beyond the limit then fails with EFBIG, as one on a full disk does with ENOSPC.
    // SAFETY: no handler is installed, the signal is ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = |bytes: u64| {
        let limit = rustix::process::Rlimit {
            current: Some(bytes),
            maximum: None,
        };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    };
    let (state, _) = State::open(Path::new(&dir), MAX).unwrap();
    limit(2 << 20);
    // The database first: large runs, until it cannot grow.
    let mut done = 0u64;
    let failed = loop {
        let run = (format!("run {done}"), Some(vec![b'r'; 20_000]));
        match state.commit(
            &Change {
                runs: vec![run],
                ..Change::default()
            },
            true,
        ) {
            Ok(_) => done += 1,
            Err(e) => break e,
        }
        assert!(done < 10_000, "the limit was never reached");
    };
    assert!(matches!(failed, StateError::Full(_)), "{failed}");
    // It may find room within the file again, or fail again, but nothing breaks, however often it is tried.
    for _ in 0..5 {
        let run = (format!("run {done}"), Some(vec![b'r'; 200_000]));
        let change = Change {
            runs: vec![run],
            ..Change::default()
        };
        match state.commit(&change, true) {
            Ok(_) | Err(StateError::Full(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    limit(1 << 30);
    let run = (format!("run {done}"), Some(vec![b'r'; 20_000]));
    state
        .commit(
            &Change {
                runs: vec![run],
                ..Change::default()
            },
            true,
        )
        .unwrap();
    // Then the spool.
    limit(6 << 20);
    let mut spooled = 0u64;
    let mut noise = 1u64;
    let failed = loop {
        let mut b = Batch::default();
        let blob: String = (0..3000)
            .map(|_| {
                noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1);
                format!("{noise:x}")
            })
            .collect();
        b.events
            .push(format!("{{\"_key\":\"k{spooled}\",\"message\":\"{blob}\"}}").as_bytes());
        match state.commit(
            &Change {
                spool: vec![Arc::new(b)],
                ..Change::default()
            },
            true,
        ) {
            Ok(_) => spooled += 1,
            Err(e) => break e,
        }
        assert!(spooled < 1000, "the limit was never reached");
    };
    assert!(matches!(failed, StateError::Full(_)), "{failed}");
    limit(1 << 30);
    state
        .commit(
            &Change {
                spool: vec![batch(spooled..spooled + 1)],
                ..Change::default()
            },
            true,
        )
        .unwrap();
    let (keys, lost) = drain(&state);
    assert_eq!((keys, lost), ((0..=spooled).collect::<Vec<_>>(), 0));
    drop(state);
    let (state, loaded) = State::open(Path::new(&dir), MAX).unwrap();
    assert_eq!(loaded.recovered, None);
    assert_eq!((loaded.runs.len() as u64, loaded.streams.len()), (done + 1, 0));
    assert_eq!(drain(&state).0.len() as u64, spooled + 1);
    println!("survived");
}

#[test]
fn a_full_disk_is_said_and_survived_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "state::commits_with_a_limit_on_file_sizes", "--nocapture"])
        .env("TEST_FULL_DIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("survived"), "{said}{errors}");
}

#[test]
fn a_second_agent_is_told_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = crash_child(dir.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .find(|l| l.as_ref().is_ok_and(|l| l.starts_with("has")))
        .unwrap()
        .unwrap();
    let error = State::open(dir.path(), MAX).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(&format!("pid {}", child.id())), "{error}");
    let holder = logagent::state::lock::holder(dir.path());
    assert_eq!(holder, logagent::state::lock::Holder::Agent(Some(child.id())));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the lock of a killed process is free", || {
        State::open(dir.path(), MAX).ok()
    });
    assert_eq!(
        logagent::state::lock::holder(dir.path()),
        logagent::state::lock::Holder::Nobody
    );
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for unusable in [file, PathBuf::from("/proc/1/logagent")] {
        let error = State::open(&unusable, MAX).err().unwrap();
        assert!(matches!(error, OpenError::Unwritable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(unusable.to_str().unwrap()) && text.contains("data_dir"),
            "{text}"
        );
    }
}
