//! What the tailer is doing, for `logagent status` and the progress bar of `run --once`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// At most so many files are listed one by one, those that are behind first.
pub const LISTED: usize = 1000;

/// Shared with the tailer, which refreshes it about once a second while something happens.
#[derive(Debug, Default)]
pub struct FilesStatus {
    snapshot: Mutex<Arc<Snapshot>>,
    turns: AtomicU64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub files: Vec<FileStatus>,
    /// Files that are followed, listed or not.
    pub watched: u64,
    /// Plain bytes found in files that are shipped; archives count with their compressed size.
    pub bytes_found: u64,
    /// Of these, read.
    pub bytes_read: u64,
    pub lag_bytes: u64,
    /// Archives that cannot be read.
    pub broken_archives: u64,
    /// Archives still to be looked into.
    pub pending_archives: u64,
    pub open_descriptors: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    pub path: PathBuf,
    /// Bytes.
    pub position: u64,
    pub size: u64,
    pub lag_bytes: u64,
    pub state: FileState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Read to its end.
    Current,
    /// There is more to read.
    Behind,
    /// Renamed, read on as long as it may grow.
    Rotated,
    /// Unlinked, read through the descriptor.
    Unlinked,
    /// Its content is shipped under another name.
    Copy,
    /// No complete line yet.
    Empty,
    /// An archive that is dealt with.
    Archive,
    /// An archive that waits.
    ArchivePending,
    /// Not readable: permission, or a damaged archive.
    Unreadable,
}

impl FileState {
    /// One word, as shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FileState::Current => "current",
            FileState::Behind => "behind",
            FileState::Rotated => "rotated",
            FileState::Unlinked => "unlinked",
            FileState::Copy => "copy",
            FileState::Empty => "empty",
            FileState::Archive => "archive",
            FileState::ArchivePending => "archive_pending",
            FileState::Unreadable => "unreadable",
        }
    }
}

impl FilesStatus {
    fn lock(&self) -> MutexGuard<'_, Arc<Snapshot>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same one as long as nothing changes.
    #[must_use]
    pub fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock())
    }

    /// Counts the turns of the tailer: they go on as long as it does.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set(&self, snapshot: Snapshot) {
        *self.lock() = Arc::new(snapshot);
    }

    /// Totals only: (bytes found, bytes read).
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let s = self.lock();
        (s.bytes_found, s.bytes_read)
    }
}
