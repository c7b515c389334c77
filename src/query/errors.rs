//! `errors`: what failed, grouped by fingerprint; or each error of an execution with its surroundings.
//!
//! # States
//!
//! A fix resolves the earlier errors of its fingerprint and script. So each script of a group is *open* (never fixed),
//! *resolved* (nothing since the newest fix) or *returned* (it came back after its fix). The group is as bad as its
//! worst script: returned, then open, then resolved.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::Errors;
use super::around::{Surrounded, surrounded};
use super::failures::repeats;
use super::proof::{Proof, proof};
use super::render::lean::seconds;
use super::render::paint::{Style, plain, short, short_key};
use super::render::{Paint, Row};
use super::scope::{EVENT_FIELDS, Scope, hints, split_terms};
use super::window::{DAY, duration};
use super::{AskError, Asking, Window};
use crate::store::search::{After, By, Count, CountAsk, EventAsk, Filter, Fixed, Order};
use crate::store::stored::{ERROR, Event};

/// Names of executions shown of one group, the newest.
const NAMES: usize = 5;
/// Groups that are told apart; beyond, the rarest are not counted.
const GROUPS_MAX: usize = 20_000;

/// Whether an error was fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Resolved,
    Open,
    Returned,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Resolved => "resolved",
            State::Open => "open",
            State::Returned => "returned",
        }
    }
}

/// Errors of one fingerprint.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorGroup {
    pub fingerprint: String,
    /// Within the window.
    pub count: u64,
    /// Of all time.
    pub first_seen: String,
    /// Within the window.
    pub last_seen: String,
    /// Type and value of the root cause; the message where there is no exception.
    pub root_cause: String,
    pub level: String,
    pub example_key: String,
    pub scripts: Vec<String>,
    /// The newest.
    pub executions: Vec<String>,
    pub execution_count: u64,
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_description: Option<String>,
    /// Who recorded the fix, and on which host, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_host: Option<String>,
    /// Whether the newest fix held.
    #[serde(flatten)]
    pub proof: Option<Proof>,
}

/// What `errors` found: groups, or the errors of one execution.
pub enum Found {
    Groups(Answer<ErrorGroup>),
    Single(Answer<Surrounded>),
}

/// Errors, grouped; or those of an execution.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn errors(ask: &Asking<'_>, args: &Errors) -> Result<Found, AskError> {
    let (names, fields) = split_terms(&args.terms, EVENT_FIELDS)?;
    if names.len() > 1 {
        return Err(AskError::usage("one execution at a time; conditions are FIELD=VALUE"));
    }
    let mut which = args.which.clone();
    // By its flag an execution narrows; surroundings make it the one that is asked about.
    let by_flag = which.execution.as_ref().filter(|_| args.context.is_some());
    let named = names.first().or(by_flag);
    let named = named
        .map(|name| super::naming::execution(ask, Some(name), &which))
        .transpose()?;
    if args.context.is_some() && named.is_none() {
        return Err(AskError::usage("--context is for the errors of one execution: name it"));
    }
    if named.is_some() {
        which.execution = named.clone();
    }
    let chosen = chosen(args);
    if named.is_some() && (args.new || !chosen.is_empty()) {
        return Err(AskError::usage(
            "--new, --open, --returned and --resolved choose among groups: narrow these to a run with -e RUN",
        ));
    }
    let mut scope = Scope::of(ask, &which, &("errors", args.new, &chosen), fields, Some(DAY))?;
    scope.filter.min_level = Some(scope.filter.min_level.unwrap_or(ERROR).max(ERROR));
    if named.is_some() {
        let asked = args.context.is_some();
        let context = args.context.as_deref().unwrap_or("5s");
        let reach = duration(context)
            .ok_or_else(|| AskError::usage(format!("--context: cannot read the duration '{context}': try 5s")))?;
        return surrounded(ask, &scope, reach, asked).map(Found::Single);
    }
    scope.pin(ask)?;
    groups(ask, &scope, args.new, &chosen).map(Found::Groups)
}

