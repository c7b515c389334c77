//! `search` and `get`: events themselves.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::{Search, Sort};
use super::fuse::Fused;
use super::nearness::{POOL, nearness};
use super::render::lean::millis;
use super::render::paint::{gist, short_key};
use super::render::{Paint, Row};
use super::scope::{EVENT_FIELDS, Scope, hints, split_terms};
use super::{AskError, Asking};
use crate::store::search::{After, EventAsk, Filter, Mark, Order, Page, Words};
use crate::store::stored::Event;

/// An event that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Hit {
    #[serde(flatten)]
    pub event: Event,
    /// BM25, or what several rankings come to; the greater the better, and only where sorted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// Events that match words and conditions: best first, or newest first without words. Where no event has all words,
/// those that have words beginning so, else those that have most of the words; a note says so.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn search(ask: &Asking<'_>, args: &Search) -> Result<Answer<Hit>, AskError> {
    find(ask, args, true)
}

/// The newest events that are what following would have shown: those that have all words as they are.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn recent(ask: &Asking<'_>, args: &Search) -> Result<Answer<Hit>, AskError> {
    find(ask, args, false)
}

fn find(ask: &Asking<'_>, args: &Search, loosely: bool) -> Result<Answer<Hit>, AskError> {
    let (texts, fields) = split_terms(&args.text, EVENT_FIELDS)?;
    let text = texts.join(" ");
    let mut scope = Scope::of(ask, &args.which, &("search", &text, args.sort), fields, None)?;
    let words = Words::parse(&text);
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
    let mut notes = Vec::new();
    let question = EventAsk {
        filter: scope.filter.clone(),
        words,
        order,
        after: scope.after.clone(),
        limit: scope.limit,
        count: true,
    };
    let mut found = matching(ask, &scope, &text, &question, &mut notes)?;
    if found.total == Some(0) && loosely && question.words.is_some() {
        found = nearly(ask, &scope, &text, &question, &mut notes)?;
    }
    resolve(ask, found.items.iter_mut().map(|h| &mut h.event))?;
    if found.items.is_empty() && found.cursor.is_none() {
        notes.extend(hints(ask, &scope)?);
    }
    found.items.shrink_to_fit();
    Ok(Answer {
        truncated: found.cursor.is_some(),
        next_cursor: found.cursor,
        items: found.items,
        total: found.total,
        window: scope.window,
        hints: notes,
        extra: Vec::new(),
    })
}

/// A page of what was found.
struct Found {
    items: Vec<Hit>,
    total: Option<u64>,
    cursor: Option<String>,
}

/// A page of events that match. The order of a ranking moves while events are stored; so it is asked for from its
/// beginning, and what earlier pages showed is left out.
fn matching(
    ask: &Asking<'_>,
    scope: &Scope,
    text: &str,
    question: &EventAsk,
    notes: &mut Vec<String>,
) -> Result<Found, AskError> {
    let hits = |page: Vec<(Event, Option<f64>)>| -> Vec<Hit> {
        page.into_iter().map(|(event, score)| Hit { event, score }).collect()
    };
    if question.order == Order::Score && scope.remembers() {
        let whole = EventAsk {
            after: None,
            limit: scope.limit + scope.offset(),
            ..question.clone()
        };
        let page = ranked(ask, text, &whole, notes)?;
        let (items, cursor) = scope.unseen(hits(page.items), page.more, |h| &h.event.key);
        return Ok(Found {
            items,
            total: page.total,
            cursor,
        });
    }
    let page = ranked(ask, text, question, notes)?;
    let items = hits(page.items);
    let after = match &question.words {
        None => items.last().map(|hit| position(&hit.event)),
        Some(_) => Some(After::Offset((scope.offset() + items.len()) as u64)),
    };
    Ok(Found {
        cursor: scope.go_on(page.more, after),
        items,
        total: page.total,
    })
}

/// Events that are looked through for those that have most of the words.
const PARTIAL: usize = 300;

