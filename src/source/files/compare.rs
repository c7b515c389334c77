//! Comparing: whether a file begins with all that was read of a stream.
//!
//! It is asked only where the first line says nothing of its time, so that two streams may begin alike by chance. Then
//! all of it has to be read, which for a copy of some gigabytes takes a while. So what is large is compared in turns, by
//! an allowance each, like everything that is read; the files that grow meanwhile are not held up. How far two were
//! found alike is kept until the file's role is known: the stream may have gone on, and only the rest is compared.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::super::lines::End;
use super::super::table::FileId;
use super::super::window::{BLOCK, Window};
use super::super::{Cursor, StreamId};
use super::Tailer;
use super::judge::read_at;

/// So much is compared at once.
const AT_ONCE: u64 = 1 << 20;
/// What a turn may take.
const ALLOWANCE: Duration = Duration::from_millis(10);

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Differ,
    /// The file has what was read of the stream up to this cursor.
    Prefix(Cursor),
    /// The file, up to this offset, is the beginning of the stream's own.
    Beginning(u64),
}

/// A comparison under way.
enum Comparison {
    Prefix {
        window: Box<Window>,
        digest: Cursor,
        to: Cursor,
    },
    Beginning {
        whole: fs::File,
        at: u64,
    },
}

impl Comparison {
    fn prefix(from: Cursor, to: Cursor) -> Comparison {
        let mut window = Box::<Window>::default();
        window.start(from.offset, 0);
        Comparison::Prefix {
            window,
            digest: from,
            to,
        }
    }

    /// Compares one block more.
    fn step(&mut self, file: &fs::File, max_line: usize) -> io::Result<Option<Compared>> {
        match self {
            Comparison::Prefix { window, digest, to } => {
                let at = window.position();
                let want = BLOCK.min(to.offset.saturating_sub(at) as usize);
                let n = if want == 0 {
                    0
                } else {
                    window.fill(want, max_line, |buf| {
                        file.read_at(buf.get_mut(..want).unwrap_or_default(), at)
                    })?
                };
                let end = if n == 0 { End::Final } else { End::More };
                let mut again = true;
                while again {
                    let parcel = window.parcel(*digest, end, max_line);
                    (*digest, again) = (parcel.cursor, parcel.again);
                }
                let alike = (digest.offset, digest.chain) == (to.offset, to.chain);
                let done = if alike { Compared::Prefix(*to) } else { Compared::Differ };
                Ok((n == 0).then_some(done))
            }
            Comparison::Beginning { whole, at } => {
                let (mut a, mut b) = (vec![0; BLOCK], vec![0; BLOCK]);
                let n = read_at(file, &mut a, *at)?;
                let m = read_at(whole, b.get_mut(..n).unwrap_or_default(), *at)?;
                *at += n as u64;
                if a.get(..n) != b.get(..m) {
                    return Ok(Some(Compared::Differ));
                }
                Ok((n < BLOCK).then_some(Compared::Beginning(*at)))
            }
        }
    }
}

/// What is compared, and what came of it.
#[derive(Default)]
pub(super) struct Comparisons {
    active: Option<(FileId, StreamId, fs::File, Comparison)>,
    queue: VecDeque<(FileId, StreamId)>,
    found: HashMap<(FileId, StreamId), Compared>,
}

impl Comparisons {
    /// The file has a role, or went.
    pub(super) fn forget(&mut self, id: FileId) {
        self.active.take_if(|a| a.0 == id);
        self.queue.retain(|q| q.0 != id);
        self.found.retain(|(file, _), _| *file != id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_none() && self.queue.is_empty()
    }
}

impl Tailer {
    /// Whether the file begins with all that was read of the stream; or, if it is shorter, is the beginning of it.
    /// `None`: that takes long. The file is judged again when it is known.
    pub(super) fn compare(&mut self, id: FileId, with: StreamId, file: &fs::File) -> Option<bool> {
        let size = self.table.get(id)?.size;
        let (mut comparison, left) = match self.comparison(id, with, size) {
            Ok(found) => found,
            Err(answer) => return Some(answer),
        };
        if left > AT_ONCE {
            let waits = self.comparisons.queue.contains(&(id, with));
            let active = self
                .comparisons
                .active
                .as_ref()
                .is_some_and(|a| (a.0, a.1) == (id, with));
            if !waits && !active {
                self.comparisons.queue.push_back((id, with));
            }
            return None;
        }
        loop {
            match comparison.step(file, self.max_line) {
                Ok(None) => {}
                Ok(Some(found)) => return Some(found != Compared::Differ),
                Err(_) => return Some(false),
            }
        }
    }

