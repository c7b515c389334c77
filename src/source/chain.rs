//! The chain: one running hash of all of a stream's content so far.
//!
//! Equal chains at equal offsets mean equal content from the beginning. The chain takes in every line that is not blank,
//! with the offset at which the line begins, so that blank lines and runs of NUL bytes need no hash of their own: where
//! they stand follows from the offsets of the lines around them. It is a function of the raw bytes alone: neither the
//! size of reads, nor how lines were grouped to records, nor `files.max_line` changes it.
//!
//! The chain at an offset within a line is that of the lines below, and of the line's beginning as if the stream ended
//! there. Streams whose last line had no line feed have such cursors.

use memchr::memchr;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::lines::NUL_RUN;

/// The hash of a stream's content from its beginning up to an offset.
pub type Chain = u128;

const ODD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

/// The chain after one more line (without its line feed) that begins at `offset`.
#[must_use]
pub fn chain(before: Chain, offset: u64, line: &[u8]) -> Chain {
    link(before, offset, xxh3_128(line))
}

/// As [`chain`], of a line whose hash is known.
#[must_use]
pub fn link(before: Chain, offset: u64, line: u128) -> Chain {
    let placed = u128::from(offset.wrapping_mul(0xD6E8_FEB8_6659_FD93)) << 32;
    (before.rotate_left(41) ^ line ^ placed).wrapping_mul(ODD)
}

/// Whether a line holds no record.
#[must_use]
pub fn is_blank(line: &[u8]) -> bool {
    line.first().is_none_or(|b| *b <= b' ') && line.iter().all(u8::is_ascii_whitespace)
}

/// A line that the digest has come to the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its last byte, without what ends it.
    pub end: u64,
    /// The chain after it.
    pub chain: Chain,
}

/// Computes a chain from bytes that come in pieces of any size.
pub struct Digest {
    chain: Chain,
    /// Bytes seen.
    at: u64,
    /// The line that is not complete yet; its start is `at` where there is none.
    start: u64,
    /// The hash of its bytes, where they came in several pieces.
    hash: Option<Box<Xxh3>>,
    blank: bool,
    /// NUL bytes at its end, not hashed yet: they may be the beginning of a run.
    nuls: usize,
}

impl Digest {
    /// A digest that goes on behind `offset`, where a line begins.
    #[must_use]
    pub fn new(offset: u64, chain: Chain) -> Digest {
        Digest {
            chain,
            at: offset,
            start: offset,
            hash: None,
            blank: true,
            nuls: 0,
        }
    }

    /// Bytes seen.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The chain of all bytes seen, as if the stream ended here.
    #[must_use]
    pub fn chain(&self) -> Chain {
        self.unfinished().map_or(self.chain, |line| line.chain)
    }

    /// The line that has begun and has no end yet, as if it ended here; `None` where there is none, or it is blank.
    #[must_use]
    pub fn unfinished(&self) -> Option<Line> {
        let nuls = [0; NUL_RUN];
        let tail = nuls.get(..self.nuls).unwrap_or_default();
        if self.start == self.at || (self.blank && tail.is_empty()) {
            return None;
        }
        let mut hash = self.hash.clone().unwrap_or_default();
        hash.update(tail);
        Some(Line {
            start: self.start,
            end: self.at,
            chain: link(self.chain, self.start, hash.digest128()),
        })
    }

    /// Takes in more bytes; `each` is told of every line that ends within them.
    pub fn feed(&mut self, mut data: &[u8], each: &mut dyn FnMut(Line)) {
        let nuls = memchr(0, data).is_some();
        while !data.is_empty() {
            data = if nuls || self.nuls > 0 {
                self.feed_slowly(data, each)
            } else {
                self.feed_line(data, each)
            };
        }
    }

