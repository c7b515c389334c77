//! Taking: reading what is new in a file and handing it over.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use super::super::lines::{End, Rest};
use super::super::table::{File, FileId, Held, Role};
use super::super::window::{BLOCK, Parcel, Window};
use super::super::{Chunk, Closed, Cursor, Loss, NEAR, Room, Stream, StreamId, stat};
use super::{QUIET, TICK, Tailer};

/// What came of a turn at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    More,
    Drained,
}

impl Tailer {
    /// Gives each file with something to read its turn; whether anything came of it.
    pub(super) fn take_all(&mut self, now: Instant) -> Result<bool, Closed> {
        self.release(now);
        let wait = if self.ready.is_empty() {
            std::time::Duration::ZERO
        } else {
            TICK
        };
        // The intake is asked even where there is nothing to read, so that a stop is noticed.
        let mut ids = match self.intake.wait_room(wait) {
            Room::All => std::mem::take(&mut self.ready),
            Room::Fragile => self.fragile_ready(),
            Room::None => return Ok(false),
            Room::Closed => return Err(Closed),
        };
        ids.sort_by_cached_key(|id| self.order(*id));
        let (mut progress, mut family_done) = (false, None);
        let mut waited = false;
        for id in ids {
            let Some(f) = self.table.get(id) else { continue };
            let family = f.family;
            if family_done == Some(family) || !self.has_room(id, &mut waited)? {
                self.ready.push(id);
                continue;
            }
            progress = true;
            if let Some(f) = self.table.get_mut(id) {
                f.ready = false;
            }
            if self.take(id, now)? == Taken::More {
                self.make_ready(id);
                family_done = Some(family);
            }
        }
        Ok(progress)
    }

    /// Takes those files out of the ready ones that may not be there later: the store is away, and there may be very
    /// many others.
    fn fragile_ready(&mut self) -> Vec<FileId> {
        let table = &self.table;
        let fragile = |id: &FileId| table.get(*id).is_none_or(File::fragile);
        self.ready.extract_if(.., |id| fragile(id)).collect()
    }

    /// Families together; within one, rotated files first and the oldest of these first.
    fn order(&self, id: FileId) -> (u32, bool, i64, FileId) {
        let Some(f) = self.table.get(id) else {
            return (0, false, 0, id);
        };
        (f.family, !f.fragile(), f.mtime, id)
    }

    /// Whether the file may be read now.
    fn has_room(&self, id: FileId, waited: &mut bool) -> Result<bool, Closed> {
        let fragile = self.table.get(id).is_some_and(File::fragile);
        let wait = if std::mem::replace(waited, true) {
            std::time::Duration::ZERO
        } else {
            TICK
        };
        match self.intake.wait_room(wait) {
            Room::All => {
                *waited = false;
                Ok(true)
            }
            Room::Fragile => Ok(fragile),
            Room::None => Ok(false),
            Room::Closed => Err(Closed),
        }
    }

    /// When what is held back of this file is to be released.
    pub(super) fn due(&self, id: FileId) -> Option<Instant> {
        let f = self.table.get(id)?;
        let grew = f.busy()?.grew;
        match f.held() {
            Held::No => None,
            Held::Open => Some(grew + QUIET),
            Held::Nuls => f.busy()?.nuls.map(|(_, since)| since + self.settings.finish_line_after),
            Held::Partial if self.is_final(id) => Some(grew + self.settings.finish_line_after),
            Held::Partial => None,
        }
    }

    pub(super) fn wait_for(&mut self, id: FileId) {
        if !self.waiting.contains(&id) {
            self.waiting.push(id);
        }
    }

