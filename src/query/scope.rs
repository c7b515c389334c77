//! From arguments to what a question is about: filter, window, limit and place.

use regex::Regex;

use super::args::Which;
pub use super::conditions::{conditions, known_path, split_terms};
use super::cursor::{Cursor, SHOWN_MAX, digest, mark};
use super::naming::execution;
use super::window::{Clock, Window};
use super::{AskError, Asking};
use crate::record::{Micros, level, of_number};
use crate::store::search::{After, FieldIs, Filter, ReadError, Sign};

/// Items of an answer unless `--limit` says otherwise.
pub const LIMIT: usize = 20;
/// The largest limit of one answer; more is had by cursors.
pub const LIMIT_MAX: usize = 10_000;

/// What a question is about.
#[derive(Clone, Debug)]
pub struct Scope {
    pub filter: Filter,
    pub window: Window,
    pub limit: usize,
    pub oldest_first: bool,
    pub after: Option<After>,
    /// What was stored when the first page was asked for, on later pages.
    stored: Option<i64>,
    /// Hashes of what earlier pages showed, where that is known.
    shown: Vec<u32>,
    digest: u32,
}

/// Stored fields of events.
pub const EVENT_FIELDS: &[&str] = &[
    "_key",
    "timestamp",
    "level",
    "level_no",
    "message",
    "execution_id",
    "script_name",
    "function_name",
    "file_path",
    "line_number",
    "module",
    "logger",
    "pid",
    "process_name",
    "thread_id",
    "thread_name",
    "host",
    "exception",
    "extra_data",
    "tags",
    "fingerprint",
    "event",
    "source",
    "seq",
    "ingested_at",
    "unparsed",
    "repaired",
    "truncated",
    "redacted",
    "fix_unmatched",
];
/// Stored fields of runs.
pub const RUN_FIELDS: &[&str] = &[
    "_key",
    "execution_id",
    "script_name",
    "start_time",
    "end_time",
    "last_seen",
    "status",
    "duration_seconds",
    "metadata",
    "error",
    "pid",
    "host",
    "parent_execution_id",
];
/// Stored fields of learnings.
pub const LEARNING_FIELDS: &[&str] = &[
    "_key",
    "timestamp",
    "execution_id",
    "learning",
    "context",
    "function_name",
    "confidence",
    "script_name",
    "tags",
];

impl Scope {
    /// Reads the shared flags as [`Scope::new`] does, with the execution by any of its names.
    ///
    /// # Errors
    /// Those of [`Scope::new`] and of the store; [`AskError::NotFound`] where there is no run to be the last.
    pub fn of(
        ask: &Asking<'_>,
        which: &Which,
        question: &impl std::fmt::Debug,
        fields: Vec<FieldIs>,
        reach: Option<Micros>,
    ) -> Result<Scope, AskError> {
        let Some(name) = which.execution.as_deref() else {
            return Scope::new(&ask.clock, which, question, fields, reach);
        };
        let id = match execution(ask, Some(name), which) {
            // Nothing is found of it then, and the answer says why.
            Err(AskError::NotFound(_)) if !name.starts_with("last") => name.to_owned(),
            other => other?,
        };
        let named = Which {
            execution: Some(id),
            ..which.clone()
        };
        Scope::new(&ask.clock, &named, question, fields, reach)
    }

