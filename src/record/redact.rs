//! Hides secrets before anything leaves the process.
//!
//! Two kinds of rules: secrets that are known by their form ([`super::secrets`]), in every text of a record; and fields
//! whose name says that their value is one (`redact.fields`), in bound values. A name matches by whole words, however it
//! is written: `token` hides `api_token`, `apiToken` and `API-TOKEN`, not `tokens_in`. Numbers, booleans and null are
//! never hidden: they count things.
//!
//! Ids, names of functions and the like are left alone: they join records, and secrets do not stand in them.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind, packed};
use regex::Regex;

use super::fields::{elements, members};
pub(super) use super::names::Names;
use super::secrets::{HIDING, SECRETS};
use super::text::{escape_into, string, unescape};
use super::{Record, Text, Token};
use super::{custom, suspicion};
use crate::config::Redact;

/// What hides secrets; built once.
pub(super) struct Redactor {
    anchors: Anchors,
    /// What each anchor belongs to.
    owner: Vec<Anchor>,
    patterns: Vec<Regex>,
    custom: Vec<Regex>,
    pub names: Names,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor")
            .field("custom", &self.custom)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The search for all anchors at once: vectorised where the machine can.
///
/// Such a search compares the first bytes of all patterns with the text, and looks closer where they could fit. The more
/// bytes and the fewer patterns, the less often that happens in vain. So anchors are searched in groups of like length:
/// a few quick passes cost less than one slow one.
enum Anchors {
    /// Each with the number of its first anchor.
    Packed(Vec<(packed::Searcher, usize)>),
    Automaton(AhoCorasick),
}

/// Anchors searched in one pass. It sorts them into eight buckets: with two in each, hardly any prose looks like one.
const GROUP: usize = 14;

/// Beside an anchor the secret it belongs to; `None`: it is one of [`HIDING`].
type Anchor = (Option<usize>, &'static str);

/// All anchors, short ones first.
fn anchors() -> Vec<Anchor> {
    let secrets = SECRETS.iter().enumerate();
    let known = secrets.flat_map(|(i, s)| s.anchors.iter().map(move |a| (Some(i), *a)));
    let mut all: Vec<Anchor> = known.chain(HIDING.iter().map(|h| (None, *h))).collect();
    all.sort_by_key(|(_, a)| a.len());
    all
}

/// The anchors in groups: those of three bytes, then the others.
fn groups(all: &[Anchor]) -> impl Iterator<Item = &[Anchor]> {
    let (short, long) = all.split_at(all.partition_point(|(_, a)| a.len() <= 3));
    short.chunks(GROUP).chain(long.chunks(GROUP))
}

impl Anchors {
    fn new(all: &[Anchor]) -> Result<Anchors, String> {
        let mut first = 0;
        let packed = groups(all).map(|anchors| {
            let mut builder = packed::Config::new()
                .match_kind(packed::MatchKind::LeftmostLongest)
                .builder();
            let searcher = builder.extend(anchors.iter().map(|(_, a)| a)).build()?;
            first += anchors.len();
            Some((searcher, first - anchors.len()))
        });
        if let Some(packed) = packed.collect() {
            return Ok(Anchors::Packed(packed));
        }
        let mut builder = AhoCorasick::builder();
        let built = builder
            .match_kind(MatchKind::LeftmostLongest)
            .build(all.iter().map(|(_, a)| a));
        built.map(Anchors::Automaton).map_err(|e| e.to_string())
    }

    fn any(&self, s: &str) -> bool {
        match self {
            Anchors::Packed(searchers) => searchers.iter().any(|(searcher, _)| searcher.find(s).is_some()),
            Anchors::Automaton(a) => a.is_match(s),
        }
    }

    /// Begins a walk over the anchors of a text.
    fn walk<'s>(&self, s: &'s str) -> Walk<'_, 's> {
        let searches = match self {
            Anchors::Packed(searchers) => searchers.len(),
            Anchors::Automaton(_) => 1,
        };
        Walk {
            anchors: self,
            s,
            next: vec![Next::Unknown; searches],
        }
    }

    /// The first anchor that the search `number` finds at or after `from`.
    fn search(&self, number: usize, s: &str, from: usize) -> Option<Hit> {
        let span = aho_corasick::Span {
            start: from.min(s.len()),
            end: s.len(),
        };
        let hit = |m: aho_corasick::Match, first: usize| Hit {
            start: m.start(),
            end: m.end(),
            anchor: first + m.pattern().as_usize(),
        };
        match self {
            Anchors::Packed(searchers) => {
                let (searcher, first) = searchers.get(number)?;
                Some(hit(searcher.find_in(s, span)?, *first))
            }
            Anchors::Automaton(a) => Some(hit(a.find(aho_corasick::Input::new(s).span(span))?, 0)),
        }
    }
}

/// Where an anchor stands, and which it is.
#[derive(Clone, Copy)]
struct Hit {
    start: usize,
    end: usize,
    anchor: usize,
}

/// What one search of a [`Walk`] finds next.
#[derive(Clone, Copy)]
enum Next {
    Unknown,
    At(Hit),
    Nothing,
}

/// A walk over the anchors of one text, from its beginning to its end.
///
/// Each search keeps the anchor that it found until the walk has passed it: searching anew for each anchor of another
/// search would read the rest of the text again and again, and cost the square of its length.
struct Walk<'a, 's> {
    anchors: &'a Anchors,
    s: &'s str,
    next: Vec<Next>,
}

impl Walk<'_, '_> {
    /// The first anchor at or after `from`, which never falls.
    fn find(&mut self, from: usize) -> Option<Hit> {
        let mut first: Option<Hit> = None;
        for (number, next) in self.next.iter_mut().enumerate() {
            let passed = match next {
                Next::Unknown => true,
                Next::At(hit) => hit.start < from,
                Next::Nothing => false,
            };
            if passed {
                *next = match self.anchors.search(number, self.s, from) {
                    Some(hit) => Next::At(hit),
                    None => Next::Nothing,
                };
            }
            if let Next::At(hit) = next
                && first.is_none_or(|f| hit.start < f.start)
            {
                first = Some(*hit);
            }
        }
        first
    }
}

impl Redactor {
    pub fn new(settings: &Redact) -> Result<Redactor, String> {
        let custom =
            |p: &String| Regex::new(p).map_err(|e| format!("redact.patterns: {p:?} is no regular expression: {e}"));
        let known = |p: &str| Regex::new(p).map_err(|e| e.to_string());
        let owner = anchors();
        Ok(Redactor {
            anchors: Anchors::new(&owner)?,
            owner,
            patterns: SECRETS.iter().map(|s| known(s.pattern)).collect::<Result<_, _>>()?,
            custom: settings.patterns.iter().map(custom).collect::<Result<_, _>>()?,
            names: Names::new(&settings.fields),
        })
    }

