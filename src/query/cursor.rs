//! Cursors: where an answer ended, as text that a person can pass on.
//!
//! A cursor pins the window (`10m` ago moves on, the next page must not), and where pages are counted off, what was
//! stored when the first was asked for (what arrives meanwhile would shift them). The order of a ranking shifts all the
//! same, since how rare a word is depends on everything stored: there the cursor also knows what was shown. It carries a digest of the arguments,
//! so that one of another question is refused instead of giving a page of nothing. Its content is not part of the
//! interface.
//!
//! # Format
//!
//! Base64url of bytes, since people copy it: some 20 characters for a count, 45 to 70 for a position. The first byte
//! says by its bits what follows the digest (four bytes): `since`, `until`, what was stored (eight bytes each, little
//! endian), then the place: a count of items, or a time, a sequence number unless it equals the time, and a key to the
//! end. A key of logagent's own form takes twenty bytes, any other stands as it is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::AskError;
use super::window::parse_stored;
use crate::record::{Micros, format_time};
use crate::store::search::After;

/// Where an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Of the arguments other than limit and times.
    pub digest: u32,
    pub since: Option<Micros>,
    pub until: Option<Micros>,
    /// What was stored when the first page was asked for.
    pub stored: Option<i64>,
    pub after: After,
    /// Hashes of what was shown, as many as [`After::Offset`] says, where that is known; see [`mark`].
    pub shown: Vec<u32>,
}

/// So much that was shown is remembered; behind it pages are counted off.
pub const SHOWN_MAX: usize = 5_000;

/// The hash by which a cursor knows an item again.
#[must_use]
pub fn mark(key: &str) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(key.as_bytes()) & 0xFFFF_FFFF) as u32
}

/// A digest of anything that tells one question from another.
#[must_use]
pub fn digest(question: &impl std::fmt::Debug) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(format!("{question:?}").as_bytes()) & 0xFFFF_FFFF) as u32
}

const SINCE: u8 = 1;
const UNTIL: u8 = 2;
const POSITION: u8 = 4;
/// The sequence number is not the time in microseconds, and stands for itself.
const SEQ: u8 = 8;
/// Of a count: it stands as the hashes of what was shown.
const SHOWN: u8 = SEQ;
/// The key is packed.
const PACKED: u8 = 16;
/// The time is not one of ours in form, and stands as text, its length before it.
const TEXT: u8 = 32;
/// The sequence number is 0, as with runs.
const ZERO: u8 = 64;
const STORED: u8 = 128;

impl Cursor {
    /// The text of `next_cursor`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut flags = 0;
        let mut out = vec![0];
        out.extend(self.digest.to_le_bytes());
        for (flag, time) in [(SINCE, self.since), (UNTIL, self.until), (STORED, self.stored)] {
            if let Some(t) = time {
                flags |= flag;
                out.extend(t.to_le_bytes());
            }
        }
        match &self.after {
            After::Offset(_) if !self.shown.is_empty() => {
                flags |= SHOWN;
                out.extend(self.shown.iter().flat_map(|hash| hash.to_le_bytes()));
            }
            After::Offset(n) => {
                let bytes = n.to_le_bytes();
                let used = bytes.len() - n.leading_zeros() as usize / 8;
                out.extend(&bytes[..used]);
            }
            After::Position { timestamp, seq, key } => {
                flags |= POSITION;
                let micros = parse_stored(timestamp).filter(|t| format_time(*t) == *timestamp);
                match micros {
                    Some(t) => out.extend(t.to_le_bytes()),
                    None => {
                        flags |= TEXT;
                        let text = timestamp.as_bytes().get(..255).unwrap_or(timestamp.as_bytes());
                        out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                        out.extend(text);
                    }
                }
                if *seq == 0 {
                    flags |= ZERO;
                } else if micros != Some(*seq) {
                    flags |= SEQ;
                    out.extend(seq.to_le_bytes());
                }
                match pack(key) {
                    Some(packed) => {
                        flags |= PACKED;
                        out.extend(packed);
                    }
                    None => out.extend(key.as_bytes()),
                }
            }
        }
        if let Some(first) = out.first_mut() {
            *first = flags;
        }
        URL_SAFE_NO_PAD.encode(out)
    }

    /// Reads a cursor of the question with this digest.
    ///
    /// # Errors
    /// The text is no cursor, or one of another question.
    pub fn decode(text: &str, digest: u32) -> Result<Cursor, AskError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).unwrap_or_default();
        let cursor = parts(&bytes)
            .ok_or_else(|| AskError::usage("--cursor: this is no cursor; take next_cursor of an earlier answer"))?;
        if cursor.digest != digest {
            return Err(AskError::usage(
                "--cursor: this cursor belongs to other arguments; repeat those of the answer it came from",
            ));
        }
        Ok(cursor)
    }
}

