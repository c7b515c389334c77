//! Edges of `log_causality`: their keys, their fields, and the words in which a fix is tied to its error.
//!
//! The key is a function of kind and ends, so an edge that is written twice is one edge. The kind stands under three
//! names, because readers of the neighbouring tools look for different ones. A field without a value is left out.

use serde::Serialize;

use super::{AGENT_LEARNINGS, Fix, LOG_EVENTS, Relation};
use crate::record::format_time;

/// An edge as it is stored, in the order of its fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edge {
    #[serde(rename = "_key")]
    pub key: String,
    #[serde(rename = "_from")]
    pub from: String,
    #[serde(rename = "_to")]
    pub to: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub relationship_type: String,
    pub relationship: String,
    pub weight: f64,
    pub confidence: f64,
    /// At least [`RATIONALE`] characters.
    pub rationale: String,
    pub method: String,
    /// When it was recorded, 27 characters; also `created_at` and `valid_at`.
    pub timestamp: String,
    pub created_at: String,
    pub valid_at: String,
    pub metadata: Metadata,
}

/// What an edge knows besides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    pub execution_id: String,
    /// Of the error that was fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Of the error that was fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_name: Option<String>,
    /// How it was fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_description: Option<String>,
}

/// What a store knows of the error that a fix is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixedError {
    pub key: String,
    pub fingerprint: Option<String>,
    pub script_name: Option<String>,
    pub message: String,
}

/// Readers of the neighbouring tools refuse shorter rationales.
pub const RATIONALE: usize = 50;

/// Weight of an edge from an error to its fix.
const FIXED_BY: f64 = 0.9;

/// The edge from an error to the event that recorded its fix.
#[must_use]
pub fn fixed_by(error: &FixedError, fix: &Fix) -> Edge {
    let said = fix.rationale.as_deref().filter(|r| !r.trim().is_empty());
    let relation = Relation {
        from: error.key.clone(),
        to: fix.key.clone(),
        to_collection: LOG_EVENTS.to_owned(),
        kind: "FIXED_BY".to_owned(),
        weight: FIXED_BY,
        confidence: FIXED_BY,
        rationale: said.unwrap_or(&fix.description).to_owned(),
        method: "fix".to_owned(),
        time: fix.time,
        execution_id: fix.execution_id.clone(),
    };
    let mut edge = edge(&relation);
    edge.metadata.fingerprint.clone_from(&error.fingerprint);
    edge.metadata.script_name.clone_from(&error.script_name);
    edge.metadata.fix_description = Some(fix.description.clone());
    edge
}

/// The edge that a relation asks for.
#[must_use]
pub fn edge(relation: &Relation) -> Edge {
    let from = format!("{LOG_EVENTS}/{}", relation.from);
    let to = format!("{}/{}", collection(&relation.to_collection), relation.to);
    let time = format_time(relation.time);
    Edge {
        key: key(&relation.kind, &from, &to),
        rationale: rationale(relation, &from, &to),
        from,
        to,
        kind: relation.kind.clone(),
        relationship_type: relation.kind.clone(),
        relationship: relation.kind.clone(),
        weight: relation.weight,
        confidence: relation.confidence,
        method: relation.method.clone(),
        timestamp: time.clone(),
        created_at: time.clone(),
        valid_at: time,
        metadata: Metadata {
            execution_id: relation.execution_id.clone(),
            fingerprint: None,
            script_name: None,
            fix_description: None,
        },
    }
}

fn collection(name: &str) -> &str {
    if name == AGENT_LEARNINGS {
        AGENT_LEARNINGS
    } else {
        LOG_EVENTS
    }
}

/// `_key` of the edge of this kind between these ends (with their collections).
#[must_use]
pub fn key(kind: &str, from: &str, to: &str) -> String {
    // A separator that occurs in none of them keeps ("a", "bc") and ("ab", "c") apart.
    let named = [kind, from, to].join("\0");
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(named.as_bytes()))
}

fn rationale(relation: &Relation, from: &str, to: &str) -> String {
    let said = relation.rationale.trim();
    if said.chars().count() >= RATIONALE {
        return said.to_owned();
    }
    let gap = if said.is_empty() { "" } else { " " };
    format!(
        "{said}{gap}({} from {from} to {to}, by {})",
        relation.kind, relation.method
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(rationale: Option<&str>) -> Fix {
        Fix {
            key: "fix1".to_owned(),
            time: 1_795_227_624_054_432,
            execution_id: "run".to_owned(),
            script_name: Some("app".to_owned()),
            target: None,
            description: "raised the timeout".to_owned(),
            rationale: rationale.map(str::to_owned),
        }
    }

    fn error() -> FixedError {
        FixedError {
            key: "err1".to_owned(),
            fingerprint: Some("f0".to_owned()),
            script_name: Some("app".to_owned()),
            message: "timed out".to_owned(),
        }
    }

    #[test]
    fn a_fix_becomes_an_edge_that_every_reader_understands() {
        let edge = fixed_by(&error(), &fix(Some("x")));
        assert_eq!(
            (edge.from.as_str(), edge.to.as_str()),
            ("log_events/err1", "log_events/fix1")
        );
        assert_eq!(
            [&edge.kind, &edge.relationship_type, &edge.relationship],
            ["FIXED_BY"; 3]
        );
        assert!(edge.rationale.chars().count() >= RATIONALE, "{}", edge.rationale);
        let json = serde_json::to_value(&edge).unwrap();
        assert_eq!(json["metadata"]["fingerprint"], "f0");
        assert_eq!(json["metadata"]["fix_description"], "raised the timeout");
        assert_eq!(json["valid_at"], "2026-11-21T02:20:24.054432Z");
    }

    #[test]
    fn an_edge_has_one_key_whatever_is_said_about_it() {
        assert_eq!(
            fixed_by(&error(), &fix(None)).key,
            fixed_by(&error(), &fix(Some("because"))).key
        );
        assert_ne!(key("A", "b", "c"), key("A", "bc", ""));
    }
}
