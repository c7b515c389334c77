//! Turns JSON that Python wrote, and some that no one should have written, into JSON that both stores take.
//!
//! Repaired are: bare `NaN`, `Infinity` and `-Infinity` (strings of that name), integers past 64 bits and numbers
//! beyond a double (strings of their digits), half surrogate pairs (U+FFFD), raw control characters in strings
//! (escapes), backslashes that escape nothing (backslashes), attribute names that come twice (the last one wins, as in
//! Python), and nesting deeper than [`MAX_DEPTH`] (a string of the JSON text). Everything else that is wrong makes the
//! line no JSON at all, and it is kept as text.

use std::collections::HashMap;

use super::scan::{MAX_DEPTH, Scan};
use super::text::{REPLACEMENT, decode, escape_into, push_escape, special, unescape};

/// The repaired text of one JSON value, compact; `None` if it is none even so.
pub(super) fn repair(s: &str) -> Option<String> {
    let mut r = Repair {
        s,
        at: 0,
        out: String::with_capacity(s.len() + 64),
    };
    r.space();
    // The document is one level deeper than a flat line.
    r.value(1)?;
    r.space();
    (r.at == s.len()).then_some(r.out)
}

struct Repair<'a> {
    s: &'a str,
    at: usize,
    out: String,
}

