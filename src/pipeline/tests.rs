//! The decisions of the pipeline, alone and under random schedules against a naive model.
//!
//! A failing schedule prints its seed; `LOGAGENT_TEST_SEED=N cargo test --lib pipeline` replays that one alone.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::*;
use crate::config;
use crate::pipeline::durability::Settled;
use crate::pipeline::durability::tests::Weak;
use crate::pipeline::ledger::{By, Ledger, Progress};
use crate::source::Cursor;
use crate::state::Change;

fn core(when_full: config::WhenFull) -> Core {
    Core::new(
        &config::Batch {
            max_records: 10,
            max_bytes: 1000,
            flush_interval: Duration::from_secs(2),
            in_flight: 2,
        },
        &config::Retry {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(60),
        },
        &config::Spool {
            max_size: 1000,
            when_full,
        },
    )
}

fn waiting() -> View {
    View {
        live: true,
        spool_room: true,
        ..View::default()
    }
}

fn away() -> WriteError {
    WriteError::Away("connection refused".into())
}

#[test]
fn what_waits_is_sent_at_once_and_never_more_than_in_flight() {
    let mut core = core(config::WhenFull::Block);
    let now = Instant::now();
    assert_eq!(core.act(now, &waiting()), Some(Action::SendLive));
    assert_eq!(core.act(now, &waiting()), Some(Action::SendLive));
    assert_eq!(core.act(now, &waiting()), None);
    core.finished(Action::SendLive, Outcome::Stored, now, 0);
    assert_eq!(core.act(now, &waiting()), Some(Action::SendLive));
}

#[test]
fn a_batch_that_is_being_filled_is_not_sent_and_holds_up_nothing_else() {
    let mut core = core(config::WhenFull::Block);
    let now = Instant::now();
    let view = View {
        filling: true,
        ..waiting()
    };
    assert_eq!(core.act(now, &view), None);
    assert_eq!(core.act(now, &View { held: 1, ..view }), Some(Action::SendHeld));
    assert_eq!(
        core.act(now, &View { spooled: true, ..view }),
        Some(Action::SendSpooled)
    );
    core.finished(Action::SendHeld, Outcome::Stored, now, 0);
    assert_eq!(core.act(now, &waiting()), Some(Action::SendLive));
}

#[test]
fn spooled_and_live_batches_take_turns() {
    let mut core = core(config::WhenFull::Block);
    let now = Instant::now();
    let view = View {
        spooled: true,
        ..waiting()
    };
    let mut lanes = Vec::new();
    for _ in 0..6 {
        let action = core.act(now, &view).expect("a slot is free");
        lanes.push(action);
        core.finished(action, Outcome::Stored, now, 0);
    }
    let spooled = lanes.iter().filter(|a| **a == Action::SendSpooled).count();
    assert_eq!(spooled, 3, "{lanes:?}");
}

#[test]
fn while_the_store_is_away_it_is_probed_within_every_second_and_files_wait() {
    let mut core = core(config::WhenFull::Block);
    let mut now = Instant::now();
    let action = core.act(now, &waiting()).expect("send");
    core.finished(action, Outcome::Failed(away()), now, u64::MAX);
    let view = View { held: 1, ..waiting() };
    assert_eq!(core.room(&view), Room::Fragile);
    for _ in 0..50 {
        assert_eq!(core.act(now, &view), None);
        let at = core.wake_at().expect("a next try");
        assert!(at - now <= Duration::from_secs(1));
        now = at;
        assert_eq!(core.act(now, &view), Some(Action::Probe));
        core.finished(Action::Probe, Outcome::ProbeFailed(away()), now, u64::MAX);
    }
    now = core.wake_at().expect("a next try");
    assert_eq!(core.act(now, &view), Some(Action::Probe));
    core.finished(Action::Probe, Outcome::ProbeSucceeded, now, 0);
    assert_eq!(core.act(now, &view), Some(Action::SendHeld));
    assert_eq!(core.act(now, &view), None, "one batch goes first and decides");
    core.finished(Action::SendHeld, Outcome::Stored, now, 0);
    assert_eq!(core.room(&view), Room::All);
}

#[test]
fn batches_that_fail_although_probes_succeed_are_tried_with_exponential_waits() {
    let mut core = core(config::WhenFull::Block);
    let mut now = Instant::now();
    let view = View { held: 1, ..waiting() };
    let action = core.act(now, &view).expect("send");
    core.finished(action, Outcome::Failed(away()), now, u64::MAX);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let at = core.wake_at().expect("a next try");
        waits.push((at - now).as_millis());
        now = at;
        assert_eq!(core.act(now, &view), Some(Action::Probe));
        core.finished(Action::Probe, Outcome::ProbeSucceeded, now, u64::MAX);
        assert_eq!(core.act(now, &view), Some(Action::SendHeld));
        core.finished(Action::SendHeld, Outcome::Failed(away()), now, u64::MAX);
    }
    assert!(waits.is_sorted() && *waits.last().expect("waits") > 20_000, "{waits:?}");
}

