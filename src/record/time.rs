//! Instants as log lines write them, to the microsecond.
//!
//! Everything is computed from the digits: a double has 53 bits, and microseconds since 1970 leave it no digit to spare.
//! Digits past the microsecond are dropped, not rounded, so that an instant never moves into the next second.
//!
//! The reader is conservative: a number is a time only if it lies between 1990 and 2100, and what follows a clock time
//! is its zone only if it can be nothing else. [`super::faces`] knows the forms that are not ISO 8601.

use super::{Micros, faces};
use crate::config::NaiveTime;

pub(super) const SECOND: i64 = 1_000_000;
/// 0000-01-01 and 9999-12-31T23:59:59.999999: what 27 characters can say.
pub(super) const RANGE: std::ops::RangeInclusive<Micros> = -62_167_219_200_000_000..=253_402_300_799_999_999;
/// 1990 and 2100, in seconds: numbers beyond are no times.
const EPOCHS: std::ops::Range<i128> = 631_152_000..4_102_444_800;

/// What an incomplete time is completed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// The zone of times that name none.
    pub naive: NaiveTime,
    /// When the line was read, for times without a year; 0 where that is not known.
    pub now: Micros,
}

/// A time as it was written: the clock's face, and the zone if it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub face: Micros,
    /// Seconds east of UTC.
    pub offset: Option<i64>,
    /// The face names no year: it is that of the leap year 1972.
    pub yearless: bool,
}

impl Stamp {
    /// The instant, if the zone was named.
    pub fn zoned(self) -> Option<Micros> {
        Some(self.face - self.offset? * SECOND).filter(|t| RANGE.contains(t))
    }

    pub fn instant(self, clock: Clock) -> Option<Micros> {
        if self.yearless {
            return self.latest(clock);
        }
        let offset = match (self.offset, clock.naive) {
            (Some(offset), _) => offset,
            (None, NaiveTime::Utc) => 0,
            (None, NaiveTime::Local) => local_offset(self.face),
        };
        Some(self.face - offset * SECOND).filter(|t| RANGE.contains(t))
    }

    /// The last time before tomorrow at which a clock showed this face.
    fn latest(self, clock: Clock) -> Option<Micros> {
        const DAY: i64 = 86_400 * SECOND;
        let year = i64::from(chrono::Datelike::year(
            &chrono::DateTime::from_timestamp_micros(clock.now).filter(|_| clock.now > 0)?,
        ));
        let leap_day = self.face.div_euclid(DAY) - days(1972, 1, 1)?;
        let clock_time = self.face.rem_euclid(DAY);
        // A leap day was up to eight years ago.
        (0..9).find_map(|ago| {
            let year = year + 1 - ago;
            let start = days(year, 1, 1)?;
            let leap = days(year, 2, 29).is_some();
            let day = match leap_day {
                59 if !leap => return None,
                later @ 60.. if !leap => later - 1,
                day => day,
            };
            let dated = Stamp {
                face: (start + day) * DAY + clock_time,
                yearless: false,
                ..self
            };
            dated.instant(clock).filter(|t| *t <= clock.now + DAY)
        })
    }
}

/// The offset of the machine's zone at this local time: of the hour that the end of summer time repeats the first one
/// (the earlier instant), in the hour that its beginning leaves out the one before.
fn local_offset(face: Micros) -> i64 {
    use chrono::{LocalResult, TimeZone};
    let Some(utc) = chrono::DateTime::from_timestamp_micros(face) else {
        return 0;
    };
    let local = utc.naive_utc();
    let offset = |t: &chrono::NaiveDateTime| {
        let east = |o: chrono::FixedOffset| i64::from(o.local_minus_utc());
        match chrono::Local.offset_from_local_datetime(t) {
            LocalResult::Single(o) => Some(east(o)),
            // The order of the two is not that of the instants (chrono #1625).
            LocalResult::Ambiguous(a, b) => Some(east(a).max(east(b))),
            LocalResult::None => None,
        }
    };
    let before = || offset(&(local - chrono::TimeDelta::hours(3)));
    offset(&local).or_else(before).unwrap_or(0)
}

