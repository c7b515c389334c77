//! Lines of text: their format, and what the lines that follow say.

use std::borrow::Cow;

use super::crash::{self, Crash};
use super::formats::{self, Left};
use super::memory::Memory;
use super::time::Clock;
use super::traceback::HEADER;
use super::{Exception, Record, Rules, Text, escape, exception, flat, level};

/// Reads a line of text into a fresh record; what is left is a line that its format only wraps.
pub(super) fn read<'a>(line: &'a str, rules: &Rules, memory: &mut Memory, rec: &mut Record<'a>) -> Left<'a> {
    rec.level = Cow::Borrowed("");
    let left = known(line, rules, memory, rec);
    memory.levelless = rec.level.is_empty();
    if memory.levelless {
        (rec.level, rec.level_no) = (Cow::Borrowed("INFO"), level::UNKNOWN);
    }
    left
}

fn known<'a>(line: &'a str, rules: &Rules, memory: &mut Memory, rec: &mut Record<'a>) -> Left<'a> {
    let clock = Clock {
        naive: rules.naive,
        now: memory.now,
    };
    let custom = memory.custom.clone();
    if let Some(c) = custom.iter().find(|c| c.read(line, clock, rec)) {
        memory.found(c.name.clone());
        memory.fitted(true);
        return Left::Nothing;
    }
    if !custom.is_empty() {
        memory.fitted(false);
    }
    match crash::opening(line) {
        // What has a format beside its crash is read below.
        Some(Crash::Python | Crash::Group) if line.trim().len() > 64 => {}
        Some(Crash::Report | Crash::Php) | None => {}
        Some(_) => return raw(line, memory, rec),
    }
    if let Some(left) = formats::read(line, rules.naive, memory, rec) {
        return left;
    }
    // Colours are no part of a format.
    if line.contains('\u{1b}') {
        let bare = without_escapes(line);
        let mut read_from = Record::default();
        if let Some(Left::Nothing) = formats::read(&bare, rules.naive, memory, &mut read_from) {
            *rec = read_from.into_owned();
            return Left::Nothing;
        }
    }
    raw(line, memory, rec)
}

/// Keeps a line whole.
fn raw<'a>(line: &'a str, memory: &mut Memory, rec: &mut Record<'a>) -> Left<'a> {
    memory.found("text");
    rec.marks.unparsed = true;
    rec.message = Text::new(line);
    Left::Nothing
}

/// A text without the sequences that set a terminal's colours.
pub(super) fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(after.len(), |at| at + 1);
        rest = after.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Adds what follows a line of text: further lines of its message, and what was thrown. `rest` is plain text.
pub(super) fn follow(rec: &mut Record<'_>, line: &str, rest: &str, memory: &mut Memory) {
    let unnamed = rec.marks.unparsed;
    let opening = crash::opening(line);
    let (told, trace) = match opening {
        Some(kind) if unnamed => match kind {
            Crash::Python | Crash::Group if line.trim().len() > 64 => ("", Some(joined(line, rest))),
            _ => ("", Some(joined(line, rest))),
        },
        // `request failed: Traceback (most recent call last):`
        Some(Crash::Python | Crash::Group) => ("", Some(joined(HEADER, rest))),
        _ => match begin_of_trace(rest) {
            Some(0) if crash::is_frame(rest) || opening.is_some() => ("", Some(joined(line, rest))),
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at..).map(str::to_owned)),
            None if matches!(opening, Some(Crash::Php)) && !rest.is_empty() => ("", Some(joined(line, rest))),
            None => (rest, None),
        },
    };
    let told = told.trim_matches(['\n', '\r']);
    if !told.is_empty() {
        let own = rec.message.0.trim_end_matches([' ', '\r']);
        let message = match own {
            "" => escape(dedented(told)).into_owned(),
            own => format!("{own}\\n{}", escape(told)),
        };
        rec.message = Text(Cow::Owned(message));
    }
    let alone = rest.trim().is_empty();
    let Some(trace) = trace.filter(|_| !alone || opening.is_some_and(speaks_alone)) else {
        return;
    };
    let text = Cow::Owned(escape(&trace).into_owned());
    let Some(e) = exception::follow(None, text) else { return };
    if unnamed && opening.is_some() {
        let lead = (opening == Some(Crash::Lead)).then(|| line.trim_end());
        raise(rec, *e, lead);
        memory.found(opening.map_or("crash", name));
        memory.uncaught = true;
        return;
    }
    if let Some(shorter) = rec.message.0.trim_end().strip_suffix(HEADER) {
        let shorter = shorter.trim_end().to_owned();
        rec.message = Text(Cow::Owned(shorter));
    }
    // A level that nobody named is that of what was thrown.
    if memory.levelless {
        raised(rec);
        rec.marks.unparsed = false;
    }
    rec.exception = Some(Box::new(*e));
}

/// What the format of a crash is called.
fn name(kind: Crash) -> &'static str {
    match kind {
        Crash::Python | Crash::Group | Crash::Remote | Crash::Lead => "python-traceback",
        Crash::Stack => "stack-trace",
        Crash::Location => "node-crash",
        Crash::Go => "go-panic",
        Crash::Rust | Crash::Report => "rust-panic",
        Crash::Ruby => "ruby-crash",
        Crash::Php => "php-crash",
        Crash::Cpp => "cpp-crash",
    }
}

/// Crashes that one line tells of; others are too much like prose.
fn speaks_alone(kind: Crash) -> bool {
    matches!(
        kind,
        Crash::Python | Crash::Group | Crash::Go | Crash::Rust | Crash::Php | Crash::Cpp | Crash::Ruby
    )
}

fn joined(line: &str, rest: &str) -> String {
    if rest.is_empty() {
        line.to_owned()
    } else {
        format!("{line}\n{rest}")
    }
}

/// Text without what all of it is indented by.
fn dedented(text: &str) -> &str {
    // Further lines keep their indentation: it may mean something.
    text.trim_start()
}

/// Position of the line with which what was thrown begins.
fn begin_of_trace(rest: &str) -> Option<usize> {
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        let bare = line.trim_end();
        let begins = crash::is_frame(bare)
            || bare.starts_with("goroutine ")
            || bare.starts_with("stack backtrace:")
            || bare.starts_with("Stack trace:")
            || bare.starts_with("\t/") && bare.contains(".go:")
            || crash::is_qualified(bare.trim_start())
            || matches!(crash::opening(bare), Some(kind) if kind != Crash::Report);
        if begins {
            // A Go function stands above its place.
            return Some(at);
        }
        at += line.len();
    }
    None
}

fn raised(rec: &mut Record<'_>) {
    if rec.level_no < level::ERROR {
        (rec.level, rec.level_no) = (Cow::Borrowed("ERROR"), level::ERROR);
    }
}

/// Makes an error of a crash that belongs to no other line: its message is what was raised.
fn raise<'a>(rec: &mut Record<'a>, e: Exception<'a>, lead: Option<&str>) {
    raised(rec);
    let title = flat::headline(&e);
    if let Some(lead) = lead {
        let told = if title.0.is_empty() {
            String::new()
        } else {
            format!(": {}", title.0)
        };
        rec.message = Text(Cow::Owned(format!("{}{told}", escape(lead.trim_end_matches(':')))));
    } else if !title.0.is_empty() {
        rec.message = title;
    }
    rec.marks.unparsed = false;
    rec.exception = Some(Box::new(e));
}
