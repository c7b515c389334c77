//! A real server, where `LOGAGENT_TEST_ARANGO_URL` names one (`http://user:password@host:8529`): what the documentation
//! leaves open, as a test that runs first, so that a wrong assumption shows at once. Each use makes a database of its
//! own, `script_logs_test_<8 hex digits>`, and drops it whatever happens.

use std::future::Future;
use std::io::Write as _;
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use logagent::config;
use logagent::store::arango::client::{Request, Scope};
use logagent::store::arango::{Arango, Client, Error, QueryOptions, runs};
use logagent::store::runs::merge;
use logagent::store::{Batch, RunEnd, RunUpdate, Sink, Status};
use serde_json::{Value, json};

use crate::standin::{Grant, Options, Standin, User};
use crate::store_contract::arango::without_the_servers_own;

const VARIABLE: &str = "LOGAGENT_TEST_ARANGO_URL";

/// Where the server is, and who may do everything there.
pub struct Server {
    endpoint: String,
    username: String,
    password: String,
    real: bool,
}

/// A user who may see nothing, and whom no server has before this test.
const STRANGER: &str = "logagent_test_stranger";

impl Server {
    /// `None`, said once and past the test runner's capture, where none is named.
    pub fn named() -> Option<Server> {
        static SAID: Once = Once::new();
        let Ok(url) = std::env::var(VARIABLE) else {
            SAID.call_once(|| {
                let note = format!("note: {VARIABLE} is not set, so nothing was tested against a real ArangoDB\n");
                let _ = std::io::stderr().write_all(note.as_bytes());
            });
            return None;
        };
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (login, host) = rest.rsplit_once('@').unwrap_or(("root:", rest));
        let (username, password) = login.split_once(':').unwrap_or((login, ""));
        Some(Server {
            endpoint: format!("{scheme}://{host}"),
            username: username.to_string(),
            password: password.to_string(),
            real: true,
        })
    }

    /// A fresh name for a database; the schema creates it.
    pub fn database(&self) -> Database {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let seed = [nanos.to_le_bytes(), u128::from(std::process::id()).to_le_bytes()].concat();
        let name = format!("script_logs_test_{:08x}", xxhash_rust::xxh3::xxh3_64(&seed) as u32);
        Database {
            settings: config::Arangodb {
                endpoints: vec![self.endpoint.clone()],
                database: name,
                username: self.username.clone(),
                password: self.password.clone(),
                auth: config::Auth::Jwt,
                ca_file: None,
                compression: config::Compression::None,
                timeout: Duration::from_secs(60),
                shards: 1,
                replication_factor: 1,
                vector_dimensions: 0,
            },
        }
    }
}

/// A database that goes when this does.
pub struct Database {
    pub settings: config::Arangodb,
}

impl Database {
    /// Runs on a thread and a runtime of its own, for callers that are within one.
    pub fn on_the_side<T: Send + 'static, F: Future<Output = T>>(
        &self,
        f: impl FnOnce(Arango) -> F + Send + 'static,
    ) -> T {
        let settings = self.settings.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(f(Arango::open(&settings).expect("settings")))
        };
        std::thread::spawn(work).join().expect("no panic")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = self.settings.database.clone();
        self.on_the_side(|store| async move {
            let path = ["_api", "database", name.as_str()];
            let request = Request::new(reqwest::Method::DELETE, &path).scope(Scope::System);
            let _ = store.client().send(request).await;
        });
    }
}

/// The answer's status, number and body.
async fn ask(client: &Client, request: Request<'_>) -> (u16, Option<i64>, Value) {
    match client.send(request).await {
        Ok(answer) => (answer.status, None, answer.json().unwrap_or_default()),
        Err(Error::Api(e)) => (e.status, e.num, Value::Null),
        Err(e) => panic!("{e}"),
    }
}

fn insert<'a>(body: &str, query: &'a str) -> Request<'a> {
    Request::post(&["_api", "document", "log_events"], body.to_string().into()).query(query)
}

fn event(key: &str) -> String {
    format!(
        r#"{{"_key":"{key}","timestamp":"2026-11-21T02:20:24.054432Z","level":"INFO","message":"m","execution_id":"e"}}"#
    )
}

#[test]
fn the_assumptions_hold_on_a_real_arangodb_where_one_is_named() {
    if let Some(server) = Server::named() {
        assumptions(&server);
    }
}

