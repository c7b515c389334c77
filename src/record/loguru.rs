//! loguru's `serialize=True` lines.
//!
//! loguru writes the same keys in the same order with the same white space, always. [`exact`] expects just that, and
//! compares the keys as literals: no search, no decisions, only values are scanned, and of these only the ones that
//! differ from lines before ([`familiar`], [`shape`]). Whatever is different in the least
//! falls through to [`loose`], which takes the same object in any order, incomplete, or with something added (a patched
//! record, another writer's imitation). Both must say the same of the same line.

use std::borrow::Cow;

use super::redact::Names;
use super::scan::Scan;
use super::{Exception, Micros, Record, Text, bound, exception, familiar, fields, level, shape, time};

/// The beginning that tells `exact` that it is worth trying.
pub(super) const START: &str = "{\"text\": \"";

/// What [`exact`] found beside the record.
pub(super) struct Exact<'a> {
    /// A field has a name that hides its value.
    pub suspicious: bool,
    /// Where secrets can stand: the bound values, and what was thrown.
    pub texts: [&'a str; 3],
}

/// Reads a line as loguru itself writes it. On `None` the record is left half filled.
pub(super) fn exact<'a>(s: &'a str, watch: Option<&Names>, rec: &mut Record<'a>) -> Option<Exact<'a>> {
    let mut scan = Scan::new(s, watch);
    scan.literal(START)?;
    let text = scan.contents()?;
    scan.literal(", \"record\": {\"elapsed\": {\"repr\": \"")?;
    let elapsed = time::timedelta(scan.contents()?)?;
    scan.literal(", \"seconds\": ")?;
    scan.number()?;
    scan.literal("}, \"exception\": ")?;
    let thrown = thrown(&mut scan)?;
    scan.literal(", \"extra\": ")?;
    let extra = scan.at();
    shape::object(&mut scan, 2, |name, token| bound::take(rec, name, token))?;
    let extra = s.get(extra..scan.at())?;
    familiar::head(&mut scan, rec)?;
    rec.message = Text(Cow::Borrowed(scan.contents()?));
    familiar::tail(&mut scan, rec)?;
    written(&mut scan, rec, elapsed)?;
    let mut texts = [extra, "", ""];
    if let Some((kind, value)) = thrown {
        texts = [extra, value, text];
        attach(rec, Some(text_of(kind)), Some(text_of(value)), text);
    }
    Some(Exact {
        suspicious: scan.suspicious,
        texts,
    })
}

/// The end of an exact line: the time.
#[inline]
fn written<'a>(scan: &mut Scan<'a, '_>, rec: &mut Record<'a>, elapsed: Micros) -> Option<()> {
    let repr = scan.contents()?;
    scan.literal(", \"timestamp\": ")?;
    scan.number()?;
    scan.literal("}}}")?;
    // A time without a zone is a matter of settings.
    let time = familiar::instant(repr)?;
    rec.time = Some(time);
    rec.start = Some(time - elapsed);
    scan.at_end().then_some(())
}

/// `null`, or type and value of an exception. The outer `None` is anything else.
#[inline]
fn thrown<'a>(scan: &mut Scan<'a, '_>) -> Option<Option<(&'a str, &'a str)>> {
    if scan.literal("null").is_some() {
        return Some(None);
    }
    scan.literal("{\"type\": \"")?;
    let kind = scan.contents()?;
    scan.literal(", \"value\": \"")?;
    let value = scan.contents()?;
    scan.literal(", \"traceback\": ")?;
    scan.literal("true").or_else(|| scan.literal("false"))?;
    scan.literal("}")?;
    Some(Some((kind, value)))
}

fn text_of(s: &str) -> Text<'_> {
    Text(Cow::Borrowed(s))
}

/// A text that is left out where it is empty.
#[inline]
fn text_field(s: &str) -> Option<Text<'_>> {
    (!s.is_empty()).then(|| text_of(s))
}

/// Sets name and number of the level; the number is loguru's word, the name is brought to its spelling.
#[inline]
pub(super) fn set_level<'a>(rec: &mut Record<'a>, name: &'a str, no: Option<i64>) {
    if let Some((name, usual)) = level::known(name) {
        rec.level = Cow::Borrowed(name);
        rec.level_no = no.unwrap_or(usual);
        return;
    }
    let plain = super::unescape(name);
    let (name, usual) = level::level(&plain);
    rec.level = Cow::Owned(name.into_owned());
    rec.level_no = no.unwrap_or(usual);
}

/// Adds the exception, with the traceback that stands in `text`.
#[cold]
fn attach<'a>(rec: &mut Record<'a>, kind: Option<Text<'a>>, value: Option<Text<'a>>, text: &'a str) {
    let trace = exception::in_text(text, &rec.message.0);
    let nothing = kind.is_none() && value.is_none();
    // logger.exception() where nothing was thrown.
    if nothing && matches!(trace, "" | "NoneType: None") {
        return;
    }
    let e = if trace.is_empty() {
        exception::from_parts(kind, value)
    } else {
        exception::from_traceback(kind, value, Cow::Borrowed(trace))
    };
    rec.exception = Some(Box::new(e));
}

