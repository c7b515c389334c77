//! Could this text hold a secret of a known form? One quick pass, on the safe side.
//!
//! Searching every line for some sixty anchors costs more than all the rest of reading it. But secrets stand out from
//! prose: each is, or has in it, a run of characters without a space that is long, and that either begins a word as few
//! words begin, or is longer than any word. So the text is cut into runs 64 bytes at a time, and only a long run is
//! looked at byte by byte. What does not fit this is asked for beside it: `Bearer `, `Basic `, the `@` of a password in
//! a URL, and backslashes, behind which anything can hide.
//!
//! A run goes on over letters, digits and most of the punctuation above the comma; spaces, quotes, commas and colons end
//! it. Whoever adds a secret to `secrets` makes sure that this pass notices it; a test asks for every one.

use super::lanes::{BLOCK, Lanes, Sixteen, mask, padded};

/// The shortest secret that is known by the beginning of a word: `sk-` and sixteen characters.
const RUN: u32 = 19;
/// Runs of this length are suspicious in themselves: keys in base64, lines of private keys.
const LONG: usize = 40;

/// Whether the text, escaped as in JSON, could hold a secret.
pub(super) fn suspicious(s: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function needs.
        return unsafe { suspicious_avx2(s.as_bytes()) };
    }
    search::<Sixteen>(s.as_bytes())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn suspicious_avx2(b: &[u8]) -> bool {
    search::<super::lanes::avx2::ThirtyTwo>(b)
}

#[inline(always)]
fn search<L: Lanes>(b: &[u8]) -> bool {
    let (blocks, rest) = b.as_chunks::<BLOCK>();
    let mut scan = Runs::default();
    for block in blocks {
        scan.block::<L>(b, block, 0);
    }
    if !rest.is_empty() {
        match b.last_chunk() {
            Some(last) => scan.block::<L>(b, last, BLOCK - rest.len()),
            None => scan.block::<L>(b, &padded(rest), 0),
        }
    }
    // Rare: backslashes, behind which anything can hide, and the `@` behind a password in a URL.
    let odd = || has(b, b"\\u00") || has(b, b"\\/") || (has(b, b"@") && has(b, b"://"));
    scan.found || (scan.odd && odd())
}

fn has(b: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(b, part).is_some()
}

#[derive(Default)]
struct Runs {
    /// Where the next block begins.
    at: usize,
    /// Length of the run that goes on into the next block.
    carry: u32,
    /// Everything below was looked at.
    done: usize,
    /// The last byte of the block before ended a word of interest, and the next one decides.
    pending: bool,
    /// A backslash or an `@` was seen.
    odd: bool,
    found: bool,
}

impl Runs {
    /// Takes the next bytes: those of the block, but for the first `seen`, which were taken with the one before.
    #[inline(always)]
    fn block<L: Lanes>(&mut self, b: &[u8], block: &[u8; BLOCK], seen: usize) {
        let runs = mask::<L>(block, |b| b.ascii_above(b',').but_not(b.eq(b':'))) >> seen;
        let spaces = mask::<L>(block, |b| b.eq(b' ')) >> seen;
        let ends = mask::<L>(block, |b| b.with_bits(0x20).eq(b'r').or(b.with_bits(0x20).eq(b'c'))) >> seen;
        self.odd |= mask::<L>(block, |b| b.eq(b'\\').or(b.eq(b'@'))) != 0;
        let mut words = spaces & (ends << 1 | u64::from(self.pending));
        while words != 0 {
            self.found |= authorizes(b, self.at + words.trailing_zeros() as usize);
            words &= words - 1;
        }
        self.pending = ends >> 63 != 0;
        // After this a bit is set where a run of 19 begins.
        let mut long = runs & runs >> 1;
        long &= long >> 2;
        long &= long >> 4;
        long &= long >> 8;
        long &= long >> 3;
        let lead = runs.trailing_ones();
        if self.carry + lead >= RUN && lead < 64 && self.carry > 0 {
            self.look(b, self.at);
        }
        while long != 0 {
            let at = long.trailing_zeros();
            self.look(b, self.at + at as usize);
            long = self.done.checked_sub(self.at).map_or(0, |d| match u32::try_from(d) {
                Ok(d) if d < 64 => long >> d << d,
                _ => 0,
            });
        }
        self.carry = if runs == u64::MAX {
            self.carry.saturating_add(64)
        } else {
            runs.leading_ones()
        };
        self.at += 64;
    }

    /// Looks at the run in which `at` stands.
    #[inline(never)]
    fn look(&mut self, b: &[u8], at: usize) {
        if at < self.done {
            return;
        }
        let goes_on = |c: &&u8| **c > b',' && **c != b':' && c.is_ascii();
        let (before, after) = b.split_at(at.min(b.len()));
        let start = at - before.iter().rev().take_while(goes_on).count();
        let end = at + after.iter().take_while(goes_on).count();
        self.done = end.max(at + 1);
        let run = b.get(start..end).unwrap_or_default();
        if run.len() < RUN as usize {
            return;
        }
        self.found |= run.len() >= LONG || has_token(run);
    }
}

/// Whether a word of the run begins like a token, or ends in `key`.
fn has_token(run: &[u8]) -> bool {
    let mut escape = false;
    run.split(|c| !c.is_ascii_alphanumeric() && *c != b'_').any(|word| {
        // The letter of an escape such as `\n` is not part of the word behind it.
        let behind = word.get(1..).filter(|_| escape).is_some_and(is_start);
        escape = run.get(offset(run, word) + word.len()) == Some(&b'\\');
        let end = word.len().checked_sub(3).and_then(|at| word.get(at..));
        behind || is_start(word) || end.is_some_and(|end| end.eq_ignore_ascii_case(b"key"))
    })
}

/// Where a part of `whole` begins in it.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// How words begin that are known tokens.
fn is_start(word: &[u8]) -> bool {
    matches!(
        word,
        [b'A', b'K' | b'S', b'I', ..]
            | [b'A', b'I', b'z', ..]
            | [b'G', b'O', b'C', ..]
            | [b'S', b'G']
            | [b'd', b'o', b'p' | b'o', b'_', ..]
            | [b'e', b'y', b'J', ..]
            | [b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r', b'_', ..]
            | [b'g', b'i', b't', b'h', b'u', b'b', b'_', ..]
            | [b'g', b'l', b'p' | b'd' | b'r', ..]
            | [b'g', b's', b'k', b'_', ..]
            | [b'h', b'f', b'_', ..]
            | [b'h', b'v', b's']
            | [b'l', b's', b'v', ..]
            | [b'n', b'p', b'm', b'_', ..]
            | [b'p', b'p', b'l', b'x', ..]
            | [b'p', b'y', b'p', b'i', ..]
            | [b'r', b'8', b'_', ..]
            | [b'r' | b's', b'k', b'_', ..]
            | [b's', b'h', b'p', ..]
            | [b's', b'k']
            | [b's', b'l', b'a', b'c', b'k', ..]
            | [b't', b'v', b'l', b'y', ..]
            | [b'w', b'h', b's', b'e', b'c', ..]
            | [b'x', b'a', b'i' | b'p', ..]
            | [b'x', b'o', b'x', ..]
            | [b'y', b'a', b'2', b'9', ..]
    )
}

/// Whether the space at `at` ends `Bearer ` or `Basic `.
fn authorizes(b: &[u8], at: usize) -> bool {
    let word = |n: usize| at.checked_sub(n).and_then(|from| b.get(from..at)).unwrap_or_default();
    word(5).eq_ignore_ascii_case(b"earer") || word(4).eq_ignore_ascii_case(b"asic")
}
