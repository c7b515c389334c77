//! What a stream begins with, and what stands just below its cursor. Pure.
//!
//! Both only say where to look: the head finds the streams that may have the same content, the bytes below the cursor
//! tell quickly that a file is another. What decides is the whole content, see [`mod@super::chain`].
//!
//! A file has no head, and no identity, before its first line is complete: nothing could be delivered of it anyway.

use xxhash_rust::xxh3::xxh3_64;

use super::{HEAD, NEAR};

/// Hash of a first line, and how many bytes of it were hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    pub hash: u64,
    pub len: u32,
}

/// The head of a stream that begins with `start`; `None` while its first line is incomplete. `whole`: the stream ends
/// with `start`.
#[must_use]
pub fn head(start: &[u8], whole: bool) -> Option<Head> {
    let window = start.get(..HEAD).unwrap_or(start);
    let line = match memchr::memchr(b'\n', window) {
        Some(end) => window.get(..end)?,
        None if window.len() == HEAD || (whole && !window.is_empty()) => window,
        None => return None,
    };
    Some(Head {
        hash: xxh3_64(line),
        len: line.len() as u32,
    })
}

/// Whether a stream that begins with `start` has the head `hash` of `len` bytes.
#[must_use]
pub fn has_head(start: &[u8], hash: u64, len: u32) -> bool {
    start.get(..len as usize).is_some_and(|line| xxh3_64(line) == hash)
}

/// Hash of the last [`NEAR`] bytes of `below`; 0 where there are none.
#[must_use]
pub fn near(below: &[u8]) -> u64 {
    if below.is_empty() {
        0
    } else {
        xxh3_64(below.get(below.len().saturating_sub(NEAR)..).unwrap_or(below))
    }
}

/// `source.stream`: ten characters of the head, and the number of the stream's first line.
#[must_use]
pub fn stream_name(head: u64, number: u32) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut name: String = (0..10)
        .rev()
        .map(|i| char::from(ALPHABET[((head >> (5 * i)) & 31) as usize]))
        .collect();
    name.push('.');
    name.push_str(&number.to_string());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_needs_a_complete_first_line() {
        assert_eq!(head(b"abc", false), None);
        assert_eq!(head(b"", true), None);
        assert_eq!(head(b"abc\ndef", false), head(b"abc", true));
        assert!(head(&[b'x'; HEAD], false).is_some());
        assert_eq!(head(&[b'x'; HEAD], false), head(&[b'x'; HEAD + 9], false));
    }

    #[test]
    fn a_grown_file_still_has_the_head_of_its_beginning() {
        let h = head(b"abc", true).unwrap();
        assert!(has_head(b"abcdef\n", h.hash, h.len));
        assert!(!has_head(b"ab", h.hash, h.len));
    }

    #[test]
    fn a_stream_is_named_by_its_head_and_number() {
        assert_eq!(stream_name(0, 3), "0000000000.3");
    }
}
