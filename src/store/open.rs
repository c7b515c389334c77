//! The store that the configuration names, whichever it is.

use std::sync::Arc;
use std::time::Duration;

use super::arango::Arango;
use super::arango::read::ArangoReader;
use super::memory::MemoryStore;
use super::sqlite::SqliteStore;
use super::sqlite::read::SqliteReader;
use super::{Batch, Fill, ReadError, Report, SchemaObject, Search, Sink, WriteError};
use crate::config::{Settings, StoreKind};

/// One of the stores, for writing.
pub enum Store {
    Sqlite(SqliteStore),
    /// Never configured: for tests.
    Memory(MemoryStore),
    Arango(Box<Arango>),
}

impl Store {
    /// Prepares the configured store for writing. It is reached when it is first used.
    ///
    /// # Errors
    /// Settings that can never work, and a process that has no resources left.
    pub fn open_writer(settings: &Settings) -> Result<Store, WriteError> {
        match settings.store.kind {
            StoreKind::Sqlite => SqliteStore::open(&settings.store.sqlite_path)
                .map(Store::Sqlite)
                .map_err(|e| WriteError::Away(format!("the writing thread of the store does not start: {e}"))),
            StoreKind::Arangodb => Arango::open(&settings.store.arangodb)
                .map(|store| Store::Arango(Box::new(store)))
                .map_err(|e| WriteError::Refused(e.to_string())),
        }
    }
}

impl Store {
    /// Whether `holder` may do the work called `name` alone until `ttl` from now. The embedded store has one agent only.
    ///
    /// # Errors
    /// As for writing.
    pub async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, WriteError> {
        match self {
            Store::Sqlite(_) | Store::Memory(_) => Ok(true),
            Store::Arango(store) => store.lease(name, holder, ttl).await,
        }
    }

    /// All is quiet: gives back what a burst of work needed.
    pub async fn rest(&self) {
        match self {
            Store::Sqlite(store) => store.rest().await,
            Store::Memory(_) | Store::Arango(_) => {}
        }
    }

    /// Leaves the store in order, as the last thing an agent does.
    pub async fn close(&self) {
        match self {
            Store::Sqlite(store) => store.close().await,
            Store::Memory(_) | Store::Arango(_) => {}
        }
    }

    /// How full the store is; `None` where nothing but the disk limits it.
    ///
    /// # Errors
    /// As for writing.
    pub async fn fill(&self) -> Result<Option<Fill>, WriteError> {
        match self {
            Store::Sqlite(_) | Store::Memory(_) => Ok(None),
            Store::Arango(store) => store.fill().await,
        }
    }
}

/// Prepares the configured store for reading. It is reached by the first question.
///
/// # Errors
/// Settings that can never work.
pub fn open_reader(settings: &Settings) -> Result<Box<dyn Search>, ReadError> {
    match settings.store.kind {
        StoreKind::Sqlite => Ok(Box::new(SqliteReader::new(&settings.store.sqlite_path))),
        StoreKind::Arangodb => Ok(Box::new(ArangoReader::new(&settings.store.arangodb)?)),
    }
}

impl Sink for Store {
    async fn write(&self, batch: &Arc<Batch>) -> Result<Report, WriteError> {
        match self {
            Store::Sqlite(store) => store.write(batch).await,
            Store::Memory(store) => store.write(batch).await,
            Store::Arango(store) => store.write(batch).await,
        }
    }

    async fn probe(&self) -> Result<(), WriteError> {
        match self {
            Store::Sqlite(store) => store.probe().await,
            Store::Memory(store) => store.probe().await,
            Store::Arango(store) => store.probe().await,
        }
    }

    async fn ensure_schema(&self, dry: bool) -> Result<Vec<SchemaObject>, WriteError> {
        match self {
            Store::Sqlite(store) => store.ensure_schema(dry).await,
            Store::Memory(store) => store.ensure_schema(dry).await,
            Store::Arango(store) => store.ensure_schema(dry).await,
        }
    }

    async fn create_missing(&self) -> Result<Vec<SchemaObject>, WriteError> {
        match self {
            Store::Sqlite(store) => store.create_missing().await,
            Store::Memory(store) => store.create_missing().await,
            Store::Arango(store) => store.create_missing().await,
        }
    }

    async fn durable_barrier(&self) -> Result<(), WriteError> {
        match self {
            Store::Sqlite(store) => store.durable_barrier().await,
            Store::Memory(store) => store.durable_barrier().await,
            Store::Arango(store) => store.durable_barrier().await,
        }
    }
}
