//! Answers: what ran, what failed, has it been seen before, how was it fixed.
//!
//! Each verb is one function here. It takes its arguments ([`args`]), a store to ask, and the present time; it returns
//! an answer that knows nothing of where it is shown. The command line and MCP render answers, each in its own way.

pub mod args;
