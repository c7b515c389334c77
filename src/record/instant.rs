//! The one form in which instants are stored.

use std::cell::Cell;

use super::Micros;
use super::time::RANGE;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always 27 characters. Years outside 0000–9999 are clamped.
#[must_use]
pub fn format_time(t: Micros) -> String {
    let mut out = Vec::with_capacity(27);
    write_time(t, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends the 27 characters of [`format_time`].
pub fn write_time(t: Micros, out: &mut Vec<u8>) {
    let t = t.clamp(*RANGE.start(), *RANGE.end());
    let (seconds, micros) = (t.div_euclid(1_000_000), t.rem_euclid(1_000_000) as u32);
    let at = out.len();
    out.extend_from_slice(&second(seconds));
    // Filled in where they stand: pieces written shortly before a copy would hold that copy up.
    if let Some(face) = out.get_mut(at..).and_then(|face| <&mut [u8; 27]>::try_from(face).ok()) {
        put(face, 20, micros / 10_000);
        put(face, 22, micros / 100 % 100);
        put(face, 24, micros % 100);
    }
}

/// Writes two digits.
#[inline]
fn put(face: &mut [u8; 27], at: usize, two: u32) {
    let pair = PAIRS.get(two as usize).copied().unwrap_or_default();
    (face[at], face[at + 1]) = (pair[0], pair[1]);
}

/// The face of a second, its fraction still to be filled in. Most times are of the same second as the one before.
#[inline]
fn second(seconds: i64) -> [u8; 27] {
    thread_local!(static LAST: Cell<(i64, [u8; 27])> = const { Cell::new((0, *b"1970-01-01T00:00:00.000000Z")) });
    let (known, face) = LAST.get();
    if known == seconds {
        return face;
    }
    let mut face = *b"0000-00-00T00:00:00.000000Z";
    let (y, m, d) = civil(seconds.div_euclid(DAY));
    let rest = seconds.rem_euclid(DAY) as u32;
    for (at, two) in [
        (0, y / 100),
        (2, y % 100),
        (5, m),
        (8, d),
        (11, rest / 3600),
        (14, rest / 60 % 60),
        (17, rest % 60),
    ] {
        put(&mut face, at, two);
    }
    LAST.set((seconds, face));
    face
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

/// Days since 1970-01-01 to (year, month, day), proleptic Gregorian; years 0–9999.
fn civil(days: i64) -> (u32, u32, u32) {
    // Counted from 0000-03-01 of a year one era earlier, so that all that follows is positive.
    let z = (days + 719_468 + 146_097) as u32;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    ((yoe + era * 400 + u32::from(m <= 2)) - 400, m, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_27_characters_and_reads_back() {
        for (t, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_795_227_624_054_432, "2026-11-21T02:20:24.054432Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (i64::MIN, "0000-01-01T00:00:00.000000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(format_time(t), expected);
        }
        let mut t = *RANGE.start();
        while t < *RANGE.end() {
            let back = super::super::parse_time(&format_time(t), crate::config::NaiveTime::Utc);
            assert_eq!(back, Some(t));
            t += 97 * DAY * 1_000_000 + 12_345_678_901;
        }
    }
}
