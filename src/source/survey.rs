//! Surveys: how far the content of one file is that of streams with the same head, and which numbers its lines have.
//!
//! The file is read once, in order. A stream whose file is there is compared byte by byte with that file, also behind its
//! cursor; of any other its marks and the chain at its cursor tell. Where neither says anything the lines count as common:
//! a number too many costs nothing, a number too few a line.
//!
//! # Numbers
//!
//! A line's key is made of the content up to its end, and of the number of other streams that had this content before.
//! A stream *has* a line here once the line has a number, whether or not it was delivered. So of two streams that share a
//! line the one that is numbered later sees the other's number, and goes one higher: the numbers of one content are 0, 1,
//! 2 … in whatever order streams are met, and the set of keys is the same. This holds as long as every stream whose
//! content is the beginning of another's is numbered no further than it was compared: [`Found::company`] says for the
//! file at hand, [`Found::followers`] for the others.

use std::fs;
use std::os::unix::fs::FileExt;

use super::chain::{Digest, Line};
use super::marks::Said;
use super::{Cursor, Marks, Steps, StreamId};

/// Bytes at the end of what was read that are kept, to find the last time in them.
const TAIL: usize = 16 << 10;

/// A stream that the file is compared with.
pub struct Rival {
    pub id: StreamId,
    /// Its file, where that is there, and how long that is.
    pub file: Option<(fs::File, u64)>,
    pub cursor: Cursor,
    /// Where its chain begins.
    pub start: u64,
    pub marks: Marks,
    pub steps: Steps,
    /// See [`super::StreamEntry::numbered`].
    pub numbered: Option<u64>,
    /// So far the contents are the same.
    pub common: u64,
    /// They differ behind that.
    pub parted: bool,
    /// Whether the chain at its cursor is the same; `None` while the file has not come so far.
    pub at_cursor: Option<bool>,
    /// The chain from `start` on, where that is not the survey's.
    digest: Option<Digest>,
}

impl Rival {
    #[must_use]
    pub fn new(id: StreamId, cursor: Cursor, start: u64, marks: Marks) -> Rival {
        Rival {
            id,
            file: None,
            cursor,
            start,
            marks,
            steps: Steps::default(),
            numbered: None,
            common: 0,
            parted: false,
            at_cursor: (cursor.offset == 0).then_some(true),
            digest: None,
        }
    }

    /// How far its content is known.
    #[must_use]
    pub fn extent(&self) -> u64 {
        self.file.as_ref().map_or(self.cursor.offset, |(_, size)| *size)
    }

    /// Up to here marks say of each line whether it is there.
    fn dense(&self) -> u64 {
        let last = self.marks.first().last().map_or(0, |m| u64::from(m.end));
        if self.marks.wanted() > 0 {
            self.cursor.offset
        } else {
            last
        }
    }

    /// Whether it has the line, as far as is known. `end` behind its terminator where it has one.
    fn has(&mut self, line: &Line, end: u64) -> bool {
        if self.parted && line.end > self.common {
            return false;
        }
        if let Some((_, size)) = &self.file {
            return self.common >= end.min(*size) && *size >= line.end;
        }
        if line.end > self.cursor.offset {
            return false;
        }
        match self.marks.say(line.end, line.chain) {
            Said::Equal => self.common = line.end,
            Said::Nothing if line.end > self.dense() => {}
            Said::Nothing | Said::Differs => self.part(line.start),
        }
        !self.parted
    }

    fn part(&mut self, at: u64) {
        if !self.parted {
            (self.parted, self.common) = (true, self.common.min(at));
        }
    }

