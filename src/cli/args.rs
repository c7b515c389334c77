//! What the user typed: the verbs and their flags, as clap reads them.
//!
//! The verbs that read the store are declared in [`super::read`]; what they share with MCP in [`crate::query::args`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};

use super::read::ReadVerb;
use crate::query::args::Show;

const ABOUT: &str = "The flight recorder for scripts and AI agents: ships local logs to SQLite or ArangoDB exactly \
                     once, and answers questions about them";

const EXAMPLES: &str = "\
First steps:
  logagent demo                 see the whole story in ten seconds
  logagent run                  follow logs/, listen on .logagent/logagent.sock, store in .logagent/logs.db
  logagent errors               what failed in the last 24 hours

Exit codes: 0 done or found, 1 nothing found, 2 usage or configuration, 3 store unreachable or refused.
LOGAGENT_LOG sets the level of the program's own logs (debug, info, warn, error).";

/// The command line.
#[derive(Parser, Debug)]
#[command(name = "logagent", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file; without it the first of $LOGAGENT_CONFIG, ./logagent.toml, /etc/logagent/logagent.toml
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Every verb")]
    pub config: Option<PathBuf>,
    /// The store, over the configuration: sqlite:PATH or http(s)://user:password@host:port/database
    #[arg(long, global = true, value_name = "URL", help_heading = "Every verb")]
    pub store: Option<String>,
    /// Work as if started in this directory; -C for short, but where that asks for context
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Every verb")]
    pub directory: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

/// The command line as it is parsed: `-C DIR` is understood by every verb that has no `-C` of its own.
#[must_use]
pub fn command() -> clap::Command {
    fn short(command: clap::Command) -> clap::Command {
        let taken = command.get_arguments().any(|a| a.get_short() == Some('C'));
        let command = command.mut_subcommands(short);
        let known = command.get_arguments().any(|a| a.get_id() == "directory");
        match (taken, known) {
            (false, true) => command.mut_arg("directory", |a| a.short('C')),
            (true, true) => command,
            (_, false) => {
                // Each verb has an argument of its own, so that none inherits a short form that it gives another meaning.
                let directory = clap::Arg::new("directory")
                    .long("directory")
                    .value_name("DIR")
                    .value_parser(clap::value_parser!(PathBuf))
                    .value_hint(ValueHint::DirPath)
                    .help("Work as if started in this directory")
                    .help_heading("Every verb");
                command.arg(if taken { directory } else { directory.short('C') })
            }
        }
    }
    short(Cli::command())
}

/// What to do.
#[derive(Subcommand, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Verb {
    /// The agent: follow files, listen on the socket, ship every record to the store
    #[command(after_help = "\
Examples:
  logagent run                                 until a signal; a second one ends it at once
  logagent run --once && logagent errors       ship what is there now, then ask (cron, CI)")]
    Run(Run),
    /// See it work: sample runs, stored and asked for, in a scratch directory
    #[command(after_help = "\
Examples:
  logagent demo
  logagent demo --keep                         leave the scratch directory, to go on asking")]
    Demo(Demo),
    /// Create or upgrade what the store needs; safe to repeat
    #[command(after_help = "\
Examples:
  logagent init --dry-run                      only say what would be done
  logagent init --store http://root@localhost:8529/script_logs")]
    Init(Init),
    /// Validate configuration, directories, permissions, store, login and schema, and say what to do
    #[command(after_help = "\
Examples:
  logagent check
  logagent check -c /etc/logagent/logagent.toml && systemctl restart logagent")]
    Check(Check),
    /// What the running agent is doing; the last known state when none runs
    #[command(after_help = "\
Examples:
  logagent status
  logagent status -o json | jq '.sources[] | select(.lag_bytes > 0)'")]
    Status(Status),
    /// Live dashboard of the agent, the runs and the newest errors
    #[command(after_help = "\
Examples:
  logagent monitor                             q quits, ? shows the keys
  logagent monitor --interval 5s               for a slow line")]
    Monitor(Monitor),
    /// How lines are read: the format's name, then the record; stores nothing
    #[command(after_help = "\
Examples:
  logagent parse logs/app.log                  why is this line not an error?
  tail -n 5 app.log | logagent parse --explain where each format gave up")]
    Parse(Parse),
    /// Records that the store refused for good
    #[command(after_help = "\
Examples:
  logagent dead-letter list
  logagent dead-letter retry --all             after the schema was mended")]
    DeadLetter(DeadLetter),
    #[command(flatten)]
    Read(ReadVerb),
    /// Write many records through files and the socket, and count them in the store
    #[command(after_help = "\
Examples:
  logagent stress                              10,000 records by 10 writers through an agent of its own
  logagent stress --records 1000000 --writers 4 --via files")]
    Stress(Stress),
    /// What an AI agent needs to know to use this program, in 600 tokens
    #[command(after_help = "\
