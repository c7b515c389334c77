//! `run`: the agent itself.

use std::io::{ErrorKind, IsTerminal};

use super::Context;
use super::args::Run;
use super::exit::{Exit, Failure};
use crate::agent::{self, AgentError, ArchiveKind, RunOptions};
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
        AgentError::Failed(_) => Failure::fault(e),
    })?;
    Ok(Exit::Done)
}

/// Decompresses for the agent, whose memory stays small.
///
/// # Errors
/// An archive that is damaged, or of no known kind.
pub fn unpack(kind: &str, member: Option<usize>) -> Result<Exit, Failure> {
    let kind = ArchiveKind::named(kind).ok_or_else(|| Failure::usage(format!("{kind}: no kind of archive")))?;
    match agent::unpack(kind, member) {
        Ok(()) => Ok(Exit::Done),
        // The agent has read what it wanted.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(Exit::Nothing),
        Err(e) => Err(Failure::usage(e)),
    }
}
