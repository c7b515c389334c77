//! Keeps the agent's resident memory small.
//!
//! * **The allocator.** glibc gives each thread an arena of its own and keeps what was freed in it; and once a large
//!   block was freed it takes blocks of that size from the arenas too. For an agent of four threads that hand buffers
//!   of some MiB to one another that doubled its memory. So there are two arenas, and large blocks are the kernel's.
//! * **Batches.** Where nobody asked for a size, those for the embedded store hold at most half a MiB, and those for
//!   ArangoDB one and a half: larger ones cost no less a record, and five batches are alive at a time.
//! * **Code.** What is used once (reading arguments and configuration, creating tables) stays mapped, as long as the
//!   machine has room: about 9 MiB, of which shipping touches 2. It is given back when the agent is ready. What is
//!   needed again is mapped again, from the kernel's page cache.

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

/// Gives back what the start needed: memory that the allocator keeps, and the program's own code.
pub fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only walks the allocator's own free lists, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
    let (Ok(maps), Ok(program)) = (
        std::fs::read_to_string("/proc/self/maps"),
        std::fs::read_link("/proc/self/exe"),
    ) else {
        return;
    };
    let program = program.to_string_lossy();
    for (from, to) in maps.lines().filter_map(|line| code(line, &program)) {
        // SAFETY: these pages are executable and not writable, so they are the file's own; the next use of one reads
        // it from there.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
}

/// The range of a line of `/proc/self/maps`, if it is code of `program`.
fn code(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let (from, to) = range.split_once('-')?;
    if rights != "r-xp" || !line.ends_with(program) {
        return None;
    }
    Some((
        usize::from_str_radix(from, 16).ok()?,
        usize::from_str_radix(to, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_itself_is_given_back() {
        let program = "/usr/bin/logagent";
        let line = |rights, path| format!("55d0c0a00000-55d0c1a00000 {rights} 00200000 fe:00 1234    {path}");
        assert_eq!(
            code(&line("r-xp", program), program),
            Some((0x55d0_c0a0_0000, 0x55d0_c1a0_0000))
        );
        for (rights, path) in [
            ("r--p", program),
            ("rw-p", program),
            ("r-xp", "/lib/libc.so.6"),
            ("r-xp", "[vdso]"),
        ] {
            assert_eq!(code(&line(rights, path), program), None);
        }
        assert_eq!(code("", program), None);
    }

    #[test]
    fn the_program_goes_on_after_its_code_was_given_back() {
        release();
        assert_eq!((1..=10).sum::<i32>(), 55);
    }
}
