//! The verbs that ask the store, and those that add to what it knows.

use clap::{Args, Subcommand};

use super::Context;
use super::exit::{Exit, Failure};
use crate::query::args;

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

/// Does what `verb` asks.
///
/// # Errors
/// Faulty arguments, and a store that is unreachable or refuses.
pub(super) fn run(verb: &ReadVerb, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::usage(format!("{verb:?} is not built yet")))
}
