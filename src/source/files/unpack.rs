//! Unpacking: what of an archive was not shipped while it was plain.
//!
//! The bytes inside are read as those of a file would be, from their first one. Where streams of that head are known,
//! the content up to their cursors is compared; from the cursor on it is theirs. All of it that a live file still
//! holds is left to that file. An archive is read once: what is inside is remembered with its size and time.
//!
//! One archive is read at a time, and in between the live files have their turns.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::discovery::{Candidate, Near, Seen, Verdict, judge};
use super::super::identity::{self, Head};
use super::super::lines::End;
use super::super::streams::{Known, Parked};
use super::super::table::{FileId, Role};
use super::super::window::{BLOCK, Window};
use super::super::{Closed, Cursor, HEAD, Room, Stream, StreamEntry, StreamId, archive, names};
use super::{Remembered, Tailer};
use crate::config::{Copies, StartAt};

/// An archive is read when it has not changed for this long.
const SETTLED: Duration = Duration::from_millis(300);
/// An archive that ends too early may still be written to; after this time it is damaged.
const PATIENCE: Duration = Duration::from_secs(10);
/// Live files wait for an archive no longer than this.
const BREATH: Duration = Duration::from_millis(200);

/// One pass over an archive.
struct Pass<'a> {
    tailer: &'a mut Tailer,
    id: FileId,
    path: PathBuf,
    /// Its own name is wanted, so all its members are.
    all: bool,
    /// Members that are delivered in a second pass, since the first one has gone by their beginning.
    plans: &'a mut HashMap<PathBuf, StreamId>,
    covers: Vec<(StreamId, u64)>,
    /// Something was left to a live file.
    partial: bool,
    again: bool,
    wait: bool,
    closed: bool,
    breath: Instant,
}

impl Tailer {
    /// Has the archive looked into, once it is quiet.
    pub(super) fn await_archive(&mut self, id: FileId) {
        if self.fresh && self.settings.start_at == StartAt::End {
            self.set_role(id, Role::Unpacked(Vec::new(), false));
            return self.settle_archive(id);
        }
        self.put_off(id, Instant::now());
    }

    fn put_off(&mut self, id: FileId, since: Instant) {
        self.set_role(id, Role::Archive(since));
        if !self.archives.contains(&id) {
            self.archives.push(id);
        }
    }

    /// Time since the file last changed.
    fn age(&self, id: FileId) -> Duration {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mtime = self.table.get(id).map_or(0, |f| f.mtime.max(0) as u64);
        now.saturating_sub(Duration::from_nanos(mtime))
    }

    pub(super) fn unpack_all(&mut self, now: Instant) -> Result<(), Closed> {
        if self.archives.is_empty() {
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.archives);
        ids.sort_by_cached_key(|id| self.table.get(*id).map(|f| (f.mtime, f.name.to_os_string())));
        for (at, id) in ids.iter().enumerate() {
            let Some(Role::Archive(since)) = self.table.get(*id).map(|f| f.role.clone()) else {
                continue;
            };
            let quiet = now.saturating_duration_since(since) >= SETTLED || (since <= now && self.age(*id) >= PATIENCE);
            if !quiet && !self.once {
                self.archives.push(*id);
                continue;
            }
            if let Err(closed) = self.unpack(*id) {
                self.archives.extend(ids.iter().skip(at));
                return Err(closed);
            }
        }
        Ok(())
    }

    fn unpack(&mut self, id: FileId) -> Result<(), Closed> {
        let mut plans = HashMap::new();
        let mut retries = 0;
        loop {
            let Some(file) = self.open_file(id) else { return Ok(()) };
            let mut start = [0; archive::MAGIC];
            let n = super::judge::read_at(&file, &mut start, 0).unwrap_or(0);
            let Some(kind) = archive::kind(start.get(..n).unwrap_or_default()) else {
                self.set_role(id, Role::Unknown);
                self.unjudge(id);
                return Ok(());
            };
            let path = self.table.path(id);
            let before = self.table.get(id).map(|f| (f.size, f.mtime));
            let mut pass = Pass {
                all: self.patterns.wants_archive(&path) || self.patterns.wants(&path),
                tailer: self,
                id,
                path,
                plans: &mut plans,
                covers: Vec::new(),
                partial: false,
                again: false,
                wait: false,
                closed: false,
                breath: Instant::now(),
            };
            let outcome = pass.run(file, kind);
            let Pass {
                covers,
                partial,
                again,
                wait,
                closed,
                ..
            } = pass;
            if closed {
                return Err(Closed);
            }
            tracing::debug!(path = %self.table.path(id).display(), ?covers, partial, again, wait, ?outcome, "looked inside");
            match outcome {
                Ok(()) if wait => self.put_off(id, Instant::now()),
                Ok(()) if again && retries < 2 => {
                    retries += 1;
                    continue;
                }
                Ok(()) => {
                    self.set_role(id, Role::Unpacked(covers, partial));
                    if !partial {
                        self.settle_archive(id);
                    }
                }
                Err(error) => self.damaged(id, before, &error),
            }
            return Ok(());
        }
    }

    /// The archive could not be read to its end: it is being written, or damaged.
    fn damaged(&mut self, id: FileId, before: Option<(u64, i64)>, error: &io::Error) {
        let now = Instant::now();
        self.check(id, now);
        let changed = self.table.get(id).map(|f| (f.size, f.mtime)) != before;
        if changed {
            return self.put_off(id, now);
        }
        if self.age(id) < if self.once { Duration::from_secs(2) } else { PATIENCE } {
            return self.put_off(id, now + Duration::from_secs(1));
        }
        self.broken += 1;
        tracing::warn!(path = %self.table.path(id).display(), "the archive cannot be read, and is left alone until it changes: {error}");
        self.set_role(id, Role::Ignored);
    }

