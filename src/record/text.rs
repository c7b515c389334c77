//! Texts inside JSON: escaping, unescaping, and finding the end of a string quickly.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::lanes::{Lanes, Sixteen};
use super::{Text, Token};

/// Stands where a character could not be decoded.
pub(super) const REPLACEMENT: char = '\u{FFFD}';

impl<'a> Text<'a> {
    /// Escapes plain text; borrows where nothing needs an escape.
    #[must_use]
    pub fn new(plain: &'a str) -> Text<'a> {
        Text(escape(plain))
    }

    /// The text itself, without escapes.
    #[must_use]
    pub fn plain(&self) -> Cow<'_, str> {
        unescape(&self.0)
    }

    /// The escaped contents, as they stand between the quotes.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl<'a> Token<'a> {
    /// The contents of a string token; `None` for every other kind of value.
    #[must_use]
    pub fn text(&self) -> Option<Text<'a>> {
        Some(match &self.0 {
            Cow::Borrowed(t) => Text(Cow::Borrowed(string(t)?)),
            Cow::Owned(t) => Text(Cow::Owned(string(t)?.to_owned())),
        })
    }

    #[must_use]
    pub fn into_owned(self) -> Token<'static> {
        Token(Cow::Owned(self.0.into_owned()))
    }
}

/// The contents of a string token, still escaped.
pub(super) fn string(token: &str) -> Option<&str> {
    token.strip_prefix('"')?.strip_suffix('"')
}

/// The contents of a JSON string that stands for `plain`.
#[must_use]
pub fn escape(plain: &str) -> Cow<'_, str> {
    let first = special(plain.as_bytes(), 0);
    if first == plain.len() {
        return Cow::Borrowed(plain);
    }
    let mut out = String::with_capacity(plain.len() + plain.len() / 8 + 8);
    escape_into(plain, &mut out);
    Cow::Owned(out)
}

/// Appends [`escape`] of `plain`.
pub(super) fn escape_into(plain: &str, out: &mut String) {
    let bytes = plain.as_bytes();
    let mut done = 0;
    loop {
        let at = special(bytes, done);
        out.push_str(plain.get(done..at).unwrap_or_default());
        let Some(b) = bytes.get(at) else { return };
        push_escape(*b, out);
        done = at + 1;
    }
}

/// Appends the escape of one byte that cannot stand bare in a JSON string.
pub(super) fn push_escape(b: u8, out: &mut String) {
    match b {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        b => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{b:04x}");
        }
    }
}

/// What a JSON string with these contents stands for. Total: an escape that is none stands for itself, half a
/// surrogate pair for U+FFFD.
#[must_use]
pub fn unescape(text: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', text.as_bytes()) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text.get(first..).unwrap_or_default();
    out.push_str(text.get(..first).unwrap_or_default());
    while !rest.is_empty() {
        let (c, len) = decode(rest.as_bytes());
        match c {
            Some(c) => out.push(c),
            None => out.push(REPLACEMENT),
        }
        rest = rest.get(len..).unwrap_or_default();
        let next = memchr::memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len());
        out.push_str(rest.get(..next).unwrap_or_default());
        rest = rest.get(next..).unwrap_or_default();
    }
    Cow::Owned(out)
}

/// Decodes the escape that `b` begins with: its character (`None`: half a surrogate pair) and its length in bytes.
/// Something that is no escape is a backslash by itself.
pub(super) fn decode(b: &[u8]) -> (Option<char>, usize) {
    let simple = |c| (Some(c), 2);
    match b.get(1) {
        Some(b'"') => simple('"'),
        Some(b'\\') => simple('\\'),
        Some(b'/') => simple('/'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'n') => simple('\n'),
        Some(b'r') => simple('\r'),
        Some(b't') => simple('\t'),
        Some(b'u') => match hex4(b, 2) {
            None => (Some('\\'), 1),
            Some(high @ 0xD800..=0xDBFF) => match hex4(b, 8) {
                Some(low @ 0xDC00..=0xDFFF) if b.get(6..8) == Some(b"\\u") => {
                    (char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)), 12)
                }
                _ => (None, 6),
            },
            Some(n) => (char::from_u32(n), 6),
        },
        _ => (Some('\\'), 1),
    }
}

/// Four hexadecimal digits at `at`.
fn hex4(b: &[u8], at: usize) -> Option<u32> {
    let mut n = 0;
    for d in b.get(at..at + 4)? {
        n = n * 16 + char::from(*d).to_digit(16)?;
    }
    Some(n)
}

