//! `history` and `response`: how a script did over days, and what it returned.
//!
//! How a run without `run_end` went is not known (`ended`): it counts neither as a success nor as a failure, and neither
//! does one that is still running or was lost from sight.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::{History, Response, Which};
use super::drift::{mean, percentile};
use super::events::resolve;
use super::failures::reason;
use super::render::lean::{rounded, said, seconds as seconds_of};
use super::render::paint::{Style, cell, number, plain, short};
use super::render::{Paint, Row};
use super::runs::{RunRow, count_errors, run_ask};
use super::scope::{EVENT_FIELDS, RUN_FIELDS, Scope, hints, known_path, split_terms};
use super::window::{Clock, DAY, parse_stored, show_duration};
use super::{AskError, Asking};
use crate::store::admit::{at, name_of, response as response_of};
use crate::store::search::{After, EventAsk, FieldIs, Order, RunAsk};
use crate::store::stored::Run;

/// Days looked back without `--days` and `--since`.
const DAYS: u32 = 7;
/// Runs that are looked at; the newest.
const RUNS_MAX: usize = 50_000;

/// What is said of several runs together.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct Totals {
    pub runs: u64,
    pub success: u64,
    /// `failed` and `crashed`.
    pub failed: u64,
    /// Over, without anybody having said how it went.
    pub ended: u64,
    pub running: u64,
    pub lost: u64,
    /// Of the runs that succeeded or failed, 0 to 1.
    pub success_rate: Option<f64>,
    pub mean_seconds: Option<f64>,
    /// Of the runs that succeeded.
    pub mean_success_seconds: Option<f64>,
    pub p95_seconds: Option<f64>,
    pub errors: u64,
}

/// How success rate and duration of the newer half of a window compare with those of the older half.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct Trend {
    /// Difference of the success rates, -1 to 1.
    pub success_rate: Option<f64>,
    /// Newer mean duration divided by the older.
    pub duration_ratio: Option<f64>,
}

/// One row of a history: a day, a run, a version, a script.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryRow {
    #[serde(skip)]
    title: &'static str,
    /// What the row is about, under `day`, `run`, `script` or `value`.
    #[serde(flatten, serialize_with = "tagged")]
    pub name: (&'static str, String),
    #[serde(flatten)]
    pub totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
    /// Start of the first run of the row, and of the last.
    pub first_start: String,
    pub newest_start: String,
    /// Why the newest run that failed did, in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip)]
    failed: Option<Run>,
}

fn tagged<S: serde::Serializer>(name: &(&'static str, String), s: S) -> Result<S::Ok, S::Error> {
    s.collect_map([(name.0, &name.1)])
}

/// How a script did, or how all scripts did.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn history(ask: &Asking<'_>, args: &History) -> Result<Answer<HistoryRow>, AskError> {
    let (which, fields) = named(&args.which, args.name.as_ref(), &args.fields, RUN_FIELDS)?;
    let days = i64::from(args.days.unwrap_or(DAYS).max(1));
    let by = args.by.as_deref().unwrap_or("day");
    let question = ("history", days, by, &which.script, args.status);
    let mut scope = Scope::of(ask, &which, &question, fields, Some(days * DAY))?;
    let page = ask.store.runs(&RunAsk {
        until: scope.pin_time(ask.clock.now),
        oldest: false,
        limit: RUNS_MAX,
        ..run_ask(&scope, args.status.map(|s| s.as_str()), scope.filter.fields.clone())
    })?;
    let runs = count_errors(ask, page.items)?;
    let totals = sum(&runs);
    let mut rows = match &which.script {
        Some(_) => rows_by(&ask.clock, by, &runs)?,
        None => by_script(ask, &scope, &runs),
    };
    if scope.oldest_first {
        rows.reverse();
    }
    let total = rows.len();
    let offset = scope.offset().min(total);
    let mut items: Vec<HistoryRow> = rows.drain(offset..).take(scope.limit).collect();
    for row in &mut items {
        if let Some(run) = row.failed.take() {
            row.reason = reason(ask, &run)?;
        }
    }
    let end = offset + items.len();
    let mut notes = Vec::new();
    if page.more {
        notes.push(format!("only the newest {RUNS_MAX} runs of the window were looked at"));
    }
    if total == 0 {
        notes.push(match &which.script {
            Some(script) => format!("no run of '{script}' in this window: see `logagent runs -S 90d`, or give --days"),
            None => "no run in this window: give more --days".to_owned(),
        });
    }
    Ok(Answer {
        next_cursor: (end < total).then(|| scope.next(After::Offset(end as u64))),
        truncated: end < total || page.more,
        items,
        total: Some(total as u64),
        window: scope.window,
        hints: notes,
        extra: vec![
            ("script", json!(which.script)),
            ("totals", serde_json::to_value(&totals).unwrap_or_default()),
        ],
    })
}

