//! Opening the state: the lock, the directories, the database, the spool, and what is told to those who start.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::codec::{self, Census, DecodeError};
use super::db::{Db, DbError, Rows};
use super::dead_letters::DeadLetters;
use super::lock::{self, LockError};
use super::packed::{KnownStreams, Packed};
use super::recovery::{self, Opened, Values};
use super::spool::Spool;
use super::writer::Inner;
use super::{State, compact, files, now_micros};
use crate::record::format_time;
use crate::source::{Cursor, StreamId};

/// Positions of named socket streams are forgotten after this time without use.
const SOCKET_STREAM_SECONDS: u64 = 90 * 24 * 3600;

/// A database of more values is opened a second time after it was read, with an empty cache.
const MANY_VALUES: usize = 1000;

/// What the state knew when it was opened.
#[derive(Debug, Default)]
pub struct Loaded {
    pub streams: KnownStreams,
    /// Free for the next stream; every later number is free too.
    pub next_stream_id: StreamId,
    /// Open runs: (execution id, value).
    pub runs: Vec<(String, Vec<u8>)>,
    /// What was damaged, what became of it and where it lies now. To be said loudly, once.
    pub recovered: Option<String>,
}

/// Why the state could not be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{} is in use by another logagent{}: stop that one, or give this one a data_dir of its own",
        dir.display(),
        pid.map(|p| format!(" (pid {p})")).unwrap_or_default()
    )]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error("cannot write to {}: {error}; make it writable for this user, or set data_dir to a directory that is", path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    #[error("the disk (or quota) of {} is full: free some space, or set data_dir to another disk", path.display())]
    Full { path: PathBuf },
    #[error("the state in {} was written by a newer logagent (format {version}): run that version, or move the directory away to start anew", path.display())]
    Newer { path: PathBuf, version: u8 },
    #[error("the state in {} is damaged and could not be set aside: {error}; move the directory away to start anew (files are read again, nothing is stored twice)", path.display())]
    Damaged { path: PathBuf, error: String },
}

pub(super) fn open(data_dir: &Path, max_bytes: u64) -> Result<(State, Loaded), OpenError> {
    let failed = |e: io::Error| io_error(data_dir, e);
    create_data_dir(data_dir).map_err(failed)?;
    let held = lock::acquire_patiently(data_dir).map_err(|e| match e {
        LockError::Held(pid) => OpenError::InUse {
            dir: data_dir.to_owned(),
            pid,
        },
        LockError::Io(e) => io_error(data_dir, e),
    })?;
    let dir = data_dir.join("state");
    let stamp = format_time(now_micros()).replace([':', '.'], "");
    let aside = data_dir.join(format!("damaged-{stamp}"));
    let Opened {
        mut db,
        mut values,
        mut notes,
    } = recovery::open(&dir, &aside).map_err(|e| db_error(data_dir, e))?;
    if let Some(version) = values.newer {
        return Err(OpenError::Newer { path: dir, version });
    }
    if let Some(version) = values.older {
        db.close();
        (db, values) = begin_anew(&dir, version, &stamp, &aside, &mut notes).map_err(|e| match e {
            Anew::Io(e) => io_error(data_dir, e),
            Anew::Db(e) => db_error(data_dir, e),
        })?;
    }
    files::sync_dir(&dir)
        .and_then(|()| files::sync_dir(data_dir))
        .map_err(failed)?;
    keep_damaged_rows(&values, &aside, &mut notes).map_err(failed)?;
    let many = values.whole.len() > MANY_VALUES;
    let mut known = Known::of(std::mem::take(&mut values.whole), &mut notes);
    tidy(&db, &values, &mut known).map_err(|e| db_error(data_dir, e))?;
    if compact::worthwhile(db.disk_bytes(), values.bytes) {
        db = compact::run(db, &dir).map_err(|(_, e)| db_error(data_dir, e))?;
    }
    if many {
        db = db.refreshed().map_err(|e| db_error(data_dir, e))?;
    }
    let mut spool = Spool::open(&data_dir.join("spool"), known.mark).map_err(failed)?;
    spool.unlink_finished(&aside).map_err(failed)?;
    let census = known.census.unwrap_or_default();
    let parts = values.parts.iter().cloned().collect();
    drop(values);
    let loaded = known.loaded(&notes, &dir);
    let state = State {
        data_dir: data_dir.to_owned(),
        items: AtomicU64::new(spool.items()),
        records: AtomicU64::new(spool.records()),
        bytes: AtomicU64::new(spool.bytes()),
        max_bytes,
        inner: Mutex::new(Inner {
            db: Some(db),
            spool,
            letters: DeadLetters::of(data_dir),
            unsynced: Rows::new(),
            unsynced_bytes: 0,
            parts,
            census,
            grown_at: 0,
            dir,
            aside,
        }),
        _lock: held,
    };
    give_back_memory();
    Ok((state, loaded))
}

