//! Standard error as the agent writes to it: a reader that went away, or reads no more, neither ends nor holds up anything.
//!
//! A pipe takes a piece of [`PIECE`] bytes without blocking while it counts as writable. What finds no room within
//! [`PATIENCE`] is left out, and how many lines that were is said once there is room again.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `PIPE_BUF`: a pipe that is writable takes so much at once.
const PIECE: usize = 4096;

/// How long room is waited for, nanoseconds; not at all while lines are being left out.
const PATIENCE: i64 = 50_000_000;

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);
static STUCK: AtomicBool = AtomicBool::new(false);

/// Writes to standard error; never fails, and never waits for long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // One line at a time; the lock is free unless somebody prints in another way.
        let stderr = io::stderr().lock();
        let fd = stderr.as_fd();
        let left_out = LEFT_OUT.load(Ordering::Relaxed);
        if left_out > 0 && has_room(fd) {
            let note = format!("({left_out} lines before this one were left out: nobody read standard error)\n");
            if put(fd, note.as_bytes()) {
                LEFT_OUT.fetch_sub(left_out, Ordering::Relaxed);
            }
        }
        if !put(fd, text) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of it; false where that could not be done.
fn put(fd: BorrowedFd<'_>, mut text: &[u8]) -> bool {
    while !text.is_empty() {
        if !has_room(fd) {
            return false;
        }
        let piece = text.get(..PIECE).unwrap_or(text);
        match rustix::io::write(fd, piece) {
            Ok(n) => text = text.get(n..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

fn has_room(fd: BorrowedFd<'_>) -> bool {
    let wait = if STUCK.load(Ordering::Relaxed) { 0 } else { PATIENCE };
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: wait,
    };
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let room = match poll(&mut asked, Some(&wait)) {
        Ok(0) => false,
        // An error shows when it is written to.
        _ => true,
    };
    STUCK.store(!room, Ordering::Relaxed);
    room
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_or_that_is_closed_holds_nothing_up() {
        let (mut reader, writer) = io::pipe().unwrap();
        let line = [b'x'; 10_000];
        let taken = (0..100).filter(|_| put(writer.as_fd(), &line)).count();
        assert!(taken > 0 && taken < 100, "{taken}");
        let mut buffer = vec![0; 30_000];
        reader.read_exact(&mut buffer).unwrap();
        assert!(put(writer.as_fd(), b"there is room again"));
        drop(reader);
        assert!(!put(writer.as_fd(), &line));
    }
}
