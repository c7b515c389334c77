//! How long the reading verbs take on a large embedded store, and how much memory: each question is the real program,
//! run as people run it, beside ripgrep and jq over the same data as files.
//!
//! ```text
//! cargo bench --bench read_verbs -- [EVENTS]          # 1,000,000 unless told otherwise
//! ```
//!
//! The store lies in `target/tmp/read_verbs_N` and is made once. Times are those of the whole process, start included:
//! the median and the 95th percentile of the runs; memory is the largest resident set of any run.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use logagent::record::{Key, format_time};
use logagent::store::sqlite::SqliteStore;
use logagent::store::{Batch, RunEnd, RunUpdate, Sink, Status};

const BATCH: usize = 2000;
/// Events of one run.
const RUN: usize = 1000;
const SCRIPTS: [&str; 8] = [
    "ingest",
    "embed",
    "report",
    "sync",
    "crawl",
    "train",
    "notify",
    "prune_cache",
];
const NOUNS: [&str; 16] = [
    "page", "document", "batch", "cache", "model", "response", "tool", "queue", "worker", "graph", "edge", "vertex",
    "token", "session", "index", "chunk",
];
const VERBS: [&str; 8] = [
    "fetched", "parsed", "stored", "skipped", "merged", "sent", "read", "built",
];

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn run_id(n: usize) -> String {
    format!("{}_{:08}", SCRIPTS[n / RUN % SCRIPTS.len()], n / RUN)
}

/// One event: a tenth say "checkpoint", one in 100,000 says "quagga", one in fifty is an error.
fn event(n: usize, time: i64, out: &mut Vec<u8>) {
    let r = mix(n as u64 + 1) as usize;
    let script = SCRIPTS[n / RUN % SCRIPTS.len()];
    let error = r.is_multiple_of(50);
    let (level, no) = match r % 10 {
        _ if error => ("ERROR", 40),
        0..=3 => ("DEBUG", 10),
        4 => ("WARNING", 30),
        _ => ("INFO", 20),
    };
    let word = if n.is_multiple_of(100_000) { "quagga " } else { "" };
    let common = if r % 10 == 5 { "checkpoint " } else { "" };
    let message = format!(
        "{word}{common}{} {} {} of {} in {} ms, id {:08x}",
        VERBS[r / 16 % 8],
        r % 5000,
        NOUNS[r / 128 % 16],
        NOUNS[r / 2048 % 16],
        r / 7 % 900,
        r as u32
    );
    let key = Key::new(7, n as u64, r as u64);
    let t = format_time(time);
    let _ = write!(
        out,
        "{{\"_key\":\"{}\",\"timestamp\":\"{t}\",\"level\":\"{level}\",\"level_no\":{no},\"message\":\"{message}\",\
         \"execution_id\":\"{}\",\"script_name\":\"{script}\",\"function_name\":\"step_{}\",\
         \"file_path\":\"/srv/{script}.py\",\"line_number\":{},\"module\":\"{script}\",\"logger\":\"__main__\",\
         \"pid\":{},\"process_name\":\"MainProcess\",\"thread_id\":140493260737408,\"thread_name\":\"MainThread\",\
         \"host\":\"web1\"",
        key.as_str(),
        run_id(n),
        r % 12,
        r % 400,
        1000 + n / RUN
    );
    if error {
        let kind = ["ValueError", "TimeoutError", "KeyError", "OSError"][r / 50 % 4];
        let _ = write!(
            out,
            ",\"exception\":{{\"type\":\"{kind}\",\"value\":\"bad {}\",\"traceback\":\"Traceback (most recent call \
             last):\\n  File \\\"/srv/{script}.py\\\", line 7, in step\\n{kind}: bad\",\"chain\":[{{\"type\":\"{kind}\",\
             \"value\":\"bad {}\"}}]}},\"fingerprint\":\"{:016x}\"",
            NOUNS[r / 200 % 16],
            NOUNS[r / 200 % 16],
            r / 50 % 40
        );
    }
    let response = if n % RUN == RUN - 1 {
        ",\"response\":{\"rows\":7}"
    } else {
        ""
    };
    let _ = write!(
        out,
        ",\"extra_data\":{{\"user\":{},\"request_id\":\"{:016x}\"{response}}},\"source\":{{\"kind\":\"file\",\
         \"path\":\"/srv/logs/{script}.jsonl\",\"stream\":\"{script}-1\",\"offset\":{n}}},\"seq\":{time},\
         \"ingested_at\":\"{t}\"}}",
        r % 500,
        r
    );
}

