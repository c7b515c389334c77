//! Short forms of values, for display, embeddings and answers: the plan's rules of 100 characters and 10 elements.
//!
//! These rules change types (a long list becomes a string), so they are never applied to what is stored; `truncate` has
//! the rules for that.

use std::borrow::Cow;

use serde_json::Value;

/// Characters of a string that are shown whole.
pub const STRING: usize = 100;
/// Elements of a list that are shown.
pub const LIST: usize = 10;

/// The value with strings over 100 characters cut in the middle and lists over 10 elements summed up.
#[must_use]
pub fn preview(value: &Value) -> Value {
    preview_to(value, STRING, LIST)
}

/// As [`preview`], with limits of one's own: characters of a string, elements of a list.
#[must_use]
pub fn preview_to(value: &Value, string: usize, list: usize) -> Value {
    match value {
        Value::String(s) => Value::String(preview_text(s, string).into_owned()),
        Value::Array(a) if a.len() > list => Value::String(match a.first() {
            Some(first) => format!("[<{} {} elements>]", a.len(), python_type(first)),
            None => "[<0 elements>]".to_owned(),
        }),
        Value::Array(a) => {
            let short = |v: &Value| {
                if v.is_object() {
                    preview_to(v, string, list)
                } else {
                    v.clone()
                }
            };
            Value::Array(a.iter().map(short).collect())
        }
        Value::Object(o) => Value::Object(
            o.iter()
                .map(|(k, v)| (k.clone(), preview_to(v, string, list)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// A text of more than `max` characters as its first and last half with `...` between (so a little longer than `max`);
/// of an image in base64 the header stays and the data is cut.
#[must_use]
pub fn preview_text(text: &str, max: usize) -> Cow<'_, str> {
    let (header, data) = text.split_at(image_header(text));
    let count = data.chars().count();
    if count <= max {
        return Cow::Borrowed(text);
    }
    let half = if max > 0 { (max / 2).max(1) } else { 0 };
    let mut out = String::with_capacity(header.len() + 8 * half + 3);
    out.push_str(header);
    out.extend(data.chars().take(half));
    out.push_str("...");
    out.extend(data.chars().skip(count - half));
    Cow::Owned(out)
}

/// The length of `data:image/…;base64,`, 0 where the text does not begin with it.
fn image_header(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("data:image/") else {
        return 0;
    };
    let kind = rest
        .bytes()
        .take_while(|b| b.is_ascii_alphabetic() || matches!(b, b'+' | b'.' | b'-'))
        .count();
    match rest.get(kind..) {
        Some(r) if kind > 0 && r.starts_with(";base64,") => text.len() - r.len() + ";base64,".len(),
        _ => 0,
    }
}

/// What Python calls the type of a value.
fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// [`preview`] of the results of a query: a list of objects.
///
/// # Errors
/// Names the type, and the index, of what is no list or no object.
pub fn preview_results(results: &Value) -> Result<Value, String> {
    let Value::Array(items) = results else {
        return Err(format!(
            "Expected input to be a List[Dict[str, Any]], but got {}.",
            python_type(results)
        ));
    };
    for (i, item) in items.iter().enumerate() {
        if !item.is_object() {
            return Err(format!(
                "Expected all elements in the input list to be dictionaries (dict), but found element of type {} at index {i}.",
                python_type(item)
            ));
        }
    }
    Ok(Value::Array(items.iter().map(preview).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_string_over_the_limit_keeps_its_two_ends() {
        let long = "a".repeat(60) + &"b".repeat(41);
        let expected = "a".repeat(50) + "..." + &"a".repeat(9) + &"b".repeat(41);
        assert_eq!(preview(&json!(long)), json!(expected));
        assert_eq!(expected.len(), 103);
        assert_eq!(preview_text(&"x".repeat(100), 100), "x".repeat(100));
        assert_eq!(preview_text("abcdefghij", 7), "abc...hij");
        assert_eq!(preview_text("abc", 1), "a...c");
        assert_eq!(preview_text("abc", 0), "...");
        assert_eq!(preview_text("", 0), "");
    }

    #[test]
    fn the_limit_counts_characters_not_bytes() {
        assert_eq!(preview_text(&"é".repeat(100), 100), "é".repeat(100));
        assert_eq!(preview_text(&"é".repeat(101), 100).chars().count(), 103);
    }

    #[test]
    fn of_an_image_only_the_data_is_cut() {
        let header = "data:image/svg+xml;base64,";
        let got = preview_text(&format!("{header}{}", "A".repeat(150)), 100).into_owned();
        assert_eq!(got, format!("{header}{}...{}", "A".repeat(50), "A".repeat(50)));
        let short = format!("data:image/png;base64,{}", "A".repeat(100));
        assert_eq!(preview_text(&short, 100), short);
        let other = format!("data:application/octet-stream;base64,{}", "A".repeat(150));
        assert_eq!(preview_text(&other, 100).chars().count(), 103);
    }

    #[test]
    fn a_list_over_the_limit_becomes_a_string_that_says_what_it_held() {
        assert_eq!(preview(&json!(vec![1; 11])), json!("[<11 int elements>]"));
        assert_eq!(preview(&json!(vec![0.5; 1024])), json!("[<1024 float elements>]"));
        for (element, name) in [
            (json!("x"), "str"),
            (json!(true), "bool"),
            (json!({}), "dict"),
            (json!([]), "list"),
            (json!(null), "NoneType"),
        ] {
            assert_eq!(
                preview(&json!(vec![element; 12])),
                json!(format!("[<12 {name} elements>]"))
            );
        }
        assert_eq!(preview(&json!(vec![1; 10])), json!(vec![1; 10]));
    }

    #[test]
    fn in_a_short_list_only_objects_are_shortened() {
        let long = "x".repeat(200);
        let got = preview(&json!([long, vec![0; 50], {"a": long}]));
        assert_eq!(got[0], json!(long));
        assert_eq!(got[1], json!(vec![0; 50]));
        assert_eq!(got[2]["a"].as_str().map(str::len), Some(103));
    }

    #[test]
    fn in_an_object_every_value_is_shortened() {
        let value = json!({"s": "x".repeat(101), "n": 1, "b": true, "z": null, "o": {"l": vec![0; 11]}});
        let got = preview(&value);
        assert_eq!(got["s"].as_str().map(str::len), Some(103));
        assert_eq!(got["n"], json!(1));
        assert_eq!(got["b"], json!(true));
        assert_eq!(got["z"], json!(null));
        assert_eq!(got["o"]["l"], json!("[<11 int elements>]"));
    }

    #[test]
    fn results_are_a_list_of_objects_or_an_error_that_names_the_type() {
        assert_eq!(preview_results(&json!([])), Ok(json!([])));
        assert_eq!(preview_results(&json!([{"a": 1}])), Ok(json!([{"a": 1}])));
        assert!(preview_results(&json!({})).unwrap_err().contains("but got dict"));
        let wrong = preview_results(&json!([{}, "x"])).unwrap_err();
        assert!(wrong.contains("type str at index 1"), "{wrong}");
    }
}
