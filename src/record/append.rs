//! Appending short texts.
//!
//! A document is put together from some fifty pieces, and most are shorter than a dozen bytes. To call the C library's
//! copy for each of these costs more than the copy: here the two ends of a short piece are stored, overlapping where
//! they must, with instructions of a fixed width.

/// Appends `piece`.
#[inline(always)]
pub fn append(out: &mut Vec<u8>, piece: &[u8]) {
    match piece.len() {
        0 => {}
        1..4 => {
            out.extend_from_slice(piece.get(..1).unwrap_or_default());
            if let Some(two) = piece.last_chunk::<2>().filter(|_| piece.len() == 3) {
                out.extend_from_slice(two);
            } else if let Some(second) = piece.get(1) {
                out.push(*second);
            }
        }
        4..8 => ends::<4>(out, piece),
        8..16 => ends::<8>(out, piece),
        16..=32 => ends::<16>(out, piece),
        _ => out.extend_from_slice(piece),
    }
}

/// Appends a piece of `N` to `2 * N` bytes.
#[inline(always)]
fn ends<const N: usize>(out: &mut Vec<u8>, piece: &[u8]) {
    let (Some(first), Some(last)) = (piece.first_chunk::<N>(), piece.last_chunk::<N>()) else {
        return out.extend_from_slice(piece);
    };
    let (len, at) = (piece.len(), out.len());
    if len > 2 * N {
        return out.extend_from_slice(piece);
    }
    out.reserve(2 * N);
    // SAFETY: room for 2 N bytes was just made, and `len` is at least N, as there are chunks of it, and at most 2 N. So
    // both chunks lie within the room, and together fill its first `len` bytes.
    unsafe {
        let room = out.as_mut_ptr().add(at);
        room.cast::<[u8; N]>().write_unaligned(*first);
        room.add(len - N).cast::<[u8; N]>().write_unaligned(*last);
        out.set_len(at + len);
    }
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn pieces_of_every_length_are_appended_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for len in (0..100).chain((0..100).rev()) {
            let piece = bytes.get(len..2 * len).unwrap();
            append(&mut out, piece);
            expected.extend_from_slice(piece);
            assert_eq!(out, expected, "{len}");
            if len % 7 == 0 {
                out.shrink_to_fit();
            }
        }
    }
}
