//! The store on ArangoDB under the suite: on the stand-in, and on a real server where one is named.

use logagent::store::arango::{Arango, QueryOptions};
use logagent::store::{self, Sink};
use serde_json::{Value, json};

use super::{Backend, Snapshot};
use crate::arango_live::{Database, Server};
use crate::standin::Standin;

const DB: &str = "script_logs";

/// Without what the server adds to each document. The server knows one kind of numbers and says `10` for `10.0`.
pub fn without_the_servers_own(mut doc: Value) -> Value {
    if let Some(map) = doc.as_object_mut() {
        map.retain(|name, _| name != "_id" && name != "_rev");
        if let Some(seconds) = map.get_mut("duration_seconds") {
            *seconds = json!(seconds.as_f64());
        }
    }
    doc
}

fn by_key(docs: Vec<Value>) -> std::collections::BTreeMap<String, Value> {
    let docs = docs.into_iter().map(without_the_servers_own);
    docs.map(|d| (d["_key"].as_str().unwrap_or_default().to_owned(), d))
        .collect()
}

pub struct OnStandin {
    standin: Standin,
    store: Arango,
}

impl OnStandin {
    pub fn new() -> OnStandin {
        let standin = Standin::start();
        let store = Arango::open(&standin.settings(DB)).expect("settings");
        OnStandin { standin, store }
    }
}

impl Backend for OnStandin {
    type Sink = Arango;

    fn sink(&self) -> &Arango {
        &self.store
    }

    fn snapshot(&self) -> Snapshot {
        let of = |name: &'static str| (name, by_key(self.standin.documents(DB, name)));
        store::COLLECTIONS.into_iter().map(of).collect()
    }

    async fn prepare(&self) {
        self.store.ensure_schema(false).await.expect("a schema");
    }
}

pub struct OnServer {
    database: Database,
    store: Arango,
}

impl OnServer {
    pub fn new(server: &Server) -> OnServer {
        let database = server.database();
        let store = Arango::open(&database.settings).expect("settings");
        OnServer { database, store }
    }
}

impl Backend for OnServer {
    type Sink = Arango;

    fn sink(&self) -> &Arango {
        &self.store
    }

    fn snapshot(&self) -> Snapshot {
        let of = |name: &'static str| {
            let docs = self.database.on_the_side(move |store| async move {
                let (query, binds) = ("FOR d IN @@c RETURN d", json!({"@c": name}));
                store
                    .client()
                    .rows(query, &binds, &QueryOptions::default())
                    .await
                    .expect("rows")
                    .0
            });
            (name, by_key(docs))
        };
        store::COLLECTIONS.into_iter().map(of).collect()
    }

    async fn prepare(&self) {
        self.store.ensure_schema(false).await.expect("a schema");
    }
}
