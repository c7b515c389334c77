//! The reference answers: every question by looking at everything, with [`Filter::admits`] as it stands.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Contents, MemoryStore};
use crate::record::format_time;
use crate::store::admit::{at, name_of};
use crate::store::rank::LearningPage;
use crate::store::search::{
    After, By, COUNT_MAX, Count, CountAsk, EventAsk, Filter, Fixed, KEY_START, LearningAsk, Mark, Order, Page,
    PruneAsk, Pruned, RawAsk, RawRow, ReadError, RunAsk, Search, Visit,
};
use crate::store::stored::{Edge, Event, Learning, Run};

/// A page of what is sorted already.
fn page<T>(items: Vec<T>, offset: usize, limit: usize, count: bool) -> Page<T> {
    let total = items.len();
    let items: Vec<T> = items.into_iter().skip(offset).take(limit).collect();
    Page {
        more: offset + items.len() < total,
        items,
        total: (count && total as u64 <= COUNT_MAX).then_some(total as u64),
    }
}

fn names(event: &Event, by: &By) -> Vec<Option<String>> {
    let part = |n: usize| vec![event.timestamp.get(..n).map(str::to_owned)];
    match by {
        By::Hour => part(13),
        By::Day => part(10),
        By::Field(path) => {
            let doc = serde_json::to_value(event).unwrap_or_default();
            match at(&doc, path) {
                None => vec![None],
                Some(Value::Array(items)) if items.is_empty() => vec![None],
                Some(Value::Array(items)) => items.iter().map(name_of).collect(),
                Some(value) => vec![name_of(value)],
            }
        }
    }
}

fn run(row: &crate::store::runs::RunRow) -> Run {
    serde_json::from_value(crate::store::arango::runs::stored(row)).unwrap_or_default()
}

impl Contents {
    fn admitted(&self, filter: &Filter) -> Vec<&Event> {
        let stored = filter.stored_until.and_then(|n| usize::try_from(n).ok());
        let known = self.events.iter().take(stored.unwrap_or(usize::MAX));
        let mut found: Vec<&Event> = known.filter(|e| filter.admits(e)).collect();
        found.sort_by(|a, b| a.position().cmp(&b.position()));
        found
    }

    fn runs_of(&self, ask: &RunAsk) -> Vec<Run> {
        let any = |list: &[String], value: Option<&String>| list.is_empty() || value.is_some_and(|v| list.contains(v));
        let mut found: Vec<Run> = self.runs.values().map(run).collect();
        found.retain(|r| {
            let last = [Some(&r.start_time), r.end_time.as_ref(), r.last_seen.as_ref()];
            let last = last.into_iter().flatten().max();
            let doc = serde_json::to_value(r).unwrap_or_default();
            ask.since.is_none_or(|t| last.is_some_and(|l| *l >= format_time(t)))
                && ask.until.is_none_or(|t| r.start_time <= format_time(t))
                && ask.status.is_none_or(|s| r.status == s)
                && any(&ask.scripts, Some(&r.script_name))
                && any(&ask.hosts, r.host.as_ref())
                && any(&ask.executions, Some(&r.execution_id))
                && ask
                    .begins
                    .as_ref()
                    .is_none_or(|b| r.execution_id.starts_with(b) || r.script_name.starts_with(b))
                && ask.fields.iter().all(|f| f.holds(&doc))
                && ask.with_event.as_ref().is_none_or(|filter| {
                    let of_run = |e: &&Event| e.execution_id == r.execution_id;
                    let within = Filter {
                        since: None,
                        until: None,
                        executions: Vec::new(),
                        ..filter.clone()
                    };
                    self.events.iter().filter(of_run).any(|e| within.admits(e))
                })
        });
        found.sort_by(|a, b| (&a.start_time, &a.execution_id).cmp(&(&b.start_time, &b.execution_id)));
        if !ask.oldest {
            found.reverse();
        }
        found
    }

    fn doomed(&self, ask: &PruneAsk) -> (BTreeSet<String>, u64) {
        let meant = |e: &Event| {
            ask.before
                .is_none_or(|t| e.ingested_at.as_ref().is_some_and(|i| *i < format_time(t)))
                && (ask.executions.is_empty() || ask.executions.contains(&e.execution_id))
                && ask.max_level.is_none_or(|l| e.level_no.is_some_and(|n| n <= l))
        };
        let running: BTreeSet<String> = self
            .runs
            .values()
            .map(run)
            .filter(|r| r.status == "running" && ask.executions.is_empty())
            .map(|r| r.execution_id)
            .collect();
        let mut keys = BTreeSet::new();
        let mut spared = BTreeSet::new();
        for event in self.events.iter().filter(|e| meant(e)) {
            if running.contains(&event.execution_id) {
                spared.insert(event.execution_id.clone());
            } else {
                keys.insert(event.key.clone());
            }
        }
        (keys, spared.len() as u64)
    }

