//! Groups of events, and how far events reach.

use rusqlite::Connection;

use super::Fault;
use super::clauses::{Clauses, EVENTS};
use super::events::{bounded, index_for, index_in_order};
use crate::store::search::{By, Count, CountAsk, Filter, ReadError, Visit};

/// Steps that looking for the oldest or newest event may take where no index helps; a second or so.
const EXTENT_STEPS: u64 = 30_000_000;

pub fn counts(db: &Connection, ask: &CountAsk, visit: Visit<'_, Count>) -> Result<(), Fault> {
    let mut joins = String::new();
    let mut columns = Vec::new();
    for (i, by) in ask.by.iter().enumerate() {
        columns.push(match by {
            By::Hour => "substr(e.timestamp, 1, 13)".to_owned(),
            By::Day => "substr(e.timestamp, 1, 10)".to_owned(),
            By::Field(path) => match path.first().map(String::as_str) {
                Some(first) if EVENTS.json.contains(&first) => {
                    let rest = serde_json::to_string(&path[1..])
                        .unwrap_or_default()
                        .replace('\'', "''");
                    joins.push_str(&format!(
                        " LEFT JOIN json_each(lg_names(e.{first}, '{rest}')) j{i} ON 1"
                    ));
                    format!("j{i}.value")
                }
                Some(first) if path.len() == 1 && EVENTS.flags.contains(&first) => {
                    format!("CASE e.{first} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END")
                }
                Some(first) if path.len() == 1 && EVENTS.numbers.contains(&first) => format!("CAST(e.{first} AS TEXT)"),
                Some(first) if path.len() == 1 && EVENTS.all.contains(&first) => format!("e.{first}"),
                _ => "NULL".to_owned(),
            },
        });
    }
    let width = columns.len();
    let mut clauses = Clauses::default();
    clauses.events(&ask.filter);
    let newest = if ask.newest { ", max(e.timestamp || e._key)" } else { "" };
    let group = match width {
        0 => String::new(),
        n => format!(
            " GROUP BY {}",
            (1..=n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
        ),
    };
    columns.extend(["count(*)", "min(e.timestamp)", "max(e.timestamp)"].map(str::to_owned));
    let sql = format!(
        "SELECT {}{newest} FROM log_events e{}{joins}{}{group}",
        columns.join(", "),
        index_for(&ask.filter),
        clauses.sql()
    );
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query(clauses.params())?;
    while let Some(row) = rows.next()? {
        let count = u64::try_from(row.get::<_, i64>(width)?).unwrap_or(0);
        if count == 0 {
            continue;
        }
        let newest: String = if ask.newest { row.get(width + 3)? } else { String::new() };
        let group = Count {
            by: (0..width).map(|i| row.get(i)).collect::<rusqlite::Result<_>>()?,
            count,
            first: row.get(width + 1)?,
            last: row.get(width + 2)?,
            // Behind the 27 characters of the time.
            newest: newest.get(27..).unwrap_or("").to_owned(),
        };
        if !visit(group) {
            break;
        }
    }
    Ok(())
}

pub fn extent(db: &Connection, filter: &Filter) -> Result<Option<(String, String)>, Fault> {
    let mut clauses = Clauses::default();
    clauses.events(filter);
    let end = |direction: &str| {
        let sql = format!(
            "SELECT e.timestamp FROM log_events e{}{} ORDER BY e.timestamp {direction} LIMIT 1",
            index_in_order(filter),
            clauses.sql()
        );
        let found = bounded(db, EXTENT_STEPS, || {
            let mut statement = db.prepare_cached(&sql)?;
            let mut rows = statement.query(clauses.params())?;
            rows.next()?.map(|row| row.get::<_, String>(0)).transpose()
        })?;
        found.ok_or_else(|| Fault::Read(ReadError::TooLong("no index helps to find the oldest event".to_owned())))
    };
    match end("ASC")? {
        Some(first) => Ok(end("DESC")?.map(|last| (first, last))),
        None => Ok(None),
    }
}