    /// What is still to be compared, and how many bytes that is; or the answer.
    fn comparison(&self, id: FileId, with: StreamId, size: u64) -> Result<(Comparison, u64), bool> {
        let k = self.streams.get(with).ok_or(false)?;
        let found = self.comparisons.found.get(&(id, with)).copied();
        if found == Some(Compared::Differ) {
            return Err(false);
        }
        if size < k.cursor.offset {
            let path = k.file().map(|h| self.table.path(h)).ok_or(false)?;
            let whole = fs::File::open(path).map_err(|_| false)?;
            let at = match found {
                Some(Compared::Beginning(at)) if at <= size => at,
                _ => 0,
            };
            return Ok((Comparison::Beginning { whole, at }, size - at));
        }
        let start = Cursor {
            offset: k.start(),
            ..Cursor::default()
        };
        let from = match found {
            Some(Compared::Prefix(from)) if from.offset <= k.cursor.offset => from,
            _ => start,
        };
        let left = k.cursor.offset.saturating_sub(from.offset);
        Ok((Comparison::prefix(from, k.cursor), left))
    }

    /// Goes on with what is compared, for an allowance; whether there was anything.
    pub(super) fn compare_on(&mut self) -> bool {
        let until = Instant::now() + ALLOWANCE;
        while !self.comparisons.is_empty() {
            let Some((id, with, file, mut comparison)) = self.comparisons.active.take() else {
                self.next_comparison();
                continue;
            };
            match comparison.step(&file, self.max_line) {
                Ok(None) => self.comparisons.active = Some((id, with, file, comparison)),
                ended => {
                    let found = ended.ok().flatten().unwrap_or(Compared::Differ);
                    tracing::debug!(path = %self.table.path(id).display(), stream = with, ?found, "compared");
                    self.comparisons.found.insert((id, with), found);
                    self.unjudge(id);
                }
            }
            if Instant::now() >= until {
                return true;
            }
        }
        false
    }

    /// Begins with the first that waits; one whose file or stream went is judged again.
    fn next_comparison(&mut self) {
        let Some((id, with)) = self.comparisons.queue.pop_front() else {
            return;
        };
        let Some(file) = self.open_file(id) else { return };
        let size = self.table.get(id).map_or(0, |f| f.size);
        let begun = file
            .try_clone()
            .ok()
            .and_then(|own| Some((id, with, own, self.comparison(id, with, size).ok()?.0)));
        self.keep_if_gone(id, file);
        match begun {
            Some(begun) => self.comparisons.active = Some(begun),
            None => self.unjudge(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::chain;
    use std::io::Write;

    const MAX_LINE: usize = 1 << 20;

    fn file(bytes: &[u8]) -> fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn cursor_after(lines: &str) -> Cursor {
        Cursor {
            offset: lines.len() as u64,
            chain: lines.lines().fold(0, |c, l| chain(c, l.as_bytes())),
            ..Cursor::default()
        }
    }

    /// The answer, and how many blocks it took.
    fn run(mut comparison: Comparison, file: &fs::File) -> (Compared, usize) {
        let mut steps = 1;
        loop {
            if let Some(found) = comparison.step(file, MAX_LINE).unwrap() {
                return (found, steps);
            }
            steps += 1;
        }
    }

    #[test]
    fn a_large_file_is_compared_block_by_block_and_from_where_it_was_left() {
        let half = "starting\nand going on\n".repeat(100_000);
        let whole = half.repeat(2);
        let copy = file(whole.as_bytes());
        let to = cursor_after(&half);
        let (found, steps) = run(Comparison::prefix(Cursor::default(), to), &copy);
        assert_eq!(found, Compared::Prefix(to));
        assert!(steps > half.len() / BLOCK, "{steps}");
        // The stream went on meanwhile.
        let further = cursor_after(&whole);
        assert_eq!(run(Comparison::prefix(to, further), &copy).0, Compared::Prefix(further));
        assert_eq!(
            run(Comparison::prefix(Cursor::default(), further), &copy).0,
            Compared::Prefix(further)
        );
    }

    #[test]
    fn one_byte_makes_files_differ_wherever_it_is() {
        let text = "starting\nand going on\n".repeat(50_000);
        for at in [3, text.len() / 2, text.len() - 3] {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            let prefix = Comparison::prefix(Cursor::default(), cursor_after(&text));
            assert_eq!(run(prefix, &file(&other)).0, Compared::Differ);
            let beginning = Comparison::Beginning {
                whole: file(text.as_bytes()),
                at: 0,
            };
            assert_eq!(run(beginning, &file(&other)).0, Compared::Differ);
        }
        let shorter = &text.as_bytes()[..text.len() - 10];
        let beginning = Comparison::Beginning {
            whole: file(text.as_bytes()),
            at: 0,
        };
        assert_eq!(
            run(beginning, &file(shorter)).0,
            Compared::Beginning(shorter.len() as u64)
        );
        let prefix = Comparison::prefix(Cursor::default(), cursor_after(&text));
        assert_eq!(run(prefix, &file(shorter)).0, Compared::Differ);
    }
}
