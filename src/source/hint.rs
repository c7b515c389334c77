//! What the kernel says of directories (inotify).
//!
//! A hint only says where to look sooner; polling finds everything without it. So errors cost one warning, and the
//! directory is polled. Directories are watched, never files: one watch serves any number of idle files.
//!
//! inotify is used directly, on the tailer's own thread: while files are active the queue is read at every tick
//! instead of being waited for, so that a thousand lines a second do not become a thousand wake-ups (the kernel merges
//! repeated events), and no second thread exists.
//!
//! One thing does wake an active tailer: that somebody opens a file. `copytruncate` begins so, and a moment later what
//! was not read is gone for good where the copy lies out of sight. Openings have a queue of their own, since the other
//! one is never empty then.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Names a directory in the tailer's table.
pub type DirId = u32;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The content or the mode of this file changed.
    Changed(DirId, OsString),
    /// A name appeared.
    Appeared(DirId, OsString),
    /// Names went, or the directory itself.
    Rescan(DirId),
    /// Events were lost.
    Everything,
}

#[derive(Debug)]
pub struct Hints {
    fd: Option<OwnedFd>,
    dirs: HashMap<i32, DirId>,
    /// Says that a file was opened, by anybody.
    openings: Option<OwnedFd>,
    /// The watch of `openings` beside that of `fd`.
    opened: HashMap<i32, i32>,
    warned: bool,
}

impl Hints {
    /// `enabled: false` polls only.
    #[must_use]
    pub fn new(enabled: bool) -> Hints {
        let mut hints = Hints {
            fd: None,
            dirs: HashMap::new(),
            openings: None,
            opened: HashMap::new(),
            warned: false,
        };
        if enabled {
            let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
            match inotify::init(flags) {
                Ok(fd) => hints.fd = Some(fd),
                Err(e) => hints.warn(e),
            }
            // Without it a tick is the longest that a reader's opening goes unnoticed.
            hints.openings = inotify::init(flags).ok();
        }
        hints
    }

    fn warn(&mut self, error: Errno) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                %error,
                "the kernel gives no more notice of changed files (see fs.inotify.max_user_watches and \
                 fs.inotify.max_user_instances); such files are polled"
            );
        }
    }

    /// Watches a directory. `None`: it has to be polled.
    pub fn watch(&mut self, dir: DirId, path: &Path) -> Option<i32> {
        let fd = self.fd.as_ref()?;
        if !is_local(path) {
            return None;
        }
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        match inotify::add_watch(fd, path, flags) {
            // The same directory by another path: only one of the two gets the hints.
            Ok(watch) if self.dirs.get(&watch).is_some_and(|d| *d != dir) => None,
            Ok(watch) => {
                self.dirs.insert(watch, dir);
                let flags = WatchFlags::OPEN | WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK;
                let openings = self.openings.as_ref();
                if let Some(Ok(beside)) = openings.map(|fd| inotify::add_watch(fd, path, flags)) {
                    self.opened.insert(watch, beside);
                }
                Some(watch)
            }
            Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR) => None,
            Err(e) => {
                self.warn(e);
                None
            }
        }
    }

    pub fn unwatch(&mut self, watch: i32) {
        if let (Some(fd), Some(_)) = (&self.fd, self.dirs.remove(&watch)) {
            // The kernel has removed the watch already where the directory is gone.
            let _ = inotify::remove_watch(fd, watch);
        }
        if let (Some(fd), Some(beside)) = (&self.openings, self.opened.remove(&watch)) {
            let _ = inotify::remove_watch(fd, beside);
        }
    }

    /// Takes what the kernel has said so far. Never waits.
    pub fn drain(&mut self, out: &mut Vec<Hint>) {
        let Some(fd) = &self.fd else { return };
        let mut buf = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(fd, &mut buf);
        while let Ok(event) = reader.next() {
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                tracing::warn!("notices of changed files were lost (see fs.inotify.max_queued_events); looking at all");
                out.push(Hint::Everything);
                continue;
            }
            let Some(dir) = self.dirs.get(&event.wd()).copied() else {
                continue;
            };
            let name = event
                .file_name()
                .map(|n| OsStr::from_bytes(n.to_bytes()).to_os_string());
            if what.contains(ReadFlags::IGNORED) {
                self.dirs.remove(&event.wd());
                self.opened.remove(&event.wd());
            }
            out.push(match name {
                Some(name) if what.intersects(ReadFlags::MODIFY | ReadFlags::ATTRIB) => Hint::Changed(dir, name),
                Some(name) if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) => Hint::Appeared(dir, name),
                _ => Hint::Rescan(dir),
            });
        }
    }

    /// Sleeps until `timeout` is over; with `listen` also until the kernel has a hint.
    pub fn sleep(&self, timeout: Duration, listen: bool) {
        match &self.fd {
            Some(fd) if listen => _ = wait(fd, timeout),
            _ => std::thread::sleep(timeout),
        }
    }

    /// Sleeps until `timeout` is over, or somebody opens a file in a watched directory; whether that happened.
    pub fn sleep_until_opened(&self, timeout: Duration) -> bool {
        let Some(fd) = &self.openings else {
            std::thread::sleep(timeout);
            return false;
        };
        let opened = wait(fd, timeout);
        if opened {
            let mut buf = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(fd, &mut buf);
            while reader.next().is_ok() {}
        }
        opened
    }
}

/// Waits for something to read; whether there is. An interrupted wait is a short one.
fn wait(fd: &OwnedFd, timeout: Duration) -> bool {
    let limit = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&limit)).is_ok_and(|n| n > 0)
}

/// File systems whose changes all pass through this kernel. On others (network, FUSE, 9p) hints are not to be had, or
/// not for changes made elsewhere.
fn is_local(path: &Path) -> bool {
    const LOCAL: [u32; 12] = [
        0xEF53,      // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0xF2F5_2010, // f2fs
        0x2FC1_2FC1, // zfs
        0x794C_7630, // overlayfs
        0xCA45_1A4E, // bcachefs
        0x5265_4973, // reiserfs
        0x3153_464A, // jfs
        0x4d44,      // vfat
    ];
    rustix::fs::statfs(path).is_ok_and(|s| LOCAL.contains(&(s.f_type as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_opens_a_file_wakes_an_active_tailer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        std::fs::write(&path, "line\n").unwrap();
        let mut hints = Hints::new(true);
        let watch = hints.watch(1, dir.path()).expect("a watch");
        assert!(!hints.sleep_until_opened(Duration::ZERO));
        drop(std::fs::File::open(&path).unwrap());
        assert!(hints.sleep_until_opened(Duration::from_secs(60)));
        assert!(!hints.sleep_until_opened(Duration::ZERO), "said once");
        hints.unwatch(watch);
        drop(std::fs::File::open(&path).unwrap());
        // The end of the watch is said itself, then nothing more.
        hints.sleep_until_opened(Duration::ZERO);
        assert!(!hints.sleep_until_opened(Duration::ZERO));
    }
}
