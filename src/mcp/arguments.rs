//! Arguments as models write them, brought to what a tool's schema says.

use serde_json::{Map, Value, json};

use super::tools::Offer;
use crate::query::AskError;

/// Names that models give to an argument of another name.
const ALIASES: [(&str, &str); 8] = [
    ("execution_id", "execution"),
    ("execution", "execution_id"),
    ("run", "execution"),
    ("script_name", "script"),
    ("name", "script"),
    ("script", "name"),
    ("fields", "text"),
    ("query", "text"),
];

/// The arguments as the schema wants them: models write numbers as text, and lists with commas. What the tool does not
/// know is refused, since an answer that silently leaves out a condition misleads.
///
/// # Errors
/// An argument that the tool does not take.
pub fn fitted(tool: &Offer, arguments: &Value) -> Result<Value, AskError> {
    let known = tool.properties();
    let mut fitted = Map::new();
    for (given, value) in arguments.as_object().into_iter().flatten() {
        if value.is_null() {
            continue;
        }
        let meant = |name: &&str| known.contains_key(*name);
        let alias = || {
            ALIASES
                .iter()
                .filter(|(a, _)| a == given)
                .map(|(_, name)| *name)
                .find(meant)
        };
        let Some(name) = Some(given.as_str()).filter(meant).or_else(alias) else {
            // There is nothing to limit where one thing is asked for.
            if given == "limit" {
                continue;
            }
            return Err(unknown(tool, given));
        };
        let value = shaped(name, known.get(name).unwrap_or(&Value::Null), value);
        // Two names of one list: words and conditions.
        let held = fitted.get_mut(name).and_then(Value::as_array_mut);
        if let (Some(held), Some(more)) = (held, value.as_array()) {
            held.extend(more.iter().cloned());
        } else {
            fitted.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(fitted))
}

/// A value as its property is written.
fn shaped(name: &str, property: &Value, value: &Value) -> Value {
    // Some clients write every list and object as text.
    let listed = || {
        value
            .as_str()
            .and_then(|text| serde_json::from_str::<Value>(text.trim()).ok())
    };
    if property["type"] == "array"
        && let Some(read @ (Value::Array(_) | Value::Object(_))) = listed()
    {
        return shaped(name, property, &read);
    }
    let text = value.as_str().map(str::trim);
    if let (Some(text), Some(known)) = (text, property["enum"].as_array()) {
        let lower = json!(text.to_lowercase());
        return if known.contains(&lower) { lower } else { value.clone() };
    }
    match (property["type"].as_str(), text) {
        (Some("integer" | "number" | "boolean"), Some(text)) => match serde_json::from_str(text) {
            Ok(read @ (Value::Number(_) | Value::Bool(_))) => read,
            _ => value.clone(),
        },
        (Some("integer"), None) => match value.as_f64() {
            // Some clients write every number with a fraction.
            Some(n) if n >= 0.0 && n.fract() == 0.0 && n < 1e15 => json!(n as u64),
            _ => value.clone(),
        },
        (Some("array"), Some(text)) if name == "by" || name == "tag" => {
            text.split(',').map(|part| Value::from(part.trim())).collect()
        }
        (Some("array"), Some(text)) => json!([text]),
        (Some("array"), None) if name == "by" && value.is_array() => value
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|v| v.as_str().unwrap_or("").split(',').map(|part| Value::from(part.trim())))
            .collect(),
        // Numbers and truth values among texts.
        (Some("array"), None) if value.is_array() => value
            .as_array()
            .into_iter()
            .flatten()
            .map(|v| {
                if v.is_number() || v.is_boolean() {
                    json!(v.to_string())
                } else {
                    v.clone()
                }
            })
            .collect(),
        // Bind values by name.
        (Some("array"), None) if value.is_object() => value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, v)| match v {
                Value::String(s) if name != "bind" => json!(format!("{field}={s}")),
                other => json!(format!("{field}={other}")),
            })
            .collect(),
        // A level or a time in epoch seconds may well be a number.
        (Some("string"), None) if value.is_number() => json!(value.to_string()),
        _ => value.clone(),
    }
}

fn unknown(tool: &Offer, given: &str) -> AskError {
    let schema = tool.schema();
    let shown = schema.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = shown.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let near = names
        .iter()
        .max_by(|a, b| strsim::jaro(a, given).total_cmp(&strsim::jaro(b, given)));
    AskError::usage(format!(
        "{} has no argument '{given}': did you mean {}? It takes {}",
        tool.name,
        near.unwrap_or(&""),
        names.join(", ")
    ))
}
