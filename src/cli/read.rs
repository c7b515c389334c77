//! The verbs that ask the store, and those that add to what it knows.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::answer::Screen;
use super::exit::{Exit, Failure};
use super::streams::{export, follow, follow_runs, pages};
use super::{Context, show};
use crate::config::StoreKind;
use crate::mcp::McpError;
use crate::query::answer::Answer;
use crate::query::record::Recorder;
use crate::query::render::{Paint, Row};
use crate::query::{self, AskError, Asking, Clock, args, errors, events, history::HistoryRow, learnings, stats};
use crate::store::meaning::{Embedder, Meaning};
use crate::store::search::Stop;
use crate::store::{Batch, Report, Sink, Store, WriteError};

/// A verb's arguments, and how its answer is shown.
#[derive(Args, Clone, Debug)]
pub struct Shown<T: Args> {
    #[command(flatten)]
    pub args: T,
    #[command(flatten)]
    pub show: args::Show,
}

/// The verbs that ask the store, and those that add to what it knows.
#[derive(Subcommand, Clone, Debug)]
pub enum ReadVerb {
    /// Full-text search ranked by BM25; with no text, the newest matching events
    #[command(after_help = "\
Examples:
  logagent search 'connection refused' -l warning -S 2h
  logagent search script_name=etl extra_data.user=7 -f")]
    Search(Shown<args::Search>),
    /// What is stored from now on, as it comes: search --follow, beginning with nothing
    #[command(after_help = "\
Examples:
  logagent tail
  logagent tail -s etl -l warning")]
    Tail(Shown<args::Search>),
    /// One event whole, with its neighbours if asked for
    #[command(after_help = "\
Examples:
  logagent get 3k2v0c7p1m
  logagent get 3k2v0c7p1m -C 5 -o json")]
    Get(Shown<args::Get>),
    /// Errors grouped by fingerprint: how often, since when, root cause, resolved or not
    #[command(after_help = "\
Examples:
  logagent errors --new -S yesterday
  logagent errors etl_20261121_022024_1f2e3d4c --context 10s")]
    Errors(Shown<args::Errors>),
    /// Errors like this one, of all time, and how they were fixed
    #[command(after_help = "\
Examples:
  logagent similar 'connection refused by db:5432'
  logagent similar 3k2v0c7p1m -n 5")]
    Similar(Shown<args::Similar>),
    /// Messages grouped by template
    #[command(after_help = "\
Examples:
  logagent patterns -S 1h
  logagent patterns script_name=etl -l warning")]
    Patterns(Shown<args::Patterns>),
    /// Counts by one or two fields; without --by, what scripts, hosts and levels there are
    #[command(after_help = "\
Examples:
  logagent stats --by script,level
  logagent stats --by hour -l error -S 24h")]
    Stats(Shown<args::Stats>),
    /// Executions: script, status, start, duration, errors
    #[command(after_help = "\
Examples:
  logagent runs --status failed -s etl
  logagent runs metadata.env=staging --columns metadata.version")]
    Runs(Shown<args::Runs>),
    /// One run: counts, first and last error, learnings, top templates, gaps
    #[command(after_help = "\
Examples:
  logagent summary last
  logagent summary etl_20261121_022024_1f2e3d4c -o json")]
    Summary(Shown<args::Summary>),
    /// Success rate, durations and errors over days
    #[command(after_help = "\
Examples:
  logagent history
  logagent history etl --days 30 --by metadata.version")]
    History(Shown<args::History>),
    /// The newest structured result of a script
    #[command(after_help = "\
Examples:
  logagent response etl
  logagent response etl -n 5 -o jsonl")]
    Response(Shown<args::Response>),
    /// Record a learning
    #[command(after_help = "\
Examples:
  logagent learn 'the API allows 5 requests a second' --function fetch
  logagent learn 'retry after 30 s helps' --confidence 0.9 --execution etl_20261121_022024_1f2e3d4c")]
    Learn(Shown<args::Learn>),
    /// Learnings, newest or most frequent first
    #[command(after_help = "\
Examples:
  logagent learnings --min-confidence 0.8
  logagent learnings 'rate limit' --recurring")]
    Learnings(Shown<args::Learnings>),
    /// Record that an error was fixed, and how
    #[command(after_help = "\
Examples:
  logagent fix 3k2v0c7p1m 'raised the pool size to 20'
  logagent fix etl_20261121_022024_1f2e3d4c 'skip empty files' --rationale 'an empty file has no header'")]
    Fix(Shown<args::Fix>),
    /// Why a run failed or took so long: cause, what led to it, what differs from the last good run, fixes
    #[command(after_help = "\
Examples:
  logagent why
  logagent why etl -o json")]
    Why(Shown<args::Why>),
    /// Two runs side by side; by default with the last good run of the same script
    #[command(after_help = "\
Examples:
  logagent compare last-failed
  logagent compare etl_20261121_022024_1f2e3d4c etl_20261120_022019_5a6b7c8d")]
    Compare(Shown<args::Compare>),
    /// What is new: errors, warnings, scripts that fail more, are slower, return little or did not run, versions, clocks
    #[command(after_help = "\
Examples:
  logagent changes
  logagent changes -S 7d -s etl")]
    Changes(Shown<args::Changes>),
    /// Recorded fixes: what they resolved, by whom, and whether they held
    #[command(after_help = "\
Examples:
  logagent fixes
  logagent fixes -s etl -o json")]
    Fixes(Shown<args::Fixes>),
    /// Everything that matches, without a limit, as JSON lines or comma-separated values
    #[command(after_help = "\
Examples:
  logagent export -S 7d > events.jsonl
  logagent export runs --format csv runs.csv")]
    Export(Exported),
    /// Events of a run and how they are related
    #[command(after_help = "\
Examples:
  logagent graph last
  logagent graph last --format svg > run.svg")]
    Graph(Shown<args::Graph>),
    /// Delete old data
    #[command(after_help = "\
Examples:
  logagent prune --older-than 30d --dry-run
  logagent prune --older-than 7d --level DEBUG")]
    Prune(Shown<args::Prune>),
    /// Ask the store in its own language, read-only: SQL, or AQL on ArangoDB
    #[command(after_help = "\
Examples:
  logagent query 'select level, count(*) n from log_events group by level'
  logagent query 'FOR e IN log_events FILTER e.level == @l LIMIT 5 RETURN e.message' --bind l=ERROR")]
    Query(Shown<args::Query>),
    /// The reading verbs as an MCP server on standard input and output
    #[command(after_help = "\
Examples:
  logagent mcp
  claude mcp add logagent -- logagent mcp --allow-write")]
    Mcp(args::Mcp),
}

