//! `learn` and `fix`: what people and agents add to what is known.
//!
//! Both become a record like any other. Where the agent runs, the record goes through its socket and is durable when
//! the agent has acknowledged it; else it is written to the store at once.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::args::{Fix, Learn};
use super::errors::root_cause;
use super::naming::execution;
use super::render::paint::{Style, short, short_key};
use super::render::{Paint, Row};
use super::window::parse_stored;
use super::{AskError, Asking};
use crate::record::{Key, format_time};
use crate::store::search::{EventAsk, Filter, Order};
use crate::store::stored::{ERROR, Event};
use crate::store::{self, Batch, ReadError, Report, WriteError};

/// How long the agent may take to acknowledge a record.
const PATIENCE: Duration = Duration::from_secs(10);
/// Execution of what is recorded outside of any.
const MANUAL: &str = "manual";
/// Confidence of a learning that names none.
const CONFIDENCE: f64 = 0.8;

/// Where records go.
pub struct Recorder<'a> {
    /// The socket of an agent that may be running.
    pub socket: Option<PathBuf>,
    /// Writes to the store itself.
    pub write: Box<dyn Fn(Batch) -> Result<Report, WriteError> + 'a>,
}

impl Recorder<'_> {
    /// The answer of the store; `instead` where the store is away and an agent would take the record.
    fn or_agent<T>(&self, answer: Result<T, AskError>, instead: T) -> Result<T, AskError> {
        match answer {
            Err(AskError::Store(ReadError::Away(_) | ReadError::Refused(_))) if self.agent().is_some() => Ok(instead),
            other => other,
        }
    }

    /// A connection to the agent, if one runs.
    fn agent(&self) -> Option<UnixStream> {
        UnixStream::connect(self.socket.as_ref()?).ok()
    }
}

/// What was recorded, and by which way.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    pub recorded: bool,
    /// `agent` (durable, stored in a moment) or `store`.
    pub via: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<FixedError>,
    /// What was said to be fixed, where the store was away and could not be asked which error that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixes: Option<String>,
    #[serde(skip)]
    text: String,
}

/// The error that a fix is for.
#[derive(Clone, Debug, Serialize)]
pub struct FixedError {
    #[serde(rename = "_key")]
    pub key: String,
    pub fingerprint: Option<String>,
    pub execution_id: String,
    pub root_cause: String,
    pub timestamp: String,
    /// From the error to now.
    pub seconds_to_resolution: Option<f64>,
}

/// Records a learning.
///
/// # Errors
/// Faulty arguments; an agent that does not answer; a store that cannot be written.
pub fn learn(ask: &Asking<'_>, args: &Learn, recorder: &Recorder<'_>) -> Result<Recorded, AskError> {
    let text = nonempty(&args.text, "the learning")?;
    let confidence = args.confidence.unwrap_or(CONFIDENCE);
    if !(0.0..=1.0).contains(&confidence) {
        return Err(AskError::usage("--confidence is between 0 and 1"));
    }
    let context = match args.context.as_deref().map(serde_json::from_str::<Value>) {
        None => None,
        Some(Ok(object @ Value::Object(_))) => Some(object),
        Some(_) => {
            return Err(AskError::usage(
                "--context is a JSON object, such as '{\"url\": \"https://…\"}'",
            ));
        }
    };
    let id = args.execution.as_deref().map(|e| run_of(ask, e)).transpose()?;
    let script = match (&args.script, &id) {
        (Some(s), _) => Some(s.clone()),
        // The agent takes a record while the store is away, and knows the scripts of running runs.
        (None, Some(id)) => recorder.or_agent(script_of(ask, id), None)?,
        (None, None) => None,
    };
    let mut line = line(text, "learning", id.as_deref(), script.as_deref());
    line.insert("confidence".into(), json!(confidence));
    for (name, value) in [
        ("function_name", args.function.clone().map(Value::String)),
        ("context", context.clone()),
    ] {
        if let Some(value) = value {
            line.insert(name.into(), value);
        }
    }
    if !args.tag.is_empty() {
        line.insert("tags".into(), json!(args.tag));
    }
    let via = record(ask, recorder, line, learning_batch)?;
    Ok(Recorded {
        recorded: true,
        via,
        fixed: None,
        fixes: None,
        text: text.to_owned(),
    })
}

