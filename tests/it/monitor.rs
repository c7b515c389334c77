//! The dashboard, driven in a pseudo-terminal: what a person would see and press.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::{eventually, logagent, say};

/// A program in a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn open(dir: &Path, args: &[&str], rows: u16, cols: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || -> OwnedFd {
            let path = name.to_str().unwrap();
            File::options().read(true).write(true).open(path).unwrap().into()
        };
        resize(&master, rows, cols);
        let child = logagent(dir)
            .args(args)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(slave()))
            .stdout(Stdio::from(slave()))
            .stderr(Stdio::from(slave()))
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let mut output = File::from(master.try_clone().unwrap());
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last end of the terminal that is closed makes reading fail.
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                seen.lock().unwrap().process(&buffer[..n]);
            }
        });
        Terminal {
            child,
            keys: File::from(master),
            screen,
        }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen shows all of `parts`.
    fn shows(&self, parts: &[&str]) -> String {
        eventually(&format!("{parts:?}"), || {
            let text = self.text();
            parts.iter().all(|p| text.contains(p)).then_some(text)
        })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn ends(&mut self) -> i32 {
        eventually("the end", || self.child.try_wait().unwrap())
            .code()
            .unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: impl std::os::fd::AsFd, rows: u16, cols: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// A store with one failed and one running run, and the status that an agent left.
fn stage(dir: &Path) {
    assert_eq!(say(dir, &["init"]).code, 0);
    let status = r#"{"running":true,"pid":7,"started_at":"2026-11-21T02:20:24.000000Z","host":"web1",
        "updated_at":"2026-11-21T02:21:24.000000Z","store":{"kind":"sqlite","place":".logagent/logs.db"},
        "sources":[{"kind":"file","path":"logs/etl.jsonl","size":9,"lag_bytes":5,"state":"reading"}],
        "sources_total":1,"dead_letters":3}"#;
    std::fs::write(dir.join(".logagent/status.json"), status).unwrap();
    use logagent::store::{Batch, RunUpdate, Sink, sqlite::SqliteStore};
    let now = chrono::Utc::now().timestamp_micros();
    let time = logagent::record::format_time(now);
    let mut batch = Batch::default();
    for (key, level, no, message) in [
        ("k1", "INFO", 20, "row 1 read"),
        ("k2", "ERROR", 40, "the import failed"),
        ("k3", "INFO", 20, "going on"),
    ] {
        batch.events.push(
            format!(
                r#"{{"_key":"{key}","timestamp":"{time}","level":"{level}","level_no":{no},"message":"{message}","execution_id":"etl_1","script_name":"etl","exception":{{"type":"KeyError","value":"user","traceback":"Traceback (most recent call last):\n  File \"etl.py\""}},"fingerprint":"f","seq":{},"ingested_at":"{time}"}}"#,
                key.trim_start_matches('k')
            )
            .as_bytes(),
        );
    }
    batch.runs.push(RunUpdate {
        execution_id: "etl_1".into(),
        script_name: "etl".into(),
        start_time: now - 60_000_000,
        last_seen: now,
        ..RunUpdate::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&dir.join(".logagent/logs.db")).unwrap();
        let report = store.write(&Arc::new(batch)).await.unwrap();
        assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    });
}

#[test]
fn the_dashboard_shows_status_runs_and_errors_and_lets_one_look_closer() {
    let dir = tempfile::tempdir().unwrap();
    stage(dir.path());
    let mut terminal = Terminal::open(dir.path(), &["monitor"], 24, 80);
    let text = terminal.shows(&[
        "not running",
        "3 dead letters",
        "the import failed",
        "active runs: 1",
        "etl_1",
    ]);
    assert!(text.contains("INFO                   2"), "{text}");
    assert!(text.contains("ERROR                  1"), "{text}");
    assert!(text.contains("1 error"), "{text}");
    assert!(text.contains("logs/etl.jsonl"), "{text}");

    terminal.press("\r");
    terminal.shows(&["run etl_1, last 3 events", "row 1 read", "going on", "Esc back"]);
    terminal.press("\x7f");
    terminal.shows(&["active runs: 1"]);
    terminal.press("\t\r");
    terminal.shows(&["event k2", "Traceback (most recent call last):", "execution  etl_1"]);
    terminal.press("\x7f?");
    terminal.shows(&["sort sources by lag"]);
    terminal.press("xp");
    terminal.shows(&["PAUSED"]);
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn the_dashboard_follows_the_size_of_its_terminal() {
    let dir = tempfile::tempdir().unwrap();
    stage(dir.path());
    let mut terminal = Terminal::open(dir.path(), &["monitor"], 24, 80);
    terminal.shows(&["the import failed", "q quit"]);
    terminal.screen.lock().unwrap().screen_mut().set_size(40, 120);
    resize(&terminal.keys, 40, 120);
    // The footer stands in the last row of the larger screen.
    eventually("the footer at the bottom", || {
        let text = terminal.screen.lock().unwrap().screen().rows(0, 120).last()?;
        text.contains("q quit").then_some(())
    });
    terminal.press("\x03");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn without_a_store_or_an_agent_the_dashboard_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(dir.path(), &["monitor"], 24, 80);
    terminal.shows(&["no agent runs here; start one with: logagent run"]);
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
    let piped = say(dir.path(), &["monitor"]);
    assert_eq!(piped.code, 2);
    assert!(piped.err.contains("logagent status -o json"), "{}", piped.err);
}
