//! Writing clauses: one row at a time, on the data itself.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::super::documents::{self, Mode, RecordError};
use super::Fail;
use super::run::{Env, R, Run};
use super::tree::{Kind, Write};
use super::value::{equal, truth};

/// What ended a query of which one write failed.
fn failed(error: &RecordError) -> Fail {
    let status = match error.num {
        1200 | 1210 => 409,
        1202 => 404,
        _ => 400,
    };
    Fail::new(
        status,
        error.num,
        &format!("AQL: {}", error.message.as_deref().unwrap_or_default()),
    )
}

/// `change` over `old`: objects are joined, anything else is replaced.
pub fn joined(old: &Value, change: &Value) -> Value {
    match (old, change) {
        (Value::Object(old), Value::Object(change)) => {
            let mut out = old.clone();
            for (name, value) in change {
                let value = out
                    .get(name)
                    .map_or_else(|| value.clone(), |before| joined(before, value));
                out.insert(name.clone(), value);
            }
            Value::Object(out)
        }
        _ => change.clone(),
    }
}

fn without_nulls(v: Value) -> Value {
    match v {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k, without_nulls(v))).collect())
        }
        other => other,
    }
}

fn key_of(v: &Value) -> Option<String> {
    match v {
        Value::String(key) => Some(key.clone()),
        other => other["_key"].as_str().map(str::to_owned),
    }
}

impl Run<'_> {
    /// The row with what was there before and what is there now.
    pub fn write<'e>(&'e self, w: &'e Write, env: Env<'e>) -> R<Env<'e>> {
        let (old, new) = self.written(w, &env)?;
        Ok(env.with("OLD", Rc::new(old)).with("NEW", Rc::new(new)))
    }

    fn option(&self, w: &Write, name: &str) -> R<Value> {
        let env = Env::default();
        let options = match &w.options {
            Some(e) => self.eval(e, &env)?.into_owned(),
            None => Value::Null,
        };
        const KNOWN: [&str; 7] = [
            "ignoreErrors",
            "keepNull",
            "mergeObjects",
            "overwriteMode",
            "waitForSync",
            "ignoreRevs",
            "exclusive",
        ];
        if let Some(odd) = options
            .as_object()
            .and_then(|o| o.keys().find(|k| !KNOWN.contains(&k.as_str())))
        {
            return Err(Fail::syntax(&format!("the stand-in knows no option {odd} of a write")));
        }
        Ok(options.get(name).cloned().unwrap_or_default())
    }

    fn written(&self, w: &Write, env: &Env<'_>) -> R<(Value, Value)> {
        let name = self.collection_name(&w.into).unwrap_or_default();
        let what = self.eval(&w.what, env)?.into_owned();
        let result = match w.kind {
            Kind::Insert => self.insert(w, &name, what),
            Kind::Remove => self.remove(&name, &what),
            Kind::Update | Kind::Replace => {
                let change = match &w.with {
                    Some(with) => self.eval(with, env)?.into_owned(),
                    None => what.clone(),
                };
                let key = key_of(&what).unwrap_or_default();
                self.change(w, &name, &key, change, w.kind == Kind::Replace)
            }
            Kind::Upsert => self.upsert(w, &name, &what, env),
        };
        match result {
            Ok(done) => {
                self.executed.set(self.executed.get() + 1);
                Ok(done)
            }
            Err(_) if truth(&self.option(w, "ignoreErrors")?) => {
                self.ignored.set(self.ignored.get() + 1);
                Ok((Value::Null, Value::Null))
            }
            Err(e) => Err(e),
        }
    }

    fn stored(&self, collection: &str, key: &str) -> R<Value> {
        let db = self.db.borrow();
        let found = db.collections.get(collection).and_then(|c| c.documents.get(key));
        found
            .cloned()
            .ok_or_else(|| failed(&RecordError::new(1202, "document not found")))
    }

    fn put(&self, name: &str, document: Value, mode: &Mode) -> R<Value> {
        let mut db = self.db.borrow_mut();
        let missing = || Fail::new(404, 1203, &format!("AQL: collection or view not found: {name}"));
        let collection = db.collections.get_mut(name).ok_or_else(missing)?;
        let (key, _) = documents::put(collection, document, mode).map_err(|e| failed(&e))?;
        Ok(collection.documents.get(&key).cloned().unwrap_or_default())
    }

    fn insert(&self, w: &Write, name: &str, document: Value) -> R<(Value, Value)> {
        let old = key_of(&document)
            .and_then(|k| self.stored(name, &k).ok())
            .unwrap_or_default();
        let mode = match self.option(w, "overwriteMode")?.as_str() {
            Some("replace") => Mode::Replace,
            Some("ignore") if !old.is_null() => return Ok((Value::Null, Value::Null)),
            Some("update") if !old.is_null() => {
                let key = key_of(&document).unwrap_or_default();
                return self.change(w, name, &key, document, false);
            }
            _ => Mode::Conflict,
        };
        let new = self.put(name, document, &mode)?;
        Ok((old, new))
    }

    fn remove(&self, name: &str, what: &Value) -> R<(Value, Value)> {
        let key = key_of(what).unwrap_or_default();
        let old = self.stored(name, &key)?;
        if let Some(c) = self.db.borrow_mut().collections.get_mut(name) {
            c.remove(&key);
        }
        Ok((old, Value::Null))
    }

    fn change(&self, w: &Write, name: &str, key: &str, change: Value, replace: bool) -> R<(Value, Value)> {
        let old = self.stored(name, key)?;
        let mut new = if replace { change } else { joined(&old, &change) };
        if self.option(w, "keepNull")? == false {
            new = without_nulls(new);
        }
        if let Some(map) = new.as_object_mut() {
            map.insert("_key".into(), key.into());
            for end in ["_from", "_to"] {
                if let (false, Some(v)) = (map.contains_key(end), old.get(end)) {
                    map.insert(end.into(), v.clone());
                }
            }
        }
        Ok((old, self.put(name, new, &Mode::Replace)?))
    }

    fn upsert(&self, w: &Write, name: &str, example: &Value, env: &Env<'_>) -> R<(Value, Value)> {
        let empty = Map::new();
        let wanted = example.as_object().unwrap_or(&empty);
        let found = {
            let db = self.db.borrow();
            let missing = || Fail::new(404, 1203, &format!("AQL: collection or view not found: {name}"));
            let collection = db.collections.get(name).ok_or_else(missing)?;
            let like = |d: &&Value| wanted.iter().all(|(k, v)| equal(&d[k], v));
            collection.documents.values().find(like).cloned()
        };
        let (Some(insert), Some(with)) = (&w.insert, &w.with) else {
            return Err(Fail::syntax("half an UPSERT"));
        };
        match found {
            None => {
                let document = self.eval(insert, env)?.into_owned();
                Ok((Value::Null, self.put(name, document, &Mode::Conflict)?))
            }
            Some(old) => {
                let key = key_of(&old).unwrap_or_default();
                let inner = env.with("OLD", Rc::new(old));
                let change = self.eval(with, &inner)?.into_owned();
                self.change(w, name, &key, change, w.replaces)
            }
        }
    }
}
