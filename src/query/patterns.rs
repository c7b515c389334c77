//! `patterns`: messages grouped by template, in one streamed pass with bounded memory.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::args::Patterns;
use super::render::lean::seconds;
use super::render::paint::{Style, cell, number, plain, short, short_key};
use super::render::{Paint, Row};
use super::scope::{EVENT_FIELDS, Scope, conditions, hints};
use super::window::DAY;
use super::{AskError, Asking};
use crate::record::template;
use crate::store::search::After;
use crate::store::stored::Event;

/// Templates that are told apart. When a new one finds no room, the rarest of those seen so far make it.
const TEMPLATES_MAX: usize = 20_000;
/// Scripts named of one template.
const SCRIPTS: usize = 5;

/// Messages of one template.
#[derive(Clone, Debug, Serialize)]
pub struct Pattern {
    pub template: String,
    pub count: u64,
    /// Most frequent first.
    pub levels: Vec<LevelCount>,
    pub scripts: Vec<String>,
    pub first_seen: String,
    pub last_seen: String,
    /// The newest message.
    pub example: String,
    pub example_key: String,
}

/// How often a level occurs.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct LevelCount {
    pub level: String,
    pub count: u64,
}

/// Groups messages while they stream by.
#[derive(Default)]
pub struct Templates {
    groups: HashMap<String, Pattern>,
    /// Events whose template was given up for want of room.
    pub given_up: u64,
}

impl Templates {
    /// Takes the next event.
    pub fn take(&mut self, event: &Event) {
        // Long messages differ in their tails; their heads tell what they are.
        let head = event
            .message
            .char_indices()
            .nth(1000)
            .map_or(event.message.as_str(), |(at, _)| &event.message[..at]);
        let masked = template(head);
        if !self.groups.contains_key(&masked) && self.groups.len() >= TEMPLATES_MAX {
            self.make_room();
        }
        let group = self.groups.entry(masked).or_insert_with_key(|t| Pattern {
            template: t.clone(),
            count: 0,
            levels: Vec::new(),
            scripts: Vec::new(),
            first_seen: event.timestamp.clone(),
            last_seen: String::new(),
            example: String::new(),
            example_key: String::new(),
        });
        group.count += 1;
        match group.levels.iter_mut().find(|l| l.level == event.level) {
            Some(l) => l.count += 1,
            None => group.levels.push(LevelCount {
                level: event.level.clone(),
                count: 1,
            }),
        }
        if let Some(script) = &event.script_name
            && group.scripts.len() < SCRIPTS
            && !group.scripts.contains(script)
        {
            group.scripts.push(script.clone());
        }
        if event.timestamp < group.first_seen {
            group.first_seen.clone_from(&event.timestamp);
        }
        if (&event.timestamp, &event.key) >= (&group.last_seen, &group.example_key) {
            group.last_seen.clone_from(&event.timestamp);
            group.example = short(&event.message, 300);
            group.example_key.clone_from(&event.key);
        }
    }

    /// Gives up the rarer half.
    fn make_room(&mut self) {
        let mut counts: Vec<u64> = self.groups.values().map(|g| g.count).collect();
        counts.sort_unstable();
        let limit = counts.get(counts.len() / 2).copied().unwrap_or(0);
        let given_up = &mut self.given_up;
        self.groups.retain(|_, g| {
            let keep = g.count > limit;
            *given_up += if keep { 0 } else { g.count };
            keep
        });
    }

    /// All groups, most frequent first.
    #[must_use]
    pub fn sorted(self) -> Vec<Pattern> {
        let mut out: Vec<Pattern> = self.groups.into_values().collect();
        for group in &mut out {
            group
                .levels
                .sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.level.cmp(&b.level)));
            group.scripts.sort();
        }
        out.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.template.cmp(&b.template)));
        out
    }

    /// The most frequent ones.
    #[must_use]
    pub fn top(self, n: usize) -> Vec<Pattern> {
        let mut all = self.sorted();
        all.truncate(n);
        all
    }
}

