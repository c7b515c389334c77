//! Bytes of one connection into lines with positions. Pure, and bounded: at most one line of `max_line` bytes and one
//! read are held.

use crate::source::lines::{self, End};
use crate::source::{Chain, Item, Loss, chain};

/// Complete lines of one connection, on their way to an [`super::SocketIntake`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedChunk {
    pub data: Vec<u8>,
    /// `offset` is the number of lines before it in the stream.
    pub items: Vec<Item>,
}

/// What was read but is no line to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    pub blank_lines: u64,
    pub nul_bytes: u64,
    pub cut_bytes: u64,
}

impl Losses {
    /// Each with its name.
    pub fn each(self) -> impl Iterator<Item = Loss> {
        [
            (
                self.blank_lines,
                Loss::Blank {
                    lines: self.blank_lines,
                },
            ),
            (self.nul_bytes, Loss::Nul { bytes: self.nul_bytes }),
            (self.cut_bytes, Loss::Cut { bytes: self.cut_bytes }),
        ]
        .into_iter()
        .filter_map(|(n, loss)| (n > 0).then_some(loss))
    }
}

/// The line splitter of one connection.
#[derive(Debug)]
pub struct Lines {
    /// What was read; at most the last line is incomplete.
    buffer: Vec<u8>,
    /// Up to here there is no line feed.
    searched: usize,
    /// Bytes of the current line that were not kept.
    beyond: u64,
    max_line: usize,
    /// Lines taken so far, blank ones too.
    pub number: u64,
    /// Chain hash of all lines so far.
    pub chain: Chain,
}

impl Lines {
    /// Goes on after `number` lines with this chain hash.
    #[must_use]
    pub fn after(number: u64, chain: Chain, max_line: usize) -> Lines {
        Lines {
            buffer: Vec::new(),
            searched: 0,
            beyond: 0,
            max_line: max_line.max(1),
            number,
            chain,
        }
    }

    /// Where to read to. Only appended to.
    pub fn space(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes held of a line that is not complete.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Gives memory back that is not used.
    pub fn release(&mut self) {
        self.buffer.shrink_to_fit();
    }

    /// Takes the first line off alone, without its line feed, if it is complete and short enough to be a handshake.
    pub fn first_line(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.buffer)?;
        let line = self.buffer.drain(..=end).take(end).collect();
        self.searched = 0;
        Some(line)
    }

    /// Puts a line back that turned out to be no handshake.
    pub fn put_back(&mut self, line: &[u8]) {
        let mut all = Vec::with_capacity(line.len() + 1 + self.buffer.len());
        all.extend_from_slice(line);
        all.push(b'\n');
        all.append(&mut self.buffer);
        self.buffer = all;
    }

    /// Takes all complete lines. With `end` the rest is a line too.
    pub fn take(&mut self, end: bool) -> (OwnedChunk, Losses) {
        let mut losses = Losses::default();
        let mut items = Vec::new();
        let mut start = 0;
        while let Some(at) = memchr::memchr(b'\n', self.buffer.get(self.searched..).unwrap_or(&[])) {
            let feed = self.searched + at;
            self.line(start, feed, &mut items, &mut losses);
            start = feed + 1;
            self.searched = start;
        }
        self.searched = self.buffer.len();
        if end && (start < self.buffer.len() || self.beyond > 0) {
            self.line(start, self.buffer.len(), &mut items, &mut losses);
            start = self.buffer.len();
        }
        let mut data = Vec::new();
        if start > 0 {
            let rest = self.buffer.get(start..).unwrap_or(&[]).to_vec();
            data = std::mem::replace(&mut self.buffer, rest);
            data.truncate(start);
        }
        if self.buffer.len() > self.max_line {
            self.beyond += (self.buffer.len() - self.max_line) as u64;
            self.buffer.truncate(self.max_line);
        }
        self.searched = self.buffer.len();
        join_tracebacks(&data, &mut items, self.max_line);
        (OwnedChunk { data, items }, losses)
    }

    /// One line, `buffer[start..end]`.
    fn line(&mut self, start: usize, end: usize, items: &mut Vec<Item>, losses: &mut Losses) {
        let number = self.number;
        self.number += 1;
        let line = self.buffer.get(start..end).unwrap_or(&[]);
        let whole = line.len() as u64 + std::mem::take(&mut self.beyond);
        let nuls = line.iter().take_while(|b| **b == 0).count();
        losses.nul_bytes += nuls as u64;
        let kept = line.len().min(self.max_line);
        let text = line.get(nuls.min(kept)..kept).unwrap_or(&[]);
        if text.iter().all(|b| b.is_ascii_whitespace() || *b == 0) {
            losses.blank_lines += u64::from(nuls == 0 || !text.is_empty());
            losses.cut_bytes += whole - line.len() as u64;
            return;
        }
        let cut = whole - kept as u64;
        losses.cut_bytes += cut;
        self.chain = chain(self.chain, number, text);
        let (start, end) = ((start + nuls) as u32, (start + kept) as u32);
        items.push(Item {
            start,
            line_end: end,
            end,
            offset: number,
            chain: self.chain,
            number: 0,
            whole: if cut > 0 { whole } else { 0 },
        });
    }
}