/// Makes store and files; `events` reach from ten days ago to now.
fn make(dir: &Path, events: usize) {
    let (store, file) = (dir.join("logs.db"), dir.join("logs.jsonl"));
    if store.exists() && file.exists() {
        return;
    }
    fs::create_dir_all(dir).expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let now = chrono::Utc::now().timestamp_micros();
    let step = 10 * 86_400_000_000 / events as i64;
    let mut lines = BufWriter::new(File::create(&file).expect("a file"));
    let started = Instant::now();
    runtime.block_on(async {
        let sink = SqliteStore::open(&store).expect("a thread");
        sink.ensure_schema(false).await.expect("a schema");
        let mut n = 0;
        while n < events {
            let mut batch = Batch::default();
            for n in n..(n + BATCH).min(events) {
                let time = now - (events - n) as i64 * step;
                batch.events.push_with(|out| event(n, time, out));
                if n % RUN == 0 {
                    let end = time + RUN as i64 * step;
                    batch.runs.push(RunUpdate {
                        execution_id: run_id(n),
                        script_name: SCRIPTS[n / RUN % SCRIPTS.len()].to_owned(),
                        start_time: time,
                        last_seen: end,
                        end: Some(RunEnd {
                            status: if (n / RUN).is_multiple_of(9) {
                                Status::Failed
                            } else {
                                Status::Success
                            },
                            time: end,
                            declared: true,
                            error: None,
                        }),
                        ..RunUpdate::default()
                    });
                }
            }
            for doc in batch.events.iter() {
                lines
                    .write_all(doc)
                    .and_then(|()| lines.write_all(b"\n"))
                    .expect("a line");
            }
            n += BATCH;
            sink.write(&Arc::new(batch)).await.expect("written");
        }
        sink.durable_barrier().await.expect("durable");
    });
    lines.flush().expect("flushed");
    println!("made {events} events in {:.0} s", started.elapsed().as_secs_f64());
}

/// Median, 95th percentile, largest resident set in MiB.
fn time(command: impl Fn() -> Command, runs: usize) -> (Duration, Duration, u64) {
    let mut times = Vec::new();
    let mut memory = 0;
    for _ in 0..runs {
        let started = Instant::now();
        let mut child = command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let mut status = 0;
        // Only this tells the memory of one child.
        unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
        times.push(started.elapsed());
        memory = memory.max(usage.ru_maxrss as u64 / 1024);
        let _ = child.try_wait();
    }
    times.sort();
    (
        times[times.len() / 2],
        times[(times.len() * 95).div_ceil(100) - 1],
        memory,
    )
}

fn main() {
    let events = std::env::args()
        .skip(1)
        .find_map(|a| a.parse().ok())
        .unwrap_or(1_000_000);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("read_verbs_{events}"));
    make(&dir, events);
    let middle = events / 2;
    let (run, failed) = (run_id(middle), run_id(middle / RUN / 9 * 9 * RUN));
    let found = Command::new(env!("CARGO_BIN_EXE_logagent"))
        .args(["search", "-l", "error", "-n", "1", "-o", "json", "--store"])
        .arg(format!("sqlite:{}", dir.join("logs.db").display()))
        .output()
        .expect("it runs");
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("an error");
    let key = found["items"][0]["_key"].as_str().expect("a key").to_owned();
    let verbs: Vec<(&str, Vec<&str>, usize)> = vec![
        ("search, rare word", vec!["search", "quagga"], 20),
        ("search, word in 10 %", vec!["search", "checkpoint"], 10),
        ("search, 10 %, 24 h", vec!["search", "checkpoint", "-S", "24h"], 10),
        ("search, newest", vec!["search"], 10),
        ("search -l error", vec!["search", "-l", "error"], 10),
        ("get", vec!["get", &key], 20),
        ("get -C 5", vec!["get", &key, "-C", "5"], 20),
        ("summary", vec!["summary", &run], 20),
        ("errors EXECUTION", vec!["errors", &failed], 20),
        ("response", vec!["response", "report"], 20),
        ("errors --since 24h", vec!["errors", "--since", "24h"], 5),
        ("errors --since 10d", vec!["errors", "--since", "10d"], 3),
        ("patterns --since 1h", vec!["patterns", "--since", "1h"], 10),
        ("patterns --since 24h", vec!["patterns", "--since", "24h"], 3),
        ("stats", vec!["stats"], 5),
        (
            "stats --by script,level",
            vec!["stats", "--by", "script,level", "-S", "10d"],
            3,
        ),
        ("runs", vec!["runs"], 10),
        ("history", vec!["history"], 5),
        ("similar", vec!["similar", "TimeoutError: bad graph"], 10),
        ("graph", vec!["graph", &run], 10),
    ];
    println!("{:<26} {:>10} {:>10} {:>8}", "", "median", "p95", "MiB");
    let show = |name: &str, (median, p95, memory): (Duration, Duration, u64)| {
        let ms = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1e3);
        println!("{name:<26} {:>10} {:>10} {memory:>8}", ms(median), ms(p95));
    };
    let store = format!("sqlite:{}", dir.join("logs.db").display());
    for (name, args, runs) in verbs {
        let command = || {
            let mut c = Command::new(env!("CARGO_BIN_EXE_logagent"));
            c.args(&args).args(["--store", &store]).current_dir(&dir);
            c
        };
        show(name, time(command, runs));
    }
    let file = dir.join("logs.jsonl");
    let filters: [(&str, &str, Vec<&str>); 4] = [
        ("rg, rare word", "rg", vec!["-c", "quagga"]),
        ("rg, word in 10 %", "rg", vec!["-c", "checkpoint"]),
        (
            "jq, errors of a run",
            "jq",
            vec!["-c", "select(.level==\"ERROR\" and .execution_id==\"report_00000002\")"],
        ),
        ("grep, rare word", "grep", vec!["-c", "quagga"]),
    ];
    for (name, program, args) in filters {
        if Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            println!("{name:<26} {program} is not installed");
            continue;
        }
        let command = || {
            let mut c = Command::new(program);
            c.args(&args).arg(&file);
            c
        };
        show(name, time(command, 2));
    }
}
