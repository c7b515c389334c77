//! Values as AQL compares, orders and converts them.
//!
//! Types come in this order: null, bool, number, string, array, object; so `null < "x"`, and every string is greater
//! than every number. Strings are ordered by language (ICU): signs before digits before letters, and case decides only
//! between texts that are otherwise equal. For texts outside ASCII the order here is that of code points.

use std::cmp::Ordering;

use serde_json::{Number, Value};

fn kind(v: &Value) -> u8 {
    match v {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// The order of types and values; texts by language.
pub fn order(a: &Value, b: &Value) -> Ordering {
    by(a, b, collate)
}

/// Equality: without regard to language.
pub fn equal(a: &Value, b: &Value) -> bool {
    by(a, b, str::cmp) == Ordering::Equal
}

pub fn by(a: &Value, b: &Value, texts: fn(&str, &str) -> Ordering) -> Ordering {
    kind(a).cmp(&kind(b)).then_with(|| match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::String(a), Value::String(b)) => texts(a, b),
        (Value::Array(a), Value::Array(b)) => {
            let none = Value::Null;
            (0..a.len().max(b.len()))
                .map(|i| by(a.get(i).unwrap_or(&none), b.get(i).unwrap_or(&none), texts))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        (Value::Object(a), Value::Object(b)) => {
            let none = Value::Null;
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort_unstable();
            names.dedup();
            names
                .into_iter()
                .map(|n| by(a.get(n).unwrap_or(&none), b.get(n).unwrap_or(&none), texts))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        _ => Ordering::Equal,
    })
}

fn numbers(a: &Number, b: &Number) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => {
            let float = |n: &Number| n.as_f64().unwrap_or(0.0);
            float(a).total_cmp(&float(b))
        }
    }
}

/// Where a character stands among the others, whatever its case.
fn weight(c: char) -> (u8, u32) {
    const SIGNS: &str = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";
    match c {
        _ if c.is_whitespace() => (0, u32::from(c)),
        _ if c.is_ascii_digit() => (2, u32::from(c)),
        _ if c.is_ascii_alphabetic() => (3, u32::from(c.to_ascii_lowercase())),
        _ => match SIGNS.find(c) {
            Some(at) => (1, at as u32),
            None if c.is_alphabetic() => (4, u32::from(c)),
            None => (1, 1000 + u32::from(c)),
        },
    }
}

pub fn collate(a: &str, b: &str) -> Ordering {
    let first = a.chars().map(weight).cmp(b.chars().map(weight));
    // Lower case before upper case.
    first.then_with(|| b.cmp(a))
}

pub fn truth(v: &Value) -> bool {
    match v {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// As the server converts to a number where one is needed.
pub fn number(v: &Value) -> f64 {
    match v {
        Value::Null | Value::Object(_) => 0.0,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Number(n) => n.as_f64().unwrap_or(0.0),
        Value::String(s) => s.trim().parse().unwrap_or(0.0),
        Value::Array(items) => match items.as_slice() {
            [one] => number(one),
            _ => 0.0,
        },
    }
}

/// A number as the server writes it: whole ones without a fraction.
pub fn from_f64(n: f64) -> Value {
    if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 {
        return Value::from(n as i64);
    }
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}

/// As the server converts to a text.
pub fn text(v: &Value) -> String {
    match v {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

pub fn type_name(v: &Value) -> &'static str {
    ["null", "bool", "number", "string", "array", "object"][usize::from(kind(v))]
}

/// Roughly the bytes that a value takes.
pub fn size(v: &Value) -> u64 {
    match v {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(s) => 16 + s.len() as u64,
        Value::Array(items) => 16 + items.iter().map(size).sum::<u64>(),
        Value::Object(map) => 16 + map.iter().map(|(k, v)| k.len() as u64 + size(v)).sum::<u64>(),
    }
}

#[test]
fn types_are_ordered_before_values_and_texts_by_language() {
    use serde_json::json;
    let rising = [
        json!(null),
        json!(false),
        json!(true),
        json!(-1),
        json!(2.5),
        json!(1e9),
        json!(""),
        json!("_b"),
        json!("1"),
        json!("a"),
        json!("A"),
        json!("b"),
        json!([]),
        json!([null, 1]),
        json!({}),
    ];
    for (i, a) in rising.iter().enumerate() {
        for (j, b) in rising.iter().enumerate() {
            assert_eq!(order(a, b), i.cmp(&j), "{a} against {b}");
        }
    }
    assert!(!equal(&json!("a"), &json!("A")) && equal(&json!(1), &json!(1.0)) && !equal(&json!(1), &json!("1")));
}
