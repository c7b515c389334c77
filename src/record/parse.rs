//! From a line to a record. Total: whatever the bytes are, a record comes of them.
//!
//! The ways, cheapest first; each line ends in the first that takes it:
//!
//! 1. loguru's own form, to the letter: borrowed, in one pass, in which what lines have in common is only compared
//!    ([`loguru::exact`]).
//! 2. Any JSON object that can be copied as it stands: one pass that checks it, then its members are looked at, as
//!    those of the dialect that they show ([`dialects`](super::dialects)).
//! 3. JSON that needs repair: repaired into a text of its own, then as 2. Marked `repaired`.
//! 4. Anything else is text: of a known format ([`super::formats`]), or kept whole and marked `unparsed`.
//!
//! Then, only where there is reason: the lines that follow are added, secrets are hidden, the fingerprint is taken,
//! and what is too long is cut. In this order, so that a fingerprint does not hang on a secret nor on a cap.
//!
//! The record is filled in place: it is a big struct, and moving it about costs more than many a field.

use std::borrow::Cow;

use super::formats::{self, Left};
use super::memory::Memory;
use super::scan::Scan;
use super::time::Clock;
use super::{
    Record, Rules, Text, Tried, bound, claude, escape, exception, fingerprint, flat, loguru, otlp, plain, repair,
    truncate, utf16, wrapped,
};

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
    read_into(rec, line, rest, rules, &mut Memory::default());
}

/// As [`parse_into`], with what is known of the stream. Returns further records, of a line that holds several.
pub fn read_into<'a>(
    rec: &mut Record<'a>,
    line: &'a [u8],
    rest: &'a [u8],
    rules: &Rules,
    memory: &mut Memory,
) -> Vec<Record<'static>> {
    memory.uncaught = false;
    if utf16::is_wide(line, memory) {
        return wide(rec, line, rest, rules, memory);
    }
    let (line, trimmed) = trim(line);
    let mut more = Vec::new();
    let mut suspicious = match simdutf8::basic::from_utf8(line) {
        Ok(s) => read(s, rest, rules, memory, rec, &mut more),
        Err(_) => lossy(line, rest, rules, memory, rec, &mut more),
    };
    rec.marks.repaired |= trimmed;
    if !rest.is_empty() || rec.marks.unparsed {
        suspicious |= follow(rec, line, rest, rules, memory);
    }
    let size = line.len() + rest.len();
    finish(rec, line, size, suspicious, rules);
    for rec in &mut more {
        finish(rec, line, size, suspicious, rules);
    }
    more
}

/// What follows for every record.
#[inline]
fn finish(rec: &mut Record<'_>, line: &[u8], size: usize, suspicious: bool, rules: &Rules) {
    if let (Some(redactor), true) = (&rules.redactor, suspicious) {
        redactor.apply(rec);
    }
    if rec.message.0.is_empty() {
        untitled(rec, line);
    }
    rec.fingerprint = fingerprint(rec);
    if size > rules.small || rec.marks.repaired {
        truncate::apply(rec, rules);
    }
}

/// Gives a record without a message the line as one: an event without text cannot be found by text. Where something of
/// the line is secret, what was kept of it takes its place.
#[cold]
fn untitled(rec: &mut Record<'_>, line: &[u8]) {
    let thrown = rec.exception.as_deref().map(|e| flat::headline(e).into_owned());
    rec.message = match thrown.filter(|t| !t.0.is_empty()) {
        Some(headline) => headline,
        None if rec.marks.redacted.is_empty() => {
            let text = String::from_utf8_lossy(line);
            Text(Cow::Owned(escape(text.trim()).into_owned()))
        }
        None => {
            let kept = rec.extra.iter().map(|(n, v)| format!("\"{}\":{}", n.0, v.0));
            let object = format!("{{{}}}", kept.collect::<Vec<_>>().join(","));
            Text(Cow::Owned(escape(&object).into_owned()))
        }
    };
}

