//! What is stored, as it is read back: one struct a collection, fields in the order of the interface.
//!
//! Objects and arrays of unknown shape stay text ([`Json`]): they are shown and compared, never changed. A field
//! without a value is left out when written as JSON, never null.

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Any JSON value as its text. Equal when the values are equal, whatever the white space.
#[derive(Clone)]
pub struct Json(Box<RawValue>);

impl Json {
    /// `None` unless `text` is one valid JSON value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Json> {
        RawValue::from_string(text.to_owned()).ok().map(Json)
    }

    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The value as a tree; null if it does not fit into one (a number beyond 64 bits and doubles).
    #[must_use]
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        self.text() == other.text() || self.value() == other.value()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Json, D::Error> {
        Box::<RawValue>::deserialize(d).map(Json)
    }
}

/// A JSON null, and a value of another type than expected, read as absent: reading never fails on one odd document.
fn lenient<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    let raw = Box::<RawValue>::deserialize(d)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// One link of an exception chain.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Link {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub value: String,
}

/// The exception of an event.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Exception {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// Root cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link>,
}

impl Exception {
    /// Type and value of the root cause.
    #[must_use]
    pub fn root(&self) -> (&str, &str) {
        match self.chain.first() {
            Some(link) => (&link.kind, &link.value),
            None => (self.kind.as_deref().unwrap_or(""), self.value.as_deref().unwrap_or("")),
        }
    }
}

/// Declares a stored document: every optional field is skipped when empty and read leniently.
macro_rules! document {
    ($(#[$meta:meta])* $name:ident { $($(#[$req_meta:meta])* $req:ident : $req_ty:ty = $req_name:literal,)* ; $($(#[$opt_meta:meta])* $opt:ident : $opt_ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($(#[$req_meta])* #[serde(rename = $req_name, default)] pub $req: $req_ty,)*
            $($(#[$opt_meta])* #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")] pub $opt: Option<$opt_ty>,)*
        }
    };
}

document! {
    /// A document of `log_events`.
    Event {
        key: String = "_key",
        /// UTC, 27 characters.
        timestamp: String = "timestamp",
        level: String = "level",
        message: String = "message",
        execution_id: String = "execution_id",
        ;
        level_no: i64,
        script_name: String,
        function_name: String,
        file_path: String,
        line_number: i64,
        module: String,
        logger: String,
        pid: i64,
        process_name: String,
        thread_id: i64,
        thread_name: String,
        host: String,
        exception: Exception,
        extra_data: Json,
        tags: Vec<String>,
        embeddings: Json,
        fingerprint: String,
        event: String,
        resolved: bool,
        resolved_at: String,
        fix_description: String,
        source: Json,
        seq: i64,
        ingested_at: String,
        unparsed: bool,
        repaired: bool,
        truncated: Json,
        redacted: Json,
        fix_unmatched: bool,
    }
}

document! {
    /// A document of `script_runs`.
    Run {
        key: String = "_key",
        execution_id: String = "execution_id",
        script_name: String = "script_name",
        /// UTC, 27 characters.
        start_time: String = "start_time",
        status: String = "status",
        ;
        end_time: String,
        last_seen: String,
        duration_seconds: f64,
        metadata: Json,
        error: String,
        pid: i64,
        host: String,
        parent_execution_id: String,
    }
}

document! {
    /// A document of `agent_learnings`.
    Learning {
        key: String = "_key",
        timestamp: String = "timestamp",
        execution_id: String = "execution_id",
        learning: String = "learning",
        ;
        context: Json,
        function_name: String,
        confidence: f64,
        script_name: String,
        tags: Vec<String>,
    }
}

document! {
    /// A document of `log_causality`.
    Edge {
        key: String = "_key",
        /// `collection/key`.
        from: String = "_from",
        /// `collection/key`.
        to: String = "_to",
        kind: String = "type",
        ;
        weight: f64,
        confidence: f64,
        rationale: String,
        method: String,
        created_at: String,
        valid_at: String,
        metadata: Json,
    }
}

impl Event {
    /// What orders events: time, then sequence number within the stream, then key.
    #[must_use]
    pub fn position(&self) -> (&str, i64, &str) {
        (&self.timestamp, self.seq.unwrap_or(0), &self.key)
    }

    /// Who recorded it: the author that it names, and the user of the connection that brought it.
    #[must_use]
    pub fn author(&self) -> Option<String> {
        let extra = self.extra_data.as_ref().map(Json::value);
        let source = self.source.as_ref().map(Json::value);
        let named = extra.as_ref().and_then(|e| e.get("author")?.as_str());
        super::search::author(named, source.as_ref().and_then(|s| s.get("uid")?.as_i64()))
    }

    /// ERROR and above.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.level_no.unwrap_or(0) >= ERROR
    }

    /// A `run_end` without an exception: as an error it says no more than that its run failed. It stands for a failure
    /// only where its execution has no other error.
    #[must_use]
    pub fn repeats_a_failure(&self) -> bool {
        self.event.as_deref() == Some("run_end") && self.exception.is_none()
    }
}

/// `level_no` from which on a record is an error.
pub const ERROR: i64 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_back_in_the_interface_s_order_without_nulls() {
        let doc = r#"{"_key":"k","level_no":40,"timestamp":"t","level":"ERROR","message":"m","execution_id":"x","script_name":null,"pid":"odd","extra_data":{"b":1,"a":[2]}}"#;
        let event: Event = serde_json::from_str(doc).expect("reads");
        assert_eq!(event.level_no, Some(40));
        assert_eq!(event.pid, None, "a value of another type reads as absent");
        let json = serde_json::to_string(&event).expect("writes");
        assert_eq!(
            json,
            r#"{"_key":"k","timestamp":"t","level":"ERROR","message":"m","execution_id":"x","level_no":40,"extra_data":{"b":1,"a":[2]}}"#
        );
    }

    #[test]
    fn json_values_are_equal_whatever_their_white_space() {
        assert_eq!(Json::parse("{\"a\": 1}"), Json::parse("{\"a\":1}"));
        assert_ne!(Json::parse("{\"a\": 1}"), Json::parse("{\"a\":2}"));
        assert_eq!(Json::parse("{"), None);
    }
}
