//! `init`: creates or upgrades what the store needs, and says what it did with each object.

use std::io::{self, Write};
use std::path::Path;

use super::Context;
use super::args;
use super::exit::{Exit, Failure};
use crate::config::{Settings, StoreKind};
use crate::store::{SchemaAction, SchemaObject, Sink, Store, WriteError};

/// Creates or upgrades; with `--dry-run` only says what would be done.
///
/// # Errors
/// A store that is unreachable or refuses.
pub(super) fn run(args: &args::Init, context: &Context) -> Result<Exit, Failure> {
    if !args.dry_run {
        context.prepare_writing()?;
    }
    let objects = super::block_on(ensure(&context.settings, args.dry_run))??;
    let mut out = io::stdout().lock();
    for object in &objects {
        writeln!(out, "{:16} {}", word(object), object.name)?;
    }
    Ok(Exit::Done)
}

/// Where the embedded store's file does not exist, a dry run must not make it: it asks an empty store in memory.
pub(super) async fn ensure(settings: &Settings, dry: bool) -> Result<Vec<SchemaObject>, Failure> {
    let missing = settings.store.kind == StoreKind::Sqlite && !settings.store.sqlite_path.exists();
    let mut settings = settings.clone();
    if dry && missing {
        settings.store.sqlite_path = Path::new(":memory:").to_owned();
    }
    let store = Store::open_writer(&settings)?;
    let done = store.ensure_schema(dry).await;
    // A log that is left behind would be read by every reader until an agent runs.
    store.close().await;
    done.map_err(|e| advised(&e, &settings))
}

/// An error of the store, with what to do about it where the store itself cannot know.
fn advised(error: &WriteError, settings: &Settings) -> Failure {
    match (error, settings.store.kind) {
        (WriteError::Away(_), StoreKind::Arangodb) => Failure::store(format!(
            "{error}; start the server, or say where it is: store.arangodb.endpoints or ARANGO_URL"
        )),
        (WriteError::Away(_), StoreKind::Sqlite) => Failure::store(format!(
            "{error}; `logagent status` tells whether an agent is at work on it"
        )),
        (WriteError::Refused(_), _) => Failure::store(error),
    }
}

fn word(object: &SchemaObject) -> &'static str {
    match (object.action, object.dry) {
        (SchemaAction::Created, false) => "created",
        (SchemaAction::Updated, false) => "updated",
        (SchemaAction::Created, true) => "would create",
        (SchemaAction::Updated, true) => "would update",
        (SchemaAction::Unchanged, _) => "unchanged",
    }
}
