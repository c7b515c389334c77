//! `learnings`: what was learnt, newest or best match first, or what was learnt more than once.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::Learnings;
use super::render::lean::{plain_values, said, seconds};
use super::render::paint::{Style, cell, number, plain, short};
use super::render::{Paint, Row};
use super::scope::{LEARNING_FIELDS, Scope, split_terms};
use super::{AskError, Asking};
use crate::store::search::{After, LearningAsk, Words};
use crate::store::stored::Learning;

/// Learnings that are looked at for recurring ones; the newest.
const LOOKED_AT: usize = 50_000;

/// What `learnings` found.
pub enum Found {
    Each(Answer<Learnt>),
    Recurring(Answer<Recurring>),
}

/// One learning.
#[derive(Clone, Debug, Serialize)]
pub struct Learnt {
    #[serde(flatten)]
    pub learning: Learning,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// A learning that was recorded more than once, whatever its case and white space.
#[derive(Clone, Debug, Serialize)]
pub struct Recurring {
    /// As it was put last.
    pub learning: String,
    pub count: u64,
    /// The highest.
    pub confidence: Option<f64>,
    pub first_seen: String,
    pub last_seen: String,
    pub scripts: Vec<String>,
    pub executions: Vec<String>,
}

/// Learnings.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn learnings(ask: &Asking<'_>, args: &Learnings) -> Result<Found, AskError> {
    let (texts, fields) = split_terms(&args.text, LEARNING_FIELDS)?;
    let text = texts.join(" ");
    let question = (
        "learnings",
        &text,
        args.min_confidence.map(f64::to_bits),
        args.recurring,
    );
    let mut scope = Scope::of(ask, &args.which, &question, fields.clone(), None)?;
    if args.min_confidence.is_some_and(|c| !(0.0..=1.0).contains(&c)) {
        return Err(AskError::usage("--min-confidence is between 0 and 1"));
    }
    let words = Words::parse(&text);
    let counted_off = args.recurring || words.is_some();
    let until = match counted_off {
        true => scope.pin_time(ask.clock.now),
        false => scope.filter.until,
    };
    let f = &scope.filter;
    let question = LearningAsk {
        since: f.since,
        until,
        words,
        min_confidence: args.min_confidence,
        executions: f.executions.clone(),
        scripts: f.scripts.clone(),
        tags: f.tags.clone(),
        grep: f.grep.clone(),
        fields,
        oldest: scope.oldest_first,
        after: scope.after.clone(),
        limit: scope.limit,
    };
    if args.recurring {
        return recurring(ask, &scope, question).map(Found::Recurring);
    }
    let page = ask.store.learnings(&question)?;
    let items: Vec<Learnt> = page
        .items
        .into_iter()
        .map(|(learning, score)| Learnt { learning, score })
        .collect();
    let after = match items.last() {
        Some(last) if last.score.is_none() => Some(After::Position {
            timestamp: last.learning.timestamp.clone(),
            seq: 0,
            key: last.learning.key.clone(),
        }),
        Some(_) => Some(After::Offset((scope.offset() + items.len()) as u64)),
        None => None,
    };
    let hints = if items.is_empty() && !page.more {
        none(ask, &scope)?
    } else {
        Vec::new()
    };
    Ok(Found::Each(Answer {
        next_cursor: scope.go_on(page.more, after),
        truncated: page.more,
        items,
        total: page.total,
        window: scope.window,
        hints,
        extra: Vec::new(),
    }))
}

fn none(ask: &Asking<'_>, scope: &Scope) -> Result<Vec<String>, AskError> {
    let any = ask.store.learnings(&LearningAsk {
        limit: 1,
        ..LearningAsk::default()
    })?;
    Ok(vec![match any.items.first() {
        None => "no learning is recorded yet: see `logagent learn`".to_owned(),
        Some(_) if !scope.window.is_open() => {
            "no learning in this window that meets the conditions: widen --since".to_owned()
        }
        Some((l, _)) => format!(
            "no learning meets the conditions; of {} in all the newest is of {}",
            any.total.unwrap_or(1),
            ask.clock.show(&l.timestamp)
        ),
    }])
}

