//! Deleting old data in ArangoDB, in batches of keys: nothing that is deleted is loaded, no transaction grows large.
//!
//! What goes is what goes on the embedded store (see [`crate::store::sqlite::prune`]): events by the criteria; with an
//! event the edges that end in it; with the last event of an execution its run, its learnings and their memories.
//! Executions that run are left alone unless named, and what was learnt outside a run stays.
//!
//! A step is a handful of small queries, and each is a transaction of its own. A kill between two of them leaves a run
//! without events, which the next pass with a bound on time finds. The server says how many documents each query wrote,
//! so two agents that prune at the same time do not count the same document twice.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::clauses::Where;
use super::{ArangoReader, complete};
use crate::record::format_time;
use crate::store::search::{PruneAsk, Pruned, ReadError};
use crate::store::{AGENT_LEARNINGS, LOG_EVENTS};

/// Events, or executions, of one step.
const BATCH: usize = 5_000;

/// Counting what would go looks at all of it: an operator waits for that.
const PATIENT: Duration = Duration::from_secs(600);

/// No executions in the sense of what hangs on one.
const OUTSIDE: [&str; 2] = ["manual", "unknown"];

#[derive(Deserialize)]
struct Doomed {
    key: String,
    execution_id: String,
}

/// A pass: the question, and what runs while it is answered.
struct Pass<'a> {
    store: &'a ArangoReader,
    ask: &'a PruneAsk,
    running: Vec<String>,
    /// Where there is no index for the criteria: the events up to this key were looked at.
    last: Option<String>,
    done: Pruned,
}

