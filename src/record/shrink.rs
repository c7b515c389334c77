//! The cap on a whole document: makes a record smaller, biggest parts first.

use std::borrow::Cow;

use super::fields::{elements, members};
use super::text::{decode, floor, string};
use super::truncate::{note, shorten, without_middle};
use super::{Record, Text};

/// Parts of at most this many bytes are left alone.
const SMALL: usize = 64;

/// Longest name that an extra value keeps when its record has to shrink.
const NAME: usize = 1000;

/// Takes about `excess` bytes off the record, biggest parts first, and says whether anything could be taken.
///
/// Each part is halved at most, so that one big part does not cost another one everything.
pub(super) fn shrink(rec: &mut Record<'_>, excess: usize) -> bool {
    let mut excess = excess;
    let mut cut = std::mem::take(&mut rec.marks.truncated);
    let mut any = false;
    for _ in 0..256 {
        if excess == 0 {
            break;
        }
        let (size, part) = biggest(rec);
        if size <= SMALL {
            break;
        }
        let wanted = size.saturating_sub(excess + 16).max(size / 2);
        let after = halve(rec, part, wanted, &mut cut);
        if after >= size {
            break;
        }
        excess = excess.saturating_sub(size - after);
        any = true;
    }
    rec.marks.truncated = cut;
    any
}

/// A part of a record that can be made smaller.
#[derive(Clone, Copy)]
enum Part {
    Message,
    Value,
    Traceback,
    Chain,
    Extra(usize),
    Tags,
    Embeddings,
}

fn biggest(rec: &Record<'_>) -> (usize, Part) {
    let len = |t: &Option<Text<'_>>| t.as_ref().map_or(0, |t| t.0.len());
    let e = rec.exception.as_deref();
    let chain = e.map_or(0, |e| e.chain.iter().map(|(k, v)| k.0.len() + v.0.len()).sum());
    let mut parts = vec![
        (rec.message.0.len(), Part::Message),
        (e.map_or(0, |e| len(&e.value)), Part::Value),
        (e.map_or(0, |e| len(&e.traceback)), Part::Traceback),
        (chain, Part::Chain),
        (rec.bound.tags.as_ref().map_or(0, |t| t.0.len()), Part::Tags),
        // Last of all, and whole.
        (
            rec.bound.embeddings.as_ref().map_or(0, |t| t.0.len() / 8),
            Part::Embeddings,
        ),
    ];
    parts.extend(
        rec.extra
            .iter()
            .enumerate()
            .map(|(i, (n, v))| (n.0.len() + v.0.len(), Part::Extra(i))),
    );
    parts
        .into_iter()
        .max_by_key(|(size, _)| *size)
        .unwrap_or((0, Part::Message))
}

/// Brings a part down to about `wanted` bytes; says how big it is then.
fn halve(rec: &mut Record<'_>, part: Part, wanted: usize, cut: &mut Vec<String>) -> usize {
    match (part, rec.exception.as_deref_mut()) {
        (Part::Value, Some(e)) => cut_option(e.value.as_mut(), wanted, "exception.value", cut),
        (Part::Traceback, Some(e)) => {
            note(cut, "exception.traceback");
            let shorter = e
                .traceback
                .as_ref()
                .and_then(|t| without_middle(t.raw(), wanted.saturating_sub(wanted / 4)));
            if let Some(shorter) = shorter {
                e.traceback = Some(Text(Cow::Owned(shorter)));
            }
            e.traceback.as_ref().map_or(0, |t| t.0.len())
        }
        (Part::Chain, Some(e)) => {
            note(cut, "exception.chain");
            let keep = e.chain.len().div_ceil(2);
            if e.chain.len() > 1 {
                e.chain.truncate(keep);
            } else if let Some((kind, value)) = e.chain.first_mut() {
                cut_bytes(kind, wanted / 2);
                cut_bytes(value, wanted / 2);
            }
            e.chain.iter().map(|(k, v)| k.0.len() + v.0.len()).sum()
        }
        (Part::Tags, _) => {
            rec.bound.tags = None;
            note(cut, "tags");
            0
        }
        (Part::Embeddings, _) => {
            rec.bound.embeddings = None;
            note(cut, "embeddings");
            0
        }
        (Part::Extra(i), _) => {
            let Some((name, value)) = rec.extra.get_mut(i) else {
                return usize::MAX;
            };
            if name.0.len() > NAME {
                // Names stay unique.
                cut_bytes(name, NAME);
                name.0.to_mut().push_str(&format!("~{i}"));
            }
            let path = format!("extra_data.{}", name.plain());
            value.0 = Cow::Owned(smaller(&value.0, wanted.saturating_sub(name.0.len())));
            note(cut, &path);
            name.0.len() + value.0.len()
        }
        _ => cut_option(Some(&mut rec.message), wanted, "message", cut),
    }
}

fn cut_option(text: Option<&mut Text<'_>>, wanted: usize, path: &str, cut: &mut Vec<String>) -> usize {
    note(cut, path);
    text.map_or(0, |t| {
        cut_bytes(t, wanted);
        t.0.len()
    })
}

/// Cuts escaped text to at most `max` bytes as it stands, between two characters or escapes.
fn cut_bytes(text: &mut Text<'_>, max: usize) {
    if text.0.len() > max {
        let end = whole_escapes(&text.0, max);
        shorten(&mut text.0, end);
    }
}

/// The last place at or before `max` that is within no character and no escape.
fn whole_escapes(text: &str, max: usize) -> usize {
    let b = text.as_bytes();
    let mut at = 0;
    while let Some(next) = b.get(at..).and_then(|r| memchr::memchr(b'\\', r)).map(|n| at + n) {
        let (_, len) = decode(b.get(next..).unwrap_or_default());
        if next >= max {
            break;
        }
        if next + len > max {
            return next;
        }
        at = next + len;
    }
    floor(text, max)
}

/// A value of the same type in at most about `wanted` bytes: the beginning of a string, the first elements of an array,
/// the first members of an object. Other values stay.
fn smaller(token: &str, wanted: usize) -> String {
    match token.as_bytes().first() {
        Some(b'"') => {
            let inner = string(token).unwrap_or_default();
            let end = whole_escapes(inner, wanted.saturating_sub(2));
            format!("\"{}\"", inner.get(..end).unwrap_or_default())
        }
        Some(b'[') => first_of(elements(token).map(|e| (None, e)), wanted, ['[', ']']),
        Some(b'{') => first_of(members(token).map(|(n, v)| (Some(n), v)), wanted, ['{', '}']),
        _ => token.to_owned(),
    }
}

/// As many items as fit; the first that does not is made smaller itself.
fn first_of<'t>(items: impl Iterator<Item = (Option<&'t str>, &'t str)>, wanted: usize, ends: [char; 2]) -> String {
    let mut out = String::with_capacity(wanted + 2);
    out.push(ends[0]);
    for (name, value) in items {
        let start = out.len();
        if start > 1 {
            out.push(',');
        }
        if let Some(name) = name {
            out.push('"');
            out.push_str(name);
            out.push_str("\":");
        }
        let left = wanted.saturating_sub(out.len() + 1);
        if value.len() <= left {
            out.push_str(value);
            continue;
        }
        let shorter = smaller(value, left);
        if shorter.len() > left {
            out.truncate(start);
        } else {
            out.push_str(&shorter);
        }
        break;
    }
    out.push(ends[1]);
    out
}