    fn delete(&mut self, ask: &PruneAsk) -> Pruned {
        if ask.executions.is_empty() && ask.before.is_none() && ask.max_level.is_none() {
            return Pruned::default();
        }
        let (keys, protected) = self.doomed(ask);
        let touched: BTreeSet<String> = self
            .events
            .iter()
            .filter(|e| keys.contains(&e.key))
            .map(|e| e.execution_id.clone())
            .filter(|id| !ask.executions.is_empty() || !["manual", "unknown"].contains(&id.as_str()))
            .collect();
        let before = self.edges.len();
        let ids: BTreeSet<String> = keys.iter().map(|k| format!("log_events/{k}")).collect();
        self.edges.retain(|_, e| !ids.contains(&e.from) && !ids.contains(&e.to));
        self.events.retain(|e| !keys.contains(&e.key));
        self.places = self
            .events
            .iter()
            .enumerate()
            .map(|(i, e)| (e.key.clone(), i))
            .collect();
        let mut gone = touched;
        gone.retain(|id| self.events.iter().all(|e| e.execution_id != *id));
        gone.extend(self.eventless(ask));
        if ask.max_level.is_none() && ask.before.is_none() {
            gone.extend(ask.executions.iter().cloned());
        }
        let counts = (self.runs.len(), self.learnings.len(), self.memories.len());
        self.runs.retain(|id, _| !gone.contains(id));
        let lost = self.learnings.iter().filter(|l| gone.contains(&l.execution_id));
        let ends: BTreeSet<String> = lost.map(|l| format!("agent_learnings/{}", l.key)).collect();
        self.edges.retain(|_, e| !ends.contains(&e.to));
        self.learnings.retain(|l| !gone.contains(&l.execution_id));
        self.memories.retain(|_, m| {
            let id = m.pointer("/metadata/execution_id").and_then(Value::as_str);
            !id.is_some_and(|id| gone.contains(id))
        });
        Pruned {
            events: keys.len() as u64,
            runs: (counts.0 - self.runs.len()) as u64,
            learnings: (counts.1 - self.learnings.len()) as u64,
            memories: (counts.2 - self.memories.len()) as u64,
            edges: (before - self.edges.len()) as u64,
            protected,
        }
    }

    /// Executions whose runs go although they have no event.
    fn eventless(&self, ask: &PruneAsk) -> Vec<String> {
        if ask.max_level.is_some() || (ask.executions.is_empty() && ask.before.is_none()) {
            return Vec::new();
        }
        let goes = |r: &Run| {
            let ended = r.end_time.as_ref().or(r.last_seen.as_ref()).unwrap_or(&r.start_time);
            let meant = if ask.executions.is_empty() {
                r.status != "running"
            } else {
                ask.executions.contains(&r.execution_id)
            };
            meant
                && ask
                    .before
                    .is_none_or(|t| r.start_time < format_time(t) && *ended < format_time(t))
                && self.events.iter().all(|e| e.execution_id != r.execution_id)
        };
        let runs = self.runs.values().map(run);
        runs.filter(goes).map(|r| r.execution_id).collect()
    }
}

impl Search for MemoryStore {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn event(&self, key: &str) -> Result<Option<Event>, ReadError> {
        self.look(|c| {
            if let Some(event) = c.event(key) {
                return Ok(Some(event.clone()));
            }
            let begins = |e: &&Event| key.len() >= KEY_START && e.key.starts_with(key);
            let found: Vec<&Event> = c.events.iter().filter(begins).collect();
            match found.as_slice() {
                [] => Ok(None),
                [one] => Ok(Some((*one).clone())),
                _ => Err(ReadError::Faulty(format!(
                    "several keys begin with '{key}': give more of it"
                ))),
            }
        })
    }

