//! A pipeline that only writes down what the tailer hands over, and a tailer in a directory of its own.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use logagent::config::{Copies, Files, FollowLinks, NaiveTime, Settings, Sources, StartAt};
use logagent::record::{Key, Rules};
use logagent::source::files::{Command, FilesStatus, OnceReport, Tailer};
use logagent::source::streams::{Memory, REMEMBERED};
use logagent::source::{Asked, Chunk, Closed, Cursor, Intake, Loss, Room, Stream, StreamEntry, StreamId, StreamKind};

use crate::harness::eventually;

/// One record as it was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub key: Key,
    pub line: String,
    /// Continuation lines, with the line feed before them.
    pub more: String,
    pub offset: u64,
    pub whole: u64,
    pub stream: String,
    pub script: String,
    pub path: String,
    pub fragile: bool,
}

#[derive(Default)]
pub struct Book {
    pub taken: Vec<Taken>,
    pub keys: HashSet<Key>,
    /// Records whose key was known already.
    pub again: Vec<Taken>,
    pub entries: HashMap<StreamId, StreamEntry>,
    pub cursors: HashMap<StreamId, Cursor>,
    pub losses: Vec<Loss>,
    /// When each key was stored, microseconds since the epoch: what the store is asked for.
    pub stored: std::collections::BTreeMap<String, i64>,
    pub questions: u64,
    /// So many questions are not answered.
    pub silent: u32,
    pub forgotten: Vec<StreamId>,
    pub idle: u64,
    /// Keep no lines, only count them.
    pub count_only: bool,
    pub count: u64,
    pub largest_chunk: usize,
    /// When each record came, for latencies.
    pub times: Vec<std::time::Instant>,
}

pub struct Recorder {
    book: Mutex<Book>,
    room: Mutex<Room>,
    /// Told when `room` or `held` change.
    changed: Condvar,
    /// (the next chunk is to be held, one is held)
    held: Mutex<(bool, bool)>,
    /// When the tailer asked for room last: it does in each of its turns.
    asked: Mutex<Instant>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            book: Mutex::default(),
            room: Mutex::new(Room::All),
            changed: Condvar::new(),
            held: Mutex::default(),
            asked: Mutex::new(Instant::now()),
        }
    }
}

impl Recorder {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Makes the tailer wait with its next chunk, or lets it go on.
    pub fn hold(&self, hold: bool) {
        self.held.lock().unwrap().0 = hold;
        self.changed.notify_all();
    }

    pub fn is_held(&self) -> bool {
        self.held.lock().unwrap().1
    }

    fn wait_while_held(&self) {
        let mut held = self.held.lock().unwrap();
        while held.0 {
            held.1 = true;
            held = self.changed.wait(held).unwrap();
        }
    }

    pub fn set_room(&self, room: Room) {
        *self.room.lock().unwrap() = room;
        self.changed.notify_all();
    }
}

impl Intake for Recorder {
    fn wait_room(&self, timeout: Duration) -> Room {
        *self.asked.lock().unwrap() = Instant::now();
        let room = self.room.lock().unwrap();
        let little = |room: &mut Room| matches!(room, Room::None | Room::Fragile);
        let wait = timeout.min(Duration::from_millis(5));
        *self.changed.wait_timeout_while(room, wait, little).unwrap().0
    }

    fn accept(&self, chunk: Chunk<'_>, cursor: &mut Cursor) -> Result<(), Closed> {
        if *self.room.lock().unwrap() == Room::Closed {
            return Err(Closed);
        }
        self.wait_while_held();
        let mut book = self.book();
        book.count += chunk.items.len() as u64;
        book.largest_chunk = book.largest_chunk.max(chunk.data.len());
        let StreamKind::File { path } = &chunk.stream.kind else {
            panic!("a file")
        };
        for item in chunk.items {
            if book.count_only {
                continue;
            }
            let text = |a: u32, b: u32| String::from_utf8_lossy(&chunk.data[a as usize..b as usize]).into_owned();
            let taken = Taken {
                key: Key::new(chunk.stream.head, item.offset, item.chain, item.number),
                line: text(item.start, item.line_end),
                more: text(item.line_end, item.end),
                offset: item.offset,
                whole: item.whole,
                stream: chunk.stream.name.clone(),
                script: chunk.stream.script.clone(),
                path: path.clone(),
                fragile: chunk.fragile,
            };
            if book.keys.insert(taken.key) {
                book.stored.insert(taken.key.as_str().to_owned(), wall());
                book.taken.push(taken);
                book.times.push(std::time::Instant::now());
            } else {
                book.again.push(taken);
            }
        }
        cursor.seq += chunk.items.len() as i64;
        book.cursors.insert(chunk.stream.id, *cursor);
        Ok(())
    }

    fn skip(&self, stream: &Arc<Stream>, cursor: Cursor, loss: Loss) {
        let mut book = self.book();
        book.cursors.insert(stream.id, cursor);
        book.losses.push(loss);
    }

    fn count(&self, loss: Loss) {
        self.book().losses.push(loss);
    }

    fn time_of(&self, line: &[u8]) -> Option<i64> {
        static RULES: std::sync::LazyLock<Rules> = std::sync::LazyLock::new(|| {
            let (settings, _) = Settings::load(&Sources::default()).unwrap();
            Rules::new(&settings).unwrap()
        });
        logagent::record::parse(line, b"", &RULES).time
    }

