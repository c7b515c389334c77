//! Small steps on directories that must survive a power cut, and stay private: logs hold what nobody should read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static MODE: AtomicU32 = AtomicU32::new(0o700);

/// From now on directories are made with this mode, and files with it less the right to execute.
pub fn make_as(mode: u32) {
    MODE.store(mode, Ordering::Relaxed);
}

/// The mode of new files.
pub fn file_mode() -> u32 {
    MODE.load(Ordering::Relaxed) & 0o666
}

/// Creates a directory (and those above it) as `data_mode` says: for the owner alone, unless it says otherwise. One that exists stays as it is.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(MODE.load(Ordering::Relaxed))
        .create(dir)
}

/// Creates a file as `data_mode` says; it must not exist.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file_mode())
        .open(path)
}

/// Creates a file for the owner alone, or empties the one that a failed attempt left under this name.
pub fn create_or_empty(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Writes all of `bytes` at `offset`, over whatever an attempt that failed has left there.
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(test)]
    let bytes = match faults::writable(bytes.len()) {
        Ok(()) => bytes,
        Err((some, e)) => return file.write_all_at(&bytes[..some], offset).and(Err(e)),
    };
    file.write_all_at(bytes, offset)
}

/// Hands what was written to the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::syncable()?;
    file.sync_data()
}

/// Makes names in `dir` durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a whole file durably: it exists with all its bytes, or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let _ = fs::remove_file(&temporary);
    let mut file = create_private(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(e) = written.and_then(|()| fs::rename(&temporary, path)) {
        let _ = fs::remove_file(&temporary);
        return Err(e);
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// `path` with something behind its name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Moves a file or directory into a directory of the same file system, under a name that is free there.
pub fn move_into(path: &Path, dir: &Path) -> io::Result<()> {
    create_private_dir(dir)?;
    let name = path.file_name().unwrap_or_default();
    let mut target = dir.join(name);
    let mut n = 1;
    while target.symlink_metadata().is_ok() {
        target = with_suffix(&dir.join(name), &format!(".{n}"));
        n += 1;
    }
    fs::rename(path, &target)?;
    sync_dir(dir)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Copies a directory with all that is in it.
pub fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    create_private_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync_dir(to)
}

/// Bytes of all files directly in `dir`, and one level below.
#[must_use]
pub fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => fs::read_dir(e.path())
                .map(|d| d.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum())
                .unwrap_or(0),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Whether this failure is a full disk, a used-up quota or a size limit.
#[must_use]
pub fn is_full(e: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Faults of a disk, for the tests of this thread.
#[cfg(test)]
pub mod faults {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static ROOM: Cell<Option<usize>> = const { Cell::new(None) };
        static SYNCS_FAIL: Cell<u32> = const { Cell::new(0) };
    }

    /// From now on the disk takes so many bytes; `None`: any number.
    pub fn leave_room(bytes: Option<usize>) {
        ROOM.set(bytes);
    }

    /// The next so many syncs fail.
    pub fn fail_syncs(times: u32) {
        SYNCS_FAIL.set(times);
    }

    /// Whether `len` bytes can be written; else how many of them, and the error.
    pub(super) fn writable(len: usize) -> Result<(), (usize, io::Error)> {
        match ROOM.get() {
            None => Ok(()),
            Some(room) if len <= room => {
                ROOM.set(Some(room - len));
                Ok(())
            }
            Some(room) => Err((room, io::Error::from(io::ErrorKind::StorageFull))),
        }
    }

    pub(super) fn syncable() -> io::Result<()> {
        match SYNCS_FAIL.get() {
            0 => Ok(()),
            n => {
                SYNCS_FAIL.set(n - 1);
                Err(io::Error::other("an injected fault"))
            }
        }
    }
}
