//! The table of exit codes, and how an error finds its place in it.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done, or found |
//! | 1 | nothing found (`status`: no agent runs) |
//! | 2 | usage or configuration; a data directory that is in use, unwritable or damaged beyond repair |
//! | 3 | store unreachable or refused |
//! | 70 | `run`: a part of the agent failed, or did not end in time and was ended by force |

use std::fmt;
use std::io;

use crate::config::ConfigError;
use crate::store::WriteError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Nothing = 1,
    Usage = 2,
    Store = 3,
    Fault = 70,
}

impl Exit {
    /// 0 where something was found, else 1.
    #[must_use]
    pub fn found(anything: bool) -> Exit {
        if anything { Exit::Done } else { Exit::Nothing }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Why a verb could not do its work; the message says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// Empty: nothing is said.
    pub message: String,
}

impl Failure {
    /// Usage, configuration, or a place that cannot be used.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::Usage,
            message: message.to_string(),
        }
    }

    /// A part of the program failed.
    pub fn fault(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::Fault,
            message: message.to_string(),
        }
    }

    /// The store is unreachable or refuses.
    pub fn store(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::Store,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Failure {
        Failure::usage(e)
    }
}

impl From<WriteError> for Failure {
    fn from(e: WriteError) -> Failure {
        Failure::store(e)
    }
}

impl From<io::Error> for Failure {
    /// Only writing to standard output ends here. A reader that went away, as `head` does, is a quiet end.
    fn from(e: io::Error) -> Failure {
        if e.kind() == io::ErrorKind::BrokenPipe {
            return Failure {
                exit: Exit::Done,
                message: String::new(),
            };
        }
        Failure::usage(format!("standard output cannot be written: {e}"))
    }
}
