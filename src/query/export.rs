//! `export`: everything that matches, without a limit, a row at a time.

use serde::Serialize;
use serde_json::Value;

use super::args::{Export, ExportFormat, ExportWhat};
use super::naming::refuse;
use super::scope::{EVENT_FIELDS, LEARNING_FIELDS, RUN_FIELDS, Scope, split_terms};
use super::{AskError, Asking};
use crate::store::search::{After, EventAsk, LearningAsk, Order, RunAsk, Words};

/// Rows asked for at a time.
const PAGE: usize = 1_000;

/// What the words before the flags mean.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    pub what: ExportWhat,
    /// Where to; standard output without one.
    pub file: Option<String>,
    conditions: Vec<String>,
}

/// Reads the words before the flags: what to export, conditions, a file.
///
/// # Errors
/// Two files.
pub fn wanted(args: &Export) -> Result<Wanted, AskError> {
    let mut wanted = Wanted {
        what: ExportWhat::Events,
        file: None,
        conditions: Vec::new(),
    };
    for (i, term) in args.terms.iter().enumerate() {
        let what = ExportWhat::ALL.into_iter().find(|w| w.as_str() == term);
        match what {
            Some(what) if i == 0 => wanted.what = what,
            _ if term.contains(['=', '<', '>']) => wanted.conditions.push(term.clone()),
            _ if wanted.file.is_none() => wanted.file = Some(term.clone()),
            _ => {
                return Err(AskError::usage(format!(
                    "'{term}': one FILE, or conditions such as level=ERROR"
                )));
            }
        }
    }
    Ok(wanted)
}

/// The columns of a table of this kind.
fn columns(what: ExportWhat) -> Vec<&'static str> {
    match what {
        ExportWhat::Events => [EVENT_FIELDS, &["resolved", "resolved_at", "fix_description"]].concat(),
        ExportWhat::Fixes => EVENT_FIELDS.to_vec(),
        ExportWhat::Runs => RUN_FIELDS.to_vec(),
        ExportWhat::Learnings => LEARNING_FIELDS.to_vec(),
    }
}

/// Hands over every row that matches as a line of text; `line` returns whether to go on. Returns how many there were.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn export(
    ask: &Asking<'_>,
    args: &Export,
    wanted: &Wanted,
    line: &mut dyn FnMut(&str) -> bool,
) -> Result<u64, AskError> {
    refuse("export", &args.which, &["cursor"])?;
    let known = match wanted.what {
        ExportWhat::Events | ExportWhat::Fixes => EVENT_FIELDS,
        ExportWhat::Runs => RUN_FIELDS,
        ExportWhat::Learnings => LEARNING_FIELDS,
    };
    let (texts, fields) = split_terms(&wanted.conditions, known)?;
    if let Some(text) = texts.first() {
        return Err(AskError::usage(format!("'{text}' is no FIELD=VALUE condition")));
    }
    let mut scope = Scope::of(ask, &args.which, &"export", fields, None)?;
    scope.filter.is_fix = wanted.what == ExportWhat::Fixes;
    let mut rows = Rows {
        columns: columns(wanted.what),
        format: args.format.unwrap_or_default(),
        left: args.which.limit.map_or(u64::MAX, |n| n as u64),
        written: 0,
        line,
    };
    if rows.format == ExportFormat::Csv {
        let head: Vec<String> = rows.columns.iter().map(|c| (*c).to_owned()).collect();
        if !(rows.line)(&csv(&head)) {
            return Ok(0);
        }
    }
    match wanted.what {
        ExportWhat::Events | ExportWhat::Fixes => events(ask, &scope, &mut rows)?,
        ExportWhat::Runs => runs(ask, &scope, &mut rows)?,
        ExportWhat::Learnings => learnings(ask, &scope, &mut rows)?,
    }
    Ok(rows.written)
}

struct Rows<'l> {
    columns: Vec<&'static str>,
    format: ExportFormat,
    left: u64,
    written: u64,
    line: &'l mut dyn FnMut(&str) -> bool,
}

