//! Opening the database file for writing, with everything a connection needs to be told.

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, ffi};

use super::{fault, schema};
use crate::store::WriteError;

/// How long a statement waits for a lock of another process before the batch counts as not written.
pub const BUSY: Duration = Duration::from_secs(5);

/// Page cache of the writing connection, KiB. Dirty pages of a larger transaction spill into the log.
const CACHE_KIB: u32 = 2048;

/// Has SQLite take the memory of a page cache in one piece: page by page it lies between everything else, and tears the
/// heap apart. Of no effect once a database was opened in this process.
fn cache_in_one_piece() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let nothing: *mut c_void = std::ptr::null_mut();
        let pages: c_int = -(CACHE_KIB as c_int);
        // SAFETY: the arguments are those of this option: no memory of ours, and KiB to take at once, negated. Where
        // SQLite is in use already it answers that it is too late, and changes nothing.
        unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_PAGECACHE, nothing, 0 as c_int, pages) };
    });
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
    cache_in_one_piece();
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
