//! Questions to the store that sources ask without waiting: one is under way at a time, in a thread of its own, and its
//! answer waits until it is fetched. What the store cannot answer now is asked anew when the source asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::record::{Key, Micros};

/// Asks the store: of each line the highest number under which it was stored before an instant.
pub type Ask = dyn Fn(&[Key], Micros) -> Result<Vec<Option<u32>>, String> + Send + Sync;

/// Answers that nobody fetched are let go beyond this number.
const KEPT: usize = 256;

type Question = (Vec<Key>, Micros);

/// Questions under way and answers that wait.
pub struct Recall {
    ask: Arc<Ask>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    busy: bool,
    answers: HashMap<Question, Vec<Option<u32>>>,
}

impl Recall {
    /// Questions are answered by `ask`, which may block.
    #[must_use]
    pub fn new(ask: Arc<Ask>) -> Recall {
        Recall {
            ask,
            inner: Arc::default(),
        }
    }

    /// The answer, if it is there; else it is asked for.
    #[must_use]
    pub fn answer(&self, keys: Vec<Key>, before: Micros) -> Option<Vec<Option<u32>>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let question = (keys, before);
        if let Some(answer) = inner.answers.remove(&question) {
            return Some(answer);
        }
        if inner.busy {
            return None;
        }
        inner.busy = true;
        drop(inner);
        let (ask, shared) = (Arc::clone(&self.ask), Arc::clone(&self.inner));
        let asking = move || {
            let answer = ask(&question.0, question.1);
            let mut inner = shared.lock().unwrap_or_else(PoisonError::into_inner);
            inner.busy = false;
            match answer {
                Ok(answer) => {
                    if inner.answers.len() >= KEPT {
                        inner.answers.clear();
                    }
                    inner.answers.insert(question, answer);
                }
                Err(error) => tracing::debug!(error, "the store does not say what it has; it is asked again"),
            }
        };
        let begun = std::thread::Builder::new().name("recall".into()).spawn(asking);
        if begun.is_err() {
            self.inner.lock().unwrap_or_else(PoisonError::into_inner).busy = false;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_question_that_fails_is_asked_again_and_the_answer_waits_to_be_fetched() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let recall = Recall::new(Arc::new(move |keys: &[Key], _| {
            if count.fetch_add(1, Ordering::SeqCst) < 3 {
                return Err("away".into());
            }
            Ok(vec![Some(7); keys.len()])
        }));
        let keys = vec![Key::new(1, 2, 3, 0)];
        let answer = loop {
            if let Some(answer) = recall.answer(keys.clone(), 5) {
                break answer;
            }
            std::thread::yield_now();
        };
        assert_eq!(answer, [Some(7)]);
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }
}
