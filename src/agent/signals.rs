//! Signals, on a thread of their own: they are heard whatever the rest of the agent waits for, and a stop ends by its
//! deadline even if a part hangs.
//!
//! The first SIGTERM or SIGINT asks the agent to stop, a second one ends it at once. When the time that a stop may take
//! is over and some more, the process ends by force, and says which parts did not. Both are safe because a kill is.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::supervisor::{MayEnd, Supervisor};

/// So long behind the deadline a stop is ended by force.
const GRACE: Duration = Duration::from_secs(2);

/// The code of a process that ended by force, or because a part of it failed: that of `EX_SOFTWARE`.
pub const FAULT: i32 = 70;

const NAME: &str = "signals";

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Stop,
    Reload,
}

/// Hears signals as long as it lives.
pub struct Signals {
    pub asked: mpsc::Receiver<Asked>,
    stop: watch::Sender<Option<Instant>>,
}

impl Signals {
    /// Starts to listen. `patience` is the time that a stop may take.
    ///
    /// # Errors
    /// The system has no thread, or no descriptor, left.
    pub fn listen(supervisor: &Supervisor, patience: Duration) -> std::io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let heard = {
            let _here = runtime.enter();
            Heard {
                term: signal(SignalKind::terminate())?,
                int: signal(SignalKind::interrupt())?,
                hup: signal(SignalKind::hangup())?,
            }
        };
        let (tell, asked) = mpsc::channel(8);
        let (stop, by) = watch::channel(None);
        let parts = supervisor.clone();
        supervisor.thread(NAME, MayEnd::Yes, move || {
            runtime.block_on(hear(heard, tell, by, patience, parts));
        })?;
        Ok(Signals { asked, stop })
    }

    /// The agent stops for another reason than a signal: it has so long.
    pub fn stop_by(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
    }
}

struct Heard {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

async fn hear(
    mut heard: Heard,
    tell: mpsc::Sender<Asked>,
    mut stop: watch::Receiver<Option<Instant>>,
    patience: Duration,
    parts: Supervisor,
) {
    let mut deadline: Option<Instant> = None;
    let mut asked = false;
    loop {
        let force_at = deadline.map(|at| at + GRACE);
        tokio::select! {
            _ = heard.hup.recv() => {
                let _ = tell.try_send(Asked::Reload);
            }
            () = end(&mut heard.term, &mut heard.int) => {
                if std::mem::replace(&mut asked, true) {
                    tracing::warn!("ended at once; what was not finished is taken up at the next start");
                    std::process::exit(130);
                }
                tracing::info!("stopping; a second signal ends it at once");
                deadline = deadline.or(Some(Instant::now() + patience));
                let _ = tell.try_send(Asked::Stop);
            }
            changed = stop.changed() => {
                if changed.is_err() {
                    // The agent is through.
                    return;
                }
                deadline = deadline.max(*stop.borrow_and_update());
            }
            () = until(force_at) => {
                tracing::error!(
                    "ended by force, since {} did not end in time; what was not finished is taken up at the next start",
                    others(&parts.at_work())
                );
                std::process::exit(FAULT);
            }
        }
    }
}

/// The parts beside the one that listens.
fn others(parts: &[&'static str]) -> String {
    let others: Vec<_> = parts.iter().copied().filter(|name| *name != NAME).collect();
    others.join(", ")
}

async fn end(term: &mut tokio::signal::unix::Signal, int: &mut tokio::signal::unix::Signal) {
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
