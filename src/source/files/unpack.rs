//! Unpacking: what of an archive was not shipped while it was plain.
//!
//! The bytes inside are read as those of a file would be, from their first one. Where streams of that head are known,
//! the content up to their cursors is compared; from the cursor on it is theirs. All of it that a live file still
//! holds is left to that file. An archive is read once: what is inside is remembered with its size and time.
//!
//! One archive is read at a time, and in between the live files have their turns.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::super::table::{File, FileId, Inside, Role};
use super::super::{Closed, Loss, StreamEntry, StreamId, archive};
use super::member::{Looked, Pass};
use super::{Remembered, Tailer};
use crate::config::StartAt;

/// An archive is read when it has not changed for this long.
const SETTLED: Duration = Duration::from_millis(300);
/// An archive that ends too early may still be written to; after this time it is damaged.
const PATIENCE: Duration = Duration::from_secs(10);

impl Tailer {
    /// Has the archive looked into, once it is quiet.
    pub(super) fn await_archive(&mut self, id: FileId) {
        if self.fresh && self.settings.start_at == StartAt::End {
            self.set_role(id, Role::Unpacked(Box::default()));
            return self.settle_archive(id);
        }
        if let Some(f) = self.table.get_mut(id) {
            f.at_first |= self.fresh;
        }
        self.put_off(id, Instant::now());
    }

    fn put_off(&mut self, id: FileId, since: Instant) {
        self.set_role(id, Role::Archive(since));
        if !self.archives.contains(&id) {
            self.archives.push(id);
        }
    }

    /// Time since the file last changed.
    fn age(&self, id: FileId) -> Duration {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mtime = self.table.get(id).map_or(0, |f| f.mtime.max(0) as u64);
        now.saturating_sub(Duration::from_nanos(mtime))
    }

    pub(super) fn unpack_all(&mut self, now: Instant) -> Result<(), Closed> {
        if self.archives.is_empty() {
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.archives);
        ids.sort_by_cached_key(|id| {
            self.table
                .get(*id)
                .map(|f| (f.mtime, self.table.name(*id).to_os_string()))
        });
        for (at, id) in ids.iter().enumerate() {
            let Some(Role::Archive(since)) = self.table.get(*id).map(|f| f.role.clone()) else {
                continue;
            };
            let quiet = now.saturating_duration_since(since) >= SETTLED || (since <= now && self.age(*id) >= PATIENCE);
            if !quiet && !self.once {
                self.archives.push(*id);
                continue;
            }
            if let Err(closed) = self.unpack(*id) {
                self.archives.extend(ids.iter().skip(at));
                return Err(closed);
            }
        }
        Ok(())
    }

    fn unpack(&mut self, id: FileId) -> Result<(), Closed> {
        let mut plans = HashMap::new();
        let mut retries = 0;
        loop {
            let Some(file) = self.open_file(id) else { return Ok(()) };
            let mut start = [0; archive::MAGIC];
            let n = super::judge::read_at(&file, &mut start, 0).unwrap_or(0);
            let Some(kind) = archive::kind(start.get(..n).unwrap_or_default()) else {
                self.set_role(id, Role::Unknown);
                self.unjudge(id);
                return Ok(());
            };
            let before = self.table.get(id).map(|f| (f.size, f.mtime));
            let looked = Pass::new(self, id, &mut plans).run(file, kind)?;
            let Looked {
                covers,
                partial,
                again,
                wait,
                copied,
                outcome,
            } = looked;
            tracing::debug!(path = %self.table.path(id).display(), ?covers, partial, again, wait, ?outcome, "looked inside");
            match outcome {
                Ok(()) if wait => self.put_off(id, Instant::now()),
                Ok(()) if again && retries < 2 => {
                    retries += 1;
                    continue;
                }
                Ok(()) => {
                    if copied > 0 {
                        self.intake.count(Loss::Copied { lines: copied });
                    }
                    self.set_role(id, Role::Unpacked(Box::new(Inside { covers, partial })));
                    if !partial {
                        self.settle_archive(id);
                    }
                }
                Err(error) => self.damaged(id, before, &error),
            }
            return Ok(());
        }
    }

    /// The archive could not be read to its end: it is being written, or damaged.
    fn damaged(&mut self, id: FileId, before: Option<(u64, i64)>, error: &io::Error) {
        let now = Instant::now();
        self.check(id, now);
        let changed = self.table.get(id).map(|f| (f.size, f.mtime)) != before;
        if changed {
            return self.put_off(id, now);
        }
        if self.age(id) < if self.once { Duration::from_secs(2) } else { PATIENCE } {
            return self.put_off(id, now + Duration::from_secs(1));
        }
        self.broken += 1;
        tracing::warn!(path = %self.table.path(id).display(), "the archive cannot be read, and is left alone until it changes: {error}");
        self.set_role(id, Role::Ignored);
    }

