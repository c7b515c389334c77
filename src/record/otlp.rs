//! OpenTelemetry's logs as JSON: one line holds the records of many resources and scopes.

use std::borrow::Cow;

use super::bound;
use super::exception;
use super::fields::{elements, members};
use super::level::{self, Scale};
use super::text::string;
use super::time::{self, Clock};
use super::{Record, Text, Token, escape};

/// Deeper values are kept as they are written.
const DEPTH: usize = 32;

/// Reads a line with `resourceLogs`: the first log record, and all further ones. `false` if it is none.
pub(super) fn read<'a>(
    top: &[(&'a str, &'a str)],
    clock: Clock,
    rec: &mut Record<'a>,
    more: &mut Vec<Record<'static>>,
) -> bool {
    let Some((_, resources)) = top
        .iter()
        .find(|(name, _)| *name == "resourceLogs" || *name == "resource_logs")
    else {
        return false;
    };
    let mut first = true;
    for resource in elements(resources) {
        let attributes = get(resource, "resource")
            .and_then(|r| get(r, "attributes"))
            .unwrap_or("[]");
        let scopes = any(resource, &["scopeLogs", "scope_logs", "instrumentationLibraryLogs"]).unwrap_or("[]");
        for scope in elements(scopes) {
            let logger = any(scope, &["scope", "instrumentationLibrary"])
                .and_then(|s| get(s, "name"))
                .and_then(string)
                .filter(|n| !n.is_empty());
            for log in elements(any(scope, &["logRecords", "log_records", "logs"]).unwrap_or("[]")) {
                let mut one = Record::default();
                record(log, clock, &mut one);
                one.logger = one.logger.take().or(logger.map(|l| Text(Cow::Borrowed(l))));
                resource_of(attributes, &mut one);
                if std::mem::take(&mut first) {
                    *rec = one;
                } else {
                    more.push(one.into_owned());
                }
            }
        }
    }
    if first {
        (rec.level, rec.level_no) = (Cow::Borrowed("INFO"), level::UNKNOWN);
    }
    true
}

fn get<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    members(object).find(|(n, _)| *n == name).map(|(_, v)| v)
}

fn any<'a>(object: &'a str, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| get(object, name))
}

/// One log record.
fn record<'a>(log: &'a str, clock: Clock, rec: &mut Record<'a>) {
    (rec.level, rec.level_no) = (Cow::Borrowed("INFO"), level::UNKNOWN);
    let number = any(log, &["severityNumber", "severity_number"]);
    let severity = number.and_then(|n| {
        let text = string(n).unwrap_or(n);
        // Also as the name of the enumeration's value: SEVERITY_NUMBER_ERROR.
        text.parse::<i64>()
            .ok()
            .or_else(|| level_of_name(text.rsplit('_').next()?))
    });
    let name = any(log, &["severityText", "severity_text"])
        .and_then(string)
        .filter(|n| !n.is_empty());
    if let Some(n) = severity.filter(|n| *n > 0) {
        let (name, no) = Scale::Otel.level(n);
        (rec.level, rec.level_no) = (Cow::Borrowed(name), no);
    } else if let Some(name) = name {
        (rec.level, rec.level_no) = level::level(name);
    }
    let at = any(log, &["timeUnixNano", "time_unix_nano"]).and_then(|t| nanos(t, clock));
    rec.time =
        at.or_else(|| any(log, &["observedTimeUnixNano", "observed_time_unix_nano"]).and_then(|t| nanos(t, clock)));
    if let Some(body) = get(log, "body") {
        rec.message = match get(body, "stringValue")
            .or_else(|| get(body, "string_value"))
            .and_then(string)
        {
            Some(text) => Text(Cow::Borrowed(text)),
            None => Text(Cow::Owned(escape(&value(body, 0)).into_owned())),
        };
    }
    attributes(get(log, "attributes").unwrap_or("[]"), rec);
    for name in ["traceId", "spanId", "trace_id", "span_id"] {
        if let Some(token) = get(log, name).filter(|t| string(t).is_some_and(|t| !t.is_empty())) {
            bound::add(rec, name, token);
        }
    }
}

fn level_of_name(name: &str) -> Option<i64> {
    let (_, no) = level::word(name)?;
    Some(match no {
        ..10 => 1,
        10..20 => 5,
        20..30 => 9,
        30..40 => 13,
        40..50 => 17,
        _ => 21,
    })
}

