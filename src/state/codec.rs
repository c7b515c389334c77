//! The bytes of what the state keeps: versioned, checksummed, and the only place that knows them.
//!
//! # Rows
//!
//! The database is one ordered map. A value is cut into *parts* of at most [`PART`] bytes, one row each, because sled
//! moves every page larger than a quarter of its segment into a file of its own which it then forgets to delete
//! (measured, see the essay of [`super`]); a page holds up to 17 rows.
//!
//! ```text
//! row key    kind (1 byte) · name (0, 8 or 16 bytes) · part (u16, big endian)
//! row value  version = 2 (1) · parts (u16) · crc32 of row key, version, parts and data (4) · data
//! ```
//!
//! All integers are little endian but those in keys, which must sort. Names longer than that are hashed to 16 bytes and
//! repeated in the value.
//!
//! # Batches
//!
//! A batch keeps its documents as they travel; only what is rarer is encoded once more:
//!
//! ```text
//! version = 1 · 3 × (count u32 · length u32 of each document · documents) · length u32 · JSON of runs, fixes, relations
//! ```
//!
//! Decoding never panics and never trusts a length. A version that is not known is an error of its own: a newer agent
//! wrote it, and it must not be taken for damage.

use serde::{Deserialize, Serialize};

pub use super::entry::{decode_entry, encode_entry};

use crate::source::{Cursor, StreamId};
use crate::store::{Batch, Docs, Fix, Relation, RunUpdate};

/// At most this many bytes of data in one row.
pub const PART: usize = 3000;

/// The version that this program writes of rows. 1 knew streams by their first line alone.
pub const VERSION: u8 = 2;

/// The version that this program writes of batches.
pub const BATCH_VERSION: u8 = 1;

const ROW_HEAD: usize = 7;

/// What a row is about: the first byte of its key.
pub const META: u8 = b'm';
pub const ENTRY: u8 = b'e';
pub const CURSOR: u8 = b'c';
pub const RUN: u8 = b'r';
pub const SOCKET: u8 = b's';
pub const SPOOL: u8 = b'q';

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("damaged")]
    Damaged,
    #[error("written in an old form ({0})")]
    Older(u8),
    #[error("written by a newer version ({0})")]
    Newer(u8),
}

/// Key of a value named by a number.
#[must_use]
pub fn id_key(kind: u8, id: StreamId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Key of a value named by a text of any length.
#[must_use]
pub fn name_key(kind: u8, name: &str) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&xxhash_rust::xxh3::xxh3_128(name.as_bytes()).to_be_bytes());
    key
}

/// The number in a key made by [`id_key`].
#[must_use]
pub fn id_of(key: &[u8]) -> Option<StreamId> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// The rows of one value: at least one.
#[must_use]
pub fn rows(key: &[u8], data: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let parts = data.len().div_ceil(PART).max(1) as u16;
    let chunk = |i: usize| data.get(i * PART..data.len().min((i + 1) * PART)).unwrap_or(&[]);
    (0..parts)
        .map(|i| {
            let row_key = part_key(key, i);
            let chunk = chunk(usize::from(i));
            let mut value = Vec::with_capacity(ROW_HEAD + chunk.len());
            value.push(VERSION);
            value.extend_from_slice(&parts.to_le_bytes());
            value.extend_from_slice(&row_crc(&row_key, VERSION, parts, chunk).to_le_bytes());
            value.extend_from_slice(chunk);
            (row_key, value)
        })
        .collect()
}

/// Key of one part of a value.
#[must_use]
pub fn part_key(key: &[u8], part: u16) -> Vec<u8> {
    let mut row = key.to_vec();
    row.extend_from_slice(&part.to_be_bytes());
    row
}

fn row_crc(row_key: &[u8], version: u8, parts: u16, data: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(row_key);
    crc.update(&[version]);
    crc.update(&parts.to_le_bytes());
    crc.update(data);
    crc.finalize()
}

