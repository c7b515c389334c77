//! `run --once`: everything that is there now.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::super::Closed;
use super::super::table::Role;
use super::{Command, Tailer};

/// What `--once` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnceReport {
    /// Files that hold something to ship, archives among them.
    pub files: u64,
    /// Bytes read, archives decompressed.
    pub bytes: u64,
    /// Archives that could not be read.
    pub broken: u64,
    /// Stopped before the end.
    pub stopped: bool,
}

impl Tailer {
    /// Reads everything there is now: rotated files, archives, and the last line of files that are finished. The torn
    /// last line of a live file waits for the next time.
    #[must_use]
    pub fn run_once(mut self, commands: &Receiver<Command>) -> OnceReport {
        self.once = true;
        let mut idle = 0;
        let mut stopped = false;
        // A second look finds what the first one made possible: copies of files that were read meanwhile.
        while idle < 2 {
            if !self.obey(commands) {
                stopped = true;
                break;
            }
            self.next_poll = Instant::now();
            match self.turn() {
                Ok(progress) => {
                    let waits = !self.asking.is_empty() || !self.comparisons.is_empty();
                    let busy = progress || waits || !self.ready.is_empty() || !self.archives.is_empty();
                    idle = if busy { 0 } else { idle + 1 };
                    if !progress && busy {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                Err(Closed) => {
                    stopped = true;
                    break;
                }
            }
        }
        let ships = |role: &Role| matches!(role, Role::Holds(_) | Role::Unpacked(_));
        let report = OnceReport {
            files: self.table.iter().filter(|(_, f)| ships(&f.role)).count() as u64,
            bytes: self.bytes_read,
            broken: self.broken,
            stopped,
        };
        self.intake.idle(Instant::now());
        self.save_sizes();
        self.publish();
        report
    }
}
