//! Who is at work in the agent: every thread and task has a name here, and its end is noticed.
//!
//! A part that ends although the agent goes on, or panics, ends the agent with a message that names it and a code other
//! than 0: half an agent looks alive and ships nothing. Parts that stand for themselves (retention, the pages for
//! scrapers) are begun anew instead, see [`Supervisor::restarting`]. `/healthz` and the watchdog ask [`Supervisor::faults`].
//!
//! The thread that writes to the embedded store restarts itself, since only the store knows how.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};

/// More parts than there are.
const PARTS: usize = 64;

/// The first and the longest pause before a part is begun anew.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why the agent cannot go on, in words: a part that was to go on has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl Fault {
    /// The end of a part.
    #[must_use]
    pub fn of(part: &str, panicked: bool) -> Fault {
        let how = if panicked { "panicked" } else { "ended" };
        Fault(format!("the part \"{part}\" of the agent {how}"))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a part may end by itself while the agent goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayEnd {
    /// Its work can be over: only a panic is a fault.
    Yes,
    No,
}

/// Knows all parts. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor(Arc<Shared>);

struct Shared {
    /// Parts at work, and how many of each name.
    parts: Mutex<BTreeMap<&'static str, usize>>,
    faults: Mutex<Vec<Fault>>,
    /// What does not go on, as the watchdog last saw it.
    stalled: Mutex<Vec<String>>,
    stopping: AtomicBool,
    ended: mpsc::Sender<Fault>,
}

impl Supervisor {
    /// A supervisor without parts, and where the first faults are told.
    #[must_use]
    pub fn new() -> (Supervisor, mpsc::Receiver<Fault>) {
        let (ended, faults) = mpsc::channel(PARTS);
        let shared = Shared {
            parts: Mutex::default(),
            faults: Mutex::default(),
            stalled: Mutex::default(),
            stopping: AtomicBool::new(false),
            ended,
        };
        (Supervisor(Arc::new(shared)), faults)
    }

    /// Enters a part, which is at work until the first value is dropped; the second waits for that.
    #[must_use]
    pub fn part(&self, name: &'static str, may_end: MayEnd) -> (Part, Joined) {
        *locked(&self.0.parts).entry(name).or_default() += 1;
        let (done, joined) = watch::channel(false);
        let part = Part {
            name,
            may_end,
            shared: Arc::clone(&self.0),
            done,
        };
        (part, Joined(joined))
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn thread(
        &self,
        name: &'static str,
        may_end: MayEnd,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Joined> {
        let (part, joined) = self.part(name, may_end);
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _part = part;
            work();
        });
        spawned.map(|_| joined)
    }

    /// Starts a task.
    pub fn task(
        &self,
        name: &'static str,
        may_end: MayEnd,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let (part, _) = self.part(name, may_end);
        tokio::spawn(async move {
            let _part = part;
            work.await;
        })
    }

    /// Starts a task that stands for itself: after a panic it is begun anew, later each time.
    pub fn restarting<F>(
        &self,
        name: &'static str,
        work: impl FnMut() -> F + Send + 'static,
    ) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.restarting_after(PAUSES, name, work)
    }

    fn restarting_after<F>(
        &self,
        (first, longest): (Duration, Duration),
        name: &'static str,
        mut work: impl FnMut() -> F + Send + 'static,
    ) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (part, _) = self.part(name, MayEnd::Yes);
        tokio::spawn(async move {
            let _part = part;
            let mut pause = first;
            while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
                tracing::error!("the part \"{name}\" panicked; it begins anew in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        })
    }

    /// From now on parts may end. A panic stays a fault.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// The names of the parts that are at work.
    #[must_use]
    pub fn at_work(&self) -> Vec<&'static str> {
        locked(&self.0.parts).keys().copied().collect()
    }

    /// The agent cannot go on.
    pub fn fail(&self, fault: Fault) {
        self.0.fail(fault);
    }

    /// Notes what does not go on.
    pub fn stalled(&self, what: Vec<String>) {
        *locked(&self.0.stalled) = what;
    }

    /// What is wrong with the agent itself, in words; empty while all parts go on.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = locked(&self.0.faults).iter().map(Fault::to_string).collect();
        faults.extend(locked(&self.0.stalled).iter().cloned());
        faults
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn fail(&self, fault: Fault) {
        let mut faults = locked(&self.faults);
        if faults.len() < PARTS && !faults.contains(&fault) {
            faults.push(fault.clone());
            // A full queue has faults enough.
            let _ = self.ended.try_send(fault);
        }
    }
}

/// Held by a thread or task as long as it works.
pub struct Part {
    name: &'static str,
    may_end: MayEnd,
    shared: Arc<Shared>,
    done: watch::Sender<bool>,
}

impl Drop for Part {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        let mut parts = locked(&self.shared.parts);
        if let Some(n) = parts.get_mut(self.name) {
            *n -= 1;
            if *n == 0 {
                parts.remove(self.name);
            }
        }
        drop(parts);
        let expected = self.may_end == MayEnd::Yes || self.shared.stopping.load(Ordering::Relaxed);
        if panicked || !expected {
            self.shared.fail(Fault::of(self.name, panicked));
        }
        let _ = self.done.send(true);
    }
}

