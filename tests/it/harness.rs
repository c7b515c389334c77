//! What the integration tests share.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Polls `probe` until it yields something; panics with `what` after 30 s.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(t) = probe() {
            return t;
        }
        assert!(Instant::now() < deadline, "waited 30 s in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a finished program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The program in `dir` on its defaults: no setting of the machine that runs the tests takes part.
pub fn logagent(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logagent"));
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = [
            "LOGAGENT_",
            "ARANGO_",
            "LOG_",
            "MONITORING_",
            "ENABLE_MONITORING",
            "ALERT_LOG",
            "STATE_DIRECTORY",
        ];
        if ours.iter().any(|o| name.starts_with(o)) {
            command.env_remove(&*name);
        }
    }
    command.env("LOGAGENT_CONFIG", "").env("NO_COLOR", "1").env("TZ", "UTC");
    command
}

/// Runs the program with `args` in `dir` to its end.
pub fn say(dir: &Path, args: &[&str]) -> Said {
    let out = logagent(dir).args(args).output().expect("the program runs");
    Said {
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8(out.stdout).expect("standard output is UTF-8"),
        err: String::from_utf8(out.stderr).expect("standard error is UTF-8"),
    }
}

#[test]
fn eventually_returns_what_the_probe_yields() {
    let mut n = 0;
    let got = eventually("three", || {
        n += 1;
        (n == 3).then_some(n)
    });
    assert_eq!(got, 3);
}
