//! The settings of records, prepared once: what to cut, what to hide, which zone nameless times are in, what to keep.

use std::sync::Arc;

use super::formats::Custom;
use super::joining::Continues;
use super::memory::Memory;
use super::redact::Redactor;
use super::{Record, level};
use crate::config::{Keep, NaiveTime, Settings, Ship, Truncate};

/// What `parse` and `encode` go by.
#[derive(Debug)]
pub struct Rules {
    pub(super) naive: NaiveTime,
    pub(super) truncate: Truncate,
    pub(super) redactor: Option<Redactor>,
    /// A line of at most this many bytes holds nothing that `truncate` could cut.
    pub(super) small: usize,
    ship: Ship,
    min_level: i64,
    formats: Vec<Arc<Custom>>,
}

impl Rules {
    /// # Errors
    /// A pattern of `redact.patterns` that is no regular expression: names the key and the pattern.
    pub fn new(settings: &Settings) -> Result<Rules, String> {
        let redactor = if settings.redact.enabled {
            Some(Redactor::new(&settings.redact)?)
        } else {
            None
        };
        let t = settings.truncate.clone();
        // An array of n elements is at least 2n - 1 bytes long.
        let small = t.message.min(t.string).min(t.list.saturating_mul(2));
        Ok(Rules {
            naive: settings.files.naive_time,
            small: usize::try_from(small).unwrap_or(usize::MAX),
            truncate: t,
            redactor,
            min_level: match level::level(&settings.ship.min_level).1 {
                // Levels below the lowest one that has a name count as that one.
                lowest if level::of_number(lowest) == level::of_number(i64::MIN) => i64::MIN,
                named => named,
            },
            ship: settings.ship.clone(),
            formats: customs(settings)?,
        })
    }

    /// What is known of the stream at `path` before its first line.
    #[must_use]
    pub fn memory(&self, path: &str) -> Memory {
        let wanted = self.formats.iter().filter(|c| c.wants(path));
        Memory::with_formats(wanted.cloned().collect())
    }

    /// Whether a record is worth storing (`[ship]`). A bound `db_store` wins either way; events are always kept.
    #[must_use]
    pub fn keeps(&self, rec: &Record<'_>) -> bool {
        if let Some(wanted) = rec.bound.db_store {
            return wanted;
        }
        if rec.bound.event.is_some() {
            return true;
        }
        let reached = rec.level_no >= self.min_level;
        match self.ship.keep {
            Keep::All => reached,
            Keep::Marked => {
                let category = rec.bound.log_category.as_ref().map(|c| c.plain());
                let listed = category.is_some_and(|c| self.ship.categories.iter().any(|k| **k == *c));
                listed || (reached && rec.level_no >= level::ERROR)
            }
        }
    }
}

impl Rules {
    /// What the configuration says of lines of the file at `path` that belong to the record before.
    #[must_use]
    pub fn continues(&self, path: &str) -> Continues {
        if self.formats.is_empty() {
            return Continues::default();
        }
        Continues::new(self.formats.iter().filter(|c| c.wants(path)).cloned().collect())
    }
}

/// The configuration's own formats.
fn customs(settings: &Settings) -> Result<Vec<Arc<Custom>>, String> {
    let made = settings
        .formats
        .iter()
        .enumerate()
        .map(|(i, f)| Custom::new(i, f).map(Arc::new));
    made.collect()
}
