//! Cursors: where an answer ended, as text that a person can pass on.
//!
//! A cursor pins the window (`10m` ago moves on, the next page must not) and carries a digest of the arguments, so that
//! one of another question is refused instead of giving a page of nothing. It is base64url of a small JSON array; its
//! content is not part of the interface.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::AskError;
use crate::record::Micros;
use crate::store::search::After;

/// Where an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Of the arguments other than limit and times.
    pub digest: u32,
    pub since: Option<Micros>,
    pub until: Option<Micros>,
    pub after: After,
}

/// A digest of anything that tells one question from another.
#[must_use]
pub fn digest(question: &impl std::fmt::Debug) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(format!("{question:?}").as_bytes()) & 0xFFFF_FFFF) as u32
}

type Parts = (
    u32,
    Option<Micros>,
    Option<Micros>,
    Option<u64>,
    Option<(String, i64, String)>,
);

impl Cursor {
    /// The text of `next_cursor`.
    #[must_use]
    pub fn encode(&self) -> String {
        let (offset, position) = match &self.after {
            After::Offset(n) => (Some(*n), None),
            After::Position { timestamp, seq, key } => (None, Some((timestamp.clone(), *seq, key.clone()))),
        };
        let parts: Parts = (self.digest, self.since, self.until, offset, position);
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&parts).unwrap_or_default())
    }

    /// Reads a cursor of the question with this digest.
    ///
    /// # Errors
    /// The text is no cursor, or one of another question.
    pub fn decode(text: &str, digest: u32) -> Result<Cursor, AskError> {
        let parts: Parts = URL_SAFE_NO_PAD
            .decode(text.trim())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| AskError::usage("--cursor: this is no cursor; take next_cursor of an earlier answer"))?;
        let after = match (parts.3, parts.4) {
            (Some(n), None) => After::Offset(n),
            (None, Some((timestamp, seq, key))) => After::Position { timestamp, seq, key },
            _ => {
                return Err(AskError::usage(
                    "--cursor: this is no cursor; take next_cursor of an earlier answer",
                ));
            }
        };
        if parts.0 != digest {
            return Err(AskError::usage(
                "--cursor: this cursor belongs to other arguments; repeat those of the answer it came from",
            ));
        }
        Ok(Cursor {
            digest,
            since: parts.1,
            until: parts.2,
            after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_refuses_other_questions() {
        for after in [
            After::Offset(20),
            After::Position {
                timestamp: "2026-11-21T02:20:24.054432Z".into(),
                seq: 1,
                key: "k".into(),
            },
        ] {
            let cursor = Cursor {
                digest: digest(&"search boom"),
                since: Some(1),
                until: None,
                after,
            };
            let text = cursor.encode();
            assert_eq!(Cursor::decode(&text, digest(&"search boom")).ok(), Some(cursor));
            assert!(Cursor::decode(&text, digest(&"search bang")).is_err());
        }
        assert!(Cursor::decode("nonsense", 0).is_err());
        assert!(Cursor::decode("", 0).is_err());
    }
}
