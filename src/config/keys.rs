//! The table of keys: each key once, with how its value is read and where it goes.
//!
//! File, environment and the check for unknown keys all use this one table, so that a key cannot be known in one place
//! and unknown in another.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::defaults::{KIB, MIB};
use super::value::{Value, Wrong};
use super::{
    Auth, Compression, Copies, FollowLinks, Keep, NaiveTime, Settings, StartAt, StoreKind, WhenFull, store_url,
};

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File {
        path: PathBuf,
        line: usize,
    },
    /// An environment variable, perhaps of a `.env` file.
    Variable {
        name: String,
        dotenv: Option<PathBuf>,
    },
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable { name, dotenv: None } => write!(f, "environment variable {name}"),
            Origin::Variable {
                name,
                dotenv: Some(path),
            } => write!(f, "{} (variable {name})", path.display()),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One value that some place gives.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Settings while values are laid over the defaults: what depends on other keys is still as it was typed.
pub(super) struct Draft {
    pub(super) settings: Settings,
    /// Empty: the default; `off`: none.
    pub(super) socket_path: PathBuf,
    pub(super) ca_file: PathBuf,
    pub(super) password_file: PathBuf,
    /// Where each given key stands.
    pub(super) origins: HashMap<&'static str, Origin>,
}

/// Puts one value into the draft.
type Put = fn(&mut Draft, &Value) -> Result<(), Wrong>;

/// One key of the configuration.
pub(super) struct Key {
    /// Dotted, as in TOML.
    pub(super) name: &'static str,
    pub(super) put: Put,
}

