//! Exceptions of records: from loguru's `exception` and the traceback in `text`, from whatever a flat line says, and
//! from the lines of a traceback that follow.

use std::borrow::Cow;

use super::fields::{elements, members};
use super::traceback::{self, HEADER, Traceback, line_end};
use super::{Cause, Exception, Text, Token, stacks};

/// The exception that a traceback (escaped text) tells of. Type and value that are known otherwise count.
pub(super) fn from_traceback<'a>(kind: Option<Text<'a>>, value: Option<Text<'a>>, text: Cow<'a, str>) -> Exception<'a> {
    let (mut e, own) = match &text {
        Cow::Borrowed(t) => laid_out(traceback::read(t), |s| Text(Cow::Borrowed(s))),
        Cow::Owned(t) => laid_out(traceback::read(t), |s| Text(Cow::Owned(s.to_owned()))),
    };
    if let Some((own_kind, own_value)) = e.chain.get_mut(own) {
        for (known, told) in [(&kind, &mut *own_kind), (&value, &mut *own_value)] {
            if let Some(known) = known {
                told.0.clone_from(&known.0);
            }
        }
        e.kind = Some(own_kind.clone()).filter(|k| !k.0.is_empty());
        e.value = Some(own_value.clone());
    } else {
        e = from_parts(kind, value);
    }
    e.traceback = Some(Text(text)).filter(|t| !t.0.is_empty());
    e
}

/// What was found, as an exception without its own type and value; and which link of the chain is its own.
fn laid_out<'t, 'a>(found: Traceback<'t>, own: impl Fn(&'t str) -> Text<'a>) -> (Exception<'a>, usize) {
    let frame = |(path, function)| (own(path), own(function));
    let others = found.others.iter().map(|c| Cause {
        kind: own(c.kind),
        value: own(c.value),
        frame: c.frame.map(frame),
    });
    let e = Exception {
        others: others.collect(),
        chain: found.chain.iter().map(|(k, v)| (own(k), own(v))).collect(),
        frame: found.frame.map(frame),
        ..Exception::default()
    };
    (e, found.own)
}

/// The exception that a stack trace of any language (escaped text) tells of; `None` if it is none.
fn from_stack<'a>(kind: Option<Text<'a>>, value: Option<Text<'a>>, text: Cow<'a, str>) -> Option<Exception<'a>> {
    if has_header(&text) || traceback::is_frame(&text) {
        return Some(from_traceback(kind, value, text));
    }
    let stack = stacks::read(&super::unescape(&text))?;
    let own = |s: &str| Text(Cow::Owned(super::escape(s).into_owned()));
    let mut chain: Vec<_> = stack.links.iter().rev().map(|(k, v)| (own(k), own(v))).collect();
    let (told_kind, told_value) = chain.last().cloned().unzip();
    let kind = kind.or(told_kind.filter(|k| !k.0.is_empty()));
    let value = value.or(told_value);
    match chain.last_mut() {
        Some(last) => *last = (kind.clone().unwrap_or_default(), value.clone().unwrap_or_default()),
        None => chain = from_parts(kind.clone(), value.clone()).chain,
    }
    Some(Exception {
        kind,
        value,
        chain,
        frame: stack.frame.map(|(path, function)| (own(&path), own(&function))),
        traceback: Some(Text(text)),
        others: Vec::new(),
    })
}

/// Whether escaped text is a stack trace.
pub(super) fn is_stack(text: &str) -> bool {
    let several = memchr::memmem::find(text.as_bytes(), b"\\n").is_some();
    !is_stack_info(text)
        && several
        && (has_header(text) || traceback::is_frame(text) || stacks::read(&super::unescape(text)).is_some())
}

/// What Python prints for `stack_info=True`: where the call stands; nothing was thrown.
fn is_stack_info(text: &str) -> bool {
    text.trim_start().starts_with("Stack (most recent call last):")
}

/// An exception whose parts stood in fields of their own.
pub(super) fn assembled<'a>(kind: Option<Text<'a>>, value: Option<Text<'a>>, stack: Option<Text<'a>>) -> Exception<'a> {
    let Some(stack) = stack else {
        return from_parts(kind, value);
    };
    let text = stack.0.clone();
    from_stack(kind.clone(), value.clone(), text).unwrap_or_else(|| Exception {
        traceback: Some(stack),
        ..from_parts(kind, value)
    })
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
            let text = super::text::string(token).filter(|t| !t.trim_ascii().is_empty())?;
            let nothing = is_stack_info(text) || matches!(text, "NoneType: None" | "None");
            (!nothing).then(|| (from_words(text), false))
        }
        b'{' => from_object(token),
        b'[' => from_list(token),
        _ => None,
    }
}

