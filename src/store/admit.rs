//! What a [`Filter`] means, in plain code: the reference for every store, and the part that databases call back into.

use serde_json::Value;

use super::search::{FieldIs, Filter, Term, Words};
use super::stored::{Event, Exception};
use crate::record::format_time;

impl Filter {
    /// Whether `event` is meant by this filter.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        let any = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|v| list.iter().any(|wanted| wanted == v))
        };
        self.since.is_none_or(|t| event.timestamp >= format_time(t))
            && self.until.is_none_or(|t| event.timestamp <= format_time(t))
            && self.min_level.is_none_or(|l| event.level_no.is_some_and(|n| n >= l))
            && any(&self.executions, Some(&event.execution_id))
            && any(&self.scripts, event.script_name.as_deref())
            && any(&self.hosts, event.host.as_deref())
            && any(&self.fingerprints, event.fingerprint.as_deref())
            && self
                .tags
                .iter()
                .all(|t| event.tags.iter().flatten().any(|have| have == t))
            && (!self.has_response || response(event).is_some())
            && self.grep.as_ref().is_none_or(|re| grep(re, event))
            && self.admits_fields(event)
    }

    fn admits_fields(&self, event: &Event) -> bool {
        if self.fields.is_empty() {
            return true;
        }
        let doc = serde_json::to_value(event).unwrap_or_default();
        self.fields.iter().all(|f| f.holds(&doc))
    }
}

impl Event {
    /// The words of what full text searches: message, exception chain, function, script, tags.
    #[must_use]
    pub fn text_fields(&self) -> Vec<Vec<String>> {
        let split = |t: &str| words_of(t).collect::<Vec<_>>();
        let mut chain = String::new();
        if let Some(e) = &self.exception {
            let links = e.chain.iter().map(|l| (l.kind.as_str(), l.value.as_str()));
            let own = e.chain.is_empty().then(|| e.root());
            for (kind, value) in links.chain(own) {
                chain.push_str(&format!("{kind} {value} "));
            }
        }
        vec![
            split(&self.message),
            split(&chain),
            split(self.function_name.as_deref().unwrap_or("")),
            split(self.script_name.as_deref().unwrap_or("")),
            self.tags.iter().flatten().flat_map(|t| words_of(t)).collect(),
        ]
    }
}

/// `extra_data.response` of an event, unless absent or null.
#[must_use]
pub fn response(event: &Event) -> Option<Value> {
    let mut extra = event.extra_data.as_ref()?.value();
    extra.get_mut("response").map(Value::take).filter(|v| !v.is_null())
}

/// Whether the expression matches the message, or the exception's type, value or traceback.
fn grep(re: &regex::Regex, event: &Event) -> bool {
    re.is_match(&event.message) || event.exception.as_ref().is_some_and(|e| e.is_match(re))
}

impl Exception {
    /// Whether the expression matches its type, value or traceback, or those of a link of its chain.
    #[must_use]
    pub fn is_match(&self, re: &regex::Regex) -> bool {
        [&self.kind, &self.value, &self.traceback]
            .into_iter()
            .flatten()
            .any(|text| re.is_match(text))
            || self
                .chain
                .iter()
                .any(|link| re.is_match(&link.kind) || re.is_match(&link.value))
    }
}

impl FieldIs {
    /// Whether the field is one of the values; an array if one of its elements is.
    #[must_use]
    pub fn holds(&self, doc: &Value) -> bool {
        let Some(found) = at(doc, &self.path) else {
            return false;
        };
        match found {
            Value::Array(items) => items.iter().any(|item| self.is(item)),
            other => self.is(other),
        }
    }

    fn is(&self, value: &Value) -> bool {
        self.values.iter().any(|wanted| same(value, wanted))
    }
}

/// Whether a scalar is what was typed: text as it stands, numbers by value, `true`, `false`, `null`.
#[must_use]
pub fn same(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(s) => s == wanted,
        Value::Number(n) => {
            n.to_string() == wanted || wanted.parse::<f64>().is_ok_and(|w| n.as_f64().is_some_and(|n| n == w))
        }
        Value::Bool(b) => wanted == if *b { "true" } else { "false" },
        Value::Null => wanted == "null",
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// The value at a path; digits index arrays.
#[must_use]
pub fn at<'a>(doc: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(doc, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
}

/// A scalar as a group's name: text as it stands, anything else as JSON.
#[must_use]
pub fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(s) => Some(s.clone()),
        other => Some(other.to_string()),
    }
}

/// The words of a text as full-text search sees them: runs of letters and digits, lower case.
pub fn words_of(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
}

