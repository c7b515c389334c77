//! The arguments of every verb, declared once.
//!
//! One struct a verb serves the command line (clap reads the attributes and takes the doc comments as help) and MCP
//! (serde fills it from JSON, schemars makes its schema from the same comments). What only a terminal can show
//! ([`Show`]) stands apart, so that tools are not told about colours.

mod story;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Deserialize;

use super::lenient::{one_or_many, text_or_json};
pub use story::{Changes, Compare, Export, ExportFormat, ExportWhat, Fixes, Mcp, Why};

/// Which records a verb looks at: the flags that all reading verbs share.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Which {
    /// At most this many items; 0 only says how many there are [default: 20]
    #[arg(short = 'n', long, value_name = "N", help_heading = "Which records")]
    pub limit: Option<usize>,
    /// From this time on: 10m, 2h ago, yesterday, RFC 3339, epoch seconds
    #[arg(
        short = 'S',
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Which records"
    )]
    pub since: Option<String>,
    /// Up to this time
    #[arg(
        short = 'U',
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Which records"
    )]
    pub until: Option<String>,
    /// This level and above: warning, ERROR, 25
    #[arg(short = 'l', long, value_name = "LEVEL", help_heading = "Which records")]
    pub level: Option<String>,
    /// Only this run: its id or the beginning of it, a script (its newest run), last, last-failed
    #[arg(short = 'e', long, value_name = "RUN", help_heading = "Which records")]
    pub execution: Option<String>,
    /// Only this script
    #[arg(short = 's', long, value_name = "NAME", help_heading = "Which records")]
    pub script: Option<String>,
    /// Only this host
    #[arg(long, value_name = "NAME", help_heading = "Which records")]
    pub host: Option<String>,
    /// Only records with this tag
    #[arg(long, value_name = "TAG", help_heading = "Which records")]
    pub tag: Option<String>,
    /// Only where this regular expression matches the message or the exception
    #[arg(short = 'g', long, value_name = "REGEX", help_heading = "Which records")]
    pub grep: Option<String>,
    /// Oldest first
    #[arg(short = 'r', long, help_heading = "Which records")]
    pub reverse: bool,
    /// Go on where an earlier answer with the same arguments ended (its next_cursor)
    #[arg(long, value_name = "CURSOR", help_heading = "Which records")]
    pub cursor: Option<String>,
}

/// How an answer is shown on a terminal or given to a program.
#[derive(Args, Clone, Debug, Default)]
pub struct Show {
    /// text for people, json for one object, jsonl for one item a line
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub output: Output,
    /// No notes on standard error
    #[arg(short = 'q', long, help_heading = "Output")]
    pub quiet: bool,
    /// Times in UTC instead of local time
    #[arg(long, help_heading = "Output")]
    pub utc: bool,
    /// No colours (also by the environment's NO_COLOR)
    #[arg(long, help_heading = "Output")]
    pub no_color: bool,
}

/// The form of an answer on standard output.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    #[default]
    Text,
    Json,
    Jsonl,
}

/// By what search results are ordered.
#[derive(ValueEnum, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    Score,
    Time,
}

/// Arguments of `search`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Search {
    /// Words to look for, ranked by BM25, and FIELD=VALUE conditions (level=ERROR, extra_data.user=7)
    #[arg(value_name = "TEXT|FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub text: Vec<String>,
    /// Best match first, or newest first [default: score with a text, else time]
    #[arg(long, value_enum, ignore_case = true)]
    pub sort: Option<Sort>,
    /// Keep printing events as they are stored
    #[arg(short = 'f', long)]
    #[schemars(skip)]
    pub follow: bool,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `get`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
pub struct Get {
    /// The event's _key
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Also N events before it in its execution
    #[arg(short = 'B', long, value_name = "N")]
    #[serde(default)]
    pub before: Option<usize>,
    /// Also N events after it
    #[arg(short = 'A', long, value_name = "N")]
    #[serde(default)]
    pub after: Option<usize>,
    /// Also N events on both sides
    #[arg(short = 'C', long, value_name = "N")]
    #[serde(default)]
    pub context: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    #[schemars(skip)]
    pub which: Which,
}

/// Arguments of `errors`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Errors {
    /// An execution (every error with its surroundings) and FIELD=VALUE conditions
    #[arg(value_name = "EXECUTION|FIELD=VALUE")]
    #[serde(rename = "fields", deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub terms: Vec<String>,
    /// Only errors first seen ever within the window
    #[arg(long)]
    pub new: bool,
    /// Only errors that nobody has fixed
    #[arg(long)]
    pub open: bool,
    /// Only errors that came back after their fix
    #[arg(long)]
    pub returned: bool,
    /// Only errors that were fixed and have not come back
    #[arg(long)]
    pub resolved: bool,
    /// With an execution: how far around each error its surroundings reach [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub context: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `similar`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
