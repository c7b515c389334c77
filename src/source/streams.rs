//! The streams that are known: their identity and cursor, whether or not a file holds them now.
//!
//! Twenty thousand of them are kept in memory for twenty thousand idle files, so an entry is small. A stream that no
//! file holds is *parked*: its file may come back under another name, as a copy, or in an archive. Of parked streams
//! the latest stay known, and more of them for a while, in case a share went that comes back ([`REMEMBERED`]); so rotation without end leaves a state of constant size. What comes back after that is read again under
//! the same keys, which changes nothing in the store.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::identity::{self, Head};
use super::{Cursor, StreamEntry, StreamId};

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

/// What the agent remembers: at most some 9 MiB.
pub const REMEMBERED: Memory = Memory {
    streams: 4096,
    at_most: 20_000,
    old: Duration::from_secs(3600),
};

#[derive(Clone, Debug)]
pub struct Known {
    pub head: u64,
    pub head_len: u32,
    pub generation: u32,
    pub cursor: Cursor,
    pub start: u64,
    pub dev: u64,
    pub ino: u64,
    /// The scan that gave it its identity; 0 for streams of an earlier life.
    pub born: u64,
    pub script: Box<str>,
    /// The file that holds it.
    pub file: Option<u32>,
    /// Files that are copies of it, and archives that hold it.
    pub copies: u32,
    /// Drained under a final name: no copy can hold more.
    pub finished: bool,
    pub parked: Option<Box<Parked>>,
}

/// Where a stream without a file was last seen.
#[derive(Clone, Debug)]
pub struct Parked {
    pub path: PathBuf,
    pub size: u64,
    pub mtime: i64,
    pub since: Instant,
    /// Its unread bytes were counted as lost.
    pub counted: bool,
    /// Its file is there, but not wanted any more: it is not looked for under names that are not wanted.
    pub unwanted: bool,
}

impl Known {
    #[must_use]
    pub fn has_head(&self, head: Head) -> bool {
        self.head == head.hash && self.head_len == head.len
    }

    /// The entry that the state keeps.
    #[must_use]
    pub fn entry(&self, id: StreamId, path: PathBuf, size: u64, mtime: i64) -> StreamEntry {
        StreamEntry {
            id,
            path,
            script: self.script.to_string(),
            dev: self.dev,
            ino: self.ino,
            head: self.head,
            head_len: self.head_len,
            generation: self.generation,
            finished: self.finished,
            size,
            mtime,
            start: self.start,
            archive: false,
            covers: Vec::new(),
        }
    }

    #[must_use]
    pub fn stream(&self, id: StreamId, path: String) -> super::Stream {
        super::Stream {
            id,
            head: identity::keyed(self.head, self.generation),
            name: identity::stream_name(self.head, self.generation),
            script: self.script.to_string(),
            kind: super::StreamKind::File { path },
        }
    }
}

#[derive(Debug)]
pub struct Streams {
    known: HashMap<StreamId, Known>,
    by_head: HashMap<u64, Vec<StreamId>>,
    /// Parked streams by the inode they were last seen with.
    parked: HashMap<(u64, u64), StreamId>,
    /// Order in which streams lost their file.
    gone: VecDeque<StreamId>,
    next: StreamId,
    memory: Memory,
}