    /// Remembers an archive that was dealt with, so that no later start looks into it again.
    pub(super) fn settle_archive(&mut self, id: FileId) {
        let Some(f) = self.table.get(id) else { return };
        let Role::Unpacked(inside) = &f.role else { return };
        let covers = &inside.covers;
        let settled = |s: &StreamId| self.streams.get(*s).is_some_and(|k| k.finished || k.file().is_none());
        if !covers.iter().all(|(s, _)| settled(s)) {
            return;
        }
        let covers: Vec<(StreamId, u64)> = covers
            .iter()
            .filter_map(|(s, _)| Some((*s, self.streams.get(*s)?.cursor.offset)))
            .collect();
        let ((dev, ino), size, mtime) = (f.inode(), f.size, f.mtime);
        let path = self.table.path(id);
        let marker = self.streams.next_id();
        self.intake.remember(StreamEntry {
            id: marker,
            path,
            dev,
            ino,
            size,
            mtime,
            finished: true,
            archive: true,
            head: self.patterns.hash(),
            covers: covers.clone(),
            ..StreamEntry::default()
        });
        let memory = Remembered {
            id: marker,
            size,
            mtime,
            patterns: self.patterns.hash(),
            covers: covers.clone(),
        };
        if let Some(old) = self.remembered.insert((dev, ino), memory) {
            self.intake.forget(old.id);
        }
        self.set_role(id, Role::Unpacked(Box::new(Inside { covers, partial: false })));
    }

    /// Remembers a copy, so that no later start reads and counts it again.
    pub(super) fn settle_copy(&mut self, id: FileId, of: StreamId) {
        let (Some(f), Some(k)) = (self.table.get(id), self.streams.get(of)) else {
            return;
        };
        let ((dev, ino), size, mtime, to) = (f.inode(), f.size, f.mtime, k.cursor.offset);
        let known = self.remembered.get(&(dev, ino));
        if known.is_some_and(|m| (m.size, m.mtime, m.covers.as_slice()) == (size, mtime, &[(of, to)])) {
            return;
        }
        let marker = self.streams.next_id();
        let covers = vec![(of, to)];
        self.intake.remember(StreamEntry {
            id: marker,
            path: self.table.path(id),
            dev,
            ino,
            size,
            mtime,
            archive: true,
            head: self.patterns.hash(),
            covers: covers.clone(),
            ..StreamEntry::default()
        });
        let memory = Remembered {
            id: marker,
            size,
            mtime,
            patterns: self.patterns.hash(),
            covers,
        };
        if let Some(old) = self.remembered.insert((dev, ino), memory) {
            self.intake.forget(old.id);
        }
    }

    /// Takes up what an earlier life knew of a copy, if it is as it was and its original is there.
    pub(super) fn recall_copy(&mut self, id: FileId) -> bool {
        let Some(f) = self.table.get(id) else { return false };
        let Some(memory) = self.remembered.get(&f.inode()) else {
            return false;
        };
        if let Some((of, to)) = memory.covers.first().copied()
            && (memory.size, memory.mtime) == (f.size, f.mtime)
            && f.role == Role::Unknown
            && self
                .streams
                .get(of)
                .is_some_and(|k| k.cursor.offset >= to && k.file().is_some())
        {
            self.set_role(id, Role::CopyOf(of));
            return true;
        }
        false
    }

    /// Takes up what an earlier life knew of the archive, if it is as it was and what is inside was settled.
    pub(super) fn recall_archive(&mut self, id: FileId) -> bool {
        let Some(f) = self.table.get(id) else { return false };
        let Some(memory) = self.remembered.get(&f.inode()) else {
            return false;
        };
        let reached = |(s, to): &(StreamId, u64)| self.streams.get(*s).is_some_and(|k| k.cursor.offset >= *to);
        let same = (memory.size, memory.mtime, memory.patterns) == (f.size, f.mtime, self.patterns.hash());
        if same && memory.covers.iter().all(reached) {
            let covers = memory.covers.clone();
            self.set_role(id, Role::Unpacked(Box::new(Inside { covers, partial: false })));
            return true;
        }
        self.forget_archive(id);
        false
    }

    pub(super) fn forget_archive(&mut self, id: FileId) {
        let inode = self.table.get(id).map(File::inode);
        if let Some(memory) = inode.and_then(|i| self.remembered.remove(&i)) {
            self.intake.forget(memory.id);
        }
    }

    /// Forgets archives that went while nobody looked.
    pub(super) fn prune_archives(&mut self) {
        let gone: Vec<(u64, u64)> = self
            .remembered
            .keys()
            .filter(|(dev, ino)| *ino != 0 && self.table.by_inode(*dev, *ino).is_none())
            .copied()
            .collect();
        for inode in gone {
            if let Some(memory) = self.remembered.remove(&inode) {
                self.intake.forget(memory.id);
            }
        }
    }
}
