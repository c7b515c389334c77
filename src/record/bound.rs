//! Bound values with a meaning of their own: taken from a record's extra values.
//!
//! What has a field of its own in the document (`execution_id`, `script_name`, `tags`, `embeddings`, `event`, `host`) is
//! lifted out of the extra values. All else stays there, so that it can be asked for, and is known in
//! [`super::Bound`] besides. A value that cannot be what its name says stays where it is, too.

use std::borrow::Cow;

use super::exception::text_of;
use super::fields::elements;
use super::{Event, Record, Text, Token};

/// The event that a word asks for; letters of either case.
pub(super) fn event(word: &str) -> Option<Event> {
    const WORDS: [(&str, Event); 5] = [
        ("run_start", Event::RunStart),
        ("run_end", Event::RunEnd),
        ("learning", Event::Learning),
        ("fix", Event::Fix),
        ("relation", Event::Relation),
    ];
    WORDS
        .iter()
        .find(|(w, _)| w.eq_ignore_ascii_case(word))
        .map(|(_, e)| *e)
}

impl Event {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Event::RunStart => "run_start",
            Event::RunEnd => "run_end",
            Event::Learning => "learning",
            Event::Fix => "fix",
            Event::Relation => "relation",
        }
    }
}

/// Takes over one extra value: lifts it out or adds it to the record's extra values. `settle` follows after the last.
#[inline]
pub(super) fn take<'a>(rec: &mut Record<'a>, name: &'a str, token: &'a str) {
    let value = Token(Cow::Borrowed(token));
    if !meaningful(rec, name, &value) {
        rec.extra.push((Text(Cow::Borrowed(name)), value));
    }
}

/// As [`take`], under a name that may be made up.
pub(super) fn take_named<'a>(rec: &mut Record<'a>, name: Cow<'a, str>, token: &'a str) {
    let value = Token(Cow::Borrowed(token));
    if !meaningful(rec, &name, &value) {
        rec.extra.push((Text(name), value));
    }
}

/// Notes a value with a meaning; `true` if it is lifted out.
fn meaningful<'a>(rec: &mut Record<'a>, name: &str, value: &Token<'a>) -> bool {
    let b = &mut rec.bound;
    match name {
        "execution_id" => return lift(&mut b.execution_id, id(value)),
        "script_name" => return lift(&mut b.script_name, text_of(value)),
        "host" | "hostname" => return lift(&mut rec.host, text_of(value)),
        "tags" => return lift(&mut b.tags, list(value, |e| e.starts_with('"'))),
        "embeddings" => return lift(&mut b.embeddings, list(value, is_number)),
        "event" => {
            let word = text_of(value).and_then(|t| event(t.raw()));
            return lift(&mut b.event, word);
        }
        "log_category" => b.log_category = text_of(value),
        "parent_execution_id" => b.parent_execution_id = id(value),
        "db_store" => {
            b.db_store = match &*value.0 {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            };
        }
        "metadata" => b.metadata = object(value),
        "context" => b.context = object(value),
        "status" => b.status = text_of(value),
        "error" => b.error = text_of(value),
        "function_name" => b.function_name = text_of(value),
        "confidence" => b.confidence = value.0.parse().ok().filter(|c| (0.0..=1.0).contains(c)),
        "fixes" => b.fixes = text_of(value),
        "rationale" => b.rationale = text_of(value),
        "from_key" => b.from_key = text_of(value),
        "to_key" => b.to_key = text_of(value),
        "type" => b.relation = text_of(value),
        _ => {}
    }
    false
}

/// Puts a value into its field, if it can be there and the field is free.
fn lift<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let fits = field.is_none() && value.is_some();
    if fits {
        *field = value;
    }
    fits
}

/// An id: a text, or an integer's digits.
pub(super) fn id<'a>(value: &Token<'a>) -> Option<Text<'a>> {
    let digits = value.0.bytes().all(|b| b.is_ascii_digit()) && !value.0.is_empty();
    if digits {
        return Some(Text(value.0.clone()));
    }
    text_of(value)
}

pub(super) fn object<'a>(value: &Token<'a>) -> Option<Token<'a>> {
    value.0.starts_with('{').then(|| value.clone())
}

/// An array whose elements are all as they should be.
pub(super) fn list<'a>(value: &Token<'a>, fits: impl Fn(&str) -> bool) -> Option<Token<'a>> {
    (value.0.starts_with('[') && elements(&value.0).all(fits)).then(|| value.clone())
}

pub(super) fn is_number(token: &str) -> bool {
    token.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

/// After the last extra value: other names for the same, and nothing that the event does not ask for.
pub(super) fn settle(rec: &mut Record<'_>) {
    if let Some(category) = rec.bound.log_category.as_ref().map(|c| c.0.clone()) {
        if category == "AGENT_LEARNING" && rec.bound.event.is_none() {
            rec.bound.event = Some(Event::Learning);
        }
        let there = rec.extra.iter().any(|(n, _)| n.0 == "response");
        if category == "SCRIPT_FINAL_RESPONSE" && !there {
            for (name, _) in &mut rec.extra {
                if name.0 == "payload" {
                    name.0 = Cow::Borrowed("response");
                }
            }
        }
    }
    let b = &mut rec.bound;
    let event = b.event;
    let only = |wanted: &[Event]| event.is_some_and(|e| wanted.contains(&e));
    if !only(&[Event::RunStart]) {
        b.metadata = None;
    }
    if !only(&[Event::RunEnd]) {
        (b.status, b.error) = (None, None);
    }
    if !only(&[Event::Learning]) {
        (b.function_name, b.context) = (None, None);
    }
    if !only(&[Event::Learning, Event::Relation]) {
        b.confidence = None;
    }
    if !only(&[Event::Fix]) {
        b.fixes = None;
    }
    if !only(&[Event::Fix, Event::Relation]) {
        b.rationale = None;
    }
    if !only(&[Event::Relation]) {
        (b.from_key, b.to_key, b.relation) = (None, None, None);
    }
    if let Some(status) = &mut b.status {
        let lower = status.0.to_ascii_lowercase();
        if matches!(&*lower, "success" | "failed") {
            status.0 = Cow::Owned(lower);
        } else {
            b.status = None;
        }
    }
}

/// Adds an extra value under its name, or under the nearest free one: names in one object are unique.
pub(super) fn add<'a>(rec: &mut Record<'a>, name: &'a str, token: &'a str) {
    let mut free = Cow::Borrowed(name);
    let taken = |rec: &Record<'a>, n: &str| {
        rec.extra
            .iter()
            .any(|(x, _)| super::unescape(&x.0) == super::unescape(n))
    };
    while taken(rec, &free) {
        free.to_mut().push('_');
    }
    rec.extra.push((Text(free), Token(Cow::Borrowed(token))));
}

/// As [`add`], of a name in plain text that does not outlive the call.
pub(super) fn add_owned(rec: &mut Record<'_>, name: &str, token: &str) {
    let mut free = super::escape(name).into_owned();
    while rec.extra.iter().any(|(n, _)| n.0 == free) {
        free.push('_');
    }
    rec.extra
        .push((Text(Cow::Owned(free)), Token(Cow::Owned(token.to_owned()))));
}

/// Adds a number.
pub(super) fn add_number(rec: &mut Record<'_>, name: &str, n: i64) {
    add_owned(rec, name, &n.to_string());
}
