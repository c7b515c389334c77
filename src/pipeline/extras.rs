//! What a record means beyond being an event: learnings, memories, fixes, relations.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::record::{Event, Micros, Record, Text, Token, format_time, unescape};
use crate::store::{Batch, Fix, LOG_EVENTS, Relation};

/// Confidence of a learning that names none.
const CONFIDENCE: f64 = 0.8;

/// Where an event stands: what the agent knows beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub key: &'a str,
    pub time: Micros,
    pub execution_id: &'a str,
    pub script_name: Option<&'a str>,
    /// 27 characters.
    pub now: &'a str,
}

#[derive(Serialize)]
struct Learning<'a> {
    _key: &'a str,
    timestamp: &'a str,
    execution_id: &'a str,
    learning: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_name: Option<&'a str>,
    confidence: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Memory<'a> {
    _key: &'a str,
    content: &'a str,
    r#type: &'a str,
    timestamp: &'a str,
    metadata: MemoryMetadata<'a>,
    access_count: u32,
    created_at: &'a str,
    valid_at: &'a str,
}

#[derive(Serialize)]
struct MemoryMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    confidence: f64,
    execution_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
}

/// Adds to `batch` what `record` means by its `event`.
pub fn add(batch: &mut Batch, record: &Record<'_>, place: &Place<'_>) {
    match record.bound.event {
        Some(Event::Learning) => add_learning(batch, record, place),
        Some(Event::Fix) => batch.fixes.push(Fix {
            key: place.key.to_owned(),
            time: place.time,
            execution_id: place.execution_id.to_owned(),
            script_name: place.script_name.map(str::to_owned),
            target: plain(record.bound.fixes.as_ref()).filter(|t| !t.is_empty()),
            description: unescape(&record.message.0).into_owned(),
            rationale: plain(record.bound.rationale.as_ref()),
        }),
        Some(Event::Relation) => add_relation(batch, record, place),
        Some(Event::RunStart | Event::RunEnd) | None => {}
    }
}

fn add_learning(batch: &mut Batch, record: &Record<'_>, place: &Place<'_>) {
    let message = unescape(&record.message.0);
    let function = plain(record.bound.function_name.as_ref().or(record.function_name.as_ref()));
    let execution_id = if place.execution_id == "unknown" {
        "manual"
    } else {
        place.execution_id
    };
    let time = format_time(place.time);
    let confidence = record.bound.confidence.unwrap_or(CONFIDENCE);
    let (context, tags) = (raw(record.bound.context.as_ref()), raw(record.bound.tags.as_ref()));
    let learning = Learning {
        _key: place.key,
        timestamp: &time,
        execution_id,
        learning: &message,
        context,
        function_name: function.as_deref(),
        confidence,
        script_name: place.script_name,
        tags,
    };
    let metadata = MemoryMetadata {
        function: function.as_deref(),
        confidence,
        execution_id,
        script_name: place.script_name,
        tags,
        context,
    };
    let memory = Memory {
        _key: place.key,
        content: &message,
        r#type: "learning",
        timestamp: &time,
        metadata,
        access_count: 0,
        created_at: place.now,
        valid_at: &time,
    };
    // Neither can fail: every part is text, a number or JSON that was parsed already.
    if let (Ok(learning), Ok(memory)) = (serde_json::to_vec(&learning), serde_json::to_vec(&memory)) {
        batch.learnings.push(&learning);
        batch.memories.push(&memory);
    }
}

fn add_relation(batch: &mut Batch, record: &Record<'_>, place: &Place<'_>) {
    let (Some(from), Some(to)) = (
        plain(record.bound.from_key.as_ref()),
        plain(record.bound.to_key.as_ref()),
    ) else {
        tracing::warn!(
            key = place.key,
            "a relation without from_key and to_key is kept as an event only"
        );
        return;
    };
    let (from_collection, from) = split_collection(&from);
    let (to_collection, to) = split_collection(&to);
    if from_collection != LOG_EVENTS {
        tracing::warn!(
            key = place.key,
            "a relation that does not begin at an event is kept as an event only"
        );
        return;
    }
    let confidence = record.bound.confidence.unwrap_or(1.0);
    batch.relations.push(Relation {
        from: from.to_owned(),
        to: to.to_owned(),
        to_collection: to_collection.to_owned(),
        kind: plain(record.bound.relation.as_ref()).unwrap_or_else(|| "RELATED".to_owned()),
        weight: confidence,
        confidence,
        rationale: plain(record.bound.rationale.as_ref()).unwrap_or_else(|| unescape(&record.message.0).into_owned()),
        method: "declared".to_owned(),
        time: place.time,
        execution_id: place.execution_id.to_owned(),
    });
}

/// `log_events/KEY` as (collection, key); a bare key is an event's.
fn split_collection(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or((LOG_EVENTS, id))
}

fn plain(text: Option<&Text<'_>>) -> Option<String> {
    text.map(|t| unescape(&t.0).into_owned())
}

fn raw<'a>(token: Option<&'a Token<'_>>) -> Option<&'a RawValue> {
    token.and_then(|t| serde_json::from_str(&t.0).ok())
}
