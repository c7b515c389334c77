//! `stats`: counts by one or two fields, or what there is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::Stats;
use super::render::lean::seconds;
use super::render::paint::{Style, cell, number, plain, short};
use super::render::{Paint, Row};
use super::scope::{EVENT_FIELDS, Scope, conditions, hints, known_path};
use super::window::DAY;
use super::{AskError, Asking, Window};
use crate::store::search::{After, By, Count, CountAsk};

/// Groups that are told apart; beyond, the answer says that it is cut.
const GROUPS_MAX: usize = 100_000;
/// Names shown of one kind in the overview.
const NAMES: usize = 30;

/// One group with the names of what it was counted by.
#[derive(Clone, Debug)]
pub struct Group {
    names: Vec<String>,
    row: Count,
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        for (name, value) in self.names.iter().zip(&self.row.by) {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("count", &self.row.count)?;
        map.serialize_entry("first_seen", &self.row.first)?;
        map.serialize_entry("last_seen", &self.row.last)?;
        map.end()
    }
}

/// What `stats` found: groups, or an overview.
pub enum Found {
    Groups(Answer<Group>),
    Overview(Overview),
}

/// What there is.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Overview {
    pub events: u64,
    pub first_seen: Option<String>,
    pub last_seen: Option<String>,
    pub levels: Vec<Group>,
    pub scripts: Vec<Group>,
    pub hosts: Vec<Group>,
    /// There are more scripts or hosts than shown.
    pub truncated: bool,
    pub window: Window,
    #[serde(skip)]
    pub hints: Vec<String>,
}

/// Counts events.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn stats(ask: &Asking<'_>, args: &Stats) -> Result<Found, AskError> {
    let fields = conditions(&args.fields, EVENT_FIELDS, "; to group, use --by")?;
    let by = args
        .by
        .iter()
        .filter(|b| !b.trim().is_empty())
        .map(|b| read_by(b.trim()))
        .collect::<Result<Vec<_>, _>>()?;
    if by.len() > 2 {
        return Err(AskError::usage("--by takes one or two fields"));
    }
    let mut scope = Scope::of(ask, &args.which, &("stats", &args.by), fields, Some(DAY))?;
    if by.is_empty() {
        return overview(ask, &scope).map(Found::Overview);
    }
    scope.pin(ask)?;
    let (mut groups, complete) = count(ask, &scope, &by)?;
    let by_time = by.iter().position(|(_, b)| matches!(b, By::Hour | By::Day));
    groups.sort_by(|a, b| {
        let time = by_time.map(|i| b.row.by.get(i).cmp(&a.row.by.get(i)));
        time.unwrap_or(std::cmp::Ordering::Equal)
            .then(b.row.count.cmp(&a.row.count))
            .then_with(|| a.row.by.cmp(&b.row.by))
    });
    if scope.oldest_first {
        groups.reverse();
    }
    let total = groups.len();
    let offset = scope.offset().min(total);
    let items: Vec<Group> = groups.drain(offset..).take(scope.limit).collect();
    let end = offset + items.len();
    let hints = if total == 0 { hints(ask, &scope)? } else { Vec::new() };
    Ok(Found::Groups(Answer {
        next_cursor: (end < total).then(|| scope.next(After::Offset(end as u64))),
        truncated: end < total || !complete,
        items,
        total: complete.then_some(total as u64),
        window: scope.window,
        hints,
        extra: Vec::new(),
    }))
}

/// `script`, `hour`, `extra_data.user`: the name as it was typed, and what is meant.
fn read_by(text: &str) -> Result<(String, By), AskError> {
    let by = match text {
        "hour" => By::Hour,
        "day" => By::Day,
        other => By::Field(known_path(other, EVENT_FIELDS)?),
    };
    Ok((text.to_owned(), by))
}

fn count(ask: &Asking<'_>, scope: &Scope, by: &[(String, By)]) -> Result<(Vec<Group>, bool), AskError> {
    let names: Vec<String> = by.iter().map(|(n, _)| n.clone()).collect();
    let mut groups = Vec::new();
    let mut complete = true;
    let mut question = CountAsk {
        filter: scope.filter.clone(),
        by: by.iter().map(|(_, b)| b.clone()).collect(),
        newest: false,
    };
    let timely = |b: &By| matches!(b, By::Hour | By::Day);
    let local = !ask.clock.counts_in_utc() && question.by.iter().any(timely);
    if local {
        // Hours of UTC add up to days and hours of any zone. (Where a zone is off by half an hour, the hour around
        // midnight counts to the day in which it begins.)
        question.by.iter_mut().filter(|b| timely(b)).for_each(|b| *b = By::Hour);
    }
    ask.store.counts(&question, &mut |row| {
        complete = groups.len() < GROUPS_MAX;
        if complete {
            groups.push(Group {
                names: names.clone(),
                row,
            });
        }
        complete
    })?;
    if local {
        groups = rezone(ask, by, groups);
    }
    Ok((groups, complete))
}

