//! Following: one file from the name that leads to it to the time when none does.

use std::ffi::OsStr;
use std::time::Instant;

use super::super::hint::DirId;
use super::super::stat::{self, Look};
use super::super::streams::Known;
use super::super::table::{File, FileId, Found, Held, Role};
use super::look::mtime;
use super::{CLOSE_AFTER, Tailer};

impl Tailer {
    /// The name leads to this file.
    pub(super) fn name_file(&mut self, dir: DirId, name: &OsStr, look: &Look, wanted: bool, link: bool, now: Instant) {
        let inode = (look.dev, look.ino);
        // An inode that was given to another file since has another birth.
        let same = |f: &File| f.inode() == inode && (f.born == look.born || f.born == 0 || look.born == 0);
        if let Some(old) = self.table.by_name(dir, name) {
            if self.table.get(old).is_some_and(same) {
                return self.check(old, now);
            }
            self.lose(old);
        }
        let known = self.table.by_inode(look.dev, look.ino);
        if let Some(old) = known.filter(|id| !self.table.get(*id).is_some_and(same)) {
            self.drop_file(old, false);
        }
        if let Some(id) = self.table.by_inode(look.dev, look.ino) {
            let path = self.table.path(id);
            let named = self.table.is_named(id) && rustix::fs::stat(&path).is_ok_and(|o| (o.st_dev, o.st_ino) == inode);
            if named {
                return;
            }
            tracing::debug!(from = %path.display(), to = %name.to_string_lossy(), "renamed");
            if let Some(stream) = self.table.get(id).and_then(File::stream_id) {
                self.keep_script(stream, name);
            }
            self.table.rename(id, dir, name);
            if let Some(f) = self.table.get_mut(id) {
                (f.renamed, f.stranger) = (true, !wanted);
                if !f.is_open() && f.stream_id().is_none() {
                    // Nothing was read of it, and nothing kept its inode from being given to another file.
                    f.noticed = self.scan;
                }
            }
            self.warn_intake(id);
            self.changed = true;
            return self.check(id, now);
        }
        let id = self.table.add(&Found {
            dir,
            name,
            dev: look.dev,
            ino: look.ino,
            size: look.size,
            mtime: look.mtime,
            born: look.born,
            noticed: self.scan,
            polled: link || look.links > 1,
            stranger: !wanted,
        });
        if link || look.links > 1 {
            self.linked.push(id);
        }
        self.changed = true;
        self.unjudged.push_back(id);
    }

    /// The file's name went; it may turn up under another one in the same look.
    pub(super) fn lose(&mut self, id: FileId) {
        self.table.unname(id);
        self.lost.push(id);
    }

