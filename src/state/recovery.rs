//! Opening a database that may be damaged.
//!
//! The ladder, from the cheapest step to the last:
//!
//! 1. `conf` holds only constants. If it cannot be read it is moved aside, and sled writes it anew.
//! 2. Open the database and read every row.
//! 3. If that fails, everything is copied aside first, since sled overwrites what it takes for torn. Then the snapshots
//!    (`snap.*`) are removed: sled refuses an empty or torn one although its log holds everything.
//! 4. The whole database is moved aside and an empty one begun. Files are read again then, under the same keys, and
//!    spooled records are found without it.
//!
//! sled passes over damaged pages of its log without a word (a flipped byte cost 6 to 25 of 120 streams in a test): the
//! census that [`super::codec`] keeps shows it, and it is said. A log that lost its end is the state of an earlier moment,
//! as after a power cut, and cannot be told from it: cursors fall back, and records are read again.
//!
//! A power cut between the two renames of [`super::compact`] is repaired first. A full or read-only disk, and a lock, are no
//! damage: they are told to the user and nothing is moved.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::codec::{self, DecodeError};
use super::db::{Db, DbError};
use super::packed::Packed;
use super::{compact, files};

/// What was read from a database.
#[derive(Default)]
pub(super) struct Values {
    /// Keys and whole values, in order of keys.
    pub whole: Packed,
    /// The row is there that every database begins with.
    pub has_census: bool,
    /// Keys of values of several rows, with how many.
    pub parts: Vec<(Vec<u8>, u16)>,
    /// Rows that sled gave, but whose checksum fails, or whose other parts are missing.
    pub damaged: Vec<(Vec<u8>, Vec<u8>)>,
    /// A version that is not known.
    pub newer: Option<u8>,
    /// The version of a row of an old form.
    pub older: Option<u8>,
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
    if !conf_is_readable(dir)? {
        files::move_into(&dir.join("conf"), aside)?;
        notes.push(format!(
            "its configuration was damaged, was moved to {} and written anew; nothing is lost",
            aside.display()
        ));
    }
    let why = match attempt(dir) {
        Err(DbError::Damaged(why)) => why,
        Ok((db, values)) => {
            if existed && !values.has_census {
                notes.push(format!("it was there but empty; {AGAIN}"));
            }
            return Ok(Opened { db, values, notes });
        }
        Err(e) => return Err(e),
    };
    notes.push(format!("it was damaged ({why}) and put aside into {}", aside.display()));
    if let Some((db, values)) = without_snapshots(dir, aside)? {
        notes.push(if values.has_census {
            "it could be repaired".to_owned()
        } else {
            format!("nothing in it could be read; {AGAIN}")
        });
        return Ok(Opened { db, values, notes });
    }
    if dir.exists() {
        files::move_into(dir, aside)?;
    }
    notes.push(format!("it could not be repaired, a new one was begun; {AGAIN}"));
    let (db, values) = attempt(dir)?;
    Ok(Opened { db, values, notes })
}

/// What an empty state means.
const AGAIN: &str = "files are read again, and what the store knows stays single";

/// Tries without the snapshots, if there are any, after everything was copied.
fn without_snapshots(dir: &Path, aside: &Path) -> Result<Option<(Db, Values)>, DbError> {
    let snapshots = snapshots(dir)?;
    if snapshots.is_empty() {
        return Ok(None);
    }
    files::create_private_dir(aside)?;
    if files::copy_dir(dir, &aside.join("state")).is_err() {
        // No space for a copy: then the original is what is kept, and nothing is tried on it.
        let _ = fs::remove_dir_all(aside.join("state"));
        return Ok(None);
    }
    for path in &snapshots {
        fs::remove_file(path)?;
    }
    match attempt(dir) {
        Ok(opened) => Ok(Some(opened)),
        Err(DbError::Damaged(_)) => {
            // The copy shows it as it was before this attempt.
            fs::remove_dir_all(dir)?;
            Ok(None)
        }
        Err(e) => Err(e),
    }
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

fn snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether sled can make sense of `conf`: its text and the checksum behind it belong together. A missing one sled
/// writes anew, and one that names other values is not ours to judge.
fn conf_is_readable(dir: &Path) -> io::Result<bool> {
    match fs::read(dir.join("conf")) {
        Ok(bytes) => Ok(bytes
            .split_last_chunk::<4>()
            .is_some_and(|(text, crc)| crc32fast::hash(text) == u32::from_le_bytes(*crc))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
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
            Err(DecodeError::Older(version)) => {
                out.older = Some(version);
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
            out.has_census |= done.key == [codec::META];
            out.whole.push(&done.key, &done.data);
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
