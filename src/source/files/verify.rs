//! Verifying: whether a file still has what was read of it, and whether NUL bytes in it may still become text.

use std::fs;
use std::time::Instant;

use super::super::table::{File, FileId};
use super::super::window::BLOCK;
use super::super::{Cursor, StreamId, stat};
use super::Tailer;

impl Tailer {
    /// Whether the file still has what was read of it; `None`: all of that has to be read again to tell.
    ///
    /// While a file is read on without a rest nothing is asked: what replaces it is shorter, or differs below the
    /// cursor. A file that was at rest may have been rewritten: its beginning is compared; and one that was written to
    /// without having grown is compared whole.
    pub(super) fn is_as_it_was(
        &mut self,
        id: FileId,
        stream: StreamId,
        cursor: Cursor,
        look: &stat::Look,
        file: &fs::File,
        now: Instant,
    ) -> Option<bool> {
        let f = self.table.get(id)?;
        let (wrote, looked, flowing) = (f.wrote, f.looked(), f.busy().is_some_and(|b| b.flowing));
        self.table.note_size(id, look.size, look.mtime, now);
        if let Some(f) = self.table.get_mut(id) {
            f.touched = look.touched;
        }
        if look.size < cursor.offset {
            return Some(false);
        }
        if cursor.offset == 0 {
            return Some(self.begins(stream, file));
        }
        if flowing || look.mtime == wrote {
            return Some(true);
        }
        if !self.begins_alike(stream, file) {
            return Some(false);
        }
        (look.size > looked).then_some(true)
    }

    /// Whether the file still begins as the stream does. Below a cursor at the start nothing else tells: between being
    /// judged and being read first, the file can have been replaced by one that got its name and its inode.
    fn begins(&self, stream: StreamId, file: &fs::File) -> bool {
        let Some(k) = self.streams.get(stream).filter(|k| k.head_len() > 0) else {
            return true;
        };
        let mut start = vec![0; k.head_len() as usize];
        super::judge::read_at(file, &mut start, 0)
            .is_ok_and(|n| n == start.len() && super::super::identity::has_head(&start, k.head, k.head_len()))
    }

    /// Whether NUL bytes at the cursor wait to become text: until they have stood there for `finish_line_after`, with text
    /// behind them. At the end of a live file they wait for ever, as a line without an end does.
    pub(super) fn nuls_wait(&mut self, id: FileId, file: &fs::File, size: u64, cursor: Cursor) -> bool {
        if self.may_finish(id) {
            return false;
        }
        let waited = self.table.get(id).and_then(File::busy).and_then(|b| b.nuls);
        let patience = self.settings.finish_line_after;
        match waited.filter(|(at, _)| *at == cursor.offset) {
            Some((_, since)) if self.once || since.elapsed() >= patience => !has_text(file, cursor.offset, size),
            _ => true,
        }
    }
}

/// Whether anything but NUL bytes stands in this part of a file; holes are passed over by what the file system knows.
fn has_text(file: &fs::File, from: u64, to: u64) -> bool {
    let mut buffer = vec![0; BLOCK];
    let mut at = from;
    while at < to {
        at = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data.max(at),
            Err(rustix::io::Errno::NXIO) => return false,
            Err(_) => at,
        };
        match super::judge::read_at(file, &mut buffer, at) {
            Ok(n) if n > 0 => {
                if buffer.iter().take(n).any(|b| *b != 0) {
                    return true;
                }
                at += n as u64;
            }
            _ => return false,
        }
    }
    false
}
