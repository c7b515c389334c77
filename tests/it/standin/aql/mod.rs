//! An interpreter for the part of AQL that this program uses.
//!
//! # What it takes
//!
//! ```text
//! query    = [WITH name, …] clause … (RETURN [DISTINCT] expr | write)
//! clause   = FOR v IN expr [SEARCH condition] [OPTIONS {…}] | FILTER expr | LET v = expr | SORT expr [ASC|DESC], …
//!          | LIMIT [n,] n | COLLECT [v = expr, …] [AGGREGATE v = F(expr), …] [INTO v [= expr] [KEEP v, …]]
//!          | COLLECT … WITH COUNT INTO v | write
//! write    = INSERT expr INTO c | UPDATE expr [WITH expr] IN c | REPLACE … | REMOVE expr IN c
//!          | UPSERT {…} INSERT expr UPDATE|REPLACE expr IN c        each with [OPTIONS {…}]
//! expr     = literals, [ … ], { name: …, "name": …, @name: …, [expr]: …, v }, (query), F(args), @bind, a ? b : c, a ?: b,
//!            OR AND NOT == != < <= > >= IN, NOT IN, LIKE, =~ !~ .. + - * / %, ANY|ALL|NONE before a comparison,
//!            .name, .@name, [expr], [* FILTER … LIMIT … RETURN …] with any number of stars
//! ```
//!
//! Functions are those of [`functions`]. Traversals, `WINDOW`, `PRUNE`, joins and user functions are not in it. What is
//! not in it is a syntax error (1501, or 1540 for a function), so that a query beyond it fails its test loudly.
//!
//! # What it is strict about
//!
//! The order of types, language in comparisons of texts, missing attributes as null ([`value`]); bind values that are
//! missing or too many (1551, 1552); names that no clause declared, which are collections (1203); variables declared
//! twice (1511); reading what was written (1579); arrays that are none in `FOR` (1563); the view's index and its lag
//! ([`search`]). Rows of a collection come in no useful order unless sorted. A query that fails changes nothing.
//!
//! # What it is not
//!
//! A planner: an index is used by nobody and needed by nobody, but for equality on an attribute, to save time.

mod eval;
mod expression;
mod functions;
mod group;
mod lex;
mod parse;
mod run;
mod search;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod write;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::catalog::{Database, Grant};
use super::documents;
use super::http::{Request, Response};
use super::server::{Seat, World};
use parse::{Parsed, parse};
use run::{Env, Run};

/// An error of a query.
#[derive(Debug)]
pub struct Fail {
    status: u16,
    num: i64,
    text: String,
}

impl Fail {
    fn new(status: u16, num: i64, text: &str) -> Fail {
        let text = text.to_owned();
        Fail { status, num, text }
    }

    fn syntax(text: &str) -> Fail {
        Fail::new(400, 1501, &format!("AQL: syntax error, {text} (while parsing)"))
    }
}

impl From<Fail> for Response {
    fn from(f: Fail) -> Response {
        Response::error(f.status, f.num, &f.text)
    }
}

/// A result of which pages are left.
pub struct Open {
    size: usize,
    rows: Vec<Value>,
    /// What a streamed query says at its end.
    extra: Option<Value>,
    life: Duration,
    until: Instant,
}

pub fn cursor(world: &mut World, request: &Request, seat: &Seat<'_>, rest: &[&str]) -> Result<Response, Response> {
    let gone = || Response::error(404, 1600, "cursor not found");
    let now = Instant::now();
    world.cursors.retain(|_, open| open.until > now);
    match (request.method.as_str(), rest) {
        ("POST", []) => start(world, request, seat),
        ("POST" | "PUT", [id]) => {
            let open = world.cursors.remove(*id).ok_or_else(gone)?;
            Ok(page(world, open, 200, Some(id), json!({})))
        }
        ("DELETE", [id]) => {
            world.cursors.remove(*id).ok_or_else(gone)?;
            Ok(Response::ok(202, json!({"id": id})))
        }
        _ => Err(Response::error(404, 404, "unknown path")),
    }
}

fn wish(request: &Request) -> Result<Value, Response> {
    documents::parse(&request.body).ok_or_else(|| Response::error(400, 600, "failed to parse json"))
}

