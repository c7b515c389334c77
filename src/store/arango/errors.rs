//! What can go wrong with a request, and what follows from it.
//!
//! The server's `errorNum` decides; the HTTP status only backs it up, because 403 covers both "forbidden for ever" (11)
//! and "try later" (1004), and 500 is the default for every number without a status of its own. Answers without a
//! number come from proxies, or from a server that cannot do better; for those the status decides.
//!
//! Two questions are asked. [`Class`] says what a refused *request* means for everything in it. [`Fate`] says what an
//! error entry among the results of one request means for that one *record*.

use serde::Deserialize;

use crate::store::WriteError;

/// Why a request brought nothing that can be used. The texts never contain a password, a token or a body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No complete answer: connection, TLS, time-out, or cut in the middle. Whether the server did what was asked is
    /// unknown.
    #[error("no answer from {endpoint}: {reason}")]
    Unreachable {
        endpoint: String,
        reason: String,
        timed_out: bool,
    },
    /// The server's own error.
    #[error("{0}")]
    Api(ApiError),
    /// An answer that ArangoDB would not give: a proxy, or another program on that port.
    #[error("{endpoint} gave an answer that is none of ArangoDB's: {what}")]
    Strange { endpoint: String, what: String },
    /// The server asked to be left alone for a while (`Retry-After`).
    #[error("the server asked to wait another {0} s")]
    Held(u64),
    /// The settings cannot work: a bad endpoint, an unreadable CA file.
    #[error("{0}")]
    Settings(String),
}

/// An error answer of the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} (HTTP {status}{})", .message, .num.map(|n| format!(", error {n}")).unwrap_or_default())]
pub struct ApiError {
    pub status: u16,
    /// The server's own number; `None` where the answer names none.
    pub num: Option<i64>,
    pub message: String,
}

/// The body of an error answer, and of an error entry in the results of a bulk request. Entries that a coordinator
/// makes for a shard it could not reach have no text.
#[derive(Deserialize)]
pub struct ErrorBody {
    #[serde(default)]
    pub error: bool,
    #[serde(rename = "errorNum")]
    pub num: Option<i64>,
    #[serde(rename = "errorMessage")]
    pub message: Option<String>,
}

impl ApiError {
    /// Reads an error answer; one that is no JSON object keeps its first bytes as text.
    #[must_use]
    pub fn of(status: u16, body: &[u8]) -> ApiError {
        let parsed = serde_json::from_slice::<ErrorBody>(body).ok();
        let (num, message) = parsed.map_or((None, None), |b| (b.num, b.message));
        let message = message.filter(|m| !m.is_empty()).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body.get(..body.len().min(200)).unwrap_or_default());
            let text = text.trim();
            if text.is_empty() || text == "{}" {
                "no explanation given".to_string()
            } else {
                text.to_string()
            }
        });
        ApiError { status, num, message }
    }

    /// What the refusal means for the whole request.
    #[must_use]
    pub fn class(&self) -> Class {
        self.num
            .and_then(Class::of_number)
            .unwrap_or_else(|| Class::of_status(self.status))
    }

    /// The object that was to be created is there already.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        matches!(self.num, Some(1207 | 1702 | 1925)) || (self.status == 409 && self.num == Some(1005))
    }

    /// A collection, database, view, graph or index is missing.
    #[must_use]
    pub fn missing(&self) -> bool {
        self.status == 404 || matches!(self.num, Some(1203 | 1228 | 1924 | 1212))
    }
}

/// What a refused request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passing: tried again with back-off.
    Transient,
    /// Needs a person, or a grant, or space: tried again slowly, with an alert. Nothing becomes a dead letter.
    Operator,
    /// Too much at once: half of it may pass.
    Halve,
    /// One of the records spoils the request: halves find it.
    Bisect,
    /// The server is damaged, or a record makes it fail: retried for long, then taken apart.
    Broken,
    /// The query is wrong, or took too long: its author is told.
    Caller,
    /// No rule knows it: retried.
    Unknown,
}

impl Class {
    fn of_number(num: i64) -> Option<Class> {
        Some(match num {
            600 | 17 | 1216 | 1221 | 1222 | 1226 | 1227 | 1233 | 1620 | 1210 => Class::Bisect,
            32 => Class::Halve,
            10
            | 11
            | 400
            | 601
            | 1204
            | 1621
            | 1466
            | 1468
            | 1469
            | 1004
            | 1104
            | 1487
            | 1230
            | 1203
            | 1228
            | 1924
            | 9001..=9008 => Class::Operator,
            1501..=1580 | 1591 | 1600 | 1202 | 1212 | 1655 => Class::Caller,
            1 | 3 | 4 | 1100 | 1305 => Class::Broken,
            // 404, 405 and 501 as numbers repeat the status.
            404 | 405 | 9 | 31 | 1470 => Class::Operator,
            18 | 21 | 28 | 29 | 30 | 38 | 503 | 1200 | 1225 | 1302 | 1303 | 1304 | 1428 | 1429 | 1447 | 1448 | 1457
            | 1464 | 1465 | 1478 | 1489 | 1490 | 1491 | 1495 | 1496 | 1500 | 1601 | 1654 | 21003 | 21004 => {
                Class::Transient
            }
            _ => return None,
        })
    }

