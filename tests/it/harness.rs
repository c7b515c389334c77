//! What the integration tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Polls `probe` until it yields something; panics with `what` after 90 s.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(t) = probe() {
            return t;
        }
        assert!(Instant::now() < deadline, "waited 90 s in vain for: {what}");
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

/// A Python interpreter that has what `tests/requirements.txt` lists: that of `.venv`, which is made where it is missing
/// or old.
pub fn python_with_loguru() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (venv, list) = (root.join(".venv"), root.join("tests/requirements.txt"));
        let wanted = fs::read(&list).expect("tests/requirements.txt");
        if fs::read(venv.join("requirements.txt")).ok().as_ref() != Some(&wanted) {
            let run = |command: &mut Command| {
                let out = command.output().expect("python3 runs");
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            };
            let _ = fs::remove_dir_all(&venv);
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            let pip = ["install", "--quiet", "--disable-pip-version-check", "-r"];
            run(Command::new(venv.join("bin/pip")).args(pip).arg(&list));
            fs::write(venv.join("requirements.txt"), wanted).expect("a note of what is installed");
        }
        venv.join("bin/python")
    })
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
