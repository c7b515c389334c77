//! The top level of a finished document, field by field, without building a tree.
//!
//! What is scanned here was written by this program, so it is valid JSON. On anything else the scan ends with `None`,
//! so that a store can refuse the record instead of keeping half of it (`record::fields` ends without a word).

use std::borrow::Cow;

/// One field of an object: its name (still escaped) and its value as a raw token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    pub value: &'a str,
}

/// The fields of the object `doc`, in order. Yields `None` once, then ends, where it is not an object.
pub fn of(doc: &[u8]) -> Fields<'_> {
    Fields {
        rest: simdutf8::basic::from_utf8(doc).unwrap_or("").trim_ascii(),
        state: State::Start,
    }
}

pub struct Fields<'a> {
    rest: &'a str,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Within,
    Done,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Option<Field<'a>>> {
        let first = self.state == State::Start;
        match self.state {
            State::Done => return None,
            State::Start => {
                let Some(rest) = self.rest.strip_prefix('{') else {
                    self.state = State::Done;
                    return Some(None);
                };
                self.rest = rest.trim_ascii_start();
                self.state = State::Within;
            }
            State::Within => {}
        }
        if self.rest.starts_with('}') {
            self.state = State::Done;
            return (self.rest.len() > 1).then_some(None);
        }
        let field = self.field(first);
        if field.is_none() {
            self.state = State::Done;
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self, first: bool) -> Option<Field<'a>> {
        if !first {
            self.rest = self.rest.strip_prefix(',')?.trim_ascii_start();
        }
        let end = string_end(self.rest.as_bytes())?;
        let name = self.rest.get(1..end - 1)?;
        let after = self.rest.get(end..)?.trim_ascii_start();
        let after = after.strip_prefix(':')?.trim_ascii_start();
        let end = value_end(after.as_bytes())?;
        let value = after.get(..end)?;
        self.rest = after.get(end..)?.trim_ascii_start();
        Some(Field { name, value })
    }
}

/// The items of the array `doc`, in order, as raw tokens. Yields `None` once, then ends, where it is not an array.
pub fn items(doc: &[u8]) -> Items<'_> {
    Items {
        rest: simdutf8::basic::from_utf8(doc).unwrap_or("").trim_ascii(),
        state: State::Start,
    }
}

pub struct Items<'a> {
    rest: &'a str,
    state: State,
}

impl<'a> Iterator for Items<'a> {
    type Item = Option<&'a str>;

    fn next(&mut self) -> Option<Option<&'a str>> {
        let separator = match self.state {
            State::Done => return None,
            State::Start => '[',
            State::Within => ',',
        };
        if self.state == State::Within && self.rest.starts_with(']') {
            self.state = State::Done;
            return (self.rest.len() > 1).then_some(None);
        }
        let item = self.item(separator);
        self.state = match item {
            Some(Some(_)) => State::Within,
            _ => State::Done,
        };
        item
    }
}

impl<'a> Items<'a> {
    /// `None` at the end of an empty array, `Some(None)` where there is no item.
    fn item(&mut self, separator: char) -> Option<Option<&'a str>> {
        let Some(rest) = self.rest.strip_prefix(separator).map(str::trim_ascii_start) else {
            return Some(None);
        };
        if separator == '[' && rest == "]" {
            return None;
        }
        let item = value_end(rest.as_bytes()).and_then(|end| rest.split_at_checked(end));
        Some(item.map(|(item, rest)| {
            self.rest = rest.trim_ascii_start();
            item
        }))
    }
}

/// The end of the string that `bytes` begin with, behind its closing quote.
fn string_end(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The end of the value that `bytes` begin with.
fn value_end(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => string_end(bytes),
        b'{' | b'[' => nested_end(bytes),
        _ => {
            let end = bytes
                .iter()
                .position(|b| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace())?;
            (end > 0).then_some(end)
        }
    }
}

/// The end of the array or object that `bytes` begin with.
fn nested_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string_end(bytes.get(at..)?)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The text of a JSON string token; borrowed where nothing is escaped. Other tokens are given back as they are.
#[must_use]
pub fn text(token: &str) -> Cow<'_, str> {
    let Some(inner) = token.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return Cow::Borrowed(token);
    };
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str::<String>(token).map_or(Cow::Borrowed(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(doc: &str) -> Vec<Option<(&str, &str)>> {
        of(doc.as_bytes()).map(|f| f.map(|f| (f.name, f.value))).collect()
    }

    #[test]
    fn fields_are_given_in_order_with_raw_values() {
        assert_eq!(
            all(r#"{"_key":"a","n":-1.5e3,"o":{"x":[1,"}"],"y":"\"]"},"t":true,"z":null}"#),
            vec![
                Some(("_key", r#""a""#)),
                Some(("n", "-1.5e3")),
                Some(("o", r#"{"x":[1,"}"],"y":"\"]"}"#)),
                Some(("t", "true")),
                Some(("z", "null")),
            ]
        );
        assert_eq!(all("{}"), vec![]);
        assert_eq!(
            all(r#" { "a" : 1 , "b" : [ ] } "#),
            vec![Some(("a", "1")), Some(("b", "[ ]"))]
        );
    }

    #[test]
    fn what_is_no_object_yields_nothing_and_ends() {
        for bad in [
            "",
            "[]",
            "{",
            r#"{"a"#,
            r#"{"a":"#,
            r#"{"a":1"#,
            r#"{"a":1}x"#,
            r#"{"a":1,}"#,
            r#"{"a":"\"#,
            "{]",
        ] {
            let got = all(bad);
            assert_eq!(got.last(), Some(&None), "{bad}");
        }
    }

    #[test]
    fn items_are_given_in_order() {
        let all = |doc: &'static str| items(doc.as_bytes()).collect::<Vec<_>>();
        assert_eq!(
            all(r#"[1, "a,]" ,{"x":[]},[2]]"#),
            vec![Some("1"), Some(r#""a,]""#), Some(r#"{"x":[]}"#), Some("[2]")]
        );
        assert_eq!(all("[ ]"), vec![]);
        for bad in ["", "{}", "[", "[1", "[1,", "[1,]", "[1]x"] {
            assert_eq!(all(bad).last(), Some(&None), "{bad}");
        }
    }

    #[test]
    fn strings_are_decoded() {
        assert_eq!(text(r#""plain ü""#), "plain ü");
        assert_eq!(text(r#""a\n\u00e4\"""#), "a\nä\"");
        assert_eq!(text("12"), "12");
    }
}