impl Words {
    /// Reads what was typed: words, `"phrases in quotes"`, `prefix*`, `-without`, and `OR` between any of them for
    /// "any suffices". `None` if it holds no word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Words> {
        let mut words = Words::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let without = rest.len() > 1 && rest.starts_with('-') && !rest.starts_with("--");
            let body = if without { &rest[1..] } else { rest };
            let (text, prefix, tail) = if let Some(quoted) = body.strip_prefix('"') {
                let end = quoted.find('"').unwrap_or(quoted.len());
                (&quoted[..end], false, quoted.get(end + 1..).unwrap_or(""))
            } else {
                let end = body.find(char::is_whitespace).unwrap_or(body.len());
                let word = &body[..end];
                (word.trim_end_matches('*'), word.ends_with('*'), &body[end..])
            };
            rest = tail.trim_start();
            if text == "OR" && !without && !words.terms.is_empty() {
                words.any = true;
            } else if words_of(text).next().is_some() && text != "AND" {
                words.terms.push(Term {
                    text: words_of(text).collect::<Vec<_>>().join(" "),
                    prefix,
                    without,
                });
            }
        }
        words.terms.iter().any(|t| !t.without).then_some(words)
    }

    /// Whether a document with these fields matches; the reference for the stores' own full text.
    #[must_use]
    pub fn matches(&self, fields: &[Vec<String>]) -> bool {
        let has = |t: &Term| fields.iter().any(|words| t.occurs(words));
        let mut wanted = self.terms.iter().filter(|t| !t.without);
        let found = if self.any { wanted.any(has) } else { wanted.all(has) };
        found && !self.terms.iter().any(|t| t.without && has(t))
    }
}

impl Words {
    /// How well a short text matches, for collections without a full-text index of their own: each term counts the
    /// more often it occurs, with quickly falling returns, and the shorter the text. `None` if it does not match.
    #[must_use]
    pub fn score(&self, fields: &[Vec<String>]) -> Option<f64> {
        if !self.matches(fields) {
            return None;
        }
        let length: usize = fields.iter().map(Vec::len).sum();
        let norm = 0.25 + 0.75 * length as f64 / 20.0;
        let weigh = |t: &Term| {
            let n: usize = fields.iter().map(|words| t.count(words)).sum();
            2.2 * n as f64 / (n as f64 + 1.2 * norm)
        };
        Some(self.terms.iter().filter(|t| !t.without).map(weigh).sum())
    }
}

impl Term {
    fn count(&self, words: &[String]) -> usize {
        let mine: Vec<&str> = self.text.split(' ').collect();
        words
            .windows(mine.len())
            .filter(|window| self.stands_in(&mine, window))
            .count()
    }

    fn stands_in(&self, mine: &[&str], window: &[String]) -> bool {
        window
            .iter()
            .zip(mine)
            .enumerate()
            .all(|(i, (have, want))| have == want || (self.prefix && i + 1 == mine.len() && have.starts_with(want)))
    }

    fn occurs(&self, words: &[String]) -> bool {
        self.count(words) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str, values: &[&str]) -> FieldIs {
        FieldIs {
            path: path.split('.').map(str::to_owned).collect(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    #[test]
    fn a_condition_finds_scalars_by_value_and_elements_of_arrays() {
        let doc = serde_json::json!({"extra_data": {"user": 7, "ok": true, "list": ["a", "b"], "deep": [{"x": "y"}]}});
        assert!(field("extra_data.user", &["7"]).holds(&doc));
        assert!(field("extra_data.user", &["7.0"]).holds(&doc));
        assert!(
            field("extra_data.user", &["8", "7"]).holds(&doc),
            "the same field: any of the values"
        );
        assert!(!field("extra_data.user", &["77"]).holds(&doc));
        assert!(field("extra_data.ok", &["true"]).holds(&doc));
        assert!(field("extra_data.list", &["b"]).holds(&doc));
        assert!(field("extra_data.deep.0.x", &["y"]).holds(&doc));
        assert!(!field("extra_data.absent", &["null"]).holds(&doc));
    }

    #[test]
    fn a_text_is_read_as_words_phrases_prefixes_and_exclusions() {
        let words = Words::parse(r#"timed "Connection refused" post* -debug"#).expect("words");
        let terms: Vec<_> = words
            .terms
            .iter()
            .map(|t| (t.text.as_str(), t.prefix, t.without))
            .collect();
        assert_eq!(
            terms,
            [
                ("timed", false, false),
                ("connection refused", false, false),
                ("post", true, false),
                ("debug", false, true)
            ]
        );
        assert!(!words.any);
        assert!(Words::parse("a OR b").is_some_and(|w| w.any && w.terms.len() == 2));
        assert_eq!(Words::parse("  -- !!"), None);
        assert_eq!(Words::parse("-only"), None);
    }

    #[test]
    fn words_match_in_any_field_and_phrases_within_one() {
        let fields = vec![
            words_of("the connection was refused").collect::<Vec<_>>(),
            words_of("OSError").collect(),
        ];
        let matches = |text: &str| Words::parse(text).is_some_and(|w| w.matches(&fields));
        assert!(matches("refused oserror"));
        assert!(matches("\"was refused\""));
        assert!(!matches("\"connection refused\""));
        assert!(matches("conn*"));
        assert!(!matches("refused -connection"));
        assert!(matches("nothing OR refused"));
    }
}
