//! A graph as an SVG timeline: time runs down, each event is a dot on the line with what it says beside it, and
//! relations are arcs on the left. It follows the reader's light or dark theme.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::draw::{fill, stroke};
use super::{Drawn, Graph, Node};
use crate::query::render::paint::{plain, short};
use crate::query::window::{Clock, parse_stored, show_duration};

const WIDTH: i64 = 1000;
const TOP: i64 = 84;
const STEP: i64 = 30;
/// Where the line of time stands.
const LINE: i64 = 250;

const STYLE: &str = "\
  <style>
    text { font: 13px ui-sans-serif, system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2933; }
    .paper { fill: #ffffff; } .title { font-size: 18px; font-weight: 600; }
    .dim { fill: #7b8794; font-size: 12px; } .line { stroke: #d5dce4; stroke-width: 2; }
    .bad { font-weight: 600; } .kind { font-size: 10px; font-weight: 600; letter-spacing: .04em; }
    .time { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: 11px; fill: #7b8794; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4e7eb; } .paper { fill: #161b22; } .line { stroke: #323b47; }
      .dim, .time { fill: #8b98a5; }
    }
  </style>
";

pub fn svg(graph: &Graph, clock: &Clock) -> String {
    let drawn = graph.drawn();
    let height = TOP + STEP * i64::try_from(drawn.len()).unwrap_or(0) + 30;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{}\">\n{STYLE}",
        escape(&graph.execution_id)
    );
    let _ = writeln!(
        out,
        "  <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" rx=\"12\"/>"
    );
    head(graph, clock, &mut out);
    let bottom = height - 45;
    let _ = writeln!(
        out,
        "  <line class=\"line\" x1=\"{LINE}\" y1=\"{}\" x2=\"{LINE}\" y2=\"{bottom}\"/>",
        TOP - 10
    );
    let mut places: HashMap<&str, i64> = HashMap::new();
    let start = graph.nodes.first().and_then(|n| parse_stored(&n.timestamp));
    let mut dots = String::new();
    for (i, item) in drawn.iter().enumerate() {
        let y = TOP + STEP * i64::try_from(i).unwrap_or(0);
        match item {
            Drawn::Fold(n) => {
                for dy in [-5, 0, 5] {
                    let _ = writeln!(
                        dots,
                        "  <circle cx=\"{LINE}\" cy=\"{}\" r=\"1.6\" fill=\"#9aa5b1\"/>",
                        y + dy
                    );
                }
                let _ = writeln!(
                    dots,
                    "  <text class=\"dim\" x=\"{}\" y=\"{}\">{n} more</text>",
                    LINE + 20,
                    y + 4
                );
            }
            Drawn::Node(node) => {
                places.insert(node.id.as_str(), y);
                let since = start.zip(parse_stored(&node.timestamp)).map_or(0, |(a, b)| b - a);
                event(node, y, since, &mut dots);
            }
        }
    }
    arcs(graph, &places, &mut out);
    out.push_str(&dots);
    out.push_str("</svg>\n");
    out
}

/// One event: its dot on the line, when it was, and what it says.
fn event(node: &Node, y: i64, since: i64, out: &mut String) {
    let big = node.level_no >= 40;
    let colour = if node.kind.is_some() {
        stroke("LEARNED_FROM")
    } else {
        fill(node.level_no)
    };
    if big {
        let _ = writeln!(
            out,
            "  <circle cx=\"{LINE}\" cy=\"{y}\" r=\"12\" fill=\"{colour}\" opacity=\".18\"/>"
        );
    }
    let radius = if big { 7 } else { 5 };
    let _ = writeln!(
        out,
        "  <circle cx=\"{LINE}\" cy=\"{y}\" r=\"{radius}\" fill=\"{colour}\"><title>{} {}</title></circle>",
        escape(&node.timestamp),
        escape(&node.message)
    );
    let _ = writeln!(
        out,
        "  <text class=\"time\" x=\"24\" y=\"{}\">+{}</text>",
        y + 4,
        show_duration(since)
    );
    let class = if big { " class=\"bad\"" } else { "" };
    let _ = writeln!(
        out,
        "  <text{class} x=\"{}\" y=\"{}\"><tspan style=\"fill:{colour}\">{}</tspan> {}</text>",
        LINE + 20,
        y + 4,
        escape(&node.level),
        escape(&short(&node.message, 90))
    );
}

fn head(graph: &Graph, clock: &Clock, out: &mut String) {
    let _ = writeln!(
        out,
        "  <text class=\"title\" x=\"24\" y=\"34\">{}</text>",
        escape(&graph.execution_id)
    );
    let mut line = Vec::new();
    if let Some(run) = &graph.run {
        line.push(run.status.clone());
        line.push(run.script_name.clone());
        line.push(clock.show(&run.start_time));
        if let Some(s) = run.duration_seconds {
            line.push(show_duration((s * 1e6) as i64));
        }
    }
    let counted = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    line.push(counted(graph.metadata.total_logs, "event"));
    let errors = graph.nodes.iter().filter(|n| n.level_no >= 40).count() as u64;
    if errors > 0 {
        line.push(counted(errors, "error"));
    }
    let _ = writeln!(
        out,
        "  <text class=\"dim\" x=\"24\" y=\"56\">{}</text>",
        escape(&line.join(" · "))
    );
}

/// Relations as arcs on the left of the line; nested ones reach further out.
fn arcs(graph: &Graph, places: &HashMap<&str, i64>, out: &mut String) {
    let mut spans: Vec<(i64, i64, &str)> = graph
        .edges
        .iter()
        .filter(|e| e.kind != "FOLLOWED_BY")
        .filter_map(|e| {
            Some((
                *places.get(e.from.as_str())?,
                *places.get(e.to.as_str())?,
                e.kind.as_str(),
            ))
        })
        .collect();
    spans.sort_by_key(|(a, b, _)| (a - b).abs());
    for (from, to, kind) in spans {
        let reach = (24 + (from - to).abs() / 3).min(120);
        let x = LINE - reach;
        let colour = stroke(kind);
        let _ = writeln!(
            out,
            "  <path d=\"M {LINE} {from} C {x} {from}, {x} {to}, {} {to}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"1.8\" opacity=\".85\"/>",
            LINE - 9
        );
        let _ = writeln!(
            out,
            "  <path d=\"M {} {} l 8 4 l -8 4 z\" fill=\"{colour}\"/>",
            LINE - 14,
            to - 4
        );
        let _ = writeln!(
            out,
            "  <text class=\"kind\" x=\"{}\" y=\"{}\" text-anchor=\"end\" style=\"fill:{colour}\">{}</text>",
            LINE - reach * 3 / 4 - 8,
            i64::midpoint(from, to) + 3,
            escape(&kind.replace('_', " ").to_lowercase())
        );
    }
}

/// Text within SVG; control characters are no XML.
fn escape(text: &str) -> String {
    // What XML holds in no form at all.
    let text: String = plain(text)
        .chars()
        .map(|c| {
            if matches!(c, '\u{FFFE}' | '\u{FFFF}') || (c < ' ' && !"\t\n\r".contains(c)) {
                '\u{FFFD}'
            } else {
                c
            }
        })
        .collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
