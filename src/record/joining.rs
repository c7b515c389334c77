//! Which lines belong together.
//!
//! A property of the text alone: the same bytes give the same records whenever they arrive. So what a line may still be
//! joined with is known from the line itself, and a source waits for it for a bounded time ([`Joiner::waits`]); lines that
//! nothing can follow never wait.
//!
//! * A traceback that follows a line of ERROR or above belongs to it; any other is a crash, a record of its own.
//! * Frames of other languages, and indented lines, belong to a line of a known format.
//! * In the value of an exception that such a line logged every line belongs to it up to the next one of a known format.
//! * A line of JSON is complete. Lines that Docker or CRI wrapped belong together as what is inside does.
//!
//! Bounded in lines ([`LINES`], [`LOOSE`]); in bytes and in time by who asks.

use std::borrow::Cow;
use std::sync::Arc;

use super::continuation::{
    is_cri, is_dated, is_go, is_go_function, is_java_util, is_json_error, may_continue, names_exception,
    validation_errors,
};
use super::crash::{self, Crash};
use super::formats::{self, Custom};
use super::memory::Memory;
use super::time::Clock;
use super::wrapped;
use super::{Record, loguru};
use crate::config::NaiveTime;

/// Lines of one record, at most.
const LINES: u32 = 2000;
/// Of these, lines that nothing but their place tells, at most.
const LOOSE: u32 = 200;

const DURING: &str = "During handling of the above exception, another exception occurred:";
const CAUSE: &str = "The above exception was the direct cause of the following exception:";

/// What the configuration says of lines that belong to the record before.
#[derive(Clone, Debug, Default)]
pub struct Continues(Vec<Arc<Custom>>);

impl Continues {
    pub(super) fn new(formats: Vec<Arc<Custom>>) -> Continues {
        Continues(formats)
    }
}

/// How far a record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing can follow.
    Closed,
    /// A line of JSON that may be an error: formatters that write their own JSON put the traceback below.
    Json,
    /// A line of text.
    Record,
    /// Within the frames of a Python traceback.
    Frames,
    /// Within the frames of an exception group: everything is indented.
    Group,
    /// After the line that names the exception.
    Named,
    /// After the sentence that joins two tracebacks.
    Joined,
    /// Within a quoted traceback of another process, so many quotes later.
    Remote(u8),
    /// After a sentence that announces a traceback.
    Lead,
    /// Within the frames of Java, JavaScript or .NET.
    Stack,
    /// Behind Node's line that names a place: 0 its source, 1 what is below.
    Location(u8),
    Go,
    /// After a Rust panic's first line: 0 its message, 1 what is below.
    Rust(u8),
    Report,
    /// 1: the source was shown.
    Ruby(u8),
    Php,
}

/// What is known of a record's own line once it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    level: i64,
    /// Lines that only their place tells may follow.
    goes_on: bool,
}

/// Follows one record from its own line on.
#[derive(Clone, Debug)]
pub struct Joiner {
    state: State,
    /// The own line's format; looked for only when it is needed.
    seen: Option<Option<Seen>>,
    wrapped: bool,
    /// The wrapped line goes on.
    partial: bool,
    lines: u32,
    loose: u32,
    /// A value whose next lines are known by their number.
    expected: u32,
    indented: bool,
    /// What began is a crash beyond doubt.
    definite: bool,
}

impl Joiner {
    /// Begins with a record's own line.
    #[must_use]
    pub fn begin(line: &[u8]) -> Joiner {
        let mut joiner = Joiner {
            state: State::Record,
            seen: None,
            wrapped: false,
            partial: false,
            lines: 0,
            loose: 0,
            expected: 0,
            indented: false,
            definite: false,
        };
        match line.first() {
            Some(b'{') if line.starts_with(loguru::START.as_bytes()) => joiner.state = State::Closed,
            Some(b'{') => joiner.enter_wrapped(line),
            Some(b'0'..=b'9') if is_cri(line) => joiner.enter_wrapped(line),
            // Nothing but a traceback at their end makes more of these than a line.
            Some(b'0'..=b'9' | b'[' | b'<') if line.last().is_none_or(|b| *b != b':' && *b != b'\r') => {}
            _ => joiner.enter(&text(line)),
        }
        joiner
    }

