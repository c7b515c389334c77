//! Messages with their variable parts masked, so that what differs in numbers and names alone is counted together.
//!
//! One pass, by hand, since every error goes through it: the text is cut into words at everything that is not a letter,
//! digit or underscore, and a word, or a group of words that belongs together, is replaced by what it is:
//!
//! | mask | stands for |
//! |---|---|
//! | `<num>` | digits, with sign and fraction; also within words (`worker3` is `worker<num>`); hexadecimal runs of six or more, which are digits alone by chance |
//! | `<hex>` | `0x…` |
//! | `<id>` | what follows the prefix of an id such as `cus_NffrFeUfNV2Hib` |
//! | `<uuid>` `<time>` `<ip>` `<mac>` `<email>` `<url>` `<path>` | what they say; a path has a slash at its start, an extension, or two slashes |
//! | `<str>` | what stands in quotes |
//!
//! A list of equal masks is one mask, so that the length of a list does not matter. The masks contain no digits, so a
//! template is its own template.

use super::text::{ceil, floor};

/// Bytes of a message that are looked at. A longer one is told apart by what comes before.
const LOOKED_AT: usize = 1000;

/// The longest text in quotes that is taken for a value.
const QUOTED: usize = 400;

/// The message with numbers, hexadecimal runs, UUIDs, times, addresses, e-mail addresses, paths and quoted values
/// masked. Takes plain text, not escaped.
#[must_use]
pub fn template(message: &str) -> String {
    let cut = floor(message, LOOKED_AT);
    let message = message.get(..cut).unwrap_or(message);
    let mut t = Masker {
        b: message.as_bytes(),
        s: message,
        at: 0,
        out: String::with_capacity(message.len() + 16),
    };
    while t.at < t.b.len() {
        t.step();
    }
    t.out
}

struct Masker<'a> {
    b: &'a [u8],
    s: &'a str,
    at: usize,
    out: String,
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80
}

impl<'a> Masker<'a> {
    fn byte(&self, at: usize) -> u8 {
        self.b.get(at).copied().unwrap_or(0)
    }

    fn before(&self) -> u8 {
        self.at.checked_sub(1).map_or(0, |i| self.byte(i))
    }

