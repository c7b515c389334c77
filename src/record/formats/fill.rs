//! The parts of a line of text, put where they belong.

use std::borrow::Cow;

use super::super::level::{self, Scale};
use super::super::memory::Memory;
use super::super::{Record, Text, Token, bound, faces, logfmt, time};
use super::{Format, Hit, Kind, Lead, Start, find, lead};
use crate::config::NaiveTime;

/// What is left of a line behind its format.
pub(in super::super) enum Left<'a> {
    /// The message, which the record has.
    Nothing,
    /// A line of its own, which the format only wraps.
    Line(&'a str),
}

/// Reads a line of text into a fresh record. `None`: it is of no known format, and names neither time nor level.
pub(in super::super) fn read<'a>(
    line: &'a str,
    naive: NaiveTime,
    memory: &mut Memory,
    rec: &mut Record<'a>,
) -> Option<Left<'a>> {
    let clock = time::Clock { naive, now: memory.now };
    if logfmt::read(line, clock, rec) {
        memory.found("logfmt");
        return Some(Left::Nothing);
    }
    let lead = lead(line);
    rec.time = lead.stamp.and_then(|s| s.instant(clock));
    if let Some(hit) = find(line, lead, memory.last) {
        memory.found(hit.format.entry.name);
        if hit.format.entry.kind != Kind::Loose {
            memory.last = u16::try_from(hit.number).ok();
        }
        return Some(fill(line, lead, &hit, clock, rec));
    }
    rec.time?;
    memory.found("time");
    let close = usize::from(lead.start == Start::Bracket && line.as_bytes().get(lead.at) == Some(&b']'));
    let rest = line.get(lead.at + close..).unwrap_or_default();
    let message = rest.trim_start_matches([' ', '\t']);
    let message = message
        .strip_prefix("- ")
        .or_else(|| message.strip_prefix("| "))
        .unwrap_or(message);
    let message = if rest.starts_with(": ") {
        rest.get(2..).unwrap_or(rest)
    } else {
        message
    };
    // go's `log` with Lshortfile.
    let place = line.as_bytes().get(4) == Some(&b'/');
    match message.split_once(": ").filter(|_| place) {
        Some((at, rest)) if at.contains(".go:") && !at.contains(' ') => {
            memory.found("go-log");
            let (file, line) = super::super::flat::place(at).unwrap_or((at, 0));
            rec.file_path = Some(Text::new(file));
            rec.line_number = Some(line);
            rec.message = Text::new(rest);
        }
        _ => rec.message = Text::new(message),
    }
    if place {
        leading_level(rec);
    }
    Some(Left::Nothing)
}

/// Takes the level that a message begins with, in brackets or with a colon; the message stays whole.
fn leading_level(rec: &mut Record<'_>) {
    let message = rec.message.0.as_ref();
    let word = match message.strip_prefix('[') {
        Some(inner) => inner.split_once(']').map(|(word, _)| word),
        None => message.split_once(':').map(|(word, _)| word),
    };
    let known = word.filter(|w| w.len() > 1 && !w.contains(' ')).and_then(level::word);
    if let Some((name, no)) = known {
        (rec.level, rec.level_no) = (Cow::Borrowed(name), no);
    }
}

fn fill<'a>(line: &'a str, lead: Lead, hit: &Hit, clock: time::Clock, rec: &mut Record<'a>) -> Left<'a> {
    let mut request = None;
    let part = |i: usize| {
        let (from, to) = hit.places.get(i)?;
        line.get(lead.at + from..lead.at + to).filter(|t| !t.is_empty())
    };
    for (i, name) in &hit.format.groups {
        let Some(text) = part(*i) else { continue };
        match &**name {
            "request" => request = Some(text),
            name => put(rec, name, text, clock, hit.format),
        }
    }
    let left = line.get(hit.end..).unwrap_or_default();
    match hit.format.entry.kind {
        Kind::Wrapper => return Left::Line(left),
        Kind::Access => {
            let status = rec
                .extra
                .iter()
                .find(|(n, _)| n.0 == "status")
                .map(|(_, v)| v.0.to_string());
            let message = format!("{} {}", request.unwrap_or("-"), status.unwrap_or_default());
            rec.message = Text(Cow::Owned(super::super::escape(message.trim_end()).into_owned()));
        }
        _ => rec.message = Text::new(left.trim_start_matches('\u{feff}').trim_end()),
    }
    Left::Nothing
}