/// The states that are asked for; none for all.
fn chosen(args: &Errors) -> Vec<State> {
    [
        (args.open, State::Open),
        (args.returned, State::Returned),
        (args.resolved, State::Resolved),
    ]
    .into_iter()
    .filter_map(|(asked, state)| asked.then_some(state))
    .collect()
}

/// A group while it is counted.
#[derive(Default)]
struct Tally {
    count: u64,
    last: String,
    /// Time of the last error of each script, of all time once known.
    scripts: BTreeMap<Option<String>, String>,
    /// The newest executions: (last error, name).
    executions: BTreeSet<(String, String)>,
    execution_count: u64,
}

fn tally(ask: &Asking<'_>, filter: &Filter) -> Result<HashMap<String, Tally>, AskError> {
    let mut groups: HashMap<String, Tally> = HashMap::new();
    let repeats = repeats(ask, filter)?;
    let field = |name: &str| By::Field(vec![name.to_owned()]);
    let question = CountAsk {
        filter: filter.clone(),
        by: vec![field("fingerprint"), field("script_name"), field("execution_id")],
        newest: false,
    };
    ask.store.counts(&question, &mut |row: Count| {
        let mut by = row.by.into_iter();
        let print = by.next().flatten().unwrap_or_default();
        let repeated = match by.as_slice() {
            [_, Some(id)] => repeats.of(&print, id),
            _ => 0,
        };
        let count = row.count.saturating_sub(repeated);
        if count == 0 {
            return true;
        }
        if groups.len() >= GROUPS_MAX && !groups.contains_key(&print) {
            return true;
        }
        let group = groups.entry(print).or_default();
        group.count += count;
        if row.last > group.last {
            group.last.clone_from(&row.last);
        }
        let script = group.scripts.entry(by.next().flatten()).or_default();
        if *script < row.last {
            script.clone_from(&row.last);
        }
        if let Some(id) = by.next().flatten() {
            group.execution_count += 1;
            group.executions.insert((row.last, id));
            if group.executions.len() > NAMES {
                group.executions.pop_first();
            }
        }
        true
    })?;
    Ok(groups)
}

fn groups(ask: &Asking<'_>, scope: &Scope, only_new: bool, chosen: &[State]) -> Result<Answer<ErrorGroup>, AskError> {
    let mut found: Vec<(String, Tally)> = tally(ask, &scope.filter)?.into_iter().collect();
    found.sort_by(|a, b| (&b.1.last, &b.0).cmp(&(&a.1.last, &a.0)));
    if scope.oldest_first {
        found.reverse();
    }
    let before = found.len();
    if only_new || !chosen.is_empty() {
        let prints: Vec<String> = found.iter().map(|g| g.0.clone()).collect();
        let ever = all_time(ask, &prints)?;
        let since = scope.window.since.clone().unwrap_or_default();
        found.retain(|(print, _)| !only_new || ever.get(print).is_none_or(|e| e.first >= since));
        let mut fixes = Vec::new();
        for part in prints.chunks(500) {
            fixes.extend(ask.store.fixes(part)?);
        }
        let is = |print: &str, group: &Tally| {
            let scripts = ever.get(print).map_or(&group.scripts, |e| &e.scripts);
            chosen.contains(&state(print, scripts, &fixes).0)
        };
        found.retain(|(print, group)| chosen.is_empty() || is(print, group));
    }
    let total = found.len();
    let offset = scope.offset().min(total);
    let page: Vec<(String, Tally)> = found.drain(offset..).take(scope.limit).collect();
    let prints: Vec<String> = page.iter().map(|g| g.0.clone()).collect();
    let ever = all_time(ask, &prints)?;
    let fixes = ask.store.fixes(&prints)?;
    let mut items = Vec::with_capacity(page.len());
    for (print, group) in page {
        let example = newest(ask, &scope.filter, &print)?;
        let mut item = describe(example, print, group, &ever, &fixes);
        let scripts = ever.get(&item.fingerprint).map(|e| &e.scripts);
        if let Some(fix) = scripts.and_then(|s| state(&item.fingerprint, s, &fixes).1) {
            item.proof = Some(proof(ask, fix)?);
        }
        items.push(item);
    }
    let end = offset + items.len();
    let hints = match (total, before) {
        (0, 0) => hints(ask, scope)?,
        (0, n) => vec![format!(
            "none of the {n} errors of this window is so: leave out --new, --open, --returned or --resolved to see them"
        )],
        _ => Vec::new(),
    };
    Ok(Answer {
        next_cursor: (end < total).then(|| scope.next(After::Offset(end as u64))),
        truncated: end < total,
        items,
        total: Some(total as u64),
        window: scope.window.clone(),
        hints,
        extra: Vec::new(),
    })
}

