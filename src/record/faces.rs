//! Times that are not written as ISO 8601 has it: those of web servers, syslog, C's `ctime`, mail and Java, and zones
//! by their names.
//!
//! A date of which day and month could be either is none, save with AM or PM behind it, which is American.

use super::time::{self, Digits, SECOND, Stamp, clock_time, days, zone};

const MONTHS: [&[u8; 3]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];
const WEEKDAYS: [&[u8; 3]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];

/// Zones by their letters, where these mean one zone only, in hours east of UTC.
const ZONES: [(&str, i64); 23] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("z", 0),
    ("WET", 0),
    ("WEST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("MEZ", 1),
    ("MESZ", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("JST", 9),
    ("KST", 9),
    ("AEST", 10),
    ("AEDT", 11),
    ("EST", -5),
    ("EDT", -4),
    ("MDT", -6),
    ("MST", -7),
    ("PDT", -7),
    ("PST", -8),
];

/// The zone that is named by letters at this place, or by letters and a number (`GMT+0100`).
pub(super) fn named_zone(d: &mut Digits<'_>) -> Option<i64> {
    if !d.peek().is_ascii_alphabetic() {
        return None;
    }
    let rest = d.b.get(d.at..).unwrap_or_default();
    let letters = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    let word = rest.get(..letters)?;
    let (_, hours) = ZONES.iter().find(|(name, _)| name.as_bytes() == word)?;
    d.at += letters;
    if letters == 3 && *hours == 0 && matches!(d.peek(), b'+' | b'-') {
        return zone(d).or(Some(0));
    }
    Some(hours * 3600)
}

/// Whether what follows a time in the same text only says more of its zone or clock: `[Europe/Paris]`, `CET`,
/// `(Central European Time)`, `m=+0.01`.
pub(super) fn is_remark(rest: &str, zoned: bool) -> bool {
    let mut rest = rest.trim_start();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '[' => rest.find(']'),
            '(' => rest.find(')'),
            _ => None,
        };
        let word = rest.split(' ').next().unwrap_or_default();
        let letters = (2..=5).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_uppercase());
        let monotonic = zoned && (word.starts_with("m=+") || word.starts_with("m=-"));
        let taken = match close {
            Some(at) if rest.get(1..at).is_some_and(is_zone_name) => at + 1,
            None if letters || monotonic => word.len(),
            _ => return false,
        };
        rest = rest.get(taken..).unwrap_or_default().trim_start();
    }
    true
}

fn is_zone_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/_+-: ".contains(&b))
}

/// The time that `b` begins with, in any known form, and its length.
pub(super) fn stamp(b: &[u8]) -> Option<(Stamp, usize)> {
    match b.first()? {
        b'0'..=b'9' => match (b.get(1), b.get(2), b.get(4)) {
            (_, _, Some(b'-' | b'/' | b'.')) => time::stamp(b),
            (_, Some(b'/' | b'-' | b' ' | b'.'), _) | (Some(b'/' | b' '), _, _) => day_first(b),
            _ => compact(b),
        },
        b'A'..=b'Z' | b'a'..=b'z' => by_name(b),
        _ => None,
    }
}

/// The number of a name in a list, which it may exceed only by being written out.
fn named(d: &mut Digits<'_>, names: &[&[u8; 3]]) -> Option<usize> {
    let rest = d.b.get(d.at..)?;
    let word = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let three: [u8; 3] = rest.get(..3)?.try_into().ok()?;
    let three = three.map(|b| b.to_ascii_lowercase());
    if word != 3 && !(word > 3 && is_written_out(rest.get(..word)?)) {
        return None;
    }
    let at = names.iter().position(|name| **name == three)?;
    d.at += word;
    Some(at)
}

fn is_written_out(word: &[u8]) -> bool {
    const NAMES: [&str; 19] = [
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "sept",
        "september",
        "october",
        "november",
        "december",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    NAMES.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word))
}

/// One or two digits, the first of which may be a blank.
fn one_or_two(d: &mut Digits<'_>) -> Option<i64> {
    if d.peek() == b' ' {
        d.at += 1;
        return d.number(1);
    }
    d.number(2).or_else(|| d.number(1))
}

