//! The first line of a connection, and who holds which named stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::NAME_BYTES;

/// What a first line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It is a record.
    None,
    /// Answers, for this connection alone.
    Ack,
    /// Answers, and a stream that can be taken up again.
    Stream(String),
    /// It has the key `logagent`, but asks for nothing that exists. It is a record too.
    Invalid(&'static str),
}

#[derive(Deserialize)]
struct FirstLine<'a> {
    #[serde(borrow, default)]
    logagent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
}

/// Reads a first line.
#[must_use]
pub fn read(line: &[u8]) -> Handshake {
    // A cheap look first: every line of every client without a handshake passes here once.
    if memchr::memmem::find(line, b"\"logagent\"").is_none() {
        return Handshake::None;
    }
    let Ok(first) = serde_json::from_slice::<FirstLine<'_>>(line) else {
        return Handshake::None;
    };
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    match (first.logagent, first.stream.map(text)) {
        (None, _) => Handshake::None,
        (Some(verb), _) if text(verb).as_deref() != Some("ack") => {
            Handshake::Invalid("unknown handshake: \"logagent\" must be \"ack\"; the line was taken as a record")
        }
        (Some(_), None) => Handshake::Ack,
        (Some(_), Some(Some(name))) if (1..=NAME_BYTES).contains(&name.len()) => Handshake::Stream(name),
        (Some(_), Some(_)) => Handshake::Invalid(
            "faulty handshake: \"stream\" must be a text of 1 to 256 bytes; the line was taken as a record",
        ),
    }
}

/// The named streams that connections hold.
#[derive(Default)]
pub struct Names {
    held: Mutex<HashMap<String, Held>>,
}

struct Held {
    turn: Arc<AsyncMutex<()>>,
    /// Ends the connection that has the turn.
    end: CancellationToken,
    /// Connections that hold this stream or wait for it.
    users: usize,
}

/// The right to read a named stream; given back when dropped.
pub struct Turn<'a> {
    names: &'a Names,
    name: String,
    guard: Option<OwnedMutexGuard<()>>,
    /// Cancelled when a newer connection wants the stream.
    pub superseded: CancellationToken,
}

impl Names {
    /// Waits until no other connection reads this stream; one that does not come to its end within `patience` is ended.
    /// `None` if this connection was itself superseded while it waited.
    pub async fn take(&self, name: &str, patience: Duration) -> Option<Turn<'_>> {
        let superseded = CancellationToken::new();
        let (turn, older) = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = held.entry(name.to_owned()).or_insert_with(|| Held {
                turn: Arc::default(),
                end: CancellationToken::new(),
                users: 0,
            });
            entry.users += 1;
            (
                entry.turn.clone(),
                std::mem::replace(&mut entry.end, superseded.clone()),
            )
        };
        let mut mine = Turn {
            names: self,
            name: name.to_owned(),
            guard: None,
            superseded: superseded.clone(),
        };
        let waiting = turn.lock_owned();
        tokio::pin!(waiting);
        let guard = match tokio::time::timeout(patience, &mut waiting).await {
            Ok(guard) => guard,
            Err(_) => {
                older.cancel();
                waiting.await
            }
        };
        mine.guard = Some(guard);
        (!superseded.is_cancelled()).then_some(mine)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut held = self.names.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = held.get_mut(&self.name) {
            entry.users -= 1;
            if entry.users == 0 {
                held.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_that_names_logagent_is_a_handshake() {
        let named = |s: &str| Handshake::Stream(s.to_owned());
        assert_eq!(read(br#"{"logagent":"ack"}"#), Handshake::Ack);
        assert_eq!(read(b" {\"logagent\" : \"ack\", \"more\": [1]} \r"), Handshake::Ack);
        assert_eq!(read(br#"{"logagent":"ack","stream":"a\u0062"}"#), named("ab"));
        assert_eq!(read(br#"{"message":"logagent"}"#), Handshake::None);
        assert_eq!(read(br#"{"extra":{"logagent":"ack"}}"#), Handshake::None);
        assert_eq!(read(br#""logagent""#), Handshake::None);
        assert_eq!(read(b"\"logagent\" started"), Handshake::None);
        assert_eq!(read(b""), Handshake::None);
        let long = format!(r#"{{"logagent":"ack","stream":"{}"}}"#, "x".repeat(257));
        for invalid in [
            r#"{"logagent":"acks"}"#,
            r#"{"logagent":7}"#,
            r#"{"logagent":"ack","stream":""}"#,
            r#"{"logagent":"ack","stream":7}"#,
            &long,
        ] {
            assert!(matches!(read(invalid.as_bytes()), Handshake::Invalid(_)), "{invalid}");
        }
    }

    #[tokio::test]
    async fn a_newer_connection_waits_for_the_older_one_and_then_ends_it() {
        let names = Names::default();
        let patience = Duration::from_millis(20);
        let first = names.take("s", patience).await.unwrap();
        let _other = names.take("t", patience).await.unwrap();
        let ended = first.superseded.clone();
        let (second, ()) = tokio::join!(names.take("s", patience), async {
            ended.cancelled().await;
            drop(first);
        });
        let second = second.unwrap();
        assert!(!second.superseded.is_cancelled());
        drop(second);
        assert_eq!(names.held.lock().unwrap().len(), 1);
    }
}
