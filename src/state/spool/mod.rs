//! The spool's bytes: append-only files of checksummed frames.
//!
//! # Why they do not lie in the database
//!
//! Cursors can be rebuilt by reading files again; a spooled record exists nowhere else. So its bytes have the simplest
//! form there is, which can be read without the database, and the database keeps only what is *done*
//! ([`SpoolMark`], moved in the same atomic batch as the cursors). If the database is lost, every whole frame is
//! delivered again, under the same keys. The other reasons were measured: sled's cache keeps some 256 pages or more,
//! whatever its limit says (100 MB spooled in values of 2 kB: 18 MiB resident; 600 MB: 26 MiB; values of 30 kB:
//! 107 MiB), its file grows to 1.7 times the data and does not shrink, and it costs ten times the CPU of an append.
//!
//! # Format
//!
//! ```text
//! <first id>.spool   frames, ids rising by one
//! frame              "LGS1" · crc32 of all that follows · id u64 · records before it u64 · records u32
//!                    · raw length u32 · stored length u32 · flags u8 (1: zstd) · 3 × 0 · payload (codec: a batch)
//! ```
//!
//! # Operation
//!
//! A new process begins a new file, so that nothing is ever appended behind a torn tail. A file whose items are all
//! done is unlinked, once that is durable: space is given back in steps of [`FILE_BYTES`]. An append is written at the
//! place where the last whole frame ends. One that fails is cut off again, so that its space goes back to a full disk, and
//! the next attempt writes over whatever is left of it: any number of attempts may fail.
//!
//! Batches whose commit failed behind the append are remembered: the attempt that follows does not append them again.
//!
//! # Failure
//!
//! A reader that meets anything but the frame it expects searches on for the next whole frame. The numbers in it tell
//! how many records are missing between; they are reported as lost, and the damaged file is moved aside when it is
//! finished instead of being unlinked. A torn tail that nobody was promised leaves no gap in the numbers, and is
//! silent. Frames behind the end that the database knows are kept: they were appended, and only the commit is missing,
//! so their source sends them again, and the store ignores what it has.

pub mod frame;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::codec::SpoolMark;
use super::{Dropped, SpoolId, Spooled, files};
use crate::store::Batch;
use frame::Encoder;
use segments::{Found, Segment, Segments};

/// A file is finished when it has grown past this.
pub const FILE_BYTES: u64 = 8 << 20;
/// A file of which everything is done is given up early from this size on; smaller ones go on being appended to.
const RESET_BYTES: u64 = 1 << 20;

/// Just behind an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    segment: u64,
    offset: u64,
    /// The item before this place; 0 at the beginning.
    id: SpoolId,
    /// Records up to and including that item.
    total: u64,
}

impl Place {
    fn behind(found: &Found) -> Place {
        Place {
            segment: found.segment,
            offset: found.end(),
            id: found.head.id,
            total: found.head.total(),
        }
    }
}

pub(super) struct Spool {
    segments: Segments,
    /// The last file, if it was begun by this process.
    tail: Option<File>,
    /// Everything before it is done.
    front: Place,
    next: SpoolId,
    next_total: u64,
    /// Places behind what was read and is not done.
    reads: VecDeque<Place>,
    /// Files of which everything is done, which go once that is durable.
    finished: Vec<Segment>,
    /// Batches that stand in the spool although the commit that brought them failed.
    uncommitted: Vec<Arc<Batch>>,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl Spool {
    /// Opens what is there. `mark` is what the database remembers; without one every whole frame counts.
    pub fn open(dir: &Path, mark: Option<SpoolMark>) -> io::Result<Spool> {
        let known = mark.unwrap_or_default();
        let mut spool = Spool {
            segments: Segments::open(dir)?,
            tail: None,
            front: Place {
                id: known.done,
                total: known.done_total,
                ..Place::default()
            },
            next: known.next.max(known.done + 1),
            next_total: known.next_total.max(known.done_total),
            reads: VecDeque::new(),
            finished: Vec::new(),
            uncommitted: Vec::new(),
            encoder: Encoder::default(),
            buffer: Vec::new(),
        };
        spool.find_end()?;
        spool.find_front(mark.is_some())?;
        Ok(spool)
    }

    /// The last whole frame there is decides the next id, if the database does not know better. Files behind it may hold
    /// nothing whole: a full disk leaves them empty, a kill torn.
    fn find_end(&mut self) -> io::Result<()> {
        let files: Vec<u64> = self.segments.list.iter().map(|s| s.first).collect();
        for first in files.iter().rev().copied() {
            let (mut offset, mut last) = (0, None);
            while let Some(found) = self.segments.frame_in(first, offset)? {
                offset = found.end();
                last = Some(found.head);
            }
            if let Some(head) = last {
                self.next = self.next.max(head.id + 1);
                self.next_total = self.next_total.max(head.total());
                break;
            }
        }
        // The file that a new process begins must not have the name of one that is there.
        self.next = self.next.max(files.last().map_or(0, |first| first + 1));
        Ok(())
    }

    /// Skips what is done, and gives up files that hold nothing else.
    fn find_front(&mut self, known: bool) -> io::Result<()> {
        let done = self.front.id;
        while known && self.segments.list.get(1).is_some_and(|second| second.first <= done + 1) {
            self.finish_first();
        }
        let Some(first) = self.segments.list.front().map(|s| s.first) else {
            return Ok(());
        };
        self.front.segment = first;
        if !known {
            // Nothing is known to be missing before the first frame there is.
            if let Some(found) = self.segments.next_frame(first, 0)? {
                (self.front.id, self.front.total) = (found.head.id.saturating_sub(1), found.head.before);
            }
            return Ok(());
        }
        while let Some(found) = self.segments.frame_in(first, self.front.offset)?
            && found.head.id <= done
        {
            self.front.offset = found.end();
        }
        self.give_up_files();
        Ok(())
    }

    /// What the database has to remember.
    pub fn mark(&self) -> SpoolMark {
        SpoolMark {
            done: self.front.id,
            done_total: self.front.total,
            next: self.next,
            next_total: self.next_total,
        }
    }

    /// Records that wait.
    pub fn records(&self) -> u64 {
        self.next_total.saturating_sub(self.front.total)
    }

    /// Items that wait. One may hold no records, but what became known of runs.
    pub fn items(&self) -> u64 {
        self.next.saturating_sub(self.front.id + 1)
    }

    /// Bytes on disk of what waits.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes().saturating_sub(self.front.offset)
    }