    fn held(&self, lines: &[Asked], before: i64) -> Option<Vec<Option<u32>>> {
        let mut book = self.book();
        book.questions += 1;
        if book.silent > 0 {
            book.silent -= 1;
            return None;
        }
        let highest = |line: &Asked| {
            let (low, high) = Key::new(line.head, line.offset, line.chain, 0).range();
            let stored = book.stored.range(low..high).filter(|(_, at)| **at < before);
            stored.filter_map(|(key, _)| Key::number(key)).max()
        };
        Some(lines.iter().map(highest).collect())
    }

    fn idle(&self, _since: Instant) {
        self.book().idle += 1;
    }

    fn endangered(&self, _id: StreamId) {}

    fn remember(&self, entry: StreamEntry) {
        self.book().entries.insert(entry.id, entry);
    }

    fn forget(&self, id: StreamId) {
        let mut book = self.book();
        book.entries.remove(&id);
        book.cursors.remove(&id);
        book.forgotten.push(id);
    }
}

/// A directory with a tailer that can be started, stopped, and started again.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub settings: Files,
    pub recorder: Arc<Recorder>,
    pub status: Arc<FilesStatus>,
    pub hints: bool,
    pub memory: Memory,
    running: Option<(Sender<Command>, JoinHandle<()>)>,
}

impl Rig {
    pub fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        let include = ["logs/**/*.jsonl", "logs/**/*.log"];
        let settings = Files {
            include: include
                .iter()
                .map(|p| dir.path().join(p).to_str().unwrap().to_owned())
                .collect(),
            exclude: Vec::new(),
            start_at: StartAt::Beginning,
            compressed: true,
            copies: Copies::Skip,
            follow_links: FollowLinks::Safe,
            hold: Duration::from_secs(120),
            finish_line_after: Duration::from_millis(300),
            poll_interval: Duration::from_millis(100),
            max_line: 1 << 20,
            naive_time: NaiveTime::Utc,
        };
        Rig {
            dir,
            settings,
            recorder: Arc::default(),
            status: Arc::default(),
            hints: true,
            memory: REMEMBERED,
            running: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("logs").join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        append(&self.path(name), text);
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn tailer(&self) -> Tailer {
        let book = self.recorder.book();
        let known: Vec<(StreamEntry, Cursor)> = book
            .entries
            .values()
            .map(|e| (e.clone(), book.cursors.get(&e.id).copied().unwrap_or_default()))
            .collect();
        let next = book.entries.keys().max().map_or(1, |id| id + 1);
        drop(book);
        let data = self.dir.path().join(".logagent");
        let intake = Arc::clone(&self.recorder) as Arc<dyn Intake>;
        let tailer = Tailer::new(&self.settings, &data, known, next, intake, Arc::clone(&self.status)).unwrap();
        let tailer = tailer.remembering(self.memory);
        if self.hints { tailer } else { tailer.without_hints() }
    }

    pub fn start(&mut self) {
        assert!(self.running.is_none());
        let tailer = self.tailer();
        let (tx, rx) = channel();
        self.running = Some((tx, std::thread::spawn(move || tailer.run(&rx))));
    }

    pub fn command(&self, command: Command) {
        self.running.as_ref().unwrap().0.send(command).unwrap();
    }

    pub fn stop(&mut self) {
        let (tx, thread) = self.running.take().unwrap();
        tx.send(Command::Stop).unwrap();
        thread.join().unwrap();
    }

    pub fn once(&self) -> OnceReport {
        let (_tx, rx) = channel();
        self.tailer().run_once(&rx)
    }

    /// As after the state directory was deleted: nothing known, the store's keys still there.
    pub fn lose_state(&self) {
        let mut book = self.recorder.book();
        book.entries.clear();
        book.cursors.clear();
    }

    pub fn lines(&self) -> Vec<String> {
        self.recorder.book().taken.iter().map(|t| t.line.clone()).collect()
    }

    pub fn sorted(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.sort();
        lines
    }

    /// Waits until so many records were handed over.
    pub fn wait(&self, n: usize) {
        eventually(&format!("{n} records"), || {
            let book = self.recorder.book();
            (book.taken.len() >= n || book.count >= n as u64 && book.count_only).then_some(())
        });
    }

    /// Waits until the tailer has had a few polls, so that what should not come would have come.
    pub fn settle(&self) {
        self.watched_for(self.settings.poll_interval * 5);
    }

    /// Waits until the tailer has had its turns for so long.
    pub fn watched_for(&self, time: Duration) {
        let until = Instant::now() + time;
        eventually("the tailer to go on looking", || {
            (*self.recorder.asked.lock().unwrap() >= until).then_some(())
        });
    }

    pub fn assert_nothing_again(&self) {
        let book = self.recorder.book();
        assert!(
            book.again.is_empty(),
            "{} records came again, such as {:?}",
            book.again.len(),
            book.again[0]
        );
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.running.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

pub fn append(path: &Path, text: impl AsRef<[u8]>) {
    opened(path).write_all(text.as_ref()).unwrap();
}

pub fn opened(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// Lines `from..to` with a time in each, so that no two streams begin alike.
pub fn timed(tag: &str, from: usize, to: usize) -> String {
    (from..to).map(|n| timed_line(tag, n) + "\n").collect()
}

pub fn timed_line(tag: &str, n: usize) -> String {
    format!("{{\"time\": \"2026-11-21T02:20:24.{n:06}Z\", \"message\": \"{tag} {n}\"}}")
}

pub fn timed_lines(tag: &str, from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| timed_line(tag, n)).collect()
}

pub fn gz(data: &[u8]) -> Vec<u8> {
    let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    w.write_all(data).unwrap();
    w.finish().unwrap()
}

/// Now, microseconds since the epoch.
fn wall() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    since.as_micros() as i64
}
