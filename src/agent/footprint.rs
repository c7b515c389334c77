//! Keeps the agent's resident memory small.
//!
//! * **The allocator.** glibc gives each thread an arena of its own and keeps what was freed in it; and once a large
//!   block was freed it takes blocks of that size from the arenas too. For an agent of four threads that hand buffers
//!   of some MiB to one another that doubled its memory. So there are two arenas, and large blocks are the kernel's.
//! * **Batches.** Where nobody asked for a size, those for the embedded store hold at most 256 KiB, and those for
//!   ArangoDB one and a half MiB: larger ones cost no less a record, and five batches are alive at a time.
//! * **Code and constants.** What is used once (reading arguments and configuration, opening the state, creating
//!   tables) stays mapped, as long as the machine has room: some 10 MiB, of which shipping touches a part. It is given
//!   back when the agent is ready, and when a burst of work is over. What is needed again is
//!   mapped again, from the kernel's page cache.
//! * **What lies beside it.** Where one page of a file is touched the kernel maps the sixteen around it: of 7.4 MiB of
//!   code that were resident while files were shipped, 2.0 had been used. It goes no further than the mapping, so code
//!   and constants are mapped in stretches of two pages.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use crate::config::{Settings, StoreKind};

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
const EMBEDDED_BATCH: u64 = 256 << 10;

/// What a batch for ArangoDB holds at most, bytes.
const ARANGODB_BATCH: u64 = 1536 << 10;

/// Sizes buffers for the configured store, unless their size was configured.
pub fn limit_batches(settings: &mut Settings) {
    if settings.batch_bytes_given {
        return;
    }
    let most = match settings.store.kind {
        StoreKind::Sqlite => EMBEDDED_BATCH,
        StoreKind::Arangodb => ARANGODB_BATCH,
    };
    settings.batch.max_bytes = settings.batch.max_bytes.min(most);
}

/// Bytes of code that the kernel maps at once.
const STRETCH: usize = 8 << 10;

/// Smaller mappings are left as they are.
const WORTHWHILE: usize = 256 << 10;

/// Has the kernel map code and constants in small stretches, beginning with none of them.
pub fn map_in_stretches() {
    for (from, to) in constants().iter().filter(|(from, to)| to - from >= WORTHWHILE) {
        // Neighbours that differ in nothing are one mapping. Not being part of a core dump makes a difference that is
        // none: what can be read from the program's file is not in one anyway.
        for at in (*from..*to).step_by(2 * STRETCH) {
            let len = STRETCH.min(to - at);
            // SAFETY: it changes nothing about the pages' contents or rights.
            unsafe { libc::madvise(at as *mut libc::c_void, len, libc::MADV_DONTDUMP) };
        }
    }
    release();
}

/// Gives back what is not needed now: memory that the allocator keeps, code, and constants.
pub fn release() {
    trim_heap();
    let Ok(pagemap) = File::open("/proc/self/pagemap") else {
        return;
    };
    let page = rustix::param::page_size();
    for (from, to) in constants() {
        let mut flags = vec![0; (to - from) / page * FLAGS];
        if pagemap.read_exact_at(&mut flags, (from / page * FLAGS) as u64).is_err() {
            continue;
        }
        for run in unchanged(&flags) {
            let (at, len) = (from + run.start * page, run.len() * page);
            // SAFETY: none of these pages can be written to and none was, so they are the file's own; the next use of
            // one reads it from there.
            unsafe { libc::madvise(at as *mut libc::c_void, len, libc::MADV_DONTNEED) };
        }
    }
}

/// Gives back what the allocator keeps: the pages on which nothing is left. It takes about a millisecond.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only walks the allocator's own free lists, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes that `/proc/self/pagemap` has for a page.
const FLAGS: usize = 8;

