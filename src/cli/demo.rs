//! `demo`: the whole story in a scratch directory, told with the program's own verbs.
//!
//! The agent and each question are child processes of this same program, so that the demo shows what a person would
//! see, not what a function call returns. Nothing outside the scratch directory is read or written, and no
//! configuration of the user's takes part.

mod sample;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::args;
use super::exit::{Exit, Failure};
use super::show::{self, BOLD, DIM};
use super::status;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells the story.
///
/// # Errors
/// A scratch directory that cannot be made, and an agent that does not do its work there.
pub(super) fn run(args: &args::Demo) -> Result<Exit, Failure> {
    let stage = Stage::set(args.keep)?;
    let color = show::color(false);
    let say = |text: &str| -> io::Result<()> { writeln!(io::stdout(), "{}", show::paint(color, DIM, text)) };
    say(&format!("# A scratch directory: {}", stage.dir.display()))?;
    say("# The agent starts there on its defaults: logagent run")?;
    let agent = stage.start_agent()?;
    let lines = stage.write_logs()?;
    say(&format!(
        "# Two scripts write {lines} lines into logs/, as loguru does with serialize=True"
    ))?;
    stage.wait_until_stored(lines)?;
    say("# All of it is stored. What one asks now:")?;
    let key = stage.key_of_the_error()?;
    let failed = stage.failed_run()?;
    let questions: [(&str, &[&str]); 7] = [
        ("What ran?", &["runs"]),
        ("What failed, and is it still open?", &["errors"]),
        (
            "What do the logs say about users?",
            &["search", "user", "-l", "warning"],
        ),
        ("What exactly happened?", &["get", &key, "-B", "2"]),
        ("The failed run in a page:", &["summary", &failed]),
        ("How do its events hang together?", &["graph", &failed]),
        ("What did the report return?", &["response", "report"]),
    ];
    for (why, verb) in questions {
        say(&format!("\n# {why}"))?;
        let line = format!("$ logagent {}", verb.join(" "));
        writeln!(io::stdout(), "{}", show::paint(color, BOLD, &line))?;
        stage.ask(verb)?;
    }
    agent.stop();
    stage.farewell()?;
    Ok(Exit::Done)
}

/// The agent as a child process; it ends with this value.
struct Agent(Child);

impl Agent {
    /// Stops it as a service manager would, and waits until it is gone.
    fn stop(mut self) {
        self.signal(Signal::TERM);
        let _ = self.0.wait();
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Agent {
    /// Where the demo fails half-way nothing stays behind.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the story takes place.
struct Stage {
    dir: PathBuf,
    program: PathBuf,
    keep: bool,
}

impl Stage {
    fn set(keep: bool) -> Result<Stage, Failure> {
        let dir = std::env::temp_dir().join(format!("logagent-demo-{}", std::process::id()));
        let made = fs::create_dir_all(dir.join("logs"));
        made.map_err(|e| Failure::usage(format!("{}: cannot be made: {e}", dir.display())))?;
        let program =
            std::env::current_exe().map_err(|e| Failure::usage(format!("the program does not find itself: {e}")))?;
        Ok(Stage { dir, program, keep })
    }

    /// The program with a verb, in the scratch directory, on defaults alone.
    fn verb(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let ours = [
                "LOGAGENT_",
                "ARANGO_",
                "LOG_",
                "ENABLE_MONITORING",
                "MONITORING_",
                "STATE_DIRECTORY",
            ];
            if ours.iter().any(|o| name.starts_with(o)) {
                command.env_remove(&*name);
            }
        }
        // An empty file, so that none of the system's is used.
        command.env("LOGAGENT_CONFIG", "/dev/null");
        command
    }

    fn start_agent(&self) -> Result<Agent, Failure> {
        let log = fs::File::create(self.dir.join("agent.log"))
            .map_err(|e| Failure::usage(format!("{}: {e}", self.dir.display())))?;
        let child = self.verb(&["run"]).stdout(Stdio::null()).stderr(log).spawn();
        let agent = Agent(child.map_err(|e| Failure::usage(format!("the agent does not start: {e}")))?);
        self.wait_for("the agent's start", || self.snapshot().map(|_| ()))?;
        Ok(agent)
    }

    /// Writes the sample files, line by line as their scripts would; returns how many lines.
    fn write_logs(&self) -> Result<u64, Failure> {
        let mut count = 0;
        for file in sample::files(chrono::Utc::now(), std::process::id()) {
            let path = self.dir.join("logs").join(file.name);
            let written = fs::File::create(&path).and_then(|mut f| {
                for line in &file.lines {
                    f.write_all(format!("{line}\n").as_bytes())?;
                }
                Ok(())
            });
            written.map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
            count += file.lines.len() as u64;
        }
        Ok(count)
    }

    fn snapshot(&self) -> Option<crate::telemetry::snapshot::Snapshot> {
        let (running, snapshot) = status::look(&self.dir.join(".logagent")).ok()?;
        running.and(snapshot)
    }

    fn wait_until_stored(&self, lines: u64) -> Result<(), Failure> {
        self.wait_for("the records to be stored", || {
            self.snapshot().filter(|s| s.records.stored >= lines).map(|_| ())
        })
    }

    fn wait_for<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let log = fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default();
                let message = format!("waited in vain for {what}; the agent said:\n{log}");
                return Err(Failure::usage(message.trim_end()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A value out of a verb's JSON answer.
    fn value(&self, args: &[&str], pointer: &str) -> Result<String, Failure> {
        let out = self.verb(args).stderr(Stdio::inherit()).output();
        let out = out.map_err(|e| Failure::usage(format!("{}: {e}", args.join(" "))))?;
        let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let found = answer.pointer(pointer).and_then(serde_json::Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| Failure::store(format!("logagent {} did not find what was stored", args.join(" "))))
    }

    fn key_of_the_error(&self) -> Result<String, Failure> {
        self.value(
            &["search", "import failed", "-l", "error", "-n", "1", "-o", "json"],
            "/items/0/_key",
        )
    }

    fn failed_run(&self) -> Result<String, Failure> {
        self.value(
            &["runs", "--status", "failed", "-n", "1", "-o", "json"],
            "/items/0/execution_id",
        )
    }

    /// Asks, with the answer going where this program's own goes.
    fn ask(&self, args: &[&str]) -> Result<(), Failure> {
        io::stdout().flush()?;
        let status = self.verb(args).status();
        let status = status.map_err(|e| Failure::usage(format!("{}: {e}", args.join(" "))))?;
        match status.code() {
            Some(0) => Ok(()),
            _ => Err(Failure::store(format!(
                "logagent {} ended with {status}",
                args.join(" ")
            ))),
        }
    }

    fn farewell(&self) -> Result<(), Failure> {
        let mut out = io::stdout();
        writeln!(out, "\nNow with your own scripts, in any directory:")?;
        writeln!(
            out,
            "  logagent run                   in a first terminal; it follows logs/"
        )?;
        writeln!(
            out,
            "  logger.add(\"logs/my.jsonl\", serialize=True)     in a Python script with loguru"
        )?;
        writeln!(
            out,
            "  logagent runs; logagent errors; logagent search TEXT; logagent --help"
        )?;
        if self.keep {
            writeln!(
                out,
                "\nThe scratch directory stays: cd {} && logagent runs",
                self.dir.display()
            )?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
