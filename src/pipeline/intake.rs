//! The pipeline's mouth: takes chunks, parses them at once, and keeps the batch that is being formed.
//!
//! Sources call from their own threads; the driver takes formed batches out. One mutex guards it all: it is held while
//! one chunk is parsed (well under a millisecond), and parsing has to happen in order anyway, since what a record
//! belongs to depends on the records before it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::batch::Formed;
use super::parser::Parser;
use super::recall::Recall;
use crate::config;
use crate::record::{self, Continues, Key, Micros, Record, Rules};
use crate::runs::{Liveness, ProcessId, Tracker};
use crate::source::{Asked, Chunk, Closed, Cursor, Intake, Loss, Room, Stream, StreamEntry, StreamId, StreamKind};
use crate::store::Batch;
use crate::telemetry::{Counters, add};

/// Emptied batches that are kept: one for each that can be forming, waiting or on its way.
const SPARE: usize = 4;

/// Takes chunks from all sources.
pub struct PipelineIntake {
    inner: Mutex<Inner>,
    room_changed: Condvar,
    /// Wakes the driver.
    waker: Notify,
    counters: Arc<Counters>,
    max_records: usize,
    max_bytes: u64,
    now: fn() -> Micros,
    /// When a file source last had nothing left to read; `i64::MIN`: never.
    quiet_at: AtomicI64,
    host: String,
    /// Asks the store what it has.
    recall: OnceLock<Recall>,
}

/// What waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Anything.
    pub live: bool,
    /// A full batch.
    pub full: bool,
    /// Some of it comes from a stream that cannot be read again.
    pub fragile: bool,
    /// Since when the batch that is not full has been filled by files of which more may be at hand; `None` once they
    /// have said that there is no more.
    pub filling: Option<Instant>,
}

struct Inner {
    parser: Parser,
    forming: Formed,
    ready: VecDeque<Formed>,
    /// The file of some of what was accepted was renamed or unlinked since.
    endangered: bool,
    /// What the driver allows.
    allowed: Room,
    /// Files are read no further: the agent stops.
    files_closed: bool,
    /// See [`Waiting::filling`].
    filling: Option<Instant>,
    /// Emptied batches whose buffers are used again. Made and freed anew each time, they would tear the heap apart.
    spare: Vec<Batch>,
}

impl PipelineIntake {
    #[must_use]
    pub fn new(
        rules: Arc<Rules>,
        tracker: Tracker,
        host: &str,
        limits: &config::Batch,
        counters: Arc<Counters>,
        now: fn() -> Micros,
    ) -> PipelineIntake {
        let parser = Parser::new(rules, tracker, host);
        let inner = Inner {
            parser,
            forming: Formed::default(),
            ready: VecDeque::new(),
            endangered: false,
            allowed: Room::All,
            files_closed: false,
            filling: None,
            spare: Vec::new(),
        };
        PipelineIntake {
            inner: Mutex::new(inner),
            room_changed: Condvar::new(),
            waker: Notify::new(),
            counters,
            max_records: limits.max_records.max(1),
            max_bytes: limits.max_bytes.max(1),
            now,
            quiet_at: AtomicI64::new(i64::MIN),
            host: host.to_owned(),
            recall: OnceLock::new(),
        }
    }

    /// A panic while the lock was held has been reported by its thread; what it left is still consistent enough to
    /// drain: documents are appended whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has questions about what the store has answered by it; without, nothing counts as stored. Once.
    pub fn recall_by(&self, recall: Recall) {
        let _ = self.recall.set(recall);
    }

    /// Resolves when something waits to be sent.
    pub async fn woken(&self) {
        self.waker.notified().await;
    }

    /// Wakes the driver.
    pub fn wake(&self) {
        self.waker.notify_one();
    }

    /// Sets what sources may read.
    pub fn allow(&self, room: Room) {
        let mut inner = self.lock();
        if inner.allowed != room && inner.allowed != Room::Closed {
            inner.allowed = room;
            drop(inner);
            self.room_changed.notify_all();
        }
    }

    /// Ends the reading of files, also in the middle of an archive and while the store is away. What clients of the
    /// socket have written is still taken.
    pub fn close_files(&self) {
        self.lock().files_closed = true;
        self.room_changed.notify_all();
    }

