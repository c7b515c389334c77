//! Exceptions of records: from loguru's `exception` and the traceback in `text`, from whatever a flat line says, and
//! from the lines of a traceback that follow.

use std::borrow::Cow;

use super::fields::{elements, members};
use super::traceback::{self, HEADER, line_end};
use super::{Exception, Text, Token};

/// The exception that a traceback (escaped text) tells of. Type and value that are known otherwise count.
pub(super) fn from_traceback<'a>(kind: Option<Text<'a>>, value: Option<Text<'a>>, text: Cow<'a, str>) -> Exception<'a> {
    let mut e = match &text {
        Cow::Borrowed(t) => read(t, |s| Text(Cow::Borrowed(s))),
        Cow::Owned(t) => read(t, |s| Text(Cow::Owned(s.to_owned()))),
    };
    if let Some((last_kind, last_value)) = e.chain.last_mut() {
        for (known, told) in [(&kind, &mut *last_kind), (&value, &mut *last_value)] {
            if let Some(known) = known {
                told.0.clone_from(&known.0);
            }
        }
        e.kind = Some(last_kind.clone()).filter(|k| !k.0.is_empty());
        e.value = Some(last_value.clone());
    } else {
        e = from_parts(kind, value);
    }
    e.traceback = Some(Text(text)).filter(|t| !t.0.is_empty());
    e
}

fn read<'t, 'a>(text: &'t str, own: impl Fn(&'t str) -> Text<'a>) -> Exception<'a> {
    let found = traceback::read(text);
    Exception {
        chain: found.chain.into_iter().map(|(k, v)| (own(k), own(v))).collect(),
        frame: found.frame.map(|(path, function)| (own(path), own(function))),
        ..Exception::default()
    }
}

/// An exception of which only type and value are known.
pub(super) fn from_parts<'a>(kind: Option<Text<'a>>, value: Option<Text<'a>>) -> Exception<'a> {
    let chain = match (&kind, &value) {
        (None, None) => Vec::new(),
        (k, v) => vec![(k.clone().unwrap_or_default(), v.clone().unwrap_or_default())],
    };
    Exception {
        kind,
        value,
        chain,
        ..Exception::default()
    }
}

/// The traceback in loguru's `text`: what follows the line that ends with the message. All escaped.
///
/// With the default format the message follows ` - `; with another one its first occurrence counts. Where the format
/// leaves the message out, the traceback begins with its own first line.
pub(super) fn in_text<'a>(text: &'a str, message: &str) -> &'a str {
    let t = text.as_bytes();
    let after = |at: usize| {
        let (_, past) = line_end(t.get(at + message.len()..)?);
        text.get(at + message.len() + past..)
    };
    let whole = |at: usize| t.get(at..).is_some_and(|r| r.starts_with(message.as_bytes()));
    let dash = memchr::memmem::find_iter(t, b" - ")
        .map(|at| at + 3)
        .find(|at| whole(*at));
    let found = dash.or_else(|| {
        let found = memchr::memmem::find(t, message.as_bytes());
        found.filter(|_| !message.is_empty())
    });
    let rest = match found {
        Some(at) => after(at),
        None => text.find(HEADER).and_then(|at| text.get(at..)),
    };
    without_line_ends(rest.unwrap_or_default())
}

/// Escaped text without the line ends at its end.
pub(super) fn without_line_ends(mut text: &str) -> &str {
    while let Some(shorter) = text.strip_suffix("\\n").or_else(|| text.strip_suffix("\\r")) {
        let backslashes = shorter.bytes().rev().take_while(|b| *b == b'\\').count();
        if backslashes % 2 == 1 {
            break;
        }
        text = shorter;
    }
    text
}

/// The exception in a flat line's `exception`, `exc_info`, `error` or `stack`; `None` if the value is none. The second
/// part says whether the value holds more than was taken from it.
pub(super) fn from_token<'a>(token: &'a str) -> Option<(Exception<'a>, bool)> {
    match token.as_bytes().first()? {
        b'"' => {
            let text = super::text::string(token).filter(|t| !t.is_empty())?;
            Some((from_words(text), false))
        }
        b'{' => from_object(token),
        // structlog's dict_tracebacks: the outermost exception first.
        b'[' => {
            let mut links: Vec<Exception<'a>> = elements(token).filter_map(|e| Some(from_object(e)?.0)).collect();
            let mut e = links.first().cloned()?;
            links.reverse();
            e.chain = links.into_iter().flat_map(|l| l.chain).collect();
            Some((e, true))
        }
        _ => None,
    }
}

