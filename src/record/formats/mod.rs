//! Lines of text in known formats: which one a line has, and where its parts are.
//!
//! All formats are searched at once by one set of regular expressions, in time linear in the line. The set says which
//! fit; the first of these is then asked where its parts are. A stream keeps to its format, so the one that fitted last
//! is asked first, and the set only where that one does not fit: what a line costs does not grow with the table.
//!
//! A time at the line's start is read by hand before: that is quicker than any expression, and decides which formats
//! come into question.

mod custom;
mod explain;
mod fill;
mod table;

use std::sync::LazyLock;

use regex::{CaptureLocations, Regex, RegexSet};

pub(super) use self::custom::Custom;
pub use self::explain::Tried;
pub(super) use self::explain::explain;
pub(super) use self::fill::{Left, read};
use self::table::{ENTRIES, Entry, Kind, MACROS};
use super::faces;
use super::time::Stamp;

/// Where a format's pattern begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Time,
    Bracket,
    Line,
}

/// An entry of the table, ready to be used.
struct Format {
    entry: &'static Entry,
    regex: Regex,
    groups: Vec<(usize, String)>,
    start: Start,
}

/// The formats of one start, in the table's order.
struct Group {
    set: Option<RegexSet>,
    /// The number in the table of each expression of the set.
    numbers: Vec<usize>,
}

struct Table {
    formats: Vec<Format>,
    time: Group,
    bracket: Group,
    line: Group,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// A pattern with its shared parts written out and without the time that was read before.
fn written_out(pattern: &str) -> (Start, String) {
    let (start, rest) = match pattern.strip_prefix("{time}") {
        Some(rest) => (Start::Time, rest),
        None => match pattern.strip_prefix("\\[{time}") {
            Some(rest) => (Start::Bracket, rest),
            None => (Start::Line, pattern),
        },
    };
    let written = MACROS
        .iter()
        .fold(rest.to_owned(), |text, (name, means)| text.replace(name, means));
    (start, format!("^(?:{written})"))
}

/// The named groups of an expression, without the digits that only keep them apart.
fn groups(regex: &Regex) -> Vec<(usize, String)> {
    let names = regex.capture_names().enumerate();
    let named = names.filter_map(|(i, name)| Some((i, name?)));
    named
        .map(|(i, name)| (i, name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()))
        .collect()
}

impl Table {
    fn new() -> Table {
        let mut formats = Vec::with_capacity(ENTRIES.len());
        let mut patterns = Vec::with_capacity(ENTRIES.len());
        for entry in ENTRIES {
            let (start, pattern) = written_out(entry.pattern);
            // A test builds every entry, so that none is left out here.
            let Ok(regex) = Regex::new(&pattern) else { continue };
            let groups = groups(&regex);
            formats.push(Format {
                entry,
                regex,
                groups,
                start,
            });
            patterns.push(pattern);
        }
        let group = |start: Start| {
            let numbers: Vec<usize> = (0..formats.len())
                .filter(|i| formats.get(*i).is_some_and(|f| f.start == start))
                .collect();
            let set = RegexSet::new(numbers.iter().filter_map(|i| patterns.get(*i))).ok();
            Group { set, numbers }
        };
        Table {
            time: group(Start::Time),
            bracket: group(Start::Bracket),
            line: group(Start::Line),
            formats,
        }
    }

    fn group(&self, start: Start) -> &Group {
        match start {
            Start::Time => &self.time,
            Start::Bracket => &self.bracket,
            Start::Line => &self.line,
        }
    }
}

/// A line's beginning: the time that it names, and where its pattern is to be looked for.
#[derive(Clone, Copy, Debug)]
struct Lead {
    stamp: Option<Stamp>,
    start: Start,
    /// Position behind the time.
    at: usize,
}

/// Reads the time that a line begins with.
fn lead(line: &str) -> Lead {
    let b = line.as_bytes();
    let bracket = b.first() == Some(&b'[');
    let from = usize::from(bracket);
    match b.get(from..).and_then(faces::stamp) {
        Some((stamp, len)) => Lead {
            stamp: Some(stamp),
            start: if bracket { Start::Bracket } else { Start::Time },
            at: from + len,
        },
        None => Lead {
            stamp: None,
            start: Start::Line,
            at: 0,
        },
    }
}

/// A format that fits a line.
struct Hit {
    format: &'static Format,
    number: usize,
    places: CaptureLocations,
    /// Where the message begins.
    end: usize,
}

impl Format {
    fn fits(&'static self, number: usize, line: &str, lead: Lead) -> Option<Hit> {
        if lead.start != self.start {
            return None;
        }
        if self.entry.kind == Kind::Syslog && !lead.stamp.is_some_and(|s| s.yearless || s.offset.is_some()) {
            return None;
        }
        let rest = line.get(lead.at..)?;
        let mut places = self.regex.capture_locations();
        let found = self.regex.captures_read(&mut places, rest)?;
        Some(Hit {
            format: self,
            number,
            end: lead.at + found.end(),
            places,
        })
    }
}

/// The format of a line. `last`: the number of the one that fitted the line before.
fn find(line: &str, lead: Lead, last: Option<u16>) -> Option<Hit> {
    let table = &*TABLE;
    if let Some(number) = last.map(usize::from)
        && let Some(hit) = table.formats.get(number).and_then(|f| f.fits(number, line, lead))
    {
        return Some(hit);
    }
    let group = table.group(lead.start);
    let rest = line.get(lead.at..)?;
    group.set.as_ref()?.matches(rest).iter().find_map(|i| {
        let number = *group.numbers.get(i)?;
        table.formats.get(number)?.fits(number, line, lead)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_table_is_a_regular_expression_whose_groups_are_apart() {
        assert_eq!(TABLE.formats.len(), ENTRIES.len());
        for start in [Start::Time, Start::Bracket, Start::Line] {
            let group = TABLE.group(start);
            assert!(group.set.is_some() && group.numbers.len() > 5, "{start:?}");
        }
        for entry in ENTRIES {
            let (_, pattern) = written_out(entry.pattern);
            assert!(!pattern.contains("{level}") && !pattern.contains("{time}"), "{pattern}");
            Regex::new(&pattern).unwrap_or_else(|e| panic!("{}: {e}", entry.name));
        }
    }
}
