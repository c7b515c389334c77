//! `fixes`: what was recorded as fixed, by whom, what it resolved, and whether that held.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::Fixes;
use super::errors::root_cause;
use super::events::position;
use super::proof::{Proof, proof, reason};
use super::render::lean::{said, seconds};
use super::render::paint::{Style, plain, short, short_key};
use super::render::{Paint, Row};
use super::scope::{EVENT_FIELDS, Scope, conditions, hints};
use super::{AskError, Asking};
use crate::store::search::{EventAsk, Fixed, Order};
use crate::store::stored::Event;

/// A recorded fix.
#[derive(Clone, Debug, Serialize)]
pub struct FixRow {
    /// Of the fix's own event.
    #[serde(rename = "_key")]
    pub key: String,
    pub timestamp: String,
    pub fix_description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rationale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_name: Option<String>,
    /// `held`, `returned` or `unmatched`.
    pub state: &'static str,
    /// What was said to be fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixes: Option<String>,
    /// The error that it resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<String>,
    #[serde(flatten)]
    pub proof: Option<Proof>,
}

/// Recorded fixes, newest first.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn fixes(ask: &Asking<'_>, args: &Fixes) -> Result<Answer<FixRow>, AskError> {
    let fields = conditions(&args.fields, EVENT_FIELDS, "")?;
    let mut scope = Scope::of(ask, &args.which, &"fixes", fields, None)?;
    scope.filter.is_fix = true;
    let page = ask.store.events(&EventAsk {
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
    let after = page.items.last().map(|(e, _)| position(e));
    let mut items = Vec::with_capacity(page.items.len());
    for (event, _) in page.items {
        items.push(row(ask, event)?);
    }
    let mut notes = Vec::new();
    if items.is_empty() && !page.more {
        notes.push("no fix is recorded: `logagent fix KEY 'how'` records one".to_owned());
        if !scope.window.is_open() {
            notes.extend(hints(ask, &scope)?);
        }
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

fn row(ask: &Asking<'_>, event: Event) -> Result<FixRow, AskError> {
    let extra = event.extra_data.as_ref().map(|e| e.value()).unwrap_or_default();
    let told = |name: &str| extra.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut row = FixRow {
        author: event.author(),
        fixes: told("fixes"),
        rationale: told("rationale"),
        state: "unmatched",
        error_key: None,
        fingerprint: None,
        root_cause: None,
        proof: None,
        key: event.key,
        timestamp: event.timestamp,
        fix_description: event.message,
        host: event.host,
        script_name: event.script_name,
    };
    let Some((fixed, error)) = resolved(ask, &row.key)? else {
        return Ok(row);
    };
    let proof = proof(ask, &fixed)?;
    row.state = if proof.returned_at.is_some() {
        "returned"
    } else {
        "held"
    };
    row.root_cause = Some(root_cause(&error));
    row.fingerprint = Some(fixed.fingerprint.clone()).filter(|f| !f.is_empty());
    row.rationale = reason(&fixed).or(row.rationale);
    row.script_name = fixed.script_name.clone().or(row.script_name);
    row.error_key = Some(fixed.error_key);
    row.proof = Some(proof);
    Ok(row)
}

/// What a fix resolved, by its edge.
fn resolved(ask: &Asking<'_>, key: &str) -> Result<Option<(Fixed, Event)>, AskError> {
    let edges = ask.store.edges("", &[key.to_owned()], 20)?;
    let to = format!("log_events/{key}");
    let edge = edges.into_iter().find(|e| e.kind == "FIXED_BY" && e.to == to);
    let Some(error) = edge.and_then(|e| e.from.split_once('/').map(|(_, key)| key.to_owned())) else {
        return Ok(None);
    };
    let Some(error) = ask.store.event(&error)? else {
        return Ok(None);
    };
    let prints: Vec<String> = error.fingerprint.iter().cloned().collect();
    let fixed = ask.store.fixes(&prints)?.into_iter().find(|f| f.fix_key == key);
    Ok(fixed.map(|fixed| (fixed, error)))
}

impl Row for FixRow {
    fn draw(items: &[FixRow], paint: &mut Paint) {
        for fix in items {
            let style = match fix.state {
                "held" => Style::of_status("resolved"),
                "returned" => Style::of_status("returned"),
                _ => Style::Dim,
            };
            paint.put(style, &format!("{:<9} ", fix.state));
            let time = paint.clock.show(&fix.timestamp);
            paint.put(Style::Dim, &format!("{time}  "));
            paint.line(Style::Bold, &short(&fix.fix_description, 160));
            let target = match (&fix.root_cause, &fix.fixes) {
                (Some(cause), _) => format!("of {}", short(cause, 120)),
                (None, Some(said)) => format!("of '{}', which no stored error is", short(said, 120)),
                (None, None) => "of no error that is known".to_owned(),
            };
            let script = fix
                .script_name
                .as_deref()
                .map_or(String::new(), |s| format!(", in {s}"));
            let by = fix.author.as_deref().map_or(String::new(), |a| format!(", by {a}"));
            let held = fix.proof.as_ref().map_or(String::new(), |p| format!(", {}", p.words()));
            paint.line(
                Style::Dim,
                &plain(&format!(
                    "          {target}{script}{by}{held} [{}]",
                    short_key(&fix.key)
                )),
            );
            if let Some(why) = &fix.rationale {
                paint.line(Style::Dim, &format!("          because {}", short(why, 160)));
            }
        }
    }

    fn lean(&self) -> Value {
        said(json!({
            "key": short_key(&self.key), "time": seconds(&self.timestamp), "fix": short(&self.fix_description, 200),
            "why": self.rationale.as_deref().map(|r| short(r, 200)), "author": self.author, "state": self.state,
            "of": self.root_cause.as_deref().or(self.fixes.as_deref()).map(|t| short(t, 160)),
            "script": self.script_name, "fingerprint": self.fingerprint,
            "held": self.proof.as_ref().map(Proof::lean),
            "returned_at": self.proof.as_ref().and_then(|p| p.returned_at.as_deref()).map(seconds),
        }))
    }
}
