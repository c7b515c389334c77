//! `compare`: two runs side by side.
//!
//! A *step* is what lies between the first occurrences of two templates that both runs said, one after the other.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::args::Compare;
use super::naming::{refuse, subject};
use super::profile::{Profile, Said, good_before, profile, returned, run_of};
use super::render::lean::{rounded, said, seconds};
use super::render::paint::{Style, cell, plain, short};
use super::render::{Paint, Row};
use super::runs::length;
use super::window::show_duration;
use super::{AskError, Asking};
use crate::store::stored::Run;

/// Differences of a kind that are shown.
const SHOWN: usize = 8;
/// A step counts as slower or faster from this difference on, microseconds, and this ratio.
const STEP_MIN: i64 = 1_000_000;
const STEP_RATIO: f64 = 1.2;

/// One of the two.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    pub execution_id: String,
    pub script_name: Option<String>,
    pub status: Option<String>,
    pub start_time: Option<String>,
    pub duration_seconds: Option<f64>,
}

/// A value that differs; null where one has none.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Differs {
    pub name: String,
    pub first: Value,
    pub second: Value,
}

/// How long it took from one message to another.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Step {
    pub from: String,
    pub to: String,
    pub first_seconds: f64,
    pub second_seconds: f64,
}

/// A message that only one of the two said.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Only {
    pub template: String,
    pub count: u64,
    #[serde(skip)]
    pub level_no: i64,
}

/// Two runs side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub first: Side,
    pub second: Side,
    pub metadata: Vec<Differs>,
    pub response: Vec<Differs>,
    /// Counts by level.
    pub levels: Vec<Differs>,
    /// Those that took longer or shorter, the greatest difference first.
    pub steps: Vec<Step>,
    pub only_first: Vec<Only>,
    pub only_second: Vec<Only>,
}

/// Compares two runs; without a second one the last good run of the same script before the first.
///
/// # Errors
/// [`AskError::NotFound`] where there is none to compare with; faulty arguments; those of the store.
pub fn compare(ask: &Asking<'_>, args: &Compare) -> Result<Comparison, AskError> {
    refuse(
        "compare",
        &args.which,
        &["limit", "level", "tag", "grep", "reverse", "cursor"],
    )?;
    let first = subject(ask, args.first.as_deref(), &args.which)?;
    let second = match args.second.as_deref() {
        Some(name) => super::naming::execution(ask, Some(name), &super::args::Which::default())?,
        None => {
            let run = run_of(ask, &first)?;
            let good = run.as_ref().map(|r| good_before(ask, r)).transpose()?.flatten();
            good.map(|r| r.execution_id).ok_or_else(|| {
                AskError::NotFound(format!(
                    "there is no good run before '{first}' to compare with: name a second run"
                ))
            })?
        }
    };
    between(ask, &first, &second)
}

/// Compares two executions.
///
/// # Errors
/// [`AskError::NotFound`] where one is unknown; those of the store.
pub fn between(ask: &Asking<'_>, first: &str, second: &str) -> Result<Comparison, AskError> {
    let (one, other) = (profile(ask, first)?, profile(ask, second)?);
    let (run, other_run) = (run_of(ask, first)?, run_of(ask, second)?);
    for (id, run, profile) in [(first, &run, &one), (second, &other_run, &other)] {
        if run.is_none() && profile.said.is_empty() {
            return Err(AskError::NotFound(format!(
                "no execution '{id}' is known: see `logagent runs`"
            )));
        }
    }
    let metadata = |run: &Option<Run>| run.as_ref().and_then(|r| r.metadata.as_ref()).map(|m| m.value());
    Ok(Comparison {
        metadata: differing(metadata(&run).as_ref(), metadata(&other_run).as_ref()),
        response: differing(returned(ask, first)?.as_ref(), returned(ask, second)?.as_ref()),
        levels: levels(&one, &other),
        steps: steps(&one, &other),
        only_first: only(&one, &other),
        only_second: only(&other, &one),
        first: side(ask, first, run.as_ref(), &one),
        second: side(ask, second, other_run.as_ref(), &other),
    })
}

