//! The functions that the program's queries use, and a few that people would.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::Fail;
use super::eval::{flat, like};
use super::run::{Env, R, Run};
use super::tree::Expr;
use super::value::{self, equal, from_f64, number, order, text, truth, type_name};

/// Names, and how many arguments they take.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("ABS", 1, 1),
    ("ANALYZER", 2, 2),
    ("APPEND", 2, 3),
    ("APPROX_NEAR_COSINE", 2, 3),
    ("ATTRIBUTES", 1, 3),
    ("AVERAGE", 1, 1),
    ("BM25", 1, 3),
    ("BOOST", 2, 2),
    ("CEIL", 1, 1),
    ("CONCAT", 0, 99),
    ("CONCAT_SEPARATOR", 1, 99),
    ("CONTAINS", 2, 3),
    ("COUNT", 1, 1),
    ("DATE_ISO8601", 1, 1),
    ("DATE_NOW", 0, 0),
    ("DATE_TIMESTAMP", 1, 1),
    ("DOCUMENT", 1, 2),
    ("FIRST", 1, 1),
    ("FLATTEN", 1, 2),
    ("FLOOR", 1, 1),
    ("HAS", 2, 2),
    ("INTERSECTION", 2, 99),
    ("IS_ARRAY", 1, 1),
    ("IS_BOOL", 1, 1),
    ("IS_NULL", 1, 1),
    ("IS_NUMBER", 1, 1),
    ("IS_OBJECT", 1, 1),
    ("IS_STRING", 1, 1),
    ("JSON_PARSE", 1, 1),
    ("JSON_STRINGIFY", 1, 1),
    ("KEEP", 2, 99),
    ("LAST", 1, 1),
    ("LENGTH", 1, 1),
    ("LIKE", 2, 3),
    ("LOWER", 1, 1),
    ("MAX", 1, 1),
    ("MERGE", 1, 99),
    ("MIN", 1, 1),
    ("NOT_NULL", 1, 99),
    ("PHRASE", 2, 99),
    ("PUSH", 2, 3),
    ("REGEX_TEST", 2, 3),
    ("REVERSE", 1, 1),
    ("ROUND", 1, 1),
    ("SLEEP", 1, 1),
    ("SLICE", 2, 3),
    ("SORTED", 1, 1),
    ("STARTS_WITH", 2, 3),
    ("SUBSTRING", 2, 3),
    ("SUM", 1, 1),
    ("TO_ARRAY", 1, 1),
    ("TO_BOOL", 1, 1),
    ("TO_HEX", 1, 1),
    ("TO_NUMBER", 1, 1),
    ("TO_STRING", 1, 1),
    ("TOKENS", 1, 2),
    ("TYPENAME", 1, 1),
    ("UNION", 2, 99),
    ("UNION_DISTINCT", 2, 99),
    ("UNIQUE", 1, 1),
    ("UNSET", 2, 99),
    ("UPPER", 1, 1),
    ("VALUES", 1, 2),
];

/// Refuses a function that does not exist, and a wrong number of arguments.
pub fn known(name: &str, given: usize) -> Result<(), Fail> {
    let found = FUNCTIONS.iter().find(|(n, ..)| *n == name);
    let Some((_, least, most)) = found else {
        let text = format!("usage of unknown function '{name}()'");
        return Err(Fail::new(400, 1540, &text));
    };
    if given < *least || given > *most {
        let text = format!("invalid number of arguments for function '{name}()'");
        return Err(Fail::new(400, 1541, &text));
    }
    Ok(())
}

/// A regular expression; the same one is asked for row after row. The server's library has no `(?P<name>…)`.
pub fn pattern(text: &str, any_case: bool) -> Option<regex::Regex> {
    type Compiled = HashMap<(String, bool), Option<regex::Regex>>;
    thread_local! {
        static COMPILED: RefCell<Compiled> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|all| {
        let compile = || {
            let known = !text.contains("(?P<");
            let made = regex::RegexBuilder::new(text).case_insensitive(any_case).build().ok();
            made.filter(|_| known)
        };
        all.entry((text.to_owned(), any_case)).or_insert_with(compile).clone()
    })
}

