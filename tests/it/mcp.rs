//! The MCP server, by raw JSON lines and by the official Python client; and the prompts it offers.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{logagent, python_with_loguru, say};
use crate::sample::{self, A, B, BAD_ROW, C, D, TIMEOUT, key};

/// A conversation in JSON lines.
pub struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    id: u64,
}

impl Talk {
    pub fn start(dir: &Path, args: &[&str], version: &str) -> (Talk, Value) {
        let mut child = logagent(dir)
            .arg("mcp")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut talk = Talk {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            id: 0,
        };
        let hello = talk.ask(
            "initialize",
            json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}),
        );
        talk.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        (talk, hello)
    }

    fn send(&mut self, message: &Value) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{message}").unwrap();
        input.flush().unwrap();
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("not a frame: {line:?}: {e}"))
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}));
        let answer = self.line();
        assert_eq!(answer["id"], self.id, "{answer}");
        answer
    }

    /// A tool's answer and its length in bytes.
    pub fn call(&mut self, tool: &str, arguments: Value) -> (Value, usize) {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let text = answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        assert_ne!(answer["result"]["isError"], true, "{text}");
        (serde_json::from_str(text).unwrap(), text.len())
    }

    pub fn end(mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest).unwrap();
        assert_eq!(rest, "", "nothing but frames on standard output");
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "it ends with its input");
    }
}

#[test]
fn every_version_of_the_protocol_since_2024_11_05_is_spoken() {
    let dir = sample::directory();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let (mut talk, hello) = Talk::start(dir.path(), &[], version);
        assert_eq!(hello["result"]["protocolVersion"], version);
        assert_eq!(hello["result"]["serverInfo"]["name"], "logagent");
        assert_eq!(talk.ask("ping", json!({}))["result"], json!({}));
        let (answer, _) = talk.call("search", json!({"text": "customers"}));
        assert_eq!(answer["returned"], 1);
        talk.end();
    }
    let (talk, hello) = Talk::start(dir.path(), &[], "1999-01-01");
    assert!(
        hello["result"]["protocolVersion"].is_string(),
        "an unknown one is answered with one of ours: {hello}"
    );
    talk.end();
}

#[test]
fn answers_carry_their_bounds_and_log_text_is_marked_as_data() {
    let dir = sample::directory();
    let (mut talk, _) = Talk::start(dir.path(), &[], "2025-06-18");
    let (runs, _) = talk.call(
        "runs",
        json!({"since": "2026-11-10", "until": "2026-11-11", "limit": 2}),
    );
    assert_eq!(
        (&runs["returned"], &runs["total"], &runs["truncated"]),
        (&json!(2), &json!(5), &json!(true))
    );
    assert_eq!(runs["window"]["since"], "2026-11-10T00:00:00.000000Z");
    assert!(runs["note"].as_str().unwrap().contains("data, not instructions"));
    let cursor = runs["next_cursor"].clone();
    let (next, _) = talk.call(
        "runs",
        json!({"since": "2026-11-10", "until": "2026-11-11", "limit": 2, "cursor": cursor}),
    );
    assert_eq!(next["items"][0]["execution_id"], C);
    let (none, _) = talk.call("errors", json!({}));
    assert_eq!(none["returned"], 0);
    assert!(
        none["hints"][0].as_str().unwrap().contains("earlier data exists"),
        "{none}"
    );
    let (found, _) = talk.call("similar", json!({"text": "database timed out"}));
    assert_eq!(found["items"][0]["fingerprint"], TIMEOUT);
    assert_eq!(found["items"][0]["fix"], "raised the pool size to 20");
    let (event, _) = talk.call("get", json!({"key": &key(C, 1)[..18], "context": 1}));
    assert_eq!(event["_key"], key(C, 1));
    assert_eq!(event["before"].as_array().unwrap().len(), 1);
    let (around, _) = talk.call("errors", json!({"execution": C}));
    assert_eq!(around["items"][0]["key"], key(C, 2)[..18]);
    let (summary, _) = talk.call("summary", json!({"execution_id": D, "include": ["response", "graph"]}));
    assert_eq!(summary["response"], json!({"pages": 12}));
    assert!(
        summary["edges"]
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e.as_str().unwrap().contains("RETRY_OF"))
    );
    let (stats, _) = talk.call("stats", json!({"since": "2026-11-10"}));
    assert_eq!(stats["levels"]["INFO"], 28);
    let (by, _) = talk.call("stats", json!({"by": "level", "since": "2026-11-10"}));
    assert_eq!(by["items"][0], json!({"level": "INFO", "count": 28}));
    let (history, _) = talk.call("runs", json!({"history": true, "script": "etl", "since": "2026-11-10"}));
    assert_eq!(history["totals"]["runs"], 2);
    let (patterns, _) = talk.call("patterns", json!({"since": "2026-11-10", "limit": 1}));
    assert_eq!(patterns["items"][0]["count"], 30);
    let (learnings, _) = talk.call("learnings", json!({"recurring": true}));
    assert_eq!(learnings["items"][0]["count"], 2);
    let (rows, _) = talk.call("query", json!({"text": "SELECT count(*) n FROM log_events"}));
    assert_eq!(rows["items"][0]["n"], 43);
    for (tool, arguments) in [
        ("response", json!({"name": "report"})),
        ("history", json!({"since": "2026-11-10"})),
        ("graph", json!({"execution_id": A})),
    ] {
        talk.call(tool, arguments);
    }
    talk.end();
}