    /// Appends batches and makes them durable; returns their ids. Those that an attempt appended whose commit failed are
    /// not appended again. To be followed by [`Spool::committed`] once the whole commit is made.
    pub fn push(&mut self, batches: &[Arc<Batch>]) -> io::Result<Range<SpoolId>> {
        let first = self.next;
        for batch in batches {
            if !self.uncommitted.iter().any(|known| Arc::ptr_eq(known, batch)) {
                self.append(batch)?;
                self.uncommitted.push(Arc::clone(batch));
            }
        }
        if !batches.is_empty() {
            self.sync()?;
        }
        Ok(first..self.next)
    }

    /// The commit that brought these batches is made. What nobody else holds any more is not going to be tried again.
    pub fn committed(&mut self, batches: &[Arc<Batch>]) {
        self.uncommitted
            .retain(|known| Arc::strong_count(known) > 1 && !batches.iter().any(|b| Arc::ptr_eq(known, b)));
    }

    /// Appends a batch; [`Spool::sync`] makes it durable. On failure nothing is appended.
    fn append(&mut self, batch: &Batch) -> io::Result<SpoolId> {
        let id = self.next;
        self.encoder.encode(batch, id, self.next_total, &mut self.buffer)?;
        if self.tail.is_none() || self.segments.list.back().is_none_or(|s| s.len >= FILE_BYTES) {
            self.sync()?;
            self.tail = None;
            self.tail = Some(self.segments.begin(id)?);
        }
        let (Some(file), Some(segment)) = (self.tail.as_ref(), self.segments.list.back_mut()) else {
            return Err(io::Error::other("the spool has no file"));
        };
        if let Err(e) = files::write_at(file, &self.buffer, segment.len) {
            // If that fails too, the next attempt writes over it, or the torn end is skipped when it is read.
            let _ = file.set_len(segment.len);
            return Err(e);
        }
        segment.len += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(1 << 20);
        self.next += 1;
        self.next_total += batch.records() as u64;
        Ok(id)
    }

    /// Makes everything appended durable. After a failure the kernel may have forgotten what it could not write: nothing
    /// more goes into that file, and what is uncommitted is appended again.
    pub fn sync(&mut self) -> io::Result<()> {
        let synced = self.tail.as_ref().map_or(Ok(()), files::sync_data);
        if synced.is_err() {
            self.tail = None;
            self.uncommitted.clear();
            // The next file may not have this one's name, should nothing have been appended to it.
            self.next = self.next.max(self.segments.list.back().map_or(0, |s| s.first + 1));
        }
        synced
    }

