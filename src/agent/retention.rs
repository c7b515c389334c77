//! Retention: the agent deletes what is older than `retention.days`, and looks how much the store holds.
//!
//! # Constraints
//!
//! Age counts from `ingested_at`, so that an import of old logs lives as long as new ones. Shipping goes first: deleting
//! happens in small steps with pauses between them, and a store that is away or busy is left alone until the next
//! round. At most one agent at a time prunes a database.
//!
//! # Operation
//!
//! A round comes soon after the start and then each `retention.interval`. On the embedded store the agent is the only
//! writer there is. On a server it takes a lease first, which lasts for a round and some; who does not get it leaves the
//! work to the other, and takes over when that one has gone. Runs that are `running` are never touched.
//!
//! The same round asks a server how much it holds, for the alert about the 100 GiB of the community edition.
//!
//! # Failure
//!
//! A round that fails or is cut short has deleted whole steps; the next one goes on. Nothing is remembered.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::monitoring::StoreSize;
use crate::config::Settings;
use crate::record::Micros;
use crate::store::search::{PruneAsk, Pruned};
use crate::store::{Store, WriteError, open_reader};

/// The first round comes so long after the start, or after one interval where that is shorter.
const FIRST: Duration = Duration::from_secs(20);

/// The longest pause after one step; a step that takes long earns as long a pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const LEASE: &str = "retention";

/// What a round works with.
pub struct Retention {
    settings: Settings,
    store: Arc<Store>,
    size: StoreSize,
    /// Names this agent where several share a database.
    holder: String,
    now: fn() -> Micros,
}

impl Retention {
    #[must_use]
    pub fn new(settings: &Settings, store: Arc<Store>, size: StoreSize, now: fn() -> Micros) -> Retention {
        Retention {
            holder: holder(settings),
            settings: settings.clone(),
            store,
            size,
            now,
        }
    }

    /// Does its rounds for as long as the agent runs.
    pub async fn keep(self) {
        let interval = self.settings.retention.interval;
        tokio::time::sleep(FIRST.min(interval)).await;
        loop {
            match self.round().await {
                Ok(Some(gone)) => say(&gone, self.settings.retention.days),
                Ok(None) => {}
                Err(e) => tracing::warn!("old records are not deleted now, the next round is in {interval:?}: {e}"),
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// One round. `None` where there was nothing to do for this agent.
    async fn round(&self) -> Result<Option<Pruned>, String> {
        // Whoever may not see how much there is may delete all the same.
        if let Err(e) = self.weigh().await {
            tracing::debug!("how much the store holds is not known: {e}");
        }
        let days = i64::from(self.settings.retention.days);
        if days == 0 {
            return Ok(None);
        }
        // Twice the interval: a holder that lives renews it in time, and one that died is soon followed.
        let ttl = (self.settings.retention.interval * 2).max(Duration::from_secs(60));
        let mine = self.store.lease(LEASE, &self.holder, ttl).await;
        if !mine.map_err(|e| e.to_string())? {
            tracing::debug!("another agent deletes old records of this database");
            return Ok(None);
        }
        let ask = PruneAsk {
            before: Some((self.now)() - days * 24 * 3600 * 1_000_000),
            ..PruneAsk::default()
        };
        if let Store::Sqlite(store) = &*self.store {
            // On the thread that writes, between batches.
            return store.prune(ask, |_| {}).await.map(Some).map_err(|e| e.to_string());
        }
        let settings = self.settings.clone();
        match tokio::task::spawn_blocking(move || prune(&settings, &ask)).await {
            Ok(done) => done.map(Some),
            Err(e) => Err(format!("it failed: {e}")),
        }
    }

    /// Looks how much the store holds, where it has a limit.
    async fn weigh(&self) -> Result<(), WriteError> {
        let fill = self.store.fill().await?;
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = fill;
        Ok(())
    }
}

/// Names an agent where several share a database: by its data directory, which no two of a host can use at a time. The same
/// one after a restart, so that it does not wait for itself.
fn holder(settings: &Settings) -> String {
    let dir = std::fs::canonicalize(&settings.data_dir).unwrap_or_else(|_| settings.data_dir.clone());
    format!("{}:{}", settings.host, dir.display())
}

/// Deletes step by step, and after each leaves the store to the pipeline for as long as the step took.
fn prune(settings: &Settings, ask: &PruneAsk) -> Result<Pruned, String> {
    let reader = open_reader(settings).map_err(|e| e.to_string())?;
    let mut begun = Instant::now();
    let done = reader.prune(ask, &mut |_| {
        std::thread::sleep(begun.elapsed().min(LONGEST_PAUSE));
        begun = Instant::now();
    });
    done.map_err(|e| e.to_string())
}

fn say(gone: &Pruned, days: u32) {
    if gone.events + gone.runs + gone.learnings + gone.memories + gone.edges > 0 {
        tracing::info!(
            events = gone.events,
            runs = gone.runs,
            learnings = gone.learnings,
            edges = gone.edges,
            "deleted what was stored more than {days} days ago"
        );
    }
}