impl Rows<'_> {
    /// Writes a row; false where no more is wanted.
    fn put(&mut self, row: &impl Serialize) -> bool {
        if self.left == 0 {
            return false;
        }
        let text = match self.format {
            ExportFormat::Jsonl => serde_json::to_string(row).unwrap_or_default(),
            ExportFormat::Csv => {
                let doc = serde_json::to_value(row).unwrap_or_default();
                let cell = |name: &&str| match doc.get(*name) {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(s)) => s.clone(),
                    Some(other) => other.to_string(),
                };
                csv(&self.columns.iter().map(cell).collect::<Vec<_>>())
            }
        };
        self.left -= 1;
        self.written += 1;
        (self.line)(&text) && self.left > 0
    }
}

/// A line of comma-separated values (RFC 4180), without its end.
fn csv(cells: &[String]) -> String {
    let quoted = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",")
}

fn events(ask: &Asking<'_>, scope: &Scope, rows: &mut Rows<'_>) -> Result<(), AskError> {
    let mut after = None;
    loop {
        let page = ask.store.events(&EventAsk {
            filter: scope.filter.clone(),
            words: None,
            order: if scope.oldest_first {
                Order::Oldest
            } else {
                Order::Newest
            },
            after,
            limit: PAGE,
            count: false,
        })?;
        after = page.items.last().map(|(e, _)| super::events::position(e));
        let mut events: Vec<_> = page.items.into_iter().map(|(e, _)| e).collect();
        super::events::resolve(ask, events.iter_mut())?;
        if !events.iter().all(|e| rows.put(e)) || !page.more {
            return Ok(());
        }
    }
}

fn runs(ask: &Asking<'_>, scope: &Scope, rows: &mut Rows<'_>) -> Result<(), AskError> {
    let mut after = None;
    loop {
        let page = ask.store.runs(&RunAsk {
            after,
            limit: PAGE,
            ..super::runs::run_ask(scope, None, scope.filter.fields.clone())
        })?;
        after = page.items.last().map(|r| After::Position {
            timestamp: r.start_time.clone(),
            seq: 0,
            key: r.execution_id.clone(),
        });
        if !page.items.iter().all(|r| rows.put(r)) || !page.more {
            return Ok(());
        }
    }
}

fn learnings(ask: &Asking<'_>, scope: &Scope, rows: &mut Rows<'_>) -> Result<(), AskError> {
    let f = &scope.filter;
    let mut after = None;
    loop {
        let page = ask.store.learnings(&LearningAsk {
            since: f.since,
            until: f.until,
            words: None::<Words>,
            min_confidence: None,
            executions: f.executions.clone(),
            scripts: f.scripts.clone(),
            tags: f.tags.clone(),
            grep: f.grep.clone(),
            fields: f.fields.clone(),
            oldest: scope.oldest_first,
            after,
            limit: PAGE,
        })?;
        after = page.items.last().map(|(l, _)| After::Position {
            timestamp: l.timestamp.clone(),
            seq: 0,
            key: l.key.clone(),
        });
        if !page.items.iter().all(|(l, _)| rows.put(l)) || !page.more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let cells = ["a", "b,c", "d\"e", "f\ng", ""].map(str::to_owned);
        assert_eq!(csv(&cells), "a,\"b,c\",\"d\"\"e\",\"f\ng\",");
    }

    #[test]
    fn the_words_before_the_flags_are_a_kind_conditions_and_a_file() {
        let read = |terms: &[&str]| {
            wanted(&Export {
                terms: terms.iter().map(|t| (*t).to_owned()).collect(),
                ..Export::default()
            })
        };
        let all = read(&["runs", "status=failed", "out.csv"]).expect("readable");
        assert_eq!((all.what, all.file.as_deref()), (ExportWhat::Runs, Some("out.csv")));
        assert_eq!(
            read(&["out.jsonl"]).expect("readable").file.as_deref(),
            Some("out.jsonl")
        );
        assert_eq!(read(&[]).expect("readable").what, ExportWhat::Events);
        assert!(read(&["events", "a", "b"]).is_err());
    }
}
