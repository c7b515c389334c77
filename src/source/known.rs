//! One stream as it is known: its identity, cursor and numbers.

use std::path::PathBuf;
use std::time::Instant;

use super::file::Device;
use super::identity::{self, Head};
use super::index::Slot;
use super::table::FileId;
use super::{Cursor, Marks, Steps, StreamEntry, StreamId};

/// So many streams whose content is the same are named; of more it is found out anew who they are.
const COMPANY: usize = 16;

/// No file, or no further stream.
pub(super) const NONE: u32 = u32::MAX;

/// A stream: 128 bytes, its marks, and two entries of an [`Index`](super::index::Index), while there is nothing unusual about it.
#[derive(Clone, Debug)]
pub struct Known {
    pub(super) id: StreamId,
    pub head: u64,
    pub cursor: Cursor,
    pub(super) ino: u64,
    /// When its file was made; 0 where that is not known.
    pub(super) born_at: i64,
    pub(super) marks: Option<Box<Marks>>,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) dev: Device,
    /// The file that holds it.
    pub(super) file: FileId,
    /// Another stream with the same head.
    pub(super) alike: Slot,
    /// The scan that gave it its identity; 0 for streams of an earlier life.
    pub born: u32,
    pub(super) head_len: u16,
    /// Drained under a final name: no copy can hold more.
    pub finished: bool,
}

/// What few streams have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    pub(super) steps: Steps,
    /// Lines that end behind this offset have no number yet; `None`: all have one.
    pub(super) numbered: Option<u64>,
    /// Streams whose content is the same as far as lines have numbers; `None`: to be found out.
    pub(super) company: Option<Vec<StreamId>>,
    pub(super) blind: bool,
    /// The store has all lines that have numbers: it is to be asked for the next ones.
    pub(super) asking: bool,
    /// Files that are copies of it, and archives that hold it.
    pub(super) copies: u32,
    pub(super) start: u64,
    pub(super) script: Option<Box<str>>,
    pub(super) parked: Option<Parked>,
}

/// Where a stream without a file was last seen.
#[derive(Clone, Debug)]
pub struct Parked {
    pub path: PathBuf,
    pub size: u64,
    pub mtime: i64,
    pub since: Instant,
    /// When its file was seen to be gone, or to hold other content, nanoseconds since the epoch; 0 if nobody looked.
    pub lost: i64,
    /// Its unread bytes were counted as lost.
    pub counted: bool,
    /// Its file is there, but not wanted any more: it is not looked for under names that are not wanted.
    pub unwanted: bool,
}

/// What makes a stream known.
#[derive(Clone, Debug)]
pub struct Identity {
    pub head: u64,
    pub head_len: u32,
    pub steps: Steps,
    pub numbered: Option<u64>,
    pub blind: bool,
    pub marks: Marks,
    pub cursor: Cursor,
    pub start: u64,
    pub dev: u64,
    pub ino: u64,
    /// When the file was made, nanoseconds since the epoch; 0 where that is not known.
    pub born_at: i64,
    pub born: u32,
    pub finished: bool,
    /// The script, where the file's name says another.
    pub script: Option<Box<str>>,
    pub parked: Option<Parked>,
}

impl Known {
    pub(super) fn new(id: StreamId, i: Identity) -> Known {
        let numbers = i.steps.is_empty() && i.numbered.is_none() && !i.blind;
        let usual = numbers && i.start == 0 && i.script.is_none() && i.parked.is_none();
        let rare = Rare {
            steps: i.steps,
            numbered: i.numbered,
            company: None,
            blind: i.blind,
            asking: false,
            copies: 0,
            start: i.start,
            script: i.script,
            parked: i.parked,
        };
        Known {
            id,
            head: i.head,
            cursor: i.cursor,
            ino: i.ino,
            born_at: i.born_at,
            marks: keep_marks(i.marks),
            rare: (!usual).then(|| Box::new(rare)),
            dev: Device::new(i.dev),
            file: NONE,
            alike: NONE,
            born: i.born,
            head_len: u16::try_from(i.head_len).unwrap_or(u16::MAX),
            finished: i.finished,
        }
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gives back what is not needed for a usual stream.
    pub(super) fn slim(&mut self) {
        let numbers =
            |r: &Rare| r.steps.is_empty() && r.numbered.is_none() && r.company.is_none() && !r.blind && !r.asking;
        let usual = |r: &Rare| numbers(r) && (r.copies, r.start) == (0, 0) && r.script.is_none() && r.parked.is_none();
        self.rare.take_if(|r| usual(r));
    }

    /// The stream's first line.
    #[must_use]
    pub fn first(&self) -> Head {
        Head {
            hash: self.head,
            len: self.head_len(),
        }
    }

    #[must_use]
    pub fn has_head(&self, head: Head) -> bool {
        self.head == head.hash && self.head_len() == head.len
    }

    #[must_use]
    pub fn head_len(&self) -> u32 {
        u32::from(self.head_len)
    }

    /// The number of the line that begins at `offset`.
    #[must_use]
    pub fn number(&self, offset: u64) -> u32 {
        self.rare.as_ref().map_or(0, |r| r.steps.at(offset))
    }

    /// Whether all lines have the number 0.
    #[must_use]
    pub fn is_unnumbered(&self) -> bool {
        self.rare.as_ref().is_none_or(|r| r.steps.is_empty())
    }

    #[must_use]
    pub fn steps(&self) -> Steps {
        self.rare.as_ref().map(|r| r.steps.clone()).unwrap_or_default()
    }

    /// Lines that end behind this offset have no number yet; `None`: all have one.
    #[must_use]
    pub fn numbered(&self) -> Option<u64> {
        self.rare.as_ref()?.numbered
    }

    /// Streams whose content is the same as far as lines have numbers; `None`: to be found out.
    #[must_use]
    pub fn company(&self) -> Option<&[StreamId]> {
        self.rare.as_ref()?.company.as_deref()
    }

    /// Whether the store may have its beginning from streams that are not remembered.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.rare.as_ref().is_some_and(|r| r.blind)
    }