/// Joins the lines of a traceback to the record that they follow, as in files, as far as they came together: a line is
/// acknowledged, and so cannot wait for company.
fn join_tracebacks(data: &[u8], items: &mut Vec<Item>, max_line: usize) {
    if items.len() < 2 || !lines::may_belong_together(data, items) {
        return;
    }
    let mut groups = Vec::new();
    lines::split(data, 0, 0, End::Final, max_line, &mut groups);
    let mut groups = groups.iter().filter(|g| g.end > g.line_end).peekable();
    items.dedup_by(|line, record| {
        while groups.next_if(|g| g.end <= record.start).is_some() {}
        let joined = groups
            .peek()
            .is_some_and(|g| g.start == record.start && line.end <= g.end);
        if joined {
            record.end = line.end;
        }
        joined
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(chunk: &OwnedChunk) -> Vec<&str> {
        chunk
            .items
            .iter()
            .map(|i| std::str::from_utf8(&chunk.data[i.start as usize..i.line_end as usize]).unwrap())
            .collect()
    }

    /// All lines of `input`, read `step` bytes at a time.
    fn split(input: &[u8], step: usize, max_line: usize) -> (Vec<(String, Item)>, Losses, u64) {
        let mut lines = Lines::after(0, 0, max_line);
        let (mut all, mut sum) = (Vec::new(), Losses::default());
        let mut add = |(chunk, losses): (OwnedChunk, Losses)| {
            let found: Vec<_> = texts(&chunk).into_iter().map(str::to_owned).collect();
            all.extend(found.into_iter().zip(chunk.items.iter().map(|i| Item {
                start: 0,
                line_end: 0,
                end: 0,
                ..*i
            })));
            sum.blank_lines += losses.blank_lines;
            sum.nul_bytes += losses.nul_bytes;
            sum.cut_bytes += losses.cut_bytes;
        };
        for part in input.chunks(step) {
            lines.space().extend_from_slice(part);
            add(lines.take(false));
            assert!(lines.held() <= max_line);
        }
        add(lines.take(true));
        (all, sum, lines.number)
    }

    #[test]
    fn lines_are_numbered_and_chained_and_the_last_needs_no_line_feed() {
        let mut lines = Lines::after(7, 5, 100);
        lines.space().extend_from_slice(b"one\n\ntwo\nthr");
        let (chunk, losses) = lines.take(false);
        assert_eq!(texts(&chunk), ["one", "two"]);
        assert_eq!(chunk.items.iter().map(|i| i.offset).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(losses.blank_lines, 1);
        assert_eq!(chunk.items[1].chain, chain(chain(5, 7, b"one"), 9, b"two"));
        lines.space().extend_from_slice(b"ee");
        assert_eq!(lines.take(false).0.items, []);
        let (chunk, _) = lines.take(true);
        assert_eq!((texts(&chunk), lines.number), (vec!["three"], 11));
        assert_eq!(lines.take(true).0.items, [], "nothing is taken twice");
    }

    #[test]
    fn how_the_bytes_arrive_makes_no_difference() {
        let input = b"a\n  \n\0\0\0b\r\n\0\0\n0123456789abcdef\n\nlast 0123456789 line";
        let whole = split(input, input.len(), 8);
        for step in 1..input.len() {
            assert_eq!(split(input, step, 8), whole, "step {step}");
        }
        let (lines, losses, number) = whole;
        assert_eq!(
            lines.iter().map(|l| l.0.as_str()).collect::<Vec<_>>(),
            ["a", "b\r", "01234567", "last 012"]
        );
        assert_eq!(lines.iter().map(|l| l.1.whole).collect::<Vec<_>>(), [0, 0, 16, 20]);
        let expected = Losses {
            blank_lines: 2,
            nul_bytes: 5,
            cut_bytes: 8 + 12,
        };
        assert_eq!((losses, number), (expected, 7));
    }

    #[test]
    fn lines_of_a_traceback_that_came_with_their_record_belong_to_it() {
        let mut lines = Lines::after(0, 0, 200);
        let text = b"ERROR:root:m\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 1\nINFO:root:next\n";
        lines.space().extend_from_slice(text);
        let (chunk, _) = lines.take(false);
        assert_eq!(texts(&chunk), ["ERROR:root:m", "INFO:root:next"]);
        let [record, next] = chunk.items[..] else { panic!("two") };
        assert!(chunk.data[record.line_end as usize..record.end as usize].ends_with(b"KeyError: 1"));
        assert_eq!((record.offset, next.offset, lines.number), (0, 4, 5));
        lines
            .space()
            .extend_from_slice(b"Traceback (most recent call last):\n  File \"a.py\", line 1\nE: 2\nlast\n");
        assert_eq!(
            texts(&lines.take(false).0),
            ["Traceback (most recent call last):", "last"]
        );
    }

    #[test]
    fn a_first_line_can_be_looked_at_and_put_back() {
        let mut lines = Lines::after(0, 0, 100);
        lines.space().extend_from_slice(b"hello");
        assert_eq!(lines.first_line(), None);
        lines.space().extend_from_slice(b" you\nnext\n");
        let first = lines.first_line().unwrap();
        assert_eq!(first, b"hello you");
        lines.put_back(&first);
        assert_eq!(texts(&lines.take(false).0), ["hello you", "next"]);
    }
}
