//! Hosts whose clocks disagree with the time at which their records were taken in.

use std::collections::BTreeSet;

use super::changes::Change;
use super::drift::median;
use super::render::paint::short;
use super::scope::Scope;
use super::window::{parse_stored, show_duration};
use super::{AskError, Asking};
use crate::record::Micros;
use crate::store::search::{By, Count, CountAsk, EventAsk, Filter, Order};

/// A clock counts as ahead from here on, microseconds.
const AHEAD: i64 = 30_000_000;
/// Hosts whose clocks are looked at, and events of each.
const HOSTS: usize = 50;
const EVENTS: usize = 100;

/// Hosts whose records are stamped later than they were taken in: their clocks are ahead.
///
/// # Errors
/// Those of the store.
pub fn clocks(ask: &Asking<'_>, scope: &Scope, since: Micros) -> Result<Vec<Change>, AskError> {
    let mut hosts = BTreeSet::new();
    let question = CountAsk {
        filter: Filter {
            since: Some(since),
            ..scope.filter.clone()
        },
        by: vec![By::Field(vec!["host".to_owned()])],
        newest: false,
    };
    ask.store.counts(&question, &mut |row: Count| {
        hosts.extend(row.by.into_iter().flatten());
        hosts.len() < HOSTS
    })?;
    let mut out = Vec::new();
    for host in hosts {
        let page = ask.store.events(&EventAsk {
            filter: Filter {
                hosts: vec![host.clone()],
                since: Some(since),
                ..scope.filter.clone()
            },
            words: None,
            order: Order::Newest,
            after: None,
            limit: EVENTS,
            count: false,
        })?;
        let ahead: Vec<f64> = page
            .items
            .iter()
            .filter_map(|(e, _)| Some((parse_stored(&e.timestamp)? - parse_stored(e.ingested_at.as_deref()?)?) as f64))
            .collect();
        if let Some(offset) = median(&ahead).filter(|o| *o >= AHEAD as f64) {
            out.push(Change {
                kind: "clock",
                script_name: None,
                what: format!(
                    "the clock of {} is ahead by {}: its times do not compare",
                    short(&host, 60),
                    show_duration(offset as i64)
                ),
                since: None,
                look_at: page.items.first().map(|(e, _)| e.key.clone()),
            });
        }
    }
    Ok(out)
}