/// One row, checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Key of the value, without the part.
    pub key: &'a [u8],
    pub part: u16,
    pub parts: u16,
    pub data: &'a [u8],
}

/// Checks one row.
pub fn row<'a>(row_key: &'a [u8], value: &'a [u8]) -> Result<Row<'a>, DecodeError> {
    let (head, data) = value.split_at_checked(ROW_HEAD).ok_or(DecodeError::Damaged)?;
    let (key, part) = row_key
        .split_last_chunk::<2>()
        .filter(|(k, _)| !k.is_empty())
        .ok_or(DecodeError::Damaged)?;
    let mut head = Reader(head);
    let (version, parts, crc) = (head.u8()?, head.u16()?, head.u32()?);
    if row_crc(row_key, version, parts, data) != crc {
        return Err(DecodeError::Damaged);
    }
    match version {
        VERSION => {}
        older if older < VERSION => return Err(DecodeError::Older(older)),
        newer => return Err(DecodeError::Newer(newer)),
    }
    let part = u16::from_be_bytes(*part);
    Ok(Row { key, part, parts, data })
}

/// Reads fields off the front of a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(DecodeError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Damaged)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Bytes that a `u32` length stands before.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.u32()?;
        self.take(n as usize)
    }

    pub(super) fn text(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| DecodeError::Damaged)
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_cursor(out: &mut Vec<u8>, c: &Cursor) {
    out.extend_from_slice(&c.offset.to_le_bytes());
    out.extend_from_slice(&c.chain.to_le_bytes());
    out.extend_from_slice(&c.seq.to_le_bytes());
    out.extend_from_slice(&c.near.to_le_bytes());
}

fn take_cursor(r: &mut Reader<'_>) -> Result<Cursor, DecodeError> {
    Ok(Cursor {
        offset: r.u64()?,
        chain: u128::from_le_bytes(r.array()?),
        seq: r.u64()? as i64,
        near: r.u64()?,
    })
}

#[must_use]
pub fn encode_cursor(c: &Cursor) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    put_cursor(&mut out, c);
    out
}

pub fn decode_cursor(data: &[u8]) -> Result<Cursor, DecodeError> {
    take_cursor(&mut Reader(data))
}

/// A run's value with its execution id, which the key holds only as a hash.
#[must_use]
pub fn encode_named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + name.len() + value.len());
    put_bytes(&mut out, name.as_bytes());
    put_bytes(&mut out, value);
    out
}

pub fn decode_named(data: &[u8]) -> Result<(String, Vec<u8>), DecodeError> {
    let mut r = Reader(data);
    Ok((r.text()?, r.bytes()?.to_vec()))
}

/// Position of a named socket stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketStream {
    pub name: String,
    pub cursor: Cursor,
    /// Seconds since the epoch; positions that nobody used for long are dropped.
    pub used: u64,
}

#[must_use]
pub fn encode_socket(s: &SocketStream) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + s.name.len());
    put_bytes(&mut out, s.name.as_bytes());
    put_cursor(&mut out, &s.cursor);
    out.extend_from_slice(&s.used.to_le_bytes());
    out
}

pub fn decode_socket(data: &[u8]) -> Result<SocketStream, DecodeError> {
    let mut r = Reader(data);
    Ok(SocketStream {
        name: r.text()?,
        cursor: take_cursor(&mut r)?,
        used: r.u64()?,
    })
}

/// The row that every database begins with. sled passes over pages of its log that are damaged, in silence: the number
/// of values tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// When the database was created, microseconds since the epoch.
    pub created: i64,
    /// Identities, cursors, runs and socket streams.
    pub values: u64,
    /// Sum of hashes of their keys: damage was seen to lose one key and show another twice.
    pub sum: u64,
}

impl Census {
    pub fn add(&mut self, key: &[u8]) {
        self.values = self.values.wrapping_add(1);
        self.sum = self.sum.wrapping_add(xxhash_rust::xxh3::xxh3_64(key));
    }

