//! How long the reading verbs take on a large embedded store, and how much memory: each question is the real program,
//! run as people run it, beside ripgrep and jq over the same data as files; then `prune` of half of it while an agent
//! writes and readers ask.
//!
//! ```text
//! cargo bench --bench read_verbs -- [EVENTS] [--dir DIR] [--only WORD]    # 1,000,000 unless told otherwise
//! ```
//!
//! The data lies in `DIR/read_verbs_EVENTS` (`target/tmp` by default) and is made once, some 1.4 kB an event; `prune`
//! works on a copy of the store. Times are those of the whole process, start included: median and 95th percentile of
//! the runs after one that warms the page cache. Memory is the largest resident set of any run. `!` marks what misses
//! its target.

#[path = "read_verbs/generate.rs"]
mod generate;
#[path = "read_verbs/pruning.rs"]
mod pruning;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use generate::{RUN, make, run_id};

/// The largest resident set that a verb may have, MiB.
const MEMORY: u64 = 64;

/// What was measured.
struct Figures {
    median: Duration,
    p95: Duration,
    /// MiB.
    memory: u64,
    code: i32,
}

/// Runs a command so many times after once; once only where it is 1. What it prints goes into a file: some programs stop at the first match when
/// nobody reads.
fn time(command: impl Fn() -> Command, runs: usize, sink: &Path) -> Figures {
    let mut times = Vec::new();
    let (mut memory, mut code) = (0, 0);
    let first = usize::from(runs > 1);
    for n in 0..runs + first {
        let started = Instant::now();
        let mut child = command()
            .stdout(File::create(sink).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let mut status = 0;
        // SAFETY: the child is ours and not waited for otherwise; both places live. Only this tells one child's memory.
        unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
        if n >= first {
            times.push(started.elapsed());
        }
        memory = memory.max(usage.ru_maxrss as u64 / 1024);
        code = libc::WEXITSTATUS(status);
        let _ = child.try_wait();
    }
    times.sort();
    Figures {
        median: times[times.len() / 2],
        p95: times[(times.len() * 95).div_ceil(100) - 1],
        memory,
        code,
    }
}

fn ms(d: Duration) -> String {
    format!("{:.1} ms", d.as_secs_f64() * 1e3)
}

/// One question: name, arguments, runs, target of its 95th percentile in milliseconds.
type Ask<'a> = (&'a str, Vec<&'a str>, usize, Option<u64>);

fn questions<'a>(key: &'a str, run: &'a str, failed: &'a str) -> Vec<Ask<'a>> {
    vec![
        ("search, rare word", vec!["search", "quagga"], 20, Some(50)),
        ("search, word in 10 %", vec!["search", "checkpoint"], 10, Some(500)),
        (
            "search, 10 %, by time",
            vec!["search", "checkpoint", "--sort", "time"],
            5,
            None,
        ),
        (
            "search, 10 %, 24 h",
            vec!["search", "checkpoint", "-S", "24h"],
            10,
            None,
        ),
        ("search, newest", vec!["search"], 10, None),
        ("search -s report", vec!["search", "-s", "report"], 10, None),
        ("search -s NOBODY", vec!["search", "-s", "nobody"], 20, Some(20)),
        (
            "errors -s NOBODY",
            vec!["errors", "-s", "nobody", "-S", "30d"],
            20,
            Some(20),
        ),
        ("search -l error", vec!["search", "-l", "error"], 10, None),
        (
            "search FIELD=VALUE, 1 h",
            vec!["search", "extra_data.user=7", "-S", "1h"],
            5,
            None,
        ),
        ("summary", vec!["summary", run], 20, Some(20)),
        ("errors EXECUTION", vec!["errors", failed], 20, Some(20)),
        ("get", vec!["get", key], 20, Some(20)),
        ("get -C 5", vec!["get", key, "-C", "5"], 20, None),
        ("response", vec!["response", "report"], 20, Some(20)),
        ("errors --since 24h", vec!["errors", "--since", "24h"], 10, Some(1000)),
        ("errors --new", vec!["errors", "--new", "--since", "24h"], 5, None),
        ("patterns --since 1h", vec!["patterns", "--since", "1h"], 10, Some(1000)),
        ("patterns --since 24h", vec!["patterns", "--since", "24h"], 3, None),
        ("stats", vec!["stats"], 5, None),
        (
            "stats --by script,level",
            vec!["stats", "--by", "script,level", "-S", "10d"],
            3,
            None,
        ),
        ("runs", vec!["runs"], 10, None),
        ("history", vec!["history"], 5, None),
        ("similar", vec!["similar", "TimeoutError: bad graph"], 5, None),
        ("learnings", vec!["learnings", "rate limit"], 5, None),
        ("graph", vec!["graph", run], 10, None),
        (
            "query",
            vec!["query", "select level, count(*) n from log_events group by level"],
            3,
            None,
        ),
    ]
}