fn recurring(ask: &Asking<'_>, scope: &Scope, question: LearningAsk) -> Result<Answer<Recurring>, AskError> {
    let page = ask.store.learnings(&LearningAsk {
        after: None,
        limit: LOOKED_AT,
        oldest: false,
        ..question
    })?;
    let mut groups: HashMap<String, Recurring> = HashMap::new();
    for (l, _) in page.items {
        let same = l
            .learning
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        let group = groups.entry(same).or_insert_with(|| Recurring {
            learning: String::new(),
            count: 0,
            confidence: None,
            first_seen: l.timestamp.clone(),
            last_seen: String::new(),
            scripts: Vec::new(),
            executions: Vec::new(),
        });
        group.count += 1;
        group.confidence = match (group.confidence, l.confidence) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        if let Some(script) = l.script_name.filter(|s| !group.scripts.contains(s)) {
            group.scripts.push(script);
        }
        if !group.executions.contains(&l.execution_id) && group.executions.len() < 5 {
            group.executions.push(l.execution_id);
        }
        if l.timestamp < group.first_seen {
            group.first_seen.clone_from(&l.timestamp);
        }
        if l.timestamp > group.last_seen {
            group.last_seen = l.timestamp;
            group.learning = l.learning;
        }
    }
    let mut all: Vec<Recurring> = groups.into_values().filter(|g| g.count > 1).collect();
    all.sort_by(|a, b| {
        b.count
            .cmp(&a.count)
            .then_with(|| b.last_seen.cmp(&a.last_seen))
            .then_with(|| a.learning.cmp(&b.learning))
    });
    let total = all.len();
    let offset = scope.offset().min(total);
    let items: Vec<Recurring> = all.drain(offset..).take(scope.limit).collect();
    let end = offset + items.len();
    let mut hints = Vec::new();
    if page.more {
        hints.push(format!("only the newest {LOOKED_AT} learnings were looked at"));
    }
    if total == 0 {
        hints.push("nothing was learnt more than once".to_owned());
    }
    Ok(Answer {
        next_cursor: (end < total).then(|| scope.next(After::Offset(end as u64))),
        truncated: end < total || page.more,
        items,
        total: Some(total as u64),
        window: scope.window.clone(),
        hints,
        extra: Vec::new(),
    })
}

impl Row for Learnt {
    fn draw(items: &[Learnt], paint: &mut Paint) {
        let rows = items
            .iter()
            .map(|l| {
                let l = &l.learning;
                vec![
                    cell(paint.clock.show(&l.timestamp)).styled(Style::Dim),
                    number(l.confidence.map_or("-".to_owned(), |c| format!("{c:.2}"))),
                    cell(short(l.script_name.as_deref().unwrap_or("-"), 24)).styled(Style::Cyan),
                    cell(short(l.function_name.as_deref().unwrap_or("-"), 24)),
                    cell(short(&l.learning, 200)),
                ]
            })
            .collect();
        paint.table(&["time", "sure", "script", "function", "learning"], rows);
    }

    fn lean(&self) -> Value {
        let l = &self.learning;
        let mut out =
            json!({"learning": short(&l.learning, 300), "confidence": l.confidence, "time": seconds(&l.timestamp)});
        if let Some(map) = out.as_object_mut() {
            if let Some(f) = &l.function_name {
                map.insert("function".into(), json!(f));
            }
            if let Some(s) = &l.script_name {
                map.insert("script".into(), json!(s));
            }
            if let Some(c) = &l.context {
                map.insert("context".into(), plain_values(&c.value()));
            }
        }
        out
    }
}

impl Row for Recurring {
    fn draw(items: &[Recurring], paint: &mut Paint) {
        let rows = items
            .iter()
            .map(|g| {
                vec![
                    number(format!("{}×", g.count)),
                    number(g.confidence.map_or("-".to_owned(), |c| format!("{c:.2}"))),
                    cell(paint.clock.show(&g.last_seen)).styled(Style::Dim),
                    cell(plain(&g.scripts.join(","))).styled(Style::Cyan),
                    cell(short(&g.learning, 200)),
                ]
            })
            .collect();
        paint.table(&["", "sure", "last", "scripts", "learning"], rows);
    }

    fn lean(&self) -> Value {
        said(json!({
            "learning": short(&self.learning, 300), "count": self.count, "confidence": self.confidence,
            "last_seen": seconds(&self.last_seen), "scripts": self.scripts,
        }))
    }
}
