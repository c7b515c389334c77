//! Edges: relations as they are asked for, and fixes, whose error has to be found first.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::record::format_time;
use crate::store::edges::{self, Edge, FixedError};
use crate::store::runs::parse_time;
use crate::store::words::indexed;
use crate::store::{Fix, LOG_EVENTS, Relation};

/// At most this many earlier events of the same error are marked resolved with the one that a fix is tied to. That a
/// fix resolves all of them is known from the edge; the marks only spare plain SQL the join.
const MARKED: i64 = 5000;

/// Writes the edges asked for.
pub fn relations(db: &Connection, relations: &[Relation]) -> rusqlite::Result<()> {
    relations.iter().try_for_each(|r| put(db, &edges::edge(r)))
}

/// Ties each fix to its error; returns how many found none.
pub fn fixes(db: &Connection, fixes: &[Fix]) -> rusqlite::Result<u64> {
    let mut unmatched = 0;
    for fix in fixes {
        // Written before, perhaps: then the open errors of today are not its business.
        if is_tied(db, fix)? {
            continue;
        }
        let error = find(db, fix)?;
        mark_unmatched(db, fix, error.is_none())?;
        match error {
            None => unmatched += 1,
            Some(error) => {
                put(db, &edges::fixed_by(&error, fix))?;
                resolve(db, &error, fix)?;
            }
        }
    }
    Ok(unmatched)
}

/// Fixes that wait for their error and are looked at again with a batch of errors, the newest.
const WAITING: i64 = 200;

/// Ties fixes that came before their error, now that errors were stored.
pub fn again(db: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT f._key, f.timestamp, f.execution_id, f.script_name, json_extract(f.extra_data, '$.fixes'), \
               f.message, json_extract(f.extra_data, '$.rationale') FROM log_events f \
               WHERE f.event = 'fix' AND f.fix_unmatched IS NOT NULL ORDER BY f.timestamp DESC LIMIT ?";
    let waiting = db
        .prepare_cached(sql)?
        .query_map([WAITING], |r| {
            Ok(Fix {
                key: r.get(0)?,
                time: parse_time(&r.get::<_, String>(1)?).unwrap_or_default(),
                execution_id: r.get(2)?,
                script_name: r.get(3)?,
                // A number was meant as its digits.
                target: r.get::<_, rusqlite::types::Value>(4).map(text)?,
                description: r.get(5)?,
                rationale: r.get::<_, rusqlite::types::Value>(6).map(text)?,
            })
        })?
        .collect::<Result<Vec<Fix>, _>>()?;
    fixes(db, &waiting).map(|_| ())
}

fn text(value: rusqlite::types::Value) -> Option<String> {
    match value {
        rusqlite::types::Value::Text(text) => Some(text),
        rusqlite::types::Value::Integer(n) => Some(n.to_string()),
        _ => None,
    }
}

fn put(db: &Connection, edge: &Edge) -> rusqlite::Result<()> {
    let metadata = serde_json::to_string(&edge.metadata).unwrap_or_default();
    db.prepare_cached(
        "INSERT INTO log_causality (_key, _from, _to, type, relationship_type, relationship, weight, confidence, \
         rationale, method, timestamp, created_at, valid_at, metadata) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (_key) DO NOTHING",
    )?
    .execute(params![
        edge.key,
        edge.from,
        edge.to,
        edge.kind,
        edge.relationship_type,
        edge.relationship,
        edge.weight,
        edge.confidence,
        edge.rationale,
        edge.method,
        edge.timestamp,
        edge.created_at,
        edge.valid_at,
        metadata,
    ])?;
    Ok(())
}

fn is_tied(db: &Connection, fix: &Fix) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM log_causality WHERE _to = ?1 AND type = 'FIXED_BY' AND method = 'fix' LIMIT 1")?
        .exists([format!("{LOG_EVENTS}/{}", fix.key)])
}

/// The marks of the fix's own event.
fn mark_unmatched(db: &Connection, fix: &Fix, unmatched: bool) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE log_events SET fix_unmatched = ?2 WHERE _key = ?1 AND fix_unmatched IS NOT ?2")?
        .execute(params![fix.key, unmatched.then_some(1)])?;
    Ok(())
}

