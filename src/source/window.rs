//! The bytes of one stream that are looked at: a read buffer that splits itself into parcels.
//!
//! One window serves all plain files in turn, so its memory is that of the agent: a block, or a line of the permitted
//! length with its neighbours. Of a longer line only the permitted beginning is kept while its end is looked for.
//! The [`NEAR`] bytes below the first unconsumed one always stay, for the hash that a cursor carries.

use std::io;

use xxhash_rust::xxh3::Xxh3;

use super::chain::link;
use super::lines::{self, End, Ends, NUL_RUN, Rest, Split};
use super::{Cursor, Item, NEAR, identity};
use crate::record::Continues;

/// Bytes asked for at a time, and what a stream may take before it is another's turn.
pub const BLOCK: usize = 256 << 10;

/// Storage above this is given back after use.
const KEEP: usize = 1 << 20;

#[derive(Debug, Default)]
pub struct Window {
    store: Vec<u8>,
    /// Bytes of `store` that are filled.
    end: usize,
    /// The first one that is not consumed.
    at: usize,
    /// Stream offset of `at`.
    offset: u64,
    pub items: Vec<Item>,
    /// Where lines ended that are to leave a mark.
    pub ends: Ends,
    /// What the configuration says of lines that belong together.
    pub rules: Continues,
    /// Within a line longer than the limit.
    long: Option<Long>,
}

/// What is known of a line longer than the limit, of which only the beginning is kept.
#[derive(Default)]
struct Long {
    /// Bytes of it that were dropped.
    dropped: u64,
    /// Of the kept beginning and the dropped bytes.
    hash: Xxh3,
    /// Bytes behind the kept beginning that were searched for the line's end.
    searched: usize,
}

impl std::fmt::Debug for Long {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Long")
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

/// Complete lines at the window's front, with the cursor after them.
#[derive(Clone, Copy, Debug)]
pub struct Parcel {
    from: usize,
    to: usize,
    pub cursor: Cursor,
    pub split: Split,
    /// The end of a line longer than the limit: what follows it is another parcel.
    pub again: bool,
}

impl Window {
    /// Begins anew below `offset`: the next byte to be filled in is at `offset - below`.
    pub fn start(&mut self, offset: u64, below: usize) {
        if self.store.len() > KEEP {
            self.store = Vec::new();
        }
        (self.end, self.at, self.offset) = (0, 0, offset.saturating_sub(below as u64));
        self.long = None;
        self.items.clear();
        self.ends.ends.clear();
        self.ends.wanted = 0;
        self.ends.nuls_wait = false;
    }

    /// Moves the front up to `offset`, over bytes that are filled in; whether they were there.
    pub fn pass(&mut self, offset: u64) -> bool {
        let Some(at) = usize::try_from(offset - self.offset)
            .ok()
            .map(|n| self.at + n)
            .filter(|at| *at <= self.end)
        else {
            return false;
        };
        (self.at, self.offset) = (at, offset);
        true
    }

    /// Stream offset of the next byte to be filled in.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset + (self.end - self.at) as u64 + self.long.as_ref().map_or(0, |l| l.dropped)
    }

    /// Hash of the bytes below the front.
    #[must_use]
    pub fn near(&self) -> u64 {
        identity::near(self.store.get(..self.at).unwrap_or_default())
    }

