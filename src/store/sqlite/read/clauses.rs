//! From a filter to a `WHERE` clause, and the functions it calls.

use regex::Regex;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Params, params_from_iter};

use super::super::schema;
use super::rows::exception;
use crate::record::format_time;
use crate::store::admit::{at, name_of};
use crate::store::search::{FieldIs, Filter, Sign};

/// Conditions joined by AND, with their bind values in order.
#[derive(Default)]
pub struct Clauses {
    terms: Vec<String>,
    binds: Vec<Value>,
}

impl Clauses {
    /// Adds a condition with one `?` for each value.
    pub fn add(&mut self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.terms.push(sql.into());
        self.binds.extend(values);
    }

    /// `column` is one of `values`; nothing for an empty list.
    pub fn one_of(&mut self, column: &str, values: &[String]) {
        if !values.is_empty() {
            let marks = vec!["?"; values.len()].join(",");
            self.add(format!("{column} IN ({marks})"), texts(values));
        }
    }

    /// ` WHERE …`, or nothing.
    pub fn sql(&self) -> String {
        if self.terms.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.terms.join(" AND "))
        }
    }

    pub fn params(&self) -> impl Params + '_ {
        params_from_iter(self.binds.iter())
    }

    /// ` WHERE …` and its values.
    pub fn into_parts(self) -> (String, Vec<Value>) {
        (self.sql(), self.binds)
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The conditions of `filter` on the table `log_events` known as `e`.
    pub fn events(&mut self, filter: &Filter) {
        self.window("e.timestamp", filter.since, filter.until);
        if let Some(id) = filter.stored_until {
            // Nearly all rows: no reason to walk the table instead of an index, as the plus says.
            self.add("+e.id <= ?", [Value::Integer(id)]);
        }
        if let Some(level) = filter.min_level {
            // Literal, so that the partial index of errors is considered.
            if level >= 40 {
                self.add("e.level_no >= 40", []);
            }
            if level != 40 {
                self.add("e.level_no >= ?", [Value::Integer(level)]);
            }
        }
        self.one_of("e.execution_id", &filter.executions);
        self.one_of("e.script_name", &filter.scripts);
        self.one_of("e.host", &filter.hosts);
        self.one_of("e.fingerprint", &filter.fingerprints);
        for tag in &filter.tags {
            let sql = "e.tags IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(e.tags) WHERE value = ?)";
            self.add(sql, [Value::Text(tag.clone())]);
        }
        if filter.has_response {
            self.add("e.has_response IS NOT NULL", []);
        }
        if filter.is_fix {
            self.add("e.event = 'fix'", []);
        }
        if let Some(re) = &filter.grep {
            self.add(
                "lg_grep(?, e.message, e.exception)",
                [Value::Text(re.as_str().to_owned())],
            );
        }
        for field in &filter.fields {
            self.field("e", field, &EVENTS);
        }
    }

    /// Both bounds inclusive.
    pub fn window(&mut self, column: &str, since: Option<i64>, until: Option<i64>) {
        if let Some(t) = since {
            self.add(format!("{column} >= ?"), [Value::Text(format_time(t))]);
        }
        if let Some(t) = until {
            self.add(format!("{column} <= ?"), [Value::Text(format_time(t))]);
        }
    }

    /// A `FIELD=VALUE` condition on a table known as `alias`.
    pub fn field(&mut self, alias: &str, field: &FieldIs, columns: &Columns) {
        let Some(first) = field.path.first() else {
            return;
        };
        let column = format!("{alias}.{first}");
        let known = |kind: &[&str]| kind.contains(&first.as_str());
        if known(columns.json) {
            self.within(&column, field);
        } else if field.path.len() > 1 || !known(columns.all) {
            self.add(if field.sign == Sign::IsNot { "1" } else { "0" }, []);
        } else if known(columns.flags) {
            let wanted = field
                .values
                .iter()
                .map(|v| Value::Integer(i64::from(v == "true")))
                .collect();
            self.compared(&column, field.sign, wanted);
        } else if known(columns.numbers) {
            let wanted = field.values.iter().filter_map(|v| number(v)).collect();
            self.compared(&column, field.sign, wanted);
        } else {
            self.compared(&column, field.sign, texts(&field.values));
        }
    }

    /// A condition on what stands in a column of JSON.
    fn within(&mut self, column: &str, field: &FieldIs) {
        let path = serde_json::to_string(&field.path[1..]).unwrap_or_default();
        let wanted = serde_json::to_string(&field.values).unwrap_or_default();
        // Most rows do not even name it; the name can be the end of a longer one with dots.
        if let Some(name) = field.path.last().filter(|n| field.path.len() > 1 && is_plain(n))
            && field.sign != Sign::IsNot
        {
            self.add(format!("instr({column}, ?)"), [Value::Text(format!("{name}\""))]);
        }
        self.add(
            format!("lg_is({column}, ?, ?, ?)"),
            [
                Value::Text(path),
                Value::Text(wanted),
                Value::Text(field.sign.as_str().to_owned()),
            ],
        );
    }

    /// A condition on a column whose values compare as SQLite compares them.
    fn compared(&mut self, column: &str, sign: Sign, wanted: Vec<Value>) {
        let marks = vec!["?"; wanted.len()].join(",");
        match sign {
            Sign::Is => self.add(format!("{column} IN ({marks})"), wanted),
            Sign::IsNot => self.add(format!("({column} IS NULL OR {column} NOT IN ({marks}))"), wanted),
            _ if wanted.is_empty() => self.add("0", []),
            sign => {
                let each = vec![format!("{column} {} ?", sign.as_str()); wanted.len()];
                self.add(format!("({})", each.join(" OR ")), wanted);
            }
        }
    }
}

