//! How numbers, sizes, durations and instants are shown to people.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Local, Utc};

use crate::query::args::Show;

/// A note on standard error. Nobody may be reading there, as behind `2>&1 | head`: that is no failure.
pub(super) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether standard output takes colours.
pub(super) fn color(no_color: bool) -> bool {
    // `dumb` is a terminal that shows escapes as they are, as in an editor's shell.
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    !no_color && !dumb && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal()
}

/// Text in one of the terminal's colours, where colours are wanted.
pub(super) fn paint(on: bool, code: &str, text: &str) -> String {
    if on {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

pub(super) const RED: &str = "31";
pub(super) const GREEN: &str = "32";
pub(super) const YELLOW: &str = "33";
pub(super) const DIM: &str = "2";
pub(super) const BOLD: &str = "1";

/// `1234567` → `1,234,567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `3400000` → `3.4 MB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.95 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// Seconds in at most two units: `45s`, `12m 3s`, `2h 5m`, `3d 4h`.
pub(super) fn duration(seconds: i64) -> String {
    let s = seconds.max(0);
    let two = |a: i64, unit_a: &str, b: i64, unit_b: &str| {
        if b == 0 {
            format!("{a}{unit_a}")
        } else {
            format!("{a}{unit_a} {b}{unit_b}")
        }
    };
    match s {
        0..60 => format!("{s}s"),
        60..3600 => two(s / 60, "m", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// A stored instant in local time, or in UTC.
pub(super) fn instant(text: &str, utc: bool) -> String {
    let Ok(t) = DateTime::parse_from_rfc3339(text) else {
        return text.to_owned();
    };
    if utc {
        t.with_timezone(&Utc).format("%Y-%m-%d %H:%M:%SZ").to_string()
    } else {
        t.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// A stored instant with its age: `2026-11-21 02:20:24 (12m 3s ago)`.
pub(super) fn instant_and_age(text: &str, show: &Show) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Ok(t) => {
            let age = Utc::now().signed_duration_since(t).num_seconds();
            format!("{} ({} ago)", instant(text, show.utc), duration(age))
        }
        Err(_) => text.to_owned(),
    }
}

/// Text of a log or a server for the terminal: control characters, which could move the cursor or set the title, are
/// shown as escapes.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control() && c != '\n' && c != '\t';
            if escaped {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sizes_and_durations_are_easy_to_read() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1000), "1.0 kB");
        assert_eq!(size(3_400_000), "3.4 MB");
        assert_eq!(size(999_960), "1.0 MB");
        assert_eq!(duration(45), "45s");
        assert_eq!(duration(723), "12m 3s");
        assert_eq!(duration(7200), "2h");
        assert_eq!(duration(273_600), "3d 4h");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\n");
    }

    #[test]
    fn instants_are_shown_to_the_second() {
        assert_eq!(instant("2026-11-21T02:20:24.054432Z", true), "2026-11-21 02:20:24Z");
        assert_eq!(instant("soon", true), "soon");
    }
}