/// Digits read one after the other.
pub(super) struct Digits<'a> {
    pub b: &'a [u8],
    pub at: usize,
}

impl Digits<'_> {
    pub fn peek(&self) -> u8 {
        self.b.get(self.at).copied().unwrap_or(0)
    }

    pub fn take(&mut self, any: &[u8]) -> bool {
        let there = any.contains(&self.peek());
        self.at += usize::from(there);
        there
    }

    /// Exactly `n` digits.
    pub fn number(&mut self, n: usize) -> Option<i64> {
        let mut value = 0;
        for d in self.b.get(self.at..self.at + n)? {
            if !d.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i64::from(d - b'0');
        }
        self.at += n;
        Some(value)
    }

    /// The digits of a fraction as microseconds.
    pub fn micros(&mut self) -> i64 {
        let (mut value, mut n) = (0, 0);
        while self.peek().is_ascii_digit() {
            if n < 6 {
                value = value * 10 + i64::from(self.peek() - b'0');
                n += 1;
            }
            self.at += 1;
        }
        while n < 6 {
            value *= 10;
            n += 1;
        }
        value
    }
}

/// The time that `b` begins with, and its length: ISO 8601 as RFC 3339, Python's `isoformat()` and `str(datetime)` and
/// the `logging` module (decimal comma) write it. Without a clock time only if nothing follows the date.
pub(super) fn stamp(b: &[u8]) -> Option<(Stamp, usize)> {
    let mut d = Digits { b, at: 0 };
    let year = d.number(4)?;
    let separator = d.peek();
    if !d.take(b"-/.") {
        return None;
    }
    let month = d.number(2)?;
    if !d.take(&[separator]) {
        return None;
    }
    let day = d.number(2)?;
    let days = days(year, month, day)?;
    if d.at == b.len() {
        let face = days * 86_400 * SECOND;
        return Some((Stamp::named(face, None), d.at));
    }
    if !d.take(b" Tt_:") {
        return None;
    }
    let clock = clock_time(&mut d)?;
    let face = days * 86_400 * SECOND + clock;
    let offset = zone(&mut d);
    Some((Stamp::named(face, offset), d.at))
}

impl Stamp {
    /// A time of a named year.
    pub fn named(face: Micros, offset: Option<i64>) -> Stamp {
        Stamp {
            face,
            offset,
            yearless: false,
        }
    }
}

/// `HH:MM`, `HH:MM:SS`, `HH:MM:SS.fff` (also with a comma) as microseconds of the day.
pub(super) fn clock_time(d: &mut Digits<'_>) -> Option<Micros> {
    let hour = d.number(2)?;
    if !d.take(b":") {
        return None;
    }
    let minute = d.number(2)?;
    let (mut second, mut micros) = (0, 0);
    if d.take(b":") {
        second = d.number(2)?;
        let fraction = d.b.get(d.at + 1).is_some_and(u8::is_ascii_digit);
        if fraction && d.take(b".,") {
            micros = d.micros();
        }
    }
    // 24:00 ends a day, and a leap second is the first of the next minute.
    if hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    Some(((hour * 60 + minute) * 60 + second) * SECOND + micros)
}

/// The zone behind a clock time. What does not look like one is left where it is.
pub(super) fn zone(d: &mut Digits<'_>) -> Option<i64> {
    let start = d.at;
    let apart = d.take(b" ");
    let found = faces::named_zone(d).or_else(|| numbered_zone(d, apart));
    if found.is_none() {
        d.at = start;
    }
    found
}

