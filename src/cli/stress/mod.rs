//! `stress`: writes records through real files and the socket, then counts them in the store.
//!
//! Where an agent runs on the configured data directory, it is the one under test: files are written where its
//! `files.include` looks and removed when all is stored; the records stay in its store under one execution, which is
//! said. Else an agent of its own is
//! started in a scratch directory that is removed afterwards.
//!
//! Every record carries a number, so that what is lost and what is doubled is counted exactly. The latency is the time
//! from just before a record's write to the moment when a reader of the store sees it.

mod tally;
mod writers;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use self::tally::Tally;
use self::writers::{Place, Work};
use super::Context;
use super::args::{self, Via};
use super::exit::{Exit, Failure};
use super::scratch::Scratch;
use super::show;
use crate::config::Settings;
use crate::query::AskError;
use crate::state::lock::{self, Holder};
use crate::store::search::{Filter, Mark, ReadError, Search};

/// Events that are fetched at a time.
const PAGE: usize = 2000;
/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(10);

/// Writes, waits and counts. Exit 1 where something is lost or doubled.
///
/// # Errors
/// An agent that cannot be started or written to, a store that cannot be read.
pub(super) fn run(args: &args::Stress, context: &Context) -> Result<Exit, Failure> {
    let running = matches!(lock::holder(&context.settings.data_dir), Holder::Agent(_));
    let (scratch, settings) = if running {
        (None, context.settings.clone())
    } else {
        let scratch = Scratch::make("stress", false)?;
        let settings = scratch.settings()?;
        (Some(scratch), settings)
    };
    let agent = scratch.as_ref().map(Scratch::start_agent).transpose()?;
    let execution = format!(
        "stress_{}_{}",
        chrono::Utc::now().format("%Y%m%d_%H%M%S"),
        std::process::id()
    );
    let work = share(args, &settings, scratch.as_ref().map(Scratch::dir), &execution)?;
    let files: Vec<PathBuf> = work.iter().filter_map(Work::file).collect();
    let store = open(&settings)?;
    let found = measure(args, &*store, &execution, work)?;
    drop(store);
    if let Some(agent) = agent {
        agent.stop();
    }
    let whole = found.tally.lost() == 0 && found.tally.duplicated() == 0;
    if running && whole {
        // They are stored; what is missing is for a person to look at.
        for file in &files {
            let _ = std::fs::remove_file(file);
        }
    }
    say(args, &found, running.then_some(execution.as_str()))?;
    Ok(if whole { Exit::Done } else { Exit::Nothing })
}

/// What was measured.
struct Found {
    tally: Tally,
    wrote: Duration,
    stored: Duration,
}

/// The store, which an agent that has just started may still be making.
fn open(settings: &Settings) -> Result<Box<dyn Search>, Failure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match crate::store::open_reader(settings) {
            Ok(store) => return Ok(store),
            Err(ReadError::Away(_)) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(e) => return Err(AskError::from(e).into()),
        }
    }
}

/// Each writer's part of the work.
fn share(args: &args::Stress, settings: &Settings, base: Option<&Path>, execution: &str) -> Result<Vec<Work>, Failure> {
    let writers = u64::from(args.writers);
    let mut work = Vec::new();
    for i in 0..writers {
        let by_file = match args.via {
            Via::Files => true,
            Via::Socket => false,
            Via::Both => i % 2 == 0,
        };
        let place = if by_file {
            Place::File(file(settings, base, &format!("{execution}_{i}"))?)
        } else {
            let path = settings.socket.path.clone();
            Place::Socket(path.ok_or_else(|| Failure::usage("the agent has no socket; use --via files"))?)
        };
        work.push(Work {
            place,
            execution: execution.to_owned(),
            from: args.records * i / writers,
            to: args.records * (i + 1) / writers,
        });
    }
    Ok(work)
}

/// A new file that the agent will find: beside what the first pattern that allows it names.
fn file(settings: &Settings, base: Option<&Path>, stem: &str) -> Result<PathBuf, Failure> {
    if let Some(base) = base {
        return Ok(base.join("logs").join(format!("{stem}.jsonl")));
    }
    for pattern in &settings.files.include {
        let fixed = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
        let dir = pattern
            .get(..fixed)
            .and_then(|p| p.rsplit_once('/'))
            .map_or("", |(dir, _)| dir);
        let ending = pattern.rsplit_once('*').map_or("", |(_, ending)| ending);
        let path = Path::new(dir).join(format!("{stem}{ending}"));
        let matches = globset::GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .is_ok_and(|g| g.compile_matcher().is_match(&path));
        if matches && (dir.is_empty() || Path::new(dir).is_dir()) {
            return Ok(path);
        }
    }
    Err(Failure::usage(
        "no directory of files.include takes a new file from here; go to the agent's working directory, or use --via socket",
    ))
}

