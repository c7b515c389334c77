//! What retention needs of a server: a lease, so that one agent at a time prunes a database, and how much is stored.
//!
//! The lease is one document in `logagent_leases`. It is taken and renewed by one query that uses the server's clock, so
//! that the clocks of the agents do not matter. Deleting old data twice at the same time would be harmless; the lease
//! saves work and locks. So an agent that may not keep a lease, or finds no collection for it, prunes all the same.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Arango;
use super::client::Request;
use super::cursor::{QueryOptions, text};
use super::definitions;
use super::errors::{Class, Error};
use crate::store::WriteError;

pub const LEASE: &str = include_str!("queries/lease.aql");

/// What the community edition of ArangoDB allows: 100 GiB. Above it warns, then becomes read-only, then ends.
pub const COMMUNITY_BYTES: u64 = 100 << 30;

impl Arango {
    /// Takes or renews the lease `name` for `holder` until `ttl` from now. False where somebody else holds it.
    ///
    /// # Errors
    /// As for writing.
    pub async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, WriteError> {
        let binds = json!({"name": name, "holder": holder, "ttl": u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)});
        let options = QueryOptions::default();
        match self.client.rows::<_, String>(text(LEASE), &binds, &options).await {
            Ok((rows, _)) => Ok(rows.first().is_some_and(|h| h == holder)),
            // Two took it at the same moment, and the other one was first.
            Err(Error::Api(e)) if matches!(e.num, Some(1200 | 1210)) => Ok(false),
            Err(Error::Api(e)) if e.class() == Class::Operator && matches!(e.status, 403 | 404) => {
                tracing::debug!("no lease on the database, going on without: {e:?}");
                Ok(true)
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// Bytes that the collections and their indexes take, and how many the server's edition allows, if it is limited.
    ///
    /// # Errors
    /// As for writing.
    pub async fn size(&self) -> Result<(u64, Option<u64>), WriteError> {
        #[derive(Deserialize)]
        struct Version {
            license: Option<String>,
        }
        #[derive(Deserialize)]
        struct Reply {
            figures: Figures,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Figures {
            documents_size: u64,
            indexes: Indexes,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Indexes {
            size: u64,
        }
        let answer = self.client.send(Request::get(&["_api", "version"])).await;
        let version: Version = answer.and_then(|a| a.json()).map_err(failed)?;
        let mut bytes = 0u64;
        for collection in definitions::collections(&self.settings) {
            let path = ["_api", "collection", collection.name, "figures"];
            let answer = self.client.send(Request::get(&path)).await;
            let reply: Reply = answer.and_then(|a| a.json()).map_err(failed)?;
            bytes = bytes.saturating_add(reply.figures.documents_size);
            bytes = bytes.saturating_add(reply.figures.indexes.size);
        }
        let community = version.license.as_deref() == Some("community");
        Ok((bytes, community.then_some(COMMUNITY_BYTES)))
    }
}

fn failed(error: Error) -> WriteError {
    error.into_write_error("retention")
}
