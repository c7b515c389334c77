//! The program's own queries, known by their text, each with an equal in Rust; and pages of results.

use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

use logagent::store::arango::{causality, cursor, runs, upkeep};
use logagent::store::runs::{RunRow, merge, parse_time};
use logagent::store::{RunEnd, RunUpdate, Status};
use serde_json::{Value, json};

use super::catalog::{Collection, Database};
use super::documents::{self, Mode, RecordError};
use super::http::{Request, Response};
use super::server::World;

/// Rows, and how many writes were made.
#[derive(Default)]
pub struct Outcome {
    pub rows: Vec<Value>,
    pub writes: u64,
}

impl Outcome {
    fn rows(rows: impl IntoIterator<Item = Value>) -> Outcome {
        Outcome {
            rows: rows.into_iter().collect(),
            writes: 0,
        }
    }
}

/// An error of a query: status, number, text.
pub type QueryError = (u16, i64, String);

type Equal = fn(&mut Database, &Value) -> Result<Outcome, QueryError>;

/// Query files and their equals.
const KNOWN: &[(&str, Equal)] = &[
    (runs::MERGE_RUNS, merge_runs),
    (causality::TIED, tied),
    (causality::BY_KEY, by_key),
    (causality::BY_FINGERPRINT, by_fingerprint),
    (causality::BY_EXECUTION, by_execution),
    (causality::BY_TEXT, by_text),
    (causality::NEWEST_OPEN, newest_open),
    (causality::RESOLVE, resolve),
    (causality::UNMATCHED, unmatched),
    (upkeep::LEASE, lease),
];

fn equal(query: &str) -> Option<Equal> {
    KNOWN
        .iter()
        .find(|(file, _)| cursor::text(file) == query)
        .map(|(_, e)| *e)
}

pub fn cursor(world: &mut World, request: &Request, database: &str, rest: &[&str]) -> Result<Response, Response> {
    match (request.method.as_str(), rest) {
        ("POST", []) => start(world, request, database),
        ("POST" | "PUT", [id]) => {
            let rows = world
                .cursors
                .remove(*id)
                .ok_or_else(|| Response::error(404, 1600, "cursor not found"))?;
            Ok(page(world, rows.1, 200, rows.0, 0))
        }
        ("DELETE", [id]) => {
            let known = world.cursors.remove(*id).is_some();
            let gone = || Response::error(404, 1600, "cursor not found");
            known.then(|| Response::ok(202, json!({"id": id}))).ok_or_else(gone)
        }
        _ => Err(Response::error(404, 404, "unknown path")),
    }
}

fn start(world: &mut World, request: &Request, database: &str) -> Result<Response, Response> {
    let wish = documents::parse(&request.body).ok_or_else(|| Response::error(400, 600, "failed to parse json"))?;
    let unbounded =
        wish["options"]["maxRuntime"].as_f64().unwrap_or(0.0) <= 0.0 || wish["memoryLimit"].as_u64().unwrap_or(0) == 0;
    if unbounded {
        world
            .violations
            .push(format!("a query without maxRuntime or memoryLimit: {}", wish["query"]));
    }
    let query = wish["query"].as_str().unwrap_or_default();
    let Some(equal) = equal(query) else {
        let message = format!("syntax error: the stand-in knows no such query: {query}");
        return Err(Response::error(400, 1501, &message));
    };
    binds_fit(query, &wish["bindVars"])?;
    let (read_only, room) = (world.read_only, world.options.max_documents);
    if writes(query) && read_only {
        return Err(Response::error(403, 1004, "server is in read-only mode"));
    }
    if wish["bindVars"]["runs"].as_array().is_some_and(|r| r.len() > room) {
        return Err(Response::error(500, 32, "query would use more memory than allowed"));
    }
    let Some(database) = world.databases.get_mut(database) else {
        return Err(Response::error(404, 1228, "database not found"));
    };
    let outcome = equal(database, &wish["bindVars"]).map_err(|(s, n, m)| Response::error(s, n, &m))?;
    let batch = wish["batchSize"].as_u64().unwrap_or(1000) as usize;
    Ok(page(world, outcome.rows, 201, batch, outcome.writes))
}

/// The server refuses a bind value that the query does not use, and a query whose bind value is missing.
fn binds_fit(query: &str, binds: &Value) -> Result<(), Response> {
    let mut wanted: Vec<&str> = query
        .split('@')
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let given: Vec<&str> = binds
        .as_object()
        .map_or(Vec::new(), |m| m.keys().map(String::as_str).collect());
    if let Some(missing) = wanted.iter().find(|w| !given.contains(w)) {
        return Err(Response::error(
            400,
            1551,
            &format!("no value specified for declared bind parameter '{missing}'"),
        ));
    }
    if let Some(extra) = given.iter().find(|g| !wanted.contains(g)) {
        return Err(Response::error(
            400,
            1552,
            &format!("bind parameter '{extra}' was not declared in the query"),
        ));
    }
    Ok(())
}

