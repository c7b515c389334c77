//! The bytes of one stream that are looked at: a read buffer that splits itself into parcels.
//!
//! One window serves all plain files in turn, so its memory is that of the agent: a block, or a line of the permitted
//! length with its neighbours. Of a longer line only the permitted beginning is kept while its end is looked for.
//! The [`NEAR`] bytes below the first unconsumed one always stay, for the hash that a cursor carries.

use std::io;

use super::lines::{self, End, Rest, Split};
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
    /// What the configuration says of lines that belong together.
    pub rules: Continues,
    /// Within a line longer than the limit: the bytes of it that were dropped.
    dropped: Option<u64>,
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
        (self.end, self.at, self.offset, self.dropped) = (0, 0, offset.saturating_sub(below as u64), None);
        self.items.clear();
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
        self.offset + (self.end - self.at) as u64 + self.dropped.unwrap_or(0)
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
        if self.dropped.is_none() && self.at > NEAR && self.end + want > self.store.len() {
            let from = self.at - NEAR;
            self.store.copy_within(from..self.end, 0);
            (self.at, self.end) = (NEAR, self.end - from);
        }
        if self.end + want > self.store.len() {
            self.store.resize(self.end + want, 0);
        }
        let room = self.store.get_mut(self.end..self.end + want).unwrap_or_default();
        let got = read(room)?.min(want);
        let fresh = self.end;
        self.end += got;
        if let Some(dropped) = self.dropped {
            let fed = memchr::memchr(b'\n', self.store.get(fresh..self.end).unwrap_or_default()).is_some();
            let excess = (self.end - self.at).saturating_sub(max_line + NEAR);
            if !fed && excess > 0 {
                self.store.copy_within(self.end - NEAR..self.end, self.at + max_line);
                self.end -= excess;
                self.dropped = Some(dropped + excess as u64);
            }
        }
        Ok(got)
    }

    /// Splits what is filled in; the items are in `self.items`, relative to [`Window::data`].
    pub fn parcel(&mut self, before: Cursor, end: End, max_line: usize) -> Parcel {
        self.items.clear();
        if let Some(dropped) = self.dropped {
            return self.long(before, end, max_line, dropped);
        }
        let data = self.store.get(self.at..self.end).unwrap_or_default();
        let split = lines::split_by(
            data,
            self.offset,
            before.chain,
            end,
            max_line,
            &self.rules,
            &mut self.items,
        );
        if split.rest == Rest::Long && end != End::Final {
            self.dropped = Some(0);
        }
        let from = self.at;
        self.advance(split.consumed, split.consumed as u64);
        self.done(from, from + split.consumed, before, split)
    }

    /// As `parcel`, of the bytes below `offset` alone; `end` says what lies behind these.
    pub fn parcel_to(&mut self, before: Cursor, offset: u64, end: End, max_line: usize) -> Parcel {
        let beyond = self.position().saturating_sub(offset) as usize;
        let filled = self.end;
        self.end = filled.saturating_sub(beyond).max(self.at);
        let parcel = self.parcel(before, end, max_line);
        self.end = filled;
        parcel
    }

    /// As `parcel`, within a line longer than the limit.
    fn long(&mut self, before: Cursor, end: End, max_line: usize, dropped: u64) -> Parcel {
        let (from, data) = (self.at, self.store.get(self.at..self.end).unwrap_or_default());
        let feed = memchr::memchr(b'\n', data.get(max_line..).unwrap_or_default()).map(|n| n + max_line);
        let (length, terminator) = match (feed, end) {
            (Some(n), _) => (n, 1),
            (None, End::Final) => (data.len(), 0),
            (None, _) => {
                let split = Split {
                    chain: before.chain,
                    rest: Rest::Long,
                    ..Split::default()
                };
                return self.done(from, from, before, split);
            }
        };
        let whole = length as u64 + dropped;
        let kept = data.get(..max_line).unwrap_or(data);
        let chain = lines::chain_of(before.chain, kept, whole as usize);
        let kept = kept.len();
        self.items.push(Item {
            start: 0,
            line_end: kept as u32,
            end: kept as u32,
            offset: self.offset,
            chain,
            whole,
        });
        self.dropped = None;
        self.advance(length + terminator, whole + terminator as u64);
        let split = Split {
            consumed: length + terminator,
            chain,
            cut_bytes: whole - kept as u64,
            ..Split::default()
        };
        let again = true;
        Parcel {
            again,
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
