//! Looking: which files are there, under which names, and which of them changed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::hint::{DirId, Hint};
use super::super::names;
use super::super::stat;
use super::super::table::FileId;
use super::{ACTIVE, Tailer};
use crate::config::FollowLinks;

/// Where the kernel gives hints, each file is looked at this often nevertheless.
const SWEEP: Duration = Duration::from_secs(120);
/// Directories nest no deeper than this: a link to a directory above would never end.
const MAX_DEPTH: usize = 64;
/// Files that are looked at in a poll, at least, though the kernel gives hints for them.
const POLLED: u32 = 1024;
/// Directories that are listed in a turn.
const LISTED: usize = 256;

pub(super) fn mtime(s: &Stat) -> i64 {
    s.st_mtime
        .wrapping_mul(1_000_000_000)
        .wrapping_add(s.st_mtime_nsec as i64)
}

impl Tailer {
    /// Takes in what changed since the last look.
    pub(super) fn look(&mut self, now: Instant) {
        self.scan += 1;
        let mut heard = std::mem::take(&mut self.heard);
        self.hints.drain(&mut heard);
        for hint in heard.drain(..) {
            self.follow_hint(hint, now);
        }
        self.heard = heard;
        for id in self.open.clone() {
            if self.table.get(id).is_some_and(|f| f.quiet(now) < ACTIVE) {
                self.check(id, now);
            }
        }
        if now >= self.next_poll {
            self.next_poll = now + self.settings.poll_interval;
            self.poll(now);
        }
        if std::mem::take(&mut self.seek_again) {
            self.seek();
        }
        self.list_dirty(now);
        self.settle_lost(now);
    }

    fn follow_hint(&mut self, hint: Hint, now: Instant) {
        match hint {
            Hint::Changed(dir, name) => {
                if let Some(id) = self.table.by_name(dir, &name) {
                    self.check(id, now);
                }
            }
            Hint::Appeared(dir, name) => self.consider(dir, &name, None, now),
            Hint::Rescan(dir) => self.mark(dir),
            Hint::Everything => {
                self.table.dirs.iter_mut().for_each(|d| d.dirty = true);
                self.table.ids().for_each(|id| self.check(id, now));
            }
        }
    }

    pub(super) fn mark(&mut self, dir: DirId) {
        if let Some(d) = self.table.dir_mut(dir) {
            d.dirty = true;
        }
    }

    pub(super) fn add_roots(&mut self) {
        for root in self.patterns.roots().to_vec() {
            self.add_dir(&root.base);
        }
    }

    fn add_dir(&mut self, path: &Path) {
        if self.patterns.excludes_all_of(path) {
            return;
        }
        if path.components().count() > MAX_DEPTH {
            if !std::mem::replace(&mut self.warned_of_depth, true) {
                tracing::warn!(path = %path.display(), "directories below {MAX_DEPTH} others are not looked into");
            }
            return;
        }
        let own = path.starts_with(&self.own) || std::fs::canonicalize(path).is_ok_and(|p| p.starts_with(&self.own));
        if own
            && !self
                .patterns
                .roots()
                .iter()
                .any(|r| r.base == path && r.base != self.own)
        {
            return;
        }
        if is_link(path) && !self.may_follow(path, true) {
            return;
        }
        self.table.add_dir(path);
    }

    /// The slow look: everything without hints, a share of the rest.
    fn poll(&mut self, now: Instant) {
        let share = |n: u32, least: u32, poll: Duration| {
            least
                .max((f64::from(n) * poll.as_secs_f64() / SWEEP.as_secs_f64()).ceil() as u32)
                .min(n)
        };
        let dirs = self.table.dirs.len() as u32;
        let turn = share(dirs, 64, self.settings.poll_interval);
        for id in 0..dirs {
            let hinted = self.table.dir(id).is_some_and(|d| d.watch.is_some() && !d.racy);
            if !hinted || id.wrapping_sub(self.dir_sweep) % dirs < turn {
                self.check_dir(id);
            }
            if self.table.dir(id).is_some_and(|d| d.watch.is_none()) {
                let files: Vec<FileId> = self.table.named_in(id).collect();
                files.into_iter().for_each(|f| self.check(f, now));
            }
        }
        self.dir_sweep = (self.dir_sweep + turn) % dirs.max(1);
        let slots = self.table.slots();
        let turn = share(slots, POLLED, self.settings.poll_interval);
        for n in 0..turn {
            self.check((self.sweep + n) % slots, now);
        }
        self.sweep = (self.sweep + turn) % slots.max(1);
        for id in std::mem::take(&mut self.linked) {
            if self.table.get(id).is_some_and(|f| f.polled) {
                self.linked.push(id);
                self.check(id, now);
            }
        }
        self.poll_links(now);
        for id in self.open.clone() {
            self.check(id, now);
            self.close_if_idle(id, now);
        }
        let again = std::mem::take(&mut self.denied)
            .into_iter()
            .chain(std::mem::take(&mut self.asking));
        again.for_each(|id| self.unjudge(id));
        self.tend_parked(now);
    }

