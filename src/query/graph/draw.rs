//! A graph as a tree in the terminal, in DOT, and in Mermaid.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Drawn, Graph, Node};
use crate::query::render::Paint;
use crate::query::render::paint::{Style, plain, short, short_key};

/// Lines for people: one a node, and below it what it is related to.
pub fn text(graph: &Graph, paint: &mut Paint) {
    let status = graph.run.as_ref().map_or("", |r| r.status.as_str());
    paint.put(Style::Bold, &plain(&graph.execution_id));
    paint.out.push(' ');
    paint.put(Style::of_status(status), &plain(status));
    paint.end();
    let names: HashMap<&str, &Node> = graph.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let drawn = graph.drawn();
    let last = drawn.len().saturating_sub(1);
    for (i, item) in drawn.iter().enumerate() {
        let (branch, bar) = if i == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        match item {
            Drawn::Fold(n) => paint.line(Style::Dim, &format!("│  … {n} more")),
            Drawn::Node(node) => {
                paint.put(Style::Dim, branch);
                let time = paint.clock.show(&node.timestamp);
                paint.put(Style::Dim, &time);
                paint.out.push(' ');
                paint.put(Style::of_level(node.level_no), &format!("{:<8}", plain(&node.level)));
                paint.out.push(' ');
                paint.out.push_str(&short(&node.message, 100));
                paint.put(Style::Dim, &format!(" [{}]", short_key(&node.id)));
                paint.end();
                for edge in graph
                    .edges
                    .iter()
                    .filter(|e| e.from == node.id && e.kind != "FOLLOWED_BY")
                {
                    paint.put(Style::Dim, bar);
                    let style = if edge.kind == "FIXED_BY" {
                        Style::Green
                    } else {
                        Style::Yellow
                    };
                    paint.put(style, &format!("   ↳ {} ", plain(&edge.kind)));
                    let to = names
                        .get(edge.to.as_str())
                        .map_or("of another run", |n| n.message.as_str());
                    paint.out.push_str(&short(to, 80));
                    paint.put(Style::Dim, &format!(" [{}] {:.2}", short_key(&edge.to), edge.weight));
                    paint.end();
                }
            }
        }
    }
    if graph.metadata.folded > 0 {
        paint.line(
            Style::Dim,
            &format!("({} plain events are not in the graph)", graph.metadata.folded),
        );
    }
}

/// Fill colours of levels.
pub fn fill(level_no: i64) -> &'static str {
    match level_no {
        i64::MIN..=9 => "#9aa5b1",
        10..=19 => "#7b8794",
        20..=24 => "#3e8ed0",
        25..=29 => "#2fa66a",
        30..=39 => "#e0a100",
        40..=49 => "#d64545",
        50.. => "#8d1b3d",
    }
}

/// Colour of a relation's line.
pub fn stroke(kind: &str) -> &'static str {
    match kind {
        "FIXED_BY" => "#2fa66a",
        "RETRY_OF" => "#e0a100",
        "CAUSED_BY" => "#d64545",
        "LEARNED_FROM" => "#7c5cd6",
        _ => "#5b7083",
    }
}

/// Name, label and colour of a node.
type Box = (String, String, &'static str);
/// Ends and kind of an edge.
type Arrow = (String, String, String);

/// A name for each drawn node, and the edges between drawn ones; a fold stands for what it hides.
fn outline(graph: &Graph) -> (Vec<Box>, Vec<Arrow>) {
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    let mut names: HashMap<&str, String> = HashMap::new();
    let mut before: Option<String> = None;
    for (i, item) in graph.drawn().into_iter().enumerate() {
        let name = format!("n{i}");
        let learning = match item {
            Drawn::Fold(n) => {
                nodes.push((name.clone(), format!("… {n} more"), "#c3cbd4"));
                false
            }
            Drawn::Node(node) => {
                names.insert(node.id.as_str(), name.clone());
                nodes.push((name.clone(), node.label.clone(), fill(node.level_no)));
                node.kind.is_some()
            }
        };
        if !learning && let Some(b) = before.replace(name.clone()) {
            edges.push((b, name, "FOLLOWED_BY".to_owned()));
        }
    }
    for e in graph.edges.iter().filter(|e| e.kind != "FOLLOWED_BY") {
        if let (Some(from), Some(to)) = (names.get(e.from.as_str()), names.get(e.to.as_str())) {
            edges.push((from.clone(), to.clone(), e.kind.clone()));
        }
    }
    (nodes, edges)
}

/// Graphviz.
pub fn dot(graph: &Graph) -> String {
    let quote = |t: &str| format!("\"{}\"", plain(t).replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = String::from("digraph run {\n  rankdir=TB;\n");
    let _ = writeln!(out, "  label={};", quote(&graph.execution_id));
    out.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontcolor=white];\n");
    let (nodes, edges) = outline(graph);
    for (name, label, colour) in nodes {
        let _ = writeln!(out, "  {name} [label={}, fillcolor=\"{colour}\"];", quote(&label));
    }
    for (from, to, kind) in edges {
        if kind == "FOLLOWED_BY" {
            let _ = writeln!(out, "  {from} -> {to};");
        } else {
            let colour = stroke(&kind);
            let _ = writeln!(
                out,
                "  {from} -> {to} [label={}, color=\"{colour}\", fontcolor=\"{colour}\", constraint=false];",
                quote(&kind)
            );
        }
    }
    out.push_str("}\n");
    out
}

/// Mermaid's flowchart.
pub fn mermaid(graph: &Graph) -> String {
    // Mermaid has no escapes in labels, only entities.
    let quote = |t: &str| {
        let escaped: String = plain(t)
            .chars()
            .map(|c| match c {
                '"' | '<' | '>' | '&' | '#' | ';' | '`' | '\\' | '[' | ']' | '{' | '}' | '|' => {
                    format!("#{};", u32::from(c))
                }
                c => c.to_string(),
            })
            .collect();
        format!("\"{escaped}\"")
    };
    let mut out = String::from("flowchart TD\n");
    let (nodes, edges) = outline(graph);
    for (name, label, colour) in &nodes {
        let _ = writeln!(out, "  {name}[{}]", quote(label));
        let _ = writeln!(out, "  style {name} fill:{colour},color:#fff,stroke:none");
    }
    for (from, to, kind) in edges {
        if kind == "FOLLOWED_BY" {
            let _ = writeln!(out, "  {from} --> {to}");
        } else {
            let _ = writeln!(out, "  {from} -. {} .-> {to}", quote(&kind));
        }
    }
    out
}