#[test]
fn a_refusal_is_tried_again_every_retry_max() {
    let mut core = core(config::WhenFull::Block);
    let now = Instant::now();
    let action = core.act(now, &waiting()).expect("send");
    core.finished(action, Outcome::Failed(WriteError::Refused("401".into())), now, 7);
    assert_eq!(core.health(), Health::Refusing);
    assert_eq!(core.wake_at(), Some(now + Duration::from_secs(60)));
}

#[test]
fn fragile_data_is_spooled_while_the_store_is_away_and_not_before() {
    let mut core = core(config::WhenFull::Block);
    let now = Instant::now();
    let view = View {
        fragile: true,
        ..waiting()
    };
    let action = core.act(now, &view).expect("send");
    assert_eq!(action, Action::SendLive);
    core.finished(action, Outcome::Failed(away()), now, 0);
    assert_eq!(core.act(now, &view), Some(Action::Spool));
}

#[test]
fn a_full_spool_blocks_or_gives_up_its_oldest_as_configured() {
    for (when_full, action, room) in [
        (config::WhenFull::Block, None, Room::None),
        (config::WhenFull::DropOldest, Some(Action::DropOldest), Room::Fragile),
    ] {
        let mut core = core(when_full);
        let now = Instant::now();
        let view = View {
            fragile: true,
            spool_room: false,
            ..waiting()
        };
        let sent = core.act(now, &view).expect("send");
        core.finished(sent, Outcome::Failed(away()), now, u64::MAX);
        assert_eq!(core.act(now, &view), action);
        assert_eq!(core.room(&view), room);
    }
}

/// A batch: its ticket and its records.
type Load = (u64, std::ops::Range<u64>);

/// A naive world around the core: one stream, a store that comes and goes, a spool, and crashes.
struct World {
    random: u64,
    now: Instant,
    core: Core,
    ledger: Ledger,
    /// Records made, and how many of them were taken into batches.
    made: u64,
    read: u64,
    fragile: bool,
    /// Batches as record ranges, by ticket.
    held: VecDeque<Load>,
    flying: Vec<(Action, Option<Load>)>,
    spool: VecDeque<std::ops::Range<u64>>,
    /// Taken out of the spool and stored, but still in its files; and how many were before them.
    unsettled_spool: VecDeque<std::ops::Range<u64>>,
    spool_done: u64,
    settled: Settled,
    stored: BTreeSet<u64>,
    /// What of it survives a power cut.
    synced: BTreeSet<u64>,
    /// What survives a crash.
    cursor: u64,
    up: bool,
}

impl World {
    fn next(&mut self, below: u64) -> u64 {
        // SplitMix64: a small generator whose whole state is the seed.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    fn new(seed: u64) -> World {
        World {
            random: seed,
            now: Instant::now(),
            core: core(config::WhenFull::Block),
            ledger: Ledger::default(),
            made: 0,
            read: 0,
            fragile: false,
            held: VecDeque::new(),
            flying: Vec::new(),
            spool: VecDeque::new(),
            unsettled_spool: VecDeque::new(),
            spool_done: 0,
            settled: Settled::default(),
            stored: BTreeSet::new(),
            synced: BTreeSet::new(),
            cursor: 0,
            up: true,
        }
    }

    fn view(&self) -> View {
        let flying_spool = self.flying.iter().any(|(a, _)| *a == Action::SendSpooled);
        View {
            held: self.held.len(),
            live: self.made > self.read,
            filling: false,
            fragile: self.fragile && (self.made > self.read || !self.held.is_empty()),
            spooled: !self.spool.is_empty() && !flying_spool,
            spool_room: true,
        }
    }

    fn enter(&mut self) -> (u64, std::ops::Range<u64>) {
        let end = (self.read + 1 + self.next(5)).min(self.made);
        let range = self.read..end;
        self.read = end;
        let mut progress = Progress::default();
        progress.cursor(
            1,
            Cursor {
                offset: end,
                ..Cursor::default()
            },
        );
        (self.ledger.enter(progress), range)
    }

    fn act(&mut self) {
        let view = self.view();
        let Some(action) = self.core.act(self.now, &view) else {
            return;
        };
        let load = match action {
            Action::SendHeld => self.held.pop_front(),
            Action::SendLive => Some(self.enter()),
            Action::SendSpooled => self.spool.front().cloned().map(|r| (u64::MAX, r)),
            Action::Probe => None,
            Action::Spool => {
                while let Some((ticket, range)) = self.held.pop_front() {
                    self.spool.push_back(range);
                    self.ledger.settle(ticket, By::Spool);
                }
                while self.read < self.made {
                    let (ticket, range) = self.enter();
                    self.spool.push_back(range);
                    self.ledger.settle(ticket, By::Spool);
                }
                return self.checkpoint();
            }
            Action::DropOldest => unreachable!("the spool of this world always has room"),
        };
        self.flying.push((action, load));
        assert!(self.flying.len() <= 3, "in flight is bounded");
    }

