//! One pass over an archive: each member is recognised, left alone, or delivered from where its stream had got to.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::discovery::{Candidate, Near, Seen, Verdict, judge};
use super::super::identity::{self, Head};
use super::super::lines::End;
use super::super::streams::{Identity, Parked};
use super::super::table::FileId;
use super::super::window::{BLOCK, Window};
use super::super::{Closed, Cursor, HEAD, Room, Stream, StreamId, archive, names};
use super::Tailer;
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
    /// A live file has to be read to its end first.
    pub wait: bool,
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
            if self.pass_to(reader, &mut window, &mut Cursor::default(), cursor.offset)? {
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
        let mut known: Vec<(StreamId, Cursor)> = self
            .tailer
            .streams
            .with_head(head)
            .map(|(id, k)| (id, k.cursor))
            .collect();
        if known.is_empty() {
            if wanted.is_none() {
                return Ok(());
            }
            let stream = self.begin(head, 0, member);
            return self.rest(reader, window, stream, Cursor::default(), member);
        }
        known.sort_by_key(|(_, c)| c.offset);
        let mut digest = Cursor::default();
        let mut short = None;
        for (id, cursor) in known {
            let reached = self.pass_to(reader, &mut window, &mut digest, cursor.offset)?;
            match self.verdict(id, head, cursor, reached.then_some((digest, window.near()))) {
                Some(Verdict::Same(_)) => return self.rest(reader, window, id, cursor, member),
                Some(Verdict::Wait) => self.looked.wait = true,
                Some(Verdict::Copy(_) | Verdict::Compare(_) | Verdict::Fork(_)) if reached => {
                    return self.leave(id, cursor);
                }
                Some(Verdict::Copy(_) | Verdict::Compare(_) | Verdict::Fork(_)) => short = Some((id, cursor)),
                Some(Verdict::New { .. }) | None => {}
            }
            if self.looked.wait {
                return Ok(());
            }
        }
        if let Some((id, cursor)) = short {
            return self.leave(id, cursor);
        }
        if let Some(name) = wanted {
            let next = self
                .tailer
                .streams
                .with_head(head)
                .map(|(_, k)| k.generation() + 1)
                .max()
                .unwrap_or(0);
            let stream = self.begin(head, next, member);
            self.plans.insert(name, stream);
            self.looked.again = true;
        }
        Ok(())
    }

    /// What the member is to one stream; `at`: what was read up to its cursor, `None` where the member is shorter.
    fn verdict(&self, id: StreamId, head: Head, cursor: Cursor, at: Option<(Cursor, u64)>) -> Option<Verdict> {
        let k = self.tailer.streams.get(id)?;
        let holder = k.file().and_then(|f| self.tailer.table.get(f));
        let near = match at {
            None => Near::Short,
            Some((_, near)) if near == cursor.near => Near::Match,
            Some(_) => Near::Differs,
        };
        let prefix = at.map(|(digest, _)| k.start() > 0 || digest.chain == cursor.chain);
        let candidate = Candidate {
            id,
            generation: k.generation(),
            offset: cursor.offset,
            own: false,
            live: holder.is_some(),
            unread: holder.is_some_and(|h| h.ready || h.size > h.looked()),
            extent: u64::MAX,
            near,
            together: false,
            prefix,
        };
        let ship_copies = self.tailer.settings.copies == Copies::Ship;
        let seen = Seen {
            archive: true,
            size: 0,
            distinctive: head.distinctive,
            ship_copies,
        };
        Some(judge(seen, &[candidate]))
    }

    /// The content is left to the file that holds it, or was delivered before.
    fn leave(&mut self, id: StreamId, cursor: Cursor) -> io::Result<()> {
        self.looked.partial |= self.tailer.streams.get(id).is_some_and(|k| k.file().is_some());
        self.looked.covers.push((id, cursor.offset));
        Ok(())
    }

    fn begin(&mut self, head: Head, generation: u32, member: Option<&Path>) -> StreamId {
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
            mtime: 0,
            since: Instant::now(),
            counted: true,
            unwanted: false,
        };
        let identity = Identity {
            head: head.hash,
            head_len: head.len,
            generation,
            cursor: Cursor::default(),
            start: 0,
            dev: 0,
            ino: id,
            born: t.scan,
            finished: false,
            script: super::unlike_name(names::script(name), path.file_name().unwrap_or_default()),
            parked: Some(parked),
        };
        t.streams.add(id, identity);
        t.remember(id, path, 0, 0);
        id
    }

    /// Reads on to `offset`; whether the content goes so far. The lines are taken into `digest`'s chain.
    fn pass_to(
        &mut self,
        reader: &mut dyn Read,
        window: &mut Window,
        digest: &mut Cursor,
        offset: u64,
    ) -> io::Result<bool> {
        let max_line = self.tailer.max_line;
        loop {
            let end = if window.position() >= offset {
                End::Final
            } else {
                End::More
            };
            let mut again = true;
            while again {
                let parcel = window.parcel_to(*digest, offset, end, max_line);
                (*digest, again) = (parcel.cursor, parcel.again);
            }
            if digest.offset >= offset {
                return Ok(digest.offset == offset);
            }
            let want = BLOCK.min((offset - window.position().min(offset)) as usize).max(1);
            if window.fill(want, max_line, |buf| {
                reader.read(buf.get_mut(..want).unwrap_or_default())
            })? == 0
            {
                return Ok(false);
            }
            self.breathe(false)?;
        }
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
        }
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
