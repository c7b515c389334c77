//! Short texts (file names), one behind the other: an allocation of its own would cost each as much again.

/// Bytes of one piece.
const PIECE: usize = 8 << 10;
/// Fewer bytes of dropped texts are not worth moving the others.
const WORTH: usize = 64 << 10;

/// Where a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    piece: u16,
    at: u16,
    len: u16,
}

#[derive(Debug, Default)]
pub struct Texts {
    pieces: Vec<Vec<u8>>,
    kept: usize,
    dropped: usize,
}

impl Texts {
    /// Keeps a text; of one longer than 8 KiB, which no file name is, its beginning.
    pub fn add(&mut self, text: &[u8]) -> Text {
        let text = text.get(..PIECE).unwrap_or(text);
        self.kept += text.len();
        if self.pieces.last().is_none_or(|p| p.len() + text.len() > PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let piece = self.pieces.len() - 1;
        let mut at = 0;
        if let Some(p) = self.pieces.last_mut() {
            at = p.len();
            p.extend_from_slice(text);
        }
        Text {
            piece: piece as u16,
            at: at as u16,
            len: text.len() as u16,
        }
    }

    #[must_use]
    pub fn get(&self, text: Text) -> &[u8] {
        let (at, len) = (usize::from(text.at), usize::from(text.len));
        self.pieces
            .get(usize::from(text.piece))
            .and_then(|p| p.get(at..at + len))
            .unwrap_or_default()
    }

    /// A text is needed no more. Its place is free once the others were moved together.
    pub fn drop(&mut self, text: Text) {
        self.dropped += usize::from(text.len);
    }

    /// Whether most of what is kept was dropped.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.dropped > WORTH && self.dropped * 2 > self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_where_they_were_put() {
        let name = |n: usize| format!("{n}-{}", "x".repeat(n % 300)).into_bytes();
        let mut texts = Texts::default();
        let kept: Vec<Text> = (0..2000).map(|n| texts.add(&name(n))).collect();
        assert!(kept.iter().zip(0..).all(|(text, n)| texts.get(*text) == name(n)));
        assert!(!texts.is_sparse());
        kept.iter().skip(900).for_each(|text| texts.drop(*text));
        assert!(texts.is_sparse());
        let large = texts.add(&[7; PIECE]);
        assert_eq!(texts.get(large), [7; PIECE]);
    }
}
