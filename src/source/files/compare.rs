//! Comparing: reading a file to find out which streams it begins like, see [`Survey`].
//!
//! What is small is compared at once. What is large is compared in turns, by an allowance each, so that the files that
//! grow meanwhile are not held up. A comparison that is over has its file judged; if a stream moved meanwhile, it begins
//! anew.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use super::super::chain::Digest;
use super::super::identity::Head;
use super::super::marks::Part;
use super::super::survey::{Found, Rival, Survey};
use super::super::table::{File, FileId, Held};
use super::super::window::BLOCK;
use super::super::{Cursor, StreamId, stat};
use super::Tailer;
use super::judge::read_at;
use super::settle::PATIENCE;

/// So much is compared at once.
const AT_ONCE: u64 = 1 << 20;
/// What a turn may take.
const ALLOWANCE: Duration = Duration::from_millis(10);
/// So much of the beginning is read again before a file that was at rest is read on.
const FOOT: u64 = 64 << 10;

/// What a comparison is for.
enum Aim {
    /// To say what the file is.
    Judge(Head, Box<Survey>),
    /// To say whether it still has what was read of its stream.
    Again(StreamId, Box<Digest>, Cursor),
}

/// A comparison under way.
struct Comparison {
    id: FileId,
    file: fs::File,
    aim: Aim,
    /// Offset up to which the file is read.
    to: u64,
}

impl Comparison {
    /// Reads one block more; whether that was the last.
    fn step(&mut self, buffer: &mut Vec<u8>) -> bool {
        let at = match &self.aim {
            Aim::Judge(_, survey) => survey.position(),
            Aim::Again(_, digest, _) => digest.position(),
        };
        let want = (self.to.saturating_sub(at)).min(BLOCK as u64) as usize;
        buffer.resize(want, 0);
        let n = read_at(&self.file, buffer, at).unwrap_or(0);
        let data = buffer.get(..n).unwrap_or_default();
        match &mut self.aim {
            Aim::Judge(_, survey) => {
                survey.take(data);
                n < BLOCK || survey.is_done()
            }
            Aim::Again(_, digest, _) => {
                digest.feed(data, &mut |_| ());
                n < BLOCK
            }
        }
    }

    fn left(&self) -> u64 {
        match &self.aim {
            Aim::Judge(_, survey) => self.to.saturating_sub(survey.position()),
            Aim::Again(_, digest, _) => self.to.saturating_sub(digest.position()),
        }
    }
}

/// Comparisons that take more than one turn.
#[derive(Default)]
pub(super) struct Comparisons {
    queue: VecDeque<Comparison>,
    buffer: Vec<u8>,
}

