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
const SYNONYMS: [(&str, &str); 18] = [
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
];

/// Brings a level's name to loguru's: upper case, synonyms replaced, numbers by thresholds. Other names are kept, in
/// upper case, and count as INFO (`Level 33` as its number).
#[must_use]
pub fn level(name: &str) -> (Cow<'_, str>, i64) {
    if let Some((name, no)) = known(name) {
        return (Cow::Borrowed(name), no);
    }
    let name = name.trim();
    let upper = name.to_uppercase();
    if let Some((known, no)) = known(&upper) {
        return (Cow::Borrowed(known), no);
    }
    if let Some((_, to)) = SYNONYMS.iter().find(|(from, _)| *from == upper) {
        return (Cow::Borrowed(to), known(to).map_or(UNKNOWN, |(_, no)| no));
    }
    if let Ok(no) = upper.parse::<i64>() {
        return (Cow::Borrowed(of_number(no)), no);
    }
    let no = upper.strip_prefix("LEVEL ").and_then(|n| n.parse().ok());
    let name = if upper == name {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(upper)
    };
    (name, no.unwrap_or(UNKNOWN))
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
        ] {
            assert_eq!(level(name), (Cow::Borrowed(expected), no), "{name}");
        }
    }
}
