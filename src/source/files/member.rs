//! One pass over an archive: each member is recognised, left alone, or delivered from where its stream had got to.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::chain::{Digest, Line};
use super::super::discovery::{Candidate, Seen, Verdict, judge};
use super::super::identity::{self, Head};
use super::super::lines::End;
use super::super::marks::FIRST;
use super::super::streams::{Identity, Parked};
use super::super::survey::{Found, Rival, Survey};
use super::super::table::FileId;
use super::super::window::{BLOCK, Window};
use super::super::{Closed, Cursor, HEAD, Marks, NEAR, Room, Steps, Stream, StreamId, archive, names};
use super::Tailer;
use super::settle::Answer;
use crate::config::Copies;

/// Live files wait for an archive no longer than this.
const BREATH: Duration = Duration::from_millis(200);

/// What came of a pass.
pub(super) struct Looked {
    /// The streams inside, up to which offsets.
    pub covers: Vec<(StreamId, u64)>,
    /// Something was left to a live file.
    pub partial: bool,
    /// Another pass has to deliver what this one has gone by.
    pub again: bool,
    /// A live file has to be read to its end first, or the store to answer.
    pub wait: bool,
    /// Lines of copies.
    pub copied: u64,
    pub outcome: io::Result<()>,
}

/// One pass over an archive.
pub(super) struct Pass<'a> {
    tailer: &'a mut Tailer,
    id: FileId,
    path: PathBuf,
    /// Its own name is wanted, so all its members are.
    all: bool,
    /// Members that are delivered in a second pass, since the first one has gone by their beginning.
    plans: &'a mut HashMap<PathBuf, StreamId>,
    looked: Looked,
    closed: bool,
    breath: Instant,
}

