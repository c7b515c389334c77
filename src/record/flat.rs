//! Flat JSON objects: each field under one of many names.
//!
//! Of several names of one field the first by the interface's order wins, those of the object's dialect
//! ([`super::dialects`]) before all others; the others, and what cannot be what its name says, stay in `extra_data`
//! under their own names.

use std::borrow::Cow;

use super::bound;
use super::dialects::{self, Dialect};
use super::exception;
use super::member::Reader;
use super::time::Clock;
use super::{Event, Exception, Record, Text, Token, fields, level};

/// What a member of an object can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Time,
    Level,
    Message,
    Execution,
    Script,
    Function,
    File,
    Line,
    Logger,
    Module,
    Pid,
    Process,
    Thread,
    ThreadName,
    Host,
    Exception,
    Tags,
    Embeddings,
    /// File and line in one text: `a/b.go:12`.
    Caller,
    ErrorType,
    ErrorValue,
    /// The text of a stack trace.
    Stack,
}

const FIELDS: usize = Field::Stack as usize + 1;

/// Ranks of the names that every object may use, behind those of its dialect.
const COMMON: usize = 100;

/// The field that a name stands for, and its rank among the names of that field.
pub(super) fn alias(name: &str) -> Option<(Field, usize)> {
    use Field as F;
    Some(match name {
        "timestamp" => (F::Time, 0),
        "time" => (F::Time, 1),
        "ts" => (F::Time, 2),
        "@timestamp" => (F::Time, 3),
        "level" => (F::Level, 0),
        "severity" => (F::Level, 1),
        "levelname" => (F::Level, 2),
        "lvl" => (F::Level, 3),
        "message" => (F::Message, 0),
        "msg" => (F::Message, 1),
        "event_message" => (F::Message, 2),
        "execution_id" => (F::Execution, 0),
        "run_id" => (F::Execution, 1),
        "trace_id" => (F::Execution, 2),
        "correlation_id" => (F::Execution, 3),
        "script_name" => (F::Script, 0),
        "script" => (F::Script, 1),
        "app" => (F::Script, 2),
        "service" => (F::Script, 3),
        "function" => (F::Function, 0),
        "func" => (F::Function, 1),
        "function_name" => (F::Function, 2),
        "funcName" => (F::Function, 3),
        "func_name" => (F::Function, 4),
        "file" => (F::File, 0),
        "file_path" => (F::File, 1),
        "pathname" => (F::File, 2),
        "line" => (F::Line, 0),
        "lineno" => (F::Line, 1),
        "line_number" => (F::Line, 2),
        "logger" => (F::Logger, 0),
        "logger_name" => (F::Logger, 1),
        "module" => (F::Module, 0),
        "pid" => (F::Pid, 0),
        "process" => (F::Pid, 1),
        "process_id" => (F::Pid, 2),
        "process_name" => (F::Process, 0),
        "processName" => (F::Process, 1),
        "thread" => (F::Thread, 0),
        "thread_id" => (F::Thread, 1),
        "thread_name" => (F::ThreadName, 0),
        "threadName" => (F::ThreadName, 1),
        "host" => (F::Host, 0),
        "hostname" => (F::Host, 1),
        "exception" => (F::Exception, 0),
        "exc_info" => (F::Exception, 1),
        "error" => (F::Exception, 2),
        "stack" => (F::Exception, 3),
        "tags" => (F::Tags, 0),
        "embeddings" => (F::Embeddings, 0),
        _ => return None,
    })
}

/// Names under which the message is looked for where no field is one.
const MESSAGES: [&str; 10] = [
    "fields.message",
    "@m",
    "@mt",
    "log",
    "MESSAGE",
    "short_message",
    "Body",
    "body",
    "text",
    "Message",
];

/// Reads the checked members of a flat object; returns its dialect.
pub(super) fn read<'a>(members: &[(&'a str, &'a str)], clock: Clock, rec: &mut Record<'a>) -> &'static Dialect {
    let dialect = dialects::of(members);
    if dialect.is_nested() {
        let mut opened: Vec<(Cow<'a, str>, &'a str)> = Vec::with_capacity(members.len() + 8);
        for (name, token) in members {
            open(dialect, Cow::Borrowed(name), token, 0, &mut opened);
        }
        fill(&opened, dialect, clock, rec);
    } else {
        fill(members, dialect, clock, rec);
    }
    dialect
}