/// Groups by hours of UTC as groups by the days and hours of people.
fn rezone(ask: &Asking<'_>, by: &[(String, By)], groups: Vec<Group>) -> Vec<Group> {
    let mut merged: HashMap<Vec<Option<String>>, Group> = HashMap::new();
    for mut group in groups {
        for (value, (_, by)) in group.row.by.iter_mut().zip(by) {
            let Some(hour) = value.as_mut().filter(|_| matches!(by, By::Hour | By::Day)) else {
                continue;
            };
            let start = format!("{hour}:00:00Z");
            *hour = match by {
                By::Day => ask.clock.day(&start),
                _ => ask.clock.hour(&start),
            };
        }
        match merged.entry(group.row.by.clone()) {
            Entry::Vacant(free) => {
                free.insert(group);
            }
            Entry::Occupied(mut held) => {
                let (held, row) = (&mut held.get_mut().row, group.row);
                held.count += row.count;
                held.first = std::mem::take(&mut held.first).min(row.first);
                held.last = std::mem::take(&mut held.last).max(row.last);
            }
        }
    }
    merged.into_values().collect()
}

fn overview(ask: &Asking<'_>, scope: &Scope) -> Result<Overview, AskError> {
    let list = |name: &str, field: &str| -> Result<Vec<Group>, AskError> {
        let by = [(name.to_owned(), By::Field(vec![field.to_owned()]))];
        let (mut groups, _) = count(ask, scope, &by)?;
        groups.sort_by(|a, b| b.row.count.cmp(&a.row.count).then_with(|| a.row.by.cmp(&b.row.by)));
        Ok(groups)
    };
    let levels = list("level", "level")?;
    let mut scripts = list("script", "script_name")?;
    let mut hosts = list("host", "host")?;
    let events = levels.iter().map(|g| g.row.count).sum();
    let truncated = scripts.len() > NAMES || hosts.len() > NAMES;
    scripts.truncate(NAMES);
    hosts.truncate(NAMES);
    Ok(Overview {
        events,
        first_seen: levels.iter().map(|g| g.row.first.clone()).min(),
        last_seen: levels.iter().map(|g| g.row.last.clone()).max(),
        hints: if events == 0 { hints(ask, scope)? } else { Vec::new() },
        levels,
        scripts,
        hosts,
        truncated,
        window: scope.window.clone(),
    })
}

impl Row for Group {
    fn draw(items: &[Group], paint: &mut Paint) {
        let Some(first) = items.first() else {
            return;
        };
        let names: Vec<&str> = first.names.iter().map(String::as_str).collect();
        let mut head = names.clone();
        head.extend(["count", "first", "last"]);
        let most = items.iter().map(|g| g.row.count).max().unwrap_or(1).max(1);
        head.push("");
        let rows = items
            .iter()
            .map(|g| {
                let mut cells: Vec<_> = g
                    .row
                    .by
                    .iter()
                    .map(|v| cell(v.as_deref().map_or("-".to_owned(), |v| short(v, 60))))
                    .collect();
                cells.push(number(g.row.count));
                cells.push(cell(paint.clock.show(&g.row.first)).styled(Style::Dim));
                cells.push(cell(paint.clock.show(&g.row.last)).styled(Style::Dim));
                let bar = usize::try_from(g.row.count * 20 / most).unwrap_or(0);
                cells.push(cell("▇".repeat(bar)).styled(Style::Blue));
                cells
            })
            .collect();
        paint.table(&head, rows);
    }

    fn lean(&self) -> Value {
        let mut map = serde_json::Map::new();
        for (name, value) in self.names.iter().zip(&self.row.by) {
            map.insert(name.clone(), json!(value));
        }
        map.insert("count".into(), json!(self.row.count));
        map.into()
    }
}

impl Row for Overview {
    fn draw(items: &[Overview], paint: &mut Paint) {
        for o in items.iter().filter(|o| o.events > 0) {
            let show = |t: &Option<String>| t.as_deref().map_or("-".to_owned(), |t| paint.clock.show(t));
            let line = format!(
                "{} events, from {} to {}",
                o.events,
                show(&o.first_seen),
                show(&o.last_seen)
            );
            paint.line(Style::Bold, &line);
            for (title, groups) in [("levels", &o.levels), ("scripts", &o.scripts), ("hosts", &o.hosts)] {
                if groups.is_empty() {
                    continue;
                }
                paint.heading(title);
                let rows = groups
                    .iter()
                    .map(|g| {
                        let name = g.row.by.first().and_then(Option::as_deref).unwrap_or("-");
                        let last = paint.clock.show(&g.row.last);
                        vec![
                            cell(format!("  {}", plain(name))),
                            number(g.row.count),
                            cell(format!("last {last}")),
                        ]
                    })
                    .collect();
                paint.table(&["", "", ""], rows);
            }
            if o.truncated {
                paint.line(Style::Dim, "  … and more: see --by script, --by host");
            }
        }
    }

    fn lean(&self) -> Value {
        let list = |groups: &[Group]| -> Value {
            let pair = |g: &Group| {
                let name = g.row.by.first().cloned().flatten().unwrap_or_else(|| "-".to_owned());
                (name, json!(g.row.count))
            };
            Value::Object(groups.iter().map(pair).collect())
        };
        json!({
            "events": self.events, "first_seen": self.first_seen.as_deref().map(seconds),
            "last_seen": self.last_seen.as_deref().map(seconds), "levels": list(&self.levels), "scripts": list(&self.scripts), "hosts": list(&self.hosts),
            "truncated": self.truncated, "window": self.window,
        })
    }
}
