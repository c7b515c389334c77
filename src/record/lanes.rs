//! Sixteen bytes at a time: what every byte of a line is asked (is this a quote? does a word go on?) is asked of
//! sixteen at once. SSE2 is part of every x86-64, so nothing is detected; elsewhere the same in plain code.

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::x86_64::{
        __m128i, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set_epi64x, _mm_set1_epi8,
    };

    #[derive(Clone, Copy)]
    pub struct Lanes(__m128i);

    // SAFETY, of all blocks below: the instructions are SSE2, which every x86-64 has, and none of them touches memory.
    #[allow(clippy::cast_possible_wrap, clippy::undocumented_unsafe_blocks)]
    impl Lanes {
        #[inline(always)]
        pub fn load(b: &[u8; 16]) -> Lanes {
            let n = u128::from_le_bytes(*b);
            Lanes(unsafe { _mm_set_epi64x((n >> 64) as i64, n as i64) })
        }

        #[inline(always)]
        pub fn none() -> Lanes {
            Lanes::load(&[0; 16])
        }

        #[inline(always)]
        pub fn eq(self, b: u8) -> Lanes {
            Lanes(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        pub fn at_most(self, b: u8) -> Lanes {
            Lanes(unsafe { _mm_cmpeq_epi8(_mm_min_epu8(self.0, _mm_set1_epi8(b as i8)), self.0) })
        }

        #[inline(always)]
        pub fn ascii_above(self, b: u8) -> Lanes {
            Lanes(unsafe { _mm_cmpgt_epi8(self.0, _mm_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        pub fn with_bits(self, b: u8) -> Lanes {
            Lanes(unsafe { _mm_or_si128(self.0, _mm_set1_epi8(b as i8)) })
        }

        #[inline(always)]
        pub fn or(self, other: Lanes) -> Lanes {
            Lanes(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline(always)]
        pub fn but_not(self, other: Lanes) -> Lanes {
            Lanes(unsafe { _mm_andnot_si128(other.0, self.0) })
        }

        #[inline(always)]
        pub fn mask(self) -> u32 {
            unsafe { _mm_movemask_epi8(self.0) as u32 }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    #[derive(Clone, Copy)]
    pub struct Lanes([u8; 16]);

    impl Lanes {
        fn map(self, f: impl Fn(u8) -> u8) -> Lanes {
            Lanes(self.0.map(f))
        }

        pub fn load(b: &[u8; 16]) -> Lanes {
            Lanes(*b)
        }

        pub fn none() -> Lanes {
            Lanes([0; 16])
        }

        pub fn eq(self, b: u8) -> Lanes {
            self.map(|x| if x == b { 0xff } else { 0 })
        }

        pub fn at_most(self, b: u8) -> Lanes {
            self.map(|x| if x <= b { 0xff } else { 0 })
        }

        pub fn ascii_above(self, b: u8) -> Lanes {
            self.map(|x| if x < 0x80 && x > b { 0xff } else { 0 })
        }

        pub fn with_bits(self, b: u8) -> Lanes {
            self.map(|x| x | b)
        }

        pub fn or(self, other: Lanes) -> Lanes {
            Lanes(std::array::from_fn(|i| self.0[i] | other.0[i]))
        }

        pub fn but_not(self, other: Lanes) -> Lanes {
            Lanes(std::array::from_fn(|i| self.0[i] & !other.0[i]))
        }

        pub fn mask(self) -> u32 {
            (0..16).fold(0, |m, i| m | u32::from(self.0[i] >> 7) << i)
        }
    }
}

/// Sixteen bytes; a comparison makes 0xff of those that pass and 0 of the others. `ascii_above` takes bytes below 0x80
/// only; `mask` has the bit of each lane's highest bit, the first lane's lowest.
pub(super) use imp::Lanes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_answers_for_its_own_byte() {
        for first in (0..=255_u8).step_by(5) {
            let b: [u8; 16] = std::array::from_fn(|i| first.wrapping_add(i as u8 * 17));
            let lanes = Lanes::load(&b);
            let expect = |f: &dyn Fn(u8) -> bool| (0..16).fold(0, |m, i| m | u32::from(f(b[i])) << i);
            assert_eq!(lanes.eq(b[3]).mask(), expect(&|x| x == b[3]));
            assert_eq!(lanes.at_most(0x1f).mask(), expect(&|x| x <= 0x1f));
            assert_eq!(lanes.ascii_above(0x2c).mask(), expect(&|x| x > 0x2c && x < 0x80));
            assert_eq!(lanes.with_bits(0x20).eq(b'r').mask(), expect(&|x| x | 0x20 == b'r'));
            let (small, odd) = (lanes.at_most(100), lanes.eq(b[5]));
            assert_eq!(small.or(odd).mask(), expect(&|x| x <= 100 || x == b[5]));
            assert_eq!(small.but_not(odd).mask(), expect(&|x| x <= 100 && x != b[5]));
        }
    }
}