/// Adds a member, or the members of it that the dialect counts as the object's own.
fn open<'a>(
    dialect: &Dialect,
    name: Cow<'a, str>,
    token: &'a str,
    depth: usize,
    into: &mut Vec<(Cow<'a, str>, &'a str)>,
) {
    let lifted = depth == 0 && dialect.lift.contains(&&*name);
    if !token.starts_with('{') || depth > 4 || !(lifted || dialect.reaches_into(&name)) {
        // Names in one object are unique.
        let mut name = name;
        while into.iter().any(|(n, _)| *n == name) {
            name.to_mut().push('_');
        }
        return into.push((name, token));
    }
    for (inner, token) in fields::members(token) {
        let dotted = format!("{name}.{inner}");
        let known = dialect.alias(&dotted).is_some() || dialect.reaches_into(&dotted);
        let whole = if lifted && !known {
            Cow::Borrowed(inner)
        } else {
            Cow::Owned(dotted)
        };
        open(dialect, whole, token, depth + 1, into);
    }
}

/// What the parts of an exception that stand in fields of their own say.
#[derive(Default)]
struct Thrown<'a> {
    kind: Option<Text<'a>>,
    value: Option<Text<'a>>,
    stack: Option<Text<'a>>,
}

fn fill<'a, N>(members: &[(N, &'a str)], dialect: &'static Dialect, clock: Clock, rec: &mut Record<'a>)
where
    N: AsRef<str> + Clone + Into<Cow<'a, str>>,
{
    let own = !dialect.names.is_empty();
    let known = |name: &str| {
        let of_dialect = if own { dialect.alias(name) } else { None };
        of_dialect.or_else(|| alias(name).map(|(field, rank)| (field, rank + COMMON)))
    };
    let word = members
        .iter()
        .find(|(n, _)| n.as_ref() == "event")
        .and_then(|(_, v)| super::text::string(v));
    let event = word.and_then(bound::event);
    let reader = |token: &'a str| Reader {
        clock,
        scale: dialect.scale,
        token,
    };
    // Per field the best name so far: its rank, and which member it is.
    let mut claims: [Option<(usize, usize)>; FIELDS] = [None; FIELDS];
    for (i, (name, token)) in members.iter().enumerate() {
        let name = name.as_ref();
        if let Some((field, rank)) = known(name)
            && let Some(claim) = claims.get_mut(field as usize)
            && claim.is_none_or(|(best, _)| rank < best)
            // A run's end says with `error` why.
            && !(event == Some(Event::RunEnd) && name == "error")
            && reader(token).fits(field)
        {
            *claim = Some((rank, i));
        }
    }
    rec.level = Cow::Borrowed("INFO");
    rec.level_no = level::UNKNOWN;
    let claimed = |field: Field, i: usize| {
        let claim = claims.get(field as usize).copied().flatten();
        claim.is_some_and(|(_, member)| member == i)
    };
    let titled = claims.get(Field::Message as usize).is_some_and(Option::is_some);
    let mut parts = Thrown::default();
    for (i, (name, token)) in members.iter().enumerate() {
        match known(name.as_ref()) {
            Some((Field::Exception, _)) if claimed(Field::Exception, i) => thrown(rec, name.clone().into(), token),
            Some((Field::ErrorType, _)) if claimed(Field::ErrorType, i) => parts.kind = reader(token).text(),
            Some((Field::ErrorValue, _)) if claimed(Field::ErrorValue, i) => parts.value = reader(token).text(),
            Some((Field::Stack, _)) if claimed(Field::Stack, i) => parts.stack = reader(token).text(),
            Some((field, _)) if claimed(field, i) => reader(token).fill(field, rec),
            // A known field without a value.
            Some(_) if *token == "null" => {}
            // structlog calls the message `event`.
            None if name.as_ref() == "event" && event.is_none() && !titled && word.is_some_and(|w| !w.is_empty()) => {
                rec.message = Text(Cow::Borrowed(word.unwrap_or_default()));
            }
            known => leftover(rec, known.is_some(), name.clone().into(), token),
        }
    }
    if event == Some(Event::Learning) || rec.bound.log_category.is_some() {
        rec.bound.function_name = rec.function_name.clone();
    }
    parts.add_to(rec);
    finish(rec, dialect, titled);
}

