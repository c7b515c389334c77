//! Numbers that are far below what they usually are.

use std::collections::HashMap;

use serde_json::Value;

use super::drift::median;
use crate::store::admit::response;
use crate::store::stored::Event;

/// Numbers of a response by dotted name.
#[must_use]
pub fn numbers(event: &Event) -> HashMap<String, f64> {
    fn walk(prefix: &str, value: &Value, out: &mut HashMap<String, f64>) {
        match value {
            Value::Number(n) => {
                out.insert(prefix.to_owned(), n.as_f64().unwrap_or(0.0));
            }
            Value::Array(items) => {
                out.insert(format!("{prefix}.length"), items.len() as f64);
            }
            Value::Object(map) => {
                for (name, value) in map {
                    let name = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    walk(&name, value, out);
                }
            }
            _ => {}
        }
    }
    let mut out = HashMap::new();
    if let Some(value) = response(event) {
        walk("", &value, &mut out);
    }
    out
}

/// The number that is far below what it usually is: name, value, median and least of before. At least four earlier ones
/// are needed, and a value that is below all of them and half of their median.
#[must_use]
pub fn unusual(newest: &HashMap<String, f64>, earlier: &[HashMap<String, f64>]) -> Option<(String, f64, f64, f64)> {
    let mut found: Vec<(String, f64, f64, f64)> = Vec::new();
    for (name, value) in newest {
        let before: Vec<f64> = earlier.iter().filter_map(|n| n.get(name).copied()).collect();
        let (Some(usual), Some(least)) = (median(&before), before.iter().copied().min_by(f64::total_cmp)) else {
            continue;
        };
        if before.len() >= 4 && *value < least && *value < usual * 0.5 {
            found.push((name.clone(), *value, usual, least));
        }
    }
    found.sort_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)).then_with(|| a.0.cmp(&b.0)));
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, f64)]) -> HashMap<String, f64> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    }

    #[test]
    fn a_number_far_below_all_before_is_unusual_and_one_that_varies_is_not() {
        let earlier: Vec<HashMap<String, f64>> = (0..6)
            .map(|i| of(&[("rows", 1000.0 + f64::from(i)), ("odd", f64::from(i))]))
            .collect();
        let found = unusual(&of(&[("rows", 3.0), ("odd", 0.0)]), &earlier).expect("unusual");
        assert_eq!((found.0.as_str(), found.1, found.3), ("rows", 3.0, 1000.0));
        assert_eq!(unusual(&of(&[("rows", 990.0)]), &earlier), None);
        assert_eq!(
            unusual(&of(&[("rows", 0.0)]), &earlier[..3]),
            None,
            "too little is known"
        );
    }
}
