//! `why`: the story of a run that went wrong, on one page.
//!
//! What failed is not the last line: errors that follow one another within [`CASCADE`] are one cascade, and its first is
//! the cause, the others its echo. What another run has to do with it is said as a conjecture, with its reason.

use serde::Serialize;
use serde_json::{Value, json};

use super::args::Why;
use super::compare::{Comparison, Only, between, differs_words, step_words};
use super::errors::{all_time, root_cause, state};
use super::naming::{refuse, subject};
use super::profile::{good_before, run_of};
use super::proof::proof;
use super::render::lean::said;
use super::render::paint::{Style, plain, short, short_key};
use super::render::{Paint, Row};
use super::runs::length;
use super::window::{DAY, parse_stored, show_duration};
use super::{AskError, Asking};
use crate::store::search::{EventAsk, FieldIs, Filter, Order, Sign};
use crate::store::stored::{ERROR, Event, Run};

/// Errors no further apart are one cascade, microseconds.
const CASCADE: i64 = 30_000_000;
/// Warnings this long before the cause may have announced it, microseconds.
const ANNOUNCED: i64 = 600_000_000;
const WARNING: i64 = 30;
/// Warnings, differences and echoes that are told.
const TOLD: usize = 3;
/// Values of an error that another run may share.
const SHARED: usize = 5;

/// The story of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    pub execution_id: String,
    pub script_name: Option<String>,
    pub status: Option<String>,
    pub start_time: Option<String>,
    pub duration_seconds: Option<f64>,
    /// What failed: the root cause of the first error of the cascade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Errors that followed from it.
    pub echoes: Vec<String>,
    /// Warnings that announced it, oldest first.
    pub announced: Vec<String>,
    /// What the run was doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The longest silence, and what stood before and behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_gap: Option<String>,
    /// How it differs from the last good run of its script.
    pub differs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<String>,
    /// Whether the error was seen before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// The recorded fix, and whether it held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Conjectures about the run that this one hangs on.
    pub upstream: Vec<String>,
}

/// What failed.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    pub key: String,
    pub timestamp: String,
    pub root_cause: String,
    /// What was said of it, where that is more than the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// The story of a run; without a name, of the newest that failed or crashed.
///
/// # Errors
/// [`AskError::NotFound`] where no run is meant; faulty arguments; those of the store.
pub fn why(ask: &Asking<'_>, args: &Why) -> Result<Story, AskError> {
    refuse(
        "why",
        &args.which,
        &["limit", "level", "tag", "grep", "reverse", "cursor"],
    )?;
    let named = args.run.as_deref().or(args.which.execution.as_deref());
    let id = subject(ask, Some(named.unwrap_or("last-failed")), &args.which)?;
    let run = run_of(ask, &id)?;
    let mut pass = Pass::default();
    let filter = Filter {
        executions: vec![id.clone()],
        ..Filter::default()
    };
    ask.store.scan(&filter, true, &mut |event| {
        pass.take(event);
        true
    })?;
    if run.is_none() && pass.last.is_none() {
        return Err(AskError::NotFound(format!(
            "no execution '{id}' is known: see `logagent runs`"
        )));
    }
    let (cause, echoes) = pass.cause();
    let at = cause.as_ref().and_then(|c| parse_stored(&c.timestamp));
    let good = run.as_ref().map(|r| good_before(ask, r)).transpose()?.flatten();
    let comparison = good.as_ref().map(|g| between(ask, &id, &g.execution_id)).transpose()?;
    let (seen, fix) = match &cause {
        Some(cause) => before(ask, cause, &id)?,
        None => (None, None),
    };
    let whole = cause.as_ref().map(|c| ask.store.event(&c.key)).transpose()?.flatten();
    Ok(Story {
        upstream: upstream(ask, &id, run.as_ref(), whole.as_ref())?,
        announced: pass.announced(at),
        step: pass.step(cause.as_ref()),
        longest_gap: pass.gap.as_ref().filter(|g| g.0 >= 1_000_000).map(gap_words),
        differs: comparison.as_ref().map(differences).unwrap_or_default(),
        compared_with: good.map(|g| g.execution_id),
        duration_seconds: run
            .as_ref()
            .and_then(|r| length(r, ask.clock.now))
            .map(|m| m as f64 / 1e6),
        script_name: run.as_ref().map(|r| r.script_name.clone()),
        status: run.as_ref().map(|r| r.status.clone()),
        start_time: run.as_ref().map(|r| r.start_time.clone()),
        cause: cause.map(|event| told(&event, whole.as_ref())),
        echoes,
        seen,
        fix,
        execution_id: id,
    })
}

