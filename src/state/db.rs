//! The one place that speaks to sled 0.34.7.
//!
//! What had to be found out, and how it is met here:
//!
//! * `open` and reads may panic on damage: every call goes through [`guarded`], which turns a panic into an error.
//! * After one failed write (a full disk) a `Db` answers every call with that error for ever: the caller drops it and
//!   opens anew.
//! * `flush` ends in `sync_file_range`, which neither writes the file's size nor empties the disk's cache. So
//!   [`Db::sync`] calls `fdatasync` on the file afterwards; strace shows it as the only sync of a commit.
//! * It can lock up for ever. A writer that extends the file holds the lock of the segment table while it waits for a
//!   truncation, which is a task for one of seven I/O threads; these may all be waiting for that lock to finish writes
//!   (seen with gdb after some 20,000 batches in a row). So never are many writes under way: [`Db::apply`] waits for
//!   them each time, and the background thread, whose garbage collection writes without waiting, is not started.
//! * Without garbage collection one cold page holds a segment of the file: see [`super::compact`].
//! * A page larger than a quarter of the segment becomes a file in `blobs/` that is not deleted when its page is; rows
//!   are so small ([`super::codec::PART`]) that 17 of them stay below.
//! * The lock of a dropped `Db` is released by threads that end a little later.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use super::{codec, files};

/// Bytes that sled may cache; it takes more (some pages in each of 256 shards, whatever the limit).
const CACHE: u64 = 1 << 20;
/// Bytes of a segment: the unit of allocation and of reuse. It can never be changed for a database that exists.
const SEGMENT: usize = 512 << 10;

/// Rows of one batch, where more would take much memory.
pub(super) const AT_ONCE: usize = 64;

/// Why sled did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum DbError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Damage: what sled calls corruption, and every panic.
    #[error("{0}")]
    Damaged(String),
    #[error("its lock is held")]
    Locked,
}

impl From<sled::Error> for DbError {
    fn from(e: sled::Error) -> DbError {
        match e {
            sled::Error::Io(e) if e.to_string().contains("could not acquire lock") => DbError::Locked,
            sled::Error::Io(e) => DbError::Io(e),
            sled::Error::Corruption { .. } => DbError::Damaged("its checksums fail".to_owned()),
            other => DbError::Damaged(other.to_string()),
        }
    }
}

pub(super) struct Db {
    sled: sled::Db,
    /// A descriptor of our own on sled's file, to sync it.
    file: File,
    dir: PathBuf,
}

/// Rows to write; `None` removes.
pub(super) type Rows = std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Db {
    /// Opens the database in `dir`, creating an empty one.
    pub fn open(dir: &Path) -> Result<Db, DbError> {
        files::create_private_dir(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE)
            .segment_size(SEGMENT)
            .flush_every_ms(None);
        let mut tries = 0;
        let sled = loop {
            match guarded(|| Ok(config.open()?)) {
                Err(DbError::Locked) if tries < 200 => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => break other?,
            }
        };
        let file = File::open(dir.join("db"))?;
        Ok(Db {
            sled,
            file,
            dir: dir.to_owned(),
        })
    }

    /// Applies all rows and hands them to the kernel: a kill does not undo them. They are durable after [`Db::sync`].
    ///
    /// All or none; but where there are very many, identities and cursors are applied some at a time, the
    /// cursors last. For sled frees nothing of what a batch replaces before its end: 20,000 files found at once took
    /// 190 MiB. A kill in between leaves cursors behind what they might be, and their records are read again.
    pub fn apply(&self, rows: &Rows) -> Result<(), DbError> {
        if rows.len() <= AT_ONCE {
            return self.apply_batch(&mut rows.iter());
        }
        let is = |kind: u8| move |(key, _): &(&Vec<u8>, &Option<Vec<u8>>)| key.first() == Some(&kind);
        let some = |kind: u8| {
            let mut left = rows.iter().filter(is(kind)).peekable();
            while left.peek().is_some() {
                self.apply_batch(&mut left.by_ref().take(AT_ONCE))?;
            }
            Ok::<(), DbError>(())
        };
        some(codec::ENTRY)?;
        let others = |row: &(&Vec<u8>, &Option<Vec<u8>>)| !is(codec::ENTRY)(row) && !is(codec::CURSOR)(row);
        self.apply_batch(&mut rows.iter().filter(others))?;
        some(codec::CURSOR)
    }

    fn apply_batch<'a>(
        &self,
        rows: &mut dyn Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    ) -> Result<(), DbError> {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        guarded(|| {
            self.sled.apply_batch(batch)?;
            self.sled.flush()?;
            Ok(())
        })
    }

    /// Makes everything applied durable.
    pub fn sync(&self) -> Result<(), DbError> {
        Ok(self.file.sync_data()?)
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        guarded(|| Ok(self.sled.get(key)?.map(|v| v.to_vec())))
    }

    pub fn contains(&self, key: &[u8]) -> Result<bool, DbError> {
        guarded(|| Ok(self.sled.contains_key(key)?))
    }

    /// Shows every row, in order of keys.
    pub fn scan(&self, mut show: impl FnMut(&[u8], &[u8])) -> Result<(), DbError> {
        guarded(|| {
            for row in self.sled.iter() {
                let (key, value) = row?;
                show(&key, &value);
            }
            Ok(())
        })
    }

    /// Closes it and opens it anew, which empties sled's cache: reading everything once has filled it beyond its limit.
    pub fn refreshed(self) -> Result<Db, DbError> {
        let dir = self.dir.clone();
        self.close();
        Db::open(&dir)
    }

    /// Bytes of the database's main file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }

    /// Bytes of the database's files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        files::bytes_in(&self.dir)
    }

    /// Closes it; what was applied is written, and a panic on the way is nobody's concern any more.
    pub fn close(self) {
        let Db { sled, .. } = self;
        let _ = guarded(move || {
            drop(sled);
            Ok(())
        });
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Calls into sled; a panic there becomes [`DbError::Damaged`], and is not printed by the panic hook: what it means is
/// said once, by us.
fn guarded<T>(call: impl FnOnce() -> Result<T, DbError>) -> Result<T, DbError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let text = text.unwrap_or_else(|| "no message".to_owned());
        let first = text.lines().next().unwrap_or_default();
        Err(DbError::Damaged(format!("sled panicked: {first}")))
    })
}
