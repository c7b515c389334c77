//! Completion scripts and manual pages, made from the declaration of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::exit::{Exit, Failure};

/// Prints a completion script.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    // Into memory first: clap_complete panics when its writer fails, as a closed pipe does.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::args::command(), "logagent", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

/// Prints the manual page, or writes one for each verb into `dir`.
pub(super) fn man(dir: Option<&Path>) -> Result<Exit, Failure> {
    let command = super::args::command();
    match dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            io::stdout().write_all(&page)?;
        }
        Some(dir) => {
            let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
            written.map_err(|e| Failure::usage(format!("{}: the pages cannot be written: {e}", dir.display())))?;
        }
    }
    Ok(Exit::Done)
}
