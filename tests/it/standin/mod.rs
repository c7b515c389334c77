//! A stand-in for the database server: in this process, over real HTTP, for tests.
//!
//! It keeps documents, enforces keys, rules, unique indexes, logins and the life of tokens, and answers with the bodies,
//! headers and statuses that the real server's documentation and sources name. It can be told to fail in any way
//! ([`Fault`]): before it accepts, after it accepted, slowly, with half an answer, or with none. Every request, and every
//! answer of its own, is checked against the OpenAPI document of the HTTP interface; a difference fails the test that
//! caused it.
//!
//! It is no database: of AQL it interprets what the program uses ([`aql`]) and refuses the rest.

mod aql;
mod catalog;
mod documents;
mod http;
mod openapi;
mod schema;
mod server;
mod tls;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;

pub use catalog::{Collection, Grant, User};
use http::{Request, Response};
use logagent::config;
use server::World;
pub use tls::AUTHORITY;

/// How the stand-in is set up.
pub struct Options {
    pub version: &'static str,
    /// With authentication off nobody is asked for a name, and there is no login.
    pub auth: bool,
    pub token_life: Duration,
    pub users: Vec<User>,
    /// Databases besides `_system`.
    pub databases: Vec<&'static str>,
    /// Started with the option for vector indexes of its version.
    pub vectors: bool,
    /// Bodies above this size get a 413.
    pub max_body: usize,
    /// More documents than this in one request hit the resource limit (error 32).
    pub max_documents: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            version: "3.12.4",
            auth: true,
            token_life: Duration::from_secs(3600),
            users: vec![User::root("root", "secret-of-root")],
            databases: Vec::new(),
            vectors: false,
            max_body: 1 << 30,
            max_documents: usize::MAX,
        }
    }
}

