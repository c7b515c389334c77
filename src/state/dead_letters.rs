//! Records that the store refused for good, in files that anybody can read.
//!
//! They lie beside the database, not in it, because the verb `dead-letter` works while the agent runs, and sled admits
//! one process. A person with `jq` can read them too.
//!
//! # Format
//!
//! ```text
//! dead-letters/<time>-<number>-n<count>.jsonl     one JSON object a line: key, collection, reason, error_num, time, record
//! dead-letters/retry/….jsonl                      asked to be delivered again
//! dead-letters/lock                               flock of whoever changes files that exist
//! ```
//!
//! # Operation
//!
//! The agent writes one new file for each batch that had refused records ([`DeadLetters::add`]): one sync, whatever
//! their number. Nobody appends to a file that exists. Taking letters out of a file writes what remains under a new name and
//! removes the old one, under the lock.
//!
//! `retry` moves letters to `retry/`. Where an agent runs it finds them there ([`DeadLetters::next_retry`]), delivers
//! them under their old keys, adds what is refused again as new letters, and removes the file
//! ([`DeadLetters::retried`]). Where none runs, the verb does the same.
//!
//! # Failure
//!
//! A crash may leave a letter twice: in a file and in `retry/`, or in a file's old and new form. Delivery is
//! idempotent, and listing shows the newest of each key and collection. A line that cannot be read is passed over, and
//! kept. There are at most [`MAX_LETTERS`] letters and [`MAX_BYTES`] bytes of them: beyond that the oldest files go, and the
//! number of letters lost is returned.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{DeadLetter, files};
use crate::record::{Micros, format_time};

/// At most this many letters are kept.
pub const MAX_LETTERS: u64 = 10_000;
/// At most this many bytes of letters are kept.
pub const MAX_BYTES: u64 = 64 << 20;
/// A file for `retry/` holds at most about so many bytes, so that an agent can take it whole.
const RETRY_BYTES: usize = 1 << 20;

/// The dead letters of one data directory. Cheap to make; holds nothing open.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    dir: PathBuf,
}

/// Letters that were asked to be delivered again.
#[derive(Debug)]
pub struct Retry {
    pub letters: Vec<DeadLetter>,
    path: PathBuf,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterUsage {
    pub letters: u64,
    pub bytes: u64,
}

impl DeadLetters {
    #[must_use]
    pub fn of(data_dir: &Path) -> DeadLetters {
        DeadLetters {
            dir: data_dir.join("dead-letters"),
        }
    }

    /// Keeps letters, durably. `now` names the file. Returns how many old letters had to go.
    pub fn add(&self, letters: &[DeadLetter], now: Micros) -> io::Result<u64> {
        if letters.is_empty() {
            return Ok(0);
        }
        files::create_private_dir(&self.dir)?;
        write_letters(&self.dir, letters, now)?;
        self.make_room()
    }

    /// Shows every letter, newest first; each key of a collection once. `show` returns false to stop. Lines that
    /// cannot be read are counted and returned.
    pub fn each(&self, mut show: impl FnMut(DeadLetter) -> bool) -> io::Result<u64> {
        let mut seen = HashSet::new();
        let mut unreadable = 0;
        for file in self.files()?.into_iter().rev() {
            let (letters, bad) = read(&file.path)?;
            unreadable += bad;
            for letter in letters.into_iter().rev() {
                let name = (letter.rejected.collection.clone(), letter.rejected.key.clone());
                if seen.insert(name) && !show(letter) {
                    return Ok(unreadable);
                }
            }
        }
        Ok(unreadable)
    }

    /// Letters with this key, newest first: one for each collection that refused it.
    pub fn find(&self, key: &str) -> io::Result<Vec<DeadLetter>> {
        let mut found = Vec::new();
        self.each(|letter| {
            if letter.rejected.key == key {
                found.push(letter);
            }
            true
        })?;
        Ok(found)
    }

    /// Throws away the letters that `which` names; returns how many.
    pub fn remove(&self, which: impl Fn(&DeadLetter) -> bool, now: Micros) -> io::Result<u64> {
        self.take_out(which, now, |_| Ok(()))
    }

    /// Asks for the letters that `which` names to be delivered again; returns how many.
    pub fn retry(&self, which: impl Fn(&DeadLetter) -> bool, now: Micros) -> io::Result<u64> {
        let dir = self.retry_dir();
        files::create_private_dir(&dir)?;
        self.take_out(which, now, |letters| {
            let mut part: Vec<DeadLetter> = Vec::new();
            let mut bytes = 0;
            for letter in letters {
                bytes += letter.rejected.record.len();
                part.push(letter.clone());
                if bytes >= RETRY_BYTES {
                    write_letters(&dir, &part, now)?;
                    part.clear();
                    bytes = 0;
                }
            }
            if part.is_empty() {
                Ok(())
            } else {
                write_letters(&dir, &part, now)
            }
        })
    }

    /// The oldest letters that wait in `retry/`, about a megabyte at a time. Cheap where there are none.
    pub fn next_retry(&self) -> io::Result<Option<Retry>> {
        let Some(file) = list(&self.retry_dir())?.into_iter().next() else {
            return Ok(None);
        };
        let (letters, _) = read(&file.path)?;
        Ok(Some(Retry {
            letters,
            path: file.path,
        }))
    }