    fn check_dir(&mut self, id: DirId) {
        let Some(d) = self.table.dir_mut(id) else { return };
        match rustix::fs::stat(&d.path) {
            Ok(s) if d.exists && !d.racy && !d.denied && (s.st_dev, s.st_ino, mtime(&s)) == (d.dev, d.ino, d.mtime) => {
            }
            Ok(_) => d.dirty = true,
            Err(_) => d.dirty |= d.exists,
        }
    }

    /// Finds out in which directories streams without a file were last seen.
    fn seek(&mut self) {
        let Tailer { table, streams, .. } = self;
        table.dirs.iter_mut().for_each(|d| d.seeking = false);
        let sought = streams.parked().filter(|(k, p)| !k.finished && !p.unwanted);
        for dir in sought.filter_map(|(_, p)| p.path.parent()) {
            if let Some(d) = table.dir_at(dir).and_then(|id| table.dir_mut(id))
                && !std::mem::replace(&mut d.seeking, true)
            {
                d.dirty = true;
            }
        }
    }

    /// Lists directories that changed, some at a time: a link can lead to very many.
    fn list_dirty(&mut self, now: Instant) {
        self.listing = false;
        let mut listed = 0;
        loop {
            let dirty: Vec<DirId> = (0..self.table.dirs.len() as DirId)
                .filter(|id| self.table.dir(*id).is_some_and(|d| d.dirty))
                .collect();
            if dirty.is_empty() {
                return;
            }
            for id in dirty {
                if listed == LISTED {
                    self.listing = true;
                    return;
                }
                self.list(id, now);
                listed += 1;
            }
        }
    }

    /// Links change without a word from their directory: what each leads to is compared with what it led to.
    fn poll_links(&mut self, now: Instant) {
        for (dir, name) in std::mem::take(&mut self.links) {
            let Some(path) = self.table.dir(dir).map(|d| d.path.join(&name)) else {
                continue;
            };
            if !is_link(&path) {
                continue;
            }
            let known = self.table.by_name(dir, &name).and_then(|id| self.table.get(id));
            let leads = stat::of_path(&path).ok();
            if known.map(|f| f.inode()) == leads.map(|l| (l.dev, l.ino)) {
                self.links.insert((dir, name));
            } else {
                self.consider(dir, &name, None, now);
            }
        }
    }

    /// Whether a link is followed, see `files.follow_links`.
    fn may_follow(&self, path: &Path, dir: bool) -> bool {
        let (Ok(link), Ok(target), Ok(real)) = (stat::of_name(path), stat::of_path(path), std::fs::canonicalize(path))
        else {
            return false;
        };
        if dir {
            // A link to a directory above it would never end.
            let parent = path.parent().and_then(|p| std::fs::canonicalize(p).ok());
            if parent.is_none_or(|p| p.starts_with(&real)) {
                return false;
            }
        }
        let own = rustix::process::geteuid().as_raw();
        let below = |root: &super::super::names::Root| {
            std::fs::canonicalize(&root.base).is_ok_and(|base| real.starts_with(base))
        };
        match self.settings.follow_links {
            FollowLinks::Never => false,
            FollowLinks::Anywhere => true,
            FollowLinks::Safe => [0, own, target.uid].contains(&link.uid) || self.patterns.roots().iter().any(below),
        }
    }

    /// Compares a directory with what is known of it.
    fn list(&mut self, id: DirId, now: Instant) {
        let Some(d) = self.table.dir_mut(id) else { return };
        d.dirty = false;
        let path = d.path.clone();
        if d.watch.is_none() {
            let watch = self.hints.watch(id, &path);
            if let Some(d) = self.table.dir_mut(id) {
                d.watch = watch;
            }
        }
        if let Err(e) = self.stat_dir(id, &path).and_then(|()| self.list_names(id, &path, now)) {
            self.dir_failed(id, e);
        }
    }

