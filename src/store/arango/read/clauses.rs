//! From a filter to `FILTER` lines, from words to `SEARCH` conditions, and the bind values they speak of.

use serde_json::{Map, Value, json};

use super::super::definitions::TEXT_FIELDS;
use super::super::words::ANALYZER;
use crate::record::format_time;
use crate::store::search::{By, FieldIs, Filter, LearningAsk, RunAsk, Sign, Words};
use crate::store::words::is_unspaced;

/// Conditions joined by AND, with their bind values.
#[derive(Clone, Default)]
pub struct Where {
    terms: Vec<String>,
    pub binds: Map<String, Value>,
}

/// Whether the bind variable `name` occurs in `query` (a collection's name is bound as `@name`).
pub fn names(query: &str, name: &str) -> bool {
    query.match_indices(&format!("@{name}")).any(|(at, found)| {
        let next = query.get(at + found.len()..).and_then(|rest| rest.chars().next());
        !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

impl Where {
    /// Adds a condition; `@` in it is replaced by the name of a bind variable of its own that holds `value`.
    pub fn add(&mut self, term: &str, value: impl Into<Value>) {
        let name = self.bind(value);
        self.terms.push(term.replace('@', &name));
    }

    /// `FILTER …`, or nothing.
    pub fn filter(&self) -> String {
        if self.terms.is_empty() {
            String::new()
        } else {
            format!("FILTER {}", self.terms.join("\n    AND "))
        }
    }

    fn bind(&mut self, value: impl Into<Value>) -> String {
        let name = format!("b{}", self.binds.len());
        self.binds.insert(name.clone(), value.into());
        format!("@{name}")
    }

    fn one_of(&mut self, field: &str, values: &[String]) {
        match values {
            [] => {}
            [one] => self.add(&format!("{field} == @"), one.clone()),
            many => self.add(&format!("{field} IN @"), many.to_vec()),
        }
    }

    fn window(&mut self, field: &str, since: Option<i64>, until: Option<i64>) {
        if let Some(t) = since {
            self.add(&format!("{field} >= @"), format_time(t));
        }
        if let Some(t) = until {
            self.add(&format!("{field} <= @"), format_time(t));
        }
    }

    /// The conditions of a filter on events known as `e`.
    pub fn events(filter: &Filter) -> Where {
        let mut w = Where::default();
        w.window("e.timestamp", filter.since, filter.until);
        if let Some(t) = filter.stored_until {
            // Nearly all events: no index should be tempted by it.
            w.add("NOT_NULL(e.ingested_at, \"\") <= @", format_time(t));
        }
        w.conditions(filter);
        w
    }

    fn conditions(&mut self, filter: &Filter) {
        if let Some(level) = filter.min_level {
            self.add("e.level_no >= @", level);
        }
        self.one_of("e.execution_id", &filter.executions);
        self.one_of("e.script_name", &filter.scripts);
        self.one_of("e.host", &filter.hosts);
        if !filter.fingerprints.is_empty() {
            self.one_of("e.fingerprint", &filter.fingerprints);
            // The index is sparse: it serves only what keeps out null, of both its fields, for sure.
            self.terms.push("e.fingerprint != null".to_owned());
            self.terms.push("e.timestamp >= \"\"".to_owned());
        }
        for tag in &filter.tags {
            self.add("@ IN NOT_NULL(e.tags, [])", tag.clone());
        }
        if filter.has_response {
            self.terms.push("e.extra_data.response != null".to_owned());
        }
        if filter.is_fix {
            self.terms.push("e.event == \"fix\"".to_owned());
        }
        if let Some(re) = &filter.grep {
            let name = self.bind(re.as_str());
            let test = |what: &str| format!("REGEX_TEST(NOT_NULL({what}, \"\"), {name})");
            // Within a function: the server makes each OR of a FILTER a scan of its own.
            self.terms.push(format!(
                "TO_BOOL({} OR {} OR {} OR {} OR LENGTH((NOT_NULL(e.exception.chain, []))[* FILTER {} OR {}]) > 0)",
                test("e.message"),
                test("e.exception.type"),
                test("e.exception.value"),
                test("e.exception.traceback"),
                test("CURRENT.type"),
                test("CURRENT.value"),
            ));
        }
        for field in &filter.fields {
            self.field("e", field);
        }
    }

    /// A `FIELD=VALUE` condition on documents known as `document`.
    fn field(&mut self, document: &str, field: &FieldIs) {
        let value = self.value(document, &field.path);
        match field.sign {
            Sign::Is | Sign::IsNot => {
                // What was typed means a text, and the number or truth value that is written like it.
                let mut wanted: Vec<Value> = Vec::new();
                for typed in &field.values {
                    wanted.push(json!(typed));
                    if let Ok(scalar @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str::<Value>(typed) {
                        wanted.push(scalar);
                    }
                }
                let name = self.bind(wanted);
                let null = if field.values.iter().any(|typed| typed == "null") {
                    self.is_null(document, &field.path)
                } else {
                    String::new()
                };
                let not = if field.sign == Sign::IsNot { "NOT " } else { "TO_BOOL" };
                self.terms.push(format!(
                    "{not}({value} IN {name}{null} OR \
                     (IS_ARRAY({value}) AND LENGTH(INTERSECTION({value}, {name})) > 0))"
                ));
            }
            sign => {
                let each: Vec<String> = field.values.iter().map(|v| self.compared(v, sign)).collect();
                self.terms.push(format!(
                    "LENGTH((IS_ARRAY({value}) ? {value} : [{value}])[* FILTER {}]) > 0",
                    each.join(" OR ")
                ));
            }
        }
    }

    /// Or that the field is there and null: a field that is missing reads as null as well, and is none.
    fn is_null(&mut self, document: &str, path: &[String]) -> String {
        let plain = self.path(document, path);
        plain.rsplit_once('[').map_or_else(String::new, |(parent, last)| {
            let last = last.trim_end_matches(']');
            format!(" OR ({plain} == null AND IS_OBJECT({parent}) AND HAS({parent}, {last}))")
        })
    }

    /// How `CURRENT` stands to what was typed: values of different types have an order here, which is not asked for.
    fn compared(&mut self, typed: &str, sign: Sign) -> String {
        let sign = sign.as_str();
        match serde_json::from_str::<Value>(typed) {
            Ok(number @ Value::Number(_)) => {
                let name = self.bind(number);
                format!(
                    "((IS_NUMBER(CURRENT) AND CURRENT {sign} {name}) OR (IS_STRING(CURRENT) \
                     AND REGEX_TEST(CURRENT, \"^-?[0-9]+([.][0-9]+)?$\") AND TO_NUMBER(CURRENT) {sign} {name}))"
                )
            }
            _ => {
                let name = self.bind(typed);
                format!("(IS_STRING(CURRENT) AND CURRENT {sign} {name})")
            }
        }
    }

    /// The value at a path whose names may be parts of longer ones with dots, the longest first.
    fn value(&mut self, document: &str, path: &[String]) -> String {
        /// Longer paths are taken as they stand: the ways to join names double with each.
        const JOINED: usize = 5;
        if !(3..=JOINED).contains(&path.len()) {
            return self.path(document, path);
        }
        let (first, rest) = path.split_at(1);
        let ways: Vec<String> = joined(rest)
            .into_iter()
            .map(|rest| self.path(document, &[first, &rest].concat()))
            .collect();
        format!("NOT_NULL({})", ways.join(", "))
    }

    /// The value at a path; its names are bind values.
    fn path(&mut self, document: &str, path: &[String]) -> String {
        let mut out = document.to_owned();
        for name in path {
            let index = name.parse::<u32>().map_or_else(|_| json!(name), |n| json!(n));
            let name = self.bind(index);
            out.push_str(&format!("[{name}]"));
        }
        out
    }

    /// Only what lies behind a position.
    pub fn behind(&mut self, timestamp: &str, seq: i64, key: &str, down: bool) {
        let sign = if down { '<' } else { '>' };
        let (time, seq, key) = (self.bind(timestamp), self.bind(seq), self.bind(key));
        // The first term alone serves the index. Arrays are compared by their elements, one after the other; the same with
        // OR would be three scans, each sorted whole.
        self.terms.push(format!("e.timestamp {sign}= {time}"));
        self.terms.push(format!(
            "[e.timestamp, NOT_NULL(e.seq, 0), e._key] {sign} [{time}, {seq}, {key}]"
        ));
    }

    /// Only runs behind a position.
    pub fn behind_run(&mut self, start: &str, execution: &str, down: bool) {
        let sign = if down { '<' } else { '>' };
        let (start, id) = (self.bind(start), self.bind(execution));
        self.terms.push(format!("r.start_time {sign}= {start}"));
        self.terms
            .push(format!("[r.start_time, r.execution_id] {sign} [{start}, {id}]"));
    }

    /// The conditions on runs known as `r`.
    pub fn runs(ask: &RunAsk) -> Where {
        let mut w = Where::default();
        if let Some(t) = ask.since {
            w.add("MAX([r.start_time, r.end_time, r.last_seen]) >= @", format_time(t));
        }
        w.window("r.start_time", None, ask.until);
        if let Some(status) = ask.status {
            w.add("r.status == @", status);
        }
        w.one_of("r.script_name", &ask.scripts);
        w.one_of("r.host", &ask.hosts);
        w.one_of("r.execution_id", &ask.executions);
        if let Some(start) = &ask.begins {
            let name = w.bind(start.as_str());
            let term = format!("(STARTS_WITH(r.execution_id, {name}) OR STARTS_WITH(r.script_name, {name}))");
            w.terms.push(term);
        }
        for field in &ask.fields {
            w.field("r", field);
        }
        if let Some(filter) = &ask.with_event {
            let before = w.terms.len();
            w.conditions(filter);
            let inner: Vec<String> = w.terms.drain(before..).collect();
            w.terms.push(format!(
                "LENGTH(FOR e IN log_events FILTER e.execution_id == r.execution_id AND {} LIMIT 1 RETURN 1) > 0",
                inner.join(" AND ")
            ));
        }
        w
    }

    /// The conditions on learnings known as `l`.
    pub fn learnings(ask: &LearningAsk) -> Where {
        let mut w = Where::default();
        w.window("l.timestamp", ask.since, ask.until);
        if let Some(c) = ask.min_confidence {
            w.add("l.confidence >= @", c);
        }
        w.one_of("l.execution_id", &ask.executions);
        w.one_of("l.script_name", &ask.scripts);
        for tag in &ask.tags {
            w.add("@ IN NOT_NULL(l.tags, [])", tag.clone());
        }
        if let Some(re) = &ask.grep {
            w.add("REGEX_TEST(NOT_NULL(l.learning, \"\"), @)", re.as_str());
        }
        for field in &ask.fields {
            w.field("l", field);
        }
        w
    }
}

/// All ways to join neighbouring names by dots, those that join more of the first ones before the others.
fn joined(names: &[String]) -> Vec<Vec<String>> {
    if names.is_empty() {
        return vec![Vec::new()];
    }
    let mut ways = Vec::new();
    for n in (1..=names.len()).rev() {
        let (first, rest) = names.split_at(n);
        ways.extend(
            joined(rest)
                .into_iter()
                .map(|rest| [vec![first.join(".")], rest].concat()),
        );
    }
    ways
}

/// The conditions of `SEARCH`: each term in any of the analysed fields. What the filter compares and the view holds is
/// filtered again afterwards, which changes nothing, and narrows the search here. The server analyses phrases itself, but
/// takes the beginning of a word as it is, so that goes through the analyzer here: an accent would find nothing.
pub fn words(words: &Words, filter: &mut Where) -> String {
    let mut term = |text: &str, prefix: bool| {
        let (before, last) = text.rsplit_once(' ').unwrap_or(("", text));
        let given = if prefix {
            let begun = format!("FIRST(TOKENS({}, \"{ANALYZER}\"))", filter.bind(last));
            match before {
                "" => begun,
                _ => format!("{}, 0, {{STARTS_WITH: [{begun}]}}", filter.bind(before)),
            }
        } else {
            filter.bind(text)
        };
        let runs = unspaced(text);
        let each: Vec<String> = TEXT_FIELDS
            .iter()
            .map(|field| {
                if !runs.is_empty() {
                    let all: Vec<String> = runs.iter().map(|run| like(field, run, filter)).collect();
                    format!("({})", all.join(" AND "))
                } else if prefix && before.is_empty() {
                    format!("ANALYZER(STARTS_WITH(e.{field}, {given}), \"{ANALYZER}\")")
                } else {
                    format!("PHRASE(e.{field}, {given}, \"{ANALYZER}\")")
                }
            })
            .collect();
        format!("({})", each.join(" OR "))
    };
    let mut wanted = Vec::new();
    let mut unwanted = Vec::new();
    for t in &words.terms {
        let condition = term(&t.text, t.prefix);
        if t.without {
            unwanted.push(condition)
        } else {
            wanted.push(condition)
        }
    }
    let mut out = format!("({})", wanted.join(if words.any { " OR " } else { " AND " }));
    for condition in unwanted {
        out.push_str(&format!(" AND NOT {condition}"));
    }
    // Comparisons with bound values that the view's identity fields can answer. Each would count for the score like a
    // word, and the rarer the value the more: an instant is as rare as can be.
    let exact: Vec<&str> = filter
        .terms
        .iter()
        .map(String::as_str)
        .filter(|t| is_searchable(t))
        .collect();
    if !exact.is_empty() {
        out.push_str(&format!(" AND BOOST({}, 0)", exact.join(" AND ")));
    }
    out
}

/// The parts of a term between which the server's analyzer does not cut, where the term holds characters of a script
/// without spaces; nothing of a term that does not. It takes a run of these for one word, beside Latin letters too.
fn unspaced(text: &str) -> Vec<String> {
    let mut runs: Vec<(bool, String)> = Vec::new();
    for word in text.split(' ') {
        let alone = is_unspaced(word);
        match runs.last_mut() {
            Some((true, run)) if alone => run.push_str(word),
            _ => runs.push((alone, word.to_owned())),
        }
    }
    match runs.iter().any(|(alone, _)| *alone) {
        true => runs.into_iter().map(|(_, run)| run).collect(),
        false => Vec::new(),
    }
}

/// Words that hold this anywhere.
fn like(field: &str, run: &str, filter: &mut Where) -> String {
    let pattern = filter.bind(format!(
        "%{}%",
        run.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
    ));
    format!("ANALYZER(LIKE(e.{field}, {pattern}), \"{ANALYZER}\")")
}

/// A plain comparison of a field that the view holds as it is.
fn is_searchable(term: &str) -> bool {
    let mut parts = term.split(' ');
    let field = parts.next().and_then(|f| f.strip_prefix("e."));
    let sign = parts.next();
    field.is_some_and(super::searched)
        && matches!(sign, Some("==" | ">=" | "<=" | "IN"))
        && parts.next().is_some_and(|v| v.starts_with('@'))
        && parts.next().is_none()
}

/// What events are counted by, as an array of names: an array's elements, or the one value.
pub fn by(by: Option<&By>, filter: &mut Where) -> String {
    match by {
        None => "[null]".to_owned(),
        Some(By::Hour) => "[SUBSTRING(e.timestamp, 0, 13)]".to_owned(),
        Some(By::Day) => "[SUBSTRING(e.timestamp, 0, 10)]".to_owned(),
        Some(By::Field(path)) => {
            let value = filter.value("e", path);
            let name = |v: &str| format!("({v} == null ? null : (IS_STRING({v}) ? {v} : JSON_STRINGIFY({v})))");
            format!(
                "(IS_ARRAY({value}) AND LENGTH({value}) > 0 ? ({value})[* RETURN {}] : [{}])",
                name("CURRENT"),
                format_args!("IS_ARRAY({value}) ? null : {}", name(&value))
            )
        }
    }
}
