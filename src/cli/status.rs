//! `status`: what the running agent is doing, from the snapshot that it publishes.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use super::Context;
use super::args;
use super::exit::{Exit, Failure};
use super::show::{self, BOLD, DIM, GREEN, RED, YELLOW};
use crate::query::args::{Output, Show};
use crate::state::lock::{self, Holder};
use crate::telemetry::snapshot::{Snapshot, SourceStatus, StoreState, StoreStatus};

/// Sources that the text shows.
const SHOWN: usize = 20;

/// Shows the snapshot; exit 1 where no agent runs.
///
/// # Errors
/// A snapshot that cannot be read.
pub(super) fn run(args: &args::Status, context: &Context) -> Result<Exit, Failure> {
    let dir = &context.settings.data_dir;
    let (running, snapshot) = look(dir)?;
    let known = snapshot.is_some();
    let out = match args.show.output {
        Output::Json | Output::Jsonl => {
            let mut snapshot = snapshot.unwrap_or_else(|| Snapshot {
                data_dir: dir.clone(),
                host: context.settings.host.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                store: StoreStatus {
                    kind: context.settings.store.kind.as_str().to_owned(),
                    ..StoreStatus::default()
                },
                ..Snapshot::default()
            });
            snapshot.running = running.is_some();
            let json = match args.show.output {
                Output::Json => serde_json::to_string_pretty(&snapshot),
                _ => serde_json::to_string(&snapshot),
            };
            json.map_err(io::Error::from)? + "\n"
        }
        Output::Text => match &snapshot {
            Some(snapshot) => text(snapshot, running.is_some(), &args.show),
            None => String::new(),
        },
    };
    io::stdout().write_all(out.as_bytes())?;
    if running.is_none() && !args.show.quiet {
        let last = if known { "; this is what the last one left" } else { "" };
        show::note(format_args!(
            "no agent runs on {}{last}; start one with: logagent run",
            dir.display()
        ));
    }
    Ok(Exit::found(running.is_some()))
}

/// The pid of the agent that runs on `data_dir`, and what it, or the one before it, published.
///
/// # Errors
/// A snapshot that cannot be read.
pub(super) fn look(data_dir: &Path) -> Result<(Option<u32>, Option<Snapshot>), Failure> {
    let snapshot = Snapshot::read(data_dir)
        .map_err(|e| Failure::usage(format!("{}: the status cannot be read: {e}", data_dir.display())))?;
    let running = match lock::holder(data_dir) {
        Holder::Nobody => None,
        Holder::Agent(pid) => Some(pid.or(snapshot.as_ref().map(|s| s.pid)).unwrap_or(0)),
    };
    // An agent that has just started has not published yet; what is there is its predecessor's.
    let stale = |s: &Snapshot| running.is_some_and(|pid| pid != 0 && pid != s.pid);
    Ok((running, snapshot.filter(|s| !stale(s))))
}

fn text(s: &Snapshot, running: bool, show: &Show) -> String {
    let color = show::color(show.no_color);
    let mut out = String::new();
    let head = if running {
        format!(
            "{}, pid {}, since {}",
            show::paint(color, GREEN, "running"),
            s.pid,
            show::instant_and_age(&s.started_at, show)
        )
    } else {
        format!(
            "{}, last seen {}",
            show::paint(color, RED, "not running"),
            show::instant_and_age(&s.updated_at, show)
        )
    };
    line(
        &mut out,
        "agent",
        &format!("{head}, logagent {} on {}", s.version, s.host),
    );
    line(&mut out, "data", &s.data_dir.display().to_string());
    let state = match s.store.state {
        StoreState::Up => show::paint(color, GREEN, "up"),
        StoreState::Away => show::paint(color, YELLOW, "away"),
        StoreState::Refusing => show::paint(color, RED, "refusing"),
    };
    let since = show::instant_and_age(&s.store.since, show);
    line(
        &mut out,
        "store",
        &format!("{} {}: {state} since {since}", s.store.kind, s.store.place),
    );
    if let Some(error) = &s.store.last_error {
        line(&mut out, "error", &show::plain(error));
    }
    line(&mut out, "records", &records(s));
    line(&mut out, "rates", &rates(s));
    line(&mut out, "spool", &spool(s));
    let dead = show::count(s.dead_letters);
    let dead = if s.dead_letters == 0 {
        dead
    } else {
        format!("{} (logagent dead-letter list)", show::paint(color, RED, &dead))
    };
    line(&mut out, "dead", &dead);
    line(&mut out, "runs", &format!("{} open", show::count(s.open_runs)));
    for alert in &s.alerts {
        line(&mut out, "alert", &show::paint(color, RED, &show::plain(alert)));
    }
    line(
        &mut out,
        "sources",
        &format!(
            "{}, {} not yet read",
            show::count(s.sources_total),
            show::size(s.lag_bytes)
        ),
    );
    sources(&mut out, s, color);
    out
}

fn line(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "{name:8} {text}");
}

fn records(s: &Snapshot) -> String {
    let r = &s.records;
    let mut text = format!("{} read, {} stored", show::count(r.read), show::count(r.stored));
    let l = &s.losses;
    for (n, what) in [
        (r.unparsed, "unparsed"),
        (r.repaired, "repaired"),
        (r.truncated, "truncated"),
        (r.redacted, "redacted"),
        (r.skipped, "skipped"),
        (r.dropped, "dropped"),
        (l.fix_unmatched, "fixes without an error"),
        (l.blank_lines, "blank lines"),
        (l.copied_lines, "lines of copies"),
    ] {
        if n > 0 {
            let _ = write!(text, ", {} {what}", show::count(n));
        }
    }
    for (n, what) in [
        (l.nul_bytes, "of NUL bytes"),
        (l.cut_bytes, "cut from long lines"),
        (l.unread_bytes, "gone unread"),
    ] {
        if n > 0 {
            let _ = write!(text, ", {} {what}", show::size(n));
        }
    }
    text
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is shown")]
fn rates(s: &Snapshot) -> String {
    format!(
        "{:.1} read/s, {:.1} stored/s, {}/s",
        s.rates.read_per_second,
        s.rates.stored_per_second,
        show::size(s.rates.bytes_per_second as u64)
    )
}

fn spool(s: &Snapshot) -> String {
    format!(
        "{} records, {} of {}",
        show::count(s.spool.records),
        show::size(s.spool.bytes),
        show::size(s.spool.max_bytes)
    )
}

fn sources(out: &mut String, s: &Snapshot, color: bool) {
    if s.sources.is_empty() {
        return;
    }
    let head = format!("  {:>10} {:>10} {:>10}  {:15} PATH", "LAG", "POSITION", "SIZE", "STATE");
    let _ = writeln!(out, "{}", show::paint(color, BOLD, &head));
    for source in s.sources.iter().take(SHOWN) {
        let _ = writeln!(out, "  {}", source_line(source));
    }
    let more = (s.sources_total as usize).saturating_sub(s.sources.len().min(SHOWN));
    if more > 0 {
        let note = format!("  and {} more that lag no further behind", show::count(more as u64));
        let _ = writeln!(out, "{}", show::paint(color, DIM, &note));
    }
}

fn source_line(source: &SourceStatus) -> String {
    let amount = |n: u64| {
        if source.kind == "socket" {
            format!("{} lines", show::count(n))
        } else {
            show::size(n)
        }
    };
    format!(
        "{:>10} {:>10} {:>10}  {:15} {}",
        show::size(source.lag_bytes),
        amount(source.position),
        amount(source.size),
        source.state,
        show::plain(&source.path)
    )
}