/// What a learning becomes in the store: an event, a learning, a memory.
fn learning_batch(key: &str, time: &str, line: Map<String, Value>) -> Batch {
    let id = line.get("execution_id").cloned().unwrap_or_default();
    let mut batch = Batch::default();
    let named = |names: &[(&str, &str)]| -> Map<String, Value> {
        names
            .iter()
            .filter_map(|(to, from)| Some(((*to).to_owned(), line.get(*from)?.clone())))
            .collect()
    };
    let shared = [
        ("confidence", "confidence"),
        ("script_name", "script_name"),
        ("tags", "tags"),
        ("context", "context"),
    ];
    let mut learning = named(&[
        ("function_name", "function_name"),
        ("learning", "message"),
        ("execution_id", "execution_id"),
    ]);
    learning.extend(named(&shared));
    learning.insert("timestamp".into(), json!(time));
    batch.learnings.push(&keyed(key, learning));
    let mut metadata = named(&[("function", "function_name")]);
    metadata.extend(named(&shared));
    metadata.insert("execution_id".into(), id);
    let memory = json!({"content": line.get("message"), "type": "learning", "timestamp": time, "metadata": metadata,
        "access_count": 0, "created_at": time, "valid_at": time});
    batch
        .memories
        .push(&keyed(key, memory.as_object().cloned().unwrap_or_default()));
    batch.events.push(&event(key, time, line));
    batch
}

/// Records that an error was fixed. While the store is away an agent takes the record all the same, and the store joins
/// it to its error later.
///
/// # Errors
/// [`AskError::NotFound`] where no error is meant; faulty arguments; an agent that does not answer; a store that cannot
/// be written.
pub fn fix(ask: &Asking<'_>, args: &Fix, recorder: &Recorder<'_>) -> Result<Recorded, AskError> {
    let text = nonempty(&args.text, "how it was fixed")?;
    let target = bare(&args.target);
    let asked = meant(ask, target).map(Some);
    let error = if only_the_store_knows(target) {
        asked?
    } else {
        recorder.or_agent(asked, None)?
    };
    let script = error.as_ref().and_then(|e| e.script_name.clone());
    let target = error.as_ref().map_or(target, |e| e.key.as_str());
    let mut line = line(text, "fix", None, script.as_deref());
    line.insert("fixes".into(), json!(target));
    if let Some(why) = &args.rationale {
        line.insert("rationale".into(), json!(why));
    }
    let via = record(ask, recorder, line, |key, time, line| {
        let mut batch = Batch::default();
        batch.fixes.push(store::Fix {
            key: key.to_owned(),
            time: ask.clock.now,
            execution_id: MANUAL.to_owned(),
            script_name: script.clone(),
            target: Some(target.to_owned()),
            description: text.to_owned(),
            rationale: args.rationale.clone(),
        });
        batch.events.push(&event(key, time, line));
        batch
    })?;
    let fixes = error.is_none().then(|| target.to_owned());
    Ok(Recorded {
        recorded: true,
        via,
        text: text.to_owned(),
        fixes,
        fixed: error.map(|error| FixedError {
            seconds_to_resolution: parse_stored(&error.timestamp).map(|t| (ask.clock.now - t) as f64 / 1e6),
            root_cause: root_cause(&error),
            key: error.key,
            fingerprint: error.fingerprint,
            execution_id: error.execution_id,
            timestamp: error.timestamp,
        }),
    })
}

