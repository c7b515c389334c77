//! Why a line has the format that it has: each format that was tried, and where it gave up.

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind};

use super::super::memory::Memory;
use super::{ENTRIES, Kind, Lead, Start, TABLE, lead, written_out};

/// A format that was tried on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub name: String,
    /// As it is declared.
    pub pattern: String,
    /// Whether it fits.
    pub fits: bool,
    /// How many characters of the line it took before it gave up.
    pub column: usize,
    /// What it wanted then, as a regular expression or in words.
    pub wanted: String,
}

/// Tries every format on a line of text, in their order.
pub(in super::super) fn explain(line: &str, memory: &Memory) -> Vec<Tried> {
    let mut all: Vec<Tried> = memory
        .custom
        .iter()
        .map(|c| tried(&c.name, c.expression().as_str(), c.expression().as_str(), line, 0))
        .collect();
    let lead = lead(line);
    all.extend(ENTRIES.iter().map(|entry| {
        let (start, pattern) = written_out(entry.pattern);
        if let Some(wanted) = elsewhere(start, entry.kind, lead) {
            return Tried {
                name: entry.name.to_owned(),
                pattern: entry.pattern.to_owned(),
                fits: false,
                column: 0,
                wanted: wanted.to_owned(),
            };
        }
        tried(entry.name, entry.pattern, &pattern, line, lead.at)
    }));
    debug_assert_eq!(TABLE.formats.len(), ENTRIES.len());
    all
}

/// What a format wants at the line's start that is not there.
fn elsewhere(start: Start, kind: Kind, lead: Lead) -> Option<&'static str> {
    match (start, lead.start) {
        (a, b) if a == b => {
            let zoned = lead.stamp.is_some_and(|s| s.yearless || s.offset.is_some());
            (kind == Kind::Syslog && !zoned).then_some("a time without a year, or with its zone")
        }
        (Start::Time, _) => Some("a time at the line's start"),
        (Start::Bracket, _) => Some("a bracket and a time at the line's start"),
        (Start::Line, _) => Some("no time at the line's start"),
    }
}

fn tried(name: &str, declared: &str, pattern: &str, line: &str, from: usize) -> Tried {
    let rest = line.get(from..).unwrap_or_default();
    let (end, wanted) = match Regex::new(pattern) {
        Ok(regex) if regex.is_match(rest) => (regex.find(rest).map_or(0, |m| m.end()), None),
        Ok(_) => gave_up(pattern, rest),
        Err(e) => (0, Some(e.to_string())),
    };
    Tried {
        name: name.to_owned(),
        pattern: declared.to_owned(),
        fits: wanted.is_none(),
        column: line.get(..from + end).unwrap_or_default().chars().count(),
        wanted: wanted.unwrap_or_default(),
    }
}

/// How far the longest beginning of a pattern that fits reaches, and the part after it.
fn gave_up(pattern: &str, text: &str) -> (usize, Option<String>) {
    let parts = match regex_syntax::parse(pattern).map(Hir::into_kind) {
        Ok(HirKind::Concat(parts)) => parts,
        _ => return (0, Some(pattern.to_owned())),
    };
    let reach = |n: usize| {
        let beginning = Hir::concat(parts.iter().take(n).cloned().collect()).to_string();
        Regex::new(&beginning).ok()?.find(text).map(|m| m.end())
    };
    // A beginning that fits has beginnings that fit.
    let (mut fits, mut fails) = (0, parts.len());
    while fits + 1 < fails {
        let middle = usize::midpoint(fits, fails);
        if reach(middle).is_some() {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    let wanted = parts.get(fits).map(ToString::to_string);
    (reach(fits).unwrap_or(0), wanted.or(Some(String::new())))
}