impl<'a> Pass<'a> {
    pub(super) fn new(tailer: &'a mut Tailer, id: FileId, plans: &'a mut HashMap<PathBuf, StreamId>) -> Pass<'a> {
        let path = tailer.table.path(id);
        let all = tailer.patterns.wants_archive(&path) || tailer.patterns.wants(&path);
        let looked = Looked {
            covers: Vec::new(),
            partial: false,
            again: false,
            wait: false,
            copied: 0,
            outcome: Ok(()),
        };
        Pass {
            tailer,
            id,
            path,
            all,
            plans,
            looked,
            closed: false,
            breath: Instant::now(),
        }
    }

    /// Reads the archive.
    pub(super) fn run(mut self, file: fs::File, kind: archive::Kind) -> Result<Looked, Closed> {
        let program = self.tailer.unpacker.clone();
        let outcome = archive::each_member(file, kind, program.as_deref(), &mut |member, reader| {
            self.member(member, reader)
        });
        if self.closed {
            Err(Closed)
        } else {
            Ok(Looked { outcome, ..self.looked })
        }
    }

    fn member(&mut self, member: Option<&Path>, reader: &mut dyn Read) -> io::Result<()> {
        let wanted = self.all || member.is_some_and(|m| self.tailer.patterns.wants_member(&self.path, m));
        let name = member.map(Path::to_path_buf).unwrap_or_default();
        let mut window = Window::default();
        window.start(0, 0);
        if let Some(stream) = self.plans.get(&name).copied() {
            let cursor = self.tailer.streams.get(stream).map(|k| k.cursor).unwrap_or_default();
            if self.skip_to(reader, &mut window, cursor.offset)? {
                return self.rest(reader, window, stream, cursor, member);
            }
            return Ok(());
        }
        let mut ended = false;
        let head = loop {
            match identity::head(window.bytes(), ended) {
                Some(head) => break head,
                None if ended => return Ok(()),
                None => ended = window.fill(HEAD + 1, self.tailer.max_line, |buf| reader.read(buf))? == 0,
            }
        };
        self.recognise(reader, window, head, member, wanted.then_some(name))
    }

    /// Finds the stream whose content this is, or makes one if the member's name is wanted.
    fn recognise(
        &mut self,
        reader: &mut dyn Read,
        mut window: Window,
        head: Head,
        member: Option<&Path>,
        wanted: Option<PathBuf>,
    ) -> io::Result<()> {
        let rivals: Vec<StreamId> = self.tailer.streams.with_head(head).map(|(id, _)| id).collect();
        let Some(answer) = self.ask(&rivals, reader, &mut window, head)? else {
            self.looked.wait = true;
            return Ok(());
        };
        if rivals.is_empty() && answer.least.is_empty() {
            if wanted.is_some() {
                let stream = self.begin(head, member);
                return self.rest(reader, window, stream, Cursor::default(), member);
            }
            return Ok(());
        }
        let rivals: Vec<Rival> = rivals.into_iter().filter_map(|r| self.tailer.rival(r)).collect();
        let mut survey = Survey::new(rivals, 0, Cursor::default(), 0, Steps::default());
        let behind = answer.least.last().filter(|_| answer.further).map_or(0, |l| l.1);
        survey.above(answer.least);
        survey.above_behind(behind);
        let (found, size) = self.pass_through(reader, window.bytes(), survey, behind > 0)?;
        let candidates: Vec<Candidate> = found
            .rivals
            .iter()
            .filter_map(|r| self.candidate(r, &found, size))
            .collect();
        let verdict = judge(self.seen(size), &candidates);
        tracing::debug!(path = %self.path.display(), ?verdict, ?candidates, size, "judged");
        match verdict {
            Verdict::Same(stream) => {
                let cursor = self.tailer.streams.get(stream).map(|k| k.cursor).unwrap_or_default();
                if found.ended && cursor.offset >= size {
                    return self.leave(stream, cursor);
                }
                self.plan(
                    wanted.unwrap_or_else(|| member.map(Path::to_path_buf).unwrap_or_default()),
                    stream,
                );
            }
            Verdict::Wait(_) => self.looked.wait = true,
            Verdict::Fork(of) if wanted.is_some() => {
                let stream = self.fork(of, member);
                self.plan(wanted.unwrap_or_default(), stream);
            }
            Verdict::Copy(of) | Verdict::Fork(of) => {
                let rotated = candidates.iter().any(|c| c.id == of && c.lost.is_some());
                self.looked.copied += if rotated { 0 } else { found.lines };
                let cursor = self.tailer.streams.get(of).map(|k| k.cursor).unwrap_or_default();
                return self.leave(of, cursor);
            }
            Verdict::New => {
                if let Some(name) = wanted {
                    let stream = self.begin(head, member);
                    self.tailer.set_numbers(stream, &found, false);
                    self.plan(name, stream);
                }
            }
        }
        Ok(())
    }

    fn plan(&mut self, name: PathBuf, stream: StreamId) {
        self.plans.insert(name, stream);
        self.looked.again = true;
    }

    /// Asks the store for the first lines, where nothing here remembers them; `None`: it has not answered yet.
    fn ask(
        &mut self,
        rivals: &[StreamId],
        reader: &mut dyn Read,
        window: &mut Window,
        head: Head,
    ) -> io::Result<Option<Answer>> {
        if self.is_at_first() || !self.tailer.must_ask(rivals, window.bytes()) {
            return Ok(Some(Answer {
                least: Vec::new(),
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
    fn pass_through(
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
    fn is_at_first(&self) -> bool {
        self.tailer.table.get(self.id).is_some_and(|f| f.at_first)
    }

    /// What the archive is like.
    fn seen(&self, size: u64) -> Seen {
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
    fn candidate(&self, rival: &Rival, found: &Found, size: u64) -> Option<Candidate> {
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

    /// The content is left to the file that holds it, or was delivered before.
    fn leave(&mut self, id: StreamId, cursor: Cursor) -> io::Result<()> {
        self.looked.partial |= self.tailer.streams.get(id).is_some_and(|k| k.file().is_some());
        self.looked.covers.push((id, cursor.offset));
        Ok(())
    }

    fn begin(&mut self, head: Head, member: Option<&Path>) -> StreamId {
        let identity = Identity {
            head: head.hash,
            head_len: head.len,
            steps: Steps::default(),
            numbered: None,
            blind: self.is_at_first(),
            marks: Marks::default(),
            cursor: Cursor::default(),
            start: 0,
            dev: 0,
            ino: 0,
            born_at: 0,
            born: self.tailer.scan,
            finished: false,
            script: None,
            parked: None,
        };
        self.enter(identity, member)
    }

    /// A copy that has more than its original: the rest is delivered.
    fn fork(&mut self, of: StreamId, member: Option<&Path>) -> StreamId {
        let head = Head { hash: 0, len: 0 };
        let Some(k) = self.tailer.streams.get(of) else {
            return self.begin(head, member);
        };
        let identity = Identity {
            head: k.head,
            head_len: k.head_len(),
            steps: k.steps(),
            numbered: None,
            blind: k.is_blind(),
            marks: k.marks().cloned().unwrap_or_default(),
            cursor: k.cursor,
            start: k.start(),
            dev: 0,
            ino: 0,
            born_at: 0,
            born: self.tailer.scan,
            finished: false,
            script: None,
            parked: None,
        };
        self.enter(identity, member)
    }

    /// A stream that lies in the archive.
    fn enter(&mut self, identity: Identity, member: Option<&Path>) -> StreamId {
        let mtime = self.seen(0).mtime;
        let t = &mut *self.tailer;
        let id = t.streams.next_id();
        let name = member
            .and_then(Path::file_name)
            .or(self.path.file_name())
            .unwrap_or_default();
        let path = named(&self.path, member);
        let parked = Parked {
            path: path.clone(),
            size: 0,
            mtime,
            since: Instant::now(),
            lost: 0,
            counted: true,
            unwanted: false,
        };
        let script = super::unlike_name(names::script(name), path.file_name().unwrap_or_default());
        let identity = Identity {
            ino: id,
            script,
            parked: Some(parked),
            ..identity
        };
        t.streams.add(id, identity);
        t.remember(id, path, 0, mtime);
        id
    }

    /// Reads on to `offset`; whether the content goes so far.
    fn skip_to(&mut self, reader: &mut dyn Read, window: &mut Window, offset: u64) -> io::Result<bool> {
        let below = offset.min(NEAR as u64);
        let mut left = offset - below;
        let mut block = vec![0; BLOCK];
        while left > 0 {
            let want = left.min(BLOCK as u64) as usize;
            let n = reader.read(block.get_mut(..want).unwrap_or_default())?;
            if n == 0 {
                return Ok(false);
            }
            left -= n as u64;
            self.breathe(false)?;
        }
        window.start(offset, below as usize);
        let mut missing = below as usize;
        while missing > 0 {
            let n = window.fill(missing, 0, |buf| {
                reader.read(buf.get_mut(..missing).unwrap_or_default())
            })?;
            if n == 0 {
                return Ok(false);
            }
            missing -= n;
        }
        Ok(window.pass(offset))
    }

    /// Delivers what follows the window's front as `stream`, to its end.
    fn rest(
        &mut self,
        reader: &mut dyn Read,
        mut window: Window,
        stream: StreamId,
        mut cursor: Cursor,
        member: Option<&Path>,
    ) -> io::Result<()> {
        let path = named(&self.path, member).to_string_lossy().into_owned();
        let script = self.tailer.script(stream);
        let Some(named) = self
            .tailer
            .streams
            .get(stream)
            .map(|k| Arc::new(k.stream(path, script)))
        else {
            return Ok(());
        };
        self.tailer.want_marks(stream, &mut window);
        window.rules = self.tailer.intake.continues(&named);
        let mut ended = false;
        loop {
            self.deliver(
                &named,
                &mut window,
                &mut cursor,
                if ended { End::Final } else { End::More },
            )?;
            if ended {
                break;
            }
            ended = window.fill(BLOCK, self.tailer.max_line, |buf| reader.read(buf))? == 0;
            self.breathe(false)?;
        }
        self.looked.covers.push((stream, cursor.offset));
        if let Some(k) = self.tailer.streams.get_mut(stream) {
            k.finished = k.file().is_none();
            if let Some(parked) = k.parked_mut() {
                parked.size = cursor.offset;
            }
        }
        self.tailer.remember_again(stream);
        Ok(())
    }

    fn deliver(&mut self, stream: &Arc<Stream>, window: &mut Window, cursor: &mut Cursor, end: End) -> io::Result<()> {
        let parcel = window.parcel(*cursor, end, self.tailer.max_line);
        if parcel.cursor.offset == cursor.offset {
            return Ok(());
        }
        let fragile = self
            .tailer
            .table
            .get(self.id)
            .is_some_and(super::super::table::File::fragile);
        loop {
            match self.tailer.intake.wait_room(super::TICK) {
                Room::All => break,
                Room::Fragile if fragile => break,
                Room::Closed => return self.close(),
                Room::Fragile | Room::None => self.breathe(true)?,
            }
        }
        match self.tailer.deliver(stream, window, &parcel, cursor, self.id) {
            Ok(()) if parcel.again => self.deliver(stream, window, cursor, end),
            Ok(()) => Ok(()),
            Err(Closed) => self.close(),
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.closed = true;
        Err(io::Error::other("the agent is stopping"))
    }

    /// Lets the live files have their turn, now and then or `at_once`.
    fn breathe(&mut self, at_once: bool) -> io::Result<()> {
        if !at_once && self.breath.elapsed() < BREATH {
            return Ok(());
        }
        self.tailer.unpacking = true;
        let turned = self.tailer.turn();
        self.tailer.unpacking = false;
        self.breath = Instant::now();
        if turned.is_err() { self.close() } else { Ok(()) }
    }
}

/// `archive.zip!member`.
fn named(archive: &Path, member: Option<&Path>) -> PathBuf {
    let mut name = archive.as_os_str().to_os_string();
    if let Some(member) = member {
        name.push("!");
        name.push(member);
    }
    PathBuf::from(name)
}
