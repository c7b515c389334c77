//! Flat JSON objects: each field under one of many names.
//!
//! Of several names of one field the first by the interface's order wins; the others, and what cannot be what its name
//! says, stay in `extra_data` under their own names.

use std::borrow::Cow;

use super::bound::{self, id, is_number, list};
use super::exception::{self, text_of};
use super::{Event, Exception, Micros, Record, Text, Token, level, time};
use crate::config::NaiveTime;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
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
}

const FIELDS: usize = Field::Embeddings as usize + 1;

/// The field that a name stands for, and its rank among the names of that field.
fn alias(name: &str) -> Option<(Field, usize)> {
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

/// Reads the checked members of a flat object.
pub(super) fn read<'a>(members: &[(&'a str, &'a str)], naive: NaiveTime, rec: &mut Record<'a>) {
    let word = members
        .iter()
        .find(|(n, _)| *n == "event")
        .and_then(|(_, v)| super::text::string(v));
    let event = word.and_then(bound::event);
    let fits = |field: Field, name: &str, token: &'a str| {
        // A run's end says with `error` why.
        !(event == Some(Event::RunEnd) && name == "error") && Reader { naive, token }.fits(field)
    };
    // Per field the best name so far: its rank, and which member it is.
    let mut claims: [Option<(usize, usize)>; FIELDS] = [None; FIELDS];
    for (i, (name, token)) in members.iter().enumerate() {
        if let Some((field, rank)) = alias(name)
            && let Some(claim) = claims.get_mut(field as usize)
            && claim.is_none_or(|(best, _)| rank < best)
            && fits(field, name, token)
        {
            *claim = Some((rank, i));
        }
    }
    rec.level = Cow::Borrowed("INFO");
    rec.level_no = level::UNKNOWN;
    let titled = claims.get(Field::Message as usize).is_some_and(Option::is_some);
    for (i, (name, token)) in members.iter().enumerate() {
        let known = alias(name);
        match known {
            Some((field, _))
                if claims
                    .get(field as usize)
                    .is_some_and(|c| c.is_some_and(|(_, m)| m == i)) =>
            {
                if field == Field::Exception {
                    thrown(rec, name, token);
                } else {
                    Reader { naive, token }.fill(field, rec);
                }
            }
            // A known field without a value.
            Some(_) if *token == "null" => {}
            // structlog calls the message `event`.
            None if *name == "event" && event.is_none() && !titled && word.is_some_and(|w| !w.is_empty()) => {
                rec.message = Text(Cow::Borrowed(word.unwrap_or_default()));
            }
            _ => leftover(rec, name, token),
        }
    }
    if event == Some(Event::Learning) || rec.bound.log_category.is_some() {
        rec.bound.function_name = rec.function_name.clone();
    }
    if rec.message.0.is_empty() && !titled {
        rec.message = rec.exception.as_deref().map(headline).unwrap_or_default();
    }
}

/// Takes an exception; what of it has no place there stays in the extra values.
fn thrown<'a>(rec: &mut Record<'a>, name: &'a str, token: &'a str) {
    if let Some((e, more)) = exception::from_token(token) {
        rec.exception = Some(Box::new(e));
        if more {
            rec.extra.push((Text(Cow::Borrowed(name)), Token(Cow::Borrowed(token))));
        }
    }
}

/// A value that is no field of its own. Names that loguru's records bind keep their meaning; those that were fields
/// under another name do not get a second chance.
fn leftover<'a>(rec: &mut Record<'a>, name: &'a str, token: &'a str) {
    if alias(name).is_some() && name != "error" {
        rec.extra.push((Text(Cow::Borrowed(name)), Token(Cow::Borrowed(token))));
    } else {
        bound::take(rec, name, token);
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

/// One member's value, as the field it is to be.
struct Reader<'a> {
    naive: NaiveTime,
    token: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&self) -> Token<'a> {
        Token(Cow::Borrowed(self.token))
    }

    fn text(&self) -> Option<Text<'a>> {
        text_of(&self.value())
    }

    /// An integer, also in quotes: shells have nothing else.
    fn integer(&self) -> Option<i64> {
        super::text::string(self.token).unwrap_or(self.token).parse().ok()
    }

    fn time(&self) -> Option<Micros> {
        match super::text::string(self.token) {
            Some(text) => time::parse_time(&super::unescape(text), self.naive),
            None => time::epoch(self.token),
        }
    }

    fn level(&self) -> Option<(Cow<'a, str>, i64)> {
        let name = match super::text::string(self.token) {
            Some(text) if !text.is_empty() => super::unescape(text),
            None if is_number(self.token) => {
                let whole = self.token.split('.').next().unwrap_or(self.token);
                Cow::Borrowed(whole.parse::<i64>().ok().map(|_| whole)?)
            }
            _ => return None,
        };
        Some(match name {
            Cow::Borrowed(name) => level::level(name),
            Cow::Owned(name) => {
                let (name, no) = level::level(&name);
                (Cow::Owned(name.into_owned()), no)
            }
        })
    }

    fn fits(&self, field: Field) -> bool {
        match field {
            Field::Time => self.time().is_some(),
            Field::Level => self.level().is_some(),
            Field::Message => super::text::string(self.token).is_some(),
            Field::Execution => id(&self.value()).is_some(),
            Field::Line | Field::Pid | Field::Thread => self.integer().is_some(),
            Field::Exception => exception::from_token(self.token).is_some(),
            Field::Tags => list(&self.value(), |e| e.starts_with('"')).is_some(),
            Field::Embeddings => list(&self.value(), is_number).is_some(),
            _ => self.text().is_some(),
        }
    }

    fn fill(&self, field: Field, rec: &mut Record<'a>) {
        match field {
            Field::Time => rec.time = self.time(),
            Field::Level => (rec.level, rec.level_no) = self.level().unwrap_or_default(),
            Field::Message => {
                rec.message = Text(Cow::Borrowed(super::text::string(self.token).unwrap_or_default()));
            }
            Field::Execution => rec.bound.execution_id = id(&self.value()),
            Field::Script => rec.bound.script_name = self.text(),
            Field::Function => rec.function_name = self.text(),
            Field::File => rec.file_path = self.text(),
            Field::Line => rec.line_number = self.integer(),
            Field::Logger => rec.logger = self.text(),
            Field::Module => rec.module = self.text(),
            Field::Pid => rec.pid = self.integer(),
            Field::Process => rec.process_name = self.text(),
            Field::Thread => rec.thread_id = self.integer(),
            Field::ThreadName => rec.thread_name = self.text(),
            Field::Host => rec.host = self.text(),
            Field::Tags => rec.bound.tags = Some(self.value()),
            Field::Embeddings => rec.bound.embeddings = Some(self.value()),
            // See `thrown`.
            Field::Exception => {}
        }
    }
}
