//! Settings from environment variables.
//!
//! Two families: the variables of the plan that logagent grew out of (`ARANGO_URL`, `LOG_BATCH_SIZE`, …), kept as
//! aliases, and `LOGAGENT_<SECTION>_<KEY>` for every key. An empty variable counts as unset, since service files and
//! compose files pass on variables that nobody has set. Within the environment the longer, particular name wins.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keys::{Given, KEYS, Origin, nearest};
use super::load::{Problem, Warning};
use super::value::Value;

/// Variables by name, with the `.env` file that each came from.
pub(super) type Variables = BTreeMap<String, (String, Option<PathBuf>)>;

/// Variables that are read elsewhere, and are not keys.
const OTHERS: [&str; 2] = ["LOGAGENT_CONFIG", "LOGAGENT_LOG"];

/// Variables of this prefix belong to the test suite.
const TESTS: &str = "LOGAGENT_TEST_";

/// How the text of an alias becomes the text of its key.
type Rewrite = fn(&str) -> String;

fn same(text: &str) -> String {
    text.to_owned()
}

/// A number of seconds, whole or not; other text is passed on, so that a unit is understood too.
fn seconds(text: &str) -> String {
    match text.trim().parse::<f64>() {
        Ok(s) if (0.0..1e9).contains(&s) => format!("{}ms", (s * 1000.0).round()),
        _ => text.to_owned(),
    }
}

fn megabytes(text: &str) -> String {
    match text.trim().parse::<f64>() {
        Ok(_) => format!("{}MB", text.trim()),
        Err(_) => text.to_owned(),
    }
}

const ALIASES: [(&str, &str, Rewrite); 11] = [
    ("ARANGO_URL", "store.arangodb.endpoints", same),
    ("ARANGO_USERNAME", "store.arangodb.username", same),
    ("ARANGO_PASSWORD", "store.arangodb.password", same),
    ("ARANGO_DATABASE", "store.arangodb.database", same),
    ("LOG_BATCH_SIZE", "batch.max_records", same),
    ("LOG_FLUSH_INTERVAL", "batch.flush_interval", seconds),
    ("LOG_BUFFER_DIR", "data_dir", same),
    ("LOG_MAX_BUFFER_SIZE_MB", "spool.max_size", megabytes),
    ("LOG_RETENTION_DAYS", "retention.days", same),
    ("MONITORING_INTERVAL", "monitoring.interval", seconds),
    ("ALERT_LOG_FAILURE_THRESHOLD", "monitoring.alert_failure_percent", same),
];

/// `files.max_line` → `LOGAGENT_FILES_MAX_LINE`.
pub(super) fn variable_of(key: &str) -> String {
    format!("LOGAGENT_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The values that the environment gives, weakest first.
pub(super) fn read(vars: &Variables, problems: &mut Vec<Problem>) -> Vec<Given> {
    let mut given = Vec::new();
    let found = |name: &str| {
        let (text, dotenv) = vars.get(name).filter(|(text, _)| !text.trim().is_empty())?;
        let origin = Origin::Variable {
            name: name.to_owned(),
            dotenv: dotenv.clone(),
        };
        Some((text.clone(), origin))
    };
    let mut push = |key: &str, text: String, origin: Origin| {
        given.push(Given {
            key: key.to_owned(),
            value: Value::Untyped(text),
            origin,
        });
    };
    if let Some((_, origin)) = found("ARANGO_URL") {
        push("store.kind", "arangodb".to_owned(), origin);
    }
    for (name, key, rewrite) in ALIASES {
        if let Some((text, origin)) = found(name) {
            push(key, rewrite(&text), origin);
        }
    }
    // After MONITORING_INTERVAL: what is off is off.
    if let Some((text, origin)) = found("ENABLE_MONITORING") {
        match Value::Untyped(text).bool() {
            Ok(true) => {}
            Ok(false) => push("monitoring.interval", "0s".to_owned(), origin),
            Err(wrong) => problems.push(Problem::at(&origin, wrong)),
        }
    }
    for key in KEYS {
        if let Some((text, origin)) = found(&variable_of(key.name)) {
            push(key.name, text, origin);
        }
    }
    // The real environment wins over `.env`, also by another name of the same key.
    given.sort_by_key(|g| matches!(g.origin, Origin::Variable { dotenv: None, .. }));
    given
}

/// Variables that look like ours but are none: nobody reads them, which is never what was meant.
pub(super) fn misspelt(vars: &Variables) -> Vec<Warning> {
    let known: Vec<String> = KEYS
        .iter()
        .map(|k| variable_of(k.name))
        .chain(OTHERS.iter().map(ToString::to_string))
        .collect();
    vars.keys()
        .filter(|name| name.to_ascii_uppercase().starts_with("LOGAGENT_") && !name.starts_with(TESTS))
        .filter(|name| !known.contains(name))
        .map(|name| {
            let near = nearest_variable(name, &known);
            Warning(match near {
                Some(k) => format!("environment variable {name} is not known and has no effect; did you mean {k}?"),
                None => format!("environment variable {name} is not known and has no effect"),
            })
        })
        .collect()
}

fn nearest_variable<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let stem = |n: &str| n.get("LOGAGENT_".len()..).unwrap_or_default().to_ascii_lowercase();
    let name = stem(name);
    let stems: Vec<String> = known.iter().map(|k| stem(k)).collect();
    let near = nearest(&name, stems.iter().map(String::as_str))
        .map(str::to_owned)
        .or_else(|| {
            // The section was left out, as in LOGAGENT_MAX_LINE.
            let tail = format!("_{name}");
            stems.iter().find(|s| s.ends_with(&tail)).cloned()
        })?;
    stems
        .iter()
        .position(|s| *s == near)
        .and_then(|i| known.get(i))
        .map(String::as_str)
}