/// Why a state could not be begun anew.
enum Anew {
    Io(io::Error),
    Db(DbError),
}

/// Moves a state of an old form aside and begins an empty one.
fn begin_anew(
    dir: &Path,
    version: u8,
    stamp: &str,
    aside: &Path,
    notes: &mut Vec<String>,
) -> Result<(Db, Values), Anew> {
    let old = dir.with_file_name(format!("old-state-{stamp}"));
    files::move_into(dir, &old).map_err(Anew::Io)?;
    notes.push(format!(
        "it was of an old form ({version}) and lies in {} now; files are read again",
        old.display()
    ));
    let opened = recovery::open(dir, aside).map_err(Anew::Db)?;
    notes.extend(opened.notes);
    Ok((opened.db, opened.values))
}

/// Returns what reading everything took to the system. The allocator would keep it.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only walks the allocator's own free lists, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn create_data_dir(dir: &Path) -> io::Result<()> {
    files::create_private_dir(dir)
}

fn io_error(path: &Path, error: io::Error) -> OpenError {
    let path = path.to_owned();
    if files::is_full(&error) {
        return OpenError::Full { path };
    }
    OpenError::Unwritable { path, error }
}

fn db_error(data_dir: &Path, e: DbError) -> OpenError {
    match e {
        DbError::Io(e) => io_error(data_dir, e),
        DbError::Locked => OpenError::InUse {
            dir: data_dir.to_owned(),
            pid: None,
        },
        DbError::Damaged(error) => OpenError::Damaged {
            path: data_dir.join("state"),
            error,
        },
    }
}

/// Rows that fail their checksum are written down before they are removed.
fn keep_damaged_rows(values: &Values, aside: &Path, notes: &mut Vec<String>) -> io::Result<()> {
    if values.damaged.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (key, value) in &values.damaged {
        text.push_str(&format!("{} {}\n", hex(key), hex(value)));
    }
    files::create_private_dir(aside)?;
    files::write_whole(&aside.join("rows.hex"), text.as_bytes())?;
    notes.push(format!(
        "{} values in it failed their checksum and were moved to {}",
        values.damaged.len(),
        aside.display()
    ));
    Ok(())
}

/// Removes what is of no use: damaged rows, cursors without a stream, positions nobody uses. Writes the census if it is
/// new or changes.
fn tidy(db: &Db, values: &Values, known: &mut Known) -> Result<(), DbError> {
    let mut rows = Rows::new();
    for (key, _) in &values.damaged {
        rows.insert(key.clone(), None);
    }
    for key in &known.useless {
        let parts = values.parts.iter().find(|(k, _)| k == key).map_or(1, |(_, n)| *n);
        rows.extend((0..parts).map(|part| (codec::part_key(key, part), None)));
    }
    let mut census = known.counted;
    known.useless.iter().for_each(|key| census.remove(key));
    census.created = known.census.map_or_else(now_micros, |c| c.created);
    if known.census.replace(census) != Some(census) {
        let new = codec::rows(&[codec::META], &codec::encode_census(&census));
        rows.extend(new.into_iter().map(|(k, v)| (k, Some(v))));
    }
    if rows.is_empty() {
        Ok(())
    } else {
        db.apply(&rows).and_then(|()| db.sync())
    }
}