    /// Reads the shared flags. `question` tells one question from another (for cursors); without `--since`, the last
    /// `reach` is looked at unless an execution is named.
    ///
    /// # Errors
    /// A time, level, expression or cursor that cannot be read.
    pub fn new(
        clock: &Clock,
        which: &Which,
        question: &impl std::fmt::Debug,
        fields: Vec<FieldIs>,
        reach: Option<Micros>,
    ) -> Result<Scope, AskError> {
        let w = which;
        let digest = digest(&(
            question,
            &fields,
            &w.level,
            &w.execution,
            &w.script,
            &w.host,
            &w.tag,
            &w.grep,
            w.reverse,
        ));
        let cursor = w.cursor.as_deref().map(|c| Cursor::decode(c, digest)).transpose()?;
        let (since, until) = match &cursor {
            Some(c) => (c.since, c.until),
            None => {
                let since = w.since.as_deref().map(|t| clock.parse(t)).transpose()?;
                let until = w.until.as_deref().map(|t| clock.parse_end(t)).transpose()?;
                let named = w.execution.is_some() || fields.iter().any(|f| f.path == ["execution_id"]);
                let reach = reach
                    .filter(|_| !named)
                    .map(|r| until.unwrap_or(clock.now).saturating_sub(r));
                (since.or(reach), until)
            }
        };
        if let (Some(s), Some(u)) = (since, until)
            && s > u
        {
            return Err(AskError::usage("--since is later than --until"));
        }
        let fields = fields
            .into_iter()
            .map(|f| timed(clock, f))
            .collect::<Result<Vec<_>, _>>()?;
        let filter = Filter {
            since,
            until,
            min_level: w.level.as_deref().map(level_no).transpose()?,
            executions: w.execution.iter().cloned().collect(),
            scripts: w.script.iter().cloned().collect(),
            hosts: w.host.iter().cloned().collect(),
            tags: w.tag.iter().cloned().collect(),
            grep: w.grep.as_deref().map(expression).transpose()?,
            fields,
            ..Filter::default()
        };
        Ok(Scope {
            window: Window::new(since, until),
            filter,
            limit: w.limit.unwrap_or(LIMIT).min(LIMIT_MAX),
            oldest_first: w.reverse,
            stored: cursor.as_ref().and_then(|c| c.stored),
            shown: cursor.as_ref().map(|c| c.shown.clone()).unwrap_or_default(),
            after: cursor.map(|c| c.after),
            digest,
        })
    }

    /// For answers whose pages are counted off: all pages are of what was stored when the first was asked for.
    ///
    /// # Errors
    /// Those of the store.
    pub fn pin(&mut self, ask: &Asking<'_>) -> Result<(), AskError> {
        let stored = match self.stored {
            Some(n) => n,
            None => ask.store.latest()?,
        };
        self.stored = Some(stored);
        self.filter.stored_until = Some(stored);
        Ok(())
    }

    /// The same by time, for what is no event: later pages end with the time at which the first was asked for.
    #[must_use]
    pub fn pin_time(&mut self, now: Micros) -> Option<Micros> {
        let first = *self.stored.get_or_insert(now);
        let until = self.filter.until;
        match self.after {
            Some(_) => Some(until.map_or(first, |u| u.min(first))),
            None => until,
        }
    }

    /// The cursor behind the last item, where there is more; behind none, for those who only want to know how many, it
    /// stands where this answer began.
    #[must_use]
    pub fn go_on(&self, more: bool, last: Option<After>) -> Option<String> {
        let here = || self.after.clone().unwrap_or(After::Offset(0));
        more.then(|| self.next(last.unwrap_or_else(here)))
    }

    /// The cursor behind `after`.
    #[must_use]
    pub fn next(&self, after: After) -> String {
        self.cursor(after, Vec::new())
    }

    fn cursor(&self, after: After, shown: Vec<u32>) -> String {
        Cursor {
            digest: self.digest,
            since: self.filter.since,
            until: self.filter.until,
            stored: self.stored,
            after,
            shown,
        }
        .encode()
    }

