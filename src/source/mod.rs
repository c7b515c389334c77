//! Where lines come from: watched files and the Unix socket.
//!
//! A source emits [`Chunk`]s: complete lines of one stream, in order, with their byte spans. It hands them to an
//! [`Intake`] (the pipeline) by a synchronous call with borrowed bytes: what is read is parsed and encoded before the
//! read buffer is used again, nothing is queued in between. Nothing flows back but how much room there is.

pub mod archive;
pub mod chain;
pub mod decoder;
pub mod discovery;
pub mod file;
pub mod files;
pub mod hint;
pub mod identity;
pub mod index;
pub mod known;
pub mod lines;
pub mod marks;
pub mod names;
pub mod slab;
pub mod socket;
pub mod stat;
pub mod status;
pub mod steps;
pub mod streams;
pub mod survey;
pub mod table;
pub mod texts;
pub mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use chain::{Chain, chain};
pub use marks::Marks;
pub use steps::Steps;

use crate::record::Continues;

/// Identifies a stream within one state directory. Never stored outside it.
pub type StreamId = u64;

/// An ordered run of bytes with one identity: a file generation, an archive member, a socket connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub id: StreamId,
    /// First part of the keys of this stream, see [`crate::record::Key`]; for files the hash of the first line.
    pub head: u64,
    /// `source.stream`: names the file generation or connection. Plain text.
    pub name: String,
    /// Script name of records that name none: the file's (or archive member's) stem without rotation stamps.
    pub script: String,
    pub kind: StreamKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamKind {
    File { path: String },
    Socket { uid: u32, pid: i32 },
}

/// How far a stream has been taken, with what is needed to go on and to recognise it again.
///
/// Below `offset` everything is part of a record or counted as lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Bytes of the (decompressed) stream; for sockets the number of lines.
    pub offset: u64,
    /// The chain of all content below `offset` (or from `StreamEntry::start` on), see [`mod@chain`].
    pub chain: Chain,
    /// `seq` of the last record. A hybrid clock: microseconds of the latest time seen, plus one for each tie, so that
    /// it rises within the stream and orders records across the files of one rotation too.
    pub seq: i64,
    /// Hash of the last [`NEAR`] bytes below `offset` (fewer at the start): content is compared near the cursor before
    /// a stream is resumed.
    pub near: u64,
}

/// How many bytes below the cursor are compared before a stream is resumed.
pub const NEAR: usize = 512;

/// One record's bytes within a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The record's line: `data[start..line_end]`, without its line feed.
    pub start: u32,
    pub line_end: u32,
    /// Continuation lines (a traceback) follow up to here; equal to `line_end` where there are none.
    pub end: u32,
    /// Position of the line in its stream.
    pub offset: u64,
    /// The chain up to and including the record's own line; not its continuation lines, so that the key is the same
    /// whether they were there already or not.
    pub chain: Chain,
    /// How many other streams had this content before, see [`StreamEntry::steps`].
    pub number: u32,
    /// The line's whole length in bytes where it was longer than `files.max_line` and cut, else 0.
    pub whole: u64,
}

/// Complete lines of one stream.
pub struct Chunk<'a> {
    pub stream: &'a Arc<Stream>,
    pub data: &'a [u8],
    pub items: &'a [Item],
    /// The stream cannot be read again later (unlinked, or rotated and about to be): what of it cannot be stored at
    /// once is spooled.
    pub fragile: bool,
}

/// What a source may read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Anything.
    All,
    /// Only fragile streams: the store is away, and files that stay where they are can wait.
    Fragile,
    /// Nothing: everything is full.
    None,
    /// The agent stops: no more chunks.
    Closed,
}

/// What was read but can not become a record. Every loss has a name and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// NUL bytes of a hole or a torn tail.
    Nul { bytes: u64 },
    /// Blank lines.
    Blank { lines: u64 },
    /// A file was truncated, or vanished, before it was read to its end.
    Unread { bytes: u64 },
    /// The rest of a line longer than `files.max_line` (its record is marked `truncated`).
    Cut { bytes: u64 },
    /// Lines of a copy, which are stored already.
    Copied { lines: u64 },
}

