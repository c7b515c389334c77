//! The one form in which instants are stored.

use super::Micros;
use super::time::RANGE;

const DAY: i64 = 86_400_000_000;

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
    let (days, rest) = (t.div_euclid(DAY), t.rem_euclid(DAY));
    let (y, m, d) = civil(days);
    let (seconds, micros) = ((rest / 1_000_000) as u32, (rest % 1_000_000) as u32);
    let mut face = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, two: u32| {
        face[at] = b'0' + (two / 10) as u8;
        face[at + 1] = b'0' + (two % 10) as u8;
    };
    put(0, y / 100);
    put(2, y % 100);
    put(5, m);
    put(8, d);
    put(11, seconds / 3600);
    put(14, seconds / 60 % 60);
    put(17, seconds % 60);
    put(20, micros / 10_000);
    put(22, micros / 100 % 100);
    put(24, micros % 100);
    out.extend_from_slice(&face);
}

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
            t += 97 * DAY + 12_345_678_901;
        }
    }
}
