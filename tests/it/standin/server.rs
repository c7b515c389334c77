//! Everything there is, and which request does what to it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::catalog::{Database, Grant, User};
use super::documents::{self, Mode};
use super::http::{Request, Response};
use super::{Fault, Options, Seen, What, aql, openapi};

pub struct World {
    pub options: Options,
    pub databases: BTreeMap<String, Database>,
    pub faults: Vec<Fault>,
    pub record_fault: Option<(&'static str, i64, Option<&'static str>)>,
    pub seen: Vec<Seen>,
    pub violations: Vec<String>,
    /// Tokens of an earlier secret are worth nothing.
    pub secret: u64,
    pub logins: u64,
    pub read_only: bool,
    /// Seconds that requests wait in the queue, as far as answers say.
    pub queue_time: f64,
    /// Results that have still rows to give.
    pub cursors: BTreeMap<String, aql::Open>,
    next_id: u64,
    born: Instant,
}

pub type Refusal = Response;

impl World {
    pub fn new(options: Options) -> World {
        let mut databases = BTreeMap::from([("_system".to_string(), Database::default())]);
        databases.extend(
            options
                .databases
                .iter()
                .map(|d| ((*d).to_string(), Database::default())),
        );
        World {
            options,
            databases,
            faults: Vec::new(),
            record_fault: None,
            seen: Vec::new(),
            violations: Vec::new(),
            secret: 1,
            logins: 0,
            read_only: false,
            queue_time: 0.0,
            cursors: BTreeMap::new(),
            next_id: 1000,
            born: Instant::now(),
        }
    }

    /// The fault that is meant for this request, if one is.
    pub fn fault_for(&mut self, request: &Request) -> Option<What> {
        let line = request.line();
        let at = self.faults.iter_mut().position(|f| {
            let meant = line.contains(&f.on) && f.times > 0;
            if meant && f.skip > 0 {
                f.skip -= 1;
                return false;
            }
            meant
        })?;
        let fault = &mut self.faults[at];
        if fault.times != usize::MAX {
            fault.times -= 1;
        }
        Some(fault.what.clone())
    }

    pub fn note(&mut self, request: &Request, status: u16) {
        self.seen.push(Seen {
            line: request.line(),
            headers: request.headers.clone(),
            wire: request.wire,
            body: request.body.clone(),
            status,
        });
    }

    pub fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Does what the request asks, and checks both sides of it.
    pub fn handle(&mut self, request: &Request) -> Response {
        if let Some((status, message)) = request.framing {
            return Response::error(status, i64::from(status), message);
        }
        let mut plain = request.clone();
        let user = self.user(request);
        if let Some(encoding) = request.header("content-encoding") {
            if user.is_err() || request.path.first().is_some_and(|p| p == "_open") {
                return Response::error(400, 11, "compressed bodies of unauthenticated requests are refused");
            }
            let mut body = Vec::new();
            let decoded = match encoding {
                "gzip" => flate2::read::GzDecoder::new(&request.body[..])
                    .read_to_end(&mut body)
                    .is_ok(),
                "deflate" => flate2::read::ZlibDecoder::new(&request.body[..])
                    .read_to_end(&mut body)
                    .is_ok(),
                _ => false,
            };
            if decoded {
                plain.body = body;
            }
        }
        let response = match self.route(&plain, user) {
            Ok(response) | Err(response) => response,
        };
        let body = if plain.body.is_empty() {
            None
        } else {
            documents::parse(&plain.body)
        };
        let mut response = response;
        let waited = format!("{:.6}", self.queue_time);
        response.headers.push(("X-Arango-Queue-Time-Seconds".into(), waited));
        self.violations.extend(openapi::check(&plain, body.as_ref(), &response));
        self.note(&plain, response.status);
        response
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
    }

