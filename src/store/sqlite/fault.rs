//! What an error of SQLite means for the agent, in words a person can act on.

use std::path::Path;

use rusqlite::ErrorCode;

use super::schema::SchemaError;
use crate::store::WriteError;

/// Whether the connection is of no more use after the error: it is opened anew for the next attempt.
pub fn is_fatal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// Maps an error at `path` to what the pipeline does about it.
pub fn explain(error: &rusqlite::Error, path: &Path) -> WriteError {
    let at = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            WriteError::Away(format!("{at} is locked by another process; trying again"))
        }
        Some(ErrorCode::DiskFull) => WriteError::Refused(format!(
            "no space left for {at}: free disk space, or delete old events with `logagent prune`"
        )),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => read_only(path),
        Some(ErrorCode::NotADatabase) => WriteError::Refused(format!(
            "{at} is not a SQLite database; it is left as it is: move it away, or name another file in \
             store.sqlite.path"
        )),
        Some(ErrorCode::DatabaseCorrupt) => WriteError::Refused(format!(
            "{at} is damaged ({error}): move it aside and restart, or save what can be read with \
             `sqlite3 {at} .recover`"
        )),
        Some(ErrorCode::CannotOpen) => cannot_open(path),
        Some(ErrorCode::SystemIoFailure) => WriteError::Away(format!("cannot read or write {at}: {error}")),
        _ => WriteError::Refused(format!("{at}: {error}")),
    }
}

/// The same for errors of the schema.
pub fn explain_schema(error: &SchemaError, path: &Path) -> WriteError {
    match error {
        SchemaError::Sqlite(e) => explain(e, path),
        other => WriteError::Refused(format!("{}: {other}", path.display())),
    }
}

fn read_only(path: &Path) -> WriteError {
    let beside = ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::path::PathBuf::from(name)
    });
    let closed = beside
        .iter()
        .filter(|p| p.exists() && rustix::fs::access(*p, rustix::fs::Access::WRITE_OK).is_err());
    let closed: Vec<String> = closed.map(|p| p.display().to_string()).collect();
    let what = if closed.is_empty() {
        path.display().to_string()
    } else {
        closed.join(", ")
    };
    WriteError::Refused(format!(
        "{what} cannot be written: give this user write permission on it and on its directory"
    ))
}

fn cannot_open(path: &Path) -> WriteError {
    let directory = path.parent().unwrap_or(Path::new("."));
    if path.is_dir() {
        return WriteError::Refused(format!(
            "{} is a directory: name a file in store.sqlite.path",
            path.display()
        ));
    }
    match std::fs::metadata(directory) {
        Err(e) => WriteError::Refused(format!("the directory of {} cannot be used: {e}", path.display())),
        Ok(_) => read_only(path),
    }
}
