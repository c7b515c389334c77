//! The real program in a scratch directory: its configuration, its log files, its store, its life and death.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rusqlite::{Connection, OpenFlags};

use crate::harness::eventually;

/// A scratch place with an agent's configuration, and the agents started in it.
pub struct Place {
    pub dir: tempfile::TempDir,
    /// Added to the configuration.
    pub extra: String,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().expect("a scratch directory");
        fs::create_dir(dir.path().join("logs")).expect("logs/");
        Place {
            dir,
            extra: String::new(),
        }
    }

    pub fn with(extra: &str) -> Place {
        Place {
            extra: extra.to_owned(),
            ..Place::new()
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        fs::write(self.path("logagent.toml"), format!("host = \"here\"\n{}", self.extra)).expect("a configuration");
        let mut c = Command::new(env!("CARGO_BIN_EXE_logagent"));
        c.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars() {
            if name.starts_with("LOGAGENT_") || name.starts_with("ARANGO_") || name.starts_with("LOG_") {
                c.env_remove(name);
            }
        }
        c
    }

    pub fn once(&self) -> Output {
        let out = self.command(&["run", "--once"]).output().expect("the agent runs");
        assert!(
            out.status.success(),
            "run --once: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        out
    }

    /// Starts an agent and waits until it says that it is ready.
    pub fn start(&self) -> Agent {
        self.spawn(&mut self.command(&["run"]))
    }

    /// Starts this command, which becomes an agent, and waits until that says that it is ready.
    pub fn spawn(&self, command: &mut Command) -> Agent {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("agent.err"));
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::from(log.expect("agent.err")))
            .spawn()
            .expect("the agent starts");
        let pid = child.id();
        eventually("the agent is ready", || {
            assert!(
                child.try_wait().expect("wait").is_none(),
                "the agent ended: {}",
                self.stderr()
            );
            let status: serde_json::Value =
                serde_json::from_slice(&fs::read(format!("/proc/{pid}/cwd/.logagent/status.json")).ok()?).ok()?;
            (status["pid"] == pid && status["running"] == true).then_some(())
        });
        Agent { child }
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.path("agent.err")).unwrap_or_default()
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path("logs").join(name)
    }

    pub fn append(&self, name: &str, text: &str) {
        let mut f = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(name))
            .expect("a log file");
        f.write_all(text.as_bytes()).expect("write");
    }

    pub fn open(&self) -> Option<Connection> {
        Connection::open_with_flags(self.path(".logagent/logs.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()
    }

    /// Rows and distinct values of `extra_data.seq`; zeros before there is a store.
    pub fn counts(&self) -> (i64, i64) {
        let sql = "select count(*), count(distinct json_extract(extra_data, '$.seq')) from log_events";
        self.open()
            .and_then(|c| c.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).ok())
            .unwrap_or((0, 0))
    }

    pub fn await_events(&self, n: i64) {
        eventually(
            &format!("{n} events, have {:?}; {}", self.counts(), self.stderr()),
            || (self.counts().0 >= n).then_some(()),
        );
        assert_eq!(self.counts(), (n, n), "exactly once");
    }

    pub fn text(&self, sql: &str) -> Vec<String> {
        let c = self.open().expect("a store");
        let mut q = c.prepare(sql).expect("a query");
        let rows = q.query_map([], |r| r.get::<_, Option<String>>(0)).expect("rows");
        rows.map(|r| r.expect("a row").unwrap_or_default()).collect()
    }
}

pub struct Agent {
    pub child: Child,
}

impl Agent {
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) has no memory effects; the child is ours and not yet waited for.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0);
    }

    pub fn kill9(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("wait");
    }

    pub fn terminate(mut self) -> Option<i32> {
        self.signal(libc::SIGTERM);
        self.child.wait().expect("wait").code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text that nothing compresses, of so many words.
pub fn noise(seed: &mut u64, words: usize) -> String {
    let word = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{seed:016x}")
    };
    std::iter::repeat_with(word).take(words).collect()
}

/// Lines as loguru writes them, of a process that is long gone.
pub fn lines(range: std::ops::Range<u64>) -> String {
    range.map(line).collect()
}

pub fn line(seq: u64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(1_795_227_624_054_432 + seq as i64 * 1000).expect("a time");
    let micros = 11_557 + seq * 1000;
    let elapsed = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let repr = format!(
        "0:{:02}:{:02}.{:06}",
        micros / 60_000_000,
        micros / 1_000_000 % 60,
        micros % 1_000_000
    );
    format!(
        "{{\"text\": \"{seq} done\\n\", \"record\": {{\"elapsed\": {{\"repr\": \"{repr}\", \"seconds\": {elapsed}}}, \"exception\": null, \
         \"extra\": {{\"seq\": {seq}}}, \"file\": {{\"name\": \"a.py\", \"path\": \"/srv/a.py\"}}, \"function\": \"go\", \
         \"level\": {{\"icon\": \"i\", \"name\": \"INFO\", \"no\": 20}}, \"line\": 8, \"message\": \"{seq} done\", \"module\": \"a\", \
         \"name\": \"__main__\", \"process\": {{\"id\": 4194000, \"name\": \"MainProcess\"}}, \"thread\": {{\"id\": 1, \"name\": \"MainThread\"}}, \
         \"time\": {{\"repr\": \"{}+00:00\", \"timestamp\": {}}}}}}}\n",
        at.format("%Y-%m-%d %H:%M:%S%.6f"),
        at.timestamp_micros() as f64 / 1e6,
    )
}
