//! The tailer: follows files through everything that happens to them and hands over every line once.
//!
//! # Constraints
//!
//! Files are renamed, copied and truncated, compressed, unlinked, and written by several processes while this happens;
//! the agent is down for some of it. Nothing tells of it reliably: not inotify (limits, network file systems), not
//! inodes (reused), not names. So each look at the file system is compared with what is known, and content decides.
//!
//! # Vocabulary
//!
//! A **file** is what a directory entry leads to, known by device and inode while it is there (`table`). A **stream**
//! is the content (`streams`); a file *holds* at most one. A stream whose file went is *parked*; a file found later with
//! its content takes it up at its cursor. Rotated forms of wanted names (`app.log.1`) are wanted too, since what was
//! rotated while nobody looked is in no other place. A file is **fragile** when it may not be there later: renamed or unlinked.
//!
//! # Operation
//!
//! One thread, four steps in turn: *look* (`look.rs`: hints, directories, the slow sweep), *judge* (`judge.rs`: what is
//! each new file), *unpack* (`unpack.rs`: archives), *take* (`take.rs`: read a block of each file with something to
//! read; within a family of rotated files the oldest first). Idle files cost nothing where the kernel gives hints for
//! their directory, and a `stat` each `poll_interval` where not. A file that grew lately is looked at every [`TICK`]
//! through its open descriptor; hints are then collected, not waited for.
//!
//! # Identity
//!
//! No first line, inode, path, name or time decides alone; all of the content does (`super::chain`, `super::survey`,
//! `super::discovery`). Claims, and why they hold:
//!
//! 1. *Each line of each file is stored once, whatever other files begin with.* A key holds the chain of all content up
//!    to its line, so it can only meet the key of a line with the same content before it; and of streams that share a
//!    line each gives it another number (`survey`), since the one that is numbered later sees the other: its file is
//!    compared byte by byte, its marks tell where the file is gone, and where neither tells the line counts as common.
//! 2. *The set of keys of a set of files does not depend on the order of discovery.* `k` streams that share a line have it
//!    under 0 … `k - 1`, whoever is first. After the loss of the state the files of the first look count from 0: their
//!    lines have the keys they had. What appears later, or is appended, goes on behind the highest number that the store
//!    has since before the file was made.
//! 3. *A copy is one, was made after its original, and is counted.* See `discovery`.
//! 4. *Numbers outlive what they were given for.* They are durable with the stream, no later than the cursor; a stream
//!    that is forgotten makes those with its head ask the store.
//!
//! # Where data can be lost, or doubled
//!
//! 1. A file that was unlinked, or overwritten by a rename, before the agent opened it is gone; if its size had been
//!    seen, the difference is counted as unread. 2. A file rewritten in place loses what was not read of it, unless a
//!    copy appears. 3. A file rewritten with exactly the bytes that were there, and more, looks as if it had grown.
//!    4. A copy that names no time and did not keep its times is a stream of its own. 5. Of beginnings that name no time,
//!    and whose other files are gone, a file that was written while no state was there counts from 0.

mod compare;
mod follow;
mod inside;
mod judge;
mod look;
mod member;
mod once;
mod parked;
mod report;
mod settle;
mod take;
mod unpack;
mod verify;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::hint::{DirId, Hint, Hints};
use super::names::{BadPattern, Patterns};
pub use super::status::FilesStatus;
use super::streams::{Identity, Memory, Parked, Streams};
use super::table::{FileId, Role, Table};
use super::window::Window;
use super::{Closed, Cursor, Intake, StreamEntry, StreamId};
use crate::config;
use compare::Comparisons;
pub use once::OnceReport;

