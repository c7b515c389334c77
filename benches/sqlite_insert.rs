//! How fast events become rows of the embedded store, beside two rulers: a bare loop that inserts the same finished
//! rows into the same schema, and Python's `executemany` into a plain table (`sqlite_insert.py`).
//!
//! ```text
//! cargo bench --bench sqlite_insert -- [EVENTS] [EVENTS_PER_EXECUTION]
//! ```
//!
//! Each way runs in a process of its own, so that CPU time and peak memory are its own. Rates are events a second; the
//! machine may be shared, so the rate by CPU time stands beside the rate by the clock.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use logagent::record::{Key, format_time};
use logagent::store::search::PruneAsk;
use logagent::store::sqlite::rows::{self, Cell};
use logagent::store::sqlite::schema::{DERIVED_COLUMNS, EVENT_COLUMNS, TEXT_COLUMNS};
use logagent::store::sqlite::{SqliteStore, connect, prune};
use logagent::store::{Batch, Sink};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

const BATCH: usize = 2000;
const WORDS: [&str; 24] = [
    "fetching",
    "page",
    "parsed",
    "document",
    "embedding",
    "batch",
    "retry",
    "upstream",
    "timeout",
    "cache",
    "miss",
    "hit",
    "model",
    "response",
    "tokens",
    "tool",
    "call",
    "finished",
    "started",
    "queue",
    "worker",
    "graph",
    "edge",
    "vertex",
];
const SCRIPTS: [&str; 5] = [
    "agent_runner",
    "ingest_docs",
    "memory_recall",
    "edge_builder",
    "report_maker",
];

/// Time of the first event, and from one to the next.
const FIRST: i64 = 1_795_227_624_054_432;
const APART: i64 = 1337;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.first().map(String::as_str) {
        Some(way @ ("store" | "bare" | "docs" | "prune")) => one(way, number(&args, 1, 200_000), number(&args, 2, 1)),
        _ => all(number(&args, 0, 200_000), number(&args, 1, 1)),
    }
}

fn number(args: &[String], at: usize, default: usize) -> usize {
    args.get(at).and_then(|a| a.parse().ok()).unwrap_or(default)
}

/// Runs each way in a process of its own.
fn all(events: usize, per_execution: usize) {
    let me = std::env::current_exe().expect("own path");
    let dir = tempfile::tempdir().expect("scratch directory");
    let (n, per) = (events.to_string(), per_execution.to_string());
    println!("{events} events, {per_execution} to an execution, batches of {BATCH}");
    for way in ["bare", "store", "bare", "store", "prune"] {
        let status = Command::new(&me).args([way, &n, &per]).current_dir(dir.path()).status();
        assert!(status.expect("start").success(), "{way} failed");
    }
    let docs = dir.path().join("docs.jsonl");
    let out = std::fs::File::create(&docs).expect("file of documents");
    let written = Command::new(&me).args(["docs", &n, &per]).stdout(out).status();
    assert!(written.expect("start").success(), "docs failed");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sqlite_insert.py");
    match Command::new("python3")
        .arg(script)
        .arg(&docs)
        .current_dir(dir.path())
        .status()
    {
        Ok(status) if status.success() => {}
        other => println!("python3 gave no figure: {other:?}"),
    }
}