/// The decoded values.
#[derive(Default)]
struct Known {
    streams: KnownStreams,
    next_stream_id: StreamId,
    runs: Vec<(String, Vec<u8>)>,
    mark: Option<codec::SpoolMark>,
    useless: Vec<Vec<u8>>,
    /// What was found.
    counted: Census,
    census: Option<Census>,
}

impl Known {
    /// Keys sort cursors before entries, and both by number.
    fn of(mut values: Packed, notes: &mut Vec<String>) -> Known {
        let mut known = Known::default();
        let mut cursors = VecDeque::new();
        let oldest = (now_micros() / 1_000_000).max(0) as u64;
        let oldest = oldest.saturating_sub(SOCKET_STREAM_SECONDS);
        let mut unknown = 0;
        let single = |key: &[u8]| matches!(key.first(), Some(&codec::META | &codec::SPOOL));
        while let Some((key, data)) = values.pop() {
            if !single(&key) {
                known.counted.add(&key);
            }
            let useful = match key.first() {
                Some(&codec::CURSOR) => codec::decode_cursor(&data).map(|c| {
                    let id = codec::id_of(&key).unwrap_or_default();
                    cursors.push_back((id, c));
                    known.next_stream_id = known.next_stream_id.max(id.saturating_add(1));
                    true
                }),
                Some(&codec::ENTRY) => codec::decode_entry(&data).map(|entry| {
                    known.next_stream_id = known.next_stream_id.max(entry.id.saturating_add(1));
                    known.drop_cursors(&mut cursors, entry.id);
                    let own = cursors.front().filter(|(id, _)| *id == entry.id).map(|(_, c)| *c);
                    if own.is_some() {
                        cursors.pop_front();
                    }
                    known.streams.push(&data, &own.unwrap_or_default());
                    true
                }),
                Some(&codec::RUN) => codec::decode_named(&data).map(|run| {
                    known.runs.push(run);
                    true
                }),
                Some(&codec::SOCKET) => codec::decode_socket(&data).map(|s| s.used >= oldest),
                Some(&codec::SPOOL) => codec::decode_mark(&data).map(|mark| {
                    known.mark = Some(mark);
                    true
                }),
                Some(&codec::META) => codec::decode_census(&data).map(|census| {
                    known.census = Some(census);
                    true
                }),
                _ => Err(DecodeError::Damaged),
            };
            if !useful.unwrap_or_else(|_| {
                unknown += 1;
                false
            }) {
                known.useless.push(key);
            }
        }
        known.drop_cursors(&mut cursors, StreamId::MAX);
        let counted = (known.counted.values, known.counted.sum);
        if let Some(census) = known.census.filter(|c| (c.values, c.sum) != counted) {
            notes.push(format!(
                "part of it was damaged and passed over ({} values are left of about {}); what is missing is read again, \
                 and what the store knows stays single",
                counted.0, census.values
            ));
        }
        if unknown > 0 {
            notes.push(format!(
                "{unknown} values in it could not be understood and were removed"
            ));
        }
        known
    }

    /// Cursors of streams below `id` have no entry: entries come in the order of ids as well.
    fn drop_cursors(&mut self, cursors: &mut VecDeque<(StreamId, Cursor)>, id: StreamId) {
        while let Some((alone, _)) = cursors.front().filter(|(at, _)| *at < id) {
            self.useless.push(codec::id_key(codec::CURSOR, *alone));
            cursors.pop_front();
        }
    }

    fn loaded(self, notes: &[String], dir: &Path) -> Loaded {
        Loaded {
            streams: self.streams,
            next_stream_id: self.next_stream_id.max(1),
            runs: self.runs,
            recovered: (!notes.is_empty()).then(|| format!("{}: {}", dir.display(), notes.join("; "))),
        }
    }
}
