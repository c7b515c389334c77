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
//! and may lack the header (a cause that was never raised). Exception groups have a margin of bars, which is dropped;
//! their parts stand below them, each a traceback of its own. What failed is in the parts, so these are the root causes.
//!
//! "The above exception was the direct cause" names a cause. "During handling of the above exception" names one that
//! was caught on purpose (`try: cache[key] except KeyError: fetch(key)`): it is a link of the chain, but no cause.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Chains longer than this keep their first links.
const CHAIN: usize = 64;

/// What was found in a traceback. All of it is escaped text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Traceback<'a> {
    /// (type without its module, value) of each link: the root causes (of a group, that of each part) first, then what
    /// came of them, then what was only handled.
    pub chain: Vec<(&'a str, &'a str)>,
    /// Which link is the exception itself.
    pub own: usize,
    /// The first root cause's innermost frame of the script's own code: (path, function).
    pub frame: Option<(&'a str, &'a str)>,
    /// The root causes of a group's further parts.
    pub others: Vec<Cause<'a>>,
}

/// A root cause: what was raised, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cause<'a> {
    pub kind: &'a str,
    pub value: &'a str,
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

/// An exception that was read.
pub(super) struct Link<'a> {
    cause: Cause<'a>,
    /// It was raised while the one before was being handled.
    during: bool,
    /// The parts of a group.
    pub parts: Vec<Links<'a>>,
}

impl<'a> Link<'a> {
    /// An exception whose frames, outermost first, are known one by one.
    pub fn new(
        kind: &'a str,
        value: &'a str,
        frames: impl Iterator<Item = (&'a str, &'a str)>,
        during: bool,
    ) -> Link<'a> {
        let (mut own, mut any) = (None, None);
        for frame in frames {
            any = Some(frame);
            own = any.filter(|(path, _)| is_own(path)).or(own);
        }
        let kind = kind.rsplit('.').next().unwrap_or(kind);
        let frame = own.or(any);
        Link {
            cause: Cause { kind, value, frame },
            during,
            parts: Vec::new(),
        }
    }
}

/// Exceptions that follow from one another, as they were printed.
pub(super) type Links<'a> = Vec<Link<'a>>;

/// Builds the tree of what was raised.
struct Reader<'a> {
    text: &'a str,
    block: Block<'a>,
    during: bool,
    /// The chains of the groups that are open, outermost first.
    open: Vec<Links<'a>>,
    links: usize,
}

/// Reads a traceback. Total: text that is none yields what its first line looks like.
pub(super) fn read(text: &str) -> Traceback<'_> {
    let mut r = Reader {
        text,
        block: Block::default(),
        during: false,
        open: vec![Links::new()],
        links: 0,
    };
    for (start, line) in Lines::new(text) {
        let bare = without_margin(line);
        r.line(start + (line.len() - bare.len()), bare);
    }
    while r.open.len() > 1 {
        r.end_part();
    }
    r.end_link();
    r.open.pop().map(found).unwrap_or_default()
}

impl<'a> Reader<'a> {
    /// Takes one line, without its margin.
    fn line(&mut self, start: usize, bare: &'a str) {
        let bare = bare.strip_suffix("\\r").unwrap_or(bare);
        if bare.ends_with(HEADER)
            && (bare.len() == HEADER.len() || bare.ends_with("Exception Group Traceback (most recent call last):"))
        {
            // Without a sentence between, the block before only quotes this one (multiprocessing does so).
            self.block = Block::default();
        } else if bare == CAUSED || bare == DURING {
            self.end_link();
            self.during = bare == DURING;
        } else if is_rule(bare) {
            self.rule(bare);
        } else if let Some(frame) = frame(bare).filter(|_| !self.block.told) {
            self.block.any = Some(frame);
            if is_own(frame.0) {
                self.block.own = self.block.any;
            }
        } else if self.block.told {
            if !bare.is_empty() && bare != "\\\"\\\"\\\"" {
                self.block.value.1 = start + bare.len();
            }
        } else if !bare.starts_with(' ') && !bare.is_empty() {
            let (kind, value) = kind_and_value(bare);
            self.block.kind = kind;
            self.block.value = (start + bare.len() - value.len(), start + bare.len());
            self.block.told = true;
        }
    }

