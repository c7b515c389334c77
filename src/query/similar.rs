//! `similar`: has this been seen before, and how was it fixed?
//!
//! Candidates are errors that share words with the text. Several rankings of their groups are fused by reciprocal rank
//! ([`super::fuse`]): the same fingerprint or template, BM25, how many of the words occur, nearness in meaning where an
//! endpoint is configured ([`super::nearness`]), and, lightly, how recent they are. A group that shares only a word or
//! two with a long text is noise and left out, unless it is near in meaning: then the newest errors are candidates too.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::Similar;
use super::errors::{Ever, State, all_time, root_cause, state};
use super::fuse::Fused;
use super::nearness::{POOL, nearness};
use super::pasted::{exceptions, pasted};
use super::proof::{Proof, proof, reason};
use super::render::lean::seconds;
use super::render::paint::{Style, cell, plain, short, short_key};
use super::render::{Paint, Row};
use super::scope::{EVENT_FIELDS, Scope, conditions, hints};
use super::{AskError, Asking};
use crate::record::template;
use crate::store::search::{EventAsk, Filter, Fixed, KEY_START, Order, Term, Words};
use crate::store::stored::{ERROR, Event};
use crate::store::words::{is_unspaced, pieces_of};

/// Events looked at for candidates.
const CANDIDATES: usize = 300;
/// Words of a text that are looked for.
const WORDS: usize = 24;
/// At least this part of the words must occur.
const COVERAGE: f64 = 0.3;
/// Newest errors that are candidates for nearness in meaning although they share no words.
const NEWEST: usize = 300;

/// A group of errors like the one asked about.
#[derive(Clone, Debug, Serialize)]
pub struct Alike {
    pub fingerprint: String,
    pub root_cause: String,
    /// `fingerprint`, `template`, `text` or `meaning`: what it has in common.
    pub by: &'static str,
    /// Of reciprocal-rank fusion; only the order means something.
    pub score: f64,
    /// Of all time.
    pub count: u64,
    pub first_seen: String,
    pub last_seen: String,
    pub example_key: String,
    pub scripts: Vec<String>,
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_rationale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_key: Option<String>,
    /// Who recorded the fix, and on which host, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_host: Option<String>,
    /// Whether the newest fix held.
    #[serde(flatten)]
    pub proof: Option<Proof>,
    /// Words of the text that occur in it, of how many; for people.
    #[serde(skip)]
    words: (usize, usize),
}

/// What is looked for.
struct Sought {
    fingerprint: Option<String>,
    /// What is compared by meaning.
    text: String,
    /// Of the text, or of each exception of a traceback.
    templates: Vec<String>,
    /// Words, and pairs of characters of scripts without spaces.
    words: Vec<Term>,
}

/// Errors like a text, or like an event.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn similar(ask: &Asking<'_>, args: &Similar) -> Result<Answer<Alike>, AskError> {
    let fields = conditions(&args.fields, EVENT_FIELDS, "; quote a text of several words")?;
    let mut scope = Scope::of(ask, &args.which, &("similar", &args.text), fields, None)?;
    scope.pin(ask)?;
    let sought = sought(ask, &args.text)?;
    let filter = Filter {
        min_level: Some(scope.filter.min_level.unwrap_or(ERROR).max(ERROR)),
        ..scope.filter.clone()
    };
    let mut notes = Vec::new();
    let mut groups = candidates(ask, &filter, &sought)?;
    if ask.meaning.is_some() {
        newest(ask, &filter, &mut groups)?;
        compare(ask, &sought, &mut groups, &mut notes);
    }
    // The end of a run that failed repeats what failed in it.
    let is_end = |g: &Group| g.event.repeats_a_failure() && g.same != Some("fingerprint");
    if groups.values().any(|g| !is_end(g)) {
        groups.retain(|_, g| !is_end(g));
    }
    let near = ask.meaning.map_or(f64::INFINITY, |m| m.min_similarity());
    groups.retain(|_, g| g.same.is_some() || g.coverage >= COVERAGE || g.nearness.is_some_and(|n| n >= near));
    let mut items = rank(ask, &groups)?;
    let total = items.len();
    if scope.oldest_first {
        items.sort_by(|a, b| a.last_seen.cmp(&b.last_seen));
    }
    if !scope.remembers() {
        items.drain(..scope.offset().min(total));
    }
    let (mut items, cursor) = scope.unseen(items, false, |i| &i.fingerprint);
    prove(ask, &mut items)?;
    if total == 0 {
        notes.push("no stored error is like this one".to_owned());
        if !scope.window.is_open() {
            notes.extend(hints(ask, &scope)?);
        }
    }
    Ok(Answer {
        truncated: cursor.is_some(),
        next_cursor: cursor,
        items,
        total: Some(total as u64),
        window: scope.window,
        hints: notes,
        extra: Vec::new(),
    })
}