/// Arguments of `export`, whose form is its own.
#[derive(Args, Clone, Debug)]
pub struct Exported {
    #[command(flatten)]
    pub args: args::Export,
    /// No notes on standard error
    #[arg(short = 'q', long, help_heading = "Output")]
    pub quiet: bool,
    /// Read times without a zone as UTC instead of local time
    #[arg(long, help_heading = "Output")]
    pub utc: bool,
}

/// Does what `verb` asks.
///
/// # Errors
/// Faulty arguments, and a store that is unreachable or refuses.
pub(super) fn run(verb: &ReadVerb, context: &Context) -> Result<Exit, Failure> {
    let store = crate::store::open_reader(&context.settings).map_err(AskError::from)?;
    let meaning = Embedder::new(&context.settings.embeddings);
    let ask = |show: &args::Show| Asking {
        store: &*store,
        // What programs read counts days in UTC, and says all times so.
        clock: Clock {
            whole: show.output != args::Output::Text,
            ..Clock::system(show.utc)
        },
        meaning: meaning.as_ref().map(|m| m as &dyn Meaning),
        stop: Stop::default(),
    };
    match verb {
        ReadVerb::Search(v) if v.args.follow => follow(&ask(&v.show), v, v.args.which.limit),
        ReadVerb::Tail(v) => follow(&ask(&v.show), v, Some(v.args.which.limit.unwrap_or(0))),
        ReadVerb::Search(v) => pages(&v.show, &v.args.which, |which| {
            let args = args::Search {
                which,
                ..v.args.clone()
            };
            query::search(&ask(&v.show), &args)
        }),
        ReadVerb::Why(v) => screen(&v.show).object(&query::why(&ask(&v.show), &v.args)?),
        ReadVerb::Compare(v) => screen(&v.show).object(&query::compare(&ask(&v.show), &v.args)?),
        ReadVerb::Changes(v) => list(&v.show, &query::changes(&ask(&v.show), &v.args)?),
        ReadVerb::Fixes(v) => list(&v.show, &query::fixes(&ask(&v.show), &v.args)?),
        ReadVerb::Export(v) => export(&*store, v),
        ReadVerb::Get(v) => get(&ask(&v.show), v),
        ReadVerb::Errors(v) => match query::errors(&ask(&v.show), &v.args)? {
            errors::Found::Groups(answer) => list(&v.show, &answer),
            errors::Found::Single(answer) => list(&v.show, &answer),
        },
        ReadVerb::Patterns(v) => pages(&v.show, &v.args.which, |which| {
            let args = args::Patterns {
                which,
                ..v.args.clone()
            };
            query::patterns(&ask(&v.show), &args)
        }),
        ReadVerb::Stats(v) => counted(&ask(&v.show), v),
        ReadVerb::Runs(v) if v.args.follow => follow_runs(&ask(&v.show), v),
        ReadVerb::Runs(v) => pages(&v.show, &v.args.which, |which| {
            let args = args::Runs {
                which,
                ..v.args.clone()
            };
            query::runs(&ask(&v.show), &args)
        }),
        ReadVerb::Summary(v) => summary(&ask(&v.show), v, context),
        ReadVerb::Similar(v) => list(&v.show, &query::similar(&ask(&v.show), &v.args)?),
        ReadVerb::History(v) => past(&v.show, &query::history(&ask(&v.show), &v.args)?),
        ReadVerb::Response(v) => response(&ask(&v.show), v),
        ReadVerb::Learnings(v) => match query::learnings(&ask(&v.show), &v.args)? {
            learnings::Found::Each(answer) => list(&v.show, &answer),
            learnings::Found::Recurring(answer) => list(&v.show, &answer),
        },
        ReadVerb::Graph(v) => graph(&ask(&v.show), v, context),
        ReadVerb::Query(v) => raw(&ask(&v.show), v),
        ReadVerb::Learn(v) => screen(&v.show).object(&query::learn(&ask(&v.show), &v.args, &recorder(context))?),
        ReadVerb::Fix(v) => screen(&v.show).object(&query::fix(&ask(&v.show), &v.args, &recorder(context))?),
        ReadVerb::Prune(v) => prune(&ask(&v.show), v),
        // It opens the store itself.
        ReadVerb::Mcp(args) => mcp(args, context),
    }
}

