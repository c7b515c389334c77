//! `search` and `get`: events themselves.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::{Get, Search, Sort};
use super::fuse::Fused;
use super::nearness::{POOL, nearness};
use super::render::lean::millis;
use super::render::paint::{Style, block, gist, plain, short_key};
use super::render::{Paint, Row};
use super::scope::{EVENT_FIELDS, Scope, hints, split_terms};
use super::{AskError, Asking};
use crate::store::search::{After, EventAsk, Filter, Mark, Order, Page, Words};
use crate::store::stored::Event;

/// The most neighbours on one side of an event.
const NEIGHBOURS_MAX: usize = 1_000;

/// An event that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Hit {
    #[serde(flatten)]
    pub event: Event,
    /// BM25, or what several rankings come to; the greater the better, and only where sorted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// Events that match words and conditions: best first, or newest first without words.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn search(ask: &Asking<'_>, args: &Search) -> Result<Answer<Hit>, AskError> {
    let (texts, fields) = split_terms(&args.text, EVENT_FIELDS)?;
    let text = texts.join(" ");
    let mut scope = Scope::of(ask, &args.which, &("search", &text, args.sort), fields, None)?;
    let mut words = Words::parse(&text);
    if words.is_some() {
        scope.pin(ask)?;
    }
    if words.is_none() && !text.trim().is_empty() {
        return Err(AskError::usage(format!(
            "'{text}' holds no word to search for: use -g REGEX to match signs"
        )));
    }
    let order = match (args.sort, &words) {
        (Some(Sort::Score), Some(_)) | (None, Some(_)) if !scope.oldest_first => Order::Score,
        _ if scope.oldest_first => Order::Oldest,
        _ => Order::Newest,
    };
    let mut question = EventAsk {
        filter: scope.filter.clone(),
        words: words.clone(),
        order,
        after: scope.after.clone(),
        limit: scope.limit,
        count: true,
    };
    let mut notes = Vec::new();
    let mut page = ranked(ask, &text, &question, &mut notes)?;
    if page.total == Some(0)
        && let Some(w) = words
            .as_mut()
            .filter(|w| !w.any && w.terms.iter().filter(|t| !t.without).count() > 1)
    {
        w.any = true;
        question.words = words.clone();
        page = ranked(ask, &text, &question, &mut notes)?;
        if !page.items.is_empty() {
            notes.push("no event has all of these words; shown are events that have some".to_owned());
        }
    }
    let mut events: Vec<Hit> = page
        .items
        .into_iter()
        .map(|(event, score)| Hit { event, score })
        .collect();
    resolve(ask, events.iter_mut().map(|h| &mut h.event))?;
    let after = match words {
        None => events.last().map(|hit| position(&hit.event)),
        Some(_) => Some(After::Offset((scope.offset() + events.len()) as u64)),
    };
    if events.is_empty() && !page.more {
        notes.extend(hints(ask, &scope)?);
    }
    events.shrink_to_fit();
    Ok(Answer {
        next_cursor: scope.go_on(page.more, after),
        truncated: page.more,
        items: events,
        total: page.total,
        window: scope.window,
        hints: notes,
        extra: Vec::new(),
    })
}

/// A page of events. Where it is ordered by score and an endpoint knows meanings, the best [`POOL`] matches are ranked by
/// both; what lies behind them stays in the order of their words.
fn ranked(
    ask: &Asking<'_>,
    text: &str,
    question: &EventAsk,
    notes: &mut Vec<String>,
) -> Result<Page<(Event, Option<f64>)>, AskError> {
    let offset = match question.after {
        Some(After::Offset(n)) => usize::try_from(n).unwrap_or(usize::MAX),
        _ => 0,
    };
    if ask.meaning.is_none() || question.order != Order::Score || offset >= POOL {
        return Ok(ask.store.events(question)?);
    }
    let mut page = ask.store.events(&EventAsk {
        after: None,
        limit: POOL,
        ..question.clone()
    })?;
    let texts: Vec<String> = page.items.iter().map(|(e, _)| gist(e)).collect();
    if let Some(near) = nearness(ask, text, &texts, notes) {
        let mut fused = Fused::default();
        fused.rank(
            1.0,
            page.items.iter().enumerate().map(|(i, (_, s))| (i, s.unwrap_or(0.0))),
        );
        fused.rank(1.0, near.into_iter().enumerate());
        for (i, (_, score)) in page.items.iter_mut().enumerate() {
            *score = Some((fused.score(&i) * 1e6).round() / 1e6);
        }
        // Stable: of equals the better match of words stays before the other.
        page.items
            .sort_by(|a, b| b.1.unwrap_or(0.0).total_cmp(&a.1.unwrap_or(0.0)));
    }
    page.items.drain(..offset.min(page.items.len()));
    page.more |= page.items.len() > question.limit;
    page.items.truncate(question.limit);
    Ok(page)
}