fn side(ask: &Asking<'_>, id: &str, run: Option<&Run>, profile: &Profile) -> Side {
    let took = run.and_then(|r| length(r, ask.clock.now)).unwrap_or(profile.span);
    Side {
        execution_id: id.to_owned(),
        script_name: run.map(|r| r.script_name.clone()),
        status: run.map(|r| r.status.clone()),
        start_time: run.map(|r| r.start_time.clone()),
        duration_seconds: Some(took as f64 / 1e6),
    }
}

/// Scalars that differ between two objects, those within objects by dotted names.
#[must_use]
pub fn differing(first: Option<&Value>, second: Option<&Value>) -> Vec<Differs> {
    let flat = |value: Option<&Value>| {
        let mut out = Vec::new();
        if let Some(value) = value {
            flatten("", value, &mut out);
        }
        out
    };
    let (first, second) = (flat(first), flat(second));
    let names: BTreeSet<&String> = first.iter().chain(&second).map(|(name, _)| name).collect();
    let of = |all: &[(String, Value)], name: &String| {
        all.iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .unwrap_or_default()
    };
    let all = names.into_iter().map(|name| Differs {
        first: of(&first, name),
        second: of(&second, name),
        name: name.clone(),
    });
    all.filter(|d| d.first != d.second).collect()
}

fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let name = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&name, value, out);
            }
        }
        Value::Array(items) => out.push((format!("{prefix}.length"), json!(items.len()))),
        scalar => out.push((prefix.to_owned(), scalar.clone())),
    }
}

fn levels(one: &Profile, other: &Profile) -> Vec<Differs> {
    let names: BTreeSet<&String> = one.levels.iter().chain(&other.levels).map(|(level, _)| level).collect();
    let of = |p: &Profile, name: &String| p.levels.iter().find(|(l, _)| l == name).map_or(0, |(_, n)| *n);
    let all = names.into_iter().map(|name| Differs {
        first: json!(of(one, name)),
        second: json!(of(other, name)),
        name: name.clone(),
    });
    all.filter(|d| d.first != d.second).collect()
}

/// Steps that took longer or shorter in one of two runs, the greatest difference first.
#[must_use]
pub fn steps(one: &Profile, other: &Profile) -> Vec<Step> {
    let shared: Vec<(&Said, &Said)> = one
        .said
        .iter()
        .filter_map(|s| Some((s, other.of(&s.template)?)))
        .collect();
    let mut steps: Vec<(i64, Step)> = shared
        .windows(2)
        .filter_map(|pair| {
            let [(a, b), (c, d)] = pair else { return None };
            let (first, second) = (c.first - a.first, d.first - b.first);
            // The other way round in the other run: no step.
            if second < 0 {
                return None;
            }
            let (less, more) = (first.min(second), first.max(second));
            let differs = more - less >= STEP_MIN && more as f64 >= less as f64 * STEP_RATIO;
            differs.then(|| {
                let step = Step {
                    from: short(&a.template, 100),
                    to: short(&c.template, 100),
                    first_seconds: first as f64 / 1e6,
                    second_seconds: second as f64 / 1e6,
                };
                (more - less, step)
            })
        })
        .collect();
    steps.sort_by_key(|(difference, _)| std::cmp::Reverse(*difference));
    steps.into_iter().take(SHOWN).map(|(_, step)| step).collect()
}

/// Messages that only the first of two said, the most urgent first.
#[must_use]
pub fn only(one: &Profile, other: &Profile) -> Vec<Only> {
    let mut only: Vec<Only> = one
        .said
        .iter()
        .filter(|s| other.of(&s.template).is_none())
        .map(|s| Only {
            template: short(&s.template, 120),
            count: s.count,
            level_no: s.level_no,
        })
        .collect();
    only.sort_by_key(|o| std::cmp::Reverse(o.level_no));
    only.truncate(SHOWN);
    only
}

