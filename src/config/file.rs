//! The configuration file as it was typed: a flat list of keys with their values and lines.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::Format;
use super::format;
use super::keys::{Given, Origin};
use super::load::Problem;
use super::value::Value;

/// Reads TOML text into the values it gives. Every section that is not one is a problem; unknown keys are found
/// later, by the table of keys.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> (Vec<Given>, Vec<Format>) {
    // Editors on other systems put a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let place = |at: usize| Origin::File {
        path: path.to_owned(),
        line: line_of(text, at),
    };
    for e in errors.iter().take(5) {
        let at = e.span().map_or(0, |s| s.start);
        problems.push(Problem::at(&place(at), format!("not valid TOML: {}", e.message())));
    }
    let mut given = Vec::new();
    let mut formats = Vec::new();
    if errors.is_empty() {
        let table = table.get_ref();
        if let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == "format") {
            formats = format::read(value.get_ref(), &place, key.span().start, problems);
        }
        flatten("", table, &place, &mut given);
    }
    given.sort_by_key(|g| match &g.origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    });
    (given, formats)
}

/// Turns nested tables into dotted keys.
fn flatten(prefix: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> Origin, given: &mut Vec<Given>) {
    // A list of sections of its own, see `format`.
    let other = |key: &str| !(prefix.is_empty() && key == "format");
    for (key, value) in table.iter().filter(|(key, _)| other(key.get_ref())) {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => {
                if inner.is_empty() {
                    given.push(Given {
                        key: name,
                        value: Value::Other("an empty section"),
                        origin: place(key.span().start),
                    });
                } else {
                    flatten(&format!("{name}."), inner, place, given);
                }
            }
            value => given.push(Given {
                key: name,
                value: convert(value),
                origin: place(key.span().start),
            }),
        }
    }
}

pub(super) fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(s) => Value::Text(s.to_string()),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix())
            .map_or(Value::Other("a number that is too large"), Value::Integer),
        DeValue::Float(f) => f
            .as_str()
            .parse()
            .map_or(Value::Other("a number that is too large"), Value::Float),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(items.iter().map(|i| convert(i.get_ref())).collect()),
        DeValue::Table(_) => Value::Other("a section"),
    }
}

/// Reads the text of one TOML array of texts.
pub(super) fn array(text: &str) -> Option<Vec<String>> {
    let value = DeValue::parse(text.trim()).ok()?;
    convert(value.get_ref()).texts().ok()
}

/// Line of a byte position, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}