/// Says of those that were fixed whether the fix held.
fn prove(ask: &Asking<'_>, items: &mut [Alike]) -> Result<(), AskError> {
    let prints: Vec<String> = items.iter().map(|i| i.fingerprint.clone()).collect();
    let fixes = ask.store.fixes(&prints)?;
    for item in items {
        if let Some(fix) = fixes
            .iter()
            .find(|f| Some(&f.fix_key) == item.fix_key.as_ref() && f.fingerprint == item.fingerprint)
        {
            item.proof = Some(proof(ask, fix)?);
        }
    }
    Ok(())
}

/// A key stands for its event; anything else is a text.
fn sought(ask: &Asking<'_>, text: &str) -> Result<Sought, AskError> {
    let text = text.trim();
    let looks_like_key = text.len() >= KEY_START && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let event = if looks_like_key { ask.store.event(text)? } else { None };
    let (fingerprint, text) = match event {
        Some(e) => {
            let text = text_of(&e);
            (e.fingerprint, text)
        }
        None if looks_like_key => (Some(text.to_owned()), text.to_owned()),
        None => (pasted(text), text.to_owned()),
    };
    let said = exceptions(&text);
    let said = if said.is_empty() { text.as_str() } else { &said };
    let mut words: Vec<String> = Vec::new();
    for word in pieces_of(&template(said)) {
        if (word.chars().count() > 1 || is_unspaced(&word)) && !MASKS.contains(&word.as_str()) && !words.contains(&word)
        {
            words.push(word);
        }
    }
    if words.is_empty() {
        words = pieces_of(said);
    }
    words.truncate(WORDS);
    if words.is_empty() {
        return Err(AskError::usage("the text holds no word to look for"));
    }
    let templates = said.lines().chain([said]).map(|line| template(line.trim())).collect();
    let term = |text| Term {
        text,
        ..Term::default()
    };
    Ok(Sought {
        fingerprint,
        templates,
        words: words.into_iter().map(term).collect(),
        text,
    })
}

/// What variable parts of a template stand as.
const MASKS: [&str; 9] = ["num", "hex", "uuid", "time", "ip", "email", "url", "path", "str"];

/// Errors of one fingerprint while they are ranked.
struct Group {
    event: Event,
    text_rank: Option<usize>,
    coverage: f64,
    words: (usize, usize),
    same: Option<&'static str>,
    /// Cosine, where it was asked for.
    nearness: Option<f64>,
}

impl Group {
    fn of(event: Event) -> Group {
        Group {
            event,
            text_rank: None,
            coverage: 0.0,
            words: (0, 0),
            same: None,
            nearness: None,
        }
    }
}