impl Comparisons {
    /// The file has a role, or went.
    pub(super) fn forget(&mut self, id: FileId) {
        self.queue.retain(|c| c.id != id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn has(&self, id: FileId) -> bool {
        self.queue.iter().any(|c| c.id == id)
    }
}

impl Tailer {
    /// The stream as something that files are compared with.
    pub(super) fn rival(&mut self, id: StreamId) -> Option<Rival> {
        let held = self.holding(id);
        let k = self.streams.get(id)?;
        let marks = k.marks().cloned().unwrap_or_default();
        let mut rival = Rival::new(id, k.cursor, k.start(), marks);
        (rival.steps, rival.numbered, rival.file) = (k.steps(), k.numbered(), held);
        Some(rival)
    }

    /// The stream's file and its size, if it still has what was read of it. If not, the stream has none any more.
    fn holding(&mut self, id: StreamId) -> Option<(fs::File, u64)> {
        let k = self.streams.get(id)?;
        let (holder, cursor) = (k.file()?, k.cursor);
        let wrote = self.table.get(holder)?.wrote;
        let file = self.open_again(holder)?;
        let look = stat::of_file(&file).ok()?;
        let gone = look.size < cursor.offset || (look.mtime != wrote && !self.begins_alike(id, &file));
        if gone {
            self.rewritten(holder, file);
            return None;
        }
        Some((file, look.size))
    }

    /// Finds out what the file is, at once or by and by.
    pub(super) fn survey(&mut self, id: FileId, head: Head, survey: Survey, file: fs::File) {
        let size = self.table.get(id).map_or(0, |f| f.size);
        let mut comparison = Comparison {
            id,
            to: survey.reach().min(size),
            aim: Aim::Judge(head, Box::new(survey)),
            file,
        };
        if comparison.left() > AT_ONCE {
            return self.begin_comparison(comparison);
        }
        let mut buffer = std::mem::take(&mut self.comparisons.buffer);
        while !comparison.step(&mut buffer) {}
        self.comparisons.buffer = buffer;
        self.end_comparison(comparison);
    }

    fn begin_comparison(&mut self, comparison: Comparison) {
        let id = comparison.id;
        if !self.comparisons.has(id) {
            self.comparisons.queue.push_back(comparison);
        }
    }

    fn end_comparison(&mut self, comparison: Comparison) {
        let Comparison { id, file, aim, to } = comparison;
        match aim {
            Aim::Judge(head, survey) => {
                let size = self.table.get(id).map_or(0, |f| f.size);
                let ended = survey.position() >= size;
                let whole = self.may_finish(id);
                let moved = survey.rivals.iter().any(|r| self.has_moved(r));
                let found = survey.finish(ended, whole);
                if moved {
                    self.keep_if_gone(id, file);
                    return self.unjudge(id);
                }
                self.settle(id, head, found, file);
            }
            Aim::Again(stream, digest, cursor) => {
                let same = digest.position() >= to && digest.chain() == cursor.chain;
                let current = self.streams.get(stream).is_some_and(|k| k.cursor == cursor);
                if current {
                    self.looked_again(id, stream, same, file);
                } else {
                    self.keep_if_gone(id, file);
                    self.make_ready(id);
                }
            }
        }
    }

    /// A stream without a file was found, or read on, since it was compared.
    fn has_moved(&self, rival: &Rival) -> bool {
        let Some(k) = self.streams.get(rival.id) else {
            return true;
        };
        k.file().is_some() != rival.file.is_some() || (rival.file.is_none() && k.cursor != rival.cursor)
    }

    /// Goes on with what is compared, for an allowance; whether there was anything.
    pub(super) fn compare_on(&mut self) -> bool {
        let until = Instant::now() + ALLOWANCE;
        let mut buffer = std::mem::take(&mut self.comparisons.buffer);
        let mut more = false;
        while let Some(mut comparison) = self.comparisons.queue.pop_front() {
            if comparison.step(&mut buffer) {
                self.end_comparison(comparison);
            } else {
                self.comparisons.queue.push_front(comparison);
            }
            if Instant::now() >= until {
                more = true;
                break;
            }
        }
        self.comparisons.buffer = buffer;
        more
    }

    /// Whether the beginning of the file is what was read of the stream: all of it where it is short, else the first
    /// [`FOOT`] bytes.
    pub(super) fn begins_alike(&mut self, stream: StreamId, file: &fs::File) -> bool {
        let Some(k) = self.streams.get(stream) else { return true };
        let (cursor, start) = (k.cursor, k.start());
        let short = cursor.offset - start <= FOOT;
        let foot = if short {
            None
        } else {
            k.marks().and_then(|m| m.foot(start + 2 * FOOT))
        };
        let to = match foot {
            Some((to, _)) => to,
            None if short => cursor.offset,
            None => return true,
        };
        let mut buffer = std::mem::take(&mut self.comparisons.buffer);
        buffer.resize((to - start) as usize, 0);
        let read = read_at(file, &mut buffer, start);
        let mut digest = Digest::new(start, 0);
        digest.feed(&buffer, &mut |_| ());
        let whole = read.is_ok_and(|n| n == buffer.len());
        self.comparisons.buffer = buffer;
        whole
            && match foot {
                Some((_, part)) => Part::is_of(part, digest.chain()),
                None => digest.chain() == cursor.chain,
            }
    }

    /// Reads again all that was read of the file's stream: it was written to, and has not grown.
    pub(super) fn look_again(&mut self, id: FileId, stream: StreamId, file: fs::File) {
        let Some(k) = self.streams.get(stream) else { return };
        let cursor = k.cursor;
        let comparison = Comparison {
            id,
            file,
            to: cursor.offset,
            aim: Aim::Again(stream, Box::new(Digest::new(k.start(), 0)), cursor),
        };
        self.begin_comparison(comparison);
    }

    /// The file's content was compared with what had been read of it.
    fn looked_again(&mut self, id: FileId, stream: StreamId, same: bool, file: fs::File) {
        let touched = self.table.get(id).is_some_and(|f| f.touched);
        let to = self.streams.get(stream).map_or(0, |k| k.cursor.offset);
        let ends = self.table.get(id).is_some_and(|f| f.size == to);
        // The same text once more is another record, unless the text says when it was written.
        if !same || (ends && !touched && self.last_time(&file, to).is_none()) {
            return self.rewritten(id, file);
        }
        if let Some(f) = self.table.get_mut(id) {
            f.wrote = f.mtime;
        }
        let held = self.table.get(id).is_some_and(|f| f.held() != Held::No);
        self.keep_open(id, file);
        if held {
            self.wait_for(id);
        } else {
            self.make_ready(id);
        }
    }

    /// Gives numbers to lines of the stream that have none, up to the file's `size`; up to where lines may be read then.
    /// `None`: the store has to be asked first.
    pub(super) fn number_on(&mut self, id: FileId, stream: StreamId, file: &fs::File, size: u64) -> Option<u64> {
        let k = self.streams.get(stream)?;
        let Some(numbered) = k.numbered().filter(|n| n + 1 < size) else {
            return Some(size);
        };
        let (cursor, head, start) = (k.cursor, k.first(), k.start());
        let named = k.company().filter(|c| !c.is_empty()).map(<[StreamId]>::to_vec);
        let all = || {
            self.streams
                .with_head(head)
                .map(|(id, _)| id)
                .filter(|other| *other != stream)
        };
        let company = named.clone().unwrap_or_else(|| all().collect());
        let asked = if k.is_asking() {
            match self.ask(id, file, cursor, numbered, head) {
                None if !self.has_asked_long_enough(id) => return None,
                answer => answer,
            }
        } else {
            None
        };
        let origin = Cursor {
            offset: start,
            ..Cursor::default()
        };
        let from = if named.is_some() { cursor } else { origin };
        let steps = self.streams.get(stream)?.steps();
        let rivals: Vec<Rival> = company.into_iter().filter_map(|c| self.rival(c)).collect();
        let mut survey = Survey::new(rivals, start, from, numbered, steps);
        let asking = asked.as_ref().is_some_and(|a| a.further);
        let (least, to) = asked.map(|a| (a.least, a.to)).unwrap_or_default();
        survey.above(least, to);
        let to = size.min(numbered.max(cursor.offset) + AT_ONCE);
        let mut buffer = std::mem::take(&mut self.comparisons.buffer);
        while survey.position() < to || (survey.position() < size && !survey.has_advanced()) {
            let at = survey.position();
            buffer.resize((size - at).min(BLOCK as u64) as usize, 0);
            let n = read_at(file, &mut buffer, at).unwrap_or(0);
            survey.take(buffer.get(..n).unwrap_or_default());
            if n == 0 {
                break;
            }
        }
        self.comparisons.buffer = buffer;
        let ended = survey.position() >= size;
        let whole = ended && self.may_finish(id);
        let found = survey.finish(ended, whole);
        let limit = if ended { size } else { found.numbered };
        self.set_numbers(stream, &found, asking);
        Some(limit)
    }

    /// Whether the store has not answered for so long that the file is read on without: nothing waits for ever, and what
    /// may not be there later does not wait at all.
    pub(super) fn has_asked_long_enough(&mut self, id: FileId) -> bool {
        let fragile = self.table.get(id).is_some_and(File::fragile);
        let Some(b) = self.table.busy(id) else { return true };
        let since = *b.asked.get_or_insert_with(Instant::now);
        fragile || since.elapsed() >= PATIENCE
    }

    /// Keeps the numbers that were found, and has those numbered later that have less of the same content.
    pub(super) fn set_numbers(&mut self, stream: StreamId, found: &Found, asking: bool) {
        let company = found.company();
        let waits = asking || !company.is_empty();
        let plain = !waits && found.steps.is_empty();
        let numbered = waits.then_some(found.numbered);
        for (other, extent) in found.followers() {
            if let Some(k) = self.streams.get_mut(other) {
                k.await_company(extent, stream);
            }
        }
        if let Some(k) = self.streams.get_mut(stream) {
            k.set_numbers(found.steps.clone(), numbered, (!asking).then_some(company));
            k.set_asking(asking);
        }
        if !plain {
            self.remember_again(stream);
        }
    }
}
