//! The tools: name, description, schema, and the verb each one calls.
//!
//! Schemas come from the declaration of the verbs' arguments ([`crate::query::args`]), with what a model does not need
//! taken out. Verbs that are folded into another tool are answered under their own names too.

use std::time::Duration;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::arguments::fitted;
use super::fit;
use crate::query::answer::Answer;
use crate::query::record::Recorder;
use crate::query::render::Row;
use crate::query::{self, AskError, Asking, args, errors, learnings, stats};

/// The most tools that are offered at a time.
pub const TOOLS_MAX: usize = 12;

/// A tool as it is offered.
pub struct Offer {
    pub name: &'static str,
    pub about: &'static str,
    takes: fn() -> Takes,
    pub writes: bool,
    /// Answered, but not listed.
    hidden: bool,
}

impl Offer {
    /// The schema that is shown.
    #[must_use]
    pub fn schema(&self) -> Value {
        (self.takes)().schema
    }

    /// All properties that are understood, by name.
    #[must_use]
    pub fn properties(&self) -> Map<String, Value> {
        (self.takes)().all
    }
}

/// What a tool takes.
struct Takes {
    /// The schema that is shown: small.
    schema: Value,
    /// All properties that are understood, by name.
    all: Map<String, Value>,
}

const fn offer(name: &'static str, about: &'static str, takes: fn() -> Takes) -> Offer {
    Offer {
        name,
        about,
        takes,
        writes: false,
        hidden: false,
    }
}

/// Shared flags that models are told of.
const SHARED: [&str; 6] = ["limit", "since", "level", "execution", "script", "cursor"];

/// The longest that a query in the store's language may run: nobody else is there to stop it.
const RAW_MAX: Duration = Duration::from_secs(60);

/// What models are told of flags that several tools share, in fewer words than a person who reads it once.
const IN_SHORT: [(&str, &str); 15] = [
    ("limit", "[20]"),
    ("since", "2h, yesterday, RFC 3339"),
    ("until", "As since"),
    ("level", "warning: and above"),
    ("execution", "Run: id, script, last, last-failed"),
    ("execution_id", "Run [last]"),
    ("run", "[last-failed]"),
    ("script", "Name"),
    ("cursor", "next_cursor"),
    ("grep", "Regex"),
    ("fields", "host=web1, extra_data.n>5"),
    ("bind", "name=value, JSON or text"),
    ("days", "Of history [7]"),
    ("by", "Of history: day, run, metadata.version"),
    ("status", "Only this status"),
];

/// A switch that turns a tool to something near.
fn switch(name: &str, about: &str) -> Value {
    json!({name: {"type": "boolean", "description": about}})
}

/// The offer of `stats`, whose grouping has words of its own.
fn stats_offer() -> Takes {
    let mut takes = takes::<args::Stats>(&["by", "fields", "limit", "since", "level", "script"], json!({}));
    takes.schema["properties"]["by"]["description"] =
        json!("One or two of level, script, host, hour, day, any field; or template");
    takes
}

