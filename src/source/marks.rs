//! Marks: the chain at some offsets of a stream's content, for the time when its file is gone.
//!
//! Where two streams part is read from their files while these are there. Of a stream whose file went the marks tell:
//! one behind every line of its beginning, so that there the answer is exact, and behind that a ladder whose rungs lie
//! twice as far apart each time. A mark keeps a part of the chain: a beginning that is taken for common though it is not
//! costs a number that nobody needed, never a line. Whether a file *is* the stream is asked of the whole chain at its
//! cursor.

use super::Chain;

/// A mark for each of so many lines at the beginning.
pub const FIRST: usize = 64;
/// The first rung of the ladder.
const RUNG: u64 = 32 << 10;

/// Marks of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// One for each line of the beginning that is not blank; they rise.
    first: Vec<Mark>,
    /// Offset and a part of the chain.
    ladder: Vec<(u64, u64)>,
}

/// The end of a line near the beginning, and a part of the chain there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub end: u32,
    pub chain: u32,
}

/// What the marks say of an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The stream's content up to here has this chain.
    Equal,
    /// It has another, or no line ends here.
    Differs,
    /// No mark lies here.
    Nothing,
}

impl Marks {
    /// Of marks as they were kept.
    #[must_use]
    pub fn of(first: Vec<Mark>, ladder: Vec<(u64, u64)>) -> Marks {
        Marks { first, ladder }
    }

    #[must_use]
    pub fn first(&self) -> &[Mark] {
        &self.first
    }

    #[must_use]
    pub fn ladder(&self) -> &[(u64, u64)] {
        &self.ladder
    }

    /// How many more lines at the beginning are to leave a mark.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.ladder.is_empty() {
            FIRST.saturating_sub(self.first.len())
        } else {
            0
        }
    }

    /// Takes note of the chain after a line of the beginning, which ends at `end`, before its line feed.
    pub fn push(&mut self, end: u64, chain: Chain) {
        if self.wanted() > 0
            && end > self.first.last().map_or(0, |m| u64::from(m.end))
            && let Ok(end) = u32::try_from(end)
        {
            self.first.push(Mark {
                end,
                chain: chain as u32,
            });
        }
    }

    /// Whether the ladder has room for a rung at `offset`.
    #[must_use]
    pub fn climbs(&self, offset: u64) -> bool {
        self.first.len() >= FIRST && offset >= self.ladder.last().map_or(RUNG, |last| last.0.saturating_mul(2))
    }

    /// Takes note of the chain at `offset`, which no line crosses, where the ladder has room for a rung.
    pub fn climb(&mut self, offset: u64, chain: Chain) {
        if self.climbs(offset) {
            self.ladder.push((offset, chain as u64));
        }
    }

    /// What is known of the content up to the end of a line.
    #[must_use]
    pub fn say(&self, end: u64, chain: Chain) -> Said {
        let dense = self.first.last().map_or(0, |m| u64::from(m.end));
        if end <= dense {
            let at = self.first.partition_point(|m| u64::from(m.end) < end);
            let mark = self.first.get(at).filter(|m| u64::from(m.end) == end);
            return match mark {
                Some(mark) if mark.chain == chain as u32 => Said::Equal,
                _ => Said::Differs,
            };
        }
        match self.ladder.binary_search_by_key(&end, |l| l.0) {
            Ok(at) if self.ladder.get(at).is_some_and(|l| l.1 == chain as u64) => Said::Equal,
            Ok(_) => Said::Differs,
            Err(_) => Said::Nothing,
        }
    }

    /// Offsets behind the first `below` bytes at which the ladder says something.
    pub fn rungs(&self) -> impl Iterator<Item = u64> + '_ {
        self.ladder.iter().map(|l| l.0)
    }

    /// The last mark that is not behind `limit`: its offset and the part of the chain that it keeps.
    #[must_use]
    pub fn foot(&self, limit: u64) -> Option<(u64, Part)> {
        let rung = self.ladder.iter().rfind(|l| l.0 <= limit);
        let first = self.first.iter().rfind(|m| u64::from(m.end) <= limit);
        rung.map(|l| (l.0, Part::Long(l.1)))
            .or(first.map(|m| (u64::from(m.end), Part::Short(m.chain))))
    }

    /// Bytes that the marks take beyond themselves.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.first.capacity() * size_of::<Mark>() + self.ladder.capacity() * 16
    }

    /// Gives back room that is not needed.
    pub fn shrink(&mut self) {
        self.first.shrink_to_fit();
        self.ladder.shrink_to_fit();
    }
}

/// The part of a chain that a mark keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Short(u32),
    Long(u64),
}

impl Part {
    /// Whether this is a part of the chain.
    #[must_use]
    pub fn is_of(self, chain: Chain) -> bool {
        match self {
            Part::Short(part) => part == chain as u32,
            Part::Long(part) => part == chain as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(records: u64, length: u64) -> Marks {
        let mut marks = Marks::default();
        for n in 1..=records {
            marks.push(n * length - 1, Chain::from(n));
            marks.climb(n * length, Chain::from(n));
        }
        marks
    }

    #[test]
    fn the_beginning_is_known_line_by_line() {
        let marks = marked(64, 10);
        for n in 1..=64 {
            assert_eq!(marks.say(n * 10 - 1, Chain::from(n)), Said::Equal);
            assert_eq!(marks.say(n * 10 - 1, 0), Said::Differs);
            assert_eq!(
                marks.say(n * 10 - 2, Chain::from(n)),
                Said::Differs,
                "no line ends there"
            );
        }
        assert_eq!(marks.say(5000, 1), Said::Nothing);
    }

    #[test]
    fn however_long_a_stream_is_its_marks_are_few() {
        let marks = marked(2_000_000, 1000);
        assert_eq!(marks.first().len(), FIRST);
        assert!(marks.ladder().len() < 20, "{}", marks.ladder().len());
        assert!(marks.rungs().all(|end| {
            let n = end / 1000;
            marks.say(end, Chain::from(n)) == Said::Equal
        }));
        assert!(marks.weight() <= 2048);
    }
}
