//! Asking questions in AQL: results page by page, and what a query would do.
//!
//! Every query carries a `maxRuntime` and a `memoryLimit`, so that a slow one ends on the server too, not only for the
//! client that gave up. Results are streamed: the server computes a page when it is asked for, and neither side holds
//! the whole. A page is parsed straight into the caller's type.
//!
//! Queries that belong to the program stand in `queries/*.aql`, one each, under a comment that says what it answers and
//! which index serves it; [`text`] cuts that comment off before the query travels.

use std::time::Duration;

use reqwest::Method;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Answer, Client, Request};
use super::errors::{ApiError, Error};

/// How long the server keeps the rest of a result that nobody fetches: a reader may stop for a while. The default of a
/// single server is 30 s.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Pauses before a query that met a lock is tried again.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];

/// The query of an `.aql` file, without the comment lines at its head.
#[must_use]
pub fn text(file: &str) -> &str {
    let mut rest = file;
    while rest.starts_with("//") {
        rest = rest.split_once('\n').map_or("", |(_, after)| after);
    }
    rest.trim()
}

/// How a query runs.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryOptions {
    /// Rows in one page, at least 1.
    pub batch_size: u32,
    /// The server ends the query after this long (error 1500). Never zero: that would mean without end.
    pub max_runtime: Duration,
    /// Bytes that the query may use on the server (error 32). Zero would mean without limit.
    pub memory_limit: u64,
    /// Counts what there is beyond the last `LIMIT`; costs a full scan of the matches, and the streaming.
    pub full_count: bool,
    /// Fails instead of answering null where a function got a wrong value.
    pub fail_on_warning: bool,
}

impl Default for QueryOptions {
    fn default() -> QueryOptions {
        QueryOptions {
            batch_size: 1000,
            max_runtime: Duration::from_secs(30),
            memory_limit: 256 << 20,
            full_count: false,
            fail_on_warning: false,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wish<'a, B> {
    query: &'a str,
    bind_vars: &'a B,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    options: WishOptions,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WishOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_runtime: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    full_count: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fail_on_warning: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: DeserializeOwned")]
struct Reply<T> {
    result: Vec<T>,
    #[serde(default)]
    has_more: bool,
    id: Option<String>,
    extra: Option<Extra>,
}

#[derive(Default, Deserialize)]
struct Extra {
    #[serde(default)]
    stats: Stats,
    #[serde(default)]
    warnings: Vec<Warning>,
}

/// What a query did, as far as the server said; streamed queries say it with their last page.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    pub writes_executed: u64,
    pub writes_ignored: u64,
    pub scanned_full: u64,
    pub scanned_index: u64,
    pub filtered: u64,
    /// Rows there are before the last `LIMIT`, where that was asked for.
    pub full_count: Option<u64>,
    /// Bytes.
    pub peak_memory_usage: u64,
    /// Seconds.
    pub execution_time: f64,
}

/// Something that made a value null without failing the query.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Warning {
    pub code: i64,
    pub message: String,
}

/// A running query. Pages come from [`Cursor::next_page`]; who stops early calls [`Cursor::close`], or the server
/// keeps the cursor until [`PATIENCE`] has passed.
pub struct Cursor<'c, T> {
    client: &'c Client,
    endpoint: usize,
    id: Option<String>,
    /// A page may take as long as the query: it is computed when it is asked for.
    timeout: Duration,
    first: Option<Vec<T>>,
    stats: Stats,
    warnings: Vec<Warning>,
}

