//! Runs as scripts make them.

use std::borrow::Cow;

use super::*;
use crate::record::{Bound, Event, Exception, Micros, Record, Text, Token};
use crate::store::{RunUpdate, RunUpdates, Status};

fn sealed(tracker: &mut Tracker) -> Vec<RunUpdate> {
    let mut updates = RunUpdates::default();
    tracker.seal(&mut updates);
    updates.iter().map(|u| u.to_owned()).collect()
}

const HOST: &str = "here";
const START: Micros = 1_795_227_624_042_875;
const SECOND: Micros = 1_000_000;

fn text(s: &str) -> Text<'static> {
    Text(Cow::Owned(s.to_owned()))
}

fn record(pid: i64) -> Record<'static> {
    Record {
        level: Cow::Borrowed("INFO"),
        level_no: 20,
        pid: Some(pid),
        start: Some(START),
        thread_id: Some(1),
        ..Record::default()
    }
}

fn event(pid: i64, event: Event) -> Record<'static> {
    Record {
        bound: Bound {
            event: Some(event),
            ..Bound::default()
        },
        ..record(pid)
    }
}

fn bound(pid: i64, id: &str) -> Record<'static> {
    Record {
        bound: Bound {
            execution_id: Some(text(id)),
            ..Bound::default()
        },
        ..record(pid)
    }
}

fn error(pid: i64) -> Record<'static> {
    let e = Exception {
        kind: Some(text("KeyError")),
        value: Some(text("'id'")),
        ..Exception::default()
    };
    Record {
        level: Cow::Borrowed("ERROR"),
        level_no: 40,
        exception: Some(Box::new(e)),
        ..record(pid)
    }
}

struct World {
    tracker: Tracker,
    time: Micros,
}

impl World {
    fn new() -> World {
        World {
            tracker: Tracker::new(HOST, &[]),
            time: START,
        }
    }

    /// The execution of a record one second later.
    fn say(&mut self, record: &Record<'_>) -> String {
        self.time += SECOND;
        let mut into = Resolved::default();
        self.tracker.resolve(record, "etl", self.time, self.time, &mut into);
        into.execution_id
    }

    fn updates(&mut self) -> Vec<RunUpdate> {
        sealed(&mut self.tracker)
    }

    /// The agent looks and finds all processes gone, everything having been read.
    fn all_gone(&mut self) -> Vec<RunUpdate> {
        self.tracker
            .conclude(self.time, Some(self.time), 3600 * SECOND, |_| Liveness::Gone);
        self.updates()
    }
}

#[test]
fn a_process_has_a_run_without_a_line_of_code() {
    let mut w = World::new();
    let id = w.say(&record(7));
    let (name, rest) = id.split_at("etl_20261121_022024_".len());
    assert_eq!(name, "etl_20261121_022024_");
    assert!(rest.len() == 8 && rest.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert_eq!(w.say(&record(7)), id, "the same for all its records");
    assert_ne!(w.say(&record(8)), id, "a forked child shares the start, not the pid");
    assert_eq!(World::new().say(&record(7)), id, "and again when the state was lost");
}

#[test]
fn only_without_a_process_the_execution_is_unknown() {
    let mut w = World::new();
    assert_eq!(w.say(&Record::default()), "unknown");
    assert!(w.updates().is_empty());
}

#[test]
fn the_first_run_start_declares_the_run_the_process_has() {
    let mut w = World::new();
    let id = w.say(&record(7));
    let mut start = event(7, Event::RunStart);
    start.bound.metadata = Some(Token(Cow::Borrowed("{\"env\":\"staging\"}")));
    assert_eq!(w.say(&start), id);
    let mut end = event(7, Event::RunEnd);
    end.bound.status = Some(text("success"));
    assert_eq!(w.say(&end), id);
    assert_eq!(w.say(&record(7)), id, "records after run_end belong to the run");
    let updates = w.updates();
    assert_eq!(updates.len(), 1);
    let run = &updates[0];
    assert_eq!(run.metadata.as_deref(), Some("{\"env\":\"staging\"}"));
    assert_eq!(
        run.end.as_ref().map(|e| (e.status, e.declared)),
        Some((Status::Success, true))
    );
    assert!(
        w.all_gone().iter().all(|u| u.end.as_ref().is_some_and(|e| e.declared)),
        "an end said stays"
    );
}

#[test]
fn a_second_run_start_in_a_process_is_a_run_of_its_own() {
    let mut w = World::new();
    let first = w.say(&event(7, Event::RunStart));
    w.say(&event(7, Event::RunEnd));
    let second = w.say(&event(7, Event::RunStart));
    assert_ne!(first, second);
    assert_eq!(w.say(&record(7)), second);
    w.say(&event(7, Event::RunEnd));
    assert_eq!(w.say(&record(7)), second, "the run that ended last");
}

#[test]
fn of_several_open_runs_the_one_of_the_same_thread_counts_else_the_newest() {
    let mut w = World::new();
    let start = |id: &str, thread| {
        let mut r = event(7, Event::RunStart);
        r.bound.execution_id = Some(text(id));
        r.thread_id = Some(thread);
        r
    };
    w.say(&start("a", 1));
    w.say(&start("b", 2));
    let on = |thread| Record {
        thread_id: Some(thread),
        ..record(7)
    };
    assert_eq!(w.say(&on(1)), "a");
    assert_eq!(w.say(&on(2)), "b");
    assert_eq!(w.say(&on(3)), "b");
}

#[test]
fn a_bound_execution_id_wins_and_makes_a_run_but_does_not_catch_other_records() {
    let mut w = World::new();
    assert_eq!(w.say(&bound(7, "request-1")), "request-1");
    assert!(w.say(&record(7)).starts_with("etl_"));
    let ids: Vec<String> = w.updates().into_iter().map(|u| u.execution_id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], "request-1");
}