fn one(way: &str, events: usize, per_execution: usize) {
    let mut source = Source::new(per_execution);
    if way == "docs" {
        use std::io::Write;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for _ in 0..events {
            out.write_all(&source.doc())
                .and_then(|()| out.write_all(b"\n"))
                .expect("write");
        }
        return;
    }
    let path = Path::new("bench.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("bench.db{suffix}"));
    }
    // Made in advance, a few batches at a time, so that neither its CPU nor its memory counts for much.
    let (mut cpu, mut wall) = (0.0, 0.0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let store = SqliteStore::open(path).expect("store");
    runtime.block_on(store.ensure_schema(false)).expect("schema");
    let mut loop_ = (way == "bare").then(|| BareLoop::open(path));
    let mut left = events;
    while left > 0 {
        let batches: Vec<Arc<Batch>> = (0..2)
            .map_while(|_| {
                let n = left.min(BATCH);
                left -= n;
                (n > 0).then(|| {
                    let mut batch = Batch::default();
                    (0..n).for_each(|_| batch.events.push(&source.doc()));
                    Arc::new(batch)
                })
            })
            .collect();
        let rows = loop_
            .is_some()
            .then(|| batches.iter().map(|b| finished(b)).collect::<Vec<_>>());
        let (c, w) = (cpu_seconds(), Instant::now());
        match (&mut loop_, rows) {
            (Some(l), Some(rows)) => rows.iter().for_each(|r| l.insert(r)),
            _ => batches.iter().for_each(|b| {
                assert_eq!(runtime.block_on(store.write(b)).expect("write").rejected, []);
            }),
        }
        cpu += cpu_seconds() - c;
        wall += w.elapsed().as_secs_f64();
    }
    let n = events as f64;
    if way == "prune" {
        return halve(&runtime, &store, path, n);
    }
    println!(
        "{way:6} {:8.0} events/s of CPU  {:8.0} events/s by the clock  {:5.0} B/event  peak RSS {} KiB",
        n / cpu,
        n / wall,
        std::fs::metadata(path).map_or(0, |m| m.len()) as f64 / n,
        peak_rss()
    );
}

/// Deletes the older half while the agent's handle goes on writing and a reader counts.
fn halve(runtime: &tokio::runtime::Runtime, store: &SqliteStore, path: &Path, n: f64) {
    let ask = PruneAsk {
        before: Some(FIRST + 2_000_000 + (n / 2.0) as i64 * APART),
        ..PruneAsk::default()
    };
    let reader = Connection::open(path).expect("reader");
    let (mut written, mut slowest) = (0, 0.0_f64);
    let (c, w) = (cpu_seconds(), Instant::now());
    let done = prune::run(path, &ask, &mut |_| {
        let mut batch = Batch::default();
        batch.events.push(
            format!(r#"{{"_key":"live{written}","timestamp":"z","level":"INFO","message":"m","execution_id":"e"}}"#)
                .as_bytes(),
        );
        let begun = Instant::now();
        runtime.block_on(store.write(&Arc::new(batch))).expect("write");
        slowest = slowest.max(begun.elapsed().as_secs_f64());
        written += 1;
        let newest: i64 = reader
            .query_row("SELECT max(id) FROM log_events", [], |r| r.get(0))
            .expect("read");
        assert!(newest > 0);
    })
    .expect("prune");
    let (c, w) = (cpu_seconds() - c, w.elapsed().as_secs_f64());
    let gone = done.events as f64;
    println!(
        "prune  {:8.0} events/s of CPU  {:8.0} events/s by the clock  {gone} gone, {written} written meanwhile (slowest \
         {:.0} ms), {:.0} B/event left",
        gone / c,
        gone / w,
        slowest * 1e3,
        std::fs::metadata(path).map_or(0, |m| m.len()) as f64 / (n - gone),
    );
}

/// The ruler: a bare loop over finished rows, without documents, threads or answers. Same schema, same settings of the
/// connection, same full text.
struct BareLoop {
    db: Connection,
    sql: String,
    text: String,
    next: i64,
}

/// The batch's events as finished rows.
fn finished(batch: &Batch) -> Vec<Vec<Value>> {
    let mut row = rows::empty_row();
    let owned = |cell: &Cell<'_>| match cell {
        Cell::Null => Value::Null,
        Cell::Integer(i) => Value::Integer(*i),
        Cell::Real(f) => Value::Real(*f),
        Cell::Text(t) => Value::Text(t.clone().into_owned()),
    };
    let mut out = Vec::with_capacity(batch.events.len());
    for doc in batch.events.iter() {
        rows::split(doc, &mut row).expect("a document");
        out.push(row.iter().map(owned).collect());
    }
    out
}

impl BareLoop {
    fn open(path: &Path) -> BareLoop {
        let db = connect::open(path).expect("open");
        db.pragma_update(None, "wal_autocheckpoint", 4096).expect("pragma");
        let names: Vec<&str> = EVENT_COLUMNS.iter().chain(&DERIVED_COLUMNS).copied().collect();
        let marks = vec!["?"; names.len()].join(",");
        BareLoop {
            db,
            sql: format!(
                "INSERT INTO log_events ({}) VALUES ({marks}) ON CONFLICT (_key) DO NOTHING",
                names.join(",")
            ),
            text: format!(
                "INSERT INTO log_events_fts (rowid, {TEXT_COLUMNS}) SELECT id, {TEXT_COLUMNS} FROM log_events \
                 WHERE id > ?1"
            ),
            next: 0,
        }
    }

    fn insert(&mut self, rows: &[Vec<Value>]) {
        self.db.execute_batch("BEGIN IMMEDIATE").expect("begin");
        let mut insert = self.db.prepare_cached(&self.sql).expect("statement");
        for row in rows {
            insert.execute(params_from_iter(row)).expect("insert");
        }
        drop(insert);
        let mut text = self.db.prepare_cached(&self.text).expect("statement");
        text.execute([self.next]).expect("full text");
        drop(text);
        self.next += rows.len() as i64;
        self.db.execute_batch("COMMIT").expect("commit");
    }
}

/// User and system time of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let mut total: f64 = 0.0;
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_else(|_| stat.clone());
        total += text
            .split(' ')
            .next()
            .and_then(|t| t.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1e9;
    }
    total
}