    /// Remembers an archive that was dealt with, so that no later start looks into it again.
    pub(super) fn settle_archive(&mut self, id: FileId) {
        let Some(f) = self.table.get(id) else { return };
        let Role::Unpacked(covers, _) = &f.role else { return };
        let settled = |s: &StreamId| self.streams.get(*s).is_some_and(|k| k.finished || k.file.is_none());
        if !covers.iter().all(|(s, _)| settled(s)) {
            return;
        }
        let covers: Vec<(StreamId, u64)> = covers
            .iter()
            .filter_map(|(s, _)| Some((*s, self.streams.get(*s)?.cursor.offset)))
            .collect();
        let (dev, ino, size, mtime) = (f.dev, f.ino, f.size, f.mtime);
        let path = self.table.path(id);
        let marker = self.streams.next_id();
        self.intake.remember(StreamEntry {
            id: marker,
            path,
            dev,
            ino,
            size,
            mtime,
            finished: true,
            archive: true,
            covers: covers.clone(),
            ..StreamEntry::default()
        });
        let memory = Remembered {
            id: marker,
            size,
            mtime,
            covers: covers.clone(),
        };
        if let Some(old) = self.remembered.insert((dev, ino), memory) {
            self.intake.forget(old.id);
        }
        self.set_role(id, Role::Unpacked(covers, false));
    }

    /// Takes up what an earlier life knew of the archive, if it is as it was and what is inside was settled.
    pub(super) fn recall_archive(&mut self, id: FileId) -> bool {
        let Some(f) = self.table.get(id) else { return false };
        let Some(memory) = self.remembered.get(&(f.dev, f.ino)) else {
            return false;
        };
        let reached = |(s, to): &(StreamId, u64)| self.streams.get(*s).is_some_and(|k| k.cursor.offset >= *to);
        if (memory.size, memory.mtime) == (f.size, f.mtime) && memory.covers.iter().all(reached) {
            let covers = memory.covers.clone();
            self.set_role(id, Role::Unpacked(covers, false));
            return true;
        }
        self.forget_archive(id);
        false
    }

    pub(super) fn forget_archive(&mut self, id: FileId) {
        let inode = self.table.get(id).map(|f| (f.dev, f.ino));
        if let Some(memory) = inode.and_then(|i| self.remembered.remove(&i)) {
            self.intake.forget(memory.id);
        }
    }

    /// Forgets archives that went while nobody looked.
    pub(super) fn prune_archives(&mut self) {
        let gone: Vec<(u64, u64)> = self
            .remembered
            .keys()
            .filter(|(dev, ino)| self.table.by_inode(*dev, *ino).is_none())
            .copied()
            .collect();
        for inode in gone {
            if let Some(memory) = self.remembered.remove(&inode) {
                self.intake.forget(memory.id);
            }
        }
    }
}

impl Pass<'_> {
    fn run(&mut self, file: fs::File, kind: archive::Kind) -> io::Result<()> {
        archive::each_member(file, kind, &mut |member, reader| self.member(member, reader))
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
                Some(Verdict::Wait) => self.wait = true,
                Some(Verdict::Copy(_) | Verdict::Compare(_) | Verdict::Fork(_)) if reached => {
                    return self.leave(id, cursor);
                }
                Some(Verdict::Copy(_) | Verdict::Compare(_) | Verdict::Fork(_)) => short = Some((id, cursor)),
                Some(Verdict::New { .. }) | None => {}
            }
            if self.wait {
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
                .map(|(_, k)| k.generation + 1)
                .max()
                .unwrap_or(0);
            let stream = self.begin(head, next, member);
            self.plans.insert(name, stream);
            self.again = true;
        }
        Ok(())
    }

    /// What the member is to one stream; `at`: what was read up to its cursor, `None` where the member is shorter.
    fn verdict(&self, id: StreamId, head: Head, cursor: Cursor, at: Option<(Cursor, u64)>) -> Option<Verdict> {
        let k = self.tailer.streams.get(id)?;
        let holder = k.file.and_then(|f| self.tailer.table.get(f));
        let near = match at {
            None => Near::Short,
            Some((_, near)) if near == cursor.near => Near::Match,
            Some(_) => Near::Differs,
        };
        let prefix = at.map(|(digest, _)| k.start > 0 || digest.chain == cursor.chain);
        let candidate = Candidate {
            id,
            generation: k.generation,
            offset: cursor.offset,
            own: false,
            live: holder.is_some(),
            unread: holder.is_some_and(|h| h.ready || h.size > h.looked),
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
        self.partial |= self.tailer.streams.get(id).is_some_and(|k| k.file.is_some());
        self.covers.push((id, cursor.offset));
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
        let known = Known {
            head: head.hash,
            head_len: head.len,
            generation,
            cursor: Cursor::default(),
            start: 0,
            dev: 0,
            ino: id,
            born: t.scan,
            script: names::script(name).into(),
            file: None,
            copies: 0,
            finished: false,
            parked: Some(Box::new(parked)),
        };
        t.intake.remember(known.entry(id, path, 0, 0));
        t.streams.add(id, known);
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
        let Some(named) = self
            .tailer
            .streams
            .get(stream)
            .map(|k| Arc::new(k.stream(stream, path)))
        else {
            return Ok(());
        };
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
        self.covers.push((stream, cursor.offset));
        if let Some(k) = self.tailer.streams.get_mut(stream) {
            k.finished = k.file.is_none();
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