fn told(event: &Event, whole: Option<&Event>) -> Cause {
    let cause = root_cause(event);
    let place = whole.and_then(|w| {
        Some((
            w.file_path.as_deref()?,
            w.line_number?,
            w.function_name.as_deref().unwrap_or("?"),
        ))
    });
    Cause {
        key: event.key.clone(),
        timestamp: event.timestamp.clone(),
        message: Some(short(&event.message, 160)).filter(|m| *m != cause && !cause.contains(m.as_str())),
        place: place.map(|(file, line, function)| format!("{file}:{line} in {function}")),
        fingerprint: event.fingerprint.clone(),
        root_cause: short(&cause, 300),
    }
}

/// What one pass over a run collects.
#[derive(Default)]
struct Pass {
    /// The newest cascade of errors.
    cascade: Vec<Event>,
    /// An end that says no more than that the run failed.
    end: Option<Event>,
    warnings: Vec<Event>,
    /// The newest records below WARNING.
    steps: Vec<Event>,
    /// The longest silence: microseconds, what stood before, what behind.
    gap: Option<(i64, String, String)>,
    last: Option<Event>,
}

/// Records kept of a kind.
const KEPT: usize = 200;

impl Pass {
    fn take(&mut self, event: Event) {
        let time = parse_stored(&event.timestamp).unwrap_or(0);
        if let Some(last) = &self.last {
            let silence = time - parse_stored(&last.timestamp).unwrap_or(time);
            if self.gap.as_ref().is_none_or(|g| g.0 < silence) {
                self.gap = Some((silence, short(&last.message, 60), short(&event.message, 60)));
            }
        }
        let list = if event.repeats_a_failure() && event.is_error() {
            self.end = Some(event.clone());
            None
        } else if event.is_error() {
            let newest = self.cascade.last().and_then(|e| parse_stored(&e.timestamp));
            if newest.is_some_and(|t| time - t > CASCADE) {
                self.cascade.clear();
            }
            Some(&mut self.cascade)
        } else if event.level_no.unwrap_or(0) >= WARNING {
            Some(&mut self.warnings)
        } else if event.event.is_none() {
            Some(&mut self.steps)
        } else {
            None
        };
        if let Some(list) = list {
            // The first of a cascade stays, of the others the newest.
            if list.len() >= KEPT {
                list.remove(1);
            }
            list.push(event.clone());
        }
        self.last = Some(event);
    }

    /// The first error of the newest cascade, and what followed from it.
    fn cause(&self) -> (Option<Event>, Vec<String>) {
        let Some(first) = self.cascade.first() else {
            return (self.end.clone(), Vec::new());
        };
        let mut echoes: Vec<String> = Vec::new();
        for event in self
            .cascade
            .iter()
            .skip(1)
            .filter(|e| e.fingerprint != first.fingerprint)
        {
            let said = short(&root_cause(event), 120);
            if !echoes.contains(&said) && echoes.len() < TOLD {
                echoes.push(said);
            }
        }
        (Some(first.clone()), echoes)
    }

    fn announced(&self, at: Option<i64>) -> Vec<String> {
        let near = |e: &&Event| match (parse_stored(&e.timestamp), at) {
            (Some(t), Some(at)) => t <= at && at - t <= ANNOUNCED,
            _ => at.is_none(),
        };
        let mut found: Vec<String> = Vec::new();
        for event in self.warnings.iter().rev().filter(near) {
            let said = short(&event.message, 120);
            if found.len() < TOLD && !found.contains(&said) {
                found.push(said);
            }
        }
        found.reverse();
        found
    }

    fn step(&self, cause: Option<&Event>) -> Option<String> {
        let before = |e: &&Event| cause.is_none_or(|c| e.position() < c.position());
        let step = self.steps.iter().rev().find(before)?;
        Some(format!("{} [{}]", short(&step.message, 120), short_key(&step.key)))
    }
}

