//! The files of the spool, and how whole frames are found in them.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{HEAD, Head, MAGIC};
use crate::state::files;

/// How much is looked through at once for a frame after damage.
const WINDOW: usize = 64 << 10;

/// One file.
#[derive(Debug)]
pub struct Segment {
    /// Id of its first item, and its name.
    pub first: u64,
    pub len: u64,
    /// Something that was promised could not be read from it.
    pub damaged: bool,
}

/// A whole frame and where it begins.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub head: Head,
    pub segment: u64,
    pub offset: u64,
}

impl Found {
    /// Offset of the byte behind it.
    pub fn end(&self) -> u64 {
        self.offset + self.head.len()
    }
}

/// All files, in order.
pub struct Segments {
    dir: PathBuf,
    pub list: VecDeque<Segment>,
    /// The file last read from.
    reader: Option<(u64, File)>,
    /// Payload of the frame found last.
    pub payload: Vec<u8>,
}

impl Segments {
    /// Lists what is in `dir`, creating it if need be.
    pub fn open(dir: &Path) -> io::Result<Segments> {
        files::create_private_dir(dir)?;
        let mut list = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(first) = name.to_str().and_then(|n| n.strip_suffix(".spool")?.parse().ok()) {
                let len = entry.metadata()?.len();
                list.push(Segment {
                    first,
                    len,
                    damaged: false,
                });
            }
        }
        list.sort_by_key(|s| s.first);
        Ok(Segments {
            dir: dir.to_owned(),
            list: list.into(),
            reader: None,
            payload: Vec::new(),
        })
    }

    pub fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}.spool"))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|s| s.len).sum()
    }

    /// Begins the file whose first item will be `first`. A file of that name which is not listed was left by an attempt
    /// that failed; nothing was promised of it.
    pub fn begin(&mut self, first: u64) -> io::Result<File> {
        if self.list.iter().any(|s| s.first == first) {
            return Err(io::Error::other(format!("the spool has a file {first} already")));
        }
        let file = files::create_or_empty(&self.path(first))?;
        files::sync_dir(&self.dir)?;
        self.list.push_back(Segment {
            first,
            len: 0,
            damaged: false,
        });
        Ok(file)
    }

    /// Takes the first file off the list; it still lies in the directory.
    pub fn pop_first(&mut self) -> Option<Segment> {
        let segment = self.list.pop_front()?;
        if self.reader.as_ref().is_some_and(|(first, _)| *first == segment.first) {
            self.reader = None;
        }
        Some(segment)
    }

    pub fn mark_damaged(&mut self, from: u64, to: u64) {
        for s in self.list.iter_mut().filter(|s| (from..=to).contains(&s.first)) {
            s.damaged = true;
        }
    }

    /// The first whole frame at or after `offset` of this file or of a later one. Its bytes are in `payload`.
    pub fn next_frame(&mut self, mut segment: u64, mut offset: u64) -> io::Result<Option<Found>> {
        loop {
            if let Some(found) = self.frame_in(segment, offset)? {
                return Ok(Some(found));
            }
            let later = self.list.iter().map(|s| s.first).find(|f| *f > segment);
            let Some(later) = later else { return Ok(None) };
            (segment, offset) = (later, 0);
        }
    }

    /// The first whole frame at or after `offset` of this file.
    pub fn frame_in(&mut self, segment: u64, mut offset: u64) -> io::Result<Option<Found>> {
        loop {
            if let Some(head) = self.head_at(segment, offset)? {
                return Ok(Some(Found { head, segment, offset }));
            }
            match self.search(segment, offset + 1)? {
                Some(candidate) => offset = candidate,
                None => return Ok(None),
            }
        }
    }

    /// The frame at exactly this place, if it is whole.
    fn head_at(&mut self, segment: u64, offset: u64) -> io::Result<Option<Head>> {
        let Some(len) = self.list.iter().find(|s| s.first == segment).map(|s| s.len) else {
            return Ok(None);
        };
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        payload.shrink_to(1 << 20);
        let mut bytes = [0; HEAD];
        let Some(file) = self.reader(segment)? else {
            return Ok(None);
        };
        if offset + HEAD as u64 > len || !read_at(file, &mut bytes, offset)? {
            return Ok(None);
        }
        let Some(head) = Head::parse(&bytes).filter(|h| offset + h.len() <= len) else {
            return Ok(None);
        };
        payload.resize(head.stored as usize, 0);
        let whole = read_at(file, &mut payload, offset + HEAD as u64)? && head.vouches_for(&bytes, &payload);
        self.payload = payload;
        Ok(whole.then_some(head))
    }

    /// Where at or after `offset` the magic number stands next.
    fn search(&mut self, segment: u64, mut offset: u64) -> io::Result<Option<u64>> {
        let Some(file) = self.reader(segment)? else {
            return Ok(None);
        };
        let mut window = vec![0; WINDOW];
        loop {
            let n = file.read_at(&mut window, offset)?;
            if let Some(i) = memchr::memmem::find(window.get(..n).unwrap_or(&[]), MAGIC) {
                return Ok(Some(offset + i as u64));
            }
            if n < MAGIC.len() {
                return Ok(None);
            }
            // The magic number may lie across the edge of the window.
            offset += (n - (MAGIC.len() - 1)) as u64;
        }
    }

    fn reader(&mut self, segment: u64) -> io::Result<Option<&File>> {
        if self.reader.as_ref().is_none_or(|(first, _)| *first != segment) {
            match File::open(self.path(segment)) {
                Ok(file) => self.reader = Some((segment, file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(self.reader.as_ref().map(|(_, file)| file))
    }
}

/// False where the file ends before the buffer is full.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}