/// The script and the conditions that stand before the flags, where a condition may come without a script.
fn named(
    which: &Which,
    name: Option<&String>,
    fields: &[String],
    known: &[&str],
) -> Result<(Which, Vec<FieldIs>), AskError> {
    let terms: Vec<String> = name.into_iter().chain(fields).cloned().collect();
    let (texts, fields) = split_terms(&terms, known)?;
    let mut which = which.clone();
    match texts.as_slice() {
        [] => {}
        [script] => which.script = Some(script.clone()),
        [_, text, ..] => return Err(AskError::usage(format!("'{text}' is no FIELD=VALUE condition"))),
    }
    Ok((which, fields))
}

/// One row for each day, run, or value of a field; newest first.
fn rows_by(clock: &Clock, by: &str, runs: &[RunRow]) -> Result<Vec<HistoryRow>, AskError> {
    let path = match by {
        "day" | "run" => Vec::new(),
        field => known_path(field, RUN_FIELDS)?,
    };
    let mut groups: BTreeMap<String, Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        let name = match by {
            "day" => clock.day(&run.run.start_time),
            "run" => run.run.execution_id.clone(),
            _ => {
                let doc = serde_json::to_value(&run.run).unwrap_or_default();
                at(&doc, &path).and_then(name_of).unwrap_or_else(|| "-".to_owned())
            }
        };
        groups.entry(name).or_default().push(run);
    }
    let kind = match by {
        "day" => "day",
        "run" => "run",
        _ => "value",
    };
    let mut rows: Vec<HistoryRow> = groups
        .into_iter()
        .map(|(name, runs)| HistoryRow {
            title: kind,
            status: (kind == "run")
                .then(|| runs.first().map(|r| r.run.status.clone()))
                .flatten(),
            ..row(kind, name, &runs)
        })
        .collect();
    rows.sort_by(|a, b| {
        b.newest_start
            .cmp(&a.newest_start)
            .then_with(|| b.name.1.cmp(&a.name.1))
    });
    Ok(rows)
}

fn row(kind: &'static str, name: String, runs: &[&RunRow]) -> HistoryRow {
    HistoryRow {
        title: kind,
        name: (kind, name),
        totals: sum(runs.iter().copied()),
        status: None,
        trend: None,
        first_start: runs.iter().map(|r| r.run.start_time.clone()).min().unwrap_or_default(),
        reason: None,
        failed: runs
            .iter()
            .filter(|r| matches!(r.run.status.as_str(), "failed" | "crashed"))
            .max_by(|a, b| a.run.start_time.cmp(&b.run.start_time))
            .map(|r| r.run.clone()),
        newest_start: runs.iter().map(|r| r.run.start_time.clone()).max().unwrap_or_default(),
    }
}

/// One row for each script; the worst change first.
fn by_script(ask: &Asking<'_>, scope: &Scope, runs: &[RunRow]) -> Vec<HistoryRow> {
    let until = scope.filter.until.unwrap_or(ask.clock.now);
    let since = scope.filter.since.unwrap_or_else(|| {
        runs.iter()
            .filter_map(|r| parse_stored(&r.run.start_time))
            .min()
            .unwrap_or(until)
    });
    let middle = crate::record::format_time(since + (until - since) / 2);
    let mut groups: BTreeMap<String, Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        groups.entry(run.run.script_name.clone()).or_default().push(run);
    }
    let mut rows: Vec<HistoryRow> = groups
        .into_iter()
        .map(|(name, runs)| {
            let (newer, older): (Vec<&RunRow>, Vec<&RunRow>) = runs.iter().partition(|r| r.run.start_time >= middle);
            HistoryRow {
                trend: Some(trend(&sum(older), &sum(newer))),
                ..row("script", name, &runs)
            }
        })
        .collect();
    let worse = |r: &HistoryRow| {
        let trend = r.trend.clone().unwrap_or_default();
        (trend.success_rate.unwrap_or(0.0), trend.duration_ratio.unwrap_or(1.0))
    };
    rows.sort_by(|a, b| {
        let ((rate_a, time_a), (rate_b, time_b)) = (worse(a), worse(b));
        rate_a
            .total_cmp(&rate_b)
            .then(time_b.total_cmp(&time_a))
            .then_with(|| b.totals.failed.cmp(&a.totals.failed))
            .then_with(|| a.name.1.cmp(&b.name.1))
    });
    rows
}

