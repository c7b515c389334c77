//! Keeping the write-ahead log short.
//!
//! Readers see the file as of their transaction's start, so the log can only be used from its beginning again when no
//! reader is left inside it. Copying what can be copied never waits, but syncs the disk twice: what readers keep from
//! being copied is left until there is as much again. Once the log has grown past [`LIMIT`] each attempt waits a moment
//! for the readers that are left. Once all is quiet the log is folded in whole, and takes no space.

use std::cell::Cell;
use std::time::Duration;

use rusqlite::Connection;

/// Frames (pages) in the log that were not copied, from which on they are copied into the file: 16 MiB.
const FULL: u32 = 4096;

/// Frames from which on readers are waited for: 64 MiB.
const LIMIT: u32 = 4 * FULL;

/// How long they are waited for.
const PATIENCE: Duration = Duration::from_millis(200);

thread_local! {
    /// Frames in the log after this thread's last commit. A thread has one writing connection at most.
    static FRAMES: Cell<u32> = const { Cell::new(0) };
    /// How many of them, the first ones, are in the file.
    static COPIED: Cell<u32> = const { Cell::new(0) };
}

/// From now on the frames of `db`'s log are counted.
pub fn watch(db: &Connection) {
    FRAMES.set(0);
    COPIED.set(0);
    db.wal_hook(Some(|_, frames| {
        let frames = u32::try_from(frames).unwrap_or(0);
        if frames < FRAMES.replace(frames) {
            // The log is used from its beginning again.
            COPIED.set(0);
        }
        Ok(())
    }));
}

/// Copies the log into the file where it is time to. An error here is no loss: it is found again by the next write.
pub fn checkpoint(db: &Connection, busy: Duration) -> rusqlite::Result<()> {
    match FRAMES.get() {
        frames if frames.saturating_sub(COPIED.get()) < FULL => Ok(()),
        0..LIMIT => run(db, "PASSIVE"),
        _ => truncate(db, busy),
    }
}

/// Copies all of the log into the file and gives its space back, where no reader is left inside it within a moment.
pub fn truncate(db: &Connection, busy: Duration) -> rusqlite::Result<()> {
    db.busy_timeout(PATIENCE)?;
    let done = run(db, "TRUNCATE");
    db.busy_timeout(busy)?;
    done
}

fn run(db: &Connection, mode: &str) -> rusqlite::Result<()> {
    let (busy, frames, copied) = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |r| {
        Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))
    })?;
    COPIED.set(u32::try_from(copied).unwrap_or(0));
    if busy == 0 && frames == copied {
        // The next commit starts the log anew.
        FRAMES.set(0);
        COPIED.set(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_holds_back_is_copied_with_the_next_stretch_and_not_at_every_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs.db");
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        watch(&db);
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let write = |pages: u32| {
            db.execute("INSERT INTO t VALUES (zeroblob(?1))", [4096 * pages])
                .unwrap();
            checkpoint(&db, Duration::ZERO).unwrap();
            (FRAMES.get(), COPIED.get())
        };
        let (frames, copied) = write(FULL + 10);
        assert!(
            frames > FULL && copied < 10,
            "the reader's part of {frames} is copied: {copied}"
        );
        reader.execute_batch("COMMIT").unwrap();
        // Tried again at the next commit, as nothing to speak of was copied.
        assert_eq!(write(1), (0, 0));
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let (held, _) = write(FULL / 2);
        reader.execute_batch("COMMIT; BEGIN; SELECT * FROM t").unwrap();
        let (frames, copied) = write(FULL - 100);
        assert!(copied >= held && copied < frames, "{copied} of {frames}");
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(write(1).1, copied, "not for one page");
        assert_eq!(write(FULL), (0, 0));
    }
}