    /// Who asks; an error if nobody that is known.
    fn user(&self, request: &Request) -> Result<User, Refusal> {
        if !self.options.auth {
            return Ok(User::root("root", ""));
        }
        let refused = || {
            let mut refusal = Response::error(401, 11, "not authorized to execute this request");
            refusal.headers.push((
                "Www-Authenticate".into(),
                "Bearer token_type=\"JWT\", realm=\"ArangoDB\"".into(),
            ));
            refusal
        };
        let header = request.header("authorization").unwrap_or_default();
        let (scheme, value) = header.split_once(' ').unwrap_or_default();
        let name = match scheme.to_ascii_lowercase().as_str() {
            "basic" => {
                let pair = STANDARD
                    .decode(value)
                    .ok()
                    .and_then(|p| String::from_utf8(p).ok())
                    .unwrap_or_default();
                let (name, password) = pair.split_once(':').unwrap_or_default();
                let known = self
                    .options
                    .users
                    .iter()
                    .any(|u| u.name == name && u.password == password);
                known.then(|| name.to_string())
            }
            "bearer" => self.bearer(value),
            _ => None,
        };
        let user = self.options.users.iter().find(|u| Some(u.name) == name.as_deref());
        user.cloned().ok_or_else(refused)
    }

    fn bearer(&self, token: &str) -> Option<String> {
        let mut parts = token.split('.').skip(1);
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        let secret: u64 = parts.next()?.parse().ok()?;
        let alive = self.born.elapsed().as_millis() as u64 <= claims["end"].as_u64()?;
        (alive && secret == self.secret).then(|| claims["preferred_username"].as_str().map(str::to_string))?
    }

    fn login(&mut self, request: &Request) -> Result<Response, Refusal> {
        if !self.options.auth {
            return Err(Response::error(404, 404, "unknown path '/_open/auth'"));
        }
        let body = documents::parse(&request.body).unwrap_or_default();
        let (Some(name), Some(password)) = (body["username"].as_str(), body["password"].as_str()) else {
            return Err(Response::error(400, 400, "bad parameter"));
        };
        if !self
            .options
            .users
            .iter()
            .any(|u| u.name == name && u.password == password)
        {
            return Err(Response::error(401, 401, "Wrong credentials"));
        }
        self.logins += 1;
        let life = self.options.token_life;
        // `exp` counts in whole seconds; `end` is the stand-in's own, finer clock.
        let claims = json!({
            "preferred_username": name, "iss": "arangodb", "iat": self.now(), "exp": self.now() + life.as_secs(),
            "end": (self.born.elapsed() + life).as_millis() as u64,
        });
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        Ok(Response::json(
            200,
            &json!({"jwt": format!("eyJhbGciOiJIUzI1NiJ9.{claims}.{}", self.secret)}),
        ))
    }