pub struct Similar {
    /// An error's text, or the key of an event
    #[arg(value_name = "TEXT|KEY")]
    pub text: String,
    /// Conditions: host=web1, extra_data.user=7
    #[arg(value_name = "FIELD=VALUE")]
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub fields: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `patterns`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Patterns {
    /// Conditions: level=ERROR, extra_data.user=7
    #[arg(value_name = "FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub fields: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `stats`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Stats {
    /// Conditions: level=ERROR, extra_data.user=7
    #[arg(value_name = "FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub fields: Vec<String>,
    /// Count by one or two of: level, script, host, execution, function, logger, tag, event, hour, day, or any field
    #[arg(long, value_delimiter = ',', value_name = "FIELD[,FIELD]")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub by: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// A run's status as it is asked for.
#[derive(ValueEnum, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    Running,
    Success,
    Failed,
    Crashed,
    Ended,
    Lost,
}

impl RunStatus {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Success => "success",
            RunStatus::Failed => "failed",
            RunStatus::Crashed => "crashed",
            RunStatus::Ended => "ended",
            RunStatus::Lost => "lost",
        }
    }
}

/// Arguments of `runs`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Runs {
    /// Conditions on stored fields of runs: metadata.env=staging, host=web1
    #[arg(value_name = "FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub fields: Vec<String>,
    /// Only runs of this status
    #[arg(long, value_enum, ignore_case = true)]
    pub status: Option<RunStatus>,
    /// Only runs of which no end is known: running, lost
    #[arg(long)]
    #[schemars(skip)]
    pub unfinished: bool,
    /// Keep printing runs as they begin and end
    #[arg(short = 'f', long)]
    #[schemars(skip)]
    pub follow: bool,
    /// Further columns of the table: metadata.version, host, error
    #[arg(long, value_delimiter = ',', value_name = "FIELD[,FIELD]")]
    #[schemars(skip)]
    pub columns: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `summary`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
pub struct Summary {
    /// The run: its id or the beginning of it, a script (its newest run), last, last-failed [default: last]
    #[arg(value_name = "RUN")]
    #[serde(rename = "execution_id", alias = "execution", default)]
    pub id: Option<String>,
    /// Also keep the summary as a memory of type execution_summary
    #[arg(long)]
    #[serde(default)]
    #[schemars(skip)]
    pub memory: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[schemars(skip)]
    pub which: Which,
}

/// Arguments of `history`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct History {
    /// The script; without one, a row for each script
    #[arg(value_name = "SCRIPT")]
    #[serde(rename = "name")]
    pub name: Option<String>,
    /// Conditions on stored fields of runs: metadata.env=staging, host=web1
    #[arg(value_name = "FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub fields: Vec<String>,
    /// How many days back [default: 7]
    #[arg(long, value_name = "N")]
    pub days: Option<u32>,
    /// Only runs of this status
    #[arg(long, value_enum, ignore_case = true)]
    pub status: Option<RunStatus>,
    /// Rows: day, run, or a field of the runs such as metadata.version [default: day]
    #[arg(long, value_name = "day|run|FIELD")]
    pub by: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `response`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Response {
    /// The script whose newest response is wanted
    #[arg(value_name = "SCRIPT")]
    #[serde(rename = "name")]
    pub name: Option<String>,
    /// Conditions: extra_data.response.rows=30, host=web1
    #[arg(value_name = "FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub fields: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `learn`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
pub struct Learn {
    /// What was learnt
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// The function it is about
    #[arg(long, value_name = "NAME")]
    #[serde(default)]
    pub function: Option<String>,
    /// A JSON object
    #[arg(long, value_name = "JSON")]
    #[serde(default, deserialize_with = "text_or_json")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub context: Option<String>,
    /// How sure, 0 to 1 [default: 0.8]
    #[arg(long, value_name = "0..1")]
    #[serde(default)]
    pub confidence: Option<f64>,
    /// The execution it was learnt from
    #[arg(short = 'e', long, value_name = "ID")]
    #[serde(default)]
    pub execution: Option<String>,
    /// The script it is about
    #[arg(short = 's', long, value_name = "NAME")]
    #[serde(default)]
    pub script: Option<String>,
    /// Tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub tag: Vec<String>,
}

/// Arguments of `learnings`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Learnings {
    /// Words to look for in the learning, and FIELD=VALUE conditions
    #[arg(value_name = "TEXT|FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub text: Vec<String>,
    /// Only learnings at least this sure, 0 to 1
    #[arg(long, value_name = "0..1")]
    pub min_confidence: Option<f64>,
    /// Only learnings that were recorded more than once, most frequent first
    #[arg(long)]
    pub recurring: bool,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `fix`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
pub struct Fix {
    /// The error: an event's key, a fingerprint, or an execution (its last error; a `run_end` without an
    /// exception counts only where there is no other)
    #[arg(value_name = "KEY|FINGERPRINT|EXECUTION")]
    pub target: String,
    /// How it was fixed
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// Why this fixes it
    #[arg(long, value_name = "TEXT")]
    #[serde(default)]
    pub rationale: Option<String>,
}

/// The form in which a graph is drawn.
#[derive(ValueEnum, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum GraphFormat {
    #[default]
    Text,
    Json,
    Dot,
    Mermaid,
    Svg,
}

