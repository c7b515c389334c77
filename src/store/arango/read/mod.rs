//! Reading ArangoDB: each question is a query file of `queries/`, completed with the conditions of its filter.
//!
//! What a query file leaves open stands in comments: `/* filter */` becomes `FILTER` lines, `/* words */` the conditions
//! of `SEARCH`, `/* way */` a direction. Values travel as bind variables only; names of fields too. A condition that is
//! not asked for is not in the query, so nothing is ever compared with null.
//!
//! The methods block (see [`crate::store::search`]); they wait on a small runtime of their own.
//!
//! # What differs from the embedded store
//!
//! The view lags about a second behind what is stored. Regular expressions are those of the server (ICU); common ones mean the same.

mod clauses;
mod prune;

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use self::clauses::{Where, by, words};
use super::cursor::{QueryOptions, Warning, text};
use super::errors::{Class, Error};
use super::{Client, definitions};
use crate::config;
use crate::store::rank::LearningPage;
use crate::store::search::{
    After, COUNT_MAX, Count, CountAsk, EventAsk, Filter, Fixed, KEY_START, LearningAsk, Mark, Order, Page, PruneAsk,
    Pruned, RawAsk, RawRow, ReadError, RunAsk, Search, Visit, author,
};
use crate::store::stored::{Edge, Event, Learning, Run};

/// The longest that a question of a verb may run on the server.
const RUNTIME: Duration = Duration::from_secs(30);

/// The server's number for a regular expression that it cannot read.
const INVALID_REGEX: i64 = 1543;

/// The read side of an ArangoDB database.
pub struct ArangoReader {
    pub(self) client: Client,
    name: String,
    /// Vectors are copied, and go with their events.
    pub(self) vectors: bool,
    /// Taken only when the reader goes.
    runtime: Option<Runtime>,
}

