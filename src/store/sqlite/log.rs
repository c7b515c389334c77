//! Keeping the write-ahead log short.
//!
//! Readers see the file as of their transaction's start, so the log can only be used from its beginning again when no
//! reader is left inside it. Copying what can be copied never waits; once the log has grown past [`LIMIT`] each attempt
//! waits a moment for the readers that are left.

use std::cell::Cell;
use std::time::Duration;

use rusqlite::Connection;

/// Frames (pages) in the log from which on it is copied into the file: 16 MiB.
const FULL: u32 = 4096;

/// Frames from which on readers are waited for: 64 MiB.
const LIMIT: u32 = 4 * FULL;

/// How long they are waited for.
const PATIENCE: Duration = Duration::from_millis(200);

thread_local! {
    /// Frames in the log after this thread's last commit. A thread has one writing connection at most.
    static FRAMES: Cell<u32> = const { Cell::new(0) };
}

/// From now on the frames of `db`'s log are counted.
pub fn watch(db: &Connection) {
    FRAMES.set(0);
    db.wal_hook(Some(|_, frames| {
        FRAMES.set(u32::try_from(frames).unwrap_or(0));
        Ok(())
    }));
}

/// Copies the log into the file where it is time to. An error here is no loss: it is found again by the next write.
pub fn checkpoint(db: &Connection, busy: Duration) -> rusqlite::Result<()> {
    match FRAMES.get() {
        0..FULL => Ok(()),
        FULL..LIMIT => run(db, "PASSIVE"),
        _ => {
            db.busy_timeout(PATIENCE)?;
            let done = run(db, "TRUNCATE");
            db.busy_timeout(busy)?;
            done
        }
    }
}

fn run(db: &Connection, mode: &str) -> rusqlite::Result<()> {
    let (busy, frames, copied) = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |r| {
        Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))
    })?;
    if busy == 0 && frames == copied {
        // The next commit starts the log anew.
        FRAMES.set(0);
    }
    Ok(())
}
