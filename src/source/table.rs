//! The files and directories that are followed, in tables small enough for tens of thousands of idle files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::hint::DirId;
use super::{Stream, StreamId};

/// Names a file in the table.
pub type FileId = u32;

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not known yet: its first line is incomplete, or it could not be read.
    Unknown,
    Holds(StreamId),
    CopyOf(StreamId),
    /// To be looked into once it has been quiet since the instant.
    Archive(Instant),
    /// An archive that is dealt with; these streams are inside, up to these offsets. `true`: it was not read to its
    /// end, since a live file holds the same.
    Unpacked(Vec<(StreamId, u64)>, bool),
    /// Damaged, or of no interest, until it changes.
    Ignored,
}

/// Why the end of a file was not consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    No,
    /// Complete lines that may grow a traceback.
    Open,
    /// An unterminated line.
    Partial,
}

#[derive(Debug)]
pub struct File {
    pub dir: DirId,
    pub name: Arc<OsStr>,
    pub dev: u64,
    pub ino: u64,
    /// As of the last look.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    /// Everything below was read or is held back.
    pub looked: u64,
    /// The largest size seen of the present content.
    pub peak: u64,
    /// Without a line feed between the cursor and here; 0 where that is not known.
    pub scanned: u64,
    pub role: Role,
    pub held: Held,
    pub fd: Option<fs::File>,
    pub stream: Option<Arc<Stream>>,
    /// When it last grew, as far as was seen.
    pub grew: Instant,
    /// The scan in which it was first noticed.
    pub noticed: u64,
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
    /// Hash of directory and script: rotated files come before the live one within it.
    pub family: u64,
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
}

#[derive(Debug)]
pub struct Dir {
    pub path: PathBuf,
    pub dev: u64,
    pub ino: u64,
    pub watch: Option<i32>,
    pub mtime: i64,
    pub names: HashMap<Arc<OsStr>, FileId>,
    /// Files of no interest that were looked into for known streams: head by inode.
    pub strangers: HashMap<u64, u64>,
    /// Streams that were last seen here have no file now: every file may be theirs.
    pub seeking: bool,
    pub dirty: bool,
    /// It changed so recently that its time stamp may hide a further change.
    pub racy: bool,
    pub exists: bool,
    pub denied: bool,
}

#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Option<Box<File>>>,
    free: Vec<FileId>,
    by_inode: HashMap<(u64, u64), FileId>,
    pub dirs: Vec<Dir>,
    by_path: HashMap<PathBuf, DirId>,
}

impl Table {
    pub fn add(&mut self, file: File) -> FileId {
        let (dir, name, inode) = (file.dir, Arc::clone(&file.name), (file.dev, file.ino));
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as FileId
            }
        };
        if let Some(slot) = self.slots.get_mut(id as usize) {
            *slot = Some(Box::new(file));
        }
        self.by_inode.insert(inode, id);
        if let Some(d) = self.dirs.get_mut(dir as usize) {
            d.names.insert(name, id);
        }
        id
    }

    pub fn remove(&mut self, id: FileId) -> Option<Box<File>> {
        let file = self.slots.get_mut(id as usize)?.take()?;
        self.free.push(id);
        if self.by_inode.get(&(file.dev, file.ino)) == Some(&id) {
            self.by_inode.remove(&(file.dev, file.ino));
        }
        self.unname_in(file.dir, &file.name, id);
        Some(file)
    }

    fn unname_in(&mut self, dir: DirId, name: &OsStr, id: FileId) {
        if let Some(d) = self.dirs.get_mut(dir as usize)
            && d.names.get(name) == Some(&id)
        {
            d.names.remove(name);
        }
    }

    /// The name no longer leads to the file.
    pub fn unname(&mut self, id: FileId) {
        if let Some((dir, name)) = self.get(id).map(|f| (f.dir, Arc::clone(&f.name))) {
            self.unname_in(dir, &name, id);
        }
    }

    /// The file is found under this name now.
    pub fn rename(&mut self, id: FileId, dir: DirId, name: &OsStr) {
        self.unname(id);
        let name: Arc<OsStr> = name.into();
        if let Some(d) = self.dirs.get_mut(dir as usize) {
            d.names.insert(Arc::clone(&name), id);
        }
        if let Some(f) = self.get_mut(id) {
            (f.dir, f.name, f.gone) = (dir, name, false);
        }
    }

    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&File> {
        self.slots.get(id as usize)?.as_deref()
    }

    pub fn get_mut(&mut self, id: FileId) -> Option<&mut File> {
        self.slots.get_mut(id as usize)?.as_deref_mut()
    }

    #[must_use]
    pub fn by_inode(&self, dev: u64, ino: u64) -> Option<FileId> {
        self.by_inode.get(&(dev, ino)).copied()
    }

    #[must_use]
    pub fn by_name(&self, dir: DirId, name: &OsStr) -> Option<FileId> {
        self.dir(dir)?.names.get(name).copied()
    }

    /// Whether this file still is the one found under its name.
    #[must_use]
    pub fn is_named(&self, id: FileId) -> bool {
        self.get(id).is_some_and(|f| self.by_name(f.dir, &f.name) == Some(id))
    }

    /// The file's path, or the one it had.
    #[must_use]
    pub fn path(&self, id: FileId) -> PathBuf {
        self.get(id)
            .and_then(|f| Some(self.dir(f.dir)?.path.join(f.name.as_ref())))
            .unwrap_or_default()
    }

    #[must_use]
    pub fn dir(&self, id: DirId) -> Option<&Dir> {
        self.dirs.get(id as usize)
    }

    pub fn dir_mut(&mut self, id: DirId) -> Option<&mut Dir> {
        self.dirs.get_mut(id as usize)
    }

    #[must_use]
    pub fn dir_at(&self, path: &Path) -> Option<DirId> {
        self.by_path.get(path).copied()
    }

    /// The directory of this path, new ones marked to be listed.
    pub fn add_dir(&mut self, path: &Path) -> DirId {
        if let Some(id) = self.dir_at(path) {
            return id;
        }
        let id = self.dirs.len() as DirId;
        self.dirs.push(Dir {
            path: path.to_path_buf(),
            dev: 0,
            ino: 0,
            watch: None,
            mtime: 0,
            names: HashMap::new(),
            strangers: HashMap::new(),
            seeking: false,
            dirty: true,
            racy: false,
            exists: false,
            denied: false,
        });
        self.by_path.insert(path.to_path_buf(), id);
        id
    }

    pub fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        0..self.slots.len() as FileId
    }

    pub fn iter(&self) -> impl Iterator<Item = (FileId, &File)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(id, f)| Some((id as FileId, f.as_deref()?)))
    }

    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
