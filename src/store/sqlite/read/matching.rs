//! Full text: the best or newest matches of some words.
//!
//! # Conditions beside words
//!
//! FTS5 walks the matches of its words; a condition on their rows costs a look into the table for each match, ten times
//! as much as the match itself. So what an index alone can tell (time, script, execution, fingerprint, being an error) is
//! asked first: it gives a set of row ids, a bit a row, and matches outside of the set are passed over at once. Where
//! words have few matches, or the index would have to be read for too long to make that set, every match is looked up.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::Fault;
use super::clauses::Clauses;
use super::events::bounded;
use super::reach::few;
use super::rows::{WHOLE, whole};
use crate::store::search::{After, COUNT_MAX, EventAsk, Filter, Order, Page, ReadError, Words};
use crate::store::stored::Event;

/// Fewer matches are looked up one by one.
const FREQUENT: i64 = 4_000;

/// Row ids beyond this are not put into a set, which takes a bit for each: 25 MB.
const SET_MAX: i64 = 200_000_000;

/// Steps of SQLite's machine that making a set of rows may take: some two million rows of an index.
const SET_STEPS: u64 = 16_000_000;

/// At most this many full-text matches are looked at, the newest ones: of a word that stands in every record the rank
/// says little, and weighing all of them would take seconds.
const MATCHES_MAX: u64 = 200_000;

/// A match on its way into the page; the greatest is the worst, so that a heap drops it first.
struct Match {
    id: i64,
    score: f64,
    position: (String, i64, String),
    order: Order,
}

impl Ord for Match {
    fn cmp(&self, other: &Match) -> Ordering {
        match self.order {
            // SQLite's bm25 is the better the smaller.
            Order::Score => self.score.total_cmp(&other.score).then(other.id.cmp(&self.id)),
            Order::Newest => other.position.cmp(&self.position),
            Order::Oldest => self.position.cmp(&other.position),
        }
    }
}