fn nonempty<'t>(text: &'t str, what: &str) -> Result<&'t str, AskError> {
    match text.trim() {
        "" => Err(AskError::usage(format!("say {what}: the text is empty"))),
        text => Ok(text),
    }
}

/// A key as it is shown in lists or stands in edges, without what is around it.
fn bare(target: &str) -> &str {
    target.trim().trim_start_matches("log_events/").trim_matches(['[', ']'])
}

/// Whether a target has to be completed before an agent can take it: `last`, and a key's beginning as lists show it.
fn only_the_store_knows(target: &str) -> bool {
    let beginning = (18..31).contains(&target.len());
    target == "last" || beginning && target.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The error that a key, a fingerprint or an execution stands for.
fn meant(ask: &Asking<'_>, target: &str) -> Result<Event, AskError> {
    if target != "last"
        && let Some(event) = ask.store.event(target)?
    {
        return Ok(event);
    }
    let newest = |filter: Filter| -> Result<Option<Event>, AskError> {
        let page = ask.store.events(&EventAsk {
            filter,
            words: None,
            order: Order::Newest,
            after: None,
            limit: 1,
            count: false,
        })?;
        Ok(page.items.into_iter().next().map(|(e, _)| e))
    };
    let by_print = newest(Filter {
        fingerprints: vec![target.to_owned()],
        ..Filter::default()
    })?;
    if let Some(event) = by_print {
        return Ok(event);
    }
    let run = match execution(ask, Some(target), &super::args::Which::default()) {
        Err(AskError::NotFound(_)) if !target.starts_with("last") => target.to_owned(),
        other => other?,
    };
    last_error(ask, run)?.ok_or_else(|| {
        AskError::NotFound(format!(
            "'{target}' is no key of an event, no fingerprint, and no execution with an error: see `logagent errors`"
        ))
    })
}

/// The last error of an execution that says what failed; where there is none, its last error.
fn last_error(ask: &Asking<'_>, execution: String) -> Result<Option<Event>, AskError> {
    let filter = Filter {
        executions: vec![execution],
        min_level: Some(ERROR),
        ..Filter::default()
    };
    let (mut last, mut end) = (None, None);
    ask.store.scan(&filter, false, &mut |event| {
        if event.repeats_a_failure() {
            end = end.take().or(Some(event));
        } else {
            last = Some(event);
        }
        last.is_none()
    })?;
    Ok(last.or(end))
}

/// The run that is meant; one that the store does not know yet stands for itself.
fn run_of(ask: &Asking<'_>, name: &str) -> Result<String, AskError> {
    match execution(ask, Some(name), &super::args::Which::default()) {
        Err(AskError::NotFound(_) | AskError::Store(ReadError::Away(_) | ReadError::Refused(_))) if name != "last" => {
            Ok(name.to_owned())
        }
        other => other,
    }
}

fn script_of(ask: &Asking<'_>, id: &str) -> Result<Option<String>, AskError> {
    let page = ask.store.runs(&store::search::RunAsk {
        executions: vec![id.to_owned()],
        limit: 1,
        ..Default::default()
    })?;
    Ok(page.items.into_iter().next().map(|r| r.script_name))
}

/// The record as a line of the socket.
fn line(text: &str, event: &str, id: Option<&str>, script: Option<&str>) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("message".into(), json!(text));
    line.insert("level".into(), json!("INFO"));
    line.insert("event".into(), json!(event));
    line.insert("execution_id".into(), json!(id.unwrap_or(MANUAL)));
    if let Some(script) = script {
        line.insert("script_name".into(), json!(script));
    }
    line
}

