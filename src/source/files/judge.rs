//! Judging: what each new or changed file is, by its content.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::super::identity::{self, Head};
use super::super::survey::{Rival, Survey};
use super::super::table::{File, FileId, Held, Role};
use super::super::window::BLOCK;
use super::super::{Cursor, HEAD, NEAR, Room, Steps, StreamEntry, StreamId, archive, names};
use super::{MAX_OPEN, Tailer};

/// Files that are judged in a turn, at most.
const AT_ONCE: usize = 256;
/// As long as so many others wait to be read and there is no room for them: what is known of a file takes ten times as
/// much memory until it is kept as afterwards.
const MEANWHILE: usize = 16;

impl Tailer {
    /// Says what the files are that are not known yet, some at a time: where there are very many, what is found out
    /// about these is on its way before the next ones are looked at.
    pub(super) fn judge_all(&mut self) {
        let sorted = self.sorted.min(self.unjudged.len());
        let (table, all) = (&self.table, self.unjudged.make_contiguous());
        if let Some(new) = all.get_mut(sorted..) {
            // Originals before their copies, whatever their names.
            new.sort_by(|a, b| table.age(*a).cmp(&table.age(*b)).then_with(|| table.order(*a, *b)));
        }
        if self.fresh && self.first.is_none() && self.table.dirs.iter().any(|d| d.exists) {
            self.first = Some(self.unjudged.len());
        }
        let waits = self.ready.len() >= AT_ONCE && self.intake.wait_room(Duration::ZERO) == Room::None;
        let turn = self.unjudged.len().min(if waits { MEANWHILE } else { AT_ONCE });
        self.sorted = self.unjudged.len() - turn;
        for _ in 0..turn {
            self.end_first_look();
            self.first = self.first.map(|left| left.saturating_sub(1));
            if let Some(id) = self.unjudged.pop_front() {
                self.judge(id);
                self.table.rest(id);
            }
        }
        self.end_first_look();
    }

    /// Once what was there at first is judged, what appears is new: also in later lives.
    fn end_first_look(&mut self) {
        if self.fresh && self.first == Some(0) {
            self.fresh = false;
            self.intake.remember(StreamEntry {
                id: self.streams.next_id(),
                archive: true,
                ..StreamEntry::default()
            });
        }
    }

    fn judge(&mut self, id: FileId) {
        let Some(f) = self.table.get(id) else { return };
        if matches!(f.role, Role::Holds(_)) {
            return self.make_ready(id);
        }
        if self.comparisons.has(id) || self.is_unchanged(id) {
            return;
        }
        let Some(file) = self.open_file(id) else {
            // Renamed since it was noticed, most likely: the next look finds its new name, and it is still unknown.
            if !self.denied.contains(&id) && self.table.get(id).is_some() {
                self.unjudge(id);
            }
            return;
        };
        let mut start = vec![0; HEAD + 1];
        let n = match read_at(&file, &mut start, 0) {
            Ok(n) => n,
            Err(error) => {
                tracing::debug!(path = %self.table.path(id).display(), %error, "cannot be read");
                return;
            }
        };
        start.truncate(n);
        if self.judge_kind(id, &start) {
            return;
        }
        self.note(id, &file);
        if self.recall_copy(id) {
            return;
        }
        let own = self.own_stream(id).filter(|s| {
            let k = self.streams.get(*s);
            k.is_some_and(|k| k.head_len() > 0 && identity::has_head(&start, k.head, k.head_len()))
        });
        let first = own
            .and_then(|s| self.streams.get(s))
            .map(super::super::streams::Known::first);
        let head = identity::head(&start, false).or(first).or_else(|| {
            let finish = !start.is_empty() && self.may_finish(id);
            finish.then(|| identity::head(&start, true)).flatten()
        });
        match head {
            Some(head) => self.decide(id, head, own, &start, file),
            None => {
                // A first line without an end: it waits, in a live file for ever.
                let waits = self.is_final(id) && !start.is_empty();
                if waits && let Some(b) = self.table.busy(id) {
                    b.held = Held::Partial;
                    self.wait_for(id);
                }
                self.keep_if_gone(id, file);
            }
        }
    }

    /// Of a file without a name the descriptor is all there is; closed, its inode would be another file's soon.
    pub(super) fn keep_if_gone(&mut self, id: FileId, file: fs::File) {
        if self.table.get(id).is_some_and(|f| f.gone) {
            self.keep_open(id, file);
        }
    }

