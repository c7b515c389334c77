//! Writing runs: one query for all runs of a batch.
//!
//! What is sent is the stored form of each update; the query `merge_runs.aql` joins it with what the server has by the
//! rules of [`crate::store::runs`], so nothing is read first and nothing is lost between two writers: the server
//! refuses the later of two (error 1200), which is tried again. Updates of one run within a batch are merged here.
//!
//! A batch of short scripts can tell of thousands of runs. The body is therefore written by hand, field by field, with
//! no tree of values, and a run of which there is one update is not even copied; a run that the server refuses by itself is
//! found by halving and handed back.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::cursor::{self, QueryOptions};
use super::errors::{ApiError, Class, Error};
use crate::record::{Micros, append, escape, write_time};
use crate::store::runs::{self, RunRow};
use crate::store::{Rejected, RunEnd, RunUpdate, SCRIPT_RUNS, WriteError};

/// The query's file.
pub const MERGE_RUNS: &str = include_str!("queries/merge_runs.aql");

/// At most so many runs in one query.
const AT_ONCE: usize = 5000;

/// Merges the updates into the store. Returns the runs that the server refuses for good.
pub async fn write(client: &Client, updates: &[RunUpdate]) -> Result<Vec<Rejected>, WriteError> {
    let rows = known(updates);
    let mut todo: Vec<Range<usize>> = (0..rows.len())
        .step_by(AT_ONCE)
        .map(|at| at..(at + AT_ONCE).min(rows.len()))
        .collect();
    let mut rejected = Vec::new();
    let options = QueryOptions {
        max_runtime: client.timeout(),
        ..QueryOptions::default()
    };
    let mut buffer = client.buffer();
    while let Some(range) = todo.pop() {
        let Some(part) = rows.get(range.clone()) else { continue };
        request(part, &options, &mut buffer);
        let body = Body(Arc::new(std::mem::take(&mut buffer)));
        let answer = client.change(Bytes::from_owner(body.clone()), &options).await;
        // Nobody else has it any more. (`Bytes` itself gives its memory back only by copying it onto itself.)
        buffer = Arc::try_unwrap(body.0).unwrap_or_default();
        match answer {
            Ok(_) => {}
            Err(Error::Api(e)) if matches!(e.class(), Class::Bisect | Class::Halve) => match part {
                [row] if e.class() == Class::Bisect => rejected.push(refused(row, &e)),
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
enum Known<'a> {
    /// The usual case: one update, whose stored form is its own.
    Once(&'a RunUpdate),
    Merged(Box<RunRow>),
}

impl Known<'_> {
    fn execution_id(&self) -> &str {
        match self {
            Known::Once(update) => &update.execution_id,
            Known::Merged(row) => &row.execution_id,
        }
    }

    fn document(&self, out: &mut Vec<u8>) {
        match self {
            Known::Once(update) => Fields::of(update).write(out),
            Known::Merged(row) => document(row, out),
        }
    }
}

/// Each run once, in an order that depends on the runs alone: two writers take the server's locks in the same order.
fn known(updates: &[RunUpdate]) -> Vec<Known<'_>> {
    let hash = |u: &RunUpdate| xxhash_rust::xxh3::xxh3_64(u.execution_id.as_bytes());
    let mut order: Vec<(u64, &RunUpdate)> = updates.iter().map(|u| (hash(u), u)).collect();
    // Merging does not ask in which order updates came.
    order.sort_unstable_by(|(a, one), (b, two)| a.cmp(b).then_with(|| one.execution_id.cmp(&two.execution_id)));
    let runs = order.chunk_by(|(h, a), (g, b)| h == g && a.execution_id == b.execution_id);
    runs.filter_map(|run| match run {
        [(_, update)] => Some(Known::Once(update)),
        _ => {
            let row = run.iter().fold(None, |row, (_, update)| Some(runs::merge(row, update)));
            row.map(|row| Known::Merged(Box::new(row)))
        }
    })
    .collect()
}

/// Writes the body of the request to the cursor interface into `out`.
fn request(rows: &[Known<'_>], options: &QueryOptions, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(b"{\"query\":\"");
    string(cursor::text(MERGE_RUNS), out);
    out.extend_from_slice(b"\",\"bindVars\":{\"runs\":[");
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        row.document(out);
    }
    out.extend_from_slice(b"]}");
    let limits = format!(
        ",\"memoryLimit\":{},\"options\":{{\"maxRuntime\":{}}}}}",
        options.memory_limit,
        options.max_runtime.as_secs_f64().max(0.001)
    );
    out.extend_from_slice(limits.as_bytes());
}

/// What a run's stored form is made of, borrowed.
struct Fields<'a> {
    execution_id: &'a str,
    script_name: &'a str,
    start_time: Micros,
    start_declared: bool,
    last_seen: Micros,
    pid: Option<i64>,
    host: Option<&'a str>,
    parent: Option<&'a str>,
    metadata: Option<&'a str>,
    end: Option<&'a RunEnd>,
}

impl<'a> Fields<'a> {
    /// Of a run that nothing but one update is known of.
    fn of(update: &'a RunUpdate) -> Fields<'a> {
        Fields {
            execution_id: &update.execution_id,
            script_name: &update.script_name,
            start_time: update.start_time,
            start_declared: update.start_declared,
            last_seen: update.last_seen,
            pid: update.pid,
            host: update.host.as_deref(),
            parent: update.parent_execution_id.as_deref(),
            metadata: update.metadata.as_deref(),
            end: update.end.as_ref().filter(|e| !runs::is_back(e, update.last_seen)),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"_key\":\"");
        string(&runs::key(self.execution_id), out);
        out.extend_from_slice(b"\",\"execution_id\":\"");
        string(self.execution_id, out);
        out.extend_from_slice(b"\",\"script_name\":\"");
        string(self.script_name, out);
        out.extend_from_slice(b"\",\"start_time\":\"");
        write_time(self.start_time, out);
        if self.start_declared {
            out.extend_from_slice(b"\",\"start_declared\":true,\"last_seen\":\"");
        } else {
            out.extend_from_slice(b"\",\"last_seen\":\"");
        }
        write_time(self.last_seen, out);
        out.extend_from_slice(b"\",\"status\":\"");
        append(out, self.end.map_or("running", |e| e.status.as_str()).as_bytes());
        out.push(b'"');
        if let Some(end) = self.end {
            self.write_end(end, out);
        }
        if let Some(pid) = self.pid {
            out.extend_from_slice(b",\"pid\":");
            append(out, itoa::Buffer::new().format(pid).as_bytes());
        }
        text(b",\"host\":\"", self.host, out);
        text(b",\"parent_execution_id\":\"", self.parent, out);
        // Taken as it is, so it must be what it should be: a broken value would spoil the whole query.
        let object = |m: &&str| m.starts_with('{') && serde_json::from_str::<&serde_json::value::RawValue>(m).is_ok();
        if let Some(metadata) = self.metadata.filter(object) {
            out.extend_from_slice(b",\"metadata\":");
            out.extend_from_slice(metadata.as_bytes());
        }
        out.push(b'}');
    }

    fn write_end(&self, end: &RunEnd, out: &mut Vec<u8>) {
        let end_time = runs::end_time(end, self.last_seen);
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
        text(b",\"error\":\"", end.error.as_deref(), out);
        out.extend_from_slice(b",\"duration_seconds\":");
        // Finite, and into memory: it cannot fail.
        let _ = serde_json::to_writer(&mut *out, &runs::seconds(self.start_time, end_time));
    }
}

/// The stored form of a run.
fn document(row: &RunRow, out: &mut Vec<u8>) {
    let fields = Fields {
        execution_id: &row.execution_id,
        script_name: &row.script_name,
        start_time: row.start_time,
        start_declared: row.start_declared,
        last_seen: row.last_seen,
        pid: row.pid,
        host: row.host.as_deref(),
        parent: row.parent_execution_id.as_deref(),
        metadata: row.metadata.as_deref(),
        end: row.end.as_ref(),
    };
    fields.write(out);
}

/// The stored form of a run, as a value.
#[must_use]
pub fn stored(row: &RunRow) -> serde_json::Value {
    let mut out = Vec::new();
    document(row, &mut out);
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

fn refused(run: &Known<'_>, error: &ApiError) -> Rejected {
    let mut record = Vec::new();
    run.document(&mut record);
    Rejected {
        collection: SCRIPT_RUNS.to_owned(),
        key: runs::key(run.execution_id()).into_owned(),
        reason: error.message.clone(),
        error_num: error.num,
        record: String::from_utf8_lossy(&record).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Status;

    fn body_of(rows: &[Known<'_>]) -> serde_json::Value {
        let mut body = Vec::new();
        request(rows, &QueryOptions::default(), &mut body);
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
        let updates = [update("b", 2_000_000), update("a b", 2_000_000), ended];
        let rows = known(&updates);
        let body: serde_json::Value = body_of(&rows);
        let mut runs = body["bindVars"]["runs"].as_array().unwrap().clone();
        runs.sort_by_key(|r| r["execution_id"].to_string());
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[1]["end_time"], "1970-01-01T00:00:03.500000Z");
        assert_eq!(runs[1]["end_at"], "1970-01-01T00:00:02.500000Z");
        assert_eq!(runs[1]["duration_seconds"], 2.5);
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
            Fields::of(&update).write(&mut short);
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
        let body = body_of(&known(&[update]));
        assert!(body["bindVars"]["runs"][0].get("metadata").is_none());
    }
}
