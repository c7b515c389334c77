//! What is asked, of whom, and what came back.

use bytes::Bytes;
use reqwest::{Method, Url};

use std::time::Duration;

use super::errors::Error;

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `/_db/{the configured database}`.
    Database,
    /// `/_db/_system`: databases are made there.
    System,
    /// The root, without credentials.
    Open,
}

/// One request. The path is given in pieces, which are escaped, and goes on with a query string.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: Method,
    pub scope: Scope,
    pub path: &'a [&'a str],
    pub query: &'a str,
    pub body: Option<Bytes>,
    /// Only this endpoint may answer.
    pub pinned: Option<usize>,
    /// Instead of the configured time-out.
    pub timeout: Option<Duration>,
}

impl<'a> Request<'a> {
    #[must_use]
    pub fn new(method: Method, path: &'a [&'a str]) -> Request<'a> {
        Request {
            method,
            scope: Scope::Database,
            path,
            query: "",
            body: None,
            pinned: None,
            timeout: None,
        }
    }

    #[must_use]
    pub fn get(path: &'a [&'a str]) -> Request<'a> {
        Request::new(Method::GET, path)
    }

    #[must_use]
    pub fn post(path: &'a [&'a str], body: Bytes) -> Request<'a> {
        Request {
            body: Some(body),
            ..Request::new(Method::POST, path)
        }
    }

    #[must_use]
    pub fn query(self, query: &'a str) -> Request<'a> {
        Request { query, ..self }
    }

    #[must_use]
    pub fn scope(self, scope: Scope) -> Request<'a> {
        Request { scope, ..self }
    }
}

/// An answer with a status of success.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// Which endpoint gave it.
    pub endpoint: usize,
    /// Seconds, as the answer's `Retry-After` says.
    pub retry_after: Option<u64>,
}

impl Answer {
    /// The body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|e| Error::Strange {
            endpoint: "the server".into(),
            what: format!("HTTP {} with {e}", self.status),
        })
    }
}

/// An error of the setting `store.arangodb.endpoints`.
#[must_use]
pub fn bad_endpoint(why: &str) -> Error {
    Error::Settings(format!("store.arangodb.endpoints: {why}"))
}

/// An endpoint as typed; ArangoDB's own spellings `tcp://` and `ssl://` are understood. Credentials in it are dropped:
/// they have keys of their own.
pub fn endpoint(text: &str) -> Result<Url, Error> {
    let spelled = match text.split_once("://") {
        Some(("tcp" | "http+tcp", rest)) => format!("http://{rest}"),
        Some(("ssl" | "http+ssl", rest)) => format!("https://{rest}"),
        _ => text.to_string(),
    };
    let mut url = Url::parse(spelled.trim()).map_err(|e| bad_endpoint(&format!("not a URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad_endpoint(
            "an endpoint looks like http://host:8529 or https://host:8529",
        ));
    }
    // Both can only fail on URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_understood_in_arangodbs_own_spelling_and_lose_their_credentials() {
        let url = |s: &str| endpoint(s).map(|u| u.to_string());
        assert_eq!(url("tcp://db:8529").unwrap(), "http://db:8529/");
        assert_eq!(url("ssl://db:8529").unwrap(), "https://db:8529/");
        assert_eq!(url("http://root:secret@db:8529").unwrap(), "http://db:8529/");
        assert!(url("db:8529").is_err());
        assert!(
            url("http://root:hunter2@")
                .unwrap_err()
                .to_string()
                .find("hunter2")
                .is_none()
        );
    }
}
