//! Streams that have lost their file: who may have their content now, and when they are given up.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::super::streams::Parked;
use super::super::table::{File, FileId, Held, Role};
use super::super::{Loss, StreamId, names};
use super::Tailer;

impl Tailer {
    /// The script that writes the stream: as the name of its file says, unless it was another when it was found.
    pub(super) fn script(&self, stream: StreamId) -> String {
        let Some(k) = self.streams.get(stream) else {
            return String::new();
        };
        match (k.script(), k.file(), k.parked()) {
            (Some(script), ..) => script.to_owned(),
            (None, Some(file), _) => names::script(self.table.name(file)),
            (None, None, parked) => names::script(parked.and_then(|p| p.path.file_name()).unwrap_or_default()),
        }
    }

    /// The stream's file gets another name; the script stays.
    pub(super) fn keep_script(&mut self, stream: StreamId, name: &OsStr) {
        if let Some(script) = super::unlike_name(self.script(stream), name)
            && let Some(k) = self.streams.get_mut(stream)
        {
            k.set_script(script);
        }
    }

    /// Makes durable what the stream is, and where it is now.
    pub(super) fn remember(&self, stream: StreamId, path: PathBuf, size: u64, mtime: i64) {
        if let Some(k) = self.streams.get(stream) {
            self.intake.remember(k.entry(path, self.script(stream), size, mtime));
        }
    }

    /// Makes durable what the stream is by now.
    pub(super) fn remember_again(&self, stream: StreamId) {
        let Some(k) = self.streams.get(stream) else { return };
        match (k.file().and_then(|f| Some((f, self.table.get(f)?))), k.parked()) {
            (Some((id, f)), _) => self.remember(stream, self.table.path(id), f.peak(), f.wrote),
            (None, Some(p)) => self.remember(stream, p.path.clone(), p.size, p.mtime),
            (None, None) => {}
        }
    }

    /// The file holds its stream no more; the stream waits to be found again. `finished`: there is no more of it.
    pub(super) fn park(&mut self, id: FileId, finished: bool) {
        let Some(stream) = self.table.get(id).and_then(File::stream_id) else {
            return;
        };
        let path = self.table.path(id);
        let (size, mtime) = self.table.get(id).map_or((0, 0), |f| (f.peak(), f.wrote));
        self.set_role(id, Role::Unknown);
        if let Some(b) = self.table.get_mut(id).and_then(File::busy_mut) {
            (b.stream, b.held, b.looked, b.scanned) = (None, Held::No, 0, 0);
        }
        let parked = Parked {
            path: path.clone(),
            size,
            mtime,
            since: Instant::now(),
            lost: super::settle::wall(),
            counted: finished,
            unwanted: false,
        };
        if let Some(k) = self.streams.get_mut(stream) {
            k.finished |= finished;
        }
        self.remember(stream, path, size, mtime);
        self.streams.park(stream, parked);
        self.seek_again = true;
        self.ask_copies(stream, finished);
    }

    /// Copies of a stream that lost its file may be all that is left of it.
    fn ask_copies(&mut self, stream: StreamId, finished: bool) {
        let inside = |covers: &[(StreamId, u64)]| covers.iter().any(|c| c.0 == stream);
        let copies: Vec<(FileId, bool)> = self
            .table
            .iter()
            .filter_map(|(id, f)| match &f.role {
                Role::CopyOf(of) if *of == stream => Some((id, false)),
                Role::Unpacked(i) if i.partial && inside(&i.covers) => Some((id, true)),
                _ => None,
            })
            .collect();
        for (id, archive) in copies {
            match (archive, finished) {
                (false, false) => self.unjudge(id),
                (true, false) => self.await_archive(id),
                (true, true) => self.settle_archive(id),
                (false, true) => {}
            }
        }
    }

    /// Counts what was seen of parked streams and can no longer be read, and forgets the oldest of them.
    pub(super) fn tend_parked(&mut self, now: Instant) {
        let hold = self.settings.hold;
        for id in self.streams.overdue(now, hold) {
            let script = self.script(id);
            let Some(k) = self.streams.get_mut(id) else { continue };
            let Some(p) = k.parked_mut().filter(|p| !p.counted) else {
                continue;
            };
            p.counted = true;
            let (size, path) = (p.size, p.path.to_string_lossy().into_owned());
            let unread = size.saturating_sub(k.cursor.offset);
            if unread > 0 && k.copies() == 0 {
                tracing::warn!(
                    path,
                    bytes = unread,
                    "a file vanished, or was rewritten, before it was read to its end"
                );
                self.intake.skip(
                    &Arc::new(k.stream(path, script)),
                    k.cursor,
                    Loss::Unread { bytes: unread },
                );
            }
        }
        if self.scan < 2 {
            // Nothing was looked for yet.
            return;
        }
        self.prune_archives();
        for id in self.streams.forget_old(now) {
            tracing::debug!(stream = id, "forgotten");
            self.intake.forget(id);
        }
    }
}
