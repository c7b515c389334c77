//! A list of rows with its bounds.

use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::Value;

use super::window::Window;

/// What a listing verb found.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    pub items: Vec<T>,
    /// How many there are in all; `None` where counting them would cost too much.
    pub total: Option<u64>,
    /// There are more than these.
    pub truncated: bool,
    /// Where to go on.
    pub next_cursor: Option<String>,
    pub window: Window,
    /// What to try where nothing was found, and what was done differently than asked.
    pub hints: Vec<String>,
    /// What a verb has to say beside its items, under names of its own.
    pub extra: Vec<(&'static str, Value)>,
}

impl<T> Answer<T> {
    /// All there is, on one page.
    #[must_use]
    pub fn whole(items: Vec<T>, window: Window) -> Answer<T> {
        Answer {
            total: Some(items.len() as u64),
            items,
            truncated: false,
            next_cursor: None,
            window,
            hints: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// The same bounds around other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Answer<U> {
        Answer {
            items: self.items.into_iter().map(f).collect(),
            total: self.total,
            truncated: self.truncated,
            next_cursor: self.next_cursor,
            window: self.window,
            hints: self.hints,
            extra: self.extra,
        }
    }
}

impl<T: Serialize> Serialize for Answer<T> {
    /// The one JSON object of `-o json`.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("Answer", 6 + self.extra.len())?;
        out.serialize_field("items", &self.items)?;
        out.serialize_field("returned", &self.items.len())?;
        out.serialize_field("total", &self.total)?;
        out.serialize_field("truncated", &self.truncated)?;
        out.serialize_field("next_cursor", &self.next_cursor)?;
        out.serialize_field("window", &self.window)?;
        for (name, value) in &self.extra {
            out.serialize_field(name, value)?;
        }
        out.end()
    }
}
