//! Deleting old data beside a writing agent and readers.
//!
//! # What goes
//!
//! Events by the criteria of a [`PruneAsk`]: all of them hold. With an event go its full text and the edges that end
//! in it; with the last event of an execution go its run, its learnings and their memories, and its edges. Executions
//! that run are left alone unless named. What was learnt outside a run stays, as `manual` is no execution.
//!
//! # How
//!
//! In steps, each one short transaction of at most [`STEP`] events: whoever else writes waits for one step. Nothing that
//! is deleted is loaded; a step remembers row ids in a temporary table. A kill between steps leaves less to do.
//!
//! Rows lie in order of arrival, so a bound on `ingested_at` is a prefix of the table, nearly: what came out of a spool
//! arrived later than it was read. Retention therefore stops at the first long stretch without a row of that age, and finds
//! stragglers when the bound has passed them; the `prune` verb looks at every row. Rows that are old enough and stay for
//! another reason, as those of a run that goes on for weeks, are passed over: behind them there may be others.
//!
//! Freed pages go back to the file system in small steps too, between the others: SQLite cuts the file at its end, and
//! looks for each page there in the list of free pages, which takes long where that list is. Retention keeps some pages
//! for the rows to come.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, TransactionBehavior, params_from_iter};

use super::schema::{TEXT_COLUMNS, TEXT_WORDS};
use super::{connect, fault, log, schema};
use crate::record::format_time;
use crate::store::WriteError;
use crate::store::search::{PruneAsk, Pruned};

/// Rows looked at, and at most deleted, in one step.
const STEP: i64 = 8000;

/// Retention stops after so many rows in a row that stay.
const PATIENCE: u64 = 20_000;

/// Pages given back in one step.
const PAGES: i64 = 2000;

/// Free pages that retention leaves for rows to come: 16 MiB.
const SPARE: i64 = 4096;

/// A prune under way: where it stands between two steps.
#[derive(Debug)]
pub struct Pass {
    ask: PruneAsk,
    /// Every row is looked at and every page given back, not only what is worth it.
    thorough: bool,
    stage: Stage,
    /// Rows up to this id have been looked at.
    last: i64,
    /// Rows behind this id came after the beginning: they are not looked at, else a busy agent would be followed for ever.
    end: i64,
    /// There are too few free pages to give back before the next step of events.
    tidy: bool,
    /// Free pages that are left to be given back at the end, for the same reason counted once.
    owed: Option<i64>,
    /// Rows looked at since the last one that is old enough.
    barren: u64,
    pub done: Pruned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Events,
    Runs,
    Space,
    End,
}