/// Counts, or without a field to count by what there is.
fn counted(ask: &Asking<'_>, v: &Shown<args::Stats>) -> Result<Exit, Failure> {
    match query::stats(ask, &v.args)? {
        stats::Found::Groups(answer) => list(&v.show, &answer),
        stats::Found::Overview(overview) => {
            let screen = screen(&v.show);
            screen.object(&overview)?;
            screen.hints(&[screen.window(&overview.window)]);
            screen.hints(&overview.hints);
            Ok(Exit::found(overview.events > 0))
        }
    }
}

fn mcp(args: &args::Mcp, context: &Context) -> Result<Exit, Failure> {
    match crate::mcp::serve(&context.settings, args, socket(context)) {
        Ok(()) => Ok(Exit::Done),
        Err(McpError::Ask(e)) => Err(e.into()),
        Err(e) => Err(Failure::usage(e)),
    }
}

pub(super) fn screen(show: &args::Show) -> Screen<'_> {
    Screen {
        show,
        clock: Clock::system(show.utc),
    }
}

pub(super) fn list<T: Row>(show: &args::Show, answer: &Answer<T>) -> Result<Exit, Failure> {
    screen(show).list(answer)
}

fn get(ask: &Asking<'_>, v: &Shown<args::Get>) -> Result<Exit, Failure> {
    let whole = query::get(ask, &v.args)?;
    let screen = screen(&v.show);
    if v.show.output != args::Output::Jsonl {
        return screen.object(&whole);
    }
    let before = whole.before.into_iter().flatten();
    let after = whole.after.into_iter().flatten();
    let events = before.chain(std::iter::once(whole.event)).chain(after);
    let hits: Vec<events::Hit> = events.map(|event| events::Hit { event, score: None }).collect();
    screen.stream(&hits)?;
    Ok(Exit::Done)
}

/// A history's totals stand above its rows.
fn past(show: &args::Show, answer: &Answer<HistoryRow>) -> Result<Exit, Failure> {
    let exit = list(show, answer)?;
    if show.output == args::Output::Text
        && let Some((_, totals)) = answer.extra.iter().find(|(name, _)| *name == "totals")
    {
        let number = |name: &str| totals.get(name).and_then(serde_json::Value::as_f64);
        let rate = number("success_rate").map_or("-".to_owned(), |r| format!("{:.0}%", r * 100.0));
        let line = format!(
            "{} runs, {rate} succeeded, {} errors",
            number("runs").unwrap_or(0.0),
            number("errors").unwrap_or(0.0)
        );
        screen(show).hints(&[line]);
    }
    Ok(exit)
}