impl Client {
    /// Starts a query. `binds` serialises to an object; a collection bound to `@@name` has the key `@name`.
    pub async fn cursor<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        query: &str,
        binds: &B,
        options: &QueryOptions,
    ) -> Result<Cursor<'_, T>, Error> {
        let wish = Wish {
            query,
            bind_vars: binds,
            batch_size: Some(options.batch_size.max(1)),
            memory_limit: Some(options.memory_limit),
            ttl: Some(PATIENCE.as_secs()),
            options: WishOptions {
                max_runtime: Some(options.max_runtime.as_secs_f64().max(0.001)),
                stream: !options.full_count,
                full_count: options.full_count,
                fail_on_warning: options.fail_on_warning,
            },
        };
        let mut request = Request::post(&["_api", "cursor"], json(&wish)?);
        let timeout = self.patience(options);
        request.timeout = Some(timeout);
        let answer = self.send(request).await?;
        let reply: Reply<T> = self.page(&answer).await?;
        let mut cursor = Cursor {
            client: self,
            endpoint: answer.endpoint,
            id: None,
            timeout,
            first: None,
            stats: Stats::default(),
            warnings: Vec::new(),
        };
        cursor.first = Some(cursor.take(reply));
        Ok(cursor)
    }

    /// The page in an answer. Where it cannot be read nobody asks for the next one: the server is told so.
    async fn page<T: DeserializeOwned>(&self, answer: &Answer) -> Result<Reply<T>, Error> {
        let error = match answer.json() {
            Ok(reply) => return Ok(reply),
            Err(e) => e,
        };
        let bare: Result<Reply<IgnoredAny>, _> = answer.json();
        if let Ok(Reply {
            has_more: true,
            id: Some(id),
            ..
        }) = bare
        {
            self.end_cursor(&id, answer.endpoint).await;
        }
        Err(error)
    }

    async fn end_cursor(&self, id: &str, endpoint: usize) {
        let path = ["_api", "cursor", id];
        let mut request = Request::new(Method::DELETE, &path);
        request.pinned = Some(endpoint);
        if let Err(e) = self.send(request).await {
            tracing::debug!(error = %e, "cursor not closed");
        }
    }

    /// Runs a query to its end and returns all rows. For results that are small by nature.
    pub async fn rows<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        query: &str,
        binds: &B,
        options: &QueryOptions,
    ) -> Result<(Vec<T>, Stats), Error> {
        let mut cursor = self.cursor(query, binds, options).await?;
        let mut rows = Vec::new();
        while let Some(page) = cursor.next_page().await? {
            rows.extend(page);
        }
        Ok((rows, cursor.stats))
    }

    /// Runs a query that writes, given as the body of its request. One that met a lock, or the same document on its
    /// way from another writer, is tried again a few times.
    pub async fn change(&self, body: bytes::Bytes, options: &QueryOptions) -> Result<Stats, Error> {
        let timeout = self.patience(options);
        let mut pauses = PAUSES.iter();
        loop {
            let mut request = Request::post(&["_api", "cursor"], body.clone());
            request.timeout = Some(timeout);
            match self.send(request).await {
                Ok(answer) => {
                    let reply: Reply<IgnoredAny> = answer.json()?;
                    return Ok(reply.extra.unwrap_or_default().stats);
                }
                Err(Error::Api(e)) if matches!(e.num, Some(1200 | 28 | 18 | 29)) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(Error::Api(e)),
                },
                Err(e) => return Err(e),
            }
        }
    }

    /// [`Client::change`] with a query file and its bind values.
    pub async fn change_with<B: Serialize + Sync>(
        &self,
        file: &str,
        binds: &B,
        options: &QueryOptions,
    ) -> Result<Stats, Error> {
        let wish = Wish {
            query: text(file),
            bind_vars: binds,
            batch_size: None,
            memory_limit: Some(options.memory_limit),
            ttl: None,
            options: WishOptions {
                max_runtime: Some(options.max_runtime.as_secs_f64()),
                ..WishOptions::default()
            },
        };
        self.change(json(&wish)?, options).await
    }

    /// How long to wait for an answer to a query: a second more than the server grants itself, since its own verdict is
    /// the better message.
    fn patience(&self, options: &QueryOptions) -> Duration {
        let granted = options.max_runtime.saturating_add(Duration::from_secs(1));
        granted.max(self.timeout())
    }

    /// What the query would do, without running it.
    pub async fn explain<B: Serialize + Sync>(&self, query: &str, binds: &B) -> Result<Plan, Error> {
        #[derive(Deserialize)]
        struct Reply {
            plan: Plan,
        }
        let wish = Wish {
            query,
            bind_vars: binds,
            batch_size: None,
            memory_limit: None,
            ttl: None,
            options: WishOptions::default(),
        };
        let answer = self.send(Request::post(&["_api", "explain"], json(&wish)?)).await?;
        Ok(answer.json::<Reply>()?.plan)
    }
}