/// Which formats were tried on a line of text, and where each gave up. Of other lines nothing is tried.
#[must_use]
pub fn explain(line: &[u8], memory: &Memory) -> Vec<Tried> {
    let text = String::from_utf8_lossy(trim(line).0);
    let text = wrapped::inner(&text).map_or(Cow::Borrowed(&*text), |inner| inner.text);
    if text.trim_start().starts_with('{') {
        return Vec::new();
    }
    formats::explain(&text, memory)
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

/// Reads lines of a file in UTF-16.
#[cold]
fn wide(rec: &mut Record<'_>, line: &[u8], rest: &[u8], rules: &Rules, memory: &mut Memory) -> Vec<Record<'static>> {
    let (line, rest) = (utf16::decode(line, memory), utf16::decode_rest(rest, memory));
    let mut read_from = Record::default();
    let kept = memory.suspend_wide();
    let more = read_into(&mut read_from, line.as_bytes(), rest.as_bytes(), rules, memory);
    memory.resume_wide(kept);
    *rec = read_from.into_owned();
    more
}

/// Reads a line that is not valid UTF-8.
#[cold]
fn lossy(
    line: &[u8],
    rest: &[u8],
    rules: &Rules,
    memory: &mut Memory,
    rec: &mut Record<'_>,
    more: &mut Vec<Record<'static>>,
) -> bool {
    let text = String::from_utf8_lossy(line);
    let mut read_from = Record::default();
    let suspicious = read(&text, rest, rules, memory, &mut read_from, more);
    *rec = read_from.into_owned();
    rec.marks.repaired = true;
    suspicious
}

/// Reads a line of valid UTF-8 into a fresh record; says whether it could hold a secret.
fn read<'a>(
    s: &'a str,
    rest: &[u8],
    rules: &Rules,
    memory: &mut Memory,
    rec: &mut Record<'a>,
    more: &mut Vec<Record<'static>>,
) -> bool {
    let redactor = rules.redactor.as_ref();
    let suspects = |s: &str| redactor.is_some_and(|r| r.suspects(s));
    if s.starts_with(loguru::START) {
        if let Some(exact) = loguru::exact(s, redactor.map(|r| &r.names), rec) {
            bound::settle(rec);
            memory.found("loguru");
            let text = |t: &&str| !t.is_empty() && suspects(t);
            return exact.suspicious || suspects(&rec.message.0) || exact.texts.iter().any(text);
        }
        *rec = Record::default();
    }
    if s.trim_ascii_start().starts_with('{') {
        if let Some(suspicious) = object(s, rest, rules, memory, rec, more) {
            return suspicious || suspects(s);
        }
        if repaired(s, rest, rules, memory, rec, more) {
            return true;
        }
    }
    if let Left::Line(inner) = plain::read(s, rules, memory, rec) {
        unwrap(rec, s, inner, rest, rules, memory, more);
    }
    suspects(s)
}

/// Reads the line that another one wraps; the record is what the wrapper says.
#[cold]
fn unwrap<'a>(
    rec: &mut Record<'a>,
    s: &'a str,
    inner: &str,
    rest: &[u8],
    rules: &Rules,
    memory: &mut Memory,
    more: &mut Vec<Record<'static>>,
) {
    let rest = String::from_utf8_lossy(rest);
    let text = wrapped::all(s, rest.trim_start_matches('\n')).unwrap_or_else(|| inner.to_owned());
    let format = memory.format().to_owned();
    let (line, below) = text.split_once('\n').unwrap_or((&text, ""));
    let mut inside = Record::default();
    if wrapped::inner(line).is_some() {
        // Nobody wraps twice, and a line made of wrappers would be read as often as it has layers.
        inside.message = Text::new(line);
        (inside.level, inside.level_no) = (Cow::Borrowed("INFO"), super::level::UNKNOWN);
    } else {
        read(line, b"", rules, memory, &mut inside, more);
        if !below.is_empty() || inside.marks.unparsed {
            plain::follow(&mut inside, line, below, memory);
        }
    }
    if memory.format() != "text" {
        memory.found(format!("{format}: {}", memory.format()));
    } else {
        memory.found(format);
    }
    let wrapper = std::mem::take(rec);
    *rec = wrapped::complete(inside.into_owned(), wrapper, s);
}

/// Reads a JSON object that needs no repair; says whether a suspicious name was seen.
fn object<'a>(
    s: &'a str,
    rest: &[u8],
    rules: &Rules,
    memory: &mut Memory,
    rec: &mut Record<'a>,
    more: &mut Vec<Record<'static>>,
) -> Option<bool> {
    let mut scan = Scan::new(s, rules.redactor.as_ref().map(|r| &r.names));
    let mut members = Vec::with_capacity(16);
    scan.space();
    scan.object(1, |name, token| members.push((name, token)))?;
    scan.space();
    if !scan.at_end() {
        return None;
    }
    let clock = Clock {
        naive: rules.naive,
        now: memory.now,
    };
    if loguru::loose(&members, clock, rec) {
        memory.found("loguru");
    } else if let Some(format) = claude::read(&members, clock, rec) {
        memory.found(format);
    } else if otlp::read(&members, clock, rec, more) {
        memory.found("otlp");
    } else {
        let dialect = flat::read(&members, clock, rec);
        memory.found(dialect.name);
        if dialect.name == "docker" {
            let inner = rec.message.plain().into_owned();
            unwrap(rec, s, inner.trim_end_matches('\n'), rest, rules, memory, more);
        }
    }
    bound::settle(rec);
    Some(scan.suspicious)
}

/// Reads a JSON object after its repair; `false` if it is none even so.
#[cold]
fn repaired(
    s: &str,
    rest: &[u8],
    rules: &Rules,
    memory: &mut Memory,
    rec: &mut Record<'_>,
    more: &mut Vec<Record<'static>>,
) -> bool {
    let Some(repaired) = repair::repair(s) else {
        return false;
    };
    let mut read_from = Record::default();
    if object(&repaired, rest, rules, memory, &mut read_from, more).is_none() {
        return false;
    }
    *rec = read_from.into_owned();
    rec.marks.repaired = true;
    true
}

/// Adds the lines that follow; says whether they could hold a secret.
#[cold]
fn follow(rec: &mut Record<'_>, line: &[u8], rest: &[u8], rules: &Rules, memory: &mut Memory) -> bool {
    // The line feed that ends the record's own line.
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    let text = String::from_utf8_lossy(rest);
    rec.marks.repaired |= matches!(text, Cow::Owned(_));
    let suspicious = rules.redactor.as_ref().is_some_and(|r| r.suspects(&text));
    let line = String::from_utf8_lossy(line);
    if wrapped::inner(&line).is_some() {
        // They were read with what is inside.
        return suspicious;
    }
    if line.trim_ascii_start().starts_with('{') && !rec.marks.unparsed {
        let text = Cow::Owned(escape(&text).into_owned());
        rec.exception = exception::follow(rec.exception.take(), text);
    } else {
        plain::follow(rec, &line, &text, memory);
    }
    suspicious
}

#[cfg(test)]
#[path = "tests/parse.rs"]
pub(super) mod tests;