/// The last border between characters at or before `at`.
pub(super) fn floor(s: &str, at: usize) -> usize {
    let mut at = at.min(s.len());
    while !s.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The first border between characters at or after `at`.
pub(super) fn ceil(s: &str, at: usize) -> usize {
    let mut at = at.min(s.len());
    while !s.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// The position, at or after `at`, of the first byte that ends or interrupts the contents of a JSON string: a quote, a
/// backslash or a control character. The length of `b` where there is none.
///
/// Sixteen bytes a step.
#[inline]
pub(super) fn special(b: &[u8], mut at: usize) -> usize {
    while let Some(w) = b.get(at..).and_then(|r| r.first_chunk::<16>()) {
        let hits = specials(w);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize;
        }
        at += 16;
    }
    let rest = b.get(at..).unwrap_or_default();
    let hit = match b.last_chunk::<16>() {
        // The last sixteen, of which some were looked at before.
        Some(w) if !rest.is_empty() => first(specials(w) >> (16 - rest.len())),
        Some(_) => None,
        None => special_of_few(rest),
    };
    hit.map_or(b.len(), |n| at + n)
}

/// The first bit.
#[inline(always)]
fn first(hits: u64) -> Option<usize> {
    (hits != 0).then_some(hits.trailing_zeros() as usize)
}

/// As [`special`], of less than sixteen bytes.
#[inline(always)]
fn special_of_few(b: &[u8]) -> Option<usize> {
    if let (Some(low), Some(high)) = (b.first_chunk::<8>(), b.last_chunk::<8>()) {
        let eight = |w: &[u8; 8]| specials_of_eight(u64::from_le_bytes(*w));
        // Of those in both nothing is special, or it is found in the first.
        return eight(low).or_else(|| Some(b.len() - 8 + eight(high)?));
    }
    b.iter().position(|c| *c < 0x20 || *c == b'"' || *c == b'\\')
}

/// The lowest of eight bytes that ends or interrupts a string.
#[inline(always)]
fn specials_of_eight(w: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Each sets the highest bit of a byte that is meant, and maybe of others above it.
    let below = |w: u64, n: u64| w.wrapping_sub(ONES * n) & !w;
    let is = |c: u8| below(w ^ (ONES * u64::from(c)), 1);
    let hits = (below(w, 0x20) | is(b'"') | is(b'\\')) & HIGH;
    (hits != 0).then_some(hits.trailing_zeros() as usize / 8)
}

/// A bit for each of sixteen bytes that ends or interrupts a string.
#[inline(always)]
fn specials(w: &[u8; 16]) -> u64 {
    let lanes = Sixteen::of(w);
    lanes.eq(b'"').or(lanes.eq(b'\\')).or(lanes.at_most(0x1f)).mask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_finds_quotes_backslashes_and_control_characters_at_every_position() {
        for bad in [b'"', b'\\', 0, 0x0a, 0x1f] {
            for len in 0..40 {
                for at in 0..len {
                    let mut b = vec![b'\x7f'; len];
                    b[at] = bad;
                    assert_eq!(special(&b, 0), at);
                    assert_eq!(special(&b, at + 1), len);
                }
            }
        }
        for fine in 0x20..=255 {
            if fine != b'"' && fine != b'\\' {
                assert_eq!(special(&[fine; 33], 0), 33);
            }
        }
    }

    #[test]
    fn escape_and_unescape_are_inverse() {
        for plain in [
            "",
            "plain",
            "a\"b\\c\n\r\t\u{0}\u{1f}\u{7f} é 失败 😀",
            "\\u0041",
            "C:\\new",
        ] {
            let escaped = escape(plain);
            assert_eq!(unescape(&escaped), plain);
            assert_eq!(
                serde_json::from_str::<String>(&format!("\"{escaped}\"")).unwrap(),
                plain
            );
        }
    }

    #[test]
    fn unescape_takes_what_python_writes_with_ensure_ascii() {
        assert_eq!(unescape("\\u00e9\\ud83d\\ude00\\/\\b\\f"), "é😀/\u{8}\u{c}");
    }

    #[test]
    fn unescape_never_fails() {
        assert_eq!(unescape("\\ud800x"), "\u{FFFD}x");
        assert_eq!(unescape("\\ud800\\u0041"), "\u{FFFD}A");
        assert_eq!(unescape("\\udc00"), "\u{FFFD}");
        assert_eq!(unescape("\\x \\u12 \\"), "\\x \\u12 \\");
    }
}
