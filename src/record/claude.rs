//! What Claude Code says: the payloads of its hooks, and the transcripts of its sessions.
//!
//! A session is a run, and so is a subagent within it, whose parent the session is. A message names the tool and what it
//! was asked to do; a tool that failed is an ERROR.

use std::borrow::Cow;

use super::exception;
use super::fields::{elements, members};
use super::text::string;
use super::time::{self, Clock};
use super::{Event, Record, Text, Token, bound, level};

/// At most so many characters of what a tool was asked to do, or of an answer.
const SHOWN: usize = 1000;

type Member<'a> = (&'a str, &'a str);

/// Reads a payload or an entry of a transcript; the name of the format, or `None` if it is neither.
pub(super) fn read<'a>(members: &[Member<'a>], clock: Clock, rec: &mut Record<'a>) -> Option<&'static str> {
    let object = Object(members);
    if let Some(event) = object.text("hook_event_name") {
        hook(&object, event, rec);
        return Some("claude-hook");
    }
    let entry = object.text("sessionId").is_some() && object.text("type").is_some();
    let marked = [
        "uuid",
        "parentUuid",
        "leafUuid",
        "messageId",
        "operation",
        "isSidechain",
        "gitBranch",
    ];
    let summary = object.text("type") == Some("summary") && object.get("leafUuid").is_some();
    if summary || (entry && marked.iter().any(|name| object.get(name).is_some())) {
        transcript(&object, clock, rec);
        return Some("claude-transcript");
    }
    None
}

/// The members of an object.
struct Object<'m, 'a>(&'m [Member<'a>]);

impl<'a> Object<'_, 'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    /// A text that is not empty, escaped.
    fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(string).filter(|t| !t.is_empty())
    }
}

fn within<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    members(object).find(|(n, _)| *n == name).map(|(_, v)| v)
}

fn set_level(rec: &mut Record<'_>, name: &str) {
    let (name, no) = level::known(name).unwrap_or(("INFO", level::UNKNOWN));
    (rec.level, rec.level_no) = (Cow::Borrowed(name), no);
}

/// The beginning of escaped text, cut at a character and outside of escapes.
fn shown(text: &str) -> &str {
    let end = super::truncate::cut_at(text, SHOWN).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// What a tool was asked to do, escaped.
fn asked(input: &str) -> Cow<'_, str> {
    const NAMES: [&str; 12] = [
        "command",
        "file_path",
        "notebook_path",
        "pattern",
        "url",
        "query",
        "description",
        "subject",
        "skill",
        "prompt",
        "path",
        "question",
    ];
    let told = NAMES
        .iter()
        .find_map(|name| within(input, name).and_then(string).filter(|t| !t.is_empty()));
    match told {
        Some(text) => Cow::Borrowed(shown(text)),
        None if matches!(input, "{}" | "null" | "") => Cow::Borrowed(""),
        None => {
            let escaped = super::escape(input).into_owned();
            Cow::Owned(shown(&escaped).to_owned())
        }
    }
}

fn titled(lead: &str, text: &str) -> Text<'static> {
    Text(Cow::Owned(match text {
        "" => lead.to_owned(),
        text => format!("{lead}: {text}"),
    }))
}

/// What went wrong with a tool, escaped, if something did.
fn failure<'a>(object: &Object<'_, 'a>, event: &str) -> Option<Cow<'a, str>> {
    let response = object.get("tool_response").unwrap_or("null");
    let told = object
        .text("error")
        .or_else(|| within(response, "error").and_then(string).filter(|t| !t.is_empty()));
    let failed = event.ends_with("Failure")
        || event == "PostToolUse"
            && (within(response, "success") == Some("false")
                || within(response, "is_error") == Some("true")
                || within(response, "isError") == Some("true")
                || ["exit_code", "exitCode", "returnCode"]
                    .iter()
                    .any(|n| within(response, n).is_some_and(|c| c != "0" && c != "null"))
                || told.is_some() && response.starts_with('{'));
    if !failed {
        return None;
    }
    let object_error = object
        .get("error")
        .filter(|e| e.starts_with('{'))
        .and_then(|e| within(e, "message"))
        .and_then(string);
    let said = told
        .or(object_error)
        .or_else(|| within(response, "stderr").and_then(string).filter(|t| !t.is_empty()))
        .or_else(|| string(response).filter(|t| !t.is_empty()));
    Some(said.map_or(Cow::Borrowed("failed"), Cow::Borrowed))
}

fn hook<'a>(object: &Object<'_, 'a>, event: &'a str, rec: &mut Record<'a>) {
    set_level(rec, "INFO");
    rec.bound.script_name = Some(Text(Cow::Borrowed("claude")));
    rec.bound.tags = Some(Token(Cow::Owned(format!("[\"claude-hook\",\"{event}\"]"))));
    let session = object.text("session_id");
    let agent = object.text("agent_id");
    rec.bound.execution_id = agent.or(session).map(|id| Text(Cow::Borrowed(id)));
    if agent.is_some() {
        rec.bound.parent_execution_id = session.map(|id| Text(Cow::Borrowed(id)));
    }
    let failed = failure(object, event);
    rec.message = match object.text("tool_name") {
        Some(tool) => {
            let what = asked(object.get("tool_input").unwrap_or("null"));
            let lead = match event {
                "PreToolUse" => tool.to_owned(),
                _ if failed.is_some() => format!("{tool} failed"),
                "PostToolUse" => format!("{tool} done"),
                event => format!("{event} {tool}"),
            };
            titled(&lead, &what)
        }
        None => {
            const TOLD: [&str; 12] = [
                "prompt",
                "message",
                "title",
                "error",
                "last_assistant_message",
                "agent_type",
                "reason",
                "source",
                "trigger",
                "task_subject",
                "file_path",
                "notification_type",
            ];
            let told = TOLD.iter().find_map(|name| object.text(name));
            titled(event, told.map_or("", shown))
        }
    };
    if let Some(error) = &failed {
        set_level(rec, "ERROR");
        rec.exception = Some(Box::new(exception::from_parts(None, Some(Text(error.clone())))));
    }
    for (name, token) in object.0 {
        if !matches!(*name, "session_id" | "error") || (*name == "error" && failed.is_none()) {
            bound::add(rec, name, token);
        }
    }
    run_of(object, event, agent.is_some(), rec);
}

