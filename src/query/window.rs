//! Times as people type them, and the window of time that a question looks at.
//!
//! Pure: the present and the zone are arguments.

use chrono::{DateTime, Days, Local, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};
use serde::Serialize;

use super::AskError;
use crate::record::{Micros, format_time};

/// The present, and the zone in which people speak of days.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub now: Micros,
    pub utc: bool,
    /// Times are shown whole, as they are stored: for programs.
    pub whole: bool,
}

/// One hour in microseconds.
pub const HOUR: Micros = 3_600_000_000;
/// One day in microseconds.
pub const DAY: Micros = 24 * HOUR;

impl Clock {
    /// The system's time; days are local unless `utc`.
    #[must_use]
    pub fn system(utc: bool) -> Clock {
        Clock {
            now: Utc::now().timestamp_micros(),
            utc,
            whole: false,
        }
    }

    /// The system's time, in UTC, with times shown as they are stored.
    #[must_use]
    pub fn whole() -> Clock {
        Clock {
            whole: true,
            ..Clock::system(true)
        }
    }

    /// Reads a point in time: a duration back from now (`10m`, `-1h`, `2h ago`), `now`, `today`, `yesterday`,
    /// a date or time of day in the clock's zone, RFC 3339, or epoch seconds.
    ///
    /// # Errors
    /// Says which forms are understood.
    pub fn parse(&self, text: &str) -> Result<Micros, AskError> {
        self.read(text, false)
    }

    /// The same, where an hour that the clocks go through twice is meant to its second end: for `--until`.
    ///
    /// # Errors
    /// As of [`Clock::parse`].
    pub fn parse_end(&self, text: &str) -> Result<Micros, AskError> {
        self.read(text, true)
    }

    fn read(&self, text: &str, late: bool) -> Result<Micros, AskError> {
        let t = text.trim();
        self.word(t)
            .or_else(|| self.ago(t))
            .or_else(|| epoch(t))
            .or_else(|| self.calendar(t, late))
            .ok_or_else(|| {
                AskError::usage(format!(
                    "cannot read the time '{text}': try 10m, '2h ago', yesterday, 2026-01-31T12:00:00Z or epoch seconds"
                ))
            })
    }

    fn word(&self, t: &str) -> Option<Micros> {
        let days_back = match t.to_ascii_lowercase().as_str() {
            "now" => return Some(self.now),
            "today" => 0,
            "yesterday" => 1,
            _ => return None,
        };
        let today = self.civil(self.now)?.date();
        self.instant(
            today.checked_sub_days(Days::new(days_back))?.and_time(NaiveTime::MIN),
            false,
        )
    }

    fn ago(&self, t: &str) -> Option<Micros> {
        let (body, future) = match t.strip_prefix('+') {
            Some(rest) => (rest, true),
            None => (t.strip_prefix('-').unwrap_or(t), false),
        };
        let body = body.trim().strip_suffix("ago").unwrap_or(body).trim();
        // A nought without a unit is a duration to some, but an instant here.
        let micros = duration(body).filter(|_| body.bytes().any(|b| b.is_ascii_alphabetic()))?;
        Some(if future {
            self.now.saturating_add(micros)
        } else {
            self.now.saturating_sub(micros)
        })
    }

