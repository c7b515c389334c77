//! Writing runs: one query for all runs of a batch.
//!
//! What is sent is the stored form of each update, less what follows from the rest of it; the query `merge_runs.aql`
//! joins it with what the server has by the rules of [`crate::store::runs`], so nothing is read first and nothing is lost between two writers: the server
//! refuses the later of two (error 1200), which is tried again. Updates of one run within a batch are merged here.
//!
//! A batch of short scripts can tell of thousands of runs. The body is therefore written by hand, field by field, with
//! no tree of values, and a run of which there is one update is not even copied; a run that the server refuses by itself is
//! found by halving and handed back.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::cursor::{self, QueryOptions};
use super::errors::{ApiError, Class, Error};
use crate::record::{append, escape, write_time};
use crate::store::runs::{self, RunRow};
use crate::store::{EndRef, Rejected, RunRef, RunUpdate, RunUpdates, SCRIPT_RUNS, WriteError};

/// The query's file.
pub const MERGE_RUNS: &str = include_str!("queries/merge_runs.aql");

/// At most so many runs in one query.
const AT_ONCE: usize = 5000;

/// Merges the updates into the store. Returns the runs that the server refuses for good.
pub async fn write(client: &Client, updates: &RunUpdates) -> Result<Vec<Rejected>, WriteError> {
    let runs = Runs::of(updates);
    let mut todo: Vec<Range<usize>> = (0..runs.known.len())
        .step_by(AT_ONCE)
        .map(|at| at..(at + AT_ONCE).min(runs.known.len()))
        .collect();
    let mut rejected = Vec::new();
    let options = QueryOptions {
        max_runtime: client.timeout(),
        ..QueryOptions::default()
    };
    let mut buffer = client.buffer();
    while let Some(range) = todo.pop() {
        let Some(part) = runs.known.get(range.clone()) else {
            continue;
        };
        runs.request(part, &options, &mut buffer);
        let body = Body(Arc::new(std::mem::take(&mut buffer)));
        let answer = client.change(Bytes::from_owner(body.clone()), &options).await;
        // Nobody else has it any more. (`Bytes` itself gives its memory back only by copying it onto itself.)
        buffer = Arc::try_unwrap(body.0).unwrap_or_default();
        match answer {
            Ok(_) => {}
            Err(Error::Api(e)) if matches!(e.class(), Class::Bisect | Class::Halve) => match part {
                [row] if e.class() == Class::Bisect => rejected.push(refused(&runs.read(row), &e)),
                [_] => return Err(Error::Api(e).into_write_error(SCRIPT_RUNS)),
                _ => {
                    let middle = range.start + range.len() / 2;
                    todo.push(middle..range.end);
                    todo.push(range.start..middle);
                }
            },
            Err(e) => return Err(e.into_write_error(SCRIPT_RUNS)),
        }
    }
    client.keep_buffer(buffer);
    Ok(rejected)
}

/// The body of a request, whose memory is used again.
#[derive(Clone)]
struct Body(Arc<Vec<u8>>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What is known of one run in a batch.
enum Known {
    /// The usual case: one update, whose stored form is its own. Where it stands.
    Once(u32),
    Merged(Box<RunUpdate>),
}

/// The runs of a batch.
struct Runs<'a> {
    updates: &'a RunUpdates,
    /// Each run once, in an order that depends on the runs alone: two writers take the server's locks in the same order.
    known: Vec<Known>,
}