    fn events(&self, ask: &EventAsk) -> Result<Page<(Event, Option<f64>)>, ReadError> {
        self.look(|c| {
            let mut found: Vec<(Event, Option<f64>)> = c
                .admitted(&ask.filter)
                .into_iter()
                .filter_map(|e| match &ask.words {
                    None => Some((e.clone(), None)),
                    Some(words) => words.score(&e.text_fields()).map(|s| (e.clone(), Some(s))),
                })
                .collect();
            if ask.order != Order::Oldest {
                found.reverse();
            }
            match ask.order {
                Order::Score => found.sort_by(|a, b| b.1.unwrap_or(0.0).total_cmp(&a.1.unwrap_or(0.0))),
                Order::Newest | Order::Oldest => found.iter_mut().for_each(|hit| hit.1 = None),
            }
            let total = found.len() as u64;
            let mut offset = 0;
            match &ask.after {
                Some(After::Position { timestamp, seq, key }) => {
                    let from = (timestamp.as_str(), *seq, key.as_str());
                    found.retain(|(e, _)| match ask.order {
                        Order::Oldest => e.position() > from,
                        _ => e.position() < from,
                    });
                }
                Some(After::Offset(n)) => offset = usize::try_from(*n).unwrap_or(usize::MAX),
                None => {}
            }
            let mut page = page(found, offset, ask.limit, false);
            page.total = (ask.count && total <= COUNT_MAX).then_some(total);
            Ok(page)
        })
    }

    fn scan(&self, filter: &Filter, oldest_first: bool, visit: Visit<'_, Event>) -> Result<(), ReadError> {
        let mut found: Vec<Event> = self.look(|c| c.admitted(filter).into_iter().cloned().collect());
        if !oldest_first {
            found.reverse();
        }
        for event in found {
            let mut exception = event.exception;
            if let Some(e) = &mut exception {
                e.traceback = None;
            }
            let lean = Event {
                key: event.key,
                timestamp: event.timestamp,
                level: event.level,
                level_no: event.level_no,
                message: event.message,
                execution_id: event.execution_id,
                script_name: event.script_name,
                function_name: event.function_name,
                fingerprint: event.fingerprint,
                event: event.event,
                seq: event.seq,
                tags: event.tags,
                exception,
                ..Event::default()
            };
            if !visit(lean) {
                break;
            }
        }
        Ok(())
    }

    fn tail(&self, filter: &Filter, mark: Option<Mark>, limit: usize) -> Result<(Vec<Event>, Mark), ReadError> {
        self.look(|c| {
            let last = c.events.len();
            let from = mark.and_then(|m| m.0.first().and_then(|n| n.parse::<usize>().ok()));
            let Some(from) = from else {
                return Ok((Vec::new(), Mark(vec![last.to_string()])));
            };
            let mut reached = last;
            let mut items = Vec::new();
            for (i, event) in c.events.iter().enumerate().skip(from).filter(|(_, e)| filter.admits(e)) {
                if items.len() == limit {
                    reached = i;
                    break;
                }
                items.push(event.clone());
            }
            Ok((items, Mark(vec![reached.to_string()])))
        })
    }

    fn latest(&self) -> Result<i64, ReadError> {
        Ok(self.look(|c| i64::try_from(c.events.len()).unwrap_or(i64::MAX)))
    }

    fn counts(&self, ask: &CountAsk, visit: Visit<'_, Count>) -> Result<(), ReadError> {
        let mut groups: BTreeMap<Vec<Option<String>>, Count> = BTreeMap::new();
        self.look(|c| {
            for event in c.admitted(&ask.filter) {
                let mut combined: Vec<Vec<Option<String>>> = vec![Vec::new()];
                for by in &ask.by {
                    let names = names(event, by);
                    combined = combined
                        .into_iter()
                        .flat_map(|head| {
                            names
                                .iter()
                                .map(move |n| [head.as_slice(), std::slice::from_ref(n)].concat())
                        })
                        .collect();
                }
                for by in combined {
                    let group = groups.entry(by.clone()).or_insert_with(|| Count {
                        by,
                        count: 0,
                        first: event.timestamp.clone(),
                        last: String::new(),
                        newest: String::new(),
                    });
                    group.count += 1;
                    if (&event.timestamp, &event.key) >= (&group.last, &group.newest) || group.last < event.timestamp {
                        group.last.clone_from(&event.timestamp);
                        group.newest.clone_from(&event.key);
                    }
                }
            }
        });
        for mut group in groups.into_values() {
            if !ask.newest {
                group.newest.clear();
            }
            if !visit(group) {
                break;
            }
        }
        Ok(())
    }

    fn extent(&self, filter: &Filter) -> Result<Option<(String, String)>, ReadError> {
        self.look(|c| {
            let found = c.admitted(filter);
            Ok(found
                .first()
                .zip(found.last())
                .map(|(a, b)| (a.timestamp.clone(), b.timestamp.clone())))
        })
    }