/// What is known of a fingerprint of all time.
#[derive(Default)]
pub struct Ever {
    pub first: String,
    pub last: String,
    pub count: u64,
    /// Time of the last error of each script.
    pub scripts: BTreeMap<Option<String>, String>,
}

/// First and last time of these fingerprints, of all time.
///
/// # Errors
/// Those of the store.
pub fn all_time(ask: &Asking<'_>, prints: &[String]) -> Result<HashMap<String, Ever>, AskError> {
    let mut out: HashMap<String, Ever> = HashMap::new();
    // As many as a query may well have bind values.
    for part in prints.chunks(500) {
        let known: Vec<String> = part.iter().filter(|p| !p.is_empty()).cloned().collect();
        if known.is_empty() {
            continue;
        }
        let question = CountAsk {
            filter: Filter {
                fingerprints: known,
                ..Filter::default()
            },
            by: vec![
                By::Field(vec!["fingerprint".into()]),
                By::Field(vec!["script_name".into()]),
            ],
            newest: false,
        };
        ask.store.counts(&question, &mut |row: Count| {
            let mut by = row.by.into_iter();
            let ever = out.entry(by.next().flatten().unwrap_or_default()).or_default();
            if ever.first.is_empty() || row.first < ever.first {
                ever.first = row.first;
            }
            if row.last > ever.last {
                ever.last.clone_from(&row.last);
            }
            ever.count += row.count;
            ever.scripts.insert(by.next().flatten(), row.last);
            true
        })?;
    }
    Ok(out)
}

/// The state of a fingerprint whose scripts last failed at these times, and the newest fix.
#[must_use]
pub fn state<'f>(
    print: &str,
    scripts: &BTreeMap<Option<String>, String>,
    fixes: &'f [Fixed],
) -> (State, Option<&'f Fixed>) {
    let mut worst = State::Resolved;
    let mut newest: Option<&Fixed> = None;
    for (script, last) in scripts {
        let fix = fixes
            .iter()
            .filter(|f| f.fingerprint == print && f.script_name == *script)
            .max_by(|a, b| a.time.cmp(&b.time));
        worst = worst.max(match fix {
            None => State::Open,
            Some(f) if last.as_str() > f.reaches() => State::Returned,
            Some(_) => State::Resolved,
        });
        if let Some(f) = fix
            && newest.is_none_or(|n| n.time < f.time)
        {
            newest = Some(f);
        }
    }
    (if scripts.is_empty() { State::Open } else { worst }, newest)
}

/// The newest error of a fingerprint, by index; where there is none to go by, of those without.
fn newest(ask: &Asking<'_>, filter: &Filter, print: &str) -> Result<Event, AskError> {
    if print.is_empty() {
        let mut key = String::new();
        let question = CountAsk {
            filter: filter.clone(),
            by: vec![By::Field(vec!["fingerprint".into()])],
            newest: true,
        };
        ask.store.counts(&question, &mut |row: Count| {
            if row.by.iter().all(Option::is_none) {
                key = row.newest;
            }
            true
        })?;
        return Ok(ask.store.event(&key)?.unwrap_or_default());
    }
    let page = ask.store.events(&EventAsk {
        filter: Filter {
            fingerprints: vec![print.to_owned()],
            ..filter.clone()
        },
        words: None,
        order: Order::Newest,
        after: None,
        limit: 1,
        count: false,
    })?;
    Ok(page.items.into_iter().next().map(|(e, _)| e).unwrap_or_default())
}