/// Waits for the end of a part.
#[derive(Clone)]
pub struct Joined(watch::Receiver<bool>);

impl Joined {
    /// Resolves when the part has ended, or at the deadline; says whether it has ended.
    pub async fn by(mut self, deadline: Instant) -> bool {
        tokio::time::timeout_at(deadline.into(), self.0.wait_for(|done| *done))
            .await
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_panic_of_a_thread_and_the_end_of_a_task_are_told_by_name() {
        let (supervisor, mut faults) = Supervisor::new();
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let joined = supervisor
            .thread("files", MayEnd::No, move || {
                let _ = may_go.recv();
                panic!("injected");
            })
            .unwrap();
        assert_eq!(supervisor.at_work(), ["files"]);
        assert!(supervisor.faults().is_empty());
        go.send(()).unwrap();
        assert!(joined.by(Instant::now() + LONG).await);
        assert_eq!(faults.recv().await, Some(Fault::of("files", true)));
        assert_eq!(supervisor.faults(), ["the part \"files\" of the agent panicked"]);
        drop(supervisor.task("socket", MayEnd::No, async {}));
        assert_eq!(faults.recv().await, Some(Fault::of("socket", false)));
        drop(supervisor.task("delivery", MayEnd::No, async { panic!("injected") }));
        assert_eq!(faults.recv().await, Some(Fault::of("delivery", true)));
        assert!(supervisor.at_work().is_empty());
    }

    #[tokio::test]
    async fn a_part_that_may_end_and_one_that_ends_at_the_stop_are_no_fault_unless_they_panic() {
        let (supervisor, mut faults) = Supervisor::new();
        supervisor.task("watchdog", MayEnd::Yes, async {}).await.unwrap();
        supervisor.stopping();
        supervisor.task("socket", MayEnd::No, async {}).await.unwrap();
        let _ = supervisor
            .task("delivery", MayEnd::No, async { panic!("injected") })
            .await;
        assert_eq!(faults.recv().await, Some(Fault::of("delivery", true)));
        assert!(faults.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_thread_that_hangs_is_waited_for_until_the_deadline_only_and_stays_named() {
        let (supervisor, _faults) = Supervisor::new();
        let (_never, waits) = std::sync::mpsc::channel::<()>();
        let joined = supervisor
            .thread("files", MayEnd::No, move || {
                let _ = waits.recv();
            })
            .unwrap();
        assert!(!joined.by(Instant::now() + Duration::from_millis(20)).await);
        assert_eq!(supervisor.at_work(), ["files"]);
    }

    #[tokio::test]
    async fn a_part_that_stands_for_itself_is_begun_anew_however_often_it_panics() {
        let (supervisor, mut faults) = Supervisor::new();
        let begun = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&begun);
        let work = move || {
            let n = counted.fetch_add(1, Ordering::Relaxed);
            async move { assert!(n >= 5, "injected") }
        };
        let pauses = (Duration::from_micros(1), Duration::from_micros(4));
        supervisor.restarting_after(pauses, "retention", work).await.unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 6);
        assert!(faults.try_recv().is_err());
    }
}
