//! The command line: each verb calls one library function.
//!
//! [`args`] is what the user typed, [`exit`] the table of exit codes. Standard output is data only; notes, errors and
//! logs go to standard error.

mod answer;
pub mod args;
mod check;
mod dead_letter;
mod demo;
pub mod exit;
mod init;
mod logging;
mod monitor;
mod parse;
pub mod read;
mod run;
mod scratch;
mod shell;
mod show;
mod status;
mod streams;
mod stress;

use std::ffi::OsString;

use clap::FromArgMatches;

use self::args::{Cli, Verb};
use self::exit::{Exit, Failure};
use crate::config::{Settings, Sources, StoreKind};
use crate::state::modes;
use crate::store::Store;

/// What every verb works with: the settings, and where they came from.
pub struct Context {
    pub settings: Settings,
    /// For what is read again while the program runs.
    pub sources: Sources,
}

impl Context {
    /// The configured store, for writing.
    ///
    /// # Errors
    /// Settings of the store that can never work.
    fn open_store(&self) -> Result<Store, Failure> {
        self.prepare_writing()?;
        Ok(Store::open_writer(&self.settings)?)
    }

    /// Has what is written from now on be as private as `data_mode` says, and makes the data directory where the store is
    /// to stand in it.
    ///
    /// # Errors
    /// A data directory that cannot be used.
    fn prepare_writing(&self) -> Result<(), Failure> {
        let s = &self.settings;
        modes::confine(s);
        let inside = s.store.sqlite_path.parent() == Some(s.data_dir.as_path());
        if s.store.kind != StoreKind::Sqlite || !inside {
            return Ok(());
        }
        modes::prepare(s)
            .map_err(|e| Failure::usage(format!("cannot use the data directory {}: {e}", s.data_dir.display())))
    }
}

/// Waits for work on a store, on a runtime of its own.
///
/// # Errors
/// Where the system gives the runtime no resources.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::usage(format!("cannot start: {e}")))?;
    Ok(runtime.block_on(work))
}

/// Reads the command line, does what it says, and returns how the program ends.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let parsed = args::command().try_get_matches_from(args);
    let cli = match parsed.and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(e) if unknown_verb(&e).is_some() => {
            show::note(unknown_verb(&e).unwrap_or_default());
            return Exit::Usage;
        }
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
                show::note(format_args!("error: {failure}"));
            }
            failure.exit
        }
    }
}

/// What people type for a verb of another name.
const SYNONYMS: [(&str, &str); 24] = [
    ("logs", "search"),
    ("log", "search"),
    ("grep", "search"),
    ("find", "search"),
    ("follow", "tail"),
    ("watch", "tail"),
    ("ls", "runs"),
    ("list", "runs"),
    ("ps", "runs"),
    ("show", "get"),
    ("cat", "get"),
    ("explain", "why"),
    ("diff", "compare"),
    ("new", "changes"),
    ("news", "changes"),
    ("ui", "monitor"),
    ("top", "monitor"),
    ("dashboard", "monitor"),
    ("doctor", "check"),
    ("start", "run"),
    ("agent", "run"),
    ("delete", "prune"),
    ("sql", "query"),
    ("version", "--version"),
];

/// What is said where the first word is no verb: the one that was meant, as far as that can be told.
fn unknown_verb(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(given))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
    else {
        return None;
    };
    let command = <Cli as clap::CommandFactory>::command();
    let verbs: Vec<String> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .map(|c| c.get_name().to_owned())
        .collect();
    let known = |verb: &str| verb.starts_with('-') || verbs.iter().any(|v| v == verb);
    let synonym = SYNONYMS
        .iter()
        .find(|(typed, verb)| typed == given && known(verb))
        .map(|(_, verb)| *verb);
    let meant = synonym.or_else(|| crate::query::naming::nearest(given, verbs.iter().map(String::as_str)));
    Some(match (meant, given.as_str()) {
        (Some(verb), _) => format!("error: there is no verb '{given}': did you mean `logagent {verb}`?"),
        (None, "stop") => {
            "error: there is no verb 'stop': the agent ends by SIGTERM, or `systemctl stop logagent`".to_owned()
        }
        (None, _) => format!("error: there is no verb '{given}': see `logagent help`"),
    })
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    if let Some(dir) = &cli.directory {
        std::env::set_current_dir(dir).map_err(|e| Failure::usage(format!("-C {}: {e}", dir.display())))?;
    }
    let mut sources = Sources::from_process(cli.config, cli.store);
    // An agent, and what makes one of its own, begins where it stands.
    sources.upward = !matches!(cli.verb, Verb::Run(_) | Verb::Demo(_) | Verb::Stress(_));
    let default = match &cli.verb {
        Verb::Run(_) => "info",
        // What a client of the MCP server does wrong is its own to log.
        _ => "warn,rmcp=error",
    };
    logging::start(sources.variable("LOGAGENT_LOG").as_deref(), default);
    match &cli.verb {
        Verb::Guide => {
            std::io::Write::write_all(&mut std::io::stdout().lock(), crate::query::guide::GUIDE.as_bytes())?;
            return Ok(Exit::Done);
        }
        Verb::Completions { shell } => return shell::completions(*shell),
        Verb::Man { dir } => return shell::man(dir.as_deref()),
        Verb::Demo(args) => return demo::run(args),
        Verb::Unpack { kind, member } => return run::unpack(kind, *member),
        _ => {}
    }
    let (settings, warnings) = Settings::load(&sources)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let context = Context { settings, sources };
    match &cli.verb {
        Verb::Run(args) => run::run(args, context),
        Verb::Read(verb) => read::run(verb, &context),
        Verb::Status(args) => status::run(args, &context),
        Verb::DeadLetter(args) => dead_letter::run(&args.action, &context),
        Verb::Parse(args) => parse::run(args, &context),
        Verb::Init(args) => init::run(args, &context),
        Verb::Check(_) => check::run(&context),
        Verb::Monitor(args) => monitor::run(args, &context),
        Verb::Stress(args) => stress::run(args, &context),
        // These need no configuration and were done above.
        Verb::Guide | Verb::Completions { .. } | Verb::Man { .. } | Verb::Demo(_) | Verb::Unpack { .. } => {
            Ok(Exit::Done)
        }
    }
}
