//! Caps on what is stored. Types stay: a string becomes a shorter string, a list a shorter list.
//!
//! A string is cut at a character, at so many bytes of the text it stands for, not of its escapes. Of a traceback the
//! middle is cut: it ends with what matters most. Embeddings are exempt, as half a vector is none. What was cut is named
//! by its path in the document.

use std::borrow::Cow;

use super::fields::{elements, members};
use super::rules::Rules;
use super::text::{ceil, decode, escape_into, floor, string, unescape};
use super::{Record, Text, Token};

/// More paths than this are not listed one by one.
const PATHS: usize = 64;

/// Applies `[truncate]` to every part of the record.
pub(super) fn apply(rec: &mut Record<'_>, rules: &Rules) {
    let t = &rules.truncate;
    let (message, string) = (size(t.message), size(t.string));
    let mut cut = Cut {
        string,
        list: size(t.list),
        paths: std::mem::take(&mut rec.marks.truncated),
    };
    cut.text(&mut rec.message, message, "message");
    if let Some(e) = &mut rec.exception {
        cut.option(&mut e.kind, "exception.type");
        if let Some(value) = &mut e.value {
            cut.text(value, message, "exception.value");
        }
        if let Some(traceback) = &mut e.traceback
            && let Some(shorter) = without_middle(traceback.raw(), message)
        {
            traceback.0 = Cow::Owned(shorter);
            cut.note("exception.traceback");
        }
        for (kind, value) in &mut e.chain {
            cut.text(kind, string, "exception.chain");
            cut.text(value, message, "exception.chain");
        }
    }
    cut.option(&mut rec.function_name, "function_name");
    cut.option(&mut rec.file_path, "file_path");
    cut.option(&mut rec.module, "module");
    cut.option(&mut rec.logger, "logger");
    cut.option(&mut rec.process_name, "process_name");
    cut.option(&mut rec.thread_name, "thread_name");
    cut.option(&mut rec.host, "host");
    let b = &mut rec.bound;
    cut.option(&mut b.execution_id, "execution_id");
    cut.option(&mut b.script_name, "script_name");
    cut.token(&mut b.tags, "tags");
    // The same values stand among the extra ones, where cutting them is noted.
    cut.quietly(|cut| {
        cut.token(&mut b.metadata, "");
        cut.token(&mut b.context, "");
        let texts = [
            &mut b.error,
            &mut b.fixes,
            &mut b.rationale,
            &mut b.status,
            &mut b.relation,
            &mut b.function_name,
            &mut b.from_key,
            &mut b.to_key,
            &mut b.parent_execution_id,
            &mut b.log_category,
        ];
        for text in texts {
            cut.option(text, "");
        }
    });
    if rec.level.len() > string {
        let end = floor(&rec.level, string);
        rec.level.to_mut().truncate(end);
        cut.note("level");
    }
    cut.extra(&mut rec.extra);
    rec.marks.truncated = cut.paths;
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

struct Cut {
    string: usize,
    list: usize,
    paths: Vec<String>,
}

/// Lists a path, once.
pub(super) fn note(paths: &mut Vec<String>, path: &str) {
    if paths.len() < PATHS && !paths.iter().any(|p| p == path) {
        paths.push(path.to_owned());
    }
}

impl Cut {
    fn note(&mut self, path: &str) {
        note(&mut self.paths, path);
    }

    fn quietly(&mut self, f: impl FnOnce(&mut Cut)) {
        let paths = std::mem::take(&mut self.paths);
        f(self);
        self.paths = paths;
    }

    fn text(&mut self, text: &mut Text<'_>, max: usize, path: &str) {
        if let Some(end) = cut_at(text.raw(), max) {
            shorten(&mut text.0, end);
            self.note(path);
        }
    }

    fn option(&mut self, text: &mut Option<Text<'_>>, path: &str) {
        if let Some(text) = text {
            self.text(text, self.string, path);
        }
    }

    fn token(&mut self, token: &mut Option<Token<'_>>, path: &str) {
        if let Some(token) = token {
            self.value(token, path);
        }
    }

    fn extra(&mut self, extra: &mut [(Text<'_>, Token<'_>)]) {
        for (name, token) in extra {
            if !is_embedding(name.raw()) && self.could_cut(&token.0) {
                let path = format!("extra_data.{}", name.plain());
                self.value(token, &path);
            }
        }
    }

    fn could_cut(&self, token: &str) -> bool {
        token.len() > self.string.min(self.list.saturating_mul(2))
    }

    fn value(&mut self, token: &mut Token<'_>, path: &str) {
        let before = self.paths.len();
        let mut out = String::new();
        let mut changed = false;
        self.rewrite(&token.0, path, &mut out, &mut changed);
        if changed || self.paths.len() > before {
            token.0 = Cow::Owned(out);
        }
    }

    fn rewrite(&mut self, token: &str, path: &str, out: &mut String, changed: &mut bool) {
        if !self.could_cut(token) {
            out.push_str(token);
            return;
        }
        let path_of = |name: &str| format!("{path}.{name}");
        match token.as_bytes().first() {
            Some(b'"') => {
                let inner = string(token).unwrap_or_default();
                let end = cut_at(inner, self.string);
                if end.is_some() {
                    *changed = true;
                    self.note(path);
                }
                out.push('"');
                out.push_str(inner.get(..end.unwrap_or(inner.len())).unwrap_or_default());
                out.push('"');
            }
            Some(b'{') => {
                out.push('{');
                for (i, (name, value)) in members(token).enumerate() {
                    out.push_str(if i == 0 { "\"" } else { ",\"" });
                    out.push_str(name);
                    out.push_str("\":");
                    if is_embedding(name) || !self.could_cut(value) {
                        out.push_str(value);
                    } else {
                        self.rewrite(value, &path_of(&unescape(name)), out, changed);
                    }
                }
                out.push('}');
            }
            Some(b'[') => {
                out.push('[');
                for (i, value) in elements(token).enumerate() {
                    if i >= self.list {
                        *changed = true;
                        self.note(path);
                        break;
                    }
                    if i > 0 {
                        out.push(',');
                    }
                    if self.could_cut(value) {
                        self.rewrite(value, &path_of(&i.to_string()), out, changed);
                    } else {
                        out.push_str(value);
                    }
                }
                out.push(']');
            }
            _ => out.push_str(token),
        }
    }
}

fn is_embedding(name: &str) -> bool {
    matches!(name, "embedding" | "embeddings")
}

pub(super) fn shorten(text: &mut Cow<'_, str>, end: usize) {
    match text {
        Cow::Borrowed(s) => *s = s.get(..end).unwrap_or(s),
        Cow::Owned(s) => s.truncate(end),
    }
}

/// Where to cut escaped text so that it stands for at most `max` bytes; `None` if it does as it is.
pub(super) fn cut_at(text: &str, max: usize) -> Option<usize> {
    if text.len() <= max {
        return None;
    }
    let b = text.as_bytes();
    let (mut at, mut plain) = (0, 0);
    loop {
        let run = memchr::memchr(b'\\', b.get(at..)?).unwrap_or(b.len() - at);
        if plain + run > max {
            return Some(floor(text, at + max - plain));
        }
        (at, plain) = (at + run, plain + run);
        if at >= b.len() {
            return None;
        }
        let (c, len) = decode(b.get(at..)?);
        let width = c.map_or(3, char::len_utf8);
        if plain + width > max {
            return Some(at);
        }
        (at, plain) = (at + len, plain + width);
    }
}

/// Escaped text with its middle cut out, so that it stands for about `max` bytes; `None` if it does as it is.
pub(super) fn without_middle(text: &str, max: usize) -> Option<String> {
    cut_at(text, max)?;
    let plain = unescape(text);
    let half = max / 2;
    let head = floor(&plain, half);
    let tail = ceil(&plain, plain.len().saturating_sub(max - half));
    let mut out = String::with_capacity(max + max / 8);
    escape_into(plain.get(..head).unwrap_or_default(), &mut out);
    out.push_str("\\n…\\n");
    escape_into(plain.get(tail..).unwrap_or_default(), &mut out);
    Some(out)
}

#[cfg(test)]
#[path = "tests/truncate.rs"]
mod tests;
