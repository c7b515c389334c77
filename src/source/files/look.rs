//! Looking: which files are there, under which names, and which of them changed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::hint::{DirId, Hint};
use super::super::names;
use super::super::table::{File, FileId, Held, Role};
use super::{ACTIVE, CLOSE_AFTER, Tailer};

/// Where the kernel gives hints, each file is looked at this often nevertheless.
const SWEEP: Duration = Duration::from_secs(60);
/// Directories nest no deeper than this: a link to a directory above would never end.
const MAX_DEPTH: usize = 64;

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
            if self.table.get(id).is_some_and(|f| now.duration_since(f.grew) < ACTIVE) {
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
        if path.components().count() > MAX_DEPTH || self.patterns.excludes_all_of(path) {
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
        if let Ok(s) = rustix::fs::stat(path) {
            // A link back to a directory above it.
            let mut above = path
                .ancestors()
                .skip(1)
                .filter_map(|p| self.table.dir(self.table.dir_at(p)?));
            if above.any(|d| (d.dev, d.ino) == (s.st_dev, s.st_ino)) {
                return;
            }
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
                let files: Vec<FileId> = self
                    .table
                    .dir(id)
                    .map(|d| d.names.values().copied().collect())
                    .unwrap_or_default();
                files.into_iter().for_each(|f| self.check(f, now));
            }
        }
        self.dir_sweep = (self.dir_sweep + turn) % dirs.max(1);
        let slots = self.table.slots();
        let turn = share(slots, 16, self.settings.poll_interval);
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
        for id in self.open.clone() {
            self.check(id, now);
            self.close_if_idle(id, now);
        }
        for id in std::mem::take(&mut self.denied) {
            self.unjudge(id);
        }
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
        self.table.dirs.iter_mut().for_each(|d| d.seeking = false);
        let paths: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, k)| !k.finished)
            .filter_map(|(_, k)| Some(k.parked.as_ref().filter(|p| !p.unwanted)?.path.parent()?.to_path_buf()))
            .collect();
        for path in paths {
            if let Some(d) = self.table.dir_at(&path).and_then(|id| self.table.dir_mut(id))
                && !std::mem::replace(&mut d.seeking, true)
            {
                d.dirty = true;
            }
        }
    }

    fn list_dirty(&mut self, now: Instant) {
        loop {
            let dirty: Vec<DirId> = (0..self.table.dirs.len() as DirId)
                .filter(|id| self.table.dir(*id).is_some_and(|d| d.dirty))
                .collect();
            if dirty.is_empty() {
                return;
            }
            dirty.into_iter().for_each(|id| self.list(id, now));
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
        let entries = self.stat_dir(id, &path).and_then(|()| read_dir(&path));
        let entries = match entries {
            Ok(entries) => entries,
            Err(e) => return self.dir_failed(id, e),
        };
        let mut present: std::collections::HashSet<&OsStr> = std::collections::HashSet::with_capacity(entries.len());
        for (name, _, _) in &entries {
            present.insert(name);
        }
        let known: Vec<FileId> = self
            .table
            .dir(id)
            .map(|d| d.names.values().copied().collect())
            .unwrap_or_default();
        for file in known {
            if self.table.get(file).is_some_and(|f| !present.contains(f.name.as_ref())) {
                self.lose(file);
            }
        }
        if let Some(d) = self.table.dir_mut(id) {
            let inodes: std::collections::HashSet<u64> = entries.iter().map(|e| e.1).collect();
            d.strangers.retain(|ino, _| inodes.contains(ino));
        }
        for (name, ino, kind) in &entries {
            self.consider(id, name, Some((*ino, *kind)), now);
        }
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
        let files: Vec<FileId> = self
            .table
            .dir(id)
            .map(|d| d.names.values().copied().collect())
            .unwrap_or_default();
        files.into_iter().for_each(|f| self.lose(f));
    }

    /// Looks at one name: a file to follow, one known under another name, or nothing of interest.
    fn consider(&mut self, dir: DirId, name: &OsStr, listed: Option<(u64, FileType)>, now: Instant) {
        let Some(d) = self.table.dir(dir) else { return };
        let known = d.names.get(name).copied();
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
        // What cannot be looked at now (a dangling link, a name that went again) is nothing.
        let Ok(s) = rustix::fs::stat(&path) else {
            known.into_iter().for_each(|id| self.lose(id));
            return;
        };
        if FileType::from_raw_mode(s.st_mode) != FileType::RegularFile {
            return;
        }
        let link = listed.is_some_and(|(_, kind)| kind == FileType::Symlink) || is_link(&path);
        self.name_file(dir, name, &s, wanted, link, now);
    }

    fn is_dir(&self, path: &Path, kind: Option<FileType>) -> bool {
        kind == Some(FileType::Directory)
            || (kind != Some(FileType::RegularFile)
                && rustix::fs::stat(path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory))
    }

    fn wants(&self, path: &Path, name: &OsStr) -> bool {
        if self.patterns.wants(path) {
            return self.settings.compressed || !names::is_archive_name(name);
        }
        let reached = path.parent().is_some_and(|p| self.patterns.reaches(p));
        self.settings.compressed
            && (self.patterns.wants_archive(path) || (reached && names::is_archive_name(name)))
            && !self.patterns.excludes_all_of(path)
    }

    /// The name leads to this file.
    fn name_file(&mut self, dir: DirId, name: &OsStr, s: &Stat, wanted: bool, link: bool, now: Instant) {
        if let Some(old) = self.table.by_name(dir, name) {
            if self
                .table
                .get(old)
                .is_some_and(|f| (f.dev, f.ino) == (s.st_dev, s.st_ino))
            {
                return self.check(old, now);
            }
            self.lose(old);
        }
        if let Some(id) = self.table.by_inode(s.st_dev, s.st_ino) {
            let path = self.table.path(id);
            let named = self.table.is_named(id)
                && rustix::fs::stat(&path).is_ok_and(|o| (o.st_dev, o.st_ino) == (s.st_dev, s.st_ino));
            if named {
                return;
            }
            tracing::debug!(from = %path.display(), to = %name.to_string_lossy(), "renamed");
            self.table.rename(id, dir, name);
            if let Some(f) = self.table.get_mut(id) {
                (f.renamed, f.stranger) = (true, !wanted);
            }
            self.changed = true;
            return self.check(id, now);
        }
        let script = names::script(name);
        let family = xxhash_rust::xxh3::xxh3_64(&[script.as_bytes(), &dir.to_le_bytes()].concat());
        let id = self.table.add(File {
            dir,
            name: name.into(),
            dev: s.st_dev,
            ino: s.st_ino,
            size: s.st_size as u64,
            mtime: mtime(s),
            looked: 0,
            peak: s.st_size as u64,
            scanned: 0,
            role: Role::Unknown,
            held: Held::No,
            fd: None,
            stream: None,
            grew: now.checked_sub(ACTIVE).unwrap_or(now),
            noticed: self.scan,
            renamed: false,
            gone: false,
            polled: link || s.st_nlink > 1,
            denied: false,
            stranger: !wanted,
            ready: false,
            family,
        });
        if link || s.st_nlink > 1 {
            self.linked.push(id);
        }
        self.changed = true;
        self.unjudged.push(id);
    }

    /// The file's name went; it may turn up under another one in the same look.
    fn lose(&mut self, id: FileId) {
        self.table.unname(id);
        if !self.lost.contains(&id) {
            self.lost.push(id);
        }
    }

    /// Files that have no name after all directories were listed are gone.
    fn settle_lost(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.lost) {
            if self.table.get(id).is_none() || self.table.is_named(id) {
                continue;
            }
            let path = self.table.path(id);
            let drained = self
                .table
                .get(id)
                .is_some_and(|f| f.fd.is_none() || f.stream_id().is_none());
            if drained {
                self.drop_file(id, false);
            } else if let Some(f) = self.table.get_mut(id) {
                tracing::debug!(path = %path.display(), "no name leads to the file any more; reading on by descriptor");
                f.gone = true;
                self.check(id, now);
            }
            self.changed = true;
        }
    }

    /// Follows the file no more.
    pub(super) fn drop_file(&mut self, id: FileId, finished: bool) {
        self.park(id, finished);
        if matches!(
            self.table.get(id).map(|f| &f.role),
            Some(Role::Unpacked(..) | Role::Ignored)
        ) {
            self.forget_archive(id);
        }
        self.set_role(id, Role::Unknown);
        if let Some(f) = self.table.remove(id) {
            tracing::debug!(name = %f.name.to_string_lossy(), finished, "no longer followed");
        }
        for list in [
            &mut self.ready,
            &mut self.unjudged,
            &mut self.waiting,
            &mut self.open,
            &mut self.archives,
            &mut self.lost,
            &mut self.denied,
            &mut self.linked,
        ] {
            list.retain(|f| *f != id);
        }
    }

    /// After a change of the patterns.
    pub(super) fn drop_unwanted(&mut self) {
        for id in self.table.ids() {
            let Some(f) = self.table.get(id) else { continue };
            let path = self.table.path(id);
            if !f.fragile() && !f.stranger && !self.wants(&path, &f.name) {
                let stream = f.stream_id();
                self.drop_file(id, false);
                if let Some(p) = stream
                    .and_then(|s| self.streams.get_mut(s))
                    .and_then(|k| k.parked.as_mut())
                {
                    (p.unwanted, p.counted) = (true, true);
                }
            }
        }
    }

    /// Has the file changed?
    pub(super) fn check(&mut self, id: FileId, now: Instant) {
        let Some(f) = self.table.get(id) else { return };
        let (dir, dev, ino) = (f.dir, f.dev, f.ino);
        let stat = match &f.fd {
            Some(fd) => rustix::fs::fstat(fd),
            None => rustix::fs::stat(self.table.path(id)),
        };
        let s = match stat {
            Ok(s) if (s.st_dev, s.st_ino) == (dev, ino) => s,
            // Another file under this name, or none: the directory tells.
            _ => return self.mark(dir),
        };
        let Some(f) = self.table.get_mut(id) else { return };
        let (size, time) = (s.st_size as u64, mtime(&s));
        if (size, time) == (f.size, f.mtime) {
            return;
        }
        if size != f.size {
            f.grew = now;
        }
        (f.size, f.mtime, f.peak) = (size, time, f.peak.max(size));
        self.changed = true;
        match f.role {
            Role::Holds(_) => self.make_ready(id),
            Role::Unknown | Role::CopyOf(_) | Role::Ignored | Role::Unpacked(..) => self.unjudge(id),
            Role::Archive(_) => self.await_archive(id),
        }
    }

    fn close_if_idle(&mut self, id: FileId, now: Instant) {
        let Some(f) = self.table.get(id) else { return };
        let idle = now.duration_since(f.grew);
        let unread = f.ready || f.held != Held::No;
        match (f.gone, f.renamed) {
            _ if unread && (f.gone || f.held != Held::Partial) => {}
            (true, _) if idle >= self.settings.hold => self.drop_file(id, true),
            (false, true) if idle >= self.settings.hold.max(CLOSE_AFTER) => self.close(id),
            (false, false) if idle >= CLOSE_AFTER => self.close(id),
            _ => {}
        }
    }

    /// Closes the descriptor, and remembers how the file was left.
    pub(super) fn close(&mut self, id: FileId) {
        self.open.retain(|f| *f != id);
        let path = self.table.path(id);
        let Some(f) = self.table.get_mut(id) else { return };
        f.fd = None;
        f.stream = None;
        if let Role::Holds(stream) = f.role
            && let Some(k) = self.streams.get(stream)
        {
            let entry = k.entry(stream, path, f.size, f.mtime);
            self.intake.remember(entry);
        }
    }
}

fn is_link(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink)
}

fn read_dir(path: &Path) -> Result<Vec<(OsString, u64, FileType)>, Errno> {
    use rustix::fs::{Mode, OFlags};
    let fd = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::new(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push((OsStr::from_bytes(name).to_os_string(), entry.ino(), entry.file_type()));
        }
    }
    Ok(entries)
}