impl PartialOrd for Match {
    fn partial_cmp(&self, other: &Match) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Match {
    fn eq(&self, other: &Match) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Match {}

/// A page of full-text matches: one pass finds the best and counts, a second reads their rows.
pub fn matching(db: &Connection, ask: &EventAsk, words: &Words) -> Result<Page<(Event, Option<f64>)>, Fault> {
    let offset = match &ask.after {
        Some(After::Offset(n)) => usize::try_from(*n).unwrap_or(usize::MAX),
        Some(After::Position { .. }) => return Err(ReadError::Faulty("the cursor is of another order".into()).into()),
        None => 0,
    };
    let wanted = ask.limit.saturating_add(offset).saturating_add(1);
    let by_score = ask.order == Order::Score;
    let Some((clauses, looked_up)) = conditions(db, &ask.filter, words)? else {
        return Ok(Page::default());
    };
    let join = if looked_up || !by_score {
        " JOIN log_events e ON e.id = f.rowid"
    } else {
        ""
    };
    let columns = if by_score {
        "bm25(log_events_fts)"
    } else {
        "0, e.timestamp, coalesce(e.seq, 0), e._key"
    };
    let sql = format!(
        "SELECT f.rowid, {columns} FROM log_events_fts f{join}{} ORDER BY f.rowid DESC LIMIT {}",
        clauses.sql(),
        MATCHES_MAX + 1
    );
    let mut heap = BinaryHeap::new();
    let mut seen = 0u64;
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(clauses.params())?;
    while let Some(row) = rows.next()? {
        seen += 1;
        let position = if by_score {
            Default::default()
        } else {
            (row.get(2)?, row.get(3)?, row.get(4)?)
        };
        heap.push(Match {
            id: row.get(0)?,
            score: row.get(1)?,
            position,
            order: ask.order,
        });
        if heap.len() > wanted {
            heap.pop();
        }
    }
    let best: Vec<Match> = heap.into_sorted_vec().into_iter().skip(offset).collect();
    let more = best.len() > ask.limit;
    let sql = format!("SELECT {WHOLE} FROM log_events e WHERE e.id = ?");
    let mut statement = db.prepare_cached(&sql)?;
    let mut items = Vec::with_capacity(best.len());
    for found in best.into_iter().take(ask.limit) {
        // A row can be pruned between the two passes.
        if let Some(event) = statement.query_row([found.id], |row| Ok(whole(row))).optional()? {
            items.push((event, by_score.then_some(-found.score)));
        }
    }
    let total = (ask.count && seen <= COUNT_MAX).then_some(seen);
    Ok(Page { items, total, more })
}

/// What a match must be, and whether its row has to be looked up to tell; `None` where there can be no match at all.
fn conditions(db: &Connection, filter: &Filter, words: &Words) -> Result<Option<(Clauses, bool)>, Fault> {
    let mut clauses = Clauses::default();
    let expression = expression(words);
    let unbound = Filter {
        stored_until: None,
        ..filter.clone()
    };
    let Some((set, rest)) = admitted(db, &unbound, &expression)? else {
        return Ok(None);
    };
    clauses.add("log_events_fts MATCH ?", [Value::Text(expression)]);
    if let Some(id) = filter.stored_until {
        clauses.add("f.rowid <= ?", [Value::Integer(id)]);
    }
    if let Some(set) = set {
        admit_only(db, set)?;
        clauses.add("lg_among(f.rowid)", []);
    }
    let looked_up = has_conditions(&rest);
    clauses.events(&rest);
    Ok(Some((clauses, looked_up)))
}

/// The rows that are asked for as far as that is known beforehand, and the conditions on them that are left; `None` where
/// there can be no match at all.
fn admitted(db: &Connection, filter: &Filter, expression: &str) -> Result<Option<(Option<Rows>, Filter)>, Fault> {
    match few(db, filter)? {
        Some(ids) if ids.is_empty() => return Ok(None),
        Some(ids) => {
            let mut set = Rows::default();
            ids.into_iter().for_each(|id| set.add(id));
            return Ok(Some((Some(set), filter.clone())));
        }
        None => {}
    }
    let set = match has_conditions(filter) && is_frequent(db, expression)? {
        true => allowed(db, filter)?,
        false => None,
    };
    Ok(Some(match set {
        Some((set, rest)) => (Some(set), rest),
        None => (None, filter.clone()),
    }))
}

/// Whether the filter has any condition.
fn has_conditions(filter: &Filter) -> bool {
    let mut clauses = Clauses::default();
    clauses.events(filter);
    !clauses.is_empty()
}

/// The query in FTS5's language; every word is quoted, so that none is taken for syntax.
fn expression(words: &Words) -> String {
    let term = |t: &crate::store::search::Term| format!("\"{}\"{}", t.text, if t.prefix { "*" } else { "" });
    let joined = |without: bool, by: &str| {
        let terms: Vec<String> = words.terms.iter().filter(|t| t.without == without).map(term).collect();
        terms.join(by)
    };
    let wanted = joined(false, if words.any { " OR " } else { " AND " });
    let unwanted = joined(true, " OR ");
    if unwanted.is_empty() {
        wanted
    } else {
        format!("({wanted}) NOT ({unwanted})")
    }
}

/// Whether words match so often that it pays to find out first which rows count.
fn is_frequent(db: &Connection, expression: &str) -> rusqlite::Result<bool> {
    let sql =
        format!("SELECT count(*) FROM (SELECT 1 FROM log_events_fts f WHERE log_events_fts MATCH ? LIMIT {FREQUENT})");
    let n: i64 = db.prepare_cached(&sql)?.query_row([expression], |r| r.get(0))?;
    Ok(n == FREQUENT)
}

/// Row ids, a bit each.
#[derive(Default)]
struct Rows(Vec<u64>);

impl Rows {
    fn add(&mut self, id: i64) {
        let Ok(id) = usize::try_from(id) else { return };
        if self.0.len() <= id / 64 {
            self.0.resize(id / 64 + 1, 0);
        }
        if let Some(word) = self.0.get_mut(id / 64) {
            *word |= 1 << (id % 64);
        }
    }

    fn has(&self, id: i64) -> bool {
        let Ok(id) = usize::try_from(id) else { return false };
        self.0.get(id / 64).is_some_and(|w| w & (1 << (id % 64)) != 0)
    }
}

/// The rows that an index alone finds for a filter, and the conditions that it cannot tell; `None` where no index
/// helps, or it takes too long.
fn allowed(db: &Connection, filter: &Filter) -> Result<Option<(Rows, Filter)>, Fault> {
    let (mut by_index, mut rest) = (Filter::default(), filter.clone());
    by_index.since = rest.since.take();
    by_index.until = rest.until.take();
    let index = if !filter.executions.is_empty() {
        by_index.executions = std::mem::take(&mut rest.executions);
        by_index.min_level = rest.min_level.take();
        "log_events_execution"
    } else if filter.min_level.is_some_and(|l| l >= 40) {
        by_index.min_level = Some(40);
        if filter.min_level == Some(40) {
            rest.min_level = None;
        }
        by_index.fingerprints = std::mem::take(&mut rest.fingerprints);
        by_index.scripts = std::mem::take(&mut rest.scripts);
        "log_events_error"
    } else {
        by_index.scripts = std::mem::take(&mut rest.scripts);
        "log_events_time"
    };
    let mut clauses = Clauses::default();
    clauses.events(&by_index);
    let last: Option<i64> = db.query_row("SELECT max(id) FROM log_events", [], |r| r.get(0))?;
    if clauses.is_empty() || last.unwrap_or(0) > SET_MAX {
        return Ok(None);
    }
    let sql = format!("SELECT e.id FROM log_events e INDEXED BY {index}{}", clauses.sql());
    let set = bounded(db, SET_STEPS, || {
        let mut set = Rows::default();
        let mut statement = db.prepare_cached(&sql)?;
        let mut rows = statement.query(clauses.params())?;
        while let Some(row) = rows.next()? {
            set.add(row.get(0)?);
        }
        Ok(set)
    })?;
    Ok(set.map(|set| (set, rest)))
}

/// Makes `lg_among(id)` say whether a row is in the set.
fn admit_only(db: &Connection, set: Rows) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("lg_among", 1, flags, move |ctx| Ok(set.has(ctx.get(0)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_the_rows_that_were_added_and_no_others() {
        let mut rows = Rows::default();
        for id in [1, 63, 64, 1_000_000] {
            rows.add(id);
        }
        rows.add(-5);
        let held: Vec<i64> = (0..200)
            .chain([999_999, 1_000_000, 1_000_001, -5])
            .filter(|id| rows.has(*id))
            .collect();
        assert_eq!(held, [1, 63, 64, 1_000_000]);
    }

    #[test]
    fn a_kept_connection_asks_the_set_of_the_question_at_hand() {
        let db = Connection::open_in_memory().expect("a database");
        let ask = |id: i64| -> bool {
            let mut statement = db.prepare_cached("SELECT lg_among(?)").expect("the function is there");
            statement.query_row([id], |r| r.get(0)).expect("an answer")
        };
        for id in [7, 8, 9] {
            let mut rows = Rows::default();
            rows.add(id);
            admit_only(&db, rows).expect("registered");
            assert!(ask(id) && !ask(id + 1) && !ask(id - 1));
        }
    }
}