fn greatest(items: &[Value], least: bool) -> Value {
    let some = items.iter().filter(|v| !v.is_null());
    let found = if least {
        some.min_by(|a, b| order(a, b))
    } else {
        some.max_by(|a, b| order(a, b))
    };
    found.cloned().unwrap_or_default()
}

/// `None` for a function that does not aggregate.
pub fn aggregate(function: &str, values: &[Value]) -> Option<Value> {
    let numbers = || values.iter().filter(|v| !v.is_null()).map(number);
    Some(match function {
        "LENGTH" | "COUNT" => values.len().into(),
        "SUM" => from_f64(numbers().sum()),
        "MIN" => greatest(values, true),
        "MAX" => greatest(values, false),
        "AVERAGE" | "AVG" => match numbers().count() {
            0 => Value::Null,
            n => from_f64(numbers().sum::<f64>() / n as f64),
        },
        "UNIQUE" => Value::Array(unique(values.iter())),
        "PUSH" => Value::Array(values.to_vec()),
        "COUNT_DISTINCT" | "COUNT_UNIQUE" => unique(values.iter()).len().into(),
        _ => return None,
    })
}

fn unique<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for v in values {
        if !out.iter().any(|o| equal(o, v)) {
            out.push(v.clone());
        }
    }
    out
}