impl Row for Comparison {
    fn draw(items: &[Comparison], paint: &mut Paint) {
        for c in items {
            draw(c, paint);
        }
    }

    fn lean(&self) -> Value {
        let side = |s: &Side| {
            said(json!({
                "execution_id": s.execution_id, "script": s.script_name, "status": s.status,
                "start": s.start_time.as_deref().map(seconds), "seconds": s.duration_seconds.map(rounded),
            }))
        };
        let pairs = |all: &[Differs]| -> serde_json::Map<String, Value> {
            all.iter()
                .take(SHOWN)
                .map(|d| (d.name.clone(), json!([d.first, d.second])))
                .collect()
        };
        let only = |all: &[Only]| {
            all.iter()
                .map(|o| format!("{}× {}", o.count, short(&o.template, 100)))
                .collect::<Vec<_>>()
        };
        said(json!({
            "first": side(&self.first), "second": side(&self.second), "metadata": pairs(&self.metadata),
            "response": pairs(&self.response), "levels": pairs(&self.levels),
            "steps": self.steps.iter().map(step_words).collect::<Vec<_>>(),
            "only_first": only(&self.only_first), "only_second": only(&self.only_second),
        }))
    }
}

/// A step in words.
#[must_use]
pub fn step_words(step: &Step) -> String {
    let shown = |s: f64| show_duration((s * 1e6) as i64);
    format!(
        "{} instead of {} from '{}' to '{}'",
        shown(step.first_seconds),
        shown(step.second_seconds),
        short(&step.from, 60),
        short(&step.to, 60)
    )
}

/// A value that differs, in words.
#[must_use]
pub fn differs_words(d: &Differs) -> String {
    let shown = |v: &Value| match v {
        Value::Null => "nothing".to_owned(),
        Value::String(s) => short(s, 60),
        other => short(&other.to_string(), 60),
    };
    format!(
        "{} {} instead of {}",
        short(&d.name, 60),
        shown(&d.first),
        shown(&d.second)
    )
}

fn draw(c: &Comparison, paint: &mut Paint) {
    let sides = [&c.first, &c.second].map(|s| {
        let took = s
            .duration_seconds
            .map_or("-".to_owned(), |s| show_duration((s * 1e6) as i64));
        let status = s.status.as_deref().unwrap_or("-");
        vec![
            cell(plain(&s.execution_id)).styled(Style::Cyan),
            cell(plain(status)).styled(Style::of_status(status)),
            cell(s.start_time.as_deref().map_or("-".to_owned(), |t| paint.clock.show(t))),
            cell(took),
        ]
    });
    paint.table(&["run", "status", "started", "took"], sides.into());
    for (title, all) in [
        ("metadata", &c.metadata),
        ("response", &c.response),
        ("levels", &c.levels),
    ] {
        if !all.is_empty() {
            paint.heading(title);
            for d in all.iter().take(SHOWN * 2) {
                paint.line(Style::Plain, &format!("  {}", plain(&differs_words(d))));
            }
        }
    }
    if !c.steps.is_empty() {
        paint.heading("steps that took longer or shorter");
        for step in &c.steps {
            paint.line(Style::Plain, &format!("  {}", plain(&step_words(step))));
        }
    }
    for (title, all) in [
        ("only in the first", &c.only_first),
        ("only in the second", &c.only_second),
    ] {
        if !all.is_empty() {
            paint.heading(title);
            for o in all {
                paint.line(
                    Style::of_level(o.level_no),
                    &format!("  {}× {}", o.count, plain(&o.template)),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_are_named_by_their_path() {
        let (a, b) = (
            json!({"v": "2", "x": {"n": 1}, "same": true}),
            json!({"v": "1", "x": {"n": 1}, "same": true, "l": [1]}),
        );
        let found: Vec<String> = differing(Some(&a), Some(&b)).iter().map(differs_words).collect();
        assert_eq!(found, ["l.length nothing instead of 1", "v 2 instead of 1"]);
        assert!(differing(None, None).is_empty());
    }
}
