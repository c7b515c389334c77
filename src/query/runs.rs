//! `runs`: what ran.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::Runs;
use super::failures::{errors_of, reason};
use super::render::lean::{plain_values, rounded, seconds};
use super::render::paint::{Style, cell, number, plain, short};
use super::render::{Paint, Row};
use super::scope::{RUN_FIELDS, Scope, conditions, known_path};
use super::window::{DAY, parse_stored, show_duration};
use super::{AskError, Asking};
use crate::store::admit::{at, name_of};
use crate::store::search::{After, FieldIs, Filter, RunAsk, Sign};
use crate::store::stored::Run;

/// A run with the number of its errors.
#[derive(Clone, Debug, Serialize)]
pub struct RunRow {
    #[serde(flatten)]
    pub run: Run,
    /// Events of level ERROR and above.
    pub errors: u64,
    /// Why it failed, in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it has been running, or ran, in microseconds; for people.
    #[serde(skip)]
    pub micros: Option<i64>,
    /// Values of further columns.
    #[serde(skip)]
    pub columns: Vec<(String, String)>,
}

/// Runs, newest first.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn runs(ask: &Asking<'_>, args: &Runs) -> Result<Answer<RunRow>, AskError> {
    let mut fields = conditions(&args.fields, RUN_FIELDS, "; a script is named by --script")?;
    let columns = args
        .columns
        .iter()
        .map(|c| Ok((c.clone(), known_path(c, RUN_FIELDS)?)))
        .collect::<Result<Vec<_>, AskError>>()?;
    if args.unfinished && args.status.is_some() {
        return Err(AskError::usage(
            "--unfinished is a choice of statuses: give it, or --status",
        ));
    }
    if args.unfinished {
        fields.push(FieldIs {
            path: vec!["status".to_owned()],
            values: vec!["running".to_owned(), "lost".to_owned()],
            sign: Sign::Is,
        });
    }
    let question = ("runs", args.status, args.unfinished);
    let scope = Scope::of(ask, &args.which, &question, fields, Some(DAY))?;
    let fields = scope.filter.fields.clone();
    let mut page = ask.store.runs(&RunAsk {
        count: true,
        after: scope.after.clone(),
        limit: scope.limit,
        ..run_ask(&scope, args.status.map(|s| s.as_str()), fields)
    })?;
    let mut items = count_errors(ask, std::mem::take(&mut page.items))?;
    for row in &mut items {
        row.reason = reason(ask, &row.run)?;
        let doc = serde_json::to_value(&row.run).unwrap_or_default();
        let value = |path: &[String]| at(&doc, path).and_then(name_of).unwrap_or_else(|| "-".to_owned());
        row.columns = columns.iter().map(|(name, path)| (name.clone(), value(path))).collect();
    }
    let after = items.last().map(|r| After::Position {
        timestamp: r.run.start_time.clone(),
        seq: 0,
        key: r.run.execution_id.clone(),
    });
    let hints = if items.is_empty() && !page.more {
        no_runs(ask, &scope)?
    } else {
        Vec::new()
    };
    Ok(Answer {
        next_cursor: scope.go_on(page.more, after),
        truncated: page.more,
        items,
        total: page.total,
        window: scope.window,
        hints,
        extra: Vec::new(),
    })
}

/// The runs that a scope is about. Conditions on events mean: runs that have such an event.
#[must_use]
pub fn run_ask(scope: &Scope, status: Option<&'static str>, fields: Vec<FieldIs>) -> RunAsk {
    let f = &scope.filter;
    let with_event = (f.min_level.is_some() || !f.tags.is_empty() || f.grep.is_some()).then(|| Filter {
        min_level: f.min_level,
        tags: f.tags.clone(),
        grep: f.grep.clone(),
        ..Filter::default()
    });
    RunAsk {
        since: f.since,
        until: f.until,
        status,
        scripts: f.scripts.clone(),
        hosts: f.hosts.clone(),
        executions: f.executions.clone(),
        fields,
        with_event,
        oldest: scope.oldest_first,
        limit: scope.limit,
        ..RunAsk::default()
    }
}