const fn key(name: &'static str, put: Put) -> Key {
    Key { name, put }
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const HOUR: Duration = secs(3600);
const DAY: Duration = secs(24 * 3600);
const YEAR: Duration = secs(366 * 24 * 3600);
/// The largest size any key takes.
const HUGE: u64 = 1 << 50;

/// `put!(place, reader)`: a key whose value goes unchanged to one place in the settings.
macro_rules! put {
    ($name:literal, $($place:ident).+, $v:ident => $read:expr) => {
        key($name, |d, $v| {
            d.$($place).+ = $read?;
            Ok(())
        })
    };
}

pub(super) static KEYS: &[Key] = &[
    put!("data_dir", settings.data_dir, v => v.path()),
    put!("data_mode", settings.data_mode, v => data_mode(v)),
    put!("data_group", settings.data_group, v => v.text().map(|t| t.trim().to_owned())),
    put!("host", settings.host, v => v.text().map(|t| t.trim().to_owned())),
    put!("files.include", settings.files.include, v => globs(v)),
    put!("files.exclude", settings.files.exclude, v => globs(v)),
    put!("files.start_at", settings.files.start_at,
        v => v.choice(&[("beginning", StartAt::Beginning), ("end", StartAt::End)])),
    put!("files.compressed", settings.files.compressed, v => v.bool()),
    put!("files.follow_links", settings.files.follow_links, v => v.choice(&[("safe", FollowLinks::Safe), ("anywhere", FollowLinks::Anywhere), ("never", FollowLinks::Never)])),
    put!("files.copies", settings.files.copies, v => v.choice(&[("skip", Copies::Skip), ("ship", Copies::Ship)])),
    put!("files.hold", settings.files.hold, v => v.duration(Duration::ZERO..=DAY)),
    put!("files.finish_line_after", settings.files.finish_line_after, v => v.duration(Duration::ZERO..=HOUR)),
    put!("files.poll_interval", settings.files.poll_interval, v => v.duration(millis(10)..=HOUR)),
    put!("files.max_line", settings.files.max_line, v => v.size(KIB..=64 * MIB)),
    put!("files.naive_time", settings.files.naive_time,
        v => v.choice(&[("local", NaiveTime::Local), ("UTC", NaiveTime::Utc)])),
    put!("socket.path", socket_path, v => v.path()),
    put!("socket.mode", settings.socket.mode, v => mode(v)),
    put!("socket.group", settings.socket.group, v => v.text()),
    put!("ship.min_level", settings.ship.min_level, v => level(v)),
    put!("ship.keep", settings.ship.keep, v => v.choice(&[("all", Keep::All), ("marked", Keep::Marked)])),
    put!("ship.categories", settings.ship.categories, v => v.texts()),
    put!("truncate.message", settings.truncate.message, v => v.size(16..=64 * MIB)),
    put!("truncate.string", settings.truncate.string, v => v.size(16..=64 * MIB)),
    put!("truncate.list", settings.truncate.list, v => v.integer(1..=1_000_000)),
    put!("truncate.document", settings.truncate.document, v => v.size(4 * KIB..=64 * MIB)),
    put!("redact.enabled", settings.redact.enabled, v => v.bool()),
    put!("redact.patterns", settings.redact.patterns, v => regexes(v)),
    put!("redact.fields", settings.redact.fields, v => v.texts()),
    put!("store.kind", settings.store.kind,
        v => v.choice(&[("sqlite", StoreKind::Sqlite), ("arangodb", StoreKind::Arangodb)])),
    put!("store.sqlite.path", settings.store.sqlite_path, v => v.path()),
    put!("store.arangodb.endpoints", settings.store.arangodb.endpoints, v => endpoints(v)),
    put!("store.arangodb.database", settings.store.arangodb.database, v => word(v)),
    put!("store.arangodb.username", settings.store.arangodb.username, v => word(v)),
    key("store.arangodb.password", |d, v| {
        d.settings.store.arangodb.password = v.text().map_err(|_| "expected text in quotes".to_owned())?;
        Ok(())
    }),
    put!("store.arangodb.password_file", password_file, v => v.path()),
    put!("store.arangodb.auth", settings.store.arangodb.auth,
        v => v.choice(&[("basic", Auth::Basic), ("jwt", Auth::Jwt)])),
    put!("store.arangodb.ca_file", ca_file, v => v.path()),
    put!("store.arangodb.compression", settings.store.arangodb.compression,
        v => v.choice(&[("none", Compression::None), ("gzip", Compression::Gzip)])),
    put!("store.arangodb.timeout", settings.store.arangodb.timeout, v => v.duration(millis(100)..=HOUR)),
    put!("store.arangodb.shards", settings.store.arangodb.shards, v => small(v, 1000)),
    put!("store.arangodb.replication_factor", settings.store.arangodb.replication_factor, v => small(v, 10)),
    put!("store.arangodb.vector_dimensions", settings.store.arangodb.vector_dimensions,
        v => v.integer(0..=16_384).map(|n| u32::try_from(n).unwrap_or(0))),
    put!("batch.max_records", settings.batch.max_records,
        v => v.integer(1..=100_000).map(|n| usize::try_from(n).unwrap_or(usize::MAX))),
    put!("batch.max_bytes", settings.batch.max_bytes, v => v.size(4 * KIB..=64 * MIB)),
    put!("batch.flush_interval", settings.batch.flush_interval, v => v.duration(Duration::ZERO..=HOUR)),
    put!("batch.in_flight", settings.batch.in_flight,
        v => v.integer(1..=64).map(|n| usize::try_from(n).unwrap_or(usize::MAX))),
    put!("retry.initial", settings.retry.initial, v => v.duration(millis(1)..=HOUR)),
    put!("retry.max", settings.retry.max, v => v.duration(millis(1)..=DAY)),
    put!("spool.max_size", settings.spool.max_size, v => v.size(MIB..=HUGE)),
    put!("spool.when_full", settings.spool.when_full,
        v => v.choice(&[("block", WhenFull::Block), ("drop_oldest", WhenFull::DropOldest)])),
    put!("shutdown.deadline", settings.shutdown.deadline, v => v.duration(Duration::ZERO..=HOUR)),
    put!("runs.lost_after", settings.runs.lost_after, v => v.duration(secs(1)..=YEAR)),
    put!("retention.days", settings.retention.days, v => small(v, 36_500)),
    put!("retention.interval", settings.retention.interval, v => v.duration(secs(1)..=DAY * 30)),
    put!("monitoring.interval", settings.monitoring.interval, v => v.duration(Duration::ZERO..=DAY)),
    put!("monitoring.alert_failure_percent", settings.monitoring.alert_failure_percent, v => v.number(0.0..=100.0)),
    put!("monitoring.listen", settings.monitoring.listen, v => address(v)),
    put!("monitoring.on_alert", settings.monitoring.on_alert, v => v.text().map(|t| t.trim().to_owned())),
    put!("embeddings.url", settings.embeddings.url, v => web_address(v)),
    put!("embeddings.model", settings.embeddings.model, v => v.text().map(|t| t.trim().to_owned())),
    key("embeddings.api_key", |d, v| {
        d.settings.embeddings.api_key = v.text().map_err(|_| "expected text in quotes".to_owned())?;
        Ok(())
    }),
    put!("embeddings.api_key_file", settings.embeddings.api_key_file, v => v.path()),
    put!("embeddings.timeout", settings.embeddings.timeout, v => v.duration(millis(100)..=HOUR)),
    put!("embeddings.min_similarity", settings.embeddings.min_similarity, v => v.number(0.0..=1.0)),
];

fn small(v: &Value, max: u32) -> Result<u32, Wrong> {
    let min = u64::from(max != 36_500);
    v.integer(min..=u64::from(max)).map(|n| u32::try_from(n).unwrap_or(max))
}

/// An http(s) address without a login, or nothing.
fn web_address(v: &Value) -> Result<String, Wrong> {
    let text = v.text()?.trim().to_owned();
    if text.is_empty() {
        return Ok(text);
    }
    match url::Url::parse(&text) {
        Ok(u) if !matches!(u.scheme(), "http" | "https") || u.host().is_none() => {
            Err("expected an address such as http://localhost:11434/v1/embeddings".to_owned())
        }
        Ok(u) if !u.username().is_empty() || u.password().is_some() => {
            Err("holds a login; put the key into embeddings.api_key_file".to_owned())
        }
        Ok(_) => Ok(text),
        Err(e) => Err(format!("is no address: {e}")),
    }
}

/// Text that cannot be empty.
fn word(v: &Value) -> Result<String, Wrong> {
    let text = v.text()?;
    if text.is_empty() {
        return Err("cannot be empty".to_owned());
    }
    Ok(text)
}

pub(super) fn globs(v: &Value) -> Result<Vec<String>, Wrong> {
    let list = v.texts()?;
    for pattern in &list {
        globset::GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|e| format!("{pattern:?} is not a file pattern: {}", e.kind()))?;
        if pattern.starts_with("~/") {
            return Err(format!("{pattern:?}: `~` is not expanded here; write the whole path"));
        }
    }
    Ok(list)
}

