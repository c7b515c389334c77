//! The streams that are known: their identity and cursor, whether or not a file holds them now.
//!
//! Twenty thousand of them are kept in memory for twenty thousand idle files, so an entry is small. A stream that no
//! file holds is *parked*: its file may come back under another name, as a copy, or in an archive. Of parked streams
//! the latest stay known, and more of them for a while, in case a share went that comes back ([`REMEMBERED`]); so
//! rotation without end leaves a state of constant size. What comes back after that is read again under the same keys,
//! which changes nothing in the store.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::StreamId;
use super::file::Device;
use super::identity::Head;
use super::index::{Index, Slot};
use super::known::NONE;
pub use super::known::{Identity, Known, Parked};
use super::slab::Slab;
use super::table::{FileId, hash_of_inode};

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
