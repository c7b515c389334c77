//! The `logagent` program: a thin door to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    logagent::cli::main(std::env::args_os()).into()
}