fn page(world: &mut World, mut rows: Vec<Value>, status: u16, size: usize, writes: u64) -> Response {
    let rest = rows.split_off(size.min(rows.len()));
    let stats = json!({
        "writesExecuted": writes, "writesIgnored": 0, "documentLookups": 0, "seeks": 0, "scannedFull": 0,
        "scannedIndex": 0, "searchParallelism": 0, "cursorsCreated": 0, "cursorsRearmed": 0, "cacheHits": 0, "cacheMisses": 0, "filtered": 0,
        "httpRequests": 0, "executionTime": 0.001, "peakMemoryUsage": 32768, "intermediateCommits": 0,
    });
    let mut answer = json!({
        "result": rows, "hasMore": !rest.is_empty(), "cached": false, "extra": {"warnings": [], "stats": stats},
    });
    if !rest.is_empty() {
        let id = world.fresh_id().to_string();
        answer["id"] = id.clone().into();
        world.cursors.insert(id, (size, rest));
    }
    Response::ok(status, answer)
}

/// Says whether a query would write, by its words.
pub fn explain(request: &Request) -> Result<Response, Response> {
    let wish = documents::parse(&request.body).ok_or_else(|| Response::error(400, 600, "failed to parse json"))?;
    let query = wish["query"].as_str().unwrap_or_default();
    if !query.to_ascii_uppercase().contains("RETURN") && !writes(query) {
        return Err(Response::error(
            400,
            1501,
            "AQL: syntax error, unexpected end of query string",
        ));
    }
    let access = if writes(query) { "write" } else { "read" };
    let plan = json!({
        "nodes": [], "rules": [], "variables": [], "estimatedCost": 2, "estimatedNrItems": 1,
        "collections": [{"name": "log_events", "type": access}], "isModificationQuery": writes(query),
    });
    let stats =
        json!({"rulesExecuted": 1, "rulesSkipped": 0, "plansCreated": 1, "peakMemoryUsage": 0, "executionTime": 0.0});
    Ok(Response::ok(
        200,
        json!({"plan": plan, "cacheable": true, "warnings": [], "stats": stats}),
    ))
}

fn writes(query: &str) -> bool {
    query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| {
        matches!(
            w.to_ascii_uppercase().as_str(),
            "INSERT" | "UPDATE" | "REPLACE" | "REMOVE" | "UPSERT"
        )
    })
}

fn collection<'a>(database: &'a mut Database, name: &str) -> Result<&'a mut Collection, QueryError> {
    let missing = || (404, 1203, format!("AQL: collection or view not found: {name}"));
    database.collections.get_mut(name).ok_or_else(missing)
}

/// What ended a query of which one write failed.
fn failed(error: &RecordError) -> QueryError {
    let status = if error.num == 1200 || error.num == 1210 {
        409
    } else {
        400
    };
    (
        status,
        error.num,
        format!("AQL: {}", error.message.as_deref().unwrap_or_default()),
    )
}

fn merge_runs(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    let table = collection(database, "script_runs")?;
    let updates = binds["runs"].as_array().cloned().unwrap_or_default();
    let before = (table.documents.clone(), table.revision);
    for u in &updates {
        let key = u["_key"].as_str().unwrap_or_default();
        let stored = table.documents.get(key).map(row);
        let update = update(&row(u));
        let mut merged = runs::stored(&merge(stored, &update));
        merged["_key"] = key.into();
        if let Err(e) = documents::put(table, merged, &Mode::Replace) {
            // A query is one transaction.
            (table.documents, table.revision) = before;
            return Err(failed(&e));
        }
    }
    Ok(Outcome {
        rows: Vec::new(),
        writes: updates.len() as u64,
    })
}

fn text(v: &Value, name: &str) -> Option<String> {
    v[name].as_str().map(str::to_string)
}

/// A stored run, read back.
fn row(v: &Value) -> RunRow {
    let time = |name: &str| v[name].as_str().and_then(parse_time);
    let end_time = time("end_at").or(time("end_time"));
    RunRow {
        execution_id: text(v, "execution_id").unwrap_or_default(),
        script_name: text(v, "script_name").unwrap_or_default(),
        start_time: time("start_time").unwrap_or_default(),
        start_declared: v["start_declared"] == true,
        last_seen: time("last_seen").unwrap_or_default(),
        pid: v["pid"].as_i64(),
        host: text(v, "host"),
        parent_execution_id: text(v, "parent_execution_id"),
        metadata: v.get("metadata").map(Value::to_string),
        end: v["status"]
            .as_str()
            .and_then(Status::parse)
            .zip(end_time)
            .map(|(status, time)| RunEnd {
                status,
                time,
                declared: v["end_declared"] == true,
                error: text(v, "error"),
            }),
    }
}

fn update(row: &RunRow) -> RunUpdate {
    RunUpdate {
        execution_id: row.execution_id.clone(),
        script_name: row.script_name.clone(),
        start_time: row.start_time,
        start_declared: row.start_declared,
        last_seen: row.last_seen,
        pid: row.pid,
        host: row.host.clone(),
        parent_execution_id: row.parent_execution_id.clone(),
        metadata: row.metadata.clone(),
        end: row.end.clone(),
    }
}

