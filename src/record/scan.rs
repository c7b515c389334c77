//! Walks JSON text without building a tree, and says whether it can be copied as it stands.
//!
//! What is copied into a document travels in one body with thousands of others, and one faulty token there refuses
//! them all. So nothing is copied that was not checked to the last byte. A [`Scan`] accepts exactly the JSON that both
//! stores take: strict grammar, no attribute name twice in one object (ArangoDB refuses it), no lone surrogate, no
//! integer that is silently rounded, no number beyond a double, at most [`MAX_DEPTH`] levels. It does not say what is
//! wrong with the rest: `repair` finds that out, on the few lines that need it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::lanes::Sixteen;
use super::redact::Names;
use super::stops::Stops;
use super::text::unescape;

/// Deepest nesting that is copied. ArangoDB refuses 200 levels; the document adds some of its own, and a reader of the
/// stored document deserves a margin.
pub(super) const MAX_DEPTH: u32 = 100;

/// A position in JSON text. A method that returns `None` leaves the position undefined.
pub(super) struct Scan<'a, 'w> {
    s: &'a str,
    at: usize,
    stops: Stops,
    /// Names that are watched for, so that a line without them is not searched again.
    watch: Option<&'w Names>,
    /// One of them, or what looks like it, was seen.
    pub suspicious: bool,
}

impl<'a, 'w> Scan<'a, 'w> {
    pub fn new(s: &'a str, watch: Option<&'w Names>) -> Scan<'a, 'w> {
        Scan {
            s,
            at: 0,
            stops: Stops::new(),
            watch,
            suspicious: false,
        }
    }

    /// Which names are watched for; 0: none.
    #[inline]
    pub fn watched(&self) -> u64 {
        self.watch.map_or(0, |names| names.id)
    }

    /// The next byte; NUL, which is valid nowhere, at the end.
    #[inline]
    pub fn byte(&self) -> u8 {
        self.s.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// What follows.
    #[inline]
    pub fn rest(&self) -> &'a str {
        self.s.get(self.at..).unwrap_or_default()
    }

