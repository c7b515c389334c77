//! Judging: what each new or changed file is, by its content.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::discovery::{Candidate, Near, Seen, Verdict, judge};
use super::super::identity::{self, Head};
use super::super::streams::{Identity, Known};
use super::super::table::{File, FileId, Held, Role};
use super::super::window::BLOCK;
use super::super::{Cursor, HEAD, NEAR, Room, StreamId, archive, names};
use super::{MAX_OPEN, Tailer};
use crate::config::{Copies, StartAt};

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
            new.sort_by(|a, b| table.order(*a, *b));
        }
        if self.fresh && self.first.is_none() && self.table.dirs.iter().any(|d| d.exists) {
            self.first = Some(self.unjudged.len());
        }
        let waits = self.ready.len() >= AT_ONCE && self.intake.wait_room(Duration::ZERO) == Room::None;
        let turn = self.unjudged.len().min(if waits { MEANWHILE } else { AT_ONCE });
        self.sorted = self.unjudged.len() - turn;
        for _ in 0..turn {
            self.fresh &= self.first != Some(0);
            self.first = self.first.map(|left| left.saturating_sub(1));
            if let Some(id) = self.unjudged.pop_front() {
                self.judge(id);
                self.table.rest(id);
            }
        }
        self.fresh &= self.first != Some(0);
    }

    fn judge(&mut self, id: FileId) {
        let Some(f) = self.table.get(id) else { return };
        if matches!(f.role, Role::Holds(_)) {
            return self.make_ready(id);
        }
        if self.is_unchanged(id) {
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
        let inode = self.table.get(id).map(File::inode);
        let own = inode.and_then(|(dev, ino)| self.streams.by_inode(dev, ino));
        let grown = own.filter(|s| {
            self.streams.get(*s).is_some_and(|k| {
                k.head_len() > 0
                    && identity::has_head(&start, k.head, k.head_len())
                    && near_of(&file, k.cursor) == Near::Match
            })
        });
        let head = identity::head(&start, false).or_else(|| {
            let finish = grown.is_none() && !start.is_empty() && self.may_finish(id);
            finish.then(|| identity::head(&start, true)).flatten()
        });
        match (grown, head) {
            (Some(stream), _) => self.attach(id, stream, file),
            (None, Some(head)) => self.decide(id, head, file),
            (None, None) => {
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
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path);
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

    fn decide(&mut self, id: FileId, head: Head, file: fs::File) {
        let Some(f) = self.table.get(id) else { return };
        let ship_copies = self.settings.copies == Copies::Ship;
        let seen = Seen {
            archive: false,
            size: f.size,
            distinctive: head.distinctive,
            ship_copies,
        };
        let (inode, noticed, stranger) = (f.inode(), f.noticed, f.stranger);
        let mut candidates = self.candidates(head, inode, noticed, &file);
        let mut verdict = judge(seen, &candidates);
        while let Verdict::Compare(with) = verdict {
            let Some(prefix) = self.compare(id, with, &file) else {
                break;
            };
            candidates
                .iter_mut()
                .filter(|c| c.id == with)
                .for_each(|c| c.prefix = Some(prefix));
            verdict = judge(seen, &candidates);
        }
        tracing::debug!(path = %self.table.path(id).display(), ?verdict, "judged");
        match verdict {
            Verdict::New { .. } if stranger => {
                let (ino, dir) = (inode.1, f_dir(self, id));
                if let Some(d) = self.table.dir_mut(dir) {
                    d.strangers.insert(ino, head.hash);
                }
                self.drop_file(id, false);
            }
            Verdict::New { generation } => self.begin(id, head, generation, file),
            Verdict::Same(stream) => self.attach(id, stream, file),
            Verdict::Fork(of) if !stranger => self.fork(id, of, file),
            Verdict::Copy(of) | Verdict::Fork(of) => {
                self.set_role(id, Role::CopyOf(of));
                self.keep_if_gone(id, file);
            }
            Verdict::Wait => {
                self.unjudge(id);
                self.keep_if_gone(id, file);
            }
            // It is under way.
            Verdict::Compare(_) => self.keep_if_gone(id, file),
        }
    }

    /// The streams that have this head, as the file stands to them.
    fn candidates(&mut self, head: Head, inode: (u64, u64), noticed: u32, file: &fs::File) -> Vec<Candidate> {
        let holders: Vec<FileId> = self.streams.with_head(head).filter_map(|(_, k)| k.file()).collect();
        let now = Instant::now();
        holders.into_iter().for_each(|h| self.check(h, now));
        let candidate = |(id, k): (StreamId, &Known)| {
            let holder = k.file().and_then(|h| self.table.get(h));
            Candidate {
                id,
                generation: k.generation(),
                offset: k.cursor.offset,
                own: k.inode() == inode,
                live: holder.is_some(),
                unread: holder.is_some_and(|h| h.ready || h.size > h.looked()),
                extent: holder.map_or(0, |h| h.size),
                near: near_of(file, k.cursor),
                together: k.born >= noticed,
                prefix: None,
            }
        };
        self.streams.with_head(head).map(candidate).collect()
    }

    /// A new stream.
    fn begin(&mut self, id: FileId, head: Head, generation: u32, file: fs::File) {
        let Some(f) = self.table.get(id) else { return };
        let skip = self.fresh && self.settings.start_at == StartAt::End;
        let cursor = if skip {
            end_of(&file, f.size)
        } else {
            Ok(Cursor::default())
        };
        let Ok(cursor) = cursor else { return self.unjudge(id) };
        let (dev, ino) = f.inode();
        let identity = Identity {
            head: head.hash,
            head_len: head.len,
            generation,
            cursor,
            start: cursor.offset,
            dev,
            ino,
            born: self.scan,
            finished: false,
            script: None,
            parked: None,
        };
        let stream = self.streams.next_id();
        self.streams.add(stream, identity);
        self.attach(id, stream, file);
    }

    /// A copy that has more than its original: the rest is delivered under the original's keys.
    fn fork(&mut self, id: FileId, of: StreamId, file: fs::File) {
        let script = super::unlike_name(self.script(of), self.table.name(id));
        let Some(k) = self.streams.get(of) else { return };
        let (dev, ino) = k.inode();
        let identity = Identity {
            head: k.head,
            head_len: k.head_len(),
            generation: k.generation(),
            cursor: k.cursor,
            start: k.start(),
            dev,
            ino,
            born: self.scan,
            finished: false,
            script,
            parked: None,
        };
        let stream = self.streams.next_id();
        self.streams.add(stream, identity);
        self.attach(id, stream, file);
    }

    fn attach(&mut self, id: FileId, stream: StreamId, file: fs::File) {
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
        self.streams.attach(stream, id, dev, ino);
        if changed {
            self.remember(stream, path, size, time);
        }
        self.table.rest(id);
    }
}

fn f_dir(tailer: &Tailer, id: FileId) -> u32 {
    tailer.table.get(id).map_or(0, |f| f.dir)
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

/// The bytes below the cursor, in this file.
fn near_of(file: &fs::File, cursor: Cursor) -> Near {
    let below = cursor.offset.min(NEAR as u64);
    let mut buf = [0; NEAR];
    let Some(room) = buf.get_mut(..below as usize) else {
        return Near::Differs;
    };
    match read_at(file, room, cursor.offset - below) {
        Ok(n) if (n as u64) < below => Near::Short,
        Ok(_) if identity::near(room) == cursor.near => Near::Match,
        _ => Near::Differs,
    }
}

/// A cursor after the last complete line.
fn end_of(file: &fs::File, size: u64) -> io::Result<Cursor> {
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