impl ArangoReader {
    /// A reader; nothing is sent yet.
    ///
    /// # Errors
    /// Settings that can never work.
    pub fn new(settings: &config::Arangodb) -> Result<ArangoReader, ReadError> {
        let client = Client::new(settings).map_err(|e| ReadError::Refused(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| ReadError::Refused(e.to_string()))?;
        Ok(ArangoReader {
            name: format!("{}/{}", client.endpoint(), client.database()),
            client,
            vectors: settings.vector_dimensions > 0,
            runtime: Some(runtime),
        })
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, ReadError> {
        let runtime = self
            .runtime
            .as_ref()
            .ok_or_else(|| ReadError::Away("the reader has ended".to_owned()))?;
        runtime.block_on(work).map_err(explain)
    }

    /// Rows of a query as they come.
    fn each<T: DeserializeOwned>(
        &self,
        query: &str,
        binds: &Map<String, Value>,
        runtime: Duration,
        visit: &mut dyn FnMut(T) -> bool,
    ) -> Result<(), ReadError> {
        let options = QueryOptions {
            max_runtime: runtime,
            ..QueryOptions::default()
        };
        let warnings = self.wait(async {
            let mut cursor = self.client.cursor::<_, T>(query, binds, &options).await?;
            while let Some(page) = cursor.next_page().await? {
                for row in page {
                    if !visit(row) {
                        cursor.close().await;
                        return Ok(Vec::new());
                    }
                }
            }
            Ok(cursor.warnings().to_vec())
        })?;
        heed(&warnings)
    }

    fn all<T: DeserializeOwned>(&self, query: &str, binds: &Map<String, Value>) -> Result<Vec<T>, ReadError> {
        let mut rows = Vec::new();
        self.each(query, binds, RUNTIME, &mut |row| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }

    /// When the newest event was taken in; empty without events.
    fn newest_ingested(&self) -> Result<String, ReadError> {
        let file = include_str!("../queries/newest_ingested.aql");
        let (query, binds) = complete(file, &Where::default(), &[], json!({}));
        let newest: Vec<String> = self.all(&query, &binds)?;
        Ok(newest.into_iter().next().unwrap_or_default())
    }

    /// A query that deletes. Returns how many documents it did delete.
    fn change(&self, file: &str, binds: &Value) -> Result<u64, ReadError> {
        let stats = self.wait(self.client.change_with(file, binds, &QueryOptions::default()))?;
        Ok(stats.writes_executed)
    }
}

impl Drop for ArangoReader {
    /// A reader may go on a thread of another runtime, where this one must not be waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a failure means for who asked.
fn explain(error: Error) -> ReadError {
    let said = format!("{error}{}", error.advice());
    match &error {
        Error::Unreachable { .. } | Error::Strange { .. } | Error::Held(_) => ReadError::Away(said),
        Error::Settings(_) => ReadError::Refused(said),
        Error::Api(e) if e.took_too_long() => ReadError::TooLong("the query took too long and was stopped".to_owned()),
        Error::Api(e) if e.num == Some(32) => ReadError::TooLong("the query needs too much memory".to_owned()),
        Error::Api(e) if matches!(e.num, Some(1501..=1599)) => ReadError::Faulty(e.message.clone()),
        Error::Api(e) => match e.class() {
            Class::Operator | Class::Caller => ReadError::Refused(said),
            _ => ReadError::Away(said),
        },
    }
}

/// What the server could not compute is null to it, and no error. An expression that it cannot read would so be one that
/// matches nothing.
fn heed(warnings: &[Warning]) -> Result<(), ReadError> {
    if let Some(w) = warnings.iter().find(|w| w.code == INVALID_REGEX) {
        return Err(ReadError::Faulty(format!(
            "ArangoDB cannot read the regular expression: {}",
            w.message
        )));
    }
    if let Some(w) = warnings.first() {
        tracing::warn!("the server warns: {} (warning {})", w.message, w.code);
    }
    Ok(())
}

/// A query file with its open places filled, and its bind values. Values whose name does not occur are left out: the
/// server refuses what it does not know.
fn complete(file: &str, filter: &Where, places: &[(&str, &str)], binds: Value) -> (String, Map<String, Value>) {
    let mut query = text(file).replace("/* filter */", &filter.filter());
    for (place, with) in places {
        query = query.replace(&format!("/* {place} */"), with);
    }
    let mut all = filter.binds.clone();
    if let Value::Object(more) = binds {
        all.extend(more);
    }
    all.retain(|name, _| clauses::names(&query, name));
    (query, all)
}

fn way(down: bool) -> &'static str {
    if down { "DESC" } else { "ASC" }
}

#[derive(Deserialize)]
struct Hit {
    event: Event,
    score: f64,
}

#[derive(Deserialize)]
struct Group {
    by: Vec<Option<String>>,
    count: u64,
    first: String,
    last: String,
    newest: Option<String>,
}

#[derive(Deserialize)]
struct FixRow {
    fingerprint: String,
    script_name: Option<String>,
    error_key: String,
    error_time: String,
    fix_key: String,
    time: String,
    description: String,
    rationale: String,
    author: Option<Value>,
    uid: Option<i64>,
    host: Option<String>,
}

impl Search for ArangoReader {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn event(&self, key: &str) -> Result<Option<Event>, ReadError> {
        let none = Where::default();
        let (query, binds) = complete(include_str!("../queries/event.aql"), &none, &[], json!({"key": key}));
        let found: Vec<Event> = self.all(&query, &binds)?;
        if !found.is_empty() || key.len() < KEY_START {
            return Ok(found.into_iter().next());
        }
        let file = include_str!("../queries/event_by_start.aql");
        let (query, binds) = complete(file, &none, &[], json!({"start": key}));
        let mut found: Vec<Event> = self.all(&query, &binds)?;
        if found.len() > 1 {
            return Err(ReadError::Faulty(format!(
                "several keys begin with '{key}': give more of it"
            )));
        }
        Ok(found.pop())
    }

    fn events(&self, ask: &EventAsk) -> Result<Page<(Event, Option<f64>)>, ReadError> {
        let counted = |query: &str, binds: &Map<String, Value>| -> Result<Option<u64>, ReadError> {
            let n = self.all::<u64>(query, binds)?.into_iter().next();
            Ok(n.filter(|n| *n <= COUNT_MAX))
        };
        let limit = ask.limit + 1;
        let offset = match &ask.after {
            Some(After::Offset(n)) => *n,
            _ => 0,
        };
        let mut filter = Where::events(&ask.filter);
        let count = json!({"limit": COUNT_MAX + 1});
        let mut page = Page {
            total: None,
            ..Page::default()
        };
        if let Some(asked) = &ask.words {
            let search = words(asked, &mut filter);
            let order = match ask.order {
                Order::Score => "score DESC, e.timestamp DESC, e._key DESC",
                Order::Newest => "e.timestamp DESC, NOT_NULL(e.seq, 0) DESC, e._key DESC",
                Order::Oldest => "e.timestamp ASC, NOT_NULL(e.seq, 0) ASC, e._key ASC",
            };
            let places = [("words", search.as_str()), ("order", order)];
            if ask.count {
                let (query, binds) = complete(include_str!("../queries/count_matching.aql"), &filter, &places, count);
                page.total = counted(&query, &binds)?;
            }
            let wish = json!({"offset": offset, "limit": limit});
            let (query, binds) = complete(include_str!("../queries/matching.aql"), &filter, &places, wish);
            let by_score = ask.order == Order::Score;
            self.each(&query, &binds, RUNTIME, &mut |hit: Hit| {
                page.items.push((hit.event, by_score.then_some(hit.score)));
                true
            })?;
        } else {
            if ask.count {
                let (query, binds) = complete(include_str!("../queries/count.aql"), &filter, &[], count);
                page.total = counted(&query, &binds)?;
            }
            let down = ask.order != Order::Oldest;
            if let Some(After::Position { timestamp, seq, key }) = &ask.after {
                filter.behind(timestamp, *seq, key, down);
            }
            // A page that is not full has no edge; then everything lies before it.
            let edge = if down {
                "e.timestamp >= NOT_NULL(edge, \"\")"
            } else {
                "e.timestamp <= NOT_NULL(edge, \"9999-12-31T23:59:59.999999Z\")"
            };
            let wish = json!({"offset": offset, "limit": limit, "last": offset + limit as u64 - 1});
            let places = [("way", way(down)), ("edge", edge)];
            let (query, binds) = complete(include_str!("../queries/events.aql"), &filter, &places, wish);
            let found: Vec<Event> = self.all(&query, &binds)?;
            page.items = found.into_iter().map(|e| (e, None)).collect();
        }
        page.more = page.items.len() > ask.limit;
        page.items.truncate(ask.limit);
        Ok(page)
    }

    fn scan(&self, filter: &Filter, oldest_first: bool, visit: Visit<'_, Event>) -> Result<(), ReadError> {
        let filter = Where::events(filter);
        let places = [("way", way(!oldest_first))];
        let (query, binds) = complete(include_str!("../queries/scan.aql"), &filter, &places, json!({}));
        self.each(&query, &binds, RUNTIME, visit)
    }

    fn latest(&self) -> Result<i64, ReadError> {
        let newest = self.newest_ingested()?;
        Ok(crate::store::runs::parse_time(&newest).unwrap_or(0))
    }

    fn tail(&self, filter: &Filter, mark: Option<Mark>, limit: usize) -> Result<(Vec<Event>, Mark), ReadError> {
        let Some(Mark(mark)) = mark else {
            let from = self.newest_ingested()?;
            // What is there at this time is not new.
            let (_, Mark(seen)) = self.tail(&Filter::default(), Some(Mark(vec![from.clone()])), 10_000)?;
            return Ok((Vec::new(), Mark(seen)));
        };
        let (from, seen) = mark.split_first().map_or(("", &[][..]), |(f, s)| (f.as_str(), s));
        let wish = json!({"from": from, "seen": seen, "limit": limit});
        let (query, binds) = complete(include_str!("../queries/tail.aql"), &Where::events(filter), &[], wish);
        let events: Vec<Event> = self.all(&query, &binds)?;
        // Several agents write, and a batch takes a moment: an event can be stored after one that was taken in later.
        // So it is asked again for the last seconds, less what was seen of them.
        let reached = events
            .iter()
            .filter_map(|e| e.ingested_at.clone())
            .max()
            .unwrap_or_default();
        let reached = reached.max(from.to_owned());
        let slack = crate::store::runs::parse_time(&reached).map(|t| crate::record::format_time(t - 5_000_000));
        let from = slack.filter(|s| s.as_str() > from).unwrap_or_else(|| from.to_owned());
        let mut next = vec![from];
        next.extend(seen.iter().rev().take(20_000).rev().cloned());
        next.extend(events.iter().map(|e| e.key.clone()));
        Ok((events, Mark(next)))
    }

    fn counts(&self, ask: &CountAsk, visit: Visit<'_, Count>) -> Result<(), ReadError> {
        let mut filter = Where::events(&ask.filter);
        let names: Vec<String> = (0..3).map(|i| by(ask.by.get(i), &mut filter)).collect();
        let newest = if ask.newest {
            "CONCAT(e.timestamp, e._key)"
        } else {
            "null"
        };
        let name = |i: usize| names.get(i).map_or("[null]", String::as_str);
        let places = [("by0", name(0)), ("by1", name(1)), ("by2", name(2)), ("newest", newest)];
        let (query, binds) = complete(include_str!("../queries/counts.aql"), &filter, &places, json!({}));
        let width = ask.by.len();
        self.each(&query, &binds, RUNTIME, &mut |mut group: Group| {
            group.by.truncate(width);
            visit(Count {
                by: group.by,
                count: group.count,
                first: group.first,
                last: group.last,
                newest: group
                    .newest
                    .as_deref()
                    .and_then(|n| n.get(27..))
                    .unwrap_or("")
                    .to_owned(),
            })
        })
    }

    fn extent(&self, filter: &Filter) -> Result<Option<(String, String)>, ReadError> {
        let filter = Where::events(filter);
        let (query, binds) = complete(include_str!("../queries/extent.aql"), &filter, &[], json!({}));
        let ends: Vec<(Option<String>, Option<String>)> = self.all(&query, &binds)?;
        Ok(ends.into_iter().next().and_then(|(first, last)| Some((first?, last?))))
    }

    fn runs(&self, ask: &RunAsk) -> Result<Page<Run>, ReadError> {
        let mut filter = Where::runs(ask);
        let mut total = None;
        if ask.count {
            let (query, binds) = complete(include_str!("../queries/count_runs.aql"), &filter, &[], json!({}));
            total = self.all(&query, &binds)?.into_iter().next();
        }
        let mut offset = 0;
        match &ask.after {
            Some(After::Position { timestamp, key, .. }) => filter.behind_run(timestamp, key, !ask.oldest),
            Some(After::Offset(n)) => offset = *n,
            None => {}
        }
        let wish = json!({"offset": offset, "limit": ask.limit + 1});
        let places = [("way", way(!ask.oldest))];
        let (query, binds) = complete(include_str!("../queries/runs.aql"), &filter, &places, wish);
        let mut items: Vec<Run> = self.all(&query, &binds)?;
        let more = items.len() > ask.limit;
        items.truncate(ask.limit);
        Ok(Page { items, total, more })
    }

    fn learnings(&self, ask: &LearningAsk) -> Result<Page<(Learning, Option<f64>)>, ReadError> {
        let filter = Where::learnings(ask);
        let places = [("way", way(!ask.oldest))];
        let (query, binds) = complete(include_str!("../queries/learnings.aql"), &filter, &places, json!({}));
        let mut page = LearningPage::new(ask);
        self.each(&query, &binds, RUNTIME, &mut |learning| {
            page.take(learning);
            true
        })?;
        Ok(page.finish())
    }

    fn fixes(&self, fingerprints: &[String]) -> Result<Vec<Fixed>, ReadError> {
        let wish = json!({"fingerprints": fingerprints});
        let (query, binds) = complete(include_str!("../queries/fixes.aql"), &Where::default(), &[], wish);
        let rows: Vec<FixRow> = self.all(&query, &binds)?;
        let fixed = |r: FixRow| Fixed {
            fingerprint: r.fingerprint,
            script_name: r.script_name,
            error_key: r.error_key,
            error_time: r.error_time,
            fix_key: r.fix_key,
            time: r.time,
            description: r.description,
            rationale: r.rationale,
            author: author(r.author.as_ref().and_then(Value::as_str), r.uid),
            host: r.host,
        };
        Ok(rows.into_iter().map(fixed).collect())
    }

    fn edges(&self, execution: &str, keys: &[String], limit: usize) -> Result<Vec<Edge>, ReadError> {
        let ids: Vec<String> = keys
            .iter()
            .map(|k| format!("{}/{k}", crate::store::LOG_EVENTS))
            .collect();
        let wish = json!({"execution": execution, "ids": ids, "limit": limit});
        let (query, binds) = complete(include_str!("../queries/edges.aql"), &Where::default(), &[], wish);
        self.all(&query, &binds)
    }

    fn prune(&self, ask: &PruneAsk, progress: &mut dyn FnMut(&Pruned)) -> Result<Pruned, ReadError> {
        prune::prune(self, ask, progress)
    }

    /// The server explains the query first; one that would write, or that uses anything but reading, is refused before
    /// it runs.
    fn raw(&self, ask: &RawAsk, visit: Visit<'_, RawRow>) -> Result<(), ReadError> {
        // A collection that is bound to `@@name` has the key `@name`.
        let binds: Map<String, Value> = ask.binds.iter().cloned().collect();
        // A collection that does not exist is the query's fault here, not the schema's.
        let plan = self.wait(async {
            match self.client.explain(&ask.text, &binds).await {
                Err(Error::Api(e)) if e.num == Some(1203) => Ok(Err(e.message)),
                other => other.map(Ok),
            }
        })?;
        let plan = plan.map_err(ReadError::Faulty)?;
        if !plan.reads_only() {
            return Err(ReadError::Faulty("refused, only reading is allowed here".to_owned()));
        }
        self.each(&ask.text, &binds, ask.timeout, &mut |row| visit(RawRow::Value(row)))
            .map_err(|e| match e {
                ReadError::TooLong(text) => ReadError::TooLong(format!("{text}: see --timeout")),
                other => other,
            })
    }
}

/// Names that the clauses rely on stand in the view.
#[must_use]
pub fn searched(field: &str) -> bool {
    definitions::EXACT_FIELDS.contains(&field)
}

#[cfg(test)]
mod tests;