/// Arguments of `graph`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
pub struct Graph {
    /// The run: its id or the beginning of it, a script (its newest run), last, last-failed [default: last]
    #[arg(value_name = "RUN")]
    #[serde(rename = "execution_id", alias = "execution", default)]
    pub id: Option<String>,
    /// text, json, dot, mermaid or svg
    #[arg(long, value_enum)]
    #[serde(default)]
    pub format: Option<GraphFormat>,
    /// Write the edges to the store
    #[arg(long)]
    #[serde(default)]
    #[schemars(skip)]
    pub save: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[schemars(skip)]
    pub which: Which,
}

/// Arguments of `prune`.
#[derive(Args, Clone, Debug, Default)]
pub struct Prune {
    /// Records ingested longer ago than this: 30d, 12h
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<String>,
    /// Everything of these executions
    #[arg(short = 'e', long, value_name = "ID", num_args = 1..)]
    pub execution: Vec<String>,
    /// Events of this level and below
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub level: Option<String>,
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `query`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
pub struct Query {
    /// SQL on the embedded store, AQL on ArangoDB; only reading is allowed
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// A bind value: name=value, JSON where it parses as such, else text; @coll=log_events binds @@coll
    #[arg(short = 'b', long, value_name = "NAME=VALUE")]
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub bind: Vec<String>,
    /// The longest the query may run [default: 5s]
    #[arg(long, value_name = "DURATION")]
    #[serde(default)]
    pub timeout: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    enum Verb {
        Search(#[command(flatten)] Both<Search>),
        Get(#[command(flatten)] Both<Get>),
        Errors(#[command(flatten)] Both<Errors>),
        Similar(#[command(flatten)] Both<Similar>),
        Patterns(#[command(flatten)] Both<Patterns>),
        Stats(#[command(flatten)] Both<Stats>),
        Runs(#[command(flatten)] Both<Runs>),
        Summary(#[command(flatten)] Both<Summary>),
        History(#[command(flatten)] Both<History>),
        Response(#[command(flatten)] Both<Response>),
        Learnings(#[command(flatten)] Both<Learnings>),
        Graph(#[command(flatten)] Both<Graph>),
        Query(#[command(flatten)] Both<Query>),
        Learn(#[command(flatten)] Both<Learn>),
        Fix(#[command(flatten)] Both<Fix>),
        Prune(#[command(flatten)] Both<Prune>),
        Mcp(#[command(flatten)] Mcp),
    }

    #[derive(Args)]
    struct Both<T: Args> {
        #[command(flatten)]
        args: T,
        #[command(flatten)]
        show: Show,
    }

    #[test]
    fn the_command_line_of_every_verb_is_well_formed() {
        use clap::CommandFactory;
        Verb::command().debug_assert();
    }

    #[test]
    fn one_declaration_reads_the_command_line_and_json_alike() {
        let Verb::Search(cli) = Verb::parse_from(["x", "search", "boom", "level=ERROR", "-S", "-1h", "-n", "5"]) else {
            panic!("not search")
        };
        let json: Search =
            serde_json::from_str(r#"{"text":["boom","level=ERROR"],"since":"-1h","limit":5}"#).expect("valid");
        assert_eq!(cli.args.text, json.text);
        assert_eq!(cli.args.which, json.which);
        assert_eq!(cli.show.output, Output::Text);
    }

    #[test]
    fn a_single_string_is_accepted_where_a_list_is_expected() {
        let json: Search = serde_json::from_str(r#"{"text":"connection refused"}"#).expect("valid");
        assert_eq!(json.text, ["connection refused"]);
    }
}
