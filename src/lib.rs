//! logagent: the flight recorder for scripts and AI agents.
//!
//! Scripts write local logs. One agent beside them ships every record, exactly once in effect, to ArangoDB or to an
//! embedded SQLite store, and the same binary answers questions about what it stored.
//!
//! # The data path
//!
//! Read the module names in order and you have read the way of a line:
//!
//! ```text
//! source ──chunk──▶ record ──document──▶ pipeline ──batch──▶ store ◀── query ◀── cli, mcp
//!                                          │
//!                                        state   (sled: cursors, file identities, open runs, spool, dead letters)
//! ```
//!
//! * [`source`] finds files and listens on the socket; it emits *chunks*: complete lines of one *stream*.
//! * [`record`] turns a line into a [`record::Record`] (total: it never fails) and a record into one JSON *document*.
//!   The document is the only form that travels: batches, spool, dead letters and request bodies hold the same bytes.
//! * [`runs`] gives each record its execution and derives what is known of executions.
//! * [`pipeline`] batches documents, sends them, and moves *cursors* when they are settled.
//! * [`state`] is the only durable memory of the write side.
//! * [`store`] holds the two stores behind two traits: [`store::Sink`] to write and [`store::Search`] to read.
//! * [`query`] answers questions from the store alone.
//!
//! # Invariants
//!
//! 1. A cursor moves only in the same atomic state change that makes everything below it settled, or after the store
//!    confirmed it.
//! 2. Sending a batch again changes nothing: keys are functions of content and position, both stores ignore what they
//!    have.
//! 3. Every byte read ends as part of exactly one record, or is counted under a named loss counter with its reason.
//! 4. A socket record is spooled, durably, before it counts as accepted. A file line is not copied while its file can
//!    be relied on: the file is the buffer.
//! 5. Every queue, buffer and line has a bound.
//! 6. Pure modules take `now` and randomness as arguments.
//! 7. No blocking work on async threads.
//! 8. Standard output is data or protocol frames; logs go to standard error and are never shipped by the agent itself.
//! 9. The read side opens the store read-only, save for the verbs that write.
//! 10. No panic on anything that came from a file, a socket, a configuration or a server.
//! 11. Losing the state directory loses no file data and doubles none.
//!
//! `tests/it/tidy.rs` keeps the permitted imports between modules.

// Essays explain a module to its readers, who see its private items too.
#![allow(rustdoc::private_intra_doc_links)]

pub mod agent;
pub mod cli;
pub mod config;
pub mod mcp;
pub mod pipeline;
pub mod query;
pub mod record;
pub mod runs;
pub mod source;
pub mod state;
pub mod store;
pub mod telemetry;
