//! What loguru does on disk, by loguru itself: rotation, compression, several processes on one file.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::python_with_loguru;
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
        rig.wait(readable.len());
        std::thread::sleep(Duration::from_millis(1000));
        let got: HashSet<String> = messages(&rig).into_iter().collect();
        let missing: Vec<&String> = readable.difference(&got).collect();
        assert!(
            missing.is_empty(),
            "{} of {} missing: {:?}",
            missing.len(),
            readable.len(),
            &missing[..missing.len().min(5)]
        );
        assert_eq!(got.len(), rig.lines().len(), "some came twice");
    }
}