    /// The items after `after`, in order, as one batch: at least one, then as many as fit both bounds (bytes of
    /// documents). `None` when there is nothing.
    pub fn read(&mut self, after: SpoolId, max_records: usize, max_bytes: usize) -> io::Result<Option<Spooled>> {
        let start = self.place_after(after)?;
        let mut place = start;
        let mut batch = Batch::default();
        let mut lost = Dropped::default();
        while place.id + 1 < self.next {
            let Some(found) = self.next_after(place)? else {
                // Nothing whole is left although more was promised.
                let missing = self.next_total.saturating_sub(place.total);
                lost.records += missing;
                place = self.end(place, missing > 0);
                break;
            };
            let head = found.head;
            let full = batch.records() + head.records as usize > max_records
                || batch.bytes().saturating_add(head.raw as usize) > max_bytes;
            if full && !batch.is_empty() {
                break;
            }
            let missing = head.before.saturating_sub(place.total);
            if head.id > place.id + 1 && missing > 0 {
                lost.records += missing;
                self.segments.mark_damaged(place.segment, found.segment);
            }
            let before = batch.records();
            if !head.decode(&self.segments.payload, &mut batch) {
                lost.records += u64::from(head.records).saturating_sub((batch.records() - before) as u64);
                self.segments.mark_damaged(found.segment, found.segment);
            }
            place = Place::behind(&found);
        }
        if place.id <= start.id {
            return Ok(None);
        }
        self.reads.push_back(place);
        Ok(Some(Spooled {
            last: place.id,
            batch,
            lost,
        }))
    }

    /// The first whole frame behind `place`. Items that stand there a second time are passed over.
    fn next_after(&mut self, place: Place) -> io::Result<Option<Found>> {
        let (mut segment, mut offset) = (place.segment, place.offset);
        while let Some(found) = self.segments.next_frame(segment, offset)? {
            if found.head.id > place.id {
                return Ok(Some(found));
            }
            (segment, offset) = (found.segment, found.end());
        }
        Ok(None)
    }

    /// The place behind everything; where records were promised between, the files are damaged.
    fn end(&mut self, from: Place, damaged: bool) -> Place {
        let (segment, offset) = self.segments.list.back().map_or((0, 0), |s| (s.first, s.len));
        if damaged {
            self.segments.mark_damaged(from.segment, segment);
        }
        Place {
            segment,
            offset,
            id: self.next - 1,
            total: self.next_total,
        }
    }

    /// The place behind `after`: remembered from reading it, else found by walking there.
    fn place_after(&mut self, after: SpoolId) -> io::Result<Place> {
        let known = self.reads.iter().rev().find(|p| p.id <= after);
        let mut place = known.copied().unwrap_or(self.front);
        while place.id < after {
            match self.next_after(place)? {
                Some(found) if found.head.id <= after => place = Place::behind(&found),
                Some(_) => break,
                None => return Ok(self.end(place, self.next_total > place.total)),
            }
        }
        Ok(place)
    }

    /// Everything up to and including `id` is stored. True if a file is finished, see [`Spool::unlink_finished`].
    pub fn done(&mut self, id: SpoolId) -> io::Result<bool> {
        let id = id.min(self.next - 1);
        if id <= self.front.id {
            // What could not be unlinked then is tried again.
            return Ok(!self.finished.is_empty());
        }
        self.front = self.place_after(id)?;
        self.front.id = id;
        self.reads.retain(|p| p.id > id);
        self.give_up_files();
        Ok(!self.finished.is_empty())
    }

    /// Gives up the files before the front, and those of which nothing is left.
    fn give_up_files(&mut self) {
        let empty = self.front.id + 1 >= self.next;
        while let Some(first) = self.segments.list.front() {
            let tail = self.tail.is_some() && self.segments.list.len() == 1;
            let passed = first.first < self.front.segment;
            let read = first.first == self.front.segment && self.front.offset >= first.len;
            let spent = if tail { first.len >= RESET_BYTES } else { true };
            if !(passed || (read || empty) && spent) {
                break;
            }
            self.finish_first();
        }
        match self.segments.list.front() {
            Some(first) if first.first <= self.front.segment => {}
            Some(first) => (self.front.segment, self.front.offset) = (first.first, 0),
            None => (self.front.segment, self.front.offset) = (0, 0),
        }
    }

    fn finish_first(&mut self) {
        self.finished.extend(self.segments.pop_first());
        if self.segments.list.is_empty() {
            self.tail = None;
        }
    }

    /// Unlinks finished files; damaged ones are moved to the directory `aside`.
    pub fn unlink_finished(&mut self, aside: &Path) -> io::Result<()> {
        while let Some(segment) = self.finished.last() {
            let path = self.segments.path(segment.first);
            let gone = if segment.damaged {
                files::move_into(&path, aside)
            } else {
                fs::remove_file(&path)
            };
            match gone {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => self.finished.pop(),
            };
        }
        Ok(())
    }

    /// Gives up the oldest items until at least `bytes` are free, or nothing is left.
    pub fn drop_oldest(&mut self, bytes: u64) -> io::Result<Dropped> {
        let (records, before) = (self.records(), self.bytes());
        while self.front.id + 1 < self.next && before.saturating_sub(self.bytes()) < bytes {
            let found = self.next_after(self.front)?;
            self.done(found.map_or(self.next - 1, |f| f.head.id))?;
        }
        Ok(Dropped {
            records: records.saturating_sub(self.records()),
            bytes: before.saturating_sub(self.bytes()),
        })
    }
}