fn candidates(ask: &Asking<'_>, filter: &Filter, sought: &Sought) -> Result<BTreeMap<String, Group>, AskError> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    if let Some(print) = &sought.fingerprint {
        let page = ask.store.events(&EventAsk {
            filter: Filter {
                fingerprints: vec![print.clone()],
                ..filter.clone()
            },
            words: None,
            order: Order::Newest,
            after: None,
            limit: 1,
            count: false,
        })?;
        if let Some((event, _)) = page.items.into_iter().next() {
            let group = Group {
                coverage: 1.0,
                same: Some("fingerprint"),
                ..Group::of(event)
            };
            groups.insert(print.clone(), group);
        }
    }
    let page = ask.store.events(&EventAsk {
        filter: filter.clone(),
        words: Some(Words {
            terms: sought.words.clone(),
            any: true,
        }),
        order: Order::Score,
        after: None,
        limit: CANDIDATES,
        count: false,
    })?;
    for (event, _) in page.items {
        let Some(print) = event.fingerprint.clone() else {
            continue;
        };
        let fields = event.text_fields();
        let found = sought.words.iter().filter(|w| w.occurs_in(&fields)).count();
        let coverage = found as f64 / sought.words.len() as f64;
        let own = [template(&event.message), template(&root_cause(&event))];
        let same = own.iter().any(|t| sought.templates.contains(t)).then_some("template");
        let rank = groups.len();
        let group = groups.entry(print).or_insert_with(|| Group::of(event.clone()));
        group.text_rank.get_or_insert(rank);
        group.coverage = group.coverage.max(coverage);
        group.words = group.words.max((found, sought.words.len()));
        group.same = group.same.or(same);
        if event.position() > group.event.position() {
            group.event = event;
        }
    }
    Ok(groups)
}

/// Adds the newest errors, whatever they say.
fn newest(ask: &Asking<'_>, filter: &Filter, groups: &mut BTreeMap<String, Group>) -> Result<(), AskError> {
    let page = ask.store.events(&EventAsk {
        filter: filter.clone(),
        words: None,
        order: Order::Newest,
        after: None,
        limit: NEWEST,
        count: false,
    })?;
    for (event, _) in page.items {
        if let Some(print) = event.fingerprint.clone() {
            groups.entry(print).or_insert_with(|| Group::of(event));
        }
    }
    Ok(())
}

/// Asks how near the most promising groups are in meaning: those that share most, then the newest.
fn compare(ask: &Asking<'_>, sought: &Sought, groups: &mut BTreeMap<String, Group>, notes: &mut Vec<String>) {
    let mut chosen: Vec<&mut Group> = groups.values_mut().collect();
    chosen.sort_by(|a, b| {
        let promise = |g: &Group| (g.same.is_none(), g.text_rank.unwrap_or(usize::MAX));
        promise(a)
            .cmp(&promise(b))
            .then_with(|| b.event.position().cmp(&a.event.position()))
    });
    chosen.truncate(POOL);
    let texts: Vec<String> = chosen.iter().map(|g| text_of(&g.event)).collect();
    for (group, near) in chosen
        .into_iter()
        .zip(nearness(ask, &sought.text, &texts, notes).unwrap_or_default())
    {
        group.nearness = Some(near);
    }
}

/// What an error says: its root cause, and its message where that says more.
fn text_of(event: &Event) -> String {
    let cause = root_cause(event);
    if cause == event.message {
        cause
    } else {
        format!("{cause} {}", event.message)
    }
}

fn rank(ask: &Asking<'_>, groups: &BTreeMap<String, Group>) -> Result<Vec<Alike>, AskError> {
    let prints: Vec<String> = groups.keys().cloned().collect();
    let ever = all_time(ask, &prints)?;
    let fixes = ask.store.fixes(&prints)?;
    let mut fused: Fused<&str> = Fused::default();
    let each = |value: &dyn Fn(&Group) -> Option<f64>| -> Vec<(&str, f64)> {
        groups
            .iter()
            .filter_map(|(print, g)| Some((print.as_str(), value(g)?)))
            .collect()
    };
    fused.rank(
        2.0,
        each(&|g| g.same.map(|s| if s == "fingerprint" { 2.0 } else { 1.0 })),
    );
    fused.rank(1.0, each(&|g| g.text_rank.map(|r| -(r as f64))));
    fused.rank(1.0, each(&|g| Some(g.coverage)));
    fused.rank(1.0, each(&|g| g.nearness));
    let recency = |print: &str| ever.get(print).map_or("", |e| e.last.as_str());
    let mut recent: Vec<&str> = groups.keys().map(String::as_str).collect();
    recent.sort_by(|a, b| recency(b).cmp(recency(a)));
    fused.rank(0.2, recent.into_iter().enumerate().map(|(i, p)| (p, -(i as f64))));
    let mut items: Vec<Alike> = groups
        .iter()
        .map(|(print, group)| {
            let score = fused.score(&print.as_str());
            describe(print, group, score, ever.get(print), &fixes)
        })
        .collect();
    items.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.last_seen.cmp(&a.last_seen)));
    Ok(items)
}

