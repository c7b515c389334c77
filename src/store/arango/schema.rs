//! Brings the server's schema to what [`super::definitions`] says, and tells what it did to each object.
//!
//! Look first, create what is missing, change what differs and can be changed. Several hosts may do this at the same
//! moment: an object that appeared between the look and the creation counts as there (409 with 1207, 1925 or 1005).
//! What the server fills in by itself is not compared, what an operator added is left alone, and replicas are only ever
//! added. What cannot be changed on a living object (shards, the kind of a collection, a view's sort order) is left as
//! it is; a document collection where edges are needed is an error.
//!
//! No document is written. With [`Mode::Dry`] nothing is, and with [`Mode::Missing`] nothing that exists is changed: a
//! stricter rule or another index is an operator's, until they say `init`.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Request, Scope};
use super::definitions::{self, Collection, GRAPH, INDEXES, Index, LOG_EMBEDDINGS, Mode, VIEW};
use super::errors::Error;
use super::{vector, words};
use crate::config;
use crate::store::{LOG_CAUSALITY, SchemaAction, SchemaObject, WriteError};

/// The oldest server that has all that is used.
pub const OLDEST: (u32, u32, u32) = (3, 12, 4);

/// Creating a collection in a cluster involves every server of it.
const PATIENT: Duration = Duration::from_secs(120);

/// Creates or upgrades everything; see the module.
pub async fn ensure(client: &Client, settings: &config::Arangodb, mode: Mode) -> Result<Vec<SchemaObject>, WriteError> {
    let mut work = Work {
        client,
        settings,
        dry: mode == Mode::Dry,
        changes: mode == Mode::All,
        nothing_there: false,
        server: String::new(),
        done: Vec::new(),
    };
    work.database().await?;
    for collection in definitions::collections(settings) {
        work.collection(&collection)
            .await
            .map_err(|e| fail(collection.name, e))?;
        let indexes: Vec<&Index> = INDEXES.iter().filter(|i| i.collection == collection.name).collect();
        work.indexes(collection.name, &indexes)
            .await
            .map_err(|e| fail(collection.name, e))?;
    }
    work.words().await.map_err(|e| fail(words::ANALYZER, e))?;
    work.view().await.map_err(|e| fail(VIEW, e))?;
    work.graph().await.map_err(|e| fail(GRAPH, e))?;
    work.vector().await;
    Ok(work.done)
}

/// The server's version and whether it is new enough. Servers that keep their version to themselves pass.
pub fn check_version(version: Option<&str>) -> Result<(), WriteError> {
    let Some(version) = version else { return Ok(()) };
    if vector::version(version) >= OLDEST {
        return Ok(());
    }
    let (a, b, c) = OLDEST;
    Err(WriteError::Refused(format!(
        "the server is ArangoDB {version}; needed is {a}.{b}.{c} or later: upgrade it"
    )))
}

struct Work<'a> {
    client: &'a Client,
    settings: &'a config::Arangodb,
    dry: bool,
    /// What differs is changed.
    changes: bool,
    /// The database does not exist, and a dry run will not make it: all is to be created.
    nothing_there: bool,
    /// Its version, or nothing where it keeps that to itself.
    server: String,
    done: Vec<SchemaObject>,
}

fn fail(object: &str, error: Error) -> WriteError {
    if let Error::Api(e) = &error
        && matches!((e.status, e.num), (403, Some(11)))
    {
        return WriteError::Refused(format!(
            "{object}: {e}; the user may not create or change it: run `logagent init` with an account that has \
             Administrate on the database"
        ));
    }
    error.into_write_error(object)
}