fn nanos(token: &str, clock: Clock) -> Option<i64> {
    let text = string(token).unwrap_or(token);
    time::epoch(text).or_else(|| time::written(text, clock))
}

/// The attributes of a log record: those with a field of their own, the exception, and the rest.
fn attributes<'a>(list: &'a str, rec: &mut Record<'a>) {
    let (mut kind, mut told, mut stack) = (None, None, None);
    for (name, value) in pairs(list) {
        let text = text(value);
        let slot = match name {
            "exception.type" => &mut kind,
            "exception.message" => &mut told,
            "exception.stacktrace" => &mut stack,
            "code.function" | "code.function.name" => &mut rec.function_name,
            "code.filepath" | "code.file.path" => &mut rec.file_path,
            "thread.name" => &mut rec.thread_name,
            "log.logger" | "logger.name" => &mut rec.logger,
            "code.lineno" | "code.line.number" => {
                rec.line_number = self::value(value, 0).trim_matches('"').parse().ok();
                continue;
            }
            "thread.id" => {
                rec.thread_id = self::value(value, 0).trim_matches('"').parse().ok();
                continue;
            }
            _ => {
                add(rec, name, value);
                continue;
            }
        };
        match text {
            Some(text) if slot.is_none() => *slot = Some(text),
            _ => add(rec, name, value),
        }
    }
    if kind.is_some() || told.is_some() || stack.is_some() {
        rec.exception = Some(Box::new(exception::assembled(kind, told, stack)));
    }
}

/// The attributes of the resource: who wrote.
fn resource_of<'a>(list: &'a str, rec: &mut Record<'a>) {
    for (name, value) in pairs(list) {
        match name {
            "service.name" => rec.bound.script_name = text(value).or(rec.bound.script_name.take()),
            "host.name" => rec.host = text(value).or(rec.host.take()),
            "process.pid" => rec.pid = self::value(value, 0).trim_matches('"').parse().ok(),
            "process.executable.name" => rec.process_name = text(value),
            _ => add(rec, name, value),
        }
    }
}

/// Keys and values of a list of attributes.
fn pairs(list: &str) -> impl Iterator<Item = (&str, &str)> {
    elements(list).filter_map(|pair| Some((get(pair, "key").and_then(string)?, get(pair, "value")?)))
}

fn text<'a>(value: &'a str) -> Option<Text<'a>> {
    let text = any(value, &["stringValue", "string_value"]).and_then(string)?;
    (!text.is_empty()).then_some(Text(Cow::Borrowed(text)))
}

fn add(rec: &mut Record<'_>, name: &str, value: &str) {
    let mut free = name.to_owned();
    while rec.extra.iter().any(|(n, _)| n.0 == free) {
        free.push('_');
    }
    let token = Token(Cow::Owned(self::value(value, 0)));
    rec.extra.push((Text(Cow::Owned(free)), token));
}

/// A value as plain JSON: `{"intValue":"7"}` is 7.
fn value(typed: &str, depth: usize) -> String {
    let Some((kind, token)) = members(typed).next().filter(|_| depth < DEPTH) else {
        return if typed.starts_with('{') {
            "null".to_owned()
        } else {
            typed.to_owned()
        };
    };
    match kind {
        "intValue" | "int_value" => {
            let digits = string(token).unwrap_or(token);
            let fits = digits.parse::<i64>().is_ok();
            if fits { digits.to_owned() } else { token.to_owned() }
        }
        "arrayValue" | "array_value" => {
            let list = get(token, "values").unwrap_or("[]");
            let all: Vec<String> = elements(list).map(|v| value(v, depth + 1)).collect();
            format!("[{}]", all.join(","))
        }
        "kvlistValue" | "kvlist_value" => {
            let list = get(token, "values").unwrap_or("[]");
            let mut names = Vec::new();
            let mut all = Vec::new();
            for (name, v) in pairs(list) {
                // Names in one object are unique.
                if !names.contains(&name) {
                    names.push(name);
                    all.push(format!("\"{name}\":{}", value(v, depth + 1)));
                }
            }
            format!("{{{}}}", all.join(","))
        }
        _ => token.to_owned(),
    }
}
