//! Names of fields whose values are secret, however they are written: `redact.fields`.

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::text::unescape;

/// One name of `redact.fields`.
#[derive(Debug)]
struct Name {
    /// As configured.
    field: String,
    /// In lower case, without separators.
    joined: Vec<u8>,
}

/// Which letters a name has, one bit each; digits and separators share bits with some.
#[derive(Clone, Copy, Debug)]
struct Letters(u32);

impl Letters {
    /// The bit that backslashes have.
    const BACKSLASH: Letters = Letters(1 << (b'\\' & 31));

    #[inline]
    fn of(name: &[u8]) -> Letters {
        Letters(name.iter().fold(0, |set, b| set | 1 << (b & 31)))
    }

    #[inline]
    fn contains(self, other: Letters) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The names of fields whose values are secret.
#[derive(Debug)]
pub(super) struct Names {
    rules: Vec<Name>,
    /// Letters of each rule, side by side.
    letters: Vec<Letters>,
    /// Bytes of the shortest rule.
    shortest: usize,
    /// Tells these names from others, in what is remembered of objects that were searched for them.
    pub id: u64,
    /// Hashes of names that match no rule: records have the same few names again and again.
    clean: Box<[AtomicU64; CLEAN]>,
}

/// Names that are remembered at once, a power of two.
const CLEAN: usize = 128;

impl Names {
    pub fn new(fields: &[String]) -> Names {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let name = |field: &String| {
            let joined: Vec<u8> = field.bytes().filter(u8::is_ascii_alphanumeric).collect();
            Name {
                field: field.clone(),
                joined: joined.to_ascii_lowercase(),
            }
        };
        let rules: Vec<Name> = fields.iter().map(name).filter(|n| !n.joined.is_empty()).collect();
        let shortest = rules.iter().map(|r| r.joined.len()).min().unwrap_or(usize::MAX);
        let letters = rules.iter().map(|r| Letters::of(&r.joined)).collect();
        Names {
            rules,
            letters,
            shortest,
            id: IDS.fetch_add(1, Ordering::Relaxed),
            clean: Box::new(std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// Whether an (escaped) field name could match. Quick, and on the safe side: a name that lacks a letter of a rule
    /// does not match it.
    fn suspects(&self, name: &str) -> bool {
        let letters = Letters::of(name.as_bytes());
        letters.contains(Letters::BACKSLASH) || self.letters.iter().any(|r| letters.contains(*r))
    }

    /// The rule that an (escaped) field name matches.
    #[inline]
    pub fn find(&self, name: &str) -> Option<&str> {
        if name.len() < self.shortest {
            return None;
        }
        let hash = xxh3_64(name.as_bytes());
        let slot = self.clean.get(hash as usize % CLEAN)?;
        if slot.load(Ordering::Relaxed) == hash {
            return None;
        }
        let hit = self.search(name);
        if hit.is_none() {
            slot.store(hash, Ordering::Relaxed);
        }
        hit
    }

    #[inline(never)]
    fn search(&self, name: &str) -> Option<&str> {
        if !self.suspects(name) {
            return None;
        }
        let plain = unescape(name);
        let b = plain.as_bytes();
        let hit = self.rules.iter().find(|r| spells(b, &r.joined));
        hit.map(|r| r.field.as_str())
    }
}

/// Whether `rule` is spelt by whole words somewhere in a name.
fn spells(b: &[u8], rule: &[u8]) -> bool {
    let Some(first) = rule.first() else {
        return false;
    };
    let starts = b.iter().enumerate().filter(|(_, c)| c.to_ascii_lowercase() == *first);
    starts.map(|(i, _)| i).any(|i| border(b, i) && matches_at(b, i, rule))
}

/// Whether `rule` is spelt by whole words from `at` on.
fn matches_at(b: &[u8], at: usize, rule: &[u8]) -> bool {
    let mut i = at;
    for r in rule {
        while i > at && b.get(i).is_some_and(|c| !c.is_ascii_alphanumeric()) {
            i += 1;
        }
        if b.get(i).map(u8::to_ascii_lowercase) != Some(*r) {
            return false;
        }
        i += 1;
    }
    border(b, i)
}

/// Whether a word begins or ends between `at - 1` and `at`.
fn border(b: &[u8], at: usize) -> bool {
    let (Some(left), Some(right)) = (at.checked_sub(1).and_then(|i| b.get(i)), b.get(at)) else {
        return true;
    };
    let next_lower = b.get(at + 1).is_some_and(u8::is_ascii_lowercase);
    !left.is_ascii_alphanumeric()
        || !right.is_ascii_alphanumeric()
        || left.is_ascii_digit() != right.is_ascii_digit()
        || (left.is_ascii_lowercase() && right.is_ascii_uppercase())
        || (left.is_ascii_uppercase() && right.is_ascii_uppercase() && next_lower)
}
