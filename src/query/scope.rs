//! From arguments to what a question is about: filter, window, limit and place.

use regex::Regex;

use super::args::Which;
use super::cursor::{Cursor, SHOWN_MAX, digest, mark};
use super::naming::{execution, nearest};
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

/// Takes `FIELD=VALUE` conditions out of `terms`; conditions on one field are joined to "any of the values", those with
/// `!=` to "none of them". A term of several words is taken apart where one of them is a condition: a shell or a model
/// may have put all of them into one text.
///
/// # Errors
/// A condition on a field that is not stored, with the nearest one that is.
pub fn split_terms(terms: &[String], known: &[&str]) -> Result<(Vec<String>, Vec<FieldIs>), AskError> {
    let mut texts = Vec::new();
    let mut fields: Vec<FieldIs> = Vec::new();
    for term in terms {
        // A value may hold spaces where the condition is a term of its own: message='disk full'.
        let parts = parts(term);
        let conditions = parts.iter().filter(|p| is_condition(p, known)).count();
        if conditions == 0 || (parts.len() > 1 && conditions == 1 && is_whole(term, &parts, known)) {
            match condition(term, known)? {
                Some(field) => join(&mut fields, field),
                None => texts.push(term.clone()),
            }
            continue;
        }
        let mut text = Vec::new();
        for part in parts {
            match condition(part, known)? {
                Some(field) => join(&mut fields, field),
                None => text.push(part),
            }
        }
        if !text.is_empty() {
            texts.push(text.join(" "));
        }
    }
    Ok((texts, fields))
}

/// Adds a condition to those that are there.
fn join(fields: &mut Vec<FieldIs>, field: FieldIs) {
    let joined = matches!(field.sign, Sign::Is | Sign::IsNot);
    let same = |f: &&mut FieldIs| joined && f.path == field.path && f.sign == field.sign;
    match fields.iter_mut().find(same) {
        Some(f) => f.values.extend(field.values),
        None => fields.push(field),
    }
}

/// The words of a term; what stands in quotes is one.
fn parts(term: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted) = (None, false);
    for (at, c) in term.char_indices() {
        if c == '"' {
            quoted = !quoted;
        }
        match start {
            Some(from) if c.is_whitespace() && !quoted => {
                parts.push(&term[from..at]);
                start = None;
            }
            None if !c.is_whitespace() => start = Some(at),
            _ => {}
        }
    }
    parts.extend(start.map(|from| &term[from..]));
    parts
}

/// Whether a term of several words is one condition whose value holds spaces. It is not where the field's values hold
/// none: a level, a name, a number.
fn is_whole(term: &str, parts: &[&str], known: &[&str]) -> bool {
    const OF_ONE_WORD: [&str; 13] = [
        "_key",
        "level",
        "level_no",
        "execution_id",
        "script_name",
        "function_name",
        "line_number",
        "pid",
        "host",
        "fingerprint",
        "event",
        "status",
        "module",
    ];
    let first = parts.first().is_some_and(|p| is_condition(p, known));
    let Some((path, _, value)) = first.then(|| cut(term)).flatten() else {
        return false;
    };
    // Quotes say where it ends.
    if value.starts_with('"') {
        return false;
    }
    let path = known_path(path, known).unwrap_or_default();
    path.first().is_some_and(|name| !OF_ONE_WORD.contains(&name.as_str()))
}

/// Whether a word is a condition on a field that is stored.
fn is_condition(part: &str, known: &[&str]) -> bool {
    cut(part).is_some_and(|(path, _, _)| known_path(path, known).is_ok())
}

