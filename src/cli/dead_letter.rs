//! `dead-letter`: records that the store refused for good.
//!
//! The letters are files beside the agent's state, so this works while an agent runs and while none does. A running
//! agent delivers what `retry` asks for; where none runs, this verb delivers by itself.

use std::io::{self, Write};
use std::sync::Arc;

use super::Context;
use super::args::{DeadLetterAction, Which};
use super::exit::{Exit, Failure};
use super::show::{self, BOLD};
use crate::query::args::{Output, Show};
use crate::state::DeadLetter;
use crate::state::dead_letters::{self, DeadLetters};
use crate::state::lock::{self, Holder};
use crate::store::{Batch, Sink};

/// Characters of a reason in the list.
const REASON: usize = 80;

/// Lists, shows, delivers again or deletes.
///
/// # Errors
/// Letters that cannot be read or written; with `retry` and no agent, a store that is unreachable or refuses.
pub(super) fn run(action: &DeadLetterAction, context: &Context) -> Result<Exit, Failure> {
    let letters = DeadLetters::of(&context.settings.data_dir);
    match action {
        DeadLetterAction::List { limit, show } => list(&letters, *limit, show),
        DeadLetterAction::One { key, show } => one(&letters, key, show),
        DeadLetterAction::Retry(which) => retry(&letters, which, context),
        DeadLetterAction::Drop(which) => drop_letters(&letters, which),
    }
}

fn unreadable(e: io::Error) -> Failure {
    Failure::usage(format!("the dead letters cannot be read or changed: {e}"))
}

fn list(letters: &DeadLetters, limit: usize, show: &Show) -> Result<Exit, Failure> {
    let total = letters.usage().map_err(unreadable)?.letters;
    let mut found: Vec<DeadLetter> = Vec::new();
    let broken = letters
        .each(|letter| {
            let more = found.len() < limit;
            if more {
                found.push(letter);
            }
            more
        })
        .map_err(unreadable)?;
    let mut out = io::stdout().lock();
    match show.output {
        Output::Json => {
            let answer = serde_json::json!({
                "items": found,
                "returned": found.len(),
                "total": total,
                "truncated": (found.len() as u64) < total,
            });
            writeln!(
                out,
                "{}",
                serde_json::to_string_pretty(&answer).map_err(io::Error::from)?
            )?;
        }
        Output::Jsonl => {
            for letter in &found {
                writeln!(out, "{}", serde_json::to_string(letter).map_err(io::Error::from)?)?;
            }
        }
        Output::Text => table(&mut out, &found, show)?,
    }
    if !show.quiet {
        let shown = found.len() as u64;
        match total {
            0 => show::note(format_args!("no dead letters")),
            _ if shown < total => show::note(format_args!("{shown} of {total}, more with -n")),
            _ => {}
        }
        if broken > 0 {
            show::note(format_args!(
                "{broken} lines of the files cannot be read; they are kept"
            ));
        }
    }
    Ok(Exit::found(!found.is_empty()))
}

fn table(out: &mut impl Write, found: &[DeadLetter], show: &Show) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let wide = found
        .iter()
        .map(|l| l.rejected.key.chars().count())
        .max()
        .unwrap_or(3)
        .max(3);
    let head = format!(
        "{:wide$}  {:19}  {:16}  {:>6}  REASON",
        "KEY", "TIME", "COLLECTION", "NUMBER"
    );
    writeln!(out, "{}", show::paint(show::color(show.no_color), BOLD, &head))?;
    for DeadLetter { rejected: r, time } in found {
        let number = r.error_num.map_or(String::new(), |n| n.to_string());
        let time = show::instant(time, show.utc);
        let mut reason = show::plain(&r.reason).replace('\n', " ");
        if reason.chars().count() > REASON {
            reason = reason.chars().take(REASON - 1).chain(['…']).collect();
        }
        writeln!(
            out,
            "{:wide$}  {time:19}  {:16}  {number:>6}  {reason}",
            r.key, r.collection
        )?;
    }
    Ok(())
}

