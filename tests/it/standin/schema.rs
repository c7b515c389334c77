//! Requests about what there is besides documents: databases, collections, indexes, views, analyzers, graphs.

use serde_json::{Value, json};

use super::catalog::{Collection, Database};
use super::http::{Request, Response};
use super::server::{Refusal, Seat, World};

impl World {
    pub(super) fn create_database(&mut self, request: &Request, seat: &Seat<'_>) -> Result<Response, Refusal> {
        seat.administers(self.read_only)?;
        let body = World::body(request)?;
        let name = body["name"].as_str().unwrap_or_default().to_string();
        if self.databases.contains_key(&name) {
            return Err(Response::error(409, 1207, "duplicate database name"));
        }
        self.databases.insert(name, Database::default());
        Ok(Response::ok(201, json!({"result": true})))
    }

    pub(super) fn collections(
        &mut self,
        request: &Request,
        seat: &Seat<'_>,
        rest: &[&str],
    ) -> Result<Response, Refusal> {
        let (read_only, id) = (self.read_only, self.fresh_id());
        let database = self.database(seat.database)?;
        let missing = || Response::error(404, 1203, "collection or view not found");
        match (request.method.as_str(), rest) {
            ("POST", []) => {
                seat.administers(read_only)?;
                let body = World::body(request)?;
                let name = body["name"].as_str().unwrap_or_default().to_string();
                if database.collections.contains_key(&name) || database.views.contains_key(&name) {
                    return Err(Response::error(409, 1207, "duplicate name"));
                }
                let made = Collection::new(&body, id).map_err(|e| Response::error(400, 1621, &e))?;
                let answer = made.properties.clone();
                database.collections.insert(name, made);
                Ok(Response::ok(200, answer))
            }
            ("GET", [name]) => {
                let p = &database.collections.get(*name).ok_or_else(missing)?.properties;
                let answer = json!({"id": p["id"], "name": p["name"], "type": p["type"], "status": 3,
                                    "isSystem": false, "globallyUniqueId": p["globallyUniqueId"]});
                Ok(Response::ok(200, answer))
            }
            ("GET", [name, "count"]) => {
                let c = database.collections.get(*name).ok_or_else(missing)?;
                let mut answer = c.properties.clone();
                answer["count"] = c.documents.len().into();
                Ok(Response::ok(200, answer))
            }
            ("GET", [name, "figures"]) => {
                let c = database.collections.get(*name).ok_or_else(missing)?;
                let bytes: usize = c.documents.values().map(|d| d.to_string().len()).sum();
                let mut answer = c.properties.clone();
                answer["count"] = c.documents.len().into();
                answer["figures"] = json!({
                    "indexes": {"count": c.indexes.len(), "size": 100 * c.documents.len()}, "documentsSize": bytes,
                    "cacheInUse": false, "cacheSize": 0, "cacheUsage": 0,
                });
                Ok(Response::ok(200, answer))
            }
            ("GET", [name, "properties"]) => {
                let properties = database.collections.get(*name).ok_or_else(missing)?.properties.clone();
                Ok(Response::ok(200, properties))
            }
            ("PUT", [name, "properties"]) => {
                seat.administers(read_only)?;
                let body = World::body(request)?;
                let collection = database.collections.get_mut(*name).ok_or_else(missing)?;
                collection.change(&body).map_err(|e| Response::error(400, 1621, &e))?;
                Ok(Response::ok(200, collection.properties.clone()))
            }
            ("PUT", [name, "truncate"]) => {
                let collection = database.collections.get_mut(*name).ok_or_else(missing)?;
                collection.documents.clear();
                collection.wrote();
                Ok(Response::ok(200, json!({})))
            }
            _ => Err(Response::error(404, 0, "")),
        }
    }

