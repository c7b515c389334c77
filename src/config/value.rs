//! One value as it was typed, and how it is read as what a key wants.
//!
//! The same readers serve the file and the environment. A TOML value has a type and must be of the right one; text of
//! an environment variable has none, so it is read leniently (`yes`, `1` and `true` are all true; a list is separated
//! by commas). Durations and sizes always carry a unit: a bare `30` has been read as seconds, milliseconds, bytes or
//! megabytes by different programs too often.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// What stood in a place, not yet known to be right.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Value>),
    /// Text of an environment variable: its type is the reader's guess.
    Untyped(String),
    /// A TOML type that no key takes, by name.
    Other(&'static str),
}

/// Why a value is not right; begins with a small letter, without the key's name.
pub(super) type Wrong = String;

impl Value {
    /// The value as the user would recognise it in an error.
    fn shown(&self) -> String {
        match self {
            Value::Text(t) | Value::Untyped(t) => format!("{t:?}"),
            Value::Integer(i) => format!("the number {i}"),
            Value::Float(f) => format!("the number {f}"),
            Value::Bool(b) => format!("{b}"),
            Value::List(_) => "a list".to_owned(),
            Value::Other(what) => (*what).to_owned(),
        }
    }

    fn expected(&self, what: &str) -> Wrong {
        format!("expected {what}, found {}", self.shown())
    }

    pub(super) fn text(&self) -> Result<String, Wrong> {
        match self {
            Value::Text(t) | Value::Untyped(t) => Ok(t.clone()),
            _ => Err(self.expected("text in quotes")),
        }
    }

    /// A path. A leading `~` is refused: only a shell expands it, and a directory named `~` is never meant.
    pub(super) fn path(&self) -> Result<PathBuf, Wrong> {
        let text = self.text()?;
        if text == "~" || text.starts_with("~/") {
            return Err(format!("{text:?}: `~` is not expanded here; write the whole path"));
        }
        if text.contains('\0') {
            return Err("a path cannot contain a NUL".to_owned());
        }
        Ok(PathBuf::from(text))
    }

    pub(super) fn bool(&self) -> Result<bool, Wrong> {
        match self {
            Value::Bool(b) => Ok(*b),
            Value::Untyped(t) => match t.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(true),
                "false" | "no" | "off" | "0" => Ok(false),
                _ => Err(self.expected("true or false")),
            },
            _ => Err(self.expected("true or false (without quotes)")),
        }
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
        let number = match self {
            Value::Integer(i) => u64::try_from(*i).ok(),
            Value::Untyped(t) => t.trim().parse().ok(),
            _ => None,
        };
        number.filter(|n| range.contains(n)).ok_or_else(|| {
            self.expected(&format!(
                "a whole number from {} to {} (without quotes)",
                range.start(),
                range.end()
            ))
        })
    }

    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Result<f64, Wrong> {
        let number = match self {
            #[expect(clippy::cast_precision_loss, reason = "the range is far below 2^52")]
            Value::Integer(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
            Value::Untyped(t) => t.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|n| range.contains(n))
            .ok_or_else(|| self.expected(&format!("a number from {} to {}", range.start(), range.end())))
    }

    /// A list of texts. An environment variable holds them separated by commas, or as a TOML array, which a
    /// text with a comma in it needs.
    pub(super) fn texts(&self) -> Result<Vec<String>, Wrong> {
        match self {
            Value::List(items) => items.iter().map(Value::text).collect(),
            Value::Untyped(t) if t.trim_start().starts_with('[') => {
                super::file::array(t).ok_or_else(|| self.expected("a list such as [\"a\", \"b\"]"))
            }
            Value::Untyped(t) => Ok(t
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect()),
            _ => Err(self.expected("a list such as [\"a\", \"b\"]")),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Wrong> {
        let list = || {
            let quoted: Vec<String> = words.iter().map(|(w, _)| format!("{w:?}")).collect();
            quoted.join(" or ")
        };
        let (Value::Text(t) | Value::Untyped(t)) = self else {
            return Err(self.expected(&list()));
        };
        words
            .iter()
            .find(|(w, _)| w.eq_ignore_ascii_case(t))
            .map(|(_, v)| *v)
            .ok_or_else(|| self.expected(&list()))
    }

    /// A duration with its unit, within `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
        let text = match self {
            Value::Text(t) | Value::Untyped(t) => t.trim(),
            Value::Integer(n) if *n >= 0 => {
                return Err(format!(
                    "a duration needs its unit in quotes: \"{n}s\", \"{n}m\" or \"{n}ms\", not {n}"
                ));
            }
            _ => return Err(self.expected("a duration such as \"500ms\", \"30s\", \"2m\" or \"1h\"")),
        };
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() && text != "0" {
            return Err(format!(
                "{text:?} has no unit: write \"{text}s\", \"{text}m\" or \"{text}ms\""
            ));
        }
        let parsed = humantime::parse_duration(text)
            .map_err(|_| self.expected("a duration such as \"500ms\", \"30s\", \"2m\", \"1h 30m\" or \"30d\""))?;
        if range.contains(&parsed) {
            Ok(parsed)
        } else {
            Err(format!(
                "{text:?} is out of bounds: from {} to {}",
                humantime::format_duration(*range.start()),
                humantime::format_duration(*range.end())
            ))
        }
    }

    /// A number of bytes with its unit, within `range`.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
        let text = match self {
            Value::Text(t) | Value::Untyped(t) => t.trim(),
            Value::Integer(n) if *n >= 0 => {
                return Err(format!(
                    "a size needs its unit in quotes: \"{n}B\" for bytes, or for example \"1MiB\", not {n}"
                ));
            }
            _ => return Err(self.expected("a size such as \"32KiB\", \"1MiB\" or \"1000MB\"")),
        };
        let parsed = parse_size(text).ok_or_else(|| size_hint(text))?;
        if range.contains(&parsed) {
            Ok(parsed)
        } else {
            Err(format!(
                "{text:?} is out of bounds: from {} to {}",
                show_size(*range.start()),
                show_size(*range.end())
            ))
        }
    }
}

