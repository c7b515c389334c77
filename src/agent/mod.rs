//! The composition root of `run`: opens, connects, starts and stops, in this order.
//!
//! **Start**: state → store → rules and tracker → driver → socket and files → ready. **Stop**: the first signal stops
//! the sources only; the rest drains through what they feed until the deadline, what cannot be read again is spooled, a
//! last checkpoint, exit. A second signal exits at once, which is safe because a kill is.
//!
//! One runtime thread drives sockets, requests and timers; files are read and parsed on a thread of their own, the
//! embedded store writes on another, and the state is written on threads that may block.

pub mod chores;
mod footprint;
mod heart;
pub mod monitoring;
mod once;
pub mod retention;
pub mod spooler;
mod start;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::pipeline::driver::{Drained, Driver, DriverStatus, Phase};
use crate::pipeline::intake::PipelineIntake;
use crate::record::{Micros, Rules};
use crate::runs::Tracker;
use crate::runs::liveness::liveness;
use crate::source::files::{Command, FilesStatus, OnceReport, Tailer};
use crate::source::socket;
use crate::state::dead_letters::DeadLetters;
use crate::state::{Loaded, State, modes};
use crate::store::{Sink, Store, WriteError};
use crate::telemetry::snapshot::Meter;
use crate::telemetry::{Counters, get};

/// What was asked of `run`.
pub struct RunOptions {
    /// Ship what is there now, wait until it is stored, and end.
    pub once: bool,
    /// With `once`: how long an unreachable store is waited for.
    pub timeout: Duration,
    /// Show a progress bar on standard error.
    pub progress: bool,
    /// Reads the configuration again, for SIGHUP.
    pub reload: Box<dyn Fn() -> Result<Settings, String> + Send>,
}

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Configuration, or a data directory that is in use, unwritable or damaged beyond repair.
    #[error("{0}")]
    Unusable(String),
    /// `--once`: the store is unreachable or refuses.
    #[error("{0}")]
    Store(String),
}

/// Runs the agent until it is told to stop, or, with `once`, until everything is stored.
///
/// # Errors
/// See [`AgentError`].
pub fn run(mut settings: Settings, options: RunOptions) -> Result<(), AgentError> {
    footprint::limit_allocator();
    footprint::limit_batches(&mut settings);
    footprint::map_in_stretches();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|e| AgentError::Unusable(format!("cannot start: {e}")))?;
    let result = runtime.block_on(Agent::start(settings, options));
    // A request that hangs must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

pub use crate::source::archive::Kind as ArchiveKind;
pub use crate::source::decoder::unpack;

/// The time, everywhere in the agent.
fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

/// The parts that are open while the agent runs.
struct Agent {
    settings: Settings,
    options: RunOptions,
    state: Arc<State>,
    store: Arc<Store>,
    intake: Arc<PipelineIntake>,
    dead_letters: Arc<DeadLetters>,
    counters: Arc<Counters>,
    files: Arc<FilesStatus>,
}

impl Agent {
    async fn start(settings: Settings, options: RunOptions) -> Result<(), AgentError> {
        let unusable = |e: &dyn std::fmt::Display| AgentError::Unusable(e.to_string());
        modes::prepare(&settings).map_err(|e| {
            unusable(&format!(
                "cannot use the data directory {}: {e}",
                settings.data_dir.display()
            ))
        })?;
        let rules = Arc::new(Rules::new(&settings).map_err(|e| unusable(&e))?);
        let (state, loaded) = State::open(&settings.data_dir, settings.spool.max_size).map_err(|e| unusable(&e))?;
        if let Some(what) = &loaded.recovered {
            tracing::error!("{what}");
        }
        let store = Arc::new(Store::open_writer(&settings).map_err(|e| AgentError::Store(e.to_string()))?);
        let dead_letters = Arc::new(state.dead_letters());
        let counters = Arc::new(Counters::default());
        let tracker = Tracker::new(&settings.host, &loaded.runs);
        let intake = PipelineIntake::new(
            rules,
            tracker,
            &settings.host,
            &settings.batch,
            Arc::clone(&counters),
            now,
        );
        let agent = Agent {
            state: Arc::new(state),
            store,
            intake: Arc::new(intake),
            dead_letters,
            counters,
            files: Arc::new(FilesStatus::default()),
            settings,
            options,
        };
        agent.prepare_store().await?;
        agent.serve(loaded).await
    }