    /// A line that a group draws: `+-+--- 1 ---` begins its parts, `+--- 2 ---` the next one, `+-----` ends them.
    fn rule(&mut self, line: &str) {
        if line.starts_with("+-+") {
            self.end_link();
            if self.open.last().is_some_and(|links| !links.is_empty()) && self.open.len() < CHAIN {
                self.open.push(Links::new());
            }
            return;
        }
        self.end_part();
        let further = line.bytes().any(|b| b.is_ascii_digit() || b == b'.');
        if further && self.open.last().is_some_and(|links| !links.is_empty()) {
            self.open.push(Links::new());
        }
    }

    /// Ends the part of a group that is being read.
    fn end_part(&mut self) {
        self.end_link();
        if self.open.len() < 2 {
            return;
        }
        if let Some(part) = self.open.pop()
            && !part.is_empty()
            && let Some(group) = self.open.last_mut().and_then(|links| links.last_mut())
        {
            group.parts.push(part);
        }
    }

    /// Ends the exception that is being read.
    fn end_link(&mut self) {
        let block = std::mem::take(&mut self.block);
        let during = std::mem::take(&mut self.during);
        let value = self.text.get(block.value.0..block.value.1).unwrap_or_default();
        let more = block.kind.is_empty() && value.starts_with("and ") && value.ends_with(" more exceptions");
        if !block.told || more || self.links >= CHAIN {
            return;
        }
        let Some(links) = self.open.last_mut() else { return };
        self.links += 1;
        links.push(Link {
            cause: Cause {
                kind: block.kind,
                value,
                frame: block.own.or(block.any),
            },
            during,
            parts: Vec::new(),
        });
    }
}

/// Lays the tree out: root causes first.
pub(super) fn found(mut links: Links<'_>) -> Traceback<'_> {
    let mut roots = Vec::new();
    let mut rest = Vec::new();
    // What was handled is no cause of what was raised then.
    let first = links.iter().rposition(|l| l.during).unwrap_or(0);
    let handled: Vec<_> = links.drain(..first).collect();
    causes(links, &mut roots, &mut rest);
    let own = (roots.len() + rest.len()).saturating_sub(1);
    let mut chain: Vec<_> = roots.iter().map(|c: &Cause<'_>| (c.kind, c.value)).collect();
    chain.append(&mut rest);
    let (mut roots_handled, mut rest_handled) = (Vec::new(), Vec::new());
    causes(handled, &mut roots_handled, &mut rest_handled);
    chain.extend(roots_handled.iter().map(|c| (c.kind, c.value)));
    chain.append(&mut rest_handled);
    let frame = roots.first().and_then(|c| c.frame);
    if !roots.is_empty() {
        roots.remove(0);
    }
    Traceback {
        chain,
        own,
        frame,
        others: roots,
    }
}

/// Adds the root causes of a chain, and its further links.
fn causes<'a>(links: Links<'a>, roots: &mut Vec<Cause<'a>>, rest: &mut Vec<(&'a str, &'a str)>) {
    let first = links.iter().rposition(|l| l.during).unwrap_or(0);
    let mut aside = Vec::new();
    for (i, link) in links.into_iter().enumerate() {
        let this = (link.cause.kind, link.cause.value);
        match i.cmp(&first) {
            std::cmp::Ordering::Less => aside.push(this),
            std::cmp::Ordering::Equal if link.parts.is_empty() => roots.push(link.cause),
            _ => {
                let before = roots.len();
                for part in link.parts {
                    causes(part, roots, rest);
                }
                // A part that was never raised failed where the group did.
                for root in roots.iter_mut().skip(before) {
                    root.frame = root.frame.or(link.cause.frame);
                }
                rest.push(this);
            }
        }
    }
    let at = rest.len();
    rest.splice(at..at, aside);
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

/// Whether escaped text begins with a frame.
pub(super) fn is_frame(text: &str) -> bool {
    frame(Lines::new(text).next().map_or("", |(_, line)| line)).is_some()
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
