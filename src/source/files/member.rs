//! One pass over an archive: each member is recognised, left alone, or delivered from where its stream had got to.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::discovery::{Candidate, Verdict, judge};
use super::super::identity::{self, Head};
use super::super::lines::End;
use super::super::streams::{Identity, Parked};
use super::super::survey::{Found, Rival, Survey};
use super::super::table::FileId;
use super::super::window::{BLOCK, Window};
use super::super::{Closed, Cursor, HEAD, Marks, NEAR, Room, Steps, Stream, StreamId, archive, names};
use super::Tailer;

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
    pub(super) tailer: &'a mut Tailer,
    pub(super) id: FileId,
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
        let held_before = !answer.least.is_empty();
        let behind = answer.least.last().filter(|_| answer.further).map_or(0, |l| l.1);
        survey.above(answer.least, answer.to);
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
                let known = self.tailer.streams.get(stream).map(|k| k.steps()).unwrap_or_default();
                let steps = known.and_then(cursor.offset, &found.steps);
                self.tailer.set_numbers(stream, &Found { steps, ..found }, false);
                let name = wanted.unwrap_or_else(|| member.map(Path::to_path_buf).unwrap_or_default());
                self.plan(name, stream);
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
                    if let Some(k) = self.tailer.streams.get_mut(stream).filter(|_| held_before) {
                        k.set_blind(true);
                    }
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
    pub(super) fn breathe(&mut self, at_once: bool) -> io::Result<()> {
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
