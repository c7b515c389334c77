//! Events for the benchmark: a store and the same events as lines of a file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use logagent::record::{Key, format_time};
use logagent::store::sqlite::SqliteStore;
use logagent::store::{Batch, RunEnd, RunUpdate, Sink, Status};

const BATCH: usize = 4000;
/// Events of one run.
pub const RUN: usize = 1000;
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

/// The execution of event `n`.
pub fn run_id(n: usize) -> String {
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
    let key = Key::new(7, n as u64, r as u128, 0);
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

/// The run that begins with event `n`, of which a ninth failed.
fn run(n: usize, time: i64, step: i64) -> RunUpdate {
    let end = time + RUN as i64 * step;
    RunUpdate {
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
    }
}

/// Makes store and file where they are missing; `events` reach from ten days ago to now.
pub fn make(dir: &Path, events: usize) {
    let (store, file, done) = (dir.join("logs.db"), dir.join("logs.jsonl"), dir.join("made"));
    if done.exists() {
        return;
    }
    let _ = fs::remove_dir_all(dir);
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
        for first in (0..events).step_by(BATCH) {
            let mut batch = Batch::default();
            for n in first..(first + BATCH).min(events) {
                let time = now - (events - n) as i64 * step;
                batch.events.push_with(|out| event(n, time, out));
                if n % RUN == 0 {
                    batch.runs.push(run(n, time, step));
                }
            }
            for doc in batch.events.iter() {
                let written = lines.write_all(doc).and_then(|()| lines.write_all(b"\n"));
                written.expect("a line");
            }
            sink.write(&Arc::new(batch)).await.expect("written");
        }
        sink.durable_barrier().await.expect("durable");
        sink.close().await;
    });
    lines.flush().expect("flushed");
    fs::write(done, "").expect("a mark");
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "made {events} events in {seconds:.0} s, {:.0} a second",
        events as f64 / seconds
    );
}
