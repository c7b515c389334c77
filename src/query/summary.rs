//! `summary`: how one run went.

use serde::Serialize;
use serde_json::{Value, json};

use super::args::Summary;
use super::events::lean as lean_event;
use super::naming::{refuse, subject};
use super::patterns::Templates;
use super::render::lean::{plain_values, rounded, said, seconds};
use super::render::paint::{Style, cell, number, plain, short, short_key};
use super::render::{Paint, Row};
use super::runs::length;
use super::window::{parse_stored, show_duration};
use super::{AskError, Asking};
use crate::store::search::{Filter, LearningAsk, RunAsk};
use crate::store::stored::{Event, Learning, Run};

/// A stretch of an execution without a record.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Gap {
    pub seconds: f64,
    /// Time and key of the record before the silence.
    pub from: String,
    pub after_key: String,
    /// What that record said.
    pub after_message: String,
}

/// How often a template occurs.
#[derive(Clone, Debug, Serialize)]
pub struct TemplateCount {
    pub template: String,
    pub count: u64,
    pub level: String,
}

/// How one run went.
#[derive(Clone, Debug, Serialize)]
pub struct RunSummary {
    pub execution_id: String,
    /// Absent where events name an execution of which no run is known.
    pub run: Option<Run>,
    pub total_events: u64,
    pub levels: Vec<LevelCount>,
    pub errors: u64,
    pub first_error: Option<Event>,
    pub last_error: Option<Event>,
    /// Errors other than the first and the last.
    pub more_errors: u64,
    pub learnings: Vec<Learning>,
    /// Learnings other than these.
    pub more_learnings: u64,
    pub templates: Vec<TemplateCount>,
    pub gaps: Vec<Gap>,
    #[serde(skip)]
    micros: Option<i64>,
}

/// Events of one level.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct LevelCount {
    pub level: String,
    pub count: u64,
    #[serde(skip)]
    pub level_no: i64,
}

const LEARNINGS: usize = 5;
const TEMPLATES: usize = 5;
const GAPS: usize = 3;
/// Shorter silences, in microseconds, are not worth a word.
const GAP_MIN: i64 = 1_000_000;

/// How one run went.
///
/// # Errors
/// [`AskError::NotFound`] for an unknown execution; those of the store.
pub fn summary(ask: &Asking<'_>, args: &Summary) -> Result<RunSummary, AskError> {
    refuse("summary", &args.which, &["level", "tag", "grep", "reverse", "cursor"])?;
    let id = subject(ask, args.id.as_deref(), &args.which)?;
    let run = ask.store.runs(&RunAsk {
        executions: vec![id.clone()],
        limit: 1,
        ..RunAsk::default()
    })?;
    let run = run.items.into_iter().next();
    let filter = Filter {
        executions: vec![id.clone()],
        ..Filter::default()
    };
    let mut pass = Pass::default();
    ask.store.scan(&filter, true, &mut |event| {
        pass.take(event);
        true
    })?;
    if run.is_none() && pass.total == 0 {
        return Err(AskError::NotFound(format!(
            "no execution '{id}' is known: see `logagent runs`"
        )));
    }
    let learnings = ask.store.learnings(&LearningAsk {
        executions: vec![id.clone()],
        limit: LEARNINGS,
        ..LearningAsk::default()
    })?;
    pass.levels.sort_by_key(|l| std::cmp::Reverse(l.level_no));
    let more_learnings = learnings
        .total
        .unwrap_or(0)
        .saturating_sub(learnings.items.len() as u64);
    pass.settle();
    let alone = pass.errors == 1;
    Ok(RunSummary {
        execution_id: id,
        micros: run.as_ref().and_then(|r| length(r, ask.clock.now)),
        run,
        total_events: pass.total,
        levels: pass.levels,
        errors: pass.errors,
        more_errors: pass.errors.saturating_sub(2),
        last_error: if alone {
            pass.first_error.clone()
        } else {
            pass.last_error
        },
        first_error: pass.first_error,
        learnings: learnings.items.into_iter().map(|(l, _)| l).collect(),
        more_learnings,
        templates: pass
            .templates
            .top(TEMPLATES)
            .into_iter()
            .map(|p| TemplateCount {
                level: p.levels.first().map(|l| l.level.clone()).unwrap_or_default(),
                template: p.template,
                count: p.count,
            })
            .collect(),
        gaps: pass.gaps,
    })
}

