//! The way to the server: endpoints in turn, one attempt after another, answers whole or not at all.
//!
//! * A few HTTP/1.1 connections are kept per endpoint; bodies are handed to the kernel where they lie, with a
//!   `Content-Length` (the server refuses chunked bodies).
//! * Requests stick to one coordinator. It is left on a connection error or a 503, and then the next one is asked at
//!   once; after a time-out the next *request* goes elsewhere, so that one call never takes longer than its time-out
//!   (and a login). Everything the agent sends may be repeated, so an ambiguous outcome is simply replayed.
//! * A cursor lives on the coordinator that made it: its requests are pinned.
//! * Proxy variables of the environment are ignored: a database is not behind the way out to the web.
//! * `Retry-After` of a server or proxy is honoured, up to a minute: until then no request leaves.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use reqwest::{Method, Url};

use super::auth::Auth;
use super::errors::{ApiError, Error};
use super::queue::{self, Queue};
pub use super::request::{Answer, Request, Scope};
use super::request::{bad_endpoint, endpoint};
use crate::config;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 << 20;
/// Smaller bodies are not worth compressing.
const MIN_COMPRESSED: usize = 1024;
const MAX_HOLD: Duration = Duration::from_secs(60);

/// A connection to one database, through one or several coordinators. Cheap to use from many tasks.
pub struct Client {
    http: reqwest::Client,
    endpoints: Vec<Url>,
    /// Index of the endpoint that answered last.
    current: AtomicUsize,
    auth: Auth,
    database: String,
    timeout: Duration,
    gzip: bool,
    hold: Mutex<Option<Instant>>,
    queue: Queue,
    /// Of the last large request that was written here.
    buffer: Mutex<Vec<u8>>,
}

