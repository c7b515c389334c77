//! Fingerprints: one name for all occurrences of the same error.
//!
//! An exception is the same error if its root cause has the same type, the same value but for variable parts, and was
//! raised in the same function of the script's own code. Line numbers, paths up to the file's name and everything in
//! installed packages do not count: they change with every edit, host and upgrade. An error without an exception is
//! told by logger, function and masked message.

use super::{Exception, Record, Text, level, template, traceback};

/// The first 64 bits of a hash, as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Fingerprint {
    /// Hashes parts so that their borders count.
    fn of(parts: [&str; 4]) -> Fingerprint {
        let mut all = String::with_capacity(parts.iter().map(|p| p.len() + 1).sum());
        for part in parts {
            all.push_str(part);
            all.push('\0');
        }
        Fingerprint(xxhash_rust::xxh3::xxh3_64(all.as_bytes()))
    }

    /// Of an exception: type and value of the root cause, and the path and function of its innermost own frame (empty
    /// where there is none). Plain text.
    #[must_use]
    pub fn of_exception(kind: &str, value: &str, path: &str, function: &str) -> Fingerprint {
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        Fingerprint::of([kind, &template(value), file, function])
    }

    /// Of an error without an exception. Plain text.
    #[must_use]
    pub fn of_message(logger: &str, function: &str, message: &str) -> Fingerprint {
        Fingerprint::of(["", &template(message), logger, function])
    }

    /// Of a traceback as a person pastes it; `None` for other text.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Fingerprint> {
        let start = text.find(traceback::HEADER)?;
        let escaped = super::escape(text.get(start..)?);
        let found = traceback::read(&escaped);
        let (kind, value) = found.chain.first()?;
        let (path, function) = found.frame.unwrap_or_default();
        Some(Fingerprint::of_escaped(kind, value, path, function))
    }

    fn of_escaped(kind: &str, value: &str, path: &str, function: &str) -> Fingerprint {
        use super::unescape;
        Fingerprint::of_exception(kind, &unescape(value), &unescape(path), &unescape(function))
    }
}

/// The fingerprint of a record: none below ERROR.
#[must_use]
pub fn fingerprint(rec: &Record<'_>) -> Option<Fingerprint> {
    if rec.level_no < level::ERROR {
        return None;
    }
    if let Some(e) = &rec.exception
        && let Some((kind, value)) = root(e)
    {
        let (path, function) = e.frame.as_ref().map(|(p, f)| (p.raw(), f.raw())).unwrap_or_default();
        return Some(Fingerprint::of_escaped(kind, value, path, function));
    }
    let plain = |t: &Option<Text<'_>>| t.as_ref().map(|t| t.plain().into_owned()).unwrap_or_default();
    let (logger, function) = (plain(&rec.logger), plain(&rec.function_name));
    Some(Fingerprint::of_message(&logger, &function, &rec.message.plain()))
}

/// Type and value of the root cause, escaped.
fn root<'e>(e: &'e Exception<'_>) -> Option<(&'e str, &'e str)> {
    if let Some((kind, value)) = e.chain.first() {
        return Some((kind.raw(), value.raw()));
    }
    let raw = |t: &'e Option<Text<'_>>| t.as_ref().map_or("", |t| t.raw());
    let (kind, value) = (raw(&e.kind), raw(&e.value));
    (!kind.is_empty() || !value.is_empty()).then_some((kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str =
        "Traceback (most recent call last):\n  File \"/srv/a.py\", line 8, in go\n    x\nKeyError: 'user 7'";

    #[test]
    fn variable_parts_lines_and_directories_do_not_count() {
        let one = Fingerprint::of_text(TRACE);
        let moved = TRACE
            .replace("/srv/a.py", "/home/x/a.py")
            .replace("line 8", "line 9")
            .replace("user 7", "user 8");
        assert!(one.is_some());
        assert_eq!(one, Fingerprint::of_text(&moved));
    }

    #[test]
    fn type_value_file_and_function_count() {
        let one = Fingerprint::of_exception("KeyError", "gone", "a.py", "go");
        for other in [
            Fingerprint::of_exception("ValueError", "gone", "a.py", "go"),
            Fingerprint::of_exception("KeyError", "lost", "a.py", "go"),
            Fingerprint::of_exception("KeyError", "gone", "b.py", "go"),
            Fingerprint::of_exception("KeyError", "gone", "a.py", "stop"),
            Fingerprint::of_message("KeyError", "go", "gone"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_fingerprint_is_sixteen_hexadecimal_digits() {
        assert_eq!(Fingerprint(10).to_string(), "000000000000000a");
    }

    #[test]
    fn other_text_has_none() {
        assert_eq!(Fingerprint::of_text("no traceback"), None);
    }
}
