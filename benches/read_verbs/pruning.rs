//! `prune` of half of the data, while an agent writes and readers ask.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Records that the agent's script writes in a second.
const RATE: u64 = 1000;
/// Fewer deleted events in a second miss the target.
const TARGET: f64 = 50_000.0;

fn program(dir: &Path, args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_logagent"));
    c.args(args)
        .current_dir(dir)
        .env("LOGAGENT_CONFIG", "")
        .stdin(Stdio::null());
    c
}

/// Works on a copy of the store in `dir`, in a directory of its own that is removed afterwards.
pub fn run(dir: &Path, events: usize) {
    let place = dir.join("prune");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(place.join(".logagent")).expect("a directory");
    fs::create_dir(place.join("logs")).expect("a directory");
    fs::copy(dir.join("logs.db"), place.join(".logagent/logs.db")).expect("a copy");
    let mut agent = program(&place, &["run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the agent starts");
    let (over, written, asked) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut slowest = Duration::ZERO;
    let (mut seconds, mut said) = (0.0, String::new());
    std::thread::scope(|scope| {
        scope.spawn(|| write(&place, &over, &written));
        let reader = scope.spawn(|| read(&place, &over, &asked));
        std::thread::sleep(Duration::from_secs(2));
        let started = Instant::now();
        let done = program(&place, &["prune", "--older-than", "5d", "-o", "json", "-q"]).output();
        seconds = started.elapsed().as_secs_f64();
        said = String::from_utf8_lossy(&done.expect("it runs").stdout).into_owned();
        over.store(true, Ordering::SeqCst);
        slowest = reader.join().expect("the reader");
    });
    let deleted: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    let deleted = deleted["events"].as_f64().unwrap_or(0.0);
    let rate = deleted / seconds;
    let missed = if rate < TARGET { " !" } else { "" };
    println!(
        "prune                      {deleted:.0} of {events} in {seconds:.1} s, {rate:.0} a second, target 50000{missed}"
    );
    let (written, asked) = (written.into_inner(), asked.into_inner());
    println!(
        "  meanwhile                {asked} searches, the slowest {:.0} ms",
        slowest.as_secs_f64() * 1e3
    );
    println!("  and                      {}", shipped(&place, written));
    // SAFETY: the child is ours and not waited for yet.
    unsafe { libc::kill(agent.id() as i32, libc::SIGTERM) };
    let _ = agent.wait();
    let _ = fs::remove_dir_all(&place);
}

/// A script that logs until it is over.
fn write(place: &Path, over: &AtomicBool, written: &AtomicU64) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(place.join("logs/busy.jsonl"))
        .expect("a file");
    while !over.load(Ordering::SeqCst) {
        for _ in 0..RATE / 50 {
            let n = written.fetch_add(1, Ordering::SeqCst);
            let time = chrono::Utc::now().to_rfc3339();
            let line = format!("{{\"time\":\"{time}\",\"message\":\"busy record {n}\",\"run_id\":\"busy\"}}\n");
            file.write_all(line.as_bytes()).expect("a line");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A reader that asks until it is over; the longest time it waited.
fn read(place: &Path, over: &AtomicBool, asked: &AtomicU64) -> Duration {
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::SeqCst) {
        let started = Instant::now();
        let done = program(place, &["errors", "-S", "1h", "-q"])
            .stdout(Stdio::null())
            .status();
        assert!(
            done.is_ok_and(|s| s.code().is_some_and(|c| c <= 1)),
            "a reader was refused"
        );
        slowest = slowest.max(started.elapsed());
        asked.fetch_add(1, Ordering::SeqCst);
    }
    slowest
}

/// Waits until what was written is stored.
fn shipped(place: &Path, written: u64) -> String {
    let started = Instant::now();
    loop {
        let sql = "select count(*) n from log_events where execution_id = 'busy'";
        let out = program(place, &["query", sql, "-o", "json"]).output().expect("it runs");
        let out: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let stored = out["items"][0]["n"].as_u64().unwrap_or(0);
        if stored >= written || started.elapsed() > Duration::from_secs(60) {
            let seconds = started.elapsed().as_secs_f64();
            return format!("an agent stored {stored} of {written} records, the last {seconds:.1} s after the end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
