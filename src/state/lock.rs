//! One agent per data directory.
//!
//! The lock is `flock` on a file of our own that also holds the owner's pid, so that the second agent can name the
//! first. The kernel releases it when the owner dies, however it dies; the file itself stays and means nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const NAME: &str = "agent.lock";

/// Held as long as the agent runs.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The lock was not to be had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it; the pid where the file tells it.
    Held(Option<u32>),
    Io(io::Error),
}

/// Takes the lock of this data directory, which must exist.
pub fn acquire(data_dir: &Path) -> Result<Lock, LockError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(super::files::file_mode())
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(data_dir.join(NAME))
        .map_err(LockError::Io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(LockError::Held(pid_in(&mut file))),
        Err(e) => return Err(LockError::Io(e.into())),
    }
    write_pid(&mut file).map_err(LockError::Io)?;
    Ok(Lock { _file: file })
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether an agent runs on this data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    /// An agent runs; the pid where it could be read.
    Agent(Option<u32>),
}

/// Looks who holds the lock, without taking it from anybody. For verbs that do not run the agent.
#[must_use]
pub fn holder(data_dir: &Path) -> Holder {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(data_dir.join(NAME));
    let Ok(mut file) = open else {
        return Holder::Nobody;
    };
    // A shared lock is had for a moment; an agent that starts just then tries once more, see `acquire_patiently`.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Holder::Agent(pid_in(&mut file)),
        _ => Holder::Nobody,
    }
}

/// [`acquire`], tolerating the moment in which [`holder`] looks, or in which a predecessor is dying.
pub fn acquire_patiently(data_dir: &Path) -> Result<Lock, LockError> {
    for _ in 0..20 {
        match acquire(data_dir) {
            Err(LockError::Held(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other,
        }
    }
    acquire(data_dir)
}