    /// Creates what is missing in the store. With `once` this decides whether to go on; else it is tried again until
    /// it works, while files and spool hold the records.
    async fn prepare_store(&self) -> Result<(), AgentError> {
        let deadline = Instant::now() + self.options.timeout;
        loop {
            // A server that never answers must not keep files and clients waiting.
            let left = deadline.saturating_duration_since(Instant::now()).max(start::MOMENT);
            let patience = if self.options.once { left } else { start::MOMENT };
            let error = match tokio::time::timeout(patience, self.store.ensure_schema(false)).await {
                Ok(Ok(objects)) => {
                    start::say_schema(&objects);
                    return Ok(());
                }
                Ok(Err(e)) => e,
                Err(_) => WriteError::Away(format!("no answer within {patience:.0?}")),
            };
            let refused = matches!(error, WriteError::Refused(_));
            if self.options.once && (refused || Instant::now() >= deadline) {
                return Err(AgentError::Store(format!("the store cannot be used: {error}")));
            }
            if !self.options.once {
                tracing::error!("the store cannot be used yet, it is tried again; nothing is lost: {error}");
                let (store, wait) = (Arc::clone(&self.store), self.settings.retry.max);
                tokio::spawn(async move { start::prepare_later(store, wait).await });
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn serve(self, loaded: Loaded) -> Result<(), AgentError> {
        let freed = Arc::new(Notify::new());
        let driver = Driver::new(
            &self.settings,
            Arc::clone(&self.intake),
            Arc::clone(&self.state),
            Arc::clone(&self.store),
            Arc::clone(&self.counters),
            Arc::clone(&freed),
            now,
        );
        let driver_status = driver.status();
        let (phase, phase_rx) = watch::channel(Phase::Running);
        let mut driving = tokio::spawn(driver.run(phase_rx));

        let (cancel, hurry) = (CancellationToken::new(), CancellationToken::new());
        let mut sockets = JoinSet::new();
        let socket = self.listen(&mut sockets, &cancel, &freed, &hurry)?;
        let listening = socket.clone();
        let (commands, reports, tailing) = self.tail(loaded)?;

        let mut chores = JoinSet::new();
        let publisher = self
            .begin_chores(&mut chores, socket, Arc::clone(&driver_status), &cancel)
            .await?;
        if !self.options.once {
            start::say_ready(&self.settings, listening.as_deref());
        }
        footprint::release();
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);

        let mut store = once::Store::new(&self.options, Arc::clone(&driver_status), Arc::clone(&self.counters));
        let ended = self.until_told(&commands, reports, &mut driving, &mut store).await;
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);

        if let Told::Finished(report) = &ended
            && report.broken > 0
        {
            tracing::warn!(count = report.broken, "archives could not be read and are left out");
        }
        // The sources stop first; what they handed over drains. One deadline holds for both.
        let wait = match &ended {
            Told::GivenUp => Duration::ZERO,
            _ if self.options.once => self.options.timeout,
            _ => self.settings.shutdown.deadline,
        };
        let deadline = Instant::now() + wait;
        let _ = commands.send(Command::Stop);
        self.intake.close_files();
        cancel.cancel();
        let _ = tokio::task::spawn_blocking(move || tailing.join()).await;
        joined_all(sockets, deadline, &hurry).await;
        if self.options.once {
            self.intake.conclude(None, i64::MAX, liveness);
        }
        let _ = phase.send(Phase::Draining { deadline });
        let drained = match ended {
            Told::DriverEnded(result) => result,
            Told::Stop | Told::Finished(_) | Told::GivenUp => drained(driving, &phase, &mut store).await,
        };
        chores.abort_all();
        publisher.lock().await.publish(now());
        self.store.close().await;
        self.finish(drained)
    }

    /// What the agent does beside shipping, each in a task of its own: status, alerts, metrics, retention.
    async fn begin_chores(
        &self,
        tasks: &mut JoinSet<()>,
        socket: Option<PathBuf>,
        driver: Arc<Mutex<DriverStatus>>,
        cancel: &CancellationToken,
    ) -> Result<Arc<tokio::sync::Mutex<chores::Publisher>>, AgentError> {
        let watching = monitoring::Watching::new(&self.settings, Arc::clone(&self.counters));
        monitoring::listen(&self.settings.monitoring.listen, watching.watched(), cancel.clone())
            .await
            .map_err(AgentError::Unusable)?;
        let size = watching.store_size();
        let beating = Arc::clone(&driver);
        let publisher = chores::Publisher {
            data_dir: self.settings.data_dir.clone(),
            counters: Arc::clone(&self.counters),
            files: Arc::clone(&self.files),
            socket,
            driver,
            intake: Arc::clone(&self.intake),
            dead_letters: Arc::clone(&self.dead_letters),
            state: Arc::clone(&self.state),
            fixed: chores::Publisher::fixed(&self.settings, now()),
            spool_max: self.settings.spool.max_size,
            meter: Meter::default(),
            last: None,
            listed: None,
            watching,
        };
        let publisher = Arc::new(tokio::sync::Mutex::new(publisher));
        tasks.spawn(chores::keep(Arc::clone(&publisher), self.settings.clone(), now));
        if !self.options.once {
            tasks.spawn(heart::beat(Arc::clone(&self.files), beating, Arc::clone(&self.intake)));
            let retention = retention::Retention::new(&self.settings, Arc::clone(&self.store), size, now);
            tasks.spawn(retention.keep());
        }
        Ok(publisher)
    }

    /// The socket, if it is not off.
    fn listen(
        &self,
        tasks: &mut JoinSet<()>,
        cancel: &CancellationToken,
        freed: &Arc<Notify>,
        hurry: &CancellationToken,
    ) -> Result<Option<PathBuf>, AgentError> {
        if self.options.once {
            return Ok(None);
        }
        let listener = socket::bind(&self.settings.socket, &self.settings.data_dir)
            .map_err(|e| AgentError::Unusable(e.to_string()))?;
        let Some(listener) = listener else { return Ok(None) };
        let path = listener.path.clone();
        let (intake, requests) = spooler::SpoolIntake::new(
            Arc::clone(&self.intake),
            Arc::clone(&self.state),
            Arc::clone(&self.counters),
        );
        let limits = socket::Limits {
            max_line: usize::try_from(self.settings.files.max_line).unwrap_or(usize::MAX),
        };
        let serving = socket::serve(listener, Arc::new(intake), limits, cancel.clone());
        tasks.spawn(async move {
            if let Err(e) = serving.await {
                tracing::error!("the socket cannot be served: {e}");
            }
        });
        let spooling = spooler::Spooling {
            state: Arc::clone(&self.state),
            intake: Arc::clone(&self.intake),
            freed: Arc::clone(freed),
            when_full: self.settings.spool.when_full,
            counters: Arc::clone(&self.counters),
            hurry: hurry.clone(),
        };
        tasks.spawn(spooler::serve(requests, spooling));
        Ok(Some(path))
    }

    /// The thread that reads files.
    #[allow(clippy::type_complexity)]
    fn tail(
        &self,
        loaded: Loaded,
    ) -> Result<
        (
            mpsc::Sender<Command>,
            tokio::sync::oneshot::Receiver<OnceReport>,
            std::thread::JoinHandle<()>,
        ),
        AgentError,
    > {
        let tailer = Tailer::new(
            &self.settings.files,
            &self.settings.data_dir,
            loaded.streams,
            loaded.next_stream_id,
            Arc::clone(&self.intake) as Arc<dyn crate::source::Intake>,
            Arc::clone(&self.files),
        )
        .map_err(|e| AgentError::Unusable(e.to_string()))?
        .unpacking_by(PathBuf::from("/proc/self/exe"));
        let (commands, rx) = mpsc::channel();
        let (report, reports) = tokio::sync::oneshot::channel();
        let once = self.options.once;
        let thread = std::thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || {
                if once {
                    let _ = report.send(tailer.run_once(&rx));
                } else {
                    tailer.run(&rx);
                }
            })
            .map_err(|e| AgentError::Unusable(format!("cannot start the thread that reads files: {e}")))?;
        Ok((commands, reports, thread))
    }

