//! Deleting old data in ArangoDB, in batches of keys: nothing that is deleted is loaded, no transaction grows large.
//!
//! Runs go with their last event, learnings and memories with their run, as on the embedded store. Memories and edges
//! are not counted: the server would have to hand them out for that.

use serde_json::{Value, json};

use super::clauses::Where;
use super::{ArangoReader, complete};
use crate::record::format_time;
use crate::store::search::{PruneAsk, Pruned, ReadError};

/// Events of one step.
const BATCH: usize = 5_000;

pub fn prune(store: &ArangoReader, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, ReadError> {
    let mut done = Pruned::default();
    let running: Vec<String> = if ask.executions.is_empty() {
        let (query, binds) = complete(
            include_str!("../queries/running.aql"),
            &Where::default(),
            &[],
            json!({}),
        );
        store.all(&query, &binds)?
    } else {
        Vec::new()
    };
    let filter = criteria(ask, &running);
    done.protected = protected(store, ask, &running)?;
    if ask.dry_run {
        let (query, binds) = complete(include_str!("../queries/prune_count.aql"), &filter, &[], json!({}));
        done.events = store.all(&query, &binds)?.into_iter().next().unwrap_or(0);
        return Ok(done);
    }
    loop {
        let wish = json!({"limit": BATCH});
        let (query, binds) = complete(include_str!("../queries/prune_next.aql"), &filter, &[], wish);
        let keys: Vec<String> = store.all(&query, &binds)?;
        if keys.is_empty() {
            break;
        }
        let ids: Vec<String> = keys
            .iter()
            .map(|k| format!("{}/{k}", crate::store::LOG_EVENTS))
            .collect();
        store.change(include_str!("../queries/prune_edges.aql"), &json!({"ids": ids}))?;
        store.change(include_str!("../queries/prune_events.aql"), &json!({"keys": keys}))?;
        done.events += keys.len() as u64;
        progress(&done);
    }
    if ask.max_level.is_none() {
        follow_runs(store, ask, &mut done)?;
    }
    Ok(done)
}

/// Which events are meant, known as `e`.
fn criteria(ask: &PruneAsk, running: &[String]) -> Where {
    let mut filter = Where::default();
    if let Some(t) = ask.before {
        filter.add("e.ingested_at != null AND e.ingested_at < @", format_time(t));
    }
    if let Some(level) = ask.max_level {
        filter.add("e.level_no != null AND e.level_no <= @", level);
    }
    if !ask.executions.is_empty() {
        filter.add("e.execution_id IN @", ask.executions.clone());
    } else if !running.is_empty() {
        filter.add("e.execution_id NOT IN @", running.to_vec());
    }
    filter
}

/// How many running executions are left alone although they have such events.
fn protected(store: &ArangoReader, ask: &PruneAsk, running: &[String]) -> Result<u64, ReadError> {
    let mut n = 0;
    for id in running {
        let mut filter = criteria(ask, &[]);
        filter.add("e.execution_id == @", id.clone());
        let wish = json!({"limit": 1});
        let (query, binds) = complete(include_str!("../queries/prune_next.aql"), &filter, &[], wish);
        n += u64::from(!store.all::<Value>(&query, &binds)?.is_empty());
    }
    Ok(n)
}

fn follow_runs(store: &ArangoReader, ask: &PruneAsk, done: &mut Pruned) -> Result<(), ReadError> {
    let mut filter = Where::default();
    if ask.executions.is_empty() {
        filter.add("r.status != @", "running");
    } else {
        filter.add("r.execution_id IN @", ask.executions.clone());
    }
    if let Some(t) = ask.before {
        filter.add("NOT_NULL(r.end_time, r.last_seen, r.start_time) < @", format_time(t));
    }
    let (query, binds) = complete(include_str!("../queries/prune_runs_next.aql"), &filter, &[], json!({}));
    let runs: Vec<String> = store.all(&query, &binds)?;
    let mut executions = runs.clone();
    // A named execution can have learnings without ever having had a run of its own.
    executions.extend(ask.executions.iter().filter(|e| !runs.contains(e)).cloned());
    for part in executions.chunks(BATCH) {
        let named = json!({"executions": part});
        let file = include_str!("../queries/prune_learnings_next.aql");
        let (query, binds) = complete(file, &Where::default(), &[], named.clone());
        let keys: Vec<String> = store.all(&query, &binds)?;
        if !keys.is_empty() {
            let ids: Vec<String> = keys
                .iter()
                .map(|k| format!("{}/{k}", crate::store::AGENT_LEARNINGS))
                .collect();
            store.change(include_str!("../queries/prune_edges.aql"), &json!({"ids": ids}))?;
            store.change(include_str!("../queries/prune_learnings.aql"), &json!({"keys": keys}))?;
            done.learnings += keys.len() as u64;
        }
        store.change(include_str!("../queries/prune_memories.aql"), &named)?;
        store.change(include_str!("../queries/prune_runs.aql"), &named)?;
    }
    done.runs = runs.len() as u64;
    Ok(())
}
