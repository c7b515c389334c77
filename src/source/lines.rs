//! Bytes to lines, lines to items. Pure.
//!
//! # What is a line
//!
//! Lines end with a line feed and nothing else (U+2028 stands raw in JSON). A carriage return before it is left to the
//! parser. Blank lines hold no record: they are skipped and counted. NUL bytes come from holes (a file truncated under
//! a writer that does not append) and from torn blocks (power loss). A run of at least [`NUL_RUN`] of them ends a
//! line, and they are skipped and counted wherever a line could begin; so a torn record and the one written after it
//! are two. In a live file they wait first ([`Ends::nuls_wait`]): they may be pages that a writer has yet to fill.
//!
//! # What is an item
//!
//! An item is the line of one record with the lines that belong to it: [`crate::record::Joiner`] says which do, by the
//! text alone. A read ends anywhere, and a live line must not wait for company that cannot come. So:
//!
//! * while the data goes on beyond the window ([`End::More`]), whatever the next bytes could change is not consumed;
//! * at the end of what a live file holds ([`End::Live`]), what may go on is held back: an open traceback, a line of a
//!   known text format. loguru's own lines, other JSON and plain text never wait;
//! * after a quiet time ([`End::Quiet`]) what was held is released.
//!
//! The chain goes from line to line and ignores grouping, so a key is the same however the reads fell.
//!
//! # UTF-16
//!
//! A stream that begins with its byte order mark, or looks it, has its line feeds in two bytes; its lines stay as they
//! are until they are parsed.
//!
//! # Bounds
//!
//! A line longer than `max_line` is cut to it, an item's continuation ends before the item grows beyond it. A window
//! that holds the beginning of a line longer than that says [`Rest::Long`]; its reader goes on without keeping more.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::Item;
use super::chain::{Chain, Digest, chain, is_blank};
use crate::record::{self, Continues, Joiner, Order};

/// So many NUL bytes in a row end a line.
pub const NUL_RUN: usize = 4;

/// What lies behind the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// More bytes, which can be read at once.
    More,
    /// Nothing yet, but the stream may grow.
    Live,
    /// Nothing for a while: complete lines wait no longer.
    Quiet,
    /// Nothing ever: an unterminated line is a line.
    Final,
}

/// What of the window was not consumed, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    #[default]
    Nothing,
    /// An unterminated line.
    Partial,
    /// Complete lines that may belong together with what comes.
    Open,
    /// The window's rest is the beginning of a line longer than the limit.
    Long,
    /// NUL bytes that may still become text.
    Nuls,
}

/// The outcome of [`split`], beside the items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Bytes of the window that are done with.
    pub consumed: usize,
    /// The chain after them.
    pub chain: Chain,
    pub rest: Rest,
    /// Loss counters of the consumed part.
    pub nul_bytes: u64,
    pub blank_lines: u64,
    pub cut_bytes: u64,
}

/// Splits a window that begins at `offset` of its stream, with chain hash `before`, into items (appended to `items`).
///
/// `max_line` is in bytes, at least 1.
pub fn split(data: &[u8], offset: u64, before: Chain, end: End, max_line: usize, items: &mut Vec<Item>) -> Split {
    let (rules, mut none) = (Continues::default(), Ends::default());
    split_marking(data, offset, before, end, max_line, &rules, items, &mut none)
}

/// Where lines end, and the chain there, of as many lines as are wanted.
#[derive(Debug, Default)]
pub struct Ends {
    pub wanted: usize,
    pub ends: Vec<(u64, Chain)>,
    /// NUL bytes may still become text (a writer that maps its file, a network file system): they are not passed over.
    pub nuls_wait: bool,
}

impl Ends {
    fn note(&mut self, end: u64, chain: Chain) {
        if self.ends.len() < self.wanted {
            self.ends.push((end, chain));
        }
    }
}

/// As [`split`], with what the configuration says of lines that belong together, and takes note in `ends` of lines
/// that are not blank, those included that are not consumed yet.
#[expect(clippy::too_many_arguments, reason = "the parts of a window, borrowed apart")]
pub fn split_marking(
    data: &[u8],
    offset: u64,
    before: Chain,
    end: End,
    max_line: usize,
    rules: &Continues,
    items: &mut Vec<Item>,
    ends: &mut Ends,
) -> Split {
    let mut grouper = Grouper::new(data, offset, before, max_line, rules, items, ends);
    let nuls = memchr(0, data).is_some();
    if nuls || (offset == 0 && data.first().is_some_and(|b| *b >= 0xFE)) {
        grouper.wide = wide(data, offset);
    }
    let nuls = nuls && grouper.wide.is_none();
    let mut at = 0;
    loop {
        if nuls && grouper.waits(at, end) {
            return grouper.wait_for_text(at);
        }
        let start = if nuls { grouper.skip_nuls(at) } else { at };
        let Some(rest) = data.get(start..).filter(|r| !r.is_empty()) else {
            return grouper.finish(start, &[], end);
        };
        match line_end(rest, nuls, grouper.wide) {
            // What ends the line may become its text.
            Some((len, 0)) if grouper.waits(start + len, end) => return grouper.wait_for_text(start),
            Some((len, terminator)) => {
                grouper.line(start, start + len, start + len + terminator);
                at = start + len + terminator;
            }
            None if end == End::Final => {
                grouper.line(start, data.len(), data.len());
                at = data.len();
            }
            None => return grouper.finish(start, rest, end),
        }
    }
}

