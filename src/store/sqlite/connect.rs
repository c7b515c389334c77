//! Opening the database file for writing, with everything a connection needs to be told.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{fault, schema};
use crate::store::WriteError;

/// How long a statement waits for a lock of another process before the batch counts as not written.
pub const BUSY: Duration = Duration::from_secs(5);

/// Page cache of the writing connection, KiB. Dirty pages of a larger transaction spill into the log.
const CACHE_KIB: u32 = 4096;

/// The same where [`use_less_memory`] was asked for: a fifth slower, since pages are read again.
const LESS_KIB: u32 = 2048;

static LESS: AtomicBool = AtomicBool::new(false);

/// Has the writers of this process make do with less memory, or not any more, from their next batch on.
pub fn use_less_memory(less: bool) {
    LESS.store(less, Ordering::Relaxed);
}

/// Gives the connection the cache it may have; `had` is what it has.
pub(super) fn fit_cache(db: &Connection, had: &mut u32) -> rusqlite::Result<()> {
    let kib = if LESS.load(Ordering::Relaxed) {
        LESS_KIB
    } else {
        CACHE_KIB
    };
    if std::mem::replace(had, kib) != kib {
        db.pragma_update(None, "cache_size", -i64::from(kib))?;
    }
    Ok(())
}

/// Bytes that the write-ahead log may keep on disk after it was checkpointed whole.
const LOG_KEPT: u32 = 32 << 20;

/// Opens `path` for writing, creating the file and its directory where they are missing, and checks that it is ours.
/// The schema is left as it is.
pub fn open(path: &Path) -> Result<Connection, WriteError> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| WriteError::Refused(format!("cannot create the directory {}: {e}", directory.display())))?;
    }
    create_private(path).map_err(|e| WriteError::Refused(format!("cannot create {}: {e}", path.display())))?;
    mend_modes(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(|e| fault::explain(&e, path))?;
    // Looked at before anything is changed: what is not ours is not touched.
    db.busy_timeout(BUSY).map_err(|e| fault::explain(&e, path))?;
    let version = schema::version(&db).map_err(|e| fault::explain_schema(&e, path))?;
    prepare(&db, version).map_err(|e| fault::explain(&e, path))?;
    Ok(db)
}

/// SQLite gives the files beside a database the mode that it has when they are made. One that was read-only for a while
/// leaves them so, and then refuses to be written to although it may be.
fn mend_modes(path: &Path) {
    let Ok(wanted) = std::fs::metadata(path).map(|m| m.permissions()) else {
        return;
    };
    if wanted.readonly() {
        return;
    }
    for suffix in ["-shm", "-wal"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        // Not followed: a link there is not SQLite's.
        let left = std::fs::symlink_metadata(&beside).is_ok_and(|m| m.is_file() && m.permissions().readonly());
        if left && let Err(e) = std::fs::set_permissions(&beside, wanted.clone()) {
            tracing::warn!("{} is read-only, and stays so: {e}", Path::new(&beside).display());
        }
    }
}

/// Makes the file where it is missing, for its owner (and the group, where the umask lets it): SQLite would let everybody
/// read it. The files beside it get its mode. A link of another user is not followed.
fn create_private(path: &Path) -> std::io::Result<()> {
    if path == Path::new(":memory:") {
        return Ok(());
    }
    match std::fs::symlink_metadata(path) {
        Ok(m) if m.is_symlink() && ![0, rustix::process::geteuid().as_raw()].contains(&m.uid()) => {
            return Err(std::io::Error::other("it is a link of another user"));
        }
        Ok(_) => return Ok(()),
        Err(_) => {}
    }
    // What keeps it from being made is better said by SQLite.
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    Ok(())
}

fn prepare(db: &Connection, version: i64) -> rusqlite::Result<()> {
    if version == 0 {
        // Both only take effect in an empty file, and only before it is in WAL mode.
        db.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    fit_cache(db, &mut 0)?;
    db.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    // The writer checkpoints itself, between batches.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.set_prepared_statement_cache_capacity(48);
    schema::register_words(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_smaller_while_less_memory_is_wanted() {
        let db = Connection::open_in_memory().unwrap();
        let mut had = 0;
        let mut kib = |less| {
            use_less_memory(less);
            fit_cache(&db, &mut had).unwrap();
            let size: i64 = db.pragma_query_value(None, "cache_size", |r| r.get(0)).unwrap();
            -size
        };
        assert_eq!(
            [false, true, true, false].map(&mut kib),
            [CACHE_KIB, LESS_KIB, LESS_KIB, CACHE_KIB].map(i64::from)
        );
    }
}