/// The query, checked against its bind values, the data and the rights of who asks.
fn prepared(world: &World, seat: &Seat<'_>, wish: &Value, binds: &Map<String, Value>) -> Result<Parsed, Response> {
    let mut parsed = parse(wish["query"].as_str().unwrap_or_default())?;
    if let Some(missing) = parsed.binds.iter().find(|b| !binds.contains_key(*b)) {
        let text = format!("AQL: no value specified for declared bind parameter '{missing}' (while parsing)");
        return Err(Response::error(400, 1551, &text));
    }
    if let Some(extra) = binds.keys().find(|b| !parsed.binds.contains(*b)) {
        let text = format!("AQL: bind parameter '{extra}' was not declared in the query (while parsing)");
        return Err(Response::error(400, 1552, &text));
    }
    let mut named: BTreeMap<String, bool> = BTreeMap::new();
    for (name, write) in std::mem::take(&mut parsed.collections) {
        let name = match name.strip_prefix("@@") {
            None => name,
            Some(bound) => match binds.get(&format!("@{bound}")) {
                Some(Value::String(name)) => name.clone(),
                _ => {
                    let text = format!("AQL: bind parameter '@{bound}' has an invalid value or type (while parsing)");
                    return Err(Response::error(400, 1553, &text));
                }
            },
        };
        let known = named.entry(name).or_default();
        *known |= write;
    }
    let database = world.databases.get(seat.database);
    for (name, write) in &named {
        let exists = database.is_some_and(|d| d.collections.contains_key(name) || d.views.contains_key(name));
        if !exists {
            let text = format!("AQL: collection or view not found: {name} (while optimizing)");
            return Err(Response::error(404, 1203, &text));
        }
        if *write {
            seat.writes(name, world.read_only)?;
        } else if seat.user.on_collection(name) == Grant::None {
            return Err(Response::error(403, 11, "forbidden"));
        }
    }
    parsed.collections = named;
    Ok(parsed)
}

fn start(world: &mut World, request: &Request, seat: &Seat<'_>) -> Result<Response, Response> {
    let wish = wish(request)?;
    let options = &wish["options"];
    let unbounded =
        options["maxRuntime"].as_f64().unwrap_or(0.0) <= 0.0 || wish["memoryLimit"].as_u64().unwrap_or(0) == 0;
    if unbounded {
        world
            .violations
            .push(format!("a query without maxRuntime or memoryLimit: {}", wish["query"]));
    }
    let none = Map::new();
    let binds = wish["bindVars"].as_object().unwrap_or(&none);
    let parsed = prepared(world, seat, &wish, binds)?;
    let runs = binds.get("runs").and_then(Value::as_array);
    if runs.is_some_and(|r| r.len() > world.options.max_documents) {
        return Err(Response::error(500, 32, "query would use more memory than allowed"));
    }
    let size = usize::try_from(wish["batchSize"].as_u64().unwrap_or(1000)).unwrap_or(1000);
    if size == 0 {
        return Err(Response::error(400, 400, "batchSize must be greater than 0"));
    }
    let Some(database) = world.databases.get_mut(seat.database) else {
        return Err(Response::error(404, 1228, "database not found"));
    };
    let began = Instant::now();
    let (rows, extra) = done(database, &parsed, binds, &wish)?;
    let mut more = json!({});
    if wish["count"] == true {
        more["count"] = rows.len().into();
    }
    let mut open = Open {
        size,
        rows,
        extra: Some(extra),
        life: Duration::from_secs(wish["ttl"].as_u64().unwrap_or(30)),
        until: began,
    };
    if options["stream"] != true {
        more["extra"] = open.extra.take().unwrap_or_default();
    }
    Ok(page(world, open, 201, None, more))
}

