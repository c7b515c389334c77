//! How events of a run are related: rules over their order, pure and streamed.
//!
//! | relation | weight | from → to |
//! |---|---|---|
//! | `FOLLOWED_BY` | 1.0 | an event → the next |
//! | `FIXED_BY` | 0.9 | an error → the first later event that speaks of a fix |
//! | `RETRY_OF` | 0.85 | an event that speaks of a retry → the failure before it |
//! | `CAUSED_BY` | 0.75 | an event that names a cause → the trouble before it, else the event before it |
//!
//! Words count as whole words: `prefix` and `suffix` are no fix. ERROR and CRITICAL are both errors. A rule looks
//! back at most [`REACH`] events, so that memory is bounded and what lies far apart is not joined. What was recorded
//! (`fix`, `relation`) wins: a rule draws no second edge between the same events, and no fix for an error that has one.

use std::collections::{HashSet, VecDeque};

use serde::Serialize;

use crate::store::admit::words_of;
use crate::store::stored::{ERROR, Edge, Event};

/// Events that a rule looks back.
pub const REACH: usize = 20;

/// How two events are related.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Relation {
    /// Keys of events (or of a learning, for `LEARNED_FROM`).
    pub from: String,
    pub to: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub weight: f64,
    pub confidence: f64,
    pub rationale: String,
    /// `rule`, or how it was recorded.
    pub method: String,
}

const FIX: [&str; 9] = [
    "fix",
    "fixed",
    "fixes",
    "fixing",
    "resolved",
    "resolves",
    "restored",
    "recovered",
    "recovery",
];
const RETRY: [&str; 8] = [
    "retry",
    "retrying",
    "retried",
    "retries",
    "reattempt",
    "reattempting",
    "reconnecting",
    "rerun",
];
const CAUSE: [&str; 4] = ["because", "caused", "due", "reason"];
const FAILURE: [&str; 6] = ["failed", "failure", "error", "timeout", "refused", "aborted"];

/// An event as the rules see it.
#[derive(Clone)]
struct Seen {
    key: String,
    level_no: i64,
    failed: bool,
    fixed: bool,
}

/// Derives relations from events that come in their order.
pub struct Rules {
    seen: VecDeque<Seen>,
    /// Edges that are recorded, by their ends; and errors that have a recorded fix.
    recorded: HashSet<(String, String)>,
    fixed: HashSet<String>,
}

impl Rules {
    /// Rules that give way to these recorded edges.
    #[must_use]
    pub fn new(recorded: &[Edge]) -> Rules {
        let key = |id: &str| id.split_once('/').map_or(id, |(_, key)| key).to_owned();
        Rules {
            seen: VecDeque::with_capacity(REACH + 1),
            recorded: recorded
                .iter()
                .filter(|e| e.kind != "FOLLOWED_BY")
                .map(|e| (key(&e.from), key(&e.to)))
                .collect(),
            fixed: recorded
                .iter()
                .filter(|e| e.kind == "FIXED_BY")
                .map(|e| key(&e.from))
                .collect(),
        }
    }

    /// What the next event means to those before it.
    pub fn take(&mut self, event: &Event) -> Vec<Relation> {
        let mut found = Vec::new();
        let words: Vec<String> = words_of(&event.message).collect();
        // What was learnt about retries and fixes is none.
        let learnt = event.event.as_deref() == Some("learning");
        let speaks = |of: &[&str]| !learnt && words.iter().any(|w| of.contains(&w.as_str()));
        let level_no = event.level_no.unwrap_or(0);
        if let Some(last) = self.seen.back() {
            found.push(relation(
                &last.key,
                &event.key,
                "FOLLOWED_BY",
                1.0,
                "the next event of the run",
            ));
        }
        let is_fix = level_no < ERROR && (speaks(&FIX) || event.event.as_deref() == Some("fix"));
        if is_fix
            && let Some(error) = self
                .seen
                .iter_mut()
                .rev()
                .find(|s| s.level_no >= ERROR && !s.fixed && !self.fixed.contains(&s.key))
        {
            error.fixed = true;
            let why = "the first event after the error that speaks of a fix";
            found.push(relation(&error.key, &event.key, "FIXED_BY", 0.9, why));
        }
        if speaks(&RETRY)
            && let Some(failure) = self.seen.iter().rev().find(|s| s.level_no >= ERROR || s.failed)
        {
            let why = "it speaks of a retry, and this failed before it";
            found.push(relation(&event.key, &failure.key, "RETRY_OF", 0.85, why));
        }
        if speaks(&CAUSE)
            && let Some(cause) = self.seen.iter().rev().find(|s| s.level_no >= 30).or(self.seen.back())
        {
            let why = "it names a cause, and this is the trouble before it";
            found.push(relation(&event.key, &cause.key, "CAUSED_BY", 0.75, why));
        }
        self.seen.push_back(Seen {
            key: event.key.clone(),
            level_no,
            failed: speaks(&FAILURE),
            fixed: false,
        });
        if self.seen.len() > REACH {
            self.seen.pop_front();
        }
        found.retain(|r| r.kind == "FOLLOWED_BY" || !self.recorded.contains(&(r.from.clone(), r.to.clone())));
        found
    }
}

