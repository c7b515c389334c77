//! Which run a name stands for: `last`, `last-failed`, an execution's id, the unique beginning of one, a script's name.
//!
//! What narrows (`--script`, `--host`, `--since`, `--until`) chooses among the runs that a name can mean.

use std::collections::BTreeSet;

use super::args::Which;
use super::{AskError, Asking};
use crate::store::search::{FieldIs, Filter, RunAsk, Sign};
use crate::store::stored::Run;

/// Newest runs that are looked through for one that no other run encloses, and for names like the one that was given.
const NEWEST: usize = 200;

/// Names shown where several are meant.
const SHOWN: usize = 5;

/// The id of the execution that `name` stands for; without a name, of the newest run.
///
/// # Errors
/// [`AskError::NotFound`] where no run is meant, [`AskError::Usage`] where several are; those of the store.
pub fn execution(ask: &Asking<'_>, name: Option<&str>, which: &Which) -> Result<String, AskError> {
    let name = name.map_or("last", str::trim);
    let among = narrowed(ask, which)?;
    match name {
        "" => Err(AskError::usage(
            "the name of the run is empty: give an id, a script, or last",
        )),
        "last" => newest(ask, &among)?.ok_or_else(|| none(&among, "no run is known yet")),
        "last-failed" => {
            let failed = FieldIs {
                path: vec!["status".to_owned()],
                values: vec!["failed".to_owned(), "crashed".to_owned()],
                sign: Sign::Is,
            };
            let fields = vec![failed];
            let found = newest(
                ask,
                &RunAsk {
                    fields,
                    ..among.clone()
                },
            )?;
            found.ok_or_else(|| none(&among, "no run has failed or crashed"))
        }
        name => named(ask, name, &among),
    }
}

/// The runs that the flags leave.
fn narrowed(ask: &Asking<'_>, which: &Which) -> Result<RunAsk, AskError> {
    let time = |t: &Option<String>| t.as_deref().map(|t| ask.clock.parse(t)).transpose();
    Ok(RunAsk {
        since: time(&which.since)?,
        until: time(&which.until)?,
        scripts: which.script.iter().cloned().collect(),
        hosts: which.host.iter().cloned().collect(),
        ..RunAsk::default()
    })
}

fn is_narrowed(among: &RunAsk) -> bool {
    among.since.is_some() || among.until.is_some() || !among.scripts.is_empty() || !among.hosts.is_empty()
}

fn none(among: &RunAsk, why: &str) -> AskError {
    AskError::NotFound(if is_narrowed(among) {
        format!("{why} that --script, --host, --since and --until leave: see `logagent runs`")
    } else {
        format!("{why}: see `logagent runs -S 90d`, and `logagent status` for the agent")
    })
}

fn page(ask: &Asking<'_>, among: &RunAsk, limit: usize) -> Result<(Vec<Run>, bool), AskError> {
    let page = ask.store.runs(&RunAsk { limit, ..among.clone() })?;
    Ok((page.items, page.more))
}

/// The newest run that no other run encloses.
fn newest(ask: &Asking<'_>, among: &RunAsk) -> Result<Option<String>, AskError> {
    // Most runs enclose none: one is enough to look at.
    for limit in [1, NEWEST] {
        let (items, more) = page(ask, among, limit)?;
        let outermost = items.iter().position(|r| r.parent_execution_id.is_none());
        // Where all of them are inner runs, their parents are older still, or gone.
        let chosen = outermost.or((!more).then_some(0)).or((limit > 1).then_some(0));
        if let Some(run) = chosen.and_then(|i| items.into_iter().nth(i)) {
            return Ok(Some(run.execution_id));
        }
    }
    Ok(None)
}

