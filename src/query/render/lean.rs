//! Values that cost a model few tokens: what a reader of a list does not need is had by `get` and `summary`.

use serde_json::{Map, Value, json};

use super::paint::short;

/// Values of metadata that a list shows.
const METADATA: usize = 8;

/// A stored time without its fraction.
#[must_use]
pub fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) if time.ends_with('Z') => format!("{whole}Z"),
        _ => time.to_owned(),
    }
}

/// A stored time in milliseconds: so much tells the events of a run apart.
#[must_use]
pub fn millis(time: &str) -> String {
    match time.get(..23) {
        Some(head) if time.len() == 27 && time.ends_with('Z') => format!("{head}Z"),
        _ => time.to_owned(),
    }
}

/// A measurement to three places.
#[must_use]
pub fn rounded(n: f64) -> f64 {
    (n * 1e3).round() / 1e3
}

/// An object without what says nothing: nulls, and empty lists and objects.
#[must_use]
pub fn said(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, v| match v {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        });
    }
    value
}

/// The plain values of an object, short; `…` for what was left out.
#[must_use]
pub fn plain_values(value: &Value) -> Value {
    let Some(map) = value.as_object() else {
        return json!(short(&value.to_string(), 60));
    };
    let mut out: Map<String, Value> = map
        .iter()
        .filter(|(_, v)| !v.is_array() && !v.is_object())
        .take(METADATA)
        .map(|(name, v)| match v {
            Value::String(s) => (name.clone(), json!(short(s, 60))),
            other => (name.clone(), other.clone()),
        })
        .collect();
    let left = map.len() - out.len();
    if left > 0 {
        out.insert("…".to_owned(), json!(format!("(+{left})")));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lose_what_a_list_does_not_need_and_keep_their_form() {
        assert_eq!(seconds("2026-11-21T02:20:24.054432Z"), "2026-11-21T02:20:24Z");
        assert_eq!(millis("2026-11-21T02:20:24.054432Z"), "2026-11-21T02:20:24.054Z");
        assert_eq!((seconds("some day").as_str(), millis("é").as_str()), ("some day", "é"));
    }

    #[test]
    fn metadata_is_shown_as_far_as_it_is_plain_and_says_how_much_is_left_out() {
        let value = json!({"env": "prod", "n": 7, "deep": {"x": [1, 2]}, "long": "x".repeat(100)});
        let shown = plain_values(&value);
        assert_eq!(
            (&shown["env"], &shown["n"], &shown["…"]),
            (&json!("prod"), &json!(7), &json!("(+1)"))
        );
        assert!(shown["long"].as_str().unwrap().ends_with("…(+40)"));
        assert_eq!(said(json!({"a": null, "b": [], "c": {}, "d": 0})), json!({"d": 0}));
    }
}