/// Runs a query, as one transaction: its rows, and what is said of how it went.
fn done(
    database: &mut Database,
    parsed: &Parsed,
    binds: &Map<String, Value>,
    wish: &Value,
) -> Result<(Vec<Value>, Value), Fail> {
    let written = parsed.collections.iter().filter(|(_, write)| **write);
    let before: Vec<_> = written
        .filter_map(|(n, _)| database.collections.get(n).map(|c| (n.clone(), c.documents.clone())))
        .collect();
    let began = Instant::now();
    let runtime = wish["options"]["maxRuntime"].as_f64().filter(|r| *r > 0.0);
    let limit = Duration::from_secs_f64(runtime.unwrap_or(3600.0));
    let mut run = Run::new(database, binds, limit, wish["memoryLimit"].as_u64().unwrap_or(0));
    run.full_count = wish["options"]["fullCount"] == true;
    let outcome = run.values(&parsed.query, Env::default());
    let stats = stats(&run, began);
    let warnings = run.warnings.take();
    drop(run);
    let outcome = match warnings.first() {
        Some((num, text)) if wish["options"]["failOnWarning"] == true => Err(Fail::new(400, *num, text)),
        _ => outcome,
    };
    if outcome.is_err() {
        for (name, documents) in before {
            if let Some(c) = database.collections.get_mut(&name) {
                c.documents = documents;
            }
        }
    }
    let told = warnings.iter().take(10);
    let told: Vec<Value> = told
        .map(|(code, message)| json!({"code": code, "message": message}))
        .collect();
    Ok((outcome?, json!({"warnings": told, "stats": stats})))
}

fn stats(run: &Run<'_>, began: Instant) -> Value {
    let mut stats = json!({
        "writesExecuted": run.executed.get(), "writesIgnored": run.ignored.get(), "documentLookups": 0, "seeks": 0,
        "scannedFull": run.scanned.get(), "scannedIndex": 0, "searchParallelism": 0, "cursorsCreated": 0,
        "cursorsRearmed": 0, "cacheHits": 0, "cacheMisses": 0, "filtered": run.filtered.get(), "httpRequests": 0,
        "executionTime": began.elapsed().as_secs_f64(), "peakMemoryUsage": 32768, "intermediateCommits": 0,
    });
    if let Some(n) = run.counted.get() {
        stats["fullCount"] = n.into();
    }
    stats
}

/// The next page, and what stays open behind it.
fn page(world: &mut World, mut open: Open, status: u16, id: Option<&str>, mut answer: Value) -> Response {
    let rest = open.rows.split_off(open.size.min(open.rows.len()));
    answer["result"] = Value::Array(std::mem::replace(&mut open.rows, rest));
    answer["hasMore"] = (!open.rows.is_empty()).into();
    answer["cached"] = false.into();
    if open.rows.is_empty() {
        if let Some(extra) = open.extra.take() {
            answer["extra"] = extra;
        }
    } else {
        let id = id.map_or_else(|| world.fresh_id().to_string(), str::to_owned);
        answer["id"] = id.clone().into();
        open.until = Instant::now() + open.life;
        world.cursors.insert(id, open);
    }
    Response::ok(status, answer)
}

/// What a query would do.
pub fn explain(world: &World, request: &Request, seat: &Seat<'_>) -> Result<Response, Response> {
    let wish = wish(request)?;
    let none = Map::new();
    let parsed = prepared(world, seat, &wish, wish["bindVars"].as_object().unwrap_or(&none))?;
    let access = |write: bool| if write { "write" } else { "read" };
    let collections: Vec<Value> = parsed
        .collections
        .iter()
        .map(|(name, write)| json!({"name": name, "type": access(*write)}))
        .collect();
    let nodes: Vec<Value> = parsed
        .nodes
        .iter()
        .enumerate()
        .map(|(i, kind)| json!({"type": kind, "id": i + 1, "dependencies": [], "estimatedCost": 1, "estimatedNrItems": 1}))
        .collect();
    let plan = json!({
        "nodes": nodes, "rules": [], "variables": [], "estimatedCost": 2, "estimatedNrItems": 1,
        "collections": collections, "isModificationQuery": parsed.writes(),
    });
    let stats =
        json!({"rulesExecuted": 1, "rulesSkipped": 0, "plansCreated": 1, "peakMemoryUsage": 0, "executionTime": 0.0});
    let answer = json!({"plan": plan, "cacheable": true, "warnings": [], "stats": stats});
    Ok(Response::ok(200, answer))
}