    /// What is filled in and not consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.store.get(self.at..self.end).unwrap_or_default()
    }

    /// Fills in at most `want` bytes by one call of `read`; returns how many came.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub fn fill(
        &mut self,
        want: usize,
        max_line: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.long.is_none() && self.at > NEAR && self.end + want > self.store.len() {
            let from = self.at - NEAR;
            self.store.copy_within(from..self.end, 0);
            (self.at, self.end) = (NEAR, self.end - from);
        }
        if self.end + want > self.store.len() {
            self.store.resize(self.end + want, 0);
        }
        let room = self.store.get_mut(self.end..self.end + want).unwrap_or_default();
        let got = read(room)?.min(want);
        self.end += got;
        self.drop_middle(max_line);
        Ok(got)
    }

    /// Of a line longer than the limit, which has no end yet, keeps the beginning and the last bytes.
    fn drop_middle(&mut self, max_line: usize) {
        let excess = (self.end - self.at).saturating_sub(max_line + NEAR);
        if excess == 0 || self.long.is_none() || self.long_end(max_line).is_some() {
            return;
        }
        let (from, store) = (self.at + max_line, &mut self.store);
        if let Some(long) = &mut self.long {
            long.hash.update(store.get(from..from + excess).unwrap_or_default());
            long.dropped += excess as u64;
            long.searched = long.searched.saturating_sub(excess);
        }
        store.copy_within(self.end - NEAR..self.end, from);
        self.end -= excess;
    }

    /// Where the line longer than the limit ends, from the front, and how many bytes end it.
    fn long_end(&mut self, max_line: usize) -> Option<(usize, usize)> {
        let data = self.store.get(self.at..self.end).unwrap_or_default();
        let searched = self.long.as_ref().map_or(0, |l| l.searched);
        // A run of NULs may have begun in what was searched.
        let from = (max_line + searched).saturating_sub(NUL_RUN);
        let fresh = data.get(from..).unwrap_or_default();
        let feed = memchr::memchr(b'\n', fresh);
        let hole = memchr::memmem::find(
            fresh.get(..feed.unwrap_or(fresh.len())).unwrap_or_default(),
            &[0; NUL_RUN],
        );
        if let Some(long) = &mut self.long {
            long.searched = data.len().saturating_sub(max_line);
        }
        match (hole, feed) {
            (Some(at), _) => Some((from + at, 0)),
            (None, Some(at)) => Some((from + at, 1)),
            (None, None) => None,
        }
    }

    /// Splits what is filled in; the items are in `self.items`, relative to [`Window::data`].
    pub fn parcel(&mut self, before: Cursor, end: End, max_line: usize) -> Parcel {
        self.items.clear();
        self.ends.ends.clear();
        if self.long.is_some() {
            return self.long(before, end, max_line);
        }
        let data = self.store.get(self.at..self.end).unwrap_or_default();
        let (items, ends, rules) = (&mut self.items, &mut self.ends, &self.rules);
        let split = lines::split_marking(data, self.offset, before.chain, end, max_line, rules, items, ends);
        let from = self.at;
        self.advance(split.consumed, split.consumed as u64);
        if split.rest == Rest::Long && end != End::Final {
            let mut long = Long::default();
            let kept = self.store.get(self.at..self.end).and_then(|line| line.get(..max_line));
            long.hash.update(kept.unwrap_or_default());
            self.long = Some(long);
        }
        self.done(from, from + split.consumed, before, split)
    }

    /// As `parcel`, within a line longer than the limit.
    fn long(&mut self, before: Cursor, end: End, max_line: usize) -> Parcel {
        if let Some(long) = &mut self.long {
            long.searched = 0;
        }
        let from = self.at;
        let (length, terminator) = match (self.long_end(max_line), end) {
            (Some(found), _) => found,
            (None, End::Final) => (self.end - self.at, 0),
            (None, _) => {
                let split = Split {
                    chain: before.chain,
                    rest: Rest::Long,
                    ..Split::default()
                };
                return self.done(from, from, before, split);
            }
        };
        let mut long = self.long.take().unwrap_or_default();
        let data = self.store.get(self.at..self.end).unwrap_or_default();
        long.hash.update(data.get(max_line..length).unwrap_or_default());
        let whole = length as u64 + long.dropped;
        let kept = max_line.min(length);
        let chain = link(before.chain, self.offset, long.hash.digest128());
        if self.ends.ends.len() < self.ends.wanted {
            self.ends.ends.push((self.offset + whole, chain));
        }
        self.items.push(Item {
            start: 0,
            line_end: kept as u32,
            end: kept as u32,
            offset: self.offset,
            chain,
            number: 0,
            whole,
        });
        self.advance(length + terminator, whole + terminator as u64);
        let split = Split {
            consumed: length + terminator,
            chain,
            cut_bytes: whole - kept as u64,
            ..Split::default()
        };
        Parcel {
            again: true,
            ..self.done(from, from + kept, before, split)
        }
    }

    fn advance(&mut self, bytes: usize, stream: u64) {
        self.at += bytes;
        self.offset += stream;
    }

    fn done(&self, from: usize, to: usize, before: Cursor, split: Split) -> Parcel {
        let moved = self.offset != before.offset;
        let near = if moved { self.near() } else { before.near };
        let cursor = Cursor {
            offset: self.offset,
            chain: split.chain,
            seq: before.seq,
            near,
        };
        Parcel {
            from,
            to,
            cursor,
            split,
            again: false,
        }
    }

    /// The bytes of a parcel, until the window is filled again.
    #[must_use]
    pub fn data(&self, parcel: &Parcel) -> &[u8] {
        self.store.get(parcel.from..parcel.to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (line, offset, whole) of each item, the last cursor, and the most bytes that were kept.
    type Seen = (Vec<(Vec<u8>, u64, u64)>, Cursor, usize);

    /// Reads `data` through a window in blocks of `block`.
    fn read(data: &[u8], block: usize, max_line: usize) -> Seen {
        let (mut window, mut cursor, mut out, mut most) = (Window::default(), Cursor::default(), Vec::new(), 0);
        window.start(0, 0);
        loop {
            let at = window.position() as usize;
            let n = window
                .fill(block, max_line, |b| {
                    let n = b.len().min(data.len() - at);
                    b[..n].copy_from_slice(&data[at..at + n]);
                    Ok(n)
                })
                .unwrap();
            most = most.max(window.end);
            let last = at + n == data.len();
            let parcel = window.parcel(cursor, if last { End::Final } else { End::More }, max_line);
            for i in &window.items {
                let line = &window.data(&parcel)[i.start as usize..i.line_end as usize];
                out.push((line.to_vec(), i.offset, i.whole));
            }
            cursor = parcel.cursor;
            if last && window.at == window.end {
                return (out, cursor, most);
            }
        }
    }

    #[test]
    fn of_a_line_beyond_the_limit_only_the_beginning_is_kept() {
        let data = [b"a\n".to_vec(), vec![b'x'; 5_000_000], b"\nb\n".to_vec()].concat();
        let (items, cursor, most) = read(&data, 1000, 10_000);
        assert_eq!(
            items.iter().map(|i| (i.0.len(), i.2)).collect::<Vec<_>>(),
            [(1, 0), (10_000, 5_000_000), (1, 0)]
        );
        assert_eq!(cursor.offset, data.len() as u64);
        assert!(most < 30_000, "{most}");
    }

    proptest! {
        #[test]
        fn the_size_of_blocks_changes_nothing(
            lines in prop::collection::vec(prop_oneof!["[a-z ]{0,20}", "[a-z]{90,200}"], 0..40),
            block in 1usize..300,
        ) {
            let data = lines.join("\n").into_bytes();
            let (items, cursor, _) = read(&data, block, 50);
            let (expected, all, _) = read(&data, 1 << 20, 50);
            prop_assert_eq!(items, expected);
            prop_assert_eq!(cursor, all);
            prop_assert_eq!(cursor.near, identity::near(&data));
        }
    }
}