/// Whether a window is of a stream in UTF-16.
fn wide(data: &[u8], offset: u64) -> Option<Order> {
    if let Some(order) = record::utf16_order(data) {
        return Some(order);
    }
    if offset == 0 {
        return None;
    }
    // A line without a character of ASCII: its feed tells, and that it is no text otherwise.
    let order = match memchr(b'\n', data)? {
        at if at % 2 == 0 && data.get(at + 1) == Some(&0) && data.get(at + 2) != Some(&0) => Order::Little,
        at if at % 2 == 1 && data.get(at - 1) == Some(&0) && (at < 2 || data.get(at - 2) != Some(&0)) => Order::Big,
        _ => return None,
    };
    let line = data.get(..record::line_feed(data, order)?)?;
    (line.len() % 2 == 0 && !line.is_empty() && simdutf8::basic::from_utf8(line).is_err()).then_some(order)
}

/// Length of the first line of `data`, and of what ends it (a line feed; nothing, where a run of NULs does).
fn line_end(data: &[u8], nuls: bool, wide: Option<Order>) -> Option<(usize, usize)> {
    if let Some(order) = wide {
        return record::line_feed(data, order).map(|at| (at, 2));
    }
    let feed = memchr(b'\n', data);
    if nuls && let Some(hole) = memmem::find(data.get(..feed.unwrap_or(data.len()))?, &[0; NUL_RUN]) {
        return Some((hole, 0));
    }
    feed.map(|at| (at, 1))
}

struct Open {
    item: Item,
    joiner: Joiner,
    /// Blank lines that belong to the group if what follows does.
    blanks: u64,
    /// The chain before the item's own line.
    before: Chain,
}

struct Grouper<'a> {
    data: &'a [u8],
    offset: u64,
    max_line: usize,
    rules: &'a Continues,
    wide: Option<Order>,
    items: &'a mut Vec<Item>,
    ends: &'a mut Ends,
    open: Option<Open>,
    chain: Chain,
    done: Split,
    /// Losses seen beyond what is consumed.
    ahead: Split,
}

