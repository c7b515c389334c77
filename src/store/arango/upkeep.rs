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
use crate::store::{Fill, WriteError};

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

    /// How full the server is, where its edition is limited. Servers from 3.12.5 on tell it themselves; of older ones, and
    /// where the user may not ask, it is what our collections and their indexes take.
    ///
    /// # Errors
    /// As for writing.
    pub async fn fill(&self) -> Result<Option<Fill>, WriteError> {
        if let Some(told) = self.license().await? {
            return Ok(told);
        }
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
        if version.license.as_deref() != Some("community") {
            return Ok(None);
        }
        let mut bytes = 0u64;
        for collection in definitions::collections(&self.settings) {
            let path = ["_api", "collection", collection.name, "figures"];
            let answer = self.client.send(Request::get(&path)).await;
            let reply: Reply = answer.and_then(|a| a.json()).map_err(failed)?;
            bytes = bytes.saturating_add(reply.figures.documents_size);
            bytes = bytes.saturating_add(reply.figures.indexes.size);
        }
        Ok(Some(Fill {
            bytes,
            limit: COMMUNITY_BYTES,
            over: None,
        }))
    }

    /// What the server says of its licence; `None` where it does not say how full it is.
    async fn license(&self) -> Result<Option<Option<Fill>>, WriteError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct License {
            disk_usage: Option<DiskUsage>,
            features: Option<serde::de::IgnoredAny>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct DiskUsage {
            bytes_used: u64,
            bytes_limit: u64,
            limit_reached: bool,
            seconds_until_read_only: i64,
            seconds_until_shut_down: i64,
        }
        let license: License = match self.client.send(Request::get(&["_admin", "license"])).await {
            Ok(answer) => match answer.json() {
                Ok(license) => license,
                Err(_) => return Ok(None),
            },
            // An older server, or one that tells administrators only.
            Err(Error::Api(_)) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let seconds = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(match (license.disk_usage, license.features) {
            (Some(d), _) => Some(Some(Fill {
                bytes: d.bytes_used,
                limit: d.bytes_limit,
                over: d
                    .limit_reached
                    .then(|| (seconds(d.seconds_until_read_only), seconds(d.seconds_until_shut_down))),
            })),
            // An Enterprise licence has no such limit.
            (None, Some(_)) => Some(None),
            (None, None) => None,
        })
    }
}

fn failed(error: Error) -> WriteError {
    error.into_write_error("retention")
}