fn describe(example: Event, print: String, group: Tally, ever: &HashMap<String, Ever>, fixes: &[Fixed]) -> ErrorGroup {
    let known = ever.get(&print);
    let (state, fix) = state(&print, known.map_or(&group.scripts, |e| &e.scripts), fixes);
    ErrorGroup {
        count: group.count,
        first_seen: known.map_or_else(|| example.timestamp.clone(), |e| e.first.clone()),
        last_seen: group.last,
        root_cause: root_cause(&example),
        level: example.level.clone(),
        example_key: example.key,
        scripts: group.scripts.into_keys().flatten().collect(),
        executions: group.executions.into_iter().rev().map(|(_, id)| id).collect(),
        execution_count: group.execution_count,
        state,
        resolved_at: fix.map(|f| f.time.clone()),
        fix_description: fix.map(|f| f.description.clone()),
        fix_author: fix.and_then(|f| f.author.clone()),
        fix_host: fix.and_then(|f| f.host.clone()),
        proof: None,
        fingerprint: print,
    }
}

/// Type and value of the root cause; the message where there is no exception.
#[must_use]
pub fn root_cause(event: &Event) -> String {
    match event.exception.as_ref().map(|e| e.root()) {
        Some((kind, "")) if !kind.is_empty() => kind.to_owned(),
        Some((kind, value)) if !kind.is_empty() => format!("{kind}: {value}"),
        _ => event.message.clone(),
    }
}

impl Row for ErrorGroup {
    fn draw(items: &[ErrorGroup], paint: &mut Paint) {
        for group in items {
            paint.put(
                Style::of_status(group.state.as_str()),
                &format!("{:<8}", group.state.as_str()),
            );
            paint.put(Style::Bold, &format!(" {:>5}×  ", group.count));
            paint.line(Style::Red, &short(&group.root_cause, 160));
            let last = paint.clock.show(&group.last_seen);
            let first = paint.clock.show(&group.first_seen);
            let more = group.execution_count.saturating_sub(1);
            let run = group.executions.first().map_or("-", String::as_str);
            paint.line(
                Style::Dim,
                &plain(&format!(
                    "         last {last}, first {first}, in {}, run {run}{}",
                    group.scripts.join(", "),
                    if more > 0 {
                        format!(" and {more} more")
                    } else {
                        String::new()
                    },
                )),
            );
            paint.line(
                Style::Dim,
                &format!(
                    "         fingerprint {}  example [{}]",
                    group.fingerprint,
                    short_key(&group.example_key)
                ),
            );
            if let Some(fix) = &group.fix_description {
                let by = group.fix_author.as_ref().map_or(String::new(), |a| format!(", by {a}"));
                let proof = group
                    .proof
                    .as_ref()
                    .map_or(String::new(), |p| format!(" ({}{by})", p.words()));
                paint.line(
                    Style::Green,
                    &plain(&format!("         fixed: {}{proof}", short(fix, 160))),
                );
            }
        }
    }

    fn lean(&self) -> Value {
        let mut out = json!({
            "fingerprint": self.fingerprint, "count": self.count, "state": self.state,
            "root_cause": short(&self.root_cause, 160), "last_seen": seconds(&self.last_seen),
            "example_key": short_key(&self.example_key), "scripts": self.scripts, "execution": self.executions.first(),
        });
        if let Some(map) = out.as_object_mut() {
            if self.first_seen != self.last_seen {
                map.insert("first_seen".into(), json!(seconds(&self.first_seen)));
            }
            if self.execution_count > 1 {
                map.insert("execution_count".into(), json!(self.execution_count));
            }
            if let Some(fix) = &self.fix_description {
                map.insert("fix".into(), json!(short(fix, 200)));
            }
            if let Some(author) = &self.fix_author {
                map.insert("fix_author".into(), json!(author));
            }
            if let Some(proof) = &self.proof {
                map.insert("held".into(), proof.lean());
                if let Some(back) = &proof.returned_at {
                    map.insert("returned_at".into(), json!(seconds(back)));
                }
            }
        }
        out
    }
}

/// The window of an answer, for callers that have both kinds.
impl Found {
    #[must_use]
    pub fn window(&self) -> &Window {
        match self {
            Found::Groups(a) => &a.window,
            Found::Single(a) => &a.window,
        }
    }
}
