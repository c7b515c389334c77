//! Lines of files in UTF-16, which Windows writes.
//!
//! A stream is in UTF-16 if it begins with a byte order mark, or if a line of it begins with two ASCII characters in that
//! encoding: no text in UTF-8 has a NUL at every other byte.

use super::memory::Memory;

/// Which byte of a unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

/// The order of a stream that begins so, or of a line that does.
#[must_use]
pub fn order(start: &[u8]) -> Option<Order> {
    match start {
        [0xFF, 0xFE, ..] => Some(Order::Little),
        [0xFE, 0xFF, ..] => Some(Order::Big),
        [a, 0, b, 0, ..] if *a != 0 && *b != 0 => Some(Order::Little),
        [0, a, 0, b, ..] if *a != 0 && *b != 0 => Some(Order::Big),
        _ => None,
    }
}

/// Whether a line is in UTF-16; its stream then is.
#[inline]
pub(super) fn is_wide(line: &[u8], memory: &mut Memory) -> bool {
    if memory.wide.is_none() {
        memory.wide = order(line);
    }
    memory.wide.is_some()
}

/// The text of a line; what is no character stands as U+FFFD.
pub(super) fn decode(line: &[u8], memory: &Memory) -> String {
    text(line, memory.wide.unwrap_or(Order::Little))
}

/// The text of the lines that follow, from the feed that ends the record's own line on.
pub(super) fn decode_rest(rest: &[u8], memory: &Memory) -> String {
    decode(rest, memory)
}

/// The text of bytes in UTF-16, without a byte order mark.
#[must_use]
pub fn text(bytes: &[u8], order: Order) -> String {
    let units = bytes.chunks_exact(2).map(|pair| {
        let pair = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
        match order {
            Order::Little => u16::from_le_bytes(pair),
            Order::Big => u16::from_be_bytes(pair),
        }
    });
    let text: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(super::text::REPLACEMENT))
        .collect();
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// The line feed in UTF-16 that ends the first line of `bytes`, of which the first is at an even position of its
/// stream: where it begins.
#[must_use]
pub fn line_feed(bytes: &[u8], order: Order) -> Option<usize> {
    let feed: [u8; 2] = match order {
        Order::Little => [b'\n', 0],
        Order::Big => [0, b'\n'],
    };
    let mut from = 0;
    loop {
        let at = from + memchr::memmem::find(bytes.get(from..)?, &feed)?;
        if at % 2 == 0 {
            return Some(at);
        }
        from = at + 1;
    }
}
