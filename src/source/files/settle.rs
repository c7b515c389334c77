//! Settling: what a file turns out to be, once it was compared with the streams that begin as it does.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use super::super::chain::{Digest, Line};
use super::super::discovery::{Candidate, Seen, Verdict, judge};
use super::super::identity::Head;
use super::super::lines::{self, End};
use super::super::marks::FIRST;
use super::super::streams::Identity;
use super::super::survey::{Found, Rival};
use super::super::table::{FileId, Role};
use super::super::{Asked, Cursor, Loss, Marks, StreamId, names};
use super::Tailer;
use super::judge::{end_of, read_at};
use crate::config::{Copies, StartAt};

/// So much before an offset is searched for the last record that names a time.
const TAIL: u64 = 16 << 10;
/// A file that has to be read, or that only goes on, waits no longer than this for the store's answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What the store says of a file's lines.
pub(super) struct Answer {
    /// The least numbers of lines, by the offset at which a line begins.
    pub least: Vec<(u64, u32)>,
    /// Behind the last of these lines.
    pub to: u64,
    /// It has all that were asked for; there may be more.
    pub further: bool,
}

/// Now, nanoseconds since the epoch.
pub(super) fn wall() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Tailer {
    /// Whether the store has to say how many streams had the beginning before: where nothing here remembers it. A
    /// beginning that names its time needs no question: who else had it wrote in that same second, and is remembered.
    pub(super) fn must_ask(&self, rivals: &[StreamId], start: &[u8]) -> bool {
        if self.fresh || self.names_time(start) {
            return false;
        }
        rivals
            .iter()
            .all(|r| self.streams.get(*r).is_none_or(super::super::streams::Known::is_blind))
    }

    /// Whether the first line names a time.
    pub(super) fn names_time(&self, start: &[u8]) -> bool {
        self.intake.time_of(first_line(start)).is_some()
    }

    /// Asks the store for the file's next lines behind `numbered`. `None`: it has not answered yet.
    pub(super) fn ask(
        &mut self,
        id: FileId,
        file: &fs::File,
        from: Cursor,
        numbered: u64,
        head: Head,
    ) -> Option<Answer> {
        let mut buffer = vec![0; 64 << 10];
        let n = read_at(file, &mut buffer, from.offset).unwrap_or(0);
        let mut digest = Digest::new(from.offset, from.chain);
        let mut next: Vec<Line> = Vec::new();
        digest.feed(buffer.get(..n).unwrap_or_default(), &mut |line| {
            if line.end > numbered && next.len() < FIRST {
                next.push(line);
            }
        });
        if n < buffer.len() && self.may_finish(id) {
            next.extend(digest.unfinished().filter(|l| l.end > numbered));
        }
        // What was appended began no earlier than the file was written to last.
        let born = if numbered > 0 {
            self.table.get(id).map_or(0, |f| f.mtime)
        } else {
            self.content_born(id)
        };
        self.ask_lines(&next, head, born)
    }

    /// When the file's content began, as far as is known, nanoseconds since the epoch: what was stored before that is
    /// none of it. That of a file that was rewritten in place began when the old one was seen to be gone.
    fn content_born(&self, id: FileId) -> i64 {
        let Some(f) = self.table.get(id) else { return 0 };
        let before = self
            .streams
            .by_inode(f.inode().0, f.inode().1)
            .and_then(|s| self.streams.get(s));
        match before.filter(|k| k.born_at() == f.born).and_then(|k| k.parked()) {
            Some(parked) if parked.lost != 0 => parked.lost,
            Some(_) => f.mtime,
            None => self.table.age(id).min(f.mtime),
        }
    }

    /// Asks the store for these lines, of a file that was made at `born`.
    pub(super) fn ask_lines(&self, lines: &[Line], head: Head, born: i64) -> Option<Answer> {
        let asked: Vec<Asked> = lines
            .iter()
            .map(|l| Asked {
                head: head.hash,
                offset: l.start,
                chain: l.chain,
            })
            .collect();
        if asked.is_empty() {
            return Some(Answer {
                least: Vec::new(),
                to: 0,
                further: false,
            });
        }
        let held = self.intake.held(&asked, born / 1000)?;
        tracing::debug!(?asked, ?held, born, "the store was asked");
        let least: Vec<(u64, u32)> = lines
            .iter()
            .zip(held)
            .map_while(|(line, number)| Some((line.start, number?.saturating_add(1))))
            .collect();
        let further = least.len() == lines.len();
        let to = lines
            .get(..least.len())
            .and_then(<[Line]>::last)
            .map_or(0, |l| l.end + 1);
        Some(Answer { least, to, further })
    }

    /// The time that the last record below `to` names, nanoseconds since the epoch.
    pub(super) fn last_time(&self, file: &fs::File, to: u64) -> Option<i64> {
        let from = to.saturating_sub(TAIL);
        let mut buffer = vec![0; (to - from) as usize];
        let n = read_at(file, &mut buffer, from).ok()?;
        self.last_time_in(buffer.get(..n)?)
    }

    /// The time that the last record of a text names, nanoseconds since the epoch.
    pub(super) fn last_time_in(&self, text: &[u8]) -> Option<i64> {
        let mut items = Vec::new();
        lines::split(text, 0, 0, End::Final, self.max_line, &mut items);
        let last = items.last()?;
        let time = self
            .intake
            .time_of(text.get(last.start as usize..last.line_end as usize)?)?;
        time.checked_mul(1000)
    }

    /// The time that the first record names that names one, nanoseconds since the epoch.
    fn first_time(&self, start: &[u8]) -> Option<i64> {
        let lines = start.split(|b| *b == b'\n').take(FIRST);
        lines
            .filter_map(|line| self.intake.time_of(line))
            .find_map(|t| t.checked_mul(1000))
    }

    /// What the file is to a stream that it was compared with.
    fn candidate(&self, id: FileId, rival: &Rival, file: &fs::File) -> Option<Candidate> {
        let f = self.table.get(id)?;
        let k = self.streams.get(rival.id)?;
        let holder = k.file().and_then(|h| self.table.get(h));
        let known = k.parked().map_or((0, 0, 0), |p| (p.size, p.mtime, p.lost));
        let lost = holder.and_then(|h| h.busy()).map_or(known.2, |b| b.gone_at);
        let extent = rival.extent().max(known.0);
        let path = match (k.file(), k.parked()) {
            (Some(h), _) => self.table.path(h),
            (None, parked) => parked.map(|p| p.path.clone()).unwrap_or_default(),
        };
        let name = path.file_name().unwrap_or_default();
        let equal = !rival.parted;
        let upto = f.size.min(if holder.is_some() { extent } else { rival.cursor.offset });
        let worth = equal || rival.at_cursor == Some(true);
        Some(Candidate {
            id: rival.id,
            offset: rival.cursor.offset,
            extent,
            live: holder.is_some(),
            unread: holder.is_some_and(|h| h.ready || h.size > rival.cursor.offset),
            equal,
            at_cursor: rival.at_cursor == Some(true),
            same_file: k.inode() == f.inode() && k.born_at() == f.born,
            mtime: holder.map_or(known.1, |h| h.mtime),
            lost: (lost != 0).then_some(lost),
            last: if worth { self.last_time(file, upto) } else { None },
            rotated: names::is_rotated_of(self.table.name(id), name),
        })
    }

    /// Gives the file its role.
    pub(super) fn settle(&mut self, id: FileId, head: Head, found: Found, file: fs::File) {
        let Some(f) = self.table.get(id) else { return };
        // Of a file that begins like no other nothing more is asked.
        let mut start = vec![0; if found.rivals.is_empty() { 0 } else { 16 << 10 }];
        let n = read_at(&file, &mut start, 0).unwrap_or(0);
        let now = Instant::now();
        let age = wall().saturating_sub(self.table.age(id)).max(0);
        let patience = i64::try_from(self.settings.finish_line_after.as_nanos()).unwrap_or(i64::MAX);
        let seen = Seen {
            archive: false,
            size: f.size,
            born: self.table.age(id),
            dated: f.born != 0,
            mtime: f.mtime,
            first: self.first_time(start.get(..n).unwrap_or_default()),
            quiet: self.once || f.quiet(now) >= self.settings.finish_line_after,
            young: !self.once && age < patience,
            touched: f.touched,
            beside: 0,
            ship_copies: self.settings.copies == Copies::Ship,
        };
        let stranger = f.stranger;
        let candidates: Vec<Candidate> = found
            .rivals
            .iter()
            .filter_map(|r| self.candidate(id, r, &file))
            .collect();
        let verdict = judge(seen, &candidates);
        tracing::debug!(path = %self.table.path(id).display(), ?verdict, ?seen, ?candidates, "judged");
        match verdict {
            Verdict::New if stranger => {
                let inode = self.table.get(id).map(|f| (f.ino, f.dir));
                if let Some((ino, dir)) = inode
                    && let Some(d) = self.table.dir_mut(dir)
                {
                    d.strangers.insert(ino, head.hash);
                }
                self.drop_file(id, false);
            }
            Verdict::New => self.begin(id, head, &found, file),
            Verdict::Same(stream) => self.go_on(id, stream, &found, file),
            Verdict::Fork(of) if !stranger => self.fork(id, of, file),
            Verdict::Copy(of) | Verdict::Fork(of) => {
                self.become_copy(id, of, found.lines);
                self.keep_if_gone(id, file);
            }
            Verdict::Wait(_) => {
                self.unjudge(id);
                self.keep_if_gone(id, file);
            }
        }
    }

    /// A new stream.
    fn begin(&mut self, id: FileId, head: Head, found: &Found, file: fs::File) {
        let Some(f) = self.table.get(id) else { return };
        let skip = self.fresh && self.settings.start_at == StartAt::End;
        let cursor = if skip {
            end_of(&file, f.size)
        } else {
            Ok(Cursor::default())
        };
        let Ok(cursor) = cursor else { return self.unjudge(id) };
        let ((dev, ino), asking, held_before) = (f.inode(), f.asking, f.held_before);
        // Streams whose reading began further down have lines of their own alone, unless another began at that place.
        let alone = cursor.offset > 0 && found.rivals.is_empty();
        let identity = Identity {
            head: head.hash,
            head_len: head.len,
            steps: super::super::Steps::default(),
            numbered: (cursor.offset > 0 && !alone).then_some(cursor.offset),
            blind: self.fresh || held_before,
            marks: Marks::default(),
            cursor,
            start: cursor.offset,
            dev,
            ino,
            born_at: f.born,
            born: self.scan,
            finished: false,
            script: None,
            parked: None,
        };
        let stream = self.streams.next_id();
        self.streams.add(stream, identity);
        if cursor.offset == 0 {
            self.set_numbers(stream, found, asking);
            let size = self.table.get(id).map_or(0, |f| f.size);
            if let Some(k) = self.streams.get_mut(stream).filter(|_| self.fresh) {
                // What is there at the first look has its numbers without the store.
                k.number_to(size);
            }
        }
        self.attach(id, stream, file);
    }

    /// The file is a stream that had none; its further lines are compared with those of the others.
    fn go_on(&mut self, id: FileId, stream: StreamId, found: &Found, file: fs::File) {
        let Some(k) = self.streams.get(stream) else { return };
        let (cursor, steps) = (k.cursor, k.steps());
        let others = || found.rivals.iter().filter(|r| r.id != stream);
        let alike = |r: &Rival| r.start == k.start() && (!r.parted || r.common >= cursor.offset);
        // Of a beginning that is not remembered whole the store may have more.
        let asking = k.is_blind() && self.table.get(id).is_some_and(|f| f.untimed);
        let numbered = match k.numbered() {
            Some(to) => Some(to),
            None if asking => Some(cursor.offset),
            None => others().any(alike).then_some(cursor.offset),
        };
        if let Some(k) = self.streams.get_mut(stream) {
            k.set_numbers(steps, numbered, None);
            k.set_asking(asking);
        }
        self.attach(id, stream, file);
    }

    /// A copy: nothing of it is read.
    pub(super) fn become_copy(&mut self, id: FileId, of: StreamId, lines: u64) {
        let counted = self.table.get(id).is_some_and(|f| matches!(f.role, Role::CopyOf(_)));
        if !counted && lines > 0 {
            self.intake.count(Loss::Copied { lines });
        }
        self.set_role(id, Role::CopyOf(of));
        self.settle_copy(id, of);
    }

    /// A copy that has more than its original: the rest is delivered.
    fn fork(&mut self, id: FileId, of: StreamId, file: fs::File) {
        let script = super::unlike_name(self.script(of), self.table.name(id));
        let (Some(f), Some(k)) = (self.table.get(id), self.streams.get(of)) else {
            return;
        };
        let (dev, ino) = f.inode();
        let identity = Identity {
            head: k.head,
            head_len: k.head_len(),
            steps: k.steps(),
            numbered: Some(k.cursor.offset),
            blind: k.is_blind(),
            marks: k.marks().cloned().unwrap_or_default(),
            cursor: k.cursor,
            start: k.start(),
            dev,
            ino,
            born_at: f.born,
            born: self.scan,
            finished: false,
            script,
            parked: None,
        };
        let (to, stream) = (k.cursor.offset, self.streams.next_id());
        self.streams.add(stream, identity);
        if let Some(k) = self.streams.get_mut(of) {
            k.await_company(to, stream);
        }
        self.attach(id, stream, file);
    }
}

fn first_line(start: &[u8]) -> &[u8] {
    start.split(|b| *b == b'\n').next().unwrap_or_default()
}
