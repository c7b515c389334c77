//! Splits finished documents into their members, without building a tree.
//!
//! Made for documents that `encode` wrote: they are valid, so only strings and brackets are looked at. On anything else
//! the iteration ends early; it never fails.

use super::text::special;

/// The top-level members of a JSON object as (escaped name, raw token), in order, borrowed. Ends at the first thing
/// that does not fit; yields nothing if `doc` is no object or no UTF-8.
pub fn fields(doc: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let s = simdutf8::basic::from_utf8(doc).unwrap_or_default();
    members(s)
}

/// As [`fields`], of any JSON object.
pub(super) fn members(object: &str) -> Members<'_> {
    let mut m = Members { s: object, at: 0 };
    m.space();
    if m.byte() == Some(b'{') {
        m.at += 1;
        m.space();
    } else {
        m.at = object.len();
    }
    m
}

/// The elements of a JSON array, as tokens.
pub(super) fn elements(array: &str) -> impl Iterator<Item = &str> {
    let mut m = Members { s: array, at: 0 };
    m.space();
    let open = m.byte() == Some(b'[');
    m.at = if open { m.at + 1 } else { array.len() };
    std::iter::from_fn(move || {
        m.space();
        let token = m.token()?;
        m.separator();
        Some(token)
    })
}

/// See [`members`].
pub(super) struct Members<'a> {
    s: &'a str,
    at: usize,
}

impl<'a> Members<'a> {
    fn byte(&self) -> Option<u8> {
        self.s.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past white space and one comma.
    fn separator(&mut self) {
        self.space();
        if self.byte() == Some(b',') {
            self.at += 1;
            self.space();
        }
    }

    /// The string that begins here, with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        let b = self.s.as_bytes();
        let start = self.at;
        let mut at = start + 1;
        loop {
            at = special(b, at);
            match b.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        self.s.get(start..self.at)
    }

    /// The value that begins here.
    fn token(&mut self) -> Option<&'a str> {
        let start = self.at;
        match self.byte()? {
            b'"' => return self.string(),
            b'{' | b'[' => {
                let mut open = 0_usize;
                loop {
                    match self.byte()? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => open += 1,
                        b'}' | b']' => open -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if open == 0 {
                        break;
                    }
                }
            }
            _ => {
                while !matches!(
                    self.byte(),
                    None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                ) {
                    self.at += 1;
                }
            }
        }
        self.s.get(start..self.at).filter(|t| !t.is_empty())
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        if self.byte() != Some(b'"') {
            return None;
        }
        let name = super::text::string(self.string()?)?;
        self.space();
        if self.byte() != Some(b':') {
            return None;
        }
        self.at += 1;
        self.space();
        let value = self.token()?;
        self.separator();
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_split_into_its_members() {
        let doc = br#"{"_key":"k","n":-1.5,"o":{"a":[1,"}\""],"b":{}},"a":[],"t":true,"z":null,"q\"":"x\\"}"#;
        let got: Vec<_> = fields(doc).collect();
        let expected = [
            ("_key", "\"k\""),
            ("n", "-1.5"),
            ("o", r#"{"a":[1,"}\""],"b":{}}"#),
            ("a", "[]"),
            ("t", "true"),
            ("z", "null"),
            ("q\\\"", "\"x\\\\\""),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn white_space_is_no_part_of_a_token() {
        let got: Vec<_> = fields(b" { \"a\" : 1 , \"b\" : [ 2 , 3 ] } ").collect();
        assert_eq!(got, [("a", "1"), ("b", "[ 2 , 3 ]")]);
        let got: Vec<_> = elements("[ 1 , \"a,b\" , {\"x\":[2]} ]").collect();
        assert_eq!(got, ["1", "\"a,b\"", "{\"x\":[2]}"]);
    }

    #[test]
    fn anything_else_ends_early() {
        for doc in [
            &b""[..],
            b"[1]",
            b"{",
            b"{\"a",
            b"{\"a\"}",
            b"{\"a\":",
            b"{\"a\":{",
            b"{\"a\":}",
            b"{\xff}",
            b"{1:2}",
            b"null",
        ] {
            assert_eq!(fields(doc).count(), 0, "{doc:?}");
        }
        assert_eq!(elements("[").count(), 0);
        assert_eq!(elements("[]").count(), 0);
        assert_eq!(elements("{}").count(), 0);
    }
}
