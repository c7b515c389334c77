//! The file behind the path: opening it for reading, which file it is, and why it cannot be read.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::super::{connect, fault, schema};
use super::{clauses, refused};
use crate::store::search::ReadError;

/// Page cache of a reading connection, KiB.
const CACHE_KIB: u32 = 16 << 10;

/// Which file it is: device and inode. Another file under the same name is another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(pub u64, pub u64);

impl FileId {
    /// The file that a path leads to now.
    ///
    /// # Errors
    /// [`ReadError::Away`] where there is none; [`ReadError::Refused`] where this user may not look.
    pub fn of(path: &Path) -> Result<FileId, ReadError> {
        match std::fs::metadata(path) {
            Ok(at) => Ok(FileId(at.dev(), at.ino())),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Err(ReadError::Refused(closed(path))),
            Err(_) => Err(ReadError::Away(format!(
                "there is no store at {} yet: start the agent with `logagent run`, or name another store with --store",
                path.display()
            ))),
        }
    }
}

/// Why a path cannot be looked at: the first directory on the way that this user may not enter.
fn closed(path: &Path) -> String {
    let mut ways: Vec<&Path> = path.ancestors().skip(1).collect();
    ways.reverse();
    let shut = ways.into_iter().find(|way| std::fs::metadata(way.join(".")).is_err());
    format!(
        "{} cannot be reached: this user may not enter the directory {}. Ask as its owner, or have the owner let a \
         group in (data_group and data_mode = \"0750\" in the agent's configuration)",
        path.display(),
        shut.unwrap_or(path).display()
    )
}

/// Why a file that is there cannot be read, where permissions are to blame.
fn unreadable(path: &Path) -> Option<ReadError> {
    let files = [path.to_path_buf(), beside(path, "-wal"), beside(path, "-shm")];
    let denied =
        |file: &PathBuf| matches!(std::fs::File::open(file), Err(e) if e.kind() == ErrorKind::PermissionDenied);
    let file = files.into_iter().find(denied)?;
    Some(ReadError::Refused(format!(
        "{} cannot be read by this user: ask as its owner, or have the owner give read permission (chmod, or \
         data_group and data_mode = \"0750\" in the agent's configuration)",
        file.display()
    )))
}

/// Opens the database read-only and checks that it is ours.
pub fn open(path: &Path) -> Result<Connection, ReadError> {
    FileId::of(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let explain = |e: rusqlite::Error| unreadable(path).unwrap_or_else(|| refused(fault::explain(&e, path)));
    let mut db = Connection::open_with_flags(path, flags).map_err(explain)?;
    let mut version = schema::version(&db);
    if let Err(schema::SchemaError::Sqlite(e)) = &version
        && matches!(
            e.sqlite_error_code(),
            Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
        )
        && !beside(path, "-wal").exists()
        && unreadable(path).is_none()
    {
        // A directory that may not be written, and no agent: the file cannot change while it is read.
        let uri = format!("file:{}?immutable=1", uri_path(path));
        db = Connection::open_with_flags(uri, flags).map_err(explain)?;
        version = schema::version(&db);
    }
    let explain_schema = |e| unreadable(path).unwrap_or_else(|| refused(fault::explain_schema(&e, path)));
    match version.map_err(explain_schema)? {
        0 => Err(ReadError::Away(format!(
            "{} holds no logagent tables yet: start the agent with `logagent run`, or run `logagent init`",
            path.display()
        ))),
        _ => {
            prepare(&db).map_err(explain)?;
            Ok(db)
        }
    }
}

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(connect::BUSY)?;
    db.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    db.pragma_update(None, "query_only", true)?;
    clauses::register(db)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A path within a `file:` URI.
fn uri_path(path: &Path) -> String {
    path.to_string_lossy().chars().fold(String::new(), |mut out, c| {
        match c {
            '%' => out.push_str("%25"),
            '?' => out.push_str("%3f"),
            '#' => out.push_str("%23"),
            c => out.push(c),
        }
        out
    })
}
