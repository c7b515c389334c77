//! Runs: reading, merging and writing back the rows of `script_runs`.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::record::{Micros, format_time};
use crate::store::runs::{self, RunRow};
use crate::store::{RunEnd, RunRef, RunUpdates, Status};

/// Merges the updates into the table, each by its execution.
pub fn apply(db: &Connection, updates: &RunUpdates) -> rusqlite::Result<()> {
    // In the order of the table's keys, so that neighbours are written together.
    let mut sorted: Vec<u32> = (0..updates.len() as u32).collect();
    sorted.sort_by(|a, b| updates.id(*a as usize).cmp(updates.id(*b as usize)));
    let at = |i: usize| sorted.get(i).and_then(|n| updates.get(*n as usize));
    let mut select = db.prepare_cached(
        "SELECT script_name, start_time, start_declared, last_seen, pid, host, parent_execution_id, metadata, \
         status, end_time, end_at, end_declared, error FROM script_runs WHERE execution_id = ?1",
    )?;
    let mut write = db.prepare_cached(
        "INSERT INTO script_runs (_key, execution_id, script_name, start_time, start_declared, last_seen, pid, host, \
         parent_execution_id, metadata, status, end_time, end_at, end_declared, error, duration_seconds) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (execution_id) DO UPDATE SET script_name = excluded.script_name, \
         start_time = excluded.start_time, start_declared = excluded.start_declared, \
         last_seen = excluded.last_seen, pid = excluded.pid, host = excluded.host, \
         parent_execution_id = excluded.parent_execution_id, metadata = excluded.metadata, \
         status = excluded.status, end_time = excluded.end_time, end_at = excluded.end_at, \
         end_declared = excluded.end_declared, error = excluded.error, \
         duration_seconds = excluded.duration_seconds",
    )?;
    let mut i = 0;
    while let Some(first) = at(i) {
        let stored = select
            .query_row([first.execution_id], |r| read(first.execution_id, r))
            .optional()?;
        let mut row = stored.clone();
        let same = |u: &RunRef<'_>| u.execution_id == first.execution_id;
        while let Some(update) = at(i).filter(same) {
            row = Some(runs::merge(row, &update.to_owned()));
            i += 1;
        }
        match row {
            Some(row) if stored.as_ref() != Some(&row) => write_row(&mut write, &row)?,
            _ => {}
        }
    }
    Ok(())
}

fn write_row(write: &mut rusqlite::CachedStatement<'_>, row: &RunRow) -> rusqlite::Result<()> {
    let end = row.end.as_ref();
    let end_time = row.end_time();
    let end_at = end.map(|e| e.time).filter(|t| Some(*t) != end_time);
    write.execute(params![
        &*runs::key(&row.execution_id),
        row.execution_id,
        row.script_name,
        format_time(row.start_time),
        row.start_declared.then_some(1),
        format_time(row.last_seen),
        row.pid,
        row.host,
        row.parent_execution_id,
        row.metadata,
        row.status(),
        end_time.map(format_time),
        end_at.map(format_time),
        end.filter(|e| e.declared).map(|_| 1),
        end.and_then(|e| e.error.as_deref()),
        row.duration_seconds(),
    ])?;
    Ok(())
}

fn read(execution_id: &str, r: &Row<'_>) -> rusqlite::Result<RunRow> {
    let time = |at: usize| -> rusqlite::Result<Option<Micros>> {
        Ok(r.get::<_, Option<String>>(at)?.as_deref().and_then(runs::parse_time))
    };
    let status = r.get::<_, Option<String>>(8)?.as_deref().and_then(Status::parse);
    let end_time = match time(10)? {
        None => time(9)?,
        known => known,
    };
    let start_time = time(1)?.unwrap_or_default();
    Ok(RunRow {
        execution_id: execution_id.to_owned(),
        script_name: r.get(0)?,
        start_time,
        start_declared: r.get::<_, Option<bool>>(2)?.unwrap_or(false),
        last_seen: time(3)?.unwrap_or(start_time),
        pid: r.get(4)?,
        host: r.get(5)?,
        parent_execution_id: r.get(6)?,
        metadata: r.get(7)?,
        end: match (status, end_time) {
            (Some(status), Some(time)) => Some(RunEnd {
                status,
                time,
                declared: r.get::<_, Option<bool>>(11)?.unwrap_or(false),
                error: r.get(12)?,
            }),
            _ => None,
        },
    })
}
