//! One file as the table keeps it, at rest and busy.

use std::ffi::OsStr;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hint::DirId;
use super::texts::Text;
use super::{Stream, StreamId};

/// A file that is noticed is taken to have been quiet for this long.
pub const NOTICED_QUIET: Duration = Duration::from_secs(2);

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not known yet: its first line is incomplete, or it could not be read.
    Unknown,
    Holds(StreamId),
    CopyOf(StreamId),
    /// To be looked into once it has been quiet since the instant.
    Archive(Instant),
    /// An archive that is dealt with.
    Unpacked(Box<Inside>),
    /// Damaged, or of no interest, until it changes.
    Ignored,
}

/// What is inside an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// These streams, up to these offsets.
    pub covers: Vec<(StreamId, u64)>,
    /// It was not read to its end, since a live file holds the same.
    pub partial: bool,
}

/// Why the end of a file was not consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    No,
    /// Complete lines that may grow a traceback.
    Open,
    /// An unterminated line.
    Partial,
    /// NUL bytes that may become text.
    Nuls,
}

/// A device number as the kernel keeps it: the number that `stat` gives is spread over 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device(u32);

impl Device {
    #[must_use]
    pub fn new(dev: u64) -> Device {
        Device(rustix::fs::major(dev) << 20 | rustix::fs::minor(dev) & 0xF_FFFF)
    }

    /// As `stat` gives it.
    #[must_use]
    pub fn number(self) -> u64 {
        rustix::fs::makedev(self.0 >> 20, self.0 & 0xF_FFFF)
    }
}

#[derive(Debug)]
pub struct File {
    pub ino: u64,
    /// As of the last look.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    /// When it was made, nanoseconds since the epoch; 0 where the file system does not say.
    pub born: i64,
    /// `mtime` as of the last time that its content was read or compared.
    pub wrote: i64,
    pub role: Role,
    pub(super) busy: Option<Box<Busy>>,
    pub(super) name: Text,
    pub dir: DirId,
    pub(super) dev: Device,
    /// The scan in which it was first noticed.
    pub noticed: u32,
    /// Hash of directory and script: rotated files come before the live one within it.
    pub family: u32,
    /// Was found under another name before, or never had a wanted one.
    pub renamed: bool,
    /// No name leads to it any more.
    pub gone: bool,
    /// Hints do not cover it: a symbolic or hard link.
    pub polled: bool,
    /// A message said that it cannot be read.
    pub denied: bool,
    /// Its name is not wanted; it is here for a known stream.
    pub stranger: bool,
    /// In the list of those with something to read.
    pub ready: bool,
    /// Somebody set its times without writing to it, when it was last looked at.
    pub touched: bool,
    /// The store has all its lines that were asked for, and is to be asked for more.
    pub asking: bool,
    /// Its first line names no time.
    pub untimed: bool,
    /// The store has its beginning from streams that nobody remembers.
    pub held_before: bool,
    /// It was there when nothing was known yet.
    pub at_first: bool,
    /// The state has its present path, size and time.
    pub kept: bool,
}

/// What a file has while it is open, is being written to, or holds something back.
#[derive(Debug)]
pub struct Busy {
    /// Everything below was read or is held back.
    pub looked: u64,
    /// The largest size seen of the present content.
    pub peak: u64,
    /// Without a line feed between the cursor and here; 0 where that is not known.
    pub scanned: u64,
    pub held: Held,
    /// Since when NUL bytes stand at the cursor, and where; they are passed over later.
    pub nuls: Option<(u64, Instant)>,
    /// Since when the store is asked for it.
    pub asked: Option<Instant>,
    /// It was left with more to read the last time.
    pub flowing: bool,
    /// When no name led to it any more, nanoseconds since the epoch; 0 while one does.
    pub gone_at: i64,
    pub fd: Option<fs::File>,
    pub stream: Option<Arc<Stream>>,
    /// When it last grew, as far as was seen.
    pub grew: Instant,
}

/// A file that is seen for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub dir: DirId,
    pub name: &'a OsStr,
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    pub mtime: i64,
    pub born: i64,
    pub noticed: u32,
    pub polled: bool,
    pub stranger: bool,
}

impl File {
    /// It may not be there to be read later.
    #[must_use]
    pub fn fragile(&self) -> bool {
        self.gone || self.renamed
    }

    #[must_use]
    pub fn stream_id(&self) -> Option<StreamId> {
        match self.role {
            Role::Holds(id) => Some(id),
            _ => None,
        }
    }

    /// Device and number.
    #[must_use]
    pub fn inode(&self) -> (u64, u64) {
        (self.dev.number(), self.ino)
    }

    /// `None`: it is at rest.
    #[must_use]
    pub fn busy(&self) -> Option<&Busy> {
        self.busy.as_deref()
    }

    /// As [`super::table::Table::busy`], where it is that already.
    pub fn busy_mut(&mut self) -> Option<&mut Busy> {
        self.busy.as_deref_mut()
    }

    /// Everything below was read or is held back, unless the file is ready.
    #[must_use]
    pub fn looked(&self) -> u64 {
        self.busy().map_or(self.size, |b| b.looked)
    }

    /// The largest size seen of the present content.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.busy().map_or(self.size, |b| b.peak)
    }

    #[must_use]
    pub fn held(&self) -> Held {
        self.busy().map_or(Held::No, |b| b.held)
    }

    /// How long it has not grown, as far as was seen.
    #[must_use]
    pub fn quiet(&self, now: Instant) -> Duration {
        self.busy()
            .map_or(NOTICED_QUIET, |b| now.saturating_duration_since(b.grew))
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.busy().is_some_and(|b| b.fd.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_at_rest_is_small() {
        assert!(size_of::<Option<File>>() <= 104, "{}", size_of::<Option<File>>());
    }

    #[test]
    fn device_numbers_are_kept_whole() {
        for dev in [0, 1, 0xfe00, 0x803, rustix::fs::makedev(0xFFF, 0xF_FFFF)] {
            assert_eq!(Device::new(dev).number(), dev);
        }
    }
}