    /// Makes ready whose time has come.
    fn release(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.waiting) {
            let held = self.table.get(id).is_some_and(|f| f.held() != Held::No);
            if !held {
                continue;
            }
            if self.due(id).is_some_and(|due| due <= now || self.once) {
                match self.table.get(id).map(|f| &f.role) {
                    Some(Role::Holds(_)) => self.make_ready(id),
                    _ => self.unjudge(id),
                }
            } else {
                self.waiting.push(id);
            }
        }
    }

    /// Whether nobody is expected to write to the file any more.
    pub(super) fn is_final(&self, id: FileId) -> bool {
        let Some(f) = self.table.get(id) else { return false };
        if f.fragile() || f.stranger {
            return true;
        }
        let path = self.table.path(id);
        if !self.patterns.wants(&path) && self.patterns.wants_rotated(&path) {
            return true;
        }
        let names = self.table.named_in(f.dir).map(|id| self.table.name(id));
        super::judge::has_live_sibling(&path, names)
    }

    /// Whether an unterminated last line of the file is to be taken as a line.
    pub(super) fn may_finish(&self, id: FileId) -> bool {
        let quiet = |f: &File| self.once || f.quiet(Instant::now()) >= self.settings.finish_line_after;
        self.table.get(id).is_some_and(quiet) && self.is_final(id)
    }

    /// The stream as chunks name it, made when it is first needed.
    fn stream_of(&mut self, id: FileId, stream: StreamId) -> Option<Arc<Stream>> {
        if let Some(s) = self.table.get(id)?.busy().and_then(|b| b.stream.as_ref()) {
            return Some(Arc::clone(s));
        }
        let path = self.table.path(id).to_string_lossy().into_owned();
        let made = Arc::new(self.streams.get(stream)?.stream(path, self.script(stream)));
        self.table.busy(id)?.stream = Some(Arc::clone(&made));
        Some(made)
    }

    /// Reads one allowance of the file.
    fn take(&mut self, id: FileId, now: Instant) -> Result<Taken, Closed> {
        let Some(stream_id) = self.table.get(id).and_then(File::stream_id) else {
            self.unjudge(id);
            return Ok(Taken::Drained);
        };
        let (Some(cursor), Some(stream)) = (
            self.streams.get(stream_id).map(|k| k.cursor),
            self.stream_of(id, stream_id),
        ) else {
            return Ok(Taken::Drained);
        };
        let Some(file) = self.open_file(id) else {
            // Renamed since it was looked at, most likely: the next look finds its new name.
            if !self.denied.contains(&id) {
                self.make_ready(id);
            }
            return Ok(Taken::Drained);
        };
        let Ok(look) = stat::of_file(&file) else {
            return Ok(self.failed(id, file, std::io::Error::last_os_error()));
        };
        let same = self.is_as_it_was(id, stream_id, cursor, &look, &file, now);
        match same {
            Some(true) => {}
            Some(false) => {
                self.rewritten(id, file);
                return Ok(Taken::Drained);
            }
            None => {
                self.look_again(id, stream_id, file);
                return Ok(Taken::Drained);
            }
        }
        let Some(limit) = self.number_on(id, stream_id, &file, look.size) else {
            self.asking.push(id);
            self.keep_open(id, file);
            return Ok(Taken::Drained);
        };
        let extent = Extent { limit, size: look.size };
        let mut window = std::mem::take(&mut self.window);
        let taken = self.read(id, &file, extent, &stream, cursor, &mut window);
        self.window = window;
        match taken? {
            Some(Ok(taken)) => {
                let flowing = taken == Taken::More;
                if let Some(b) = self.table.busy(id) {
                    b.flowing = flowing;
                }
                if let Some(f) = self.table.get_mut(id) {
                    f.wrote = look.mtime;
                }
                self.keep_open(id, file);
                Ok(taken)
            }
            Some(Err(error)) => Ok(self.failed(id, file, error)),
            None => {
                self.rewritten(id, file);
                Ok(Taken::Drained)
            }
        }
    }

    /// Reading failed: said once, and tried again at the next poll for as long as the file is there.
    fn failed(&mut self, id: FileId, file: fs::File, error: std::io::Error) -> Taken {
        let path = self.table.path(id);
        if let Some(f) = self.table.get_mut(id)
            && !std::mem::replace(&mut f.denied, true)
        {
            tracing::warn!(path = %path.display(), %error, "cannot be read; it is tried again");
        }
        self.asking.push(id);
        self.keep_open(id, file);
        Taken::Drained
    }

    /// Has the window take note of the lines that are to leave a mark.
    pub(super) fn want_marks(&self, stream: StreamId, window: &mut Window) {
        let marks = self.streams.get(stream).and_then(|k| k.marks());
        window.ends.wanted = marks.map_or(super::super::marks::FIRST, super::super::Marks::wanted);
    }

    /// Reads from the cursor on; `None` if the file is not what was read before.
    fn read(
        &mut self,
        id: FileId,
        file: &fs::File,
        Extent { limit, size }: Extent,
        stream: &Arc<Stream>,
        mut cursor: Cursor,
        window: &mut Window,
    ) -> Result<Option<std::io::Result<Taken>>, Closed> {
        let below = cursor.offset.min(NEAR as u64);
        match starts_at(file, window, cursor, below) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Ok(Some(Err(error))),
        }
        self.want_marks(stream.id, window);
        window.ends.nuls_wait = self.nuls_wait(id, file, size, cursor);
        if !self.worth_reading(id, file, size, cursor) {
            return Ok(Some(Ok(Taken::Drained)));
        }
        let from = cursor.offset;
        window.rules = self.intake.continues(stream);
        loop {
            let at = window.position();
            let want = BLOCK.min(usize::try_from(limit.saturating_sub(at)).unwrap_or(BLOCK));
            let got = match window.fill(want, self.max_line, |buf| {
                file.read_at(buf.get_mut(..want).unwrap_or_default(), at)
            }) {
                Ok(n) => n,
                Err(error) => return Ok(Some(Err(error))),
            };
            let ended = got < want || window.position() >= limit;
            let more = limit < size && got == want;
            let end = if ended && !more { self.end(id) } else { End::More };
            let mut parcel = window.parcel(cursor, end, self.max_line);
            self.deliver(stream, window, &parcel, &mut cursor, id)?;
            while parcel.again {
                parcel = window.parcel(cursor, end, self.max_line);
                self.deliver(stream, window, &parcel, &mut cursor, id)?;
            }
            let nuls = parcel.split.rest == Rest::Nuls;
            if ended || nuls {
                let more = more && !nuls;
                self.note_end(id, window.position(), parcel.split.rest, cursor);
                return Ok(Some(Ok(if more { Taken::More } else { Taken::Drained })));
            }
            if cursor.offset - from >= BLOCK as u64 / 2 && parcel.split.rest != Rest::Long {
                if let Some(b) = self.table.busy(id) {
                    // A run of NULs that is passed over goes on.
                    b.nuls = b.nuls.map(|(_, since)| (cursor.offset, since));
                }
                return Ok(Some(Ok(Taken::More)));
            }
        }
    }

    /// What the end of the file means now.
    fn end(&self, id: FileId) -> End {
        let Some(f) = self.table.get(id) else { return End::Live };
        match () {
            () if self.may_finish(id) => End::Final,
            () if self.once || f.quiet(Instant::now()) >= QUIET => End::Quiet,
            () => End::Live,
        }
    }

    /// Of a line longer than the limit, only what is new is searched for its end.
    fn worth_reading(&mut self, id: FileId, file: &fs::File, size: u64, cursor: Cursor) -> bool {
        let busy = self.table.get(id).and_then(File::busy);
        let scanned = busy.map_or(0, |b| b.scanned);
        if scanned <= cursor.offset || self.may_finish(id) {
            return true;
        }
        let mut buf = vec![0; BLOCK];
        let mut at = scanned;
        while at < size {
            match file.read_at(&mut buf, at) {
                Ok(n) if n > 0 => {
                    if memchr::memchr(b'\n', buf.get(..n).unwrap_or_default()).is_some() {
                        return true;
                    }
                    at += n as u64;
                }
                _ => break,
            }
        }
        if let Some(b) = self.table.busy(id) {
            (b.scanned, b.looked) = (at, at);
        }
        false
    }

    fn note_end(&mut self, id: FileId, position: u64, rest: Rest, cursor: Cursor) {
        let (patience, once) = (self.settings.finish_line_after, self.once);
        let Some(b) = self.table.busy(id) else { return };
        // With nothing behind them they wait until the file changes.
        let stood = b.nuls.filter(|(at, _)| *at == cursor.offset);
        let again = stood.is_some_and(|(_, since)| once || since.elapsed() >= patience);
        b.looked = position;
        b.held = match rest {
            Rest::Nothing => Held::No,
            Rest::Open => Held::Open,
            Rest::Partial | Rest::Long => Held::Partial,
            Rest::Nuls if again => Held::Partial,
            Rest::Nuls => Held::Nuls,
        };
        b.scanned = if rest == Rest::Long { position } else { 0 };
        if rest == Rest::Nuls && b.nuls.is_none_or(|(at, _)| at != cursor.offset) {
            b.nuls = Some((cursor.offset, Instant::now()));
        }
        if b.held != Held::No && cursor.offset < position {
            self.wait_for(id);
        }
    }

    /// Hands a parcel over; the cursor moves with it.
    pub(super) fn deliver(
        &mut self,
        stream: &Arc<Stream>,
        window: &mut Window,
        parcel: &Parcel,
        cursor: &mut Cursor,
        id: FileId,
    ) -> Result<(), Closed> {
        let mut next = parcel.cursor;
        if next.offset == cursor.offset {
            return Ok(());
        }
        self.leave_marks(stream.id, window, next);
        if !window.items.is_empty() {
            let fragile = self.table.get(id).is_some_and(File::fragile);
            let chunk = Chunk {
                stream,
                data: window.data(parcel),
                items: &window.items,
                fragile,
            };
            self.intake.accept(chunk, &mut next)?;
        }
        let s = parcel.split;
        let losses = [
            (s.nul_bytes, Loss::Nul { bytes: s.nul_bytes }),
            (s.blank_lines, Loss::Blank { lines: s.blank_lines }),
            (s.cut_bytes, Loss::Cut { bytes: s.cut_bytes }),
        ];
        for (n, loss) in losses {
            if n > 0 {
                self.intake.skip(stream, next, loss);
            }
        }
        self.bytes_read += next.offset - cursor.offset;
        self.changed = true;
        *cursor = next;
        if let Some(k) = self.streams.get_mut(stream.id) {
            k.cursor = next;
        }
        Ok(())
    }

    /// Gives the lines of a parcel their numbers, and the stream its marks, which are durable no later than the cursor.
    fn leave_marks(&mut self, stream: StreamId, window: &mut Window, next: Cursor) {
        let Some(k) = self.streams.get_mut(stream) else { return };
        if !k.is_unnumbered() {
            window
                .items
                .iter_mut()
                .for_each(|item| item.number = k.number(item.offset));
        }
        let grows = window.ends.wanted > 0 && !window.ends.ends.is_empty();
        if !grows && !k.marks_mut().climbs(next.offset) {
            return;
        }
        let marks = k.marks_mut();
        for (end, chain) in window.ends.ends.drain(..).filter(|(end, _)| *end <= next.offset) {
            marks.push(end, chain);
        }
        marks.climb(next.offset, next.chain);
        window.ends.wanted = marks.wanted();
        k.cursor = next;
        self.remember_again(stream);
    }

    /// The file has other content than what was read of it.
    pub(super) fn rewritten(&mut self, id: FileId, file: fs::File) {
        tracing::debug!(path = %self.table.path(id).display(), "truncated or rewritten in place; reading it from its start");
        self.open.retain(|f| *f != id);
        self.park(id, false);
        if let Some(f) = self.table.get_mut(id) {
            f.noticed = self.scan;
        }
        if let Some(b) = self.table.busy(id) {
            b.peak = 0;
        }
        self.keep_if_gone(id, file);
        self.unjudge(id);
    }
}

/// How far a file may be read, and how long it is.
#[derive(Clone, Copy)]
struct Extent {
    limit: u64,
    size: u64,
}

/// Fills in the bytes below the cursor; whether they are those that were read before.
fn starts_at(file: &fs::File, window: &mut Window, cursor: Cursor, below: u64) -> std::io::Result<bool> {
    window.start(cursor.offset, below as usize);
    if below == 0 {
        return Ok(true);
    }
    let from = cursor.offset - below;
    window.fill(below as usize, 0, |buf| {
        super::judge::read_at(file, buf.get_mut(..below as usize).unwrap_or_default(), from)
    })?;
    Ok(window.pass(cursor.offset) && window.near() == cursor.near)
}