    /// Of a ranking whose first items these are: those that earlier pages did not show, as many as are asked for, and the
    /// cursor behind them, where there are more or `more` says so. The items begin with the best of all, or with those at
    /// [`Scope::offset`] where [`Scope::remembers`] says no.
    #[must_use]
    pub fn unseen<T>(&self, items: Vec<T>, more: bool, key: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
        let shown: std::collections::HashSet<u32> = self.shown.iter().copied().collect();
        let mut left: Vec<T> = items.into_iter().filter(|i| !shown.contains(&mark(key(i)))).collect();
        let more = more || left.len() > self.limit;
        left.truncate(self.limit);
        let cursor = more.then(|| {
            let end = self.offset() + left.len();
            let mut all = self.shown.clone();
            all.extend(left.iter().map(|i| mark(key(i))));
            let all = if self.remembers() && end <= SHOWN_MAX {
                all
            } else {
                Vec::new()
            };
            self.cursor(After::Offset(end as u64), all)
        });
        (left, cursor)
    }

    /// Whether all that earlier pages showed is known.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.shown.len() == self.offset()
    }

    /// How many items are behind us, for answers whose pages are counted off.
    #[must_use]
    pub fn offset(&self) -> usize {
        match self.after {
            Some(After::Offset(n)) => usize::try_from(n).unwrap_or(usize::MAX),
            _ => 0,
        }
    }
}

/// A condition on a time, whose value may be typed as for `--since`.
fn timed(clock: &Clock, mut field: FieldIs) -> Result<FieldIs, AskError> {
    const TIMES: [&str; 6] = [
        "timestamp",
        "ingested_at",
        "start_time",
        "end_time",
        "last_seen",
        "resolved_at",
    ];
    let ordered = !matches!(field.sign, Sign::Is | Sign::IsNot);
    if let ([name], true) = (field.path.as_slice(), ordered) {
        let name = name.as_str();
        for value in &mut field.values {
            if TIMES.contains(&name) {
                *value = crate::record::format_time(clock.parse(value)?);
            } else if name == "duration_seconds"
                && let Some(micros) = super::window::duration(value)
            {
                *value = (micros as f64 / 1e6).to_string();
            }
        }
    }
    Ok(field)
}

/// A level by name or number as its number.
///
/// # Errors
/// An unknown name.
pub fn level_no(text: &str) -> Result<i64, AskError> {
    let t = text.trim();
    if let Ok(n) = t.parse() {
        return Ok(n);
    }
    let (name, no) = level(t);
    // A name that nobody knows has a number too, but not one that was meant.
    let numbered = name.strip_prefix("LEVEL ").is_some_and(|n| n.parse() == Ok(no));
    if name == of_number(no) || numbered {
        return Ok(no);
    }
    Err(AskError::usage(format!(
        "unknown level '{text}': use trace, debug, info, success, warning, error, critical or a number"
    )))
}

fn expression(text: &str) -> Result<Regex, AskError> {
    regex::RegexBuilder::new(text)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| AskError::usage(format!("--grep: {e}")))
}

/// Why nothing was found, and what to try: the window too small, a condition that nothing meets, an empty store.
///
/// # Errors
/// Those of the store.
pub fn hints(ask: &Asking<'_>, scope: &Scope) -> Result<Vec<String>, AskError> {
    let all = &scope.filter;
    let open = Filter {
        since: None,
        until: None,
        ..all.clone()
    };
    if !scope.window.is_open()
        && let Some((first, last)) = extent(ask, &open)?
    {
        let earlier = scope.window.since.as_ref().is_some_and(|s| last < *s);
        let show = |t: &str| ask.clock.show(t);
        if first.is_empty() {
            return Ok(vec![
                "nothing in this window: widen --since, or drop a condition".to_owned(),
            ]);
        }
        return Ok(vec![if earlier {
            format!(
                "nothing in this window, but earlier data exists, the newest from {}: widen --since",
                show(&last)
            )
        } else {
            format!(
                "nothing in this window; matching data lies from {} to {}",
                show(&first),
                show(&last)
            )
        }]);
    }
    if extent(ask, &Filter::default())?.is_none() {
        return Ok(vec![format!(
            "the store {} holds no events yet: is the agent running (logagent status)?",
            ask.store.name()
        )]);
    }
    let mut found = Vec::new();
    for (what, alone) in single_conditions(all) {
        if extent(ask, &alone)?.is_none() {
            found.push(format!(
                "no stored event has {what}: is it spelt as in `logagent stats`?"
            ));
        }
    }
    if found.is_empty() && is_open(all) {
        found.push("no event matches: try other words, the beginning of one (conn*), or --grep REGEX".to_owned());
    } else if found.is_empty() {
        found.push("no event meets all conditions together: drop one, or try other words".to_owned());
    }
    Ok(found)
}

