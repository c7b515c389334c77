//! The streams that are known: their identity and cursor, whether or not a file holds them now.
//!
//! Twenty thousand of them are kept in memory for twenty thousand idle files, so an entry is small. A stream that no
//! file holds is *parked*: its file may come back under another name, as a copy, or in an archive. Of parked streams
//! the latest stay known, and more of them for a while, in case a share went that comes back ([`REMEMBERED`]); so
//! rotation without end leaves a state of constant size. What comes back after that is read again under the same keys,
//! which changes nothing in the store.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::file::Device;
use super::identity::{self, Head};
use super::index::{Index, Slot};
use super::slab::Slab;
use super::table::{FileId, hash_of_inode};
use super::{Cursor, Marks, Steps, StreamEntry, StreamId};

/// How long streams without file, copy or archive are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Beyond this number they are forgotten, oldest first, once they are old.
    pub streams: usize,
    /// Beyond this number they are forgotten even if they are not.
    pub at_most: usize,
    /// From this time on a stream without a file is old.
    pub old: Duration,
}

/// What the agent remembers: at most some 6 MiB.
pub const REMEMBERED: Memory = Memory {
    streams: 4096,
    at_most: 20_000,
    old: Duration::from_secs(3600),
};

/// So many streams whose content is the same are named; of more it is found out anew who they are.
const COMPANY: usize = 16;

/// No file, or no further stream.
const NONE: u32 = u32::MAX;

/// A stream: 128 bytes, its marks, and two entries of an [`Index`], while there is nothing unusual about it.
#[derive(Clone, Debug)]
pub struct Known {
    id: StreamId,
    pub head: u64,
    pub cursor: Cursor,
    ino: u64,
    /// When its file was made; 0 where that is not known.
    born_at: i64,
    marks: Option<Box<Marks>>,
    rare: Option<Box<Rare>>,
    dev: Device,
    /// The file that holds it.
    file: FileId,
    /// Another stream with the same head.
    alike: Slot,
    /// The scan that gave it its identity; 0 for streams of an earlier life.
    pub born: u32,
    head_len: u16,
    /// Drained under a final name: no copy can hold more.
    pub finished: bool,
}