/// The condition that a term is, if it is one.
///
/// # Errors
/// An unknown field.
fn condition(term: &str, known: &[&str]) -> Result<Option<FieldIs>, AskError> {
    let Some((path, sign, value)) = cut(term) else {
        return Ok(None);
    };
    let path = match known_path(path, known) {
        Ok(path) => path,
        // `a->b` and `List<String>` are texts, too.
        Err(e)
            if matches!(sign, Sign::Is | Sign::IsNot)
                || path.contains('.')
                || nearest(path, known.iter().copied()).is_some() =>
        {
            return Err(e);
        }
        Err(_) => return Ok(None),
    };
    let value = value
        .strip_prefix('"')
        .and_then(|v| v.strip_suffix('"'))
        .unwrap_or(value);
    let (path, value) = match (path.as_slice(), sign) {
        ([one], Sign::Is | Sign::IsNot) if one == "level" => (path, level(value).0.into_owned()),
        ([one], _) if one == "level" => (vec!["level_no".to_owned()], level_no(value)?.to_string()),
        _ => (path, value.to_owned()),
    };
    Ok(Some(FieldIs {
        path,
        values: vec![value],
        sign,
    }))
}

/// Conditions alone; `instead` says what to do with a text.
///
/// # Errors
/// A text that is no condition, and what [`split_terms`] refuses.
pub fn conditions(terms: &[String], known: &[&str], instead: &str) -> Result<Vec<FieldIs>, AskError> {
    let (texts, fields) = split_terms(terms, known)?;
    match texts.first() {
        Some(text) => Err(AskError::usage(format!(
            "'{text}' is no FIELD=VALUE condition{instead}"
        ))),
        None => Ok(fields),
    }
}

/// Path, sign and value of `name.name=value`, else nothing: a text that merely contains a sign of equality stays a text.
fn cut(term: &str) -> Option<(&str, Sign, &str)> {
    let mut quoted = false;
    let at = term.find(|c: char| {
        quoted ^= c == '"';
        !quoted && matches!(c, '=' | '!' | '<' | '>')
    })?;
    let (path, rest) = term.split_at(at);
    let (sign, value) = [
        (Sign::IsNot, "!="),
        (Sign::AtLeast, ">="),
        (Sign::AtMost, "<="),
        (Sign::Above, ">"),
        (Sign::Below, "<"),
        (Sign::Is, "="),
    ]
    .into_iter()
    .find_map(|(sign, text)| Some((sign, rest.strip_prefix(text)?)))?;
    let name_ok = |n: &str| {
        let plain = n.chars().all(|c| c.is_alphanumeric() || "_-@".contains(c));
        !n.is_empty() && (plain || (n.len() > 2 && n.starts_with('"') && n.ends_with('"')))
    };
    let ordered = !matches!(sign, Sign::Is | Sign::IsNot);
    let well_formed = !path.starts_with('-') && !path.ends_with('-') && names(path).iter().all(|n| name_ok(n));
    (well_formed && !(ordered && value.is_empty())).then_some((path, sign, value))
}

/// The names of a dotted path; dots within quotes do not part them.
fn names(path: &str) -> Vec<&str> {
    let mut quoted = false;
    path.split(|c: char| {
        quoted ^= c == '"';
        c == '.' && !quoted
    })
    .collect()
}