/// Prunes the database at `path` with a connection of its own; `progress` is told after each step.
///
/// # Errors
/// As for writing.
pub fn run(path: &Path, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, WriteError> {
    if !path.exists() {
        return Err(WriteError::Away(format!("there is no store at {}", path.display())));
    }
    let db = connect::open(path)?;
    schema::ensure(&db, false).map_err(|e| fault::explain_schema(&e, path))?;
    log::watch(&db);
    let mut pass = Pass::new(ask.clone(), true);
    while pass.step(&db).map_err(|e| fault::explain(&e, path))? {
        progress(&pass.done);
        log::checkpoint(&db, connect::BUSY).map_err(|e| fault::explain(&e, path))?;
        // Lets a waiting agent have the lock.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(pass.done)
}

impl Pass {
    #[must_use]
    pub fn new(ask: PruneAsk, thorough: bool) -> Pass {
        Pass {
            ask,
            thorough,
            stage: Stage::Begin,
            last: 0,
            end: 0,
            tidy: true,
            owed: None,
            barren: 0,
            done: Pruned::default(),
        }
    }

    /// Does the next piece of work; false when nothing is left to do. A failed step may be repeated.
    pub fn step(&mut self, db: &Connection) -> rusqlite::Result<bool> {
        // Not only at the beginning: the connection may be another one than at the last step.
        db.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS doomed (id INTEGER PRIMARY KEY);
             CREATE TEMP TABLE IF NOT EXISTS touched (execution_id TEXT PRIMARY KEY) WITHOUT ROWID",
        )?;
        self.stage = match self.stage {
            Stage::Begin => self.begin(db)?,
            Stage::Events if !self.tidy => self.tidy_up(db)?,
            Stage::Events => self.events(db)?,
            Stage::Runs => self.runs(db)?,
            Stage::Space => self.space(db)?,
            Stage::End => Stage::End,
        };
        Ok(self.stage != Stage::End)
    }

    fn begin(&mut self, db: &Connection) -> rusqlite::Result<Stage> {
        if self.ask.executions.is_empty() {
            let (criteria, binds) = criteria(&self.ask, "e", false);
            let sql = format!(
                "SELECT count(*) FROM script_runs r WHERE r.status = 'running' AND EXISTS \
                 (SELECT 1 FROM log_events e WHERE e.execution_id = r.execution_id AND {criteria})"
            );
            self.done.protected = count(db, &sql, &binds)?;
        }
        if self.ask.dry_run {
            self.estimate(db)?;
            return Ok(Stage::End);
        }
        self.end = db.query_row("SELECT coalesce(max(id), 0) FROM log_events", [], |r| r.get(0))?;
        Ok(Stage::Events)
    }

    /// Looks at the next rows and deletes those that go.
    fn events(&mut self, db: &Connection) -> rusqlite::Result<Stage> {
        let from = self.last;
        let reached = self.choose(db)?;
        let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let gone = self.delete(&tx)?;
        tx.commit()?;
        match reached {
            None => return Ok(Stage::Runs),
            Some(id) => self.last = id,
        }
        self.tidy = gone == 0 || self.free(db)? < PAGES;
        self.barren = if gone > 0 || self.any_old(db, from)? {
            0
        } else {
            self.barren + STEP.unsigned_abs()
        };
        if !self.thorough && self.barren >= PATIENCE {
            return Ok(Stage::Runs);
        }
        Ok(Stage::Events)
    }

    /// Whether rows that were just looked at are old enough to go, whatever else keeps them.
    fn any_old(&self, db: &Connection, from: i64) -> rusqlite::Result<bool> {
        let Some(before) = self.ask.before.filter(|_| !self.thorough) else {
            return Ok(false);
        };
        db.prepare_cached("SELECT EXISTS (SELECT 1 FROM log_events WHERE id > ?1 AND id <= ?2 AND ingested_at < ?3)")?
            .query_row((from, self.last, format_time(before)), |r| r.get(0))
    }

    /// Fills `doomed` from the next rows; returns the last id looked at, `None` at the end.
    fn choose(&self, db: &Connection) -> rusqlite::Result<Option<i64>> {
        db.prepare_cached("DELETE FROM doomed")?.execute([])?;
        let (criteria, mut binds) = criteria(&self.ask, "e", true);
        if !self.ask.executions.is_empty() {
            // Found by index; what goes is not found again.
            let sql =
                format!("INSERT INTO doomed SELECT e.id FROM log_events e WHERE {criteria} AND e.id <= ? LIMIT {STEP}");
            binds.push(Value::Integer(self.end));
            let found = db.prepare_cached(&sql)?.execute(params_from_iter(binds))?;
            return Ok((found > 0).then_some(0));
        }
        let window = format!("SELECT id FROM log_events WHERE id > ? AND id <= ? ORDER BY id LIMIT {STEP}");
        let reached: Option<i64> = db
            .prepare_cached(&format!("SELECT max(id) FROM ({window})"))?
            .query_row([self.last, self.end], |r| r.get(0))?;
        if let Some(end) = reached {
            let sql =
                format!("INSERT INTO doomed SELECT e.id FROM log_events e WHERE {criteria} AND e.id > ? AND e.id <= ?");
            binds.extend([Value::Integer(self.last), Value::Integer(end)]);
            db.prepare_cached(&sql)?.execute(params_from_iter(binds))?;
        }
        Ok(reached)
    }

    /// Deletes the rows in `doomed` and what hangs on them; returns how many there were.
    fn delete(&mut self, tx: &Connection) -> rusqlite::Result<u64> {
        let run = |sql: &str| tx.prepare_cached(sql)?.execute([]).map(|n| n as u64);
        let any: bool = tx
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM doomed)")?
            .query_row([], |r| r.get(0))?;
        if !any {
            return Ok(0);
        }
        run(&format!(
            "INSERT INTO log_events_fts (log_events_fts, rowid, {TEXT_COLUMNS}) SELECT 'delete', e.id, {TEXT_WORDS} \
             FROM doomed d CROSS JOIN log_events e ON e.id = d.id ORDER BY d.id"
        ))?;
        let edges: bool = tx
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM log_causality)")?
            .query_row([], |r| r.get(0))?;
        for end in ["_from", "_to"].into_iter().filter(|_| edges) {
            self.done.edges += run(&format!(
                "DELETE FROM log_causality WHERE {end} IN \
                 (SELECT 'log_events/' || e._key FROM doomed d CROSS JOIN log_events e ON e.id = d.id)"
            ))?;
        }
        run(
            "INSERT OR IGNORE INTO touched SELECT e.execution_id FROM doomed d CROSS JOIN log_events e ON e.id = d.id",
        )?;
        let events = run("DELETE FROM log_events WHERE id IN (SELECT id FROM doomed)")?;
        self.done.events += events;
        if self.ask.executions.is_empty() {
            run("DELETE FROM touched WHERE execution_id IN ('manual', 'unknown')")?;
        }
        run("DELETE FROM touched WHERE EXISTS \
             (SELECT 1 FROM log_events e WHERE e.execution_id = touched.execution_id)")?;
        self.follow(tx)?;
        Ok(events)
    }

    /// Deletes what belongs to the executions in `touched`, and empties it.
    fn follow(&mut self, tx: &Connection) -> rusqlite::Result<()> {
        let run = |sql: &str| tx.prepare_cached(sql)?.execute([]).map(|n| n as u64);
        self.done.runs += run("DELETE FROM script_runs WHERE execution_id IN (SELECT execution_id FROM touched)")?;
        self.done.memories += run(
            "DELETE FROM agent_memories WHERE json_extract(metadata, '$.execution_id') IN \
             (SELECT execution_id FROM touched)",
        )?;
        self.done.edges += run(
            "DELETE FROM log_causality WHERE _to IN (SELECT 'agent_learnings/' || _key FROM agent_learnings \
             WHERE execution_id IN (SELECT execution_id FROM touched))",
        )?;
        self.done.learnings +=
            run("DELETE FROM agent_learnings WHERE execution_id IN (SELECT execution_id FROM touched)")?;
        run("DELETE FROM touched")?;
        Ok(())
    }

    /// Runs that never had an event, or whose events went some other way.
    fn runs(&mut self, db: &Connection) -> rusqlite::Result<Stage> {
        let named = !self.ask.executions.is_empty();
        if self.ask.max_level.is_some() || (!named && self.ask.before.is_none()) {
            return Ok(Stage::Space);
        }
        let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let (condition, binds) = eventless(&self.ask);
        let found = tx
            .prepare_cached(&format!(
                "INSERT OR IGNORE INTO touched SELECT r.execution_id FROM script_runs r WHERE {condition} LIMIT {STEP}"
            ))?
            .execute(params_from_iter(binds))?;
        if named && self.ask.before.is_none() {
            // A named execution may have learnings and neither run nor event.
            for id in &self.ask.executions {
                tx.prepare_cached("INSERT OR IGNORE INTO touched VALUES (?)")?
                    .execute([id])?;
            }
        }
        self.follow(&tx)?;
        tx.commit()?;
        Ok(if found > 0 { Stage::Runs } else { Stage::Space })
    }

    /// Gives free pages back where there are enough for a step. Steps for less would let the lock go too often.
    fn tidy_up(&mut self, db: &Connection) -> rusqlite::Result<Stage> {
        let before = self.free(db)?;
        give_back(db, PAGES)?;
        let left = self.free(db)?;
        // A file that another program made cannot be cut.
        self.tidy = left < PAGES || left >= before;
        Ok(Stage::Events)
    }

    /// Gives the next free pages back to the file system.
    fn space(&mut self, db: &Connection) -> rusqlite::Result<Stage> {
        let free = self.free(db)?;
        let owed = self.owed.unwrap_or(free).min(free);
        if owed <= 0 {
            return Ok(Stage::End);
        }
        give_back(db, owed)?;
        self.owed = Some(owed - PAGES);
        Ok(Stage::Space)
    }

    /// Free pages that are not wanted.
    fn free(&self, db: &Connection) -> rusqlite::Result<i64> {
        let free: i64 = db.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
        Ok(free - if self.thorough { 0 } else { SPARE })
    }

    /// What would go.
    fn estimate(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let (matched, binds) = criteria(&self.ask, "e", true);
        self.done.events = count(
            db,
            &format!("SELECT count(*) FROM log_events e WHERE {matched}"),
            &binds,
        )?;
        let keys = format!("SELECT 'log_events/' || e._key FROM log_events e WHERE {matched}");
        if count(db, "SELECT EXISTS (SELECT 1 FROM log_causality)", &[])? > 0 {
            let sql = format!(
                "WITH k (id) AS MATERIALIZED ({keys}) SELECT count(*) FROM log_causality \
                 WHERE _from IN (SELECT id FROM k) OR _to IN (SELECT id FROM k)"
            );
            self.done.edges = count(db, &sql, &binds)?;
        }
        // Executions of which no event stays, and runs that have none.
        let (stays, again) = criteria(&self.ask, "x", true);
        let mut all = [binds, again].concat();
        let mut gone = format!(
            "SELECT DISTINCT e.execution_id FROM log_events e WHERE {matched} AND NOT EXISTS \
             (SELECT 1 FROM log_events x WHERE x.execution_id = e.execution_id AND NOT coalesce(({stays}), 0))"
        );
        if self.ask.executions.is_empty() {
            gone += " AND e.execution_id NOT IN ('manual', 'unknown')";
        }
        if self.ask.max_level.is_none() {
            let (condition, more) = eventless(&self.ask);
            gone += &format!(" UNION SELECT r.execution_id FROM script_runs r WHERE {condition}");
            all.extend(more);
        }
        if self.ask.max_level.is_none() && self.ask.before.is_none() {
            for id in &self.ask.executions {
                gone += " UNION SELECT ?";
                all.push(Value::Text(id.clone()));
            }
        }
        let of = |table: &str, column: &str| {
            let sql = format!(
                "WITH gone (id) AS MATERIALIZED ({gone}) SELECT count(*) FROM {table} WHERE {column} IN \
                 (SELECT id FROM gone)"
            );
            count(db, &sql, &all)
        };
        self.done.runs = of("script_runs", "execution_id")?;
        self.done.learnings = of("agent_learnings", "execution_id")?;
        self.done.memories = of("agent_memories", "json_extract(metadata, '$.execution_id')")?;
        Ok(())
    }
}