static OFFERS: [Offer; 19] = [
    offer(
        "why",
        "Why a run failed or took long, on one page: cause, what led to it, what differs from the last good run, fix.",
        || takes::<args::Why>(&["run", "script"], json!({})),
    ),
    offer(
        "changes",
        "What is new (default 24h): errors, warnings, scripts that fail more, are slower, return little or did not run.",
        || takes::<args::Changes>(&["since", "script"], json!({})),
    ),
    offer(
        "errors",
        "What failed, grouped: count, root cause, state (open, resolved, returned). With execution: that run's errors.",
        || {
            let more = switch("fixes", "Recorded fixes instead, and whether they held");
            takes::<args::Errors>(&[&SHARED[..], &["fields", "new", "open"]].concat(), more)
        },
    ),
    offer(
        "similar",
        "Was this error seen before, and how was it fixed? Takes its text, a pasted traceback, or an event's key.",
        || takes::<args::Similar>(&["text", "script"], json!({})),
    ),
    offer(
        "search",
        "Full text of all logs, best first; without text the newest. One short line an event, the rest by get.",
        || {
            let more = switch("learnings", "What scripts and agents learnt, instead of logs");
            takes::<args::Search>(&[&SHARED[..], &["text", "sort", "grep"]].concat(), more)
        },
    ),
    offer(
        "get",
        "One event whole by its key, with its traceback; context N adds its neighbours in the run.",
        || takes::<args::Get>(&["key", "context"], json!({})),
    ),
    offer(
        "runs",
        "What ran: status, start, duration, errors, why it failed. history=true: rates and durations by day or version.",
        || {
            let history = takes::<args::History>(&["days", "by"], json!({}));
            let mut more = history.schema.get("properties").cloned().unwrap_or_default();
            if let (Some(map), Value::Object(switch)) = (more.as_object_mut(), switch("history", "Totals over days")) {
                map.extend(switch);
            }
            let names = ["limit", "since", "script", "cursor", "fields", "status"];
            takes::<args::Runs>(&names, more)
        },
    ),
    offer(
        "summary",
        "How one run went: counts by level, first and last error, learnings, frequent messages, silences.",
        || {
            let include = json!({"include": {"type": "array",
                "items": {"type": "string", "enum": ["response", "compare", "graph"]},
                "description": "Also what it returned, how it differs from the last good run, its events' relations"}});
            takes::<args::Summary>(&["execution_id"], include)
        },
    ),
    offer(
        "stats",
        "How many, by one or two fields or over time; by=template groups messages; without by what exists.",
        stats_offer,
    ),
    offer(
        "query",
        "SQL (AQL on ArangoDB), read-only. Tables: log_events, script_runs, agent_learnings, log_causality.",
        || takes::<args::Query>(&["text", "bind", "limit", "cursor"], json!({})),
    ),
    Offer {
        writes: true,
        ..offer("learn", "Record something worth knowing next time.", || {
            takes::<args::Learn>(
                &[
                    "text",
                    "function",
                    "context",
                    "confidence",
                    "execution",
                    "script",
                    "tag",
                ],
                json!({}),
            )
        })
    },
    Offer {
        writes: true,
        ..offer("fix", "Record that an error was fixed, and how.", || {
            takes::<args::Fix>(&["target", "text", "rationale"], json!({}))
        })
    },
    folded("compare", || takes::<args::Compare>(&["first", "second"], json!({}))),
    folded("fixes", || takes::<args::Fixes>(&["limit", "script"], json!({}))),
    folded("patterns", || {
        takes::<args::Patterns>(&[&SHARED[..], &["fields"]].concat(), json!({}))
    }),
    folded("learnings", || {
        takes::<args::Learnings>(&["text", "min_confidence", "recurring"], json!({}))
    }),
    folded("history", || takes::<args::History>(&["name", "days", "by"], json!({}))),
    folded("response", || {
        takes::<args::Response>(&["name", "execution"], json!({}))
    }),
    folded("graph", || takes::<args::Graph>(&["execution_id"], json!({}))),
];

/// A verb that another tool does, too: answered under its own name, and not listed.
const fn folded(name: &'static str, takes: fn() -> Takes) -> Offer {
    Offer {
        hidden: true,
        ..offer(name, "", takes)
    }
}

/// The tools that are listed.
#[must_use]
pub fn offered(allow_write: bool) -> Vec<&'static Offer> {
    OFFERS
        .iter()
        .filter(|o| !o.hidden && (allow_write || !o.writes))
        .collect()
}

/// The tool that answers to `name`.
#[must_use]
pub fn find(name: &str, allow_write: bool) -> Option<&'static Offer> {
    OFFERS.iter().find(|o| o.name == name && (allow_write || !o.writes))
}

/// All properties of `T`'s own and `more`; shown are the named ones, and `more`.
fn takes<T: JsonSchema>(names: &[&str], more: Value) -> Takes {
    let generator = SchemaSettings::draft07()
        .with(|s| s.inline_subschemas = true)
        .into_generator();
    let whole = generator.into_root_schema_for::<T>().to_value();
    let mut all: Map<String, Value> = whole
        .get("properties")
        .and_then(Value::as_object)
        .map(|p| p.iter().map(|(name, p)| (name.clone(), simple(p.clone()))).collect())
        .unwrap_or_default();
    let mut properties = Map::new();
    for name in names {
        if let Some(property) = all.get(*name) {
            let mut property = property.clone();
            if let Some((_, short)) = IN_SHORT.iter().find(|(n, _)| n == name) {
                property["description"] = json!(short);
            }
            properties.insert((*name).to_owned(), property);
        }
    }
    if let Value::Object(more) = more {
        properties.extend(more.clone());
        all.extend(more);
    }
    let mut out = json!({"type": "object", "properties": properties});
    if let (Some(required), Some(map)) = (whole.get("required").and_then(Value::as_array), out.as_object_mut()) {
        let kept: Vec<&Value> = required.iter().filter(|r| names.iter().any(|n| *r == n)).collect();
        if !kept.is_empty() {
            map.insert("required".into(), json!(kept));
        }
    }
    Takes { schema: out, all }
}

/// A property without what says nothing to a model: null as a type, formats, defaults.
fn simple(mut property: Value) -> Value {
    let Some(map) = property.as_object_mut() else {
        return property;
    };
    for name in ["format", "default", "minimum", "maximum", "additionalProperties"] {
        map.remove(name);
    }
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|t| t != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            map.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(any)) = map.remove("anyOf")
        && let Some(Value::Object(first)) = any.into_iter().find(|s| s.get("type") != Some(&json!("null")))
    {
        for (name, value) in first {
            map.entry(name).or_insert(value);
        }
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|v| !v.is_null());
        map.entry("type").or_insert_with(|| json!("string"));
    }
    // An object without any property is refused by some clients; its JSON as text is taken by all.
    if map.get("type") == Some(&json!("object")) && map.get("properties").is_none_or(|p| p == &json!({})) {
        map.insert("type".to_owned(), json!("string"));
    }
    property
}

