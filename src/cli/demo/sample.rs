//! The story that the demo tells, as the lines that loguru would have written.
//!
//! A nightly import works; the next night an order has no user and it fails; it is mended, which its log says, and
//! works again; a report tries its upload twice, and writes down what was learnt. Times lie in the last hour, so that
//! every verb sees them.

use std::fmt::Write as _;

use chrono::{DateTime, Duration, Utc};
use serde_json::json;

/// What one log file of the demo holds.
pub(super) struct LogFile {
    pub(super) name: &'static str,
    pub(super) lines: Vec<String>,
}

/// A process that logs: everything that its lines share.
struct Process {
    script: &'static str,
    pid: u32,
    start: DateTime<Utc>,
    lines: Vec<String>,
}

/// Level names with loguru's numbers and icons.
const LEVELS: [(&str, u32, &str); 6] = [
    ("DEBUG", 10, "🐞"),
    ("INFO", 20, "ℹ️"),
    ("SUCCESS", 25, "✅"),
    ("WARNING", 30, "⚠️"),
    ("ERROR", 40, "❌"),
    ("CRITICAL", 50, "☠️"),
];

/// Where in a script a line was written.
type At = (&'static str, u32);

impl Process {
    fn start(script: &'static str, pid: u32, start: DateTime<Utc>) -> Process {
        Process {
            script,
            pid,
            start,
            lines: Vec::new(),
        }
    }

    fn log(&mut self, millis: i64, level: &str, at: At, message: &str, extra: serde_json::Value) {
        self.write(millis, level, at, message, extra, None);
    }

    /// One line as `logger.add(…, serialize=True)` writes it.
    fn write(
        &mut self,
        millis: i64,
        level: &str,
        (function, line): At,
        message: &str,
        extra: serde_json::Value,
        exception: Option<(&str, &str, &str)>,
    ) {
        let (name, no, icon) = LEVELS.iter().find(|(n, ..)| *n == level).unwrap_or(&LEVELS[1]);
        let elapsed = Duration::milliseconds(millis) + Duration::microseconds(8213);
        let time = self.start + elapsed;
        let script = self.script;
        let mut text = format!(
            "{} | {name:<8} | __main__:{function}:{line} - {message}\n",
            time.format("%Y-%m-%d %H:%M:%S%.3f")
        );
        if let Some((_, _, traceback)) = exception {
            let _ = writeln!(text, "{traceback}");
        }
        let exception = exception.map(|(kind, value, _)| json!({"type": kind, "value": value, "traceback": true}));
        let seconds = elapsed.as_seconds_f64();
        let record = json!({
            "elapsed": {"repr": format!("0:00:{seconds:09.6}"), "seconds": seconds},
            "exception": exception,
            "extra": extra,
            "file": {"name": format!("{script}.py"), "path": format!("/srv/jobs/{script}.py")},
            "function": function,
            "level": {"icon": icon, "name": name, "no": no},
            "line": line,
            "message": message,
            "module": script,
            "name": "__main__",
            "process": {"id": self.pid, "name": "MainProcess"},
            "thread": {"id": 140_493_260_737_408_u64, "name": "MainThread"},
            "time": {
                "repr": time.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string(),
                "timestamp": time.timestamp_micros() as f64 / 1e6,
            },
        });
        self.lines.push(json!({"text": text, "record": record}).to_string());
    }
}

/// All files of the demo. `pid` is one that no running process has for long: the runs say themselves how they end.
pub(super) fn files(now: DateTime<Utc>, pid: u32) -> Vec<LogFile> {
    let ago = |minutes: i64| now - Duration::minutes(minutes);
    let mut etl = night_that_works(ago(50), pid);
    etl.extend(night_that_fails(ago(35), pid));
    etl.extend(night_after_the_fix(ago(20), pid));
    vec![
        LogFile {
            name: "etl.jsonl",
            lines: etl,
        },
        LogFile {
            name: "report.jsonl",
            lines: report(ago(5), pid),
        },
    ]
}

fn begin(p: &mut Process, version: &str) {
    let metadata = json!({"event": "run_start", "metadata": {"env": "demo", "version": version}});
    p.log(0, "INFO", ("main", 12), "import started", metadata);
    let source = json!({"tags": ["nightly"], "source": "https://api.example/v2/orders"});
    p.log(140, "DEBUG", ("fetch", 31), "asking for orders since yesterday", source);
}

fn rows(p: &mut Process, n: i64, from: i64) {
    for i in 0..n {
        let message = format!(
            "order {} of user {} read in {} ms",
            4711 + i,
            7 + i % 3,
            18 + i * 7 % 31
        );
        let extra = json!({"order": 4711 + i, "user": 7 + i % 3});
        p.log(from + i * 420, "INFO", ("load", 48), &message, extra);
    }
}

fn night_that_works(start: DateTime<Utc>, pid: u32) -> Vec<String> {
    let mut p = Process::start("etl", pid, start);
    begin(&mut p, "1.4");
    rows(&mut p, 6, 600);
    let slow = json!({"seconds": 1.9});
    p.log(
        4_300,
        "WARNING",
        ("store", 66),
        "database answered slowly (1.9 s)",
        slow,
    );
    p.log(
        5_200,
        "SUCCESS",
        ("main", 20),
        "6 orders imported",
        json!({"event": "run_end", "status": "success"}),
    );
    p.lines
}

const TRACEBACK: &str = "Traceback (most recent call last):

  File \"/srv/jobs/etl.py\", line 52, in load
    user = users[order[\"user\"]]
           └ {7: 'ada', 8: 'grace', 9: 'alan'}

KeyError: None

The above exception was the direct cause of the following exception:

Traceback (most recent call last):

  File \"/srv/jobs/etl.py\", line 17, in main
    load(orders)
    └ <function load at 0x7fc6>

> File \"/srv/jobs/etl.py\", line 54, in load
    raise ImportFailed(f\"order {order['id']} has no user\") from e

ImportFailed: order 4714 has no user
";

const REFUSED: &str = "Traceback (most recent call last):

> File \"/srv/jobs/report.py\", line 36, in upload
    connection.request(\"PUT\", path, body)

ConnectionRefusedError: [Errno 111] Connection refused
";

fn night_that_fails(start: DateTime<Utc>, pid: u32) -> Vec<String> {
    let mut p = Process::start("etl", pid + 1, start);
    begin(&mut p, "1.4");
    rows(&mut p, 3, 600);
    let warned = json!({"order": 4714, "user": null});
    p.log(1_900, "WARNING", ("load", 50), "order 4714 names no user", warned);
    let exception = ("ImportFailed", "order 4714 has no user", TRACEBACK);
    p.write(
        1_950,
        "ERROR",
        ("main", 24),
        "import failed",
        json!({"order": 4714}),
        Some(exception),
    );
    let end = json!({"event": "run_end", "status": "failed", "error": "ImportFailed: order 4714 has no user"});
    p.log(2_000, "INFO", ("main", 26), "stopped", end);
    p.lines
}

fn night_after_the_fix(start: DateTime<Utc>, pid: u32) -> Vec<String> {
    let mut p = Process::start("etl", pid + 2, start);
    begin(&mut p, "1.5");
    let fix = json!({
        "event": "fix",
        "fixes": "ImportFailed",
        "rationale": "the old API lets guests order; they have no user",
    });
    p.log(
        300,
        "INFO",
        ("main", 15),
        "orders without a user go to the guest account",
        fix,
    );
    rows(&mut p, 8, 600);
    p.log(
        4_400,
        "SUCCESS",
        ("main", 20),
        "8 orders imported",
        json!({"event": "run_end", "status": "success"}),
    );
    p.lines
}

fn report(start: DateTime<Utc>, pid: u32) -> Vec<String> {
    let mut p = Process::start("report", pid + 3, start);
    let metadata = json!({"event": "run_start", "metadata": {"env": "demo"}});
    p.log(0, "INFO", ("main", 9), "report started", metadata);
    let login = json!({"url": "https://svc:hunter2@reports.example/upload"});
    p.log(90, "DEBUG", ("upload", 33), "uploading", login);
    let refused = ("ConnectionRefusedError", "[Errno 111] Connection refused", REFUSED);
    p.write(
        300,
        "ERROR",
        ("upload", 38),
        "upload failed",
        json!({"attempt": 1}),
        Some(refused),
    );
    p.log(
        500,
        "INFO",
        ("upload", 41),
        "retrying the upload",
        json!({"attempt": 2}),
    );
    let learning = json!({
        "event": "learning",
        "function_name": "load",
        "confidence": 0.9,
        "context": {"orders": 14, "guests": 1},
    });
    p.log(
        700,
        "INFO",
        ("main", 21),
        "orders without a user come from the old API",
        learning,
    );
    p.log(
        800,
        "INFO",
        ("main", 22),
        "result",
        json!({"response": {"orders": 14, "guests": 1}}),
    );
    p.log(
        900,
        "SUCCESS",
        ("main", 23),
        "report done",
        json!({"event": "run_end", "status": "success"}),
    );
    p.lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_story_is_valid_and_lies_in_the_past() {
        let now = Utc::now();
        let files = files(now, 1000);
        assert_eq!(files.len(), 2);
        for line in files.iter().flat_map(|f| &f.lines) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let time = value["record"]["time"]["repr"].as_str().unwrap();
            let time = DateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f%:z").unwrap();
            assert!(time < now, "{line}");
        }
    }

    #[test]
    fn a_run_has_one_start_instant() {
        for line in report(Utc::now(), 1) {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            let seconds = value["record"]["elapsed"]["seconds"].as_f64().unwrap();
            assert_eq!(value["record"]["elapsed"]["repr"], format!("0:00:{seconds:09.6}"));
        }
    }
}