Examples:
  logagent guide
  logagent guide >> AGENTS.md")]
    Guide,
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  logagent completions bash > /etc/bash_completion.d/logagent
  logagent completions zsh > ~/.zfunc/_logagent")]
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// What the agent has done by a process of its own: decompress standard input to standard output
    #[command(hide = true)]
    Unpack {
        /// gz, bz2, xz, lzma, zst or zip
        #[arg(value_name = "KIND")]
        kind: String,
        /// Number of the member of a zip
        #[arg(value_name = "MEMBER")]
        member: Option<usize>,
    },
    /// Print the manual page, or write all of them into a directory
    #[command(hide = true)]
    Man {
        /// Where the pages of all verbs are written
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Ship everything that is there now, wait until it is stored, and end
    #[arg(long)]
    pub once: bool,
    /// With --once: how long an unreachable store is waited for
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

/// Arguments of `demo`.
#[derive(Args, Clone, Debug, Default)]
pub struct Demo {
    /// Leave the scratch directory when done
    #[arg(long)]
    pub keep: bool,
}

/// Arguments of `init`.
#[derive(Args, Clone, Debug, Default)]
pub struct Init {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug, Default)]
pub struct Check {}

/// Arguments of `parse`.
#[derive(Args, Clone, Debug, Default)]
pub struct Parse {
    /// Files to read; without any, standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Also which formats were tried on a line, and where each gave up
    #[arg(long)]
    pub explain: bool,
    /// Read standard input as if it were this file: chooses the [[format]] sections that hold
    #[arg(long = "as", value_name = "PATH")]
    pub named: Option<String>,
    #[command(flatten)]
    pub show: Show,
}

/// Arguments of `status`.
#[derive(Args, Clone, Debug, Default)]
pub struct Status {
    #[command(flatten)]
    pub show: Show,
}

/// Arguments of `monitor`.
#[derive(Args, Clone, Debug)]
pub struct Monitor {
    /// How often the picture is drawn anew, at most every 2s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub interval: Duration,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    /// No colours (also by the environment's NO_COLOR)
    #[arg(long)]
    pub no_color: bool,
}

/// Arguments of `dead-letter`.
#[derive(Args, Clone, Debug)]
pub struct DeadLetter {
    #[command(subcommand)]
    pub action: DeadLetterAction,
}

/// What to do with dead letters.
#[derive(Subcommand, Clone, Debug)]
pub enum DeadLetterAction {
    /// Key, time, collection and reason of each, newest first
    #[command(after_help = "\
Examples:
  logagent dead-letter list
  logagent dead-letter list -o jsonl | jq -r .reason | sort | uniq -c")]
    List {
        /// At most this many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        show: Show,
    },
    /// One dead letter whole, with its record
    #[command(
        name = "show",
        after_help = "\
Examples:
  logagent dead-letter show 3k2v0c7p1m
  logagent dead-letter show 3k2v0c7p1m -o json | jq .record"
    )]
    One {
        /// The record's _key, as `list` shows it
        key: String,
        #[command(flatten)]
        show: Show,
    },
    /// Deliver again, under the same keys
    #[command(after_help = "\
Examples:
  logagent dead-letter retry 3k2v0c7p1m
  logagent dead-letter retry --all")]
    Retry(Which),
    /// Delete for good
    #[command(after_help = "\
Examples:
  logagent dead-letter drop 3k2v0c7p1m
  logagent dead-letter drop --all")]
    Drop(Which),
}

/// Some dead letters, or all.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Keys, as `list` shows them
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `stress`.
#[derive(Args, Clone, Debug)]
pub struct Stress {
    /// How many records are written
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub records: u64,
    /// By how many writers at a time
    #[arg(long, value_name = "M", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub writers: u32,
    /// Through files, the socket, or half of the writers each
    #[arg(long, value_enum, default_value = "both")]
    pub via: Via,
    /// How long to wait for the last record to be stored
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}

/// The way that records of `stress` take.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Files,
    Socket,
    Both,
}

/// Reads a duration flag.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        if text.parse::<f64>().is_ok() {
            format!("a duration needs its unit: {text}s or {text}m")
        } else {
            "expected a duration such as 500ms, 30s, 2m or 1h".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    /// Names of all verbs that do something, with their two examples.
    fn examples(command: &clap::Command, found: &mut Vec<(String, Vec<String>)>) {
        if command.has_subcommands() {
            command.get_subcommands().for_each(|c| examples(c, found));
        } else if !command.is_hide_set() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines = help.lines().map(str::trim).filter(|l| l.contains("logagent "));
            found.push((command.get_name().to_owned(), lines.map(str::to_owned).collect()));
        }
    }

    #[test]
    fn every_verb_shows_two_examples_of_itself() {
        let mut found = Vec::new();
        examples(&Cli::command(), &mut found);
        assert!(found.len() > 25);
        for (verb, lines) in found {
            assert_eq!(lines.len(), 2, "{verb}");
            let named = lines.iter().filter(|l| l.contains(&format!(" {verb}"))).count();
            assert!(named >= 1, "{verb}: {lines:?}");
        }
    }

    #[test]
    fn a_duration_without_its_unit_is_explained() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5").unwrap_err(), "a duration needs its unit: 5s or 5m");
        assert!(duration("soon").is_err());
    }
}