/// `AM` or `PM` behind a clock time of twelve hours.
fn half(d: &mut Digits<'_>) -> Option<bool> {
    let start = d.at;
    d.take(b" ");
    let rest = d.b.get(d.at..).unwrap_or_default();
    let found = [(&b"AM"[..], false), (b"PM", true)].into_iter().find(|(word, _)| {
        let whole = rest.get(2).is_none_or(|b| !b.is_ascii_alphanumeric());
        whole && rest.get(..2).is_some_and(|r| r.eq_ignore_ascii_case(word))
    });
    d.at = if found.is_some() { d.at + 2 } else { start };
    found.map(|(_, pm)| pm)
}

/// A clock time, also of twelve hours; whether it was one.
fn clock(d: &mut Digits<'_>) -> Option<(i64, bool)> {
    const HOUR: i64 = 3600 * SECOND;
    let start = d.at;
    let micros = match clock_time(d) {
        Some(micros) => micros,
        None => {
            // `7:15:12 PM`
            d.at = start;
            let mut padded = vec![b'0'];
            padded.extend(d.b.get(start..start + 16.min(d.b.len() - start))?);
            let mut p = Digits { b: &padded, at: 0 };
            let micros = clock_time(&mut p)?;
            d.at = start + p.at - 1;
            micros
        }
    };
    Some(match half(d) {
        Some(pm) if (1..=12).contains(&(micros / HOUR)) => {
            let within = micros % (12 * HOUR);
            (if pm { within + 12 * HOUR } else { within }, true)
        }
        _ => (micros, false),
    })
}

/// `30/Nov/2026:19:15:12 +0100`, `30-Nov-2026 19:15:12`, `30 Nov 2026 19:15:12`, `30.11.2026 19:15:12`,
/// `11/30/2026 07:15:12 PM`.
fn day_first(b: &[u8]) -> Option<(Stamp, usize)> {
    let mut d = Digits { b, at: 0 };
    let first = d.number(2).or_else(|| d.number(1))?;
    let separator = d.peek();
    if !d.take(b"/-. ") {
        return None;
    }
    let second = match named(&mut d, &MONTHS) {
        Some(month) => Err(month as i64 + 1),
        None => Ok(one_or_two(&mut d)?),
    };
    if !d.take(&[separator]) {
        return None;
    }
    let year = match d.number(4) {
        Some(year) => year,
        None if second.is_ok() => 2000 + d.number(2)?,
        None => return None,
    };
    d.take(b",");
    if !d.take(b" :T") {
        return None;
    }
    let (time, twelve) = clock(&mut d)?;
    let (day, month) = match second {
        Err(month) => (first, month),
        Ok(second) if separator == b'.' => (first, second),
        Ok(second) if twelve || second > 12 => (second, first),
        Ok(second) if first > 12 => (first, second),
        Ok(_) => return None,
    };
    let face = days(year, month, day)? * 86_400 * SECOND + time;
    let offset = zone(&mut d);
    Some((Stamp::named(face, offset), d.at))
}

/// `20261130 19:15:12`, `20261130T191512Z`.
fn compact(b: &[u8]) -> Option<(Stamp, usize)> {
    let mut d = Digits { b, at: 0 };
    let (year, month, day) = (d.number(4)?, d.number(2)?, d.number(2)?);
    if !(1990..2100).contains(&year) || !d.take(b" T-") {
        return None;
    }
    let start = d.at;
    let time = match clock_time(&mut d) {
        Some(time) => time,
        None => {
            d.at = start;
            let (h, m, s) = (d.number(2)?, d.number(2)?, d.number(2)?);
            if h > 23 || m > 59 || s > 60 {
                return None;
            }
            let fraction = d.b.get(d.at + 1).is_some_and(u8::is_ascii_digit) && d.take(b".,");
            let micros = if fraction { d.micros() } else { 0 };
            ((h * 60 + m) * 60 + s) * SECOND + micros
        }
    };
    if d.peek().is_ascii_digit() {
        return None;
    }
    let face = days(year, month, day)? * 86_400 * SECOND + time;
    let offset = zone(&mut d);
    Some((Stamp::named(face, offset), d.at))
}