    fn calendar(&self, t: &str, late: bool) -> Option<Micros> {
        let whole = t.replacen(' ', "T", 1);
        // Also without seconds: 2026-01-31T12:00Z.
        let minutes = whole.get(..16).zip(whole.get(16..)).map(|(a, b)| format!("{a}:00{b}"));
        let at = DateTime::parse_from_rfc3339(&whole).or_else(|e| {
            let minutes = minutes.ok_or(e)?;
            DateTime::parse_from_rfc3339(&minutes)
        });
        if let Ok(at) = at {
            return Some(at.timestamp_micros());
        }
        let naive = [
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%dT%H:%M",
            "%Y-%m-%d %H:%M",
        ]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(t, form).ok())
        .or_else(|| Some(NaiveDate::parse_from_str(t, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN)))
        .or_else(|| {
            let time = ["%H:%M:%S%.f", "%H:%M"]
                .iter()
                .find_map(|f| NaiveTime::parse_from_str(t, f).ok())?;
            Some(self.civil(self.now)?.date().and_time(time))
        })?;
        self.instant(naive, late)
    }

    fn civil(&self, t: Micros) -> Option<NaiveDateTime> {
        let at = DateTime::<Utc>::from_timestamp_micros(t)?;
        Some(if self.utc {
            at.naive_utc()
        } else {
            at.with_timezone(&Local).naive_local()
        })
    }

    fn instant(&self, civil: NaiveDateTime, late: bool) -> Option<Micros> {
        if self.utc {
            return Some(civil.and_utc().timestamp_micros());
        }
        // A local time that a change of the clocks skips is read as the first one after the gap.
        let found = match Local.from_local_datetime(&civil) {
            LocalResult::None => Local.from_local_datetime(&(civil + chrono::Duration::hours(1))),
            found => found,
        };
        match found {
            LocalResult::None => None,
            LocalResult::Single(at) => Some(at.timestamp_micros()),
            // The two do not always come in their order.
            LocalResult::Ambiguous(a, b) => {
                let (a, b) = (a.timestamp_micros(), b.timestamp_micros());
                Some(if late { a.max(b) } else { a.min(b) })
            }
        }
    }

    /// The day that a stored time falls on: people's own, for programs that of UTC.
    #[must_use]
    pub fn day(&self, stored: &str) -> String {
        self.calendar_name(stored, "%Y-%m-%d")
            .unwrap_or_else(|| stored.get(..10).unwrap_or(stored).to_owned())
    }

    /// The hour that a stored time falls on, as [`Clock::day`].
    #[must_use]
    pub fn hour(&self, stored: &str) -> String {
        self.calendar_name(stored, "%Y-%m-%dT%H")
            .unwrap_or_else(|| stored.get(..13).unwrap_or(stored).to_owned())
    }

    /// Whether days and hours are those of UTC.
    #[must_use]
    pub fn counts_in_utc(&self) -> bool {
        self.utc || self.whole
    }

    fn calendar_name(&self, stored: &str, form: &str) -> Option<String> {
        if self.counts_in_utc() {
            return None;
        }
        Some(self.civil(parse_stored(stored)?)?.format(form).to_string())
    }

    /// A stored time for people: `YYYY-MM-DD HH:MM:SS.mmm` in the clock's zone, without the date if it is today's.
    #[must_use]
    pub fn show(&self, stored: &str) -> String {
        if self.whole {
            return stored.to_owned();
        }
        let civil = |t| self.civil(t);
        match parse_stored(stored).and_then(|t| Some((civil(t)?, civil(self.now)?))) {
            Some((at, now)) if at.date() == now.date() => at.format("%H:%M:%S%.3f").to_string(),
            Some((at, _)) => at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
            None => stored.to_owned(),
        }
    }
}

/// A stored time (RFC 3339) as microseconds.
#[must_use]
pub fn parse_stored(text: &str) -> Option<Micros> {
    DateTime::parse_from_rfc3339(text).ok().map(|t| t.timestamp_micros())
}

/// A duration such as `90s`, `1h30m`, `7d`, `2w` in microseconds. `None` for anything else, a bare number included.
#[must_use]
pub fn duration(text: &str) -> Option<Micros> {
    humantime::parse_duration(text)
        .ok()
        .and_then(|d| i64::try_from(d.as_micros()).ok())
}

/// Microseconds for people: `1h 5m`, `42s`, `1.5s`, `120ms`.
#[must_use]
pub fn show_duration(micros: Micros) -> String {
    let (sign, t) = if micros < 0 { ("-", -micros) } else { ("", micros) };
    let secs = t / 1_000_000;
    let two = |a: i64, x: &str, b: i64, y: &str| {
        if b == 0 {
            format!("{a}{x}")
        } else {
            format!("{a}{x} {b}{y}")
        }
    };
    let body = match secs {
        0 => format!("{}ms", t / 1000),
        1..=9 => format!("{:.1}s", t as f64 / 1e6),
        10..=59 => format!("{secs}s"),
        60..=3599 => two(secs / 60, "m", secs % 60, "s"),
        3600..=86_399 => two(secs / 3600, "h", secs % 3600 / 60, "m"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3600, "h"),
    };
    format!("{sign}{body}")
}

