//! What the way of a line costs, step by step, in CPU-seconds per GB of input: splitting, hashing, parsing, encoding.
//!
//! `LOGAGENT_BENCH_FILE` names a file of JSON lines; without it, lines like those of a script with loguru are made up.
//! Time of this thread's CPU is counted, the best of some rounds, so that a busy machine spoils little.

use std::fmt::Write as _;
use std::hint::black_box;

use logagent::config::{Settings, Sources};
use logagent::record::{self, Key, Placed, Record, Rules};
use logagent::source::chain;

const ROUNDS: usize = 7;

fn main() {
    let data = match std::env::var_os("LOGAGENT_BENCH_FILE") {
        Some(path) => std::fs::read(&path).expect("LOGAGENT_BENCH_FILE can be read"),
        None => made_up(20_000),
    };
    let settings = Settings::load(&Sources::default()).expect("the defaults are valid").0;
    let rules = Rules::new(&settings).expect("the defaults are valid");
    let lines: Vec<&[u8]> = split(&data).collect();
    println!("{} lines, {} bytes", lines.len(), data.len());

    measure("split", &data, || split(&data).map(<[u8]>::len).sum());
    measure("hash", &data, || lines.iter().fold(0, |h, l| chain(h, 7, l)) as usize);
    measure("parse", &data, || {
        let extra = |line: &&[u8]| {
            let mut rec = Record::default();
            record::parse_into(&mut rec, line, b"", &rules);
            rec.extra.len()
        };
        lines.iter().map(extra).sum()
    });
    let mut out = Vec::with_capacity(4 << 20);
    measure("parse + encode", &data, || {
        lines.iter().map(|l| document(l, 0, &rules, &mut out)).sum()
    });
    measure("all", &data, || {
        let mut at = 0;
        let each = split(&data).map(|line| {
            at = chain(at, 7, line);
            document(line, at, &rules, &mut out)
        });
        each.sum()
    });
}

fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest.get(..end)?;
        rest = rest.get(end + 1..)?;
        Some(line)
    })
}

/// Parses and encodes one line as the pipeline does; returns the document's size.
fn document(line: &[u8], chain: u128, rules: &Rules, out: &mut Vec<u8>) -> usize {
    if out.len() > 2 << 20 {
        out.clear();
    }
    let mut rec = Record::default();
    record::parse_into(&mut rec, line, b"", rules);
    let key = Key::new(7, 4096, chain, 0);
    let execution_id = rec.bound.execution_id.take().unwrap_or_default();
    let script_name = rec.bound.script_name.take();
    let execution_id = execution_id.plain();
    let script_name = script_name.as_ref().map(|s| s.plain());
    let placed = Placed {
        key: &key,
        time: rec.time.unwrap_or(0),
        execution_id: &execution_id,
        script_name: script_name.as_deref(),
        host: "host-01.example",
        source: r#"{"kind":"file","path":"/srv/logs/app.jsonl","stream":"0123456789abcdef""#,
        offset: 123_456_789,
        seq: 1_795_241_208_871_819,
        ingested_at: "2026-11-21T06:06:48.871819Z",
        whole: 0,
    };
    let start = out.len();
    record::encode(&mut rec, &placed, rules, out);
    out.len() - start
}

/// Runs `work` some times and prints the CPU time of the best run.
fn measure(name: &str, data: &[u8], mut work: impl FnMut() -> usize) {
    let mut best = f64::INFINITY;
    let mut result = 0;
    for _ in 0..ROUNDS {
        let before = cpu_seconds();
        result = black_box(work());
        best = best.min(cpu_seconds() - before);
    }
    let per_gb = best / data.len() as f64 * 1e9;
    println!("{name:16} {per_gb:7.3} CPU-s/GB   ({result})");
}

/// By the C library's call, which instruction counters such as callgrind understand.
fn cpu_seconds() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills in the one structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Lines as loguru writes them with `serialize=True`; every twentieth with a traceback.
fn made_up(count: usize) -> Vec<u8> {
    let mut out = String::new();
    for i in 0..count {
        let words =
            "fetching page parsed document embedding batch retry upstream timeout cache miss ".repeat(1 + i % 2);
        let message = format!("{words}{i}");
        let failed = i % 20 == 0;
        let (trace, exception, level) = if failed {
            (
                r#"Traceback (most recent call last):\n  File \"/srv/app/main.py\", line 117, in <module>\n    main()\n> File \"/srv/app/main.py\", line 51, in work\n    deep(3)\n  File \"/srv/app/deep.py\", line 30, in deep\n    return rows[7]\nIndexError: list index out of range\n"#,
                r#"{"type": "IndexError", "value": "list index out of range", "traceback": true}"#,
                r#"{"icon": "❌", "name": "ERROR", "no": 40}"#,
            )
        } else {
            ("", "null", r#"{"icon": "ℹ️", "name": "INFO", "no": 20}"#)
        };
        let micros = i % 1_000_000;
        let line = format!(
            r#"{{"text": "2026-11-21 06:06:48.871 | INFO     | __main__:emit:57 - {message}\n{trace}", "record": {{"elapsed": {{"repr": "0:00:00.{micros:06}", "seconds": 0.{micros:06}}}, "exception": {exception}, "extra": {{"seq": {i}, "execution_id": "exec_74981e35{i:08x}", "script_name": "edge_builder.py", "tags": ["slow", "retry", "graph"], "payload": {{"request": {{"id": 217026622, "attempt": 3, "ok": true}}, "timing": {{"ms": 152.83, "queue_ms": 2.197}}, "note": "started recall rerank graph document timeout compacted call"}}}}, "file": {{"name": "main.py", "path": "/srv/app/main.py"}}, "function": "emit", "level": {level}, "line": 57, "message": "{message}", "module": "main", "name": "__main__", "process": {{"id": 15016, "name": "MainProcess"}}, "thread": {{"id": 140291260930944, "name": "MainThread"}}, "time": {{"repr": "2026-11-21 06:06:48.{micros:06}+00:00", "timestamp": 1795241208.{micros:06}}}}}}}"#
        );
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{line}");
    }
    out.into_bytes()
}
