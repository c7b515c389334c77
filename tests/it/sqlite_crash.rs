//! The embedded store under `kill -9`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use logagent::store::sqlite::SqliteStore;
use logagent::store::{Batch, Sink};

/// Tells the test's own program, started again, to be the writer that is killed.
const CHILD: &str = "LOGAGENT_TEST_CRASHING_WRITER";
const NAME: &str = "sqlite_crash::a_killed_writer_leaves_a_good_file_with_all_it_confirmed";
const BATCH: usize = 200;

/// Writes for ever, from batch `first` on, and says the number of each batch that the store confirmed.
fn write_until_killed(path: &Path) -> ! {
    let store = SqliteStore::open(path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0.. {
        let mut batch = Batch::default();
        for i in 0..BATCH {
            let words = "several words of a message that is long enough to fill pages ".repeat(10);
            batch.events.push(
                format!(
                    r#"{{"_key":"{n:08}_{i:04}","timestamp":"2026-11-21T02:20:24.054432Z","level":"ERROR","level_no":40,"message":"{words}","execution_id":"run_{i}","fingerprint":"f{i}"}}"#
                )
                .as_bytes(),
            );
        }
        runtime.block_on(store.write(&Arc::new(batch))).unwrap();
        let mut out = std::io::stderr().lock();
        writeln!(out, "confirmed {n}").unwrap();
    }
    unreachable!("the range has no end")
}

#[test]
fn a_killed_writer_leaves_a_good_file_with_all_it_confirmed() {
    if let Some(path) = std::env::var_os(CHILD) {
        write_until_killed(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    // Later and later: in the middle of the first transactions, of later ones, of copying the log into the file.
    for confirmations in [1, 4, 9, 23, 41] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let confirmed = lines
            .map_while(Result::ok)
            .filter_map(|l| l.strip_prefix("confirmed ").and_then(|n| n.parse::<i64>().ok()))
            .nth(confirmations)
            .expect("the writer confirms batches");
        child.kill().unwrap();
        child.wait().unwrap();

        let db = rusqlite::Connection::open(&path).unwrap();
        let check: String = db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(check, "ok");
        db.execute_batch("INSERT INTO log_events_fts (log_events_fts, rank) VALUES ('integrity-check', 1)")
            .expect("full text and rows agree");
        let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
        let rows = count("SELECT count(*) FROM log_events");
        assert_eq!(rows % BATCH as i64, 0, "whole batches or nothing of them");
        assert!(
            rows >= (confirmed + 1) * BATCH as i64,
            "{rows} rows, {confirmed} confirmed"
        );
    }
}
