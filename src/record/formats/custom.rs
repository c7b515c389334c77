//! Formats of the configuration's `[[format]]`.

use regex::Regex;

use super::super::time::{self, Clock};
use super::super::{Record, Text};
use super::fill::field;
use super::groups;
use crate::config;

/// One `[[format]]`, ready to be used.
#[derive(Debug)]
pub(in super::super) struct Custom {
    /// As messages and `logagent parse` call it.
    pub name: String,
    files: globset::GlobSet,
    regex: Regex,
    groups: Vec<(usize, String)>,
    continues: Option<Regex>,
}

impl Custom {
    /// # Errors
    /// A regular expression or pattern that is none: names the key.
    pub fn new(number: usize, format: &config::Format) -> Result<Custom, String> {
        let regex = |key: &str, text: &str| {
            Regex::new(text).map_err(|e| format!("format.{key}: {text:?} is no regular expression: {e}"))
        };
        let mut files = globset::GlobSetBuilder::new();
        for pattern in &format.files {
            let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build();
            files.add(glob.map_err(|e| format!("format.files: {e}"))?);
        }
        let own = regex("regex", &format.regex)?;
        Ok(Custom {
            name: format!("[[format]] {}", number + 1),
            files: files.build().map_err(|e| format!("format.files: {e}"))?,
            groups: groups(&own),
            regex: own,
            continues: match &format.continues {
                Some(text) => Some(regex("continues", text)?),
                None => None,
            },
        })
    }

    /// Whether it holds for a file: its path, or an end of it, is as one of the patterns says.
    pub fn wants(&self, path: &str) -> bool {
        let mut rest = path.trim_start_matches("./");
        loop {
            if self.files.is_match(rest) {
                return true;
            }
            match rest.split_once('/') {
                Some((_, end)) => rest = end,
                None => return false,
            }
        }
    }

    /// Whether a line belongs to the record before.
    pub fn continues(&self, line: &str) -> bool {
        self.continues.as_ref().is_some_and(|c| c.is_match(line))
    }

    pub fn expression(&self) -> &Regex {
        &self.regex
    }

    /// Reads a line into a fresh record; `false` if it does not fit.
    pub(in super::super) fn read<'a>(&self, line: &'a str, clock: Clock, rec: &mut Record<'a>) -> bool {
        let Some(found) = self.regex.captures(line) else {
            return false;
        };
        let mut titled = false;
        for (i, name) in &self.groups {
            let Some(text) = found.get(*i).map(|m| m.as_str()).filter(|t| !t.is_empty()) else {
                continue;
            };
            match &**name {
                "timestamp" | "time" => match time::written(text, clock) {
                    Some(at) => rec.time = Some(at),
                    None => field(rec, "time", text),
                },
                name => {
                    titled |= name == "message";
                    field(rec, name, text);
                }
            }
        }
        if !titled {
            let end = found.get(0).map_or(0, |m| m.end());
            rec.message = Text::new(line.get(end..).unwrap_or_default().trim());
        }
        true
    }
}
