//! The heartbeat for a service manager that restarts what hangs (systemd's `WatchdogSec`).
//!
//! It says that the agent lives only where both parts that do the work have gone on since the last beat: the thread
//! that reads files has had a turn, and the driver has gone round its loop. A store that is away stops neither. A
//! thread that waits for a dead disk stops, and so does the heart.
//!
//! The same look tells `/healthz` what has not gone on for [`STALLED`], and a part that has failed ends the beat.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::supervisor::Supervisor;
use crate::pipeline::driver::DriverStatus;
use crate::pipeline::intake::PipelineIntake;
use crate::source::status::FilesStatus;

/// What has not gone on for so long is not well.
pub const STALLED: Duration = Duration::from_secs(60);

/// How often is looked where no service manager listens.
const LOOK: Duration = Duration::from_secs(10);

/// What was counted at the last beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    files: u64,
    driver: u64,
}

impl Progress {
    /// Whether both have gone on; what was counted is kept then.
    fn beats(&mut self, now: Progress) -> bool {
        let beats = now.files != self.files && now.driver != self.driver;
        if beats {
            *self = now;
        }
        beats
    }
}

/// When each part last went on.
struct Going {
    counted: Progress,
    files: Instant,
    driver: Instant,
}

impl Going {
    fn new(now: Instant) -> Going {
        Going {
            counted: Progress::default(),
            files: now,
            driver: now,
        }
    }

    /// The parts that have not gone on for too long, in words.
    fn stalled(&mut self, counted: Progress, now: Instant) -> Vec<String> {
        if counted.files != self.counted.files {
            self.files = now;
        }
        if counted.driver != self.counted.driver {
            self.driver = now;
        }
        self.counted = counted;
        let parts = [("the reading of files", self.files), ("the delivery", self.driver)];
        parts
            .iter()
            .map(|(name, since)| (name, now.saturating_duration_since(*since)))
            .filter(|(_, still)| *still >= STALLED)
            .map(|(name, still)| format!("{name} has not gone on for {} s", still.as_secs()))
            .collect()
    }
}

/// Beats for as long as the agent runs, where somebody listens, and tells the supervisor what stands still.
pub async fn beat(
    files: Arc<FilesStatus>,
    driver: Arc<Mutex<DriverStatus>>,
    intake: Arc<PipelineIntake>,
    supervisor: Supervisor,
) {
    let mut micros = 0;
    let listens = sd_notify::watchdog_enabled(false, &mut micros) && micros > 0;
    let every = if listens {
        (Duration::from_micros(micros) / 4).min(LOOK)
    } else {
        LOOK
    };
    let mut ticks = tokio::time::interval(every);
    let (mut progress, mut going) = (Progress::default(), Going::new(Instant::now()));
    loop {
        ticks.tick().await;
        let now = Progress {
            files: files.turns(),
            driver: driver.lock().unwrap_or_else(PoisonError::into_inner).turns,
        };
        supervisor.stalled(going.stalled(now, Instant::now()));
        if progress.beats(now) && listens && supervisor.faults().is_empty() {
            let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Watchdog]);
        }
        // The driver sleeps while there is nothing to do; it goes round once for this.
        intake.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_only_while_both_files_and_driver_go_on() {
        let mut last = Progress::default();
        let at = |files, driver| Progress { files, driver };
        assert!(last.beats(at(1, 1)));
        assert!(!last.beats(at(2, 1)), "the driver hangs");
        assert!(!last.beats(at(9, 1)), "it still hangs");
        assert!(last.beats(at(9, 2)));
        assert!(!last.beats(at(9, 7)), "the files hang");
        assert!(last.beats(at(10, 8)));
    }

    #[test]
    fn what_stands_still_is_named_as_long_as_it_does() {
        let (begin, at) = (Instant::now(), |files, driver| Progress { files, driver });
        let mut going = Going::new(begin);
        assert!(going.stalled(at(1, 1), begin + STALLED / 2).is_empty());
        assert!(going.stalled(at(1, 2), begin + STALLED).is_empty());
        let said = going.stalled(at(1, 3), begin + STALLED * 2);
        assert!(
            said.len() == 1 && said[0].starts_with("the reading of files"),
            "{said:?}"
        );
        assert_eq!(going.stalled(at(1, 3), begin + STALLED * 4).len(), 2);
        assert!(going.stalled(at(2, 4), begin + STALLED * 5).is_empty());
    }
}
