//! Many bytes at a time: what every byte of a line is asked (is this a quote? does a word go on?) is asked of sixteen
//! at once, or of thirty-two where the processor has AVX2, which is found out when the program runs. SSE2 is part of
//! every x86-64; on other machines sixteen bytes are asked in plain code.
//!
//! What is asked is written once, over [`Lanes`]; whoever asks for AVX2 does so in a function of its own that has the
//! feature, into which all of this is inlined.

/// Bytes that are asked together by [`mask`].
pub(super) const BLOCK: usize = 64;

/// Some bytes, side by side. A comparison makes 0xff of those that pass and 0 of the others.
pub(super) trait Lanes: Copy {
    /// How many; divides [`BLOCK`].
    const COUNT: usize;

    /// The `i`-th group of a block.
    fn load(block: &[u8; BLOCK], i: usize) -> Self;
    fn eq(self, b: u8) -> Self;
    fn at_most(self, b: u8) -> Self;
    /// `b` is below 0x80; bytes that are not ASCII do not pass.
    fn ascii_above(self, b: u8) -> Self;
    fn with_bits(self, b: u8) -> Self;
    fn or(self, other: Self) -> Self;
    fn but_not(self, other: Self) -> Self;
    /// The highest bit of each lane, the first lane's lowest.
    fn mask(self) -> u64;
}

/// One bit for each byte of a block: whether it passes.
#[inline(always)]
pub(super) fn mask<L: Lanes>(block: &[u8; BLOCK], passes: impl Fn(L) -> L) -> u64 {
    let mut bits = 0;
    for i in 0..BLOCK / L::COUNT {
        bits |= passes(L::load(block, i)).mask() << (i * L::COUNT);
    }
    bits
}

/// Fewer bytes than a block, with spaces behind them.
#[inline(always)]
pub(super) fn padded(few: &[u8]) -> [u8; BLOCK] {
    let mut block = [b' '; BLOCK];
    if let Some(room) = block.get_mut(..few.len()) {
        room.copy_from_slice(few);
    }
    block
}