/// `Nov 30 19:15:12`, `Mon Nov 30 19:15:12.034567 CET 2026`, `Mon, 30 Nov 2026 19:15:12 +0100`,
/// `Nov 30, 2026 7:15:12 PM`.
fn by_name(b: &[u8]) -> Option<(Stamp, usize)> {
    let mut d = Digits { b, at: 0 };
    if named(&mut d, &WEEKDAYS).is_some() {
        d.take(b",");
        if !d.take(b" ") {
            return None;
        }
    }
    if d.peek().is_ascii_digit() {
        let (stamp, len) = day_first(b.get(d.at..)?)?;
        return Some((stamp, d.at + len));
    }
    let month = named(&mut d, &MONTHS)? as i64 + 1;
    if !d.take(b" ") {
        return None;
    }
    let day = one_or_two(&mut d)?;
    let comma = d.take(b",");
    if !d.take(b" ") {
        return None;
    }
    let start = d.at;
    // The year may stand before the clock time.
    let early = d.number(4).filter(|_| d.take(b" "));
    if early.is_none() {
        if comma {
            return None;
        }
        d.at = start;
    }
    let (time, _) = clock(&mut d)?;
    let face = |year: i64| Some(days(year, month, day)? * 86_400 * SECOND + time);
    let offset = zone(&mut d);
    if let Some(year) = early {
        return Some((Stamp::named(face(year)?, offset), d.at));
    }
    let end = d.at;
    let late = d.take(b" ").then(|| d.number(4)).flatten();
    if let Some(year) = late.filter(|y| (1990..2100).contains(y) && !d.peek().is_ascii_alphanumeric()) {
        return Some((Stamp::named(face(year)?, offset), d.at));
    }
    let stamp = Stamp {
        face: face(1972)?,
        offset,
        yearless: true,
    };
    Some((stamp, end))
}

/// The length of a date, with its clock time if it has one, that is written with the name of its month or day of the
/// week: `Sat, 21 Nov 2026 06:00:00 GMT`, `21 Nov`, `Nov 21, 2026`. A name alone is no date.
pub(super) fn date_by_name(b: &[u8]) -> Option<usize> {
    if !b.first()?.is_ascii_uppercase() {
        return None;
    }
    if let Some((_, len)) = by_name(b) {
        return Some(len);
    }
    let mut d = Digits { b, at: 0 };
    let weekday = named(&mut d, &WEEKDAYS).is_some();
    if weekday {
        d.take(b",");
        d.take(b" ").then_some(())?;
    }
    if named(&mut d, &MONTHS).is_some() {
        d.take(b" ").then_some(())?;
        one_or_two(&mut d)?;
        let end = d.at;
        d.take(b",");
        d.at = if d.take(b" ") && d.number(4).is_some() {
            d.at
        } else {
            end
        };
    } else {
        d.at = day_and_month(b, d.at).filter(|_| weekday)?;
    }
    (!d.peek().is_ascii_alphanumeric()).then_some(d.at)
}

/// The end of `21 Nov` or `21 November 2026`, with a clock time if there is one, that begins at `at`.
pub(super) fn day_and_month(b: &[u8], at: usize) -> Option<usize> {
    let mut d = Digits { b, at };
    d.number(2).or_else(|| d.number(1))?;
    d.take(b" ").then_some(())?;
    named(&mut d, &MONTHS)?;
    let mut end = d.at;
    if d.take(b" ") && d.number(4).is_some() {
        end = d.at;
        d.take(b",");
        if d.take(b" ") && clock(&mut d).is_some() {
            end = d.at;
        }
    }
    (!b.get(end).is_some_and(u8::is_ascii_alphanumeric)).then_some(end)
}

/// The length of a clock time with minutes, and AM or PM, or with seconds.
pub(super) fn time_of_day(b: &[u8]) -> Option<usize> {
    let mut d = Digits { b, at: 0 };
    let hours = b.iter().take(3).take_while(|b| b.is_ascii_digit()).count();
    let seconds = b.get(hours + 3) == Some(&b':');
    let (_, twelve) = clock(&mut d).filter(|_| hours < 3)?;
    let ends = !b.get(d.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b':');
    (ends && (twelve || seconds)).then_some(d.at)
}

/// glog's `1130 19:15:12.034567` or `20261130 19:15:12.034567`.
pub(super) fn glog(text: &str) -> Option<Stamp> {
    if text.as_bytes().get(4) != Some(&b' ') {
        return compact(text.as_bytes()).map(|(stamp, _)| stamp);
    }
    let mut d = Digits {
        b: text.as_bytes(),
        at: 0,
    };
    let (month, day) = (d.number(2)?, d.number(2)?);
    d.take(b" ").then_some(())?;
    let face = days(1972, month, day)? * 86_400 * SECOND + clock_time(&mut d)?;
    Some(Stamp {
        face,
        offset: None,
        yearless: true,
    })
}

#[cfg(test)]
#[path = "tests/faces.rs"]
mod tests;
