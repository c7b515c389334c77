//! From a line to a record. Total: whatever the bytes are, a record comes of them.
//!
//! The ways, cheapest first; each line ends in the first that takes it:
//!
//! 1. loguru's own form, to the letter: borrowed, in one pass, in which what lines have in common is only compared
//!    ([`loguru::exact`]).
//! 2. Any JSON object that can be copied as it stands: one pass that checks it, then its members are looked at.
//! 3. JSON that needs repair: repaired into a text of its own, then as 2. Marked `repaired`.
//! 4. Anything else is text. Marked `unparsed`.
//!
//! Then, only where there is reason: the traceback that follows is added, secrets are hidden, the fingerprint is taken,
//! and what is too long is cut. In this order, so that a fingerprint does not hang on a secret nor on a cap.
//!
//! The record is filled in place: it is a big struct, and moving it about costs more than many a field.

use std::borrow::Cow;

use super::scan::Scan;
use super::{Record, Rules, bound, escape, exception, fingerprint, flat, loguru, plain, repair, truncate};

/// Reads one line (without its line feed; it may end in CR and begin with a byte order mark or NULs) and the lines of a
/// traceback that follow it (may be empty). Never fails.
#[must_use]
pub fn parse<'a>(line: &'a [u8], rest: &'a [u8], rules: &Rules) -> Record<'a> {
    let mut rec = Record::default();
    parse_into(&mut rec, line, rest, rules);
    rec
}

/// As [`parse`], into a fresh record.
pub fn parse_into<'a>(rec: &mut Record<'a>, line: &'a [u8], rest: &'a [u8], rules: &Rules) {
    let (line, trimmed) = trim(line);
    let mut suspicious = match simdutf8::basic::from_utf8(line) {
        Ok(s) => read(s, rules, rec),
        Err(_) => lossy(line, rules, rec),
    };
    rec.marks.repaired |= trimmed;
    if !rest.is_empty() || rec.marks.unparsed {
        suspicious |= follow(rec, rest, rules);
    }
    if let (Some(redactor), true) = (&rules.redactor, suspicious) {
        redactor.apply(rec);
    }
    rec.fingerprint = fingerprint(rec);
    if line.len() + rest.len() > rules.small || rec.marks.repaired {
        truncate::apply(rec, rules);
    }
}

/// The line without what surrounds it by accident; and whether that was more than a carriage return.
fn trim(line: &[u8]) -> (&[u8], bool) {
    let mut inner = line.strip_suffix(b"\r").unwrap_or(line);
    let before = inner.len();
    inner = inner.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(inner);
    while let Some(rest) = inner.strip_prefix(b"\0") {
        inner = rest;
    }
    while let Some(rest) = inner.strip_suffix(b"\0") {
        inner = rest;
    }
    inner = inner.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(inner);
    (inner, inner.len() < before)
}

/// Reads a line that is not valid UTF-8.
#[cold]
fn lossy(line: &[u8], rules: &Rules, rec: &mut Record<'_>) -> bool {
    let text = String::from_utf8_lossy(line);
    let mut read_from = Record::default();
    let suspicious = read(&text, rules, &mut read_from);
    *rec = read_from.into_owned();
    rec.marks.repaired = true;
    suspicious
}

/// Reads a line of valid UTF-8 into a fresh record; says whether it could hold a secret.
fn read<'a>(s: &'a str, rules: &Rules, rec: &mut Record<'a>) -> bool {
    let redactor = rules.redactor.as_ref();
    let suspects = |s: &str| redactor.is_some_and(|r| r.suspects(s));
    if s.starts_with(loguru::START) {
        if let Some(exact) = loguru::exact(s, redactor.map(|r| &r.names), rec) {
            bound::settle(rec);
            let text = |t: &&str| !t.is_empty() && suspects(t);
            return exact.suspicious || suspects(&rec.message.0) || exact.texts.iter().any(text);
        }
        *rec = Record::default();
    }
    if s.trim_ascii_start().starts_with('{') {
        if let Some(suspicious) = object(s, rules, rec) {
            return suspicious || suspects(s);
        }
        if repaired(s, rules, rec) {
            return true;
        }
    }
    plain::read(s, rules.naive, rec);
    suspects(s)
}

/// Reads a JSON object that needs no repair; says whether a suspicious name was seen.
fn object<'a>(s: &'a str, rules: &Rules, rec: &mut Record<'a>) -> Option<bool> {
    let mut scan = Scan::new(s, rules.redactor.as_ref().map(|r| &r.names));
    let mut members = Vec::with_capacity(16);
    scan.space();
    scan.object(1, |name, token| members.push((name, token)))?;
    scan.space();
    if !scan.at_end() {
        return None;
    }
    if !loguru::loose(&members, rules.naive, rec) {
        flat::read(&members, rules.naive, rec);
    }
    bound::settle(rec);
    Some(scan.suspicious)
}

/// Reads a JSON object after its repair; `false` if it is none even so.
#[cold]
fn repaired(s: &str, rules: &Rules, rec: &mut Record<'_>) -> bool {
    let Some(repaired) = repair::repair(s) else {
        return false;
    };
    let mut read_from = Record::default();
    if object(&repaired, rules, &mut read_from).is_none() {
        return false;
    }
    *rec = read_from.into_owned();
    rec.marks.repaired = true;
    true
}

/// Adds the lines that follow; says whether they could hold a secret.
#[cold]
fn follow<'a>(rec: &mut Record<'a>, rest: &'a [u8], rules: &Rules) -> bool {
    // The line feed that ends the record's own line.
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    let text = String::from_utf8_lossy(rest);
    rec.marks.repaired |= matches!(text, Cow::Owned(_));
    let suspicious = rules.redactor.as_ref().is_some_and(|r| r.suspects(&text));
    let text = match text {
        Cow::Borrowed(t) => escape(t),
        Cow::Owned(t) => Cow::Owned(escape(&t).into_owned()),
    };
    // A traceback that belongs to no other line.
    if rec.marks.unparsed && plain::is_traceback(&rec.message.0) {
        let whole = Cow::Owned(format!("{}\\n{text}", rec.message.0));
        if let Some(e) = exception::follow(None, whole) {
            plain::raise(rec, *e);
        }
    } else {
        rec.exception = exception::follow(rec.exception.take(), text);
    }
    suspicious
}

#[cfg(test)]
#[path = "tests/parse.rs"]
pub(super) mod tests;
