//! From a finished document to the columns of `log_events`.

use std::borrow::Cow;

use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};

use crate::store::fields::{self, Field};

use super::schema::{DERIVED_COLUMNS, EVENT_COLUMNS};

/// How many columns [`split`] fills: all that a document can name, and the derived ones behind them.
pub const WIDTH: usize = EVENT_COLUMNS.len() + DERIVED_COLUMNS.len();

/// A value on its way into a column, borrowed from the document wherever it needs no decoding.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Null => ToSqlOutput::Owned(Value::Null),
            Cell::Integer(i) => ToSqlOutput::Owned(Value::Integer(*i)),
            Cell::Real(f) => ToSqlOutput::Owned(Value::Real(*f)),
            Cell::Text(t) => ToSqlOutput::Borrowed(ValueRef::Text(t.as_bytes())),
        })
    }
}

/// One row, in the order of [`EVENT_COLUMNS`] and [`DERIVED_COLUMNS`].
pub type Row<'a> = [Cell<'a>; WIDTH];

pub fn empty_row<'a>() -> Row<'a> {
    std::array::from_fn(|_| Cell::Null)
}

/// Why a document cannot be a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("no column for the field {0}")]
    Unknown(String),
}

/// Splits a document into `row`, which is overwritten.
pub fn split<'a>(doc: &'a [u8], row: &mut Row<'a>) -> Result<(), RowError> {
    row.fill(Cell::Null);
    // Fields come in one order, nearly always that of the columns, so the next name is found at once.
    let mut expected = 0;
    for field in fields::of(doc) {
        let Field { name, value } = field.ok_or(RowError::NotAnObject)?;
        let at = position(name, expected).ok_or_else(|| RowError::Unknown(name.to_owned()))?;
        expected = at + 1;
        match name {
            "exception" => row[EVENT_COLUMNS.len()] = Cell::Text(Cow::Owned(exception_text(value))),
            "extra_data" if has_response(value) => row[EVENT_COLUMNS.len() + 1] = Cell::Integer(1),
            _ => {}
        }
        row[at] = cell(value);
    }
    Ok(())
}

fn position(name: &str, expected: usize) -> Option<usize> {
    let (before, after) = EVENT_COLUMNS.split_at(expected.min(EVENT_COLUMNS.len()));
    let found = |part: &[&str]| part.iter().position(|c| *c == name);
    found(after).map(|i| i + before.len()).or_else(|| found(before))
}

/// Whether the object has a field `response` of its own. Cheap for the many that do not name it anywhere.
fn has_response(object: &str) -> bool {
    memchr::memmem::find(object.as_bytes(), b"\"response\"").is_some()
        && fields::of(object.as_bytes())
            .flatten()
            .any(|f| f.name == "response" && f.value != "null")
}

/// Types and values of the exception's whole chain, or of itself where no chain is given.
fn exception_text(exception: &str) -> String {
    let mut own = String::new();
    let mut chain = String::new();
    for field in fields::of(exception.as_bytes()).flatten() {
        match field.name {
            "type" | "value" => join(&mut own, field.value),
            "chain" => {
                for part in fields::items(field.value.as_bytes()).flatten() {
                    for f in fields::of(part.as_bytes()).flatten() {
                        join(&mut chain, f.value);
                    }
                }
            }
            _ => {}
        }
    }
    if chain.is_empty() { own } else { chain }
}

fn join(out: &mut String, token: &str) {
    if token == "null" {
        return;
    }
    if !out.is_empty() {
        out.push(' ');
    }
    out.push_str(&fields::text(token));
}

/// The value of a raw JSON token: strings decoded, arrays and objects as their JSON text, booleans as 0 and 1.
pub fn cell(token: &str) -> Cell<'_> {
    match token.as_bytes().first() {
        Some(b'"') => Cell::Text(fields::text(token)),
        Some(b'{' | b'[') => Cell::Text(Cow::Borrowed(token)),
        Some(b't') => Cell::Integer(1),
        Some(b'f') => Cell::Integer(0),
        Some(b'n') | None => Cell::Null,
        Some(_) => number(token),
    }
}

fn number(token: &str) -> Cell<'_> {
    if let Ok(i) = token.parse() {
        return Cell::Integer(i);
    }
    match token.parse::<f64>() {
        Ok(f) if f.is_finite() => Cell::Real(f),
        _ => Cell::Text(Cow::Borrowed(token)),
    }
}
