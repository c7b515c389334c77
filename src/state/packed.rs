//! Pairs of byte strings in a row, for what is read at the start: tens of thousands of allocations less, and what was
//! taken out is given back piece by piece.

use std::collections::VecDeque;

use super::codec;
use crate::source::{Cursor, StreamEntry};

/// Bytes of one piece.
const PIECE: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Packed {
    pieces: VecDeque<Vec<u8>>,
    /// Where the next pair is in the first piece.
    at: usize,
    len: usize,
}

impl Packed {
    pub fn push(&mut self, a: &[u8], b: &[u8]) {
        let want = 8 + a.len() + b.len();
        if self.pieces.back().is_none_or(|p| p.len() + want > p.capacity()) {
            self.pieces.push_back(Vec::with_capacity(want.max(PIECE)));
        }
        if let Some(piece) = self.pieces.back_mut() {
            for part in [a, b] {
                piece.extend_from_slice(&(part.len() as u32).to_le_bytes());
                piece.extend_from_slice(part);
            }
        }
        self.len += 1;
    }

    /// Takes out the pair that was put in first.
    pub fn pop(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        while self.pieces.front().is_some_and(|p| p.len() <= self.at) {
            self.pieces.pop_front();
            self.at = 0;
        }
        let piece = self.pieces.front()?;
        let (a, at) = part(piece, self.at)?;
        let (b, at) = part(piece, at)?;
        let pair = (a.to_vec(), b.to_vec());
        self.at = at;
        self.len -= 1;
        Some(pair)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut places = self.pieces.iter();
        let mut place = places.next().map(|p| (p, self.at));
        std::iter::from_fn(move || {
            loop {
                let (piece, at) = place?;
                if at < piece.len() {
                    let (a, at) = part(piece, at)?;
                    let (b, at) = part(piece, at)?;
                    place = Some((piece, at));
                    return Some((a, b));
                }
                place = places.next().map(|p| (p, 0));
            }
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

/// The byte string at `at`, and where it ends.
fn part(piece: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (len, rest) = piece.get(at..)?.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    Some((rest.get(..len)?, at + 4 + len))
}

/// The file streams that the state knew when it was opened, in the order of their ids; decoded as they are taken out.
#[derive(Debug, Default)]
pub struct KnownStreams(Packed);

impl KnownStreams {
    /// `entry` and `cursor` as they are encoded.
    pub(super) fn push(&mut self, entry: &[u8], cursor: &Cursor) {
        self.0.push(entry, &codec::encode_cursor(cursor));
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<(StreamEntry, Cursor)> {
        self.0.iter().filter_map(|(e, c)| decode(e, c)).collect()
    }
}

impl Iterator for KnownStreams {
    type Item = (StreamEntry, Cursor);

    fn next(&mut self) -> Option<(StreamEntry, Cursor)> {
        let (entry, cursor) = self.0.pop()?;
        decode(&entry, &cursor)
    }
}

/// They were decoded once before they were put in, so both can be.
fn decode(entry: &[u8], cursor: &[u8]) -> Option<(StreamEntry, Cursor)> {
    Some((codec::decode_entry(entry).ok()?, codec::decode_cursor(cursor).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_out_as_they_went_in_and_the_pieces_are_given_back() {
        let pair = |n: usize| (vec![n as u8; n % 300], vec![!n as u8; n * 7 % 200_000]);
        let mut packed = Packed::default();
        for n in 0..500 {
            let (a, b) = pair(n);
            packed.push(&a, &b);
        }
        assert!(
            packed
                .iter()
                .enumerate()
                .all(|(n, (a, b))| pair(n) == (a.to_vec(), b.to_vec()))
        );
        assert_eq!(packed.iter().count(), 500);
        let pieces = packed.pieces.len();
        for n in 0..500 {
            assert_eq!(packed.pop(), Some(pair(n)));
            assert_eq!(packed.iter().count(), packed.len());
        }
        assert_eq!((packed.pop(), packed.pieces.len()), (None, 0));
        assert!(pieces > 2);
    }
}
