//! Counters of the running agent, and the snapshot that other processes read.

pub mod alerts;
pub mod http;
pub mod on_alert;
pub mod prometheus;
pub mod snapshot;
pub mod stderr;

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the agent's start. All are records unless named otherwise.
#[derive(Debug, Default)]
pub struct Counters {
    pub read: AtomicU64,
    pub stored: AtomicU64,
    pub unparsed: AtomicU64,
    pub repaired: AtomicU64,
    pub truncated: AtomicU64,
    pub redacted: AtomicU64,
    /// Not worth storing by `[ship]`, or `db_store=false`.
    pub skipped: AtomicU64,
    /// Lost, under any name.
    pub dropped: AtomicU64,
    pub fix_unmatched: AtomicU64,
    pub bytes_read: AtomicU64,
    /// Lines of the socket that are durable.
    pub socket_lines: AtomicU64,
    pub nul_bytes: AtomicU64,
    pub cut_bytes: AtomicU64,
    pub unread_bytes: AtomicU64,
    pub blank_lines: AtomicU64,
    /// Lines of copies, which are stored already.
    pub copied_lines: AtomicU64,
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, n: u64) {
    if n > 0 {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

#[must_use]
pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