fn describe(print: &str, group: &Group, score: f64, ever: Option<&Ever>, fixes: &[Fixed]) -> Alike {
    let none = BTreeMap::new();
    let scripts = ever.map_or(&none, |e| &e.scripts);
    let (state, fix) = state(print, scripts, fixes);
    let time = || group.event.timestamp.clone();
    Alike {
        fingerprint: print.to_owned(),
        root_cause: root_cause(&group.event),
        by: group
            .same
            .unwrap_or(if group.coverage >= COVERAGE { "text" } else { "meaning" }),
        score: (score * 1e6).round() / 1e6,
        count: ever.map_or(1, |e| e.count),
        first_seen: ever.map_or_else(time, |e| e.first.clone()),
        last_seen: ever.map_or_else(time, |e| e.last.clone()),
        example_key: group.event.key.clone(),
        scripts: scripts.keys().flatten().cloned().collect(),
        state,
        resolved_at: fix.map(|f| f.time.clone()),
        fix_description: fix.map(|f| f.description.clone()),
        fix_rationale: fix.and_then(reason),
        fix_key: fix.map(|f| f.fix_key.clone()),
        fix_author: fix.and_then(|f| f.author.clone()),
        fix_host: fix.and_then(|f| f.host.clone()),
        proof: None,
        words: group.words,
    }
}

impl Alike {
    /// What it has in common with what was asked for, in words.
    fn likeness(&self) -> String {
        match (self.by, self.words) {
            ("fingerprint", _) => "the same error".to_owned(),
            ("template", _) => "the same but for numbers and names".to_owned(),
            ("text", (n, of)) => format!("{n} of {of} words the same"),
            _ => "near in meaning".to_owned(),
        }
    }
}

impl Row for Alike {
    fn draw(items: &[Alike], paint: &mut Paint) {
        for item in items {
            let state = item.state.as_str();
            paint.put(Style::of_status(state), &format!("{state:<8}"));
            paint.put(Style::Bold, &format!(" {:>5}×  ", item.count));
            paint.line(Style::Red, &short(&item.root_cause, 160));
            let last = paint.clock.show(&item.last_seen);
            paint.line(
                Style::Dim,
                &plain(&format!(
                    "         last {last}, in {}, {}, fingerprint {}, example [{}]",
                    item.scripts.join(", "),
                    item.likeness(),
                    item.fingerprint,
                    short_key(&item.example_key)
                )),
            );
            let mut rows = Vec::new();
            for (name, text) in [("fixed", &item.fix_description), ("because", &item.fix_rationale)] {
                if let Some(text) = text {
                    rows.push(vec![
                        cell("        "),
                        cell(name).styled(Style::Green),
                        cell(short(text, 200)),
                    ]);
                }
            }
            if let Some(proof) = &item.proof {
                let by = item
                    .fix_author
                    .as_ref()
                    .map_or(String::new(), |a| format!(", by {}", short(a, 60)));
                rows.push(vec![
                    cell("        "),
                    cell("held").styled(Style::Green),
                    cell(format!("{}{by}", proof.words())),
                ]);
            }
            paint.table(&["", "", ""], rows);
        }
    }

    fn lean(&self) -> Value {
        let mut out = json!({
            "fingerprint": self.fingerprint, "root_cause": short(&self.root_cause, 200), "same": self.by,
            "count": self.count, "state": self.state, "last_seen": seconds(&self.last_seen),
            "example_key": short_key(&self.example_key), "scripts": self.scripts,
        });
        if let Some(map) = out.as_object_mut() {
            for (name, text) in [("fix", &self.fix_description), ("why", &self.fix_rationale)] {
                if let Some(text) = text {
                    map.insert(name.into(), json!(short(text, 300)));
                }
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
