//! The ArangoDB store: plain HTTP, nothing but documents, AQL and the schema.
//!
//! # Constraints
//!
//! * A batch may arrive any number of times, also after answers that were lost: keys are the agent's own, and known
//!   ones are ignored.
//! * One bad record must not hold up the rest of its batch, and no refusal of the server may lose any.
//! * The agent is small: the request's body *is* the batch, answers are two bytes, nothing is parsed but errors.
//!
//! # Words
//!
//! An *endpoint* is one coordinator, or the single server. A *class* is what a refused request means, a *fate* what an
//! error entry means for its record ([`errors`]).
//!
//! # Operation
//!
//! [`client`] carries one request to one of the endpoints, as somebody ([`auth`]). [`mod@deliver`] inserts arrays of
//! documents and accounts for every one of them. [`runs`] and [`causality`] write what is rarer, in AQL. [`schema`]
//! brings the server to what [`definitions`] says. [`cursor`] asks questions.
//!
//! # Failure
//!
//! [`WriteError::Away`] passes by itself: no connection, an overload, a lock, a failover. [`WriteError::Refused`] needs
//! a person: the text says what to do. Neither loses anything, since the caller repeats the batch. Records that the
//! server refuses for good are handed back in [`Report::rejected`].

pub mod auth;
pub mod causality;
pub mod client;
pub mod cursor;
pub mod definitions;
pub mod deliver;
pub mod errors;
pub mod queue;
pub mod read;
pub mod request;
pub mod runs;
pub mod schema;
pub mod upkeep;
pub mod vector;
pub mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use client::Client;
pub use cursor::{Cursor, Plan, QueryOptions, Stats, Warning};
pub use errors::{ApiError, Error};

use self::definitions::Mode;
use self::deliver::{Load, Memory, deliver};
use super::{AGENT_LEARNINGS, AGENT_MEMORIES, Batch, LOG_EVENTS, Report, SCRIPT_RUNS, SchemaObject, Sink, WriteError};
use crate::config;
use client::{Request, Scope};

/// One ArangoDB database.
pub struct Arango {
    client: Client,
    settings: config::Arangodb,
    memory: Memory,
    /// Batches in flight at the same time often tell of the same runs; one after the other they do not collide.
    runs: tokio::sync::Mutex<()>,
    /// Fixes whose queries could not be finished.
    unfinished: causality::Unfinished,
    /// Something was confirmed since the last barrier.
    unsynced: AtomicBool,
}

/// The server syncs its log to the disk every 100 ms unless it was told otherwise; this waits for two of these.
const SYNCED_AFTER: Duration = Duration::from_millis(250);

impl Arango {
    /// Prepares the store; nothing is sent yet. Fails only on settings that can never work.
    pub fn open(settings: &config::Arangodb) -> Result<Arango, Error> {
        Ok(Arango {
            client: Client::new(settings)?,
            settings: settings.clone(),
            memory: Memory::default(),
            runs: tokio::sync::Mutex::default(),
            unfinished: causality::Unfinished::default(),
            unsynced: AtomicBool::new(false),
        })
    }

    /// The way to the server, for queries.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server's version; fails as [`WriteError::Refused`] on one that is too old, or a login that is refused.
    pub async fn version(&self) -> Result<String, WriteError> {
        schema::server_version(&self.client).await
    }

    async fn write_runs(&self, batch: &Batch) -> Result<Vec<super::Rejected>, WriteError> {
        if batch.runs.is_empty() {
            return Ok(Vec::new());
        }
        let _one_at_a_time = self.runs.lock().await;
        runs::write(&self.client, &batch.runs).await
    }

    /// Copies of vectors, where they are wanted. What the server refuses of them is no loss: they stand with their events.
    async fn write_vectors(&self, batch: &Batch) -> Result<(), WriteError> {
        if self.settings.vector_dimensions == 0 {
            return Ok(());
        }
        let copies = vector::copies(&batch.events, self.settings.vector_dimensions);
        if copies.is_empty() {
            return Ok(());
        }
        let load = Load::Own(Arc::new(copies));
        for refused in deliver(&self.client, &self.memory, definitions::LOG_EMBEDDINGS, load).await? {
            tracing::warn!(key = refused.key, "a vector is not copied: {}", refused.reason);
        }
        Ok(())
    }
}

impl Arango {
    async fn write_all(&self, batch: &Arc<Batch>) -> Result<Report, WriteError> {
        let events = deliver(&self.client, &self.memory, LOG_EVENTS, Load::Events(Arc::clone(batch)));
        let (events, runs) = tokio::join!(events, self.write_runs(batch));
        let mut rejected = events?;
        let stored = (batch.events.len() - rejected.len().min(batch.events.len())) as u64;
        rejected.extend(runs?);
        self.write_vectors(batch).await?;
        let load = Load::Learnings(Arc::clone(batch));
        rejected.extend(deliver(&self.client, &self.memory, AGENT_LEARNINGS, load).await?);
        let load = Load::Memories(Arc::clone(batch));
        rejected.extend(deliver(&self.client, &self.memory, AGENT_MEMORIES, load).await?);
        let edges = causality::write(&self.client, &self.memory, batch, &self.unfinished).await?;
        rejected.extend(edges.rejected);
        Ok(Report {
            stored,
            known: 0,
            fixes_unmatched: edges.fixes_unmatched,
            postponed: edges.postponed,
            rejected,
        })
    }
}

impl Sink for Arango {
    async fn write(&self, batch: &Arc<Batch>) -> Result<Report, WriteError> {
        let written = self.write_all(batch).await;
        // Behind everything: a barrier that came in between knows nothing of what followed. Also after an error, which may
        // hide what was stored.
        self.unsynced.store(true, Ordering::Release);
        written
    }

    /// Availability needs no login and tells overload, start-up and read-only mode. Then an array of no events goes the
    /// way of a batch: it stores nothing, and tells that login, permission and collection are right again, and that
    /// answers to what is written come back, which a question does not tell.
    async fn probe(&self) -> Result<(), WriteError> {
        let path = ["_admin", "server", "availability"];
        self.client
            .send(Request::get(&path).scope(Scope::Open))
            .await
            .map_err(|e| e.into_write_error("probe"))?;
        deliver::knock(&self.client, LOG_EVENTS).await?;
        let path = ["_api", "collection", SCRIPT_RUNS];
        self.client
            .send(Request::get(&path))
            .await
            .map_err(|e| e.into_write_error(SCRIPT_RUNS))?;
        Ok(())
    }

    async fn ensure_schema(&self, dry: bool) -> Result<Vec<SchemaObject>, WriteError> {
        let mode = if dry { Mode::Dry } else { Mode::All };
        schema::ensure(&self.client, &self.settings, mode).await
    }

    async fn create_missing(&self) -> Result<Vec<SchemaObject>, WriteError> {
        schema::ensure(&self.client, &self.settings, Mode::Missing).await
    }

    /// An answer means that the server has the batch in its log, not that the log is on its disk. Asking for a sync with
    /// each batch would cost the server dearly; a moment later it has done it anyway.
    async fn durable_barrier(&self) -> Result<(), WriteError> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            tokio::time::sleep(SYNCED_AFTER).await;
        }
        Ok(())
    }
}