/// The pages, as runs, that nobody wrote to: a debugger does, and the loader did where the program asked for it.
fn unchanged(flags: &[u8]) -> Vec<Range<usize>> {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_A_FILE: u64 = 1 << 61;
    let (pages, _) = flags.as_chunks::<FLAGS>();
    let own = |page: &[u8; FLAGS]| {
        let flags = u64::from_ne_bytes(*page);
        flags & (PRESENT | SWAPPED) != 0 && flags & OF_A_FILE == 0
    };
    let mut runs = Vec::new();
    let mut at = 0;
    for run in pages.chunk_by(|a, b| own(a) == own(b)) {
        if run.first().is_some_and(|page| !own(page)) {
            runs.push(at..at + run.len());
        }
        at += run.len();
    }
    runs
}

/// The ranges of memory that are a file's and cannot be written to.
fn constants() -> &'static [(usize, usize)] {
    static RANGES: OnceLock<Vec<(usize, usize)>> = OnceLock::new();
    RANGES.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().filter_map(constant).collect()
    })
}

/// The range that a line of `/proc/self/maps` names, if it is a file's and cannot be written to.
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
    fn a_size_that_was_configured_is_kept_also_where_it_is_the_default() {
        let settings = |file: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("logagent.toml"), file).unwrap();
            let sources = crate::config::Sources {
                config: Some(dir.path().join("logagent.toml")),
                dir: dir.path().to_owned(),
                ..crate::config::Sources::default()
            };
            let mut settings = Settings::load(&sources).unwrap().0;
            limit_batches(&mut settings);
            settings.batch.max_bytes
        };
        assert_eq!(settings(""), EMBEDDED_BATCH);
        assert_eq!(settings("[batch]\nmax_bytes = \"2MiB\"\n"), 2 << 20);
        assert_eq!(settings("[batch]\nmax_bytes = \"1MiB\"\n"), 1 << 20);
    }

    #[test]
    fn only_what_is_a_files_and_cannot_be_written_to_is_given_back() {
        let line = |range: &str, rights: &str, path: &str| format!("{range} {rights} 00200000 fe:00 1234    {path}");
        for (expected, rights, path) in [
            (true, "r-xp", "/usr/bin/logagent"),
            (true, "r--p", "/usr/bin/logagent"),
            (false, "rw-p", "/usr/bin/logagent"),
            (false, "r--s", "/var/db-shm"),
            (false, "r-xp", "[vdso]"),
            (false, "r--p", ""),
        ] {
            let range = constant(&line("1000-3000", rights, path));
            assert_eq!(range, expected.then_some((0x1000, 0x3000)), "{rights} {path}");
        }
    }

    #[test]
    fn pages_that_were_written_to_stay() {
        const FILE: u64 = 0b101 << 61;
        const ANONYMOUS: u64 = 0b100 << 61;
        const SWAPPED: u64 = 0b010 << 61;
        let flags = |pages: &[u64]| pages.iter().flat_map(|p| p.to_ne_bytes()).collect::<Vec<u8>>();
        let found = unchanged(&flags(&[FILE, 0, ANONYMOUS, ANONYMOUS, 0, SWAPPED, FILE | 7]));
        assert_eq!(found, [0..2, 4..5, 6..7]);
        assert!(unchanged(&flags(&[ANONYMOUS])).is_empty() && unchanged(&[]).is_empty());
    }

    #[test]
    fn code_is_mapped_in_stretches_and_the_program_goes_on() {
        map_in_stretches();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (from, to) = constants().iter().max_by_key(|(from, to)| to - from).unwrap();
        let within = maps.lines().filter_map(constant);
        let lengths: Vec<usize> = within
            .filter(|r| from <= &r.0 && &r.1 <= to)
            .map(|r| r.1 - r.0)
            .collect();
        assert_eq!(lengths.iter().sum::<usize>(), to - from);
        assert!(lengths.iter().all(|len| *len <= STRETCH), "{lengths:?}");
        release();
        assert_eq!((1..=10).sum::<i32>(), 55);
    }
}
