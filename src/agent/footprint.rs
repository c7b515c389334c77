//! Keeps the agent's resident memory small.
//!
//! * **The allocator.** glibc gives each thread an arena of its own and keeps what was freed in it; and once a large
//!   block was freed it takes blocks of that size from the arenas too. For an agent of four threads that hand buffers
//!   of some MiB to one another that doubled its memory. So there are two arenas, and large blocks are the kernel's.
//! * **Batches.** Where nobody asked for a size, those for the embedded store hold at most half a MiB, and those for
//!   ArangoDB one and a half: larger ones cost no less a record, and five batches are alive at a time.
//! * **Code and constants.** What is used once (reading arguments and configuration, opening the state, creating
//!   tables) stays mapped, as long as the machine has room: some 10 MiB, of which shipping touches a part. It is given
//!   back before the state is read, when the agent is ready, and when a burst of work is over. What is needed again is
//!   mapped again, from the kernel's page cache.

use crate::config::{self, Settings, StoreKind};

/// Sets the allocator's limits. To be called before there are threads.
pub fn limit_allocator() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: i32 = 256 << 10;
        const SPARE: i32 = 512 << 10;
        // SAFETY: plain settings of the allocator; no other thread exists yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 2);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
        }
    }
}

/// What a batch for the embedded store holds at most, bytes.
const EMBEDDED_BATCH: u64 = 512 << 10;

/// What a batch for ArangoDB holds at most, bytes.
const ARANGODB_BATCH: u64 = 1536 << 10;

/// Sizes buffers for the configured store, unless their size was configured.
pub fn limit_batches(settings: &mut Settings) {
    if settings.batch.max_bytes != config::BATCH_BYTES {
        return;
    }
    let most = match settings.store.kind {
        StoreKind::Sqlite => EMBEDDED_BATCH,
        StoreKind::Arangodb => ARANGODB_BATCH,
    };
    settings.batch.max_bytes = settings.batch.max_bytes.min(most);
}

/// Gives back what is not needed now: memory that the allocator keeps, code, and constants.
pub fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only walks the allocator's own free lists, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for (from, to) in unchanged(&maps) {
        // SAFETY: none of these pages can be written to and none was, so they are the file's own; the next use of one
        // reads it from there.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
}

/// The ranges in `/proc/self/smaps` that are a file's, cannot be written to, and hold no page that ever was.
fn unchanged(smaps: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(anonymous) = line.strip_prefix("Anonymous:") {
            let untouched = anonymous.trim() == "0 kB";
            ranges.extend(candidate.take().filter(|_| untouched));
        } else if !line.split_ascii_whitespace().next().is_some_and(|w| w.ends_with(':')) {
            candidate = constant(line);
        }
    }
    ranges
}

/// The range that the first line of an entry names, if it is a file's and cannot be written to.
fn constant(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights, file) = (words.next()?, words.next()?, words.nth(3)?);
    if !rights.starts_with("r-") || !rights.ends_with('p') || !file.starts_with('/') {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    Some((
        usize::from_str_radix(from, 16).ok()?,
        usize::from_str_radix(to, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written_to_is_given_back() {
        let entry = |range: &str, rights: &str, path: &str, anonymous: u32| {
            format!(
                "{range} {rights} 00200000 fe:00 1234    {path}\nSize: 4 kB\nRss: 4 kB\nAnonymous:   {anonymous} kB\nVmFlags: rd ex mr\n"
            )
        };
        let smaps = [
            entry("1000-2000", "r-xp", "/usr/bin/logagent", 0),
            entry("2000-3000", "r--p", "/usr/bin/logagent", 0),
            entry("3000-4000", "r--p", "/usr/bin/logagent", 4),
            entry("4000-5000", "rw-p", "/usr/bin/logagent", 0),
            entry("5000-6000", "r--s", "/var/db-shm", 0),
            entry("6000-7000", "r-xp", "/lib/libc.so.6", 0),
            entry("7000-8000", "r-xp", "[vdso]", 0),
            entry("8000-9000", "r--p", "", 0),
        ];
        let ranges = [(0x1000, 0x2000), (0x2000, 0x3000), (0x6000, 0x7000)];
        assert_eq!(unchanged(&smaps.concat()), ranges);
        assert_eq!(unchanged(""), []);
    }

    #[test]
    fn the_program_goes_on_after_its_code_was_given_back() {
        release();
        assert_eq!((1..=10).sum::<i32>(), 55);
    }
}
