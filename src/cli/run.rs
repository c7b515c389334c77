//! `run`: the agent itself.

use std::io::IsTerminal;

use super::Context;
use super::args::Run;
use super::exit::{Exit, Failure};
use crate::agent::{self, AgentError, RunOptions};
use crate::config::Settings;

/// Runs the agent until it is told to stop, or, with `--once`, until everything is stored.
///
/// # Errors
/// A data directory, socket or pattern that cannot be used; with `--once` also a store that cannot be used in time.
pub fn run(args: &Run, context: Context) -> Result<Exit, Failure> {
    let Context { settings, sources } = context;
    let options = RunOptions {
        once: args.once,
        timeout: args.timeout,
        progress: args.once && std::io::stderr().is_terminal(),
        reload: Box::new(move || {
            Settings::load(&sources)
                .map(|(fresh, _)| fresh)
                .map_err(|e| e.to_string())
        }),
    };
    agent::run(settings, options).map_err(|e| match e {
        AgentError::Unusable(_) => Failure::usage(e),
        AgentError::Store(_) => Failure::store(e),
    })?;
    Ok(Exit::Done)
}
