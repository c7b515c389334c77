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
use super::render::paint::{Style, short, short_key};
use super::render::{Paint, Row};
use super::runs::execution;
use super::window::parse_stored;
use super::{AskError, Asking};
use crate::record::{Key, format_time};
use crate::store::search::{EventAsk, Filter, Order};
use crate::store::stored::{ERROR, Event};
use crate::store::{self, Batch, ReadError, Report, WriteError};

/// How long the agent may take to acknowledge a record.
const PATIENCE: Duration = Duration::from_secs(10);
/// Confidence of a learning that names none.
const CONFIDENCE: f64 = 0.8;

/// Where records go.
pub struct Recorder<'a> {
    /// The socket of an agent that may be running.
    pub socket: Option<PathBuf>,
    /// Writes to the store itself.
    pub write: Box<dyn Fn(Batch) -> Result<Report, WriteError> + 'a>,
}

/// What was recorded, and by which way.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    pub recorded: bool,
    /// `agent` (durable, stored in a moment) or `store`.
    pub via: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<FixedError>,
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
    let id = args.execution.as_deref().map(|e| execution(ask, e)).transpose()?;
    let script = match (&args.script, &id) {
        (Some(s), _) => Some(s.clone()),
        (None, Some(id)) => script_of(ask, id)?,
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
        text: text.to_owned(),
    })
}

/// What a learning becomes in the store: an event, a learning, a memory.
fn learning_batch(key: &str, time: &str, mut line: Map<String, Value>) -> Batch {
    line.entry("execution_id").or_insert_with(|| json!("manual"));
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

/// Records that an error was fixed.
///
/// # Errors
/// [`AskError::NotFound`] where no error is meant; faulty arguments; an agent that does not answer; a store that cannot
/// be written.
pub fn fix(ask: &Asking<'_>, args: &Fix, recorder: &Recorder<'_>) -> Result<Recorded, AskError> {
    let text = nonempty(&args.text, "how it was fixed")?;
    let error = meant(ask, args.target.trim())?;
    let mut line = line(text, "fix", None, error.script_name.as_deref());
    line.insert("fixes".into(), json!(error.key));
    if let Some(why) = &args.rationale {
        line.insert("rationale".into(), json!(why));
    }
    let via = record(ask, recorder, line, |key, time, mut line| {
        line.entry("execution_id").or_insert_with(|| json!("manual"));
        let mut batch = Batch::default();
        batch.fixes.push(store::Fix {
            key: key.to_owned(),
            time: ask.clock.now,
            execution_id: "manual".to_owned(),
            script_name: error.script_name.clone(),
            target: Some(error.key.clone()),
            description: text.to_owned(),
            rationale: args.rationale.clone(),
        });
        batch.events.push(&event(key, time, line));
        batch
    })?;
    let age = parse_stored(&error.timestamp).map(|t| (ask.clock.now - t) as f64 / 1e6);
    Ok(Recorded {
        recorded: true,
        via,
        text: text.to_owned(),
        fixed: Some(FixedError {
            root_cause: root_cause(&error),
            key: error.key,
            fingerprint: error.fingerprint,
            execution_id: error.execution_id,
            timestamp: error.timestamp,
            seconds_to_resolution: age,
        }),
    })
}

fn nonempty<'t>(text: &'t str, what: &str) -> Result<&'t str, AskError> {
    match text.trim() {
        "" => Err(AskError::usage(format!("say {what}: the text is empty"))),
        text => Ok(text),
    }
}

/// The error that a key, a fingerprint or an execution stands for.
fn meant(ask: &Asking<'_>, target: &str) -> Result<Event, AskError> {
    let target = target.trim_start_matches("log_events/").trim_matches(['[', ']']);
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
    let id = execution(ask, target)?;
    newest(Filter {
        executions: vec![id],
        min_level: Some(ERROR),
        ..Filter::default()
    })?
    .ok_or_else(|| {
        AskError::NotFound(format!(
            "'{target}' is no key of an event, no fingerprint, and no execution with an error: see `logagent errors`"
        ))
    })
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
    if let Some(id) = id {
        line.insert("execution_id".into(), json!(id));
    }
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
    if let Some(stream) = recorder.socket.as_ref().and_then(|path| UnixStream::connect(path).ok()) {
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
        hash.rotate_left(32) ^ ask.clock.now.unsigned_abs(),
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