fn peak_rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("?");
    line.trim().trim_end_matches(" kB").to_owned()
}

/// Events like those of scripts and agents: a tenth errors, half of these with a traceback, payloads of some 200 bytes.
struct Source {
    state: u64,
    n: u64,
    per_execution: u64,
    execution: u64,
}

impl Source {
    fn new(per_execution: usize) -> Source {
        Source {
            state: 0x9E37_79B9_7F4A_7C15,
            n: 0,
            per_execution: per_execution.max(1) as u64,
            execution: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn words(&mut self, low: u64, high: u64) -> String {
        let n = low + self.below(high - low + 1);
        (0..n)
            .map(|_| WORDS[self.below(24) as usize])
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn doc(&mut self) -> Vec<u8> {
        if self.n.is_multiple_of(self.per_execution) {
            self.execution = self.next();
        }
        self.n += 1;
        let n = self.n;
        let chain = self.next();
        let key = Key::new(0x3_1234_5678_9abc, n * 1000, u128::from(chain), 0);
        let micros = FIRST + (n as i64) * APART;
        let kind = self.below(100);
        let (level, no) = match kind {
            0..10 => ("ERROR", 40),
            10..20 => ("WARNING", 30),
            20..45 => ("DEBUG", 10),
            45..50 => ("SUCCESS", 25),
            _ => ("INFO", 20),
        };
        let script = SCRIPTS[self.below(5) as usize];
        let (message, note) = (self.words(4, 30), self.words(2, 12));
        let (id, ms) = (self.below(1_000_000_000), self.below(100_000));
        let exception = if kind < 5 {
            let frames =
                "  File \\\"/srv/bench/gen.py\\\", line 38, in deep\\n    return deep(rng, n - 1)\\n".repeat(4);
            format!(
                r#","exception":{{"type":"KeyError","value":"'key'","traceback":"Traceback (most recent call last):\n{frames}","chain":[{{"type":"KeyError","value":"'key'"}}]}}"#
            )
        } else {
            String::new()
        };
        let fingerprint = if no >= 40 {
            format!(r#","fingerprint":"{:016x}""#, self.below(500))
        } else {
            String::new()
        };
        format!(
            r#"{{"_key":"{}","timestamp":"{}","level":"{level}","level_no":{no},"message":"{message}","execution_id":"exec_{:012x}","script_name":"{script}","function_name":"deep","file_path":"/srv/bench/gen.py","line_number":58,"module":"gen","logger":"__main__","pid":4242,"process_name":"MainProcess","thread_id":140493260737408,"thread_name":"MainThread","host":"bench"{exception},"extra_data":{{"seq":{n},"payload":{{"request":{{"id":{id},"attempt":1,"ok":true}},"timing":{{"ms":{}.{},"queue_ms":1.25}},"note":"{note}"}}}},"tags":["agent","{}"]{fingerprint},"source":{{"kind":"file","path":"/srv/logs/app.jsonl","stream":"7f3a9c01d2e4b586","offset":{}}},"seq":{micros},"ingested_at":"{}"}}"#,
            key.as_str(),
            format_time(micros),
            self.execution & 0xffff_ffff_ffff,
            ms / 100,
            ms % 100,
            WORDS[(kind % 24) as usize],
            n * 1000,
            format_time(micros + 2_000_000),
        )
        .into_bytes()
    }
}