    /// What waits to be sent.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let inner = self.lock();
        let full = !inner.ready.is_empty();
        Waiting {
            live: full || !inner.forming.is_empty() || inner.parser.tracker.has_updates(),
            full,
            fragile: inner.forming.fragile || inner.ready.iter().any(|f| f.fragile),
            filling: inner.filling,
        }
    }

    /// Whether since the last call a file was renamed or unlinked of which something had been accepted. What waits
    /// here is marked; the driver does the same with what it has taken.
    #[must_use]
    pub fn take_endangered(&self) -> bool {
        let mut inner = self.lock();
        let endangered = std::mem::take(&mut inner.endangered);
        if endangered {
            inner.ready.iter_mut().for_each(|formed| formed.fragile = true);
            inner.forming.fragile |= !inner.forming.batch.is_empty();
        }
        endangered
    }

    /// Takes the oldest batch that waits; `None` if none does.
    pub fn take(&self) -> Option<Formed> {
        let mut inner = self.lock();
        if let Some(formed) = inner.ready.pop_front() {
            drop(inner);
            self.room_changed.notify_all();
            return Some(formed);
        }
        let formed = inner.seal();
        (!formed.is_empty()).then_some(formed)
    }

    /// Gives back the buffers of a batch that is done with.
    pub fn recycle(&self, batch: Arc<Batch>) {
        if let Ok(mut batch) = Arc::try_unwrap(batch) {
            let mut inner = self.lock();
            batch.clear();
            // One that only carried progress has no buffer: kept, it would be given one, and become one more.
            if batch.events.has_buffer() && inner.spare.len() < SPARE {
                inner.spare.push(batch);
            }
        }
    }

    /// Concludes runs whose processes are gone. What a process wrote is read at most `settle` after it was written,
    /// unless there is more to read; `None`: everything has been read.
    pub fn conclude(
        &self,
        settle: Option<Micros>,
        lost_after: Micros,
        liveness: impl Fn(&ProcessId) -> Liveness,
    ) -> usize {
        let quiet = match settle {
            Some(settle) => Some(self.quiet_at.load(Ordering::Relaxed))
                .filter(|at| *at != i64::MIN)
                .map(|at| at - settle),
            None => Some(i64::MAX),
        };
        // What the system says of processes is read without the lock: readers of files and clients wait for that.
        let asked = self.lock().parser.tracker.watched_processes();
        let found: HashMap<(i64, Micros), Liveness> =
            asked.iter().map(|id| ((id.pid, id.start), liveness(id))).collect();
        // One that came meanwhile is asked about the next time.
        let known = |id: &ProcessId| found.get(&(id.pid, id.start)).copied().unwrap_or(Liveness::Alive);
        let mut inner = self.lock();
        let tracker = &mut inner.parser.tracker;
        let n = tracker.conclude((self.now)(), quiet, lost_after, known);
        tracker.catch_up((self.now)());
        let news = n > 0 || tracker.has_updates();
        drop(inner);
        if news {
            self.wake();
        }
        n
    }

    /// Every batch that left is settled: if nothing waits here either, the store knows all there is to know of runs.
    pub fn settled(&self) {
        let mut inner = self.lock();
        let waits = !inner.ready.is_empty() || !inner.forming.is_empty() || inner.parser.tracker.has_updates();
        if !waits {
            inner.parser.tracker.told();
        }
    }

    /// What the state has to keep of open runs since the last call, see [`Tracker::keep`].
    #[must_use]
    pub fn keep_runs(&self) -> Vec<(String, Option<Vec<u8>>)> {
        self.lock().parser.tracker.keep()
    }

    #[must_use]
    pub fn open_runs(&self) -> usize {
        self.lock().parser.tracker.open_runs()
    }

    /// Exchanges the rules, after the configuration was read again.
    pub fn set_rules(&self, rules: Arc<Rules>) {
        let parser = &mut self.lock().parser;
        parser.rules = rules;
        parser.known.clear();
    }

    /// Counts what was read and is no record.
    pub fn count_loss(&self, loss: Loss) {
        let c = &self.counters;
        match loss {
            Loss::Nul { bytes } => add(&c.nul_bytes, bytes),
            Loss::Blank { lines } => add(&c.blank_lines, lines),
            Loss::Unread { bytes } => add(&c.unread_bytes, bytes),
            Loss::Cut { bytes } => add(&c.cut_bytes, bytes),
            Loss::Copied { lines } => add(&c.copied_lines, lines),
        }
    }

    /// Parses lines into a batch of their own, which the caller makes durable itself. For sockets.
    pub fn parse_apart(&self, chunk: &Chunk<'_>, cursor: &mut Cursor) -> Result<Formed, Closed> {
        let now = (self.now)();
        let mut inner = self.lock();
        if inner.allowed == Room::Closed {
            return Err(Closed);
        }
        let mut formed = Formed::default();
        add(&self.counters.read, chunk.items.len() as u64);
        inner.parser.begin(chunk.stream, now);
        for item in chunk.items {
            inner
                .parser
                .take(chunk, item, now, cursor, &mut formed.batch, &self.counters);
        }
        inner.parser.end(chunk.stream);
        inner.parser.tracker.seal(&mut formed.batch.runs);
        Ok(formed)
    }
}

