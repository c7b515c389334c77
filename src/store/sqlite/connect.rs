//! Opening the database file for writing, with everything a connection needs to be told.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{fault, schema};
use crate::store::WriteError;

/// How long a statement waits for a lock of another process before the batch counts as not written.
pub const BUSY: Duration = Duration::from_secs(5);

/// Page cache of the writing connection, KiB. Dirty pages of a larger transaction spill into the log.
const CACHE_KIB: u32 = 4096;

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
    db.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    db.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    // The writer checkpoints itself, between batches.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.set_prepared_statement_cache_capacity(48);
    Ok(())
}
