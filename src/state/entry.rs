//! The bytes of a stream's identity.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::codec::{DecodeError, Reader, put_bytes};
use crate::source::marks::Mark;
use crate::source::steps::Step;
use crate::source::{Marks, Steps, StreamEntry};

/// Paths are kept as the bytes they are: not every file name is UTF-8. New fields are added at the end.
#[must_use]
pub fn encode_entry(e: &StreamEntry) -> Vec<u8> {
    // Taken apart by name, so that a new field is not forgotten here.
    let StreamEntry {
        id,
        path,
        script,
        dev,
        ino,
        head,
        head_len,
        born,
        finished,
        size,
        mtime,
        start,
        steps,
        numbered,
        blind,
        marks,
        archive,
        covers,
    } = e;
    let mut out = Vec::with_capacity(96 + path.as_os_str().len() + script.len() + 16 * covers.len());
    for n in [*id, *dev, *ino, *head, *size, *mtime as u64, *start, *born as u64] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&head_len.to_le_bytes());
    let flags = [*finished, *archive, *blind, numbered.is_some()];
    out.push(flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag)));
    out.extend_from_slice(&numbered.unwrap_or(0).to_le_bytes());
    put_bytes(&mut out, path.as_os_str().as_bytes());
    put_bytes(&mut out, script.as_bytes());
    put_pairs(&mut out, covers.iter().copied());
    put_pairs(&mut out, steps.iter().map(|s| (s.to, u64::from(s.number))));
    put_pairs(&mut out, marks.ladder().iter().copied());
    out.extend_from_slice(&(marks.first().len() as u32).to_le_bytes());
    for mark in marks.first() {
        out.extend_from_slice(&mark.end.to_le_bytes());
        out.extend_from_slice(&mark.chain.to_le_bytes());
    }
    out
}

fn put_pairs(out: &mut Vec<u8>, pairs: impl ExactSizeIterator<Item = (u64, u64)>) {
    out.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
    for (a, b) in pairs {
        out.extend_from_slice(&a.to_le_bytes());
        out.extend_from_slice(&b.to_le_bytes());
    }
}

pub fn decode_entry(data: &[u8]) -> Result<StreamEntry, DecodeError> {
    let mut r = Reader(data);
    let (id, dev, ino, head, size) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?, r.u64()?);
    let (mtime, start, born) = (r.u64()? as i64, r.u64()?, r.u64()? as i64);
    let (head_len, flags, numbered) = (r.u32()?, r.u8()?, r.u64()?);
    let path = PathBuf::from(OsString::from_vec(r.bytes()?.to_vec()));
    let (script, covers, steps, ladder) = (r.text()?, take_pairs(&mut r)?, take_pairs(&mut r)?, take_pairs(&mut r)?);
    let mut first = Vec::new();
    for _ in 0..r.u32()? {
        first.push(Mark {
            end: r.u32()?,
            chain: r.u32()?,
        });
    }
    let step = |(to, number): (u64, u64)| Step {
        to,
        number: number as u32,
    };
    Ok(StreamEntry {
        id,
        path,
        script,
        dev,
        ino,
        born,
        head,
        head_len,
        finished: flags & 1 != 0,
        archive: flags & 2 != 0,
        blind: flags & 4 != 0,
        numbered: (flags & 8 != 0).then_some(numbered),
        size,
        mtime,
        start,
        steps: Steps::of(steps.into_iter().map(step).collect()),
        marks: Marks::of(first, ladder),
        covers,
    })
}

fn take_pairs(r: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, DecodeError> {
    let mut pairs = Vec::new();
    for _ in 0..r.u32()? {
        pairs.push((r.u64()?, r.u64()?));
    }
    Ok(pairs)
}
