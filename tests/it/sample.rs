//! A small history that the tests of the read side ask about: five runs of two scripts on one day.
//!
//! | run | script | what happens |
//! |---|---|---|
//! | `A` | etl | succeeds: 30 events, a response, a silence of two minutes |
//! | `B` | etl | fails with a chained `ValueError` (fingerprint [`BAD_ROW`]) |
//! | `C` | report | two errors: a timeout ([`TIMEOUT`]), fixed afterwards, and a bad row of its own |
//! | `D` | report | the timeout comes back after its fix; ends successfully with a response |
//! | `E` | report | still running |

use std::sync::Arc;

use logagent::record::{Key, format_time};
use logagent::store::{Batch, Fix, RunEnd, RunUpdate, Sink, Status};
use serde_json::{Value, json};

pub const A: &str = "etl_20261110_100000_aaaaaaaa";
pub const B: &str = "etl_20261110_110000_bbbbbbbb";
pub const C: &str = "report_20261110_120000_cccccccc";
pub const D: &str = "report_20261110_130000_dddddddd";
pub const E: &str = "report_20261110_140000_eeeeeeee";
pub const BAD_ROW: &str = "f000000000000001";
pub const TIMEOUT: &str = "f000000000000002";
/// Flags that take in all of it.
pub const DAY: [&str; 4] = ["-S", "2026-11-10T00:00:00Z", "-U", "2026-11-11T00:00:00Z"];

const SECOND: i64 = 1_000_000;
/// 2026-11-10T00:00:00Z.
const MIDNIGHT: i64 = 1_794_268_800 * SECOND;

/// Microseconds of that day.
pub fn at(hour: i64, minute: i64, second: i64) -> i64 {
    MIDNIGHT + ((hour * 60 + minute) * 60 + second) * SECOND
}

/// The key of the `n`th event of a run.
pub fn key(run: &str, n: u64) -> String {
    Key::new(u64::from(run.as_bytes()[run.len() - 1]), n, u128::from(n + 7), 0)
        .as_str()
        .to_owned()
}

/// An event under construction.
pub struct Ev(serde_json::Map<String, Value>);

impl Ev {
    pub fn new(run: &str, n: u64, time: i64, level: (&str, i64), message: &str) -> Ev {
        let script = run.split('_').next().unwrap();
        let doc = json!({
            "_key": key(run, n), "timestamp": format_time(time), "level": level.0, "level_no": level.1,
            "message": message, "execution_id": run, "script_name": script, "host": "web1", "pid": 4711,
            "function_name": "main", "file_path": format!("/srv/{script}.py"), "line_number": 10 + n,
            "seq": time, "ingested_at": format_time(time + SECOND),
            "source": {"kind": "file", "path": format!("/srv/logs/{script}.log"), "stream": run, "offset": n},
        });
        match doc {
            Value::Object(map) => Ev(map),
            _ => unreachable!(),
        }
    }

    pub fn with(mut self, name: &str, value: Value) -> Ev {
        self.0.insert(name.to_owned(), value);
        self
    }

    pub fn put(self, batch: &mut Batch) {
        batch.events.push(Value::Object(self.0).to_string().as_bytes());
    }
}

const INFO: (&str, i64) = ("INFO", 20);
const DEBUG: (&str, i64) = ("DEBUG", 10);
const WARNING: (&str, i64) = ("WARNING", 30);
const ERROR: (&str, i64) = ("ERROR", 40);
const CRITICAL: (&str, i64) = ("CRITICAL", 50);

fn value_error() -> Value {
    json!({
        "type": "ImportError", "value": "import failed",
        "traceback": "Traceback (most recent call last):\n  File \"/srv/etl.py\", line 12, in load\nValueError: bad row",
        "chain": [{"type": "ValueError", "value": "bad row 17"}, {"type": "ImportError", "value": "import failed"}],
    })
}

fn timeout() -> Value {
    json!({"type": "TimeoutError", "value": "database timed out after 30 s", "traceback": "Traceback …",
        "chain": [{"type": "TimeoutError", "value": "database timed out after 30 s"}]})
}

fn run(id: &str, start: i64, last: i64, end: Option<(Status, Option<&str>)>, metadata: Option<Value>) -> RunUpdate {
    RunUpdate {
        execution_id: id.to_owned(),
        script_name: id.split('_').next().unwrap().to_owned(),
        start_time: start,
        start_declared: true,
        last_seen: last,
        pid: Some(4711),
        host: Some("web1".to_owned()),
        parent_execution_id: None,
        metadata: metadata.map(|m| m.to_string()),
        end: end.map(|(status, error)| RunEnd {
            status,
            time: last,
            declared: true,
            error: error.map(str::to_owned),
        }),
    }
}

/// The whole history.
pub fn batch() -> Batch {
    let mut b = Batch::default();
    etl(&mut b);
    report(&mut b);
    learnings(&mut b);
    b
}