/// What one pass over an execution collects.
#[derive(Default)]
struct Pass {
    total: u64,
    levels: Vec<LevelCount>,
    errors: u64,
    first_error: Option<Event>,
    last_error: Option<Event>,
    /// The newest end that says no more than that the run failed.
    end: Option<Event>,
    templates: Templates,
    gaps: Vec<Gap>,
    before: Option<(i64, Event)>,
}

impl Pass {
    fn take(&mut self, event: Event) {
        self.total += 1;
        match self.levels.iter_mut().find(|l| l.level == event.level) {
            Some(level) => level.count += 1,
            None => self.levels.push(LevelCount {
                level: event.level.clone(),
                count: 1,
                level_no: event.level_no.unwrap_or(0),
            }),
        }
        if event.is_error() && event.repeats_a_failure() {
            self.end = Some(event.clone());
        } else if event.is_error() {
            self.errors += 1;
            if self.first_error.is_none() {
                self.first_error = Some(event.clone());
            }
            self.last_error = Some(event.clone());
        }
        self.templates.take(&event);
        let Some(time) = parse_stored(&event.timestamp) else {
            return;
        };
        if let Some((t, before)) = self.before.take() {
            self.gap(t, time, &before);
        }
        self.before = Some((time, event));
    }

    /// Where nothing else says what failed, the run's end does.
    fn settle(&mut self) {
        if self.errors == 0
            && let Some(end) = self.end.take()
        {
            self.errors = 1;
            self.first_error = Some(end);
        }
    }

    fn gap(&mut self, from: i64, to: i64, before: &Event) {
        let silence = to - from;
        let shortest = self.gaps.last().map_or(0.0, |g| g.seconds);
        let full = self.gaps.len() >= GAPS;
        if silence < GAP_MIN || (full && silence as f64 / 1e6 <= shortest) {
            return;
        }
        self.gaps.truncate(if full { GAPS - 1 } else { GAPS });
        self.gaps.push(Gap {
            seconds: silence as f64 / 1e6,
            from: before.timestamp.clone(),
            after_key: before.key.clone(),
            after_message: short(&before.message, 100),
        });
        self.gaps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    }
}

impl Row for RunSummary {
    fn draw(items: &[RunSummary], paint: &mut Paint) {
        for s in items {
            draw_summary(s, paint);
        }
    }

    fn lean(&self) -> Value {
        let run = self.run.as_ref();
        said(json!({
            "execution_id": self.execution_id,
            "script": run.map(|r| &r.script_name), "status": run.map(|r| &r.status),
            "start": run.map(|r| seconds(&r.start_time)),
            "duration_seconds": run.and_then(|r| r.duration_seconds).map(rounded),
            "error": run.and_then(|r| r.error.as_deref()).map(|e| short(e, 300)),
            "metadata": run.and_then(|r| r.metadata.as_ref()).map(|m| plain_values(&m.value())),
            "events": self.total_events,
            "levels": self.levels.iter().map(|l| (l.level.clone(), json!(l.count))).collect::<serde_json::Map<_, _>>(),
            "first_error": self.first_error.as_ref().map(|e| lean_event(e, false)),
            "last_error": self.last_error.as_ref().map(|e| lean_event(e, false)), "more_errors": self.more_errors,
            "learnings": self.learnings.iter().map(|l| short(&l.learning, 200)).collect::<Vec<_>>(),
            "more_learnings": self.more_learnings,
            "templates": self.templates.iter().map(|t| format!("{}× {}", t.count, short(&t.template, 100)))
                .collect::<Vec<_>>(),
            "gaps": self.gaps.iter().map(|g| format!("{:.1}s after [{}] {}", g.seconds, short_key(&g.after_key),
                short(&g.after_message, 60))).collect::<Vec<_>>(),
        }))
    }
}

