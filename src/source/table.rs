//! The files and directories that are followed, in tables small enough for tens of thousands of idle files.
//!
//! A file *at rest* (closed, and read to its end or waiting for its turn) is 104 bytes, its name, and two entries of an
//! [`Index`]. What is needed only while something happens to it ([`Busy`]) is made when that begins and given back when
//! it is over.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use super::hint::DirId;
use super::index::Index;
use super::names;
use super::slab::Slab;
use super::texts::{Text, Texts};

pub use super::file::{Busy, File, Found, Held, Inside, Role};
use super::file::{Device, NOTICED_QUIET};

/// Names a file in the table.
pub type FileId = u32;

#[derive(Debug)]
pub struct Dir {
    pub path: PathBuf,
    pub dev: u64,
    pub ino: u64,
    pub watch: Option<i32>,
    pub mtime: i64,
    names: Index,
    /// Files of no interest that were looked into for known streams: head by inode.
    pub strangers: std::collections::HashMap<u64, u64>,
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
    files: Slab<File>,
    by_inode: Index,
    names: Texts,
    pub dirs: Vec<Dir>,
    by_path: Index,
}

/// Inode numbers follow one another; a hash must not.
pub(super) fn hash_of_inode(dev: u64, ino: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&ino.to_ne_bytes(), dev)
}

fn hash_of_name(name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name)
}