fn one(letters: &DeadLetters, key: &str, show: &Show) -> Result<Exit, Failure> {
    let found = letters.find(key).map_err(unreadable)?;
    let mut out = io::stdout().lock();
    for letter in &found {
        match show.output {
            Output::Json => writeln!(
                out,
                "{}",
                serde_json::to_string_pretty(letter).map_err(io::Error::from)?
            )?,
            Output::Jsonl => writeln!(out, "{}", serde_json::to_string(letter).map_err(io::Error::from)?)?,
            Output::Text => {
                let r = &letter.rejected;
                writeln!(out, "key         {}", r.key)?;
                writeln!(out, "collection  {}", r.collection)?;
                writeln!(out, "time        {}", show::instant(&letter.time, show.utc))?;
                if let Some(number) = r.error_num {
                    writeln!(out, "error_num   {number}")?;
                }
                writeln!(out, "reason      {}", show::plain(&r.reason))?;
                let record: Result<serde_json::Value, _> = serde_json::from_str(&r.record);
                let pretty = record.and_then(|v| serde_json::to_string_pretty(&v));
                writeln!(
                    out,
                    "record\n{}",
                    show::plain(&pretty.unwrap_or_else(|_| r.record.clone()))
                )?;
            }
        }
    }
    if found.is_empty() && !show.quiet {
        show::note(format_args!(
            "no dead letter has the key {key}; see: logagent dead-letter list"
        ));
    }
    Ok(Exit::found(!found.is_empty()))
}

fn now() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

impl Which {
    fn names(&self, letter: &DeadLetter) -> bool {
        self.all || self.keys.contains(&letter.rejected.key)
    }
}

/// Says which of the asked keys there are none of, and ends accordingly.
fn ended(done: u64, which: &Which, what: &str) -> Exit {
    show::note(format_args!("{done} {what}"));
    if !which.all && done < which.keys.len() as u64 {
        show::note(format_args!(
            "the other keys have no dead letter; see: logagent dead-letter list"
        ));
    }
    Exit::found(done > 0)
}

fn drop_letters(letters: &DeadLetters, which: &Which) -> Result<Exit, Failure> {
    let gone = letters.remove(|l| which.names(l), now()).map_err(unreadable)?;
    Ok(ended(gone, which, "deleted"))
}

fn retry(letters: &DeadLetters, which: &Which, context: &Context) -> Result<Exit, Failure> {
    let asked = letters.retry(|l| which.names(l), now()).map_err(unreadable)?;
    if let Holder::Agent(_) = lock::holder(&context.settings.data_dir) {
        return Ok(ended(
            asked,
            which,
            "handed to the running agent, which delivers them again",
        ));
    }
    let store = context.open_store()?;
    let (delivered, refused) = super::block_on(deliver(letters, &store))??;
    if refused > 0 {
        show::note(format_args!("{refused} refused again; see: logagent dead-letter list"));
    }
    let exit = ended(delivered, which, "delivered");
    Ok(if refused > 0 { Exit::Store } else { exit })
}

/// Delivers everything that waits to be retried; returns how many were taken and how many refused again.
///
/// # Errors
/// When the store takes nothing now: the rest waits, and goes with the next retry or the next agent.
async fn deliver(letters: &DeadLetters, store: &impl Sink) -> Result<(u64, u64), Failure> {
    let (mut delivered, mut refused) = (0, 0);
    while let Some(retry) = letters.next_retry().map_err(unreadable)? {
        let mut batch = Batch::default();
        let back = |l: &&DeadLetter| !batch.push_rejected(&l.rejected);
        let unusable: Vec<DeadLetter> = retry.letters.iter().filter(back).cloned().collect();
        let report = store.write(&Arc::new(batch)).await?;
        let again: Vec<DeadLetter> = report
            .rejected
            .into_iter()
            .map(|rejected| dead_letters::letter(rejected, now()))
            .chain(unusable)
            .collect();
        refused += again.len() as u64;
        delivered += (retry.letters.len() as u64).saturating_sub(again.len() as u64);
        letters.add(&again, now()).map_err(unreadable)?;
        letters.retried(&retry).map_err(unreadable)?;
    }
    store.durable_barrier().await?;
    Ok((delivered, refused))
}
