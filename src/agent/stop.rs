//! The stop: the sources first, then what they handed over, and one deadline for all of it.
//!
//! No step waits longer than the deadline, and none but spooling what cannot be read again begins behind it. A part that
//! hangs is left behind; should the runtime itself hang, the thread that hears signals ends the process.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::supervisor::{Fault, Joined};
use super::{Agent, AgentError, once, start};
use crate::pipeline::driver::{Drained, Phase};
use crate::runs::liveness::liveness;
use crate::source::files::{Command, OnceReport};
use crate::telemetry::get;

/// Why the agent stops.
pub enum Told {
    Stop,
    Finished(OnceReport),
    /// `once`: the store takes nothing.
    GivenUp,
    /// A part of the agent failed.
    Failed(Fault),
}

/// What clients of the socket have written is taken in so much time even if the deadline is nearer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What ended by a fault is tidied up in so much time.
const TIDY: Duration = Duration::from_secs(5);

/// The last status, and closing the store, take so long at most.
const CLOSING: Duration = Duration::from_secs(1);

/// The thread that publishes the status: it ends when the sender is dropped.
pub struct Status {
    pub stop: mpsc::Sender<()>,
    pub joined: Joined,
}

/// What is open while the agent runs.
pub struct Open {
    pub commands: mpsc::Sender<Command>,
    pub tailing: Joined,
    pub sockets: JoinSet<()>,
    pub cancel: CancellationToken,
    pub hurry: CancellationToken,
    pub phase: watch::Sender<Phase>,
    pub driving: JoinHandle<Drained>,
    pub status: Status,
    pub tasks: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Stops everything, by the deadline.
    pub(super) async fn stop(
        self,
        told: Told,
        open: Open,
        store: &mut once::Store,
        signals: &Signals,
    ) -> Result<(), AgentError> {
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
        self.supervisor.stopping();
        if let Told::Finished(report) = &told
            && report.broken > 0
        {
            tracing::warn!(count = report.broken, "archives could not be read and are left out");
        }
        let wait = match &told {
            Told::GivenUp => Duration::ZERO,
            Told::Failed(fault) => {
                tracing::error!("{fault}; stopping");
                self.settings.shutdown.deadline.min(TIDY)
            }
            _ if self.options.once => self.options.timeout,
            _ => self.settings.shutdown.deadline,
        };
        let deadline = Instant::now() + wait;
        signals.stop_by(deadline + LAST_WORDS);

        let _ = open.commands.send(Command::Stop);
        self.intake.close_files();
        open.cancel.cancel();
        // Whatever comes later has a part of the time left even if the reading of files hangs.
        if !open.tailing.by(Instant::now() + wait / 2 + CLOSING).await {
            tracing::error!("the reading of files hangs; it is left behind, and goes on at the next start");
        }
        joined_all(open.sockets, deadline, &open.hurry).await;
        if self.options.once {
            self.intake.conclude(None, i64::MAX, liveness);
        }
        let _ = open.phase.send(Phase::Draining { deadline });
        let drained = match told {
            Told::Failed(fault) => {
                if !open.driving.is_finished() {
                    let _ = open.driving.await;
                }
                Err(AgentError::Failed(fault))
            }
            Told::Stop | Told::Finished(_) | Told::GivenUp => drained(open.driving, &open.phase, store).await,
        };
        open.tasks.iter().for_each(JoinHandle::abort);
        drop(open.status.stop);
        let closing = Instant::now() + CLOSING;
        open.status.joined.by(closing).await;
        let _ = tokio::time::timeout_at(closing.into(), self.store.close()).await;
        self.finish(drained)
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

/// The driver's end; at once, where `--once` has waited for the store long enough.
async fn drained(
    mut driving: JoinHandle<Drained>,
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

/// Waits for the socket's tasks: until the deadline they may wait for room in the spool or on the disk, then not.
async fn joined_all(mut tasks: JoinSet<()>, deadline: Instant, hurry: &CancellationToken) {
    let hurry_at = deadline.max(Instant::now() + LAST_WORDS);
    let mut patience = std::pin::pin!(tokio::time::sleep_until(hurry_at.into()));
    let mut end = std::pin::pin!(tokio::time::sleep_until((hurry_at + CLOSING).into()));
    loop {
        tokio::select! {
            ended = tasks.join_next() => if ended.is_none() { return },
            () = &mut patience, if !hurry.is_cancelled() => hurry.cancel(),
            () = &mut end => {
                tracing::error!("clients of the socket are left behind: the disk does not take what they wrote");
                return;
            }
        }
    }
}

fn joined(ended: Result<Drained, tokio::task::JoinError>) -> Result<Drained, AgentError> {
    ended.map_err(|e| AgentError::Failed(Fault::of("delivery", e.is_panic())))
}