/// How far events reach. Where finding that out takes too long there are events enough, of times unknown.
fn extent(ask: &Asking<'_>, filter: &Filter) -> Result<Option<(String, String)>, AskError> {
    match ask.store.extent(filter) {
        Err(ReadError::TooLong(_)) => Ok(Some((String::new(), String::new()))),
        other => Ok(other?),
    }
}

/// Whether nothing but words was asked for.
fn is_open(filter: &Filter) -> bool {
    let f = filter;
    let lists = [&f.executions, &f.scripts, &f.hosts, &f.tags, &f.fingerprints];
    let bounds = f.since.is_some() || f.until.is_some() || f.min_level.is_some();
    !bounds
        && f.grep.is_none()
        && f.fields.is_empty()
        && !f.has_response
        && !f.is_fix
        && lists.iter().all(|l| l.is_empty())
}

/// Each cheap condition of a filter by itself.
fn single_conditions(all: &Filter) -> Vec<(String, Filter)> {
    let mut out = Vec::new();
    let mut add = |what: String, filter: Filter| out.push((what, filter));
    let none = Filter::default;
    if let Some(e) = all.executions.first() {
        add(
            format!("execution_id={e}"),
            Filter {
                executions: all.executions.clone(),
                ..none()
            },
        );
    }
    if let Some(s) = all.scripts.first() {
        add(
            format!("script_name={s}"),
            Filter {
                scripts: all.scripts.clone(),
                ..none()
            },
        );
    }
    for field in &all.fields {
        add(
            format!(
                "{}{}{}",
                field.path.join("."),
                field.sign.as_str(),
                field.values.join(" or ")
            ),
            Filter {
                fields: vec![field.clone()],
                ..none()
            },
        );
    }
    if let Some(h) = all.hosts.first() {
        add(
            format!("host={h}"),
            Filter {
                hosts: all.hosts.clone(),
                ..none()
            },
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_by_name_alias_and_number() {
        assert_eq!(level_no("warn").ok(), Some(30));
        assert_eq!(level_no("Fatal").ok(), Some(50));
        assert_eq!(level_no("33").ok(), Some(33));
        assert!(level_no("loud").is_err());
    }

    #[test]
    fn a_default_window_gives_way_to_a_named_execution_and_to_a_cursor() {
        let clock = Clock {
            now: 1_000_000_000_000_000,
            utc: true,
            whole: false,
        };
        let reach = Some(super::super::window::DAY);
        let which = Which::default();
        let scope = Scope::new(&clock, &which, &"q", Vec::new(), reach).expect("scope");
        assert_eq!(scope.filter.since, Some(clock.now - super::super::window::DAY));
        let named = Which {
            execution: Some("x".into()),
            ..Which::default()
        };
        assert_eq!(
            Scope::new(&clock, &named, &"q", Vec::new(), reach)
                .expect("scope")
                .filter
                .since,
            None
        );
        let later = Clock {
            now: clock.now + 5,
            utc: true,
            whole: false,
        };
        let paged = Which {
            cursor: Some(scope.next(After::Offset(20))),
            ..Which::default()
        };
        let next = Scope::new(&later, &paged, &"q", Vec::new(), reach).expect("scope");
        assert_eq!(
            next.filter.since, scope.filter.since,
            "the window does not move on between pages"
        );
        assert_eq!(next.offset(), 20);
    }
}
