//! The status in Prometheus' text format, version 0.0.4.
//!
//! Names and units follow its conventions: base units, `_total` for counters, HELP and TYPE for each. No label takes a
//! value that a log could choose, so that the number of series is fixed; single sources are for `logagent status`.

use std::fmt::Write as _;

use chrono::DateTime;

use super::snapshot::{Snapshot, StoreState};
use super::{Counters, get};

/// Content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// A metric with one label; `values` are fixed words of ours that need no escaping.
    fn labelled(&mut self, name: &str, kind: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, kind, help);
        for (word, value) in values {
            let _ = writeln!(self.0, "{name}{{{label}=\"{word}\"}} {value}");
        }
    }
}

/// The page for one moment. `resident` is the process' resident memory in bytes, where it is known.
#[must_use]
pub fn render(s: &Snapshot, counters: &Counters, resident: Option<u64>) -> String {
    let mut page = Page(String::with_capacity(6000));
    agent(&mut page, s, resident);
    records(&mut page, s, counters);
    let p = &mut page;
    let is = |state: StoreState| u64::from(s.store.state == state);
    p.labelled(
        "logagent_store_state",
        "gauge",
        "1 for the state that the store is in, else 0.",
        "state",
        &[
            ("up", is(StoreState::Up)),
            ("away", is(StoreState::Away)),
            ("refusing", is(StoreState::Refusing)),
        ],
    );
    p.gauge(
        "logagent_spool_records",
        "Records in the durable spool.",
        s.spool.records,
    );
    p.gauge("logagent_spool_bytes", "Bytes in the durable spool.", s.spool.bytes);
    p.gauge(
        "logagent_spool_max_bytes",
        "Bytes that the spool may hold (spool.max_size).",
        s.spool.max_bytes,
    );
    p.gauge(
        "logagent_dead_letters",
        "Records on disk that the store refused for good.",
        s.dead_letters,
    );
    p.gauge(
        "logagent_sources",
        "Files and sockets that are followed.",
        s.sources_total,
    );
    p.gauge(
        "logagent_source_lag_bytes",
        "Bytes of all sources that are not yet read.",
        s.lag_bytes,
    );
    p.gauge("logagent_open_runs", "Runs that have not ended.", s.open_runs);
    p.gauge("logagent_alerts", "Alerts that are raised now.", s.alerts.len() as u64);
    page.0
}

fn agent(p: &mut Page, s: &Snapshot, resident: Option<u64>) {
    p.head("logagent_build_info", "gauge", "Always 1; the label tells the version.");
    let _ = writeln!(
        p.0,
        "logagent_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    let start = DateTime::parse_from_rfc3339(&s.started_at).map_or(0, |t| t.timestamp());
    p.gauge(
        "logagent_start_time_seconds",
        "Start of the agent since the epoch, in seconds.",
        u64::try_from(start).unwrap_or(0),
    );
    if let Some(resident) = resident {
        p.gauge("process_resident_memory_bytes", "Resident memory in bytes.", resident);
    }
}

fn records(p: &mut Page, s: &Snapshot, counters: &Counters) {
    let (r, l) = (&s.records, &s.losses);
    p.counter(
        "logagent_records_read_total",
        "Records read from files and sockets.",
        r.read,
    );
    p.counter(
        "logagent_records_stored_total",
        "Records that the store confirmed.",
        r.stored,
    );
    p.counter(
        "logagent_records_skipped_total",
        "Records that are not worth storing by configuration.",
        r.skipped,
    );
    p.counter("logagent_records_dropped_total", "Records that were lost.", r.dropped);
    p.labelled(
        "logagent_records_marked_total",
        "counter",
        "Records that could not be stored as they were written.",
        "mark",
        &[
            ("unparsed", r.unparsed),
            ("repaired", r.repaired),
            ("truncated", r.truncated),
            ("redacted", r.redacted),
        ],
    );
    p.labelled(
        "logagent_lost_bytes_total",
        "counter",
        "Bytes that could not become part of a record.",
        "reason",
        &[("nul", l.nul_bytes), ("cut", l.cut_bytes), ("unread", l.unread_bytes)],
    );
    p.counter("logagent_blank_lines_total", "Lines without any text.", l.blank_lines);
    p.counter(
        "logagent_copied_lines_total",
        "Lines of copies of files that are stored.",
        l.copied_lines,
    );
    p.counter(
        "logagent_fixes_unmatched_total",
        "Recorded fixes that match no error.",
        l.fix_unmatched,
    );
    p.counter("logagent_read_bytes_total", "Bytes read.", get(&counters.bytes_read));
}

/// Resident memory of this process in bytes, where the system tells it.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_its_help_and_type_and_a_name_by_the_conventions() {
        let s = Snapshot {
            started_at: "2026-11-21T02:20:24.054432Z".into(),
            ..Snapshot::default()
        };
        let page = render(&s, &Counters::default(), Some(4096));
        let mut declared = std::collections::BTreeMap::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(
                    declared.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{name} twice"
                );
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(declared.contains_key(name), "{line}");
                assert!(line.rsplit(' ').next().unwrap().parse::<u64>().is_ok(), "{line}");
            }
        }
        assert!(page.ends_with('\n'));
        assert!(page.contains("logagent_start_time_seconds 1795227624\n"));
        assert!(page.contains("logagent_store_state{state=\"up\"} 1\n"));
        assert!(resident_bytes().is_some_and(|b| b > 0));
    }
}