/// One response is the script's own data and shown as such; several come with their times.
fn response(ask: &Asking<'_>, v: &Shown<args::Response>) -> Result<Exit, Failure> {
    let answer = query::response(ask, &v.args)?;
    let one = v.args.which.limit.is_none() && v.show.output != args::Output::Text;
    match answer.items.first() {
        Some(newest) if one => {
            let mut out = std::io::stdout().lock();
            super::answer::json(&mut out, &newest.response)?;
            Ok(Exit::Done)
        }
        _ => list(&v.show, &answer),
    }
}

fn summary(ask: &Asking<'_>, v: &Shown<args::Summary>, context: &Context) -> Result<Exit, Failure> {
    let summary = query::summary(ask, &v.args)?;
    if v.args.memory {
        write(context, summary.memory(ask.clock.now))?;
    }
    screen(&v.show).object(&summary)
}

fn graph(ask: &Asking<'_>, v: &Shown<args::Graph>, context: &Context) -> Result<Exit, Failure> {
    let graph = query::graph(ask, &v.args)?;
    let screen = screen(&v.show);
    if v.args.save {
        let batch = graph.batch(ask.clock.now);
        let edges = batch.relations.len();
        write(context, batch)?;
        screen.hints(&[format!("{edges} edges are stored")]);
    }
    match (v.args.format, v.show.output) {
        (Some(format), _) => {
            let mut paint = Paint::new(show::color(v.show.no_color), ask.clock);
            let text = graph.draw(format, &mut paint);
            std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
            Ok(Exit::Done)
        }
        (None, _) => screen.object(&graph),
    }
}

/// Rows as JSON lines are written as they come; other forms need them all.
fn raw(ask: &Asking<'_>, v: &Shown<args::Query>) -> Result<Exit, Failure> {
    if v.show.output != args::Output::Jsonl {
        return list(&v.show, &query::query(ask, &v.args)?);
    }
    // A page of so many rows is small enough to be held, and can say where to go on.
    if v.args.which.limit.is_some() || v.args.which.cursor.is_some() {
        return list(&v.show, &query::query(ask, &v.args)?);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut rows = 0;
    let mut written = Ok(());
    query::raw::rows(ask, &v.args, &mut |row| {
        rows += 1;
        written = super::answer::json(&mut out, &row);
        written.is_ok()
    })?;
    written?;
    std::io::Write::flush(&mut out)?;
    screen(&v.show).hints(&[format!("{} rows", show::count(rows))]);
    Ok(Exit::found(rows > 0))
}

fn prune(ask: &Asking<'_>, v: &Shown<args::Prune>) -> Result<Exit, Failure> {
    let bar = indicatif::ProgressBar::new_spinner();
    if v.show.quiet {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let outcome = query::prune(ask, &v.args, &mut |done| {
        bar.set_position(done.events);
        bar.set_message(format!(
            "{} events deleted, {:.0}/s",
            show::count(done.events),
            bar.per_sec()
        ));
        bar.tick();
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    // An action that found nothing to do is done.
    screen(&v.show).object(&outcome)
}

/// The socket of an agent that ships to the store that is meant: one that is named on the command line is written to
/// itself, since the agent of this directory may ship to another.
fn socket(context: &Context) -> Option<PathBuf> {
    let named = context.sources.store.is_some();
    context.settings.socket.path.clone().filter(|_| !named)
}

/// Where `learn` and `fix` put their records.
fn recorder(context: &Context) -> Recorder<'_> {
    Recorder {
        socket: socket(context),
        write: Box::new(move |batch| write(context, batch)),
    }
}

/// Writes to the store itself, without the agent.
fn write(context: &Context, batch: Batch) -> Result<Report, WriteError> {
    let path = &context.settings.store.sqlite_path;
    let named = context.sources.store.is_some();
    if context.settings.store.kind == StoreKind::Sqlite && !named && !path.exists() {
        return Err(WriteError::Away(format!(
            "there is no store {}, nor one above this directory: say where it is (-C DIR, or --store sqlite:PATH), or make \
             one here (logagent init, or logagent run)",
            path.display()
        )));
    }
    context.prepare_writing().map_err(|f| WriteError::Refused(f.message))?;
    let store = Store::open_writer(&context.settings)?;
    super::block_on(async {
        let batch = std::sync::Arc::new(batch);
        let report = store.write(&batch).await?;
        store.durable_barrier().await?;
        store.close().await;
        Ok(report)
    })
    .map_err(|f| WriteError::Away(f.message))?
}