/// `+01:00`, `-0430`, `+01`; `apart`: a blank stands before it, so that it may as well be a number.
fn numbered_zone(d: &mut Digits<'_>, apart: bool) -> Option<i64> {
    let sign = match d.peek() {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    d.at += 1;
    let hours = d.number(2).filter(|h| *h < 24)?;
    let mut seconds = hours * 3600;
    let colon = d.take(b":");
    let minutes = d.number(2);
    match minutes {
        Some(minutes) if minutes < 60 => seconds += minutes * 60,
        None if !colon => {}
        _ => return None,
    }
    // Zones of the time before railways have seconds, and Python prints them.
    if colon && d.peek() == b':' && d.b.get(d.at + 1).is_some_and(u8::is_ascii_digit) {
        d.at += 1;
        seconds += d.number(2).unwrap_or(0);
    }
    let next = d.b.get(d.at);
    if next.is_some_and(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    if apart {
        // No zone is further away, and a number of four digits is one only where nothing goes on with it.
        let far = if sign > 0 { 14 } else { 11 } * 3600;
        let quarter = minutes.is_some_and(|m| m % 15 == 0);
        let plain = next.is_none_or(|b| b" \t])|[:\"".contains(b));
        let whole = minutes.is_none() && next.is_none();
        if seconds > far || !plain || !(quarter || whole) {
            return None;
        }
    }
    Some(sign * seconds)
}

/// Days since 1970-01-01, or `None` for a date that is not in the calendar.
pub(super) fn days(y: i64, m: i64, d: i64) -> Option<i64> {
    let leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let last = match m {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&d) {
        return None;
    }
    let y = y - i64::from(m <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    Some(era * 146_097 + doe - 719_468)
}

/// A time written as text: ISO 8601 and the other forms that logs know, or seconds and the like since 1970 in digits.
#[must_use]
pub fn parse_time(text: &str, naive: NaiveTime) -> Option<Micros> {
    written(text, Clock { naive, now: 0 })
}

/// As [`parse_time`], of a time that may lack its year.
pub(super) fn written(text: &str, clock: Clock) -> Option<Micros> {
    let text = text.trim();
    match faces::stamp(text.as_bytes()) {
        Some((stamp, len)) if faces::is_remark(text.get(len..)?, stamp.offset.is_some()) => stamp.instant(clock),
        _ => epoch(text),
    }
}

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by magnitude. One that is
/// before 1990 or after 2100 however it is read is no time.
#[must_use]
pub fn epoch(number: &str) -> Option<Micros> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 20 || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return exponent(number);
    }
    let n: i128 = whole.parse().ok()?;
    // How many digits of the fraction still count, and how many of the whole are below the microsecond.
    let (fine, coarse) = scale(n)?;
    let mut micros = n;
    for i in 0..fine {
        let digit = fraction.as_bytes().get(i).map_or(0, |d| d - b'0');
        micros = micros * 10 + i128::from(digit);
    }
    i64::try_from(micros / coarse).ok()
}

/// How many decimal digits a count of units since 1970 lacks to be one of microseconds, and what it is to be divided by.
fn scale(n: i128) -> Option<(usize, i128)> {
    let within = |per_second: i128| EPOCHS.contains(&(n / per_second));
    match () {
        () if within(1) => Some((6, 1)),
        () if within(1_000) => Some((3, 1)),
        () if within(1_000_000) => Some((0, 1)),
        () if within(1_000_000_000) => Some((0, 1000)),
        () => None,
    }
}

/// A number written with an exponent is not exact to begin with.
fn exponent(number: &str) -> Option<Micros> {
    let n: f64 = number.parse().ok()?;
    if !(0.0..1e20).contains(&n) {
        return None;
    }
    let (fine, coarse) = scale(n as i128)?;
    Some((n * 10_f64.powi(fine as i32) / coarse as f64) as i64)
}

/// `str(timedelta)` in microseconds: `0:00:00.009717`, `2 days, 3:04:05`, `-1 day, 23:59:59`.
pub(super) fn timedelta(repr: &str) -> Option<Micros> {
    if let Some(micros) = short_timedelta(repr.as_bytes()) {
        return Some(micros);
    }
    let (days, clock) = match repr.split_once(", ") {
        None => (0, repr),
        Some((days, clock)) => (i64::from(days.split(' ').next()?.parse::<i32>().ok()?), clock),
    };
    let (hours, rest) = clock.split_once(':')?;
    let hours: i64 = Some(hours).filter(|h| h.len() <= 2)?.parse().ok()?;
    let b = rest.as_bytes();
    let mut d = Digits { b, at: 0 };
    let minutes = d.number(2)?;
    d.take(b":").then_some(())?;
    let seconds = d.number(2)?;
    let micros = if d.take(b".") { d.micros() } else { 0 };
    if d.at != b.len() || !(0..24).contains(&hours) || days.abs() > 4_000_000 {
        return None;
    }
    Some((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * SECOND + micros)
}

/// `0:00:00.013102`: less than ten hours, and a fraction, as nearly all of them have.
#[inline]
fn short_timedelta(b: &[u8]) -> Option<Micros> {
    let [h, b':', m1, m2, b':', s1, s2, b'.', fraction @ ..] = <&[u8; 14]>::try_from(b).ok()? else {
        return None;
    };
    let digit = |d: &u8| d.is_ascii_digit().then(|| i64::from(*d - b'0'));
    let minutes = digit(h)? * 60 + digit(m1)? * 10 + digit(m2)?;
    let seconds = minutes * 60 + digit(s1)? * 10 + digit(s2)?;
    Some(seconds * SECOND + micros(fraction)?)
}

/// Six digits.
#[inline]
pub(super) fn micros(digits: &[u8; 6]) -> Option<i64> {
    let mut n = 0;
    for d in digits {
        n = n * 10 + i64::from(d.is_ascii_digit().then_some(*d - b'0')?);
    }
    Some(n)
}

/// A number of seconds as Python prints a double, rounded to the microsecond: `0.009717`, `1e-05`.
pub(super) fn seconds(number: &str) -> Option<Micros> {
    let micros = number.parse::<f64>().ok()? * 1e6;
    (micros.abs() < 9e18).then_some(micros.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::super::format_time;
    use super::*;

    fn utc(text: &str) -> Option<String> {
        parse_time(text, NaiveTime::Utc).map(format_time)
    }

    #[test]
    fn every_common_way_to_write_an_instant_is_understood_exactly() {
        for (text, expected) in [
            ("2026-11-21 02:20:24.054432+00:00", "2026-11-21T02:20:24.054432Z"),
            ("2026-11-21 02:20:24+00:00", "2026-11-21T02:20:24.000000Z"),
            ("2026-11-21T02:20:24Z", "2026-11-21T02:20:24.000000Z"),
            ("2026-11-21t02:20:24z", "2026-11-21T02:20:24.000000Z"),
            ("2026-11-21T02:20:24.1+0530", "2026-11-20T20:50:24.100000Z"),
            ("2026-11-21T02:20:24.123456789-04:00", "2026-11-21T06:20:24.123456Z"),
            ("2026-11-21 05:46:00,123", "2026-11-21T05:46:00.123000Z"),
            ("2026-11-21 05:46", "2026-11-21T05:46:00.000000Z"),
            ("2026-11-21 05:46:00 UTC", "2026-11-21T05:46:00.000000Z"),
            ("2026-11-21 05:46:00 +01", "2026-11-21T04:46:00.000000Z"),
            ("2026/11/21 05:46:00", "2026-11-21T05:46:00.000000Z"),
            ("2026-11-21", "2026-11-21T00:00:00.000000Z"),
            ("1883-01-01 00:00:00+05:53:28", "1882-12-31T18:06:32.000000Z"),
            ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000000Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("1795227624.054432", "2026-11-21T02:20:24.054432Z"),
            (" 1795227624 ", "2026-11-21T02:20:24.000000Z"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "yesterday",
            "2026",
            "2026-13-01 00:00:00",
            "2026-02-29",
            "2026-00-10",
            "2026-11-21 25:00:00",
            "2026-11-21 10:61:00",
            "2026-11-21x",
            "2026-11-21 10:00:00 plus",
            "2026-11-21 10:00:00+1:00",
            "12345",
            "123456789x",
            "0000-01-01T00:00:00+01:00",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
    }

    #[test]
    fn epochs_are_told_apart_by_magnitude_and_exact() {
        for (number, expected) in [
            ("1795227624", 1_795_227_624_000_000),
            ("1795227624.054432", 1_795_227_624_054_432),
            ("1795227624.0544329999", 1_795_227_624_054_432),
            ("1795227624054", 1_795_227_624_054_000),
            ("1795227624054.4", 1_795_227_624_054_400),
            ("1795227624054432", 1_795_227_624_054_432),
            ("1795227624054432123", 1_795_227_624_054_432),
            ("1.795227624e9", 1_795_227_624_000_000),
            ("631152000", 631_152_000_000_000),
        ] {
            assert_eq!(epoch(number), Some(expected), "{number}");
        }
        for number in [
            "",
            "x",
            "1x",
            "-",
            "1e30",
            "999999999999999999999",
            "1.2.3",
            "0",
            "0.35",
            "-1.5",
            "12345",
            "20261121",
            "20261121022024",
            "631151999",
            "4102444800",
            "-1795227624",
        ] {
            assert_eq!(epoch(number), None, "{number}");
        }
    }

    #[test]
    fn elapsed_times_are_read_as_python_prints_them() {
        for (repr, expected) in [
            ("0:00:00.011557", 11_557),
            ("0:00:00", 0),
            ("1 day, 2:03:04.000005", 93_784_000_005),
            ("-1 day, 23:59:59", -1_000_000),
            ("12 days, 10:00:00", 1_072_800_000_000),
        ] {
            assert_eq!(timedelta(repr), Some(expected), "{repr}");
        }
        for repr in [
            "",
            "x",
            "1:2:3",
            "0:00:00.5x",
            "many days, 0:00:00",
            "-9223372036854775808 days, 0:00:00",
        ] {
            assert_eq!(timedelta(repr), None, "{repr}");
        }
        assert_eq!(seconds("1e-05"), Some(10));
        assert_eq!(seconds("0.009717"), Some(9717));
        assert_eq!(seconds("NaN"), None);
    }

    #[test]
    fn a_prefix_is_a_time_and_the_rest_is_left_alone() {
        let (stamp, len) = stamp(b"2026-11-21 05:46:00,123 INFO x").expect("a time");
        assert_eq!(len, 23);
        assert_eq!(
            stamp
                .instant(Clock {
                    naive: NaiveTime::Utc,
                    now: 0
                })
                .map(format_time)
                .as_deref(),
            Some("2026-11-21T05:46:00.123000Z")
        );
        assert_eq!(super::stamp(b"2026-11-21 05:46:00 - hello").map(|s| s.1), Some(19));
        assert_eq!(super::stamp(b"2026-11-21 05:46:00. Done").map(|s| s.1), Some(19));
        assert_eq!(super::stamp(b"2026-11-21 hello"), None);
    }

    #[test]
    fn a_naive_local_time_is_what_the_machines_zone_says() {
        let naive = chrono::NaiveDate::from_ymd_opt(2026, 6, 1)
            .and_then(|d| d.and_hms_opt(12, 0, 0))
            .expect("a time");
        let expected = chrono::TimeZone::from_local_datetime(&chrono::Local, &naive)
            .earliest()
            .expect("unique")
            .timestamp_micros();
        assert_eq!(parse_time("2026-06-01 12:00:00", NaiveTime::Local), Some(expected));
    }
}