fn verbs(dir: &Path, events: usize, only: &str) {
    let store = format!("sqlite:{}", dir.join("logs.db").display());
    let program = |args: &[&str]| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_logagent"));
        c.args(args)
            .args(["--store", &store])
            .current_dir(dir)
            .env("LOGAGENT_CONFIG", "");
        c
    };
    let found = program(&["search", "-l", "error", "-n", "1", "-o", "json"])
        .output()
        .expect("it runs");
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("an error");
    let key = found["items"][0]["_key"].as_str().expect("a key").to_owned();
    let middle = events / 2;
    let (run, failed) = (run_id(middle), run_id(middle / RUN / 9 * 9 * RUN));
    println!("{:<26} {:>11} {:>11} {:>8} {:>8}", "", "median", "p95", "target", "MiB");
    for (name, args, runs, target) in questions(&key, &run, &failed) {
        if !name.contains(only) {
            continue;
        }
        let f = time(|| program(&args), runs, &dir.join("out"));
        let missed = f.memory > MEMORY || target.is_some_and(|t| f.p95.as_millis() > u128::from(t)) || f.code > 1;
        println!(
            "{name:<26} {:>11} {:>11} {:>8} {:>8}{}",
            ms(f.median),
            ms(f.p95),
            target.map_or(String::new(), |t| t.to_string()),
            f.memory,
            if missed { " !" } else { "" }
        );
    }
}

/// The same questions to the file, with what people take for it.
fn files(dir: &Path, only: &str) {
    let errors = "select(.level==\"ERROR\" and .execution_id==\"report_00000002\")";
    let filters: [(&str, &str, Vec<&str>); 4] = [
        ("rg, rare word", "rg", vec!["-c", "quagga"]),
        ("rg, word in 10 %", "rg", vec!["checkpoint"]),
        ("jq, errors of a run", "jq", vec!["-c", errors]),
        ("grep, rare word", "grep", vec!["-c", "quagga"]),
    ];
    for (name, program, args) in filters {
        if !name.contains(only) {
            continue;
        }
        let there = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        if there.is_err() {
            println!("{name:<26} {program} is not installed");
            continue;
        }
        let command = || {
            let mut c = Command::new(program);
            c.args(&args).arg(dir.join("logs.jsonl"));
            c
        };
        let f = time(command, if program == "jq" { 1 } else { 3 }, &dir.join("out"));
        println!(
            "{name:<26} {:>11} {:>11} {:>8} {:>8}",
            ms(f.median),
            ms(f.p95),
            "",
            f.memory
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| {
        args.iter()
            .position(|a| a == flag)
            .and_then(|i| args.get(i + 1))
            .cloned()
    };
    let events = args.iter().find_map(|a| a.parse().ok()).unwrap_or(1_000_000);
    let base = value("--dir").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let only = value("--only").unwrap_or_default();
    let dir = base.join(format!("read_verbs_{events}"));
    make(&dir, events);
    verbs(&dir, events, &only);
    files(&dir, &only);
    if "prune".contains(&only) {
        pruning::run(&dir, events);
    }
}