    fn of_status(status: u16) -> Class {
        match status {
            413 => Class::Halve,
            406 | 408 | 409 | 410 | 412 | 421 | 425 | 429 | 500 | 502..=504 => Class::Transient,
            400..=499 | 501 | 505 => Class::Operator,
            _ => Class::Unknown,
        }
    }
}

/// What an error entry means for its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Refused for good.
    Dead,
    /// Tried again with the next attempt.
    Again,
    /// A cure of the configuration is needed; the record waits.
    Operator,
    /// Tried again in a smaller request: once one record hits the limit, all after it get the same number.
    Smaller,
    /// No rule knows it: tried a few times, then refused.
    Unknown,
}

impl Fate {
    /// `message` tells a missing vector (the index wants it of each document: the configuration's fault) from other
    /// bad parameters.
    #[must_use]
    pub fn of(num: Option<i64>, message: &str) -> Fate {
        match num {
            Some(10) if message.contains("vector") => Fate::Operator,
            Some(10) => Fate::Dead,
            Some(32) => Fate::Smaller,
            Some(1202) => Fate::Unknown,
            Some(n) => match Class::of_number(n) {
                Some(Class::Bisect) => Fate::Dead,
                Some(Class::Operator) => Fate::Operator,
                Some(Class::Transient) => Fate::Again,
                _ => Fate::Unknown,
            },
            None => Fate::Again,
        }
    }
}

impl Error {
    /// What the failure means for a write. `what` is where it happened, for the reader of the log.
    #[must_use]
    pub fn into_write_error(self, what: &str) -> WriteError {
        let text = format!("{what}: {self}{}", self.advice());
        match &self {
            Error::Unreachable { .. } | Error::Held(_) => WriteError::Away(text),
            Error::Strange { .. } => WriteError::Away(text),
            Error::Settings(_) => WriteError::Refused(text),
            Error::Api(e) => match e.class() {
                Class::Operator | Class::Caller => WriteError::Refused(text),
                _ => WriteError::Away(text),
            },
        }
    }

    /// What a person can do about it, beginning with a separator; empty where waiting is all there is to do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        let Error::Api(e) = self else { return "" };
        match (e.status, e.num) {
            (401, _) => {
                "; check the user name and password, and that the user may see the database (a missing database is \
                 also told as this)"
            }
            (_, Some(11)) => "; the user lacks a permission: grant Access to the database and rw to its collections",
            (_, Some(1004)) => "; the server is read-only, or the user may only read this collection",
            (_, Some(1203 | 1228 | 1924)) => "; run `logagent init` with an account that may create it",
            (_, Some(1466 | 1468 | 1469)) => "; the collection must be sharded by _key alone: create it anew",
            (_, Some(1104)) => "; the server's disk is full",
            (_, Some(9001..=9008)) => "; the server's licence does not allow it",
            (_, Some(1487)) => "; the cluster has fewer DB-Servers than store.arangodb.replication_factor",
            (_, Some(10)) if e.message.contains("vector") => {
                "; is there a vector index on this collection? It must be on one of its own"
            }
            (404 | 405, None) => "; is this really an ArangoDB endpoint, or a proxy that does not pass this path on?",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_decides_before_the_status() {
        let class = |status, num| {
            ApiError {
                status,
                num,
                message: String::new(),
            }
            .class()
        };
        assert_eq!(class(403, Some(1004)), Class::Operator);
        assert_eq!(class(500, Some(32)), Class::Halve);
        assert_eq!(class(500, Some(1104)), Class::Operator);
        assert_eq!(class(500, Some(18)), Class::Transient);
        assert_eq!(class(500, None), Class::Transient);
        assert_eq!(class(412, Some(21004)), Class::Transient);
        assert_eq!(class(413, None), Class::Halve);
        assert_eq!(class(404, None), Class::Operator);
        assert_eq!(class(400, Some(600)), Class::Bisect);
        assert_eq!(class(400, Some(1501)), Class::Caller);
        assert_eq!(class(500, Some(4)), Class::Broken);
        assert_eq!(class(503, Some(77_777)), Class::Transient);
    }

    #[test]
    fn a_missing_vector_is_the_configurations_fault_and_another_bad_parameter_the_records() {
        assert_eq!(
            Fate::of(Some(10), "vector field not present in document"),
            Fate::Operator
        );
        assert_eq!(Fate::of(Some(10), "bad parameter"), Fate::Dead);
    }

    #[test]
    fn an_answer_that_is_no_json_keeps_its_first_words() {
        let e = ApiError::of(502, b"<html>Bad Gateway</html>");
        assert_eq!((e.num, e.message.as_str()), (None, "<html>Bad Gateway</html>"));
        assert_eq!(ApiError::of(404, b"").message, "no explanation given");
    }
}
