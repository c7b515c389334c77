//! Ranking what is few and has no full-text index of its own: learnings.

use super::admit::words_of;
use super::search::{LearningAsk, Page};
use super::stored::Learning;

/// Collects a page of learnings that come in order of time.
pub struct LearningPage<'a> {
    ask: &'a LearningAsk,
    items: Vec<(Learning, Option<f64>)>,
    seen: u64,
}

impl<'a> LearningPage<'a> {
    pub fn new(ask: &'a LearningAsk) -> LearningPage<'a> {
        LearningPage {
            ask,
            items: Vec::new(),
            seen: 0,
        }
    }

    pub fn take(&mut self, learning: Learning) {
        let score = match &self.ask.words {
            None => None,
            Some(words) => {
                let split = |t: Option<&str>| words_of(t.unwrap_or("")).collect::<Vec<_>>();
                let tags = learning.tags.as_ref().map(|t| t.join(" "));
                let fields = [
                    split(Some(&learning.learning)),
                    split(learning.function_name.as_deref()),
                    split(learning.script_name.as_deref()),
                    split(tags.as_deref()),
                ];
                match words.score(&fields) {
                    None => return,
                    score => score,
                }
            }
        };
        self.seen += 1;
        let within = self.ask.limit + usize::try_from(self.ask.offset).unwrap_or(0);
        if score.is_some() {
            self.items.push((learning, score));
            if self.items.len() > 2 * within + 1000 {
                self.rank();
                self.items.truncate(within);
            }
        } else if self.seen > self.ask.offset && self.items.len() < self.ask.limit {
            self.items.push((learning, None));
        }
    }

    /// Best first; a stable sort, so that the newer of two equals stays before the older.
    fn rank(&mut self) {
        let score = |s: &Option<f64>| s.unwrap_or(0.0);
        self.items.sort_by(|a, b| score(&b.1).total_cmp(&score(&a.1)));
    }

    pub fn finish(mut self) -> Page<(Learning, Option<f64>)> {
        if self.ask.words.is_some() {
            self.rank();
            let offset = usize::try_from(self.ask.offset)
                .unwrap_or(usize::MAX)
                .min(self.items.len());
            self.items.drain(..offset);
            self.items.truncate(self.ask.limit);
        }
        Page {
            more: self.seen > self.ask.offset + self.items.len() as u64,
            items: self.items,
            total: Some(self.seen),
        }
    }
}
