//! Telling streams apart and finding them again. Pure.
//!
//! Inodes are reused (on ext4 the live file of a compressing rotation gets the inode and the path of the one before),
//! and names change with each rotation. So a stream is known by content: the hash of its first line (its *head*), and
//! the hash of the bytes below its cursor (*near*). Inode and path only say where to look first.
//!
//! A file has no head, and no identity, before its first line is complete: nothing could be delivered of it anyway.

use xxhash_rust::xxh3::xxh3_64;

use super::{HEAD, NEAR};

/// Hash of a first line, and how many bytes of it were hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    pub hash: u64,
    pub len: u32,
    /// The line bears a clock time or the like, so that no two streams have it by chance.
    pub distinctive: bool,
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
        distinctive: distinctive(line),
    })
}

/// Whether a stream that begins with `start` has the head `hash` of `len` bytes.
#[must_use]
pub fn has_head(start: &[u8], hash: u64, len: u32) -> bool {
    start.get(..len as usize).is_some_and(|line| xxh3_64(line) == hash)
}

/// A clock time (`12:34:56`), or nine digits in a row: an instant, an id.
fn distinctive(line: &[u8]) -> bool {
    let clock = |w: &[u8]| {
        w.iter().enumerate().all(|(i, b)| {
            if matches!(i, 2 | 5) {
                *b == b':'
            } else {
                b.is_ascii_digit()
            }
        })
    };
    line.windows(8).any(clock) || line.windows(9).any(|w| w.iter().all(u8::is_ascii_digit))
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

/// The first part of the keys of a stream: generations of one head have different keys.
#[must_use]
pub fn keyed(head: u64, generation: u32) -> u64 {
    head ^ u64::from(generation).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// `source.stream`: ten characters of the head and the generation.
#[must_use]
pub fn stream_name(head: u64, generation: u32) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut name: String = (0..10)
        .rev()
        .map(|i| char::from(ALPHABET[((head >> (5 * i)) & 31) as usize]))
        .collect();
    name.push('.');
    name.push_str(&generation.to_string());
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
    fn lines_with_an_instant_are_distinctive() {
        assert!(head(b"2026-11-21 02:20:24 | hello\n", false).unwrap().distinctive);
        assert!(head(b"{\"ts\": 1795227624.05}\n", false).unwrap().distinctive);
        assert!(!head(b"starting up, pid 8276\n", false).unwrap().distinctive);
    }

    #[test]
    fn generations_have_keys_and_names_of_their_own() {
        assert_eq!(keyed(7, 0), 7);
        let mut heads: Vec<u64> = (0..1000).map(|g| keyed(7, g) & ((1 << 50) - 1)).collect();
        heads.sort_unstable();
        heads.dedup();
        assert_eq!(heads.len(), 1000);
        assert_eq!(stream_name(0, 3), "0000000000.3");
    }
}
