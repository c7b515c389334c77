//! The command line: each verb calls one library function.
//!
//! [`args`] is what the user typed, [`exit`] the table of exit codes. Standard output is data only; notes, errors and
//! logs go to standard error.

pub mod args;
pub mod exit;
mod logging;
pub mod read;
mod shell;

use std::ffi::OsString;

use clap::Parser;

use self::args::{Cli, Verb};
use self::exit::{Exit, Failure};
use crate::config::{Settings, Sources};

/// What every verb works with: the settings, and where they came from.
pub struct Context {
    pub settings: Settings,
    /// For what is read again while the program runs.
    pub sources: Sources,
}

/// Reads the command line, does what it says, and returns how the program ends.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are data and end with 0; the rest is usage.
            let exit = if e.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = e.print();
            return exit;
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("error: {failure}");
            }
            failure.exit
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let sources = Sources::from_process(cli.config, cli.store);
    let default = match &cli.verb {
        Verb::Run(_) => "info",
        _ => "warn",
    };
    logging::start(sources.variable("LOGAGENT_LOG").as_deref(), default);
    match &cli.verb {
        Verb::Completions { shell } => return shell::completions(*shell),
        Verb::Man { dir } => return shell::man(dir.as_deref()),
        _ => {}
    }
    let (settings, warnings) = Settings::load(&sources)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let context = Context { settings, sources };
    match cli.verb {
        Verb::Read(verb) => read::run(&verb, &context),
        _ => Err(Failure::usage("not built yet")),
    }
}
