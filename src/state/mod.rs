//! The only durable memory of the write side: an embedded sled database in the data directory.

use serde::{Deserialize, Serialize};

use crate::source::{Cursor, StreamEntry, StreamId};
use crate::store::{Batch, Rejected};

/// Position of an item in the spool; rises with every push.
pub type SpoolId = u64;

/// One atomic change of the state: all of it happens, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// New or changed identities of file streams.
    pub remember: Vec<StreamEntry>,
    /// Streams whose identity and cursor are no longer needed.
    pub forget: Vec<StreamId>,
    /// Cursors of file streams, everything below which is settled by this change or before it.
    pub cursors: Vec<(StreamId, Cursor)>,
    /// Durable position of named socket streams (`{"logagent":"ack","stream":…}`): (name, cursor).
    pub socket_streams: Vec<(String, Cursor)>,
    /// Open runs to keep, by execution id; `None` removes. The value is opaque to the state.
    pub runs: Vec<(String, Option<Vec<u8>>)>,
    /// Batches to spool, in order.
    pub spool: Vec<std::sync::Arc<Batch>>,
    /// Everything in the spool up to and including this item is stored.
    pub spool_done: Option<SpoolId>,
    pub dead_letters: Vec<DeadLetter>,
}

/// A record that the store refused for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    #[serde(flatten)]
    pub rejected: Rejected,
    /// When it was refused, 27 characters.
    pub time: String,
}