fn regexes(v: &Value) -> Result<Vec<String>, Wrong> {
    let list = v.texts()?;
    for pattern in &list {
        let compiled = regex::Regex::new(pattern).map_err(|e| format!("not a regular expression: {e}"))?;
        if compiled.is_match("") {
            return Err(format!(
                "{pattern:?} matches the empty text, and so everything everywhere; say what has to be there"
            ));
        }
    }
    Ok(list)
}

fn endpoints(v: &Value) -> Result<Vec<String>, Wrong> {
    let list: Result<Vec<String>, Wrong> = v.texts()?.iter().map(|e| store_url::endpoint(e)).collect();
    let list = list?;
    if list.is_empty() {
        return Err("needs at least one endpoint, such as \"http://localhost:8529\"".to_owned());
    }
    Ok(list)
}

/// Permissions as `chmod` takes them, in quotes: TOML has no octal literal that looks like it.
fn mode(v: &Value) -> Result<u32, Wrong> {
    let wrong = "expected permissions in quotes, in octal, such as \"0660\"";
    let text = v.text().map_err(|_| wrong.to_owned())?;
    let digits = text.trim().trim_start_matches("0o");
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|m| *m <= 0o777)
        .ok_or_else(|| format!("{wrong}, found {text:?}"))
}

/// A mode of the data directory: its owner must be able to use it.
fn data_mode(v: &Value) -> Result<u32, Wrong> {
    let mode = mode(v)?;
    if mode & 0o700 != 0o700 {
        return Err(format!(
            "0{mode:o} locks the agent out of its own directory; begin with 07, as \"0700\" or \"0750\""
        ));
    }
    if mode & 0o002 != 0 {
        return Err(format!(
            "0{mode:o} lets every user write what the agent relies on; take \"0700\" or \"0750\""
        ));
    }
    Ok(mode)
}

/// loguru's level names, with the other names that people know them by.
const LEVELS: [(&str, &str); 12] = [
    ("TRACE", "TRACE"),
    ("DEBUG", "DEBUG"),
    ("INFO", "INFO"),
    ("SUCCESS", "SUCCESS"),
    ("WARNING", "WARNING"),
    ("ERROR", "ERROR"),
    ("CRITICAL", "CRITICAL"),
    ("WARN", "WARNING"),
    ("ERR", "ERROR"),
    ("FATAL", "CRITICAL"),
    ("CRIT", "CRITICAL"),
    ("NOTSET", "TRACE"),
];

fn level(v: &Value) -> Result<String, Wrong> {
    let text = v.text()?;
    LEVELS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()))
        .map(|(_, level)| (*level).to_owned())
        .ok_or_else(|| {
            let names: Vec<&str> = LEVELS.iter().take(7).map(|(n, _)| *n).collect();
            format!("{text:?} is not a level; the levels are {}", names.join(", "))
        })
}

/// `HOST:PORT`; the host may be a name.
fn address(v: &Value) -> Result<String, Wrong> {
    let text = v.text()?.trim().to_owned();
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    if text.is_empty() || port.is_some_and(|(_, p)| p.parse::<u16>().is_ok()) {
        return Ok(text);
    }
    Err(format!(
        "expected an address such as \"127.0.0.1:9108\", found {text:?}"
    ))
}

/// The known name nearest to `name`, if any is near: by spelling, or the same key in another section.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let leaf = |n: &str| n.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let distance = |k: &str| strsim::damerau_levenshtein(&lower, k);
    // The right key in a section near the one that was typed, as `store.path` for `store.sqlite.path`.
    let section = lower.split('.').next().unwrap_or_default();
    let deeper = known
        .clone()
        .find(|k| leaf(k) == leaf(&lower) && k.split('.').next() == Some(section));
    let by_spelling = known
        .clone()
        .min_by_key(|k| distance(k))
        .filter(|k| distance(k) <= 1 + k.len() / 5);
    let by_leaf = known
        .map(|k| (strsim::damerau_levenshtein(&leaf(&lower), &leaf(k)), k))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, k)| *distance <= leaf(k).len() / 5)
        .map(|(_, k)| k);
    deeper.or(by_spelling).or(by_leaf)
}