/// Puts one captured part into the record. `-` stands for nothing.
pub(super) fn put<'a>(rec: &mut Record<'a>, name: &str, text: &'a str, clock: time::Clock, format: &Format) {
    if text == "-" {
        return;
    }
    match name {
        "time" => rec.time = faces::stamp(text.as_bytes()).and_then(|(s, _)| s.instant(clock)),
        "glog" => rec.time = faces::glog(text).and_then(|s| s.instant(clock)),
        "pri" => priority(rec, text),
        "part" => classify(rec, text),
        "mark" => {
            let name = match text {
                "#" => "WARNING",
                "." | "-" => "DEBUG",
                _ => "INFO",
            };
            (rec.level, rec.level_no) =
                level::known(name).map_or((Cow::Borrowed("INFO"), 20), |(n, no)| (Cow::Borrowed(n), no));
        }
        "cri" => {}
        "thread" if format.entry.name == "nginx-error" => rec.thread_id = text.parse().ok(),
        name => field(rec, name, text),
    }
}

/// Puts one part under the name of a stored field, or into the extra values.
pub(super) fn field<'a>(rec: &mut Record<'a>, name: &str, text: &'a str) {
    let value = || Some(Text::new(text));
    match name {
        "level" => {
            let (name, no) = level::level(text);
            (rec.level, rec.level_no) = (Cow::Owned(name.into_owned()), no);
        }
        "message" => rec.message = Text::new(text),
        "logger" => rec.logger = value(),
        "function" | "function_name" => rec.function_name = value(),
        "file" | "file_path" => rec.file_path = value(),
        "line" | "line_number" => rec.line_number = text.parse().ok(),
        "module" => rec.module = value(),
        "pid" => match text.parse() {
            Ok(pid) => rec.pid = Some(pid),
            Err(_) => rec.process_name = value(),
        },
        "process" | "process_name" => rec.process_name = value(),
        "thread" | "thread_id" | "thread_name" => match text.parse() {
            Ok(id) if name != "thread_name" => rec.thread_id = Some(id),
            _ => rec.thread_name = Some(Text::new(text.trim())),
        },
        "host" => rec.host = value(),
        "script" | "script_name" => rec.bound.script_name = Some(Text::new(text.trim())),
        "execution_id" => rec.bound.execution_id = value(),
        name => extra(rec, name, text),
    }
}

/// Adds an extra value: a number where it is one.
fn extra(rec: &mut Record<'_>, name: &str, text: &str) {
    let number =
        text.len() < 16 && text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    let token = if number {
        text.to_owned()
    } else {
        format!("\"{}\"", super::super::escape(text))
    };
    let known = rec.extra.iter().any(|(n, _)| n.0 == name);
    if !known {
        let name = super::super::escape(name).into_owned();
        rec.extra.push((Text(Cow::Owned(name)), Token(Cow::Owned(token))));
    }
}

/// syslog's number before a line: facility and severity.
fn priority(rec: &mut Record<'_>, text: &str) {
    let Ok(n) = text.parse::<i64>() else { return };
    let (name, no) = Scale::Syslog.level(n % 8);
    (rec.level, rec.level_no) = (Cow::Borrowed(name), no);
    if n >= 8 {
        bound::add_number(rec, "facility", n / 8);
    }
}

/// A part in brackets whose place does not say what it is.
fn classify<'a>(rec: &mut Record<'a>, text: &'a str) {
    let text = text.trim();
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '$' | '-');
    let thread = ["Thread", "thread", "worker", "Worker", "pool", "exec", "main"];
    if let Ok(n) = text.parse::<i64>() {
        rec.pid = rec.pid.or(Some(n));
    } else if let Some((file, line)) = super::super::flat::place(text).filter(|(f, _)| f.contains('.')) {
        rec.file_path = Some(Text::new(file));
        rec.line_number = Some(line);
    } else if text.ends_with("Process") || text.starts_with("ForkPool") {
        rec.process_name = Some(Text::new(text));
    } else if thread.iter().any(|t| text.contains(t)) && !text.contains('.') {
        rec.thread_name = Some(Text::new(text));
    } else if rec.logger.is_none() && !text.is_empty() && text.chars().all(word) {
        rec.logger = Some(Text::new(text));
    } else {
        extra(rec, "context", text);
    }
}