    /// Looks at each name in the directory, one by one, since there may be very many; then sees to those that went.
    fn list_names(&mut self, id: DirId, path: &Path, now: Instant) -> Result<(), Errno> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let mut present: Vec<FileId> = Vec::new();
        let strangers = self.table.dir(id).is_some_and(|d| !d.strangers.is_empty());
        let mut inodes = std::collections::HashSet::new();
        for entry in rustix::fs::Dir::new(fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            self.consider(id, name, Some((entry.ino(), entry.file_type())), now);
            present.extend(self.table.by_name(id, name));
            if strangers {
                inodes.insert(entry.ino());
            }
        }
        present.sort_unstable();
        let went: Vec<FileId> = self
            .table
            .named_in(id)
            .filter(|f| present.binary_search(f).is_err())
            .collect();
        went.into_iter().for_each(|file| self.lose(file));
        if let Some(d) = self.table.dir_mut(id).filter(|_| strangers) {
            d.strangers.retain(|ino, _| inodes.contains(ino));
        }
        Ok(())
    }

    fn stat_dir(&mut self, id: DirId, path: &Path) -> Result<(), Errno> {
        let s = rustix::fs::stat(path)?;
        let age = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as i64)
            .saturating_sub(mtime(&s));
        let Some(d) = self.table.dir_mut(id) else { return Ok(()) };
        if (d.dev, d.ino) != (s.st_dev, s.st_ino) && d.ino != 0 {
            // Another directory under this name: the watch is the old one's.
            if let Some(watch) = d.watch.take() {
                self.hints.unwatch(watch);
            }
            let watch = self.hints.watch(id, path);
            if let Some(d) = self.table.dir_mut(id) {
                d.watch = watch;
            }
        }
        let Some(d) = self.table.dir_mut(id) else { return Ok(()) };
        (d.dev, d.ino, d.mtime, d.racy) = (s.st_dev, s.st_ino, mtime(&s), age < 2_000_000_000);
        d.exists = true;
        Ok(())
    }

    fn dir_failed(&mut self, id: DirId, error: Errno) {
        let Some(d) = self.table.dir_mut(id) else { return };
        if error == Errno::ACCESS {
            if !std::mem::replace(&mut d.denied, true) {
                tracing::warn!(path = %d.path.display(), "the directory cannot be read: permission denied");
            }
            return;
        }
        d.exists = false;
        d.ino = 0;
        if let Some(watch) = d.watch.take() {
            self.hints.unwatch(watch);
        }
        let files: Vec<FileId> = self.table.named_in(id).collect();
        files.into_iter().for_each(|f| self.lose(f));
    }

    /// Looks at one name: a file to follow, one known under another name, or nothing of interest.
    fn consider(&mut self, dir: DirId, name: &OsStr, listed: Option<(u64, FileType)>, now: Instant) {
        let Some(d) = self.table.dir(dir) else { return };
        let known = self.table.by_name(dir, name);
        let path = d.path.join(name);
        if let (Some(id), Some((ino, FileType::RegularFile))) = (known, listed)
            && self.table.get(id).is_some_and(|f| f.ino == ino)
        {
            return;
        }
        if !matches!(listed, Some((_, FileType::RegularFile))) && self.is_dir(&path, listed.map(|l| l.1)) {
            if self.patterns.reaches(&path) {
                self.add_dir(&path);
            }
            return;
        }
        let wanted = self.wants(&path, name);
        let elsewhere =
            listed.is_none_or(|(ino, _)| self.table.by_inode(d.dev, ino).is_some() || self.streams.sought(d.dev, ino));
        let stranger = d.seeking && listed.is_none_or(|(ino, _)| !d.strangers.contains_key(&ino));
        if !wanted && !elsewhere && !stranger && known.is_none() {
            return;
        }
        let link = listed.is_none_or(|(_, kind)| kind == FileType::Symlink) && is_link(&path);
        if link && wanted {
            self.links.insert((dir, name.to_os_string()));
        }
        // What cannot be looked at now (a name that went again, a link that leads nowhere yet) is nothing.
        let Ok(look) = stat::of_path(&path) else {
            known.into_iter().for_each(|id| self.lose(id));
            return;
        };
        if look.kind != FileType::RegularFile || (link && !self.may_follow(&path, false)) {
            return known.into_iter().for_each(|id| self.lose(id));
        }
        if link && let Some(beside) = std::fs::canonicalize(&path).ok().as_deref().and_then(Path::parent) {
            // When the file that it leads to is rotated, what was not read of it lies there.
            self.table.add_dir(beside);
        }
        self.name_file(dir, name, &look, wanted, link, now);
    }

    fn is_dir(&self, path: &Path, kind: Option<FileType>) -> bool {
        kind == Some(FileType::Directory)
            || (kind != Some(FileType::RegularFile)
                && rustix::fs::stat(path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory))
    }

    pub(super) fn wants(&self, path: &Path, name: &OsStr) -> bool {
        if self.patterns.wants(path) {
            return self.settings.compressed || !names::is_archive_name(name);
        }
        if self.patterns.wants_rotated(path) {
            return true;
        }
        let reached = path.parent().is_some_and(|p| self.patterns.reaches(p));
        self.settings.compressed
            && (self.patterns.wants_archive(path) || (reached && names::is_archive_name(name)))
            && !self.patterns.excludes_all_of(path)
    }
}

fn is_link(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink)
}