    /// As it was left by an earlier life, read to its end: taken up without a look inside.
    fn is_unchanged(&mut self, id: FileId) -> bool {
        let Some(f) = self.table.get(id) else { return false };
        let (dev, ino) = f.inode();
        let Some(stream) = self.streams.by_inode(dev, ino) else {
            return false;
        };
        let same = self.streams.get(stream).is_some_and(|k| {
            let left = k
                .parked()
                .is_some_and(|p| (p.size, p.mtime) == (f.size, f.mtime) && p.mtime != 0);
            left && k.cursor.offset == f.size && k.born == 0
        });
        if same {
            self.hold(id, stream);
        }
        same
    }

    /// Archives, and files that are of no interest unless they are archives. Whether that settles it.
    fn judge_kind(&mut self, id: FileId, start: &[u8]) -> bool {
        let path = self.table.path(id);
        let is_archive = archive::kind(start).is_some();
        if is_archive && self.settings.compressed {
            if !self.recall_archive(id) {
                self.await_archive(id);
            }
            return true;
        }
        let named = path.file_name().is_some_and(names::is_archive_name);
        let stranger = self.table.get(id).is_some_and(|f| f.stranger);
        let nothing =
            is_archive || (named && !stranger && !self.patterns.wants(&path) && !self.patterns.wants_archive(&path));
        if nothing {
            self.set_role(id, Role::Ignored);
        }
        nothing
    }

    /// Opens the file, if it still is the one that is meant. Says once that it cannot.
    pub(super) fn open_file(&mut self, id: FileId) -> Option<fs::File> {
        if let Some(fd) = self.table.get_mut(id)?.busy_mut().and_then(|b| b.fd.take()) {
            return Some(fd);
        }
        let path = self.table.path(id);
        let opened = open_plainly(&path);
        let f = self.table.get_mut(id)?;
        match opened.and_then(|file| Ok((file.metadata()?, file))) {
            Ok((m, file)) if (m.dev(), m.ino()) == f.inode() => {
                if std::mem::take(&mut f.denied) {
                    tracing::info!(path = %path.display(), "can be read again");
                }
                Some(file)
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                if !std::mem::replace(&mut f.denied, true) {
                    tracing::warn!(path = %path.display(), "cannot be read: permission denied");
                }
                self.denied.push(id);
                None
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), "cannot be read: {e}");
                self.denied.push(id);
                None
            }
            _ if f.gone => {
                self.drop_file(id, false);
                None
            }
            _ => {
                let dir = f.dir;
                self.mark(dir);
                None
            }
        }
    }

    /// Opens a file that others are compared with; its own descriptor stays where it is.
    pub(super) fn open_again(&mut self, id: FileId) -> Option<fs::File> {
        let f = self.table.get(id)?;
        if let Some(fd) = f.busy().and_then(|b| b.fd.as_ref()) {
            return fd.try_clone().ok();
        }
        let file = open_plainly(&self.table.path(id)).ok()?;
        let m = file.metadata().ok()?;
        ((m.dev(), m.ino()) == f.inode()).then_some(file)
    }

    /// Keeps the descriptor where it is worth it.
    pub(super) fn keep_open(&mut self, id: FileId, file: fs::File) {
        let Some(fragile) = self.table.get(id).map(File::fragile) else {
            return;
        };
        if let Some(b) = self.table.busy(id) {
            b.fd = Some(file);
        }
        if !self.open.contains(&id) {
            self.open.push(id);
        }
        if self.open.len() > MAX_OPEN && !fragile {
            // The one that has been idle longest gives way; it is opened again by its name.
            let grew = |id: &FileId| {
                let f = self.table.get(*id).filter(|f| !f.fragile())?;
                Some((f.busy()?.grew, *id))
            };
            let oldest = self.open.iter().filter_map(grew).min_by_key(|(grew, _)| *grew);
            let oldest = oldest.map(|(_, id)| id);
            oldest.into_iter().for_each(|id| self.close(id));
        }
    }

    /// Compares the file with the streams that begin as it does; where there are none it is new.
    fn decide(&mut self, id: FileId, head: Head, own: Option<StreamId>, start: &[u8], file: fs::File) {
        let alike: Vec<StreamId> = self.streams.with_head(head).map(|(id, _)| id).collect();
        let others = alike.iter().chain(own.iter().filter(|o| !alike.contains(o)));
        let rivals: Vec<StreamId> = others.copied().collect();
        let mut unique = 0;
        let asked = if self.must_ask(&rivals, start) {
            let answer = self.ask(id, &file, Cursor::default(), 0, head);
            if answer.is_none() && !self.has_asked_long_enough(id) {
                self.asking.push(id);
                return self.keep_if_gone(id, file);
            }
            if answer.is_none() {
                // Read without the store's answer, under numbers that nobody else gives.
                unique = (super::settle::wall() / 1_000_000_000) as u32;
            }
            answer
        } else {
            None
        };
        let size = self.table.get(id).map_or(0, |f| f.size);
        let rivals: Vec<Rival> = rivals.into_iter().filter_map(|r| self.rival(r)).collect();
        let mut survey = Survey::new(rivals, 0, Cursor::default(), 0, Steps::default());
        let further = asked.as_ref().is_some_and(|a| a.further);
        let (least, to) = asked.map(|a| (a.least, a.to)).unwrap_or_default();
        let untimed = !self.names_time(start);
        if let Some(f) = self.table.get_mut(id) {
            (f.asking, f.held_before) = (further || (self.fresh && untimed), !least.is_empty());
            f.untimed = untimed;
        }
        survey.above(least, if unique > 0 { size } else { to });
        survey.above_behind(unique);
        self.survey(id, head, survey, file);
    }

    /// The stream that was last seen with this file's inode.
    fn own_stream(&self, id: FileId) -> Option<StreamId> {
        let (dev, ino) = self.table.get(id)?.inode();
        self.streams.by_inode(dev, ino)
    }

    /// Takes note of what the file is like now.
    fn note(&mut self, id: FileId, file: &fs::File) {
        let Ok(look) = super::super::stat::of_file(file) else {
            return;
        };
        self.table
            .note_size(id, look.size, look.mtime, std::time::Instant::now());
        if let Some(f) = self.table.get_mut(id) {
            (f.born, f.touched) = (look.born, look.touched);
        }
    }

    pub(super) fn attach(&mut self, id: FileId, stream: StreamId, file: fs::File) {
        self.hold(id, stream);
        let Some(f) = self.table.get(id) else { return };
        if self.streams.get(stream).is_some_and(|k| f.size > k.cursor.offset) {
            self.keep_open(id, file);
            self.make_ready(id);
        }
    }

    /// The file holds the stream from now on.
    fn hold(&mut self, id: FileId, stream: StreamId) {
        let path = self.table.path(id);
        self.set_role(id, Role::Holds(stream));
        let (Some(f), Some(k)) = (self.table.get_mut(id), self.streams.get(stream)) else {
            return;
        };
        let (parked, looked) = (k.parked().is_some(), k.cursor.offset);
        let moved = k.parked().is_some_and(|p| p.path != path);
        f.renamed |= moved || f.stranger;
        let (dev, ino) = f.inode();
        let changed = moved || !parked || k.inode() != (dev, ino);
        let (size, time) = (f.size, f.mtime);
        f.wrote = f.mtime;
        f.kept = changed || k.parked().is_some_and(|p| (p.size, p.mtime) == (size, time));
        if (looked != size || f.busy().is_some())
            && let Some(b) = self.table.busy(id)
        {
            (b.looked, b.held, b.scanned, b.peak) = (looked, Held::No, 0, size);
        }
        if moved {
            self.keep_script(stream, path.file_name().unwrap_or_default());
        }
        self.seek_again |= parked;
        let born = self.table.get(id).map_or(0, |f| f.born);
        self.streams.attach(stream, id, (dev, ino), born);
        if changed {
            self.remember(stream, path, size, time);
        }
        self.table.rest(id);
    }
}