impl<'a> Grouper<'a> {
    fn new(
        data: &'a [u8],
        offset: u64,
        before: Chain,
        max_line: usize,
        rules: &'a Continues,
        items: &'a mut Vec<Item>,
        ends: &'a mut Ends,
    ) -> Grouper<'a> {
        let done = Split {
            chain: before,
            ..Split::default()
        };
        Grouper {
            data,
            offset,
            max_line,
            rules,
            wide: None,
            items,
            ends,
            open: None,
            chain: before,
            done,
            ahead: Split::default(),
        }
    }

    /// Counts the NULs at `at`; returns where they end.
    fn skip_nuls(&mut self, at: usize) -> usize {
        let rest = self.data.get(at..).unwrap_or_default();
        let run = rest.iter().position(|b| *b != 0).unwrap_or(rest.len());
        if run > 0 {
            self.close(at);
            self.ahead.nul_bytes += run as u64;
            self.commit(at + run);
        }
        at + run
    }

    /// Takes the line at `start..end`, after which the next one begins at `next`.
    fn line(&mut self, start: usize, end: usize, next: usize) {
        let line = self.data.get(start..end).unwrap_or_default();
        let after = self.chain_after(start, line, next);
        if self.is_blank(line) {
            return self.blank(start, next, after);
        }
        // Never half a unit.
        let most = self.max_line - usize::from(self.wide.is_some()) * (self.max_line % 2);
        let kept = line.get(..most).unwrap_or(line);
        let cut = line.len() - kept.len();
        if cut == 0 && self.continues(line, end) {
            self.chain = after;
            return;
        }
        self.close(start);
        let before = std::mem::replace(&mut self.chain, after);
        let item = Item {
            start: start as u32,
            line_end: (start + kept.len()) as u32,
            end: (start + kept.len()) as u32,
            offset: self.offset + start as u64,
            chain: after,
            number: 0,
            whole: if cut > 0 { line.len() as u64 } else { 0 },
        };
        self.open = Some(Open {
            item,
            joiner: Joiner::begin(&text(line, self.wide)),
            blanks: 0,
            before,
        });
        if cut > 0 {
            self.ahead.cut_bytes += cut as u64;
            self.close(next);
        }
    }

    fn is_blank(&self, line: &[u8]) -> bool {
        let space = |b: &u8| b.is_ascii_whitespace() || matches!(b, 0 | 0xFE | 0xFF);
        match self.wide {
            Some(_) => line.iter().all(space),
            None => is_blank(line),
        }
    }

    /// The chain after the line at `start`, behind which the next one begins at `next`; its end is noted if it is not
    /// blank. The chain is one of raw bytes: of UTF-16 it takes in what stands between line feeds of one byte.
    fn chain_after(&mut self, start: usize, line: &[u8], next: usize) -> Chain {
        let at = self.offset + start as u64;
        if self.wide.is_none() {
            if is_blank(line) {
                return self.chain;
            }
            let after = chain(self.chain, at, line);
            self.ends.note(at + line.len() as u64, after);
            return after;
        }
        let mut digest = Digest::new(at, self.chain);
        let bytes = self.data.get(start..next).unwrap_or_default();
        digest.feed(bytes, &mut |l| self.ends.note(l.end, l.chain));
        digest.chain()
    }

    fn blank(&mut self, start: usize, next: usize, after: Chain) {
        match &mut self.open {
            Some(open) if open.joiner.takes_blanks() => {
                open.blanks += 1;
                self.chain = after;
            }
            _ => {
                self.close(start);
                self.chain = after;
                self.ahead.blank_lines += 1;
                self.commit(next);
            }
        }
    }

    /// Whether the line belongs to the open item; then it is part of it.
    fn continues(&mut self, line: &[u8], end: usize) -> bool {
        let Some(open) = &mut self.open else { return false };
        if end - open.item.start as usize > self.max_line {
            return false;
        }
        if !open.joiner.may_go_on() {
            return false;
        }
        let first = self
            .data
            .get(open.item.start as usize..open.item.line_end as usize)
            .unwrap_or_default();
        let (first, line) = (text(first, self.wide), text(line, self.wide));
        if !open.joiner.continues(&first, &line, open.blanks, self.rules) {
            return false;
        }
        open.blanks = 0;
        open.item.end = end as u32;
        true
    }

    /// Ends the open item; the next thing begins at `at`.
    fn close(&mut self, at: usize) {
        if let Some(open) = self.open.take() {
            self.ahead.blank_lines += open.blanks;
            self.items.push(open.item);
        }
        self.commit(at);
    }

    fn commit(&mut self, at: usize) {
        self.done.consumed = at;
        self.done.chain = self.chain;
        self.done.nul_bytes += std::mem::take(&mut self.ahead.nul_bytes);
        self.done.blank_lines += std::mem::take(&mut self.ahead.blank_lines);
        self.done.cut_bytes += std::mem::take(&mut self.ahead.cut_bytes);
    }

    /// Whether NUL bytes stand at `at` that may become text: in a live file those at its end always may.
    fn waits(&self, at: usize, end: End) -> bool {
        let rest = self.data.get(at..).unwrap_or_default();
        match end {
            _ if rest.first() != Some(&0) => false,
            End::Final => false,
            End::More => self.ends.nuls_wait,
            End::Live | End::Quiet => self.ends.nuls_wait || rest.iter().all(|b| *b == 0),
        }
    }

    /// What stands below `at` is taken, the rest waits.
    fn wait_for_text(mut self, at: usize) -> Split {
        self.close(at);
        self.done.rest = Rest::Nuls;
        self.done
    }

    /// All complete lines are taken; `partial` begins at `at`.
    fn finish(mut self, at: usize, partial: &[u8], end: End) -> Split {
        let long = partial.len() > self.max_line;
        let (data, wide, rules) = (self.data, self.wide, self.rules);
        let hold = match (&mut self.open, end) {
            (None, _) | (_, End::Quiet | End::Final) => false,
            (Some(_), _) if long => false,
            (Some(open), End::Live) => {
                let first = data
                    .get(open.item.start as usize..open.item.line_end as usize)
                    .unwrap_or_default();
                open.joiner.waits(&text(first, wide), rules)
            }
            (Some(open), End::More) => open.joiner.may_go_on(),
        };
        if hold {
            self.done.rest = Rest::Open;
            self.done.chain = self.open.as_ref().map_or(self.chain, |o| o.before);
            return self.done;
        }
        self.close(at);
        self.done.rest = match (long, partial.is_empty()) {
            (true, _) => Rest::Long,
            (false, false) => Rest::Partial,
            (false, true) => Rest::Nothing,
        };
        self.done
    }
}

/// Whether some of the lines may belong to others. Quick.
#[must_use]
pub fn may_belong_together(data: &[u8], items: &[Item]) -> bool {
    items.iter().any(|i| data.get(i.start as usize) != Some(&b'{'))
}

/// A line's text, where it is in UTF-16; else the line.
fn text(line: &[u8], wide: Option<Order>) -> Cow<'_, [u8]> {
    match wide {
        Some(order) => Cow::Owned(record::utf16_text(line, order).into_bytes()),
        None => Cow::Borrowed(line),
    }
}

#[cfg(test)]
mod tests;