/// Reads what [`Cursor::encode`] wrote.
fn parts(bytes: &[u8]) -> Option<Cursor> {
    let (flags, mut rest) = bytes.split_first()?;
    let has = |flag: u8| flags & flag != 0;
    let digest = u32::from_le_bytes(*take(&mut rest)?);
    let mut time = |flag| match has(flag) {
        true => take(&mut rest).map(|b| Some(i64::from_le_bytes(*b))),
        false => Some(None),
    };
    let (since, until, stored) = (time(SINCE)?, time(UNTIL)?, time(STORED)?);
    if !has(POSITION) && has(SHOWN) {
        let (hashes, left) = rest.as_chunks();
        let shown: Vec<u32> = hashes.iter().map(|h| u32::from_le_bytes(*h)).collect();
        return left.is_empty().then_some(Cursor {
            digest,
            since,
            until,
            stored,
            after: After::Offset(shown.len() as u64),
            shown,
        });
    }
    if !has(POSITION) {
        let mut n = [0; 8];
        n.get_mut(..rest.len())?.copy_from_slice(rest);
        return Some(Cursor {
            digest,
            since,
            until,
            stored,
            after: After::Offset(u64::from_le_bytes(n)),
            shown: Vec::new(),
        });
    }
    let (timestamp, micros) = if has(TEXT) {
        let [len] = *take(&mut rest)?;
        let (text, more) = rest.split_at_checked(usize::from(len))?;
        rest = more;
        (String::from_utf8(text.to_vec()).ok()?, None)
    } else {
        let t = i64::from_le_bytes(*take(&mut rest)?);
        (format_time(t), Some(t))
    };
    let seq = if has(ZERO) {
        0
    } else if has(SEQ) {
        i64::from_le_bytes(*take(&mut rest)?)
    } else {
        micros?
    };
    let key = if has(PACKED) {
        unpack(rest)?
    } else {
        String::from_utf8(rest.to_vec()).ok()?
    };
    Some(Cursor {
        digest,
        since,
        until,
        stored,
        after: After::Position { timestamp, seq, key },
        shown: Vec::new(),
    })
}

/// The next bytes.
fn take<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (first, more) = rest.split_first_chunk()?;
    *rest = more;
    Some(first)
}

/// Characters of a key of our own form, see [`crate::record::Key`].
const KEY: usize = 31;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Five bits a character, the first highest; `None` for a key of another form.
fn pack(key: &str) -> Option<Vec<u8>> {
    if key.len() != KEY {
        return None;
    }
    let mut out = Vec::with_capacity(KEY * 5 / 8 + 1);
    let (mut bits, mut held) = (0u32, 0);
    for c in key.bytes() {
        let value = ALPHABET.iter().position(|a| *a == c)?;
        bits = bits << 5 | u32::try_from(value).ok()?;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xFF) as u8);
        }
    }
    out.push((bits << (8 - held) & 0xFF) as u8);
    Some(out)
}

fn unpack(bytes: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(KEY);
    let (mut bits, mut held) = (0u32, 0);
    for b in bytes {
        bits = bits << 8 | u32::from(*b);
        held += 8;
        while held >= 5 && out.len() < KEY {
            held -= 5;
            let value = bits >> held & 31;
            out.push(char::from(*ALPHABET.get(value as usize)?));
        }
    }
    (out.len() == KEY).then_some(out)
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
            After::Offset(0),
            After::Offset(u64::MAX),
            After::Position {
                timestamp: "2026-11-21T02:20:24.054432Z".into(),
                seq: 1_795_227_624_054_432,
                key: "cayw480px300000045fqvmqvw728wxy".into(),
            },
            After::Position {
                timestamp: "2026-11-21T02:20:24.054432Z".into(),
                seq: 0,
                key: "etl_20261121_022024_1f2e3d4c".into(),
            },
            After::Position {
                timestamp: "some day".into(),
                seq: -7,
                key: String::new(),
            },
        ] {
            let cursor = Cursor {
                digest: digest(&"search boom"),
                since: Some(1),
                until: None,
                stored: matches!(after, After::Offset(_)).then_some(1_000_000),
                after,
                shown: Vec::new(),
            };
            let text = cursor.encode();
            assert_eq!(Cursor::decode(&text, digest(&"search boom")).ok(), Some(cursor));
            assert!(Cursor::decode(&text, digest(&"search bang")).is_err());
            assert!(text.len() <= 80, "{text}");
            for end in 0..text.len() {
                let _ = Cursor::decode(&text[..end], digest(&"search boom"));
            }
        }
        let ranked = Cursor {
            digest: 7,
            since: None,
            until: Some(5),
            stored: Some(9),
            after: After::Offset(3),
            shown: vec![mark("a"), mark("b"), 0],
        };
        assert_eq!(Cursor::decode(&ranked.encode(), 7).ok(), Some(ranked));
        assert!(Cursor::decode("nonsense", 0).is_err());
        assert!(Cursor::decode("", 0).is_err());
    }
}
