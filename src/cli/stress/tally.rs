//! Counts what arrived: each record's number once, twice or never, and how long it took. Pure.

use std::collections::BTreeMap;

/// What has been seen of `n` records.
#[derive(Debug)]
pub(super) struct Tally {
    /// One bit a record.
    seen: Vec<u64>,
    records: u64,
    distinct: u64,
    duplicated: u64,
    /// Latencies in microseconds, rounded to two digits, with how often.
    latencies: BTreeMap<u64, u64>,
}

impl Tally {
    pub(super) fn new(records: u64) -> Tally {
        Tally {
            seen: vec![0; usize::try_from(records / 64 + 1).unwrap_or(usize::MAX)],
            records,
            distinct: 0,
            duplicated: 0,
            latencies: BTreeMap::new(),
        }
    }

    /// Record `n` was found.
    pub(super) fn see(&mut self, n: u64) {
        let word = usize::try_from(n / 64).ok().and_then(|i| self.seen.get_mut(i));
        let Some(word) = word.filter(|_| n < self.records) else {
            return;
        };
        let bit = 1 << (n % 64);
        if *word & bit == 0 {
            *word |= bit;
            self.distinct += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// A record was found `micros` after it was written.
    pub(super) fn took(&mut self, micros: u64) {
        *self.latencies.entry(two_digits(micros)).or_default() += 1;
    }

    /// Takes over the latencies of another tally of the same records.
    pub(super) fn take_latencies(&mut self, other: Tally) {
        self.latencies = other.latencies;
    }

    pub(super) fn distinct(&self) -> u64 {
        self.distinct
    }

    pub(super) fn duplicated(&self) -> u64 {
        self.duplicated
    }

    pub(super) fn lost(&self) -> u64 {
        self.records - self.distinct
    }

    /// The latency in microseconds below which `percent` of the records lie.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let all: u64 = self.latencies.values().sum();
        let wanted = (all * percent).div_ceil(100);
        let mut below = 0;
        for (micros, n) in &self.latencies {
            below += n;
            if below >= wanted {
                return *micros;
            }
        }
        0
    }
}

/// The two leading digits, rounded up: 12345 → 13000.
fn two_digits(micros: u64) -> u64 {
    let mut scale = 1;
    while micros / scale >= 100 {
        scale *= 10;
    }
    micros.div_ceil(scale) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_came_twice_is_counted_exactly() {
        let mut t = Tally::new(130);
        for n in (0..130).filter(|n| *n != 64) {
            t.see(n);
        }
        t.see(129);
        t.see(1000);
        assert_eq!((t.distinct(), t.lost(), t.duplicated()), (129, 1, 1));
    }

    #[test]
    fn percentiles_are_right_to_two_digits() {
        let mut t = Tally::new(100);
        for n in 1..=100 {
            t.took(n * 1000);
        }
        assert_eq!(t.percentile(50), 50_000);
        assert_eq!(t.percentile(99), 99_000);
        assert_eq!(t.percentile(100), 100_000);
        assert_eq!(two_digits(12_345), 13_000);
        assert_eq!(two_digits(7), 7);
        assert_eq!(Tally::new(1).percentile(50), 0);
    }
}