/// One way to fail, for the requests that it is meant for.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Part of `METHOD /path?query`.
    on: String,
    skip: usize,
    times: usize,
    what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// An error answer, before anything is done. `num` 0: none.
    Refuse(u16, i64, &'static str),
    /// The same, after everything was done.
    RefuseAfter(u16, i64, &'static str),
    /// Any answer, before anything is done: status, body, extra header.
    Say(u16, &'static str, Option<(&'static str, &'static str)>),
    /// The connection ends before anything is done.
    Cut,
    /// Everything is done, then the connection ends without an answer.
    CutAfter,
    /// Everything is done, half of the answer is sent.
    Half,
    /// A pause, then all goes well.
    Slow(Duration),
    /// The record with this key fails within its bulk request; without a text if `None`.
    Record(&'static str, i64, Option<&'static str>),
}

impl Fault {
    pub fn on(request: &str, what: What) -> Fault {
        Fault {
            on: request.to_string(),
            skip: 0,
            times: 1,
            what,
        }
    }

    pub fn times(self, times: usize) -> Fault {
        Fault { times, ..self }
    }

    pub fn skip(self, skip: usize) -> Fault {
        Fault { skip, ..self }
    }

    pub fn always(self) -> Fault {
        self.times(usize::MAX)
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `METHOD /path?query`.
    pub line: String,
    pub headers: Vec<(String, String)>,
    /// Bytes on the wire, and what they were after decompression.
    pub wire: usize,
    pub body: Vec<u8>,
    pub status: u16,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

pub struct Standin {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    gate: Arc<Gate>,
    tls: bool,
}

/// Whether connections are let in, and those that are.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Standin {
    pub fn start() -> Standin {
        Standin::with(Options::default())
    }

    pub fn with(options: Options) -> Standin {
        let world = Arc::new(Mutex::new(World::new(options)));
        Standin::over(world, false)
    }

    /// Another endpoint of the same data, as a second coordinator is.
    pub fn second(&self) -> Standin {
        Standin::over(Arc::clone(&self.world), false)
    }

    /// Speaks TLS with a certificate of [`tls::AUTHORITY`] for 127.0.0.1.
    pub fn secure() -> Standin {
        Standin::over(Arc::new(Mutex::new(World::new(Options::default()))), true)
    }

    fn over(world: Arc<Mutex<World>>, tls: bool) -> Standin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let gate = Arc::new(Gate::default());
        let standin = Standin {
            address,
            world: Arc::clone(&world),
            gate: Arc::clone(&gate),
            tls,
        };
        std::thread::spawn(move || accept(&listener, &gate, &world, tls));
        standin
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Settings for this stand-in, as root.
    pub fn settings(&self, database: &str) -> config::Arangodb {
        config::Arangodb {
            endpoints: vec![self.url()],
            database: database.into(),
            username: "root".into(),
            password: "secret-of-root".into(),
            auth: config::Auth::Basic,
            ca_file: None,
            compression: config::Compression::None,
            timeout: Duration::from_secs(5),
            shards: 1,
            replication_factor: 1,
            vector_dimensions: 0,
        }
    }

    pub fn fail(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    pub fn heal(&self) {
        self.world().faults.clear();
    }

    /// Lets nobody in and ends all connections, as a server that is down; `open` undoes it.
    pub fn close(&self) {
        self.gate.closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn open(&self) {
        self.gate.closed.store(false, Ordering::SeqCst);
    }

    /// Ends the connections there are.
    pub fn cut(&self) {
        for stream in self.gate.open.lock().expect("gate").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// A restart without a fixed secret: tokens given out before are worth nothing.
    pub fn restart(&self) {
        self.world().secret += 1;
        self.cut();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.world().seen.clone()
    }

    /// Requests whose `METHOD /path?query` has `part` in it.
    pub fn count(&self, part: &str) -> usize {
        self.world().seen.iter().filter(|s| s.line.contains(part)).count()
    }

    pub fn forget_seen(&self) {
        self.world().seen.clear();
    }

    /// The documents of a collection, by key.
    pub fn documents(&self, database: &str, collection: &str) -> Vec<Value> {
        let world = self.world();
        let Some(c) = world
            .databases
            .get(database)
            .and_then(|d| d.collections.get(collection))
        else {
            return Vec::new();
        };
        c.documents.values().cloned().collect()
    }

    pub fn keys(&self, database: &str, collection: &str) -> Vec<String> {
        let text = |d: &Value| d["_key"].as_str().unwrap_or_default().to_string();
        self.documents(database, collection).iter().map(text).collect()
    }

    pub fn has_database(&self, database: &str) -> bool {
        self.world().databases.contains_key(database)
    }

    /// Brings the search views up to date, as the server's next commit would.
    pub fn commit_views(&self, database: &str) {
        if let Some(database) = self.world().databases.get_mut(database) {
            let views: Vec<String> = database.views.keys().cloned().collect();
            views.iter().for_each(|v| database.commit_view(v));
        }
    }

    /// Looks into, or changes, everything there is.
    pub fn with_world<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        f(&mut self.world())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.gate.ended.store(true, Ordering::SeqCst);
        self.close();
        // The accepting thread wakes up and sees that it is over.
        let _ = TcpStream::connect(self.address);
        let violations = std::mem::take(&mut self.world().violations);
        if !violations.is_empty() && !std::thread::panicking() {
            panic!("against the OpenAPI document:\n{}", violations.join("\n"));
        }
    }
}

fn accept(listener: &TcpListener, gate: &Arc<Gate>, world: &Arc<Mutex<World>>, tls: bool) {
    for stream in listener.incoming() {
        if gate.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if gate.closed.load(Ordering::SeqCst) {
            continue;
        }
        let _ = stream.set_nodelay(true);
        if let Ok(copy) = stream.try_clone() {
            gate.open.lock().expect("gate").push(copy);
        }
        let world = Arc::clone(world);
        std::thread::spawn(move || {
            let Ok(mut plain) = stream.try_clone() else { return };
            if tls {
                serve(&mut tls::over(plain), &world);
            } else {
                serve(&mut plain, &world);
            }
            // The gate holds the connection too, so dropping it here would not end it.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
    }
}

fn serve(stream: &mut impl http::Wire, world: &Arc<Mutex<World>>) {
    let mut left = Vec::new();
    while let Ok(Some(request)) = Request::read(stream, &mut left) {
        let mut lock = world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fault = lock.fault_for(&request);
        let mut half = false;
        let response = match &fault {
            Some(What::Refuse(status, num, message)) => Some(Response::error(*status, *num, message)),
            Some(What::Say(status, body, header)) => {
                let mut response = Response::raw(*status, body.as_bytes().to_vec());
                response
                    .headers
                    .extend(header.map(|(n, v)| (n.to_string(), v.to_string())));
                Some(response)
            }
            Some(What::Cut) => {
                lock.note(&request, 0);
                break;
            }
            Some(What::CutAfter) => {
                lock.handle(&request);
                break;
            }
            Some(What::RefuseAfter(status, num, message)) => {
                lock.handle(&request);
                Some(Response::error(*status, *num, message))
            }
            Some(What::Half) => {
                half = true;
                None
            }
            Some(What::Slow(pause)) => {
                drop(lock);
                std::thread::sleep(*pause);
                lock = world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                None
            }
            Some(What::Record(key, num, message)) => {
                lock.record_fault = Some((key, *num, *message));
                None
            }
            None => None,
        };
        let response = match response {
            Some(response) => {
                lock.note(&request, response.status);
                response
            }
            None => lock.handle(&request),
        };
        lock.record_fault = None;
        drop(lock);
        if response.write(stream, half).is_err() || half {
            break;
        }
    }
}