/// Units of a size, in lower case: decimal ones by thousands, binary ones by 1024.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let unit = unit.to_ascii_lowercase();
    let factor = SIZE_UNITS.iter().find(|(u, _)| *u == unit)?.1;
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let exact = number.parse::<f64>().ok()? * factor as f64;
    (exact.is_finite() && exact < 1e18).then_some(exact.round() as u64)
}

fn size_hint(text: &str) -> Wrong {
    let (number, unit) = split_unit(text);
    match unit {
        "" if !number.is_empty() => {
            format!("{text:?} has no unit: write \"{number}B\" for bytes, or for example \"{number}MiB\"")
        }
        "k" | "K" | "m" | "M" | "g" | "G" | "t" | "T" => {
            let u = unit.to_ascii_uppercase();
            format!("{text:?} can be read in two ways: write \"{number}{u}B\" (1000) or \"{number}{u}iB\" (1024)")
        }
        _ => format!("expected a size such as \"32KiB\", \"1MiB\" or \"1000MB\", found {text:?}"),
    }
}

fn show_size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Value {
        Value::Text(t.into())
    }

    fn any() -> RangeInclusive<Duration> {
        Duration::ZERO..=Duration::from_secs(1 << 40)
    }

    #[test]
    fn durations_carry_a_unit() {
        let ms = |t: &str| text(t).duration(any()).map(|d| d.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("1h 30m"), Ok(5_400_000));
        assert_eq!(ms("30d"), Ok(30 * 86_400_000));
        assert_eq!(ms("0s"), Ok(0));
        assert_eq!(
            ms("30"),
            Err("\"30\" has no unit: write \"30s\", \"30m\" or \"30ms\"".into())
        );
        assert_eq!(
            Value::Integer(5).duration(any()),
            Err("a duration needs its unit in quotes: \"5s\", \"5m\" or \"5ms\", not 5".into())
        );
        assert!(ms("soon").unwrap_err().starts_with("expected a duration"));
        assert!(ms("").is_err());
        assert!(ms("-1s").is_err());
    }

    #[test]
    fn sizes_are_decimal_or_binary_by_their_unit() {
        let size = |t: &str| text(t).size(0..=u64::MAX);
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("1000MB"), Ok(1_000_000_000));
        assert_eq!(size("32KiB"), Ok(32_768));
        assert_eq!(size("32 kib"), Ok(32_768));
        assert_eq!(size("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(size("0B"), Ok(0));
        assert!(size("5").unwrap_err().contains("has no unit"));
        assert!(size("5M").unwrap_err().contains("\"5MB\" (1000) or \"5MiB\" (1024)"));
        assert!(size("99999999999TiB").is_err());
        assert!(size("MiB").is_err());
        assert!(Value::Integer(7).size(0..=9).unwrap_err().contains("\"7B\""));
    }

    #[test]
    fn what_is_out_of_bounds_says_the_bounds() {
        assert_eq!(
            text("1GiB").size(1024..=1 << 20),
            Err("\"1GiB\" is out of bounds: from 1KiB to 1MiB".into())
        );
        assert_eq!(
            Value::Integer(0).integer(1..=64),
            Err("expected a whole number from 1 to 64 (without quotes), found the number 0".into())
        );
    }

    #[test]
    fn text_of_the_environment_is_read_leniently() {
        let v = |t: &str| Value::Untyped(t.into());
        assert_eq!(v("Yes").bool(), Ok(true));
        assert_eq!(v("0").bool(), Ok(false));
        assert!(v("maybe").bool().is_err());
        assert!(text("true").bool().is_err());
        assert_eq!(v("12").integer(1..=64), Ok(12));
        assert_eq!(v("a, b,").texts(), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(v(r#"["a,b", 'c\d']"#).texts(), Ok(vec!["a,b".into(), r"c\d".into()]));
        assert!(v("[a").texts().is_err());
    }

    #[test]
    fn a_home_sign_in_a_path_is_refused() {
        assert!(text("~/logs").path().unwrap_err().contains("not expanded"));
        assert_eq!(text("a~b").path(), Ok(PathBuf::from("a~b")));
    }
}