    fn route(&mut self, request: &Request, user: Result<User, Refusal>) -> Result<Response, Refusal> {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["_open", "auth"]) => return self.login(request),
            ("GET", ["_admin", "server", "availability"]) => return Ok(self.availability()),
            _ => {}
        }
        let user = user?;
        let limit: f64 = request
            .header("x-arango-queue-time-seconds")
            .and_then(|l| l.parse().ok())
            .unwrap_or(0.0);
        if limit > 0.0 && self.queue_time > limit {
            return Err(Response::error(412, 21004, "queue time violated"));
        }
        let ["_db", database, rest @ ..] = path.as_slice() else {
            return Err(Response::error(404, 0, ""));
        };
        let grant = user.on_database(database);
        if grant == Grant::None {
            return Err(Response::error(401, 11, "not authorized to execute this request"));
        }
        if !self.databases.contains_key(*database) {
            return Err(Response::error(404, 1228, "database not found"));
        }
        let seat = Seat {
            database,
            user: &user,
            grant,
        };
        match (request.method.as_str(), rest) {
            ("GET", ["_api", "version"]) => {
                let version = self.options.version;
                // The document is of a later patch release, which names versions of the interface too.
                let answer = json!({"server": "arango", "version": version, "license": "community",
                                    "apiVersions": ["v0"], "deprecatedApiVersions": [], "requestedApiVersion": "v0"});
                Ok(Response::json(200, &answer))
            }
            ("GET", ["_admin", "server", "mode"]) => {
                let mode = if self.read_only { "readonly" } else { "default" };
                Ok(Response::ok(200, json!({"mode": mode})))
            }
            ("POST", ["_api", "database"]) => self.create_database(request, &seat),
            ("DELETE", ["_api", "database", name]) => {
                seat.administers(self.read_only)?;
                let removed = self.databases.remove(*name).is_some();
                let missing = || Response::error(404, 1228, "database not found");
                removed
                    .then(|| Response::ok(200, json!({"result": true})))
                    .ok_or_else(missing)
            }
            (_, ["_api", "collection", ..]) => self.collections(request, &seat, &rest[2..]),
            (_, ["_api", "index", ..]) => self.indexes(request, &seat, &rest[2..]),
            (_, ["_api", "view", ..]) => self.views(request, &seat, &rest[2..]),
            (_, ["_api", "analyzer", ..]) => self.analyzers(request, &seat, &rest[2..]),
            (_, ["_api", "gharial", ..]) => self.graphs(request, &seat, &rest[2..]),
            ("POST", ["_api", "document", collection]) => self.insert(request, &seat, collection),
            (_, ["_api", "cursor", ..]) => aql::cursor(self, request, &seat, &rest[2..]),
            ("POST", ["_api", "explain"]) => aql::explain(self, request, &seat),
            _ => Err(Response::error(404, 0, "")),
        }
    }

    fn availability(&self) -> Response {
        if self.read_only {
            return Response::error(503, 503, "service unavailable");
        }
        Response::ok(200, json!({"mode": "default"}))
    }

    pub(super) fn body(request: &Request) -> Result<Value, Refusal> {
        documents::parse(&request.body).ok_or_else(|| Response::error(400, 600, "failed to parse json object"))
    }

    pub(super) fn database(&mut self, name: &str) -> Result<&mut Database, Refusal> {
        self.databases
            .get_mut(name)
            .ok_or_else(|| Response::error(404, 1228, "database not found"))
    }

    fn insert(&mut self, request: &Request, seat: &Seat<'_>, name: &str) -> Result<Response, Refusal> {
        if request.wire > self.options.max_body {
            return Err(Response::error(413, 0, ""));
        }
        let (fault, room, read_only) = (self.record_fault, self.options.max_documents, self.read_only);
        let body = World::body(request)?;
        let Some(collection) = self.database(seat.database)?.collections.get_mut(name) else {
            return Err(Response::error(
                404,
                1203,
                &format!("collection or view not found: {name}"),
            ));
        };
        seat.writes(name, read_only)?;
        let mode = match request.param("overwriteMode") {
            Some("ignore") => Mode::Ignore,
            Some("replace") => Mode::Replace,
            // Also what the server does not know.
            _ => Mode::Conflict,
        };
        let Value::Array(documents) = body else {
            return Err(Response::error(400, 1227, "invalid document type"));
        };
        let bulk = documents::insert(collection, documents, &mode, fault, room);
        let (body, errors) = bulk.answer(name, request.flag("silent"));
        let status = if request.flag("waitForSync") { 201 } else { 202 };
        let mut response = Response::json(status, &body);
        response
            .headers
            .extend(errors.map(|e| ("X-Arango-Error-Codes".to_string(), e)));
        Ok(response)
    }
}

/// Who asks in which database.
pub struct Seat<'a> {
    pub database: &'a str,
    pub user: &'a User,
    grant: Grant,
}

impl Seat<'_> {
    pub fn administers(&self, read_only: bool) -> Result<(), Refusal> {
        if self.grant < Grant::Write || read_only {
            return Err(Response::error(403, 11, "forbidden"));
        }
        Ok(())
    }

    pub fn writes(&self, collection: &str, read_only: bool) -> Result<(), Refusal> {
        match self.user.on_collection(collection) {
            Grant::None => Err(Response::error(403, 11, "forbidden")),
            Grant::Read => Err(Response::error(403, 1004, "collection is read-only for this user")),
            Grant::Write if read_only => Err(Response::error(403, 1004, "server is in read-only mode")),
            Grant::Write => Ok(()),
        }
    }
}