    /// These letters were delivered, or added again.
    pub fn retried(&self, retry: &Retry) -> io::Result<()> {
        gone(fs::remove_file(&retry.path))
    }

    /// How many letters there are, without those waiting in `retry/`. Reads the directory, no file.
    pub fn usage(&self) -> io::Result<LetterUsage> {
        Ok(self.files()?.iter().fold(LetterUsage::default(), |sum, f| LetterUsage {
            letters: sum.letters + f.count,
            bytes: sum.bytes + f.bytes,
        }))
    }

    fn retry_dir(&self) -> PathBuf {
        self.dir.join("retry")
    }

    fn files(&self) -> io::Result<Vec<LetterFile>> {
        list(&self.dir)
    }

    /// Whoever changes files holds this.
    fn lock(&self) -> io::Result<File> {
        files::create_private_dir(&self.dir)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(files::file_mode())
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.dir.join("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Hands the letters that `which` names to `keep_elsewhere`, then removes them here.
    fn take_out(
        &self,
        which: impl Fn(&DeadLetter) -> bool,
        now: Micros,
        keep_elsewhere: impl Fn(&[DeadLetter]) -> io::Result<()>,
    ) -> io::Result<u64> {
        let _lock = self.lock()?;
        let mut taken = 0;
        for file in self.files()? {
            let (letters, unreadable) = read(&file.path)?;
            let (go, stay): (Vec<_>, Vec<_>) = letters.into_iter().partition(&which);
            if go.is_empty() {
                continue;
            }
            keep_elsewhere(&go)?;
            taken += go.len() as u64;
            if unreadable > 0 {
                // What cannot be read is not thrown away with what was taken.
                files::move_into(&file.path, &self.dir.join("unreadable"))?;
            }
            if !stay.is_empty() {
                write_letters(&self.dir, &stay, file.time.min(now))?;
            }
            gone(fs::remove_file(&file.path))?;
        }
        files::sync_dir(&self.dir)?;
        Ok(taken)
    }

    /// Removes the oldest files beyond the bounds; returns the letters lost by it.
    fn make_room(&self) -> io::Result<u64> {
        let mut usage = self.usage()?;
        if usage.letters <= MAX_LETTERS && usage.bytes <= MAX_BYTES {
            return Ok(0);
        }
        let _lock = self.lock()?;
        let mut lost = 0;
        let files = self.files()?;
        for file in files.iter().take(files.len().saturating_sub(1)) {
            if usage.letters <= MAX_LETTERS && usage.bytes <= MAX_BYTES {
                break;
            }
            gone(fs::remove_file(&file.path))?;
            usage.letters -= file.count.min(usage.letters);
            usage.bytes -= file.bytes.min(usage.bytes);
            lost += file.count;
        }
        Ok(lost)
    }
}

/// One file, as its name tells it.
struct LetterFile {
    path: PathBuf,
    time: Micros,
    count: u64,
    bytes: u64,
}

/// The files of a directory, oldest first. None where it does not exist.
fn list(dir: &Path) -> io::Result<Vec<LetterFile>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some((time, count)) = name.to_str().and_then(parse_name) else {
            continue;
        };
        // Another process may have removed it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        found.push(LetterFile {
            path: entry.path(),
            time,
            count,
            bytes: metadata.len(),
        });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Time and number of letters in `<micros, 16 digits>-<number>-n<count>.jsonl`.
fn parse_name(name: &str) -> Option<(Micros, u64)> {
    let mut parts = name.strip_suffix(".jsonl")?.split('-');
    let time = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    let count = parts.next()?.strip_prefix('n')?.parse().ok()?;
    parts.next().is_none().then_some((time, count))
}

/// Writes a new file, under a name that is free.
fn write_letters(dir: &Path, letters: &[DeadLetter], time: Micros) -> io::Result<()> {
    let mut bytes = Vec::new();
    for letter in letters {
        serde_json::to_writer(&mut bytes, letter)?;
        bytes.push(b'\n');
    }
    let time = time.max(0);
    let taken: HashSet<_> = list(dir)?
        .into_iter()
        .filter_map(|f| number_of(&f.path, time))
        .collect();
    let number = (0..u32::MAX).find(|n| !taken.contains(n)).unwrap_or(u32::MAX);
    files::write_whole(
        &dir.join(format!("{time:016}-{number:04}-n{}.jsonl", letters.len())),
        &bytes,
    )
}

/// The number in a file's name, if it has this time.
fn number_of(path: &Path, time: Micros) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(&format!("{time:016}-"))?
        .split('-')
        .next()?
        .parse()
        .ok()
}

/// The letters of a file, in order, and how many lines could not be read. None where it is gone.
fn read(path: &Path) -> io::Result<(Vec<DeadLetter>, u64)> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        other => other?,
    };
    let (mut letters, mut unreadable) = (Vec::new(), 0);
    for line in BufReader::new(file).split(b'\n') {
        match serde_json::from_slice(&line?) {
            Ok(letter) => letters.push(letter),
            Err(_) => unreadable += 1,
        }
    }
    Ok((letters, unreadable))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A letter for a record refused at `now`.
#[must_use]
pub fn letter(rejected: crate::store::Rejected, now: Micros) -> DeadLetter {
    DeadLetter {
        rejected,
        time: format_time(now),
    }
}
