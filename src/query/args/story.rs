//! The arguments of verbs that tell stories: `why`, `compare`, `changes`, `fixes`; and of `export` and `mcp`.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Which;
use crate::query::lenient::one_or_many;

/// Arguments of `why`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Why {
    /// The run: its id or the beginning of it, a script, last [default: last-failed]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `compare`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Compare {
    /// The run: its id or the beginning of it, a script, last-failed [default: last]
    #[arg(value_name = "RUN")]
    #[serde(alias = "run")]
    pub first: Option<String>,
    /// What to compare it with [default: the last good run of its script]
    #[arg(value_name = "RUN")]
    #[serde(alias = "with")]
    pub second: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `changes`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Changes {
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// Arguments of `fixes`.
#[derive(Args, Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct Fixes {
    /// Conditions: script_name=etl, host=web1
    #[arg(value_name = "FIELD=VALUE")]
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub fields: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub which: Which,
}

/// What is exported.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportWhat {
    #[default]
    Events,
    Runs,
    Learnings,
    Fixes,
}

impl ExportWhat {
    pub const ALL: [ExportWhat; 4] = [
        ExportWhat::Events,
        ExportWhat::Runs,
        ExportWhat::Learnings,
        ExportWhat::Fixes,
    ];

    /// As it is typed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ExportWhat::Events => "events",
            ExportWhat::Runs => "runs",
            ExportWhat::Learnings => "learnings",
            ExportWhat::Fixes => "fixes",
        }
    }
}

/// The form of what is exported.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    #[default]
    Jsonl,
    Csv,
}

/// Arguments of `export`.
#[derive(Args, Clone, Debug, Default)]
pub struct Export {
    /// What (default: events), FIELD=VALUE conditions, and a file to write instead of standard output
    #[arg(value_name = "events|runs|learnings|fixes|FIELD=VALUE|FILE")]
    pub terms: Vec<String>,
    /// One JSON object a line, or comma-separated values
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    #[command(flatten)]
    pub which: Which,
}

/// Arguments of `mcp`.
#[derive(Args, Clone, Debug, Default)]
pub struct Mcp {
    /// Also offer the tools that write: learn and fix
    #[arg(long)]
    pub allow_write: bool,
    /// The longest answer, in tokens of about three bytes
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub max_tokens: usize,
}