/// How often a file that grew lately is looked at.
pub const TICK: Duration = Duration::from_millis(36);
/// After somebody opened a file it may be truncated at any moment: for this time files are looked at more often, ...
const HURRY: Duration = Duration::from_millis(40);
/// ... namely so often, ...
const HURRIED_TICK: Duration = Duration::from_millis(1);
/// ... but not again before this time is over: some writers open their file for each line.
const CALM: Duration = Duration::from_millis(400);
/// A file that grew within this time is looked at every tick.
const ACTIVE: Duration = Duration::from_secs(2);
/// Complete lines that may belong together wait this long for more: what a program writes a second or two apart, as
/// slow ones do that print a traceback line by line, makes the same records as what it writes at once.
const QUIET: Duration = Duration::from_millis(2500);
/// An idle file's descriptor is closed after this time.
const CLOSE_AFTER: Duration = Duration::from_secs(5);
/// Descriptors kept for files that are not fragile.
const MAX_OPEN: usize = 64;
/// The longest sleep: commands are looked for this often.
const NAP: Duration = Duration::from_millis(250);

/// What the agent tells its tailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Stop,
    /// The patterns changed. Files that are no longer wanted are not followed any further; their cursors are kept.
    Reload {
        include: Vec<String>,
        exclude: Vec<String>,
    },
}

/// What is remembered of an archive that was dealt with in an earlier life.
struct Remembered {
    id: StreamId,
    size: u64,
    mtime: i64,
    /// The patterns by which its members were wanted or not.
    patterns: u64,
    covers: Vec<(StreamId, u64)>,
}

/// Follows files. See the module's essay.
pub struct Tailer {
    settings: config::Files,
    max_line: usize,
    patterns: Patterns,
    cwd: PathBuf,
    /// The agent's own directory, which is never looked into.
    own: PathBuf,
    /// Decompresses what takes much memory.
    unpacker: Option<PathBuf>,
    intake: Arc<dyn Intake>,
    status: Arc<FilesStatus>,
    streams: Streams,
    table: Table,
    hints: Hints,
    heard: Vec<Hint>,
    window: Window,
    /// With something to read.
    ready: Vec<FileId>,
    /// Whose role is to be found out.
    unjudged: VecDeque<FileId>,
    /// So many of these are in the order of their paths.
    sorted: usize,
    /// So many of these were there when the first directory was seen.
    first: Option<usize>,
    /// Which of them take long to compare.
    comparisons: Comparisons,
    /// With bytes that are held back until a time.
    waiting: Vec<FileId>,
    /// With a descriptor.
    open: Vec<FileId>,
    archives: Vec<FileId>,
    /// Whose name went, until it is known where to.
    lost: Vec<FileId>,
    denied: Vec<FileId>,
    /// That wait for an answer of the store, or could not be read: they are tried again at the next poll.
    asking: Vec<FileId>,
    /// Links, whose changes no hint tells.
    linked: Vec<FileId>,
    /// Wanted names that are symbolic links, whether or not they lead anywhere.
    links: std::collections::BTreeSet<(DirId, std::ffi::OsString)>,
    warned_of_depth: bool,
    /// Not all directories that changed were listed.
    listing: bool,
    remembered: HashMap<(u64, u64), Remembered>,
    /// Counts looks; a file noticed in the same look as a stream's birth was there together with it.
    scan: u32,
    /// Nothing was ever seen: `start_at` applies.
    fresh: bool,
    seek_again: bool,
    sweep: u32,
    dir_sweep: u32,
    next_poll: Instant,
    hurry_until: Instant,
    calm_until: Instant,
    next_status: Instant,
    changed: bool,
    unpacking: bool,
    once: bool,
    bytes_read: u64,
    broken: u64,
}

