//! `graph`: the events of a run and how they are related.
//!
//! A run is read in one stream. Its first [`NODES_MAX`] events become nodes; in a longer one, plain events (below
//! WARNING, related to nothing but their neighbours) are folded away as they pass, so that memory is bounded. For
//! drawing, more is folded: what remains is what matters.

mod draw;
pub mod rules;
mod svg;

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::args::{Graph as Args, GraphFormat};
use super::naming::{refuse, subject};
use super::render::paint::{plain, short};
use super::render::{Paint, Row};
use super::{AskError, Asking};
use crate::record::Micros;
use crate::store::search::{Filter, LearningAsk, RunAsk};
use crate::store::stored::{Event, Run};
use crate::store::{AGENT_LEARNINGS, Batch, LOG_EVENTS};
use rules::{Relation, Rules, recorded};

/// Events of a run that become nodes whatever they say.
pub const NODES_MAX: usize = 5_000;
/// Recorded edges that are read of one run.
const EDGES_MAX: usize = 10_000;
/// The relation between an event and what was learnt from it.
const LEARNED_FROM: &str = "LEARNED_FROM";
/// Plain events in a row that are still drawn one by one.
const ROW: usize = 3;

/// An event, or several that were folded.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Key of the event.
    pub id: String,
    /// `LEVEL: first 50 characters`.
    pub label: String,
    pub timestamp: String,
    pub level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// `learning`, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip)]
    pub level_no: i64,
    #[serde(skip)]
    pub message: String,
}

/// What is known of an execution's relations.
#[derive(Clone, Debug, Serialize)]
pub struct Graph {
    pub execution_id: String,
    pub nodes: Vec<Node>,
    pub edges: Vec<Relation>,
    pub metadata: Metadata,
    #[serde(skip)]
    pub run: Option<Run>,
}

/// What a graph says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    pub execution_id: String,
    pub total_logs: u64,
    /// Plain events that are no nodes, for want of room.
    pub folded: u64,
}

/// The events of an execution and how they are related.
///
/// # Errors
/// [`AskError::NotFound`] for an unknown execution; those of the store.
pub fn graph(ask: &Asking<'_>, args: &Args) -> Result<Graph, AskError> {
    refuse(
        "graph",
        &args.which,
        &["limit", "level", "tag", "grep", "reverse", "cursor"],
    )?;
    let id = subject(ask, args.id.as_deref(), &args.which)?;
    let edges = ask.store.edges(&id, &[], EDGES_MAX)?;
    let edges: Vec<_> = edges
        .into_iter()
        .filter(|e| e.method.as_deref() != Some("rule"))
        .collect();
    let mut collect = Collect::new(Rules::new(&edges), edges.iter().map(recorded).collect());
    let filter = Filter {
        executions: vec![id.clone()],
        ..Filter::default()
    };
    ask.store.scan(&filter, true, &mut |event| {
        collect.take(&event);
        true
    })?;
    let run = ask.store.runs(&RunAsk {
        executions: vec![id.clone()],
        limit: 1,
        ..RunAsk::default()
    })?;
    let run = run.items.into_iter().next();
    if collect.total == 0 && run.is_none() {
        return Err(AskError::NotFound(format!(
            "no execution '{id}' is known: see `logagent runs`"
        )));
    }
    let learnings = ask.store.learnings(&LearningAsk {
        executions: vec![id.clone()],
        oldest: true,
        limit: 200,
        ..LearningAsk::default()
    })?;
    for (learning, _) in learnings.items {
        collect.learn(&learning);
    }
    Ok(collect.finish(id, run))
}

/// Collects nodes and edges while events stream by.
struct Collect {
    rules: Rules,
    nodes: Vec<Node>,
    edges: Vec<Relation>,
    /// Ends of edges that say more than "the next".
    related: HashSet<String>,
    total: u64,
    folded: u64,
}

impl Collect {
    fn new(rules: Rules, recorded: Vec<Relation>) -> Collect {
        let mut related = HashSet::new();
        for edge in &recorded {
            related.insert(edge.from.clone());
            related.insert(edge.to.clone());
        }
        Collect {
            rules,
            nodes: Vec::new(),
            edges: recorded,
            related,
            total: 0,
            folded: 0,
        }
    }

    fn take(&mut self, event: &Event) {
        self.total += 1;
        for relation in self.rules.take(event) {
            if relation.kind != "FOLLOWED_BY" {
                self.related.insert(relation.from.clone());
                self.related.insert(relation.to.clone());
            }
            self.edges.push(relation);
        }
        self.nodes.push(node(event));
        // The rules can still point back to the last few.
        if self.nodes.len() > 2 * NODES_MAX {
            self.make_room();
        }
    }

    /// Folds plain events of the newer half, and the edges between them.
    fn make_room(&mut self) {
        let behind = self.nodes.len() - rules::REACH;
        let mut gone = HashSet::new();
        let mut at = 0;
        let related = &self.related;
        self.nodes.retain(|n| {
            at += 1;
            let keep = at <= NODES_MAX || at > behind || n.level_no >= 30 || related.contains(&n.id);
            if !keep {
                gone.insert(n.id.clone());
            }
            keep
        });
        // A run of nothing but trouble is cut all the same.
        for node in self.nodes.drain((2 * NODES_MAX - rules::REACH).min(self.nodes.len())..) {
            gone.insert(node.id);
        }
        self.folded += gone.len() as u64;
        self.edges.retain(|e| !gone.contains(&e.from) && !gone.contains(&e.to));
    }