    /// The end of the run of bytes that `ok` accepts, from `at` on.
    fn run(&self, at: usize, ok: impl Fn(u8) -> bool) -> usize {
        let rest = self.b.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|b| ok(**b)).count()
    }

    /// Takes what comes next, at the start of a word or between words.
    fn step(&mut self) {
        let b = self.byte(self.at);
        match b {
            b'\'' | b'"' | b'`' if !is_word(self.before()) => {
                if let Some(end) = self.quoted(b) {
                    return self.mask("<str>", end);
                }
            }
            b'<' => {
                // A mask that is there already.
                let end = self.run(self.at + 1, |b| b.is_ascii_lowercase());
                if self.byte(end) == b'>' {
                    return self.copy(end + 1);
                }
            }
            b'-' | b'+' if self.byte(self.at + 1).is_ascii_digit() && !is_word(self.before()) => {
                self.at += 1;
                return self.word();
            }
            _ => {}
        }
        let opens = matches!(b, b'/' | b'~' | b'.') || (b == b':' && self.byte(self.at + 1) == b':');
        if is_word(b) || (opens && !is_word(self.before())) {
            self.word();
        } else {
            self.copy(self.at + 1);
        }
    }

    /// The end of the text in quotes that begins here.
    fn quoted(&self, quote: u8) -> Option<usize> {
        let rest = self.b.get(self.at + 1..)?;
        let rest = rest.get(..QUOTED).unwrap_or(rest);
        let len = memchr::memchr2(quote, b'\n', rest)?;
        let end = self.at + 1 + len + 1;
        (rest.get(len) == Some(&quote) && !is_word(self.byte(end))).then_some(end)
    }

    /// Takes a word, or the group of words that begins with it.
    fn word(&mut self) {
        // Most words are just words.
        let letters = self.run(self.at, |b| b.is_ascii_alphabetic());
        let rest = self.b.get(self.at..).unwrap_or_default();
        if let Some(len) = super::faces::date_by_name(rest) {
            return self.mask("<time>", self.at + len);
        }
        let hex = is_hex(self.b.get(self.at..letters).unwrap_or_default());
        if !hex && letters > self.at && matches!(self.byte(letters), b' ' | b',' | b';' | b'(' | b')' | 0) {
            return self.copy(letters);
        }
        // All that can belong to an address or a path; the dot or comma that ends a sentence does not.
        let mut end = self.run(self.at, |b| {
            is_word(b) || matches!(b, b'.' | b'/' | b':' | b'@' | b'-' | b'~' | b'%' | b'+' | b'\\')
        });
        while end > self.at + 1 && matches!(self.byte(end - 1), b'.' | b':' | b'-' | b'+' | b'@') {
            end -= 1;
        }
        let group = self.s.get(self.at..end).unwrap_or_default();
        if let Some((mask, len)) = whole(group, self.s.get(self.at..).unwrap_or_default()) {
            return self.mask(mask, self.at + len);
        }
        let start = self.at;
        let end = self.run(start, is_word);
        if end == start {
            return self.copy(start + 1);
        }
        if let Some(len) = number(self.b.get(start..).unwrap_or_default()) {
            return self.mask("<num>", start + len);
        }
        self.parts(end);
    }

    /// Takes the words between the underscores of one identifier.
    fn parts(&mut self, end: usize) {
        while self.at < end {
            let part = self.run(self.at, |b| b != b'_' && is_word(b)).min(end);
            let text = self.b.get(self.at..part).unwrap_or_default();
            let behind = self.at > 0 && self.byte(self.at - 1) == b'_';
            if is_hex(text) {
                self.mask("<num>", part);
            } else if behind && is_id(text) {
                self.mask("<id>", part);
            } else {
                while self.at < part {
                    let digits = self.run(self.at, |b| b.is_ascii_digit()).min(part);
                    if digits > self.at {
                        self.mask("<num>", digits);
                    } else {
                        let letters = self.run(self.at, |b| is_word(b) && !b.is_ascii_digit()).min(part);
                        self.copy(letters);
                    }
                }
            }
            if self.at < end {
                self.copy(self.at + 1);
            }
        }
    }

    fn copy(&mut self, end: usize) {
        // Ends within a character only if asked for one byte of it.
        let end = ceil(self.s, end);
        self.out.push_str(self.s.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    fn mask(&mut self, mask: &str, end: usize) {
        self.at = end;
        // A further element of a list of its like.
        for separator in [", ", ","] {
            let listed = self.out.strip_suffix(separator).is_some_and(|o| o.ends_with(mask));
            if listed {
                self.out.truncate(self.out.len() - separator.len());
                return;
            }
        }
        self.out.push_str(mask);
    }
}

/// What a group of words is as a whole, and how much of `rest` (which begins with the group) belongs to it.
fn whole(group: &str, rest: &str) -> Option<(&'static str, usize)> {
    let b = group.as_bytes();
    let first = *b.first()?;
    if first.is_ascii_digit() {
        if let Some((_, len)) = super::faces::stamp(rest.as_bytes())
            && !rest.as_bytes().get(len).is_some_and(|b| is_word(*b))
        {
            return Some(("<time>", len));
        }
        let dated = super::faces::day_and_month(rest.as_bytes(), 0);
        if let Some(len) = dated.or_else(|| super::faces::time_of_day(rest.as_bytes())) {
            return Some(("<time>", len));
        }
        if b.get(1).is_some_and(|x| matches!(x, b'x' | b'X')) {
            let digits = b.iter().skip(2).take_while(|b| b.is_ascii_hexdigit()).count();
            if digits > 0 {
                return Some(("<hex>", digits + 2));
            }
        }
        if let Some(len) = ipv4(b) {
            return Some(("<ip>", len));
        }
    }
    if first.is_ascii_hexdigit()
        && let Some(uuid) = b.get(..36)
        && is_uuid(uuid)
        && !b.get(36).is_some_and(|b| is_word(*b))
    {
        return Some(("<uuid>", 36));
    }
    let has = |c| memchr::memchr(c, b).is_some();
    if has(b'@') && is_email(group) {
        return Some(("<email>", group.len()));
    }
    if has(b':') {
        if let Some(at) = memchr::memmem::find(b, b"://") {
            let more = rest
                .as_bytes()
                .iter()
                .skip(at)
                .take_while(|b| !b.is_ascii_whitespace() && !b"\"'<>`,;)]}".contains(b));
            let scheme = b.iter().take(at).all(u8::is_ascii_alphanumeric);
            return (at > 0 && scheme).then(|| ("<url>", at + more.count()));
        }
        if is_mac(b) {
            return Some(("<mac>", group.len()));
        }
        if is_ipv6(b) {
            return Some(("<ip>", group.len()));
        }
    }
    is_path(group).then_some(("<path>", group.len()))
}

/// The length of a number: digits with an optional fraction and exponent. Letters behind it are its unit.
fn number(b: &[u8]) -> Option<usize> {
    let digits = |from: usize| b.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let mut len = digits(0);
    if len == 0 {
        return None;
    }
    let word = b.iter().take_while(|b| is_word(**b)).count();
    if word > len && is_hex(b.get(..word)?) {
        return None;
    }
    loop {
        let more = if matches!(b.get(len), Some(b'.' | b',')) {
            digits(len + 1)
        } else {
            0
        };
        // A comma groups thousands; anything else behind it is the next element of a list.
        if more == 0 || (b.get(len) == Some(&b',') && more != 3) {
            break;
        }
        len += 1 + more;
    }
    if matches!(b.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(b.get(len + 1), Some(b'-' | b'+')));
        let more = digits(len + 1 + sign);
        if more > 0 {
            len += 1 + sign + more;
        }
    }
    Some(len)
}

