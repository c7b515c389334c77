//! `get`: one event whole.

use serde::Serialize;
use serde_json::Value;

use super::args::Get;
use super::events::{lean, position, resolve};
use super::render::paint::{Style, block, plain};
use super::render::{Paint, Row};
use super::{AskError, Asking};
use crate::store::search::{EventAsk, Filter, Order};
use crate::store::stored::Event;

/// The most neighbours on one side of an event.
const NEIGHBOURS_MAX: usize = 1_000;

/// One event whole, with its neighbours where asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Whole {
    #[serde(flatten)]
    pub event: Event,
    /// In order of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<Event>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<Event>>,
}

/// One event whole.
///
/// # Errors
/// [`AskError::NotFound`] where no event has this key; those of the store.
pub fn get(ask: &Asking<'_>, args: &Get) -> Result<Whole, AskError> {
    let key = args
        .key
        .trim()
        .trim_start_matches("log_events/")
        .trim_matches(['[', ']']);
    let Some(mut event) = ask.store.event(key)? else {
        return Err(AskError::NotFound(format!("no event has the key '{key}'")));
    };
    let side = |n: Option<usize>| n.or(args.context).map(|n| n.min(NEIGHBOURS_MAX));
    let (before, after) = (side(args.before), side(args.after));
    let near = |n: Option<usize>, order: Order| -> Result<Option<Vec<Event>>, AskError> {
        let Some(limit) = n else {
            return Ok(None);
        };
        if limit == 0 {
            return Ok(Some(Vec::new()));
        }
        let page = ask.store.events(&EventAsk {
            filter: Filter {
                executions: vec![event.execution_id.clone()],
                ..Filter::default()
            },
            words: None,
            order,
            after: Some(position(&event)),
            limit,
            count: false,
        })?;
        Ok(Some(page.items.into_iter().map(|(e, _)| e).collect()))
    };
    let mut before = near(before, Order::Newest)?;
    let after = near(after, Order::Oldest)?;
    if let Some(list) = &mut before {
        list.reverse();
    }
    resolve(ask, std::iter::once(&mut event))?;
    Ok(Whole { event, before, after })
}

impl Row for Whole {
    fn draw(items: &[Whole], paint: &mut Paint) {
        for whole in items {
            for event in whole.before.iter().flatten() {
                paint.event(event, false);
            }
            draw_whole(&whole.event, paint);
            for event in whole.after.iter().flatten() {
                paint.event(event, false);
            }
        }
    }

    fn lean(&self) -> Value {
        let mut out = serde_json::to_value(&self.event).unwrap_or_default();
        if let Some(map) = out.as_object_mut() {
            for name in [
                "embeddings",
                "source",
                "seq",
                "ingested_at",
                "thread_id",
                "process_name",
                "level_no",
            ] {
                map.remove(name);
            }
            for (name, list) in [("before", &self.before), ("after", &self.after)] {
                if let Some(list) = list {
                    map.insert(name.into(), list.iter().map(|e| lean(e, false)).collect());
                }
            }
        }
        out
    }
}

fn draw_whole(event: &Event, paint: &mut Paint) {
    paint.put(Style::of_level(event.level_no.unwrap_or(20)), &plain(&event.level));
    paint.out.push(' ');
    let time = paint.clock.show(&event.timestamp);
    paint.put(Style::Dim, &time);
    paint.out.push(' ');
    paint.line(Style::Dim, &event.key);
    paint.line(Style::Bold, &block(&event.message));
    let doc = serde_json::to_value(event).unwrap_or_default();
    let shown = ["_key", "timestamp", "level", "level_no", "message", "exception"];
    let mut rows = Vec::new();
    for name in super::scope::EVENT_FIELDS
        .iter()
        .chain(&["resolved", "resolved_at", "fix_description"])
    {
        if shown.contains(name) {
            continue;
        }
        match doc.get(*name) {
            None => {}
            Some(Value::String(s)) => rows.push((*name, plain(s))),
            Some(Value::Object(map)) if *name == "extra_data" => {
                for (i, (key, value)) in map.iter().enumerate() {
                    rows.push((if i == 0 { *name } else { "" }, plain(&format!("{key} = {value}"))));
                }
            }
            Some(other) => rows.push((*name, plain(&other.to_string()))),
        }
    }
    let cells = rows
        .into_iter()
        .map(|(name, text)| {
            vec![
                super::render::paint::cell(format!("  {name}")).styled(Style::Dim),
                super::render::paint::cell(text),
            ]
        })
        .collect();
    paint.table(&["", ""], cells);
    if let Some(e) = &event.exception {
        match &e.traceback {
            Some(trace) => paint.line(Style::Red, &block(trace.trim_end())),
            None => {
                let (kind, value) = (e.kind.as_deref().unwrap_or(""), e.value.as_deref().unwrap_or(""));
                paint.line(Style::Red, &block(&format!("{kind}: {value}")));
            }
        }
    }
}