    /// Waits for a signal, for the end of `once`, or for the driver to fail; reloads on SIGHUP.
    async fn until_told(
        &self,
        commands: &mpsc::Sender<Command>,
        mut reports: tokio::sync::oneshot::Receiver<OnceReport>,
        driving: &mut tokio::task::JoinHandle<Drained>,
        store: &mut once::Store,
    ) -> Told {
        let (Ok(mut term), Ok(mut int), Ok(mut hup)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::hangup()),
        ) else {
            tracing::error!("signals cannot be received; stopping");
            return Told::Stop;
        };
        let bar = start::Progress::new(self.options.progress);
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hup.recv() => self.reload(commands),
                report = &mut reports, if self.options.once => return report.map_or(Told::Stop, Told::Finished),
                ended = &mut *driving => return Told::DriverEnded(joined(ended)),
                () = store.given_up() => return Told::GivenUp,
                _ = beat.tick(), if self.options.progress => bar.show(&self.files, get(&self.counters.stored)),
            }
        }
        tracing::info!("stopping; a second signal ends it at once");
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::warn!("ended at once; what was not finished is taken up at the next start");
            std::process::exit(130);
        });
        Told::Stop
    }

    /// Reads the configuration again and applies what can change while the agent runs.
    fn reload(&self, commands: &mpsc::Sender<Command>) {
        let mut fresh = match (self.options.reload)() {
            Ok(fresh) => fresh,
            Err(e) => {
                tracing::error!("the configuration is not taken over, the old one stays in force: {e}");
                return;
            }
        };
        footprint::limit_batches(&mut fresh);
        match Rules::new(&fresh) {
            Ok(rules) => self.intake.set_rules(Arc::new(rules)),
            Err(e) => {
                tracing::error!("the configuration is not taken over, the old one stays in force: {e}");
                return;
            }
        }
        let (include, exclude) = (fresh.files.include.clone(), fresh.files.exclude.clone());
        tracing::info!(?include, ?exclude, "the configuration was read again");
        for name in start::unchanging(&self.settings, &fresh) {
            tracing::warn!("a change of {name} takes effect at the next start");
        }
        let _ = commands.send(Command::Reload { include, exclude });
    }

    fn finish(&self, drained: Result<Drained, AgentError>) -> Result<(), AgentError> {
        let stored = get(&self.counters.stored);
        match drained? {
            Drained::Stored => {
                if self.options.once {
                    start::note(format_args!("{stored} records stored{}", start::marks(&self.counters)));
                } else {
                    tracing::info!(stored, "everything is stored; stopped");
                }
                Ok(())
            }
            Drained::Deadline { last_error } => {
                let why = last_error.unwrap_or_else(|| "the deadline came first".to_owned());
                if self.options.once {
                    return Err(AgentError::Store(format!("not everything could be stored: {why}")));
                }
                tracing::warn!("stopped before everything was stored; the rest follows at the next start: {why}");
                Ok(())
            }
        }
    }
}

