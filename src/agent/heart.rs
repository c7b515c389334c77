//! The heartbeat for a service manager that restarts what hangs (systemd's `WatchdogSec`).
//!
//! It says that the agent lives only where both parts that do the work have gone on since the last beat: the thread
//! that reads files has had a turn, and the driver has gone round its loop. A store that is away stops neither. A
//! thread that waits for a dead disk stops, and so does the heart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::pipeline::driver::DriverStatus;
use crate::pipeline::intake::PipelineIntake;
use crate::source::status::FilesStatus;

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

/// Beats for as long as the agent runs; ends at once where nobody listens.
pub async fn beat(files: Arc<FilesStatus>, driver: Arc<Mutex<DriverStatus>>, intake: Arc<PipelineIntake>) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) || micros == 0 {
        return;
    }
    let mut ticks = tokio::time::interval(Duration::from_micros(micros) / 4);
    let mut progress = Progress::default();
    loop {
        ticks.tick().await;
        let now = Progress {
            files: files.turns(),
            driver: driver.lock().unwrap_or_else(PoisonError::into_inner).turns,
        };
        if progress.beats(now) {
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
}