fn relation(from: &str, to: &str, kind: &str, weight: f64, rationale: &str) -> Relation {
    Relation {
        from: from.to_owned(),
        to: to.to_owned(),
        kind: kind.to_owned(),
        weight,
        confidence: weight,
        rationale: rationale.to_owned(),
        method: "rule".to_owned(),
    }
}

/// A stored edge as a relation.
#[must_use]
pub fn recorded(edge: &Edge) -> Relation {
    let key = |id: &str| id.split_once('/').map_or(id, |(_, key)| key).to_owned();
    Relation {
        from: key(&edge.from),
        to: key(&edge.to),
        kind: edge.kind.clone(),
        weight: edge.weight.unwrap_or(1.0),
        confidence: edge.confidence.unwrap_or(1.0),
        rationale: edge.rationale.clone().unwrap_or_default(),
        method: edge.method.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(list: &[(&str, i64)]) -> Vec<Event> {
        list.iter()
            .enumerate()
            .map(|(n, (message, level))| Event {
                key: format!("k{n}"),
                level_no: Some(*level),
                message: (*message).to_owned(),
                ..Event::default()
            })
            .collect()
    }

    fn related(list: &[(&str, i64)], recorded: &[Edge]) -> Vec<String> {
        let mut rules = Rules::new(recorded);
        events(list)
            .iter()
            .flat_map(|e| rules.take(e))
            .filter(|r| r.kind != "FOLLOWED_BY")
            .map(|r| format!("{} {} {}", r.from, r.kind, r.to))
            .collect()
    }

    #[test]
    fn each_event_follows_the_one_before_it() {
        let mut rules = Rules::new(&[]);
        let found: Vec<Relation> = events(&[("a", 20), ("b", 20), ("c", 20)])
            .iter()
            .flat_map(|e| rules.take(e))
            .collect();
        let ends: Vec<_> = found
            .iter()
            .map(|r| (r.from.as_str(), r.to.as_str(), r.weight))
            .collect();
        assert_eq!(ends, [("k0", "k1", 1.0), ("k1", "k2", 1.0)]);
    }

    #[test]
    fn an_error_is_fixed_by_the_first_event_that_says_so_in_a_whole_word() {
        assert_eq!(
            related(
                &[
                    ("connection lost", 50),
                    ("bad prefix in suffix", 20),
                    ("Connection restored.", 20),
                    ("fixed", 20)
                ],
                &[]
            ),
            ["k0 FIXED_BY k2"],
            "CRITICAL is an error too; one fix is enough; prefix is no fix"
        );
        assert!(related(&[("all fine", 20), ("fixed the layout", 20)], &[]).is_empty());
    }

    #[test]
    fn a_retry_points_to_the_failure_before_it_and_a_cause_to_the_trouble() {
        assert_eq!(
            related(&[("request failed", 30), ("ok", 20), ("retrying", 20)], &[]),
            ["k2 RETRY_OF k0"]
        );
        assert_eq!(
            related(
                &[("disk is slow", 30), ("step", 20), ("aborted because of it", 20)],
                &[]
            ),
            ["k2 CAUSED_BY k0"]
        );
        assert_eq!(
            related(&[("step", 20), ("skipped because empty", 20)], &[]),
            ["k1 CAUSED_BY k0"]
        );
    }

    #[test]
    fn what_was_recorded_wins_over_the_rules() {
        let edge = |from: &str, to: &str, kind: &str| Edge {
            from: format!("log_events/{from}"),
            to: format!("log_events/{to}"),
            kind: kind.to_owned(),
            ..Edge::default()
        };
        let run = [("boom", 40), ("fixed", 20)];
        assert!(
            related(&run, &[edge("k0", "k9", "FIXED_BY")]).is_empty(),
            "it has its fix"
        );
        assert!(
            related(&run, &[edge("k0", "k1", "EXPLAINS")]).is_empty(),
            "these two are related already"
        );
    }

    #[test]
    fn what_lies_far_apart_is_not_joined() {
        let mut run = vec![("boom", 40)];
        run.extend(std::iter::repeat_n(("step", 20), REACH));
        run.push(("fixed", 20));
        assert!(related(&run, &[]).is_empty());
    }
}
