//! What a [`Filter`] means, in plain code: the reference for every store, and the part that databases call back into.

use std::cmp::Ordering;

use serde_json::Value;

use super::search::{FieldIs, Filter, Sign, Term, Words};
use super::stored::{Event, Exception};
pub use super::words::words_of;
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
            && (!self.is_fix || event.event.as_deref() == Some("fix"))
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
    /// Whether the condition holds for a document. An array is what one of its elements is.
    #[must_use]
    pub fn holds(&self, doc: &Value) -> bool {
        self.holds_of(at(doc, &self.path))
    }

    /// Whether the condition holds for the value at its path, if there is one. What is absent is none of any values, and
    /// neither above nor below any.
    #[must_use]
    pub fn holds_of(&self, found: Option<&Value>) -> bool {
        let any = |is: &dyn Fn(&Value, &str) -> bool| {
            let one = |item: &Value| self.values.iter().any(|wanted| is(item, wanted));
            match found {
                None => false,
                Some(Value::Array(items)) => items.iter().any(one),
                Some(other) => one(other),
            }
        };
        match self.sign {
            Sign::Is => any(&same),
            Sign::IsNot => !any(&same),
            sign => any(&|value, wanted| compare(value, wanted).is_some_and(|order| sign.admits(order))),
        }
    }
}

impl Sign {
    /// Whether a value that stands so to the wanted one is meant.
    #[must_use]
    pub fn admits(self, order: Ordering) -> bool {
        match self {
            Sign::Is => order.is_eq(),
            Sign::IsNot => order.is_ne(),
            Sign::Above => order.is_gt(),
            Sign::AtLeast => order.is_ge(),
            Sign::Below => order.is_lt(),
            Sign::AtMost => order.is_le(),
        }
    }
}

