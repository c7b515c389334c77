//! Who watches the agent: alerts, the command that they are told to, and the pages for scrapers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::supervisor::{MayEnd, Supervisor};
use crate::config::{Settings, StoreKind};
use crate::record::Micros;
use crate::store::Fill;
use crate::telemetry::alerts::{self, Alert, Change, Seen, Severity, Watch};
use crate::telemetry::http::{self, Watched};
use crate::telemetry::on_alert::Teller;
use crate::telemetry::snapshot::Snapshot;
use crate::telemetry::{Counters, prometheus};

/// How full the store is, as retention last saw it; `None` where it has no limit.
pub type StoreSize = Arc<Mutex<Option<Fill>>>;

/// Pages that cannot be served are tried again after this time.
const AGAIN: Duration = Duration::from_secs(10);

/// What of the agent's own cannot be written or read, while it cannot.
#[derive(Clone, Debug, Default)]
pub struct Stuck {
    pub state: Option<String>,
    pub spool: Option<String>,
}

/// Looks at each snapshot, says what begins and what ends, and keeps the snapshot for scrapers.
pub struct Watching {
    /// `None`: monitoring is off.
    watch: Option<Watch>,
    teller: Option<Teller>,
    watched: Watched,
    /// Directories whose disks must not fill up.
    places: Vec<PathBuf>,
    store_size: StoreSize,
    /// Dead letters at the last look.
    letters: Option<u64>,
    /// How many arrived since the start. Letters that were delivered again or dropped do not count back.
    refused: u64,
}

impl Watching {
    /// What `[monitoring]` asks for. Call it on the runtime.
    #[must_use]
    pub fn new(settings: &Settings, counters: Arc<Counters>, supervisor: &Supervisor) -> Watching {
        let m = &settings.monitoring;
        let on = !m.interval.is_zero();
        let mut places = vec![settings.data_dir.clone()];
        if settings.store.kind == StoreKind::Sqlite {
            places.extend(settings.store.sqlite_path.parent().map(Path::to_path_buf));
        }
        let command = Some(&m.on_alert).filter(|command| on && !command.is_empty());
        Watching {
            watch: on.then(|| Watch::new(m.alert_failure_percent)),
            teller: command.map(|command| {
                let (teller, work) = Teller::new(command.clone(), settings.host.clone());
                supervisor.task("alerts", MayEnd::Yes, work);
                teller
            }),
            watched: Watched {
                snapshot: Arc::default(),
                counters,
                faults: {
                    let supervisor = supervisor.clone();
                    Arc::new(move || supervisor.faults())
                },
            },
            places,
            store_size: StoreSize::default(),
            letters: None,
            refused: 0,
        }
    }

    /// What scrapers are shown.
    #[must_use]
    pub fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// Where retention says how much the store holds.
    #[must_use]
    pub fn store_size(&self) -> StoreSize {
        Arc::clone(&self.store_size)
    }

    /// Looks at a snapshot before it is published, and writes the alerts that are raised into it.
    pub fn look(&mut self, now: Micros, store_since: Micros, stuck: &Stuck, s: &mut Snapshot) {
        let before = self.letters.replace(s.dead_letters).unwrap_or(s.dead_letters);
        self.refused += s.dead_letters.saturating_sub(before);
        let filled = *self.store_size.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = filled.map(|f| alerts::Filled {
            bytes: f.bytes,
            limit: f.limit,
            over: f.over,
        });
        if let Some(watch) = &mut self.watch {
            let seen = Seen {
                now,
                snapshot: Some(s),
                store_since,
                refused: self.refused,
                disk: self.places.iter().filter_map(|p| disk(p)).min(),
                store_size: filled,
                first_unreadable_is_denied: denied(s),
                resident: prometheus::resident_bytes(),
                state_error: stuck.state.as_deref(),
                spool_error: stuck.spool.as_deref(),
            };
            for alert in watch.step(&seen) {
                log(&alert);
                if let Some(teller) = &self.teller {
                    teller.tell(alert);
                }
            }
            s.alerts = watch.words();
        }
        let mut shown = self.watched.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        // The pages need no list of sources.
        let sources = std::mem::take(&mut s.sources);
        shown.clone_from(s);
        s.sources = sources;
    }
}

