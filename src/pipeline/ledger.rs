//! What becomes true when a batch is settled, kept in the order in which batches were formed.
//!
//! Batches may be settled out of order (two are in flight); what they promise may not: a cursor above an unsettled
//! batch would lose it in a crash. So only what is settled at the front, without a gap, is handed out.

use std::collections::VecDeque;

use super::durability::Settled;
use crate::source::{Cursor, StreamEntry, StreamId};
use crate::state::{Change, SpoolId};

/// The number of a batch.
pub type Ticket = u64;

/// What a batch makes true once it is settled.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub cursors: Vec<(StreamId, Cursor)>,
    pub remember: Vec<StreamEntry>,
    pub forget: Vec<StreamId>,
    /// Everything in the spool up to here is stored.
    pub spool_done: Option<SpoolId>,
}

impl Progress {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.remember.is_empty() && self.forget.is_empty() && self.spool_done.is_none()
    }

    /// Notes a stream's cursor; a later one replaces an earlier one.
    pub fn cursor(&mut self, id: StreamId, cursor: Cursor) {
        put(&mut self.cursors, id, cursor);
    }

    /// Adds what a later batch makes true; it replaces what came earlier.
    pub fn join(&mut self, later: Progress) {
        put_all(&mut self.cursors, later.cursors);
        remember_all(&mut self.remember, later.remember);
        self.forget.extend(later.forget);
        self.spool_done = self.spool_done.max(later.spool_done);
    }

    /// Adds this to a change; what comes later replaces what came earlier.
    pub(super) fn merge_into(self, change: &mut Change) {
        put_all(&mut change.cursors, self.cursors);
        remember_all(&mut change.remember, self.remember);
        change.forget.extend(self.forget);
        change.spool_done = change.spool_done.max(self.spool_done);
    }
}

/// Sets a stream's cursor in a short list; the stream written last is looked at first.
fn put(list: &mut Vec<(StreamId, Cursor)>, id: StreamId, cursor: Cursor) {
    match list.iter_mut().rev().find(|(i, _)| *i == id) {
        Some(slot) => slot.1 = cursor,
        None => list.push((id, cursor)),
    }
}

/// Lists up to this length are searched; longer ones are kept in order.
const SHORT: usize = 64;

/// As [`put`] for each of `newer`. A list of ten thousand streams, found at once, is not searched for each of them.
fn put_all(list: &mut Vec<(StreamId, Cursor)>, newer: Vec<(StreamId, Cursor)>) {
    if list.len() + newer.len() <= SHORT {
        return newer.into_iter().for_each(|(id, cursor)| put(list, id, cursor));
    }
    list.extend(newer);
    list.sort_by_key(|(id, _)| *id);
    list.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            *earlier = *later;
        }
        same
    });
}