/// Messages grouped by template, most frequent first.
///
/// # Errors
/// Faulty arguments, and those of the store.
pub fn patterns(ask: &Asking<'_>, args: &Patterns) -> Result<Answer<Pattern>, AskError> {
    let fields = conditions(&args.fields, EVENT_FIELDS, "; to match text, use --grep")?;
    let mut scope = Scope::of(ask, &args.which, &"patterns", fields, Some(DAY))?;
    scope.pin(ask)?;
    let mut templates = Templates::default();
    ask.store.scan(&scope.filter, true, &mut |event| {
        templates.take(&event);
        true
    })?;
    let given_up = templates.given_up;
    let mut all = templates.sorted();
    if scope.oldest_first {
        all.reverse();
    }
    let total = all.len();
    let offset = scope.offset().min(total);
    let items: Vec<Pattern> = all.drain(offset..).take(scope.limit).collect();
    let end = offset + items.len();
    let mut notes = if total == 0 { hints(ask, &scope)? } else { Vec::new() };
    if given_up > 0 {
        notes.push(format!(
            "{given_up} events have templates so rare and many that they were not kept apart"
        ));
    }
    Ok(Answer {
        next_cursor: (end < total).then(|| scope.next(After::Offset(end as u64))),
        truncated: end < total,
        items,
        total: (given_up == 0).then_some(total as u64),
        window: scope.window,
        hints: notes,
        extra: Vec::new(),
    })
}

impl Row for Pattern {
    fn draw(items: &[Pattern], paint: &mut Paint) {
        let level = |p: &Pattern| p.levels.first().map(|l| l.level.clone()).unwrap_or_default();
        let rows = items
            .iter()
            .map(|p| {
                let style = super::scope::level_no(&level(p)).map_or(Style::Plain, Style::of_level);
                let more = if p.levels.len() > 1 { "+" } else { "" };
                vec![
                    number(p.count),
                    cell(format!("{}{more}", plain(&level(p)))).styled(style),
                    cell(short(&p.scripts.join(","), 24)).styled(Style::Cyan),
                    cell(paint.clock.show(&p.last_seen)).styled(Style::Dim),
                    cell(short(&p.template, 120)),
                    cell(format!("[{}]", short_key(&p.example_key))).styled(Style::Dim),
                ]
            })
            .collect();
        paint.table(&["count", "level", "script", "last", "template", "example"], rows);
    }

    fn lean(&self) -> Value {
        json!({
            "template": short(&self.template, 160), "count": self.count,
            "levels": self.levels.iter().map(|l| (l.level.clone(), json!(l.count))).collect::<serde_json::Map<_, _>>(),
            "scripts": self.scripts, "last_seen": seconds(&self.last_seen), "example_key": short_key(&self.example_key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize, message: &str) -> Event {
        Event {
            key: format!("k{n:05}"),
            timestamp: format!("2026-11-21T00:00:00.{n:06}Z"),
            level: "INFO".into(),
            message: message.into(),
            ..Event::default()
        }
    }

    #[test]
    fn messages_that_differ_in_numbers_are_one_template() {
        let mut t = Templates::default();
        for n in 0..10 {
            t.take(&event(n, &format!("processed {n} rows")));
        }
        t.take(&event(10, "done"));
        let all = t.sorted();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].count, all[0].example.as_str()), (10, "processed 9 rows"));
    }

    #[test]
    fn memory_is_bounded_and_frequent_templates_stay() {
        let mut t = Templates::default();
        for n in 0..3 * TEMPLATES_MAX {
            let word: String = format!("{n}").bytes().map(|b| char::from(b'a' + b - b'0')).collect();
            t.take(&event(n % 100_000, &format!("word{word}")));
            if n % 3 == 0 {
                t.take(&event(n % 100_000, "often"));
            }
        }
        assert!(t.groups.len() <= TEMPLATES_MAX);
        assert!(t.given_up > 0);
        let all = t.sorted();
        assert_eq!(
            (all[0].template.as_str(), all[0].count),
            ("often", TEMPLATES_MAX as u64)
        );
    }
}
