//! What the kernel says of a file.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags};
use rustix::io::Errno;

/// What is known of a file without reading it. Times are nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub dev: u64,
    pub ino: u64,
    pub kind: FileType,
    pub size: u64,
    pub mtime: i64,
    /// When it was made; 0 where the file system does not say.
    pub born: i64,
    pub links: u64,
    pub uid: u32,
    /// Its times were set (by `touch`) since it was last written to: a writer leaves the time of access alone.
    pub touched: bool,
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Of the file that the path leads to.
///
/// # Errors
///
/// Those of `statx`.
pub fn of_path(path: &Path) -> Result<Look, Errno> {
    let look = rustix::fs::statx(CWD, path.as_os_str().as_bytes(), AtFlags::empty(), WANTED)?;
    Ok(of(&look))
}

/// Of what the path names, a link not followed.
///
/// # Errors
///
/// Those of `statx`.
pub fn of_name(path: &Path) -> Result<Look, Errno> {
    let look = rustix::fs::statx(CWD, path.as_os_str().as_bytes(), AtFlags::SYMLINK_NOFOLLOW, WANTED)?;
    Ok(of(&look))
}

/// Of an open file.
///
/// # Errors
///
/// Those of `statx`.
pub fn of_file(file: &fs::File) -> Result<Look, Errno> {
    let look = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, WANTED)?;
    Ok(of(&look))
}

fn of(s: &Statx) -> Look {
    let nanos = |t: rustix::fs::StatxTimestamp| t.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(i64::from(t.tv_nsec));
    let known = StatxFlags::from_bits_retain(s.stx_mask).contains(StatxFlags::BTIME);
    let (accessed, written) = (nanos(s.stx_atime), nanos(s.stx_mtime));
    Look {
        dev: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
        ino: s.stx_ino,
        kind: FileType::from_raw_mode(u32::from(s.stx_mode)),
        size: s.stx_size,
        mtime: written,
        born: if known { nanos(s.stx_btime) } else { 0 },
        links: u64::from(s.stx_nlink),
        uid: s.stx_uid,
        touched: accessed == written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_that_was_written_to_differs_from_one_that_was_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut file = fs::File::create(&path).unwrap();
        // The clock of the file system moves some hundred times a second.
        let made = of_path(&path).unwrap().mtime;
        while of_path(&path).unwrap().mtime == made {
            file.write_all(b"text\n").unwrap();
        }
        assert!(!of_path(&path).unwrap().touched);
        assert_eq!(of_path(&path).unwrap(), of_file(&file).unwrap());
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let times = rustix::fs::Timestamps {
            last_access: now,
            last_modification: now,
        };
        rustix::fs::utimensat(CWD, path.as_os_str().as_bytes(), &times, AtFlags::empty()).unwrap();
        assert!(of_path(&path).unwrap().touched);
    }
}