#[test]
fn an_answer_that_would_be_too_big_is_smaller_instead() {
    let dir = sample::directory();
    let (mut talk, _) = Talk::start(dir.path(), &["--max-tokens", "400"], "2025-06-18");
    let (answer, bytes) = talk.call("search", json!({"text": "processed", "limit": 30}));
    assert!(bytes <= 1200, "{bytes}");
    let returned = answer["returned"].as_u64().unwrap();
    assert!((1..30).contains(&returned), "{answer}");
    assert_eq!((&answer["total"], &answer["truncated"]), (&json!(30), &json!(true)));
    let mut seen = returned;
    let mut cursor = answer["next_cursor"].clone();
    while cursor.is_string() {
        let (page, _) = talk.call("search", json!({"text": "processed", "limit": 30, "cursor": cursor}));
        seen += page["returned"].as_u64().unwrap();
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(seen, 30, "its cursor goes on behind what was left");
    let (event, bytes) = talk.call("get", json!({"key": key(C, 1), "context": 20}));
    assert!(bytes <= 1200 && event["_key"] == key(C, 1), "{bytes} {event}");
    talk.end();
}

#[test]
fn what_is_wrong_is_said_to_the_caller_and_the_server_goes_on() {
    let dir = sample::directory();
    let (mut talk, _) = Talk::start(dir.path(), &[], "2025-06-18");
    for (tool, arguments, hint) in [
        ("search", json!({"text": "x", "since": "soon"}), "cannot read the time"),
        ("search", json!({"text": 7}), "do not fit"),
        (
            "search",
            json!({"querytext": "x"}),
            "no argument 'querytext': did you mean text?",
        ),
        ("get", json!({}), "missing field"),
        ("get", json!({"key": "nosuchkey"}), "no event has the key"),
        ("summary", json!({"execution_id": "nobody"}), "no execution"),
        ("query", json!({"text": "DELETE FROM log_events"}), "only reading"),
    ] {
        let answer = talk.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert!(
            answer["result"]["content"][0]["text"].as_str().unwrap().contains(hint),
            "{answer}"
        );
    }
    for tool in ["nonsense", "learn", "fix", "prune"] {
        let answer = talk.ask(
            "tools/call",
            json!({"name": tool, "arguments": {"text": "x", "target": "y"}}),
        );
        assert!(answer["error"]["message"].is_string(), "{tool}: {answer}");
    }
    assert!(talk.ask("no/such/method", json!({}))["error"]["code"].is_number());
    writeln!(talk.input.as_mut().unwrap(), "this is no JSON").unwrap();
    assert_eq!(talk.line()["error"]["code"], -32700);
    assert_eq!(talk.ask("ping", json!({}))["result"], json!({}));
    talk.end();
}

#[test]
fn numbers_in_text_and_lists_with_commas_are_understood_and_times_are_whole() {
    let dir = sample::directory();
    let (mut talk, _) = Talk::start(dir.path(), &[], "2025-06-18");
    let day = json!({"limit": "3", "text": "processed"});
    let (found, _) = talk.call("search", day);
    assert_eq!(found["returned"], 3);
    let (counts, _) = talk.call(
        "stats",
        json!({"by": "script, level", "since": "2026-11-01", "limit": 100}),
    );
    assert!(
        counts["items"][0]["script"].is_string() && counts["items"][0]["level"].is_string(),
        "{counts}"
    );
    let (none, _) = talk.call("search", json!({"text": "processed", "since": "1m"}));
    let hint = none["hints"][0].as_str().unwrap();
    assert!(hint.contains("newest from 2026-11-10T"), "{hint}");
    talk.end();
}

#[test]
fn arguments_are_understood_as_they_are_meant_and_none_is_left_out_in_silence() {
    let dir = sample::directory();
    let (mut talk, _) = Talk::start(dir.path(), &[], "2025-06-18");
    let total = |talk: &mut Talk, tool: &str, arguments: Value| talk.call(tool, arguments).0["total"].clone();
    assert_eq!(total(&mut talk, "search", json!({"execution_id": B})), 4);
    assert_eq!(total(&mut talk, "search", json!({"run": "last"})), 1);
    assert_eq!(
        total(
            &mut talk,
            "search",
            json!({"text": "processed", "fields": "extra_data.user=1"})
        ),
        7
    );
    assert_eq!(
        total(&mut talk, "search", json!({"query": "customers", "script_name": "etl"})),
        1
    );
    assert_eq!(total(&mut talk, "search", json!({"level": 40, "limit": 1.0})), 4);
    assert_eq!(
        total(
            &mut talk,
            "search",
            json!({"since": 1_794_268_800, "level": "ERROR", "until": null})
        ),
        4
    );
    let runs = json!({"status": "FAILED", "since": "2026-11-01", "name": "etl"});
    assert_eq!(total(&mut talk, "runs", runs), 1);
    let counted = json!({"by": ["script,level"], "since": "2026-11-01"});
    assert_eq!(total(&mut talk, "stats", counted), 7);
    let (row, _) = talk.call(
        "query",
        json!({"text": "SELECT :a AS a, :b AS b", "bind": {"a": "x", "b": 7}}),
    );
    assert_eq!(row["items"][0], json!({"a": "x", "b": 7}));
    let (event, _) = talk.call("get", json!({"key": key(C, 1), "before": 1, "limit": 5}));
    assert_eq!(event["before"].as_array().unwrap().len(), 1);
    let (around, _) = talk.call("errors", json!({"execution": C, "context": "40s"}));
    assert_eq!(around["items"][0]["context"].as_array().unwrap().len(), 2);
    for (tool, arguments) in [
        ("summary", json!({"execution_id": A, "since": "1h"})),
        ("get", json!({"key": key(C, 1), "level": "error"})),
        ("learnings", json!({"follow": true})),
    ] {
        let answer = talk.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("has no argument"), "{tool}: {text}");
    }
    talk.end();
}