/// Epoch seconds, with or without a fraction; milli-, micro- and nanoseconds are told by their number of digits.
fn epoch(text: &str) -> Option<Micros> {
    let (text, said) = text.strip_prefix('@').map_or((text, false), |t| (t, true));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    // A small number may be meant as minutes or days, unless a sign says what it is; nought can be nothing else.
    let small = whole.len() < 9 && !(said || text == "0");
    if whole.is_empty() || small || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: i64 = whole.parse().ok()?;
    match whole.len() {
        ..=11 => {
            let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
            n.checked_mul(1_000_000)?.checked_add(digits.parse().ok()?)
        }
        12..=14 => n.checked_mul(1000),
        15..=17 => Some(n),
        _ => Some(n / 1000),
    }
}

/// The window of time that was searched, as answers tell it: UTC, 27 characters; absent where it is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Window {
    pub since: Option<String>,
    pub until: Option<String>,
}

impl Window {
    #[must_use]
    pub fn new(since: Option<Micros>, until: Option<Micros>) -> Window {
        Window {
            since: since.map(format_time),
            until: until.map(format_time),
        }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock {
            now: parse_stored("2026-11-21T06:30:00.000000Z").expect("time"),
            utc: true,
            whole: false,
        }
    }

    fn read(text: &str) -> Option<String> {
        clock().parse(text).ok().map(format_time)
    }

    #[test]
    fn times_are_read_as_people_type_them() {
        let want = |text: &str, time: &str| assert_eq!(read(text).as_deref(), Some(time), "{text}");
        for text in ["10m", "-10m", "10m ago", "10 min ago", "600s", "+-10m"] {
            if text != "+-10m" {
                want(text, "2026-11-21T06:20:00.000000Z");
            }
        }
        want("1h30m", "2026-11-21T05:00:00.000000Z");
        want("2w", "2026-11-07T06:30:00.000000Z");
        want("now", "2026-11-21T06:30:00.000000Z");
        want("yesterday", "2026-11-20T00:00:00.000000Z");
        want("today", "2026-11-21T00:00:00.000000Z");
        want("2026-11-20", "2026-11-20T00:00:00.000000Z");
        want("2026-11-20 12:30", "2026-11-20T12:30:00.000000Z");
        want("2026-11-20T12:30:01.5Z", "2026-11-20T12:30:01.500000Z");
        want("2026-11-20T12:30:01+02:00", "2026-11-20T10:30:01.000000Z");
        want("2026-11-20T12:30Z", "2026-11-20T12:30:00.000000Z");
        want("2026-11-20 12:30+02:00", "2026-11-20T10:30:00.000000Z");
        want("05:15", "2026-11-21T05:15:00.000000Z");
        want("1795227624", "2026-11-21T02:20:24.000000Z");
        want("1795227624.054432", "2026-11-21T02:20:24.054432Z");
        want("@1795227624", "2026-11-21T02:20:24.000000Z");
        want("0", "1970-01-01T00:00:00.000000Z");
        want("@0", "1970-01-01T00:00:00.000000Z");
        want("@60.5", "1970-01-01T00:01:00.500000Z");
        want("1795227624054", "2026-11-21T02:20:24.054000Z");
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_forms_that_are() {
        for text in [
            "",
            "soon",
            "10",
            "-1",
            "-0",
            "0 ago",
            "@",
            "@x",
            "2026-13-01",
            "5 potatoes",
        ] {
            assert!(clock().parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        let shown: Vec<String> = [0, 120_000, 1_500_000, 42_000_000, 65_000_000, 3_900_000_000, 2 * DAY]
            .into_iter()
            .map(show_duration)
            .collect();
        assert_eq!(shown, ["0ms", "120ms", "1.5s", "42s", "1m 5s", "1h 5m", "2d"]);
    }

    #[test]
    fn today_s_times_are_shown_without_their_date() {
        assert_eq!(clock().show("2026-11-21T02:20:24.054432Z"), "02:20:24.054");
        assert_eq!(clock().show("2026-11-20T02:20:24.054432Z"), "2026-11-20 02:20:24.054");
    }
}
