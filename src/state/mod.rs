//! The only durable memory of the write side: a database (sled 0.34.7), the spool and the dead letters.
//!
//! # Constraints
//!
//! * A cursor may move only together with whatever makes everything below it settled: one [`Change`] is one atomic step.
//! * What is spooled exists nowhere else. What is in the database can be found out again (files are read again under the
//!   same keys). So the two are kept by different means, see [`spool`].
//! * Kill at any moment, power cut, full disk, damage of any file: the agent starts again or says one clear thing, and what
//!   was damaged is moved aside, not deleted.
//! * The whole agent stays below 24 MiB.
//!
//! # What lies where, in the data directory
//!
//! ```text
//! agent.lock        flock of the running agent, with its pid           [lock]
//! state/            sled: identities, cursors, runs, socket streams, how far the spool is done     [db, codec]
//! spool/            frames of batches                                   [spool]
//! dead-letters/     refused records, one JSON object a line             [dead_letters]
//! damaged-<time>/   whatever was found damaged                          [recovery]
//! ```
//!
//! # A commit
//!
//! 1. Dead letters are written and synced (writing one twice does no harm).
//! 2. Batches are appended to the spool and synced.
//! 3. Everything else goes to sled as one batch, which is atomic over a crash, and is flushed: then a kill does not undo
//!    it. (Why each time: see [`db`].)
//! 4. If durability is asked for, or something was spooled: its file is synced. sled's own `flush` ends in
//!    `sync_file_range`, which writes neither the file's new length nor the disk's cache. With strace: `pwrite64,
//!    sync_file_range` for `flush`, and `fdatasync` is ours.
//!
//! A crash between 2 and 3 leaves batches in the spool whose cursors did not move: they are delivered twice, under the
//! same keys. The reverse cannot happen.
//!
//! A commit without durability may be lost to a power cut: cursors fall back a little, and records are read again. It
//! never comes apart.
//!
//! # When sled fails while it runs
//!
//! After a failed write sled refuses everything. Rows since the last sync are kept in memory (`unsynced`); the next
//! commit opens the database anew and writes them first. So a full disk costs nothing but time: every commit fails with
//! [`StateError::Full`] until there is space, then goes on.
//!
//! # Space
//!
//! sled's file shrinks seldom. When it exceeds 64 MiB and four times what lives in it, it is copied and swapped, at start
//! and during a commit. Positions of named socket streams that were not used for 90 days are dropped at
//! start. The spool gives back space file by file.

#[doc(hidden)]
pub mod codec;
mod compact;
mod db;
pub mod dead_letters;
pub mod entry;
mod files;
pub mod lock;
pub mod modes;
mod open;
mod packed;
mod recovery;
#[doc(hidden)]
pub mod spool;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::source::{Cursor, StreamEntry, StreamId};
use crate::store::{Batch, Rejected};
use db::DbError;
use dead_letters::DeadLetters;
pub use open::{Loaded, OpenError};
pub use packed::KnownStreams;

/// Position of an item in the spool; rises with every push, from 1.
pub type SpoolId = u64;

/// One atomic change of the state: all of it happens, or nothing.
///
/// Lists are applied in order, a later entry for the same thing wins; `forget` comes last.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// New or changed identities of file streams.
    pub remember: Vec<StreamEntry>,
    /// Streams whose identity and cursor are no longer needed.
    pub forget: Vec<StreamId>,
    /// Cursors of file streams, everything below which is settled by this change or before it.
    pub cursors: Vec<(StreamId, Cursor)>,
    /// Durable position of named socket streams (`{"logagent":"ack","stream":…}`): (name, cursor).
    pub socket_streams: Vec<(String, Cursor)>,
    /// Open runs to keep, by execution id; `None` removes. The value is opaque to the state.
    pub runs: Vec<(String, Option<Vec<u8>>)>,
    /// Batches to spool, in order.
    pub spool: Vec<std::sync::Arc<Batch>>,
    /// Everything in the spool up to and including this item is stored.
    pub spool_done: Option<SpoolId>,
    pub dead_letters: Vec<DeadLetter>,
}

/// A record that the store refused for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    #[serde(flatten)]
    pub rejected: Rejected,
    /// When it was refused, 27 characters.
    pub time: String,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Ids of the batches that were appended to the spool, in order; without those that an earlier attempt appended.
    pub spooled: Range<SpoolId>,
    /// Old dead letters that had to make room: they are lost.
    pub letters_lost: u64,
}

/// What was read from the spool.
#[derive(Debug)]
pub struct Spooled {
    /// The last item in `batch`: name it in [`Change::spool_done`] when all of it is stored.
    pub last: SpoolId,
    /// The items, merged in order. Empty where all that remained was damaged.
    pub batch: Batch,
    /// Records that were promised and cannot be read any more. To be counted and said.
    pub lost: Dropped,
}