impl<'a> Runs<'a> {
    fn of(updates: &'a RunUpdates) -> Runs<'a> {
        let id = |n: &u32| updates.id(*n as usize);
        let hash = |n: u32| (xxhash_rust::xxh3::xxh3_64(id(&n).as_bytes()), n);
        let mut order: Vec<(u64, u32)> = (0..updates.len() as u32).map(hash).collect();
        // Merging does not ask in which order updates came.
        order.sort_unstable_by(|(a, one), (b, two)| a.cmp(b).then_with(|| id(one).cmp(id(two))));
        let runs = order.chunk_by(|(h, a), (g, b)| h == g && id(a) == id(b));
        let known = runs.filter_map(|run| match run {
            [(_, n)] => Some(Known::Once(*n)),
            _ => {
                let updates = run.iter().filter_map(|(_, n)| updates.get(*n as usize));
                let row = updates.fold(None, |row, u| Some(runs::merge(row, &u.to_owned())));
                row.map(|row| Known::Merged(Box::new(row.into())))
            }
        });
        Runs {
            updates,
            known: known.collect(),
        }
    }

    fn read<'k>(&'k self, known: &'k Known) -> RunRef<'k> {
        match known {
            Known::Once(n) => self.updates.get(*n as usize).unwrap_or_default(),
            Known::Merged(update) => update.borrowed(),
        }
    }

    /// Writes the body of the request to the cursor interface into `out`.
    fn request(&self, part: &[Known], options: &QueryOptions, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(b"{\"query\":\"");
        string(cursor::text(MERGE_RUNS), out);
        out.extend_from_slice(b"\",\"bindVars\":{\"runs\":[");
        for (i, known) in part.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            document(&self.read(known), Form::Sent, out);
        }
        out.extend_from_slice(b"]}");
        let limits = format!(
            ",\"memoryLimit\":{},\"options\":{{\"maxRuntime\":{}}}}}",
            options.memory_limit,
            options.max_runtime.as_secs_f64().max(0.001)
        );
        out.extend_from_slice(limits.as_bytes());
    }
}

/// How much of a run is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All that is stored.
    Stored,
    /// What the query needs. A script that binds an id per request has a run for each record, so each byte counts.
    Sent,
}

/// Writes a run that nothing but this is known of.
fn document(run: &RunRef<'_>, form: Form, out: &mut Vec<u8>) {
    // For nearly every run there is room after this.
    out.reserve(512);
    match runs::key(run.execution_id) {
        Cow::Borrowed(key) => {
            if form == Form::Stored {
                out.extend_from_slice(b"{\"_key\":\"");
                append(out, key.as_bytes());
                out.extend_from_slice(b"\",\"execution_id\":\"");
            } else {
                out.extend_from_slice(b"{\"execution_id\":\"");
            }
            // What can be a key needs no escapes.
            append(out, key.as_bytes());
        }
        Cow::Owned(key) => {
            out.extend_from_slice(b"{\"_key\":\"");
            append(out, key.as_bytes());
            out.extend_from_slice(b"\",\"execution_id\":\"");
            string(run.execution_id, out);
        }
    }
    out.extend_from_slice(b"\",\"script_name\":\"");
    string(run.script_name, out);
    out.extend_from_slice(b"\",\"start_time\":\"");
    write_time(run.start_time, out);
    if run.start_declared {
        out.extend_from_slice(b"\",\"start_declared\":true,\"last_seen\":\"");
    } else {
        out.extend_from_slice(b"\",\"last_seen\":\"");
    }
    write_time(run.last_seen, out);
    out.extend_from_slice(b"\",\"status\":\"");
    let end = run.end.as_ref().filter(|e| !runs::is_back(e, run.last_seen));
    append(out, end.map_or("running", |e| e.status.as_str()).as_bytes());
    out.push(b'"');
    if let Some(end) = end {
        write_end(run, end, form, out);
    }
    if let Some(pid) = run.pid {
        out.extend_from_slice(b",\"pid\":");
        append(out, itoa::Buffer::new().format(pid).as_bytes());
    }
    text(b",\"host\":\"", run.host, out);
    text(b",\"parent_execution_id\":\"", run.parent_execution_id, out);
    // Taken as it is, so it must be what it should be: a broken value would spoil the whole query.
    let object = |m: &&str| m.starts_with('{') && serde_json::from_str::<&serde_json::value::RawValue>(m).is_ok();
    if let Some(metadata) = run.metadata.filter(object) {
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(metadata.as_bytes());
    }
    out.push(b'}');
}

fn write_end(run: &RunRef<'_>, end: &EndRef<'_>, form: Form, out: &mut Vec<u8>) {
    let end_time = runs::end_time(end, run.last_seen);
    out.extend_from_slice(b",\"end_time\":\"");
    write_time(end_time, out);
    out.push(b'"');
    if end.time != end_time {
        out.extend_from_slice(b",\"end_at\":\"");
        write_time(end.time, out);
        out.push(b'"');
    }
    if end.declared {
        out.extend_from_slice(b",\"end_declared\":true");
    }
    text(b",\"error\":\"", end.error, out);
    if form == Form::Stored {
        out.extend_from_slice(b",\"duration_seconds\":");
        // Finite, and into memory: it cannot fail.
        let _ = serde_json::to_writer(&mut *out, &runs::seconds(run.start_time, end_time));
    }
}

