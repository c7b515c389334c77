//! One frame of a spool file: the bytes of one batch, numbered and checksummed. Pure.

use std::io;

use crate::state::codec;
use crate::store::Batch;

pub const MAGIC: &[u8; 4] = b"LGS1";
/// Bytes before the payload.
pub const HEAD: usize = 40;
/// Smaller payloads are not worth compressing.
const COMPRESS_FROM: usize = 1024;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    crc: u32,
    pub id: u64,
    /// Records of all items before this one.
    pub before: u64,
    pub records: u32,
    /// Bytes of the payload, decompressed and as it is stored.
    pub raw: u32,
    pub stored: u32,
    flags: u8,
}

impl Head {
    /// The head that these bytes are, if they begin with the magic number.
    #[must_use]
    pub fn parse(b: &[u8; HEAD]) -> Option<Head> {
        let u32_at = |i: usize| Some(u32::from_le_bytes(b.get(i..i + 4)?.try_into().ok()?));
        let u64_at = |i: usize| Some(u64::from_le_bytes(b.get(i..i + 8)?.try_into().ok()?));
        b.starts_with(MAGIC).then_some(())?;
        Some(Head {
            crc: u32_at(4)?,
            id: u64_at(8)?,
            before: u64_at(16)?,
            records: u32_at(24)?,
            raw: u32_at(28)?,
            stored: u32_at(32)?,
            flags: *b.get(36)?,
        })
    }

    /// Bytes of the whole frame.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty: it has a head")]
    pub fn len(&self) -> u64 {
        HEAD as u64 + u64::from(self.stored)
    }

    /// Records up to and including this item.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.before.saturating_add(u64::from(self.records))
    }

    /// Whether `payload` and the head's own bytes are what was written.
    #[must_use]
    pub fn vouches_for(&self, head: &[u8; HEAD], payload: &[u8]) -> bool {
        crc_of(head, payload) == self.crc
    }

    /// Appends the documents of `payload` to `batch`. False if it is not a batch of this version after all.
    pub fn decode(&self, payload: &[u8], batch: &mut Batch) -> bool {
        if self.flags & 1 == 0 {
            return codec::decode_batch(payload, batch).is_ok();
        }
        zstd::bulk::decompress(payload, self.raw as usize).is_ok_and(|raw| codec::decode_batch(&raw, batch).is_ok())
    }
}

/// Writes frames; keeps the compressor's tables between them.
#[derive(Default)]
pub struct Encoder {
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Encoder {
    /// Fills `out` with the frame of item `id`, before which there were `before` records.
    pub fn encode(&mut self, batch: &Batch, id: u64, before: u64, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        out.resize(HEAD, 0);
        codec::encode_batch(batch, out);
        let raw = out.len() - HEAD;
        let flags = u8::from(raw >= COMPRESS_FROM && self.compress(out)?);
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&id.to_le_bytes());
        head.extend_from_slice(&before.to_le_bytes());
        for n in [batch.records(), raw, out.len() - HEAD] {
            let n = u32::try_from(n).map_err(|_| io::Error::other("a batch of more than 4 GiB"))?;
            head.extend_from_slice(&n.to_le_bytes());
        }
        head.extend_from_slice(&[flags, 0, 0, 0]);
        let crc = crc_of(&head, out.get(HEAD..).unwrap_or(&[]));
        out.iter_mut().zip(&head).for_each(|(to, from)| *to = *from);
        out.iter_mut()
            .skip(4)
            .zip(crc.to_le_bytes())
            .for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// Replaces the payload in `out` by its compressed form, if that is smaller.
    fn compress(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let compressor = match &mut self.compressor {
            Some(c) => c,
            none => none.insert(zstd::bulk::Compressor::new(1)?),
        };
        let raw = out.get(HEAD..).unwrap_or(&[]);
        let packed = compressor.compress(raw)?;
        let smaller = packed.len() < raw.len();
        if smaller {
            out.truncate(HEAD);
            out.extend_from_slice(&packed);
        }
        Ok(smaller)
    }
}

/// Checksum of a frame: everything after the checksum itself.
fn crc_of(head: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head.get(8..).unwrap_or(&[]));
    crc.update(payload);
    crc.finalize()
}