fn list(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

impl Run<'_> {
    pub fn call(&self, name: &str, args: &[Expr], env: &Env<'_>) -> R<Value> {
        if let ("BM25", Some(Expr::Variable(of))) = (name, args.first()) {
            return Ok(env.score(of).map_or(Value::Null, from_f64));
        }
        let mut given = Vec::with_capacity(args.len());
        for arg in args {
            given.push(self.eval(arg, env)?.into_owned());
        }
        match name {
            "ANALYZER" | "BM25" | "BOOST" | "PHRASE" => {
                let text = format!("{name}() has no meaning outside of SEARCH");
                Err(Fail::new(501, 9, &text))
            }
            "DOCUMENT" => self.document(&given),
            "TOKENS" => {
                let analyzer = given.get(1).map_or("identity".to_owned(), text);
                self.analyze(&text(&given[0]), &analyzer).map(Value::from)
            }
            "SLEEP" => {
                let until = std::time::Instant::now() + std::time::Duration::from_secs_f64(number(&given[0]).max(0.0));
                while std::time::Instant::now() < until {
                    self.in_time()?;
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                Ok(Value::Null)
            }
            "APPROX_NEAR_COSINE" => Err(Fail::new(
                400,
                1554,
                "failed vector search: no SORT and LIMIT on an index",
            )),
            _ => Ok(self.plain(name, &given)),
        }
    }

    fn document(&self, given: &[Value]) -> R<Value> {
        let id = match given {
            [id] => text(id),
            [collection, key] => format!("{}/{}", text(collection), text(key)),
            _ => String::new(),
        };
        let Some((collection, key)) = id.split_once('/') else {
            return Ok(Value::Null);
        };
        let found = self.source(collection)?.one("_key", key);
        Ok(found.map(|d| (*d).clone()).unwrap_or_default())
    }

    fn plain(&self, name: &str, a: &[Value]) -> Value {
        let none = Value::Null;
        let arg = |i: usize| a.get(i).unwrap_or(&none);
        let first = arg(0);
        match name {
            "IS_ARRAY" => first.is_array().into(),
            "IS_BOOL" => first.is_boolean().into(),
            "IS_NULL" => first.is_null().into(),
            "IS_NUMBER" => first.is_number().into(),
            "IS_OBJECT" => first.is_object().into(),
            "IS_STRING" => first.is_string().into(),
            "TYPENAME" => type_name(first).into(),
            "TO_BOOL" => truth(first).into(),
            "TO_NUMBER" => from_f64(number(first)),
            "TO_STRING" => text(first).into(),
            "NOT_NULL" => a.iter().find(|v| !v.is_null()).cloned().unwrap_or_default(),
            "DATE_NOW" => self.now.into(),
            "DATE_TIMESTAMP" => match millis(first) {
                Some(t) => t.into(),
                None => self.warn(1542, "invalid argument type in call to function 'DATE_TIMESTAMP()'"),
            },
            "DATE_ISO8601" => match millis(first).and_then(chrono::DateTime::from_timestamp_millis) {
                Some(t) => t.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into(),
                None => self.warn(1542, "invalid argument type in call to function 'DATE_ISO8601()'"),
            },
            "ABS" => from_f64(number(first).abs()),
            "CEIL" => from_f64(number(first).ceil()),
            "FLOOR" => from_f64(number(first).floor()),
            "ROUND" => from_f64((number(first) + 0.5).floor()),
            "REGEX_TEST" => match pattern(&text(arg(1)), truth(arg(2))) {
                Some(re) => re.is_match(&text(first)).into(),
                None => self.warn(1543, "invalid regex value"),
            },
            _ => texts(name, a)
                .or_else(|| arrays(name, a))
                .unwrap_or_else(|| objects(name, a)),
        }
    }
}

/// Milliseconds since 1970 of a number or a text; more digits of a second are cut.
fn millis(v: &Value) -> Option<i64> {
    match v {
        Value::Number(n) => n.as_i64(),
        Value::String(s) => {
            let zoned = chrono::DateTime::parse_from_rfc3339(s).map(|t| t.timestamp_millis());
            let naive = || {
                s.parse::<chrono::NaiveDateTime>()
                    .map(|t| t.and_utc().timestamp_millis())
            };
            zoned.or_else(|_| naive()).ok()
        }
        _ => None,
    }
}

fn texts(name: &str, a: &[Value]) -> Option<Value> {
    let none = Value::Null;
    let arg = |i: usize| a.get(i).unwrap_or(&none);
    let first = text(arg(0));
    Some(match name {
        "LOWER" => first.to_lowercase().into(),
        "UPPER" => first.to_uppercase().into(),
        "TO_HEX" => first.bytes().map(|b| format!("{b:02x}")).collect::<String>().into(),
        "JSON_STRINGIFY" => arg(0).to_string().into(),
        "JSON_PARSE" => serde_json::from_str(&first).unwrap_or_default(),
        "CONTAINS" => first.contains(&text(arg(1))).into(),
        "STARTS_WITH" => match arg(1) {
            Value::Array(any) => any.iter().any(|p| first.starts_with(&text(p))).into(),
            one => first.starts_with(&text(one)).into(),
        },
        "LIKE" => like(&first, &text(arg(1)), truth(arg(2))).into(),
        "CONCAT" => flat(a.to_vec()).iter().map(text).collect::<String>().into(),
        "CONCAT_SEPARATOR" => {
            let parts = flat(a.iter().skip(1).cloned().collect());
            let parts: Vec<String> = parts.iter().filter(|p| !p.is_null()).map(text).collect();
            parts.join(&first).into()
        }
        "SUBSTRING" => {
            let chars: Vec<char> = first.chars().collect();
            let from = number(arg(1)) as i64;
            let from = if from < 0 {
                (chars.len() as i64 + from).max(0)
            } else {
                from
            } as usize;
            let count = a.get(2).map_or(usize::MAX, |n| number(n).max(0.0) as usize);
            chars.into_iter().skip(from).take(count).collect::<String>().into()
        }
        _ => return None,
    })
}

fn arrays(name: &str, a: &[Value]) -> Option<Value> {
    let none = Value::Null;
    let arg = |i: usize| a.get(i).unwrap_or(&none);
    let first = arg(0);
    let items = list(first);
    Some(match name {
        "LENGTH" | "COUNT" => match first {
            Value::Null => 0.into(),
            Value::Array(items) => items.len().into(),
            Value::Object(map) => map.len().into(),
            Value::Bool(b) => u64::from(*b).into(),
            other => text(other).chars().count().into(),
        },
        "FIRST" => items.first().cloned().unwrap_or_default(),
        "LAST" => items.last().cloned().unwrap_or_default(),
        "SUM" | "MIN" | "MAX" | "AVERAGE" if first.is_array() => aggregate(name, items)?,
        "SUM" | "MIN" | "MAX" | "AVERAGE" => Value::Null,
        "UNIQUE" => Value::Array(unique(items.iter())),
        "SORTED" => {
            let mut sorted = items.to_vec();
            sorted.sort_by(order);
            Value::Array(sorted)
        }
        "REVERSE" => items.iter().rev().cloned().collect(),
        "TO_ARRAY" => match first {
            Value::Null => Value::Array(Vec::new()),
            Value::Array(_) => first.clone(),
            other => Value::Array(vec![other.clone()]),
        },
        "UNION" => a.iter().flat_map(list).cloned().collect(),
        "UNION_DISTINCT" => Value::Array(unique(a.iter().flat_map(list))),
        "INTERSECTION" => {
            let in_all = |v: &&Value| a.iter().skip(1).all(|other| list(other).iter().any(|o| equal(o, v)));
            Value::Array(unique(items.iter().filter(in_all)))
        }
        "FLATTEN" => {
            let mut out = items.to_vec();
            for _ in 0..a.get(1).map_or(1, |n| number(n) as usize) {
                out = flat(out);
            }
            Value::Array(out)
        }
        "APPEND" => {
            let mut out = match first {
                Value::Null => Vec::new(),
                Value::Array(items) => items.clone(),
                other => vec![other.clone()],
            };
            match arg(1) {
                Value::Null => {}
                Value::Array(more) => out.extend(more.iter().cloned()),
                other => out.push(other.clone()),
            }
            Value::Array(if truth(arg(2)) { unique(out.iter()) } else { out })
        }
        "PUSH" => items.iter().chain(a.get(1)).cloned().collect(),
        "SLICE" => {
            let from = number(arg(1)).max(0.0) as usize;
            let count = a.get(2).map_or(usize::MAX, |n| number(n).max(0.0) as usize);
            items.iter().skip(from).take(count).cloned().collect()
        }
        _ => return None,
    })
}

/// The names that the arguments behind the first one give.
fn names(a: &[Value]) -> Vec<String> {
    flat(a.iter().skip(1).cloned().collect()).iter().map(text).collect()
}

fn objects(name: &str, a: &[Value]) -> Value {
    let Some(Value::Object(map)) = a.first().filter(|_| name != "MERGE") else {
        return if name == "MERGE" { merge(a) } else { Value::Null };
    };
    match name {
        "HAS" => map.contains_key(&value::text(a.get(1).unwrap_or(&Value::Null))).into(),
        "ATTRIBUTES" => map.keys().cloned().map(Value::from).collect(),
        "VALUES" => map.values().cloned().collect(),
        "KEEP" => {
            let names = names(a);
            let kept = map.iter().filter(|(k, _)| names.contains(k));
            Value::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        "UNSET" => {
            let names = names(a);
            let kept = map.iter().filter(|(k, _)| !names.contains(k));
            Value::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        _ => Value::Null,
    }
}

fn merge(a: &[Value]) -> Value {
    let parts = match a {
        [Value::Array(parts)] => parts.as_slice(),
        parts => parts,
    };
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    for part in parts {
        let Value::Object(map) = part else { return Value::Null };
        out.extend(map.clone());
    }
    Value::Object(out.into_iter().collect::<Map<_, _>>())
}