/// The stored form of a run, as a value.
#[must_use]
pub fn stored(row: &RunRow) -> serde_json::Value {
    let mut out = Vec::new();
    document(&RunUpdate::from(row.clone()).borrowed(), Form::Stored, &mut out);
    serde_json::from_slice(&out).unwrap_or_default()
}

/// Writes a field, if there is a value: `name` is all that stands before it.
#[inline(always)]
fn text(name: &[u8], value: Option<&str>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        string(value, out);
        out.push(b'"');
    }
}

/// The contents of a string.
fn string(value: &str, out: &mut Vec<u8>) {
    append(out, escape(value).as_bytes());
}

fn refused(run: &RunRef<'_>, error: &ApiError) -> Rejected {
    let mut record = Vec::new();
    document(run, Form::Stored, &mut record);
    Rejected {
        collection: SCRIPT_RUNS.to_owned(),
        key: runs::key(run.execution_id).into_owned(),
        reason: error.message.clone(),
        error_num: error.num,
        record: String::from_utf8_lossy(&record).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{RunEnd, Status};

    fn body_of(updates: impl IntoIterator<Item = RunUpdate>) -> serde_json::Value {
        let updates = updates.into_iter().collect();
        let runs = Runs::of(&updates);
        let mut body = Vec::new();
        runs.request(&runs.known, &QueryOptions::default(), &mut body);
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn the_request_is_json_and_holds_each_run_once() {
        let update = |id: &str, seen| RunUpdate {
            execution_id: id.into(),
            script_name: "quo\"te\n".into(),
            start_time: 1_000_000,
            last_seen: seen,
            metadata: Some(r#"{"env":"x"}"#.into()),
            ..RunUpdate::default()
        };
        let ended = RunUpdate {
            end: Some(RunEnd {
                status: Status::Ended,
                time: 2_500_000,
                declared: false,
                error: Some("e".into()),
            }),
            ..update("b", 3_500_000)
        };
        let body = body_of([update("b", 2_000_000), update("a b", 2_000_000), ended]);
        let mut runs = body["bindVars"]["runs"].as_array().unwrap().clone();
        runs.sort_by_key(|r| r["execution_id"].to_string());
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[1]["end_time"], "1970-01-01T00:00:03.500000Z");
        assert_eq!(runs[1]["end_at"], "1970-01-01T00:00:02.500000Z");
        // What follows from the rest is not sent.
        assert_eq!(
            (&runs[1]["duration_seconds"], &runs[1]["_key"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(runs[1]["script_name"], "quo\"te\n");
        assert_eq!(runs[0]["metadata"]["env"], "x");
        assert!(runs[0]["_key"].as_str().unwrap().starts_with("run_"));
        assert_eq!(body["options"]["maxRuntime"], 30.0);
    }

    #[test]
    fn one_update_is_written_as_merging_would_write_it() {
        let end = |status, time, declared| {
            Some(RunEnd {
                status,
                time,
                declared,
                error: Some("e\n".into()),
            })
        };
        let update = RunUpdate {
            execution_id: "e".into(),
            script_name: "s".into(),
            start_time: 5,
            start_declared: true,
            last_seen: 9,
            pid: Some(1),
            host: Some("h".into()),
            parent_execution_id: Some("p".into()),
            metadata: Some("{}".into()),
            end: None,
        };
        for end in [
            None,
            end(Status::Success, 7, true),
            end(Status::Ended, 7, false),
            end(Status::Crashed, 12, false),
            end(Status::Lost, 7, false),
            end(Status::Lost, 9, false),
        ] {
            let update = RunUpdate { end, ..update.clone() };
            let mut short = Vec::new();
            document(&update.borrowed(), Form::Stored, &mut short);
            let short: serde_json::Value = serde_json::from_slice(&short).unwrap();
            assert_eq!(short, stored(&runs::merge(None, &update)));
        }
    }

    #[test]
    fn metadata_that_is_no_object_is_left_out_instead_of_spoiling_the_query() {
        let update = RunUpdate {
            execution_id: "e".into(),
            metadata: Some("{broken".into()),
            ..RunUpdate::default()
        };
        let body = body_of([update]);
        assert!(body["bindVars"]["runs"][0].get("metadata").is_none());
    }
}
