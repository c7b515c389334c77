//! A query in SQL that can only read.
//!
//! Read-only four times over: the connection is opened read-only, `query_only` is set, an authorizer refuses everything
//! but reading (so `ATTACH`, writing pragmas and `load_extension` too), and the prepared statement must say of itself
//! that it is read-only. It has a connection of its own, a deadline, and a bound on the size of one value.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};
use serde_json::Value;

use super::{Fault, open};
use crate::store::search::{RawAsk, RawRow, ReadError, Visit};

/// Bytes of one value or row.
const VALUE_MAX: i32 = 8 << 20;

/// Bytes of all values of one answer.
const ANSWER_MAX: usize = 256 << 20;

/// Pragmas that describe the schema, and the one by which full text finds out whether it is up to date.
const PRAGMAS: [&str; 7] = [
    "data_version",
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
];

pub fn run(path: &Path, ask: &RawAsk, visit: Visit<'_, RawRow>) -> Result<(), ReadError> {
    let db = open(path)?;
    let explain = |e: Fault| e.explain(path);
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_MAX)
        .map_err(|e| explain(e.into()))?;
    db.authorizer(Some(authorize));
    let deadline = Instant::now() + ask.timeout;
    let stop = ask.stop.clone();
    db.progress_handler(10_000, Some(move || stop.is_stopped() || Instant::now() >= deadline));
    // One function may take long between two looks of that handler: another thread interrupts it.
    let handle = db.get_interrupt_handle();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let patience = ask.timeout;
    let watch = std::thread::Builder::new().name("deadline".into()).spawn(move || {
        if wait.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            handle.interrupt();
        }
    });
    let selected = select(&db, ask, visit);
    drop(done);
    let _ = watch.map(std::thread::JoinHandle::join);
    selected.map_err(|e| match e {
        Fault::Sqlite(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            ReadError::TooLong(format!(
                "the query ran longer than {:?} and was stopped: see --timeout",
                ask.timeout
            ))
        }
        Fault::Sqlite(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) => {
            ReadError::Faulty(format!("refused, only reading is allowed here: {e}"))
        }
        Fault::Sqlite(rusqlite::Error::SqlInputError { msg, sql, offset, .. }) => {
            let near: String = sql
                .get(usize::try_from(offset).unwrap_or(0)..)
                .unwrap_or("")
                .chars()
                .take(30)
                .collect();
            let place = if near.is_empty() {
                String::new()
            } else {
                format!(", at: {near}")
            };
            // Whoever looks for words asks like this too.
            let hint = if msg.ends_with("syntax error") {
                "; this takes SQL, words are looked for by `logagent search`"
            } else {
                ""
            };
            ReadError::Faulty(format!("{msg}{place}{hint}"))
        }
        Fault::Sqlite(e @ rusqlite::Error::SqliteFailure(..)) if is_of_the_query(&e) => {
            ReadError::Faulty(e.to_string())
        }
        Fault::Sqlite(rusqlite::Error::MultipleStatement) => {
            ReadError::Faulty("one statement at a time, please".to_owned())
        }
        other => other.explain(path),
    })
}

fn is_of_the_query(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ReadOnly, TooBig, TypeMismatch, Unknown};
    matches!(e.sqlite_error_code(), Some(Unknown | TooBig | TypeMismatch | ReadOnly))
}

fn authorize(ctx: AuthContext<'_>) -> Authorization {
    match ctx.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if function_name != "load_extension" => Authorization::Allow,
        AuthAction::Pragma { pragma_name, .. } if PRAGMAS.contains(&pragma_name) => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn select(db: &Connection, ask: &RawAsk, visit: Visit<'_, RawRow>) -> Result<(), Fault> {
    let sql = ask.text.trim().trim_end_matches(';');
    // A second one behind it is refused by the library.
    let mut statement = db.prepare(sql)?;
    if !statement.readonly() {
        return Err(ReadError::Faulty("refused, only reading is allowed here".to_owned()).into());
    }
    if statement.column_count() == 0 {
        return Err(ReadError::Faulty("the query holds no statement".to_owned()).into());
    }
    bind(&mut statement, &ask.binds)?;
    let names = Arc::new(unique(statement.column_names()));
    let width = names.len();
    let mut rows = statement.raw_query();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        for i in 0..width {
            bytes += match row.get_ref(i)? {
                ValueRef::Text(t) | ValueRef::Blob(t) => t.len(),
                _ => 8,
            };
        }
        if bytes > ANSWER_MAX {
            let text = format!(
                "the answer is larger than {} MiB: ask for fewer rows, or less of each",
                ANSWER_MAX >> 20
            );
            return Err(ReadError::Faulty(text).into());
        }
        let values = (0..width)
            .map(|i| row.get_ref(i).map(json))
            .collect::<rusqlite::Result<Vec<_>>>()?;
        if !visit(RawRow::Columns(Arc::clone(&names), values)) {
            break;
        }
    }
    Ok(())
}

fn bind(statement: &mut Statement<'_>, binds: &[(String, Value)]) -> Result<(), Fault> {
    let mut bound = vec![false; statement.parameter_count()];
    for (name, value) in binds {
        let mut found = false;
        for sign in [":", "@", "$", "?"] {
            if let Some(at) = statement.parameter_index(&format!("{sign}{name}"))? {
                statement.raw_bind_parameter(at, sql_value(value))?;
                found = true;
                if let Some(slot) = bound.get_mut(at - 1) {
                    *slot = true;
                }
            }
        }
        if !found {
            return Err(ReadError::Faulty(format!("the query has no bind parameter :{name}")).into());
        }
    }
    match bound.iter().position(|b| !b) {
        Some(at) => {
            let name = statement.parameter_name(at + 1).unwrap_or("?").to_owned();
            Err(ReadError::Faulty(format!("no value for the bind parameter {name}: --bind name=value")).into())
        }
        None => Ok(()),
    }
}

fn sql_value(value: &Value) -> rusqlite::types::Value {
    use rusqlite::types::Value as Sql;
    match value {
        Value::Null => Sql::Null,
        Value::Bool(b) => Sql::Integer(i64::from(*b)),
        Value::Number(n) => n
            .as_i64()
            .map_or_else(|| Sql::Real(n.as_f64().unwrap_or(0.0)), Sql::Integer),
        Value::String(s) => Sql::Text(s.clone()),
        other => Sql::Text(other.to_string()),
    }
}

/// Column names, told apart where two are alike.
fn unique(names: Vec<&str>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let mut candidate = name.to_owned();
        let mut n = 2;
        while out.contains(&candidate) {
            candidate = format!("{name}_{n}");
            n += 1;
        }
        out.push(candidate);
    }
    out
}

fn json(v: ValueRef<'_>) -> Value {
    match v {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => n.into(),
        ValueRef::Real(f) => f.into(),
        ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned().into(),
        ValueRef::Blob(b) => b.iter().map(|b| format!("{b:02x}")).collect::<String>().into(),
    }
}