    /// Compares the bytes at `at` with those of its file.
    fn compare(&mut self, at: u64, data: &[u8], buffer: &mut Vec<u8>) {
        let Some((file, size)) = &self.file else { return };
        if self.parted || at > self.common {
            return;
        }
        let want = (size.saturating_sub(at)).min(data.len() as u64) as usize;
        buffer.resize(want, 0);
        let mut got = 0;
        while let Some(room) = buffer.get_mut(got..).filter(|r| !r.is_empty()) {
            match file.read_at(room, at + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let same = buffer.iter().take(got).zip(data).take_while(|(a, b)| a == b).count();
        self.common = at + same as u64;
        // What cannot be read is not known to be equal.
        self.parted = same < want;
    }

    /// The file has come to an offset at which the chain is known.
    fn meet(&mut self, at: u64, chain: u128) {
        let chain = self.digest.as_ref().map_or(chain, Digest::chain);
        let same = if at == self.cursor.offset {
            let same = chain == self.cursor.chain;
            self.at_cursor = Some(same);
            same
        } else {
            self.marks.say(at, chain) != Said::Differs
        };
        if self.file.is_some() {
            return;
        }
        if same && !self.parted {
            self.common = at;
        } else {
            self.part(at);
        }
    }

    /// Whether nothing more can be found out at `at`.
    fn is_done(&self, at: u64) -> bool {
        let cursor = self.at_cursor.is_some() || (self.file.is_some() && self.parted);
        match &self.file {
            Some((_, size)) => (self.parted || at >= *size) && (cursor || at >= self.cursor.offset),
            None => self.parted && self.start == 0 || at >= self.cursor.offset,
        }
    }
}

/// A comparison under way.
pub struct Survey {
    pub rivals: Vec<Rival>,
    digest: Digest,
    start: u64,
    /// Lines up to here have numbers already.
    numbered: u64,
    steps: Steps,
    /// The least numbers that the store gives, by the offset at which a line begins.
    held: Vec<(u64, u32)>,
    /// Where the last of these lines ends.
    held_to: u64,
    /// The least number of all lines behind these.
    held_behind: u32,
    /// Offsets at which chains are compared, falling, and of whom.
    points: Vec<(u64, usize)>,
    last: u64,
    lines: u64,
    tail: Vec<u8>,
    buffer: Vec<u8>,
}

/// What a survey found.
pub struct Found {
    pub rivals: Vec<Rival>,
    pub steps: Steps,
    /// The end of the last line that has a number.
    pub numbered: u64,
    /// Bytes of the file that were read.
    pub at: u64,
    /// The file ended there.
    pub ended: bool,
    /// Line feeds in what was read.
    pub lines: u64,
    /// The last bytes of it.
    pub tail: Vec<u8>,
}

impl Survey {
    /// A survey of a file from its beginning, or from `from` on, where its lines up to `numbered` have the numbers
    /// `steps`, and the contents up to `from` are known to be the same.
    #[must_use]
    pub fn new(mut rivals: Vec<Rival>, start: u64, from: Cursor, numbered: u64, steps: Steps) -> Survey {
        let mut points = Vec::new();
        for (of, rival) in rivals.iter_mut().enumerate() {
            rival.common = rival.common.max(from.offset);
            if rival.start != start {
                rival.digest = Some(Digest::new(rival.start, 0));
            }
            let rungs = rival.marks.rungs().filter(|_| rival.file.is_none());
            let all = rungs.chain([rival.cursor.offset]);
            points.extend(all.filter(|at| *at > from.offset).map(|at| (at, of)));
        }
        points.sort_unstable_by(|a, b| b.cmp(a));
        Survey {
            rivals,
            digest: Digest::new(from.offset, from.chain),
            start,
            numbered,
            steps,
            held: Vec::new(),
            held_to: 0,
            held_behind: 0,
            points,
            last: numbered,
            lines: 0,
            tail: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Whether a line got a number.
    #[must_use]
    pub fn has_advanced(&self) -> bool {
        self.last > self.numbered
    }

    /// Lines that the store has, the last of which ends before `to`, have at least these numbers.
    pub fn above(&mut self, held: Vec<(u64, u32)>, to: u64) {
        (self.held, self.held_to) = (held, to);
    }

    /// Lines behind those of [`Survey::above`] have at least this number.
    pub fn above_behind(&mut self, number: u32) {
        self.held_behind = number;
    }

    /// Where the next byte belongs.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.digest.position()
    }

    /// Whether nothing more can be found out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let at = self.position();
        self.rivals.iter().all(|r| r.is_done(at)) && at >= self.held_to
    }

    /// The offset behind which nothing more can be found out.
    #[must_use]
    pub fn reach(&self) -> u64 {
        let rivals = self.rivals.iter().map(|r| r.extent().max(r.cursor.offset)).max();
        rivals.unwrap_or(0).max(self.held_to)
    }

    /// Takes in the bytes at the present position.
    pub fn take(&mut self, data: &[u8]) {
        let at = self.position();
        for rival in &mut self.rivals {
            rival.compare(at, data, &mut self.buffer);
        }
        let mut fed = 0;
        while let Some((point, of)) = self
            .points
            .last()
            .copied()
            .filter(|(p, _)| *p <= at + data.len() as u64)
        {
            self.points.pop();
            self.feed(data, &mut fed, (point - at) as usize);
            let chain = self.digest.chain();
            if let Some(rival) = self.rivals.get_mut(of) {
                rival.meet(point, chain);
            }
        }
        self.feed(data, &mut fed, data.len());
        self.lines += memchr::memchr_iter(b'\n', data).count() as u64;
        let keep = data.len().min(TAIL);
        self.tail
            .extend_from_slice(data.get(data.len() - keep..).unwrap_or_default());
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
    }

    fn feed(&mut self, data: &[u8], fed: &mut usize, to: usize) {
        let piece = data.get(*fed..to).unwrap_or_default();
        let at = self.digest.position();
        for rival in &mut self.rivals {
            if let Some(own) = &mut rival.digest {
                let skip = own.position().saturating_sub(at).min(piece.len() as u64) as usize;
                own.feed(piece.get(skip..).unwrap_or_default(), &mut |_| ());
            }
        }
        let mut lines = Vec::new();
        self.digest.feed(piece, &mut |line| lines.push(line));
        lines.into_iter().for_each(|line| self.number(&line, line.end + 1));
        *fed = to;
    }

    fn number(&mut self, line: &Line, end: u64) {
        let mut number = 0;
        for rival in self.rivals.iter_mut().filter(|r| r.digest.is_none()) {
            let counted = rival.numbered.is_none_or(|to| line.end <= to);
            if rival.has(line, end) && counted {
                number = number.max(rival.steps.at(line.start).saturating_add(1));
            }
        }
        if line.end <= self.numbered {
            return;
        }
        let held = match self.held.binary_search_by_key(&line.start, |l| l.0) {
            Ok(at) => self.held.get(at).map_or(0, |l| l.1),
            Err(at) if at == self.held.len() => self.held_behind,
            Err(_) => 0,
        };
        number = number.max(held);
        self.steps.push(line.start, number);
        self.last = line.end;
    }

    /// What was found. `ended`: the file ended here; `whole`: a last line without a line feed is a line.
    #[must_use]
    pub fn finish(mut self, ended: bool, whole: bool) -> Found {
        if let Some(line) = self.digest.unfinished().filter(|_| ended && whole) {
            self.number(&line, line.end);
        }
        Found {
            at: self.position(),
            rivals: self.rivals,
            steps: self.steps,
            numbered: self.last,
            ended,
            lines: self.lines,
            tail: self.tail,
        }
    }

    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl Found {
    fn same_start(rival: &Rival) -> bool {
        rival.digest.is_none()
    }

    /// Streams that have this content and more: the file's further lines are to be compared with theirs.
    #[must_use]
    pub fn company(&self) -> Vec<StreamId> {
        let further = |r: &&Rival| Found::same_start(r) && !r.parted && r.extent() > self.at;
        self.rivals.iter().filter(further).map(|r| r.id).collect()
    }

    /// Streams with a file whose content, up to the offset, is the beginning of this one or all of it.
    pub fn followers(&self) -> impl Iterator<Item = (StreamId, u64)> + '_ {
        let followers = self
            .rivals
            .iter()
            .filter(|r| Found::same_start(r) && !r.parted && r.extent() <= self.at);
        followers.filter_map(|r| Some((r.id, r.file.as_ref()?.1)))
    }
}