    /// Whether a text (escaped, or a whole line) could hold a secret. Quick, and on the safe side.
    pub fn suspects(&self, s: &str) -> bool {
        !self.custom.is_empty() || (suspicion::suspicious(s) && self.anchors.any(s))
    }

    /// Hides what is secret in a record and marks it. `names`: a suspicious field name was seen.
    pub fn apply(&self, rec: &mut Record<'_>) {
        let mut kinds = Vec::new();
        self.text(&mut rec.message, &mut kinds);
        if let Some(e) = &mut rec.exception {
            for t in [&mut e.value, &mut e.traceback].into_iter().flatten() {
                self.text(t, &mut kinds);
            }
            let others = e.others.iter_mut().map(|c| &mut c.value);
            for value in e.chain.iter_mut().map(|(_, value)| value).chain(others) {
                self.text(value, &mut kinds);
            }
        }
        for (name, value) in &mut rec.extra {
            let secret = self.names.find(name.raw());
            self.token(value, secret, &mut kinds);
        }
        let bound = &mut rec.bound;
        for t in [&mut bound.error, &mut bound.fixes, &mut bound.rationale]
            .into_iter()
            .flatten()
        {
            self.text(t, &mut kinds);
        }
        for t in [&mut bound.tags, &mut bound.metadata, &mut bound.context]
            .into_iter()
            .flatten()
        {
            self.token(t, None, &mut kinds);
        }
        for kind in kinds {
            if !rec.marks.redacted.contains(&kind) {
                rec.marks.redacted.push(kind);
            }
        }
    }

    fn text(&self, text: &mut Text<'_>, kinds: &mut Vec<String>) {
        if let Some(hidden) = self.scrub(text.raw(), kinds) {
            text.0 = Cow::Owned(hidden);
        }
    }

    fn token(&self, token: &mut Token<'_>, secret: Option<&str>, kinds: &mut Vec<String>) {
        let before = kinds.len();
        let mut out = String::with_capacity(token.0.len());
        self.rewrite(&token.0, secret, &mut out, kinds);
        if kinds.len() > before {
            token.0 = Cow::Owned(out);
        }
    }

