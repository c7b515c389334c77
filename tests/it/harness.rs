//! What the integration tests share.

use std::time::{Duration, Instant};

/// Polls `probe` until it yields something; panics with `what` after 30 s.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(t) = probe() {
            return t;
        }
        assert!(Instant::now() < deadline, "waited 30 s in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn eventually_returns_what_the_probe_yields() {
    let mut n = 0;
    let got = eventually("three", || {
        n += 1;
        (n == 3).then_some(n)
    });
    assert_eq!(got, 3);
}
