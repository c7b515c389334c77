//! Lines that are wrapped in others: Docker's json-file and CRI's log lines. What is inside is read again as a line;
//! the wrapper says the rest.

use std::borrow::Cow;

use super::fields::members;
use super::{Record, Text, escape, unescape};

/// What a wrapped line holds, and whether the line goes on in the next one.
pub struct Inner<'a> {
    pub text: Cow<'a, str>,
    pub partial: bool,
}

/// The inside of a wrapped line; `None` if it is none. Quick for other lines.
#[must_use]
pub fn inner(line: &str) -> Option<Inner<'_>> {
    match line.as_bytes().first()? {
        b'{' => docker(line),
        b'0'..=b'9' => cri(line),
        _ => None,
    }
}

/// `{"log":"…\n","stream":"stdout","time":"…"}`
fn docker(line: &str) -> Option<Inner<'_>> {
    let found = line.get(1..)?.trim_start().starts_with("\"log\"")
        || memchr::memmem::find(line.as_bytes(), b"\"log\"").is_some() && line.contains("\"stream\"");
    if !found {
        return None;
    }
    let (mut log, mut marked) = (None, false);
    for (name, token) in members(line) {
        match name {
            "log" => log = super::text::string(token),
            "stream" | "time" | "date" | "@timestamp" | "kubernetes" => marked = true,
            _ => {}
        }
    }
    let text = unescape(log.filter(|_| marked)?);
    let partial = !text.ends_with('\n') && !line.contains("\"kubernetes\"");
    let text = match text {
        Cow::Borrowed(t) => Cow::Borrowed(t.strip_suffix('\n').unwrap_or(t)),
        Cow::Owned(t) => Cow::Owned(t.strip_suffix('\n').unwrap_or(&t).to_owned()),
    };
    Some(Inner { text, partial })
}

/// `2026-11-30T19:15:12.034567890Z stdout F …`
fn cri(line: &str) -> Option<Inner<'_>> {
    let (time, rest) = line.split_once(' ')?;
    let rest = rest.strip_prefix("stdout ").or_else(|| rest.strip_prefix("stderr "))?;
    if !time.contains('T') {
        return None;
    }
    let (tags, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let partial = match tags.as_bytes() {
        [b'P'] | [b'P', b':', ..] => true,
        [b'F'] | [b'F', b':', ..] => false,
        _ => return None,
    };
    Some(Inner {
        text: Cow::Borrowed(text),
        partial,
    })
}

/// What a wrapped line and those that belong to it hold together.
pub(super) fn all(line: &str, rest: &str) -> Option<String> {
    let first = inner(line)?;
    let mut text = first.text.into_owned();
    let mut partial = first.partial;
    for line in rest.lines() {
        let Some(next) = inner(line) else { continue };
        if !partial {
            text.push('\n');
        }
        text.push_str(&next.text);
        partial = next.partial;
    }
    Some(text)
}

/// Completes what was read inside with what the wrapper says.
pub(super) fn complete<'a>(mut inside: Record<'a>, wrapper: Record<'a>, line: &str) -> Record<'a> {
    if wrapper.time.is_some() {
        inside.marks.unparsed = false;
    }
    inside.time = inside.time.or(wrapper.time);
    inside.host = inside.host.or(wrapper.host);
    inside.bound.script_name = inside.bound.script_name.or(wrapper.bound.script_name);
    for (name, token) in wrapper.extra {
        if !inside.extra.iter().any(|(n, _)| n.0 == name.0) {
            inside.extra.push((name, token));
        }
    }
    if inside.message.0.is_empty() {
        inside.message = Text(Cow::Owned(escape(line).into_owned()));
    }
    inside.marks.repaired |= wrapper.marks.repaired;
    inside
}
