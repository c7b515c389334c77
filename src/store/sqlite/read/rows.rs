//! From rows to what is stored.

use rusqlite::types::ValueRef;
use rusqlite::{Row, types::FromSql};

use crate::store::stored::{Edge, Event, Exception, Json, Learning, Run};

/// All columns of an event, in the order that [`whole`] reads.
pub const WHOLE: &str = "e._key, e.timestamp, e.level, e.level_no, e.message, e.execution_id, e.script_name, \
    e.function_name, e.fingerprint, e.event, e.seq, e.exception, e.tags, \
    e.file_path, e.line_number, e.module, e.logger, e.pid, e.process_name, e.thread_id, e.thread_name, e.host, \
    e.extra_data, e.embeddings, e.source, e.ingested_at, e.unparsed, e.repaired, e.truncated, e.redacted, \
    e.fix_unmatched, e.resolved, e.resolved_at, e.fix_description";

/// The columns that [`lean`] reads: the first of [`WHOLE`].
pub const LEAN: &str = "e._key, e.timestamp, e.level, e.level_no, e.message, e.execution_id, e.script_name, \
    e.function_name, e.fingerprint, e.event, e.seq, e.exception, e.tags";

/// Behind the columns of [`WHOLE`].
pub const BEHIND: usize = 34;

fn get<T: FromSql>(row: &Row<'_>, at: usize) -> Option<T> {
    // A value of another type than ours, as other programs can write it, reads as absent.
    row.get::<_, Option<T>>(at).ok().flatten()
}

fn text(row: &Row<'_>, at: usize) -> String {
    get(row, at).unwrap_or_default()
}

fn json(row: &Row<'_>, at: usize) -> Option<Json> {
    Json::parse(row.get_ref(at).ok()?.as_str().ok()?)
}

fn typed<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> Option<T> {
    serde_json::from_str(row.get_ref(at).ok()?.as_str().ok()?).ok()
}

/// The exception of a column's JSON text.
pub fn exception(v: ValueRef<'_>) -> Option<Exception> {
    serde_json::from_str(v.as_str().ok()?).ok()
}

fn flag(row: &Row<'_>, at: usize) -> Option<bool> {
    get::<i64>(row, at).map(|n| n != 0)
}

/// An event from the columns of [`LEAN`]; without the traceback.
pub fn lean(row: &Row<'_>) -> Event {
    Event {
        key: text(row, 0),
        timestamp: text(row, 1),
        level: text(row, 2),
        level_no: get(row, 3),
        message: text(row, 4),
        execution_id: text(row, 5),
        script_name: get(row, 6),
        function_name: get(row, 7),
        fingerprint: get(row, 8),
        event: get(row, 9),
        seq: get(row, 10),
        exception: row.get_ref(11).ok().and_then(exception),
        tags: typed(row, 12),
        ..Event::default()
    }
}

/// An event from the columns of [`WHOLE`].
pub fn whole(row: &Row<'_>) -> Event {
    Event {
        file_path: get(row, 13),
        line_number: get(row, 14),
        module: get(row, 15),
        logger: get(row, 16),
        pid: get(row, 17),
        process_name: get(row, 18),
        thread_id: get(row, 19),
        thread_name: get(row, 20),
        host: get(row, 21),
        extra_data: json(row, 22),
        embeddings: json(row, 23),
        source: json(row, 24),
        ingested_at: get(row, 25),
        unparsed: flag(row, 26),
        repaired: flag(row, 27),
        truncated: json(row, 28),
        redacted: json(row, 29),
        fix_unmatched: flag(row, 30),
        resolved: flag(row, 31),
        resolved_at: get(row, 32),
        fix_description: get(row, 33),
        ..lean(row)
    }
}

pub const RUN: &str = "r._key, r.execution_id, r.script_name, r.start_time, r.status, r.end_time, r.last_seen, \
    r.duration_seconds, r.metadata, r.error, r.pid, r.host, r.parent_execution_id";

/// A run from the columns of [`RUN`].
pub fn run(row: &Row<'_>) -> Run {
    Run {
        key: text(row, 0),
        execution_id: text(row, 1),
        script_name: text(row, 2),
        start_time: text(row, 3),
        status: get(row, 4).unwrap_or_else(|| "running".to_owned()),
        end_time: get(row, 5),
        last_seen: get(row, 6),
        duration_seconds: get(row, 7),
        metadata: json(row, 8),
        error: get(row, 9),
        pid: get(row, 10),
        host: get(row, 11),
        parent_execution_id: get(row, 12),
    }
}

pub const LEARNING: &str = "l._key, l.timestamp, l.execution_id, l.learning, l.context, l.function_name, \
    l.confidence, l.script_name, l.tags";

/// A learning from the columns of [`LEARNING`].
pub fn learning(row: &Row<'_>) -> Learning {
    Learning {
        key: text(row, 0),
        timestamp: text(row, 1),
        execution_id: text(row, 2),
        learning: text(row, 3),
        context: json(row, 4),
        function_name: get(row, 5),
        confidence: get(row, 6),
        script_name: get(row, 7),
        tags: typed(row, 8),
    }
}

pub const EDGE: &str = "c._key, c._from, c._to, c.type, c.weight, c.confidence, c.rationale, c.method, c.created_at, \
    c.valid_at, c.metadata";

/// An edge from the columns of [`EDGE`].
pub fn edge(row: &Row<'_>) -> Edge {
    Edge {
        key: text(row, 0),
        from: text(row, 1),
        to: text(row, 2),
        kind: text(row, 3),
        weight: get(row, 4),
        confidence: get(row, 5),
        rationale: get(row, 6),
        method: get(row, 7),
        created_at: get(row, 8),
        valid_at: get(row, 9),
        metadata: json(row, 10),
    }
}