/// A number as SQLite compares it exactly.
fn number(text: &str) -> Option<Value> {
    let whole = text.parse().ok().map(Value::Integer);
    whole.or_else(|| text.parse().ok().map(Value::Real))
}

pub fn texts(values: &[String]) -> Vec<Value> {
    values.iter().cloned().map(Value::Text).collect()
}

/// A name that JSON writes as it stands, and that is no index.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && !name.bytes().all(|b| b.is_ascii_digit())
}

/// The kinds of a table's columns.
pub struct Columns {
    pub all: &'static [&'static str],
    pub json: &'static [&'static str],
    pub numbers: &'static [&'static str],
    pub flags: &'static [&'static str],
}

pub const EVENTS: Columns = Columns {
    all: &schema::EVENT_COLUMNS,
    json: &[
        "tags",
        "source",
        "exception",
        "extra_data",
        "truncated",
        "redacted",
        "embeddings",
    ],
    numbers: &["level_no", "line_number", "pid", "thread_id", "seq"],
    flags: &["unparsed", "repaired", "resolved", "fix_unmatched"],
};

pub const RUNS: Columns = Columns {
    all: &[
        "_key",
        "execution_id",
        "script_name",
        "start_time",
        "end_time",
        "last_seen",
        "status",
        "duration_seconds",
        "metadata",
        "error",
        "pid",
        "host",
        "parent_execution_id",
    ],
    json: &["metadata"],
    numbers: &["duration_seconds", "pid"],
    flags: &[],
};

pub const LEARNINGS: Columns = Columns {
    all: &[
        "_key",
        "timestamp",
        "execution_id",
        "learning",
        "context",
        "function_name",
        "confidence",
        "script_name",
        "tags",
    ],
    json: &["context", "tags"],
    numbers: &["confidence"],
    flags: &[],
};

/// Registers what the clauses call:
///
/// * `lg_grep(regex, message, exception)`: see [`Filter::grep`].
/// * `lg_is(json, path, values, sign)`: see [`FieldIs`]; path and values are JSON arrays.
/// * `lg_names(json, path)`: the names of what is at the path as a JSON array, to group by.
pub fn register(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("lg_grep", 3, flags, |ctx| {
        let re = ctx.get_or_create_aux(0, |v| -> Result<Regex, regex::Error> {
            Regex::new(v.as_str().unwrap_or(""))
        })?;
        let message = ctx.get_raw(1).as_str().unwrap_or("");
        Ok(re.is_match(message) || exception(ctx.get_raw(2)).is_some_and(|e| e.is_match(&re)))
    })?;
    db.create_scalar_function("lg_is", 4, flags, |ctx| {
        let field = ctx.get_or_create_aux(1, |path| -> Result<FieldIs, serde_json::Error> {
            Ok(FieldIs {
                path: serde_json::from_str(path.as_str().unwrap_or("[]"))?,
                values: serde_json::from_str(ctx.get_raw(2).as_str().unwrap_or("[]"))?,
                sign: sign(ctx.get_raw(3).as_str().unwrap_or("=")),
            })
        })?;
        let doc = json(ctx.get_raw(0));
        Ok(field.holds_of(doc.as_ref().and_then(|doc| at(doc, &field.path))))
    })?;
    db.create_scalar_function("lg_names", 2, flags, |ctx| {
        let list = |v: ValueRef<'_>| -> Result<Vec<String>, serde_json::Error> {
            serde_json::from_str(v.as_str().unwrap_or("[]"))
        };
        let path = ctx.get_or_create_aux(1, list)?;
        let doc = json(ctx.get_raw(0));
        let names: Vec<String> = match doc.as_ref().and_then(|doc| at(doc, &path)) {
            Some(serde_json::Value::Array(items)) => items.iter().filter_map(name_of).collect(),
            Some(value) => name_of(value).into_iter().collect(),
            None => Vec::new(),
        };
        Ok(serde_json::to_string(&names).unwrap_or_default())
    })
}

/// The sign that is typed like this.
fn sign(text: &str) -> Sign {
    [Sign::IsNot, Sign::Above, Sign::AtLeast, Sign::Below, Sign::AtMost]
        .into_iter()
        .find(|s| s.as_str() == text)
        .unwrap_or_default()
}

fn json(v: ValueRef<'_>) -> Option<serde_json::Value> {
    serde_json::from_str(v.as_str().ok()?).ok()
}
