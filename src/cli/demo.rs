//! `demo`: the whole story in a scratch directory, told with the program's own verbs.
//!
//! The agent and each question are child processes of this same program, so that the demo shows what a person would
//! see, not what a function call returns.

mod sample;

use std::fs;
use std::io::{self, Write};

use std::process::Stdio;

use super::args;
use super::exit::{Exit, Failure};
use super::scratch::Scratch;
use super::show::{self, BOLD, DIM};

/// Tells the story.
///
/// # Errors
/// A scratch directory that cannot be made, and an agent that does not do its work there.
pub(super) fn run(args: &args::Demo) -> Result<Exit, Failure> {
    let stage = Stage(Scratch::make("demo", args.keep)?);
    let color = show::color(false);
    let say = |text: &str| -> io::Result<()> { writeln!(io::stdout(), "{}", show::paint(color, DIM, text)) };
    say(&format!("# A scratch directory: {}", stage.0.dir().display()))?;
    say("# The agent starts there on its defaults: logagent run")?;
    let agent = stage.0.start_agent()?;
    let lines = stage.write_logs()?;
    say(&format!(
        "# Two scripts write {lines} lines into logs/, as loguru does with serialize=True"
    ))?;
    stage.0.wait_for("the records to be stored", || {
        stage.0.snapshot().filter(|s| s.records.stored >= lines)
    })?;
    say("# All of it is stored. What one asks now:")?;
    let key = stage.key_of_the_error()?;
    let failed = stage.failed_run()?;
    let questions: [(&str, &[&str]); 7] = [
        ("What ran?", &["runs"]),
        ("What failed, and is it still open?", &["errors"]),
        (
            "What do the logs say about users?",
            &["search", "user", "-l", "warning"],
        ),
        ("What exactly happened?", &["get", &key, "-B", "2"]),
        ("The failed run in a page:", &["summary", &failed]),
        ("How do the events of the newest run hang together?", &["graph", "last"]),
        ("What did the report return?", &["response", "report"]),
    ];
    for (why, verb) in questions {
        say(&format!("\n# {why}"))?;
        let line = format!("$ logagent {}", verb.join(" "));
        writeln!(io::stdout(), "{}", show::paint(color, BOLD, &line))?;
        stage.ask(verb)?;
    }
    agent.stop();
    farewell(args, &stage)?;
    Ok(Exit::Done)
}

fn farewell(args: &args::Demo, stage: &Stage) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "\nNow with your own scripts, in any directory:")?;
    writeln!(
        out,
        "  logagent run                                     in a first terminal; it follows logs/"
    )?;
    writeln!(
        out,
        "  logger.add(\"logs/my.jsonl\", serialize=True)      in a Python script with loguru"
    )?;
    writeln!(
        out,
        "  logagent runs, logagent errors, logagent --help  in a second one"
    )?;
    if args.keep {
        let dir = stage.0.dir().display();
        writeln!(out, "\nThe scratch directory stays: cd {dir} && logagent runs")?;
    }
    Ok(())
}

/// Where the story takes place.
struct Stage(Scratch);

impl Stage {
    /// Writes the sample files, line by line as their scripts would; returns how many lines.
    fn write_logs(&self) -> Result<u64, Failure> {
        let mut count = 0;
        for file in sample::files(chrono::Utc::now(), std::process::id()) {
            let path = self.0.dir().join("logs").join(file.name);
            let written = fs::File::create(&path).and_then(|mut f| {
                for line in &file.lines {
                    f.write_all(format!("{line}\n").as_bytes())?;
                }
                Ok(())
            });
            written.map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
            count += file.lines.len() as u64;
        }
        Ok(count)
    }

    /// A value out of a verb's JSON answer.
    fn value(&self, args: &[&str], pointer: &str) -> Result<String, Failure> {
        let out = self.0.verb(args).arg("-q").stderr(Stdio::inherit()).output();
        let out = out.map_err(|e| Failure::usage(format!("{}: {e}", args.join(" "))))?;
        let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let found = answer.pointer(pointer).and_then(serde_json::Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| Failure::store(format!("logagent {} did not find what was stored", args.join(" "))))
    }

    fn key_of_the_error(&self) -> Result<String, Failure> {
        self.value(
            &["search", "import failed", "-l", "error", "-n", "1", "-o", "json"],
            "/items/0/_key",
        )
    }

    fn failed_run(&self) -> Result<String, Failure> {
        self.value(
            &["runs", "--status", "failed", "-n", "1", "-o", "json"],
            "/items/0/execution_id",
        )
    }

    /// Asks, with the answer going where this program's own goes.
    fn ask(&self, args: &[&str]) -> Result<(), Failure> {
        io::stdout().flush()?;
        let status = self.0.verb(args).status();
        let status = status.map_err(|e| Failure::usage(format!("{}: {e}", args.join(" "))))?;
        match status.code() {
            Some(0) => Ok(()),
            _ => Err(Failure::store(format!(
                "logagent {} ended with {status}",
                args.join(" ")
            ))),
        }
    }
}