impl Inner {
    /// Closes the forming batch and begins the next.
    fn seal(&mut self) -> Formed {
        self.filling = None;
        let mut formed = std::mem::take(&mut self.forming);
        self.parser.tracker.seal(&mut formed.batch.runs);
        formed
    }
}

impl Intake for PipelineIntake {
    fn wait_room(&self, timeout: Duration) -> Room {
        let room = |inner: &Inner| match inner.allowed {
            Room::Closed => Room::Closed,
            _ if inner.files_closed => Room::Closed,
            _ if !inner.ready.is_empty() => Room::None,
            allowed => allowed,
        };
        let inner = self.lock();
        if room(&inner) != Room::None || timeout.is_zero() {
            return room(&inner);
        }
        let waited = self
            .room_changed
            .wait_timeout_while(inner, timeout, |inner| room(inner) == Room::None);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        room(&inner)
    }

    fn accept(&self, chunk: Chunk<'_>, cursor: &mut Cursor) -> Result<(), Closed> {
        let now = (self.now)();
        let mut guard = self.lock();
        let inner = &mut *guard;
        if inner.files_closed || inner.allowed == Room::Closed {
            return Err(Closed);
        }
        add(&self.counters.read, chunk.items.len() as u64);
        // The driver was woken for what waits already, and looks again whenever it can do more: it sleeps on.
        let mut news = inner.forming.batch.is_empty() || (chunk.fragile && !inner.forming.fragile);
        inner.parser.begin(chunk.stream, now);
        for item in chunk.items {
            if !inner.spare.is_empty() && inner.forming.batch.is_empty() {
                // Only now, so that a batch that waits and one that is empty do not both hold memory.
                inner.forming.batch = inner.spare.pop().unwrap_or_default();
            }
            inner
                .parser
                .take(&chunk, item, now, cursor, &mut inner.forming.batch, &self.counters);
            inner.forming.fragile |= chunk.fragile;
            if inner.forming.is_full(self.max_records, self.max_bytes) {
                // What the batch makes true follows with the end of the chunk.
                let formed = inner.seal();
                inner.ready.push_back(formed);
                news = true;
            }
        }
        inner.parser.end(chunk.stream);
        add(&self.counters.bytes_read, chunk.data.len() as u64);
        inner.forming.progress.cursor(chunk.stream.id, *cursor);
        if !inner.forming.batch.is_empty() {
            inner.filling.get_or_insert_with(Instant::now);
        }
        drop(guard);
        if news {
            self.wake();
        }
        Ok(())
    }

    fn continues(&self, stream: &Stream) -> Continues {
        match &stream.kind {
            StreamKind::File { path } => self.lock().parser.rules.continues(path),
            StreamKind::Socket { .. } => Continues::default(),
        }
    }

    fn skip(&self, stream: &Arc<Stream>, cursor: Cursor, loss: Loss) {
        self.count_loss(loss);
        self.lock().forming.progress.cursor(stream.id, cursor);
    }

    fn count(&self, loss: Loss) {
        self.count_loss(loss);
    }

    fn time_of(&self, line: &[u8]) -> Option<Micros> {
        let rules = Arc::clone(&self.lock().parser.rules);
        let mut rec = Record::default();
        record::parse_into(&mut rec, line, &[], &rules);
        rec.time
    }

    fn held(&self, lines: &[Asked], before: Micros) -> Option<Vec<Option<u32>>> {
        let Some(recall) = self.recall.get() else {
            return Some(vec![None; lines.len()]);
        };
        let keys = lines
            .iter()
            .map(|line| Key::new(record::home(&self.host, line.head), line.offset, line.chain, 0));
        recall.answer(keys.collect(), before)
    }

    fn idle(&self, since: Instant) {
        let ago = i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.quiet_at.store((self.now)().saturating_sub(ago), Ordering::Relaxed);
        // What a burst needed is given back.
        let mut inner = self.lock();
        inner.spare.truncate(1);
        inner.parser.tracker.rest();
        let filled = inner.filling.take().is_some();
        drop(inner);
        if filled {
            self.wake();
        }
    }

    fn endangered(&self, _id: StreamId) {
        // Rare, and spooling too much while the store is away harms nothing: all that waits counts as fragile.
        self.lock().endangered = true;
        self.wake();
    }

    fn remember(&self, entry: StreamEntry) {
        self.lock().forming.progress.remember.push(entry);
    }

    fn forget(&self, id: StreamId) {
        let mut inner = self.lock();
        inner.parser.known.remove(&id);
        inner.forming.progress.forget.push(id);
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