fn no_runs(ask: &Asking<'_>, scope: &Scope) -> Result<Vec<String>, AskError> {
    let newest = |filtered: bool| -> Result<Option<Run>, AskError> {
        let base = if filtered {
            run_ask(scope, None, scope.filter.fields.clone())
        } else {
            RunAsk::default()
        };
        let page = ask.store.runs(&RunAsk {
            since: None,
            until: None,
            oldest: false,
            limit: 1,
            ..base
        })?;
        Ok(page.items.into_iter().next())
    };
    let Some(any) = newest(false)? else {
        return Ok(vec![format!(
            "the store {} knows no run yet: is the agent running (logagent status)?",
            ask.store.name()
        )]);
    };
    Ok(vec![match newest(true)? {
        Some(run) => format!(
            "no such run in this window; the newest that meets the other conditions began at {}: widen --since, \
             or drop --status",
            ask.clock.show(&run.start_time)
        ),
        None => format!(
            "no run meets these conditions; the newest of all is {} of {}",
            any.execution_id, any.script_name
        ),
    }])
}

/// Counts the errors of runs, each failure once.
///
/// # Errors
/// Those of the store.
pub fn count_errors(ask: &Asking<'_>, runs: Vec<Run>) -> Result<Vec<RunRow>, AskError> {
    let ids: Vec<String> = runs.iter().map(|r| r.execution_id.clone()).collect();
    let errors = errors_of(ask, &ids)?;
    let now = ask.clock.now;
    Ok(runs
        .into_iter()
        .map(|run| RunRow {
            errors: errors.get(&run.execution_id).copied().unwrap_or(0),
            micros: length(&run, now),
            reason: None,
            columns: Vec::new(),
            run,
        })
        .collect())
}

/// How long a run took, or has been running by now, in microseconds.
#[must_use]
pub fn length(run: &Run, now: i64) -> Option<i64> {
    match run.duration_seconds {
        Some(s) => Some((s * 1e6) as i64),
        None if run.status == "running" => Some(now.saturating_sub(parse_stored(&run.start_time)?)),
        None => None,
    }
}

impl Row for RunRow {
    fn draw(items: &[RunRow], paint: &mut Paint) {
        let mut head = vec!["status", "script", "started", "took", "errors", "execution"];
        let reasons = items.iter().any(|r| r.reason.is_some());
        if reasons {
            head.push("why");
        }
        if let Some(first) = items.first() {
            head.extend(first.columns.iter().map(|(name, _)| name.as_str()));
        }
        let rows = items
            .iter()
            .map(|r| {
                let errors = number(r.errors);
                let mut cells = vec![
                    cell(plain(&r.run.status)).styled(Style::of_status(&r.run.status)),
                    cell(short(&r.run.script_name, 40)).styled(Style::Cyan),
                    cell(paint.clock.show(&r.run.start_time)),
                    number(r.micros.map_or("-".to_owned(), show_duration)),
                    if r.errors > 0 {
                        errors.styled(Style::Red)
                    } else {
                        errors
                    },
                    cell(plain(&r.run.execution_id)),
                ];
                if reasons {
                    cells.push(cell(short(r.reason.as_deref().unwrap_or(""), 60)).styled(Style::Red));
                }
                cells.extend(r.columns.iter().map(|(_, value)| cell(short(value, 60))));
                cells
            })
            .collect();
        paint.table(&head, rows);
    }

    fn lean(&self) -> Value {
        let mut out = json!({
            "execution_id": self.run.execution_id, "script": self.run.script_name, "status": self.run.status,
            "start": seconds(&self.run.start_time), "errors": self.errors,
        });
        if let Some(map) = out.as_object_mut() {
            if let Some(d) = self.run.duration_seconds {
                map.insert("duration_seconds".into(), json!(rounded(d)));
            }
            if let Some(why) = self.reason.as_ref().or(self.run.error.as_ref()) {
                map.insert("why".into(), json!(short(why, 120)));
            }
            if let Some(m) = &self.run.metadata {
                map.insert("metadata".into(), plain_values(&m.value()));
            }
        }
        out
    }
}