/// Opens a file for reading, without waiting for the other end of a FIFO.
fn open_plainly(path: &Path) -> io::Result<fs::File> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads at `offset` until `buf` is full or the file ends.
pub(super) fn read_at(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(room) = buf.get_mut(got..).filter(|r| !r.is_empty()) {
        match file.read_at(room, offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// A cursor after the last complete line.
pub(super) fn end_of(file: &fs::File, size: u64) -> io::Result<Cursor> {
    let mut to = size;
    let mut buf = vec![0; BLOCK];
    while to > 0 {
        let from = to.saturating_sub(BLOCK as u64);
        let room = buf.get_mut(..(to - from) as usize).unwrap_or_default();
        let n = read_at(file, room, from)?;
        if let Some(at) = memchr::memrchr(b'\n', room.get(..n).unwrap_or_default()) {
            let offset = from + at as u64 + 1;
            let below = offset.min(NEAR as u64);
            let mut near = vec![0; below as usize];
            read_at(file, &mut near, offset - below)?;
            return Ok(Cursor {
                offset,
                near: identity::near(&near),
                ..Cursor::default()
            });
        }
        to = from;
    }
    Ok(Cursor::default())
}

/// Whether this path names a rotated file beside a live one.
pub(super) fn has_live_sibling<'a>(path: &Path, mut names: impl Iterator<Item = &'a std::ffi::OsStr>) -> bool {
    let Some(name) = path.file_name() else { return false };
    names.any(|live| names::is_rotated_of(name, live))
}
