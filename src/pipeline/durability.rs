//! What may move a cursor: progress that no power cut undoes.
//!
//! A batch is *settled* when the store has confirmed it, or when it goes into the spool. The store's word alone may be
//! undone by a power cut (the embedded store syncs at a barrier, a server its log every 100 ms), so progress that rests
//! on it has to pass the store's barrier first. Only then is it [`Durable`], and only that can become part of a
//! [`Change`] of the state. What is spooled is durable by the change that moves its cursors.

use std::time::Duration;

use super::ledger::Progress;
use crate::state::Change;
use crate::store::{Sink, WriteError};

/// Progress of settled batches, in order, that waits to be made durable.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Settled {
    progress: Progress,
    on_store: bool,
}

/// Progress that no power cut undoes, once the batches that are spooled with it are.
#[must_use]
#[derive(Debug)]
pub struct Durable(Progress);

impl Settled {
    /// Adds the progress of a batch that the store has confirmed.
    pub fn confirmed(&mut self, progress: Progress) {
        self.on_store = true;
        self.progress.join(progress);
    }

    /// Adds the progress of a batch that is spooled by the change which takes this progress, or by one before it.
    pub fn spooled(&mut self, progress: Progress) {
        self.progress.join(progress);
    }

    /// Adds what was settled later.
    pub fn join(&mut self, later: Settled) {
        self.on_store |= later.on_store;
        self.progress.join(later.progress);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.progress.is_empty()
    }

    /// Identities of files that wait to be kept.
    #[must_use]
    pub fn identities(&self) -> usize {
        self.progress.remember.len()
    }

    /// Passes the store's barrier, where any of it rests on the store's word; waits for that as long as `patience`.
    ///
    /// # Errors
    /// The store did not make its records durable in that time; the progress comes back, to be tried again.
    pub async fn durable(self, store: &impl Sink, patience: Duration) -> Result<Durable, (Settled, WriteError)> {
        if !self.on_store {
            return Ok(Durable(self.progress));
        }
        match tokio::time::timeout(patience, store.durable_barrier()).await {
            Ok(Ok(())) => Ok(Durable(self.progress)),
            Ok(Err(e)) => Err((self, e)),
            Err(_) => {
                let late = WriteError::Away(format!("it did not sync what it has stored within {patience:.0?}"));
                Err((self, late))
            }
        }
    }
}

impl Durable {
    /// Moves the cursors in `change`, and what goes with them.
    pub fn into_change(self, change: &mut Change) {
        self.0.merge_into(change);
    }

    /// A change that could not be made: its progress is durable on the store's side all the same.
    pub fn back(self) -> Settled {
        Settled {
            progress: self.0,
            on_store: false,
        }
    }

    /// Takes the progress out of a change that could not be made.
    pub fn taken_from(change: &mut Change) -> Durable {
        Durable(Progress {
            cursors: std::mem::take(&mut change.cursors),
            remember: std::mem::take(&mut change.remember),
            forget: std::mem::take(&mut change.forget),
            spool_done: change.spool_done.take(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::source::Cursor;
    use crate::store::{Batch, Report, SchemaObject};

    /// A store whose barrier fails so many times; `u32::MAX`: that never answers.
    pub struct Weak(pub AtomicU32);

    impl Sink for Weak {
        async fn write(&self, _: &std::sync::Arc<Batch>) -> Result<Report, WriteError> {
            Ok(Report::default())
        }

        async fn probe(&self) -> Result<(), WriteError> {
            Ok(())
        }

        async fn ensure_schema(&self, _: bool) -> Result<Vec<SchemaObject>, WriteError> {
            Ok(Vec::new())
        }

        async fn durable_barrier(&self) -> Result<(), WriteError> {
            match self.0.load(Ordering::Relaxed) {
                0 => Ok(()),
                u32::MAX => std::future::pending().await,
                n => {
                    self.0.store(n - 1, Ordering::Relaxed);
                    Err(WriteError::Away("not now".into()))
                }
            }
        }
    }

    fn at(offset: u64) -> Progress {
        let mut p = Progress::default();
        p.cursor(
            1,
            Cursor {
                offset,
                ..Cursor::default()
            },
        );
        p
    }

    #[tokio::test]
    async fn progress_that_rests_on_the_store_passes_its_barrier_however_often_that_fails() {
        let store = Weak(AtomicU32::new(3));
        let mut settled = Settled::default();
        settled.confirmed(at(10));
        settled.spooled(at(20));
        for _ in 0..3 {
            let (back, _) = settled
                .durable(&store, Duration::from_secs(9))
                .await
                .expect_err("it rests on the store");
            settled = back;
        }
        let mut change = Change::default();
        settled
            .durable(&store, Duration::from_secs(9))
            .await
            .expect("the barrier is passed")
            .into_change(&mut change);
        assert_eq!(change.cursors.first().map(|(_, c)| c.offset), Some(20));
    }

    #[tokio::test]
    async fn a_barrier_that_never_answers_is_given_up_and_what_is_only_spooled_does_not_ask_for_it() {
        let store = Weak(AtomicU32::new(u32::MAX));
        let mut settled = Settled::default();
        settled.spooled(at(10));
        let durable = settled
            .durable(&store, Duration::from_millis(5))
            .await
            .expect("nothing rests on the store");
        let mut settled = durable.back();
        settled.confirmed(at(20));
        let (_, error) = settled
            .durable(&store, Duration::from_millis(5))
            .await
            .expect_err("the store does not answer");
        assert!(error.to_string().contains("did not sync"), "{error}");
    }
}