/// Splits a dotted path whose first name must be known.
///
/// # Errors
/// An unknown first name.
pub fn known_path(path: &str, known: &[&str]) -> Result<Vec<String>, AskError> {
    let names: Vec<String> = names(path)
        .into_iter()
        .map(|n| n.trim_matches('"').to_owned())
        .collect();
    let first = names.first().map_or("", String::as_str);
    let alias = match first {
        "script" => "script_name",
        "execution" => "execution_id",
        "function" => "function_name",
        "tag" => "tags",
        "file" => "file_path",
        "line" => "line_number",
        "key" => "_key",
        "extra" => "extra_data",
        "start" => "start_time",
        "end" => "end_time",
        "duration" => "duration_seconds",
        "time" => "timestamp",
        other => other,
    };
    if !known.contains(&alias) {
        let near = known
            .iter()
            .max_by(|a, b| strsim::jaro(a, first).total_cmp(&strsim::jaro(b, first)));
        let own = if known.contains(&"extra_data") {
            format!("; a bound value of your own is extra_data.{path}")
        } else if known.contains(&"metadata") {
            format!("; a value of the run's metadata is metadata.{path}")
        } else {
            String::new()
        };
        return Err(AskError::usage(format!(
            "unknown field '{first}': did you mean {}?{own}",
            near.unwrap_or(&"message")
        )));
    }
    Ok(std::iter::once(alias.to_owned())
        .chain(names.into_iter().skip(1))
        .collect())
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

    fn split(terms: &[&str]) -> Result<(Vec<String>, Vec<FieldIs>), AskError> {
        split_terms(&terms.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>(), EVENT_FIELDS)
    }

    #[test]
    fn conditions_on_different_fields_and_the_same_field_are_told_apart() {
        let (texts, fields) = split(&[
            "disk full",
            "level=error",
            "extra_data.user=7",
            "level=CRITICAL",
            "a b=c",
        ])
        .expect("valid");
        assert_eq!(texts, ["disk full", "a b=c"]);
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[0].values, ["ERROR", "CRITICAL"]);
        assert_eq!(fields[1].path, ["extra_data", "user"]);
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_known_one() {
        let text = split(&["mesage=x"]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("did you mean message?"), "{text}");
        assert!(text.contains("extra_data.mesage"), "{text}");
    }

    #[test]
    fn levels_are_read_by_name_alias_and_number() {
        assert_eq!(level_no("warn").ok(), Some(30));
        assert_eq!(level_no("Fatal").ok(), Some(50));
        assert_eq!(level_no("33").ok(), Some(33));
        assert!(level_no("loud").is_err());
    }

    fn read(terms: &[&str]) -> (Vec<String>, Vec<(String, &'static str, Vec<String>)>) {
        let (texts, fields) = split(terms).expect("readable");
        let shown = |f: FieldIs| (f.path.join("|"), f.sign.as_str(), f.values);
        (texts, fields.into_iter().map(shown).collect())
    }

    fn is(path: &str, sign: &'static str, values: &[&str]) -> (String, &'static str, Vec<String>) {
        (path.to_owned(), sign, values.iter().map(|v| (*v).to_owned()).collect())
    }

    #[test]
    fn a_text_with_conditions_in_it_is_taken_apart() {
        for (text, words) in [
            ("level=ERROR timeout", "timeout"),
            ("timeout level=error", "timeout"),
            ("disk level=ERROR full", "disk full"),
        ] {
            assert_eq!(
                read(&[text]),
                (vec![words.to_owned()], vec![is("level", "=", &["ERROR"])]),
                "{text}"
            );
        }
        assert_eq!(
            read(&["level=ERROR script=etl extra_data.user=7 lost"]),
            (
                vec!["lost".to_owned()],
                vec![
                    is("level", "=", &["ERROR"]),
                    is("script_name", "=", &["etl"]),
                    is("extra_data|user", "=", &["7"])
                ]
            )
        );
        assert_eq!(
            read(&["message=disk is full"]).1,
            [is("message", "=", &["disk is full"])]
        );
        assert_eq!(
            read(&["extra_data.title=\"a b\" x"]),
            (vec!["x".into()], vec![is("extra_data|title", "=", &["a b"])])
        );
        let quoted = "said \"level=ERROR here\"";
        assert_eq!(read(&[quoted]), (vec![quoted.to_owned()], vec![]));
    }

    #[test]
    fn signs_other_than_equality_are_read() {
        assert_eq!(
            read(&["level!=debug", "level!=INFO"]).1,
            [is("level", "!=", &["DEBUG", "INFO"])]
        );
        assert_eq!(read(&["level>=warning"]).1, [is("level_no", ">=", &["30"])]);
        let range = read(&["extra_data.n>5", "extra_data.n<=9"]).1;
        assert_eq!(
            range,
            [is("extra_data|n", ">", &["5"]), is("extra_data|n", "<=", &["9"])]
        );
        for text in ["a->b", "List<String>", "x > 5", "latency>5s", "!=", "-level!=x"] {
            assert_eq!(read(&[text]), (vec![text.to_owned()], vec![]), "{text}");
        }
        assert!(split(&["levle>=30"]).is_err(), "a slip of the finger is no text");
        assert_eq!(
            read(&["extra_data.\"http.status\".x=1"]).1,
            [is("extra_data|http.status|x", "=", &["1"])]
        );
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
