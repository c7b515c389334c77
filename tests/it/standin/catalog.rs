//! Databases, collections, indexes, views, graphs, users: what the schema requests work on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jsonschema::Validator;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    None,
    Read,
    Write,
}

#[derive(Clone, Debug)]
pub struct User {
    pub name: &'static str,
    pub password: &'static str,
    /// For every database that is not named in `databases`, `_system` included.
    pub everywhere: Grant,
    pub databases: Vec<(&'static str, Grant)>,
    /// For every collection not named in `collections`; administrators of a database may write all.
    pub collection: Grant,
    pub collections: Vec<(&'static str, Grant)>,
}

impl User {
    pub fn root(name: &'static str, password: &'static str) -> User {
        User {
            name,
            password,
            everywhere: Grant::Write,
            databases: Vec::new(),
            collection: Grant::Write,
            collections: Vec::new(),
        }
    }

    /// May use one database and write its collections, and nothing else.
    pub fn shipper(name: &'static str, password: &'static str, database: &'static str) -> User {
        User {
            everywhere: Grant::None,
            databases: vec![(database, Grant::Read)],
            ..User::root(name, password)
        }
    }

    pub fn on_database(&self, name: &str) -> Grant {
        self.databases
            .iter()
            .find(|(d, _)| *d == name)
            .map_or(self.everywhere, |(_, g)| *g)
    }

    pub fn on_collection(&self, name: &str) -> Grant {
        self.collections
            .iter()
            .find(|(c, _)| *c == name)
            .map_or(self.collection, |(_, g)| *g)
    }
}

#[derive(Default)]
pub struct Database {
    pub collections: BTreeMap<String, Collection>,
    pub views: BTreeMap<String, Value>,
    pub graphs: BTreeMap<String, Value>,
    /// The database's own, by name.
    pub analyzers: BTreeMap<String, Value>,
}

impl Database {
    /// An analyzer that links name and that does not exist.
    pub fn unknown_analyzer(&self, links: &Value) -> Option<String> {
        let known = |name: &str| ["identity", "text_en"].contains(&name) || self.analyzers.contains_key(name);
        match links {
            Value::Object(map) => map.iter().find_map(|(name, value)| match (name.as_str(), value) {
                ("analyzers", Value::Array(all)) => {
                    let all = all.iter().filter_map(Value::as_str);
                    all.map(str::to_owned).find(|a| !known(a))
                }
                _ => self.unknown_analyzer(value),
            }),
            _ => None,
        }
    }

    /// Brings a view up to date with the collections it is linked to.
    pub fn commit_view(&mut self, view: &str) {
        let links = self.views.get(view).and_then(|v| v["links"].as_object());
        for name in links.into_iter().flat_map(serde_json::Map::keys) {
            if let Some(c) = self.collections.get(name) {
                c.commit();
            }
        }
    }
}

pub struct Collection {
    pub name: String,
    pub edges: bool,
    pub properties: Value,
    pub documents: BTreeMap<String, Value>,
    pub indexes: Vec<Value>,
    pub revision: u64,
    rule: Option<Validator>,
    next_index: u64,
    viewed: RefCell<Viewed>,
}

/// What the search views show of a collection.
#[derive(Default)]
struct Viewed {
    documents: Vec<Value>,
    revision: u64,
    /// When the first write came that they do not show.
    behind_since: Option<Instant>,
}

impl Collection {
    /// `wish`: the body of the creating request.
    pub fn new(wish: &Value, id: u64) -> Result<Collection, String> {
        let name = wish["name"].as_str().unwrap_or_default().to_string();
        let edges = wish["type"] == 3;
        let mut collection = Collection {
            properties: json!({
                "id": id.to_string(), "name": name, "type": if edges { 3 } else { 2 }, "status": 3,
                "statusString": "loaded", "isSystem": false, "globallyUniqueId": format!("h{id}/{id}"),
                "waitForSync": false, "cacheEnabled": false, "schema": null, "computedValues": null,
                "writeConcern": 1, "objectId": id.to_string(), "syncByRevision": true,
                "keyOptions": {"allowUserKeys": true, "type": "traditional", "lastValue": 0},
                "usesRevisionsAsDocumentIds": true, "internalValidatorType": 0,
            }),
            indexes: vec![
                json!({"id": format!("{name}/0"), "name": "primary", "type": "primary", "fields": ["_key"],
                                 "unique": true, "sparse": false}),
            ],
            name,
            edges,
            documents: BTreeMap::new(),
            revision: 0,
            rule: None,
            next_index: 100,
            viewed: RefCell::default(),
        };
        collection.change(wish)?;
        Ok(collection)
    }

    /// Something was written.
    pub fn wrote(&mut self) {
        self.revision += 1;
        self.viewed.get_mut().behind_since.get_or_insert_with(Instant::now);
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let gone = self.documents.remove(key);
        self.wrote();
        gone
    }

    /// What views show that commit every `interval`: a write is not seen before that has passed.
    pub fn committed(&self, interval: Duration) -> Vec<Value> {
        let due = self
            .viewed
            .borrow()
            .behind_since
            .is_none_or(|t| t.elapsed() >= interval);
        if due && self.viewed.borrow().revision != self.revision {
            self.commit();
        }
        self.viewed.borrow().documents.clone()
    }

    pub fn commit(&self) {
        *self.viewed.borrow_mut() = Viewed {
            documents: self.documents.values().cloned().collect(),
            revision: self.revision,
            behind_since: None,
        };
    }

    /// Changes the properties that may change.
    pub fn change(&mut self, wish: &Value) -> Result<(), String> {
        let Some(schema) = wish.get("schema") else {
            return Ok(());
        };
        let empty = schema.is_null() || schema.as_object().is_some_and(serde_json::Map::is_empty);
        if empty {
            self.rule = None;
            self.properties["schema"] = Value::Null;
            return Ok(());
        }
        let mut rule = schema["rule"].clone();
        no_integers(&rule)?;
        if let Some(map) = rule.as_object_mut() {
            map.insert("$schema".into(), "http://json-schema.org/draft-04/schema#".into());
        }
        self.rule = Some(jsonschema::draft4::new(&rule).map_err(|e| e.to_string())?);
        let mut schema = schema.clone();
        schema["type"] = "json".into();
        if schema.get("level").is_none() {
            schema["level"] = "strict".into();
        }
        self.properties["schema"] = schema;
        Ok(())
    }

    /// The rule's own message, where the document breaks it.
    pub fn violation(&self, document: &Value) -> Option<String> {
        let rule = self.rule.as_ref()?;
        if rule.is_valid(document) {
            return None;
        }
        Some(
            self.properties["schema"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
        )
    }

    pub fn unique(&self) -> Vec<Vec<String>> {
        let secondary = self.indexes.iter().skip(1).filter(|i| i["unique"] == true);
        secondary
            .map(|i| serde_json::from_value(i["fields"].clone()).unwrap_or_default())
            .collect()
    }

    /// Whether a vector index can be made: the server's option, its demands, and vectors to train it with. Errors are
    /// (number, text); that of a server without the option is a guess.
    pub fn may_have_vectors(&self, wish: &Value, version: &str, option: bool) -> Result<(), (i64, String)> {
        let patch: u32 = version.rsplit('.').next().and_then(|p| p.parse().ok()).unwrap_or(0);
        if !option {
            return Err((10, "vector index feature is not enabled".into()));
        }
        let lists = wish["params"]["nLists"].as_u64();
        if patch < 10 && lists.is_none() {
            return Err((10, "nLists is required".into()));
        }
        if patch < 6 && wish.get("sparse").is_some_and(|s| *s == true) {
            return Err((10, "a vector index cannot be sparse".into()));
        }
        let field = wish["fields"][0].as_str().unwrap_or_default();
        let dimension = wish["params"]["dimension"].as_u64();
        let fits = |d: &&Value| d[field].as_array().map(|v| v.len() as u64) == dimension;
        let fitting = self.documents.values().filter(fits).count();
        if patch < 9 && (fitting < self.documents.len() || (fitting as u64) < lists.unwrap_or(1)) {
            return Err((1555, "not enough vectors to train the index".into()));
        }
        Ok(())
    }

    /// What a vector index of an early version says to a document without a fitting vector.
    pub fn vector_violation(&self, document: &serde_json::Map<String, Value>) -> Option<String> {
        let mut vector = self.indexes.iter().filter(|i| i["type"] == "vector");
        vector.find_map(|i| {
            let field = i["fields"][0].as_str()?;
            let given = document.get(field).and_then(Value::as_array).map(|v| v.len() as u64);
            let fits = given == i["params"]["dimension"].as_u64();
            (!fits).then(|| format!("vector field not present in document: {field}"))
        })
    }

    /// The status and the index: 201 if it is new. Errors are (status, number, text).
    pub fn add_index(&mut self, wish: &Value) -> Result<(u16, Value), (u16, i64, String)> {
        let flag = |v: &Value, name: &str| v.get(name).and_then(Value::as_bool).unwrap_or(false);
        let same = |a: &Value, b: &Value| {
            a["type"] == b["type"]
                && a["fields"] == b["fields"]
                && flag(a, "unique") == flag(b, "unique")
                && flag(a, "sparse") == flag(b, "sparse")
        };
        if let Some(known) = self.indexes.iter().find(|i| same(i, wish)) {
            let mut answer = known.clone();
            answer["isNewlyCreated"] = false.into();
            return Ok((200, answer));
        }
        let named = |i: &&Value| wish.get("name").is_some() && i["name"] == wish["name"];
        if self.indexes.iter().any(|i| named(&i)) {
            return Err((409, 1005, "duplicate identifier".into()));
        }
        if wish["type"] == "ttl" && self.indexes.iter().any(|i| i["type"] == "ttl") {
            return Err((400, 10, "there can only be one ttl index per collection".into()));
        }
        self.next_index += 1;
        let mut index = json!({
            "id": format!("{}/{}", self.name, self.next_index), "name": format!("idx_{}", self.next_index),
            "unique": false, "sparse": false, "deduplicate": true, "estimates": true, "cacheEnabled": false,
            "selectivityEstimate": 1,
        });
        if let (Some(to), Some(from)) = (index.as_object_mut(), wish.as_object()) {
            to.extend(from.clone());
            to.remove("inBackground");
        }
        self.indexes.push(index.clone());
        index["isNewlyCreated"] = true.into();
        Ok((201, index))
    }

    pub fn drop_index(&mut self, id: &str) -> bool {
        let before = self.indexes.len();
        self.indexes.retain(|i| i["id"] != id);
        self.indexes.len() < before
    }
}

/// The server's numbers are all `"number"`: a rule that says `"integer"` would match nothing.
fn no_integers(rule: &Value) -> Result<(), String> {
    match rule {
        Value::Object(map) => {
            if map.get("type").is_some_and(|t| t == "integer") {
                return Err("a rule of type integer matches no number of the server".into());
            }
            map.values().try_for_each(no_integers)
        }
        Value::Array(items) => items.iter().try_for_each(no_integers),
        _ => Ok(()),
    }
}
