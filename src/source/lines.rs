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
//! An item is the line of one record with the lines of a Python traceback that follow it. Which lines belong together
//! is a property of the text. Two things stand against that: a read ends anywhere, and a live line must not wait for
//! company that may never come. So:
//!
//! * while the data goes on beyond the window ([`End::More`]), whatever the next bytes could change is not consumed;
//! * at the end of what a live file holds ([`End::Live`]), an open traceback is held back, and a plain line only if the
//!   bytes after it already begin a traceback. loguru's own lines carry their traceback inside and never wait;
//! * after a short quiet time ([`End::Quiet`]) what was held is released.
//!
//! The chain goes from line to line and ignores grouping, so a key is the same however the reads fell.
//!
//! # Bounds
//!
//! A line longer than `max_line` is cut to it, an item's continuation ends before the item grows beyond it. A window
//! that holds the beginning of a line longer than that says [`Rest::Long`]; its reader goes on without keeping more.

use memchr::{memchr, memmem};

use super::Item;
use super::chain::{Chain, chain, is_blank};

/// So many NUL bytes in a row end a line.
pub const NUL_RUN: usize = 4;

const TRACEBACK: &[u8] = b"Traceback (most recent call last):";
const GROUP_TRACEBACK: &[u8] = b"+ Exception Group Traceback (most recent call last):";
const DURING: &[u8] = b"During handling of the above exception, another exception occurred:";
const CAUSE: &[u8] = b"The above exception was the direct cause of the following exception:";
const SERIALIZED: &[u8] = b"{\"text\": ";

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
    let mut none = Ends::default();
    split_marking(data, offset, before, end, max_line, items, &mut none)
}

/// Where lines end, and the chain there, of as many lines as are wanted.
#[derive(Debug, Default)]
pub struct Ends {
    pub wanted: usize,
    pub ends: Vec<(u64, Chain)>,
    /// NUL bytes may still become text (a writer that maps its file, a network file system): they are not passed over.
    pub nuls_wait: bool,
}

/// As [`split`], and takes note in `ends` of lines that are not blank, those included that are not consumed yet.
pub fn split_marking(
    data: &[u8],
    offset: u64,
    before: Chain,
    end: End,
    max_line: usize,
    items: &mut Vec<Item>,
    ends: &mut Ends,
) -> Split {
    let mut grouper = Grouper::new(data, offset, before, max_line, items, ends);
    let nuls = memchr(0, data).is_some();
    let mut at = 0;
    loop {
        if nuls && grouper.waits(at, end) {
            return grouper.wait_for_text(at);
        }
        let start = if nuls { grouper.skip_nuls(at) } else { at };
        let Some(rest) = data.get(start..).filter(|r| !r.is_empty()) else {
            return grouper.finish(start, &[], end);
        };
        match line_end(rest, nuls) {
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

/// Length of the first line of `data`, and of what ends it (a line feed; nothing, where a run of NULs does).
fn line_end(data: &[u8], nuls: bool) -> Option<(usize, usize)> {
    let feed = memchr(b'\n', data);
    if nuls && let Some(hole) = memmem::find(data.get(..feed.unwrap_or(data.len()))?, &[0; NUL_RUN]) {
        return Some((hole, 0));
    }
    feed.map(|at| (at, 1))
}

/// Lines of the group that is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No traceback yet.
    Record,
    /// Within the frames of a traceback.
    Frames,
    /// Within the frames of an exception group: everything is indented.
    Group,
    /// After the line that names the exception.
    Named,
    /// After the sentence that joins two tracebacks.
    Joined,
}

struct Open {
    item: Item,
    state: State,
    /// Blank lines that belong to the group if what follows does.
    blanks: u64,
    /// The chain before the item's own line.
    before: Chain,
    serialized: bool,
}

struct Grouper<'a> {
    data: &'a [u8],
    offset: u64,
    max_line: usize,
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
        if is_blank(line) {
            return self.blank(start, next);
        }
        let after = chain(self.chain, self.offset + start as u64, line);
        if self.ends.ends.len() < self.ends.wanted {
            self.ends.ends.push((self.offset + end as u64, after));
        }
        let kept = line.get(..self.max_line).unwrap_or(line);
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
        let serialized = line.starts_with(SERIALIZED);
        let state = beginning(line).unwrap_or(State::Record);
        self.open = Some(Open {
            item,
            state,
            blanks: 0,
            before,
            serialized,
        });
        if cut > 0 {
            self.ahead.cut_bytes += cut as u64;
            self.close(next);
        }
    }

    fn blank(&mut self, start: usize, next: usize) {
        match &mut self.open {
            Some(open) if open.state != State::Record => open.blanks += 1,
            _ => {
                self.close(start);
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
        let indented = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        let next = match open.state {
            State::Record => beginning(line),
            State::Frames if indented || line.starts_with(b"> ") || line.starts_with(b"| ") => Some(State::Frames),
            State::Frames if open.item.end > open.item.start && names_exception(line) => Some(State::Named),
            State::Group if indented => Some(State::Group),
            State::Named if indented && open.blanks == 0 => Some(State::Named),
            State::Group | State::Named if open.blanks > 0 && (line.starts_with(DURING) || line.starts_with(CAUSE)) => {
                Some(State::Joined)
            }
            State::Joined => beginning(line),
            _ => None,
        };
        let Some(next) = next else { return false };
        open.state = next;
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
        let hold = match (&self.open, end) {
            (None, _) | (_, End::Quiet | End::Final) => false,
            (Some(_), _) if long => false,
            (Some(open), End::Live) if open.state == State::Record => !open.serialized && may_begin(partial, false),
            (Some(open), End::More) if open.state == State::Record => may_begin(partial, true),
            (Some(_), _) => true,
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

/// The state after a line that begins a traceback.
fn beginning(line: &[u8]) -> Option<State> {
    match line.first()? {
        b'T' if line.starts_with(TRACEBACK) => Some(State::Frames),
        b' ' | b'+' if line.trim_ascii_start().starts_with(GROUP_TRACEBACK) => Some(State::Group),
        _ => None,
    }
}

/// Whether there may be a traceback at all. Quick.
#[must_use]
pub fn may_hold_traceback(data: &[u8]) -> bool {
    memmem::find(data, TRACEBACK).is_some()
}

/// Whether the beginning of a line may be that of a traceback. `empty`: what to say of no bytes at all.
fn may_begin(partial: &[u8], empty: bool) -> bool {
    if partial.is_empty() {
        return empty;
    }
    let bare = partial.trim_ascii_start();
    TRACEBACK.starts_with(partial)
        || partial.starts_with(TRACEBACK)
        || (partial.len() > bare.len() && GROUP_TRACEBACK.starts_with(bare))
        || bare.starts_with(GROUP_TRACEBACK)
}

/// `ValueError: …`, `KeyboardInterrupt`, `package.module.Error: …`: the line that ends a traceback.
fn names_exception(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let name = line.split(|b| *b == b':').next().unwrap_or_default();
    let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'<' | b'>') || *b >= 0x80;
    name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(word)
}

#[cfg(test)]
mod tests;
