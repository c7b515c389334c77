//! What a Python traceback says: the chain of exceptions, and where the first of them was raised.
//!
//! Works on *escaped* text, where a line ends in the two characters `\n`, because tracebacks travel escaped and only
//! parts of them are looked at. Python prints the root cause first, then, after a sentence that says how they belong
//! together, what came of it. A block is
//!
//! ```text
//! Traceback (most recent call last):
//!   File "/srv/a.py", line 8, in go          frame, outermost first; loguru marks the catching one with `>`
//!     deep(1)                                source line; with loguru's diagnose, values under it
//! ValueError: bad value                      type and value; the value may go on for further lines
//! ```
//!
//! and may lack the header (a cause that was never raised). Exception groups have a margin of bars, which is dropped.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Chains longer than this keep their first links.
const CHAIN: usize = 64;

/// What was found in a traceback. All of it is escaped text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Traceback<'a> {
    /// (type without its module, value) of each link, root cause first.
    pub chain: Vec<(&'a str, &'a str)>,
    /// The root cause's innermost frame of the script's own code: (path, function).
    pub frame: Option<(&'a str, &'a str)>,
}

/// The first line of a traceback.
pub(super) const HEADER: &str = "Traceback (most recent call last):";

const CAUSED: &str = "The above exception was the direct cause of the following exception:";
const DURING: &str = "During handling of the above exception, another exception occurred:";

/// Lines of escaped text, with the position of each.
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    done: bool,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Lines<'a> {
        Lines {
            text,
            at: 0,
            done: false,
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    /// Start, and the line without its end.
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<(usize, &'a str)> {
        if self.done {
            return None;
        }
        let start = self.at;
        let (len, past) = line_end(self.text.as_bytes().get(start..)?);
        self.at = start + past;
        self.done = past == len;
        Some((start, self.text.get(start..start + len)?))
    }
}

/// Length of the first line of escaped text, without and with its end.
pub(super) fn line_end(b: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while let Some(found) = b.get(at..).and_then(|r| memchr::memchr(b'\\', r)) {
        at += found;
        if b.get(at + 1) == Some(&b'n') {
            return (at, at + 2);
        }
        at += 2;
    }
    (b.len(), b.len())
}

/// One exception being read.
#[derive(Default)]
struct Block<'a> {
    kind: &'a str,
    /// Start and end of the value in the text.
    value: (usize, usize),
    /// The line with the type was read; what follows belongs to the value.
    told: bool,
    own: Option<(&'a str, &'a str)>,
    any: Option<(&'a str, &'a str)>,
}

/// Reads a traceback. Total: text that is none yields what its first line looks like.
pub(super) fn read(text: &str) -> Traceback<'_> {
    let mut found = Traceback::default();
    let mut block = Block::default();
    for (start, line) in Lines::new(text) {
        let bare = without_margin(line);
        let start = start + (line.len() - bare.len());
        let bare = bare.strip_suffix("\\r").unwrap_or(bare);
        if bare.ends_with(HEADER)
            && (bare.len() == HEADER.len() || bare.ends_with("Exception Group Traceback (most recent call last):"))
        {
            // Without a sentence between, the block before only quotes this one (multiprocessing does so).
            block = Block::default();
        } else if bare == CAUSED || bare == DURING {
            found.push(text, std::mem::take(&mut block));
        } else if is_rule(bare) {
            // The parts of an exception group follow; they are no links of the chain.
            if block.told {
                break;
            }
        } else if let Some(frame) = frame(bare).filter(|_| !block.told) {
            block.any = Some(frame);
            if is_own(frame.0) {
                block.own = block.any;
            }
        } else if block.told {
            if !bare.is_empty() && bare != "\\\"\\\"\\\"" {
                block.value.1 = start + bare.len();
            }
        } else if !bare.starts_with(' ') && !bare.is_empty() {
            let (kind, value) = kind_and_value(bare);
            block.kind = kind;
            block.value = (start + bare.len() - value.len(), start + bare.len());
            block.told = true;
        }
    }
    found.push(text, block);
    found
}

impl<'a> Traceback<'a> {
    fn push(&mut self, text: &'a str, block: Block<'a>) {
        if !block.told {
            return;
        }
        if self.chain.is_empty() {
            self.frame = block.own.or(block.any);
        }
        if self.chain.len() < CHAIN {
            let value = text.get(block.value.0..block.value.1).unwrap_or_default();
            self.chain.push((block.kind, value));
        }
    }
}

/// The line without the margin of an exception group (`  | `, `  + `).
fn without_margin(line: &str) -> &str {
    let inner = line.trim_start_matches(' ');
    if inner.len() == line.len() {
        return line;
    }
    match inner.strip_prefix("| ").or_else(|| inner.strip_prefix("+ ")) {
        Some(bare) => bare,
        None if inner == "|" => "",
        None if is_rule(inner) => inner,
        None => line,
    }
}

/// The line that an exception group draws between its parts.
fn is_rule(line: &str) -> bool {
    line.starts_with("+-") && line.contains("----")
}

/// Path and function of a line such as `  File "a.py", line 8, in go`.
fn frame(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix('>').unwrap_or(line).trim_start_matches(' ');
    let rest = line.strip_prefix("File \\\"")?;
    let (path, rest) = halves(rest, "\\\", line ")?;
    // A syntax error names no function.
    let function = halves(rest, ", in ").map_or("", |(_, f)| f);
    Some((path, function))
}

/// As `str::split_once`, which prepares each search as if for a long text; these are lines.
fn halves<'a>(line: &'a str, between: &str) -> Option<(&'a str, &'a str)> {
    let first = *between.as_bytes().first()?;
    let mut starts = memchr::memchr_iter(first, line.as_bytes());
    starts.find_map(|at| {
        let after = line.get(at..)?.strip_prefix(between)?;
        Some((line.get(..at)?, after))
    })
}

/// Code that is neither Python's own nor installed.
fn is_own(path: &str) -> bool {
    static INSTALLED: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
        let parts = [
            "site-packages",
            "dist-packages",
            "lib/python3",
            "lib64/python3",
            "<frozen ",
            "Python3",
            "\\\\Lib\\\\",
        ];
        AhoCorasick::new(parts).ok()
    });
    !INSTALLED.as_ref().is_some_and(|installed| installed.is_match(path))
}

/// Splits `package.Type: value`; the module is dropped, as loguru does. A line that names no type is all value.
pub(super) fn kind_and_value(line: &str) -> (&str, &str) {
    let (kind, value) = match halves(line, ": ") {
        Some(split) => split,
        None => (line.strip_suffix(':').unwrap_or(line), ""),
    };
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'<' | b'>') || b >= 0x80;
    if kind.is_empty() || !kind.bytes().all(word) || kind.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", line);
    }
    (kind.rsplit('.').next().unwrap_or(kind), value)
}

#[cfg(test)]
#[path = "tests/traceback.rs"]
mod tests;
