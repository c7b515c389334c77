//! Where strings can end: every quote, backslash and control character of a line, found in one pass.
//!
//! A line of JSON is mostly strings, some thirty of them, most shorter than a vector. To search each for its end anew
//! costs a search a string, and a wrong guess of the processor at most of them. So the whole line (of a long one, the
//! part at hand) is looked at once, 64 bytes a step, and a bit is kept for each byte that ends or interrupts a string;
//! the end of a string is then the next bit. With AVX2, which is asked for when the program runs, a step takes half as
//! long.

use super::lanes::{self, Lanes, Sixteen, mask};

/// Bytes of which one bit each is kept in a word.
const WORD: usize = lanes::BLOCK;
/// Words that are kept at once: 2 KiB of text, more than most lines have.
const WORDS: usize = 32;

/// The stops of a text, for positions that are asked in rising order.
pub(super) struct Stops {
    bits: [u64; WORDS],
    /// Words from `first` up to `end` (of the whole text) are in `bits`.
    first: usize,
    end: usize,
}

impl Stops {
    pub fn new() -> Stops {
        Stops {
            bits: [0; WORDS],
            first: 0,
            end: 0,
        }
    }

    /// The first stop at or after `at`; the length of `b` where there is none. `b` is the same text every time.
    #[inline(always)]
    pub fn next(&mut self, b: &[u8], at: usize) -> usize {
        let mut word = at / WORD;
        let mut bits = self.word(b, word) & (u64::MAX << (at % WORD));
        while bits == 0 {
            word += 1;
            if word * WORD >= b.len() {
                return b.len();
            }
            bits = self.word(b, word);
        }
        word * WORD + bits.trailing_zeros() as usize
    }

    #[inline(always)]
    fn word(&mut self, b: &[u8], word: usize) -> u64 {
        if word.wrapping_sub(self.first) >= self.end - self.first {
            self.look(b, word);
        }
        self.bits.get(word - self.first).copied().unwrap_or(0)
    }

    /// Takes in the text from `word` on.
    #[inline(never)]
    fn look(&mut self, b: &[u8], word: usize) {
        let part = b.get(word * WORD..).unwrap_or_default();
        let part = part.get(..WORDS * WORD).unwrap_or(part);
        self.first = word;
        // Beyond the text there is nothing: one word that says so.
        self.end = word + part.len().div_ceil(WORD).max(1);
        self.bits = [0; WORDS];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function needs.
            unsafe { fill_avx2(part, &mut self.bits) };
            return;
        }
        fill::<Sixteen>(part, &mut self.bits);
    }
}

/// One bit for each byte of `part`, at most `WORDS * WORD` of them.
#[inline(always)]
fn fill<L: Lanes>(part: &[u8], bits: &mut [u64; WORDS]) {
    let stops = |block| mask::<L>(block, |b| b.eq(b'"').or(b.eq(b'\\')).or(b.at_most(0x1f)));
    let (blocks, rest) = part.as_chunks::<WORD>();
    for (block, word) in blocks.iter().zip(bits.iter_mut()) {
        *word = stops(block);
    }
    if !rest.is_empty()
        && let Some(word) = bits.get_mut(blocks.len())
    {
        *word = match part.last_chunk::<WORD>() {
            Some(last) => stops(last) >> (WORD - rest.len()),
            None => stops(&lanes::padded(rest)),
        };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(part: &[u8], bits: &mut [u64; WORDS]) {
    fill::<super::lanes::avx2::ThirtyTwo>(part, bits);
}

#[cfg(test)]
mod tests {
    use super::super::text::special;
    use super::*;

    /// All stops of a text, one after the other.
    fn all(b: &[u8]) -> Vec<usize> {
        let mut stops = Stops::new();
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            at = stops.next(b, at);
            if at >= b.len() {
                assert_eq!(at, b.len());
                return found;
            }
            found.push(at);
            at += 1;
        }
    }

    fn expected(b: &[u8]) -> Vec<usize> {
        (0..b.len()).filter(|at| special(b, *at) == *at).collect()
    }

    proptest::proptest! {
        #[test]
        fn the_stops_are_the_bytes_that_a_string_cannot_hold(
            b in proptest::collection::vec(proptest::prop_oneof![proptest::prelude::any::<u8>(), proptest::prelude::Just(b'"')], 0..300),
            before in 0_usize..5000,
        ) {
            let b = [vec![b'x'; before], b].concat();
            proptest::prop_assert_eq!(all(&b), expected(&b));
        }
    }

    #[test]
    fn with_and_without_avx2_the_same_bits_are_set() {
        let b: Vec<u8> = (0..WORDS * WORD).map(|i| (i * 7 % 256) as u8).collect();
        for len in [0, 1, 63, 64, 65, 1000, b.len()] {
            let part = b.get(..len).unwrap();
            let mut plain = [0; WORDS];
            fill::<Sixteen>(part, &mut plain);
            let mut asked = Stops::new();
            asked.look(part, 0);
            assert_eq!(asked.bits, plain);
        }
    }

    #[test]
    fn a_text_longer_than_what_is_kept_is_looked_at_in_parts() {
        let mut b = vec![b'x'; 3 * WORDS * WORD + 17];
        let at = [
            0,
            63,
            64,
            WORDS * WORD - 1,
            WORDS * WORD,
            2 * WORDS * WORD + 5,
            b.len() - 1,
        ];
        for i in at {
            b[i] = b'"';
        }
        assert_eq!(all(&b), at);
    }

    #[test]
    fn beyond_the_end_there_is_no_stop() {
        for len in [0, 1, 64, 128] {
            let b = vec![b'x'; len];
            assert_eq!(Stops::new().next(&b, len), len);
        }
    }
}
