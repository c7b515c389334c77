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
mod claude;
mod continuation;
mod crash;
mod custom;
mod dialects;
mod encode;
mod exception;
mod faces;
mod familiar;
mod fields;
mod fingerprint;
mod flat;
mod formats;
mod instant;
mod joining;
mod lanes;
mod level;
mod logfmt;
mod loguru;
mod member;
mod memory;
mod names;
mod otlp;
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
mod stacks;
mod stops;
mod suspicion;
mod template;
mod text;
mod time;
mod traceback;
mod truncate;
mod utf16;
mod wrapped;

use std::borrow::Cow;

pub use append::append;
pub use encode::encode;
pub use fields::fields;
pub use fingerprint::{Fingerprint, fingerprint};
pub use formats::Tried;
pub use instant::{format_time, write_time};
pub use joining::{Continues, Joiner};
pub use level::{ERROR, level, of_number};
pub use memory::Memory;
pub use parse::{explain, parse, parse_into, read_into};
pub use preview::{preview, preview_results, preview_text, preview_to};
pub use rules::Rules;
use smallvec::SmallVec;
pub use template::template;
pub use text::{escape, unescape};
pub use time::{epoch, parse_time};
pub use utf16::{Order, line_feed, order as utf16_order, text as utf16_text};

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
    /// Root causes of a group's further parts; part of the fingerprint, not stored.
    pub others: Vec<Cause<'a>>,
}

/// A root cause: type and value of what was raised, and (path, function) of where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause<'a> {
    pub kind: Text<'a>,
    pub value: Text<'a>,
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

/// `_key` of an event: a function of host, content and position alone.
///
/// 31 characters of Crockford's base 32 in lower case: 10 of the stream's home (50 bits of its host and head), 8 of the
/// offset (40 bits, so that keys of one stream rise and land side by side in an index), 13 of the chain: the hash of
/// everything in the stream up to and including this line. A line whose content up to here other streams of this host had
/// before has its number behind it: `-`, the number of its digits, and the number in base 32, so that keys of one line
/// rise with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    text: [u8; Key::LONGEST],
    len: u8,
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Key {
    /// Characters of a key without a number.
    const PLAIN: usize = 31;
    /// Characters of the longest key: a number has at most seven digits.
    const LONGEST: usize = Key::PLAIN + 9;

    /// The key of the line at `offset` in a stream of this [`home`], up to which the content has this chain, and which
    /// `number` other streams had before.
    #[must_use]
    pub fn new(home: u64, offset: u64, chain: u128, number: u32) -> Key {
        let mut text = [b'0'; Key::LONGEST];
        base32(home, &mut text[..10]);
        base32(offset, &mut text[10..18]);
        base32((chain >> 64) as u64 ^ chain as u64, &mut text[18..Key::PLAIN]);
        let mut len = Key::PLAIN;
        if number > 0 {
            let digits = (u32::BITS - number.leading_zeros()).div_ceil(5) as usize;
            text[Key::PLAIN] = b'-';
            text[Key::PLAIN + 1] = ALPHABET[digits & 31];
            len += 2 + digits;
            base32(u64::from(number), &mut text[Key::PLAIN + 2..len]);
        }
        Key { text, len: len as u8 }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        // The alphabet is ASCII, so this cannot fail.
        std::str::from_utf8(self.text.get(..usize::from(self.len)).unwrap_or_default()).unwrap_or_default()
    }

    /// Keys of this line under any number lie at or above the first text and below the second one.
    #[must_use]
    pub fn range(&self) -> (String, String) {
        let plain = self.as_str().get(..Key::PLAIN).unwrap_or_default();
        (plain.to_owned(), format!("{plain}."))
    }

    /// The number in a key that [`Key::new`] made; `None` for any other text.
    #[must_use]
    pub fn number(key: &str) -> Option<u32> {
        let (plain, rest) = key.split_at_checked(Key::PLAIN)?;
        if rest.is_empty() {
            return plain.bytes().all(|b| ALPHABET.contains(&b)).then_some(0);
        }
        let digits = rest.strip_prefix('-')?.get(1..).filter(|d| !d.is_empty())?;
        digits.bytes().try_fold(0u32, |n, digit| {
            let value = ALPHABET.iter().position(|b| *b == digit)?;
            n.checked_mul(32)?.checked_add(value as u32)
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first part of the keys of a host's streams with this head.
#[must_use]
pub fn home(host: &str, head: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(host.as_bytes(), head)
}

/// The chain of a further record of one line, by its number.
#[must_use]
pub fn part(chain: u128, number: u64) -> u128 {
    xxhash_rust::xxh3::xxh3_128_with_seed(&chain.to_le_bytes(), number)
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