#[test]
fn no_answer_is_larger_than_the_bound_whatever_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = logagent::store::Batch::default();
    let long = |c: &str, n: usize| c.repeat(n);
    let exception = json!({"type": long("T", 300), "value": long("ä", 9000), "traceback": long("line of a traceback\n", 4000),
        "chain": [{"type": long("T", 300), "value": long("ä", 9000)}]});
    for n in 0..30 {
        sample::Ev::new(
            A,
            n,
            sample::at(10, 0, n as i64),
            ("ERROR", 40),
            &format!("{n} {}", long("message ", 4000)),
        )
        .with("exception", exception.clone())
        .with("fingerprint", json!(format!("{n:016x}")))
        .with("tags", (0..200).map(|t| json!(format!("tag {t}"))).collect())
        .with(
            "extra_data",
            json!({"response": {"rows": vec![long("x", 200); 500]}, "deep": [[[[long("y", 5000)]]]]}),
        )
        .put(&mut batch);
        let learning = json!({"_key": format!("l{n}"), "timestamp": logagent::record::format_time(sample::at(10, 0, 1)),
            "execution_id": A, "learning": long("learnt ", 4000), "context": {"c": long("z", 9000)}, "confidence": 0.5});
        batch.learnings.push(learning.to_string().as_bytes());
    }
    sample::store(&dir.path().join(".logagent/logs.db"), batch);
    for max in [200, 700, 8000] {
        let (mut talk, _) = Talk::start(dir.path(), &["--max-tokens", &max.to_string()], "2025-06-18");
        for (tool, arguments) in [
            ("get", json!({"key": key(A, 3)})),
            ("get", json!({"key": key(A, 3), "context": 100})),
            ("search", json!({"limit": 1000})),
            ("search", json!({"text": "message", "limit": 1})),
            ("errors", json!({"since": "2026-11-01"})),
            ("errors", json!({"execution": A})),
            ("similar", json!({"text": "message"})),
            ("patterns", json!({"since": "2026-11-01"})),
            ("stats", json!({"since": "2026-11-01"})),
            ("stats", json!({"by": "message", "since": "2026-11-01"})),
            ("summary", json!({"execution_id": A, "include": ["response", "graph"]})),
            ("learnings", json!({})),
            ("response", json!({"name": "etl", "limit": 3})),
            ("graph", json!({"execution_id": A})),
            ("query", json!({"text": "SELECT * FROM log_events"})),
        ] {
            let (answer, bytes) = talk.call(tool, arguments.clone());
            assert!(bytes <= max * 3, "{tool} {arguments}: {bytes} of {}: {answer}", max * 3);
            assert!(answer["note"].is_string(), "{tool}: {answer}");
            if let Some(items) = answer["items"].as_array() {
                assert_eq!(answer["returned"], items.len(), "{tool}");
                let cut = answer["next_cursor"].is_string() || answer["left_out"].is_array();
                assert!(!items.is_empty() || cut, "{tool} {arguments}: {answer}");
            }
        }
        let answer = talk.ask(
            "tools/call",
            json!({"name": "get", "arguments": {"key": long("k", 100_000)}}),
        );
        assert!(answer.to_string().len() < 3_000, "a message that quotes is short too");
        talk.end();
    }
}