    fn enter_wrapped(&mut self, line: &[u8]) {
        let text = text(line);
        match wrapped::inner(&text) {
            Some(inner) => {
                self.wrapped = true;
                self.partial = inner.partial;
                if inner.text.starts_with('{') {
                    self.state = State::Closed;
                } else {
                    self.enter(&inner.text);
                }
            }
            None if text.starts_with('{') => {
                self.state = if is_json_error(&text) {
                    State::Json
                } else {
                    State::Closed
                };
            }
            None => self.enter(&text),
        }
    }

    fn enter(&mut self, line: &str) {
        let opening = crash::opening(line);
        self.definite =
            opening.is_some_and(|kind| kind != Crash::Stack) || !crash::is_thrown(line) && opening.is_some();
        self.state = match opening {
            None => State::Record,
            Some(Crash::Python) => State::Frames,
            Some(Crash::Group) => State::Group,
            Some(Crash::Remote) => State::Remote(0),
            Some(Crash::Lead) => State::Lead,
            Some(Crash::Stack | Crash::Cpp) => State::Stack,
            Some(Crash::Location) => State::Location(0),
            Some(Crash::Go) => State::Go,
            Some(Crash::Rust) => State::Rust(u8::from(!line.trim_end().ends_with(':'))),
            Some(Crash::Report) => State::Report,
            Some(Crash::Ruby) => State::Ruby(0),
            Some(Crash::Php) => State::Php,
        };
    }

    /// Whether blank lines may stand between the record and what follows.
    #[must_use]
    pub fn takes_blanks(&self) -> bool {
        !matches!(self.state, State::Closed | State::Json | State::Record)
    }

    /// Whether what comes next may belong to the record, so that it should be waited for. `first` is its own line.
    pub fn waits(&mut self, first: &[u8], rules: &Continues) -> bool {
        match self.state {
            _ if self.partial || self.lines > 0 => true,
            // Its own traceback was written with it, at once.
            State::Closed | State::Json => false,
            State::Record => {
                let rules_apply = !rules.0.is_empty();
                rules_apply || self.seen(first, rules).is_some_and(|s| s.goes_on) || crash::names_error(&text(first))
            }
            _ => true,
        }
    }

