//! Opening the database file for writing, with everything a connection needs to be told.

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
        std::fs::create_dir_all(directory)
            .map_err(|e| WriteError::Refused(format!("cannot create the directory {}: {e}", directory.display())))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(|e| fault::explain(&e, path))?;
    // Looked at before anything is changed: what is not ours is not touched.
    db.busy_timeout(BUSY).map_err(|e| fault::explain(&e, path))?;
    let version = schema::version(&db).map_err(|e| fault::explain_schema(&e, path))?;
    prepare(&db, version).map_err(|e| fault::explain(&e, path))?;
    Ok(db)
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