type Member<'a> = (&'a str, &'a str);

/// Reads an object with loguru's `text` and `record` in any form; `false` if it is none. The members were checked.
pub(super) fn loose<'a>(members: &[Member<'a>], clock: time::Clock, rec: &mut Record<'a>) -> bool {
    let find = |name: &str| members.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let text = find("text").and_then(super::text::string);
    let (Some(text), Some(record)) = (text, find("record").filter(|r| r.starts_with('{'))) else {
        return false;
    };
    let inner: Vec<Member<'a>> = fields::members(record).collect();
    let has = |name: &str| inner.iter().any(|(n, _)| *n == name);
    if !has("message") || !(has("level") || has("time")) {
        return false;
    }
    rec.level = Cow::Borrowed("INFO");
    rec.level_no = level::UNKNOWN;
    // Bound values first: they keep their names where another field has to give way.
    if let Some((_, extra)) = inner.iter().find(|(n, v)| *n == "extra" && v.starts_with('{')) {
        for (name, token) in fields::members(extra) {
            bound::take(rec, name, token);
        }
    }
    let mut elapsed = None;
    let mut thrown = None;
    for (name, token) in &inner {
        let known = match *name {
            "elapsed" => {
                elapsed = duration(token);
                elapsed.is_some()
            }
            "exception" => {
                thrown = Some(*token).filter(|t| t.starts_with('{'));
                thrown.is_some()
            }
            "extra" => token.starts_with('{'),
            _ => field(rec, clock, name, token),
        };
        if !known && *token != "null" {
            bound::add(rec, name, token);
        }
    }
    for (name, token) in members.iter().filter(|(n, _)| *n != "text" && *n != "record") {
        bound::add(rec, name, token);
    }
    if let (Some(time), Some(elapsed)) = (rec.time, elapsed) {
        rec.start = time.checked_sub(elapsed);
    }
    if let Some(token) = thrown {
        let e = parts(token);
        attach(rec, e.kind, e.value, text);
    }
    true
}

/// One field of the record, in its place; `false` if it does not fit there.
fn field<'a>(rec: &mut Record<'a>, clock: time::Clock, name: &str, token: &'a str) -> bool {
    let text = || super::text::string(token);
    let number = || token.parse::<i64>().ok();
    let within = |key: &str| fields::members(token).find(|(n, _)| *n == key).map(|(_, v)| v);
    let text_in = |key: &str| within(key).and_then(super::text::string);
    match name {
        "file" => {
            rec.file_path = text_in("path").or_else(|| text_in("name")).and_then(text_field);
            token.starts_with('{')
        }
        "function" => set(&mut rec.function_name, text()),
        "level" => {
            let name = text_in("name").or_else(text);
            if let Some(name) = name {
                set_level(rec, name, within("no").and_then(|n| n.parse().ok()));
            }
            name.is_some()
        }
        "line" => {
            rec.line_number = number();
            rec.line_number.is_some()
        }
        "message" => match text() {
            Some(message) => {
                rec.message = text_of(message);
                true
            }
            None => false,
        },
        "module" => set(&mut rec.module, text()),
        "name" => set(&mut rec.logger, text()),
        "process" => {
            rec.pid = within("id").and_then(|n| n.parse().ok());
            rec.process_name = text_in("name").and_then(text_field);
            token.starts_with('{')
        }
        "thread" => {
            rec.thread_id = within("id").and_then(|n| n.parse().ok());
            rec.thread_name = text_in("name").and_then(text_field);
            token.starts_with('{')
        }
        "time" => {
            let repr = text_in("repr").or_else(text).map(super::unescape);
            let stamp = || within("timestamp").and_then(time::epoch);
            rec.time = repr.and_then(|r| time::written(&r, clock)).or_else(stamp);
            rec.time.is_some()
        }
        _ => false,
    }
}

fn set<'a>(field: &mut Option<Text<'a>>, value: Option<&'a str>) -> bool {
    *field = value.and_then(text_field);
    value.is_some()
}

fn duration(token: &str) -> Option<Micros> {
    let within = |key: &str| fields::members(token).find(|(n, _)| *n == key).map(|(_, v)| v);
    let repr = within("repr").and_then(super::text::string).and_then(time::timedelta);
    repr.or_else(|| within("seconds").and_then(time::seconds))
}

/// Type and value of loguru's exception object, as far as they are there.
fn parts(token: &str) -> Exception<'_> {
    let mut e = Exception::default();
    for (name, value) in fields::members(token) {
        match name {
            "type" => e.kind = exception::as_text(value),
            "value" => e.value = exception::as_text(value),
            _ => {}
        }
    }
    e
}