fn gap_words(gap: &(i64, String, String)) -> String {
    format!("{} between '{}' and '{}'", show_duration(gap.0), gap.1, gap.2)
}

/// How a run differs from a good one, in a few words each, the telling ones first.
fn differences(c: &Comparison) -> Vec<String> {
    let mut out: Vec<String> = c.metadata.iter().take(TOLD).map(differs_words).collect();
    if let (Some(now), Some(then)) = (c.first.duration_seconds, c.second.duration_seconds)
        && (now - then).abs() >= 1.0
        && (now > then * 1.5 || then > now * 1.5)
    {
        let shown = |s: f64| show_duration((s * 1e6) as i64);
        out.push(format!("took {} instead of {}", shown(now), shown(then)));
    }
    out.extend(
        c.steps
            .iter()
            .filter(|s| s.first_seconds > s.second_seconds)
            .take(TOLD)
            .map(step_words),
    );
    let urgent = |o: &&Only| o.level_no >= 20;
    out.extend(
        c.only_first
            .iter()
            .filter(urgent)
            .take(TOLD)
            .map(|o| format!("new: {}", short(&o.template, 100))),
    );
    out.extend(
        c.only_second
            .iter()
            .filter(urgent)
            .take(TOLD)
            .map(|o| format!("missing: {}", short(&o.template, 100))),
    );
    out
}

/// Whether an error was seen before, and what is known of its fix.
fn before(ask: &Asking<'_>, cause: &Event, execution: &str) -> Result<(Option<String>, Option<String>), AskError> {
    let Some(print) = &cause.fingerprint else {
        return Ok((None, None));
    };
    let earlier = ask.store.events(&EventAsk {
        filter: Filter {
            fingerprints: vec![print.clone()],
            until: parse_stored(&cause.timestamp),
            fields: vec![FieldIs {
                path: vec!["execution_id".to_owned()],
                values: vec![execution.to_owned()],
                sign: Sign::IsNot,
            }],
            ..Filter::default()
        },
        words: None,
        order: Order::Newest,
        after: None,
        limit: 1,
        count: true,
    })?;
    let seen = match (earlier.items.first(), earlier.total) {
        (Some((last, _)), total) => format!(
            "{} before, last {} in {}",
            total.map_or("often".to_owned(), |n| if n == 1 {
                "once".to_owned()
            } else {
                format!("{n} times")
            }),
            ask.clock.show(&last.timestamp),
            last.execution_id
        ),
        (None, _) => "never before".to_owned(),
    };
    let prints = vec![print.clone()];
    let fixes = ask.store.fixes(&prints)?;
    let ever = all_time(ask, &prints)?;
    let Some(fix) = ever.get(print).and_then(|e| state(print, &e.scripts, &fixes).1) else {
        return Ok((Some(seen), None));
    };
    let proof = proof(ask, fix)?;
    let by = fix.author.as_deref().map_or(String::new(), |a| format!(", by {a}"));
    Ok((
        Some(seen),
        Some(format!("{} ({}{by})", short(&fix.description, 160), proof.words())),
    ))
}

/// Runs that this one may hang on: its parent, and runs that failed before with the same identifiers in bound values.
fn upstream(ask: &Asking<'_>, id: &str, run: Option<&Run>, cause: Option<&Event>) -> Result<Vec<String>, AskError> {
    let mut out = Vec::new();
    if let Some(parent) = run.and_then(|r| r.parent_execution_id.as_deref()) {
        let status = run_of(ask, parent)?.map_or("unknown".to_owned(), |p| p.status);
        out.push(format!("it was started by {parent} ({status})"));
    }
    let Some(cause) = cause else { return Ok(out) };
    let Some(at) = parse_stored(&cause.timestamp) else {
        return Ok(out);
    };
    let bound = cause.extra_data.as_ref().map(|e| e.value()).unwrap_or_default();
    let metadata = run
        .and_then(|r| r.metadata.as_ref())
        .map(|m| m.value())
        .unwrap_or_default();
    let named = |of: &Value| -> Vec<(String, String)> {
        let map = of.as_object().cloned().unwrap_or_default();
        map.into_iter()
            .filter_map(|(name, value)| Some((name, identifier(&value)?)))
            .collect()
    };
    let identifiers: Vec<(String, String)> = named(&bound).into_iter().chain(named(&metadata)).take(SHARED).collect();
    for (name, value) in identifiers {
        let page = ask.store.events(&EventAsk {
            filter: Filter {
                since: Some(at - DAY),
                until: Some(at),
                min_level: Some(ERROR),
                fields: vec![
                    FieldIs {
                        path: vec!["extra_data".to_owned(), name.clone()],
                        values: vec![value.clone()],
                        sign: Sign::Is,
                    },
                    FieldIs {
                        path: vec!["execution_id".to_owned()],
                        values: vec![id.to_owned()],
                        sign: Sign::IsNot,
                    },
                ],
                ..Filter::default()
            },
            words: None,
            order: Order::Newest,
            after: None,
            limit: 1,
            count: false,
        })?;
        if let Some((event, _)) = page.items.first() {
            let line = format!(
                "perhaps {} of {}: it failed {} before with {} (both have {name}={})",
                event.execution_id,
                event.script_name.as_deref().unwrap_or("?"),
                show_duration(at - parse_stored(&event.timestamp).unwrap_or(at)),
                short(&root_cause(event), 100),
                short(&value, 40)
            );
            out.push(line);
            break;
        }
    }
    Ok(out)
}