    /// Goes past `n` bytes that need no reading.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        self.at += n;
    }

    /// What was gone past since `start`.
    #[inline]
    pub fn since(&self, start: usize) -> &'a str {
        self.s.get(start..self.at).unwrap_or_default()
    }

    /// Goes past bytes that are compared, not read.
    #[inline(always)]
    pub fn frame(&mut self, bytes: &str) -> Option<()> {
        let bytes = bytes.as_bytes();
        let there = self.s.as_bytes().get(self.at..)?.get(..bytes.len())?;
        self.at += bytes.len();
        (there == bytes).then_some(())
    }

    /// Goes back by one byte, which was ASCII.
    #[inline]
    pub fn step_back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// As if nothing had been read since `at`.
    #[inline]
    pub fn back_to(&mut self, at: usize, suspicious: bool) {
        (self.at, self.suspicious) = (at, suspicious);
    }

    pub fn at_end(&self) -> bool {
        self.at >= self.s.len()
    }

    /// Goes past `literal`.
    #[inline(always)]
    pub fn literal(&mut self, literal: &str) -> Option<()> {
        let rest = self.s.as_bytes().get(self.at..)?;
        if !rest.starts_with(literal.as_bytes()) {
            return None;
        }
        self.at += literal.len();
        Some(())
    }

    /// Goes past white space.
    #[inline]
    pub fn space(&mut self) {
        while matches!(self.byte(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// The contents of a string, from behind its opening quote to behind its closing one.
    #[inline]
    pub fn contents(&mut self) -> Option<&'a str> {
        self.name().map(|(s, _)| s)
    }

    /// As [`Scan::contents`], and whether there is an escape in it.
    #[inline(always)]
    fn name(&mut self) -> Option<(&'a str, bool)> {
        let b = self.s.as_bytes();
        let (start, mut at, mut escaped) = (self.at, self.at, false);
        loop {
            at = self.stops.next(b, at);
            match b.get(at)? {
                b'"' => {
                    self.at = at + 1;
                    return Some((self.s.get(start..at)?, escaped));
                }
                b'\\' => {
                    at = past_escape(b, at)?;
                    escaped = true;
                }
                _ => return None,
            }
        }
    }

    /// A number, within what both stores keep.
    #[inline]
    pub fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        let short = self
            .s
            .as_bytes()
            .get(start..)
            .and_then(|r| short_number(r.first_chunk()?));
        if let Some(len) = short {
            self.at += len;
            return self.s.get(start..self.at);
        }
        self.at += usize::from(self.byte() == b'-');
        let first = self.byte();
        let whole = self.digits()?;
        if first == b'0' && whole > 1 {
            return None;
        }
        let fraction = self.byte() == b'.';
        if fraction {
            self.at += 1;
            self.digits()?;
        }
        // The usual case: it fits whatever its digits are.
        if !matches!(self.byte(), b'e' | b'E') && whole < 19 {
            return self.s.get(start..self.at);
        }
        self.unusual_number(start, whole, fraction)
    }

    /// The end of a number of many digits, or with an exponent.
    #[inline(never)]
    fn unusual_number(&mut self, start: usize, whole: usize, fraction: bool) -> Option<&'a str> {
        let exponent = matches!(self.byte(), b'e' | b'E');
        if exponent {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        let token = self.s.get(start..self.at)?;
        let fits = if exponent || whole > 300 {
            token.parse::<f64>().is_ok_and(f64::is_finite)
        } else {
            fraction || whole < 19 || token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok()
        };
        // An exponent-free integer beyond 300 digits is finite at times, but never exact.
        (fits && (fraction || exponent || whole <= 20)).then_some(token)
    }

    /// An integer of 64 bits, signed.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        let (mut n, mut digits) = (0_i64, 0);
        while let d @ b'0'..=b'9' = self.byte() {
            n = n.wrapping_mul(10).wrapping_add(i64::from(d - b'0'));
            digits += 1;
            self.at += 1;
        }
        let leading = digits > 1 && self.s.as_bytes().get(start) == Some(&b'0');
        if (1..=18).contains(&digits) && !leading && !matches!(self.byte(), b'.' | b'e' | b'E') {
            return Some(n);
        }
        self.at = start;
        self.number()?.parse().ok()
    }

    /// Goes past at least one digit; says how many.
    #[inline]
    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while let Some(eight) = self.s.as_bytes().get(self.at..).and_then(|r| r.first_chunk::<8>()) {
            let n = leading_digits(u64::from_le_bytes(*eight));
            self.at += n;
            if n < 8 {
                return (self.at > start).then_some(self.at - start);
            }
        }
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    /// Any value, nested in `depth` others.
    pub fn value(&mut self, depth: u32) -> Option<&'a str> {
        let start = self.at;
        match self.byte() {
            b'"' => {
                self.at += 1;
                self.contents()?;
            }
            b'-' | b'0'..=b'9' => return self.number(),
            b'{' => self.object(depth, |_, _| ())?,
            b'[' => self.array(depth, |_| ())?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return None,
        }
        self.s.get(start..self.at)
    }

    /// An object; `each` is given the escaped name and the token of every member.
    pub fn object(&mut self, depth: u32, mut each: impl FnMut(&'a str, &'a str)) -> Option<()> {
        if self.byte() != b'{' || depth >= MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.space();
        if self.byte() == b'}' {
            self.at += 1;
            return Some(());
        }
        let mut seen = Seen::default();
        loop {
            if self.byte() != b'"' {
                return None;
            }
            self.at += 1;
            let (name, escaped) = self.name()?;
            if !seen.add(self.s, name, escaped) {
                return None;
            }
            if let Some(watch) = self.watch {
                self.suspicious = self.suspicious || watch.find(name).is_some();
            }
            self.colon()?;
            each(name, self.value(depth + 1)?);
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    /// An array; `each` is given every element.
    pub fn array(&mut self, depth: u32, mut each: impl FnMut(&'a str)) -> Option<()> {
        if self.byte() != b'[' || depth >= MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.space();
        if self.byte() == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            each(self.value(depth + 1)?);
            if !self.goes_on(b']')? {
                return Some(());
            }
        }
    }

    /// Goes past the colon behind a name.
    #[inline(always)]
    fn colon(&mut self) -> Option<()> {
        // As most writers put it.
        if let Some([b':', b' ', b'!'..=0xff]) = self.three() {
            self.at += 2;
            return Some(());
        }
        self.space();
        if self.byte() != b':' {
            return None;
        }
        self.at += 1;
        self.space();
        Some(())
    }

    /// Goes past the comma behind a value, or past what closes all of them: whether another value follows.
    #[inline(always)]
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        if let Some([b',', b' ', b'!'..=0xff]) = self.three() {
            self.at += 2;
            return Some(true);
        }
        self.space();
        let b = self.byte();
        self.at += 1;
        if b == b',' {
            self.space();
            return Some(true);
        }
        (b == close).then_some(false)
    }

    /// The next three bytes.
    #[inline(always)]
    fn three(&self) -> Option<&'a [u8; 3]> {
        self.s.as_bytes().get(self.at..)?.first_chunk()
    }
}