/// The error that a fix is for: by key, fingerprint, execution, type or text; without a target the newest open error
/// of its script.
fn find(db: &Connection, fix: &Fix) -> rusqlite::Result<Option<FixedError>> {
    let time = format_time(fix.time);
    let Some(target) = fix.target.as_deref().filter(|t| !t.is_empty()) else {
        return newest_open(db, fix, &time);
    };
    let newest = "e.timestamp <= ?2 ORDER BY e.timestamp DESC, e.seq DESC, e._key DESC";
    for condition in [
        "e._key = ?1 AND ?2 IS NOT NULL".to_owned(),
        format!("e.fingerprint = ?1 AND {newest}"),
        format!(
            "e.execution_id = ?1 AND e.level_no >= 40 AND NOT ({}) AND {newest}",
            repeats("e")
        ),
        format!("e.execution_id = ?1 AND e.level_no >= 40 AND {newest}"),
        format!(
            "e.execution_id = ?1 AND e.level_no >= 40 AND NOT ({}) AND ?2 IS NOT NULL \
             ORDER BY e.timestamp DESC, e.seq DESC, e._key DESC",
            repeats("e")
        ),
    ] {
        let sql = format!("SELECT {ERROR} FROM log_events e WHERE {condition} LIMIT 1");
        let found = db
            .prepare_cached(&sql)?
            .query_row(params![target, time], error)
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    by_text(db, target, &fix.key, &time)
}

const ERROR: &str = "e._key, e.fingerprint, e.script_name, e.message";

fn error(r: &Row<'_>) -> rusqlite::Result<FixedError> {
    Ok(FixedError {
        key: r.get(0)?,
        fingerprint: r.get(1)?,
        script_name: r.get(2)?,
        message: r.get(3)?,
    })
}

/// Whether the event known by this alias says no more than that its run failed: [`Event::repeats_a_failure`].
///
/// [`Event::repeats_a_failure`]: crate::store::stored::Event::repeats_a_failure
fn repeats(e: &str) -> String {
    format!("{e}.event IS 'run_end' AND {e}.exception IS NULL")
}

/// The newest error with this in its exceptions, or else anywhere in its text.
fn by_text(db: &Connection, target: &str, own: &str, time: &str) -> rusqlite::Result<Option<FixedError>> {
    // A quoted string is a phrase whatever it holds; one without any word matches nothing.
    let phrase = format!("\"{}\"", indexed(target).replace('"', "\"\"").replace('\0', " "));
    let sql = format!(
        "SELECT {ERROR} FROM log_events_fts f JOIN log_events e ON e.id = f.rowid \
         WHERE log_events_fts MATCH ?1 AND e.level_no >= 40 AND e.timestamp <= ?2 AND e._key <> ?3 \
         ORDER BY f.rowid DESC LIMIT 1"
    );
    let mut select = db.prepare_cached(&sql)?;
    for columns in ["exception_text", "{message exception_text}"] {
        let found = select
            .query_row(params![format!("{columns} : {phrase}"), time, own], error)
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn newest_open(db: &Connection, fix: &Fix, time: &str) -> rusqlite::Result<Option<FixedError>> {
    let Some(script) = &fix.script_name else {
        return Ok(None);
    };
    let (end, other_end) = (repeats("e"), repeats("o"));
    let sql = format!(
        "SELECT {ERROR} FROM log_events e INDEXED BY log_events_error \
         WHERE e.level_no >= 40 AND e.script_name = ?1 AND e.timestamp <= ?2 \
         AND NOT ({end} AND EXISTS (SELECT 1 FROM log_events o WHERE o.execution_id = e.execution_id \
           AND o.level_no >= 40 AND o.timestamp <= ?2 AND o._key <> ?3 AND NOT ({other_end}))) \
         AND e.resolved IS NULL AND e._key <> ?3 AND NOT EXISTS (SELECT 1 FROM log_causality c \
           WHERE json_extract(c.metadata, '$.fingerprint') = e.fingerprint AND c.type = 'FIXED_BY' \
           AND json_extract(c.metadata, '$.script_name') = e.script_name AND c.created_at >= e.timestamp) \
         ORDER BY e.timestamp DESC, e.seq DESC, e._key DESC LIMIT 1"
    );
    db.prepare_cached(&sql)?
        .query_row(params![script, time, fix.key], error)
        .optional()
}

fn resolve(db: &Connection, error: &FixedError, fix: &Fix) -> rusqlite::Result<()> {
    let time = format_time(fix.time);
    // The same fix twice, or two fixes in either order, leave the same marks: those of the later one.
    let set = "UPDATE log_events SET resolved = 1, resolved_at = ?1, fix_description = ?2 \
               WHERE (resolved_at IS NULL OR resolved_at < ?1)";
    db.prepare_cached(&format!("{set} AND _key = ?3"))?
        .execute(params![time, fix.description, error.key])?;
    if error.fingerprint.is_some() {
        db.prepare_cached(&format!(
            "{set} AND id IN (SELECT id FROM log_events WHERE fingerprint = ?3 AND script_name IS ?4 \
             AND timestamp <= ?1 ORDER BY timestamp DESC LIMIT {MARKED})"
        ))?
        .execute(params![time, fix.description, error.fingerprint, error.script_name])?;
    }
    Ok(())
}