    fn land(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let i = self.next(self.flying.len() as u64) as usize;
        let (action, load) = self.flying.swap_remove(i);
        // An answer may be lost after the store accepted.
        let (accepted, lost) = (self.up, self.next(10) == 0);
        if let (true, Some((_, range))) = (accepted, &load) {
            self.stored.extend(range.clone());
        }
        let ok = accepted && !lost;
        let random = self.next(u64::MAX);
        let outcome = match (&load, ok) {
            (Some(_), true) => Outcome::Stored,
            (Some(_), false) => Outcome::Failed(away()),
            (None, true) => Outcome::ProbeSucceeded,
            (None, false) => Outcome::ProbeFailed(away()),
        };
        self.core.finished(action, outcome, self.now, random);
        match (load, ok, action) {
            (Some(_), true, Action::SendSpooled) => {
                self.unsettled_spool.extend(self.spool.pop_front());
                let ticket = self.ledger.enter(Progress {
                    spool_done: Some(self.spool_done + self.unsettled_spool.len() as u64),
                    ..Progress::default()
                });
                self.ledger.settle(ticket, By::Store);
            }
            (Some((ticket, _)), true, _) => self.ledger.settle(ticket, By::Store),
            (Some((ticket, range)), false, Action::SendHeld | Action::SendLive) => {
                let at = self.held.partition_point(|(t, _)| *t < ticket);
                self.held.insert(at, (ticket, range));
            }
            _ => {}
        }
    }

    fn checkpoint(&mut self) {
        self.ledger.take_settled(&mut self.settled);
        let store = Weak(AtomicU32::new(u32::from(!self.up)));
        let asked = std::mem::take(&mut self.settled).durable(&store, Duration::from_secs(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let durable = match runtime.expect("a runtime").block_on(asked) {
            Ok(durable) => durable,
            Err((settled, _)) => {
                self.settled = settled;
                return;
            }
        };
        if self.up {
            self.synced.clone_from(&self.stored);
        }
        let mut change = Change::default();
        durable.into_change(&mut change);
        for (_, cursor) in change.cursors {
            assert!(cursor.offset >= self.cursor, "a cursor never goes back");
            self.cursor = cursor.offset;
        }
        // What was taken out of the spool is gone from it only now.
        while change.spool_done.is_some_and(|done| self.spool_done < done) {
            self.unsettled_spool.pop_front();
            self.spool_done += 1;
        }
        let spooled: BTreeSet<u64> = (self.spool.iter().chain(&self.unsettled_spool))
            .cloned()
            .flatten()
            .collect();
        for n in 0..self.cursor {
            assert!(
                self.synced.contains(&n) || spooled.contains(&n),
                "record {n} is below the cursor, and a power cut would leave it nowhere"
            );
        }
    }

    fn crash(&mut self) {
        self.core = core(config::WhenFull::Block);
        self.ledger = Ledger::default();
        self.settled = Settled::default();
        self.held.clear();
        self.flying.clear();
        for range in self.unsettled_spool.drain(..).rev() {
            self.spool.push_front(range);
        }
        self.read = self.cursor;
    }

    /// The store falls back to what it has synced.
    fn power_cut(&mut self) {
        self.stored.clone_from(&self.synced);
        self.crash();
    }

    fn run(&mut self) {
        for _ in 0..600 {
            match self.next(20) {
                0..4 => {
                    let made = self.next(8);
                    self.made += made;
                }
                4..11 => self.act(),
                11..15 => self.land(),
                15 => self.checkpoint(),
                16 => self.up = self.next(3) > 0,
                17 => self.fragile = self.next(2) == 0,
                18 => match self.next(20) {
                    0 => self.crash(),
                    1 => self.power_cut(),
                    _ => {}
                },
                _ => {
                    let wait = self.next(3000);
                    self.now += Duration::from_millis(wait);
                }
            }
        }
        // In the end the store is back and all is delivered.
        self.up = true;
        for _ in 0..100_000 {
            if self.stored.len() as u64 == self.made && self.spool.is_empty() && self.held.is_empty() {
                break;
            }
            self.act();
            self.land();
            self.now += Duration::from_millis(200);
        }
        self.checkpoint();
        assert_eq!(self.stored.len() as u64, self.made, "everything arrives");
    }
}

#[test]
fn under_random_outages_and_crashes_every_record_arrives_and_no_cursor_runs_ahead() {
    let replay = std::env::var("LOGAGENT_TEST_SEED")
        .ok()
        .and_then(|s| s.parse::<u64>().ok());
    let seeds = replay.map_or(0..300, |s| s..s + 1);
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(ran.is_ok(), "replay with LOGAGENT_TEST_SEED={seed}");
    }
}
