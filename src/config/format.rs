//! `[[format]]`: lines of one's own shape, each entry checked where it stands.

use toml::de::{DeTable, DeValue};

use super::Format;
use super::file::convert;
use super::keys::{self, Origin, nearest};
use super::load::Problem;
use super::value::Value;

const KEYS: [&str; 3] = ["files", "regex", "continues"];

/// Groups whose names are not those of stored fields, but nearly so.
const NAMES: [&str; 18] = [
    "timestamp",
    "time",
    "level",
    "message",
    "logger",
    "function",
    "function_name",
    "file",
    "file_path",
    "line",
    "line_number",
    "module",
    "pid",
    "process_name",
    "thread_name",
    "thread_id",
    "host",
    "script_name",
];

/// Reads the entries.
pub(super) fn read(
    value: &DeValue<'_>,
    place: &dyn Fn(usize) -> Origin,
    at: usize,
    problems: &mut Vec<Problem>,
) -> Vec<Format> {
    let DeValue::Array(entries) = value else {
        problems.push(Problem::at(
            &place(at),
            "format is a list of sections: write [[format]] and its keys below",
        ));
        return Vec::new();
    };
    let mut formats = Vec::new();
    for entry in entries {
        let start = entry.span().start;
        match entry.get_ref() {
            DeValue::Table(table) => formats.extend(one(table, place, start, problems)),
            _ => problems.push(Problem::at(&place(start), "format: expected a section [[format]]")),
        }
    }
    formats
}

fn one(
    table: &DeTable<'_>,
    place: &dyn Fn(usize) -> Origin,
    start: usize,
    problems: &mut Vec<Problem>,
) -> Option<Format> {
    let mut format = Format::default();
    let before = problems.len();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let given = convert(value.get_ref());
        let wrong = match name {
            "files" => keys::globs(&given).map(|files| format.files = files).err(),
            "regex" => expression(&given).map(|text| format.regex = text).err(),
            "continues" => continues(&given).map(|text| format.continues = Some(text)).err(),
            _ => {
                let near = nearest(name, KEYS.into_iter());
                let hint = near.map_or_else(
                    || "; it has files, regex and continues".to_owned(),
                    |k| format!("; did you mean {k}?"),
                );
                problems.push(Problem::at(
                    &place(key.span().start),
                    format!("unknown key format.{name}{hint}"),
                ));
                continue;
            }
        };
        if let Some(wrong) = wrong {
            problems.push(Problem::at(&place(key.span().start), format!("format.{name}: {wrong}")));
        }
    }
    for (key, missing) in [("files", format.files.is_empty()), ("regex", format.regex.is_empty())] {
        if missing && problems.len() == before {
            problems.push(Problem::at(&place(start), format!("[[format]] needs {key}")));
        }
    }
    (problems.len() == before).then_some(format)
}

fn compiled(text: &str) -> Result<regex::Regex, String> {
    regex::Regex::new(text).map_err(|e| {
        let why = e.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let hint = if text.contains("(?=") || text.contains("(?!") || text.contains("(?<=") || text.contains("(?<!") {
            "; expressions here run in linear time, without looking around"
        } else {
            ""
        };
        format!("{text:?} is no regular expression: {why}{hint}")
    })
}

fn expression(value: &Value) -> Result<String, String> {
    let text = value.text()?;
    let regex = compiled(&text)?;
    if regex.is_match("") {
        return Err(format!(
            "{text:?} matches the empty line, and so every line; say what has to be there"
        ));
    }
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    if names.is_empty() {
        return Err(format!("{text:?} has no named group, such as (?<message>.*)"));
    }
    for name in names {
        let known = NAMES.contains(&name);
        if let Some(near) = nearest(name, NAMES.into_iter()).filter(|near| !known && close(name, near)) {
            return Err(format!("the group {name:?} is no stored field; did you mean {near:?}?"));
        }
    }
    Ok(text)
}

/// Whether a name differs from another by a slip of the pen, not by meaning.
fn close(name: &str, near: &str) -> bool {
    name.len() > 4 && name.len().abs_diff(near.len()) <= 1 && strsim::damerau_levenshtein(name, near) <= 1
}

fn continues(value: &Value) -> Result<String, String> {
    let text = value.text()?;
    if compiled(&text)?.is_match("") {
        return Err(format!(
            "{text:?} matches the empty line, and so every line; say what has to be there"
        ));
    }
    Ok(text)
}
