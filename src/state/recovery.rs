//! Opening a database that may be damaged.
//!
//! The ladder, from the cheapest step to the last; nothing is ever deleted:
//!
//! 1. Open it and read every row.
//! 2. sled refuses an empty or torn snapshot (`snap.*`) although its log holds everything: move the snapshots aside.
//! 3. `conf` holds only constants, but must be readable: if it is not what this program writes, move it aside too.
//! 4. Move the whole database aside and begin an empty one. Files are read again then, under the same keys, and spooled
//!    records are found without it.
//!
//! A power cut between the two renames of [`super::compact`] is finished first.
//!
//! A full or read-only disk, and a lock, are no damage: they are told to the user and nothing is moved.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::codec::{self, DecodeError};
use super::db::{Db, DbError, SEGMENT};
use super::{compact, files};

/// What was read from a database.
#[derive(Default)]
pub(super) struct Values {
    /// Whole values by key, in order of keys.
    pub whole: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys of values of several rows, with how many.
    pub parts: Vec<(Vec<u8>, u16)>,
    /// Rows that sled gave, but whose checksum fails, or whose other parts are missing.
    pub damaged: Vec<(Vec<u8>, Vec<u8>)>,
    /// A version that is not known.
    pub newer: Option<u8>,
    /// Bytes of all rows.
    pub bytes: u64,
}

/// An open database, and what had to be done for it (one sentence a step).
pub(super) struct Opened {
    pub db: Db,
    pub values: Values,
    pub notes: Vec<String>,
}

/// Opens the database in `dir` by the ladder above. What is damaged goes into the directory `aside`.
pub(super) fn open(dir: &Path, aside: &Path) -> Result<Opened, DbError> {
    compact::finish(dir)?;
    let existed = dir.join("db").exists();
    let mut notes = Vec::new();
    let first = match attempt(dir) {
        Err(DbError::Damaged(why)) => why,
        Ok((db, values)) => {
            // Every database gets this row first of all; without it, it was emptied by something else.
            if existed && !values.whole.iter().any(|(key, _)| key == &[codec::META]) {
                notes.push("it was there but empty; files are read again, what the store knows stays single".into());
            }
            return Ok(Opened { db, values, notes });
        }
        Err(e) => return Err(e),
    };
    for (what, paths) in [
        ("its snapshot", snapshots as fn(&Path) -> Paths),
        ("its snapshot and configuration", unusual_conf),
    ] {
        let paths = paths(dir)?;
        if paths.is_empty() {
            continue;
        }
        for path in &paths {
            files::move_into(path, aside)?;
        }
        match attempt(dir) {
            Ok((db, values)) => {
                notes.push(format!(
                    "{what} was damaged ({first}) and moved to {}; nothing is lost",
                    aside.display()
                ));
                return Ok(Opened { db, values, notes });
            }
            Err(DbError::Damaged(_)) => {}
            Err(e) => return Err(e),
        }
    }
    files::move_into(dir, aside)?;
    notes.push(format!(
        "it was damaged ({first}) and moved to {}; files are read again, what the store knows stays single",
        aside.display()
    ));
    let (db, values) = attempt(dir)?;
    Ok(Opened { db, values, notes })
}

fn attempt(dir: &Path) -> Result<(Db, Values), DbError> {
    let db = Db::open(dir)?;
    match values(&db) {
        Ok(values) => Ok((db, values)),
        Err(e) => {
            db.close();
            Err(e)
        }
    }
}

type Paths = io::Result<Vec<PathBuf>>;

fn snapshots(dir: &Path) -> Paths {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// `conf`, unless it names the values that this program always uses. Never one that is whole but says otherwise.
fn unusual_conf(dir: &Path) -> Paths {
    let path = dir.join("conf");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let expected = format!("segment_size: {SEGMENT}\nuse_compression: false\nversion: 0.34\n");
    let mut whole = expected.clone().into_bytes();
    whole.extend_from_slice(&crc32fast::hash(expected.as_bytes()).to_le_bytes());
    let intact = bytes
        .split_last_chunk::<4>()
        .is_some_and(|(text, crc)| crc32fast::hash(text) == u32::from_le_bytes(*crc));
    let mut paths = snapshots(dir)?;
    if bytes != whole && !intact {
        paths.push(path);
    }
    Ok(paths)
}

/// Reads and checks everything.
pub(super) fn values(db: &Db) -> Result<Values, DbError> {
    let mut out = Values::default();
    let mut current: Option<Assembly> = None;
    db.scan(|key, value| {
        out.bytes += (key.len() + value.len()) as u64;
        let row = match codec::row(key, value) {
            Ok(row) => row,
            Err(DecodeError::Newer(version)) => {
                out.newer = Some(version);
                return;
            }
            Err(DecodeError::Damaged) => {
                out.damaged.push((key.to_vec(), value.to_vec()));
                return;
            }
        };
        let continues = current.as_ref().is_some_and(|a| a.key == row.key && a.next == row.part);
        if !continues {
            if let Some(torn) = current.take() {
                out.damaged.extend(torn.rows);
            }
            if row.part > 0 {
                out.damaged.push((key.to_vec(), value.to_vec()));
                return;
            }
        }
        let assembly = current.get_or_insert_with(|| Assembly::new(row.key));
        assembly.data.extend_from_slice(row.data);
        assembly.next += 1;
        if row.parts > 1 {
            assembly.rows.push((key.to_vec(), value.to_vec()));
        }
        if assembly.next >= row.parts
            && let Some(done) = current.take()
        {
            if row.parts > 1 {
                out.parts.push((done.key.clone(), row.parts));
            }
            out.whole.push((done.key, done.data));
        }
    })?;
    if let Some(torn) = current {
        out.damaged.extend(torn.rows);
    }
    Ok(out)
}

/// A value of several rows on its way together.
struct Assembly {
    key: Vec<u8>,
    next: u16,
    data: Vec<u8>,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Assembly {
    fn new(key: &[u8]) -> Assembly {
        Assembly {
            key: key.to_vec(),
            next: 0,
            data: Vec::new(),
            rows: Vec::new(),
        }
    }
}