    /// Takes in what `data` has of one line, where no NUL byte stands in it; returns the rest.
    fn feed_line<'a>(&mut self, data: &'a [u8], each: &mut dyn FnMut(Line)) -> &'a [u8] {
        let Some(feed) = memchr(b'\n', data) else {
            self.keep(data);
            return &[];
        };
        let (line, rest) = data.split_at(feed);
        if self.hash.is_none() && self.start == self.at {
            self.at += line.len() as u64;
            if !is_blank(line) {
                self.end_line(xxh3_128(line), each);
            }
        } else {
            self.keep(line);
            self.end(each);
        }
        self.at += 1;
        self.start = self.at;
        rest.get(1..).unwrap_or_default()
    }

    /// Takes in one run of equal kind: NUL bytes, or what stands before the next of them; returns the rest.
    fn feed_slowly<'a>(&mut self, data: &'a [u8], each: &mut dyn FnMut(Line)) -> &'a [u8] {
        let run = data.iter().position(|b| *b != 0).unwrap_or(data.len());
        if run == 0 {
            let next = memchr(0, data).unwrap_or(data.len());
            let (mut text, rest) = data.split_at(next);
            if self.nuls > 0 {
                let nuls = std::mem::take(&mut self.nuls);
                self.hash_in([0; NUL_RUN].get(..nuls).unwrap_or_default());
            }
            while !text.is_empty() {
                text = self.feed_line(text, each);
            }
            return rest;
        }
        let rest = data.get(run..).unwrap_or_default();
        if self.start == self.at {
            // NUL bytes where a line could begin belong to none.
            self.at += run as u64;
            self.start = self.at;
            return rest;
        }
        if self.nuls + run < NUL_RUN {
            self.nuls += run;
            self.at += run as u64;
            return rest;
        }
        // The line ended before its first NUL of the run.
        let pending = std::mem::take(&mut self.nuls) as u64;
        self.at -= pending;
        self.end(each);
        self.at += pending + run as u64;
        self.start = self.at;
        rest
    }

    fn hash_in(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.blank &= bytes.iter().all(u8::is_ascii_whitespace);
            self.hash.get_or_insert_default().update(bytes);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.hash_in(bytes);
        self.at += bytes.len() as u64;
    }

    /// The line ends here.
    fn end(&mut self, each: &mut dyn FnMut(Line)) {
        let hash = self.hash.take();
        if let Some(hash) = hash.filter(|_| !self.blank) {
            self.end_line(hash.digest128(), each);
        }
        self.blank = true;
    }

    fn end_line(&mut self, hash: u128, each: &mut dyn FnMut(Line)) {
        self.chain = link(self.chain, self.start, hash);
        each(Line {
            start: self.start,
            end: self.at,
            chain: self.chain,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::lines::{self, End};
    use proptest::prelude::*;

    /// Lines and chain of `data`, fed in pieces of `size`.
    fn digest(data: &[u8], size: usize) -> (Vec<Line>, Chain) {
        let mut digest = Digest::new(0, 0);
        let mut out = Vec::new();
        data.chunks(size)
            .for_each(|piece| digest.feed(piece, &mut |l| out.push(l)));
        (out, digest.chain())
    }

    #[test]
    fn the_chain_after_a_line_without_its_feed_is_that_of_the_line_with_it() {
        assert_eq!(digest(b"one\ntwo", 9).1, digest(b"one\ntwo\n", 9).1);
        assert_ne!(digest(b"one\ntw", 9).1, digest(b"one\ntwo", 9).1);
    }

    #[test]
    fn the_same_lines_at_other_places_have_other_chains() {
        assert_ne!(digest(b"one\n\ntwo\n", 99).1, digest(b"one\ntwo\n", 99).1);
        assert_ne!(digest(b"\0\0\0\0one\n", 99).1, digest(b"one\n", 99).1);
    }

    proptest! {
        #[test]
        fn neither_pieces_nor_grouping_nor_cutting_change_the_chain(
            words in prop::collection::vec(prop_oneof![
                4 => "[ab]{0,3}\n", 1 => " {0,2}\n", 1 => "\u{0}{1,9}", 2 => "[ab]{1,3}", 1 => "[a]{30,60}\n",
            ], 0..24),
            size in 1usize..40,
        ) {
            let data = words.concat().into_bytes();
            let (lines, chain) = digest(&data, size);
            prop_assert_eq!((&lines, chain), (&digest(&data, 1 << 20).0, digest(&data, 1 << 20).1));
            for max_line in [20, 1 << 20] {
                let mut items = Vec::new();
                let split = lines::split(&data, 0, 0, End::Final, max_line, &mut items);
                prop_assert_eq!(split.chain, chain, "max_line {}", max_line);
                for item in &items {
                    prop_assert!(lines.iter().any(|l| (l.start, l.chain) == (item.offset, item.chain))
                        || digest(&data, 7).1 == item.chain);
                }
            }
        }
    }
}