fn position(event: &Event) -> After {
    After::Position {
        timestamp: event.timestamp.clone(),
        seq: event.seq.unwrap_or(0),
        key: event.key.clone(),
    }
}

/// Follows what is stored from now on; see [`follow_start`].
pub struct Follow {
    filter: Filter,
    words: Option<Words>,
    mark: Mark,
}

/// Begins to follow: nothing that is stored already is shown by [`Follow::next`].
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn follow_start(ask: &Asking<'_>, args: &Search) -> Result<Follow, AskError> {
    let (texts, fields) = split_terms(&args.text, EVENT_FIELDS)?;
    let scope = Scope::of(ask, &args.which, &"follow", fields, None)?;
    let mut filter = scope.filter;
    // What arrives from now on is new, whatever its own time.
    filter.since = None;
    let (_, mark) = ask.store.tail(&filter, None, 0)?;
    Ok(Follow {
        filter,
        words: Words::parse(&texts.join(" ")),
        mark,
    })
}

impl Follow {
    /// Events stored since the last call, at most some thousand, in the order of storing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next(&mut self, ask: &Asking<'_>) -> Result<Vec<Hit>, AskError> {
        let (events, mark) = ask.store.tail(&self.filter, Some(self.mark.clone()), 2_000)?;
        self.mark = mark;
        let wanted = |e: &Event| self.words.as_ref().is_none_or(|w| w.matches(&e.text_fields()));
        Ok(events
            .into_iter()
            .filter(wanted)
            .map(|event| Hit { event, score: None })
            .collect())
    }
}

/// Says of errors whether they were resolved since: a fix resolves earlier events of its fingerprint and script.
///
/// # Errors
/// Those of the store.
pub fn resolve<'e>(ask: &Asking<'_>, events: impl Iterator<Item = &'e mut Event>) -> Result<(), AskError> {
    // A fix marks what was stored before it; what was stored later, though it happened earlier, is joined here.
    let open = |e: &&mut Event| e.is_error() && e.fingerprint.is_some() && e.resolved.is_none();
    let mut errors: Vec<&mut Event> = events.filter(open).collect();
    let mut prints: Vec<String> = errors.iter().filter_map(|e| e.fingerprint.clone()).collect();
    prints.sort();
    prints.dedup();
    if prints.is_empty() {
        return Ok(());
    }
    let fixes = ask.store.fixes(&prints)?;
    for event in &mut errors {
        let fix = fixes.iter().rev().find(|f| {
            Some(&f.fingerprint) == event.fingerprint.as_ref()
                && f.script_name == event.script_name
                && f.time >= event.timestamp
        });
        if let Some(fix) = fix {
            event.resolved = Some(true);
            event.resolved_at = Some(fix.time.clone());
            event.fix_description = Some(fix.description.clone());
        }
    }
    Ok(())
}

impl Row for Hit {
    fn draw(items: &[Hit], paint: &mut Paint) {
        for hit in items {
            paint.event(&hit.event, true);
        }
    }

    fn lean(&self) -> Value {
        lean(&self.event, true)
    }
}

/// An event in a list for a model: what it says, and the key to the rest.
#[must_use]
pub fn lean(event: &Event, script: bool) -> Value {
    let mut out = json!({
        "key": short_key(&event.key),
        "time": millis(&event.timestamp),
        "level": event.level,
        "message": gist(event),
    });
    if script && let (Some(name), Some(map)) = (&event.script_name, out.as_object_mut()) {
        map.insert("script".into(), json!(name));
    }
    out
}

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