/// Whether the first unreadable source may not be read by this user. It is not opened: it could be a pipe.
fn denied(s: &Snapshot) -> bool {
    let first = s.sources.iter().find(|source| source.state == "unreadable");
    first.is_some_and(|source| rustix::fs::access(source.path.as_str(), rustix::fs::Access::READ_OK).is_err())
}

/// Free bytes for this user, and all bytes, of the disk that holds `dir`.
fn disk(dir: &Path) -> Option<(u64, u64)> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

fn log(alert: &Alert) {
    let (name, message) = (alert.name, &alert.message);
    match (alert.state, alert.severity) {
        (Change::Cleared, _) => tracing::info!(alert = name, "{message}"),
        (Change::Raised, Severity::Warning) => tracing::warn!(alert = name, "{message}"),
        (Change::Raised, Severity::Error | Severity::Critical) => tracing::error!(alert = name, "{message}"),
    }
}

/// Serves the pages of `monitoring.listen` until `cancel`, begun anew where they fail; an address that cannot be had is an
/// error at the start.
///
/// # Errors
/// The address is in use, or not this machine's.
pub async fn listen(
    listen: &str,
    watched: Watched,
    cancel: CancellationToken,
    supervisor: &Supervisor,
) -> Result<(), String> {
    if listen.is_empty() {
        return Ok(());
    }
    let mut first = Some(http::bind(listen).await?);
    let address = listen.to_owned();
    supervisor.restarting("pages", move || {
        let (listener, address) = (first.take(), address.clone());
        serve(listener, address, watched.clone(), cancel.clone())
    });
    Ok(())
}

async fn serve(mut listener: Option<TcpListener>, address: String, watched: Watched, cancel: CancellationToken) {
    while !cancel.is_cancelled() {
        let bound = match listener.take() {
            Some(listener) => Ok(listener),
            None => http::bind(&address).await,
        };
        let served = match bound {
            Ok(listener) => http::serve(listener, watched.clone(), cancel.clone().cancelled_owned())
                .await
                .map_err(|e| e.to_string()),
            Err(e) => Err(e),
        };
        let Err(e) = served else { return };
        tracing::error!("{e}: /metrics, /healthz and /readyz are not served now; tried again in {AGAIN:?}");
        tokio::select! { () = tokio::time::sleep(AGAIN) => {}, () = cancel.cancelled() => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let sources = Sources {
            env: vars.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            dir: std::env::temp_dir(),
            ..Sources::default()
        };
        Settings::load(&sources).unwrap().0
    }

    #[tokio::test]
    async fn dead_letters_that_arrive_raise_an_alert_that_the_snapshot_shows() {
        let mut watching = Watching::new(&settings(&[]), Arc::default(), &Supervisor::new().0);
        let with = |letters| Snapshot {
            dead_letters: letters,
            ..Snapshot::default()
        };
        let mut old = with(5);
        watching.look(1_000_000, 0, &Stuck::default(), &mut old);
        assert!(old.alerts.is_empty(), "those of earlier are no news: {:?}", old.alerts);
        watching.look(2_000_000, 0, &Stuck::default(), &mut with(0));
        let mut fresh = with(2);
        watching.look(3_000_000, 0, &Stuck::default(), &mut fresh);
        assert!(
            fresh.alerts.iter().any(|a| a.contains("refused 2 records")),
            "{:?}",
            fresh.alerts
        );
        let shown = watching.watched().snapshot.lock().unwrap().alerts.clone();
        assert_eq!(shown, fresh.alerts);
    }

    #[tokio::test]
    async fn monitoring_that_is_off_raises_nothing() {
        let mut watching = Watching::new(
            &settings(&[("ENABLE_MONITORING", "false")]),
            Arc::default(),
            &Supervisor::new().0,
        );
        watching.look(1, 0, &Stuck::default(), &mut Snapshot::default());
        let mut s = Snapshot {
            dead_letters: 9,
            ..Snapshot::default()
        };
        watching.look(2, 0, &Stuck::default(), &mut s);
        assert!(s.alerts.is_empty());
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_is_an_error_and_none_is_none() {
        let supervisor = Supervisor::new().0;
        let watched = Watching::new(&settings(&[]), Arc::default(), &supervisor).watched();
        let cancel = CancellationToken::new();
        assert_eq!(listen("", watched.clone(), cancel.clone(), &supervisor).await, Ok(()));
        let error = listen("192.0.2.1:9", watched, cancel, &supervisor).await.unwrap_err();
        assert!(error.contains("192.0.2.1:9"), "{error}");
    }
}