impl Streams {
    #[must_use]
    pub fn new(next: StreamId) -> Streams {
        Streams {
            known: HashMap::new(),
            by_head: HashMap::new(),
            parked: HashMap::new(),
            gone: VecDeque::new(),
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

    pub fn add(&mut self, id: StreamId, known: Known) {
        self.next = self.next.max(id + 1);
        self.by_head.entry(known.head).or_default().push(id);
        if known.parked.is_some() {
            self.parked.insert((known.dev, known.ino), id);
            self.gone.push_back(id);
        }
        self.known.insert(id, known);
    }

    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<&Known> {
        self.known.get(&id)
    }

    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Known> {
        self.known.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Known)> {
        self.known.iter().map(|(id, k)| (*id, k))
    }

    /// All streams with this head.
    pub fn with_head(&self, head: Head) -> impl Iterator<Item = (StreamId, &Known)> {
        let ids = self.by_head.get(&head.hash).map(Vec::as_slice).unwrap_or_default();
        ids.iter()
            .filter_map(|id| Some((*id, self.known.get(id)?)))
            .filter(move |(_, k)| k.has_head(head))
    }

    /// The parked stream that was last seen with this inode.
    #[must_use]
    pub fn by_inode(&self, dev: u64, ino: u64) -> Option<StreamId> {
        self.parked.get(&(dev, ino)).copied()
    }

    /// Whether a file of this inode is to be followed whatever its name.
    #[must_use]
    pub fn sought(&self, dev: u64, ino: u64) -> bool {
        let known = self.by_inode(dev, ino).and_then(|id| self.known.get(&id));
        known.is_some_and(|k| k.parked.as_ref().is_some_and(|p| !p.unwanted))
    }

    /// A file holds the stream from now on.
    pub fn attach(&mut self, id: StreamId, file: u32, dev: u64, ino: u64) {
        if let Some(known) = self.known.get_mut(&id) {
            if known.parked.take().is_some() {
                self.parked.remove(&(known.dev, known.ino));
            }
            (known.file, known.dev, known.ino) = (Some(file), dev, ino);
        }
    }

    /// No file holds the stream any more.
    pub fn park(&mut self, id: StreamId, parked: Parked) {
        if let Some(known) = self.known.get_mut(&id) {
            known.file = None;
            known.parked = Some(Box::new(parked));
            self.parked.insert((known.dev, known.ino), id);
            self.gone.push_back(id);
        }
    }

    /// Streams that nothing refers to, beyond those worth remembering. They are known no longer.
    pub fn forget_old(&mut self, now: Instant) -> Vec<StreamId> {
        let Memory { streams, at_most, old } = self.memory;
        let mut forgotten = Vec::new();
        let mut kept = 0;
        while self.gone.len() > streams && kept < streams {
            let Some(id) = self.gone.pop_front() else { break };
            let young = |p: &Parked| now.saturating_duration_since(p.since) < old;
            match self.known.get(&id) {
                Some(k) if k.parked.is_none() => {}
                Some(k) if self.gone.len() < at_most && k.parked.as_deref().is_some_and(young) => {
                    self.gone.push_front(id);
                    break;
                }
                Some(k) if k.copies > 0 => {
                    self.gone.push_back(id);
                    kept += 1;
                }
                _ => {
                    self.remove(id);
                    forgotten.push(id);
                }
            }
        }
        forgotten
    }

    fn remove(&mut self, id: StreamId) {
        let Some(known) = self.known.remove(&id) else { return };
        if self.parked.get(&(known.dev, known.ino)) == Some(&id) {
            self.parked.remove(&(known.dev, known.ino));
        }
        if let Some(ids) = self.by_head.get_mut(&known.head) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.by_head.remove(&known.head);
            }
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
mod tests {
    use super::*;

    fn known(n: u64, parked: bool) -> Known {
        let parked = parked.then(|| {
            Box::new(Parked {
                path: PathBuf::new(),
                size: 0,
                mtime: 0,
                since: Instant::now(),
                counted: false,
                unwanted: false,
            })
        });
        Known {
            head: n / 2,
            head_len: 1,
            generation: 0,
            cursor: Cursor::default(),
            start: 0,
            dev: 1,
            ino: n,
            born: 0,
            script: "s".into(),
            file: None,
            copies: 0,
            finished: false,
            parked,
        }
    }

    #[test]
    fn a_million_rotations_leave_a_state_of_constant_size() {
        let mut streams = Streams::new(1);
        let later = Instant::now() + REMEMBERED.old * 2;
        for n in 0..1_000_000 {
            let id = streams.next_id();
            streams.add(id, known(n, true));
            streams.forget_old(later);
        }
        assert_eq!(streams.len(), REMEMBERED.streams);
        assert!(streams.by_head.len() <= REMEMBERED.streams && streams.parked.len() <= REMEMBERED.streams);
    }

    #[test]
    fn many_streams_that_lose_their_files_at_once_stay_known_for_a_while() {
        let mut streams = Streams::new(1);
        let now = Instant::now();
        for n in 0..30_000 {
            streams.add(n + 1, known(n, true));
        }
        streams.forget_old(now);
        while !streams.forget_old(now).is_empty() {}
        assert_eq!(streams.len(), REMEMBERED.at_most);
        assert!(streams.get(30_000).is_some() && streams.get(1).is_none());
        while !streams.forget_old(now + REMEMBERED.old * 2).is_empty() {}
        assert_eq!(streams.len(), REMEMBERED.streams);
    }

    #[test]
    fn streams_with_a_file_or_a_copy_are_never_forgotten() {
        let mut streams = Streams::new(1);
        streams.add(1, known(1, false));
        streams.add(
            2,
            Known {
                copies: 1,
                ..known(2, true)
            },
        );
        streams.add(3, known(3, true));
        streams.attach(3, 0, 1, 3);
        let later = Instant::now() + REMEMBERED.old * 2;
        for n in 10..20_000 {
            streams.add(n, known(n, true));
            streams.forget_old(later);
        }
        assert!((1..=3).all(|id| streams.get(id).is_some()));
    }
}