fn lease(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    let leases = collection(database, upkeep::LEASES)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis()) as u64;
    let name = binds["name"].as_str().unwrap_or_default();
    let held = leases.documents.get(name);
    let free = held.is_none_or(|l| l["holder"] == binds["holder"] || l["until"].as_u64() < Some(now));
    let mut row = held.cloned().unwrap_or_default();
    if free {
        row = json!({"_key": name, "holder": binds["holder"], "until": now + binds["ttl"].as_u64().unwrap_or(0)});
    }
    documents::put(leases, row.clone(), &Mode::Replace).map_err(|e| failed(&e))?;
    Ok(Outcome {
        rows: vec![row["holder"].clone()],
        writes: 1,
    })
}

fn tied(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    let edges = &collection(database, "log_causality")?.documents;
    let tied = |e: &&Value| e["_to"] == binds["own"] && e["type"] == "FIXED_BY" && e["method"] == "fix";
    Ok(Outcome::rows(edges.values().find(tied).map(|_| Value::Bool(true))))
}

/// The newest event that passes, as the queries return it.
fn newest(database: &mut Database, pass: impl Fn(&Value) -> bool) -> Result<Outcome, QueryError> {
    let events = &collection(database, "log_events")?.documents;
    let mut found: Vec<&Value> = events.values().filter(|e| pass(e)).collect();
    found.sort_by_key(|e| {
        Reverse((
            e["timestamp"].as_str().unwrap_or_default().to_string(),
            e["seq"].as_i64(),
        ))
    });
    Ok(Outcome::rows(found.first().map(|e| {
        json!({"_key": e["_key"], "fingerprint": e["fingerprint"], "script_name": e["script_name"], "message": e["message"]})
    })))
}

fn until(e: &Value, binds: &Value) -> bool {
    e["timestamp"].as_str() <= binds["time"].as_str()
}

fn by_key(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    newest(database, |e| e["_key"] == binds["target"])
}

fn by_fingerprint(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    newest(database, |e| e["fingerprint"] == binds["target"] && until(e, binds))
}

fn by_execution(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    newest(database, |e| {
        e["execution_id"] == binds["target"] && until(e, binds) && e["level_no"].as_i64() >= Some(40)
    })
}

fn by_text(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    let pattern = format!("(?i){}", binds["pattern"].as_str().unwrap_or_default());
    let pattern = regex::Regex::new(&pattern).map_err(|e| (400, 1543, e.to_string()))?;
    newest(database, |e| {
        let mut texts = vec![&e["exception"]["type"], &e["exception"]["value"]];
        if binds["messages"] == true {
            texts.push(&e["message"]);
        }
        for link in e["exception"]["chain"].as_array().into_iter().flatten() {
            texts.extend([&link["type"], &link["value"]]);
        }
        let whole: Vec<&str> = texts.into_iter().filter_map(Value::as_str).collect();
        matches!(e["level"].as_str(), Some("ERROR" | "CRITICAL"))
            && until(e, binds)
            && e["_key"] != binds["own"]
            && pattern.is_match(&whole.join(" \n "))
    })
}

fn newest_open(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    let edges: Vec<Value> = collection(database, "log_causality")?
        .documents
        .values()
        .cloned()
        .collect();
    newest(database, |e| {
        let fixed = edges.iter().any(|c| {
            c["type"] == "FIXED_BY"
                && !e["fingerprint"].is_null()
                && c["metadata"]["fingerprint"] == e["fingerprint"]
                && c["metadata"]["script_name"] == e["script_name"]
                && c["created_at"].as_str() >= e["timestamp"].as_str()
        });
        e["script_name"] == binds["script"]
            && until(e, binds)
            && e["level_no"].as_i64() >= Some(40)
            && e["resolved"] != true
            && e["_key"] != binds["own"]
            && !fixed
    })
}

fn resolve(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    let mut writes = 0;
    for e in collection(database, "log_events")?.documents.values_mut() {
        let same = e["fingerprint"] == binds["fingerprint"] && e["script_name"] == binds["script"] && until(e, binds);
        if (e["_key"] == binds["key"] || same) && e["resolved_at"].as_str() < binds["time"].as_str() {
            e["resolved"] = true.into();
            e["resolved_at"] = binds["time"].clone();
            e["fix_description"] = binds["description"].clone();
            writes += 1;
        }
    }
    Ok(Outcome {
        rows: Vec::new(),
        writes,
    })
}

fn unmatched(database: &mut Database, binds: &Value) -> Result<Outcome, QueryError> {
    let key = binds["key"].as_str().unwrap_or_default();
    if let Some(e) = collection(database, "log_events")?.documents.get_mut(key) {
        if binds["unmatched"] == true {
            e["fix_unmatched"] = true.into();
        } else if let Some(map) = e.as_object_mut() {
            map.remove("fix_unmatched");
        }
    }
    Ok(Outcome::default())
}