/// A run of hexadecimal digits that is not a word by chance: one with digits and letters, or of the length of an id.
fn is_hex(b: &[u8]) -> bool {
    b.len() >= 6
        && b.iter().all(u8::is_ascii_hexdigit)
        && b.iter().any(u8::is_ascii_alphabetic)
        && (b.iter().any(u8::is_ascii_digit) || matches!(b.len(), 8 | 12 | 16 | 24 | 32 | 40 | 64))
}

/// The random part of an id: letters of both cases and digits without the rhythm of words.
fn is_id(b: &[u8]) -> bool {
    let changes = b
        .windows(2)
        .filter(|w| matches!(w, [x, y] if kind(*x) != kind(*y)))
        .count();
    let digit = b.iter().any(u8::is_ascii_digit);
    let letters = b.iter().any(u8::is_ascii_alphabetic);
    b.len() >= 10
        && b.iter().all(u8::is_ascii_alphanumeric)
        && letters
        && if digit {
            changes >= 3
        } else {
            b.len() >= 14 && changes * 3 >= b.len()
        }
}

/// Upper case, lower case or digit.
fn kind(b: u8) -> u8 {
    u8::from(b.is_ascii_uppercase()) + 2 * u8::from(b.is_ascii_digit())
}

/// `00:1A:2B:3C:4D:5E`, also with dashes.
fn is_mac(b: &[u8]) -> bool {
    b.len() == 17
        && b.iter().enumerate().all(|(i, c)| match i % 3 {
            2 => matches!(c, b':' | b'-'),
            _ => c.is_ascii_hexdigit(),
        })
}

fn is_uuid(b: &[u8]) -> bool {
    b.iter().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    })
}