fn named(ask: &Asking<'_>, name: &str, among: &RunAsk) -> Result<String, AskError> {
    let exact = |among: &RunAsk| -> Result<bool, AskError> {
        let executions = vec![name.to_owned()];
        Ok(!page(
            ask,
            &RunAsk {
                executions,
                ..among.clone()
            },
            1,
        )?
        .0
        .is_empty())
    };
    if exact(among)? {
        return Ok(name.to_owned());
    }
    if is_narrowed(among) && exact(&RunAsk::default())? {
        return Err(AskError::NotFound(format!(
            "the run '{name}' is none that --script, --host, --since and --until leave: drop these"
        )));
    }
    let its = Filter {
        executions: vec![name.to_owned()],
        ..Filter::default()
    };
    // Events can name an execution of which no run is known.
    if !is_narrowed(among) && ask.store.extent(&its)?.is_some() {
        return Ok(name.to_owned());
    }
    let of_script = RunAsk {
        fields: vec![FieldIs {
            path: vec!["script_name".to_owned()],
            values: vec![name.to_owned()],
            sign: Sign::Is,
        }],
        ..among.clone()
    };
    if let Some(id) = newest(ask, &of_script)? {
        return Ok(id);
    }
    let begins = RunAsk {
        begins: Some(name.to_owned()),
        ..among.clone()
    };
    let (found, _) = page(ask, &begins, NEWEST)?;
    match found.as_slice() {
        [] => Err(unknown(ask, name, among)?),
        [one] => Ok(one.execution_id.clone()),
        several => one_of(name, several),
    }
}

/// Several runs begin like the name: it can still be that of one script.
fn one_of(name: &str, several: &[Run]) -> Result<String, AskError> {
    let scripts: BTreeSet<&str> = several.iter().map(|r| r.script_name.as_str()).collect();
    let list = |names: Vec<&str>| {
        let more = if names.len() > SHOWN { ", …" } else { "" };
        format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
    };
    if scripts.iter().all(|s| s.starts_with(name)) {
        if let (1, Some(newest)) = (scripts.len(), several.first()) {
            return Ok(newest.execution_id.clone());
        }
        return Err(AskError::usage(format!(
            "'{name}' can be several scripts: {}. Name one, or a run's id",
            list(scripts.into_iter().collect())
        )));
    }
    let ids = several.iter().map(|r| r.execution_id.as_str()).collect();
    Err(AskError::usage(format!(
        "several runs begin with '{name}': {}. Give more of the id, or narrow by --script, --host, --since",
        list(ids)
    )))
}

fn unknown(ask: &Asking<'_>, name: &str, among: &RunAsk) -> Result<AskError, AskError> {
    let (newest, _) = page(ask, among, NEWEST)?;
    let known: BTreeSet<&str> = newest.iter().map(|r| r.script_name.as_str()).collect();
    let near = nearest(name, known);
    let meant = near.map_or(String::new(), |n| format!("did you mean {n}? "));
    Ok(AskError::NotFound(format!(
        "no execution is called '{name}', none begins so, and no script has that name: {meant}see `logagent runs -S 90d`"
    )))
}

/// The one of these that `name` is but for a slip of the finger or two.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let most = (name.chars().count() / 3).clamp(1, 2);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(k, name), k))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, k)| k)
}

/// Refuses the flags among these that were given and that a verb has no use for: taken and ignored they would let an
/// answer be misread.
///
/// # Errors
/// A flag that means nothing here.
pub fn refuse(verb: &str, which: &Which, flags: &[&str]) -> Result<(), AskError> {
    let w = which;
    let given = [
        ("limit", w.limit.is_some()),
        ("since", w.since.is_some()),
        ("until", w.until.is_some()),
        ("level", w.level.is_some()),
        ("execution", w.execution.is_some()),
        ("script", w.script.is_some()),
        ("host", w.host.is_some()),
        ("tag", w.tag.is_some()),
        ("grep", w.grep.is_some()),
        ("reverse", w.reverse),
        ("cursor", w.cursor.is_some()),
    ];
    match given.into_iter().find(|(name, given)| *given && flags.contains(name)) {
        Some((name, _)) => Err(AskError::usage(format!(
            "{verb} takes no --{name}: it would change nothing about the answer"
        ))),
        None => Ok(()),
    }
}

/// The run that a verb is about: named before the flags or by `--execution`, else the newest that the flags leave.
///
/// # Errors
/// Two names, and what [`execution`] says.
pub fn subject(ask: &Asking<'_>, name: Option<&str>, which: &Which) -> Result<String, AskError> {
    let name = name.map(str::trim).filter(|n| !n.is_empty());
    match (name, which.execution.as_deref()) {
        (Some(a), Some(b)) if a != b => Err(AskError::usage(format!(
            "two runs are named, '{a}' and '{b}': name one"
        ))),
        (a, b) => execution(ask, a.or(b), which),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_suggested() {
        assert_eq!(nearest("etll", ["etl", "report"]), Some("etl"));
        assert_eq!(nearest("reprot", ["etl", "report"]), Some("report"));
        assert_eq!(nearest("version", ["response", "runs"]), None);
        assert_eq!(nearest("ab", ["cd"]), None);
    }
}
