//! `errors EXECUTION`: each error of an execution with what happened around it.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::errors::root_cause;
use super::events::{lean as lean_event, resolve};
use super::failures::leave_out;
use super::render::paint::{Cell, Style, cell, gist, plain, short};
use super::render::{Paint, Row};
use super::scope::{Scope, hints};
use super::window::parse_stored;
use super::{AskError, Asking};
use crate::store::search::{After, EventAsk, Filter, Order};
use crate::store::stored::Event;

/// Events around one error.
const AROUND: usize = 40;
/// Of these, the ones that a model sees: the nearest before an error, where its cause is, and behind it.
const BEFORE: usize = 6;
const AFTER: usize = 3;

/// One error with what happened around it in its execution.
#[derive(Clone, Debug, Serialize)]
pub struct Surrounded {
    #[serde(flatten)]
    pub event: Event,
    /// In order of time, without the error itself.
    pub context: Vec<Event>,
    /// How many more there are within the context.
    #[serde(skip_serializing_if = "is_zero")]
    pub context_left_out: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Each error of the scope's execution; with `all` each with the events within `reach` microseconds of it, else only the
/// last one, which ended the run. An end that says no more than that the run failed belongs to the error that it repeats.
///
/// # Errors
/// Those of the store.
pub fn surrounded(ask: &Asking<'_>, scope: &Scope, reach: i64, all: bool) -> Result<Answer<Surrounded>, AskError> {
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
    let mut items: Vec<Surrounded> = page
        .items
        .into_iter()
        .map(|(event, _)| Surrounded {
            event,
            context: Vec::new(),
            context_left_out: 0,
        })
        .collect();
    resolve(ask, items.iter_mut().map(|i| &mut i.event))?;
    let repeated = leave_out(&mut items, |i| &i.event) as u64;
    if all {
        gather(ask, &scope.filter.executions, reach, &mut items)?;
    } else if let Some(last) = last(&mut items, scope) {
        gather(ask, &scope.filter.executions, reach, std::slice::from_mut(last))?;
    }
    let after = items.last().map(|i| After::Position {
        timestamp: i.event.timestamp.clone(),
        seq: i.event.seq.unwrap_or(0),
        key: i.event.key.clone(),
    });
    let hints = if items.is_empty() && !page.more {
        no_errors(ask, scope)?
    } else {
        Vec::new()
    };
    Ok(Answer {
        next_cursor: scope.go_on(page.more, after),
        truncated: page.more,
        items,
        total: page.total.map(|t| t.saturating_sub(repeated)),
        window: scope.window.clone(),
        hints,
        extra: Vec::new(),
    })
}

/// The error that ended the run, where it is on this page.
fn last<'i>(items: &'i mut [Surrounded], scope: &Scope) -> Option<&'i mut Surrounded> {
    match (scope.oldest_first, &scope.after) {
        (false, None) => items.first_mut(),
        (false, Some(_)) => None,
        (true, _) => items.last_mut(),
    }
}

/// An execution without errors is good news, unless it does not exist.
fn no_errors(ask: &Asking<'_>, scope: &Scope) -> Result<Vec<String>, AskError> {
    let any = Filter {
        executions: scope.filter.executions.clone(),
        ..Filter::default()
    };
    match ask.store.extent(&any)? {
        Some(_) => Ok(vec!["this execution has no such errors".to_owned()]),
        None => hints(ask, scope),
    }
}

/// Fills the surroundings of errors in one pass over their execution.
fn gather(ask: &Asking<'_>, executions: &[String], reach: i64, items: &mut [Surrounded]) -> Result<(), AskError> {
    let times: Vec<i64> = items.iter().filter_map(|i| parse_stored(&i.event.timestamp)).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
        return Ok(());
    };
    let filter = Filter {
        executions: executions.to_vec(),
        since: Some(first.saturating_sub(reach)),
        until: Some(last.saturating_add(reach)),
        ..Filter::default()
    };
    let centres: Vec<i64> = items
        .iter()
        .map(|i| parse_stored(&i.event.timestamp).unwrap_or(i64::MIN / 2))
        .collect();
    ask.store.scan(&filter, true, &mut |event: Event| {
        let Some(t) = parse_stored(&event.timestamp) else {
            return true;
        };
        for (item, centre) in items.iter_mut().zip(&centres) {
            if (centre - t).abs() <= reach && event.key != item.event.key {
                item.surround(event.clone());
            }
        }
        true
    })?;
    Ok(())
}