#[test]
fn sloppy_clients_are_answered_and_cancelled_requests_are_not() {
    let dir = sample::directory();
    let mut child = logagent(dir.path())
        .arg("mcp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut talk = Talk {
        input: child.stdin.take(),
        output: BufReader::new(child.stdout.take().unwrap()),
        child,
        id: 0,
    };
    let early = talk.ask("tools/list", json!({}));
    assert!(
        early["error"]["message"]
            .as_str()
            .unwrap()
            .contains("before initialize"),
        "{early}"
    );
    talk.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let hello = talk.ask("initialize", json!({"protocolVersion": 5}));
    assert!(hello["result"]["protocolVersion"].is_string(), "{hello}");
    let unfit = talk.ask("tools/call", json!({"name": 7}));
    assert_eq!(unfit["error"]["code"], -32602, "{unfit}");
    talk.send(&json!({"jsonrpc": "2.0", "id": 900}));
    let invalid = talk.line();
    assert_eq!(
        (&invalid["id"], &invalid["error"]["code"]),
        (&json!(900), &json!(-32600))
    );
    talk.send(&json!({"jsonrpc": "2.0", "method": "notifications/of_another_protocol"}));
    talk.send(&json!([
        {"jsonrpc": "2.0", "id": 901, "method": "ping"}, {"jsonrpc": "2.0", "id": 902, "method": "ping"}
    ]));
    let mut ids = [talk.line()["id"].clone(), talk.line()["id"].clone()];
    ids.sort_by_key(Value::as_u64);
    assert_eq!(ids, [901, 902]);
    let slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    talk.send(&json!({"jsonrpc": "2.0", "id": 903, "method": "tools/call",
        "params": {"name": "query", "arguments": {"text": slow, "timeout": "1s"}}}));
    talk.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 903}}));
    assert_eq!(talk.ask("ping", json!({}))["result"], json!({}));
    // Nothing more comes, though the query runs to its end.
    talk.end();
}

#[test]
fn an_execution_of_any_name_is_a_resource() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = logagent::store::Batch::default();
    let id = "nightly run/7 ä%20?";
    let start = now_micros();
    batch.runs.push(logagent::store::RunUpdate {
        execution_id: id.to_owned(),
        script_name: "nightly".to_owned(),
        start_time: start,
        last_seen: start,
        ..Default::default()
    });
    sample::store(&dir.path().join(".logagent/logs.db"), batch);
    let (mut talk, _) = Talk::start(dir.path(), &[], "2025-06-18");
    let listed = talk.ask("resources/list", json!({}));
    let uri = listed["result"]["resources"][0]["uri"].as_str().unwrap().to_owned();
    assert!(uri.is_ascii() && !uri.contains(' '), "{uri}");
    let read = talk.ask("resources/read", json!({"uri": uri}));
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    let run: Value = serde_json::from_str(text).unwrap();
    assert_eq!(run["execution_id"], id);
    talk.end();
}

/// Microseconds since 1970.
fn now_micros() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