    /// Writes a value with its secrets hidden; every hidden one adds its kind.
    fn rewrite(&self, token: &str, secret: Option<&str>, out: &mut String, kinds: &mut Vec<String>) {
        match token.as_bytes().first() {
            Some(b'"') => {
                let inner = string(token).unwrap_or_default();
                out.push('"');
                match (secret, self.scrub_unless(secret.is_some(), inner, kinds)) {
                    (Some(name), _) if !inner.is_empty() => {
                        mark(name, out);
                        kinds.push(name.to_owned());
                    }
                    (_, Some(hidden)) => out.push_str(&hidden),
                    (_, None) => out.push_str(inner),
                }
                out.push('"');
            }
            Some(b'{') => {
                out.push('{');
                for (i, (name, value)) in members(token).enumerate() {
                    out.push_str(if i == 0 { "\"" } else { ",\"" });
                    out.push_str(name);
                    out.push_str("\":");
                    self.rewrite(value, secret.or_else(|| self.names.find(name)), out, kinds);
                }
                out.push('}');
            }
            Some(b'[') => {
                out.push('[');
                for (i, value) in elements(token).enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    self.rewrite(value, secret, out, kinds);
                }
                out.push(']');
            }
            _ => out.push_str(token),
        }
    }

    fn scrub_unless(&self, hidden_anyway: bool, s: &str, kinds: &mut Vec<String>) -> Option<String> {
        if hidden_anyway { None } else { self.scrub(s, kinds) }
    }

    /// The escaped text with its secrets hidden; `None` if there are none.
    fn scrub(&self, s: &str, kinds: &mut Vec<String>) -> Option<String> {
        let before = kinds.len();
        let mut current = Cow::Borrowed(s);
        if HIDING.iter().any(|h| s.contains(h)) {
            let mut plain = String::with_capacity(s.len());
            escape_into(&unescape(s), &mut plain);
            current = Cow::Owned(plain);
        }
        if let Some(hidden) = self.known(&current, kinds) {
            current = Cow::Owned(hidden);
        }
        for pattern in &self.custom {
            let plain = unescape(&current);
            if let Some(hidden) = custom::hide(pattern, &plain) {
                let mut escaped = String::with_capacity(hidden.len());
                escape_into(&hidden, &mut escaped);
                kinds.push("pattern".to_owned());
                current = Cow::Owned(escaped);
            }
        }
        (kinds.len() > before).then(|| current.into_owned())
    }

    /// Hides the secrets known by their form.
    fn known(&self, s: &str, kinds: &mut Vec<String>) -> Option<String> {
        let mut out = String::new();
        let (mut done, mut from) = (0, 0);
        let mut walk = self.anchors.walk(s);
        while let Some(hit) = walk.find(from) {
            from = hit.end;
            let Some((secret, range)) = self.verify(s, hit.start, hit.anchor) else {
                continue;
            };
            if range.start < done {
                continue;
            }
            out.push_str(s.get(done..range.start).unwrap_or_default());
            mark(secret, &mut out);
            kinds.push(secret.to_owned());
            done = range.end;
            from = from.max(done);
        }
        if done == 0 {
            return None;
        }
        out.push_str(s.get(done..).unwrap_or_default());
        Some(out)
    }

    /// The kind and place of the secret at an anchor, if there is one.
    fn verify(&self, s: &str, at: usize, anchor: usize) -> Option<(&'static str, Range<usize>)> {
        let index = self.owner.get(anchor)?.0?;
        let secret = SECRETS.get(index)?;
        let b = s.as_bytes();
        let at = if secret.back { start_of_word(b, at) } else { at };
        let before = at.checked_sub(1).and_then(|i| b.get(i)).copied().unwrap_or(b' ');
        // The letter of an escape such as `\n` is not part of a word.
        let escape = at.checked_sub(2).and_then(|i| b.get(i)) == Some(&b'\\');
        if !secret.inside && (before.is_ascii_alphanumeric() || before == b'_') && !escape {
            return None;
        }
        let found = self.patterns.get(index)?.captures(s.get(at..)?)?;
        let hidden = found.get(1).or_else(|| found.get(0))?;
        let marked = hidden.as_str().starts_with("[REDACTED:");
        let range = at + hidden.start()..at + hidden.end();
        let before = s.get(..range.start)?;
        (!marked && (secret.check)(before, hidden.as_str())).then_some((secret.kind, range))
    }
}

/// Where the run of characters that tokens consist of begins, in which `at` stands.
fn start_of_word(b: &[u8], at: usize) -> usize {
    let word = |c: &&u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    let start = at - b.iter().take(at).rev().take_while(word).count();
    let backslashes = b.iter().take(start).rev().take_while(|c| **c == b'\\').count();
    // The letter of an escape such as `\n` is not part of a word.
    (start + backslashes % 2).min(at)
}

fn mark(kind: &str, out: &mut String) {
    out.push_str("[REDACTED:");
    escape_into(kind, out);
    out.push(']');
}

#[cfg(test)]
#[path = "tests/redact.rs"]
mod tests;