    fn runs(&self, ask: &RunAsk) -> Result<Page<Run>, ReadError> {
        let mut found = self.look(|c| c.runs_of(ask));
        let total = found.len() as u64;
        let mut offset = 0;
        match &ask.after {
            Some(After::Position { timestamp, key, .. }) => {
                let from = (timestamp, key);
                found.retain(|r| {
                    let here = (&r.start_time, &r.execution_id);
                    if ask.oldest { here > from } else { here < from }
                });
            }
            Some(After::Offset(n)) => offset = usize::try_from(*n).unwrap_or(usize::MAX),
            None => {}
        }
        let mut page = page(found, offset, ask.limit, false);
        page.total = ask.count.then_some(total);
        Ok(page)
    }

    fn learnings(&self, ask: &LearningAsk) -> Result<Page<(Learning, Option<f64>)>, ReadError> {
        let mut found = self.look(|c| c.learnings.clone());
        found.retain(|l| {
            let doc = serde_json::to_value(l).unwrap_or_default();
            ask.since.is_none_or(|t| l.timestamp >= format_time(t))
                && ask.until.is_none_or(|t| l.timestamp <= format_time(t))
                && ask.min_confidence.is_none_or(|c| l.confidence.is_some_and(|n| n >= c))
                && (ask.executions.is_empty() || ask.executions.contains(&l.execution_id))
                && (ask.scripts.is_empty() || l.script_name.as_ref().is_some_and(|s| ask.scripts.contains(s)))
                && ask.tags.iter().all(|t| l.tags.iter().flatten().any(|have| have == t))
                && ask.grep.as_ref().is_none_or(|re| re.is_match(&l.learning))
                && ask.fields.iter().all(|f| f.holds(&doc))
        });
        found.sort_by(|a, b| (&a.timestamp, &a.key).cmp(&(&b.timestamp, &b.key)));
        if !ask.oldest {
            found.reverse();
        }
        let mut page = LearningPage::new(ask);
        found.into_iter().for_each(|l| page.take(l));
        Ok(page.finish())
    }

    fn fixes(&self, fingerprints: &[String]) -> Result<Vec<Fixed>, ReadError> {
        self.look(|c| {
            let mut found: Vec<Fixed> = c
                .edges
                .values()
                .filter(|e| e.kind == "FIXED_BY")
                .filter_map(|e| {
                    let fingerprint = e.metadata.fingerprint.clone().filter(|f| fingerprints.contains(f))?;
                    let event = |id: &str| c.event(id.split_once('/').map_or(id, |(_, key)| key));
                    let (error, fix) = (event(&e.from)?, event(&e.to)?);
                    Some(Fixed {
                        fingerprint,
                        script_name: error.script_name.clone(),
                        error_key: error.key.clone(),
                        error_time: error.timestamp.clone(),
                        fix_key: fix.key.clone(),
                        time: fix.timestamp.clone(),
                        description: fix.message.clone(),
                        rationale: e.rationale.clone(),
                        author: fix.author(),
                        host: fix.host.clone(),
                    })
                })
                .collect();
            found.sort_by(|a, b| a.time.cmp(&b.time));
            Ok(found)
        })
    }

    fn edges(&self, execution: &str, keys: &[String], limit: usize) -> Result<Vec<Edge>, ReadError> {
        let ids: BTreeSet<String> = keys.iter().map(|k| format!("log_events/{k}")).collect();
        self.look(|c| {
            let of_it = |e: &&crate::store::edges::Edge| {
                e.metadata.execution_id == execution || ids.contains(&e.from) || ids.contains(&e.to)
            };
            let found = c.edges.values().filter(of_it).take(limit);
            let read = |e: &crate::store::edges::Edge| {
                serde_json::to_value(e)
                    .ok()
                    .and_then(|v| serde_json::from_value(v).ok())
            };
            Ok(found.filter_map(read).collect())
        })
    }

    fn prune(&self, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, ReadError> {
        let mut inner = self.lock();
        if ask.dry_run {
            return Ok(inner.contents.clone().delete(ask));
        }
        let done = inner.contents.delete(ask);
        progress(&done);
        Ok(done)
    }

    fn raw(&self, _ask: &RawAsk, _visit: Visit<'_, RawRow>) -> Result<(), ReadError> {
        Err(ReadError::Faulty(
            "the reference store has no language of its own".to_owned(),
        ))
    }
}