/// Of the path's parts: a slash more or less makes no other path.
fn hash_of_path(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn inode_hash(files: &Slab<File>, id: FileId) -> u64 {
    files.get(id).map_or(0, |f| hash_of_inode(f.dev.number(), f.ino))
}

fn name_hash(files: &Slab<File>, names: &Texts, id: FileId) -> u64 {
    files.get(id).map_or(0, |f| hash_of_name(names.get(f.name)))
}

impl Table {
    pub fn add(&mut self, found: &Found<'_>) -> FileId {
        let name = self.keep_name(found.name);
        let family = [names::script(found.name).as_bytes(), &found.dir.to_le_bytes()].concat();
        let id = self.files.add(File {
            ino: found.ino,
            size: found.size,
            mtime: found.mtime,
            born: found.born,
            wrote: found.mtime,
            role: Role::Unknown,
            busy: None,
            name,
            dir: found.dir,
            dev: Device::new(found.dev),
            noticed: found.noticed,
            family: xxhash_rust::xxh3::xxh3_64(&family) as u32,
            renamed: false,
            gone: false,
            polled: found.polled,
            denied: false,
            stranger: found.stranger,
            ready: false,
            touched: false,
            asking: false,
            untimed: false,
            held_before: false,
            at_first: false,
            kept: false,
        });
        let files = &self.files;
        self.by_inode.set(
            hash_of_inode(found.dev, found.ino),
            id,
            |f| files.get(f).is_some_and(|f| f.inode() == (found.dev, found.ino)),
            |f| inode_hash(files, f),
        );
        self.name_in(found.dir, found.name, id);
        id
    }

    /// Keeps a name's bytes. Where most of those kept are of names that are gone, the others are moved together.
    fn keep_name(&mut self, name: &OsStr) -> Text {
        if self.names.is_sparse() {
            let mut fresh = Texts::default();
            for id in 0..self.files.slots() {
                if let Some(f) = self.files.get_mut(id) {
                    f.name = fresh.add(self.names.get(f.name));
                }
            }
            self.names = fresh;
        }
        self.names.add(name.as_bytes())
    }

    fn name_in(&mut self, dir: DirId, name: &OsStr, id: FileId) {
        let (files, names) = (&self.files, &self.names);
        if let Some(d) = self.dirs.get_mut(dir as usize) {
            d.names.set(
                hash_of_name(name.as_bytes()),
                id,
                |f| files.get(f).is_some_and(|f| names.get(f.name) == name.as_bytes()),
                |f| name_hash(files, names, f),
            );
        }
    }

    pub fn remove(&mut self, id: FileId) -> Option<File> {
        self.unname(id);
        let hash = inode_hash(&self.files, id);
        let file = self.files.remove(id)?;
        self.by_inode.remove(hash, id);
        self.names.drop(file.name);
        Some(file)
    }

    /// The name no longer leads to the file.
    pub fn unname(&mut self, id: FileId) {
        let hash = name_hash(&self.files, &self.names, id);
        let dir = self.files.get(id).map(|f| f.dir);
        if let Some(d) = dir.and_then(|d| self.dirs.get_mut(d as usize)) {
            d.names.remove(hash, id);
        }
    }

    /// The file is found under this name now.
    pub fn rename(&mut self, id: FileId, dir: DirId, name: &OsStr) {
        self.unname(id);
        let text = self.keep_name(name);
        if let Some(f) = self.files.get_mut(id) {
            self.names.drop(std::mem::replace(&mut f.name, text));
            (f.dir, f.gone, f.kept) = (dir, false, false);
        }
        self.name_in(dir, name, id);
    }

    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&File> {
        self.files.get(id)
    }

    pub fn get_mut(&mut self, id: FileId) -> Option<&mut File> {
        self.files.get_mut(id)
    }

    /// Something happens to the file.
    pub fn busy(&mut self, id: FileId) -> Option<&mut Busy> {
        let f = self.files.get_mut(id)?;
        if f.busy.is_none() {
            let now = Instant::now();
            f.busy = Some(Box::new(Busy {
                looked: f.size,
                peak: f.size,
                scanned: 0,
                held: Held::No,
                nuls: None,
                flowing: false,
                asked: None,
                gone_at: 0,
                fd: None,
                stream: None,
                grew: now.checked_sub(NOTICED_QUIET).unwrap_or(now),
            }));
        }
        f.busy.as_deref_mut()
    }

    /// The file was found to have changed.
    pub fn note_size(&mut self, id: FileId, size: u64, mtime: i64, now: Instant) {
        let Some(before) = self.get(id).map(|f| f.size) else {
            return;
        };
        if size != before
            && let Some(b) = self.busy(id)
        {
            (b.grew, b.peak) = (now, b.peak.max(size));
        }
        if let Some(f) = self.files.get_mut(id) {
            (f.size, f.mtime, f.kept) = (size, mtime, false);
        }
    }

    /// Nothing happens to the file any more, if that is so; or something has to wait for its turn.
    pub fn rest(&mut self, id: FileId) {
        let Some(f) = self.files.get_mut(id) else { return };
        let over = |b: &Busy| {
            let read = f.ready || b.looked == f.size;
            b.fd.is_none() && b.held == Held::No && b.scanned == 0 && b.peak == f.size && read
        };
        if f.role != Role::Unknown && f.busy.as_deref().is_some_and(over) {
            f.busy = None;
        }
    }

    #[must_use]
    pub fn by_inode(&self, dev: u64, ino: u64) -> Option<FileId> {
        self.by_inode.find(hash_of_inode(dev, ino), |id| {
            self.get(id).is_some_and(|f| f.inode() == (dev, ino))
        })
    }

    #[must_use]
    pub fn by_name(&self, dir: DirId, name: &OsStr) -> Option<FileId> {
        self.dir(dir)?.names.find(hash_of_name(name.as_bytes()), |id| {
            self.get(id).is_some_and(|f| self.names.get(f.name) == name.as_bytes())
        })
    }

    /// The files that are found under a name in this directory.
    pub fn named_in(&self, dir: DirId) -> impl Iterator<Item = FileId> + '_ {
        self.dir(dir).into_iter().flat_map(|d| d.names.iter())
    }

    /// When the file was made, or was last written to where that is earlier or all that is known.
    #[must_use]
    pub fn age(&self, id: FileId) -> i64 {
        self.get(id).map_or(0, |f| if f.born == 0 { f.mtime } else { f.born })
    }

    /// The order of the files' paths.
    #[must_use]
    pub fn order(&self, a: FileId, b: FileId) -> Ordering {
        let dir = |id| self.get(id).and_then(|f| self.dir(f.dir));
        match (dir(a), dir(b)) {
            (Some(x), Some(y)) if !std::ptr::eq(x, y) => {
                let parts = |d, id| Path::components(d).chain([Component::Normal(self.name(id))]);
                parts(&x.path, a).cmp(parts(&y.path, b))
            }
            _ => self.name(a).cmp(self.name(b)),
        }
    }

    /// Whether this file still is the one found under its name.
    #[must_use]
    pub fn is_named(&self, id: FileId) -> bool {
        self.get(id)
            .is_some_and(|f| self.by_name(f.dir, self.name(id)) == Some(id))
    }

    /// The file's name, or the one it had.
    #[must_use]
    pub fn name(&self, id: FileId) -> &OsStr {
        OsStr::from_bytes(self.get(id).map_or(&[], |f| self.names.get(f.name)))
    }

    /// The file's path, or the one it had.
    #[must_use]
    pub fn path(&self, id: FileId) -> PathBuf {
        self.get(id)
            .and_then(|f| Some(self.dir(f.dir)?.path.join(self.name(id))))
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
        self.by_path
            .find(hash_of_path(path), |id| self.dir(id).is_some_and(|d| d.path == path))
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
            names: Index::default(),
            strangers: std::collections::HashMap::new(),
            seeking: false,
            dirty: true,
            racy: false,
            exists: false,
            denied: false,
        });
        let dirs = &self.dirs;
        let hash = |d| dirs.get(d as usize).map_or(0, |d: &Dir| hash_of_path(&d.path));
        self.by_path.insert(hash_of_path(path), id, hash);
        id
    }

    pub fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        0..self.files.slots()
    }

    pub fn iter(&self) -> impl Iterator<Item = (FileId, &File)> {
        self.files.iter()
    }

    #[must_use]
    pub fn slots(&self) -> u32 {
        self.files.slots()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, ino: u64) -> Found<'_> {
        Found {
            dir: 0,
            name: OsStr::new(name),
            dev: 0x803,
            ino,
            size: 10,
            mtime: 1,
            born: 0,
            noticed: 1,
            polled: false,
            stranger: false,
        }
    }

    #[test]
    fn a_file_is_found_by_inode_and_name_through_renames_without_end() {
        let mut table = Table::default();
        table.add_dir(Path::new("/l"));
        let quiet = table.add(&found("quiet.log", 7));
        for n in 0..20_000 {
            let id = table.add(&found("app.log", 100 + n % 2));
            table.rename(id, 0, OsStr::new(&format!("app.log.{n}")));
            assert_eq!(table.by_name(0, OsStr::new("app.log")), None);
            assert_eq!(table.by_inode(0x803, 100 + n % 2), Some(id));
            assert_eq!(table.path(id), Path::new(&format!("/l/app.log.{n}")));
            assert!(table.is_named(id));
            table.remove(id);
        }
        assert_eq!((table.len(), table.named_in(0).count()), (1, 1));
        assert_eq!(table.by_name(0, OsStr::new("quiet.log")), Some(quiet));
        assert_eq!(table.name(quiet), "quiet.log");
        assert_eq!(table.dir_at(Path::new("/l/")), Some(0));
    }

    #[test]
    fn a_file_rests_once_all_of_it_was_read_and_it_is_closed() {
        let mut table = Table::default();
        table.add_dir(Path::new("/l"));
        let id = table.add(&found("app.log", 7));
        table.get_mut(id).unwrap().role = Role::Holds(1);
        table.note_size(id, 20, 2, Instant::now());
        table.rest(id);
        assert_eq!(table.get(id).unwrap().busy().map(|b| b.looked), Some(10));
        table.busy(id).unwrap().looked = 20;
        table.rest(id);
        let f = table.get(id).unwrap();
        assert!(f.busy().is_none());
        assert_eq!((f.looked(), f.peak(), f.held()), (20, 20, Held::No));
    }
}
