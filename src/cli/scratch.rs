//! An agent of its own in a scratch directory, for verbs that show or measure the whole way of a record.
//!
//! The agent and what is asked of it are child processes of this same program. Nothing outside the scratch directory is
//! read or written, and no configuration of the user's takes part.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::exit::Failure;
use super::status;
use crate::config::{Settings, Sources};
use crate::telemetry::snapshot::Snapshot;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Variables that configure the program.
const OURS: [&str; 7] = [
    "LOGAGENT_",
    "ARANGO_",
    "LOG_",
    "ENABLE_MONITORING",
    "MONITORING_",
    "ALERT_LOG",
    "STATE_DIRECTORY",
];

/// The agent as a child process; it ends with this value.
pub(super) struct Agent(Child);

impl Agent {
    /// Stops it as a service manager would, and waits until it is gone.
    pub(super) fn stop(mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

impl Drop for Agent {
    /// Where a verb fails half-way nothing stays behind.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that is removed with this value, unless it is to be kept.
pub(super) struct Scratch {
    dir: PathBuf,
    program: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the directory, with an empty `logs/` in it.
    ///
    /// # Errors
    /// A temporary directory that cannot be written.
    pub(super) fn make(purpose: &str, keep: bool) -> Result<Scratch, Failure> {
        let dir = std::env::temp_dir().join(format!("logagent-{purpose}-{}", std::process::id()));
        let made = fs::create_dir_all(dir.join("logs"));
        made.map_err(|e| Failure::usage(format!("{}: cannot be made: {e}", dir.display())))?;
        let program = std::env::current_exe();
        let program = program.map_err(|e| Failure::usage(format!("the program does not find itself: {e}")))?;
        Ok(Scratch { dir, program, keep })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings that the agent here works with.
    ///
    /// # Errors
    /// None in an empty directory; what there is is said.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let sources = Sources {
            dir: self.dir.clone(),
            ..Sources::default()
        };
        Ok(Settings::load(&sources)?.0)
    }

    /// The program with a verb, in this directory, on defaults alone.
    pub(super) fn verb(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if OURS.iter().any(|ours| starts_with(&name, ours)) {
                command.env_remove(&name);
            }
        }
        // An empty file, so that none of the system's is used.
        command.env("LOGAGENT_CONFIG", "/dev/null");
        command
    }

    /// Starts the agent and waits until it publishes its status.
    ///
    /// # Errors
    /// An agent that does not start; with what it said.
    pub(super) fn start_agent(&self) -> Result<Agent, Failure> {
        let log = fs::File::create(self.dir.join("agent.log"))
            .map_err(|e| Failure::usage(format!("{}: {e}", self.dir.display())))?;
        let child = self.verb(&["run"]).stdout(Stdio::null()).stderr(log).spawn();
        let agent = Agent(child.map_err(|e| Failure::usage(format!("the agent does not start: {e}")))?);
        self.wait_for("the agent's start", || self.snapshot().map(|_| ()))?;
        Ok(agent)
    }

    /// The running agent's status.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let (running, snapshot) = status::look(&self.dir.join(".logagent")).ok()?;
        running.and(snapshot)
    }

    /// Polls `probe` until it finds something.
    ///
    /// # Errors
    /// Nothing was found for [`PATIENCE`]; with what the agent said.
    pub(super) fn wait_for<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T, Failure> {
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
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _: io::Result<()> = fs::remove_dir_all(&self.dir);
        }
    }
}