/// A text that is a traceback, the stack of another language, `Type: value`, or just a value.
fn from_words(text: &str) -> Exception<'_> {
    let (first, past) = line_end(text.as_bytes());
    if has_header(text) || text.trim_start().starts_with("File \\\"") {
        return from_traceback(None, None, Cow::Borrowed(without_line_ends(text)));
    }
    let line = text.get(..first).unwrap_or(text);
    let (kind, value) = traceback::kind_and_value(line);
    let typed = |k: &str| {
        k.ends_with("Error") || k.ends_with("Exception") || (k.len() < line.len() && k.starts_with(char::is_uppercase))
    };
    let several = past < text.len();
    let text_of = |s| Some(Text(Cow::Borrowed(s)));
    let mut e = if !kind.is_empty() && typed(kind) {
        from_parts(text_of(kind), text_of(value).filter(|v| !v.0.is_empty()))
    } else {
        from_parts(None, text_of(if several { line } else { text }))
    };
    if several {
        e.traceback = text_of(without_line_ends(text));
    }
    e
}

fn from_object(token: &str) -> Option<(Exception<'_>, bool)> {
    let (mut kind, mut value, mut trace) = (None, None, None);
    let mut more = false;
    for (name, token) in members(token) {
        let slot = match name {
            "type" | "kind" | "name" | "class" | "exc_type" | "exception_type" => &mut kind,
            "value" | "message" | "msg" | "exc_value" | "exception_message" => &mut value,
            "traceback" | "stack" | "stacktrace" | "stack_trace" | "trace" => &mut trace,
            _ => {
                more = true;
                continue;
            }
        };
        match super::text::string(token) {
            Some(text) if slot.is_none() => *slot = Some(Text(Cow::Borrowed(text))),
            // loguru's own form says there only whether there is a traceback.
            _ => more |= !matches!(token, "true" | "false" | "null"),
        }
    }
    if kind.is_none() && value.is_none() && trace.is_none() {
        return None;
    }
    let e = match trace {
        Some(Text(Cow::Borrowed(t))) if has_header(t) => {
            from_traceback(kind, value, Cow::Borrowed(without_line_ends(t)))
        }
        trace => Exception {
            traceback: trace,
            ..from_parts(kind, value)
        },
    };
    Some((e, more))
}

/// Adds the lines of a traceback that followed a record's own line.
pub(super) fn follow<'a>(e: Option<Box<Exception<'a>>>, rest: Cow<'a, str>) -> Option<Box<Exception<'a>>> {
    let rest = match rest {
        Cow::Borrowed(r) => Cow::Borrowed(without_line_ends(r)),
        Cow::Owned(r) => Cow::Owned(without_line_ends(&r).to_owned()),
    };
    if rest.is_empty() {
        return e;
    }
    Some(Box::new(match e.map(|e| *e) {
        None => from_traceback(None, None, rest),
        Some(e) => match e.traceback {
            None => from_traceback(e.kind, e.value, rest),
            Some(t) => from_traceback(e.kind, e.value, Cow::Owned(format!("{}\\n{rest}", t.0))),
        },
    }))
}

/// The string or other value of a token as text: digits and words of other values count as they stand.
pub(super) fn as_text<'a>(token: &'a str) -> Option<Text<'a>> {
    match super::text::string(token) {
        Some(text) => Some(Text(Cow::Borrowed(text))),
        None if token == "null" => None,
        None => Some(Text(super::escape(token))),
    }
}

/// The text of a token that owns or borrows its bytes.
pub(super) fn text_of<'a>(token: &Token<'a>) -> Option<Text<'a>> {
    token.text().filter(|t| !t.0.is_empty())
}

fn has_header(text: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), HEADER.as_bytes()).is_some()
}