/// What an event says of its run.
fn run_of<'a>(object: &Object<'_, 'a>, event: &str, agent: bool, rec: &mut Record<'a>) {
    let status = |status| Some(Text(Cow::Borrowed(status)));
    match event {
        "SessionStart" => start(object, rec),
        "SubagentStart" if agent => start(object, rec),
        "Stop" | "SessionEnd" => {
            rec.bound.event = Some(Event::RunEnd);
            rec.bound.status = status("success");
        }
        "SubagentStop" if agent => {
            rec.bound.event = Some(Event::RunEnd);
            rec.bound.status = status("success");
        }
        "StopFailure" => {
            rec.bound.event = Some(Event::RunEnd);
            rec.bound.status = status("failed");
            rec.bound.error = object.text("error").map(|e| Text(Cow::Borrowed(e)));
        }
        _ => {}
    }
}

fn start(object: &Object<'_, '_>, rec: &mut Record<'_>) {
    rec.bound.event = Some(Event::RunStart);
    let names = [
        "cwd",
        "source",
        "model",
        "agent_type",
        "permission_mode",
        "transcript_path",
    ];
    let told = names
        .iter()
        .filter_map(|name| Some(format!("\"{name}\":{}", object.get(name)?)));
    let metadata = told.collect::<Vec<_>>().join(",");
    rec.bound.metadata = Some(Token(Cow::Owned(format!("{{{metadata}}}"))));
}

fn transcript<'a>(object: &Object<'_, 'a>, clock: Clock, rec: &mut Record<'a>) {
    set_level(rec, "INFO");
    rec.bound.script_name = Some(Text(Cow::Borrowed("claude")));
    rec.time = object
        .text("timestamp")
        .and_then(|t| time::written(&super::unescape(t), clock));
    let session = object.text("sessionId");
    let agent = object.text("agentId");
    rec.bound.execution_id = agent.or(session).map(|id| Text(Cow::Borrowed(id)));
    if agent.is_some() {
        rec.bound.parent_execution_id = session.map(|id| Text(Cow::Borrowed(id)));
    }
    let kind = object.text("type").unwrap_or_default();
    let message = object.get("message").unwrap_or("null");
    let content = within(message, "content")
        .or_else(|| object.get("content"))
        .unwrap_or("null");
    let said = Said::of(content);
    let summary = object.text("summary").or_else(|| object.text("subtype"));
    rec.message = match (&said.text, summary) {
        (text, _) if !text.is_empty() => titled(kind, shown(text)),
        (_, Some(summary)) => titled(kind, shown(summary)),
        _ => titled(kind, ""),
    };
    let api_error = object.get("isApiErrorMessage") == Some("true");
    let system_error = kind == "system" && object.text("level") == Some("error");
    if said.failed || api_error || system_error {
        set_level(rec, "ERROR");
        let value = Text(Cow::Owned(said.error.unwrap_or(said.text)));
        rec.exception = Some(Box::new(exception::from_parts(
            None,
            Some(value).filter(|v| !v.0.is_empty()),
        )));
    } else if kind == "system" && object.text("level") == Some("warning") {
        set_level(rec, "WARNING");
    }
    for (name, token) in object.0 {
        if !matches!(*name, "sessionId" | "timestamp" | "agentId") {
            bound::add(rec, name, token);
        }
    }
}

/// What the blocks of a message say. Escaped text.
#[derive(Default)]
struct Said {
    text: String,
    failed: bool,
    error: Option<String>,
}

impl Said {
    fn of(content: &str) -> Said {
        let mut said = Said::default();
        if let Some(text) = string(content) {
            text.clone_into(&mut said.text);
        } else {
            elements(content).for_each(|block| said.block(block));
        }
        said
    }

    fn block(&mut self, block: &str) {
        let text = |name: &str| within(block, name).and_then(string).unwrap_or_default();
        let piece = match text("type") {
            "text" => text("text").to_owned(),
            "thinking" => format!("thinking: {}", text("thinking")),
            "tool_use" | "server_tool_use" => {
                let what = asked(within(block, "input").unwrap_or("null"));
                titled(text("name"), &what).0.into_owned()
            }
            "tool_result" => {
                let failed = within(block, "is_error") == Some("true");
                let inner = Said::of(within(block, "content").unwrap_or("null")).text;
                self.failed |= failed;
                let lead = if failed { "tool failed" } else { "tool result" };
                let piece = titled(lead, &inner).0.into_owned();
                if failed {
                    self.error = Some(inner);
                }
                piece
            }
            other => other.to_owned(),
        };
        if !self.text.is_empty() && !piece.is_empty() {
            self.text.push_str("\\n");
        }
        self.text.push_str(&piece);
    }
}