/// Gives so many free pages back to the file system, [`PAGES`] at most.
fn give_back(db: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({})", pages.min(PAGES)))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Which events are meant, on `log_events` by the name `e`, with what is bound, in order.
fn criteria(ask: &PruneAsk, e: &str, protect: bool) -> (String, Vec<Value>) {
    let mut terms = Vec::new();
    let mut binds = Vec::new();
    if !ask.executions.is_empty() {
        terms.push(format!(
            "{e}.execution_id IN ({})",
            vec!["?"; ask.executions.len()].join(",")
        ));
        binds.extend(ask.executions.iter().cloned().map(Value::Text));
    } else if protect {
        terms.push(format!(
            "NOT EXISTS (SELECT 1 FROM script_runs p WHERE p.execution_id = {e}.execution_id AND p.status = 'running')"
        ));
    }
    if let Some(t) = ask.before {
        terms.push(format!("{e}.ingested_at < ?"));
        binds.push(Value::Text(format_time(t)));
    }
    if let Some(level) = ask.max_level {
        terms.push(format!("{e}.level_no <= ?"));
        binds.push(Value::Integer(level));
    }
    // No criteria mean nothing, not everything.
    if ask.executions.is_empty() && ask.before.is_none() && ask.max_level.is_none() {
        terms.push("0".to_owned());
    }
    (terms.join(" AND "), binds)
}

/// Which runs go although they have no event, on `script_runs` known as `r`.
fn eventless(ask: &PruneAsk) -> (String, Vec<Value>) {
    let mut condition = "NOT EXISTS (SELECT 1 FROM log_events n WHERE n.execution_id = r.execution_id)".to_owned();
    let mut binds = Vec::new();
    if ask.executions.is_empty() {
        condition += " AND coalesce(r.status, 'running') <> 'running'";
    } else {
        condition += &format!(" AND r.execution_id IN ({})", vec!["?"; ask.executions.len()].join(","));
        binds.extend(ask.executions.iter().cloned().map(Value::Text));
    }
    if let Some(t) = ask.before {
        let t = Value::Text(format_time(t));
        condition += " AND r.start_time < ? AND coalesce(r.end_time, r.last_seen, r.start_time) < ?";
        binds.extend([t.clone(), t]);
    }
    if ask.executions.is_empty() && ask.before.is_none() {
        condition += " AND 0";
    }
    (condition, binds)
}

fn count(db: &Connection, sql: &str, binds: &[Value]) -> rusqlite::Result<u64> {
    let n: i64 = db.query_row(sql, params_from_iter(binds), |r| r.get(0))?;
    Ok(n.unsigned_abs())
}

#[cfg(test)]
mod tests;
