//! The composition root of `run`: opens, connects, starts and stops, in this order.
//!
//! **Start**: state → store → rules and tracker → driver → socket and files → ready. **Stop**: the first signal stops
//! the sources only; the rest drains through what they feed until the deadline, what cannot be read again is spooled, a
//! last checkpoint, exit. One deadline holds for all of it, whatever hangs ([`signals`]). A second signal exits at once,
//! which is safe because a kill is.
//!
//! One runtime thread drives sockets, requests and timers, and nothing on it blocks: files are read and parsed on a thread
//! of their own, the embedded store writes on another, the state on a third, the status on a fourth. All threads and tasks
//! belong to the [`supervisor`], which notices when one ends.

pub mod chores;
mod footprint;
mod heart;
pub mod monitoring;
mod once;
mod place;
mod recall;
pub mod retention;
pub mod signals;
pub mod spooler;
mod start;
mod stop;
pub mod supervisor;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::signals::{Asked, Signals};
use self::supervisor::{Fault, Joined, MayEnd, Supervisor};
use crate::config::Settings;
use crate::pipeline::committer::Committer;
use crate::pipeline::driver::{Drained, Driver, DriverStatus, Phase};
use crate::pipeline::intake::PipelineIntake;
use crate::record::{Micros, Rules};
use crate::runs::Tracker;
use crate::source::files::{Command, FilesStatus, OnceReport, Tailer};
use crate::source::socket;
use crate::state::Loaded;
use crate::state::dead_letters::DeadLetters;
use crate::state::modes;
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
    /// A part of the agent failed, or was ended by force.
    #[error("{0}; the agent ends, and what was not finished is taken up at the next start")]
    Failed(Fault),
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
        .map_err(|e| cannot_start(&e))?;
    let (supervisor, faults) = Supervisor::new();
    let patience = if options.once {
        options.timeout
    } else {
        settings.shutdown.deadline
    };
    let mut signals = Signals::listen(&supervisor, patience).map_err(|e| cannot_start(&e))?;
    let result = runtime.block_on(Agent::start(settings, options, supervisor, faults, &mut signals));
    // A request that hangs must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

fn cannot_start(e: &dyn std::fmt::Display) -> AgentError {
    AgentError::Unusable(format!("cannot start: {e}"))
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
    supervisor: Supervisor,
    committer: Committer,
    store: Arc<Store>,
    intake: Arc<PipelineIntake>,
    dead_letters: Arc<DeadLetters>,
    counters: Arc<Counters>,
    files: Arc<FilesStatus>,
}

impl Agent {
    async fn start(
        settings: Settings,
        options: RunOptions,
        supervisor: Supervisor,
        faults: tokio::sync::mpsc::Receiver<Fault>,
        signals: &mut Signals,
    ) -> Result<(), AgentError> {
        let unusable = |e: &dyn std::fmt::Display| AgentError::Unusable(e.to_string());
        modes::prepare(&settings).map_err(|e| {
            unusable(&format!(
                "cannot use the data directory {}: {e}",
                settings.data_dir.display()
            ))
        })?;
        let rules = Arc::new(Rules::new(&settings).map_err(|e| unusable(&e))?);
        let Some((state, loaded)) = start::open_state(&settings, options.once, signals).await? else {
            return Ok(());
        };
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
        intake.recall_by(recall::recall(&settings));
        let intake = Arc::new(intake);
        let (committer, work) = Committer::new(Arc::new(state), Arc::clone(&intake));
        supervisor
            .thread("state", MayEnd::No, move || work.run())
            .map_err(|e| cannot_start(&e))?;
        let agent = Agent {
            supervisor,
            committer,
            store,
            intake,
            dead_letters,
            counters,
            files: Arc::new(FilesStatus::default()),
            settings,
            options,
        };
        agent.prepare_store().await?;
        agent.serve(loaded, faults, signals).await
    }