/// Calls the verb behind a tool; the answer has at most some `max` bytes.
///
/// # Errors
/// Arguments that do not fit the schema, and the errors of the verb.
pub fn call<'r>(
    tool: &Offer,
    ask: &Asking<'_>,
    arguments: &Value,
    max: usize,
    recorder: &dyn Fn() -> Recorder<'r>,
) -> Result<Value, AskError> {
    let a = &fitted(tool, arguments)?;
    match tool.name {
        "search" if asks(a, "learnings") => paged(&without(a, "learnings"), max, |a| learnt(ask, a)),
        "errors" if asks(a, "fixes") => {
            let names = ["limit", "since", "until", "script", "host", "cursor"];
            paged(&only(a, &names), max, |a| Ok(fit::list(query::fixes(ask, &read(a)?)?)))
        }
        "stats" if by_template(a) => paged(&without(a, "by"), max, |a| {
            Ok(fit::list(query::patterns(ask, &read(a)?)?))
        }),
        "why" => single(max, query::why(ask, &read(a)?)?.lean()),
        "compare" => single(max, query::compare(ask, &read(a)?)?.lean()),
        "changes" => paged(a, max, |a| Ok(fit::list(query::changes(ask, &read(a)?)?))),
        "fixes" => paged(a, max, |a| Ok(fit::list(query::fixes(ask, &read(a)?)?))),
        "search" => paged(a, max, |a| {
            Ok(fit::list(query::search(ask, &read::<args::Search>(a)?)?))
        }),
        "get" => single(max, query::get(ask, &read(a)?)?.lean()),
        "errors" => paged(a, max, |a| {
            let mut args: args::Errors = read(a)?;
            // A named execution is asked about as a whole.
            if let Some(id) = args.which.execution.take() {
                args.terms.insert(0, id);
            }
            Ok(match query::errors(ask, &args)? {
                errors::Found::Groups(answer) => fit::list(answer),
                errors::Found::Single(answer) => fit::list(answer),
            })
        }),
        "similar" => paged(a, max, |a| Ok(fit::list(query::similar(ask, &read(a)?)?))),
        "patterns" => paged(a, max, |a| Ok(fit::list(query::patterns(ask, &read(a)?)?))),
        "stats" => paged(a, max, |a| {
            Ok(match query::stats(ask, &read(a)?)? {
                stats::Found::Groups(answer) => fit::list(answer),
                stats::Found::Overview(overview) => {
                    let mut out = fit::object(overview.lean());
                    if let (Some(map), false) = (out.as_object_mut(), overview.hints.is_empty()) {
                        map.insert("hints".into(), json!(overview.hints));
                    }
                    out
                }
            })
        }),
        "runs" if a.get("history").and_then(Value::as_bool) == Some(true) => history(ask, a, max),
        "runs" => paged(a, max, |a| Ok(fit::list(query::runs(ask, &read(a)?)?))),
        "history" => history(ask, a, max),
        "summary" => summary(ask, a, max),
        "response" => paged(a, max, |a| Ok(fit::list(query::response(ask, &read(a)?)?))),
        "graph" => single(max, query::graph(ask, &read(a)?)?.lean()),
        "learnings" => paged(a, max, |a| learnt(ask, a)),
        "query" => paged(a, max, |a| {
            let mut args: args::Query = read(a)?;
            args.which.limit = Some(args.which.limit.unwrap_or(50));
            query::raw::within(&args, RAW_MAX)?;
            Ok(fit::list::<crate::store::search::RawRow>(query::query(ask, &args)?))
        }),
        "learn" => single(max, query::learn(ask, &read(a)?, &recorder())?.lean()),
        "fix" => single(max, query::fix(ask, &read(a)?, &recorder())?.lean()),
        other => Err(AskError::usage(format!("there is no tool {other}"))),
    }
}

/// Whether a switch is on.
fn asks(arguments: &Value, switch: &str) -> bool {
    arguments.get(switch).and_then(Value::as_bool) == Some(true)
}

/// Whether messages are to be grouped, not counted by a field.
fn by_template(arguments: &Value) -> bool {
    let words = ["template", "pattern", "message"];
    let by = arguments.get("by").and_then(Value::as_array);
    by.is_some_and(|by| by.len() == 1 && by.iter().any(|v| v.as_str().is_some_and(|v| words.contains(&v))))
}

