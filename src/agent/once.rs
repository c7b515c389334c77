//! How long `run --once` goes on with a store that takes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::RunOptions;
use crate::pipeline::Health;
use crate::pipeline::driver::DriverStatus;
use crate::telemetry::{Counters, get};

/// How often the store is looked at.
const TICK: Duration = Duration::from_millis(100);

/// The store as `--once` sees it while it reads and while it drains.
pub struct Store {
    driver: Arc<Mutex<DriverStatus>>,
    counters: Arc<Counters>,
    /// `None`: the agent goes on for ever.
    patience: Option<Patience>,
    ticks: tokio::time::Interval,
}

impl Store {
    #[must_use]
    pub fn new(options: &RunOptions, driver: Arc<Mutex<DriverStatus>>, counters: Arc<Counters>) -> Store {
        Store {
            driver,
            counters,
            patience: options.once.then(|| Patience::new(options.timeout)),
            ticks: tokio::time::interval(TICK),
        }
    }

    /// Resolves when the store was waited for long enough. May be dropped and called again.
    pub async fn given_up(&mut self) {
        let Some(patience) = &mut self.patience else {
            return std::future::pending().await;
        };
        loop {
            self.ticks.tick().await;
            let health = self.driver.lock().unwrap_or_else(PoisonError::into_inner).health;
            if patience.is_over(health, get(&self.counters.stored), Instant::now()) {
                return;
            }
        }
    }
}

/// Runs out at once where the store refuses, which only a person can mend, and after a time where it is away.
struct Patience {
    timeout: Duration,
    /// Since when it was away without having stored anything. A probe that succeeds proves nothing.
    since: Option<Instant>,
    stored: u64,
}

impl Patience {
    fn new(timeout: Duration) -> Patience {
        Patience {
            timeout,
            since: None,
            stored: 0,
        }
    }

    /// Looks at how the store does, and how many records it has stored; says whether it was waited for long enough.
    fn is_over(&mut self, health: Health, stored: u64, now: Instant) -> bool {
        if stored > self.stored {
            (self.stored, self.since) = (stored, None);
        }
        match health {
            Health::Up => false,
            Health::Refusing => true,
            Health::Away => now.duration_since(*self.since.get_or_insert(now)) >= self.timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_refuses_ends_it_at_once_and_one_that_is_away_after_the_timeout() {
        let (second, t) = (Duration::from_secs(1), Instant::now());
        let mut p = Patience::new(second * 3);
        assert!(!p.is_over(Health::Up, 5, t));
        assert!(!p.is_over(Health::Away, 5, t));
        assert!(
            !p.is_over(Health::Up, 5, t + second),
            "a probe succeeded, but nothing was stored"
        );
        assert!(!p.is_over(Health::Away, 5, t + second * 2));
        assert!(p.is_over(Health::Away, 5, t + second * 3));
        assert!(
            !p.is_over(Health::Away, 6, t + second * 4),
            "something was stored: from the beginning"
        );
        assert!(!p.is_over(Health::Away, 6, t + second * 6));
        assert!(p.is_over(Health::Away, 6, t + second * 7));
        assert!(p.is_over(Health::Refusing, 7, t));
    }
}