impl Tailer {
    /// A tailer that takes up the `known` streams. `data_dir` is the agent's own directory.
    ///
    /// # Errors
    ///
    /// If a pattern is no glob.
    pub fn new(
        settings: &config::Files,
        data_dir: &Path,
        known: impl IntoIterator<Item = (StreamEntry, Cursor)>,
        next_stream_id: StreamId,
        intake: Arc<dyn Intake>,
        status: Arc<FilesStatus>,
    ) -> Result<Tailer, BadPattern> {
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let own = std::fs::canonicalize(data_dir).unwrap_or_else(|_| cwd.join(data_dir));
        let now = Instant::now();
        let mut tailer = Tailer {
            settings: settings.clone(),
            max_line: settings.max_line.clamp(1, 1 << 30) as usize,
            patterns: Patterns::new(&cwd, &settings.include, &settings.exclude)?,
            cwd,
            own,
            unpacker: None,
            intake,
            status,
            streams: Streams::new(next_stream_id),
            table: Table::default(),
            hints: Hints::new(true),
            heard: Vec::new(),
            window: Window::default(),
            ready: Vec::new(),
            unjudged: VecDeque::new(),
            sorted: 0,
            first: None,
            comparisons: Comparisons::default(),
            waiting: Vec::new(),
            open: Vec::new(),
            archives: Vec::new(),
            lost: Vec::new(),
            denied: Vec::new(),
            asking: Vec::new(),
            linked: Vec::new(),
            links: std::collections::BTreeSet::new(),
            warned_of_depth: false,
            listing: false,
            remembered: HashMap::new(),
            scan: 0,
            fresh: true,
            seek_again: true,
            sweep: 0,
            dir_sweep: 0,
            next_poll: now,
            hurry_until: now,
            calm_until: now,
            next_status: now,
            changed: true,
            unpacking: false,
            once: false,
            bytes_read: 0,
            broken: 0,
        };
        for (entry, cursor) in known {
            tailer.fresh = false;
            tailer.adopt(entry, cursor, now);
        }
        tailer.add_roots();
        Ok(tailer)
    }

    /// Polls only, as where the kernel gives no hints.
    #[must_use]
    pub fn without_hints(mut self) -> Tailer {
        self.hints = Hints::new(false);
        self
    }

    /// Has this program, a `logagent`, decompress what takes much memory.
    #[must_use]
    pub fn unpacking_by(mut self, program: PathBuf) -> Tailer {
        self.unpacker = Some(program);
        self
    }

    /// Remembers more, or less, of streams whose files are gone.
    #[must_use]
    pub fn remembering(mut self, memory: Memory) -> Tailer {
        self.streams.remember(memory);
        self
    }

    fn adopt(&mut self, e: StreamEntry, cursor: Cursor, now: Instant) {
        if e.archive {
            let memory = Remembered {
                id: e.id,
                size: e.size,
                mtime: e.mtime,
                patterns: e.head,
                covers: e.covers,
            };
            self.remembered.insert((e.dev, e.ino), memory);
            return;
        }
        if let Some(dir) = e.path.parent().filter(|d| d.is_dir()) {
            self.table.add_dir(dir);
        }
        // A rotated file keeps its place; one that the patterns have ceased to name is left alone.
        let unwanted = !self.patterns.wants(&e.path)
            && !self.patterns.wants_archive(&e.path)
            && !self.patterns.wants_rotated(&e.path);
        let script = unlike_name(e.script, e.path.file_name().unwrap_or_default());
        let parked = Parked {
            path: e.path,
            size: e.size,
            mtime: e.mtime,
            since: now,
            lost: 0,
            counted: unwanted,
            unwanted,
        };
        let identity = Identity {
            head: e.head,
            head_len: e.head_len,
            steps: e.steps,
            numbered: e.numbered,
            blind: e.blind,
            marks: e.marks,
            born_at: e.born,
            cursor,
            start: e.start,
            dev: e.dev,
            ino: e.ino,
            born: 0,
            finished: e.finished,
            script,
            parked: Some(parked),
        };
        self.streams.add(e.id, identity);
    }