fn trend(older: &Totals, newer: &Totals) -> Trend {
    Trend {
        success_rate: older.success_rate.zip(newer.success_rate).map(|(a, b)| b - a),
        duration_ratio: older
            .mean_seconds
            .zip(newer.mean_seconds)
            .filter(|(a, _)| *a > 0.0)
            .map(|(a, b)| b / a),
    }
}

/// Adds runs up.
fn sum<'r>(runs: impl IntoIterator<Item = &'r RunRow>) -> Totals {
    let mut t = Totals::default();
    let (mut seconds, mut succeeded) = (Vec::new(), Vec::new());
    for r in runs {
        t.runs += 1;
        t.errors += r.errors;
        match r.run.status.as_str() {
            "success" => t.success += 1,
            "ended" => t.ended += 1,
            "failed" | "crashed" => t.failed += 1,
            "running" => t.running += 1,
            _ => t.lost += 1,
        }
        if r.run.status != "running" {
            seconds.extend(r.run.duration_seconds);
        }
        if r.run.status == "success" {
            succeeded.extend(r.run.duration_seconds);
        }
    }
    let decided = t.success + t.failed;
    t.success_rate = (decided > 0).then(|| t.success as f64 / decided as f64);
    t.mean_seconds = mean(&seconds);
    t.mean_success_seconds = mean(&succeeded);
    t.p95_seconds = percentile(&mut seconds, 0.95);
    t
}

impl Row for HistoryRow {
    fn draw(items: &[HistoryRow], paint: &mut Paint) {
        let Some(first) = items.first() else {
            return;
        };
        let secs = |s: Option<f64>| s.map_or("-".to_owned(), |s| show_duration((s * 1e6) as i64));
        let mut head = vec![first.title, "runs", "ok", "failed", "success", "mean", "p95", "errors"];
        let ended = items.iter().any(|r| r.totals.ended > 0);
        if ended {
            head.insert(4, "ended");
        }
        let reasons = items.iter().any(|r| r.reason.is_some());
        let trend = items.iter().any(|r| r.trend.is_some());
        let status = items.iter().any(|r| r.status.is_some());
        if trend {
            head.push("change");
        }
        if status {
            head.push("status");
        }
        if first.title == "value" {
            head.extend(["first run", "last run"]);
        }
        if reasons {
            head.push("last failure");
        }
        let rows = items
            .iter()
            .map(|r| {
                let t = &r.totals;
                let failed = number(t.failed);
                let mut cells = vec![
                    cell(short(&r.name.1, 60)).styled(Style::Cyan),
                    number(t.runs),
                    number(t.success),
                    if t.failed > 0 {
                        failed.styled(Style::Red)
                    } else {
                        failed
                    },
                    number(t.success_rate.map_or("-".to_owned(), |s| format!("{:.0}%", s * 100.0))),
                    number(secs(t.mean_seconds)),
                    number(secs(t.p95_seconds)),
                    number(t.errors),
                ];
                if ended {
                    cells.insert(4, number(t.ended));
                }
                if let Some(trend) = &r.trend {
                    cells.push(cell(change(trend)));
                }
                if let Some(status) = &r.status {
                    cells.push(cell(plain(status)).styled(Style::of_status(status)));
                }
                if r.title == "value" {
                    cells.extend([&r.first_start, &r.newest_start].map(|t| cell(paint.clock.show(t))));
                }
                if reasons {
                    cells.push(cell(short(r.reason.as_deref().unwrap_or(""), 60)).styled(Style::Red));
                }
                cells
            })
            .collect();
        paint.table(&head, rows);
    }

    fn lean(&self) -> Value {
        let t = &self.totals;
        let some = |n: u64| (n > 0).then_some(n);
        let places = |n: Option<f64>| n.map(rounded);
        said(json!({
            self.name.0: self.name.1, "runs": t.runs, "failed": t.failed, "ended": some(t.ended), "running": some(t.running), "lost": some(t.lost),
            "success_rate": places(t.success_rate), "mean_seconds": places(t.mean_seconds),
            "mean_success_seconds": places(t.mean_success_seconds), "p95_seconds": places(t.p95_seconds),
            "errors": t.errors, "status": self.status, "why": self.reason,
            "first": (self.title == "value").then(|| seconds_of(&self.first_start)),
            "last": (self.title == "value").then(|| seconds_of(&self.newest_start)),
            "trend": self.trend.as_ref().map(|t| said(json!({
                "success_rate": places(t.success_rate), "duration_ratio": places(t.duration_ratio),
            }))).filter(|t| *t != json!({})),
        }))
    }
}

