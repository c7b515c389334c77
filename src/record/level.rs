//! Levels: loguru's names and numbers, and how the names of others map to them.

use std::borrow::Cow;

/// Number from which a record is an error: it has a fingerprint, and ship rules keep it.
pub const ERROR: i64 = 40;

/// The number of a level whose name says nothing.
pub(super) const UNKNOWN: i64 = 20;

const LEVELS: [(&str, i64); 7] = [
    ("TRACE", 5),
    ("DEBUG", 10),
    ("INFO", 20),
    ("SUCCESS", 25),
    ("WARNING", 30),
    ("ERROR", 40),
    ("CRITICAL", 50),
];

/// Names that others use for loguru's levels.
const SYNONYMS: &[(&str, &str)] = &[
    ("WARN", "WARNING"),
    ("FATAL", "CRITICAL"),
    ("ERR", "ERROR"),
    ("EXCEPTION", "ERROR"),
    ("CRIT", "CRITICAL"),
    ("EMERG", "CRITICAL"),
    ("EMERGENCY", "CRITICAL"),
    ("ALERT", "CRITICAL"),
    ("PANIC", "CRITICAL"),
    ("DPANIC", "CRITICAL"),
    ("SEVERE", "ERROR"),
    ("INFORMATION", "INFO"),
    ("INFORMATIONAL", "INFO"),
    ("DBG", "DEBUG"),
    ("TRC", "TRACE"),
    ("INF", "INFO"),
    ("WRN", "WARNING"),
    ("FTL", "CRITICAL"),
    ("PNC", "CRITICAL"),
    // log15 and .NET's console.
    ("EROR", "ERROR"),
    ("DBUG", "DEBUG"),
    ("TRCE", "TRACE"),
    ("FAIL", "ERROR"),
    // logrus on a terminal.
    ("ERRO", "ERROR"),
    ("DEBU", "DEBUG"),
    ("TRAC", "TRACE"),
    ("FATA", "CRITICAL"),
    ("PANI", "CRITICAL"),
    // java.util.logging, Serilog, winston, Google Cloud, PostgreSQL.
    ("CONFIG", "DEBUG"),
    ("FINE", "DEBUG"),
    ("FINER", "TRACE"),
    ("FINEST", "TRACE"),
    ("VERBOSE", "DEBUG"),
    ("VRB", "TRACE"),
    ("SILLY", "TRACE"),
    ("DEFAULT", "INFO"),
    ("LOG", "INFO"),
    ("NOTE", "INFO"),
    // PHP.
    ("FATAL ERROR", "CRITICAL"),
    ("PARSE ERROR", "CRITICAL"),
    ("RECOVERABLE FATAL ERROR", "ERROR"),
    ("DEPRECATED", "WARNING"),
    // glog, Android, Ruby, and whoever has little room.
    ("E", "ERROR"),
    ("W", "WARNING"),
    ("I", "INFO"),
    ("D", "DEBUG"),
    ("F", "CRITICAL"),
    ("C", "CRITICAL"),
    ("T", "TRACE"),
    ("V", "TRACE"),
];

/// What the numbers of a line mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Scale {
    /// loguru's and Python's; numbers that they never have are syslog's, so that no error is taken for a trifle.
    #[default]
    Plain,
    /// 0 (emergency) to 7 (debug).
    Syslog,
    /// Pino's and Bunyan's: 10 (trace) to 60 (fatal).
    Tens,
    /// OpenTelemetry's: 1 (trace) to 24 (fatal).
    Otel,
    /// Monolog's: 100 (debug) to 600 (emergency).
    Hundreds,
}

impl Scale {
    /// The level that a number of this scale is.
    pub fn level(self, n: i64) -> (&'static str, i64) {
        let named = |name: &'static str| known(name).unwrap_or(("INFO", UNKNOWN));
        match self {
            Scale::Plain if matches!(n, 1..=4 | 6 | 7) => Scale::Syslog.level(n),
            Scale::Plain => (of_number(n), n),
            Scale::Syslog => named(match n {
                ..=2 => "CRITICAL",
                3 => "ERROR",
                4 => "WARNING",
                5 | 6 => "INFO",
                _ => "DEBUG",
            }),
            Scale::Tens => named(match n {
                ..20 => "TRACE",
                20..30 => "DEBUG",
                30..40 => "INFO",
                40..50 => "WARNING",
                50..60 => "ERROR",
                _ => "CRITICAL",
            }),
            Scale::Otel => named(match n {
                1..=4 => "TRACE",
                5..=8 => "DEBUG",
                13..=16 => "WARNING",
                17..=20 => "ERROR",
                21.. => "CRITICAL",
                _ => "INFO",
            }),
            Scale::Hundreds => named(match n {
                ..200 => "DEBUG",
                200..300 => "INFO",
                300..400 => "WARNING",
                400..500 => "ERROR",
                _ => "CRITICAL",
            }),
        }
    }
}