/// The length of a number that ends within sixteen bytes, and that fits whatever its digits are. `None` says nothing.
#[inline]
fn short_number(b: &[u8; 16]) -> Option<usize> {
    // A bit for each byte that is no digit, and one behind them.
    let others = !Sixteen::of(b).digits() | 1 << 16;
    let sign = usize::from(b[0] == b'-');
    let whole = (others >> sign).trailing_zeros() as usize;
    let mut end = sign + whole;
    if b.get(end) == Some(&b'.') {
        let fraction = (others >> (end + 1)).trailing_zeros() as usize;
        end = if fraction > 0 { end + 1 + fraction } else { b.len() };
    }
    let ends = b.get(end).is_some_and(|c| !matches!(c, b'.' | b'e' | b'E'));
    let leading = b.get(sign) == Some(&b'0') && whole > 1;
    (ends && whole > 0 && !leading).then_some(end)
}

/// How many of eight bytes, the lowest first, are digits before one that is none.
#[inline]
fn leading_digits(eight: u64) -> usize {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    // Of a digit this leaves 0 to 9; adding 0x76 sets the highest bit of anything larger.
    let digits = eight ^ ZEROS;
    let others = (((digits & LOW) + 0x7676_7676_7676_7676) | digits) & !LOW;
    others.trailing_zeros() as usize / 8
}

/// The position behind the escape at `at`; `None` for a faulty one, and for half a surrogate pair.
#[inline]
fn past_escape(b: &[u8], at: usize) -> Option<usize> {
    match b.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => {
            let (c, len) = super::text::decode(b.get(at..)?);
            (c.is_some() && len > 1).then_some(at + len)
        }
        _ => None,
    }
}

/// The names of one object so far. Most objects are small, so names are compared one by one until there are many.
#[derive(Default)]
struct Seen<'a> {
    /// Where each begins and ends in the text.
    few: [(u32, u32); 12],
    len: usize,
    /// A bit for each name, by its length and its ends: most names are new at a glance.
    glance: u64,
    many: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> Seen<'a> {
    /// Remembers a name, a part of the text `s`; `false` if it was there before.
    #[inline(always)]
    fn add(&mut self, s: &'a str, name: &'a str, escaped: bool) -> bool {
        if self.many.is_some() || escaped || self.len == self.few.len() {
            return self.add_slow(s, name);
        }
        let b = name.as_bytes();
        let end = |c: Option<&u8>| c.map_or(0, |c| usize::from(*c));
        let bit = 1_u64 << ((b.len() * 11 + end(b.first()) * 3 + end(b.last()) * 5) & 63);
        if self.glance & bit != 0 && self.names(s).any(|n| n == name) {
            return false;
        }
        self.glance |= bit;
        let from = name.as_ptr().addr() - s.as_ptr().addr();
        if let Some(slot) = self.few.get_mut(self.len) {
            *slot = (from as u32, (from + name.len()) as u32);
        }
        self.len += 1;
        true
    }

    fn names(&self, s: &'a str) -> impl Iterator<Item = &'a str> {
        let few = self.few.iter().take(self.len);
        few.map(|(from, to)| s.get(*from as usize..*to as usize).unwrap_or_default())
    }

    #[cold]
    #[inline(never)]
    fn add_slow(&mut self, s: &'a str, name: &'a str) -> bool {
        if self.many.is_none() {
            self.many = Some(self.names(s).map(unescape).collect());
        }
        self.many.as_mut().is_some_and(|many| many.insert(unescape(name)))
    }
}

#[cfg(test)]
/// All of `s` as one value that can be copied, with the white space around it trimmed.
pub(super) fn whole(s: &str) -> Option<&str> {
    let mut scan = Scan::new(s, None);
    scan.space();
    let token = scan.value(0)?;
    scan.space();
    scan.at_end().then_some(token)
}

#[cfg(test)]
#[path = "tests/scan.rs"]
mod tests;
