//! What lines look like that go on with a crash, each for itself.

/// A line of Go's report of a panic.
pub(super) fn is_go(line: &str) -> bool {
    let part = [
        "goroutine ",
        "created by ",
        "[signal ",
        "panic(",
        "\t",
        "exit status ",
        "runtime stack:",
        "runtime.",
        "main.",
        "-----",
        "[originating from ",
        "...additional frames elided",
    ];
    part.iter().any(|p| line.starts_with(p)) || is_go_function(line)
}

/// `github.com/x/y.(*Server).serve(0xc0, 0x1)`, `main.take`.
pub(super) fn is_go_function(line: &str) -> bool {
    let name = line.split('(').next().unwrap_or_default();
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_./-%~@".contains(&b) || b >= 0x80;
    let called = line.ends_with(')') || line.starts_with("main.") || line.contains('/');
    called && name.contains('.') && !name.is_empty() && name.bytes().all(word) && !name.ends_with('.')
        || line.contains(".(*") && line.ends_with(')')
}

/// `SEVERE: …` below `Nov 30, 2026 7:15:12 PM com.acme.Order take`.
pub(super) fn is_java_util(first: &str, line: &str) -> bool {
    let level = line.split(": ").next().unwrap_or_default();
    let known = ["SEVERE", "WARNING", "INFO", "CONFIG", "FINE", "FINER", "FINEST"].contains(&level);
    known && first.starts_with(|c: char| c.is_ascii_uppercase()) && (first.contains(" AM ") || first.contains(" PM "))
}

/// How many fields pydantic is about to name below.
pub(super) fn validation_errors(line: &str) -> u32 {
    let count = line.split_once(": ").map_or("", |(_, told)| told);
    let (n, rest) = count.split_once(' ').unwrap_or_default();
    if rest.starts_with("validation error") {
        n.parse().unwrap_or(0)
    } else {
        0
    }
}

/// `ValueError: …`, `KeyboardInterrupt`, `package.module.Error: …`: the line that ends a traceback.
pub(super) fn names_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>');
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(word)
}

/// Whether a line of JSON names a level of ERROR or above.
pub(super) fn is_json_error(line: &str) -> bool {
    let named =
        super::fields::members(line).find(|(name, _)| matches!(*name, "level" | "lvl" | "severity" | "levelname"));
    let level = named
        .and_then(|(_, token)| super::text::string(token))
        .and_then(super::level::word);
    level.is_some_and(|(_, no)| no >= super::ERROR)
}

/// Whether a line has a time before its traceback: then it is a record.
pub(super) fn is_dated(line: &str) -> bool {
    line.trim_end().len() > 64
}

/// Whether a line may belong to a record of text before it. Quick, and on the safe side.
pub(super) fn may_continue(line: &[u8]) -> bool {
    match line.first() {
        Some(b' ' | b'\t' | b'+' | b'#' | b'}' | b']' | b')' | b'_') => true,
        Some(b) => b.is_ascii_alphabetic(),
        None => false,
    }
}

pub(super) fn is_cri(line: &[u8]) -> bool {
    let at = memchr::memchr(b' ', line).unwrap_or(0);
    let rest = line.get(at + 1..).unwrap_or_default();
    rest.starts_with(b"stdout ") || rest.starts_with(b"stderr ")
}