    /// Whether more of the record may follow in bytes that can be read at once. Quick.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        self.state != State::Closed || self.partial
    }

    /// Whether a line belongs to the record, `blanks` blank lines after what it has. `first` is its own line.
    pub fn continues(&mut self, first: &[u8], line: &[u8], blanks: u64, rules: &Continues) -> bool {
        if (self.state == State::Closed && !self.partial) || self.lines >= LINES {
            return false;
        }
        let bytes = line;
        let whole = text(line);
        let inside = if self.wrapped { wrapped::inner(&whole) } else { None };
        if self.wrapped {
            let Some(inside) = &inside else { return false };
            let goes_on = std::mem::replace(&mut self.partial, inside.partial);
            if goes_on || self.takes(first, &inside.text, u64::from(self.state == State::Closed), rules) {
                self.lines += 1;
                return true;
            }
            return false;
        }
        if blanks == 0 && rules.0.iter().any(|c| c.continues(&whole)) {
            self.lines += 1;
            return true;
        }
        // Most lines begin a record of their own, and look it.
        if self.state == State::Record && !may_continue(bytes) {
            return false;
        }
        let takes = self.takes(first, &whole, blanks, rules);
        self.lines += u32::from(takes);
        takes
    }

    fn takes(&mut self, first: &[u8], line: &str, blanks: u64, rules: &Continues) -> bool {
        let line = line.trim_end_matches('\r');
        let indented = line.starts_with([' ', '\t']);
        if line.trim().is_empty() {
            // Within a wrapper a blank line is a line.
            return self.takes_blanks();
        }
        let next = match self.state {
            State::Closed => None,
            State::Json => match crash::opening(line).filter(|_| blanks == 0) {
                Some(Crash::Python) => Some(State::Frames),
                Some(Crash::Group) => Some(State::Group),
                _ => None,
            },
            State::Record => self.after_record(first, line, indented, blanks, rules),
            State::Frames if indented || line.starts_with("> ") || line.starts_with("| ") => Some(State::Frames),
            State::Frames if names_exception(line) => {
                self.expected = validation_errors(line);
                Some(State::Named)
            }
            State::Group if indented => Some(State::Group),
            State::Named | State::Group if blanks > 0 => (line == DURING || line == CAUSE).then_some(State::Joined),
            State::Named => (indented || self.goes_on_value(first, line, rules)).then_some(State::Named),
            State::Joined => match crash::opening(line) {
                Some(Crash::Python) => Some(State::Frames),
                Some(Crash::Group) => Some(State::Group),
                _ => None,
            },
            State::Remote(quotes) => remote(line, indented, quotes),
            State::Lead => after_lead(line),
            State::Stack => self.after_stack(first, line, indented, blanks, rules),
            State::Location(0) if blanks == 0 => Some(State::Location(1)),
            State::Location(_) => self.after_location(line, indented, blanks),
            State::Go => is_go(line).then_some(State::Go),
            State::Rust(0) if blanks == 0 && !is_start(line, rules) => Some(State::Rust(1)),
            State::Rust(_) => {
                let more = indented || line.starts_with("note: ") || line.starts_with("stack backtrace:");
                (more && blanks == 0).then_some(State::Rust(1))
            }
            State::Report if crash::is_frame(line) => Some(State::Stack),
            State::Report => {
                let part = ["Caused by:", "Location:", "Stack backtrace:"].contains(&line.trim_end());
                (part || (indented && self.lines > 0)).then_some(State::Report)
            }
            State::Ruby(0) if blanks > 0 && !is_start(line, rules) => Some(State::Ruby(1)),
            State::Ruby(shown) => (indented || line.starts_with('^')).then_some(State::Ruby(shown)),
            State::Php => {
                let part = indented
                    || line.starts_with('#')
                    || line.starts_with("Stack trace:")
                    || line.starts_with("PHP Stack trace:")
                    || line.starts_with("PHP   ")
                    || line.starts_with("Next ");
                part.then_some(State::Php)
            }
            _ => None,
        };
        self.indented = indented;
        match next {
            Some(state) => {
                self.state = state;
                true
            }
            None => false,
        }
    }

    /// After a line of text that begins no crash.
    fn after_record(
        &mut self,
        first: &[u8],
        line: &str,
        indented: bool,
        blanks: u64,
        rules: &Continues,
    ) -> Option<State> {
        if blanks > 0 {
            return None;
        }
        let opening = crash::opening(line);
        if matches!(opening, Some(Crash::Python | Crash::Group | Crash::Remote)) && !is_dated(line) {
            let of_error = self
                .seen(first, rules)
                .is_some_and(|s| s.level >= super::ERROR && s.goes_on);
            return of_error.then_some(match opening {
                Some(Crash::Group) => State::Group,
                Some(Crash::Remote) => State::Remote(0),
                _ => State::Frames,
            });
        }
        if crash::is_frame(line) && crash::names_error(&text(first)) {
            return Some(State::Stack);
        }
        let seen = self.seen(first, rules).filter(|s| s.goes_on)?;
        let context = [
            "future: ",
            "handle: ",
            "task: ",
            "protocol: ",
            "transport: ",
            "message: ",
        ];
        match () {
            () if crash::is_frame(line) => Some(State::Stack),
            () if indented => Some(State::Record),
            () if crash::is_qualified(line) => Some(State::Stack),
            () if line.starts_with("goroutine ") => Some(State::Go),
            () if line.starts_with("Stack trace:") || line.starts_with("#0 ") => Some(State::Php),
            () if line.starts_with("stack backtrace:") || line.starts_with("note: run with ") => Some(State::Rust(1)),
            () if seen.level >= super::ERROR && is_go_function(line) => Some(State::Go),
            () if seen.level >= super::ERROR && context.iter().any(|c| line.starts_with(c)) => Some(State::Record),
            // What closes an object that was printed over several lines.
            () if self.indented && line.trim_end().bytes().all(|b| b"}])".contains(&b)) => Some(State::Record),
            () if is_java_util(&text(first), line) => Some(State::Record),
            () => None,
        }
    }

    /// Whether a line that is not indented goes on with the value of a Python exception.
    fn goes_on_value(&mut self, first: &[u8], line: &str, rules: &Continues) -> bool {
        const PARTS: [&str; 11] = [
            "[SQL: ",
            "[parameters: ",
            "(Background on this error at: ",
            "DETAIL:  ",
            "HINT:  ",
            "LINE ",
            "CONTEXT:  ",
            "Call stack:",
            "Message: ",
            "Arguments: ",
            "\"\"\"",
        ];
        if PARTS.iter().any(|part| line.starts_with(part)) {
            return true;
        }
        if self.expected > 0 && !is_start(line, rules) {
            self.expected -= 1;
            return true;
        }
        self.loose_line(first, line, rules)
    }

    /// Whether a line belongs to the record of a known format only because it is of none itself.
    fn loose_line(&mut self, first: &[u8], line: &str, rules: &Continues) -> bool {
        let logged = self.seen(first, rules).is_some_and(|s| s.goes_on);
        if !logged || self.loose >= LOOSE || is_start(line, rules) {
            return false;
        }
        self.loose += 1;
        true
    }

    fn after_stack(
        &mut self,
        first: &[u8],
        line: &str,
        indented: bool,
        blanks: u64,
        rules: &Continues,
    ) -> Option<State> {
        let part = ["Caused by: ", "Suppressed: ", "From previous event:", "Aborted"];
        if line.starts_with("Node.js v") || line.starts_with("(Use `node --trace-uncaught") {
            return Some(State::Stack);
        }
        if blanks > 0 {
            return None;
        }
        let closes = matches!(line.trim_end(), "}" | "]" | "})");
        if indented || closes || part.iter().any(|p| line.starts_with(p)) {
            return Some(State::Stack);
        }
        // A message of several lines stands before the frames.
        let message = self.definite && self.lines < 10 && !is_start(line, rules);
        (message && !self.indented || self.loose_line(first, line, rules)).then_some(State::Stack)
    }

    fn after_location(&mut self, line: &str, indented: bool, blanks: u64) -> Option<State> {
        if blanks == 0 && (indented || line.trim_start().starts_with('^')) {
            return Some(State::Location(1));
        }
        let thrown = crash::is_thrown(line) || blanks > 0;
        (thrown && !line.starts_with('{')).then_some(State::Stack)
    }

    /// What the record's own line is.
    fn seen(&mut self, first: &[u8], rules: &Continues) -> Option<Seen> {
        if let Some(seen) = self.seen {
            return seen;
        }
        let whole = text(first);
        let inside = if self.wrapped { wrapped::inner(&whole) } else { None };
        let seen = look(inside.as_ref().map_or(&whole, |i| &i.text), rules);
        self.seen = Some(seen);
        seen
    }
}

