//! Ranking what is few and has no full-text index of its own: learnings.

use super::admit::words_of;
use super::search::{After, LearningAsk, Page};
use super::stored::Learning;

/// Collects a page of learnings that come in order of time.
pub struct LearningPage<'a> {
    ask: &'a LearningAsk,
    items: Vec<(Learning, Option<f64>)>,
    seen: u64,
    /// Of those, the ones behind the place where the page begins.
    behind: u64,
}

impl<'a> LearningPage<'a> {
    pub fn new(ask: &'a LearningAsk) -> LearningPage<'a> {
        LearningPage {
            ask,
            items: Vec::new(),
            seen: 0,
            behind: 0,
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
        if self.ranked() {
            self.items.push((learning, score));
            let within = self.ask.limit.saturating_add(self.offset());
            if self.items.len() > within.saturating_mul(2).saturating_add(1000) {
                self.rank();
                self.items.truncate(within);
            }
        } else if self.is_behind(&learning) {
            self.behind += 1;
            if self.items.len() < self.ask.limit {
                self.items.push((learning, None));
            }
        }
    }

    /// Whether the best come first; else they keep the order in which they come.
    fn ranked(&self) -> bool {
        self.ask.words.is_some() && !self.ask.oldest
    }

    fn offset(&self) -> usize {
        match self.ask.after {
            Some(After::Offset(n)) => usize::try_from(n).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// Whether what was just seen belongs to this page or a later one.
    fn is_behind(&self, learning: &Learning) -> bool {
        match &self.ask.after {
            None => true,
            Some(After::Offset(n)) => self.seen > *n,
            Some(After::Position { timestamp, key, .. }) => {
                let (here, from) = ((&learning.timestamp, &learning.key), (timestamp, key));
                if self.ask.oldest { here > from } else { here < from }
            }
        }
    }

    /// Best first; a stable sort, so that the newer of two equals stays before the older.
    fn rank(&mut self) {
        let score = |s: &Option<f64>| s.unwrap_or(0.0);
        self.items.sort_by(|a, b| score(&b.1).total_cmp(&score(&a.1)));
    }

    pub fn finish(mut self) -> Page<(Learning, Option<f64>)> {
        let mut behind = self.behind;
        if self.ranked() {
            self.rank();
            let offset = self.offset().min(self.items.len());
            self.items.drain(..offset);
            self.items.truncate(self.ask.limit);
            behind = self.seen.saturating_sub(offset as u64);
        }
        Page {
            more: behind > self.items.len() as u64,
            items: self.items,
            total: Some(self.seen),
        }
    }
}
