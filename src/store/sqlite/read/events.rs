//! Events: one, a page, a scan, what is new.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::Fault;
use super::clauses::Clauses;
use super::matching::matching;
use super::reach::{Reach, reach};
use super::rows::{LEAN, WHOLE, lean, whole};
use crate::store::search::{After, COUNT_MAX, EventAsk, Filter, KEY_START, Mark, Order, Page, ReadError, Visit};
use crate::store::stored::Event;

/// Steps of SQLite's machine that counting a total may take; some tenths of a second.
const COUNT_STEPS: u64 = 6_000_000;

pub fn one(db: &Connection, key: &str) -> Result<Option<Event>, Fault> {
    let exact = format!("SELECT {WHOLE} FROM log_events e WHERE e._key = ?");
    let found = db
        .prepare_cached(&exact)?
        .query_row([key], |row| Ok(whole(row)))
        .optional()?;
    if found.is_some() || key.len() < KEY_START {
        return Ok(found);
    }
    let sql = format!("SELECT {WHOLE} FROM log_events e WHERE e._key > ?1 AND e._key < ?1 || '~' LIMIT 2");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([key])?;
    let found = rows.next()?.map(whole);
    if rows.next()?.is_some() {
        return Err(ReadError::Faulty(format!("several keys begin with '{key}': give more of it")).into());
    }
    Ok(found)
}

pub fn page(db: &Connection, ask: &EventAsk) -> Result<Page<(Event, Option<f64>)>, Fault> {
    match &ask.words {
        Some(words) => matching(db, ask, words),
        None => ordered(db, ask),
    }
}

/// A page in the order of time.
fn ordered(db: &Connection, ask: &EventAsk) -> Result<Page<(Event, Option<f64>)>, Fault> {
    let Some(way) = reach(db, &ask.filter)? else {
        return Ok(Page::default());
    };
    let total = if ask.count { count(db, &way)? } else { None };
    let Reach {
        mut clauses, in_order, ..
    } = way;
    let down = ask.order != Order::Oldest;
    let mut offset = 0;
    match &ask.after {
        Some(After::Position { timestamp, seq, key }) => {
            let sign = if down { '<' } else { '>' };
            // The first term alone serves the index.
            clauses.add(
                format!("e.timestamp {sign}= ? AND (e.timestamp, coalesce(e.seq, 0), e._key) {sign} (?, ?, ?)"),
                [
                    Value::Text(timestamp.clone()),
                    Value::Text(timestamp.clone()),
                    Value::Integer(*seq),
                    Value::Text(key.clone()),
                ],
            );
        }
        Some(After::Offset(n)) => offset = *n,
        None => {}
    }
    let sql = format!(
        "SELECT {WHOLE} FROM {in_order}{} ORDER BY {} LIMIT {} OFFSET {offset}",
        clauses.sql(),
        order_by(down),
        ask.limit + 1
    );
    let mut items = Vec::with_capacity(ask.limit.min(1000));
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(clauses.params())?;
    while let Some(row) = rows.next()? {
        items.push((whole(row), None));
    }
    Ok(cut(items, ask.limit, total))
}

fn cut(mut items: Vec<(Event, Option<f64>)>, limit: usize, total: Option<u64>) -> Page<(Event, Option<f64>)> {
    let more = items.len() > limit;
    items.truncate(limit);
    Page { items, total, more }
}

fn order_by(down: bool) -> &'static str {
    if down {
        "e.timestamp DESC, coalesce(e.seq, 0) DESC, e._key DESC"
    } else {
        "e.timestamp, coalesce(e.seq, 0), e._key"
    }
}

/// How many events there are on this way; `None` where that takes too long to find out.
fn count(db: &Connection, way: &Reach) -> Result<Option<u64>, Fault> {
    let Reach { clauses, all, .. } = way;
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {all}{} LIMIT {})",
        clauses.sql(),
        COUNT_MAX + 1
    );
    let counted = bounded(db, COUNT_STEPS, || {
        db.prepare_cached(&sql)?
            .query_row(clauses.params(), |r| r.get::<_, i64>(0))
    })?;
    Ok(counted.and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= COUNT_MAX))
}