fn without(arguments: &Value, name: &str) -> Value {
    let mut rest = arguments.clone();
    if let Some(map) = rest.as_object_mut() {
        map.remove(name);
    }
    rest
}

fn only(arguments: &Value, names: &[&str]) -> Value {
    let mut rest = arguments.clone();
    if let Some(map) = rest.as_object_mut() {
        map.retain(|name, _| names.contains(&name.as_str()));
    }
    rest
}

fn learnt(ask: &Asking<'_>, arguments: &Value) -> Result<Value, AskError> {
    Ok(match query::learnings(ask, &read(arguments)?)? {
        learnings::Found::Each(answer) => fit::list(answer),
        learnings::Found::Recurring(answer) => fit::list(answer),
    })
}

/// The arguments of a verb from JSON.
fn read<T: DeserializeOwned>(arguments: &Value) -> Result<T, AskError> {
    serde_json::from_value(arguments.clone()).map_err(|e| AskError::usage(format!("the arguments do not fit: {e}")))
}

fn single(max: usize, value: Value) -> Result<Value, AskError> {
    Ok(fit::shrink(fit::object(value), max))
}

/// Asks, and asks again for fewer items if the answer is too big.
fn paged(
    arguments: &Value,
    max: usize,
    mut verb: impl FnMut(&Value) -> Result<Value, AskError>,
) -> Result<Value, AskError> {
    let answer = verb(arguments)?;
    match fit::fitting(&answer, max) {
        None => Ok(fit::shrink(answer, max)),
        Some(n) => {
            let mut fewer = arguments.clone();
            if let Some(map) = fewer.as_object_mut() {
                map.insert("limit".into(), json!(n.max(1)));
            }
            // One item alone can still be too big.
            Ok(fit::shrink(verb(&fewer)?, max))
        }
    }
}

fn history(ask: &Asking<'_>, arguments: &Value, max: usize) -> Result<Value, AskError> {
    paged(arguments, max, |a| {
        let answer: Answer<_> = query::history(ask, &read(a)?)?;
        Ok(fit::list(answer))
    })
}

fn summary(ask: &Asking<'_>, a: &Value, max: usize) -> Result<Value, AskError> {
    let args: args::Summary = read(a)?;
    let found = query::summary(ask, &args)?;
    let mut out = fit::object(found.lean());
    let wants = |what: &str| {
        a.get("include")
            .is_some_and(|i| i == what || i.as_array().is_some_and(|l| l.iter().any(|v| v == what)))
    };
    let mut add = |name: &str, value: Value| {
        if let Some(map) = out.as_object_mut() {
            map.insert(name.to_owned(), value);
        }
    };
    if wants("response") {
        let which = args::Which {
            execution: Some(found.execution_id.clone()),
            ..args::Which::default()
        };
        let asked = args::Response {
            which,
            ..args::Response::default()
        };
        let newest = query::response(ask, &asked)?;
        add(
            "response",
            newest.items.into_iter().next().map(|r| r.response).unwrap_or_default(),
        );
    }
    if wants("compare") {
        let asked = args::Compare {
            first: Some(found.execution_id.clone()),
            ..args::Compare::default()
        };
        match query::compare(ask, &asked) {
            Ok(comparison) => add("compare", comparison.lean()),
            // There is nothing to compare with: the summary stands alone.
            Err(AskError::NotFound(why)) => add("compare", json!(why)),
            Err(other) => return Err(other),
        }
    }
    if wants("graph") {
        let id = found.execution_id.clone();
        let graph = query::graph(
            ask,
            &args::Graph {
                id: Some(id),
                ..args::Graph::default()
            },
        )?;
        let mut lean = graph.lean();
        add("edges", lean.get_mut("edges").map(Value::take).unwrap_or_default());
    }
    Ok(fit::shrink(out, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_are_few_and_their_schemas_small() {
        let listed = offered(true);
        assert!(listed.len() <= TOOLS_MAX);
        assert_eq!(offered(false).len(), listed.len() - 2);
        let mut bytes = 0;
        for offer in listed {
            let schema = offer.schema();
            let text = schema.to_string();
            assert!(
                !text.contains("null") && !text.contains("$ref"),
                "{}: {text}",
                offer.name
            );
            for (name, property) in schema["properties"].as_object().unwrap() {
                assert!(
                    property["description"].is_string() && property["type"].is_string(),
                    "{}: {name}: {property}",
                    offer.name
                );
            }
            bytes += text.len() + offer.about.len();
        }
        // About four bytes a token: 1,500 of them, with the names.
        assert!(bytes < 6_000, "{bytes}");
    }

    #[test]
    fn required_arguments_are_said() {
        let get = find("get", false).unwrap().schema();
        assert_eq!(get["required"], json!(["key"]));
        assert_eq!(get["properties"]["context"]["type"], "integer");
    }
}
