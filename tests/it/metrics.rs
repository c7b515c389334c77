//! The metrics page, as a scraper reads it.

use std::path::Path;

use logagent::telemetry::snapshot::Snapshot;
use logagent::telemetry::{Counters, prometheus};

#[test]
fn the_metrics_page_is_left_for_promtool() {
    let snapshot = Snapshot {
        started_at: "2026-11-21T02:20:24.054432Z".into(),
        ..Snapshot::default()
    };
    let page = prometheus::render(&snapshot, &Counters::default(), prometheus::resident_bytes());
    // scripts/test hands it to promtool.
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt"), &page).unwrap();
    assert!(page.lines().count() > 60);
}