    /// A learning hangs on the last event before it. One that was logged is an event as well, under the same key: its
    /// node is that of the event.
    fn learn(&mut self, learning: &crate::store::stored::Learning) {
        let other = |n: &&Node| n.kind.is_none() && n.id != learning.key;
        let before = self
            .nodes
            .iter()
            .rev()
            .filter(other)
            .find(|n| n.timestamp <= learning.timestamp);
        if let Some(from) = before.or(self.nodes.iter().find(other)).map(|n| n.id.clone()) {
            let weight = learning.confidence.unwrap_or(0.8);
            self.related.insert(from.clone());
            self.edges.push(Relation {
                from,
                to: learning.key.clone(),
                kind: LEARNED_FROM.to_owned(),
                weight,
                confidence: weight,
                rationale: "learnt in this run, after this event".to_owned(),
                method: "rule".to_owned(),
            });
        }
        let node = Node {
            id: learning.key.clone(),
            label: format!("LEARNING: {}", short(&learning.learning, 50)),
            timestamp: learning.timestamp.clone(),
            level: "LEARNING".to_owned(),
            function: learning.function_name.clone(),
            kind: Some("learning"),
            level_no: 25,
            message: short(&learning.learning, 200),
        };
        match self.nodes.iter_mut().find(|n| n.id == learning.key) {
            Some(event) => *event = node,
            None => self.nodes.push(node),
        }
    }

    fn finish(mut self, id: String, run: Option<Run>) -> Graph {
        // Stable: events of one time keep their order.
        self.nodes.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        Graph {
            metadata: Metadata {
                execution_id: id.clone(),
                total_logs: self.total,
                folded: self.folded,
            },
            execution_id: id,
            nodes: self.nodes,
            edges: self.edges,
            run,
        }
    }
}

fn node(event: &Event) -> Node {
    let gist: String = plain(&event.message).chars().take(50).collect();
    Node {
        id: event.key.clone(),
        label: format!("{}: {gist}", event.level),
        timestamp: event.timestamp.clone(),
        level: event.level.clone(),
        function: event.function_name.clone(),
        kind: None,
        level_no: event.level_no.unwrap_or(20),
        message: short(&event.message, 200),
    }
}

/// A node as it is drawn, or how many plain ones were folded in its place.
pub(super) enum Drawn<'g> {
    Node(&'g Node),
    Fold(usize),
}

impl Graph {
    /// Nodes with rows of plain ones folded: first and last, trouble, and what is related stay.
    pub(super) fn drawn(&self) -> Vec<Drawn<'_>> {
        let related: HashSet<&str> = self
            .edges
            .iter()
            .filter(|e| e.kind != "FOLLOWED_BY")
            .flat_map(|e| [e.from.as_str(), e.to.as_str()])
            .collect();
        let last = self.nodes.len().saturating_sub(1);
        let plain = |i: usize, n: &Node| {
            i != 0 && i != last && n.level_no < 30 && n.kind.is_none() && !related.contains(n.id.as_str())
        };
        let mut out = Vec::new();
        let mut i = 0;
        while let Some(node) = self.nodes.get(i) {
            let row = self
                .nodes
                .iter()
                .enumerate()
                .skip(i)
                .take_while(|(i, n)| plain(*i, n))
                .count();
            if row > ROW {
                out.push(Drawn::Fold(row));
                i += row;
            } else {
                out.push(Drawn::Node(node));
                i += 1;
            }
        }
        out
    }

    /// The graph in a form other than JSON.
    #[must_use]
    pub fn draw(&self, format: GraphFormat, paint: &mut Paint) -> String {
        match format {
            GraphFormat::Text => {
                draw::text(self, paint);
                std::mem::take(&mut paint.out)
            }
            GraphFormat::Json => serde_json::to_string(self).unwrap_or_default() + "\n",
            GraphFormat::Dot => draw::dot(self),
            GraphFormat::Mermaid => draw::mermaid(self),
            GraphFormat::Svg => svg::svg(self, &paint.clock),
        }
    }

    /// The derived edges as something to write; recorded ones are stored already.
    #[must_use]
    pub fn batch(&self, now: Micros) -> Batch {
        let relation = |r: &Relation| crate::store::Relation {
            from: r.from.clone(),
            to: r.to.clone(),
            to_collection: if r.kind == LEARNED_FROM {
                AGENT_LEARNINGS
            } else {
                LOG_EVENTS
            }
            .to_owned(),
            kind: r.kind.clone(),
            weight: r.weight,
            confidence: r.confidence,
            rationale: r.rationale.clone(),
            method: r.method.clone(),
            time: now,
            execution_id: self.execution_id.clone(),
        };
        Batch {
            relations: self.edges.iter().filter(|e| e.method == "rule").map(relation).collect(),
            ..Batch::default()
        }
    }
}

impl Row for Graph {
    fn draw(items: &[Graph], paint: &mut Paint) {
        for graph in items {
            draw::text(graph, paint);
        }
    }

    fn lean(&self) -> Value {
        let mut nodes = Vec::new();
        for drawn in self.drawn() {
            nodes.push(match drawn {
                Drawn::Node(n) => json!(format!("{} {}", super::render::paint::short_key(&n.id), n.label)),
                Drawn::Fold(n) => json!(format!("… {n} plain events")),
            });
        }
        let edges = self.edges.iter().filter(|e| e.kind != "FOLLOWED_BY");
        let key = super::render::paint::short_key;
        json!({
            "execution_id": self.execution_id, "total_logs": self.metadata.total_logs, "nodes": nodes,
            "edges": edges.map(|e| format!("{} {} {} ({:.2}, {})", key(&e.from), e.kind, key(&e.to), e.weight, e.method))
                .collect::<Vec<_>>(),
        })
    }
}
