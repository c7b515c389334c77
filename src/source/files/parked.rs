//! Streams that have lost their file: who may have their content now, and when they are given up.

use std::sync::Arc;
use std::time::Instant;

use super::super::streams::Parked;
use super::super::table::{File, FileId, Held, Role};
use super::super::{Loss, StreamId};
use super::Tailer;

impl Tailer {
    /// The file holds its stream no more; the stream waits to be found again. `finished`: there is no more of it.
    pub(super) fn park(&mut self, id: FileId, finished: bool) {
        let Some(stream) = self.table.get(id).and_then(File::stream_id) else {
            return;
        };
        let path = self.table.path(id);
        let (size, mtime) = self.table.get(id).map_or((0, 0), |f| (f.peak, f.mtime));
        self.set_role(id, Role::Unknown);
        if let Some(f) = self.table.get_mut(id) {
            (f.stream, f.held, f.looked, f.scanned) = (None, Held::No, 0, 0);
        }
        let parked = Parked {
            path: path.clone(),
            size,
            mtime,
            since: Instant::now(),
            counted: finished,
            unwanted: false,
        };
        if let Some(k) = self.streams.get_mut(stream) {
            k.finished |= finished;
            let entry = k.entry(stream, path, size, mtime);
            self.intake.remember(entry);
        }
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
                Role::Unpacked(covers, true) if inside(covers) => Some((id, true)),
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
        let overdue: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, k)| {
                k.parked
                    .as_ref()
                    .is_some_and(|p| !p.counted && now.duration_since(p.since) >= hold)
            })
            .map(|(id, _)| id)
            .collect();
        for id in overdue {
            let Some(k) = self.streams.get_mut(id) else { continue };
            let Some(p) = &mut k.parked else { continue };
            p.counted = true;
            let unread = p.size.saturating_sub(k.cursor.offset);
            let path = p.path.to_string_lossy().into_owned();
            if unread > 0 && k.copies == 0 {
                tracing::warn!(
                    path,
                    bytes = unread,
                    "a file vanished, or was rewritten, before it was read to its end"
                );
                self.intake
                    .skip(&Arc::new(k.stream(id, path)), k.cursor, Loss::Unread { bytes: unread });
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