    pub(super) fn indexes(&mut self, request: &Request, seat: &Seat<'_>, rest: &[&str]) -> Result<Response, Refusal> {
        let (read_only, version, vectors) = (self.read_only, self.options.version, self.options.vectors);
        let name = request
            .param("collection")
            .or(rest.first().copied())
            .unwrap_or_default()
            .to_string();
        let Some(collection) = self.database(seat.database)?.collections.get_mut(&name) else {
            return Err(Response::error(404, 1203, "collection or view not found"));
        };
        match (request.method.as_str(), rest) {
            ("GET", []) => Ok(Response::ok(
                200,
                json!({"indexes": collection.indexes, "identifiers": {}}),
            )),
            ("POST", []) => {
                seat.administers(read_only)?;
                let body = World::body(request)?;
                if body["type"] == "vector" {
                    collection
                        .may_have_vectors(&body, version, vectors)
                        .map_err(|(n, m)| Response::error(400, n, &m))?;
                }
                match collection.add_index(&body) {
                    Ok((status, index)) => Ok(Response::ok(status, index)),
                    Err((status, num, text)) => Err(Response::error(status, num, &text)),
                }
            }
            ("DELETE", [collection_name, id]) => {
                seat.administers(read_only)?;
                let id = format!("{collection_name}/{id}");
                if !collection.drop_index(&id) {
                    return Err(Response::error(404, 1212, "index not found"));
                }
                Ok(Response::ok(200, json!({"id": id})))
            }
            _ => Err(Response::error(404, 0, "")),
        }
    }

    pub(super) fn views(&mut self, request: &Request, seat: &Seat<'_>, rest: &[&str]) -> Result<Response, Refusal> {
        let (read_only, id) = (self.read_only, self.fresh_id());
        let database = self.database(seat.database)?;
        let missing = || Response::error(404, 1203, "collection or view not found");
        match (request.method.as_str(), rest) {
            ("POST", []) => {
                seat.administers(read_only)?;
                let mut view = World::body(request)?;
                let name = view["name"].as_str().unwrap_or_default().to_string();
                if database.collections.contains_key(&name) || database.views.contains_key(&name) {
                    return Err(Response::error(409, 1207, "duplicate name"));
                }
                if let Some(unknown) = database.unknown_analyzer(&view["links"]) {
                    return Err(Response::error(400, 10, &format!("analyzer '{unknown}' not found")));
                }
                let defaults = json!({
                    "id": id.to_string(), "globallyUniqueId": format!("h{id}/{id}"), "cleanupIntervalStep": 2,
                    "consolidationIntervalMsec": 5000, "writebufferIdle": 64, "writebufferActive": 0,
                    "writebufferSizeMax": 33_554_432, "primarySortCompression": "lz4", "storedValues": [],
                    "optimizeTopK": [], "consolidationPolicy": {"type": "tier"},
                });
                if let (Some(view), Value::Object(defaults)) = (view.as_object_mut(), defaults) {
                    view.extend(defaults);
                }
                forget_background(&mut view);
                // Asked for as a direction, told as a flag.
                for sort in view["primarySort"].as_array_mut().into_iter().flatten() {
                    *sort = json!({"field": sort["field"], "asc": sort["direction"] == "asc"});
                }
                database.views.insert(name.clone(), view.clone());
                database.commit_view(&name);
                Ok(Response::json(201, &view))
            }
            ("GET", [name] | [name, "properties"]) => Ok(Response::ok(
                200,
                database.views.get(*name).ok_or_else(missing)?.clone(),
            )),
            ("PATCH", [name, "properties"]) => {
                seat.administers(read_only)?;
                let view = database.views.get_mut(*name).ok_or_else(missing)?;
                if let (Some(view), Value::Object(change)) = (view.as_object_mut(), World::body(request)?) {
                    view.extend(change);
                }
                forget_background(view);
                Ok(Response::ok(200, view.clone()))
            }
            _ => Err(Response::error(404, 0, "")),
        }
    }