/// Why the agent stops.
enum Told {
    Stop,
    Finished(OnceReport),
    /// `once`: the store takes nothing.
    GivenUp,
    DriverEnded(Result<Drained, AgentError>),
}

/// The driver's end; at once, where `--once` has waited for the store long enough.
async fn drained(
    mut driving: tokio::task::JoinHandle<Drained>,
    phase: &watch::Sender<Phase>,
    store: &mut once::Store,
) -> Result<Drained, AgentError> {
    tokio::select! {
        ended = &mut driving => return joined(ended),
        () = store.given_up() => {}
    }
    let _ = phase.send(Phase::Draining {
        deadline: Instant::now(),
    });
    joined(driving.await)
}

/// What clients of the socket have written is taken in so much time even if the deadline is nearer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Waits for the socket's tasks: until the deadline they may wait for room in the spool or on the disk, then not.
async fn joined_all(mut tasks: JoinSet<()>, deadline: Instant, hurry: &CancellationToken) {
    let mut patience = std::pin::pin!(tokio::time::sleep_until(
        deadline.max(Instant::now() + LAST_WORDS).into()
    ));
    loop {
        tokio::select! {
            ended = tasks.join_next() => if ended.is_none() { return },
            () = &mut patience, if !hurry.is_cancelled() => hurry.cancel(),
        }
    }
}

fn joined(ended: Result<Drained, tokio::task::JoinError>) -> Result<Drained, AgentError> {
    ended.map_err(|e| AgentError::Unusable(format!("the pipeline failed: {e}")))
}
