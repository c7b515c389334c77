//! Answers on standard output, and what is to be said about them on standard error.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::show;
use crate::query::answer::Answer;
use crate::query::args::{Output, Show};
use crate::query::render::{Paint, Row};
use crate::query::{AskError, Clock, Window};

/// How answers are shown in this process.
pub(super) struct Screen<'a> {
    pub show: &'a Show,
    pub clock: Clock,
}

impl From<AskError> for Failure {
    fn from(e: AskError) -> Failure {
        use crate::store::ReadError::{Away, Faulty, Refused, TooLong};
        let exit = match &e {
            AskError::Usage(_) | AskError::Store(Faulty(_)) => Exit::Usage,
            AskError::NotFound(_) => Exit::Nothing,
            AskError::Store(Away(_) | Refused(_) | TooLong(_)) => Exit::Store,
        };
        Failure {
            exit,
            message: e.to_string(),
        }
    }
}

impl Screen<'_> {
    /// Shows a list with its bounds.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn list<T: Row>(&self, answer: &Answer<T>) -> Result<Exit, Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.show.output {
            Output::Json => json(&mut out, answer)?,
            Output::Jsonl => {
                for item in &answer.items {
                    json(&mut out, item)?;
                }
            }
            Output::Text => self.draw(&mut out, &answer.items)?,
        }
        out.flush()?;
        self.note(answer);
        // Asked for none, there can be some all the same.
        Ok(Exit::found(!answer.items.is_empty() || answer.truncated))
    }

    /// Shows a single object.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn object<T: Row>(&self, object: &T) -> Result<Exit, Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.show.output {
            Output::Json | Output::Jsonl => json(&mut out, object)?,
            Output::Text => self.draw(&mut out, std::slice::from_ref(object))?,
        }
        out.flush()?;
        Ok(Exit::Done)
    }

    /// Shows items one after the other as they come; a list has no end here, so JSON is one item a line.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn stream<T: Row>(&self, items: &[T]) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.show.output {
            Output::Json | Output::Jsonl => {
                for item in items {
                    json(&mut out, item)?;
                }
            }
            Output::Text => self.draw(&mut out, items)?,
        }
        Ok(out.flush()?)
    }

    fn draw<T: Row>(&self, out: &mut impl Write, items: &[T]) -> io::Result<()> {
        let mut paint = Paint::new(show::color(self.show.no_color), self.clock);
        T::draw(items, &mut paint);
        out.write_all(paint.out.as_bytes())
    }

    /// How much was found, in which window, and where to go on.
    fn note<T>(&self, answer: &Answer<T>) {
        if self.show.quiet {
            return;
        }
        let n = answer.items.len();
        let total = match answer.total {
            Some(t) => show::count(t),
            None if answer.truncated => "many".to_owned(),
            None => n.to_string(),
        };
        let mut text = format!("{n} of {total} {}", self.window(&answer.window));
        if let Some(cursor) = &answer.next_cursor {
            text.push_str(&format!(", more with --cursor {cursor}"));
        }
        show::note(format_args!("{text}"));
        self.hints(&answer.hints);
    }

    /// The window in words.
    pub fn window(&self, window: &Window) -> String {
        let at = |t: &Option<String>| t.as_deref().map(|t| self.clock.show(t));
        match (at(&window.since), at(&window.until)) {
            (None, None) => "of all time".to_owned(),
            (Some(s), None) => format!("since {s}"),
            (None, Some(u)) => format!("until {u}"),
            (Some(s), Some(u)) => format!("from {s} to {u}"),
        }
    }

    /// Hints, each on a line of standard error.
    pub fn hints(&self, hints: &[String]) {
        if !self.show.quiet {
            for hint in hints {
                show::note(format_args!("{hint}"));
            }
        }
    }
}

pub(super) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}