/// What every machine has.
#[cfg(target_arch = "x86_64")]
pub(super) use sse2::Sixteen;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
        _mm_or_si128, _mm_set1_epi8, _mm_xor_si128,
    };

    use super::{BLOCK, Lanes};

    #[derive(Clone, Copy)]
    pub struct Sixteen(__m128i);

    impl Sixteen {
        #[inline(always)]
        pub fn of(b: &[u8; 16]) -> Sixteen {
            // SAFETY: sixteen bytes are there; the instruction takes them wherever they lie.
            Sixteen(unsafe { _mm_loadu_si128(b.as_ptr().cast()) })
        }

        /// A bit for each byte that is a digit.
        #[inline(always)]
        pub fn digits(self) -> u32 {
            // SAFETY: SSE2, and no memory is touched. With its bits flipped by those of 0, a digit is at most 9.
            let flipped = Sixteen(unsafe { _mm_xor_si128(self.0, _mm_set1_epi8(b'0' as i8)) });
            flipped.at_most(9).mask() as u32
        }
    }

    // SAFETY, of all blocks below: the instructions are SSE2, which every x86-64 has, and none of them touches memory.
    #[allow(clippy::cast_possible_wrap, clippy::undocumented_unsafe_blocks)]
    impl Lanes for Sixteen {
        const COUNT: usize = 16;

        #[inline(always)]
        fn load(block: &[u8; BLOCK], i: usize) -> Sixteen {
            Sixteen::of(&block.as_chunks::<16>().0[i])
        }

        #[inline(always)]
        fn eq(self, b: u8) -> Sixteen {
            Sixteen(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        fn at_most(self, b: u8) -> Sixteen {
            Sixteen(unsafe { _mm_cmpeq_epi8(_mm_min_epu8(self.0, _mm_set1_epi8(b as i8)), self.0) })
        }

        #[inline(always)]
        fn ascii_above(self, b: u8) -> Sixteen {
            Sixteen(unsafe { _mm_cmpgt_epi8(self.0, _mm_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        fn with_bits(self, b: u8) -> Sixteen {
            Sixteen(unsafe { _mm_or_si128(self.0, _mm_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        fn or(self, other: Sixteen) -> Sixteen {
            Sixteen(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline(always)]
        fn but_not(self, other: Sixteen) -> Sixteen {
            Sixteen(unsafe { _mm_andnot_si128(other.0, self.0) })
        }

        #[inline(always)]
        fn mask(self) -> u64 {
            u64::from(unsafe { _mm_movemask_epi8(self.0) as u32 })
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_andnot_si256, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };

    use super::{BLOCK, Lanes};

    /// To be used only within functions that have the feature AVX2.
    #[derive(Clone, Copy)]
    pub struct ThirtyTwo(__m256i);

    // SAFETY, of all blocks below: who uses this type has seen to it that the processor has AVX2; only the load touches
    // memory, and the thirty-two bytes it takes are there.
    #[allow(clippy::cast_possible_wrap, clippy::undocumented_unsafe_blocks)]
    impl Lanes for ThirtyTwo {
        const COUNT: usize = 32;

        #[inline(always)]
        fn load(block: &[u8; BLOCK], i: usize) -> ThirtyTwo {
            let half = &block.as_chunks::<32>().0[i];
            ThirtyTwo(unsafe { _mm256_loadu_si256(half.as_ptr().cast()) })
        }

        #[inline(always)]
        fn eq(self, b: u8) -> ThirtyTwo {
            ThirtyTwo(unsafe { _mm256_cmpeq_epi8(self.0, _mm256_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        fn at_most(self, b: u8) -> ThirtyTwo {
            ThirtyTwo(unsafe { _mm256_cmpeq_epi8(_mm256_min_epu8(self.0, _mm256_set1_epi8(b as i8)), self.0) })
        }

        #[inline(always)]
        fn ascii_above(self, b: u8) -> ThirtyTwo {
            ThirtyTwo(unsafe { _mm256_cmpgt_epi8(self.0, _mm256_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        fn with_bits(self, b: u8) -> ThirtyTwo {
            ThirtyTwo(unsafe { _mm256_or_si256(self.0, _mm256_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        fn or(self, other: ThirtyTwo) -> ThirtyTwo {
            ThirtyTwo(unsafe { _mm256_or_si256(self.0, other.0) })
        }

        #[inline(always)]
        fn but_not(self, other: ThirtyTwo) -> ThirtyTwo {
            ThirtyTwo(unsafe { _mm256_andnot_si256(other.0, self.0) })
        }

        #[inline(always)]
        fn mask(self) -> u64 {
            u64::from(unsafe { _mm256_movemask_epi8(self.0).cast_unsigned() })
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use plain::Sixteen;

#[cfg(not(target_arch = "x86_64"))]
mod plain {
    use super::{BLOCK, Lanes};

    #[derive(Clone, Copy)]
    pub struct Sixteen([u8; 16]);

    impl Sixteen {
        pub fn of(b: &[u8; 16]) -> Sixteen {
            Sixteen(*b)
        }

        /// A bit for each byte that is a digit.
        pub fn digits(self) -> u32 {
            self.map(|x| if x.is_ascii_digit() { 0xff } else { 0 }).mask() as u32
        }

        fn map(self, f: impl Fn(u8) -> u8) -> Sixteen {
            Sixteen(self.0.map(f))
        }
    }

    impl Lanes for Sixteen {
        const COUNT: usize = 16;

        fn load(block: &[u8; BLOCK], i: usize) -> Sixteen {
            Sixteen::of(&block.as_chunks::<16>().0[i])
        }

        fn eq(self, b: u8) -> Sixteen {
            self.map(|x| if x == b { 0xff } else { 0 })
        }

        fn at_most(self, b: u8) -> Sixteen {
            self.map(|x| if x <= b { 0xff } else { 0 })
        }

        fn ascii_above(self, b: u8) -> Sixteen {
            self.map(|x| if x < 0x80 && x > b { 0xff } else { 0 })
        }

        fn with_bits(self, b: u8) -> Sixteen {
            self.map(|x| x | b)
        }

        fn or(self, other: Sixteen) -> Sixteen {
            Sixteen(std::array::from_fn(|i| self.0[i] | other.0[i]))
        }

        fn but_not(self, other: Sixteen) -> Sixteen {
            Sixteen(std::array::from_fn(|i| self.0[i] & !other.0[i]))
        }

        fn mask(self) -> u64 {
            (0..16).fold(0, |m, i| m | u64::from(self.0[i] >> 7) << i)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    fn each_lane_answers_for_its_own_byte<L: Lanes>() {
        for first in (0..=255_u8).step_by(5) {
            let b: [u8; BLOCK] = std::array::from_fn(|i| first.wrapping_add((i as u8).wrapping_mul(17)));
            let expect = |f: &dyn Fn(u8) -> bool| (0..BLOCK).fold(0, |m, i| m | u64::from(f(b[i])) << i);
            assert_eq!(mask::<L>(&b, |l| l.eq(b[3])), expect(&|x| x == b[3]));
            assert_eq!(mask::<L>(&b, |l| l.at_most(0x1f)), expect(&|x| x <= 0x1f));
            assert_eq!(
                mask::<L>(&b, |l| l.ascii_above(0x2c)),
                expect(&|x| x > 0x2c && x < 0x80)
            );
            assert_eq!(
                mask::<L>(&b, |l| l.with_bits(0x20).eq(b'r')),
                expect(&|x| x | 0x20 == b'r')
            );
            let odd = b[5];
            assert_eq!(
                mask::<L>(&b, |l| l.at_most(100).or(l.eq(odd))),
                expect(&|x| x <= 100 || x == odd)
            );
            assert_eq!(
                mask::<L>(&b, |l| l.at_most(100).but_not(l.eq(odd))),
                expect(&|x| x <= 100 && x != odd)
            );
        }
    }

    #[test]
    fn each_of_sixteen_lanes_answers_for_its_own_byte() {
        each_lane_answers_for_its_own_byte::<Sixteen>();
    }

    #[test]
    fn digits_have_a_bit() {
        for first in 0..=255_u8 {
            let b: [u8; 16] = std::array::from_fn(|i| first.wrapping_add(i as u8));
            let expected = (0..16).fold(0, |m, i| m | u32::from(b[i].is_ascii_digit()) << i);
            assert_eq!(Sixteen::of(&b).digits(), expected);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn each_of_thirty_two_lanes_answers_for_its_own_byte() {
        #[target_feature(enable = "avx2")]
        fn check() {
            each_lane_answers_for_its_own_byte::<avx2::ThirtyTwo>();
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: just asked.
            unsafe { check() };
        }
    }
}