/// What comes near where no event has all words.
fn nearly(
    ask: &Asking<'_>,
    scope: &Scope,
    text: &str,
    question: &EventAsk,
    notes: &mut Vec<String>,
) -> Result<Found, AskError> {
    let mut words = question.words.clone().unwrap_or_default();
    let wanted = words.terms.iter().filter(|t| !t.without).count();
    if words.terms.iter().any(|t| !t.without && !t.prefix) {
        words
            .terms
            .iter_mut()
            .filter(|t| !t.without)
            .for_each(|t| t.prefix = true);
        let begun = EventAsk {
            words: Some(words.clone()),
            ..question.clone()
        };
        let found = matching(ask, scope, text, &begun, notes)?;
        if found.total != Some(0) {
            let whole = if wanted > 1 {
                "all of these words whole"
            } else {
                "this word whole"
            };
            notes.push(format!(
                "no event has {whole}; shown are events with words that begin so"
            ));
            return Ok(found);
        }
    }
    partly(ask, scope, question, words, notes)
}

/// The events that have most of the words.
fn partly(
    ask: &Asking<'_>,
    scope: &Scope,
    question: &EventAsk,
    mut words: Words,
    notes: &mut Vec<String>,
) -> Result<Found, AskError> {
    let wanted = words.terms.iter().filter(|t| !t.without).count();
    let none = Found {
        items: Vec::new(),
        total: Some(0),
        cursor: None,
    };
    if wanted < 2 || words.any {
        return Ok(none);
    }
    words.any = true;
    let best = ask.store.events(&EventAsk {
        words: Some(words.clone()),
        order: Order::Score,
        after: None,
        limit: PARTIAL,
        count: false,
        ..question.clone()
    })?;
    let held = |event: &Event| {
        let fields = event.text_fields();
        words
            .terms
            .iter()
            .filter(|t| !t.without && t.occurs_in(&fields))
            .count()
    };
    let mut counted: Vec<(usize, Hit)> = best
        .items
        .into_iter()
        .map(|(event, score)| (held(&event), Hit { event, score }))
        .collect();
    let most = counted.iter().map(|(n, _)| *n).max().unwrap_or(0);
    counted.retain(|(n, _)| *n == most);
    let mut items: Vec<Hit> = counted.into_iter().map(|(_, hit)| hit).collect();
    match question.order {
        Order::Score => {}
        Order::Newest => items.sort_by(|a, b| b.event.position().cmp(&a.event.position())),
        Order::Oldest => items.sort_by(|a, b| a.event.position().cmp(&b.event.position())),
    }
    if question.order != Order::Score {
        items.iter_mut().for_each(|hit| hit.score = None);
    }
    if items.is_empty() {
        return Ok(none);
    }
    notes.push(format!(
        "no event has all of these words; shown are events that have {most} of the {wanted}"
    ));
    let total = items.len() as u64;
    let (items, cursor) = scope.unseen(items, false, |h| &h.event.key);
    Ok(Found {
        items,
        total: Some(total),
        cursor,
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
    if ask.meaning.is_none() || question.order != Order::Score || question.after.is_some() {
        return Ok(ask.store.events(question)?);
    }
    let mut page = ask.store.events(&EventAsk {
        limit: question.limit.max(POOL),
        ..question.clone()
    })?;
    let pool = page.items.len().min(POOL);
    let Some(best) = page.items.get_mut(..pool) else {
        return Ok(page);
    };
    let texts: Vec<String> = best.iter().map(|(e, _)| gist(e)).collect();
    if let Some(near) = nearness(ask, text, &texts, notes) {
        let mut fused = Fused::default();
        fused.rank(1.0, best.iter().enumerate().map(|(i, (_, s))| (i, s.unwrap_or(0.0))));
        fused.rank(1.0, near.into_iter().enumerate());
        for (i, (_, score)) in best.iter_mut().enumerate() {
            *score = Some((fused.score(&i) * 1e6).round() / 1e6);
        }
        // Stable: of equals the better match of words stays before the other.
        best.sort_by(|a, b| b.1.unwrap_or(0.0).total_cmp(&a.1.unwrap_or(0.0)));
    }
    page.more |= page.items.len() > question.limit;
    page.items.truncate(question.limit);
    Ok(page)
}

/// Where an event stands among all.
#[must_use]
pub fn position(event: &Event) -> After {
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
                && f.reaches() >= event.timestamp.as_str()
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
