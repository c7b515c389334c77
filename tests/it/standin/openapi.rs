//! Checks requests and answers against the OpenAPI document of the HTTP interface.
//!
//! Three things in the document are stricter than the server, and are loosened: `shardKeys` is an array, and `schema`
//! and `computedValues` may be null. Paths of the document that end in `#name` are variants of one endpoint; a request
//! must fit one of them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::http::{Request, Response};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../data/arangodb/openapi.json");
    let mut document: Value = serde_json::from_str(text).expect("the OpenAPI document is JSON");
    loosen(&mut document);
    document
});

type Compiled = Mutex<HashMap<usize, Arc<Validator>>>;
static COMPILED: LazyLock<Compiled> = LazyLock::new(Mutex::default);

fn loosen(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(loosen),
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                if let Some(keys) = properties.get_mut("shardKeys") {
                    *keys = json!({"type": ["array", "string"]});
                }
                for name in ["schema", "computedValues"] {
                    if let Some(of) = properties.get_mut(name) {
                        *of = json!({"anyOf": [of.clone(), {"type": "null"}]});
                    }
                }
            }
            map.values_mut().for_each(loosen);
        }
        _ => {}
    }
}

/// The operations of the document that the request could be, with their paths.
fn operations(request: &Request) -> Vec<(&'static str, &'static Value)> {
    let Some(paths) = DOCUMENT["paths"].as_object() else {
        return Vec::new();
    };
    let method = request.method.to_ascii_lowercase();
    let mut path = request.path.clone();
    // The id of an index is one parameter in the document, and has a slash in it.
    if path.len() == 6 && path[3] == "index" {
        let number = path.pop().unwrap_or_default();
        path[4] = format!("{}/{number}", path[4]);
    }
    let mut found: Vec<(usize, &'static str, &'static Value)> = Vec::new();
    for (name, operations) in paths {
        let template = name.split('#').next().unwrap_or_default();
        let pieces: Vec<&str> = template.trim_start_matches('/').split('/').collect();
        let fits = pieces.len() == path.len() && pieces.iter().zip(&path).all(|(t, p)| t.starts_with('{') || t == p);
        if let Some(operation) = operations.get(&method).filter(|_| fits) {
            let fixed = pieces.iter().filter(|t| !t.starts_with('{')).count();
            found.push((fixed, name, operation));
        }
    }
    // `/_db/_system/…` is more to the point than `/_db/{database-name}/…`.
    let best = found.iter().map(|f| f.0).max().unwrap_or(0);
    found
        .into_iter()
        .filter(|f| f.0 == best)
        .map(|(_, p, o)| (p, o))
        .collect()
}

fn errors(schema: &'static Value, instance: &Value) -> Vec<String> {
    let key = std::ptr::from_ref(schema) as usize;
    let compiled = {
        let mut all = COMPILED.lock().expect("validators");
        let make = || Arc::new(jsonschema::draft202012::new(schema).expect("a schema that compiles"));
        Arc::clone(all.entry(key).or_insert_with(make))
    };
    compiled
        .iter_errors(instance)
        .take(3)
        .map(|e| format!("{e} at {}", e.instance_path))
        .collect()
}

fn parameter_errors(operation: &'static Value, request: &Request) -> Vec<String> {
    let parameters: &'static [Value] = operation["parameters"].as_array().map_or(&[], Vec::as_slice);
    let mut wrong = Vec::new();
    for (name, value) in &request.query {
        let Some(p) = parameters
            .iter()
            .find(|p| p["in"] == "query" && p["name"] == name.as_str())
        else {
            wrong.push(format!("the query parameter {name} is not known"));
            continue;
        };
        let typed = match p["schema"]["type"].as_str() {
            Some("boolean") => value.parse::<bool>().map(Value::from).unwrap_or(Value::Null),
            Some("integer" | "number") => value.parse::<f64>().map(Value::from).unwrap_or(Value::Null),
            _ => value.as_str().into(),
        };
        wrong.extend(p.get("schema").map(|s| errors(s, &typed)).unwrap_or_default());
    }
    for p in parameters {
        if p["in"] == "query" && p["required"] == true && request.param(p["name"].as_str().unwrap_or("")).is_none() {
            wrong.push(format!("the query parameter {} is missing", p["name"]));
        }
    }
    wrong
}

fn request_errors(operation: &'static Value, request: &Request, body: Option<&Value>) -> Vec<String> {
    let mut wrong = parameter_errors(operation, request);
    let schema = operation.pointer("/requestBody/content/application~1json/schema");
    match (schema, body) {
        (Some(schema), Some(body)) => wrong.extend(errors(schema, body)),
        (Some(_), None) if operation["requestBody"]["required"] == true => wrong.push("a body is required".into()),
        _ => {}
    }
    wrong
}

fn answer_errors(operation: &'static Value, response: &Response) -> Vec<String> {
    let status = response.status.to_string();
    let Some(described) = operation["responses"].get(&status) else {
        // The document lists few errors of each operation; what it must list are its successes.
        let unknown = response.status < 300;
        return if unknown {
            vec![format!("the status {status} is not known")]
        } else {
            Vec::new()
        };
    };
    let schema = described.pointer("/content/application~1json/schema");
    match (schema, serde_json::from_slice::<Value>(&response.body)) {
        (Some(schema), Ok(body)) => errors(schema, &body),
        _ => Vec::new(),
    }
}

/// What is wrong with the request, or the answer, by the document. A variant that fits both is enough.
pub fn check(request: &Request, body: Option<&Value>, response: &Response) -> Vec<String> {
    let operations = operations(request);
    if operations.is_empty() {
        return vec![format!("{}: no such operation", request.line())];
    }
    let mut best: Option<Vec<String>> = None;
    for (path, operation) in operations {
        let mut wrong = request_errors(operation, request, body);
        wrong.extend(answer_errors(operation, response));
        let wrong: Vec<String> = wrong
            .into_iter()
            .map(|w| format!("{} ({path}): {w}", request.line()))
            .collect();
        if best.as_ref().is_none_or(|b| wrong.len() < b.len()) {
            best = Some(wrong);
        }
    }
    best.unwrap_or_default()
}