fn measure(args: &args::Stress, store: &dyn Search, execution: &str, work: Vec<Work>) -> Result<Found, Failure> {
    let failed = |e: ReadError| Failure::from(AskError::from(e));
    let filter = Filter {
        executions: vec![execution.to_owned()],
        ..Filter::default()
    };
    let (_, mut mark) = store.tail(&filter, None, PAGE).map_err(failed)?;
    let bar = ProgressBar::new(args.records);
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} stored, {per_sec}, {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let start = Instant::now();
    let mut writers: Vec<_> = work.into_iter().map(writers::start).collect();
    let mut wrote = None;
    let mut tally = Tally::new(args.records);
    let mut stored = Duration::ZERO;
    let mut quiet_since = Instant::now();
    while tally.distinct() < args.records && quiet_since.elapsed() < args.timeout {
        if wrote.is_none() && writers.iter().all(std::thread::JoinHandle::is_finished) {
            wrote = Some(start.elapsed());
            for writer in writers.drain(..) {
                let ended = writer.join().unwrap_or_else(|_| Err("a writer failed".to_owned()));
                ended.map_err(Failure::usage)?;
            }
        }
        if take(store, &filter, &mut mark, &mut tally).map_err(failed)? == 0 {
            std::thread::sleep(LOOK);
        } else {
            stored = start.elapsed();
            quiet_since = Instant::now();
            bar.set_position(tally.distinct());
        }
    }
    bar.finish_and_clear();
    // What following showed is one thing; what is stored counts.
    let mut counted = Tally::new(args.records);
    store
        .scan(&filter, true, &mut |event| {
            if let Some(n) = writers::number_of(&event.message) {
                counted.see(n);
            }
            true
        })
        .map_err(failed)?;
    counted.take_latencies(tally);
    Ok(Found {
        tally: counted,
        wrote: wrote.unwrap_or_else(|| start.elapsed()),
        stored,
    })
}

/// Takes what was stored since the last look; returns how many.
fn take(store: &dyn Search, filter: &Filter, mark: &mut Mark, tally: &mut Tally) -> Result<usize, ReadError> {
    let (events, next) = store.tail(filter, Some(mark.clone()), PAGE)?;
    *mark = next;
    let now = chrono::Utc::now();
    for event in &events {
        if let Some(n) = writers::number_of(&event.message) {
            tally.see(n);
        }
        if let Ok(written) = chrono::DateTime::parse_from_rfc3339(&event.timestamp) {
            let micros = now.signed_duration_since(written).num_microseconds().unwrap_or(0);
            tally.took(u64::try_from(micros).unwrap_or(0));
        }
    }
    Ok(events.len())
}

fn say(args: &args::Stress, found: &Found, execution: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let t = &found.tally;
    let via = match args.via {
        Via::Files => "files",
        Via::Socket => "the socket",
        Via::Both => "files and the socket",
    };
    writeln!(
        out,
        "written     {} records by {} writers through {via} in {:.2} s",
        show::count(args.records),
        args.writers,
        found.wrote.as_secs_f64()
    )?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is shown"
    )]
    let rate = (t.distinct() as f64 / found.stored.as_secs_f64().max(1e-6)) as u64;
    writeln!(
        out,
        "stored      {} in {:.2} s, {} a second",
        show::count(t.distinct()),
        found.stored.as_secs_f64(),
        show::count(rate)
    )?;
    writeln!(out, "lost        {}", show::count(t.lost()))?;
    writeln!(out, "duplicated  {}", show::count(t.duplicated()))?;
    let ms = |percent| format!("{:.1} ms", t.percentile(percent) as f64 / 1000.0);
    writeln!(
        out,
        "latency     p50 {}, p95 {}, p99 {}, max {}",
        ms(50),
        ms(95),
        ms(99),
        ms(100)
    )?;
    if let Some(execution) = execution {
        writeln!(
            out,
            "execution   {execution}; delete it with: logagent prune --execution {execution}"
        )?;
    }
    Ok(())
}