    /// Files that have no name after all directories were listed are gone.
    pub(super) fn settle_lost(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.lost) {
            if self.table.get(id).is_none() || self.table.is_named(id) {
                continue;
            }
            self.warn_intake(id);
            let path = self.table.path(id);
            let drained = self
                .table
                .get(id)
                .is_some_and(|f| !f.is_open() || f.stream_id().is_none());
            if drained {
                self.drop_file(id, false);
            } else if let Some(f) = self.table.get_mut(id) {
                tracing::debug!(path = %path.display(), "no name leads to the file any more; reading on by descriptor");
                // It is held from now on, even if it has not grown for long.
                f.gone = true;
                if let Some(b) = self.table.busy(id) {
                    (b.grew, b.gone_at) = (now, super::settle::wall());
                }
                self.check(id, now);
            }
            self.changed = true;
        }
    }

    /// What was read of the file may not be there to be read again.
    fn warn_intake(&self, id: FileId) {
        if let Some(stream) = self.table.get(id).and_then(|f| f.stream_id()) {
            self.intake.endangered(stream);
        }
    }

    /// Follows the file no more.
    pub(super) fn drop_file(&mut self, id: FileId, finished: bool) {
        self.park(id, finished);
        if matches!(
            self.table.get(id).map(|f| &f.role),
            Some(Role::Unpacked(_) | Role::Ignored)
        ) {
            self.forget_archive(id);
        }
        self.set_role(id, Role::Unknown);
        self.comparisons.forget(id);
        if self.table.get(id).is_some() {
            tracing::debug!(path = %self.table.path(id).display(), finished, "no longer followed");
            self.table.remove(id);
        }
        for list in [
            &mut self.ready,
            &mut self.waiting,
            &mut self.open,
            &mut self.archives,
            &mut self.lost,
            &mut self.denied,
            &mut self.asking,
            &mut self.linked,
        ] {
            list.retain(|f| *f != id);
        }
        if let Some(at) = self.unjudged.iter().position(|f| *f == id) {
            self.unjudged.remove(at);
            self.sorted -= usize::from(at < self.sorted);
            self.first = self.first.map(|first| first - usize::from(at < first));
        }
    }

    /// After a change of the patterns.
    pub(super) fn drop_unwanted(&mut self) {
        for id in self.table.ids() {
            let Some(f) = self.table.get(id) else { continue };
            let path = self.table.path(id);
            if !f.fragile() && !f.stranger && !self.wants(&path, self.table.name(id)) {
                let stream = f.stream_id();
                self.drop_file(id, false);
                if let Some(p) = stream.and_then(|s| self.streams.get_mut(s)).and_then(Known::parked_mut) {
                    (p.unwanted, p.counted) = (true, true);
                }
            }
        }
    }

    /// Has the file changed?
    pub(super) fn check(&mut self, id: FileId, now: Instant) {
        let Some(f) = self.table.get(id) else { return };
        let (dir, inode) = (f.dir, f.inode());
        let found = match f.busy().and_then(|b| b.fd.as_ref()) {
            Some(fd) => rustix::fs::fstat(fd).map(|s| (s.st_dev, s.st_ino, s.st_size as u64, mtime(&s), f.born)),
            None => stat::of_path(&self.table.path(id)).map(|l| (l.dev, l.ino, l.size, l.mtime, l.born)),
        };
        let (size, time) = match found {
            Ok((dev, ino, size, time, born)) if (dev, ino) == inode && (born == f.born || f.born == 0) => (size, time),
            // Another file under this name, or none: the directory tells.
            _ => return self.mark(dir),
        };
        if (size, time) == (f.size, f.mtime) {
            return;
        }
        self.table.note_size(id, size, time, now);
        self.changed = true;
        let Some(f) = self.table.get(id) else { return };
        match f.role {
            Role::Holds(_) => self.make_ready(id),
            Role::Unknown | Role::CopyOf(_) | Role::Ignored | Role::Unpacked(_) => self.unjudge(id),
            Role::Archive(_) => self.await_archive(id),
        }
    }

    pub(super) fn close_if_idle(&mut self, id: FileId, now: Instant) {
        let Some(f) = self.table.get(id) else { return };
        let idle = f.quiet(now);
        let unread = f.ready || f.held() != Held::No || (f.gone && f.looked() < f.size);
        match (f.gone, f.renamed) {
            _ if unread && (f.gone || f.held() != Held::Partial) => {}
            (true, _) if idle >= self.settings.hold => self.drop_file(id, true),
            (false, true) if idle >= self.settings.hold.max(CLOSE_AFTER) => self.close(id),
            (false, false) if idle >= CLOSE_AFTER => self.close(id),
            _ => {}
        }
    }

    /// Closes the descriptor, and remembers how the file was left.
    pub(super) fn close(&mut self, id: FileId) {
        self.open.retain(|f| *f != id);
        let Some(f) = self.table.get_mut(id) else { return };
        if let Some(b) = f.busy_mut() {
            (b.fd, b.stream) = (None, None);
        }
        let (stream, size, mtime) = (f.stream_id(), f.size, f.mtime);
        let kept = std::mem::replace(&mut f.kept, true);
        self.table.rest(id);
        if let Some(stream) = stream
            && !kept
        {
            self.remember(stream, self.table.path(id), size, mtime);
        }
    }
}
