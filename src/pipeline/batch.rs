//! A batch on its way, with what it makes true.

use std::sync::Arc;

use super::ledger::{Progress, Ticket};
use crate::state::SpoolId;
use crate::store::Batch;

/// A batch that is being formed, or waits to be sent for the first time.
#[derive(Debug, Default)]
pub struct Formed {
    pub batch: Batch,
    pub progress: Progress,
    /// Some of it comes from a stream that cannot be read again.
    pub fragile: bool,
}

impl Formed {
    /// Nothing to send and nothing to make true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.progress.is_empty()
    }

    #[must_use]
    pub fn is_full(&self, max_records: usize, max_bytes: u64) -> bool {
        self.batch.records() >= max_records || self.batch.bytes() as u64 >= max_bytes
    }
}

/// A batch with its place in the order.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub ticket: Ticket,
    pub batch: Arc<Batch>,
    pub fragile: bool,
    /// Set for a batch that came out of the spool: its last item.
    pub spooled: Option<SpoolId>,
}
