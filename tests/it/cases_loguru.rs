//! What loguru does on disk, by loguru itself: rotation, compression, several processes on one file.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::harness::{eventually, python_with_loguru};
use crate::recorder::Rig;

/// Writes `n` records through loguru, `pause` seconds apart.
const WRITER: &str = r#"
import sys, time
from loguru import logger
path, tag, n, rotation, compression, pause = sys.argv[1:7]
logger.remove()
logger.add(path, serialize=True, rotation=rotation or None, compression=compression or None)
for i in range(int(n)):
    logger.info(f"{tag} {i:06d} " + "x" * 100)
    if float(pause):
        time.sleep(float(pause))
logger.remove()
"#;

fn writer(rig: &Rig, tag: &str, n: usize, rotation: &str, compression: &str, pause: &str) -> Child {
    Command::new(python_with_loguru())
        .args([
            "-c",
            WRITER,
            rig.path("app.jsonl").to_str().unwrap(),
            tag,
            &n.to_string(),
            rotation,
            compression,
            pause,
        ])
        // Several processes on one file make loguru complain; that is the case.
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// `tag 000012` of each record.
fn messages(rig: &Rig) -> Vec<String> {
    let tagged = |line: String| {
        let from = line.find("\"message\": \"")? + 12;
        line.get(from..)?.split(" x").next().map(str::to_owned)
    };
    rig.lines().into_iter().filter_map(tagged).collect()
}

fn expected(tag: &str, n: usize) -> HashSet<String> {
    (0..n).map(|i| format!("{tag} {i:06}")).collect()
}

fn assert_all_once(rig: &Rig, expected: &HashSet<String>) {
    let got = messages(rig);
    let set: HashSet<String> = got.iter().cloned().collect();
    let missing: Vec<&String> = expected.difference(&set).take(5).collect();
    assert!(
        missing.is_empty(),
        "{} missing, such as {missing:?}",
        expected.difference(&set).count()
    );
    assert_eq!(got.len(), expected.len(), "some came twice");
    rig.assert_nothing_again();
}

// Cases 1 and 5.
#[test]
fn every_record_is_delivered_while_loguru_rotates_and_compresses() {
    for compression in ["", "gz", "zip", "tar.gz", "bz2", "xz", "lzma"] {
        let mut rig = Rig::new();
        rig.start();
        let mut child = writer(&rig, "a", 1500, "100 kB", compression, "0.0002");
        assert!(child.wait().unwrap().success());
        rig.wait(1500);
        rig.settle();
        assert_all_once(&rig, &expected("a", 1500));
        assert!(fs::read_dir(rig.path("")).unwrap().count() > 5, "loguru rotated");
    }
}

// Case 5.
#[test]
fn what_loguru_compressed_while_the_agent_was_down_is_delivered_from_where_it_stopped() {
    for compression in ["gz", "zip", "tar.gz", "tar.bz2", "tar.xz", "bz2", "xz", "lzma", "tar"] {
        let mut rig = Rig::new();
        // Part of the first file is shipped while it is plain.
        assert!(writer(&rig, "a", 50, "", "", "0").wait().unwrap().success());
        rig.start();
        rig.wait(50);
        rig.stop();
        assert!(
            writer(&rig, "b", 700, "100 kB", compression, "0")
                .wait()
                .unwrap()
                .success()
        );
        rig.start();
        rig.wait(750);
        rig.settle();
        let all: HashSet<String> = expected("a", 50).into_iter().chain(expected("b", 700)).collect();
        assert_all_once(&rig, &all);
    }
}

/// Distinct records in the files that are there, archives included.
fn readable(rig: &Rig) -> HashSet<String> {
    let mut found = HashSet::new();
    for entry in fs::read_dir(rig.path("")).unwrap() {
        let path = entry.unwrap().path();
        let mut text = String::new();
        let file = fs::File::open(&path).unwrap();
        if path.extension().is_some_and(|e| e == "gz") {
            if flate2::read::MultiGzDecoder::new(file)
                .read_to_string(&mut text)
                .is_err()
            {
                continue;
            }
        } else {
            text = fs::read_to_string(&path).unwrap();
        }
        for line in text.lines() {
            if let Some(from) = line.find("\"message\": \"") {
                found.insert(line[from + 12..].split(" x").next().unwrap().to_owned());
            }
        }
    }
    found
}

// Several processes that rotate one file under one another: what stays readable is delivered, and none of it twice.
#[test]
fn of_four_processes_on_one_file_everything_that_stays_readable_is_delivered() {
    for compression in ["", "gz"] {
        let mut rig = Rig::new();
        rig.start();
        let mut children: Vec<Child> = (0..4)
            .map(|p| writer(&rig, &format!("p{p}"), 500, "20 kB", compression, "0.0005"))
            .collect();
        for child in &mut children {
            child.wait().unwrap();
        }
        let readable = readable(&rig);
        eventually(&format!("all {} that can be read", readable.len()), || {
            let got: HashSet<String> = messages(&rig).into_iter().collect();
            readable.is_subset(&got).then_some(())
        });
        rig.settle();
        let got: HashSet<String> = messages(&rig).into_iter().collect();
        assert_eq!(got.len(), rig.lines().len(), "some came twice");
    }
}

/// Runs a script beside the rig's files; `log(tag, n, **settings)` writes `n` records into `logs/app.jsonl`, or `path`.
fn run(rig: &Rig, script: &str) {
    let prelude = "import os, sys\nfrom loguru import logger\nlogger.remove()\n\
        def log(tag, n, path='logs/app.jsonl', **settings):\n    \
            sink = logger.add(path, serialize=True, **settings)\n    \
            for i in range(n):\n        logger.info(f'{tag} {i:06d} ' + 'x' * 100)\n    \
            logger.remove(sink)\n";
    let status = Command::new(python_with_loguru())
        .args(["-c", &format!("{prelude}{script}")])
        .current_dir(rig.dir.path())
        .status()
        .unwrap();
    assert!(status.success());
}

fn all(parts: &[(&str, usize)]) -> HashSet<String> {
    parts.iter().flat_map(|(tag, n)| expected(tag, *n)).collect()
}

fn names(rig: &Rig) -> Vec<String> {
    let entries = fs::read_dir(rig.path("")).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

// Rotated names bear the creation time of the file, so that rotations in quick succession collide.
#[test]
fn rotated_names_that_collide_and_get_a_number_are_read() {
    for running in [true, false] {
        let mut rig = Rig::new();
        if running {
            rig.start();
        }
        // The same name for every rotation: a clock that stands still.
        run(
            &rig,
            "import loguru._file_sink as f\nf.get_ctime = lambda path: 1795227624.0\nlog('a', 300, rotation='20 kB')\n",
        );
        if !running {
            rig.start();
        }
        rig.wait(300);
        rig.settle();
        assert!(
            names(&rig).iter().any(|n| n.ends_with("_000000.2.jsonl")),
            "{:?}",
            names(&rig)
        );
        assert_all_once(&rig, &expected("a", 300));
        assert!(rig.recorder.book().taken.iter().all(|t| t.script == "app"));
    }
}

#[test]
fn a_time_in_the_path_makes_a_new_file_each_time_and_no_rename() {
    let mut rig = Rig::new();
    rig.start();
    run(
        &rig,
        "log('a', 300, path='logs/app_{time:HH-mm-ss-SSSSSS}.jsonl', rotation='20 kB', compression='gz')\n",
    );
    rig.wait(300);
    rig.settle();
    assert!(names(&rig).len() > 3, "{:?}", names(&rig));
    assert_all_once(&rig, &expected("a", 300));
}

#[test]
fn a_sink_that_truncates_its_file_at_each_start_is_read_each_time() {
    let mut rig = Rig::new();
    rig.start();
    let mut parts = Vec::new();
    for (tag, n) in [("a", 100), ("b", 40), ("c", 200)] {
        run(&rig, &format!("log('{tag}', {n}, mode='w')\n"));
        parts.push((tag, n));
        rig.wait(parts.iter().map(|p| p.1).sum());
    }
    // While nobody looks, too.
    rig.stop();
    run(&rig, "log('d', 300, mode='w')\n");
    parts.push(("d", 300));
    rig.start();
    rig.wait(640);
    rig.settle();
    assert_all_once(&rig, &all(&parts));
}

#[test]
fn a_delayed_file_and_one_created_anew_after_a_move_are_read() {
    let mut rig = Rig::new();
    rig.start();
    run(
        &rig,
        "sink = logger.add('logs/app.jsonl', serialize=True, delay=True, watch=True)\n\
         assert not os.path.exists('logs/app.jsonl')\n\
         for tag in ['a', 'b', 'c']:\n    \
             for i in range(50):\n        logger.info(f'{tag} {i:06d} ' + 'x' * 100)\n    \
             os.rename('logs/app.jsonl', f'logs/moved-{tag}.jsonl')\n",
    );
    rig.wait(150);
    rig.settle();
    assert_all_once(&rig, &all(&[("a", 50), ("b", 50), ("c", 50)]));
}

#[test]
fn compression_without_rotation_when_the_sink_stops_brings_nothing_twice() {
    for compression in ["gz", "zip", "tar.xz"] {
        let mut rig = Rig::new();
        rig.start();
        run(
            &rig,
            &format!("log('a', 200, compression='{compression}')\nlog('b', 100, compression='{compression}')\n"),
        );
        rig.wait(300);
        rig.settle();
        assert!(!rig.path("app.jsonl").exists(), "{:?}", names(&rig));
        assert_all_once(&rig, &all(&[("a", 200), ("b", 100)]));
    }
}

#[test]
fn retention_takes_files_that_were_read_and_nothing_of_the_agents_stands_beside_them() {
    let mut rig = Rig::new();
    rig.start();
    run(&rig, "log('a', 400, rotation='20 kB', retention=2)\n");
    let there = readable(&rig);
    eventually("all that is left", || {
        let got: HashSet<String> = messages(&rig).into_iter().collect();
        there.is_subset(&got).then_some(())
    });
    rig.settle();
    assert!(
        names(&rig).iter().all(|n| n.ends_with(".jsonl")) && names(&rig).len() <= 3,
        "{:?}",
        names(&rig)
    );
    rig.assert_nothing_again();
}

#[test]
fn a_compression_of_ones_own_is_told_by_its_content() {
    let mut rig = Rig::new();
    run(&rig, "log('a', 50)\n");
    rig.start();
    rig.wait(50);
    rig.stop();
    // A name that says nothing of how it was made.
    run(
        &rig,
        "import gzip, shutil\n\
         def pack(path):\n    \
             with open(path, 'rb') as i, gzip.open(path + '.packed', 'wb') as o:\n        shutil.copyfileobj(i, o)\n    \
             os.remove(path)\n\
         log('b', 30, rotation='60 kB', compression=pack)\n",
    );
    assert!(names(&rig).iter().any(|n| n.ends_with(".packed")), "{:?}", names(&rig));
    rig.start();
    rig.wait(80);
    rig.settle();
    assert_all_once(&rig, &all(&[("a", 50), ("b", 30)]));
}