    /// Follows files until it is told to stop, or the intake closes, or `commands` has no sender any more.
    pub fn run(mut self, commands: &Receiver<Command>) {
        while self.obey(commands) {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => self.rest(),
                Err(Closed) => break,
            }
        }
        self.save_sizes();
        self.publish();
    }

    /// Whether to go on.
    fn obey(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            match commands.try_recv() {
                Ok(Command::Reload { include, exclude }) => self.reload(&include, &exclude),
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn reload(&mut self, include: &[String], exclude: &[String]) {
        match Patterns::new(&self.cwd, include, exclude) {
            Ok(patterns) => {
                self.patterns = patterns;
                self.drop_unwanted();
                self.add_roots();
                self.table.dirs.iter_mut().for_each(|d| d.dirty = true);
                tracing::info!(?include, ?exclude, "watching by new patterns");
            }
            Err(e) => tracing::error!("the file patterns stay as they were: {e}"),
        }
    }

    /// One round; whether there may be more to do at once.
    fn turn(&mut self) -> Result<bool, Closed> {
        self.status.turned();
        let now = Instant::now();
        self.look(now);
        self.judge_all();
        let comparing = self.compare_on();
        if !self.unpacking {
            self.unpack_all(now)?;
        }
        let progress = self.take_all(now)?;
        if now >= self.next_status && self.changed {
            self.publish();
            self.next_status = now + Duration::from_secs(1);
        }
        // Where all was read to its end the next look is a tick away: at once it would find a line or two more, send them
        // by themselves, and so on without a rest. Of very many new files only some were judged.
        let more = self.once || !self.ready.is_empty() || !self.unjudged.is_empty();
        if progress && more || comparing || self.listing || self.sorted > 0 {
            return Ok(true);
        }
        if self.ready.is_empty() && self.unjudged.is_empty() && self.archives.is_empty() && self.comparisons.is_empty()
        {
            // Without hints a file was looked at when all were looked at last.
            let polled = self.next_poll.checked_sub(self.settings.poll_interval).unwrap_or(now);
            let hinted = self.linked.is_empty() && self.table.dirs.iter().all(|d| d.watch.is_some() || !d.exists);
            self.intake.idle(if hinted { now } else { polled.min(now) });
        }
        Ok(false)
    }

    /// Sleeps until something is due.
    fn rest(&mut self) {
        let now = Instant::now();
        let lively = |id: &FileId| self.table.get(*id).is_some_and(|f| f.quiet(now) < ACTIVE);
        let active = self.open.iter().any(lively) || !self.ready.is_empty();
        let due = self
            .waiting
            .iter()
            .filter_map(|id| self.due(*id))
            .chain([self.next_poll])
            .min();
        let until = due.map_or(NAP, |d| d.saturating_duration_since(now));
        let until = if active || !self.archives.is_empty() {
            until.min(TICK)
        } else {
            until.min(NAP)
        };
        // Never spin: what is due and cannot be done now is tried at the pace of ticks.
        let until = until.max(HURRIED_TICK);
        if !active {
            self.hints.sleep(until, true);
        } else if now < self.hurry_until {
            self.hints.sleep(HURRIED_TICK, false);
        } else if now < self.calm_until {
            self.hints.sleep(until, false);
        } else if self.hints.sleep_until_opened(until) {
            let now = Instant::now();
            (self.hurry_until, self.calm_until) = (now + HURRY, now + CALM);
        }
    }

    /// Marks a file as having something to read.
    fn make_ready(&mut self, id: FileId) {
        if let Some(f) = self.table.get_mut(id)
            && !std::mem::replace(&mut f.ready, true)
        {
            self.ready.push(id);
        }
    }

    fn unjudge(&mut self, id: FileId) {
        if !self.unjudged.contains(&id) {
            self.unjudged.push_back(id);
        }
    }

    /// Gives a file its role, and keeps count of who refers to which stream.
    fn set_role(&mut self, id: FileId, role: Role) {
        let Some(file) = self.table.get_mut(id) else { return };
        let old = std::mem::replace(&mut file.role, role.clone());
        if role != Role::Unknown {
            self.comparisons.forget(id);
        }
        for (role, up) in [(role, true), (old, false)] {
            let ids = match role {
                Role::CopyOf(id) => vec![id],
                Role::Unpacked(inside) => inside.covers.into_iter().map(|c| c.0).collect(),
                _ => continue,
            };
            for known in ids {
                if let Some(k) = self.streams.get_mut(known) {
                    k.count_copy(up);
                }
            }
        }
        self.changed = true;
    }

    /// Makes the sizes seen last durable, so that the next start can tell what changed meanwhile without a look inside.
    fn save_sizes(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.close(id);
        }
    }
}

/// The script, unless it is what a file of this name says anyway.
fn unlike_name(script: String, name: &std::ffi::OsStr) -> Option<Box<str>> {
    (super::names::script(name) != script).then(|| script.into())
}
