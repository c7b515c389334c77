//! Lines with which a crash begins, in the languages that people run. Looked at for lines of text only.

use super::traceback::HEADER;

/// What a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `Traceback (most recent call last):`, also behind a message on the same line.
    Python,
    /// An exception group: all of it is indented.
    Group,
    /// multiprocessing's quoted traceback of a child.
    Remote,
    /// A sentence before a traceback: `Exception in thread Thread-1:`.
    Lead,
    /// What was thrown, with frames below: Java, Kotlin, JavaScript, .NET.
    Stack,
    /// Node's `/app/a.js:3`, with source, a blank line and what was thrown below.
    Location,
    Go,
    Rust,
    /// A Rust program's `Error: …` returned from `main`.
    Report,
    Ruby,
    Php,
    Cpp,
}

/// The first line of an exception group.
pub(super) const GROUP: &str = "+ Exception Group Traceback (most recent call last):";

/// Sentences that Python writes before a traceback.
const LEADS: [&str; 9] = [
    "Exception in thread ",
    "Exception ignored in",
    "Exception ignored on",
    "Exception in callback ",
    "Error in atexit._run_exitfuncs:",
    "Error in sys.excepthook:",
    "--- Logging error ---",
    "Task exception was never retrieved",
    "Future exception was never retrieved",
];

/// What crash a line begins, if any.
pub fn opening(line: &str) -> Option<Crash> {
    let line = line.trim_end();
    let first = *line.as_bytes().first()?;
    if line.ends_with(HEADER) {
        let group = line.trim_start().starts_with(GROUP);
        return Some(if group { Crash::Group } else { Crash::Python });
    }
    match first {
        b' ' => is_syntax_frame(line).then_some(Crash::Python),
        b'/' | b'.' => location(line).or_else(|| is_ruby(line).then_some(Crash::Ruby)),
        b'-' => line.starts_with("--- Logging error ---").then_some(Crash::Lead),
        b'A'..=b'Z' | b'a'..=b'z' | b'_' => of_words(line),
        _ => None,
    }
}

/// A crash that begins with a word.
fn of_words(line: &str) -> Option<Crash> {
    let starts = |lead: &str| line.starts_with(lead);
    match () {
        () if starts("panic: ") || starts("fatal error: ") => Some(Crash::Go),
        () if starts("thread '") && line.contains(" panicked at ") => Some(Crash::Rust),
        () if starts("PHP Fatal error: ") || starts("Fatal error: Uncaught ") => Some(Crash::Php),
        () if starts("terminate called ") => Some(Crash::Cpp),
        () if starts("Exception in thread \"") => Some(Crash::Stack),
        () if starts("Unhandled exception. ") || starts("Unhandled Exception: ") => Some(Crash::Stack),
        () if LEADS.iter().any(|lead| starts(lead)) => Some(Crash::Lead),
        () if line.contains("RemoteTraceback:") => Some(Crash::Remote),
        () if starts("Uncaught ") && names_error(line) => Some(Crash::Stack),
        () if is_thrown(line) => Some(Crash::Stack),
        () if starts("Error: ") => Some(Crash::Report),
        () if is_ruby(line) => Some(Crash::Ruby),
        () => location(line),
    }
}

/// The place that Node prints before the source of what was thrown: `/app/a.js:3`, `node:internal/x:288`.
fn location(line: &str) -> Option<Crash> {
    let (path, number) = line.rsplit_once(':')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let script = [".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx"]
        .iter()
        .any(|e| path.ends_with(e));
    let place = script || path.starts_with("node:internal/") || path.starts_with("file:///");
    (digits && place && !path.contains(' ')).then_some(Crash::Location)
}

/// `  File "/srv/a.py", line 3` alone: a script that does not compile.
fn is_syntax_frame(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("  File \"") else {
        return false;
    };
    rest.rsplit_once("\", line ")
        .is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// `TypeError: …`, `java.lang.IllegalStateException`, `Error [ERR_X]: …` and the like: the name of what was thrown at
/// the line's start, by itself or with its message.
pub(super) fn is_thrown(line: &str) -> bool {
    let name = line.split([':', ' ']).next().unwrap_or_default();
    let name = name.trim_end_matches(':');
    let after = line.get(name.len()..).unwrap_or_default();
    let fits = after.is_empty() || after.starts_with(": ") || after == ":" || after.starts_with(" [");
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$');
    let last = name.rsplit('.').next().unwrap_or(name);
    let typed = (last.ends_with("Error") && (last.len() > 5 || name.len() > 5))
        || last.ends_with("Exception")
        || last.ends_with("Throwable");
    fits && typed && name.bytes().all(word) && last.starts_with(|c: char| c.is_ascii_uppercase())
}

/// As [`is_thrown`], of a name with its package.
pub(super) fn is_qualified(line: &str) -> bool {
    let name = line.split([':', ' ']).next().unwrap_or_default();
    name.contains('.') && is_thrown(line)
}

/// Whether a line names an error anywhere: `failed: TypeError: x is undefined`.
pub(super) fn names_error(line: &str) -> bool {
    ["Error", "Exception"].iter().any(|word| {
        line.match_indices(word).any(|(at, _)| {
            let after = line.as_bytes().get(at + word.len());
            !after.is_some_and(|b| b.is_ascii_alphanumeric())
        })
    })
}

/// `a.rb:3:in 'take': message (Type)`.
pub(super) fn is_ruby(line: &str) -> bool {
    let Some((place, rest)) = line.split_once(":in ") else {
        return false;
    };
    let numbered = place
        .rsplit_once(':')
        .is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    numbered && !place.contains(' ') && rest.starts_with(['`', '\'']) && (rest.contains("': ") || rest.contains("`: "))
}

/// An indented frame: `    at foo (/app/a.js:3:9)`, `\tat com.acme.Order.take(Order.java:42)`.
pub(super) fn is_frame(line: &str) -> bool {
    let bare = line.trim_start();
    bare.len() < line.len() && bare.starts_with("at ")
}
