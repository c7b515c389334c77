//! logfmt: `time=… level=error msg="failed to connect" attempt=3`, as logrus, slog, go-kit, log15 and many others
//! write it.
//!
//! Nearly any text may hold a `=`. A line is logfmt if it is pairs from its first word on, and at least two of these are
//! a time, a level or a message by their names.

use std::borrow::Cow;

use super::flat::Field;
use super::member::Reader;
use super::time::Clock;
use super::{Record, Text, Token, bound, dialects, flat, level};

/// More pairs than this are left in the message.
const PAIRS: usize = 256;

/// One `key=value`; a key alone is true.
struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    /// The key; its value as a JSON token.
    type Item = Option<(&'a str, String)>;

    /// `None` within: something that is no pair.
    fn next(&mut self) -> Option<Option<(&'a str, String)>> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        if self.rest.is_empty() {
            return None;
        }
        let key = |b: u8| b > b' ' && !matches!(b, b'=' | b'"');
        let end = self.rest.bytes().take_while(|b| key(*b)).count();
        let (name, rest) = self.rest.split_at_checked(end)?;
        if name.is_empty() {
            return Some(None);
        }
        let Some(value) = rest.strip_prefix('=') else {
            self.rest = rest;
            return Some(Some((name, "true".to_owned())));
        };
        if let Some(quoted) = value.strip_prefix('"') {
            let Some(len) = closing(quoted) else { return Some(None) };
            let inner = quoted.get(..len).unwrap_or_default();
            self.rest = quoted.get(len + 1..).unwrap_or_default();
            return Some(Some((name, format!("\"{}\"", super::escape(&super::unescape(inner))))));
        }
        let len = value.bytes().take_while(|b| !matches!(b, b' ' | b'\t')).count();
        let (bare, rest) = value.split_at_checked(len)?;
        self.rest = rest;
        Some(Some((name, token(bare))))
    }
}

/// Position of the quote that ends a value.
fn closing(text: &str) -> Option<usize> {
    let b = text.as_bytes();
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', b.get(at..)?)?;
        if b.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// A bare value as JSON: numbers and words of JSON's stay what they are.
fn token(bare: &str) -> String {
    let number = bare.len() < 16
        && bare
            .strip_prefix('-')
            .unwrap_or(bare)
            .bytes()
            .all(|b| b.is_ascii_digit())
        && bare.parse::<i64>().is_ok_and(|n| n.to_string() == bare);
    if number || matches!(bare, "true" | "false") {
        return bare.to_owned();
    }
    format!("\"{}\"", super::escape(bare))
}

/// Reads a line of logfmt into a fresh record; `false` if it is none, and nothing was read.
pub(super) fn read(line: &str, clock: Clock, rec: &mut Record<'_>) -> bool {
    let first = line
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || b"_@.-/".contains(b))
        .count();
    if first == 0 || line.as_bytes().get(first) != Some(&b'=') {
        return false;
    }
    let mut pairs = Vec::new();
    for pair in (Pairs { rest: line }).take(PAIRS) {
        let Some(pair) = pair else { return false };
        pairs.push(pair);
    }
    let telling = |name: &str| {
        matches!(
            name,
            "time" | "ts" | "t" | "timestamp" | "level" | "lvl" | "severity" | "msg" | "message" | "at"
        )
    };
    if pairs.iter().filter(|(name, _)| telling(name)).count() < 2 {
        return false;
    }
    // Read as the flat object that it is; what it says is kept.
    let object: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut read_from = Record::default();
    fill(&object, clock, &mut read_from);
    *rec = read_from.into_owned();
    true
}

fn fill<'a>(pairs: &[(&'a str, &'a str)], clock: Clock, rec: &mut Record<'a>) {
    rec.level = Cow::Borrowed("INFO");
    rec.level_no = level::UNKNOWN;
    let mut claimed = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (name, token) in pairs {
        let field = match *name {
            "t" => Some(Field::Time),
            "caller" => Some(Field::Caller),
            "err" => Some(Field::Exception),
            "source" if flat::place(token.trim_matches('"')).is_some() => Some(Field::Caller),
            name => flat::alias(name).map(|(field, _)| field),
        };
        let reader = Reader {
            clock,
            scale: dialects::FLAT.scale,
            token,
        };
        match field {
            Some(Field::Exception) if !claimed.contains(&Field::Exception) => {
                flat::thrown(rec, Cow::Borrowed(name), token);
                claimed.push(Field::Exception);
            }
            Some(field) if !claimed.contains(&field) && reader.fits(field) => {
                reader.fill(field, rec);
                claimed.push(field);
            }
            // Names in one object are unique.
            _ if seen.contains(name) => bound::add_owned(rec, name, token),
            _ => rec.extra.push((
                Text(Cow::Owned(super::escape(name).into_owned())),
                Token(Cow::Borrowed(token)),
            )),
        }
        seen.push(name);
    }
    if let Some((file, line)) = rec.file_path.as_ref().and_then(|f| flat::place(&f.0))
        && rec.line_number.is_none()
    {
        rec.line_number = Some(line);
        rec.file_path = Some(Text(Cow::Owned(file.to_owned())));
    }
}