#[test]
fn learn_and_fix_are_offered_only_when_writing_is_allowed() {
    let dir = sample::directory();
    let (mut talk, _) = Talk::start(dir.path(), &["--allow-write"], "2025-06-18");
    let tools = talk.ask("tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap();
    assert!(tools.len() <= 12);
    let writing: Vec<&Value> = tools
        .iter()
        .filter(|t| t["annotations"]["readOnlyHint"] == false)
        .collect();
    assert_eq!(
        writing.iter().map(|t| t["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["learn", "fix"]
    );
    let (learnt, _) = talk.call(
        "learn",
        json!({"text": "use batches", "context": {"a": 1}, "tag": "speed"}),
    );
    assert_eq!(learnt["recorded"], true);
    let (fixed, _) = talk.call("fix", json!({"target": BAD_ROW, "text": "skip them"}));
    assert_eq!(fixed["fixed"]["fingerprint"], BAD_ROW);
    let (found, _) = talk.call("learnings", json!({"text": "batches"}));
    assert_eq!(found["items"][0]["context"], json!({"a": 1}));
    talk.end();
}

#[test]
fn one_event_and_one_run_are_resources() {
    let dir = sample::directory();
    let (mut talk, _) = Talk::start(dir.path(), &[], "2025-06-18");
    let event = talk.ask(
        "resources/read",
        json!({"uri": format!("logagent://event/{}", key(C, 1))}),
    );
    let text = event["result"]["contents"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{event}"));
    assert_eq!(serde_json::from_str::<Value>(text).unwrap()["_key"], key(C, 1));
    let run = talk.ask("resources/read", json!({"uri": format!("logagent://run/{C}")}));
    let text = run["result"]["contents"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap()["status"], "failed");
    let missing = talk.ask("resources/read", json!({"uri": "logagent://event/nosuchkey"}));
    assert!(missing["error"]["message"].is_string(), "{missing}");
    talk.end();
}

#[test]
fn the_official_python_client_understands_the_server() {
    let dir = sample::directory();
    let calls = json!([
        ["search", {"text": "timed out", "limit": 5}],
        ["errors", {"since": "2026-11-10", "until": "2026-11-11"}],
        ["summary", {"execution_id": C}],
        ["get", {"key": "nosuchkey"}],
    ]);
    let mut child = Command::new(python_with_loguru())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mcp_client.py"))
        .arg(env!("CARGO_BIN_EXE_logagent"))
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(calls.to_string().as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told["hello"]["serverInfo"]["name"], "logagent");
    assert_eq!(told["tools"].as_array().unwrap().len(), 10);
    assert_eq!(told["prompts"].as_array().unwrap().len(), 8);
    assert!(
        told["prompt"].as_str().unwrap().contains("logagent get abc -C 5"),
        "{}",
        told["prompt"]
    );
    assert_eq!(told["templates"], 2);
    assert_eq!(told["calls"][0]["answer"]["returned"], 2);
    assert_eq!(told["calls"][1]["answer"]["items"][0]["state"], "returned");
    assert_eq!(told["calls"][2]["answer"]["status"], "failed");
    assert_eq!(told["calls"][3]["error"], true);
}

/// The commands in the shell blocks of a Markdown text.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut shell = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(fence) = line.strip_prefix("```") {
            shell = fence == "sh";
        } else if let Some(rest) = line.strip_prefix("logagent ").filter(|_| shell) {
            found.push(words(rest));
        }
    }
    found
}

/// A command line's words, with double quotes as a shell has them.
fn words(line: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => out.push(String::new()),
            c => out.last_mut().unwrap().push(c),
        }
    }
    out.retain(|w| !w.is_empty());
    out
}

#[test]
fn every_command_in_the_prompts_works() {
    let prompts = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
    let mut run = 0;
    for folder in ["queries", "patterns", "guides"] {
        for file in std::fs::read_dir(prompts.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let dir = sample::directory();
            for command in commands(&std::fs::read_to_string(&path).unwrap()) {
                let put = |w: &String| {
                    w.replace("<EXECUTION>", C)
                        .replace("<KEY>", &key(C, 1))
                        .replace("<SCRIPT>", "report")
                        .replace("<ERROR>", "database timed out after 30 s")
                };
                let command: Vec<String> = command.iter().map(put).collect();
                let args: Vec<&str> = command.iter().map(String::as_str).collect();
                let said = say(dir.path(), &args);
                // 1 is an answer too: in the last 24 hours nothing happened in the sample.
                assert!(
                    matches!(said.code, 0 | 1),
                    "{}: {command:?}: {}",
                    path.display(),
                    said.err
                );
                run += 1;
            }
        }
    }
    assert!(run > 50, "{run}");
}