    /// Creates what is missing in the store. With `once` this decides whether to go on; else it is tried again until
    /// it works, while files and spool hold the records.
    async fn prepare_store(&self) -> Result<(), AgentError> {
        let deadline = Instant::now() + self.options.timeout;
        loop {
            // A server that never answers must not keep files and clients waiting.
            let left = deadline.saturating_duration_since(Instant::now()).max(start::MOMENT);
            let patience = if self.options.once { left } else { start::MOMENT };
            let error = match tokio::time::timeout(patience, self.store.create_missing()).await {
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
                self.supervisor
                    .restarting("schema", move || start::prepare_later(Arc::clone(&store), wait));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn serve(
        self,
        loaded: Loaded,
        mut faults: tokio::sync::mpsc::Receiver<Fault>,
        signals: &mut Signals,
    ) -> Result<(), AgentError> {
        let freed = Arc::new(Notify::new());
        let driver = Driver::new(
            &self.settings,
            Arc::clone(&self.intake),
            self.committer.clone(),
            Arc::clone(&self.store),
            Arc::clone(&self.counters),
            Arc::clone(&freed),
            now,
        );
        let driver_status = driver.status();
        let (phase, phase_rx) = watch::channel(Phase::Running);
        let (part, _) = self.supervisor.part("delivery", MayEnd::No);
        let mut driving = tokio::spawn(async move {
            let _part = part;
            driver.run(phase_rx).await
        });

        let (cancel, hurry) = (CancellationToken::new(), CancellationToken::new());
        let mut sockets = JoinSet::new();
        let socket = self.listen(&mut sockets, &cancel, &freed, &hurry)?;
        let listening = socket.clone();
        let (commands, reports, tailing) = self.tail(loaded)?;

        let mut tasks = Vec::new();
        let status = self
            .begin_chores(&mut tasks, socket, Arc::clone(&driver_status), &cancel)
            .await?;
        if !self.options.once {
            start::say_ready(&self.settings, listening.as_deref());
        }
        footprint::release();
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);

        let mut store = once::Store::new(&self.options, Arc::clone(&driver_status), Arc::clone(&self.counters));
        let ended = self
            .until_told(&commands, reports, &mut driving, &mut store, &mut faults, signals)
            .await;
        let open = stop::Open {
            commands,
            tailing,
            sockets,
            cancel,
            hurry,
            phase,
            driving,
            status,
            tasks,
        };
        self.stop(ended, open, &mut store, signals).await
    }

    /// What the agent does beside shipping, each a part of its own: status, alerts, metrics, retention.
    async fn begin_chores(
        &self,
        tasks: &mut Vec<tokio::task::JoinHandle<()>>,
        socket: Option<PathBuf>,
        driver: Arc<Mutex<DriverStatus>>,
        cancel: &CancellationToken,
    ) -> Result<stop::Status, AgentError> {
        let watching = monitoring::Watching::new(&self.settings, Arc::clone(&self.counters), &self.supervisor);
        let pages = watching.watched();
        monitoring::listen(
            &self.settings.monitoring.listen,
            pages,
            cancel.clone(),
            &self.supervisor,
        )
        .await
        .map_err(AgentError::Unusable)?;
        let size = watching.store_size();
        let (beating, quiet) = (Arc::clone(&driver), Arc::new(Notify::new()));
        let publisher = chores::Publisher {
            data_dir: self.settings.data_dir.clone(),
            counters: Arc::clone(&self.counters),
            files: Arc::clone(&self.files),
            socket,
            driver,
            intake: Arc::clone(&self.intake),
            dead_letters: Arc::clone(&self.dead_letters),
            committer: self.committer.clone(),
            fixed: chores::Publisher::fixed(&self.settings, now()),
            spool_max: self.settings.spool.max_size,
            meter: Meter::default(),
            last: None,
            listed: None,
            watching,
            supervisor: self.supervisor.clone(),
            quiet: Arc::clone(&quiet),
        };
        let (stop, stopped) = mpsc::channel();
        let settings = self.settings.clone();
        let joined = self
            .supervisor
            .thread("status", MayEnd::No, move || {
                chores::keep(publisher, &settings, now, &stopped);
            })
            .map_err(|e| cannot_start(&e))?;
        if !self.options.once {
            self.begin_upkeep(tasks, beating, size, quiet);
        }
        Ok(stop::Status { stop, joined })
    }

    /// What goes on beside an agent that stays: the watchdog, rest after bursts, retention.
    fn begin_upkeep(
        &self,
        tasks: &mut Vec<tokio::task::JoinHandle<()>>,
        beating: Arc<Mutex<DriverStatus>>,
        size: monitoring::StoreSize,
        quiet: Arc<Notify>,
    ) {
        let (files, intake) = (Arc::clone(&self.files), Arc::clone(&self.intake));
        let supervisor = self.supervisor.clone();
        tasks.push(self.supervisor.restarting("watchdog", move || {
            heart::beat(
                Arc::clone(&files),
                Arc::clone(&beating),
                Arc::clone(&intake),
                supervisor.clone(),
            )
        }));
        let store = Arc::clone(&self.store);
        tasks.push(self.supervisor.restarting("upkeep", move || {
            let (store, quiet) = (Arc::clone(&store), Arc::clone(&quiet));
            async move {
                loop {
                    quiet.notified().await;
                    store.rest().await;
                }
            }
        }));
        let (settings, store) = (self.settings.clone(), Arc::clone(&self.store));
        tasks.push(self.supervisor.restarting("retention", move || {
            retention::Retention::new(&settings, Arc::clone(&store), Arc::clone(&size), now).keep()
        }));
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
            self.committer.clone(),
            Arc::clone(&self.counters),
        );
        let limits = socket::Limits {
            max_line: usize::try_from(self.settings.files.max_line).unwrap_or(usize::MAX),
        };
        let serving = socket::serve(listener, Arc::new(intake), limits, cancel.clone());
        let (accepting, _) = self.supervisor.part("socket", MayEnd::No);
        tasks.spawn(async move {
            let _part = accepting;
            if let Err(e) = serving.await {
                tracing::error!("the socket cannot be served: {e}");
            }
        });
        let spooling = spooler::Spooling {
            committer: self.committer.clone(),
            intake: Arc::clone(&self.intake),
            freed: Arc::clone(freed),
            when_full: self.settings.spool.when_full,
            counters: Arc::clone(&self.counters),
            hurry: hurry.clone(),
        };
        let (part, _) = self.supervisor.part("spooler", MayEnd::No);
        tasks.spawn(async move {
            let _part = part;
            spooler::serve(requests, spooling).await;
        });
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
            Joined,
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
        let may_end = if once { MayEnd::Yes } else { MayEnd::No };
        let joined = self
            .supervisor
            .thread("files", may_end, move || {
                if once {
                    let _ = report.send(tailer.run_once(&rx));
                } else {
                    tailer.run(&rx);
                }
            })
            .map_err(|e| cannot_start(&format!("no thread to read files: {e}")))?;
        Ok((commands, reports, joined))
    }

    /// Waits for a signal, for the end of `once`, or for a part to fail; reloads on SIGHUP.
    async fn until_told(
        &self,
        commands: &mpsc::Sender<Command>,
        mut reports: tokio::sync::oneshot::Receiver<OnceReport>,
        driving: &mut tokio::task::JoinHandle<Drained>,
        store: &mut once::Store,
        faults: &mut tokio::sync::mpsc::Receiver<Fault>,
        signals: &mut Signals,
    ) -> stop::Told {
        use stop::Told;
        let bar = start::Progress::new(self.options.progress);
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                asked = signals.asked.recv() => match asked {
                    Some(Asked::Reload) => self.reload(commands),
                    Some(Asked::Stop) => return Told::Stop,
                    None => return Told::Failed(Fault::of("signals", true)),
                },
                report = &mut reports, if self.options.once => {
                    return report.map_or_else(|_| Told::Failed(Fault::of("files", true)), Told::Finished);
                }
                fault = faults.recv() => return Told::Failed(fault.unwrap_or_else(|| Fault::of("supervisor", true))),
                ended = &mut *driving => {
                    let panicked = ended.is_err_and(|e| e.is_panic());
                    return Told::Failed(Fault::of("delivery", panicked));
                }
                () = store.given_up() => return Told::GivenUp,
                _ = beat.tick(), if self.options.progress => bar.show(&self.files, get(&self.counters.stored)),
            }
        }
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
}
