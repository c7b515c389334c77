//! How rows are drawn for people, and how they are written lean for models.
//!
//! A row type says both of itself ([`Row`]); [`paint`] knows colours, widths and how log text is made harmless.

pub mod lean;
pub mod paint;

use serde::Serialize;
use serde_json::Value;

pub use paint::Paint;

/// One item of an answer, or a single object.
pub trait Row: Serialize + Sized {
    /// Draws the items as lines or a table.
    fn draw(items: &[Self], paint: &mut Paint);

    /// The item with what a reader needs to decide on the next question, and no more.
    fn lean(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