/// Adds identities; of a long list the earlier ones of the same streams are dropped.
fn remember_all(list: &mut Vec<StreamEntry>, newer: Vec<StreamEntry>) {
    list.extend(newer);
    if list.len() > SHORT {
        list.sort_by_key(|entry| entry.id);
        list.dedup_by(|later, earlier| {
            let same = later.id == earlier.id;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
    }
}

/// Adds what is to be kept of runs; what comes later replaces what came earlier.
pub fn keep_all(list: &mut Vec<(String, Option<Vec<u8>>)>, newer: Vec<(String, Option<Vec<u8>>)>) {
    if list.is_empty() {
        *list = newer;
        return;
    }
    list.extend(newer);
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}

/// By what a batch is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The store has confirmed it.
    Store,
    /// It goes into the spool with the next change.
    Spool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    first: Ticket,
    /// (by what it is settled, what it makes true)
    open: VecDeque<(Option<By>, Progress)>,
}

impl Ledger {
    /// Enters the next batch.
    pub fn enter(&mut self, progress: Progress) -> Ticket {
        self.open.push_back((None, progress));
        self.first + self.open.len() as Ticket - 1
    }

    /// Marks a batch as settled. Unknown tickets are ignored: they were settled before.
    pub fn settle(&mut self, ticket: Ticket, by: By) {
        let i = ticket.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
        if let Some(entry) = i.and_then(|i| self.open.get_mut(i)) {
            entry.0.get_or_insert(by);
        }
    }

    /// Whether a checkpoint would have anything to write.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.open.front().is_some_and(|(settled, _)| settled.is_some())
    }

    /// Whether every batch is settled and taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Moves what is settled at the front into `settled`.
    pub fn take_settled(&mut self, settled: &mut Settled) {
        while self.has_settled() {
            let Some((by, progress)) = self.open.pop_front() else {
                return;
            };
            self.first += 1;
            match by {
                Some(By::Spool) => settled.spooled(progress),
                Some(By::Store) | None => settled.confirmed(progress),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Progress {
        let mut p = Progress::default();
        p.cursor(
            1,
            Cursor {
                offset,
                ..Cursor::default()
            },
        );
        p
    }

    /// The change that spooled progress becomes.
    fn spooled(settled: Settled) -> Change {
        let mut change = Change::default();
        let durable = futures_util::FutureExt::now_or_never(
            settled.durable(&crate::store::memory::MemoryStore::default(), std::time::Duration::ZERO),
        );
        durable
            .expect("nothing is waited for")
            .expect("nothing rests on a store")
            .into_change(&mut change);
        change
    }

    #[test]
    fn a_cursor_does_not_pass_an_unsettled_batch() {
        let mut ledger = Ledger::default();
        let (a, b) = (ledger.enter(at(10)), ledger.enter(at(20)));
        ledger.settle(b, By::Spool);
        let mut settled = Settled::default();
        ledger.take_settled(&mut settled);
        assert!(settled.is_empty());
        ledger.settle(a, By::Spool);
        ledger.take_settled(&mut settled);
        let change = spooled(settled);
        assert_eq!(
            change.cursors,
            [(
                1,
                Cursor {
                    offset: 20,
                    ..Cursor::default()
                }
            )]
        );
        assert!(ledger.is_empty());
    }

    #[test]
    fn of_many_streams_the_latest_cursor_and_identity_are_kept() {
        let mut change = Change::default();
        for offset in 1..=3 {
            let mut p = Progress::default();
            for id in (1..=200).rev() {
                let cursor = Cursor {
                    offset: offset * id,
                    ..Cursor::default()
                };
                p.cursor(id, cursor);
                p.remember.push(StreamEntry {
                    id,
                    size: offset,
                    ..StreamEntry::default()
                });
            }
            p.merge_into(&mut change);
        }
        assert!(
            change
                .cursors
                .iter()
                .zip(1..)
                .all(|((id, c), n)| (*id, c.offset) == (n, 3 * n))
        );
        assert!(change.remember.iter().zip(1..).all(|(e, n)| (e.id, e.size) == (n, 3)));
        assert_eq!((change.cursors.len(), change.remember.len()), (200, 200));
    }

    #[test]
    fn of_a_run_the_latest_word_is_kept() {
        let word = |name: &str, value: Option<u8>| (name.to_owned(), value.map(|v| vec![v]));
        let mut kept = Vec::new();
        keep_all(&mut kept, vec![word("b", Some(1)), word("a", Some(2))]);
        keep_all(&mut kept, vec![word("a", None), word("c", Some(3)), word("a", Some(4))]);
        assert_eq!(kept, [word("a", Some(4)), word("b", Some(1)), word("c", Some(3))]);
        keep_all(&mut kept, vec![word("a", None)]);
        assert_eq!(kept.first(), Some(&word("a", None)));
    }

    #[test]
    fn a_ticket_settled_twice_changes_nothing() {
        let mut ledger = Ledger::default();
        let a = ledger.enter(at(10));
        ledger.settle(a, By::Store);
        ledger.take_settled(&mut Settled::default());
        let b = ledger.enter(at(20));
        ledger.settle(a, By::Store);
        assert!(!ledger.has_settled());
        ledger.settle(b, By::Store);
        assert!(ledger.has_settled());
    }
}
