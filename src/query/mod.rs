//! Answers: what ran, what failed, has it been seen before, how was it fixed.
//!
//! Each verb is one function here. It takes its arguments ([`args`]), a store to ask, and the present time; it returns
//! an answer that knows nothing of where it is shown. The command line and MCP render answers, each in its own way.
//!
//! # Vocabulary
//!
//! * *scope*: what an answer is about, as read from the arguments: filter, window, limit, cursor ([`scope`]).
//! * *answer*: a list with its bounds ([`Answer`]): how many there are, whether it was cut, where to go on, which window
//!   of time was searched, and hints where nothing was found.
//! * *row*: one item of an answer. It can be drawn for people and written as JSON, whole or lean ([`render`]).
//!
//! # What answers must be like
//!
//! Bounded, never cut silently, newest first, lean in lists (a record whole is for `get`), grouped by template or
//! fingerprint where many records say the same. Log text is data: it is never taken for markup, and control
//! characters in it do not reach a terminal.

pub mod answer;
pub mod args;
pub mod around;
pub mod changes;
mod clocks;
pub mod compare;
mod conditions;
pub mod cursor;
mod drift;
pub mod errors;
pub mod events;
pub mod export;
mod failures;
pub mod fixes;
mod fuse;
pub mod graph;
pub mod guide;
pub mod history;
pub mod learnings;
mod lenient;
pub mod naming;
mod nearness;
mod pasted;
pub mod patterns;
mod profile;
pub mod proof;
pub mod prune;
pub mod raw;
pub mod record;
pub mod render;
pub mod runs;
pub mod scope;
pub mod similar;
pub mod stats;
pub mod summary;
mod unusual;
pub mod whole;
pub mod why;
pub mod window;

pub use answer::Answer;
pub use changes::changes;
pub use compare::compare;
pub use errors::errors;
pub use events::search;
pub use fixes::fixes;
pub use graph::graph;
pub use history::{history, response};
pub use learnings::learnings;
pub use patterns::patterns;
pub use prune::prune;
pub use raw::query;
pub use record::{fix, learn};
pub use runs::runs;
pub use similar::similar;
pub use stats::stats;
pub use summary::summary;
pub use whole::get;
pub use why::why;
pub use window::{Clock, Window};

use crate::store::meaning::Meaning;
use crate::store::search::Stop;
use crate::store::{ReadError, Search};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The arguments are at fault.
    #[error("{0}")]
    Usage(String),
    /// The one thing that was asked for by name does not exist.
    #[error("{0}")]
    NotFound(String),
    #[error(transparent)]
    Store(#[from] ReadError),
}

impl AskError {
    /// An error of the arguments.
    pub fn usage(text: impl Into<String>) -> AskError {
        AskError::Usage(text.into())
    }
}

/// Whom a verb asks, and when.
#[derive(Clone)]
pub struct Asking<'a> {
    pub store: &'a dyn Search,
    pub clock: Clock,
    /// What ranks by meaning, where it is configured.
    pub meaning: Option<&'a dyn Meaning>,
    /// Set where nobody waits for the answer any more.
    pub stop: Stop,
}