/// structlog's `dict_tracebacks`: the outermost exception first; or the lines of a trace.
fn from_list<'a>(token: &'a str) -> Option<(Exception<'a>, bool)> {
    if elements(token).all(|e| e.starts_with('"')) {
        let lines: Vec<&str> = elements(token).filter_map(super::text::string).collect();
        let text = lines
            .iter()
            .map(|l| without_line_ends(l))
            .collect::<Vec<_>>()
            .join("\\n");
        return from_stack(None, None, Cow::Owned(text)).map(|e| (e, false));
    }
    let links = links_of(token, 0);
    if links.is_empty() {
        let (e, _) = elements(token).find_map(from_object)?;
        return Some((e, true));
    }
    let (mut e, own) = laid_out(traceback::found(links), |s| Text(Cow::Borrowed(s)));
    let (kind, value) = e.chain.get(own).cloned()?;
    (e.kind, e.value) = (Some(kind).filter(|k| !k.0.is_empty()), Some(value));
    Some((e, true))
}

/// The exceptions of such a list, root cause first.
fn links_of(list: &str, depth: usize) -> traceback::Links<'_> {
    let mut links = traceback::Links::new();
    // Whether the exception that comes next in the list caused this one, or was only handled.
    let mut during = false;
    let stacks: Vec<&str> = elements(list).take(64).collect();
    for stack in stacks.iter().rev() {
        let find = |name: &str| members(stack).find(|(n, _)| *n == name).map(|(_, v)| v);
        let Some(kind) = find("exc_type").and_then(super::text::string) else {
            continue;
        };
        let value = find("exc_value").and_then(super::text::string).unwrap_or_default();
        let frames = find("frames").unwrap_or("[]");
        fn frame(f: &str) -> Option<(&str, &str)> {
            let of = |name: &str| {
                members(f)
                    .find(|(n, _)| *n == name)
                    .and_then(|(_, v)| super::text::string(v))
            };
            Some((of("filename")?, of("name").unwrap_or_default()))
        }
        let mut link = traceback::Link::new(kind, value, elements(frames).filter_map(frame), during);
        if depth < 8 {
            let parts = elements(find("exceptions").unwrap_or("[]"));
            link.parts = parts
                .map(|p| links_of(p, depth + 1))
                .filter(|p| !p.is_empty())
                .collect();
        }
        links.push(link);
        during = find("is_cause") == Some("false");
    }
    links
}

/// A text that is a traceback, the stack of another language, `Type: value`, or just a value.
fn from_words(text: &str) -> Exception<'_> {
    let (first, past) = line_end(text.as_bytes());
    let several = past < text.len();
    if has_header(text) || text.trim_start().starts_with("File \\\"") {
        return from_traceback(None, None, Cow::Borrowed(without_line_ends(text)));
    }
    if several && let Some(e) = from_stack(None, None, Cow::Borrowed(without_line_ends(text))) {
        return e;
    }
    let line = text.get(..first).unwrap_or(text);
    let (kind, value) = traceback::kind_and_value(line);
    let typed = |k: &str| {
        k.ends_with("Error") || k.ends_with("Exception") || (k.len() < line.len() && k.starts_with(char::is_uppercase))
    };
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
    let mut cause = None;
    let mut more = false;
    for (name, token) in members(token) {
        let slot = match name {
            "type" | "kind" | "name" | "class" | "exc_type" | "exception_type" => &mut kind,
            "value" | "message" | "msg" | "exc_value" | "exception_message" => &mut value,
            "traceback" | "stack" | "stacktrace" | "stack_trace" | "trace" | "extendedStackTrace" => &mut trace,
            "cause" if token.starts_with('{') => {
                cause = Some(token);
                continue;
            }
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
    // log4j2 writes the type with its package.
    let kind = kind.map(|Text(k): Text<'_>| match k {
        Cow::Borrowed(k) => Text(Cow::Borrowed(k.rsplit('.').next().unwrap_or(k))),
        owned => Text(owned),
    });
    let trace = trace.map(|Text(t): Text<'_>| match t {
        Cow::Borrowed(t) => Text(Cow::Borrowed(without_line_ends(t))),
        owned => Text(owned),
    });
    let mut e = assembled(kind, value, trace);
    if e.chain.len() < 2
        && let Some((inner, _)) = cause.filter(|_| e.chain.len() < 64).and_then(from_object)
    {
        let mut chain = inner.chain;
        chain.append(&mut e.chain);
        (e.chain, e.frame) = (chain, inner.frame.or(e.frame));
    }
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
        None => from_stack(None, None, rest.clone()).unwrap_or_else(|| from_traceback(None, None, rest)),
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