impl<T: DeserializeOwned> Cursor<'_, T> {
    /// The next page, empty pages included; `None` after the last.
    pub async fn next_page(&mut self) -> Result<Option<Vec<T>>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(id) = self.id.clone() else { return Ok(None) };
        let path = ["_api", "cursor", id.as_str()];
        let mut request = Request::new(Method::POST, &path);
        request.pinned = Some(self.endpoint);
        request.timeout = Some(self.timeout);
        // Not gone on failure: a page that was lost on the way cannot be asked for again without `allowRetry`, so the
        // cursor ends here, and says why.
        self.id = None;
        let answer = self.client.send(request).await?;
        let reply: Reply<T> = self.client.page(&answer).await?;
        let page = self.take(reply);
        Ok(Some(page))
    }

    /// Tells the server that no more is wanted. Failing is harmless: the cursor's time to live ends it.
    pub async fn close(mut self) {
        if let Some(id) = self.id.take() {
            self.client.end_cursor(&id, self.endpoint).await;
        }
    }

    /// Complete once the last page has come.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Complete once the last page has come.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    fn take(&mut self, reply: Reply<T>) -> Vec<T> {
        self.id = if reply.has_more { reply.id } else { None };
        if let Some(extra) = reply.extra {
            self.stats = extra.stats;
            self.warnings.extend(extra.warnings);
        }
        reply.result
    }
}

/// The part of an execution plan that says what a query may touch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    pub is_modification_query: bool,
    pub collections: Vec<PlanCollection>,
    pub nodes: Vec<Value>,
    pub rules: Vec<String>,
    pub estimated_cost: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PlanCollection {
    pub name: String,
    /// `read`, `write` or `exclusive`.
    #[serde(rename = "type")]
    pub access: String,
}

impl Plan {
    /// Nothing that the query touches is written to. Functions of the server's users (JavaScript) are beyond this; a
    /// user who may only read is the hard guarantee.
    #[must_use]
    pub fn reads_only(&self) -> bool {
        !self.is_modification_query && self.collections.iter().all(|c| c.access == "read")
    }
}

impl ApiError {
    /// The query took longer than its `maxRuntime`, or was killed.
    #[must_use]
    pub fn took_too_long(&self) -> bool {
        self.num == Some(1500)
    }
}

fn json<T: Serialize>(value: &T) -> Result<bytes::Bytes, Error> {
    serde_json::to_vec(value)
        .map(Into::into)
        .map_err(|e| Error::Settings(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_at_the_head_of_a_query_file_does_not_travel() {
        assert_eq!(
            text("// What: x\n// Index: y\nFOR d IN c // here\n  RETURN d\n"),
            "FOR d IN c // here\n  RETURN d"
        );
        assert_eq!(text("// only this"), "");
    }

    #[test]
    fn a_plan_that_writes_anything_is_told() {
        let plan = |s: &str| serde_json::from_str::<Plan>(s).unwrap();
        assert!(plan(r#"{"collections":[{"name":"c","type":"read"}],"isModificationQuery":false}"#).reads_only());
        assert!(!plan(r#"{"collections":[{"name":"c","type":"write"}]}"#).reads_only());
        assert!(!plan(r#"{"isModificationQuery":true}"#).reads_only());
    }
}
