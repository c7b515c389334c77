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
        // Modules are imported after a process starts, so its start is at or before the instant in its records.
        Some(start) if start <= id.start.saturating_add(SLACK) => Liveness::Alive,
        None if is_hidden(id.pid) => Liveness::Unseen,
        _ => Liveness::Gone,
    }
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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
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