/// What can name one thing: a text without spaces or a whole number, of at least four characters.
fn identifier(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(s) if !s.contains(char::is_whitespace) => s.clone(),
        Value::Number(n) if n.is_i64() || n.is_u64() => n.to_string(),
        _ => return None,
    };
    (text.len() >= 4 && text.len() <= 200).then_some(text)
}

impl Row for Story {
    fn draw(items: &[Story], paint: &mut Paint) {
        for s in items {
            draw(s, paint);
        }
    }

    fn lean(&self) -> Value {
        let cause = self.cause.as_ref().map(|c| {
            said(json!({"error": c.root_cause, "message": c.message, "at": c.place, "key": short_key(&c.key)}))
        });
        said(json!({
            "run": self.execution_id, "script": self.script_name, "status": self.status,
            "seconds": self.duration_seconds.map(super::render::lean::rounded), "cause": cause, "echoes": self.echoes,
            "announced": self.announced, "while": self.step, "longest_gap": self.longest_gap, "differs": self.differs,
            "compared_with": self.compared_with, "seen": self.seen, "fix": self.fix, "upstream": self.upstream,
        }))
    }
}

fn draw(s: &Story, paint: &mut Paint) {
    let status = s.status.as_deref().unwrap_or("unknown");
    paint.put(Style::Bold, &plain(&s.execution_id));
    paint.put(Style::of_status(status), &format!("  {}", plain(status)));
    let start = s
        .start_time
        .as_deref()
        .map_or(String::new(), |t| format!("  from {}", paint.clock.show(t)));
    let took = s
        .duration_seconds
        .map_or(String::new(), |d| format!(", {}", show_duration((d * 1e6) as i64)));
    paint.line(Style::Dim, &format!("{start}{took}"));
    let mut row = |name: &str, style: Style, text: &str| {
        paint.put(Style::Dim, &format!("{name:<10}"));
        paint.line(style, &plain(text));
    };
    match &s.cause {
        Some(cause) => {
            row("failed", Style::Red, &cause.root_cause);
            if let Some(message) = &cause.message {
                row("", Style::Plain, message);
            }
            if let Some(place) = &cause.place {
                row("at", Style::Plain, place);
            }
            row("record", Style::Dim, &format!("[{}]", short_key(&cause.key)));
        }
        None => row("failed", Style::Plain, "it has no error; what stands out:"),
    }
    let lists = [
        ("then", &s.echoes),
        ("warned", &s.announced),
        ("differs", &s.differs),
        ("upstream", &s.upstream),
    ];
    for (name, texts) in lists {
        for text in texts {
            row(name, Style::Plain, text);
        }
    }
    for (name, text) in [("while", &s.step), ("silence", &s.longest_gap), ("seen", &s.seen)] {
        if let Some(text) = text {
            row(name, Style::Plain, text);
        }
    }
    match &s.fix {
        Some(fix) => row("fix", Style::Green, fix),
        None if s.cause.is_some() => row("fix", Style::Dim, "none is recorded"),
        None => {}
    }
    if let Some(good) = &s.compared_with {
        row("good run", Style::Dim, good);
    }
}
