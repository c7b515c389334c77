//! From a line to a record. Total: whatever the bytes are, a record comes of them.
//!
//! The ways, cheapest first; each line ends in the first that takes it:
//!
//! 1. loguru's own form, to the letter: borrowed, in one pass ([`loguru::exact`]).
//! 2. Any JSON object that can be copied as it stands: one pass that checks it, then its members are looked at.
//! 3. JSON that needs repair: repaired into a text of its own, then as 2. Marked `repaired`.
//! 4. Anything else is text. Marked `unparsed`.
//!
//! Then, only where there is reason: the traceback that follows is added, secrets are hidden, the fingerprint is taken,
//! and what is too long is cut. In this order, so that a fingerprint does not hang on a secret nor on a cap.

use std::borrow::Cow;

use super::scan::{Scan, Watch};
use super::traceback::HEADER;
use super::{Record, Rules, bound, escape, exception, fingerprint, flat, loguru, plain, repair, truncate};

/// What is known of a line besides its record.
struct Findings {
    /// It could hold a secret.
    suspicious: bool,
    /// It is the first line of a traceback that belongs to no record.
    traceback: bool,
}

/// Reads one line (without its line feed; it may end in CR and begin with a byte order mark or NULs) and the lines of a
/// traceback that follow it (may be empty). Never fails.
#[must_use]
pub fn parse<'a>(line: &'a [u8], rest: &'a [u8], rules: &Rules) -> Record<'a> {
    let (line, trimmed) = trim(line);
    let (mut rec, found) = match simdutf8::basic::from_utf8(line) {
        Ok(s) => read(s, rules),
        Err(_) => {
            let text = String::from_utf8_lossy(line);
            let (rec, found) = read(&text, rules);
            let mut rec = rec.into_owned();
            rec.marks.repaired = true;
            (rec, found)
        }
    };
    rec.marks.repaired |= trimmed;
    let mut suspicious = found.suspicious;
    if !rest.is_empty() || found.traceback {
        suspicious |= follow(&mut rec, rest, found.traceback, rules);
    }
    if let (Some(redactor), true) = (&rules.redactor, suspicious) {
        redactor.apply(&mut rec);
    }
    rec.fingerprint = fingerprint(&rec);
    if line.len() + rest.len() > rules.small || rec.marks.repaired {
        truncate::apply(&mut rec, rules);
    }
    rec
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

/// Reads a line of valid UTF-8.
fn read<'a>(s: &'a str, rules: &Rules) -> (Record<'a>, Findings) {
    let redactor = rules.redactor.as_ref();
    let watch = redactor.map(|r| &r.names as &dyn Watch);
    let suspects = |s: &str| redactor.is_some_and(|r| r.suspects(s));
    let found = |suspicious| Findings {
        suspicious,
        traceback: false,
    };
    let mut rec = Record::default();
    if s.starts_with(loguru::START) {
        if let Some(exact) = loguru::exact(s, watch, &mut rec) {
            bound::settle(&mut rec);
            let suspicious = exact.suspicious || suspects(exact.stored);
            return (rec, found(suspicious));
        }
        rec = Record::default();
    }
    if s.trim_ascii_start().starts_with('{') {
        if let Some(suspicious) = object(s, watch, rules, &mut rec) {
            return (rec, found(suspicious || suspects(s)));
        }
        if let Some(repaired) = repair::repair(s) {
            let mut rec = Record::default();
            object(&repaired, watch, rules, &mut rec);
            let mut rec = rec.into_owned();
            rec.marks.repaired = true;
            return (rec, found(true));
        }
    }
    plain::read(s, rules.naive, &mut rec);
    let findings = Findings {
        suspicious: suspects(s),
        traceback: plain::is_traceback(s),
    };
    (rec, findings)
}

/// Reads a JSON object that needs no repair; says whether a suspicious name was seen.
fn object<'a>(s: &'a str, watch: Option<&dyn Watch>, rules: &Rules, rec: &mut Record<'a>) -> Option<bool> {
    let mut scan = Scan::new(s, watch);
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

/// Adds the lines that follow; says whether they could hold a secret. `bare`: the line itself began the traceback.
fn follow<'a>(rec: &mut Record<'a>, rest: &'a [u8], bare: bool, rules: &Rules) -> bool {
    let text = String::from_utf8_lossy(rest);
    rec.marks.repaired |= matches!(text, Cow::Owned(_));
    let suspicious = rules.redactor.as_ref().is_some_and(|r| r.suspects(&text));
    let text = match text {
        Cow::Borrowed(t) => escape(t),
        Cow::Owned(t) => Cow::Owned(escape(&t).into_owned()),
    };
    if bare {
        let header = if rec.message.0.is_empty() {
            HEADER
        } else {
            &*rec.message.0
        };
        let whole = Cow::Owned(format!("{header}\\n{text}"));
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
