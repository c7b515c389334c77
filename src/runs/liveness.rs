//! Whether a process of this machine still lives: by pid *and* start, so that a recycled pid is not taken for it.

use std::fs;

use super::process::{Liveness, ProcessId};
use crate::record::Micros;

/// A process may have started this much after the instant that loguru's clocks give, and still be the same.
const SLACK: Micros = 2_000_000;

/// Whether the process can still write records.
#[must_use]
pub fn liveness(id: &ProcessId) -> Liveness {
    match start_of(id.pid) {
        // A number from another PID namespace, which means something else here.
        Some(_) if is_no_script(id.pid) => Liveness::Unseen,
        // Modules are imported after a process starts, so its start is at or before the instant in its records.
        Some(start) if start <= id.start.saturating_add(SLACK) => Liveness::Alive,
        None if is_hidden(id.pid) => Liveness::Unseen,
        _ => Liveness::Gone,
    }
}

/// Whether the process of this pid cannot have written a record: a thread of the kernel, which has no command line, or the
/// first process, which is `init` here and a script in its own container.
fn is_no_script(pid: i64) -> bool {
    let own = pid == i64::from(std::process::id());
    !own && (pid == 1 || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.is_empty()))
}

/// Whether there is a process of this pid of which `/proc` tells this user nothing (`hidepid`).
fn is_hidden(pid: i64) -> bool {
    let untold = fs::read(format!("/proc/{pid}/stat")).is_err();
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    untold && pid.is_some_and(|p| rustix::process::test_kill_process(p) == Err(rustix::io::Errno::PERM))
}

/// When the process with this pid started; `None` if there is none. A zombie no longer writes and counts as gone.
#[must_use]
pub fn start_of(pid: i64) -> Option<Micros> {
    // A name is cut after 15 bytes, which may be within a character.
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name in parentheses may hold anything; the fields after it are numbers.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let ticks: i64 = fields.nth(18)?.parse().ok()?;
    let per_second = i64::try_from(rustix::param::clock_ticks_per_second()).ok()?.max(1);
    Some(boot_time()? + ticks.saturating_mul(1_000_000) / per_second)
}

/// The instant of the machine's start.
fn boot_time() -> Option<Micros> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|l| l.strip_prefix("btime "))?;
    line.trim().parse::<i64>().ok()?.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;

    #[test]
    fn this_process_is_alive_and_a_pid_with_an_older_start_is_gone() {
        let pid = i64::from(std::process::id());
        let now = Utc::now().timestamp_micros();
        let id = |start| ProcessId {
            host: "h".into(),
            pid,
            start,
        };
        assert_eq!(liveness(&id(now)), Liveness::Alive);
        // The same pid, but of a process that started a day ago: recycled.
        assert_eq!(liveness(&id(now - 86_400_000_000)), Liveness::Gone);
    }

    #[test]
    fn the_first_process_is_nobodys_script() {
        let id = ProcessId {
            host: "h".into(),
            pid: 1,
            start: Utc::now().timestamp_micros(),
        };
        assert_eq!(liveness(&id), Liveness::Unseen);
    }

    #[test]
    fn a_name_that_is_cut_within_a_character_hides_no_process() {
        let name = "\u{44f}".repeat(8);
        let mut child = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {name} > /proc/$$/comm; echo; read x")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        let comm = fs::read(format!("/proc/{}/comm", child.id())).unwrap();
        assert!(std::str::from_utf8(&comm).is_err(), "{comm:?}");
        assert!(start_of(i64::from(child.id())).is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_pid_that_nobody_has_is_gone() {
        assert_eq!(
            liveness(&ProcessId {
                host: "h".into(),
                pid: i64::from(i32::MAX),
                start: 0
            }),
            Liveness::Gone
        );
    }
}