/// A trend in words: `success -20 %, 1.5× as long`.
fn change(trend: &Trend) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = trend.success_rate.filter(|r| r.abs() >= 0.005) {
        parts.push(format!("success {:+.0}%", rate * 100.0));
    }
    if let Some(ratio) = trend.duration_ratio.filter(|r| !(0.9..=1.1).contains(r)) {
        parts.push(format!("{ratio:.1}× as long"));
    }
    if parts.is_empty() {
        "steady".to_owned()
    } else {
        parts.join(", ")
    }
}

/// A structured result of a script.
#[derive(Clone, Debug, Serialize)]
pub struct Returned {
    #[serde(rename = "_key")]
    pub key: String,
    pub timestamp: String,
    pub execution_id: String,
    pub script_name: Option<String>,
    pub response: Value,
    /// Shown with its time: several were asked for.
    #[serde(skip)]
    timed: bool,
}

/// The newest responses of a script or an execution. Without `--limit`, one.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn response(ask: &Asking<'_>, args: &Response) -> Result<Answer<Returned>, AskError> {
    let (mut which, fields) = named(&args.which, args.name.as_ref(), &args.fields, EVENT_FIELDS)?;
    if which.script.is_none() && which.execution.is_none() {
        which.execution = Some("last".to_owned());
    }
    let timed = which.limit.is_some();
    which.limit = Some(which.limit.unwrap_or(1));
    let mut scope = Scope::of(ask, &which, &"response", fields, None)?;
    scope.filter.has_response = true;
    let mut page = ask.store.events(&EventAsk {
        filter: scope.filter.clone(),
        words: None,
        order: if scope.oldest_first {
            Order::Oldest
        } else {
            Order::Newest
        },
        after: scope.after.clone(),
        limit: scope.limit,
        count: true,
    })?;
    resolve(ask, page.items.iter_mut().map(|(e, _)| e))?;
    let after = page.items.last().map(|(e, _)| After::Position {
        timestamp: e.timestamp.clone(),
        seq: e.seq.unwrap_or(0),
        key: e.key.clone(),
    });
    let items: Vec<Returned> = page
        .items
        .into_iter()
        .map(|(e, _)| Returned {
            response: response_of(&e).unwrap_or_default(),
            key: e.key,
            timestamp: e.timestamp,
            execution_id: e.execution_id,
            script_name: e.script_name,
            timed,
        })
        .collect();
    let mut notes = Vec::new();
    if items.is_empty() && !page.more {
        scope.filter.has_response = false;
        notes = match ask.store.extent(&scope.filter)? {
            Some(_) => vec!["it has logged events, but none with a response={…}".to_owned()],
            None => hints(ask, &scope)?,
        };
    }
    Ok(Answer {
        next_cursor: scope.go_on(page.more, after),
        truncated: page.more,
        items,
        total: page.total,
        window: scope.window,
        hints: notes,
        extra: Vec::new(),
    })
}

impl Row for Returned {
    fn draw(items: &[Returned], paint: &mut Paint) {
        for item in items {
            if item.timed {
                let time = paint.clock.show(&item.timestamp);
                paint.line(Style::Dim, &plain(&format!("{time} {}", item.execution_id)));
            }
            let text = match &item.response {
                Value::String(s) => s.clone(),
                other => serde_json::to_string_pretty(other).unwrap_or_default(),
            };
            paint.line(Style::Plain, &super::render::paint::block(&text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: &str, seconds: Option<f64>) -> RunRow {
        RunRow {
            run: Run {
                status: status.into(),
                duration_seconds: seconds,
                ..Run::default()
            },
            errors: 2,
            micros: None,
            reason: None,
            columns: Vec::new(),
        }
    }

    #[test]
    fn totals_leave_out_what_is_not_decided() {
        let runs = [
            run("success", Some(1.0)),
            run("ended", Some(3.0)),
            run("crashed", Some(5.0)),
            run("running", None),
            run("lost", None),
        ];
        let t = sum(&runs);
        assert_eq!(
            (t.runs, t.success, t.failed, t.ended, t.running, t.lost, t.errors),
            (5, 1, 1, 1, 1, 1, 10)
        );
        assert_eq!((t.success_rate, t.mean_success_seconds), (Some(0.5), Some(1.0)));
        assert_eq!((t.mean_seconds, t.p95_seconds), (Some(3.0), Some(5.0)));
        assert_eq!(sum(&[]).success_rate, None);
    }

    #[test]
    fn the_95th_percentile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.95), Some(95.0));
        assert_eq!(percentile(&mut [7.0], 0.95), Some(7.0));
        assert_eq!(percentile(&mut [], 0.95), None);
    }
}
