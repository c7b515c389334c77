//! One failure is one error: the `run_end` of a failed run that says no more than that it failed belongs to the error
//! that it repeats.

use std::collections::{HashMap, HashSet};

use super::errors::root_cause;
use super::render::paint::short;
use super::{AskError, Asking};
use crate::store::search::{By, Count, CountAsk, EventAsk, FieldIs, Filter, Order, Sign};
use crate::store::stored::{ERROR, Event, Run};

/// Runs asked for in one question, as many as a query may well have bind values.
const PART: usize = 500;

/// Which errors repeat others of their run: how many, by fingerprint and execution.
#[derive(Default)]
pub struct Repeats(HashMap<(String, String), u64>);

impl Repeats {
    /// How many of the errors of a fingerprint in an execution only repeat another one.
    #[must_use]
    pub fn of(&self, print: &str, execution: &str) -> u64 {
        let key = (print.to_owned(), execution.to_owned());
        self.0.get(&key).copied().unwrap_or(0)
    }
}

fn field(path: &[&str]) -> By {
    By::Field(path.iter().map(|p| (*p).to_owned()).collect())
}

/// The repeating errors among those of a filter.
///
/// # Errors
/// Those of the store.
pub fn repeats(ask: &Asking<'_>, filter: &Filter) -> Result<Repeats, AskError> {
    let mut fields = filter.fields.clone();
    fields.push(FieldIs {
        path: vec!["event".to_owned()],
        values: vec!["run_end".to_owned()],
        sign: Sign::Is,
    });
    let question = CountAsk {
        filter: Filter {
            fields,
            min_level: Some(filter.min_level.unwrap_or(ERROR).max(ERROR)),
            ..filter.clone()
        },
        by: vec![
            field(&["fingerprint"]),
            field(&["execution_id"]),
            field(&["exception", "type"]),
        ],
        newest: false,
    };
    let mut ends: HashMap<(String, String), u64> = HashMap::new();
    ask.store.counts(&question, &mut |row: Count| {
        let mut by = row.by.into_iter();
        let (print, id, kind) = (by.next().flatten(), by.next().flatten(), by.next().flatten());
        if let (Some(id), None) = (id, kind) {
            *ends.entry((print.unwrap_or_default(), id)).or_default() += row.count;
        }
        true
    })?;
    let executions: HashSet<String> = ends.keys().map(|(_, id)| id.clone()).collect();
    let others = counted(ask, &executions.into_iter().collect::<Vec<_>>())?;
    // Where a run has no other error, its end stands for it.
    ends.retain(|(_, id), _| others.get(id).is_some_and(|c| c.own > 0));
    Ok(Repeats(ends))
}

/// Errors of one execution.
#[derive(Clone, Copy, Default)]
struct Counted {
    /// Those that say what failed.
    own: u64,
    /// Ends that say no more than that it failed.
    ends: u64,
}

/// How many errors executions have, each failure counted once.
///
/// # Errors
/// Those of the store.
pub fn errors_of(ask: &Asking<'_>, executions: &[String]) -> Result<HashMap<String, u64>, AskError> {
    let counted = counted(ask, executions)?;
    let failures = |c: Counted| if c.own > 0 { c.own } else { c.ends.min(1) };
    Ok(counted.into_iter().map(|(id, c)| (id, failures(c))).collect())
}

fn counted(ask: &Asking<'_>, executions: &[String]) -> Result<HashMap<String, Counted>, AskError> {
    let mut out: HashMap<String, Counted> = HashMap::new();
    for part in executions.chunks(PART) {
        let question = CountAsk {
            filter: Filter {
                executions: part.to_vec(),
                min_level: Some(ERROR),
                ..Filter::default()
            },
            by: vec![
                field(&["execution_id"]),
                field(&["event"]),
                field(&["exception", "type"]),
            ],
            newest: false,
        };
        ask.store.counts(&question, &mut |row: Count| {
            let mut by = row.by.into_iter();
            let (id, event, kind) = (by.next().flatten(), by.next().flatten(), by.next().flatten());
            let entry = out.entry(id.unwrap_or_default()).or_default();
            match (event.as_deref(), kind) {
                (Some("run_end"), None) => entry.ends += row.count,
                _ => entry.own += row.count,
            }
            true
        })?;
    }
    Ok(out)
}

/// Why a run failed, in a few words: what its last error says, or what it gave as its error. Nothing of a run that did not
/// fail.
///
/// # Errors
/// Those of the store.
pub fn reason(ask: &Asking<'_>, run: &Run) -> Result<Option<String>, AskError> {
    if !matches!(run.status.as_str(), "failed" | "crashed" | "ended" | "lost") {
        return Ok(None);
    }
    let page = ask.store.events(&EventAsk {
        filter: Filter {
            executions: vec![run.execution_id.clone()],
            min_level: Some(ERROR),
            ..Filter::default()
        },
        words: None,
        order: Order::Newest,
        after: None,
        limit: 2,
        count: false,
    })?;
    let last = page.items.iter().map(|(e, _)| e).find(|e| !e.repeats_a_failure());
    let said = match last {
        Some(event) => Some(root_cause(event)),
        // A run of which is not known how it ended has not failed by that alone.
        None if matches!(run.status.as_str(), "failed" | "crashed") => run.error.clone(),
        None => None,
    };
    Ok(said.map(|text| short(text.lines().next().unwrap_or_default(), REASON)))
}

/// Characters of a reason.
const REASON: usize = 80;

/// Leaves out of a run's errors those that repeat others of them; returns how many.
pub fn leave_out<T>(errors: &mut Vec<T>, event: impl Fn(&T) -> &Event) -> usize {
    let before = errors.len();
    if errors.iter().any(|e| !event(e).repeats_a_failure()) {
        errors.retain(|e| !event(e).repeats_a_failure());
    }
    before - errors.len()
}