/// The pipeline as its sources see it.
pub trait Intake: Send + Sync {
    /// Waits until there is room for something, at most `timeout`.
    fn wait_room(&self, timeout: Duration) -> Room;

    /// Parses and takes over the chunk's records. `cursor` is the stream's cursor after the chunk with the `seq` of
    /// before it; on return its `seq` is that of the last record. The cursor becomes durable once all records below
    /// it are settled. Never blocks for long; `Err` once the intake is closed (nothing was taken then).
    fn accept(&self, chunk: Chunk<'_>, cursor: &mut Cursor) -> Result<(), Closed>;

    /// What the configuration says of lines of this stream that belong to the record before.
    fn continues(&self, _stream: &Stream) -> Continues {
        Continues::default()
    }

    /// Moves a cursor over bytes that hold no record (blank lines, NULs), in order with accepted chunks.
    fn skip(&self, stream: &Arc<Stream>, cursor: Cursor, loss: Loss);

    /// Counts what moves no cursor.
    fn count(&self, loss: Loss);

    /// The time that a line names, microseconds since the epoch.
    fn time_of(&self, line: &[u8]) -> Option<i64>;

    /// Of each line, the highest number under which the store has it since before `before` (microseconds since the
    /// epoch). Never blocks: `None` means that the answer is not here yet, or the store is away; ask again.
    fn held(&self, lines: &[Asked], before: i64) -> Option<Vec<Option<u32>>>;

    /// Everything that was written before the look that began at `since` has been read.
    fn idle(&self, since: Instant);

    /// The stream's file was renamed or unlinked: what was accepted of it before may not be there to be read again.
    fn endangered(&self, id: StreamId);

    /// Makes a stream's identity durable, no later than its next cursor.
    fn remember(&self, entry: StreamEntry);

    /// Forgets a stream (its file and all copies are gone), after what was accepted of it is settled.
    fn forget(&self, id: StreamId);
}

/// A line that the store is asked for: the parts of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// See [`Stream::head`].
    pub head: u64,
    pub offset: u64,
    pub chain: Chain,
}

/// The intake takes nothing any more: the agent stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is stopping")]
pub struct Closed;

/// A file stream's identity as the state keeps it; or, with `archive`, the memory of an archive that was looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamEntry {
    pub id: StreamId,
    /// Where it was last seen; for an archive member `archive.zip!member`.
    pub path: PathBuf,
    pub script: String,
    pub dev: u64,
    pub ino: u64,
    /// When the file was made, nanoseconds since the epoch; 0 where the file system does not say.
    pub born: i64,
    /// Hash of the first line (at most [`HEAD`] bytes of it).
    pub head: u64,
    /// Bytes hashed into `head`.
    pub head_len: u32,
    /// Read to its end under a final name; nothing more is expected of it.
    pub finished: bool,
    /// Size in bytes when last looked at.
    pub size: u64,
    /// Time of the last change when last looked at, nanoseconds since the epoch.
    pub mtime: i64,
    /// Where reading began: 0, save with `files.start_at = "end"`. The chain starts here.
    pub start: u64,
    /// The numbers of its lines where they are not 0.
    pub steps: Steps,
    /// Lines that end behind this offset have no number yet; `None`: all have one, 0 where `steps` says nothing.
    pub numbered: Option<u64>,
    /// The store may have its beginning from streams that are not remembered.
    pub blind: bool,
    /// The chain at some offsets of its content.
    pub marks: Marks,
    /// Not a stream: an archive, or a copy, that need not be read again while its size and time stay the same, and the
    /// cursors of the streams in `covers` have reached the offsets given there.
    pub archive: bool,
    pub covers: Vec<(StreamId, u64)>,
}

/// At most this many bytes of the first line make a stream's head.
pub const HEAD: usize = 4096;
