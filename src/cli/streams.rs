//! Answers without an end, or without a limit: following, exporting, page after page.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use super::exit::{Exit, Failure};
use super::read::{Exported, Shown, list, screen};
use super::show;
use crate::query::answer::Answer;
use crate::query::render::Row;
use crate::query::scope::LIMIT_MAX;
use crate::query::{self, AskError, Asking, Clock, args, events};
use crate::store::ReadError;
use crate::store::search::{Search, Stop};

/// A list of which a program wants more items than one answer has: as JSON lines they need not be held together, so page
/// after page is written.
pub(super) fn pages<T: Row>(
    show: &args::Show,
    which: &args::Which,
    mut verb: impl FnMut(args::Which) -> Result<Answer<T>, AskError>,
) -> Result<Exit, Failure> {
    let wanted = which.limit.unwrap_or(0);
    if show.output != args::Output::Jsonl || wanted <= LIMIT_MAX {
        return list(show, &verb(which.clone())?);
    }
    let screen = screen(show);
    let mut left = wanted;
    let mut next = args::Which {
        limit: Some(LIMIT_MAX),
        ..which.clone()
    };
    loop {
        let mut answer = verb(next.clone())?;
        left -= answer.items.len().min(left);
        let more = answer
            .next_cursor
            .clone()
            .filter(|_| left > 0 && !answer.items.is_empty());
        let Some(cursor) = more else {
            return screen.list(&answer);
        };
        screen.stream(&answer.items)?;
        answer.items.clear();
        next.cursor = Some(cursor);
        next.limit = Some(left.min(LIMIT_MAX));
    }
}

/// Writes everything that matches to standard output, or to a file.
pub(super) fn export(store: &dyn Search, v: &Exported) -> Result<Exit, Failure> {
    let show = args::Show {
        quiet: v.quiet,
        utc: v.utc,
        ..args::Show::default()
    };
    let ask = Asking {
        store,
        clock: Clock::system(v.utc),
        meaning: None,
        stop: Stop::default(),
    };
    let wanted = query::export::wanted(&v.args)?;
    let file = |name: &String| {
        std::fs::File::create(name).map_err(|e| Failure::usage(format!("{name} cannot be written: {e}")))
    };
    let out: Box<dyn Write> = match &wanted.file {
        Some(name) => Box::new(file(name)?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut out = std::io::BufWriter::new(out);
    let mut written = Ok(());
    let rows = query::export::export(&ask, &v.args, &wanted, &mut |line| {
        written = writeln!(out, "{line}");
        written.is_ok()
    })?;
    written?;
    out.flush()?;
    let to = wanted
        .file
        .as_deref()
        .map_or(String::new(), |f| format!(" written to {f}"));
    screen(&show).hints(&[format!("{} {}{to}", show::count(rows), wanted.what.as_str())]);
    Ok(Exit::found(rows > 0))
}

/// Shows runs, oldest first, and then each that begins, or ends, until a signal ends the program.
pub(super) fn follow_runs(ask: &Asking<'_>, v: &Shown<args::Runs>) -> Result<Exit, Failure> {
    let screen = screen(&v.show);
    let mut known: HashMap<String, String> = HashMap::new();
    let mut asked = v.args.clone();
    loop {
        let now = Asking {
            clock: Clock {
                now: Clock::system(true).now,
                ..ask.clock
            },
            ..ask.clone()
        };
        let mut news = query::runs(&now, &asked)?.items;
        news.retain(|row| known.get(&row.run.execution_id) != Some(&row.run.status));
        news.reverse();
        if !news.is_empty() {
            screen.stream(&news)?;
            known.extend(news.into_iter().map(|row| (row.run.execution_id, row.run.status)));
        }
        asked.which.limit = Some(LIMIT_MAX);
        std::thread::sleep(FOLLOW);
    }
}

/// How often the store is asked for what is new.
const FOLLOW: Duration = Duration::from_millis(250);

/// Shows the newest matching events, at most so many, oldest first, and then each that is stored, until a signal ends the program.
pub(super) fn follow(ask: &Asking<'_>, v: &Shown<args::Search>, before: Option<usize>) -> Result<Exit, Failure> {
    let screen = screen(&v.show);
    let mut follow = events::follow_start(ask, &v.args)?;
    let mut newest = v.args.clone();
    newest.sort = Some(args::Sort::Time);
    newest.which.reverse = false;
    newest.which.limit = before;
    // The same events that following shows: of words all, and as they are.
    let mut shown = events::recent(ask, &newest)?.items;
    shown.reverse();
    screen.stream(&shown)?;
    // What was stored between the two questions is in both answers.
    let mut away: Option<String> = None;
    let mut known: HashSet<String> = shown.into_iter().map(|hit| hit.event.key).collect();
    loop {
        let mut news = match follow.next(ask) {
            Ok(news) => news,
            // It comes back: a store that is made anew, restored, or a server that is started again.
            Err(AskError::Store(ReadError::Away(why) | ReadError::Refused(why))) => {
                if away.as_ref() != Some(&why) {
                    screen.hints(&[format!("{why}; still following")]);
                    away = Some(why);
                }
                std::thread::sleep(FOLLOW);
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        away = None;
        news.retain(|hit| !known.contains(&hit.event.key));
        if !news.is_empty() {
            screen.stream(&news)?;
            known.clear();
        }
        std::thread::sleep(FOLLOW);
    }
}