/// Not to prove anything about the server: it keeps this test in order, and the stand-in true to what it assumes.
#[test]
fn the_stand_in_assumes_the_same() {
    let stranger = User {
        everywhere: Grant::None,
        ..User::root(STRANGER, "secret-of-stranger")
    };
    let standin = Standin::with(Options {
        users: vec![User::root("root", "secret-of-root"), stranger],
        vectors: true,
        ..Options::default()
    });
    assumptions(&Server {
        endpoint: standin.url(),
        username: "root".into(),
        password: "secret-of-root".into(),
        real: false,
    });
}

fn assumptions(server: &Server) {
    let database = server.database();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Arango::open(&database.settings).unwrap();
        store.ensure_schema(false).await.expect("a schema");
        println!("server {}", store.version().await.expect("a version"));
        let again = store.ensure_schema(false).await.expect("the schema again");
        let changed: Vec<_> = again
            .iter()
            .filter(|o| o.action != logagent::store::SchemaAction::Unchanged)
            .collect();
        assert!(changed.is_empty(), "a second run changed {changed:?}");
        let client = store.client();
        silent_and_telling_answers(client).await;
        bodies_that_are_refused_whole(client).await;
        names_that_exist(client).await;
        a_missing_database(server).await;
        a_database_that_may_not_be_seen(server, &database).await;
        if server.real {
            // No part of what is used, so the stand-in has none of it.
            positions_that_an_import_names(client).await;
        }
        compressed_bodies(&database).await;
        availability(client).await;
        what_explain_says(client).await;
        limits_on_queries(client).await;
        a_limit_on_queueing(&database).await;
        a_late_view(client).await;
        merging_runs_as_the_pure_rules_do(&store).await;
        events_beside_a_vector_index(&database).await;
    });
}

async fn silent_and_telling_answers(client: &Client) {
    let silent = "overwriteMode=ignore&silent=true";
    let telling = "overwriteMode=ignore&silent=false";
    let good = format!("[{},{}]", event("a"), event("b"));
    assert_eq!(ask(client, insert(&good, silent)).await, (202, None, json!({})));
    // Ignored duplicates may show as objects with an identity; they must not show as errors.
    let (status, _, body) = ask(client, insert(&good, silent)).await;
    let errors = body
        .as_array()
        .into_iter()
        .flatten()
        .filter(|e| e["error"] == true)
        .count();
    assert_eq!((status, errors), (202, 0), "{body}");
    let mixed = format!(
        r#"[{},{{"_key":"no/key"}},{{"_key":"x","level":"INFO"}},{}]"#,
        event("c"),
        event("a")
    );
    let (status, _, body) = ask(client, insert(&mixed, silent)).await;
    assert_eq!(status, 202);
    assert!(body.as_array().is_some_and(|a| !a.is_empty()), "{body}");
    let (_, _, body) = ask(client, insert(&mixed, telling)).await;
    let numbers: Vec<Value> = body.as_array().unwrap().iter().map(|e| e["errorNum"].clone()).collect();
    assert_eq!(numbers, [Value::Null, json!(1221), json!(1620), Value::Null], "{body}");
    let (status, _, body) = ask(client, insert("[]", silent)).await;
    assert!(status == 202, "an empty array: {status} {body}");
}

