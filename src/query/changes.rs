//! `changes`: what is new in a window against the time before it.
//!
//! Each kind of change is a function over what the store returns; what they judge by stands in [`super::drift`]. The time
//! before is [`BEFORE`] long: enough for a rhythm and a level to be known, little enough to be read at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::args::Changes;
use super::clocks::clocks;
use super::drift::{rhythm, rise};
use super::errors::State;
use super::naming::refuse;
use super::profile::masked;
use super::render::paint::{Style, plain, short};
use super::render::{Paint, Row};
use super::scope::Scope;
use super::unusual::{numbers, unusual};
use super::window::{DAY, parse_stored, show_duration};
use super::{AskError, Asking};
use crate::record::{Micros, format_time};
use crate::store::search::{EventAsk, Filter, Order, RunAsk};
use crate::store::stored::{Event, Run};

/// What the window is compared with, microseconds.
const BEFORE: Micros = 21 * DAY;
/// Runs that are looked at, the newest.
const RUNS: usize = 5_000;
/// Warnings that are looked at on each side.
const WARNINGS: usize = 20_000;
/// Earlier responses that a number is compared with.
const RESPONSES: usize = 20;
/// Something that changed.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// `new_error`, `returned_error`, `new_warning`, `fails_more`, `slower`, `unusually_little`, `did_not_run`,
    /// `new_version`, `clock`.
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_name: Option<String>,
    /// What changed, in a sentence, with what it rests on.
    pub what: String,
    /// Since when, 27 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// A key or an execution to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_at: Option<String>,
}

/// What changed, the gravest first.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn changes(ask: &Asking<'_>, args: &Changes) -> Result<Answer<Change>, AskError> {
    refuse(
        "changes",
        &args.which,
        &["execution", "level", "tag", "grep", "reverse", "cursor"],
    )?;
    let scope = Scope::of(ask, &args.which, &"changes", Vec::new(), Some(DAY))?;
    let since = scope.filter.since.unwrap_or(ask.clock.now - DAY);
    let until = scope.filter.until.unwrap_or(ask.clock.now);
    let window = Span {
        since,
        until,
        before: since - BEFORE,
    };
    let runs = runs(ask, &scope, &window)?;
    let mut all = errors(ask, args)?;
    all.extend(absent(ask, &runs, &window));
    all.extend(failing(&runs, &window));
    all.extend(slower(&runs, &window));
    all.extend(little(ask, &runs, &window)?);
    all.extend(versions(&runs, &window));
    all.extend(warnings(ask, &scope, &window)?);
    all.extend(clocks(ask, &scope, window.since)?);
    let total = all.len();
    all.truncate(scope.limit);
    let mut hints = Vec::new();
    if total == 0 {
        hints.push("nothing changed in this window against the three weeks before".to_owned());
        if runs.is_empty() {
            hints.extend(super::scope::hints(ask, &scope)?);
        }
    }
    Ok(Answer {
        total: Some(total as u64),
        truncated: total > all.len(),
        items: all,
        next_cursor: None,
        window: scope.window,
        hints,
        extra: Vec::new(),
    })
}

/// The window, and where the time before it begins.
struct Span {
    since: Micros,
    until: Micros,
    before: Micros,
}

impl Span {
    fn holds(&self, time: &str) -> bool {
        parse_stored(time).is_some_and(|t| t >= self.since && t <= self.until)
    }
}

/// Runs of the window and of the time before it, by script, oldest first.
fn runs(ask: &Asking<'_>, scope: &Scope, window: &Span) -> Result<BTreeMap<String, Vec<Run>>, AskError> {
    let page = ask.store.runs(&RunAsk {
        since: Some(window.before),
        until: Some(window.until),
        scripts: scope.filter.scripts.clone(),
        hosts: scope.filter.hosts.clone(),
        limit: RUNS,
        ..RunAsk::default()
    })?;
    let mut by_script: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for run in page.items.into_iter().rev() {
        by_script.entry(run.script_name.clone()).or_default().push(run);
    }
    Ok(by_script)
}

/// Errors that are new, and those that came back after their fix.
fn errors(ask: &Asking<'_>, args: &Changes) -> Result<Vec<Change>, AskError> {
    let mut out = Vec::new();
    for (new, returned) in [(true, false), (false, true)] {
        let asked = super::args::Errors {
            new,
            returned,
            which: args.which.clone(),
            ..super::args::Errors::default()
        };
        let super::errors::Found::Groups(found) = super::errors(ask, &asked)? else {
            continue;
        };
        for group in found.items {
            let fixed = group
                .fix_description
                .as_deref()
                .map_or(String::new(), |f| format!(", after its fix '{}'", short(f, 60)));
            let is_returned = group.state == State::Returned;
            out.push(Change {
                kind: if is_returned { "returned_error" } else { "new_error" },
                script_name: group.scripts.first().cloned(),
                what: format!(
                    "{}× {}{}",
                    group.count,
                    short(&group.root_cause, 120),
                    if is_returned { &fixed } else { "" }
                ),
                since: Some(match &group.proof {
                    Some(proof) if is_returned => proof.returned_at.clone().unwrap_or(group.first_seen),
                    _ => group.first_seen,
                }),
                look_at: Some(group.example_key),
            });
        }
    }
    Ok(out)
}

