//! Fingerprints: one name for all occurrences of the same error.
//!
//! An exception is the same error if its root cause has the same type, the same value but for variable parts, and was
//! raised in the same function of the script's own code; a group, if this is true of the root causes of all its parts.
//! Which key, attribute or name is missing is the name of the bug: a quoted identifier without digits stays. Line numbers, paths up to the file's name and everything in
//! installed packages do not count: they change with every edit, host and upgrade. An error without an exception is
//! told by logger, function and masked message, and one whose exception has neither type nor frame by these as well.

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
        let value = match kind {
            "KeyError"
            | "AttributeError"
            | "NameError"
            | "UnboundLocalError"
            | "ImportError"
            | "ModuleNotFoundError" => naming(value),
            _ => template(value),
        };
        Fingerprint::of([kind, &value, file, function])
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
        // The margin of a group belongs to its first line, too.
        let start = text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
        let escaped = super::escape(text.get(start..)?);
        let found = traceback::read(&escaped);
        let (kind, value) = found.chain.first()?;
        let first = Fingerprint::at(kind, value, found.frame);
        let others = found.others.iter().map(|c| Fingerprint::at(c.kind, c.value, c.frame));
        Some(Fingerprint::of_several(first, others))
    }

    fn at(kind: &str, value: &str, frame: Option<(&str, &str)>) -> Fingerprint {
        let (path, function) = frame.unwrap_or_default();
        Fingerprint::of_escaped(kind, value, path, function)
    }

    /// Of a group: which parts it has, not how many of them nor in which order they failed.
    fn of_several(first: Fingerprint, others: impl Iterator<Item = Fingerprint>) -> Fingerprint {
        let mut all: Vec<u64> = std::iter::once(first).chain(others).map(|f| f.0).collect();
        all.sort_unstable();
        all.dedup();
        match all.as_slice() {
            [one] => Fingerprint(*one),
            several => {
                let bytes: Vec<u8> = several.iter().flat_map(|n| n.to_le_bytes()).collect();
                Fingerprint(xxhash_rust::xxh3::xxh3_64(&bytes))
            }
        }
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
    let plain = |t: &Option<Text<'_>>| t.as_ref().map(|t| t.plain().into_owned()).unwrap_or_default();
    let message = || {
        let (logger, function) = (plain(&rec.logger), plain(&rec.function_name));
        (logger, function, rec.message.plain().into_owned())
    };
    let Some((e, (kind, value))) = rec.exception.as_ref().and_then(|e| Some((e, root(e)?))) else {
        let (logger, function, message) = message();
        return Some(Fingerprint::of_message(&logger, &function, &message));
    };
    fn raw<'e>(frame: &'e Option<(Text<'_>, Text<'_>)>) -> Option<(&'e str, &'e str)> {
        frame.as_ref().map(|(p, f)| (p.raw(), f.raw()))
    }
    if kind.is_empty() && e.frame.is_none() {
        // `EOF` alone is many errors.
        let (logger, function, message) = message();
        let told = super::unescape(value);
        return Some(Fingerprint::of([
            &template(&told),
            &template(&message),
            &logger,
            &function,
        ]));
    }
    let first = Fingerprint::at(kind, value, raw(&e.frame));
    let others = e
        .others
        .iter()
        .map(|c| Fingerprint::at(c.kind.raw(), c.value.raw(), raw(&c.frame)));
    Some(Fingerprint::of_several(first, others))
}

/// As [`template()`], but what stands in quotes stays if it is an identifier without digits.
fn naming(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(open) = rest.find(['\'', '"']) {
        let quote = &rest[open..=open];
        let inner = rest
            .get(open + 1..)
            .and_then(|r| r.split_once(quote))
            .map(|(inner, _)| inner);
        let word = inner.filter(|i| {
            !i.is_empty() && i.len() <= 64 && i.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.'))
        });
        let end = match (word, inner) {
            (Some(word), _) => {
                out.push_str(&template(rest.get(..open).unwrap_or_default()));
                out.push_str(word);
                open + word.len() + 2
            }
            (None, Some(inner)) => {
                let end = open + inner.len() + 2;
                out.push_str(&template(rest.get(..end).unwrap_or_default()));
                end
            }
            (None, None) => break,
        };
        rest = rest.get(end..).unwrap_or_default();
    }
    out.push_str(&template(rest));
    out
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
    fn a_missing_key_attribute_or_name_is_the_bugs_name_unless_it_is_data() {
        fn of(kind: &str, value: &str) -> Fingerprint {
            Fingerprint::of_exception(kind, value, "a.py", "go")
        }
        assert_ne!(of("KeyError", "'host'"), of("KeyError", "'port'"));
        assert_eq!(of("KeyError", "'user 7'"), of("KeyError", "'user 8'"));
        assert_eq!(of("KeyError", "'user7'"), of("KeyError", "'user8'"));
        let attribute = |name: &str| {
            of(
                "AttributeError",
                &format!("'NoneType' object has no attribute '{name}'"),
            )
        };
        assert_ne!(attribute("foo"), attribute("bar"));
        assert_eq!(of("ValueError", "bad 'host'"), of("ValueError", "bad 'port'"));
    }

    #[test]
    fn a_group_is_told_by_its_parts_in_any_order() {
        let part = |kind: &str| format!("    | {kind}: 1\n");
        let group = |parts: &[&str]| {
            let parts: Vec<String> = parts
                .iter()
                .enumerate()
                .map(|(i, p)| {
                    let rule = if i == 0 {
                        "  +-+---------------- 1 ----------------\n"
                    } else {
                        "    +---------------- 2 ----------------\n"
                    };
                    format!("{rule}{}", part(p))
                })
                .collect();
            let text = format!(
                "  + Exception Group Traceback (most recent call last):\n  |   File \"/srv/t.py\", line 3, in main\n  | ExceptionGroup: x ({} sub-exceptions)\n{}    +------------------------------------\n",
                parts.len(),
                parts.concat()
            );
            Fingerprint::of_text(&text)
        };
        assert!(group(&["KeyError"]).is_some());
        assert_ne!(group(&["KeyError"]), group(&["OSError"]));
        assert_ne!(group(&["KeyError"]), group(&["KeyError", "OSError"]));
        assert_eq!(group(&["KeyError", "OSError"]), group(&["OSError", "KeyError"]));
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
