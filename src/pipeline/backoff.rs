//! Exponential back-off with full jitter: a wait is uniform between zero and a bound that doubles.

use std::time::Duration;

/// One back-off for the store, not one per request.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    #[must_use]
    pub fn new(initial: Duration, max: Duration) -> Backoff {
        Backoff {
            initial,
            max,
            bound: initial.min(max),
        }
    }

    /// The next wait. `random` is uniform over all of `u64`.
    pub fn next(&mut self, random: u64) -> Duration {
        let wait = jitter(self.bound, random);
        self.bound = (self.bound * 2).min(self.max);
        wait
    }

    /// Forgets past failures.
    pub fn reset(&mut self) {
        self.bound = self.initial.min(self.max);
    }
}

/// A uniform part of `bound`.
#[must_use]
pub fn jitter(bound: Duration, random: u64) -> Duration {
    bound.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_start_again_after_a_reset() {
        let mut b = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));
        let bounds = [(); 4].map(|()| b.next(u64::MAX).as_secs_f64().mul_add(10.0, 0.5) as u64);
        assert_eq!(bounds, [5, 10, 20, 20]);
        b.reset();
        assert!(b.next(u64::MAX) <= Duration::from_millis(500));
    }

    #[test]
    fn a_wait_lies_anywhere_between_zero_and_its_bound() {
        let mut b = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(b.next(0), Duration::ZERO);
        assert_eq!(b.next(1 << 63), Duration::from_millis(500));
    }
}
