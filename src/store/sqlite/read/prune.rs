//! Deleting old data, in batches, beside a running agent.
//!
//! Each batch is one short transaction of some thousand events with all that hangs on them: full text, edges. Nothing
//! that is deleted is loaded; what is remembered of a batch is a temporary table of row ids. A kill between batches
//! leaves less to do. The agent's writes wait at most for one batch.
//!
//! Runs go with their last event, learnings and memories with their run. What was learnt outside a run stays.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::Fault;
use super::clauses::Clauses;
use crate::record::format_time;
use crate::store::search::{PruneAsk, Pruned, ReadError};
use crate::store::sqlite::connect;
use crate::store::sqlite::schema::TEXT_COLUMNS;

/// Events of one transaction.
const BATCH: i64 = 2_000;
/// Pages given back to the file system in one step.
const VACUUM_PAGES: i64 = 2_000;

pub fn prune(path: &Path, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, Fault> {
    if !path.exists() {
        return Err(ReadError::Away(format!("there is no store at {}", path.display())).into());
    }
    let db = connect::open(path).map_err(super::refused)?;
    db.execute_batch("CREATE TEMP TABLE doomed (id INTEGER PRIMARY KEY)")?;
    let clauses = criteria(ask);
    let protected = protected(&db, ask)?;
    if ask.dry_run {
        let mut found = estimate(&db, ask, &clauses)?;
        found.protected = protected;
        return Ok(found);
    }
    let mut done = Pruned {
        protected,
        ..Pruned::default()
    };
    let mut last = 0;
    while let Some(reached) = batch(&db, &clauses, last, &mut done)? {
        last = reached;
        progress(&done);
    }
    if ask.max_level.is_none() {
        follow_runs(&db, ask, &mut done)?;
    }
    give_back(&db)?;
    Ok(done)
}

/// Which events are meant, on `log_events` known as `e`.
fn criteria(ask: &PruneAsk) -> Clauses {
    let mut clauses = Clauses::default();
    if let Some(t) = ask.before {
        clauses.add("e.ingested_at < ?", [Value::Text(format_time(t))]);
    }
    clauses.one_of("e.execution_id", &ask.executions);
    if let Some(level) = ask.max_level {
        clauses.add("e.level_no <= ?", [Value::Integer(level)]);
    }
    if ask.executions.is_empty() {
        clauses.add(
            "e.execution_id NOT IN (SELECT execution_id FROM script_runs WHERE status = 'running')",
            [],
        );
    }
    clauses
}

/// How many running executions are left alone although they have such events.
fn protected(db: &Connection, ask: &PruneAsk) -> Result<u64, Fault> {
    if !ask.executions.is_empty() {
        return Ok(0);
    }
    let mut clauses = Clauses::default();
    clauses.add("e.execution_id = r.execution_id", []);
    if let Some(t) = ask.before {
        clauses.add("e.ingested_at < ?", [Value::Text(format_time(t))]);
    }
    if let Some(level) = ask.max_level {
        clauses.add("e.level_no <= ?", [Value::Integer(level)]);
    }
    let sql = format!(
        "SELECT count(*) FROM script_runs r WHERE r.status = 'running' AND EXISTS (SELECT 1 FROM log_events e{})",
        clauses.sql()
    );
    let n: i64 = db.query_row(&sql, clauses.params(), |r| r.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Deletes the next batch behind `last`; `None` when nothing is left.
fn batch(db: &Connection, clauses: &Clauses, last: i64, done: &mut Pruned) -> Result<Option<i64>, Fault> {
    let tx = rusqlite::Transaction::new_unchecked(db, rusqlite::TransactionBehavior::Immediate)?;
    tx.execute("DELETE FROM doomed", [])?;
    let mut scoped = Clauses::default();
    scoped.add("e.id > ?", [Value::Integer(last)]);
    let (sql, binds) = clauses.joined(&scoped);
    tx.prepare_cached(&format!(
        "INSERT INTO doomed SELECT e.id FROM log_events e{sql} ORDER BY e.id LIMIT {BATCH}"
    ))?
    .execute(params_from_iter(binds))?;
    let reached: Option<i64> = tx
        .prepare_cached("SELECT max(id) FROM doomed")?
        .query_row([], |r| r.get(0))?;
    let Some(reached) = reached else {
        return Ok(None);
    };
    tx.prepare_cached(&format!(
        "INSERT INTO log_events_fts (log_events_fts, rowid, {TEXT_COLUMNS}) \
         SELECT 'delete', id, {TEXT_COLUMNS} FROM log_events WHERE id IN (SELECT id FROM doomed)"
    ))?
    .execute([])?;
    for column in ["_from", "_to"] {
        let edges = tx
            .prepare_cached(&format!(
                "DELETE FROM log_causality WHERE {column} IN (SELECT 'log_events/' || _key FROM log_events \
                 WHERE id IN (SELECT id FROM doomed))"
            ))?
            .execute([])?;
        done.edges += edges as u64;
    }
    let events = tx
        .prepare_cached("DELETE FROM log_events WHERE id IN (SELECT id FROM doomed)")?
        .execute([])?;
    tx.commit()?;
    done.events += events as u64;
    Ok(Some(reached))
}

/// Which runs go: named ones, and those that ended before the bound and have no event left.
fn runs_gone(ask: &PruneAsk) -> Clauses {
    let mut clauses = Clauses::default();
    clauses.one_of("r.execution_id", &ask.executions);
    if ask.executions.is_empty() {
        clauses.add("coalesce(r.status, 'running') <> 'running'", []);
    }
    if let Some(t) = ask.before {
        let t = format_time(t);
        clauses.add("coalesce(r.end_time, r.last_seen, r.start_time) < ?", [Value::Text(t)]);
    }
    clauses
}

fn follow_runs(db: &Connection, ask: &PruneAsk, done: &mut Pruned) -> Result<(), Fault> {
    let tx = rusqlite::Transaction::new_unchecked(db, rusqlite::TransactionBehavior::Immediate)?;
    let mut clauses = runs_gone(ask);
    clauses.add(
        "NOT EXISTS (SELECT 1 FROM log_events e WHERE e.execution_id = r.execution_id)",
        [],
    );
    tx.execute(
        "CREATE TEMP TABLE IF NOT EXISTS gone (execution_id TEXT PRIMARY KEY) WITHOUT ROWID",
        [],
    )?;
    tx.execute(
        &format!(
            "INSERT INTO gone SELECT r.execution_id FROM script_runs r{}",
            clauses.sql()
        ),
        clauses.params(),
    )?;
    // A named execution can have learnings without ever having had a run of its own.
    for id in &ask.executions {
        tx.execute("INSERT OR IGNORE INTO gone VALUES (?)", [id])?;
    }
    let run = |sql: &str| tx.execute(sql, []).map(|n| n as u64);
    done.memories += run(
        "DELETE FROM agent_memories WHERE json_extract(metadata, '$.execution_id') IN \
        (SELECT execution_id FROM gone)",
    )?;
    done.edges += run(
        "DELETE FROM log_causality WHERE _to IN (SELECT 'agent_learnings/' || _key FROM agent_learnings \
        WHERE execution_id IN (SELECT execution_id FROM gone))",
    )?;
    done.learnings += run("DELETE FROM agent_learnings WHERE execution_id IN (SELECT execution_id FROM gone)")?;
    done.runs += run("DELETE FROM script_runs WHERE execution_id IN (SELECT execution_id FROM gone)")?;
    run("DELETE FROM gone")?;
    tx.commit()?;
    Ok(())
}

/// What `prune` would delete.
fn estimate(db: &Connection, ask: &PruneAsk, clauses: &Clauses) -> Result<Pruned, Fault> {
    let count = |sql: &str, clauses: &Clauses| -> Result<u64, Fault> {
        let n: i64 = db.query_row(sql, clauses.params(), |r| r.get(0))?;
        Ok(u64::try_from(n).unwrap_or(0))
    };
    let events = format!("SELECT e._key FROM log_events e{}", clauses.sql());
    let mut found = Pruned {
        events: count(&format!("SELECT count(*) FROM log_events e{}", clauses.sql()), clauses)?,
        ..Pruned::default()
    };
    // Both ends of an edge can be deleted; it counts once.
    let edges = format!(
        "WITH keys AS MATERIALIZED (SELECT 'log_events/' || _key AS id FROM ({events})) \
         SELECT count(*) FROM log_causality WHERE _from IN (SELECT id FROM keys) OR _to IN (SELECT id FROM keys)"
    );
    let any: bool = db.query_row("SELECT EXISTS (SELECT 1 FROM log_causality)", [], |r| r.get(0))?;
    if any {
        found.edges = count(&edges, clauses)?;
    }
    if ask.max_level.is_some() {
        return Ok(found);
    }
    // A run goes if none of its events stays.
    let mut runs = runs_gone(ask);
    if let Some(t) = ask.before {
        runs.add(
            "NOT EXISTS (SELECT 1 FROM log_events e WHERE e.execution_id = r.execution_id AND \
             (e.ingested_at IS NULL OR e.ingested_at >= ?))",
            [Value::Text(format_time(t))],
        );
    }
    let gone = format!("SELECT r.execution_id FROM script_runs r{}", runs.sql());
    found.runs = count(&format!("SELECT count(*) FROM ({gone})"), &runs)?;
    found.learnings = count(
        &format!("SELECT count(*) FROM agent_learnings WHERE execution_id IN ({gone})"),
        &runs,
    )?;
    found.memories = count(
        &format!("SELECT count(*) FROM agent_memories WHERE json_extract(metadata, '$.execution_id') IN ({gone})"),
        &runs,
    )?;
    Ok(found)
}

/// Gives freed pages back to the file system, a few at a time, so that the agent is not held up.
fn give_back(db: &Connection) -> Result<(), Fault> {
    loop {
        let free: i64 = db.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
        if free == 0 {
            return Ok(());
        }
        let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        let left: i64 = db.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
        // A file that is not in incremental mode keeps its free pages.
        if left >= free {
            return Ok(());
        }
    }
}
