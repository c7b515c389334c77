//! What a run was like: its messages by template, when each came first, its counts by level; what two runs are compared
//! by.

use std::collections::HashMap;

use serde_json::Value;

use super::window::parse_stored;
use super::{AskError, Asking};
use crate::record::template;
use crate::store::admit::response;
use crate::store::search::{EventAsk, FieldIs, Filter, Order, RunAsk, Sign};
use crate::store::stored::{Event, Run};

/// Templates of a run that are told apart.
const TEMPLATES: usize = 5_000;
/// Characters of a message that its template is made of.
const HEAD: usize = 300;

/// One template of a run.
#[derive(Clone, Debug)]
pub struct Said {
    pub template: String,
    pub count: u64,
    pub level_no: i64,
    /// Microseconds from the run's start to its first occurrence.
    pub first: i64,
}

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// In the order of their first occurrence.
    pub said: Vec<Said>,
    pub levels: Vec<(String, u64)>,
    /// From its first to its last record, microseconds.
    pub span: i64,
    index: HashMap<String, usize>,
    start: Option<i64>,
}

impl Profile {
    fn take(&mut self, event: &Event) {
        match self.levels.iter_mut().find(|(level, _)| *level == event.level) {
            Some((_, n)) => *n += 1,
            None => self.levels.push((event.level.clone(), 1)),
        }
        let Some(time) = parse_stored(&event.timestamp) else {
            return;
        };
        let start = *self.start.get_or_insert(time);
        self.span = self.span.max(time - start);
        let masked = masked(&event.message);
        let full = self.said.len() >= TEMPLATES;
        let known = self.index.get(&masked).copied();
        match known.and_then(|at| self.said.get_mut(at)) {
            Some(said) => said.count += 1,
            None if full => {}
            None => {
                self.index.insert(masked.clone(), self.said.len());
                self.said.push(Said {
                    template: masked,
                    count: 1,
                    level_no: event.level_no.unwrap_or(0),
                    first: time - start,
                });
            }
        }
    }

    /// The template, if the run said it.
    #[must_use]
    pub fn of(&self, template: &str) -> Option<&Said> {
        self.index.get(template).and_then(|at| self.said.get(*at))
    }
}

/// The template of a message's beginning.
#[must_use]
pub fn masked(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let head = line.char_indices().nth(HEAD).map_or(line, |(at, _)| &line[..at]);
    template(head)
}

/// What an execution was like, in one pass over its events.
///
/// # Errors
/// Those of the store.
pub fn profile(ask: &Asking<'_>, execution: &str) -> Result<Profile, AskError> {
    let filter = Filter {
        executions: vec![execution.to_owned()],
        ..Filter::default()
    };
    let mut profile = Profile::default();
    ask.store.scan(&filter, true, &mut |event| {
        profile.take(&event);
        true
    })?;
    Ok(profile)
}

/// The run of an execution, if one is known.
///
/// # Errors
/// Those of the store.
pub fn run_of(ask: &Asking<'_>, execution: &str) -> Result<Option<Run>, AskError> {
    let page = ask.store.runs(&RunAsk {
        executions: vec![execution.to_owned()],
        limit: 1,
        ..RunAsk::default()
    })?;
    Ok(page.items.into_iter().next())
}

/// The newest successful run of the script before this one; else the newest before it of which no failure is known.
///
/// # Errors
/// Those of the store.
pub fn good_before(ask: &Asking<'_>, run: &Run) -> Result<Option<Run>, AskError> {
    for statuses in [&["success"][..], &["ended"]] {
        let page = ask.store.runs(&RunAsk {
            scripts: vec![run.script_name.clone()],
            fields: vec![
                FieldIs {
                    path: vec!["status".to_owned()],
                    values: statuses.iter().map(|s| (*s).to_owned()).collect(),
                    sign: Sign::Is,
                },
                FieldIs {
                    path: vec!["start_time".to_owned()],
                    values: vec![run.start_time.clone()],
                    sign: Sign::Below,
                },
            ],
            limit: 1,
            ..RunAsk::default()
        })?;
        if let Some(good) = page.items.into_iter().next() {
            return Ok(Some(good));
        }
    }
    Ok(None)
}

/// The newest structured result of an execution.
///
/// # Errors
/// Those of the store.
pub fn returned(ask: &Asking<'_>, execution: &str) -> Result<Option<Value>, AskError> {
    let page = ask.store.events(&EventAsk {
        filter: Filter {
            executions: vec![execution.to_owned()],
            has_response: true,
            ..Filter::default()
        },
        words: None,
        order: Order::Newest,
        after: None,
        limit: 1,
        count: false,
    })?;
    Ok(page.items.first().and_then(|(event, _)| response(event)))
}