fn etl(b: &mut Batch) {
    let t = |m, s| at(10, m, s);
    for n in 0..30u64 {
        // A silence of two minutes after the tenth.
        let time = t(if n < 10 { 0 } else { 2 }, n as i64);
        let level = if n % 3 == 0 { DEBUG } else { INFO };
        let event = Ev::new(A, n, time, level, &format!("processed {n} rows of table {}", n % 2));
        let event = event.with(
            "extra_data",
            json!({"user": n % 4, "ok": n % 2 == 0, "batch": {"size": n}}),
        );
        let tags = if n == 5 {
            json!(["nightly", "import job"])
        } else {
            json!(["nightly"])
        };
        match n {
            29 => event.with("extra_data", json!({"response": {"rows": 30, "ok": true}})),
            _ => event.with("tags", tags),
        }
        .put(b);
    }
    b.runs.push(run(
        A,
        t(0, 0),
        t(2, 29),
        Some((Status::Success, None)),
        Some(json!({"env": "staging", "version": "1.2"})),
    ));
    let t = |s| at(11, 0, s);
    Ev::new(B, 0, t(0), INFO, "starting import of customers").put(b);
    Ev::new(B, 1, t(1), WARNING, "row 17 looks odd").put(b);
    Ev::new(B, 2, t(2), ERROR, "import failed: see exception")
        .with("exception", value_error())
        .with("function_name", json!("load"))
        .with("fingerprint", json!(BAD_ROW))
        .put(b);
    Ev::new(B, 3, t(20), INFO, "cleaning up").put(b);
    let metadata = json!({"env": "production", "version": "1.3"});
    b.runs.push(run(
        B,
        t(0),
        t(20),
        Some((Status::Failed, Some("ValueError: bad row 17"))),
        Some(metadata),
    ));
}

fn report(b: &mut Batch) {
    let t = |s| at(12, 0, s);
    Ev::new(C, 0, t(0), INFO, "querying the database").put(b);
    Ev::new(C, 1, t(30), ERROR, "query 7 failed")
        .with("exception", timeout())
        .with("fingerprint", json!(TIMEOUT))
        .put(b);
    Ev::new(C, 2, t(31), CRITICAL, "bad row in report")
        .with("fingerprint", json!(BAD_ROW))
        .put(b);
    Ev::new(C, 3, t(90), INFO, "raised the pool size to 20")
        .with("event", json!("fix"))
        .put(b);
    b.runs
        .push(run(C, t(0), t(90), Some((Status::Failed, Some("gave up"))), None));
    b.fixes.push(Fix {
        key: key(C, 3),
        time: t(90),
        execution_id: C.to_owned(),
        script_name: Some("report".to_owned()),
        target: Some(key(C, 1)),
        description: "raised the pool size to 20".to_owned(),
        rationale: Some("the pool was exhausted".to_owned()),
    });
    let t = |s| at(13, 0, s);
    Ev::new(D, 0, t(0), INFO, "querying the database").put(b);
    Ev::new(D, 1, t(30), ERROR, "query 9 failed")
        .with("exception", timeout())
        .with("fingerprint", json!(TIMEOUT))
        .put(b);
    Ev::new(D, 2, t(31), INFO, "retrying query 9").put(b);
    Ev::new(D, 3, t(35), INFO, "report done")
        .with("extra_data", json!({"response": {"pages": 12}}))
        .put(b);
    b.runs.push(run(
        D,
        t(0),
        t(35),
        Some((Status::Success, None)),
        Some(json!({"env": "staging", "version": "1.3"})),
    ));
    let t = |s| at(14, 0, s);
    Ev::new(E, 0, t(0), INFO, "querying the database").put(b);
    b.runs.push(run(E, t(0), t(0), None, None));
}

fn learnings(b: &mut Batch) {
    for (n, (text, confidence, id)) in [
        ("the API allows 5 requests a second", 0.9, A),
        ("retry after 30 s helps with timeouts", 0.7, D),
        ("the API allows 5 requests a second", 0.8, C),
    ]
    .into_iter()
    .enumerate()
    {
        let doc = json!({"_key": format!("learning{n}"), "timestamp": format_time(at(15, n as i64, 0)),
            "execution_id": id, "learning": text, "confidence": confidence, "function_name": "fetch",
            "script_name": id.split('_').next(), "tags": ["api"]});
        b.learnings.push(doc.to_string().as_bytes());
    }
}

/// Writes a batch into an embedded store.
pub fn store(path: &std::path::Path, batch: Batch) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = logagent::store::sqlite::SqliteStore::open(path).unwrap();
        store.ensure_schema(false).await.unwrap();
        let report = store.write(&Arc::new(batch)).await.unwrap();
        assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    });
}

/// A directory whose default store holds the history.
pub fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    store(&dir.path().join(".logagent/logs.db"), batch());
    dir
}
