//! Reciprocal-rank fusion: several rankings of the same things become one.
//!
//! A thing at rank `r` of a ranking gets `weight / (60 + r)`; what a ranking does not know gets nothing from it. Only
//! ranks count, so that scores of different kinds (BM25, cosine, time) never have to be compared. Equals share a rank.

use std::collections::HashMap;
use std::hash::Hash;

/// The usual constant: how little the first places stand out.
const K: f64 = 60.0;

/// Sums of reciprocal ranks.
pub struct Fused<T>(HashMap<T, f64>);

impl<T> Default for Fused<T> {
    fn default() -> Fused<T> {
        Fused(HashMap::new())
    }
}

impl<T: Eq + Hash> Fused<T> {
    /// Adds a ranking: the greater a value, the better.
    pub fn rank(&mut self, weight: f64, values: impl IntoIterator<Item = (T, f64)>) {
        let mut order: Vec<(T, f64)> = values.into_iter().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut rank, mut last) = (0, None);
        for (i, (thing, value)) in order.into_iter().enumerate() {
            if last != Some(value) {
                rank = i + 1;
                last = Some(value);
            }
            *self.0.entry(thing).or_default() += weight / (K + rank as f64);
        }
    }

    /// What a thing has come to.
    #[must_use]
    pub fn score(&self, thing: &T) -> f64 {
        self.0.get(thing).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_rankings_place_high_wins_over_what_one_places_first() {
        let mut fused = Fused::default();
        fused.rank(1.0, [("a", 9.0), ("b", 8.0), ("x", 7.0), ("y", 6.0), ("c", 1.0)]);
        fused.rank(1.0, [("c", 9.0), ("b", 8.0)]);
        assert!(fused.score(&"b") > fused.score(&"c") && fused.score(&"c") > fused.score(&"a"));
        assert!((fused.score(&"a") - 1.0 / 61.0).abs() < 1e-12);
        assert!(fused.score(&"d").abs() < 1e-12);
    }

    #[test]
    fn equals_share_a_rank() {
        let mut fused = Fused::default();
        fused.rank(1.0, [("a", 1.0), ("b", 1.0), ("c", 0.5)]);
        assert!((fused.score(&"a") - fused.score(&"b")).abs() < 1e-12);
        assert!((fused.score(&"c") - 1.0 / 63.0).abs() < 1e-12);
    }
}
