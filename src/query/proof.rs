//! Whether a fix held: how many runs of its script, and how many days, went by since without the error; or when it came
//! back.
//!
//! Computed from runs and events whenever it is asked for, so that what arrives late counts too.

use serde::Serialize;
use serde_json::{Value, json};

use super::window::{DAY, parse_stored};
use super::{AskError, Asking};
use crate::record::format_time;
use crate::store::search::{EventAsk, FieldIs, Filter, Fixed, Order, RunAsk, Sign};
use crate::store::stored::ERROR;

/// For how long a fix has held, or held until the error came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Held {
    /// Runs of the script that began since, and are over.
    pub runs: u64,
    /// To a tenth.
    pub days: f64,
}

/// What became of a fix.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Proof {
    pub held: Held,
    /// When the error came back first, 27 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<String>,
}

impl Proof {
    /// In words: `held 12 runs, 3.5 days`, `came back after 2 runs`.
    #[must_use]
    pub fn words(&self) -> String {
        let runs = match self.held.runs {
            1 => "1 run".to_owned(),
            n => format!("{n} runs"),
        };
        let days = self.held.days;
        match self.returned_at {
            Some(_) => format!("came back after {runs}, {days} days"),
            None => format!("held for {runs}, {days} days"),
        }
    }

    /// For models.
    #[must_use]
    pub fn lean(&self) -> Value {
        json!({"runs": self.held.runs, "days": self.held.days})
    }
}

/// What became of a fix since.
///
/// # Errors
/// Those of the store.
pub fn proof(ask: &Asking<'_>, fix: &Fixed) -> Result<Proof, AskError> {
    let Some(from) = parse_stored(fix.reaches()) else {
        return Ok(Proof::default());
    };
    let again = ask.store.events(&EventAsk {
        filter: Filter {
            since: Some(from.saturating_add(1)),
            fingerprints: vec![fix.fingerprint.clone()],
            scripts: fix.script_name.iter().cloned().collect(),
            min_level: Some(ERROR),
            ..Filter::default()
        },
        words: None,
        order: Order::Oldest,
        after: None,
        limit: 1,
        count: false,
    })?;
    let returned_at = again.items.into_iter().next().map(|(event, _)| event.timestamp);
    let until = returned_at.as_deref().and_then(parse_stored).unwrap_or(ask.clock.now);
    let condition = |name: &str, sign: Sign, value: String| FieldIs {
        path: vec![name.to_owned()],
        values: vec![value],
        sign,
    };
    let runs = match &fix.script_name {
        None => 0,
        Some(script) => {
            let mut over = vec![
                condition("start_time", Sign::Above, format_time(from)),
                condition("status", Sign::IsNot, "running".to_owned()),
            ];
            if let Some(back) = &returned_at {
                // The run in which it came back began before, and did not go without it.
                over.push(condition("end_time", Sign::Below, back.clone()));
            }
            let asked = RunAsk {
                scripts: vec![script.clone()],
                fields: over,
                count: true,
                limit: 1,
                ..RunAsk::default()
            };
            ask.store.runs(&asked)?.total.unwrap_or(0)
        }
    };
    let days = (until - from).max(0) as f64 / DAY as f64;
    Ok(Proof {
        held: Held {
            runs,
            days: (days * 10.0).round() / 10.0,
        },
        returned_at,
    })
}

/// The reason that was given with a fix, without what its edge adds to fill the field, and not where it only repeats the
/// description.
#[must_use]
pub fn reason(fix: &Fixed) -> Option<String> {
    let said = match fix.rationale.find("(FIXED_BY from log_events/") {
        Some(at) => fix.rationale.get(..at).unwrap_or_default(),
        None => &fix.rationale,
    };
    let said = said.trim();
    (!said.is_empty() && said != fix.description.trim()).then(|| said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_was_said_and_nothing_that_was_added() {
        let reason = |rationale: &str| {
            reason(&Fixed {
                description: "raised it".to_owned(),
                rationale: rationale.to_owned(),
                ..Fixed::default()
            })
        };
        assert_eq!(
            reason("raised it (FIXED_BY from log_events/a to log_events/b, by fix)"),
            None
        );
        assert_eq!(reason("(FIXED_BY from log_events/a to log_events/b, by fix)"), None);
        let short = reason("too low (FIXED_BY from log_events/a to log_events/b, by fix)");
        assert_eq!(short.as_deref(), Some("too low"));
        assert_eq!(
            reason("a whole sentence, said by a person who knew").as_deref(),
            Some("a whole sentence, said by a person who knew")
        );
    }
}
