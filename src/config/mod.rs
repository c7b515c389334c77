//! The validated settings that the program uses.
//!
//! # From what is typed to what is used
//!
//! [`Sources`] are the places where settings may stand: a TOML file, the environment, `.env`, `--store`. Each place
//! yields a list of *given* values (`file`, `env`, `store_url`): key, value, origin. One table (`keys`) knows
//! every key and how its value is read (`value`). [`Settings::load`] lays the given values over the defaults, weakest
//! place first, checks what only the whole can show, and collects every problem before it fails, so that a person
//! mends them all at once. Each problem names the key, its place (file and line, or variable) and what to do.
//!
//! `config.example.toml` documents every key; a test proves that it is complete and equal to the defaults.

mod defaults;
mod env;
mod file;
mod format;
mod found;
mod keys;
mod load;
mod store_url;
mod trust;
mod value;

pub use load::{ConfigError, Problem, Sources, Warning};

use std::path::PathBuf;
use std::time::Duration;

/// Everything the program can be told; see `config.example.toml` for the meaning of each key.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub data_dir: PathBuf,
    /// Of the data directory; files in it have it less the right to execute.
    pub data_mode: u32,
    /// Empty: unchanged.
    pub data_group: String,
    pub host: String,
    pub files: Files,
    pub socket: Socket,
    pub ship: Ship,
    pub truncate: Truncate,
    pub redact: Redact,
    pub store: Store,
    pub batch: Batch,
    /// `batch.max_bytes` was set, be it to its default.
    pub batch_bytes_given: bool,
    pub retry: Retry,
    pub spool: Spool,
    pub shutdown: Shutdown,
    pub runs: Runs,
    pub retention: Retention,
    pub monitoring: Monitoring,
    pub embeddings: Embeddings,
    /// `[[format]]`: tried before the built-in ones.
    pub formats: Vec<Format>,
}

/// One `[[format]]`. Its expressions were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Patterns of the files that it holds for.
    pub files: Vec<String>,
    /// Its groups are named as stored fields; others go to `extra_data`.
    pub regex: String,
    /// What lines look like that belong to the record before.
    pub continues: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub start_at: StartAt,
    pub compressed: bool,
    pub copies: Copies,
    pub follow_links: FollowLinks,
    pub hold: Duration,
    pub finish_line_after: Duration,
    pub poll_interval: Duration,
    /// Bytes.
    pub max_line: u64,
    pub naive_time: NaiveTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Beginning,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    Skip,
    Ship,
}

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowLinks {
    /// To a target below a watched directory; or if the link is of the target's owner, the agent's user, or root.
    Safe,
    Anywhere,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NaiveTime {
    Local,
    Utc,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// `None`: off.
    pub path: Option<PathBuf>,
    pub mode: u32,
    /// Empty: unchanged.
    pub group: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ship {
    pub min_level: String,
    pub keep: Keep,
    pub categories: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    All,
    Marked,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Truncate {
    pub message: u64,
    pub string: u64,
    pub list: u64,
    pub document: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Redact {
    pub enabled: bool,
    pub patterns: Vec<String>,
    pub fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub kind: StoreKind,
    pub sqlite_path: PathBuf,
    pub arangodb: Arangodb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    Arangodb,
}

impl StoreKind {
    /// As it is written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StoreKind::Sqlite => "sqlite",
            StoreKind::Arangodb => "arangodb",
        }
    }
}

#[derive(Clone, PartialEq)]
pub struct Arangodb {
    pub endpoints: Vec<String>,
    pub database: String,
    pub username: String,
    pub password: String,
    pub auth: Auth,
    pub ca_file: Option<PathBuf>,
    pub compression: Compression,
    pub timeout: Duration,
    pub shards: u32,
    pub replication_factor: u32,
    /// Length of the vectors that are copied to an indexed collection of their own; 0: none are.
    pub vector_dimensions: u32,
}

impl std::fmt::Debug for Arangodb {
    /// Never shows the password, nor one that stands in an endpoint.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bare = |e: &String| match (e.split_once("://"), e.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => e.clone(),
        };
        f.debug_struct("Arangodb")
            .field("endpoints", &self.endpoints.iter().map(bare).collect::<Vec<_>>())
            .field("database", &self.database)
            .field("username", &self.username)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    Basic,
    Jwt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub max_records: usize,
    pub max_bytes: u64,
    pub flush_interval: Duration,
    pub in_flight: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    pub initial: Duration,
    pub max: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Spool {
    pub max_size: u64,
    pub when_full: WhenFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    Block,
    DropOldest,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Shutdown {
    pub deadline: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    pub lost_after: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// 0 keeps everything.
    pub days: u32,
    pub interval: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Monitoring {
    pub interval: Duration,
    pub alert_failure_percent: f64,
    /// Empty: off.
    pub listen: String,
    /// A shell command that gets each alert as JSON on its standard input. Empty: none.
    pub on_alert: String,
}

/// An endpoint that turns texts into vectors, for ranking by meaning.
#[derive(Clone, PartialEq)]
pub struct Embeddings {
    /// Empty: off.
    pub url: String,
    pub model: String,
    pub api_key: String,
    /// Read where `api_key` is empty. Empty: none.
    pub api_key_file: PathBuf,
    pub timeout: Duration,
    /// Cosine from which on a text is like another although they share no words.
    pub min_similarity: f64,
}

impl std::fmt::Debug for Embeddings {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embeddings")
            .field("url", &self.url)
            .field("model", &self.model)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