async fn bodies_that_are_refused_whole(client: &Client) {
    let twice = r#"[{"_key":"t","a":1,"a":2}]"#;
    for body in [twice, r#"[{"_key":"t"#, "nonsense"] {
        let (status, num, _) = ask(client, insert(body, "overwriteMode=ignore")).await;
        assert_eq!((status, num), (400, Some(600)), "{body}");
    }
    let mut request = insert("", "overwriteMode=ignore");
    request.body = Some(bytes::Bytes::from_static(b"[{\"_key\":\"t\",\"a\":\"\xff\"}]"));
    let (status, num, _) = ask(client, request).await;
    assert_eq!((status, num), (400, Some(600)), "invalid UTF-8");
    let deep = format!(r#"[{{"_key":"deep","a":{}1{}}}]"#, "[".repeat(250), "]".repeat(250));
    let (status, num, _) = ask(client, insert(&deep, "overwriteMode=ignore")).await;
    assert_eq!((status, num), (400, Some(600)), "250 levels");
}

async fn names_that_exist(client: &Client) {
    let clash = json!({"type": "persistent", "name": "time", "fields": ["other"]});
    let request = Request::post(&["_api", "index"], clash.to_string().into()).query("collection=log_events");
    let (status, num, _) = ask(client, request).await;
    assert!(
        status == 409 && matches!(num, Some(1005 | 1207)),
        "a clash of index names: {status} {num:?}"
    );
    let collection = json!({"name": "log_events"}).to_string();
    let (status, num, _) = ask(client, Request::post(&["_api", "collection"], collection.into())).await;
    assert_eq!((status, num), (409, Some(1207)));
}

async fn a_missing_database(server: &Server) {
    let nowhere = Arango::open(&server.database().settings).unwrap();
    let (status, num, _) = ask(nowhere.client(), Request::get(&["_api", "version"])).await;
    assert_eq!((status, num), (404, Some(1228)), "for a user who may see all databases");
}

/// Whether a database is missing or hidden must look the same to who may not see it, and is no reason to stop.
async fn a_database_that_may_not_be_seen(server: &Server, database: &Database) {
    let root = Arango::open(&database.settings).unwrap();
    let user = ["_api", "user", STRANGER];
    if server.real {
        let body = json!({"user": STRANGER, "passwd": "secret-of-stranger"}).to_string();
        let made = Request::post(&user[..2], body.into()).scope(Scope::System);
        let (status, ..) = ask(root.client(), made).await;
        assert!(matches!(status, 201 | 409), "a user: {status}");
    }
    for name in [&database.settings.database, "script_logs_test_of_nobody"] {
        for auth in [config::Auth::Basic, config::Auth::Jwt] {
            let mut settings = database.settings.clone();
            settings.database = name.to_string();
            settings.username = STRANGER.into();
            settings.password = "secret-of-stranger".into();
            settings.auth = auth;
            let store = Arango::open(&settings).unwrap();
            let (status, num, _) = ask(store.client(), insert("[]", "")).await;
            assert_eq!((status, num), (401, Some(11)), "{name} {auth:?}");
            let refused = store.write(&Arc::new(events(1))).await;
            assert!(
                matches!(&refused, Err(logagent::store::WriteError::Refused(_))),
                "{refused:?}"
            );
        }
    }
    if server.real {
        let gone = Request::new(reqwest::Method::DELETE, &user).scope(Scope::System);
        let _ = root.client().send(gone).await;
    }
}

fn events(n: usize) -> Batch {
    let mut batch = Batch::default();
    (0..n).for_each(|i| batch.events.push(event(&format!("e{i}")).as_bytes()));
    batch
}

/// Why documents do not travel by import: positions have two bases, and there are no numbers.
async fn positions_that_an_import_names(client: &Client) {
    let good = event("imported");
    let body = format!("{good}\n{{broken\n\n{good}\n");
    let query = "collection=log_events&type=documents&details=true&onDuplicate=error";
    let (status, _, body) = ask(client, Request::post(&["_api", "import"], body.into()).query(query)).await;
    assert_eq!(
        (status, &body["created"], &body["errors"], &body["empty"]),
        (201, &json!(1), &json!(2), &json!(1))
    );
    let details: Vec<&str> = body["details"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        details.iter().any(|d| d.starts_with("at position 2: ")),
        "lines from 1: {details:?}"
    );
    assert!(
        details.iter().any(|d| d.starts_with("at position 1: ")),
        "records from 0: {details:?}"
    );
}

/// Many slow queries at once: what is sent beside them is done, or refused as overload, and never anything else.
async fn a_limit_on_queueing(database: &Database) {
    let slow = Arango::open(&database.settings).unwrap();
    let mut settings = database.settings.clone();
    settings.timeout = Duration::from_millis(400);
    let hurried = Arango::open(&settings).unwrap();
    let nothing = json!({});
    let options = QueryOptions::default();
    let load = (0..64).map(|_| slow.client().rows::<_, Value>("RETURN SLEEP(0.05)", &nothing, &options));
    let flood = futures_util::future::join_all(load);
    let writes = async {
        let mut shed = 0;
        for _ in 0..20 {
            match hurried.write(&Arc::new(events(1))).await {
                Ok(_) => {}
                Err(logagent::store::WriteError::Away(e)) if e.contains("21004") => shed += 1,
                Err(logagent::store::WriteError::Away(e)) if e.contains("timed out") => {}
                Err(e) => panic!("{e}"),
            }
        }
        shed
    };
    let (_, shed) = tokio::join!(flood, writes);
    println!(
        "under load {shed} of 20 writes were shed; the queue took {:?}",
        hurried.client().queue_time()
    );
}

/// Where the server is started with the option of its version; else the vectors are kept without an index.
async fn events_beside_a_vector_index(database: &Database) {
    let mut settings = database.settings.clone();
    settings.vector_dimensions = 3;
    let store = Arango::open(&settings).unwrap();
    store.ensure_schema(false).await.expect("the schema with vectors");
    for part in 0..2 {
        let mut batch = Batch::default();
        for n in 0..1200 {
            let vector = if n % 10 == 0 {
                String::new()
            } else {
                format!(",\"embeddings\":[1,{n},{part}]")
            };
            let doc = event(&format!("vector{part}_{n}"));
            batch.events.push(doc.replace('}', &format!("{vector}}}")).as_bytes());
        }
        let report = store.write(&Arc::new(batch)).await.expect("events with vectors");
        assert_eq!((report.stored, report.rejected.len()), (1200, 0), "part {part}");
        let made = store.ensure_schema(false).await.expect("the schema with an index");
        let index = made.iter().find(|o| o.name == "log_embeddings/vector");
        println!("vector index after part {part}: {:?}", index.map(|o| o.action));
    }
    let path = ["_api", "collection", "log_embeddings", "count"];
    let (_, _, body) = ask(store.client(), Request::get(&path)).await;
    assert_eq!(body["count"], 2160);
}

async fn compressed_bodies(database: &Database) {
    let mut settings = database.settings.clone();
    settings.compression = config::Compression::Gzip;
    let store = Arango::open(&settings).unwrap();
    let mut batch = Batch::default();
    for i in 0..50 {
        batch.events.push(event(&format!("gz{i}")).as_bytes());
    }
    assert_eq!(store.write(&Arc::new(batch)).await.unwrap().stored, 50);
}

async fn availability(client: &Client) {
    let path = ["_admin", "server", "availability"];
    let (status, _, body) = ask(client, Request::get(&path).scope(Scope::Open)).await;
    assert_eq!((status, &body["mode"]), (200, &json!("default")));
}

async fn what_explain_says(client: &Client) {
    let writes = [
        "FOR d IN log_events REMOVE d IN log_events",
        "UPSERT {_key: 'x'} INSERT {_key: 'x'} UPDATE {} IN script_runs",
        "LET x = (FOR d IN log_events UPDATE d WITH {a: 1} IN log_events RETURN 1) RETURN LENGTH(x)",
    ];
    for query in writes {
        assert!(
            !client.explain(query, &json!({})).await.unwrap().reads_only(),
            "{query}"
        );
    }
    let reads = client
        .explain("FOR d IN log_events FILTER d.message == @m RETURN d", &json!({"m": 1}))
        .await
        .unwrap();
    assert!(reads.reads_only());
}

async fn limits_on_queries(client: &Client) {
    let slow = QueryOptions {
        max_runtime: Duration::from_millis(200),
        ..QueryOptions::default()
    };
    let failed = client.rows::<_, Value>("RETURN SLEEP(5)", &json!({}), &slow).await;
    assert!(
        matches!(&failed, Err(Error::Api(e)) if e.num == Some(1500)),
        "maxRuntime: {failed:?}"
    );
    let small = QueryOptions {
        memory_limit: 1 << 16,
        ..QueryOptions::default()
    };
    let failed = client
        .rows::<_, Value>("RETURN LENGTH(FOR i IN 1..1000000 RETURN i)", &json!({}), &small)
        .await;
    assert!(
        matches!(&failed, Err(Error::Api(e)) if e.num == Some(32)),
        "memoryLimit: {failed:?}"
    );
    let paged = QueryOptions {
        batch_size: 10,
        ..QueryOptions::default()
    };
    let (rows, _) = client
        .rows::<_, u32>("FOR i IN 1..95 RETURN i", &json!({}), &paged)
        .await
        .unwrap();
    assert_eq!(rows, (1..=95).collect::<Vec<u32>>());
    // An expression that the server cannot read is no error: the answer is null, and a warning comes with its end.
    let odd = json!({"re": "(?P<name>a)"});
    let mut cursor = client
        .cursor::<_, Value>("RETURN REGEX_TEST('a', @re)", &odd, &QueryOptions::default())
        .await
        .unwrap();
    let mut rows = Vec::new();
    while let Some(page) = cursor.next_page().await.unwrap() {
        rows.extend(page);
    }
    let warned: Vec<i64> = cursor.warnings().iter().map(|w| w.code).collect();
    assert_eq!(
        (rows, warned),
        (vec![Value::Null], vec![1543]),
        "a regular expression of another dialect"
    );
}

async fn a_late_view(client: &Client) {
    let text = "RETURN TOKENS('Load_data: os.path, «db.Example.com»…  Café!', 'logagent_words')";
    let options = QueryOptions::default();
    let (words, _) = client.rows::<_, Vec<String>>(text, &json!({}), &options).await.unwrap();
    assert_eq!(words, [["load", "data", "os", "path", "db", "example", "com", "cafe"]]);
    let query = "FOR d IN log_events_view SEARCH PHRASE(d.message, 'm', 'logagent_words') \
                 COLLECT WITH COUNT INTO n RETURN n";
    for _ in 0..100 {
        let (rows, _) = client
            .rows::<_, u64>(query, &json!({}), &QueryOptions::default())
            .await
            .unwrap();
        if rows.first().is_some_and(|n| *n >= 50) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the view never showed what was stored");
}

/// The query and the pure rules, side by side over many random stories of one run: what the query makes of a story in
/// another order, some of it told twice, is what the rules make of it in the first order.
async fn merging_runs_as_the_pure_rules_do(store: &Arango) {
    let mut state = 0x1234_5678_9ABC_DEF0_u64;
    let mut dice = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let mut expected = Vec::new();
    for story in 0..60 {
        let mut updates: Vec<RunUpdate> = (0..=dice(4)).map(|_| update(story, &mut dice)).collect();
        expected.extend(updates.iter().fold(None, |row, u| Some(merge(row, u))));
        for again in 0..dice(3) as usize {
            let copy = updates[again % updates.len()].clone();
            updates.push(copy);
        }
        for at in (1..updates.len()).rev() {
            updates.swap(at, dice(at as u64 + 1) as usize);
        }
        while !updates.is_empty() {
            // Several of one run come in one batch, too.
            let runs = updates.split_off(updates.len().saturating_sub(1 + dice(2) as usize));
            let batch = Batch {
                runs: runs.into(),
                ..Batch::default()
            };
            let report = store.write(&Arc::new(batch)).await.unwrap();
            assert!(report.rejected.is_empty(), "{:?}", report.rejected);
        }
    }
    for row in expected {
        let binds = json!({"id": row.execution_id});
        let query = "FOR r IN script_runs FILTER r.execution_id == @id RETURN UNSET(r, '_id', '_rev')";
        let (found, _) = store
            .client()
            .rows::<_, Value>(query, &binds, &QueryOptions::default())
            .await
            .unwrap();
        let found: Vec<Value> = found.into_iter().map(without_the_servers_own).collect();
        assert_eq!(found, [runs::stored(&row)], "{row:?}");
    }
}

fn update(story: u64, dice: &mut impl FnMut(u64) -> u64) -> RunUpdate {
    let statuses = [
        Status::Success,
        Status::Failed,
        Status::Crashed,
        Status::Ended,
        Status::Lost,
    ];
    // Capitals and accents are where the server's language and the order of bytes differ.
    let mut text = || match dice(6) {
        0 => None,
        n => Some(["a", "B", "é", "b", ""][n as usize - 1].to_string()),
    };
    let (script_name, host, parent_execution_id, error) = (text().unwrap_or_default(), text(), text(), text());
    RunUpdate {
        execution_id: format!("story {story}"),
        script_name,
        host,
        parent_execution_id,
        start_time: 1_000_000 + dice(20) as i64,
        start_declared: dice(2) == 0,
        last_seen: 1_000_000 + dice(20) as i64,
        pid: (dice(2) == 0).then(|| dice(3) as i64 + 1),
        metadata: (dice(2) == 0).then(|| format!(r#"{{"v":{}}}"#, dice(3))),
        end: (dice(2) == 0).then(|| RunEnd {
            status: statuses[dice(5) as usize],
            time: 1_000_000 + dice(20) as i64,
            declared: dice(3) == 0,
            error,
        }),
    }
}