impl Work<'_> {
    fn report(&mut self, name: impl Into<String>, action: SchemaAction) {
        let name = name.into();
        self.done.push(SchemaObject {
            name,
            action,
            dry: self.dry || action == SchemaAction::Updated && !self.changes,
        });
    }

    /// What is there; `None` where it is missing.
    async fn look(&self, path: &[&str], query: &str) -> Result<Option<Value>, Error> {
        if self.nothing_there {
            return Ok(None);
        }
        match self.client.send(Request::get(path).query(query)).await {
            Ok(answer) => answer.json().map(Some),
            Err(Error::Api(e)) if e.missing() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sends a change. `false`: somebody else made the object first.
    async fn make(&self, method: Method, path: &[&str], query: &str, body: &Value) -> Result<bool, Error> {
        self.make_in(Scope::Database, method, path, query, body).await
    }

    async fn make_in(
        &self,
        scope: Scope,
        method: Method,
        path: &[&str],
        query: &str,
        body: &Value,
    ) -> Result<bool, Error> {
        let mut request = Request::new(method, path).query(query).scope(scope);
        request.body = Some(body.to_string().into());
        request.timeout = Some(self.client.timeout().max(PATIENT));
        match self.client.send(request).await {
            Ok(_) => Ok(true),
            Err(Error::Api(e)) if e.already_exists() => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn version(&mut self, scope: Scope) -> Result<Option<String>, Error> {
        let body: Value = self
            .client
            .send(Request::get(&["_api", "version"]).scope(scope))
            .await?
            .json()?;
        let version = body.get("version").and_then(Value::as_str).map(str::to_string);
        self.server = version.clone().unwrap_or_default();
        Ok(version)
    }

    /// The vector index is an addition: what stands in its way is said, and is no failure.
    async fn vector(&mut self) {
        let dimensions = self.settings.vector_dimensions;
        if dimensions == 0 {
            return;
        }
        let name = format!("{LOG_EMBEDDINGS}/{}", vector::INDEX);
        match vector::ensure(self.client, &self.server, dimensions, self.dry).await {
            Ok(Some(action)) => self.report(name, action),
            Ok(None) => {}
            Err(e) => tracing::warn!(
                "{name}: {e}{}; is the server started with {}? Vectors are kept without the index",
                e.advice(),
                vector::option(vector::version(&self.server))
            ),
        }
    }

    /// A user who may not see a database is told the same (401) whether it exists or not, so `_system` is asked
    /// whether the user exists at all.
    async fn database(&mut self) -> Result<(), WriteError> {
        let name = self.client.database().to_string();
        let missing = match self.version(Scope::Database).await {
            Ok(version) => {
                check_version(version.as_deref())?;
                self.report(name, SchemaAction::Unchanged);
                return Ok(());
            }
            Err(Error::Api(e)) if e.status == 401 || e.num == Some(1228) => Error::Api(e),
            Err(e) => return Err(fail(&name, e)),
        };
        let object = format!("database {name}");
        match self.version(Scope::System).await {
            Ok(version) => check_version(version.as_deref())?,
            Err(Error::Api(_)) => return Err(fail(&object, missing)),
            Err(e) => return Err(fail(&name, e)),
        }
        let mut action = SchemaAction::Created;
        if self.dry {
            self.nothing_there = true;
        } else {
            let body = json!({"name": name});
            match self
                .make_in(Scope::System, Method::POST, &["_api", "database"], "", &body)
                .await
            {
                Ok(true) => {}
                Ok(false) => action = SchemaAction::Unchanged,
                Err(Error::Api(e)) if matches!(e.status, 401 | 403) => {
                    return Err(WriteError::Refused(format!(
                        "{object}: {e}; it does not exist or the user may not see it, and the user may not create \
                         it: run `logagent init` with an account that has Administrate on _system"
                    )));
                }
                Err(e) => return Err(fail(&object, e)),
            }
        }
        self.report(name, action);
        Ok(())
    }

    async fn collection(&mut self, want: &Collection) -> Result<(), Error> {
        let path = ["_api", "collection", want.name, "properties"];
        let mut have = self.look(&path, "").await?;
        if have.is_none() {
            let created = self.dry || {
                let body = wish(want, self.settings);
                self.make(Method::POST, &["_api", "collection"], "", &body).await?
            };
            if created {
                self.report(want.name, SchemaAction::Created);
                return Ok(());
            }
            have = self.look(&path, "").await?;
        }
        let Some(have) = have else {
            return Err(taken("collection", "view"));
        };
        if want.edges && have.get("type").and_then(Value::as_u64) == Some(2) {
            return Err(Error::Settings(
                "this is a document collection, but edges are to be kept in it: rename or drop it, then run \
                 `logagent init`"
                    .into(),
            ));
        }
        if let Some(keys) = have.get("shardKeys").filter(|k| **k != json!(["_key"])) {
            return Err(Error::Settings(format!(
                "it is sharded by {keys}, so the server would refuse the agent's own keys: create it anew, by _key alone"
            )));
        }
        let mut change = serde_json::Map::new();
        if !same_rule(&want.rule, have.get("schema").unwrap_or(&Value::Null)) {
            change.insert("schema".into(), want.rule.clone());
        }
        let replicas = u64::from(self.settings.replication_factor);
        if have
            .get("replicationFactor")
            .and_then(Value::as_u64)
            .is_some_and(|n| n < replicas)
        {
            change.insert("replicationFactor".into(), replicas.into());
        }
        let action = if change.is_empty() {
            SchemaAction::Unchanged
        } else {
            SchemaAction::Updated
        };
        if !change.is_empty() && self.changes {
            self.make(Method::PUT, &path, "", &Value::Object(change)).await?;
        }
        self.report(want.name, action);
        Ok(())
    }

    async fn indexes(&mut self, collection: &str, wanted: &[&Index]) -> Result<(), Error> {
        let query = format!("collection={collection}");
        let have = self.look(&["_api", "index"], &query).await?.unwrap_or_default();
        let have = have
            .get("indexes")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        for want in wanted {
            let named = have
                .iter()
                .find(|i| i.get("name").and_then(Value::as_str) == Some(want.name));
            let action = match named {
                Some(index) if same_index(want, index) => SchemaAction::Unchanged,
                // The same under another name serves as well: the server makes no second one.
                None if have.iter().any(|i| same_index(want, i)) => SchemaAction::Unchanged,
                Some(other) => {
                    if self.changes {
                        self.drop_index(collection, other).await?;
                        self.make_index(want, &query).await?;
                    }
                    SchemaAction::Updated
                }
                None if self.dry || self.make_index(want, &query).await? => SchemaAction::Created,
                None => SchemaAction::Unchanged,
            };
            self.report(format!("{collection}/{}", want.name), action);
        }
        Ok(())
    }

    /// `false`: it was there.
    async fn make_index(&self, want: &Index, query: &str) -> Result<bool, Error> {
        let body = json!({
            "type": "persistent", "name": want.name, "fields": want.fields, "unique": want.unique,
            "sparse": want.sparse, "inBackground": true,
        });
        let mut request = Request::post(&["_api", "index"], body.to_string().into()).query(query);
        // Building one over a full collection takes its time.
        request.timeout = Some(Duration::from_secs(3600));
        match self.client.send(request).await {
            Ok(answer) => Ok(answer.status == 201),
            Err(Error::Api(e)) if e.already_exists() => Ok(false),
            Err(Error::Api(e)) if e.num == Some(1210) => Err(Error::Settings(format!(
                "index {}: {e}; documents that another program wrote have the same {}: remove the surplus, then run \
                 `logagent init`",
                want.name,
                want.fields.join(" and ")
            ))),
            Err(e) => Err(e),
        }
    }

    async fn drop_index(&self, collection: &str, index: &Value) -> Result<(), Error> {
        let id = index.get("id").and_then(Value::as_str).unwrap_or_default();
        let id = id.rsplit('/').next().unwrap_or_default();
        match self
            .client
            .send(Request::new(Method::DELETE, &["_api", "index", collection, id]))
            .await
        {
            Ok(_) => Ok(()),
            Err(Error::Api(e)) if e.missing() => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn words(&mut self) -> Result<(), Error> {
        let action = match self.nothing_there {
            true => SchemaAction::Created,
            false => words::ensure(self.client, self.dry).await?,
        };
        self.report(words::ANALYZER, action);
        Ok(())
    }

    async fn view(&mut self) -> Result<(), Error> {
        let path = ["_api", "view", VIEW, "properties"];
        let mut have = self.look(&path, "").await?;
        let mut created = false;
        if have.is_none() {
            created = self.dry
                || self
                    .make(Method::POST, &["_api", "view"], "", &definitions::view())
                    .await?;
            if !self.dry {
                // Creation with links is not atomic: the view can stand there without them.
                have = self.look(&path, "").await?;
                if have.is_none() {
                    return Err(taken("view", "collection"));
                }
            }
        }
        let links = definitions::links();
        let same = have
            .as_ref()
            .is_none_or(|h| contains(&words::bare(h.get("links").unwrap_or(&Value::Null)), &links));
        let unlinked = have
            .as_ref()
            .and_then(|h| h.get("links")?.as_object())
            .is_none_or(serde_json::Map::is_empty);
        if !same && !self.dry && (self.changes || unlinked) {
            let links = definitions::new_links();
            self.make(Method::PATCH, &path, "", &json!({"links": links})).await?;
        }
        let action = match (created || unlinked && !same && !self.dry, same) {
            (true, _) => SchemaAction::Created,
            (false, true) => SchemaAction::Unchanged,
            (false, false) => SchemaAction::Updated,
        };
        self.report(VIEW, action);
        Ok(())
    }

    async fn graph(&mut self) -> Result<(), Error> {
        let want = definitions::edge_definition();
        let mut have = self.look(&["_api", "gharial", GRAPH], "").await?;
        if have.is_none() {
            let body = json!({"name": GRAPH, "edgeDefinitions": [want]});
            if self.dry || self.make(Method::POST, &["_api", "gharial"], "", &body).await? {
                self.report(GRAPH, SchemaAction::Created);
                return Ok(());
            }
            have = self.look(&["_api", "gharial", GRAPH], "").await?;
        }
        let have = have.unwrap_or_default();
        let edges = have
            .pointer("/graph/edgeDefinitions")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let ours = edges.iter().find(|e| e.get("collection") == want.get("collection"));
        let action = match ours {
            Some(e) if contains(e, &want) => SchemaAction::Unchanged,
            Some(_) => {
                if self.changes {
                    let path = ["_api", "gharial", GRAPH, "edge", LOG_CAUSALITY];
                    self.make(Method::PUT, &path, "", &want).await?;
                }
                SchemaAction::Updated
            }
            None => {
                if !self.dry {
                    self.make(Method::POST, &["_api", "gharial", GRAPH, "edge"], "", &want)
                        .await?;
                }
                SchemaAction::Created
            }
        };
        self.report(GRAPH, action);
        Ok(())
    }
}

/// The body that creates a collection. What the settings leave at 1 is not asked for: a database for one shard, and a
/// cluster that keeps more copies by itself, would refuse the number.
fn wish(want: &Collection, settings: &config::Arangodb) -> Value {
    let mut body = json!({
        "name": want.name, "type": if want.edges { 3 } else { 2 }, "schema": want.rule, "shardKeys": ["_key"],
    });
    for (name, number) in [
        ("numberOfShards", want.shards),
        ("replicationFactor", settings.replication_factor),
    ] {
        if number > 1 {
            body[name] = number.into();
        }
    }
    body
}

/// The server says that the name exists, and shows nothing under it.
fn taken(kind: &str, other: &str) -> Error {
    Error::Settings(format!(
        "the name is taken, and by no {kind}: a {other} has it (rename or drop that), or another host is creating it at \
         this moment; run `logagent init` again"
    ))
}

/// Equal but for what the server adds: `type` is its own, and a missing level means `strict`.
fn same_rule(want: &Value, have: &Value) -> bool {
    let part = |v: &Value, name: &str| v.get(name).cloned();
    let level = |v: &Value| part(v, "level").unwrap_or_else(|| "strict".into());
    have.is_object()
        && numbers_equal(
            &part(want, "rule").unwrap_or_default(),
            &part(have, "rule").unwrap_or_default(),
        )
        && level(want) == level(have)
        && part(want, "message") == part(have, "message")
}

fn same_index(want: &Index, have: &Value) -> bool {
    let flag = |name| have.get(name).and_then(Value::as_bool).unwrap_or(false);
    have.get("type").and_then(Value::as_str) == Some("persistent")
        && have.get("fields") == Some(&json!(want.fields))
        && flag("unique") == want.unique
        && flag("sparse") == want.sparse
}

/// Everything in `want` is in `have`, which may hold more; lists are compared as sets.
pub(super) fn contains(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(h), Value::Object(w)) => w.iter().all(|(k, v)| h.get(k).is_some_and(|hv| contains(hv, v))),
        (Value::Array(h), Value::Array(w)) => w.iter().all(|v| h.iter().any(|hv| contains(hv, v))),
        _ => numbers_equal(have, want),
    }
}

/// Equality in which 1 and 1.0 are the same: the server keeps its numbers in its own way.
fn numbers_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| numbers_equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| numbers_equal(v, w)))
        }
        _ => a == b,
    }
}

