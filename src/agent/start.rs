//! What a person sees of the agent: the first lines, the progress of `--once`, the closing line.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::AgentError;
use super::signals::{Asked, Signals};
use crate::config::{Settings, StoreKind};
use crate::source::files::FilesStatus;
use crate::state::{Loaded, OpenError, State};
use crate::store::{SchemaAction, SchemaObject, Sink, Store};
use crate::telemetry::stderr::Stderr;
use crate::telemetry::{Counters, get};

/// How long a store is waited for before anything else begins.
pub const MOMENT: Duration = Duration::from_secs(5);

/// A full disk is looked at again after this time.
const FULL: Duration = Duration::from_secs(2);

/// Opens the state. A full disk is waited for, as while the agent runs: after a power cut the agent has to come back by
/// itself once there is room. `None`: it was told to stop meanwhile.
///
/// # Errors
/// A data directory that cannot be used; with `once` also a full disk.
pub async fn open_state(
    settings: &Settings,
    once: bool,
    signals: &mut Signals,
) -> Result<Option<(State, Loaded)>, AgentError> {
    let mut said = false;
    loop {
        let error = match State::open(&settings.data_dir, settings.spool.max_size) {
            Ok((state, loaded)) => {
                if said {
                    tracing::info!("there is room on the disk again; starting");
                }
                if let Some(what) = &loaded.recovered {
                    tracing::error!("{what}");
                }
                return Ok(Some((state, loaded)));
            }
            Err(e @ OpenError::Full { .. }) if !once => e,
            Err(e) => return Err(AgentError::Unusable(e.to_string())),
        };
        if std::mem::replace(&mut said, true) {
            tracing::debug!("the disk is still full: {error}");
        } else {
            tracing::error!("{error}; the start waits until there is room");
        }
        // A service manager must not take the waiting for a start that hangs.
        let micros = u32::try_from((FULL * 15).as_micros()).unwrap_or(u32::MAX);
        let _ = sd_notify::notify(
            false,
            &[
                sd_notify::NotifyState::ExtendTimeoutUsec(micros),
                sd_notify::NotifyState::Status("the disk of the data directory is full"),
            ],
        );
        tokio::select! {
            () = tokio::time::sleep(FULL) => {}
            asked = signals.asked.recv() => if asked != Some(Asked::Reload) { return Ok(None) },
        }
    }
}

/// Says on standard error what the agent watches, where it listens and stores, and what to type next.
pub fn say_ready(settings: &Settings, socket: Option<&Path>) {
    let store = match settings.store.kind {
        StoreKind::Sqlite => settings.store.sqlite_path.display().to_string(),
        StoreKind::Arangodb => {
            let a = &settings.store.arangodb;
            format!("{} (database {})", a.endpoints.join(", "), a.database)
        }
    };
    note(format_args!("watching   {}", settings.files.include.join("  ")));
    match socket {
        Some(path) => note(format_args!("listening  {}", path.display())),
        None => note("listening  nowhere (socket.path is \"off\")"),
    }
    note(format_args!("storing in {store}"));
    note("next       logagent status · logagent runs · logagent search TEXT · logagent errors");
}

/// A line on standard error. That nobody reads there is no reason to stop.
pub fn note(text: impl std::fmt::Display) {
    let _ = Stderr.write_all(format!("{text}\n").as_bytes());
}

/// Says what was created in the store, and what differs there from what this version would make.
pub fn say_schema(objects: &[SchemaObject]) {
    let differ: Vec<&str> = objects
        .iter()
        .filter(|o| o.dry && o.action == SchemaAction::Updated)
        .map(|o| o.name.as_str())
        .collect();
    if !differ.is_empty() {
        tracing::warn!(
            "{} in the store differ from what this version makes, and are left as they are; `logagent init` changes them",
            differ.join(", ")
        );
    }
    for object in objects.iter().filter(|o| o.action != SchemaAction::Unchanged) {
        tracing::debug!(name = object.name, action = ?object.action, "schema");
    }
}

/// Tries to prepare the store until it works.
pub async fn prepare_later(store: Arc<Store>, wait: Duration) {
    loop {
        tokio::time::sleep(wait.min(Duration::from_secs(5))).await;
        match store.create_missing().await {
            Ok(objects) => {
                say_schema(&objects);
                tracing::info!("the store is ready");
                return;
            }
            Err(e) => tracing::debug!("the store is still not ready: {e}"),
        }
    }
}

/// The keys that differ and only count at a start.
#[must_use]
pub fn unchanging(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let files = |s: &Settings| {
        let mut f = s.files.clone();
        f.include.clear();
        f.exclude.clear();
        f
    };
    let mut names = Vec::new();
    let mut differ = |name, differs| {
        if differs {
            names.push(name);
        }
    };
    differ("data_dir", old.data_dir != new.data_dir);
    differ("host", old.host != new.host);
    differ("[files] other than include and exclude", files(old) != files(new));
    differ("[socket]", old.socket != new.socket);
    differ("[store]", old.store != new.store);
    differ("[batch]", old.batch != new.batch);
    differ("[retry]", old.retry != new.retry);
    differ("[spool]", old.spool != new.spool);
    differ("[shutdown]", old.shutdown != new.shutdown);
    differ("[runs]", old.runs != new.runs);
    differ("[retention]", old.retention != new.retention);
    differ("[monitoring]", old.monitoring != new.monitoring);
    names
}

/// What happened to records beside being stored, for the closing line.
#[must_use]
pub fn marks(c: &Counters) -> String {
    let parts = [
        ("unparsed", get(&c.unparsed)),
        ("repaired", get(&c.repaired)),
        ("truncated", get(&c.truncated)),
        ("redacted", get(&c.redacted)),
        ("skipped", get(&c.skipped)),
        ("dropped", get(&c.dropped)),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        format!(" ({})", said.join(", "))
    }
}

/// The progress bar of `--once`: bytes read of bytes found, and records a second.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    #[must_use]
    pub fn new(shown: bool) -> Progress {
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} · {msg} · {eta} left");
        Progress(shown.then(|| match style {
            Ok(style) => ProgressBar::new(0).with_style(style),
            Err(_) => ProgressBar::new(0),
        }))
    }

    pub fn show(&self, files: &FilesStatus, stored: u64) {
        let Some(bar) = &self.0 else { return };
        let (found, read) = files.progress();
        bar.set_length(found);
        bar.set_position(read);
        let seconds = bar.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!("{stored} records, {:.0}/s", stored as f64 / seconds));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
