//! What others are told of the files.

use super::super::status::{FileState, FileStatus, LISTED, Snapshot};
use super::super::table::{File, FileId, Role};
use super::Tailer;

impl Tailer {
    pub(super) fn publish(&mut self) {
        self.changed = false;
        let mut s = Snapshot {
            watched: self.table.len() as u64,
            bytes_read: self.bytes_read,
            broken_archives: self.broken,
            pending_archives: self.archives.len() as u64,
            open_descriptors: self.open.len() as u64,
            ..Snapshot::default()
        };
        let mut listed: Vec<(FileId, u64, u64, FileState)> = Vec::new();
        let order = |(id, _, lag, _): &(FileId, u64, u64, FileState)| (std::cmp::Reverse(*lag), *id);
        for (id, f) in self.table.iter() {
            let position = match &f.role {
                Role::Holds(s) => self.streams.get(*s).map_or(0, |k| k.cursor.offset),
                Role::Unknown => 0,
                _ => f.size,
            };
            let lag = f.size.saturating_sub(position);
            s.lag_bytes += lag;
            listed.push((id, position, lag, state_of(f, lag)));
            if listed.len() >= 2 * LISTED {
                // Of twenty thousand files a list is not made to show a thousand of them.
                listed.select_nth_unstable_by_key(LISTED, order);
                listed.truncate(LISTED);
            }
        }
        s.bytes_found = s.bytes_read + s.lag_bytes;
        listed.sort_unstable_by_key(order);
        listed.truncate(LISTED);
        let entry = |(id, position, lag_bytes, state): (FileId, u64, u64, FileState)| FileStatus {
            path: self.table.path(id),
            position,
            size: self.table.get(id).map_or(0, |f| f.size),
            lag_bytes,
            state,
        };
        s.files = listed.into_iter().map(entry).collect();
        self.status.set(s);
    }
}

fn state_of(f: &File, lag: u64) -> FileState {
    match &f.role {
        _ if f.denied => FileState::Unreadable,
        Role::Unknown => FileState::Empty,
        Role::CopyOf(_) => FileState::Copy,
        Role::Archive(_) => FileState::ArchivePending,
        Role::Unpacked(_) => FileState::Archive,
        Role::Ignored => FileState::Unreadable,
        Role::Holds(_) if f.gone => FileState::Unlinked,
        Role::Holds(_) if f.renamed => FileState::Rotated,
        Role::Holds(_) if lag > 0 => FileState::Behind,
        Role::Holds(_) => FileState::Current,
    }
}
