//! Overload: how long requests wait in the server's queue, and how long they may.
//!
//! Every answer says in `x-arango-queue-time-seconds` how long the request that the server took last had waited. A
//! request may name a limit in a header of the same name; a server that waits longer answers 412 (error 21004) at once
//! instead of keeping the request. That limit is half of the time-out here: who would give up on the answer must not
//! leave the request behind, to be done for nobody by a server that is too slow already, and then a second time. 412 is
//! a passing failure, so the batch comes again after the back-off, and that is all the shedding there is.
//!
//! What the answers say is kept, and told when it becomes, or ceases to be, worth knowing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

pub static HEADER: HeaderName = HeaderName::from_static("x-arango-queue-time-seconds");

/// A wait that is worth a warning.
const LONG: Duration = Duration::from_secs(1);
/// Below this the warning is taken back.
const SHORT: Duration = Duration::from_millis(200);

/// What one client knows of the queue.
pub struct Queue {
    limit: HeaderValue,
    /// Microseconds.
    last: AtomicU64,
    /// 1 after a warning.
    long: AtomicU64,
}

impl Queue {
    /// For requests that are given up after `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> Queue {
        // The server takes seconds, and reads 0 as no limit.
        let limit = format!("{:.3}", (timeout / 2).as_secs_f64().max(0.001));
        Queue {
            limit: HeaderValue::from_str(&limit).unwrap_or(HeaderValue::from_static("30")),
            last: AtomicU64::new(0),
            long: AtomicU64::new(0),
        }
    }

    /// The header's value for a request.
    #[must_use]
    pub fn limit(&self) -> HeaderValue {
        self.limit.clone()
    }

    /// How long the request that the server took last had waited, as its latest answer says.
    #[must_use]
    pub fn last(&self) -> Duration {
        Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// Takes down what an answer says. Answers of proxies say nothing.
    pub fn note(&self, headers: &HeaderMap) {
        let said = headers.get(&HEADER).and_then(|v| v.to_str().ok());
        let Some(waited) = said.and_then(|v| v.trim().parse::<f64>().ok()) else {
            return;
        };
        let Ok(waited) = Duration::try_from_secs_f64(waited) else {
            return;
        };
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.last.store(micros, Ordering::Relaxed);
        if waited >= LONG {
            if self.long.swap(1, Ordering::Relaxed) == 0 {
                tracing::warn!(?waited, "the server is overloaded: requests wait in its queue");
            }
        } else if waited < SHORT && self.long.swap(0, Ordering::Relaxed) == 1 {
            tracing::info!("requests no longer wait in the server's queue");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_half_the_time_out_and_never_the_zero_that_means_none() {
        assert_eq!(Queue::new(Duration::from_secs(60)).limit(), "30.000");
        assert_eq!(Queue::new(Duration::ZERO).limit(), "0.001");
    }

    #[test]
    fn what_an_answer_says_is_kept_and_nonsense_is_passed_over() {
        let queue = Queue::new(Duration::from_secs(1));
        let mut headers = HeaderMap::new();
        for (value, kept) in [
            ("0.25", 0.25),
            ("soon", 0.25),
            ("-1", 0.25),
            ("NaN", 0.25),
            ("2", 2.0),
            ("0", 0.0),
        ] {
            headers.insert(HEADER.clone(), HeaderValue::from_str(value).unwrap());
            queue.note(&headers);
            assert_eq!(queue.last(), Duration::from_secs_f64(kept), "{value}");
        }
    }
}