impl Surrounded {
    /// Takes the next event around this one. The nearest matter: of too many, the oldest before it go first, and what
    /// lies far behind.
    fn surround(&mut self, event: Event) {
        self.context.push(event);
        let before = self
            .context
            .iter()
            .take_while(|e| e.position() < self.event.position())
            .count();
        if before > AROUND / 2 {
            self.context.remove(0);
            self.context_left_out += 1;
        } else if self.context.len() - before > AROUND / 2 {
            self.context.pop();
            self.context_left_out += 1;
        }
    }
}

impl Row for Surrounded {
    fn draw(items: &[Surrounded], paint: &mut Paint) {
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                paint.end();
            }
            let mut shown = false;
            for event in &item.context {
                if !shown && event.position() > item.event.position() {
                    draw_error(&item.event, paint);
                    shown = true;
                }
                paint.out.push_str("  ");
                paint.event(event, false);
            }
            if !shown {
                draw_error(&item.event, paint);
            }
            if item.context_left_out > 0 {
                paint.line(
                    Style::Dim,
                    &format!("  … {} more events around it", item.context_left_out),
                );
            }
        }
    }

    fn lean(&self) -> Value {
        let mut out = lean_event(&self.event, false);
        if let Some(map) = out.as_object_mut() {
            map.insert("root_cause".into(), json!(short(&root_cause(&self.event), 200)));
            if let Some(place) = place(&self.event) {
                map.insert("at".into(), json!(place));
            }
            if let Some(fix) = &self.event.fix_description {
                map.insert("fix".into(), json!(short(fix, 200)));
            }
            let error = self.event.position();
            let before = self.context.iter().take_while(|e| e.position() < error).count();
            let near = before.saturating_sub(BEFORE)..self.context.len().min(before + AFTER);
            let left = self.context.len() - near.len() + self.context_left_out;
            let lines = self.context.get(near).unwrap_or(&[]);
            map.insert("context".into(), lines.iter().map(|e| json!(line(e))).collect());
            if left > 0 {
                map.insert("context_left_out".into(), json!(left));
            }
        }
        out
    }
}

/// `file:line in function`, as far as known.
fn place(event: &Event) -> Option<String> {
    let file = event.file_path.as_deref()?;
    let line = event.line_number.map_or(String::new(), |n| format!(":{n}"));
    let function = event
        .function_name
        .as_deref()
        .map_or(String::new(), |f| format!(" in {f}"));
    Some(plain(&format!("{file}{line}{function}")))
}

/// An event as one short line.
fn line(event: &Event) -> String {
    let time = event.timestamp.get(11..23).unwrap_or("");
    format!("{time} {} {}", event.level, short(&gist(event), 80))
}

fn draw_error(event: &Event, paint: &mut Paint) {
    paint.put(Style::Red, "▶ ");
    paint.event(event, false);
    if let Some(place) = place(event) {
        paint.line(Style::Dim, &format!("    at {place}"));
    }
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    if let Some(e) = &event.exception {
        for link in e.chain.iter().rev() {
            rows.push(vec![
                cell("    "),
                cell(plain(&link.kind)).styled(Style::Red),
                cell(short(&link.value, 160)),
            ]);
        }
    }
    if let Some(fix) = &event.fix_description {
        rows.push(vec![
            cell("    "),
            cell("fixed").styled(Style::Green),
            cell(short(fix, 160)),
        ]);
    }
    paint.table(&["", "", ""], rows);
}