/// What a line of text is, if it is of a known format.
fn look(line: &str, rules: &Continues) -> Option<Seen> {
    let bare: Cow<'_, str> = if line.contains('\u{1b}') {
        Cow::Owned(super::plain::without_escapes(line))
    } else {
        Cow::Borrowed(line)
    };
    let clock = Clock {
        naive: NaiveTime::Utc,
        now: 0,
    };
    let mut rec = Record::default();
    if rules.0.iter().any(|c| c.read(&bare, clock, &mut rec)) {
        return Some(Seen {
            level: rec.level_no,
            goes_on: true,
        });
    }
    let mut memory = Memory::default();
    // Times without a year are times, too.
    memory.now = 1;
    formats::read(&bare, NaiveTime::Utc, &mut memory, &mut rec)?;
    const SINGLE: [&str; 9] = [
        "logfmt",
        "access",
        "django-server",
        "syslog-rfc3164",
        "syslog-rfc5424",
        "systemd",
        "heroku",
        "cri",
        "uvicorn-access",
    ];
    Some(Seen {
        level: rec.level_no,
        goes_on: !SINGLE.contains(&memory.format()),
    })
}

/// Whether a line begins a record whatever stands before it.
fn is_start(line: &str, rules: &Continues) -> bool {
    let crash =
        matches!(crash::opening(line), Some(kind) if !matches!(kind, Crash::Stack | Crash::Location | Crash::Report));
    line.starts_with("{\"") || crash || look(line, rules).is_some()
}

fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line)
}

fn remote(line: &str, indented: bool, quotes: u8) -> Option<State> {
    if line.starts_with("\"\"\"") {
        return Some(if quotes == 0 { State::Remote(1) } else { State::Named });
    }
    let part = indented || crash::opening(line) == Some(Crash::Python) || names_exception(line);
    (quotes == 1 && part || line == CAUSE || line == DURING).then_some(State::Remote(quotes))
}

fn after_lead(line: &str) -> Option<State> {
    let context = ["future: ", "handle: ", "task: ", "Traceback"];
    match crash::opening(line) {
        Some(Crash::Python) => Some(State::Frames),
        Some(Crash::Group) => Some(State::Group),
        _ => context.iter().any(|c| line.starts_with(c)).then_some(State::Lead),
    }
}