    pub(super) fn analyzers(&mut self, request: &Request, seat: &Seat<'_>, rest: &[&str]) -> Result<Response, Refusal> {
        let read_only = self.read_only;
        let prefix = format!("{}::", seat.database);
        let database = self.database(seat.database)?;
        let shown = |status, analyzer: &Value| {
            let mut analyzer = analyzer.clone();
            analyzer["name"] = format!("{prefix}{}", analyzer["name"].as_str().unwrap_or_default()).into();
            Response::ok(status, analyzer)
        };
        match (request.method.as_str(), rest) {
            ("GET", [name]) => match database.analyzers.get(*name) {
                Some(known) => Ok(shown(200, known)),
                None => Err(Response::error(404, 1202, "unable to find analyzer")),
            },
            ("POST", []) => {
                seat.administers(read_only)?;
                let body = World::body(request)?;
                let name = body["name"].as_str().unwrap_or_default().to_string();
                match database.analyzers.get(&name) {
                    Some(known) if *known == body => Ok(shown(200, known)),
                    Some(_) => Err(Response::error(400, 10, "analyzer exists with another definition")),
                    None => {
                        database.analyzers.insert(name, body.clone());
                        Ok(shown(201, &body))
                    }
                }
            }
            _ => Err(Response::error(404, 0, "")),
        }
    }

    pub(super) fn graphs(&mut self, request: &Request, seat: &Seat<'_>, rest: &[&str]) -> Result<Response, Refusal> {
        let read_only = self.read_only;
        let database = self.database(seat.database)?;
        let missing = || Response::error(404, 1924, "graph not found");
        let shown = |name: &str, graph: &Value| {
            json!({"graph": {"_id": format!("_graphs/{name}"), "_key": name, "_rev": "_k1---", "name": name,
                             "edgeDefinitions": graph["edgeDefinitions"], "orphanCollections": [],
                             "numberOfShards": 1, "replicationFactor": 1, "isSmart": false, "isDisjoint": false,
                             "isSatellite": false}})
        };
        match (request.method.as_str(), rest) {
            ("POST", []) => {
                seat.administers(read_only)?;
                let body = World::body(request)?;
                let name = body["name"].as_str().unwrap_or_default().to_string();
                if database.graphs.contains_key(&name) {
                    return Err(Response::error(409, 1925, "graph already exists"));
                }
                let all = |graph: &Value| graph["edgeDefinitions"].as_array().cloned().unwrap_or_default();
                let wanted = all(&body);
                let others = database.graphs.values().flat_map(all);
                let clashes = |d: &Value| wanted.iter().any(|w| w["collection"] == d["collection"] && w != d);
                if others.into_iter().any(|d| clashes(&d)) {
                    return Err(Response::error(
                        400,
                        1921,
                        "edge collection used in another graph with other ends",
                    ));
                }
                database.graphs.insert(name.clone(), body.clone());
                Ok(Response::ok(202, shown(&name, &body)))
            }
            ("GET", [name]) => {
                let graph = database.graphs.get(*name).ok_or_else(missing)?;
                Ok(Response::ok(200, shown(name, graph)))
            }
            ("POST", [name, "edge"]) | ("PUT", [name, "edge", _]) => {
                seat.administers(read_only)?;
                let body = World::body(request)?;
                let graph = database.graphs.get_mut(*name).ok_or_else(missing)?;
                if let Some(definitions) = graph["edgeDefinitions"].as_array_mut() {
                    definitions.retain(|d| d["collection"] != body["collection"]);
                    definitions.push(body);
                }
                Ok(Response::ok(202, shown(name, graph)))
            }
            _ => Err(Response::error(404, 0, "")),
        }
    }
}

/// `inBackground` is a wish for the moment, and no property of the link.
fn forget_background(view: &mut Value) {
    let links = view["links"].as_object_mut();
    for link in links.into_iter().flat_map(serde_json::Map::values_mut) {
        link.as_object_mut().map(|l| l.remove("inBackground"));
    }
}
