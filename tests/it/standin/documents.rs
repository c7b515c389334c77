//! Documents: keys, rules, unique indexes, and the bulk insertion with its silent and its telling answers.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::catalog::Collection;

/// An error of one record.
#[derive(Clone, Debug)]
pub struct RecordError {
    pub num: i64,
    pub message: Option<String>,
}

impl RecordError {
    pub fn new(num: i64, message: &str) -> RecordError {
        RecordError {
            num,
            message: Some(message.into()),
        }
    }

    fn entry(&self) -> Value {
        match &self.message {
            Some(m) => json!({"error": true, "errorNum": self.num, "errorMessage": m}),
            None => json!({"error": true, "errorNum": self.num}),
        }
    }
}

/// A request body as strictly read as the server does: JSON, UTF-8, no attribute twice in one object, at most 200
/// levels. Documents nested deeper than this program's own parser goes keep the deep part as text.
pub fn parse(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<&RawValue>(text).ok()?;
    strict(text.as_bytes())?;
    Some(value(text))
}

fn value(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        return items.iter().map(|i| value(i.get())).collect();
    }
    match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        Ok(map) => Value::Object(map.into_iter().map(|(k, v)| (k, value(v.get()))).collect()),
        Err(_) => Value::String(text.to_string()),
    }
}

/// Over JSON that is known to be valid: depth and names.
fn strict(bytes: &[u8]) -> Option<()> {
    let mut open: Vec<Option<Vec<String>>> = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'{' => open.push(Some(Vec::new())),
            b'[' => open.push(None),
            b'}' | b']' => {
                open.pop();
            }
            b'"' => {
                let start = i;
                i += 1;
                while bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                let after = bytes[i + 1..].iter().find(|b| !b.is_ascii_whitespace());
                if after == Some(&b':') {
                    let name: String = serde_json::from_slice(&bytes[start..=i]).ok()?;
                    let names = open.last_mut()?.as_mut()?;
                    if names.contains(&name) {
                        return None;
                    }
                    names.push(name);
                }
            }
            _ => {}
        }
        if open.len() > 200 {
            return None;
        }
        i += 1;
    }
    Some(())
}

pub enum Mode {
    Conflict,
    Ignore,
    Replace,
}

/// A document that is stored now.
pub struct Stored {
    key: String,
    rev: String,
    /// It was there before, and this copy of it was ignored.
    ignored: bool,
}

/// What became of an array of documents.
pub struct Bulk {
    pub results: Vec<Result<Stored, RecordError>>,
}

impl Bulk {
    /// The body, and the header that counts the errors.
    pub fn answer(&self, collection: &str, silent: bool) -> (Value, Option<String>) {
        let mut counts: Map<String, Value> = Map::new();
        let mut entries = Vec::new();
        for result in &self.results {
            match result {
                // A single server names what it ignored even when it is to be silent.
                Ok(Stored { key, rev, ignored }) if !silent || *ignored => {
                    entries.push(json!({"_id": format!("{collection}/{key}"), "_key": key, "_rev": rev}));
                }
                Ok(_) => {}
                Err(e) => {
                    entries.push(e.entry());
                    // What a shard that cannot be reached says is not counted.
                    if e.message.is_some() {
                        let n = counts.entry(e.num.to_string()).or_insert(json!(0));
                        *n = json!(n.as_u64().unwrap_or(0) + 1);
                    }
                }
            }
        }
        let header = (!counts.is_empty()).then(|| Value::Object(counts).to_string());
        let body = if silent && entries.is_empty() {
            json!({})
        } else {
            Value::Array(entries)
        };
        (body, header)
    }
}

/// Inserts documents one by one, as one request does. `fault`: a record that is to fail. Beyond `room` documents the
/// resource limit strikes, and from there on each.
pub fn insert(
    collection: &mut Collection,
    documents: Vec<Value>,
    mode: &Mode,
    fault: Option<(&str, i64, Option<&str>)>,
    room: usize,
) -> Bulk {
    let mut results = Vec::new();
    for (i, document) in documents.into_iter().enumerate() {
        let faulty = fault.filter(|(key, _, _)| document["_key"] == *key);
        results.push(match faulty {
            Some((_, num, message)) => Err(RecordError {
                num,
                message: message.map(str::to_string),
            }),
            None if i >= room => Err(RecordError::new(32, "resource limit exceeded")),
            None => {
                let known = document["_key"]
                    .as_str()
                    .is_some_and(|k| collection.documents.contains_key(k));
                let ignored = known && matches!(mode, Mode::Ignore);
                put(collection, document, mode).map(|(key, rev)| Stored { key, rev, ignored })
            }
        });
    }
    Bulk { results }
}

/// One document.
pub fn put(collection: &mut Collection, document: Value, mode: &Mode) -> Result<(String, String), RecordError> {
    let Value::Object(mut map) = document else {
        return Err(RecordError::new(1227, "invalid document type"));
    };
    let key = match map.get("_key") {
        None => format!("generated-{}", collection.documents.len() + 1),
        Some(Value::String(key)) if is_key(key) => key.clone(),
        Some(_) => return Err(RecordError::new(1221, "illegal document key")),
    };
    if let Some(known) = collection.documents.get(&key) {
        match mode {
            Mode::Conflict => return Err(RecordError::new(1210, "unique constraint violated - in index primary")),
            Mode::Ignore => return Ok((key, known["_rev"].as_str().unwrap_or_default().to_string())),
            Mode::Replace => {}
        }
    }
    if collection.edges {
        for end in ["_from", "_to"] {
            let good = map
                .get(end)
                .and_then(Value::as_str)
                .is_some_and(|v| v.split('/').count() == 2);
            if !good {
                return Err(RecordError::new(1233, "edge attribute missing or invalid"));
            }
        }
    }
    for system in ["_id", "_rev"] {
        map.remove(system);
    }
    let mut visible = map.clone();
    visible.retain(|name, _| !name.starts_with('_'));
    if let Some(message) = collection.violation(&Value::Object(visible)) {
        return Err(RecordError::new(1620, &message));
    }
    if let Some(message) = collection.vector_violation(&map) {
        return Err(RecordError::new(10, &message));
    }
    for fields in collection.unique() {
        let of = |d: &Map<String, Value>| -> Vec<Value> {
            fields.iter().map(|f| d.get(f).cloned().unwrap_or_default()).collect()
        };
        let mine = of(&map);
        let taken = collection
            .documents
            .iter()
            .any(|(k, d)| *k != key && d.as_object().map(of) == Some(mine.clone()));
        if taken {
            return Err(RecordError::new(
                1210,
                "unique constraint violated - in index execution",
            ));
        }
    }
    collection.wrote();
    let rev = format!("_k{:06}---", collection.revision);
    map.insert("_key".into(), key.clone().into());
    map.insert("_id".into(), format!("{}/{key}", collection.name).into());
    map.insert("_rev".into(), rev.clone().into());
    collection.documents.insert(key.clone(), Value::Object(map));
    Ok((key, rev))
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 254
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.@()+,=;$!*'%:".contains(&b))
}

#[test]
fn the_strict_reader_takes_what_the_server_takes() {
    assert!(parse(br#"[{"a":1,"b":{"a":2}}]"#).is_some());
    assert!(parse(br#"[{"a":1,"a":2}]"#).is_none());
    assert!(parse(b"[{\"a\":\"\xff\"}]").is_none());
    assert!(parse(b"[{]").is_none());
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(deep(200).as_bytes()).is_some());
    assert!(parse(deep(201).as_bytes()).is_none());
}
