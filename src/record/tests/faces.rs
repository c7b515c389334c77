use super::super::format_time;
use super::super::time::Clock;
use super::*;
use crate::config::NaiveTime;

/// The second in which the lines of these tests are read: 2026-11-30T20:00:00Z.
const NOW: i64 = 1_796_068_800_000_000;

fn clock() -> Clock {
    Clock {
        naive: NaiveTime::Utc,
        now: NOW,
    }
}

fn read(text: &str) -> Option<(String, &str)> {
    let (stamp, len) = stamp(text.as_bytes())?;
    let instant = stamp.instant(clock())?;
    Some((format_time(instant), &text[len..]))
}

#[test]
fn every_common_form_of_a_time_is_read_with_what_follows_left_alone() {
    for (text, expected, rest) in [
        ("30/Nov/2026:19:15:12 +0100] x", "2026-11-30T18:15:12.000000Z", "] x"),
        ("30/Nov/2026 19:15:12] x", "2026-11-30T19:15:12.000000Z", "] x"),
        ("30-Nov-2026 19:15:12 UTC] PHP", "2026-11-30T19:15:12.000000Z", "] PHP"),
        (
            "30-Nov-2026 19:15:12.034 SEVERE",
            "2026-11-30T19:15:12.034000Z",
            " SEVERE",
        ),
        ("30 Nov 2026 19:15:12.034 # x", "2026-11-30T19:15:12.034000Z", " # x"),
        ("30.11.2026 19:15:12 x", "2026-11-30T19:15:12.000000Z", " x"),
        ("11/30/2026 07:15:12 PM x", "2026-11-30T19:15:12.000000Z", " x"),
        ("11/30/2026 19:15:12 x", "2026-11-30T19:15:12.000000Z", " x"),
        ("30/11/2026 19:15:12 x", "2026-11-30T19:15:12.000000Z", " x"),
        ("1/2/2026 12:00:01 AM x", "2026-01-02T00:00:01.000000Z", " x"),
        ("Nov 30 19:15:12 web1", "2026-11-30T19:15:12.000000Z", " web1"),
        ("Nov  3 19:15:12 web1", "2026-11-03T19:15:12.000000Z", " web1"),
        ("Dec 24 19:15:12 web1", "2025-12-24T19:15:12.000000Z", " web1"),
        ("Feb 29 19:15:12 web1", "2024-02-29T19:15:12.000000Z", " web1"),
        (
            "Mon Nov 30 19:15:12.034567 2026] x",
            "2026-11-30T19:15:12.034567Z",
            "] x",
        ),
        ("Mon Nov 30 19:15:12 CET 2026 x", "2026-11-30T18:15:12.000000Z", " x"),
        ("Mon, 30 Nov 2026 19:15:12 +0100 x", "2026-11-30T18:15:12.000000Z", " x"),
        (
            "Mon Nov 30 2026 19:15:12 GMT+0100 (CET)",
            "2026-11-30T18:15:12.000000Z",
            " (CET)",
        ),
        (
            "Nov 30, 2026 7:15:12 PM com.acme",
            "2026-11-30T19:15:12.000000Z",
            " com.acme",
        ),
        ("20261130 19:15:12.034 x", "2026-11-30T19:15:12.034000Z", " x"),
        ("20261130T191512Z", "2026-11-30T19:15:12.000000Z", ""),
        ("2026-11-30:19:15:12,034 ERROR", "2026-11-30T19:15:12.034000Z", " ERROR"),
    ] {
        assert_eq!(read(text), Some((expected.to_owned(), rest)), "{text}");
    }
}

#[test]
fn what_could_be_another_day_or_no_time_at_all_is_none() {
    for text in [
        "03/04/2026 19:15:12",
        "20261121022024",
        "20261121",
        "123 456",
        "May the force",
        "Mon petit",
        "March 2026",
        "Sunday 12",
        "32/Nov/2026:19:15:12",
        "Nov 31 19:15:12",
        "12 monkeys",
        "1.2.3",
        "11/30/2026",
        "Nov 30, 19:15:12",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn a_time_without_a_year_is_none_where_the_time_of_reading_is_not_known() {
    let (stamp, _) = stamp(b"Nov 30 19:15:12").unwrap();
    assert_eq!(stamp.instant(Clock { now: 0, ..clock() }), None);
}

#[test]
fn explicit_offsets_are_used_in_any_spelling() {
    for (text, expected) in [
        (
            "2026-11-21T02:20:24.054+01:00[Europe/Paris]",
            "2026-11-21T01:20:24.054000Z",
        ),
        ("2026-11-21T02:20:24Z[UTC]", "2026-11-21T02:20:24.000000Z"),
        ("2026-11-21 02:20:24.054 CET", "2026-11-21T01:20:24.054000Z"),
        (
            "2026-11-21 02:20:24.054432 +0100 CET m=+0.01",
            "2026-11-21T01:20:24.054432Z",
        ),
        ("2026-11-21 02:20:24 CST", "2026-11-21T02:20:24.000000Z"),
        (
            "Mon Nov 30 2026 19:15:12 GMT+0100 (Central European Standard Time)",
            "2026-11-30T18:15:12.000000Z",
        ),
        ("2026-11-30 19:15:12 -0500", "2026-12-01T00:15:12.000000Z"),
        ("2026-11-30 19:15:12 +05:45", "2026-11-30T13:30:12.000000Z"),
    ] {
        assert_eq!(
            super::super::time::written(text, clock()).map(format_time).as_deref(),
            Some(expected),
            "{text}"
        );
    }
}

#[test]
fn no_zone_is_invented_from_a_number_behind_a_time() {
    for rest in [
        " -12 C outside",
        " -12 °C",
        " +1234567 bytes",
        " -1200.5",
        " -1217 left",
        " +15 more",
        " +2500 x",
        " IT works",
        "-x",
    ] {
        let text = format!("2026-11-30 19:15:12{rest}");
        assert_eq!(
            read(&text),
            Some(("2026-11-30T19:15:12.000000Z".to_owned(), rest)),
            "{text}"
        );
    }
}