/// Scripts that run daily and did not.
fn absent(ask: &Asking<'_>, runs: &BTreeMap<String, Vec<Run>>, window: &Span) -> Vec<Change> {
    let mut out = Vec::new();
    for (script, runs) in runs {
        let starts: Vec<i64> = runs
            .iter()
            .filter_map(|r| parse_stored(&r.start_time))
            .map(|t| t / 1_000_000)
            .collect();
        let now = window.until / 1_000_000;
        let Some(found) = rhythm(&starts, now) else { continue };
        let due = found.due(now);
        if due * 1_000_000 < window.since || found.is_met(&starts, due) {
            continue;
        }
        let due = format_time(due * 1_000_000);
        out.push(Change {
            kind: "did_not_run",
            script_name: Some(script.clone()),
            what: format!(
                "was due {} and did not run: it began then ± {} on {} of {} days",
                ask.clock.show(&due),
                show_duration(found.within.max(60) * 1_000_000),
                found.days,
                found.of
            ),
            since: Some(due),
            look_at: runs.last().map(|r| r.execution_id.clone()),
        });
    }
    out
}

fn is_failure(run: &Run) -> bool {
    matches!(run.status.as_str(), "failed" | "crashed")
}

/// Scripts that fail more than before: twice at least, and a fifth of the runs more.
fn failing(runs: &BTreeMap<String, Vec<Run>>, window: &Span) -> Vec<Change> {
    let rate = |runs: &[&Run]| {
        let decided = runs.iter().filter(|r| is_failure(r) || r.status == "success").count();
        let failed = runs.iter().filter(|r| is_failure(r)).count();
        (failed, decided, failed as f64 / decided.max(1) as f64)
    };
    let mut out = Vec::new();
    for (script, runs) in runs {
        let (now, then): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|r| window.holds(&r.start_time));
        let ((failed, decided, rate_now), (failed_then, decided_then, rate_then)) = (rate(&now), rate(&then));
        if failed < 2 || decided_then == 0 || rate_now < rate_then + 0.2 {
            continue;
        }
        let first = now.iter().find(|r| is_failure(r));
        out.push(Change {
            kind: "fails_more",
            script_name: Some(script.clone()),
            what: format!("{failed} of {decided} runs failed, before {failed_then} of {decided_then}"),
            since: first.map(|r| r.start_time.clone()),
            look_at: now.iter().rev().find(|r| is_failure(r)).map(|r| r.execution_id.clone()),
        });
    }
    out
}

/// Scripts that became slower and stayed so; the step may lie before the window, and is told with its day.
fn slower(runs: &BTreeMap<String, Vec<Run>>, window: &Span) -> Vec<Change> {
    let mut out = Vec::new();
    for (script, runs) in runs {
        let good: Vec<(&Run, f64)> = runs
            .iter()
            .filter(|r| r.status == "success" || r.status == "ended")
            .filter_map(|r| Some((r, r.duration_seconds?)))
            .collect();
        let durations: Vec<f64> = good.iter().map(|(_, d)| *d).collect();
        let recent = good.last().is_some_and(|(r, _)| window.holds(&r.start_time));
        let Some(step) = rise(&durations).filter(|s| recent && s.after - s.before >= 1.0) else {
            continue;
        };
        let Some((first, _)) = good.get(step.at) else { continue };
        let shown = |s: f64| show_duration((s * 1e6) as i64);
        out.push(Change {
            kind: "slower",
            script_name: Some(script.clone()),
            what: format!(
                "takes {} instead of {} in {} of {} runs, since {}",
                shown(step.after),
                shown(step.before),
                durations.len() - step.at,
                durations.len(),
                first.start_time.get(..10).unwrap_or_default()
            ),
            since: Some(first.start_time.clone()),
            look_at: Some(first.execution_id.clone()),
        });
    }
    out
}

/// Runs that succeeded and returned unusually little.
fn little(ask: &Asking<'_>, runs: &BTreeMap<String, Vec<Run>>, window: &Span) -> Result<Vec<Change>, AskError> {
    let mut out = Vec::new();
    for (script, runs) in runs {
        let Some(last) = runs.iter().rev().find(|r| r.status == "success") else {
            continue;
        };
        if !window.holds(&last.start_time) {
            continue;
        }
        let page = ask.store.events(&EventAsk {
            filter: Filter {
                scripts: vec![script.clone()],
                has_response: true,
                until: Some(window.until),
                ..Filter::default()
            },
            words: None,
            order: Order::Newest,
            after: None,
            limit: RESPONSES + 1,
            count: false,
        })?;
        let mut numbers = page.items.iter().map(|(e, _)| (e, numbers(e)));
        let Some((event, newest)) = numbers.next().filter(|(e, _)| e.execution_id == last.execution_id) else {
            continue;
        };
        let earlier: Vec<HashMap<String, f64>> = numbers.map(|(_, n)| n).collect();
        if let Some((name, value, usual, least)) = unusual(&newest, &earlier) {
            out.push(Change {
                kind: "unusually_little",
                script_name: Some(script.clone()),
                what: format!(
                    "returned {name}={value}, usually {usual} and never below {least} in {} runs",
                    earlier.len()
                ),
                since: Some(event.timestamp.clone()),
                look_at: Some(last.execution_id.clone()),
            });
        }
    }
    Ok(out)
}