/// Runs a question for at most so many steps of SQLite's machine; `None` if it was stopped. Steps, not time: the
/// answer to the same question about the same data does not depend on the weather.
pub fn bounded<T>(
    db: &Connection,
    steps: u64,
    question: impl FnOnce() -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    const STRIDE: i32 = 10_000;
    let mut left = steps / STRIDE as u64;
    db.progress_handler(
        STRIDE,
        Some(move || {
            left = left.saturating_sub(1);
            left == 0
        }),
    );
    let answer = question();
    db.progress_handler(0, None::<fn() -> bool>);
    match answer {
        Ok(t) => Ok(Some(t)),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub fn scan(db: &Connection, filter: &Filter, oldest_first: bool, visit: Visit<'_, Event>) -> Result<(), Fault> {
    let Some(Reach { clauses, in_order, .. }) = reach(db, filter)? else {
        return Ok(());
    };
    let sql = format!(
        "SELECT {LEAN} FROM {in_order}{} ORDER BY {}",
        clauses.sql(),
        order_by(!oldest_first)
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(clauses.params())?;
    while let Some(row) = rows.next()? {
        let mut event = lean(row);
        if let Some(e) = &mut event.exception {
            e.traceback = None;
        }
        if !visit(event) {
            break;
        }
    }
    Ok(())
}

/// The number of the newest row.
pub fn latest(db: &Connection) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(max(id), 0) FROM log_events";
    Ok(db.prepare_cached(sql)?.query_row([], |r| r.get(0))?)
}

/// What was stored behind a mark: the newest row's number, which file it is in, and when that row was taken in. In
/// another file, as after a restore or where the store was made anew, all is new that was taken in later.
pub fn tail(
    db: &Connection,
    filter: &Filter,
    mark: Option<Mark>,
    limit: usize,
    file: &str,
) -> Result<(Vec<Event>, Mark), Fault> {
    let last = latest(db)?;
    let reached_at = |id: i64| -> Result<Mark, Fault> {
        let sql = "SELECT ingested_at FROM log_events WHERE id = ?";
        let time: Option<Option<String>> = db.prepare_cached(sql)?.query_row([id], |r| r.get(0)).optional()?;
        let time = time.flatten().unwrap_or_default();
        Ok(Mark(vec![id.to_string(), file.to_owned(), time]))
    };
    let Some(Mark(mark)) = mark else {
        return Ok((Vec::new(), reached_at(last)?));
    };
    let part = |i: usize| mark.get(i).map_or("", String::as_str);
    let same = part(1) == file;
    let from = if same { part(0).parse().unwrap_or(last) } else { 0 };
    let mut clauses = Clauses::default();
    clauses.add("e.id > ? AND e.id <= ?", [Value::Integer(from), Value::Integer(last)]);
    if !same {
        clauses.add("e.ingested_at > ?", [Value::Text(part(2).to_owned())]);
    }
    clauses.events(filter);
    let sql = format!(
        "SELECT e.id, {WHOLE} FROM log_events e NOT INDEXED{} ORDER BY e.id LIMIT {limit}",
        clauses.sql()
    );
    // The id comes behind the columns that `whole` counts off.
    let sql = sql.replacen(&format!("e.id, {WHOLE}"), &format!("{WHOLE}, e.id"), 1);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(clauses.params())?;
    let mut items = Vec::new();
    let mut reached = last;
    while let Some(row) = rows.next()? {
        items.push(whole(row));
        if items.len() == limit {
            reached = row.get(super::rows::BEHIND)?;
        }
    }
    if last == from && same {
        return Ok((items, Mark(mark)));
    }
    Ok((items, reached_at(reached)?))
}
