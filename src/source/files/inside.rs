//! What a member of an archive is to the streams that begin as it does.

use std::io::{self, Read};

use super::super::chain::{Digest, Line};
use super::super::discovery::{Candidate, Seen};
use super::super::identity::Head;
use super::super::marks::FIRST;
use super::super::survey::{Found, Rival, Survey};
use super::super::window::{BLOCK, Window};
use super::super::{StreamId, names};
use super::member::Pass;
use super::settle::Answer;
use crate::config::Copies;

impl Pass<'_> {
    /// Asks the store for the first lines, where nothing here remembers them; `None`: it has not answered yet.
    pub(super) fn ask(
        &mut self,
        rivals: &[StreamId],
        reader: &mut dyn Read,
        window: &mut Window,
        head: Head,
    ) -> io::Result<Option<Answer>> {
        if self.is_at_first() || !self.tailer.must_ask(rivals, window.bytes()) {
            return Ok(Some(Answer {
                least: Vec::new(),
                to: 0,
                further: false,
            }));
        }
        let mut ended = false;
        while window.bytes().len() < BLOCK && !ended {
            ended = window.fill(BLOCK, self.tailer.max_line, |buf| reader.read(buf))? == 0;
        }
        let mut digest = Digest::new(0, 0);
        let mut lines: Vec<Line> = Vec::new();
        digest.feed(window.bytes(), &mut |line| lines.push(line));
        lines.extend(digest.unfinished().filter(|_| ended));
        lines.truncate(FIRST);
        let born = self.seen(0);
        Ok(self.tailer.ask_lines(&lines, head, born.born.min(born.mtime)))
    }

    /// Reads on as far as there is something to be found out; what was found, and the size as far as it matters.
    pub(super) fn pass_through(
        &mut self,
        reader: &mut dyn Read,
        begun: &[u8],
        mut survey: Survey,
        all: bool,
    ) -> io::Result<(Found, u64)> {
        let mut block = vec![0; BLOCK];
        let (mut size, mut ended) = (begun.len() as u64, false);
        let mut ahead = begun.to_vec();
        loop {
            let reach = if all { u64::MAX } else { survey.reach() };
            let want = (reach.saturating_sub(survey.position())).min(ahead.len() as u64) as usize;
            survey.take(ahead.get(..want).unwrap_or_default());
            ahead.drain(..want);
            if ended || (!ahead.is_empty() && !all) || (survey.is_done() && !all && size > survey.position()) {
                break;
            }
            let n = reader.read(&mut block)?;
            ended = n == 0;
            size += n as u64;
            ahead.extend_from_slice(block.get(..n).unwrap_or_default());
            self.breathe(false)?;
        }
        let whole = ended && survey.position() == size;
        Ok((survey.finish(whole, true), size))
    }

    /// Whether the archive was there when nothing was known yet.
    pub(super) fn is_at_first(&self) -> bool {
        self.tailer.table.get(self.id).is_some_and(|f| f.at_first)
    }

    /// What the archive is like.
    pub(super) fn seen(&self, size: u64) -> Seen {
        let f = self.tailer.table.get(self.id);
        Seen {
            archive: true,
            size,
            born: self.tailer.table.age(self.id),
            dated: f.is_some_and(|f| f.born != 0),
            mtime: f.map_or(0, |f| f.mtime),
            first: None,
            quiet: true,
            young: false,
            touched: false,
            beside: 0,
            ship_copies: self.tailer.settings.copies == Copies::Ship,
        }
    }

    /// What the member is to a stream that it was compared with.
    pub(super) fn candidate(&self, rival: &Rival, found: &Found, size: u64) -> Option<Candidate> {
        let t = &self.tailer;
        let k = t.streams.get(rival.id)?;
        let holder = k.file().and_then(|h| t.table.get(h));
        let known = k.parked().map_or((0, 0, 0), |p| (p.size, p.mtime, p.lost));
        let lost = holder.and_then(|h| h.busy()).map_or(known.2, |b| b.gone_at);
        let name = match (k.file(), k.parked()) {
            (Some(h), _) => t.table.name(h).to_os_string(),
            (None, parked) => parked
                .and_then(|p| p.path.file_name())
                .unwrap_or_default()
                .to_os_string(),
        };
        // An archive that stands beside the file it was made of has that file's name, or a rotated form of it.
        let beside = names::is_rotated_of(t.table.name(self.id), &name);
        let inside = found.at.min(size);
        Some(Candidate {
            id: rival.id,
            offset: rival.cursor.offset,
            extent: rival.extent().max(known.0),
            live: holder.is_some(),
            unread: holder.is_some_and(|h| h.ready || h.size > rival.cursor.offset),
            equal: !rival.parted,
            at_cursor: rival.at_cursor == Some(true) && rival.cursor.offset <= inside.max(size),
            same_file: false,
            mtime: holder.map_or(known.1, |h| h.mtime),
            lost: (lost != 0).then_some(lost),
            last: t.last_time_in(&found.tail),
            rotated: beside,
        })
    }
}