impl<'a> Repair<'a> {
    fn byte(&self) -> u8 {
        self.s.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a str {
        self.s.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        while matches!(self.byte(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Goes past `b`, and white space behind it, if it comes next.
    fn take(&mut self, b: u8) -> bool {
        let there = self.byte() == b && self.at < self.s.len();
        if there {
            self.at += 1;
            self.space();
        }
        there
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.byte() {
            b'"' => self.string(),
            b'{' | b'[' if depth >= MAX_DEPTH => self.too_deep(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            _ => self.word(),
        }
    }

    /// A literal, a number, or one of the words that Python writes for numbers that JSON does not know.
    fn word(&mut self) -> Option<()> {
        const WORDS: [(&str, &str); 6] = [
            ("true", "true"),
            ("false", "false"),
            ("null", "null"),
            ("NaN", "\"NaN\""),
            ("Infinity", "\"Infinity\""),
            ("-Infinity", "\"-Infinity\""),
        ];
        for (word, written) in WORDS {
            if self.rest().starts_with(word) {
                self.at += word.len();
                self.out.push_str(written);
                return Some(());
            }
        }
        let rest = self.rest();
        let numeric = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
        let len = rest.bytes().take_while(|b| numeric(b)).count();
        let token = rest.get(..len)?;
        if !token.bytes().any(|b| b.is_ascii_digit()) {
            return None;
        }
        self.at += len;
        let mut scan = Scan::new(token, None);
        if scan.number().is_some() && scan.at_end() {
            self.out.push_str(token);
        } else {
            self.out.push('"');
            self.out.push_str(token);
            self.out.push('"');
        }
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let b = self.s.as_bytes();
        self.at += 1;
        self.out.push('"');
        loop {
            let stop = special(b, self.at);
            self.out.push_str(self.s.get(self.at..stop)?);
            self.at = stop;
            match *b.get(stop)? {
                b'"' => break,
                b'\\' => {
                    // A backslash at the very end, or before the closing quote of a torn string, closes nothing.
                    let (c, len) = decode(b.get(stop..)?);
                    match c {
                        None => self.out.push(REPLACEMENT),
                        Some(_) if len == 1 => self.out.push_str("\\\\"),
                        Some(_) => self.out.push_str(self.s.get(stop..stop + len)?),
                    }
                    self.at += len;
                }
                control => {
                    push_escape(control, &mut self.out);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        self.out.push('"');
        Some(())
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.take(b'[');
        self.out.push('[');
        if !self.take_last(b']') {
            loop {
                self.value(depth + 1)?;
                self.space();
                if self.take_last(b']') {
                    break;
                }
                self.take(b',').then_some(())?;
                self.out.push(',');
            }
        }
        self.out.push(']');
        Some(())
    }

    /// As `take`, but leaves the white space behind, which belongs to what encloses this.
    fn take_last(&mut self, b: u8) -> bool {
        let there = self.byte() == b;
        if there {
            self.at += 1;
        }
        there
    }

    fn object(&mut self, depth: u32) -> Option<()> {
        self.take(b'{');
        let start = self.out.len();
        self.out.push('{');
        // Start and end of each member in `out`, by name; a later one of the same name takes the earlier one's place.
        let mut members: Vec<(usize, usize)> = Vec::new();
        let mut by_name: HashMap<String, usize> = HashMap::new();
        let mut twice = false;
        if !self.take_last(b'}') {
            loop {
                let from = self.out.len();
                let (name, to) = self.member(depth, from)?;
                match by_name.get(&name).copied() {
                    None => {
                        by_name.insert(name, members.len());
                        members.push((from, to));
                    }
                    Some(i) => {
                        twice = true;
                        *members.get_mut(i)? = (from, to);
                    }
                }
                self.space();
                if self.take_last(b'}') {
                    break;
                }
                self.take(b',').then_some(())?;
                self.out.push(',');
            }
        }
        if twice {
            let kept: Vec<&str> = members.iter().filter_map(|(a, b)| self.out.get(*a..*b)).collect();
            let kept = kept.join(",");
            self.out.truncate(start + 1);
            self.out.push_str(&kept);
        }
        self.out.push('}');
        Some(())
    }

    /// One member, written from `from` on: its name, unescaped, and where it ends.
    fn member(&mut self, depth: u32, from: usize) -> Option<(String, usize)> {
        if self.byte() != b'"' {
            return None;
        }
        self.string()?;
        let written = self.out.get(from + 1..self.out.len() - 1)?;
        let name = unescape(written).into_owned();
        self.space();
        self.take(b':').then_some(())?;
        self.out.push(':');
        self.value(depth + 1)?;
        Some((name, self.out.len()))
    }

    /// Keeps a container that is nested too deep as a string of its own text. Only brackets and strings are looked at.
    fn too_deep(&mut self) -> Option<()> {
        let b = self.s.as_bytes();
        let start = self.at;
        let mut open = 0_usize;
        loop {
            match *b.get(self.at)? {
                b'"' => {
                    let mut at = self.at + 1;
                    loop {
                        at += memchr::memchr2(b'"', b'\\', b.get(at..)?)?;
                        if b.get(at) == Some(&b'"') {
                            break;
                        }
                        at += 2;
                    }
                    self.at = at;
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
        self.out.push('"');
        escape_into(self.s.get(start..self.at)?, &mut self.out);
        self.out.push('"');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::whole;
    use super::*;

    #[track_caller]
    fn becomes(from: &str, to: &str) {
        let got = repair(from).expect("repairable");
        assert_eq!(got, to);
        assert!(whole(&got).is_some(), "still faulty: {got}");
        serde_json::from_str::<serde_json::Value>(&got).expect("JSON");
    }

    #[test]
    fn numbers_that_json_does_not_know_become_strings() {
        becomes("[NaN, Infinity, -Infinity]", r#"["NaN","Infinity","-Infinity"]"#);
        becomes(
            r#"{"n": 1208925819614629174706176}"#,
            r#"{"n":"1208925819614629174706176"}"#,
        );
        becomes("-9223372036854775809", "\"-9223372036854775809\"");
        becomes("1e400", "\"1e400\"");
        becomes("[007]", "[\"007\"]");
        let digits = "9".repeat(400);
        becomes(&digits, &format!("\"{digits}\""));
    }

    #[test]
    fn half_surrogate_pairs_are_replaced_and_whole_ones_stay() {
        becomes(
            r#"["\ud800", "\ud83d\ude00", "a\udc00b"]"#,
            "[\"\u{FFFD}\",\"\\ud83d\\ude00\",\"a\u{FFFD}b\"]",
        );
    }

    #[test]
    fn raw_control_characters_become_escapes() {
        becomes("\"a\tb\u{0}c\u{1b}\"", r#""a\tb\u0000c\u001b""#);
    }

    #[test]
    fn a_backslash_that_escapes_nothing_is_a_backslash() {
        becomes(r#"{"path":"C:\dir\u12"}"#, r#"{"path":"C:\\dir\\u12"}"#);
    }

    #[test]
    fn of_names_that_come_twice_the_last_wins() {
        becomes(r#"{"a":1,"b":2,"a":{"x":1,"\u0078":2}}"#, r#"{"a":{"\u0078":2},"b":2}"#);
    }

    #[test]
    fn what_is_nested_too_deep_is_kept_as_text() {
        let deep = format!("{}\"]\\\"\"{}", "[".repeat(200), "]".repeat(200));
        let got = repair(&deep).expect("repairable");
        assert!(whole(&got).is_some());
        let mut value: serde_json::Value = serde_json::from_str(&got).expect("JSON");
        for _ in 1..MAX_DEPTH {
            value = value[0].take();
        }
        let inner = value.as_str().expect("a string");
        assert_eq!(inner, format!("{}\"]\\\"\"{}", "[".repeat(101), "]".repeat(101)));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in [
            "",
            "plain",
            "{",
            "{\"a\":",
            "{\"a\":1",
            "[1",
            "\"x",
            "{\"a\":1} x",
            "nope",
            "{'a':1}",
            "[1,]",
            "-",
            "\"\\",
        ] {
            assert_eq!(repair(bad), None, "{bad}");
        }
        assert_eq!(repair(&"[".repeat(1_000_000)), None);
    }
}
