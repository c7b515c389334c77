//! Judging: what each new or changed file is, by its content.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use super::super::discovery::{Candidate, Near, Seen, Verdict, judge};
use super::super::identity::{self, Head};
use super::super::streams::Known;
use super::super::table::{FileId, Held, Role};
use super::super::window::BLOCK;
use super::super::{Closed, Cursor, HEAD, NEAR, StreamId, archive, names};
use super::{MAX_OPEN, Tailer};
use crate::config::{Copies, StartAt};

impl Tailer {
    pub(super) fn judge_all(&mut self) -> Result<(), Closed> {
        let mut ids = std::mem::take(&mut self.unjudged);
        if ids.len() > 1 {
            ids.sort_by_cached_key(|id| self.table.path(*id));
            ids.dedup();
        }
        for id in ids {
            self.judge(id);
        }
        if self.fresh && self.table.dirs.iter().any(|d| d.exists) {
            self.fresh = false;
        }
        Ok(())
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
        let own = self.table.get(id).and_then(|f| self.streams.by_inode(f.dev, f.ino));
        let grown = own.filter(|s| {
            self.streams.get(*s).is_some_and(|k| {
                k.head_len > 0
                    && identity::has_head(&start, k.head, k.head_len)
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
                if let Some(f) = self.table.get_mut(id).filter(|_| waits) {
                    f.held = Held::Partial;
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
        let Some(stream) = self.streams.by_inode(f.dev, f.ino) else {
            return false;
        };
        let same = self.streams.get(stream).is_some_and(|k| {
            let left = k
                .parked
                .as_ref()
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
        if let Some(fd) = self.table.get_mut(id)?.fd.take() {
            return Some(fd);
        }
        let path = self.table.path(id);
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path);
        let f = self.table.get_mut(id)?;
        match opened.and_then(|file| Ok((file.metadata()?, file))) {
            Ok((m, file)) if (m.dev(), m.ino()) == (f.dev, f.ino) => {
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
        let Some(f) = self.table.get_mut(id) else { return };
        let fragile = f.fragile();
        f.fd = Some(file);
        if !self.open.contains(&id) {
            self.open.push(id);
        }
        if self.open.len() > MAX_OPEN && !fragile {
            // The one that has been idle longest gives way; it is opened again by its name.
            let idle = |id: &&FileId| {
                self.table
                    .get(**id)
                    .filter(|f| !f.fragile())
                    .map(|f| (!f.ready, f.grew))
            };
            let oldest = self
                .open
                .iter()
                .filter(|id| idle(id).is_some())
                .min_by_key(|id| idle(id).map(|i| i.1))
                .copied();
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
        let (inode, noticed, stranger) = ((f.dev, f.ino), f.noticed, f.stranger);
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
    fn candidates(&mut self, head: Head, inode: (u64, u64), noticed: u64, file: &fs::File) -> Vec<Candidate> {
        let holders: Vec<FileId> = self.streams.with_head(head).filter_map(|(_, k)| k.file).collect();
        let now = Instant::now();
        holders.into_iter().for_each(|h| self.check(h, now));
        let candidate = |(id, k): (StreamId, &Known)| {
            let holder = k.file.and_then(|h| self.table.get(h));
            Candidate {
                id,
                generation: k.generation,
                offset: k.cursor.offset,
                own: (k.dev, k.ino) == inode,
                live: holder.is_some(),
                unread: holder.is_some_and(|h| h.ready || h.size > h.looked),
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
        let known = Known {
            head: head.hash,
            head_len: head.len,
            generation,
            cursor,
            start: cursor.offset,
            dev: f.dev,
            ino: f.ino,
            born: self.scan,
            script: names::script(&f.name).into(),
            file: None,
            copies: 0,
            finished: false,
            parked: None,
        };
        let stream = self.streams.next_id();
        self.streams.add(stream, known);
        self.attach(id, stream, file);
    }

    /// A copy that has more than its original: the rest is delivered under the original's keys.
    fn fork(&mut self, id: FileId, of: StreamId, file: fs::File) {
        let Some(known) = self.streams.get(of).cloned() else {
            return;
        };
        let stream = self.streams.next_id();
        let born = self.scan;
        self.streams.add(
            stream,
            Known {
                file: None,
                copies: 0,
                parked: None,
                finished: false,
                born,
                ..known
            },
        );
        self.attach(id, stream, file);
    }

    fn attach(&mut self, id: FileId, stream: StreamId, file: fs::File) {
        self.hold(id, stream);
        let Some(f) = self.table.get(id) else { return };
        if f.size > f.looked {
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
        let moved = k.parked.as_ref().is_some_and(|p| p.path != path);
        f.renamed |= moved || f.stranger;
        (f.looked, f.held, f.scanned, f.peak) = (k.cursor.offset, Held::No, 0, f.size);
        let (dev, ino) = (f.dev, f.ino);
        let changed = moved || k.parked.is_none() || (k.dev, k.ino) != (dev, ino);
        let (size, time) = (f.size, f.mtime);
        if k.parked.is_some() {
            self.seek_again = true;
        }
        self.streams.attach(stream, id, dev, ino);
        if changed && let Some(k) = self.streams.get(stream) {
            self.intake.remember(k.entry(stream, path, size, time));
        }
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
pub(super) fn has_live_sibling(path: &Path, names: impl Iterator<Item = std::sync::Arc<std::ffi::OsStr>>) -> bool {
    let Some(name) = path.file_name() else { return false };
    let mut names = names;
    names.any(|live| names::is_rotated_of(name, &live))
}
