//! One parsed event, and the words for its parts.
//!
//! A [`Record`] borrows from the line it was parsed from: its texts are *escaped JSON string contents* and its values
//! *raw JSON tokens*, so that a line in good order is copied into the document without being decoded. Only lines that
//! need repair, truncation or redaction own their parts.
//!
//! [`Record`] is what the line says. What the agent adds (key, execution, source, sequence number) is [`Placed`];
//! `encode` joins the two into the document that is stored.

mod append;
mod bound;
mod custom;
mod encode;
mod exception;
mod familiar;
mod fields;
mod fingerprint;
mod flat;
mod instant;
mod lanes;
mod level;
mod loguru;
mod names;
mod owned;
mod parse;
mod plain;
mod preview;
mod redact;
mod repair;
mod rules;
mod scan;
mod secrets;
mod shape;
mod shrink;
mod stops;
mod suspicion;
mod template;
mod text;
mod time;
mod traceback;
mod truncate;

use std::borrow::Cow;

pub use append::append;
pub use encode::encode;
pub use fields::fields;
pub use fingerprint::{Fingerprint, fingerprint};
pub use instant::{format_time, write_time};
pub use level::{ERROR, level, of_number};
pub use parse::{parse, parse_into};
pub use preview::{preview, preview_results, preview_text, preview_to};
pub use rules::Rules;
use smallvec::SmallVec;
pub use template::template;
pub use text::{escape, unescape};
pub use time::{epoch, parse_time};

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// The contents of a JSON string, still escaped, without its quotes. Always valid UTF-8 and valid inside quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Text<'a>(pub Cow<'a, str>);

/// One JSON value as a token: valid JSON, without leading or trailing white space.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Token<'a>(pub Cow<'a, str>);

/// What an `event` value asks for. Other values stay in `extra_data` under their own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    RunStart,
    RunEnd,
    Learning,
    Fix,
    Relation,
}

/// An exception: of the record itself, or parsed out of a traceback.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exception<'a> {
    pub kind: Option<Text<'a>>,
    pub value: Option<Text<'a>>,
    pub traceback: Option<Text<'a>>,
    /// Every link of the chain as (type, value), root cause first.
    pub chain: Vec<(Text<'a>, Text<'a>)>,
    /// The root cause's innermost frame of the script's own code as (path, function); part of the fingerprint, not
    /// stored.
    pub frame: Option<(Text<'a>, Text<'a>)>,
}

/// Bound values with a meaning of their own (INTERFACE: "What goes in").
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bound<'a> {
    pub execution_id: Option<Text<'a>>,
    pub script_name: Option<Text<'a>>,
    /// A JSON array of strings.
    pub tags: Option<Token<'a>>,
    pub event: Option<Event>,
    /// `run_start`: a JSON object.
    pub metadata: Option<Token<'a>>,
    /// `run_end`: `success` or `failed`.
    pub status: Option<Text<'a>>,
    /// `run_end`.
    pub error: Option<Text<'a>>,
    /// `learning`.
    pub function_name: Option<Text<'a>>,
    /// `learning`: a JSON object.
    pub context: Option<Token<'a>>,
    /// `learning`, `relation`: within 0..=1.
    pub confidence: Option<f64>,
    /// `fix`: key, fingerprint, execution id, exception type or text.
    pub fixes: Option<Text<'a>>,
    /// `fix`.
    pub rationale: Option<Text<'a>>,
    /// `relation`.
    pub from_key: Option<Text<'a>>,
    pub to_key: Option<Text<'a>>,
    pub relation: Option<Text<'a>>,
    pub parent_execution_id: Option<Text<'a>>,
    /// A JSON array of numbers, stored as given.
    pub embeddings: Option<Token<'a>>,
    pub db_store: Option<bool>,
    pub log_category: Option<Text<'a>>,
}

/// What happened to a line on its way, kept in the document and counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    pub unparsed: bool,
    pub repaired: bool,
    /// Paths that were cut, such as `message` or `extra_data.blob`.
    pub truncated: Vec<String>,
    /// Kinds of secrets that were replaced.
    pub redacted: Vec<String>,
}

/// One parsed event: everything the line itself says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record<'a> {
    /// The line's own time; `None` where it names none (the agent then uses the time of reading).
    pub time: Option<Micros>,
    /// Upper case, in loguru's names where one fits.
    pub level: Cow<'a, str>,
    pub level_no: i64,
    pub message: Text<'a>,
    pub function_name: Option<Text<'a>>,
    pub file_path: Option<Text<'a>>,
    pub line_number: Option<i64>,
    pub module: Option<Text<'a>>,
    pub logger: Option<Text<'a>>,
    pub pid: Option<i64>,
    pub process_name: Option<Text<'a>>,
    pub thread_id: Option<i64>,
    pub thread_name: Option<Text<'a>>,
    /// A host named by the line; it wins over the agent's own.
    pub host: Option<Text<'a>>,
    /// The start of the writing process: `time - elapsed`, the same microsecond for all its records.
    pub start: Option<Micros>,
    pub exception: Option<Box<Exception<'a>>>,
    /// Bound values, less those lifted out: (escaped name, value), in the line's order.
    /// Few enough, nearly always, to need no memory of their own.
    pub extra: SmallVec<[(Text<'a>, Token<'a>); 8]>,
    pub bound: Bound<'a>,
    /// Of ERROR and above.
    pub fingerprint: Option<Fingerprint>,
    pub marks: Marks,
}

/// What the agent adds to a record before it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    pub key: &'a Key,
    /// The record's time, or the time of reading.
    pub time: Micros,
    /// Plain (unescaped) text.
    pub execution_id: &'a str,
    /// Plain text.
    pub script_name: Option<&'a str>,
    /// Plain text; used where the record names none.
    pub host: &'a str,
    /// The stream's `source` object up to its offset: `{"kind":"file","path":"…","stream":"…"` (no closing brace).
    pub source: &'a str,
    pub offset: u64,
    pub seq: i64,
    /// 27 characters, see [`format_time`].
    pub ingested_at: &'a str,
    /// The line's whole length in bytes where it was longer than `files.max_line` and cut, else 0.
    pub whole: u64,
}

/// `_key` of an event: a function of content and position alone.
///
/// 31 characters of Crockford's base 32 in lower case: 10 of the stream's head (50 bits), 8 of the offset (40 bits, so
/// that keys of one stream rise and land side by side in an index), 13 of the chain hash: the hash of everything in the
/// stream up to and including this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 31]);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Key {
    /// The key of the line at `offset` in the stream with this `head`, after which the chain hash is `chain`.
    #[must_use]
    pub fn new(head: u64, offset: u64, chain: u64) -> Key {
        let mut out = [b'0'; 31];
        base32(head, &mut out[..10]);
        base32(offset, &mut out[10..18]);
        base32(chain, &mut out[18..]);
        Key(out)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        // The alphabet is ASCII, so this cannot fail.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The low bits of `n` in base 32, most significant first, as many as `out` holds.
fn base32(mut n: u64, out: &mut [u8]) {
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(n & 31) as usize];
        n >>= 5;
    }
}

#[cfg(test)]
#[path = "tests/growth.rs"]
mod growth;