pub fn prune(store: &ArangoReader, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, ReadError> {
    // No criteria mean nothing, not everything.
    if ask.executions.is_empty() && ask.before.is_none() && ask.max_level.is_none() {
        return Ok(Pruned::default());
    }
    let mut pass = Pass {
        store,
        ask,
        running: Vec::new(),
        last: (ask.executions.is_empty() && ask.before.is_none()).then(String::new),
        done: Pruned::default(),
    };
    if ask.executions.is_empty() {
        pass.running = pass.all(include_str!("../queries/running.aql"), &Where::default(), json!({}))?;
    }
    pass.done.protected = pass.protected()?;
    if ask.dry_run {
        pass.estimate()?;
        return Ok(pass.done);
    }
    while pass.events()? {
        progress(&pass.done);
    }
    while pass.eventless()? {
        progress(&pass.done);
    }
    if let Some(named) = pass.named() {
        pass.follow(named)?;
    }
    Ok(pass.done)
}

impl Pass<'_> {
    fn all<T: serde::de::DeserializeOwned>(
        &self,
        file: &str,
        filter: &Where,
        binds: serde_json::Value,
    ) -> Result<Vec<T>, ReadError> {
        let (query, binds) = complete(file, filter, &[], binds);
        let mut rows = Vec::new();
        self.store.each(&query, &binds, PATIENT, &mut |row| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }

    /// Which events are meant, known as `e`.
    fn criteria(&self, protect: bool) -> Where {
        let mut filter = Where::default();
        if let Some(t) = self.ask.before {
            filter.add("e.ingested_at != null AND e.ingested_at < @", format_time(t));
        }
        if let Some(level) = self.ask.max_level {
            filter.add("e.level_no != null AND e.level_no <= @", level);
        }
        if !self.ask.executions.is_empty() {
            filter.add("e.execution_id IN @", self.ask.executions.clone());
        } else if protect && !self.running.is_empty() {
            filter.add("e.execution_id NOT IN @", self.running.clone());
        }
        filter
    }

    /// How many running executions are left alone although they have such events.
    fn protected(&self) -> Result<u64, ReadError> {
        let mut n = 0;
        for id in &self.running {
            let mut filter = self.criteria(false);
            filter.add("e.execution_id == @", id.clone());
            let file = include_str!("../queries/prune_next.aql");
            n += u64::from(!self.all::<Doomed>(file, &filter, json!({"limit": 1}))?.is_empty());
        }
        Ok(n)
    }

    /// Deletes the next events and what goes with them; false when there are no more.
    fn events(&mut self) -> Result<bool, ReadError> {
        let mut filter = self.criteria(true);
        let file = match &self.last {
            None => include_str!("../queries/prune_next.aql"),
            Some(last) => {
                filter.add("e._key > @", last.clone());
                include_str!("../queries/prune_next_by_key.aql")
            }
        };
        let doomed: Vec<Doomed> = self.all(file, &filter, json!({"limit": BATCH}))?;
        let Some(end) = doomed.last() else {
            return Ok(false);
        };
        if let Some(last) = &mut self.last {
            last.clone_from(&end.key);
        }
        let ids: Vec<String> = doomed.iter().map(|d| format!("{LOG_EVENTS}/{}", d.key)).collect();
        self.edges(&ids)?;
        let keys: Vec<&String> = doomed.iter().map(|d| &d.key).collect();
        let file = include_str!("../queries/prune_events.aql");
        self.done.events += self.store.change(file, &json!({"keys": keys}))?;
        if self.store.vectors {
            let file = include_str!("../queries/prune_embeddings.aql");
            self.store.change(file, &json!({"keys": keys}))?;
        }
        let mut touched: Vec<&String> = doomed.iter().map(|d| &d.execution_id).collect();
        touched.sort_unstable();
        touched.dedup();
        if self.ask.executions.is_empty() {
            touched.retain(|id| !OUTSIDE.contains(&id.as_str()));
        }
        let file = include_str!("../queries/prune_emptied.aql");
        let emptied = self.all(file, &Where::default(), json!({"executions": touched}))?;
        self.follow(emptied)?;
        Ok(true)
    }

    fn edges(&mut self, ids: &[String]) -> Result<(), ReadError> {
        let file = include_str!("../queries/prune_edges.aql");
        self.done.edges += self.store.change(file, &json!({"ids": ids}))?;
        Ok(())
    }

    /// Which runs go although they have no event, known as `r`; `None` where such runs stay.
    fn eventless_runs(&self) -> Option<Where> {
        let named = !self.ask.executions.is_empty();
        if self.ask.max_level.is_some() || (!named && self.ask.before.is_none()) {
            return None;
        }
        let mut filter = Where::default();
        if named {
            filter.add("r.execution_id IN @", self.ask.executions.clone());
        } else {
            filter.add("NOT_NULL(r.status, \"running\") != @", "running");
        }
        if let Some(t) = self.ask.before {
            filter.add("r.start_time < @", format_time(t));
            filter.add("NOT_NULL(r.end_time, r.last_seen, r.start_time) < @", format_time(t));
        }
        Some(filter)
    }

    /// Deletes the next runs that never had an event, or whose events went some other way; false when there are no
    /// more.
    fn eventless(&mut self) -> Result<bool, ReadError> {
        let Some(filter) = self.eventless_runs() else {
            return Ok(false);
        };
        let file = include_str!("../queries/prune_runs_next.aql");
        let found: Vec<String> = self.all(file, &filter, json!({"limit": BATCH}))?;
        let more = found.len() == BATCH;
        let before = self.done.runs;
        self.follow(found)?;
        // A run that the server does not let go would be found for ever.
        Ok(more && self.done.runs > before)
    }

    /// Executions that were named: they may have learnings and neither run nor event.
    fn named(&self) -> Option<Vec<String>> {
        let whole = self.ask.max_level.is_none() && self.ask.before.is_none();
        whole.then(|| self.ask.executions.clone())
    }

    /// Deletes what belongs to executions.
    fn follow(&mut self, executions: Vec<String>) -> Result<(), ReadError> {
        for part in executions.chunks(BATCH) {
            let named = json!({"executions": part});
            let file = include_str!("../queries/prune_learnings_next.aql");
            let keys: Vec<String> = self.all(file, &Where::default(), named.clone())?;
            if !keys.is_empty() {
                let ids: Vec<String> = keys.iter().map(|k| format!("{AGENT_LEARNINGS}/{k}")).collect();
                self.edges(&ids)?;
                let file = include_str!("../queries/prune_learnings.aql");
                self.done.learnings += self.store.change(file, &json!({"keys": keys}))?;
            }
            let file = include_str!("../queries/prune_memories.aql");
            self.done.memories += self.store.change(file, &named)?;
            let file = include_str!("../queries/prune_runs.aql");
            self.done.runs += self.store.change(file, &named)?;
        }
        Ok(())
    }

    /// What would go.
    fn estimate(&mut self) -> Result<(), ReadError> {
        let filter = self.criteria(true);
        let one = |counted: Vec<u64>| counted.into_iter().next().unwrap_or(0);
        self.done.events = one(self.all(include_str!("../queries/prune_count.aql"), &filter, json!({}))?);
        self.done.edges = one(self.all(include_str!("../queries/prune_edges_count.aql"), &filter, json!({}))?);
        let mut gone: Vec<String> = self.all(include_str!("../queries/prune_would_empty.aql"), &filter, json!({}))?;
        if self.ask.executions.is_empty() {
            gone.retain(|id| !OUTSIDE.contains(&id.as_str()));
        }
        if let Some(filter) = self.eventless_runs() {
            let all = json!({"limit": i64::MAX});
            gone.extend(self.all::<String>(include_str!("../queries/prune_runs_next.aql"), &filter, all)?);
        }
        gone.extend(self.named().unwrap_or_default());
        gone.sort_unstable();
        gone.dedup();
        for part in gone.chunks(BATCH) {
            let file = include_str!("../queries/prune_follow_count.aql");
            let counts: Vec<[u64; 3]> = self.all(file, &Where::default(), json!({"executions": part}))?;
            for [runs, learnings, memories] in counts {
                self.done.runs += runs;
                self.done.learnings += learnings;
                self.done.memories += memories;
            }
        }
        Ok(())
    }
}