    /// Lines up to here have numbers, if not all have.
    pub fn number_to(&mut self, to: u64) {
        if let Some(rare) = &mut self.rare {
            rare.numbered = rare.numbered.map(|at| at.max(to));
        }
    }

    pub fn set_numbers(&mut self, steps: Steps, numbered: Option<u64>, company: Option<Vec<StreamId>>) {
        let rare = self.rare();
        (rare.steps, rare.numbered) = (steps, numbered);
        rare.company = company.filter(|c| numbered.is_some() && c.len() <= COMPANY);
        self.slim();
    }

    /// Whether the store is to be asked for lines that have no number.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.rare.as_ref().is_some_and(|r| r.asking)
    }

    pub fn set_asking(&mut self, asking: bool) {
        self.rare().asking = asking;
        self.slim();
    }

    pub fn set_blind(&mut self, blind: bool) {
        self.rare().blind = blind;
        self.slim();
    }

    /// Another stream's content is the same up to `to`, and has or may have more: lines behind it have to be compared.
    pub fn await_company(&mut self, to: u64, other: StreamId) {
        let rare = self.rare();
        match (rare.numbered, &mut rare.company) {
            (None, company) => {
                rare.numbered = Some(to);
                *company = Some(vec![other]);
            }
            (Some(at), Some(company)) if at == to && company.len() < COMPANY => {
                if !company.contains(&other) {
                    company.push(other);
                }
            }
            (Some(_), company) => *company = None,
        }
    }

    /// When its file was made; 0 where that is not known.
    #[must_use]
    pub fn born_at(&self) -> i64 {
        self.born_at
    }

    #[must_use]
    pub fn marks(&self) -> Option<&Marks> {
        self.marks.as_deref()
    }

    pub fn marks_mut(&mut self) -> &mut Marks {
        self.marks.get_or_insert_default()
    }

    /// Where reading began.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.rare.as_ref().map_or(0, |r| r.start)
    }

    /// Files that are copies of it, and archives that hold it.
    #[must_use]
    pub fn copies(&self) -> u32 {
        self.rare.as_ref().map_or(0, |r| r.copies)
    }

    /// One copy more, or less.
    pub fn count_copy(&mut self, more: bool) {
        let copies = self.copies();
        self.rare().copies = if more { copies + 1 } else { copies.saturating_sub(1) };
        self.slim();
    }

    /// The script, where the name of its file says another.
    #[must_use]
    pub fn script(&self) -> Option<&str> {
        self.rare.as_ref()?.script.as_deref()
    }

    pub fn set_script(&mut self, script: Box<str>) {
        self.rare().script = Some(script);
    }

    /// The file that holds it.
    #[must_use]
    pub fn file(&self) -> Option<FileId> {
        (self.file != NONE).then_some(self.file)
    }

    #[must_use]
    pub fn inode(&self) -> (u64, u64) {
        (self.dev.number(), self.ino)
    }

    #[must_use]
    pub fn parked(&self) -> Option<&Parked> {
        self.rare.as_ref()?.parked.as_ref()
    }

    pub fn parked_mut(&mut self) -> Option<&mut Parked> {
        self.rare.as_mut()?.parked.as_mut()
    }

    /// The entry that the state keeps.
    #[must_use]
    pub fn entry(&self, path: PathBuf, script: String, size: u64, mtime: i64) -> StreamEntry {
        StreamEntry {
            id: self.id,
            path,
            script,
            dev: self.dev.number(),
            ino: self.ino,
            head: self.head,
            head_len: self.head_len(),
            born: self.born_at,
            steps: self.steps(),
            numbered: self.numbered(),
            blind: self.is_blind(),
            marks: self.marks.as_deref().cloned().unwrap_or_default(),
            finished: self.finished,
            size,
            mtime,
            start: self.start(),
            archive: false,
            covers: Vec::new(),
        }
    }

    #[must_use]
    pub fn stream(&self, path: String, script: String) -> super::Stream {
        super::Stream {
            id: self.id,
            head: self.head,
            name: identity::stream_name(self.head, self.number(self.start())),
            script,
            kind: super::StreamKind::File { path },
        }
    }
}

fn keep_marks(mut marks: Marks) -> Option<Box<Marks>> {
    marks.shrink();
    (marks != Marks::default()).then(|| Box::new(marks))
}