    pub fn remove(&mut self, key: &[u8]) {
        self.values = self.values.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(xxhash_rust::xxh3::xxh3_64(key));
    }
}

#[must_use]
pub fn encode_census(c: &Census) -> Vec<u8> {
    [c.created as u64, c.values, c.sum]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect()
}

pub fn decode_census(data: &[u8]) -> Result<Census, DecodeError> {
    let mut r = Reader(data);
    Ok(Census {
        created: r.u64()? as i64,
        values: r.u64()?,
        sum: r.u64()?,
    })
}

/// What the database knows of the spool. Totals count the records of all items there ever were, so that a gap tells
/// how many records it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolMark {
    /// Last item that is stored.
    pub done: u64,
    /// Records up to and including `done`.
    pub done_total: u64,
    /// Id of the next item to come.
    pub next: u64,
    /// Records below `next`.
    pub next_total: u64,
}

#[must_use]
pub fn encode_mark(m: &SpoolMark) -> Vec<u8> {
    [m.done, m.done_total, m.next, m.next_total]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect()
}

pub fn decode_mark(data: &[u8]) -> Result<SpoolMark, DecodeError> {
    let mut r = Reader(data);
    Ok(SpoolMark {
        done: r.u64()?,
        done_total: r.u64()?,
        next: r.u64()?,
        next_total: r.u64()?,
    })
}

/// What a batch holds beside documents.
#[derive(Default, Serialize, Deserialize)]
struct Rare {
    #[serde(default)]
    runs: Vec<RunUpdate>,
    #[serde(default)]
    fixes: Vec<Fix>,
    #[serde(default)]
    relations: Vec<Relation>,
}

/// Appends the batch's bytes to `out`.
pub fn encode_batch(batch: &Batch, out: &mut Vec<u8>) {
    out.push(BATCH_VERSION);
    for docs in [&batch.events, &batch.learnings, &batch.memories] {
        out.extend_from_slice(&(docs.len() as u32).to_le_bytes());
        for doc in docs.iter() {
            out.extend_from_slice(&(doc.len() as u32).to_le_bytes());
        }
        docs.iter().for_each(|doc| out.extend_from_slice(doc));
    }
    let rare = Rare {
        runs: batch.runs.iter().map(|update| update.to_owned()).collect(),
        fixes: batch.fixes.clone(),
        relations: batch.relations.clone(),
    };
    let empty = rare.runs.is_empty() && rare.fixes.is_empty() && rare.relations.is_empty();
    // Serialising plain structs to JSON in memory cannot fail; were it to, the documents must still be kept.
    let json = if empty {
        Vec::new()
    } else {
        serde_json::to_vec(&rare).unwrap_or_default()
    };
    put_bytes(out, &json);
}

/// Appends what `data` holds to `batch`.
pub fn decode_batch(data: &[u8], batch: &mut Batch) -> Result<(), DecodeError> {
    let mut r = Reader(data);
    match r.u8()? {
        BATCH_VERSION => {}
        other => return Err(DecodeError::Newer(other)),
    }
    for docs in [&mut batch.events, &mut batch.learnings, &mut batch.memories] {
        take_docs(&mut r, docs)?;
    }
    let json = r.bytes()?;
    if !json.is_empty() {
        let rare: Rare = serde_json::from_slice(json).map_err(|_| DecodeError::Damaged)?;
        batch.runs.extend(rare.runs);
        batch.fixes.extend(rare.fixes);
        batch.relations.extend(rare.relations);
    }
    Ok(())
}

fn take_docs(r: &mut Reader<'_>, docs: &mut Docs) -> Result<(), DecodeError> {
    let count = r.u32()? as usize;
    let mut lengths = Reader(r.take(count.checked_mul(4).ok_or(DecodeError::Damaged)?)?);
    for _ in 0..count {
        docs.push(r.take(lengths.u32()? as usize)?);
    }
    Ok(())
}