/// The length of an IPv4 address, with its port.
fn ipv4(b: &[u8]) -> Option<usize> {
    let mut len = 0;
    for part in 0..4 {
        if part > 0 {
            if b.get(len) != Some(&b'.') {
                return None;
            }
            len += 1;
        }
        let digits = b.iter().skip(len).take_while(|b| b.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        len += digits;
    }
    if b.get(len) == Some(&b':') {
        let port = b.iter().skip(len + 1).take_while(|b| b.is_ascii_digit()).count();
        if port > 0 {
            len += 1 + port;
        }
    }
    (!b.get(len).is_some_and(|b| is_word(*b) || *b == b'.')).then_some(len)
}

fn is_ipv6(b: &[u8]) -> bool {
    let colons = b.iter().filter(|b| **b == b':').count();
    let double = memchr::memmem::find(b, b"::").is_some();
    b.iter().all(|b| b.is_ascii_hexdigit() || *b == b':') && (colons == 7 || (double && b.len() > 2 && colons < 8))
}

fn is_email(group: &str) -> bool {
    let Some((name, domain)) = group.split_once('@') else {
        return false;
    };
    let clean = |s: &str| s.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-' | b'+' | b'%'));
    !name.is_empty() && clean(name) && clean(domain) && domain.contains('.')
}

/// A path: rooted, or relative with an extension or two separators. `and/or` is none.
fn is_path(group: &str) -> bool {
    let b = group.as_bytes();
    if matches!(b, [drive, b':', b'\\' | b'/', _, ..] if drive.is_ascii_alphabetic()) {
        return true;
    }
    let slashes = b.iter().filter(|b| matches!(b, b'/' | b'\\')).count();
    if slashes == 0 {
        return false;
    }
    let rooted = matches!(b, [b'/', x, ..] if is_word(*x) || *x == b'.')
        || group.starts_with("~/")
        || group.starts_with("./")
        || group.starts_with("../");
    let name = group.rsplit(['/', '\\']).next().unwrap_or_default();
    let extension = name
        .split_once('.')
        .is_some_and(|(_, e)| e.bytes().any(|b| b.is_ascii_alphabetic()));
    let plain = b.iter().any(u8::is_ascii_alphabetic);
    plain && (rooted || extension || slashes >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_parts_are_masked() {
        for (message, expected) in [
            ("", ""),
            ("plain words, nothing else.", "plain words, nothing else."),
            ("slow call took 1477.9 ms: retry", "slow call took <num> ms: retry"),
            ("took 12ms, -5 left of +7", "took <num>ms, <num> left of <num>"),
            ("1,234,567 rows in 1e-05 s", "<num> rows in <num> s"),
            ("worker3 of pool_12 died", "worker<num> of pool_<num> died"),
            ("run exec_74981e35049e ended", "run exec_<num> ended"),
            ("object at 0x7f3a2c001d30", "object at <hex>"),
            ("commit deadbeef1 and decade", "commit <num> and decade"),
            ("request 3fa85f64 failed", "request <num> failed"),
            ("request 12345678 failed", "request <num> failed"),
            ("request deadbeef failed", "request <num> failed"),
            (
                "token expired at Sat, 21 Nov 2026 06:00:00 GMT",
                "token expired at <time>",
            ),
            ("due Tue, 01 Dec 2026 07:10 PM, or 3 May", "due <time>, or <time>"),
            ("May I, in March or on Sunday?", "May I, in March or on Sunday?"),
            ("at 7:15 AM and 11:20 PM", "at <time> and <time>"),
            ("device 00:1A:2B:3C:4D:5E lost", "device <mac> lost"),
            ("device aa:bb:cc:dd:ee:ff lost", "device <mac> lost"),
            ("device 01:02:03:04:05:06 lost", "device <mac> lost"),
            ("No such customer: cus_NffrFeUfNV2Hib", "No such customer: cus_<id>"),
            ("No such customer: cus_Qab12CdEfGhIjK", "No such customer: cus_<id>"),
            ("call do_something_else now", "call do_something_else now"),
            ("id 123e4567-e89b-12d3-a456-426614174000!", "id <uuid>!"),
            ("at 2026-11-21 05:46:00,123 it rained", "at <time> it rained"),
            ("from 10.0.0.12:8080 to ::1 and fe80::1:2", "from <ip> to <ip> and <ip>"),
            ("mail to joe.doe+x@example.com.", "mail to <email>."),
            ("GET https://user@host:80/a/b?x=1&y=2, again", "GET <url>, again"),
            ("open /srv/data/a-1.csv: no such file", "open <path>: no such file"),
            (
                "read src/main.rs and/or ~/x, C:\\tmp\\y.txt",
                "read <path> and/or <path>",
            ),
            ("key 'user 7' not in \"cache\"", "key <str> not in <str>"),
            ("don't stop, it's 5 o'clock", "don't stop, it's <num> o'clock"),
            ("values [1, 2, 3] and [4,5]", "values [<num>] and [<num>]"),
            ("失败 42 ✓ naïve7", "失败 <num> ✓ naïve<num>"),
            ("version 1.2.3-rc4", "version <num>-rc<num>"),
            ("50% of 3/4", "<num>% of <num>/<num>"),
            ("'unclosed", "'unclosed"),
            ("<num> <str>", "<num> <str>"),
        ] {
            assert_eq!(template(message), expected, "{message}");
        }
    }

    #[test]
    fn a_template_is_its_own_template() {
        for message in [
            "a 1, 'b' /x/y z@q.de 10.0.0.1 0xff [1, 2]",
            "worker3 exec_74981e35049e 12ms cus_NffrFeUfNV2Hib 7:15 PM",
        ] {
            let once = template(message);
            assert_eq!(template(&once), once);
        }
    }

    #[test]
    fn a_long_message_is_told_apart_by_its_beginning() {
        let long = "é".repeat(5000);
        assert_eq!(template(&long).len(), LOOKED_AT);
    }
}