#[test]
fn a_vanished_process_ends_its_runs_by_what_they_said_last() {
    for (records, status) in [
        (vec![record(7)], Status::Ended),
        (vec![event(7, Event::RunStart), record(7)], Status::Crashed),
        (vec![event(7, Event::RunStart), error(7)], Status::Failed),
        (vec![error(7), record(7)], Status::Ended),
    ] {
        let mut w = World::new();
        for r in &records {
            w.say(r);
        }
        let last = w.time;
        w.updates();
        let ends = w.all_gone();
        assert_eq!(ends.len(), 1);
        let end = ends[0].end.as_ref().expect("an end");
        assert_eq!((end.status, end.time, end.declared), (status, last, false));
        assert_eq!(end.error.is_some(), status == Status::Failed);
    }
}

#[test]
fn a_process_is_not_believed_gone_before_everything_it_wrote_was_read() {
    let mut w = World::new();
    w.say(&record(7));
    w.updates();
    let (t, lost) = (w.time, 3600 * SECOND);
    assert_eq!(w.tracker.conclude(t, Some(t - 1), lost, |_| Liveness::Gone), 0);
    assert_eq!(w.tracker.conclude(t + SECOND, Some(t - 1), lost, |_| Liveness::Gone), 0);
    assert_eq!(
        w.tracker
            .conclude(t + 2 * SECOND, Some(t + SECOND), lost, |_| Liveness::Gone),
        1
    );
}

#[test]
fn a_living_process_keeps_its_runs_and_a_run_of_another_host_is_lost_after_a_while() {
    let mut w = World::new();
    w.say(&record(7));
    let mut remote = record(9);
    remote.host = Some(text("there"));
    w.say(&remote);
    w.updates();
    let later = w.time + 7200 * SECOND;
    assert_eq!(
        w.tracker
            .conclude(later, Some(later), 3600 * SECOND, |_| Liveness::Alive),
        1
    );
    let ends = w.updates();
    assert_eq!(ends[0].host.as_deref(), Some("there"));
    assert_eq!(ends[0].end.as_ref().map(|e| e.status), Some(Status::Lost));
}

#[test]
fn an_id_for_every_record_stays_within_bounds_and_every_run_is_concluded() {
    let mut w = World::new();
    let mut seen = std::collections::HashMap::new();
    for i in 0..500 {
        w.say(&bound(7, &format!("request-{i}")));
        if i % 50 == 0 {
            assert!(w.tracker.open_runs() <= BOUND_RUNS + 1);
            seen.extend(w.updates().into_iter().map(|u| (u.execution_id.clone(), u)));
        }
    }
    seen.extend(w.all_gone().into_iter().map(|u| (u.execution_id.clone(), u)));
    assert_eq!(seen.len(), 500);
    assert!(
        seen.values()
            .all(|u| u.end.as_ref().is_some_and(|e| e.status == Status::Ended))
    );
}

#[test]
fn processes_beyond_those_remembered_are_concluded_and_what_was_kept_of_them_is_forgotten() {
    let mut w = World::new();
    let mut kept = std::collections::HashMap::new();
    let mut told = std::collections::HashMap::new();
    let all = 3 * PROCESSES as i64;
    for pid in 1..=all {
        w.say(&record(pid));
        if pid % 700 == 0 || pid == all {
            for (key, value) in w.tracker.keep() {
                match value {
                    Some(value) => drop(kept.insert(key, value)),
                    None => assert!(kept.remove(&key).is_some(), "{key} was never kept"),
                }
            }
            told.extend(w.updates().into_iter().map(|u| (u.execution_id.clone(), u)));
        }
    }
    assert!(kept.len() <= PROCESSES && kept.len() > PROCESSES / 2, "{}", kept.len());
    assert_eq!(told.len() as i64, all);
    let open = told.values().filter(|u| u.end.is_none()).count();
    assert_eq!((open, w.tracker.open_runs()), (kept.len(), kept.len()));
}

