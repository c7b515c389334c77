//! Giving back the space that sled does not give back: copy what lives into a new database, and swap.
//!
//! sled reuses a segment of its file when nothing in it lives any more. Its garbage collection, which would move the rest
//! out, does not run (see [`super::db`]), so one page that is never written again holds its segment. Copying everything
//! is simple, takes a fraction of a second, and is needed seldom: what lives is a few megabytes.
//!
//! ```text
//! state.new   being written      a crash here: it is deleted, the old one was not touched
//! state.new   whole and synced
//! state → state.old              a crash here: there is no state, so state.new is whole and takes its place
//! state.new → state              a crash here: state.old is deleted
//! ```

use std::fs;
use std::io;
use std::path::Path;

use super::db::{Db, DbError, Rows};
use super::files::{self, with_suffix};

/// Smaller databases are not worth it.
pub(super) const FROM_BYTES: u64 = 64 << 20;
/// Nor are those of which a good part lives.
const TIMES: u64 = 4;
/// Rows that are copied in one go.
const COPY_BYTES: usize = 256 << 10;

/// Whether a database of `disk` bytes with `live` bytes of rows should be compacted.
#[must_use]
pub(super) fn worthwhile(disk: u64, live: u64) -> bool {
    disk > FROM_BYTES && disk > live.saturating_mul(TIMES)
}

/// Puts a compacted copy in the place of `db`, and opens it. The old one is closed only once the copy is whole.
pub(super) fn run(db: Db, dir: &Path) -> Result<Db, (Option<Db>, DbError)> {
    let new = with_suffix(dir, ".new");
    if let Err(e) = copy(&db, &new) {
        let _ = remove(&new);
        return Err((Some(db), e));
    }
    db.close();
    swap(dir, &new).map_err(|e| (None, e.into()))?;
    Db::open(dir).map_err(|e| (None, e))
}

fn copy(db: &Db, new: &Path) -> Result<(), DbError> {
    remove(new)?;
    let target = Db::open(new)?;
    let copied = copy_rows(db, &target).and_then(|()| target.sync());
    target.close();
    copied?;
    // Everything that closing wrote is durable before the copy counts.
    for entry in fs::read_dir(new)? {
        fs::File::open(entry?.path())?.sync_all()?;
    }
    Ok(files::sync_dir(new)?)
}

fn copy_rows(from: &Db, to: &Db) -> Result<(), DbError> {
    let mut rows = Rows::new();
    let mut bytes = 0;
    let mut result = Ok(());
    from.scan(|key, value| {
        bytes += key.len() + value.len();
        rows.insert(key.to_vec(), Some(value.to_vec()));
        if bytes >= COPY_BYTES && result.is_ok() {
            result = to.apply(&rows);
            rows.clear();
            bytes = 0;
        }
    })?;
    result?;
    to.apply(&rows)
}

/// Puts the database `new` in the place of `dir`.
pub(super) fn swap(dir: &Path, new: &Path) -> io::Result<()> {
    let old = with_suffix(dir, ".old");
    remove(&old)?;
    fs::rename(dir, &old)?;
    if let Err(e) = fs::rename(new, dir) {
        // Back to where it was. If that fails as well, `finish` puts one of them there before anything is opened.
        let _ = fs::rename(&old, dir);
        return Err(e);
    }
    dir.parent().map_or(Ok(()), files::sync_dir)?;
    remove(&old)
}

/// Finishes, or undoes, what a crash left half done. `dir` is the database's directory.
pub(super) fn finish(dir: &Path) -> io::Result<()> {
    let (new, old) = (with_suffix(dir, ".new"), with_suffix(dir, ".old"));
    if !dir.exists() {
        if new.exists() && old.exists() {
            fs::rename(&new, dir)?;
        } else if old.exists() {
            fs::rename(&old, dir)?;
        }
        dir.parent().map_or(Ok(()), files::sync_dir)?;
    }
    remove(&new)?;
    remove(&old)
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