impl Client {
    /// Prepares a client; nothing is sent yet. Fails only on settings that can never work.
    pub fn new(settings: &config::Arangodb) -> Result<Client, Error> {
        let endpoints = settings
            .endpoints
            .iter()
            .map(|e| endpoint(e))
            .collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(Error::Settings("store.arangodb.endpoints is empty".into()));
        }
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            // Two batches in flight, each with its runs beside it.
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(60))
            .connect_timeout(settings.timeout.min(Duration::from_secs(10)))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("logagent/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca_file {
            let bad =
                |e: &dyn std::fmt::Display| Error::Settings(format!("store.arangodb.ca_file {}: {e}", path.display()));
            let pem = std::fs::read(path).map_err(|e| bad(&e))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| bad(&e))?;
            if certificates.is_empty() {
                return Err(bad(&"there is no certificate in it"));
            }
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = builder.build().map_err(|e| Error::Settings(reason(&e)))?;
        Ok(Client {
            http,
            endpoints,
            current: AtomicUsize::new(0),
            auth: Auth::new(settings)?,
            database: settings.database.clone(),
            timeout: settings.timeout,
            gzip: settings.compression == config::Compression::Gzip,
            hold: Mutex::new(None),
            queue: Queue::new(settings.timeout),
            buffer: Mutex::default(),
        })
    }

    /// The database that requests go to.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The longest that one attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// An empty buffer in which a large request was written before: half a megabyte a batch is not made anew each time.
    pub(super) fn buffer(&self) -> Vec<u8> {
        std::mem::take(&mut *self.buffer.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Keeps a buffer for the next request.
    pub(super) fn keep_buffer(&self, buffer: Vec<u8>) {
        *self.buffer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = buffer;
    }

    /// How long requests wait in the server's queue, by its latest answer.
    #[must_use]
    pub fn queue_time(&self) -> Duration {
        self.queue.last()
    }

    /// The endpoint in use, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint_name(self.current.load(Ordering::Relaxed))
    }

    /// Sends a request until an endpoint answers it. `Ok` is a success status; the server's errors are
    /// [`Error::Api`]. A 401 is answered by one new login and one replay where tokens are used.
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, Error> {
        self.check_hold()?;
        let mut request = request;
        let encoded = self.compress(&mut request).await?;
        let mut replayed = false;
        loop {
            let (header, serial) = match request.scope {
                Scope::Open => (None, 0),
                _ => self.credentials().await?,
            };
            let answer = self.any_endpoint(&request, header.as_ref(), encoded).await?;
            if (200..300).contains(&answer.status) {
                return Ok(answer);
            }
            if answer.status == 401
                && !replayed
                && request.scope != Scope::Open
                && let Auth::Jwt { token, .. } = &self.auth
            {
                replayed = true;
                token.lock().await.discard(serial);
                continue;
            }
            self.note_hold(&answer);
            return Err(Error::Api(ApiError::of(answer.status, &answer.body)));
        }
    }

    /// The header to send, and the serial number of the token in it. Logs in where a token is missing or old.
    async fn credentials(&self) -> Result<(Option<HeaderValue>, u64), Error> {
        let (username, password, token) = match &self.auth {
            Auth::Basic(header) => return Ok((Some(header.clone()), 0)),
            Auth::Jwt {
                username,
                password,
                token,
            } => (username, password, token),
        };
        // Held over the login on purpose: whoever comes meanwhile waits for its outcome instead of logging in too.
        let mut token = token.lock().await;
        if let Some(header) = token.usable(Instant::now()) {
            return Ok((header, token.serial));
        }
        match self.login(username, password).await {
            Ok(Some(jwt)) => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
                token.adopt(&jwt, Instant::now(), unix)?;
            }
            Ok(None) => token.switched_off(),
            Err(e) => {
                return match token.stale() {
                    Some(header) => Ok((Some(header), token.serial)),
                    None => Err(e),
                };
            }
        }
        Ok((token.stale(), token.serial))
    }

    /// A new token; `None` where the server's authentication is off.
    async fn login(&self, username: &str, password: &str) -> Result<Option<String>, Error> {
        #[derive(serde::Serialize)]
        struct Login<'a> {
            username: &'a str,
            password: &'a str,
        }
        #[derive(serde::Deserialize)]
        struct Token {
            jwt: String,
        }
        let body = serde_json::to_vec(&Login { username, password }).map_err(|e| Error::Settings(e.to_string()))?;
        let request = Request::post(&["_open", "auth"], body.into()).scope(Scope::Open);
        // Never compressed: the server refuses compressed bodies of those it does not know yet.
        let answer = self.any_endpoint(&request, None, false).await?;
        match answer.status {
            200..=299 => Ok(Some(answer.json::<Token>()?.jwt)),
            404 => Ok(None),
            status => {
                self.note_hold(&answer);
                let mut error = ApiError::of(status, &answer.body);
                error.message = format!("login of user {username:?} refused: {}", error.message);
                Err(Error::Api(error))
            }
        }
    }

    /// One attempt at each endpoint, beginning with the one that answered last.
    async fn any_endpoint(
        &self,
        request: &Request<'_>,
        auth: Option<&HeaderValue>,
        encoded: bool,
    ) -> Result<Answer, Error> {
        let tries = if request.pinned.is_some() {
            1
        } else {
            self.endpoints.len()
        };
        let mut at = request.pinned.unwrap_or_else(|| self.current.load(Ordering::Relaxed));
        let mut tried = 1;
        loop {
            let result = self.attempt(at, request, auth, encoded).await;
            let elsewhere = match &result {
                Ok(answer) => matches!(answer.status, 503 | 421),
                Err(Error::Unreachable { timed_out, .. }) => {
                    if *timed_out && request.pinned.is_none() {
                        self.leave(at);
                        return result;
                    }
                    true
                }
                Err(_) => false,
            };
            if !elsewhere || tried >= tries {
                return result;
            }
            let next = self.leave(at);
            tracing::info!(
                from = self.endpoint_name(at),
                to = self.endpoint_name(next),
                "endpoint left for the next one"
            );
            at = next;
            tried += 1;
        }
    }

    /// Makes the endpoint after `at` the current one, unless another request has moved on already.
    fn leave(&self, at: usize) -> usize {
        let next = (at + 1) % self.endpoints.len();
        let _ = self
            .current
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        next
    }

    async fn attempt(
        &self,
        at: usize,
        request: &Request<'_>,
        auth: Option<&HeaderValue>,
        encoded: bool,
    ) -> Result<Answer, Error> {
        let url = self.url(at, request)?;
        let mut out = self
            .http
            .request(request.method.clone(), url)
            .timeout(request.timeout.unwrap_or(self.timeout))
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(auth) = auth {
            out = out.header(AUTHORIZATION, auth.clone());
        }
        if request.scope != Scope::Open {
            out = out.header(&queue::HEADER, self.queue.limit());
        }
        if let Some(body) = &request.body {
            out = out
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.clone());
            if encoded {
                out = out.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        } else if request.method == Method::POST {
            // The next page of a cursor has no body, and the server wants to be told so.
            out = out.header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let unreachable = |e: reqwest::Error| Error::Unreachable {
            endpoint: self.endpoint_name(at),
            timed_out: e.is_timeout() && !e.is_connect(),
            reason: reason(&e),
        };
        let mut response = out.send().await.map_err(unreachable)?;
        self.queue.note(response.headers());
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.trim().parse().ok());
        let status = response.status().as_u16();
        let body = self.read(at, &mut response).await?;
        Ok(Answer {
            status,
            body,
            endpoint: at,
            retry_after,
        })
    }

    /// The answer's body, whole. Small ones come in one piece and are not copied.
    async fn read(&self, at: usize, response: &mut reqwest::Response) -> Result<Bytes, Error> {
        let unreachable = |e: reqwest::Error| Error::Unreachable {
            endpoint: self.endpoint_name(at),
            timed_out: e.is_timeout(),
            reason: format!("the answer broke off: {}", reason(&e)),
        };
        let Some(first) = response.chunk().await.map_err(unreachable)? else {
            return Ok(Bytes::new());
        };
        let Some(second) = response.chunk().await.map_err(unreachable)? else {
            return Ok(first);
        };
        let mut whole = BytesMut::from(&first[..]);
        whole.extend_from_slice(&second);
        while let Some(more) = response.chunk().await.map_err(unreachable)? {
            if whole.len() + more.len() > MAX_ANSWER {
                return Err(Error::Strange {
                    endpoint: self.endpoint_name(at),
                    what: format!("more than {} MiB", MAX_ANSWER >> 20),
                });
            }
            whole.extend_from_slice(&more);
        }
        Ok(whole.freeze())
    }

    fn url(&self, at: usize, request: &Request<'_>) -> Result<Url, Error> {
        let mut url = self
            .endpoints
            .get(at)
            .or(self.endpoints.first())
            .cloned()
            .ok_or_else(|| bad_endpoint(""))?;
        {
            let mut path = url
                .path_segments_mut()
                .map_err(|()| bad_endpoint("a path cannot be added"))?;
            path.pop_if_empty();
            match request.scope {
                Scope::Database => path.extend(["_db", &self.database]),
                Scope::System => path.extend(["_db", "_system"]),
                Scope::Open => &mut path,
            };
            path.extend(request.path);
        }
        if !request.query.is_empty() {
            url.set_query(Some(request.query));
        }
        Ok(url)
    }

    /// Compresses the body where that is asked for and pays; says whether it did.
    async fn compress(&self, request: &mut Request<'_>) -> Result<bool, Error> {
        if !self.gzip || request.scope == Scope::Open {
            return Ok(false);
        }
        let Some(body) = request.body.clone().filter(|b| b.len() >= MIN_COMPRESSED) else {
            return Ok(false);
        };
        let packed = tokio::task::spawn_blocking(move || {
            let out = Vec::with_capacity(body.len() / 4);
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, &body).and_then(|()| encoder.finish())
        });
        let packed = packed.await.map_err(|e| Error::Settings(e.to_string()))?;
        request.body = Some(packed.map_err(|e| Error::Settings(e.to_string()))?.into());
        Ok(true)
    }

    fn check_hold(&self) -> Result<(), Error> {
        let mut hold = self.hold.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(until) = *hold else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            *hold = None;
            return Ok(());
        }
        Err(Error::Held(left.as_secs() + 1))
    }

    fn note_hold(&self, answer: &Answer) {
        if let (Some(seconds), 408 | 429 | 500..=599) = (answer.retry_after, answer.status) {
            let until = Instant::now() + Duration::from_secs(seconds).min(MAX_HOLD);
            *self.hold.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(until);
        }
    }

    fn endpoint_name(&self, at: usize) -> String {
        self.endpoints
            .get(at)
            .map(|u| u.as_str().trim_end_matches('/').to_string())
            .unwrap_or_default()
    }
}

/// The innermost cause, which is the one that helps ("Connection refused"), without the URL.
fn reason(e: &reqwest::Error) -> String {
    if e.is_timeout() {
        return "timed out".into();
    }
    let mut cause: &dyn std::error::Error = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
