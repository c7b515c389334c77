//! Runs, learnings, fixes, edges.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::Fault;
use super::clauses::{Clauses, LEARNINGS, RUNS, texts};
use super::rows;
use crate::store::rank::LearningPage;
use crate::store::search::{After, Fixed, LearningAsk, Page, RunAsk, author};
use crate::store::stored::{Edge, Learning, Run};

pub fn runs(db: &Connection, ask: &RunAsk) -> Result<Page<Run>, Fault> {
    let mut clauses = Clauses::default();
    if let Some(t) = ask.since {
        let t = Value::Text(crate::record::format_time(t));
        clauses.add(
            "max(r.start_time, coalesce(r.end_time, r.start_time), coalesce(r.last_seen, r.start_time)) >= ?",
            [t],
        );
    }
    clauses.window("r.start_time", None, ask.until);
    if let Some(status) = ask.status {
        clauses.add("coalesce(r.status, 'running') = ?", [Value::Text(status.to_owned())]);
    }
    clauses.one_of("r.script_name", &ask.scripts);
    clauses.one_of("r.host", &ask.hosts);
    clauses.one_of("r.execution_id", &ask.executions);
    if let Some(start) = &ask.begins {
        let begins = |column: &str| format!("substr(r.{column}, 1, length(?)) = ?");
        let sql = format!("({} OR {})", begins("execution_id"), begins("script_name"));
        clauses.add(sql, vec![Value::Text(start.clone()); 4]);
    }
    for field in &ask.fields {
        clauses.field("r", field, &RUNS);
    }
    if let Some(filter) = &ask.with_event {
        let mut inner = Clauses::default();
        inner.add("e.execution_id = r.execution_id", []);
        inner.events(filter);
        let (sql, binds) = inner.into_parts();
        clauses.add(format!("EXISTS (SELECT 1 FROM log_events e{sql})"), binds);
    }
    let total = if ask.count {
        let sql = format!("SELECT count(*) FROM script_runs r{}", clauses.sql());
        let n: i64 = db.prepare_cached(&sql)?.query_row(clauses.params(), |r| r.get(0))?;
        u64::try_from(n).ok()
    } else {
        None
    };
    let mut offset = 0;
    match &ask.after {
        Some(After::Position { timestamp, key, .. }) => clauses.add(
            format!(
                "(r.start_time, r.execution_id) {} (?, ?)",
                if ask.oldest { '>' } else { '<' }
            ),
            [Value::Text(timestamp.clone()), Value::Text(key.clone())],
        ),
        Some(After::Offset(n)) => offset = *n,
        None => {}
    }
    let way = if ask.oldest { "" } else { " DESC" };
    let sql = format!(
        "SELECT {} FROM script_runs r{} ORDER BY r.start_time{way}, r.execution_id{way} LIMIT {} OFFSET {offset}",
        rows::RUN,
        clauses.sql(),
        ask.limit + 1
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut items = statement
        .query_map(clauses.params(), |row| Ok(rows::run(row)))?
        .collect::<Result<Vec<_>, _>>()?;
    let more = items.len() > ask.limit;
    items.truncate(ask.limit);
    Ok(Page { items, total, more })
}

/// Learnings are few: they are read in order of time, and ranked here where words are asked for.
pub fn learnings(db: &Connection, ask: &LearningAsk) -> Result<Page<(Learning, Option<f64>)>, Fault> {
    let mut clauses = Clauses::default();
    clauses.window("l.timestamp", ask.since, ask.until);
    if let Some(c) = ask.min_confidence {
        clauses.add("l.confidence >= ?", [Value::Real(c)]);
    }
    clauses.one_of("l.execution_id", &ask.executions);
    clauses.one_of("l.script_name", &ask.scripts);
    for tag in &ask.tags {
        let sql = "l.tags IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(l.tags) WHERE value = ?)";
        clauses.add(sql, [Value::Text(tag.clone())]);
    }
    if let Some(re) = &ask.grep {
        clauses.add("lg_grep(?, l.learning, NULL)", [Value::Text(re.as_str().to_owned())]);
    }
    for field in &ask.fields {
        clauses.field("l", field, &LEARNINGS);
    }
    let way = if ask.oldest { "" } else { " DESC" };
    let sql = format!(
        "SELECT {} FROM agent_learnings l{} ORDER BY l.timestamp{way}, l._key{way}",
        rows::LEARNING,
        clauses.sql()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = statement.query(clauses.params())?;
    let mut page = LearningPage::new(ask);
    while let Some(row) = found.next()? {
        page.take(rows::learning(row));
    }
    Ok(page.finish())
}

pub fn fixes(db: &Connection, fingerprints: &[String]) -> Result<Vec<Fixed>, Fault> {
    if fingerprints.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; fingerprints.len()].join(",");
    // 12: behind `log_events/`.
    let sql = format!(
        "SELECT json_extract(c.metadata, '$.fingerprint'), e.script_name, substr(c._from, 12), e.timestamp, \
                substr(c._to, 12), f.timestamp, f.message, c.rationale, \
                json_extract(f.extra_data, '$.author'), json_extract(f.source, '$.uid'), f.host \
         FROM log_causality c \
         JOIN log_events e ON e._key = substr(c._from, 12) \
         JOIN log_events f ON f._key = substr(c._to, 12) \
         WHERE json_extract(c.metadata, '$.fingerprint') IN ({marks}) AND c.type = 'FIXED_BY' \
         ORDER BY f.timestamp, c._key"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(rusqlite::params_from_iter(texts(fingerprints)), |row| {
        Ok(Fixed {
            fingerprint: row.get(0)?,
            script_name: row.get(1)?,
            error_key: row.get(2)?,
            error_time: row.get(3)?,
            fix_key: row.get(4)?,
            time: row.get(5)?,
            description: row.get(6)?,
            rationale: row.get::<_, Option<String>>(7)?.unwrap_or_default(),
            author: author(
                row.get::<_, Option<String>>(8).ok().flatten().as_deref(),
                row.get::<_, Option<i64>>(9).ok().flatten(),
            ),
            host: row.get(10)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub fn edges(db: &Connection, execution: &str, keys: &[String], limit: usize) -> Result<Vec<Edge>, Fault> {
    let mut found = std::collections::BTreeMap::new();
    let mut take = |sql: &str, params: &[&dyn rusqlite::ToSql]| -> Result<(), Fault> {
        let mut statement = db.prepare_cached(sql)?;
        for edge in statement.query_map(params, |row| Ok(rows::edge(row)))? {
            let edge = edge?;
            found.insert(edge.key.clone(), edge);
        }
        Ok(())
    };
    let columns = rows::EDGE;
    let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    take(
        &format!(
            "SELECT {columns} FROM log_causality c WHERE json_extract(c.metadata, '$.execution_id') = ? \
             ORDER BY c._key LIMIT ?"
        ),
        &[&execution, &limit_sql],
    )?;
    for key in keys {
        let id = format!("log_events/{key}");
        take(
            &format!("SELECT {columns} FROM log_causality c WHERE c._from = ?1 OR c._to = ?1 ORDER BY c._key LIMIT ?2"),
            &[&id, &limit_sql],
        )?;
    }
    Ok(found.into_values().take(limit).collect())
}
