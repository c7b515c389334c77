//! Groups of events, and how far events reach.

use std::collections::HashMap;

use rusqlite::Connection;

use super::Fault;
use super::clauses::{Clauses, EVENTS};
use super::events::bounded;
use super::reach::{Reach, reach};
use crate::store::search::{By, Count, CountAsk, Filter, ReadError, Visit};

/// Steps that looking for the oldest or newest event may take where no index helps; a second or so.
const EXTENT_STEPS: u64 = 30_000_000;

/// Groups that are counted in the process; SQLite sorts the rows of more, on disk if it must, at three times the cost.
const HASHED: usize = 50_000;

pub fn counts(db: &Connection, ask: &CountAsk, visit: Visit<'_, Count>) -> Result<(), Fault> {
    let Some(Reach { clauses, all, .. }) = reach(db, &ask.filter)? else {
        return Ok(());
    };
    let (columns, joins) = columns(&ask.by);
    let from = format!("FROM {all}{joins}{}", clauses.sql());
    if !ask.newest && !columns.is_empty() {
        let sql = format!("SELECT {}, e.timestamp {from}", columns.join(", "));
        if let Some(groups) = hashed(db, &sql, columns.len(), &clauses)? {
            for group in groups {
                if !visit(group) {
                    break;
                }
            }
            return Ok(());
        }
    }
    sorted(db, columns, &from, &clauses, ask.newest, visit)
}

/// The columns to group by, and the joins that they need.
fn columns(by: &[By]) -> (Vec<String>, String) {
    let mut joins = String::new();
    let mut columns = Vec::new();
    for (i, by) in by.iter().enumerate() {
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
    (columns, joins)
}

/// A group while it is counted.
struct Tally {
    count: u64,
    first: String,
    last: String,
}

/// Groups that fit into the process, from one pass over the rows; `None` where there are too many.
fn hashed(db: &Connection, sql: &str, width: usize, clauses: &Clauses) -> Result<Option<Vec<Count>>, Fault> {
    let mut groups: HashMap<Vec<u8>, Tally> = HashMap::new();
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query(clauses.params())?;
    let mut values = Vec::new();
    while let Some(row) = rows.next()? {
        values.clear();
        for i in 0..width {
            let text = row.get_ref(i)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            write_value(&mut values, text);
        }
        let time = row.get_ref(width)?.as_str().map_err(rusqlite::Error::from)?;
        let full = groups.len() == HASHED;
        match groups.get_mut(values.as_slice()) {
            Some(group) => {
                group.count += 1;
                if time < group.first.as_str() {
                    group.first.replace_range(.., time);
                } else if time > group.last.as_str() {
                    group.last.replace_range(.., time);
                }
            }
            None if full => return Ok(None),
            None => {
                let (first, last) = (time.to_owned(), time.to_owned());
                groups.insert(values.clone(), Tally { count: 1, first, last });
            }
        }
    }
    let counts = groups.into_iter().map(|(values, group)| Count {
        by: read_values(&values),
        count: group.count,
        first: group.first,
        last: group.last,
        newest: String::new(),
    });
    Ok(Some(counts.collect()))
}

/// A value with its length before it, so that no two lists of values look the same; a value that is absent has none.
fn write_value(out: &mut Vec<u8>, text: Option<&str>) {
    let length = text.map_or(u64::MAX, |t| t.len() as u64);
    out.extend(length.to_le_bytes());
    out.extend_from_slice(text.unwrap_or("").as_bytes());
}

/// Reads what [`write_value`] wrote.
fn read_values(mut bytes: &[u8]) -> Vec<Option<String>> {
    let mut out = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        bytes = rest;
        let length = u64::from_le_bytes(*length);
        let text = usize::try_from(length).ok().and_then(|n| bytes.split_at_checked(n));
        out.push(text.map(|(text, rest)| {
            bytes = rest;
            String::from_utf8_lossy(text).into_owned()
        }));
    }
    out
}

/// The same by SQLite, which can also say which event is the newest.
fn sorted(
    db: &Connection,
    mut columns: Vec<String>,
    from: &str,
    clauses: &Clauses,
    newest: bool,
    visit: Visit<'_, Count>,
) -> Result<(), Fault> {
    let width = columns.len();
    let group = match width {
        0 => String::new(),
        n => format!(
            " GROUP BY {}",
            (1..=n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
        ),
    };
    columns.extend(["count(*)", "min(e.timestamp)", "max(e.timestamp)"].map(str::to_owned));
    if newest {
        columns.push("max(e.timestamp || e._key)".to_owned());
    }
    let mut statement = db.prepare(&format!("SELECT {} {from}{group}", columns.join(", ")))?;
    let mut rows = statement.query(clauses.params())?;
    while let Some(row) = rows.next()? {
        let count = u64::try_from(row.get::<_, i64>(width)?).unwrap_or(0);
        if count == 0 {
            continue;
        }
        let newest: String = if newest { row.get(width + 3)? } else { String::new() };
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
    let Some(Reach { clauses, in_order, .. }) = reach(db, filter)? else {
        return Ok(None);
    };
    let end = |direction: &str| {
        let sql = format!(
            "SELECT e.timestamp FROM {in_order}{} ORDER BY e.timestamp {direction} LIMIT 1",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_whatever_they_hold() {
        for values in [
            vec![Some("a"), Some("")],
            vec![Some(""), Some("a")],
            vec![None, Some("\0")],
            vec![Some("ü"), None, Some("x")],
            vec![],
        ] {
            let mut bytes = Vec::new();
            values.iter().for_each(|v| write_value(&mut bytes, *v));
            let back = read_values(&bytes);
            assert_eq!(back.iter().map(Option::as_deref).collect::<Vec<_>>(), values);
        }
    }
}