/// What `check` says of a server: its version, or why it cannot be used.
pub async fn server_version(client: &Client) -> Result<String, WriteError> {
    let answer = client.send(Request::get(&["_api", "version"])).await;
    let body: Value = answer
        .and_then(|a| a.json())
        .map_err(|e| e.into_write_error("version"))?;
    let version = body.get("version").and_then(Value::as_str);
    check_version(version)?;
    Ok(version.unwrap_or("unknown").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_3_12_4_are_refused_with_what_to_do() {
        assert!(check_version(Some("3.12.4")).is_ok());
        assert!(check_version(Some("3.12.4-1")).is_ok());
        assert!(check_version(Some("3.13.0-devel")).is_ok());
        assert!(check_version(None).is_ok());
        let Err(WriteError::Refused(text)) = check_version(Some("3.11.14")) else {
            panic!()
        };
        assert!(text.contains("3.11.14") && text.contains("3.12.4"), "{text}");
    }

    #[test]
    fn what_the_server_adds_to_a_rule_makes_no_difference() {
        let want = json!({"level": "moderate", "message": "m", "rule": {"properties": {"a": {"multipleOf": 1}}}});
        let have = json!({"level": "moderate", "message": "m", "type": "json",
                          "rule": {"properties": {"a": {"multipleOf": 1.0}}}});
        assert!(same_rule(&want, &have));
        assert!(!same_rule(&want, &Value::Null));
        assert!(!same_rule(&want, &json!({"message": "m", "rule": {}})));
    }

    #[test]
    fn filled_in_defaults_of_a_view_make_no_difference() {
        let want = json!({"a": {"analyzers": ["text_en", "identity"]}});
        assert!(contains(
            &json!({"a": {"analyzers": ["identity", "text_en"], "inBackground": false}, "b": {}}),
            &want
        ));
        assert!(!contains(&json!({"a": {"analyzers": ["identity"]}}), &want));
    }
}
