//! `query`: the store's own language, read-only.

use std::time::Duration;

use serde_json::Value;

use super::answer::Answer;
use super::args::{Query, Which};
use super::render::paint::{cell, number, short};
use super::render::{Paint, Row};
use super::scope::Scope;
use super::window::{Window, duration};
use super::{AskError, Asking};
use crate::store::search::{After, RawAsk, RawRow};

/// The longest a query may run, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Flags that narrow events: a query says by itself which rows it wants.
const OTHERS: [&str; 9] = [
    "since",
    "until",
    "level",
    "execution",
    "script",
    "host",
    "tag",
    "grep",
    "reverse",
];
/// Rows of an answer that is held in memory, unless told otherwise.
const ROWS: usize = 1_000;

/// Runs a query and hands its rows to `visit`, which returns whether to go on.
///
/// # Errors
/// Faulty arguments and queries, writing ones above all; those of the store.
pub fn rows(ask: &Asking<'_>, args: &Query, visit: &mut dyn FnMut(RawRow) -> bool) -> Result<(), AskError> {
    super::naming::refuse("query", &args.which, &OTHERS)?;
    let timeout = timeout(args)?;
    let binds = args.bind.iter().map(|b| bind(b)).collect::<Result<Vec<_>, _>>()?;
    let question = RawAsk {
        text: args.text.clone(),
        binds,
        timeout,
        stop: ask.stop.clone(),
    };
    Ok(ask.store.raw(&question, visit)?)
}

/// How long the query may run.
fn timeout(args: &Query) -> Result<Duration, AskError> {
    match &args.timeout {
        None => Ok(TIMEOUT),
        Some(text) => duration(text)
            .and_then(|d| u64::try_from(d).ok())
            .map(Duration::from_micros)
            .filter(|d| !d.is_zero())
            .ok_or_else(|| AskError::usage(format!("--timeout: cannot read the duration '{text}': try 5s"))),
    }
}

/// Refuses a query that may run longer than `most`.
///
/// # Errors
/// It may.
pub fn within(args: &Query, most: Duration) -> Result<(), AskError> {
    if timeout(args)? > most {
        return Err(AskError::usage(format!(
            "timeout: a query may run for at most {most:?} here"
        )));
    }
    Ok(())
}

/// Runs a query and collects its rows; a cursor goes on behind those of an earlier answer, which is only the same whole
/// where the query says in which order its rows come.
///
/// # Errors
/// See [`rows`].
pub fn query(ask: &Asking<'_>, args: &Query) -> Result<Answer<RawRow>, AskError> {
    super::naming::refuse("query", &args.which, &OTHERS)?;
    let which = Which {
        limit: args.which.limit.or(Some(ROWS)),
        cursor: args.which.cursor.clone(),
        ..Which::default()
    };
    let scope = Scope::new(&ask.clock, &which, &("query", &args.text, &args.bind), Vec::new(), None)?;
    let (offset, limit) = (scope.offset(), scope.limit);
    let mut items = Vec::new();
    let (mut seen, mut more) = (0, false);
    rows(ask, args, &mut |row| {
        seen += 1;
        if seen <= offset {
            return true;
        }
        more = items.len() == limit;
        if !more {
            items.push(row);
        }
        !more
    })?;
    let end = offset + items.len();
    let mut answer = Answer::whole(items, Window::default());
    answer.total = (!more).then_some(end as u64);
    if more {
        answer.truncated = true;
        answer.next_cursor = scope.go_on(true, Some(After::Offset(end as u64)));
        answer.hints.push(format!(
            "cut after {limit} rows: a larger limit shows more (on the command line -o jsonl streams all), and \
             next_cursor goes on where an ORDER BY says in which order"
        ));
    }
    Ok(answer)
}

/// `name=value`: JSON where it parses as such, else text.
fn bind(text: &str) -> Result<(String, Value), AskError> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| AskError::usage(format!("--bind: '{text}' is not name=value")))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

impl Row for RawRow {
    fn draw(items: &[RawRow], paint: &mut Paint) {
        let text = |v: &Value| match v {
            Value::Null => "-".to_owned(),
            Value::String(s) => short(s, 200),
            other => short(&other.to_string(), 200),
        };
        if let Some(RawRow::Columns(names, _)) = items.first() {
            let head: Vec<&str> = names.iter().map(String::as_str).collect();
            let rows = items
                .iter()
                .map(|row| match row {
                    RawRow::Columns(_, values) => values
                        .iter()
                        .map(|v| if v.is_number() { number(v) } else { cell(text(v)) })
                        .collect(),
                    RawRow::Value(json) => vec![cell(short(json.text(), 400))],
                })
                .collect();
            paint.table(&head, rows);
            return;
        }
        for row in items {
            if let RawRow::Value(json) = row {
                let line = text(&json.value());
                paint.line(super::render::paint::Style::Plain, &line);
            }
        }
    }
}