#[test]
fn runs_and_updates_leave_no_trace_in_those_that_take_their_place() {
    let told = |in_place: bool| {
        let mut w = World::new();
        let mut all = Vec::new();
        let mut updates = RunUpdates::default();
        for i in 0..400 {
            let mut record = match i % 3 {
                0 => error(7),
                1 => event(8, Event::RunStart),
                _ => bound(7, ""),
            };
            record.bound.execution_id = Some(text(&format!("request-{}", "x".repeat(i % 41))));
            record.bound.script_name = (i % 5 > 0).then(|| text(&"s".repeat(1 + i % 7)));
            record.bound.metadata = (i % 4 == 0).then(|| Token(Cow::Owned(format!(r#"{{"i":{i}}}"#))));
            record.host = (i % 11 == 0).then(|| text("elsewhere"));
            w.say(&record);
            if i % 37 == 0 {
                if in_place {
                    updates.clear();
                } else {
                    updates = RunUpdates::default();
                }
                w.tracker.seal(&mut updates);
                all.extend(updates.iter().map(|u| u.to_owned()));
            }
        }
        all.extend(w.all_gone());
        all
    };
    assert_eq!(told(true), told(false));
}

#[test]
fn what_is_kept_restores_the_tracker() {
    let mut w = World::new();
    let id = w.say(&event(7, Event::RunStart));
    let kept: Vec<(String, Vec<u8>)> = w
        .tracker
        .keep()
        .into_iter()
        .filter_map(|(k, v)| v.map(|v| (k, v)))
        .collect();
    let mut again = World {
        tracker: Tracker::new(HOST, &kept),
        time: w.time,
    };
    assert_eq!(again.tracker.open_runs(), 1);
    assert_eq!(again.say(&record(7)), id);
    assert_eq!(
        again.all_gone()[0].end.as_ref().map(|e| e.status),
        Some(Status::Crashed)
    );
}

#[test]
fn records_read_again_after_a_crash_belong_to_the_runs_they_opened() {
    let mut w = World::new();
    let begun = w.time;
    let records = [
        event(7, Event::RunStart),
        record(7),
        event(7, Event::RunEnd),
        event(7, Event::RunStart),
        record(7),
    ];
    let first: Vec<String> = records.iter().map(|r| w.say(r)).collect();
    let kept: Vec<_> = w
        .tracker
        .keep()
        .into_iter()
        .filter_map(|(k, v)| v.map(|v| (k, v)))
        .collect();
    let mut again = World {
        tracker: Tracker::new(HOST, &kept),
        time: begun,
    };
    let second: Vec<String> = records.iter().map(|r| again.say(r)).collect();
    assert_eq!(first, second, "each record belongs to the run that it belonged to");
    let ends: Vec<_> = again.updates().into_iter().map(|u| (u.execution_id, u.end)).collect();
    for (id, end) in ends {
        assert_eq!(
            end.is_some(),
            id == first[0],
            "the run that was open is not ended by the end of the one before"
        );
    }
}

#[test]
fn a_record_from_a_second_file_belongs_to_the_run_that_was_open_at_its_time() {
    let mut w = World::new();
    let first = w.say(&event(7, Event::RunStart));
    let within = w.time + 1;
    w.say(&event(7, Event::RunEnd));
    let second = w.say(&event(7, Event::RunStart));
    let mut into = Resolved::default();
    w.tracker.resolve(&record(7), "etl_debug", within, w.time, &mut into);
    assert_eq!(into.execution_id, first);
    assert_eq!(w.say(&record(7)), second);
}

#[test]
fn a_clock_that_is_set_back_does_not_take_records_out_of_their_run() {
    let mut w = World::new();
    let id = w.say(&event(7, Event::RunStart));
    w.time -= 3600 * SECOND;
    assert_eq!(w.say(&record(7)), id);
}

#[test]
fn a_run_that_was_given_up_and_is_heard_of_again_goes_on_and_is_concluded_anew() {
    let mut w = World::new();
    let shell = Record {
        pid: None,
        start: None,
        ..bound(7, "backup-1")
    };
    w.say(&shell);
    w.updates();
    assert!(w.all_gone().is_empty(), "not before its time");
    w.time += 3600 * SECOND;
    let end = |updates: &[RunUpdate]| updates.first().and_then(|u| u.end.as_ref().map(|e| e.status));
    assert_eq!(end(&w.all_gone()), Some(Status::Lost));
    w.say(&shell);
    let back = w.updates();
    assert_eq!((back.len(), end(&back)), (1, None), "said at once");
    w.time += 3600 * SECOND;
    assert_eq!(end(&w.all_gone()), Some(Status::Lost));
}

#[test]
fn a_late_record_of_a_process_that_is_gone_counts_for_how_its_run_ended() {
    let mut w = World::new();
    w.say(&record(7));
    w.all_gone();
    w.say(&error(7));
    let ends = w.all_gone();
    let end = ends.last().and_then(|u| u.end.clone()).expect("an end");
    assert_eq!((end.status, end.time), (Status::Failed, w.time));
}

#[test]
fn a_process_that_writes_after_it_was_found_gone_lives_where_nobody_sees_it() {
    let mut w = World::new();
    let timed = |w: &mut World, r: Record<'static>| {
        let time = Some(w.time + SECOND);
        w.say(&Record { time, ..r })
    };
    timed(&mut w, record(7));
    w.tracker.conclude(w.time, None, 3600 * SECOND, |_| Liveness::Gone);
    timed(&mut w, record(7));
    w.updates();
    assert!(w.all_gone().is_empty(), "neither ended nor lost while it writes");
    w.time += 3600 * SECOND;
    assert_eq!(w.all_gone()[0].end.as_ref().map(|e| e.status), Some(Status::Lost));
}

#[test]
fn how_a_process_ended_is_kept_until_the_store_was_told() {
    let mut w = World::new();
    w.say(&event(7, Event::RunStart));
    let _ = (w.updates(), w.tracker.keep());
    w.tracker
        .conclude(w.time, Some(w.time), 3600 * SECOND, |_| Liveness::Gone);
    w.tracker.told();
    let kept = w.tracker.keep();
    let [(key, Some(bytes))] = &kept[..] else {
        panic!("kept while the store may not know it: {kept:?}")
    };
    let mut again = Tracker::new(HOST, &[(key.clone(), bytes.clone())]);
    let said = sealed(&mut again);
    assert_eq!(
        said[0].end.as_ref().map(|e| e.status),
        Some(Status::Crashed),
        "said again"
    );
    again.told();
    assert_eq!(again.keep(), [(key.clone(), None)], "and then forgotten");
}

#[test]
fn a_run_that_nobody_names_is_unknown_and_its_records_name_no_script() {
    let mut tracker = Tracker::new(HOST, &[]);
    let mut into = Resolved::default();
    tracker.resolve(&bound(7, "session-1"), "", START, START, &mut into);
    assert_eq!((into.execution_id.as_str(), into.script_name), ("session-1", None));
    assert_eq!(sealed(&mut tracker)[0].script_name, "unknown");
}

#[test]
fn a_flat_record_with_a_recycled_pid_starts_a_new_run() {
    let mut w = World::new();
    let flat = Record {
        start: None,
        ..record(7)
    };
    let first = w.say(&flat);
    w.all_gone();
    assert_ne!(w.say(&flat), first);
}

#[test]
fn a_remark_about_a_run_neither_opens_it_nor_makes_it_longer() {
    let mut tracker = Tracker::new(HOST, &[]);
    let remark = |id: &str| Record {
        bound: Bound {
            execution_id: Some(text(id)),
            event: Some(Event::Learning),
            ..Bound::default()
        },
        ..Record::default()
    };
    let mut into = Resolved::default();
    tracker.resolve(&remark("yesterday"), "", START, START, &mut into);
    assert_eq!((into.execution_id.as_str(), &into.script_name), ("yesterday", &None));
    assert_eq!(tracker.open_runs(), 0);
    assert!(sealed(&mut tracker).is_empty());
    let shell = Record {
        bound: Bound {
            execution_id: Some(text("backup_1")),
            script_name: Some(text("backup")),
            ..Bound::default()
        },
        ..Record::default()
    };
    tracker.resolve(&shell, "", START, START, &mut into);
    let _ = sealed(&mut tracker);
    tracker.resolve(&remark("backup_1"), "", START + 60 * SECOND, START, &mut into);
    assert_eq!(
        into.script_name.as_deref(),
        Some("backup"),
        "the script of the run it is about"
    );
    assert!(sealed(&mut tracker).is_empty());
}

#[test]
fn when_a_process_falls_silent_the_store_hears_of_its_last_record() {
    let mut w = World::new();
    w.say(&record(7));
    assert_eq!(w.updates().len(), 1);
    for _ in 0..3 {
        w.say(&record(7));
        assert!(w.updates().is_empty(), "not of each record");
    }
    let last = w.time;
    w.tracker.catch_up(last + SECOND);
    assert!(w.updates().is_empty(), "there may be more to come");
    w.tracker.catch_up(last + 3 * SECOND);
    assert!(w.tracker.has_updates());
    let updates = w.updates();
    assert_eq!((updates.len(), updates[0].last_seen), (1, last));
    w.tracker.catch_up(last + 9 * SECOND);
    assert!(w.updates().is_empty(), "once is enough");
}
