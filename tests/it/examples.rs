//! Every script of `examples/` is run, by the real interpreter beside the real agent, and its records are asked for.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Said, eventually, logagent, python_with_loguru, say};

/// A scratch directory in which scripts log and an agent may run.
pub struct Place {
    dir: tempfile::TempDir,
}

/// A running agent; it ends with this value.
pub struct Agent(Child);

impl Agent {
    /// Stops it as a service manager would.
    pub fn stop(mut self) {
        let pid = Pid::from_raw(self.0.id() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.0.wait().unwrap();
        assert!(status.success(), "the agent ended with {status}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(command: &mut Command) -> Said {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Said {
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        Place { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts an agent on its defaults and waits until it says what it does.
    pub fn start(&self) -> Agent {
        self.start_with(&[])
    }

    /// Starts an agent with these variables beside its defaults.
    pub fn start_with(&self, vars: &[(&str, &str)]) -> Agent {
        let log = File::create(self.path("agent.log")).unwrap();
        let child = logagent(self.dir.path())
            .arg("run")
            .env("LOGAGENT_FILES_POLL_INTERVAL", "50ms")
            .envs(vars.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let agent = Agent(child);
        eventually("the agent's start", || {
            let running = say(self.dir.path(), &["status", "-q"]).code == 0;
            (running && self.path(".logagent/logagent.sock").exists()).then_some(())
        });
        agent
    }

    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// `command` in this place, with the program and the interpreter in the path.
    fn within(&self, mut command: Command) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_logagent")).parent().unwrap();
        let python = python_with_loguru().parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let plain = logagent(self.dir.path());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .env("PATH", format!("{}:{}:{path}", program.display(), python.display()))
            .env("TMPDIR", self.dir.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs a script of `examples/` to its end; it has to succeed.
    pub fn python(&self, script: &str, args: &[&str]) -> Said {
        let mut command = self.within(Command::new(python_with_loguru()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(script);
        let done = said(command.arg(script).args(args));
        assert_eq!(done.code, 0, "{}{}\n{}", done.out, done.err, self.agent_log());
        done
    }

    /// Runs a piece of shell script that stops at its first failure.
    pub fn shell(&self, text: &str) -> Said {
        let mut command = self.within(Command::new("sh"));
        said(command.args(["-eu", "-c", text]))
    }

    /// Ships what is there.
    pub fn once(&self) {
        let done = say(self.dir.path(), &["run", "--once"]);
        assert_eq!(done.code, 0, "{}", done.err);
    }

    /// The items of a verb's answer; empty where it finds nothing.
    pub fn items(&self, args: &[&str]) -> Vec<Value> {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        let done = say(self.dir.path(), &all);
        assert!(done.code == 0 || done.code == 1, "{args:?}: {}", done.err);
        let answer: Value = serde_json::from_str(&done.out).unwrap_or_default();
        answer["items"].as_array().cloned().unwrap_or_default()
    }

    /// The rows that a query finds.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        self.items(&["query", sql, "-n", "10000"])
    }

    /// The first column of the only row, as text.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}\n{}", self.agent_log());
        let value = rows[0].as_object().and_then(|o| o.values().next()).cloned();
        value.map_or(String::new(), |v| v.as_str().map_or(v.to_string(), str::to_owned))
    }

    /// Waits until so many events of a script are stored, and sees that there are no more.
    fn await_events(&self, script: &str, n: usize) {
        let sql = format!("select count(*) n from log_events where script_name = '{script}'");
        eventually(&format!("{n} events of {script}"), || {
            (self.value(&sql).parse::<usize>() == Ok(n)).then_some(())
        });
    }
}

#[test]
fn every_bound_value_has_its_meaning() {
    let place = Place::new();
    let agent = place.start();
    place.python("every_bound_value.py", &[]);
    let run = eventually("the end of the run", || {
        let runs = place.items(&["runs", "--script", "every_bound_value", "--status", "success"]);
        runs.first().cloned()
    });
    assert_eq!(run["metadata"]["version"], "1.4");
    let id = run["execution_id"].as_str().unwrap().to_owned();
    let events = |more: &str| {
        place.value(&format!(
            "select count(*) n from log_events where execution_id = '{id}' {more}"
        ))
    };

    assert_eq!(events("and message like '%stays in the file%'"), "0", "db_store=False");
    assert_eq!(events("and message like 'a detail that is stored%'"), "1");
    assert_eq!(
        events("and tags like '%nightly%'"),
        events(""),
        "tags are on every record"
    );
    assert_eq!(
        place
            .items(&["search", "--tag", "nightly", "extra_data.user=ada"])
            .len(),
        1
    );
    assert_eq!(events("and embeddings is not null"), "1");

    let errors = place.items(&["errors", "-s", "every_bound_value"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["state"], "resolved");
    let fixed = place.rows("select type, rationale from log_causality where type = 'FIXED_BY'");
    assert_eq!(fixed.len(), 1, "{fixed:?}");
    assert!(
        fixed[0]["rationale"]
            .as_str()
            .unwrap()
            .contains("guests have no account")
    );

    let learnings = place.items(&["learnings", "-e", &id]);
    let mut sure: Vec<f64> = learnings.iter().map(|l| l["confidence"].as_f64().unwrap()).collect();
    sure.sort_by(f64::total_cmp);
    assert_eq!(sure, [0.6, 0.9]);
    assert_eq!(
        place.value("select count(*) n from agent_memories where type = 'learning'"),
        "2"
    );

    let response = say(place.dir.path(), &["response", "every_bound_value", "-o", "json"]);
    assert_eq!(response.code, 0, "{}", response.err);
    assert!(response.out.contains("guests"), "{}", response.out);
    assert_eq!(
        place.items(&["response", "every_bound_value", "-n", "5"]).len(),
        2,
        "payload is one, too"
    );

    let edge = place.rows("select type, confidence from log_causality where type = 'CAUSED_BY'");
    assert_eq!(edge.len(), 1, "{edge:?}");
    let part =
        place.rows("select status, parent_execution_id p from script_runs where script_name = 'every_bound_value_sub'");
    assert_eq!(part[0]["status"], "failed");
    assert_eq!(part[0]["p"], id.as_str());
    agent.stop();
}

#[test]
fn the_template_works_debugs_and_stresses_and_finds_its_own_records() {
    let place = Place::new();
    let agent = place.start();
    let done = place.python("enhanced_template.py", &[]);
    assert!(done.err.contains("1 errors in this run"), "{}", done.err);
    assert!(done.err.contains("history of enhanced_template_demo"), "{}", done.err);
    let saved = fs::read_dir(place.path("responses"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let saved: Value = serde_json::from_slice(&fs::read(saved).unwrap()).unwrap();
    assert_eq!(saved["results"]["processed"], 100);

    place.python("enhanced_template.py", &["working"]);
    eventually("two successful runs", || {
        let runs = place.items(&["runs", "-s", "enhanced_template_demo", "--status", "success"]);
        (runs.len() == 2).then_some(())
    });
    let done = place.python("enhanced_template.py", &["debug"]);
    assert!(
        done.err.contains("an item fails with TypeError"),
        "a recurring learning: {}",
        done.err
    );
    assert!(
        done.err.contains("process_data"),
        "a function with errors: {}",
        done.err
    );

    let done = place.python("enhanced_template.py", &["stress"]);
    assert!(done.err.contains("11013 records written, 11013 stored"), "{}", done.err);
    assert!(
        place
            .within(Command::new(python_with_loguru()))
            .arg("--version")
            .output()
            .is_ok()
    );
    agent.stop();
}

#[test]
fn the_template_works_without_an_agent_and_refuses_an_unknown_mode() {
    let place = Place::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/enhanced_template.py");
    let mut command = place.within(Command::new(python_with_loguru()));
    let done = said(command.arg(&script).env("LOGAGENT", "/nowhere/logagent"));
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("no history"), "{}", done.err);
    let mut command = place.within(Command::new(python_with_loguru()));
    let done = said(command.args([script.as_os_str(), "party".as_ref()]));
    assert_eq!(done.code, 1);
}

#[test]
fn asyncio_tasks_are_runs_of_their_own() {
    let place = Place::new();
    place.python("asyncio_tasks.py", &[]);
    place.once();
    let runs = place.items(&["runs", "-s", "crawl"]);
    let of = |status: &str| runs.iter().filter(|r| r["status"] == status).count();
    // Page 7 is among the pages of one site only.
    assert_eq!((runs.len(), of("success"), of("failed")), (6, 5, 1), "{runs:?}");
    let mixed = "select count(*) n from log_events where message like 'page%' and execution_id not like 'crawl_%'";
    assert_eq!(place.value(mixed), "0");
    assert_eq!(
        place.items(&["errors", "--tag", "crawl"]).len(),
        1,
        "the exception, of which the end of the site's run is a part"
    );
}

#[test]
fn threads_share_the_run_of_their_process_and_may_have_their_own() {
    let place = Place::new();
    place.python("threads.py", &[]);
    place.once();
    let runs = place.items(&["runs", "-s", "resize_pictures"]);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(runs[0]["status"], "success");
    let id = runs[0]["execution_id"].as_str().unwrap();
    let threads = format!("select count(distinct thread_id) > 1 n from log_events where execution_id = '{id}'");
    assert_eq!(place.value(&threads), "1");
    let resized = format!(
        "select count(*) n from log_events where execution_id = '{id}' and message like '% resized' and level = 'DEBUG'"
    );
    assert_eq!(place.value(&resized), "36");
    let converted = place.rows("select execution_id e from log_events where message like '_ converted' order by e");
    let ids: Vec<&str> = converted.iter().filter_map(|r| r["e"].as_str()).collect();
    assert_eq!(ids, ["threads_convert_a", "threads_convert_b"]);
}

#[test]
fn processes_that_rotate_their_files_lose_and_double_nothing() {
    let place = Place::new();
    let agent = place.start();
    place.python("multiprocess_rotation.py", &["1500"]);
    for script in ["own_file", "shared_file"] {
        place.await_events(script, 3 * 1502);
        let distinct = format!(
            "select count(distinct json_extract(extra_data, '$.worker') * 100000 + json_extract(extra_data, '$.row')) n \
             from log_events where script_name = '{script}' and level = 'DEBUG'"
        );
        assert_eq!(place.value(&distinct), "4500");
        eventually("three successful runs", || {
            let runs = place.items(&["runs", "-s", script, "--status", "success"]);
            (runs.len() == 3).then_some(())
        });
    }
    let archives = fs::read_dir(place.path("logs")).unwrap();
    let archives = archives.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "gz"));
    assert!(archives.count() > 3, "files were rotated and compressed meanwhile");
    agent.stop();
}

#[test]
fn standard_logging_needs_no_library() {
    let place = Place::new();
    place.python("standard_logging.py", &[]);
    place.once();
    let runs = place.items(&["runs", "-s", "standard_logging"]);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(runs[0]["status"], "failed");
    assert_eq!(runs[0]["error"], "KeyError('vat')");
    let error = place.rows("select logger, function_name f, line_number l, exception x from log_events where message like '%no VAT' and level = 'ERROR'");
    assert_eq!(error.len(), 1, "{error:?}");
    assert_eq!(error[0]["logger"], "billing.invoices");
    assert_eq!(error[0]["f"], "<module>");
    assert!(error[0]["x"].to_string().contains("KeyError"), "{error:?}");
    assert_eq!(place.items(&["learnings", "VAT"]).len(), 1);
    assert_eq!(place.items(&["search", "--tag", "billing"]).len(), 1);
}

#[test]
fn structlog_is_understood_as_it_is() {
    let place = Place::new();
    place.python("structlog_json.py", &[]);
    place.once();
    let runs = place.items(&["runs", "-s", "structlog_json"]);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(runs[0]["status"], "success");
    let errors = place.items(&["errors", "-s", "structlog_json"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().contains("ConnectionError"), "{errors:?}");
    assert_eq!(
        place.value("select file_path like '%structlog_json.py' and line_number > 0 n from log_events where message = 'parcel packed'"),
        "1"
    );
    assert_eq!(place.items(&["learnings", "Sundays"]).len(), 1);
    assert_eq!(
        place
            .items(&["search", "--tag", "delivery", "extra_data.parcel=7"])
            .len(),
        2
    );
}

#[test]
fn a_shell_script_logs_with_one_line_into_the_socket() {
    let place = Place::new();
    let agent = place.start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/backup.sh");
    fs::create_dir(place.path("data")).unwrap();
    fs::write(place.path("data/a file"), "x").unwrap();
    let good = place.shell(&format!("sh '{}' data", script.display()));
    assert_eq!(good.code, 0, "{}", good.err);
    let bad = place.shell(&format!("sh '{}' nowhere", script.display()));
    assert_eq!(bad.code, 1);
    eventually("both runs", || {
        let runs = place.items(&["runs", "-s", "backup"]);
        let of = |status: &str| runs.iter().filter(|r| r["status"] == status).count();
        ((of("success"), of("failed")) == (1, 1)).then_some(())
    });
    let said = say(place.dir.path(), &["response", "backup", "-o", "json"]);
    assert!(said.out.contains("\"files\""), "{}", said.out);
    agent.stop();
}

#[test]
fn a_hook_of_claude_code_is_one_line_for_each_event() {
    let place = Place::new();
    let agent = place.start();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/claude_code_hooks.json");
    let hooks: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let hooks = hooks["hooks"].as_object().unwrap();
    for (name, entries) in hooks {
        let command = entries[0]["hooks"][0]["command"].as_str().unwrap();
        let event = serde_json::json!({
            "session_id": "5f2c", "hook_event_name": name, "tool_name": "Bash", "tool_input": {"command": "ls \"x\"\n"},
        });
        let mut child = place
            .within(Command::new("sh"))
            .args(["-c", command])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(event.to_string().as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }
    place.await_events("claude", hooks.len());
    let found = place.items(&["search", "--tag", "PreToolUse"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["message"], "Hook event: PreToolUse");
    let kept = place.value("select count(*) n from log_events where execution_id = '5f2c' and json_extract(extra_data, '$.payload.tool_name') = 'Bash'");
    assert_eq!(kept, hooks.len().to_string());
    agent.stop();
}

/// The plan's own values for short forms, and a call of a service that failed.
const SERVICES: &str = r#"
import sys
sys.path.insert(0, "EXAMPLES")
from logagent_run import *
from loguru import logger
log_to("logs", name="services")
assert short("a" * 100) == "a" * 100 and len(short("a" * 101)) == 103
assert short("abcdefgh", 7) == "abc...fgh" and short("ab", 1) == "a...b" and short("ab", 0) == "..."
image = "data:image/png;base64,"
assert short(image + "A" * 150) == image + "A" * 50 + "..." + "A" * 50
assert short(list(range(11))) == "[<11 int elements>]" and short([1.0] * 1024) == "[<1024 float elements>]"
assert short([{"t": "x" * 200}, "y" * 200])[1] == "y" * 200
assert log_safe_results([]) == []
for bad in ({}, [1]):
    try:
        log_safe_results(bad)
        raise SystemExit("taken: %r" % (bad,))
    except TypeError as e:
        assert type(bad).__name__ in str(e) or "index 0" in str(e)
with run("services"):
    log_api_request("weather", {"cities": ["Bern"] * 20})
    log_api_response("weather", {"note": "z" * 300}, truncate=False)
    try:
        raise ConnectionError("no route")
    except ConnectionError as e:
        log_api_error("weather", e, {"cities": ["Bern"] * 20})
"#;

#[test]
fn calls_of_services_are_logged_short_and_failures_with_their_exception() {
    let place = Place::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let script = SERVICES.replace("EXAMPLES", &examples.display().to_string());
    fs::write(place.path("services.py"), script).unwrap();
    let done = place.shell("python services.py");
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    place.once();
    let found = place.items(&["search", "-s", "services", "-r", "-l", "debug"]);
    let calls: Vec<&Value> = found
        .iter()
        .filter(|e| e["extra_data"]["service_name"] == "weather")
        .collect();
    let levels: Vec<&Value> = calls.iter().map(|e| &e["level"]).collect();
    assert_eq!(levels, ["DEBUG", "DEBUG", "ERROR"]);
    assert_eq!(calls[0]["extra_data"]["request"]["cities"], "[<20 str elements>]");
    assert_eq!(
        calls[1]["extra_data"]["response_data"]["note"].as_str().map(str::len),
        Some(300)
    );
    assert_eq!(calls[2]["exception"]["type"], "ConnectionError");
    assert_eq!(calls[2]["message"], "weather failed: no route");
}

#[test]
fn every_file_of_the_examples_is_listed() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let listed = fs::read_to_string(dir.join("README.md")).unwrap();
    for entry in fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || name == "__pycache__" || listed.contains(&format!("[{name}]")),
            "{name}"
        );
    }
}