/// What was given up. It must be counted.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub records: u64,
    pub bytes: u64,
}

/// How full the spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Items that wait. What became known of runs is in some that hold no records.
    pub items: u64,
    pub records: u64,
    /// Bytes on disk (compressed).
    pub bytes: u64,
    pub max_bytes: u64,
}

/// A change was not made. Making it again later is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the disk (or quota) of {0} is full: free some space, nothing is lost meanwhile")]
    Full(PathBuf),
    #[error("cannot write to {path}: {error}")]
    Io { path: PathBuf, error: String },
    /// The database became unreadable while it was open. A restart repairs what can be repaired.
    #[error("the state in {path} is damaged: {error}; restart the agent to have it repaired or moved aside")]
    Damaged { path: PathBuf, error: String },
    /// The thread that owns the state's changes is gone.
    #[error("the thread that writes the state has ended")]
    Ended,
}

/// The open state. All calls block; commits wait for the disk.
pub struct State {
    data_dir: PathBuf,
    inner: Mutex<writer::Inner>,
    items: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    max_bytes: u64,
    _lock: lock::Lock,
}

impl State {
    /// Opens the state in `data_dir`, creating what is missing, repairing or moving aside what is damaged.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says which of the few reasons there are, and what to do.
    pub fn open(data_dir: &Path, spool_max_bytes: u64) -> Result<(State, Loaded), OpenError> {
        open::open(data_dir, spool_max_bytes)
    }

    /// Makes one change, atomically. `durable` waits until it would survive a power cut; a change that spools always
    /// does.
    ///
    /// # Errors
    ///
    /// The change was not made as far as the caller is concerned: repeat it. (What it spooled may then be delivered twice,
    /// which changes nothing.)
    pub fn commit(&self, change: &Change, durable: bool) -> Result<Committed, StateError> {
        let mut inner = self.lock();
        let result = inner.commit(change, durable);
        self.publish(&inner);
        result.map_err(|e| self.explain(e))
    }

    /// The items of the spool after `after` (0: from the front), merged into one batch: at least one, then as many as
    /// fit both bounds. `None` when there is nothing.
    pub fn spool_read(
        &self,
        after: SpoolId,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Option<Spooled>, StateError> {
        let mut inner = self.lock();
        inner
            .spool
            .read(after, max_records, max_bytes)
            .map_err(|e| self.explain(e.into()))
    }

    /// [`State::spool_read`] from the front.
    pub fn spool_front(&self, max_records: usize, max_bytes: usize) -> Result<Option<Spooled>, StateError> {
        self.spool_read(0, max_records, max_bytes)
    }

    /// How full the spool is. Never blocks.
    #[must_use]
    pub fn spool_usage(&self) -> SpoolUsage {
        SpoolUsage {
            items: self.items.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            max_bytes: self.max_bytes,
        }
    }

    /// Whether a batch of about `bytes` still fits. An empty spool takes any: what is larger than the whole of it could
    /// never go in otherwise. Never blocks.
    #[must_use]
    pub fn spool_room(&self, bytes: u64) -> bool {
        let used = self.bytes.load(Ordering::Relaxed);
        used.saturating_add(bytes) <= self.max_bytes || self.items.load(Ordering::Relaxed) == 0
    }

    /// Gives up the oldest items until `bytes` are free, or nothing is left.
    pub fn spool_drop_oldest(&self, bytes: u64) -> Result<Dropped, StateError> {
        let mut inner = self.lock();
        let dropped = inner.drop_oldest(bytes);
        self.publish(&inner);
        dropped.map_err(|e| self.explain(e))
    }

    /// How many lines of this named socket stream are durable.
    pub fn socket_stream(&self, name: &str) -> Result<Option<Cursor>, StateError> {
        let mut inner = self.lock();
        inner.socket_stream(name).map_err(|e| self.explain(e))
    }

    /// Gives back disk space if much of it is unused. Takes a moment (it copies what lives); for idle times.
    pub fn compact(&self) -> Result<bool, StateError> {
        self.lock().compact().map_err(|e| self.explain(e))
    }

    /// The dead letters of this data directory.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::of(&self.data_dir)
    }

    fn lock(&self) -> MutexGuard<'_, writer::Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, inner: &writer::Inner) {
        self.items.store(inner.spool.items(), Ordering::Relaxed);
        self.records.store(inner.spool.records(), Ordering::Relaxed);
        self.bytes.store(inner.spool.bytes(), Ordering::Relaxed);
    }

    fn explain(&self, e: DbError) -> StateError {
        let path = self.data_dir.clone();
        match e {
            DbError::Io(e) if files::is_full(&e) => StateError::Full(path),
            DbError::Damaged(error) => StateError::Damaged { path, error },
            other => StateError::Io {
                path,
                error: other.to_string(),
            },
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(db) = inner.db.take() {
            let _ = db.sync();
            db.close();
        }
    }
}

fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as i64)
}