/// What few streams have.
#[derive(Clone, Debug, Default)]
struct Rare {
    steps: Steps,
    /// Lines that end behind this offset have no number yet; `None`: all have one.
    numbered: Option<u64>,
    /// Streams whose content is the same as far as lines have numbers; `None`: to be found out.
    company: Option<Vec<StreamId>>,
    blind: bool,
    /// The store has all lines that have numbers: it is to be asked for the next ones.
    asking: bool,
    /// Files that are copies of it, and archives that hold it.
    copies: u32,
    start: u64,
    script: Option<Box<str>>,
    parked: Option<Parked>,
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
    fn new(id: StreamId, i: Identity) -> Known {
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

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gives back what is not needed for a usual stream.
    fn slim(&mut self) {
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

#[derive(Debug)]
pub struct Streams {
    known: Slab<Known>,
    by_id: Index,
    /// One stream of each head; it leads to the others.
    by_head: Index,
    /// Parked streams by the inode they were last seen with.
    by_inode: Index,
    /// Order in which streams lost their file.
    gone: VecDeque<StreamId>,
    /// Parked streams whose unread bytes are still to be counted as lost.
    awaited: Vec<StreamId>,
    next: StreamId,
    memory: Memory,
}

fn keep_marks(mut marks: Marks) -> Option<Box<Marks>> {
    marks.shrink();
    (marks != Marks::default()).then(|| Box::new(marks))
}

fn id_hash(known: &Slab<Known>, slot: Slot) -> u64 {
    known.get(slot).map_or(0, |k| k.id)
}

fn head_hash(known: &Slab<Known>, slot: Slot) -> u64 {
    known.get(slot).map_or(0, |k| k.head)
}

fn inode_hash(known: &Slab<Known>, slot: Slot) -> u64 {
    known.get(slot).map_or(0, |k| hash_of_inode(k.dev.number(), k.ino))
}

impl Streams {
    #[must_use]
    pub fn new(next: StreamId) -> Streams {
        Streams {
            known: Slab::default(),
            by_id: Index::default(),
            by_head: Index::default(),
            by_inode: Index::default(),
            gone: VecDeque::new(),
            awaited: Vec::new(),
            next,
            memory: REMEMBERED,
        }
    }

    /// Remembers more, or less, of what has no file.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = memory;
    }

    pub fn next_id(&mut self) -> StreamId {
        let id = self.next;
        self.next += 1;
        id
    }

    pub fn add(&mut self, id: StreamId, identity: Identity) {
        self.remove(id);
        self.next = self.next.max(id + 1);
        let head = identity.head;
        let slot = self.known.add(Known::new(id, identity));
        let known = &self.known;
        self.by_id.insert(id, slot, |s| id_hash(known, s));
        let first = self
            .by_head
            .find(head, |s| known.get(s).is_some_and(|k| k.head == head));
        match first {
            Some(first) => {
                self.by_head.replace(head, first, slot);
                if let Some(k) = self.known.get_mut(slot) {
                    k.alike = first;
                }
            }
            None => self.by_head.insert(head, slot, |s| head_hash(known, s)),
        }
        self.note_parked(slot);
    }

    /// Enters a parked stream where parked streams are looked for.
    fn note_parked(&mut self, slot: Slot) {
        let known = &self.known;
        let Some(k) = known.get(slot) else { return };
        let Some(parked) = k.parked() else { return };
        let inode = k.inode();
        self.by_inode.set(
            hash_of_inode(inode.0, inode.1),
            slot,
            |s| known.get(s).is_some_and(|k| k.inode() == inode),
            |s| inode_hash(known, s),
        );
        self.gone.push_back(k.id);
        if !parked.counted {
            self.awaited.push(k.id);
        }
    }

    fn slot(&self, id: StreamId) -> Option<Slot> {
        self.by_id.find(id, |s| self.known.get(s).is_some_and(|k| k.id == id))
    }

    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<&Known> {
        self.known.get(self.slot(id)?)
    }

    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Known> {
        self.known.get_mut(self.slot(id)?)
    }

    /// All streams without a file.
    pub fn parked(&self) -> impl Iterator<Item = (&Known, &Parked)> {
        let gone = self.gone.iter().filter_map(|id| self.get(*id));
        gone.filter_map(|k| Some((k, k.parked()?)))
    }

    /// All streams with this head, in the order in which they became known.
    pub fn with_head(&self, head: Head) -> impl Iterator<Item = (StreamId, &Known)> {
        let mut slot = self
            .by_head
            .find(head.hash, |s| self.known.get(s).is_some_and(|k| k.head == head.hash));
        let mut alike = Vec::new();
        while let Some(k) = slot.and_then(|s| self.known.get(s)) {
            if k.has_head(head) {
                alike.push((k.id, k));
            }
            slot = Some(k.alike);
        }
        alike.sort_unstable_by_key(|(id, _)| *id);
        alike.into_iter()
    }

    /// The parked stream that was last seen with this inode.
    #[must_use]
    pub fn by_inode(&self, dev: u64, ino: u64) -> Option<StreamId> {
        let slot = self.by_inode.find(hash_of_inode(dev, ino), |s| {
            self.known.get(s).is_some_and(|k| k.inode() == (dev, ino))
        });
        self.known.get(slot?).map(|k| k.id)
    }

    /// Whether a file of this inode is to be followed whatever its name.
    #[must_use]
    pub fn sought(&self, dev: u64, ino: u64) -> bool {
        let known = self.by_inode(dev, ino).and_then(|id| self.get(id));
        known.is_some_and(|k| k.parked().is_some_and(|p| !p.unwanted))
    }

    /// A file holds the stream from now on.
    pub fn attach(&mut self, id: StreamId, file: FileId, (dev, ino): (u64, u64), born_at: i64) {
        let Some(slot) = self.slot(id) else { return };
        self.by_inode.remove(inode_hash(&self.known, slot), slot);
        if let Some(known) = self.known.get_mut(slot) {
            if let Some(rare) = &mut known.rare {
                rare.parked = None;
            }
            known.slim();
            (known.file, known.dev, known.ino) = (file, Device::new(dev), ino);
            known.born_at = born_at;
        }
    }

    /// No file holds the stream any more.
    pub fn park(&mut self, id: StreamId, parked: Parked) {
        let Some(slot) = self.slot(id) else { return };
        if let Some(known) = self.known.get_mut(slot) {
            known.file = NONE;
            known.rare().parked = Some(parked);
        }
        self.note_parked(slot);
    }

    /// Streams that have been without a file for as long as `hold`: what was not read of them is lost.
    pub fn overdue(&mut self, now: Instant, hold: Duration) -> Vec<StreamId> {
        let mut overdue = Vec::new();
        let mut awaited = std::mem::take(&mut self.awaited);
        awaited.retain(|id| match self.get(*id).and_then(Known::parked) {
            Some(p) if !p.counted && now.saturating_duration_since(p.since) >= hold => {
                overdue.push(*id);
                false
            }
            Some(p) => !p.counted,
            None => false,
        });
        awaited.shrink_to(64);
        self.awaited = awaited;
        overdue
    }

    /// Streams that nothing refers to, beyond those worth remembering. They are known no longer.
    pub fn forget_old(&mut self, now: Instant) -> Vec<StreamId> {
        let Memory { streams, at_most, old } = self.memory;
        let mut forgotten = Vec::new();
        let mut kept = 0;
        while self.gone.len() > streams && kept < streams {
            let Some(id) = self.gone.pop_front() else { break };
            let young = |p: &Parked| now.saturating_duration_since(p.since) < old;
            match self.get(id).map(|k| (k.parked(), k.copies())) {
                Some((None, _)) => {}
                Some((Some(parked), _)) if self.gone.len() < at_most && young(parked) => {
                    self.gone.push_front(id);
                    break;
                }
                Some((Some(_), copies)) if copies > 0 => {
                    self.gone.push_back(id);
                    kept += 1;
                }
                _ => {
                    let head = self.get(id).map(Known::first);
                    self.remove(id);
                    forgotten.push(id);
                    // Of this beginning not all is remembered any more.
                    let alike: Vec<StreamId> = head
                        .into_iter()
                        .flat_map(|h| self.with_head(h))
                        .map(|(id, _)| id)
                        .collect();
                    for other in alike {
                        if let Some(k) = self.get_mut(other) {
                            k.set_blind(true);
                        }
                    }
                }
            }
        }
        forgotten
    }

    fn remove(&mut self, id: StreamId) {
        let Some(slot) = self.slot(id) else { return };
        self.by_id.remove(id, slot);
        self.by_inode.remove(inode_hash(&self.known, slot), slot);
        let Some(gone) = self.known.get(slot).map(|k| (k.head, k.alike)) else {
            return;
        };
        self.unlink(slot, gone.0, gone.1);
        self.known.remove(slot);
    }

    /// Takes a stream out of those with its head; `next` is the one that it leads to.
    fn unlink(&mut self, slot: Slot, head: u64, next: Slot) {
        let known = &self.known;
        let first = self
            .by_head
            .find(head, |s| known.get(s).is_some_and(|k| k.head == head));
        match first {
            Some(first) if first == slot && next == NONE => {
                self.by_head.remove(head, slot);
            }
            Some(first) if first == slot => self.by_head.replace(head, slot, next),
            Some(first) => {
                let mut at = first;
                while let Some(k) = self.known.get_mut(at) {
                    if k.alike == slot {
                        k.alike = next;
                        return;
                    }
                    at = k.alike;
                }
            }
            None => {}
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests;
