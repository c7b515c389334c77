//! `prune`: deleting old data by age, execution and level.

use serde::Serialize;

use super::args::Prune;
use super::naming::execution;
use super::render::paint::Style;
use super::render::{Paint, Row};
use super::scope::level_no;
use super::window::duration;
use super::{AskError, Asking};
use crate::store::search::{PruneAsk, Pruned};

/// What was deleted, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    #[serde(flatten)]
    pub pruned: Pruned,
    pub dry_run: bool,
}

/// Deletes what meets all criteria; `progress` hears how far it is.
///
/// # Errors
/// Faulty arguments, or none; those of the store.
pub fn prune(ask: &Asking<'_>, args: &Prune, progress: &mut dyn FnMut(&Pruned)) -> Result<Outcome, AskError> {
    if args.older_than.is_none() && args.execution.is_empty() && args.level.is_none() {
        return Err(AskError::usage(
            "say what to delete: --older-than 30d, --execution ID, --level DEBUG, or several of them",
        ));
    }
    let before = match &args.older_than {
        None => None,
        Some(text) => Some(
            duration(text)
                .map(|d| ask.clock.now.saturating_sub(d))
                .ok_or_else(|| AskError::usage(format!("--older-than: cannot read the duration '{text}': try 30d")))?,
        ),
    };
    let executions = args
        .execution
        .iter()
        .map(|e| execution(ask, Some(e), &super::args::Which::default()))
        .collect::<Result<Vec<_>, _>>()?;
    let question = PruneAsk {
        before,
        executions,
        max_level: args.level.as_deref().map(level_no).transpose()?,
        dry_run: args.dry_run,
    };
    Ok(Outcome {
        pruned: ask.store.prune(&question, progress)?,
        dry_run: args.dry_run,
    })
}

impl Row for Outcome {
    fn draw(items: &[Outcome], paint: &mut Paint) {
        for o in items {
            let p = &o.pruned;
            let what = if o.dry_run { "would delete" } else { "deleted" };
            paint.line(
                Style::Plain,
                &format!(
                    "{what} {} events, {} runs, {} learnings, {} memories, {} edges",
                    p.events, p.runs, p.learnings, p.memories, p.edges
                ),
            );
            if p.protected > 0 {
                paint.line(
                    Style::Dim,
                    &format!("{} running executions were left alone", p.protected),
                );
            }
        }
    }
}