/// Whether a scalar is what was typed: text as it stands, numbers by value, `true`, `false`, `null`.
#[must_use]
pub fn same(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(s) => s == wanted,
        Value::Number(n) => {
            let (have, want) = (Numeral::of(n), Numeral::parse(wanted));
            have.zip(want)
                .is_some_and(|(have, want)| have.compare(want).is_some_and(Ordering::is_eq))
        }
        Value::Bool(b) => wanted == if *b { "true" } else { "false" },
        Value::Null => wanted == "null",
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// How a scalar stands to what was typed: numbers by value, also those that are written as text, else text by its
/// characters; `None` where the two cannot be compared.
#[must_use]
pub fn compare(value: &Value, wanted: &str) -> Option<Ordering> {
    let want = Numeral::parse(wanted);
    match value {
        Value::Number(n) => Numeral::of(n)?.compare(want?),
        Value::String(s) => match want {
            Some(want) => Numeral::parse(s)?.compare(want),
            None => Some(s.as_str().cmp(wanted)),
        },
        _ => None,
    }
}

/// A number whose digits are not lost: integers are compared as integers.
#[derive(Clone, Copy)]
enum Numeral {
    Whole(i128),
    Real(f64),
}

impl Numeral {
    fn of(n: &serde_json::Number) -> Option<Numeral> {
        let whole = n.as_i64().map(i128::from).or(n.as_u64().map(i128::from));
        whole.map(Numeral::Whole).or(n.as_f64().map(Numeral::Real))
    }

    fn parse(text: &str) -> Option<Numeral> {
        let digit = |b: u8| b.is_ascii_digit();
        if let Ok(n) = text.parse() {
            return Some(Numeral::Whole(n));
        }
        // Not `inf` and `nan`, which are words.
        let real = text.bytes().any(digit) && text.bytes().all(|b| digit(b) || b"+-.eE".contains(&b));
        real.then(|| text.parse().ok().map(Numeral::Real)).flatten()
    }

    fn compare(self, other: Numeral) -> Option<Ordering> {
        match (self, other) {
            (Numeral::Whole(a), Numeral::Whole(b)) => Some(a.cmp(&b)),
            (Numeral::Real(a), Numeral::Real(b)) => a.partial_cmp(&b),
            (Numeral::Whole(a), Numeral::Real(b)) => against(a, b),
            (Numeral::Real(a), Numeral::Whole(b)) => against(b, a).map(Ordering::reverse),
        }
    }
}

/// An integer against a number with a fraction, exactly.
fn against(whole: i128, real: f64) -> Option<Ordering> {
    if real.is_nan() {
        return None;
    }
    let floor = real.floor();
    if floor >= 1e38 {
        return Some(Ordering::Less);
    }
    if floor <= -1e38 {
        return Some(Ordering::Greater);
    }
    let below = whole.cmp(&(floor as i128));
    Some(if below.is_eq() && real > floor {
        Ordering::Less
    } else {
        below
    })
}

/// The value at a path; digits index arrays. A name may hold dots: at each step the longest joined name that leads to a
/// value is taken, so that `http.status_code` finds `{"http.status_code": 502}` and `{"http": {"status_code": 502}}`.
#[must_use]
pub fn at<'a>(doc: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((first, rest)) = path.split_first() else {
        return Some(doc);
    };
    match doc {
        Value::Array(items) => at(items.get(first.parse::<usize>().ok()?)?, rest),
        Value::Object(map) => (1..=path.len()).rev().find_map(|n| {
            let found = if n == 1 {
                map.get(first)
            } else {
                map.get(&path[..n].join("."))
            };
            at(found?, &path[n..])
        }),
        _ => None,
    }
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
        let has = |t: &Term| t.occurs_in(fields);
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

    /// Whether it occurs in any of the fields.
    #[must_use]
    pub fn occurs_in(&self, fields: &[Vec<String>]) -> bool {
        fields.iter().any(|words| self.occurs(words))
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
            sign: Sign::Is,
        }
    }

    fn signed(path: &str, sign: Sign, value: &str) -> FieldIs {
        FieldIs {
            sign,
            ..field(path, &[value])
        }
    }

    #[test]
    fn integers_are_compared_as_integers() {
        let doc = serde_json::json!({"x": {"n": 1_234_567_890_123_456_789_i64, "u": u64::MAX, "f": 0.5}});
        assert!(field("x.n", &["1234567890123456789"]).holds(&doc));
        assert!(!field("x.n", &["1234567890123456788"]).holds(&doc));
        assert!(!field("x.n", &["1234567890123456790"]).holds(&doc));
        assert!(field("x.u", &["18446744073709551615"]).holds(&doc));
        assert!(!field("x.u", &["18446744073709551614"]).holds(&doc));
        assert!(field("x.f", &["0.5"]).holds(&doc) && field("x.f", &["5e-1"]).holds(&doc));
        assert!(signed("x.n", Sign::Above, "1234567890123456788").holds(&doc));
        assert!(!signed("x.n", Sign::Above, "1234567890123456789").holds(&doc));
        for (n, text) in [
            (9_007_199_254_740_992_i64, "9007199254740993"),
            (9_007_199_254_740_993, "9007199254740992"),
        ] {
            assert!(!same(&serde_json::json!(n), text), "{n} is not {text}");
        }
    }

    #[test]
    fn a_value_can_be_other_than_or_above_or_below_another() {
        let doc = serde_json::json!({"x": {"n": 7, "text": "b", "digits": "12", "list": [1, 9]}});
        let holds = |path: &str, sign: Sign, value: &str| signed(path, sign, value).holds(&doc);
        assert!(holds("x.n", Sign::Above, "6") && holds("x.n", Sign::AtLeast, "7") && !holds("x.n", Sign::Above, "7"));
        assert!(holds("x.n", Sign::Below, "7.5") && holds("x.n", Sign::AtMost, "7") && !holds("x.n", Sign::Below, "7"));
        assert!(holds("x.n", Sign::IsNot, "8") && !holds("x.n", Sign::IsNot, "7.0"));
        assert!(holds("x.digits", Sign::Above, "5"), "digits count as a number");
        assert!(holds("x.text", Sign::Above, "a") && !holds("x.text", Sign::Above, "3"));
        assert!(holds("x.list", Sign::Above, "8") && !holds("x.list", Sign::Above, "9"));
        assert!(holds("x.gone", Sign::IsNot, "1"), "what is absent is none of them");
        assert!(!holds("x.gone", Sign::Above, "1") && !holds("x.gone", Sign::Below, "1"));
        assert!(!holds("x.list", Sign::IsNot, "9") && holds("x.list", Sign::IsNot, "2"));
    }

    #[test]
    fn names_with_dots_are_found_flat_and_nested() {
        let wanted = field("extra_data.http.response.status_code", &["502"]);
        for doc in [
            serde_json::json!({"extra_data": {"http.response.status_code": 502}}),
            serde_json::json!({"extra_data": {"http": {"response": {"status_code": 502}}}}),
            serde_json::json!({"extra_data": {"http.response": {"status_code": 502}, "http": 1}}),
            serde_json::json!({"extra_data": {"http": {"response.status_code": 502}, "http.response": "other"}}),
        ] {
            assert!(wanted.holds(&doc), "{doc}");
        }
        assert!(!wanted.holds(&serde_json::json!({"extra_data": {"http_response_status_code": 502}})));
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