/// Brings a level's name to loguru's: upper case, synonyms replaced, numbers by thresholds. Other names are kept, in
/// upper case, and count as INFO (`Level 33` as its number).
#[must_use]
pub fn level(name: &str) -> (Cow<'_, str>, i64) {
    if let Some((name, no)) = known(name) {
        return (Cow::Borrowed(name), no);
    }
    let name = name.trim();
    let upper = name.to_uppercase();
    if let Some((known, no)) = spelt(&upper) {
        return (Cow::Borrowed(known), no);
    }
    if let Ok(no) = upper.parse::<i64>() {
        return (Cow::Borrowed(of_number(no)), no);
    }
    if let Some((known, no)) = shifted(&upper).or_else(|| printed(name)) {
        return (Cow::Borrowed(known), no);
    }
    let no = upper.strip_prefix("LEVEL ").and_then(|n| n.parse().ok());
    let name = if upper == name {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(upper)
    };
    (name, no.unwrap_or(UNKNOWN))
}

/// The level of a name in upper case that is loguru's or a synonym.
pub(super) fn spelt(upper: &str) -> Option<(&'static str, i64)> {
    let synonym = || SYNONYMS.iter().find(|(from, _)| *from == upper);
    known(upper).or_else(|| known(synonym()?.1))
}

/// The level that a word stands for, in letters of any case; `None` if it is none.
pub(super) fn word(word: &str) -> Option<(&'static str, i64)> {
    if let Some(known) = known(word) {
        return Some(known);
    }
    (word.len() <= 24).then(|| spelt(&word.to_ascii_uppercase()))?
}

/// slog's `ERROR+4` and `DEBUG-2`, PostgreSQL's `DEBUG1`, OpenTelemetry's `WARN2`: near the named level, without
/// reaching the next.
fn shifted(upper: &str) -> Option<(&'static str, i64)> {
    let letters = upper.bytes().take_while(u8::is_ascii_uppercase).count();
    let (name, by) = upper.split_at_checked(letters)?;
    let by: i64 = by.parse().ok()?;
    let (name, no) = known(name).or_else(|| spelt(name).filter(|_| letters > 1))?;
    Some(match name {
        "DEBUG" | "TRACE" if by < 0 => ("TRACE", 5),
        _ => (of_number(no + by.clamp(-4, 4)), no + by.clamp(-4, 4)),
    })
}

/// loguru's level as Python prints it: `(name='ERROR', no=40, icon='❌')`.
fn printed(text: &str) -> Option<(&'static str, i64)> {
    let rest = text.strip_prefix("(name='")?;
    let (name, rest) = rest.split_once("', no=")?;
    let no: i64 = rest.split([',', ')']).next()?.parse().ok()?;
    Some((known(name).map_or(of_number(no), |(name, _)| name), no))
}

/// One of loguru's own names, and its number.
#[inline]
pub(super) fn known(name: &str) -> Option<(&'static str, i64)> {
    LEVELS.iter().find(|(known, _)| *known == name).copied()
}

/// The name of the highest level of loguru's that `no` reaches.
#[must_use]
pub fn of_number(no: i64) -> &'static str {
    LEVELS
        .iter()
        .rev()
        .find(|(_, from)| no >= *from)
        .map_or("TRACE", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_become_logurus() {
        for (name, expected, no) in [
            ("INFO", "INFO", 20),
            ("info", "INFO", 20),
            ("warn", "WARNING", 30),
            ("Warning", "WARNING", 30),
            ("fatal", "CRITICAL", 50),
            ("err", "ERROR", 40),
            ("exception", "ERROR", 40),
            ("success", "SUCCESS", 25),
            ("30", "WARNING", 30),
            ("33", "WARNING", 33),
            ("7", "TRACE", 7),
            ("60", "CRITICAL", 60),
            ("0", "TRACE", 0),
            ("Level 33", "LEVEL 33", 33),
            ("notice", "NOTICE", 20),
            ("", "", 20),
            ("eror", "ERROR", 40),
            ("dbug", "DEBUG", 10),
            ("E", "ERROR", 40),
            ("ERROR+4", "ERROR", 44),
            ("WARN+1", "WARNING", 31),
            ("INFO-2", "DEBUG", 18),
            ("DEBUG-4", "TRACE", 5),
            ("DEBUG1", "DEBUG", 11),
            ("(name='ERROR', no=40, icon='x')", "ERROR", 40),
            ("(name='MINE', no=33, icon='x')", "WARNING", 33),
        ] {
            assert_eq!(level(name), (Cow::Borrowed(expected), no), "{name}");
        }
    }

    #[test]
    fn numbers_mean_what_their_scale_says_and_no_error_is_taken_for_a_trifle() {
        for (scale, n, expected, no) in [
            (Scale::Plain, 40, "ERROR", 40),
            (Scale::Plain, 5, "TRACE", 5),
            (Scale::Plain, 3, "ERROR", 40),
            (Scale::Plain, 0, "TRACE", 0),
            (Scale::Syslog, 0, "CRITICAL", 50),
            (Scale::Syslog, 5, "INFO", 20),
            (Scale::Syslog, 7, "DEBUG", 10),
            (Scale::Tens, 30, "INFO", 20),
            (Scale::Tens, 40, "WARNING", 30),
            (Scale::Tens, 60, "CRITICAL", 50),
            (Scale::Otel, 17, "ERROR", 40),
            (Scale::Otel, 0, "INFO", 20),
            (Scale::Hundreds, 400, "ERROR", 40),
        ] {
            assert_eq!(scale.level(n), (expected, no), "{scale:?} {n}");
        }
    }
}