/// Scripts of which another version ran than before.
fn versions(runs: &BTreeMap<String, Vec<Run>>, window: &Span) -> Vec<Change> {
    let version = |r: &Run| {
        let metadata = r.metadata.as_ref()?.value();
        let value = ["version", "git_commit", "commit"]
            .iter()
            .find_map(|n| metadata.get(*n).cloned())?;
        crate::store::admit::name_of(&value)
    };
    let mut out = Vec::new();
    for (script, runs) in runs {
        let known: BTreeSet<String> = runs
            .iter()
            .filter(|r| !window.holds(&r.start_time))
            .filter_map(version)
            .collect();
        let Some(last) = known.iter().next_back() else { continue };
        let before = runs
            .iter()
            .rev()
            .filter(|r| !window.holds(&r.start_time))
            .find_map(version);
        let mut told = BTreeSet::new();
        for run in runs.iter().filter(|r| window.holds(&r.start_time)) {
            let Some(new) = version(run).filter(|v| !known.contains(v)) else {
                continue;
            };
            if told.insert(new.clone()) {
                out.push(Change {
                    kind: "new_version",
                    script_name: Some(script.clone()),
                    what: format!(
                        "version {} instead of {}",
                        short(&new, 40),
                        short(before.as_ref().unwrap_or(last), 40)
                    ),
                    since: Some(run.start_time.clone()),
                    look_at: Some(run.execution_id.clone()),
                });
            }
        }
    }
    out
}

/// Warnings whose template was not said before.
fn warnings(ask: &Asking<'_>, scope: &Scope, window: &Span) -> Result<Vec<Change>, AskError> {
    let scan = |since: Micros, until: Micros, visit: &mut dyn FnMut(Event)| -> Result<(), AskError> {
        let filter = Filter {
            since: Some(since),
            until: Some(until),
            fields: vec![crate::store::search::FieldIs {
                path: vec!["level".to_owned()],
                values: vec!["WARNING".to_owned()],
                sign: crate::store::search::Sign::Is,
            }],
            ..scope.filter.clone()
        };
        let mut left = WARNINGS;
        ask.store.scan(&filter, false, &mut |event| {
            visit(event);
            left -= 1;
            left > 0
        })?;
        Ok(())
    };
    let mut new: BTreeMap<String, (u64, Event)> = BTreeMap::new();
    scan(window.since, window.until, &mut |event| {
        let (count, first) = new.entry(masked(&event.message)).or_insert_with(|| (0, event.clone()));
        *count += 1;
        *first = event;
    })?;
    if !new.is_empty() {
        scan(window.before, window.since - 1, &mut |event| {
            new.remove(&masked(&event.message));
        })?;
    }
    let mut found: Vec<(u64, Event)> = new.into_values().collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.key.cmp(&b.1.key)));
    Ok(found
        .into_iter()
        .map(|(count, first)| Change {
            kind: "new_warning",
            script_name: first.script_name.clone(),
            what: format!("{count}× {}", short(&first.message, 120)),
            since: Some(first.timestamp),
            look_at: Some(first.key),
        })
        .collect())
}

impl Row for Change {
    fn draw(items: &[Change], paint: &mut Paint) {
        for change in items {
            let style = match change.kind {
                "new_error" | "returned_error" | "did_not_run" | "fails_more" => Style::Red,
                "new_version" => Style::Plain,
                _ => Style::Yellow,
            };
            paint.put(style, &format!("{:<17}", change.kind.replace('_', " ")));
            if let Some(script) = &change.script_name {
                paint.put(Style::Cyan, &format!("{}  ", short(script, 40)));
            }
            paint.line(Style::Plain, &plain(&change.what));
            let since = change
                .since
                .as_deref()
                .map_or(String::new(), |t| format!("since {}  ", paint.clock.show(t)));
            let key = change
                .look_at
                .as_deref()
                .map_or(String::new(), |k| format!("[{}]", short_name(k)));
            if !since.is_empty() || !key.is_empty() {
                paint.line(Style::Dim, &plain(&format!("                 {since}{key}")));
            }
        }
    }

    fn lean(&self) -> Value {
        let mut out = Map::new();
        out.insert("kind".into(), json!(self.kind));
        if let Some(script) = &self.script_name {
            out.insert("script".into(), json!(script));
        }
        out.insert("what".into(), json!(self.what));
        if let Some(since) = &self.since {
            out.insert("since".into(), json!(super::render::lean::seconds(since)));
        }
        if let Some(key) = &self.look_at {
            out.insert("look_at".into(), json!(short_name(key)));
        }
        Value::Object(out)
    }
}

/// A key as lists show it; an execution's id as it is.
fn short_name(name: &str) -> &str {
    let is_key = name.len() == 31 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if is_key {
        super::render::paint::short_key(name)
    } else {
        name
    }
}