/// What is known only when all members are.
fn finish(rec: &mut Record<'_>, dialect: &Dialect, titled: bool) {
    if rec.line_number.is_none()
        && let Some((file, line)) = rec.file_path.as_ref().and_then(|f| place(&f.0))
    {
        rec.line_number = Some(line);
        rec.file_path = Some(Text(Cow::Owned(file.to_owned())));
    }
    if dialect.name == "serilog"
        && let Some(message) = rendered(rec)
    {
        rec.message = Text(Cow::Owned(message));
    }
    if rec.message.0.is_empty() && !titled {
        let found = MESSAGES.iter().find_map(|wanted| {
            let at = rec.extra.iter().position(|(name, _)| name.0 == *wanted)?;
            let (_, token) = rec.extra.get(at)?;
            let text = token.text().filter(|t| !t.0.trim_ascii().is_empty())?;
            Some((at, text))
        });
        rec.message = match found {
            Some((at, text)) => {
                rec.extra.remove(at);
                text
            }
            None => rec.exception.as_deref().map(headline).unwrap_or_default(),
        };
    }
}

/// `a/b.go:12` as file and line.
pub(super) fn place(text: &str) -> Option<(&str, i64)> {
    let (file, line) = text.rsplit_once(':')?;
    let digits = !line.is_empty() && line.len() < 10 && line.bytes().all(|b| b.is_ascii_digit());
    (digits && !file.is_empty()).then(|| Some((file, line.parse().ok()?)))?
}

/// A message template of Serilog's with the values in it, where these are known.
fn rendered(rec: &Record<'_>) -> Option<String> {
    let template = rec.message.0.as_ref();
    if !template.contains('{') {
        return None;
    }
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (hole, behind) = after.split_once('}')?;
        let name = hole.split([':', ',']).next().unwrap_or_default();
        let name = name.trim_start_matches(['@', '$']);
        match rec.extra.iter().find(|(n, _)| n.0 == name) {
            Some((_, Token(value))) => match super::text::string(value) {
                Some(text) => out.push_str(text),
                None => out.push_str(&super::escape(value)),
            },
            None => {
                out.push('{');
                out.push_str(hole);
                out.push('}');
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

impl<'a> Thrown<'a> {
    /// Joins what stands in fields of their own with the exception that another field told of.
    fn add_to(self, rec: &mut Record<'a>) {
        if self.kind.is_none() && self.value.is_none() && self.stack.is_none() {
            return;
        }
        let told = rec.exception.take().map(|e| *e).unwrap_or_default();
        let e = exception::assembled(
            self.kind.or(told.kind),
            self.value.or(told.value),
            self.stack.or(told.traceback),
        );
        rec.exception = Some(Box::new(e));
    }
}

/// Takes an exception; what of it has no place there stays in the extra values.
pub(super) fn thrown<'a>(rec: &mut Record<'a>, name: Cow<'a, str>, token: &'a str) {
    if let Some((e, more)) = exception::from_token(token) {
        rec.exception = Some(Box::new(e));
        if more {
            rec.extra.push((Text(name), Token(Cow::Borrowed(token))));
        }
    }
}

/// A value that is no field of its own. Names that loguru's records bind keep their meaning; those that were fields
/// under another name do not get a second chance.
fn leftover<'a>(rec: &mut Record<'a>, known: bool, name: Cow<'a, str>, token: &'a str) {
    if known && name != "error" {
        rec.extra.push((Text(name), Token(Cow::Borrowed(token))));
    } else {
        bound::take_named(rec, name, token);
    }
}

/// `Type: value` of an exception, for a record that has no message.
pub(super) fn headline<'a>(e: &Exception<'a>) -> Text<'a> {
    match (&e.kind, &e.value) {
        (Some(kind), Some(value)) if !value.0.is_empty() => Text(Cow::Owned(format!("{}: {}", kind.0, value.0))),
        (Some(kind), _) => kind.clone(),
        (None, value) => value.clone().unwrap_or_default(),
    }
}