/// Sends the record to the agent, or else writes what `batch` makes of it.
fn record(
    ask: &Asking<'_>,
    recorder: &Recorder<'_>,
    line: Map<String, Value>,
    batch: impl FnOnce(&str, &str, Map<String, Value>) -> Batch,
) -> Result<&'static str, AskError> {
    if let Some(stream) = recorder.agent() {
        let mut line = line;
        line.insert("timestamp".into(), json!(format_time(ask.clock.now)));
        send(stream, &Value::Object(line)).map_err(|e| {
            ReadError::Away(format!(
                "the agent did not take the record ({e}): see `logagent status`"
            ))
        })?;
        return Ok("agent");
    }
    let time = format_time(ask.clock.now);
    let hash = xxhash_rust::xxh3::xxh3_64(Value::Object(line.clone()).to_string().as_bytes());
    // Unsigned: the clock stands far past 1970.
    let key = Key::new(
        hash,
        ask.clock.now.unsigned_abs(),
        u128::from(hash.rotate_left(32) ^ ask.clock.now.unsigned_abs()),
        0,
    );
    let batch = batch(key.as_str(), &time, line);
    let report = (recorder.write)(batch).map_err(|e| match e {
        WriteError::Away(text) => ReadError::Away(text),
        WriteError::Refused(text) => ReadError::Refused(text),
    })?;
    match report.rejected.first() {
        Some(refused) => Err(ReadError::Refused(format!("the store refused the record: {}", refused.reason)).into()),
        None => Ok("store"),
    }
}

/// Sends one line and waits until it is durable.
fn send(mut stream: UnixStream, line: &Value) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{{\"logagent\":\"ack\"}}\n{line}\n").as_bytes())?;
    let ended = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it closed the connection");
    for answer in BufReader::new(stream).lines() {
        let answer: Value = serde_json::from_str(&answer?).unwrap_or_default();
        if answer.get("acked").and_then(Value::as_u64).is_some_and(|n| n >= 1) {
            return Ok(());
        }
    }
    Err(ended())
}

/// A finished document.
fn keyed(key: &str, fields: Map<String, Value>) -> Vec<u8> {
    let mut out = format!("{{\"_key\":\"{key}\"").into_bytes();
    for (name, value) in fields.into_iter().filter(|(_, v)| !v.is_null()) {
        out.extend_from_slice(format!(",{}:{value}", Value::String(name)).as_bytes());
    }
    out.push(b'}');
    out
}

/// The record's own event.
fn event(key: &str, time: &str, mut line: Map<String, Value>) -> Vec<u8> {
    let mut extra = Map::new();
    for name in ["confidence", "context", "fixes", "rationale"] {
        if let Some(value) = line.remove(name) {
            extra.insert(name.to_owned(), value);
        }
    }
    line.insert("timestamp".into(), json!(time));
    line.insert("ingested_at".into(), json!(time));
    line.insert("level_no".into(), json!(20));
    line.insert("seq".into(), json!(parse_stored(time)));
    if !extra.is_empty() {
        line.insert("extra_data".into(), Value::Object(extra));
    }
    keyed(key, line)
}

impl Row for Recorded {
    fn draw(items: &[Recorded], paint: &mut Paint) {
        for item in items {
            let way = if item.via == "agent" {
                "handed to the agent"
            } else {
                "written to the store"
            };
            match &item.fixed {
                None if item.fixes.is_some() => {
                    let target = item.fixes.as_deref().unwrap_or_default();
                    paint.line(Style::Green, &format!("fix of {} recorded ({way})", short(target, 120)));
                    let later = "the store is away: it is joined to its error when the store is back";
                    paint.line(Style::Dim, later);
                }
                None => paint.line(Style::Green, &format!("learnt: {} ({way})", short(&item.text, 120))),
                Some(error) => {
                    let after = error.seconds_to_resolution.map_or(String::new(), |s| {
                        format!(" after {}", super::window::show_duration((s * 1e6) as i64))
                    });
                    paint.line(
                        Style::Green,
                        &format!(
                            "fixed{after}: {} [{}] ({way})",
                            short(&error.root_cause, 120),
                            short_key(&error.key)
                        ),
                    );
                }
            }
        }
    }
}