fn draw_summary(s: &RunSummary, paint: &mut Paint) {
    paint.line(Style::Bold, &plain(&s.execution_id));
    if let Some(run) = &s.run {
        paint.put(Style::of_status(&run.status), &plain(&run.status));
        let start = paint.clock.show(&run.start_time);
        let took = s.micros.map_or(String::new(), |m| format!(", {}", show_duration(m)));
        let host = run.host.as_deref().map_or(String::new(), |h| format!(" on {h}"));
        paint.line(
            Style::Plain,
            &plain(&format!("  {}{host}, from {start}{took}", run.script_name)),
        );
        if let Some(error) = &run.error {
            paint.line(Style::Red, &format!("  {}", short(error, 300)));
        }
        if let Some(metadata) = &run.metadata {
            paint.line(Style::Dim, &format!("  {}", short(metadata.text(), 200)));
        }
    }
    paint.put(Style::Plain, &format!("{} events:", s.total_events));
    for level in &s.levels {
        paint.put(Style::Plain, "  ");
        paint.put(
            Style::of_level(level.level_no),
            &format!("{} {}", plain(&level.level), level.count),
        );
    }
    paint.end();
    draw_errors(s, paint);
    draw_rest(s, paint);
}

fn draw_errors(s: &RunSummary, paint: &mut Paint) {
    if let Some(first) = &s.first_error {
        paint.heading("errors");
        paint.out.push_str("  ");
        paint.event(first, false);
        if s.more_errors > 0 {
            paint.line(
                Style::Dim,
                &format!("  … {} more: logagent errors {}", s.more_errors, plain(&s.execution_id)),
            );
        }
        if let Some(last) = s.last_error.as_ref().filter(|_| s.errors > 1) {
            paint.out.push_str("  ");
            paint.event(last, false);
        }
    }
}

fn draw_rest(s: &RunSummary, paint: &mut Paint) {
    if !s.learnings.is_empty() {
        paint.heading("learnings");
        for learning in &s.learnings {
            let sure = learning.confidence.map_or(String::new(), |c| format!(" ({c:.2})"));
            paint.line(Style::Plain, &format!("  {}{sure}", short(&learning.learning, 200)));
        }
        if s.more_learnings > 0 {
            paint.line(Style::Dim, &format!("  … {} more", s.more_learnings));
        }
    }
    if !s.templates.is_empty() {
        paint.heading("most frequent");
        let rows = s
            .templates
            .iter()
            .map(|t| vec![number(format!("  {}×", t.count)), cell(short(&t.template, 120))]);
        let rows = rows.collect();
        paint.table(&["", ""], rows);
    }
    if !s.gaps.is_empty() {
        paint.heading("longest silences");
        for gap in &s.gaps {
            let micros = (gap.seconds * 1e6) as i64;
            let line = format!(
                "  {} after [{}] {}",
                show_duration(micros),
                short_key(&gap.after_key),
                gap.after_message
            );
            paint.line(Style::Plain, &line);
        }
    }
}

impl RunSummary {
    /// The summary as a memory of type `execution_summary`; written again it changes nothing.
    #[must_use]
    pub fn memory(&self, now: crate::record::Micros) -> crate::store::Batch {
        let time = crate::record::format_time(now);
        let run = self.run.as_ref();
        let valid = run.and_then(|r| r.end_time.clone()).unwrap_or_else(|| time.clone());
        let hash = xxhash_rust::xxh3::xxh3_128(self.execution_id.as_bytes());
        let doc = json!({
            "_key": format!("summary_{hash:032x}"),
            "content": format!("Execution {} completed with {} errors", self.execution_id, self.errors),
            "type": "execution_summary", "timestamp": time,
            "metadata": {
                "execution_id": self.execution_id, "script": run.map(|r| &r.script_name),
                "duration": run.and_then(|r| r.duration_seconds), "status": run.map(|r| &r.status),
            },
            "access_count": 0, "created_at": time, "valid_at": valid,
        });
        let mut batch = crate::store::Batch::default();
        batch.memories.push(doc.to_string().as_bytes());
        batch
    }
}
