//! The reading verbs as an MCP server on standard input and output.
//!
//! # Constraints
//!
//! * Standard output carries protocol frames only; the program's own logs go to standard error.
//! * At most [`tools::TOOLS_MAX`] tools, with small schemas: every tool costs its description in each conversation.
//!   What is asked rarely is an option of a tool that is asked often; it is also answered under the verb's own name.
//! * An answer is bounded (`--max-tokens`) and says what it left out: `returned`, `total`, `truncated`, `next_cursor`,
//!   `window`, and hints where nothing was found. Too much is made smaller, never refused ([`fit`]).
//! * Log text is data. Whoever writes logs could write instructions into them; each answer that holds log text says so.
//! * Read-only unless started with `--allow-write`.
//!
//! # Operation
//!
//! Each call runs its verb on a thread for blocking work. The protocol's version is the client's, from 2024-11-05 on.
//! What is no message of the protocol is answered all the same ([`wire`]). The server ends when its standard input does.

mod arguments;
pub mod fit;
mod prompts;
pub mod tools;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rmcp::ServiceExt;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    AnnotateAble, CallToolRequestParams, CallToolResult, Content, ErrorData, GetPromptRequestParams, GetPromptResult,
    Implementation, JsonObject, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, PromptMessage, PromptMessageRole, RawResource, RawResourceTemplate,
    ReadResourceRequestParams, ReadResourceResult, ResourceContents, ServerCapabilities, ServerInfo, Tool,
    ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::Value;

use crate::config::Settings;
use crate::query::args::Mcp;
use crate::query::guide::GUIDE;
use crate::query::record::Recorder;
use crate::query::{AskError, Asking, Clock, args, runs};
use crate::store::meaning::{Embedder, Meaning};
use crate::store::search::Stop;
use crate::store::{Batch, Report, Search, Sink, Store, WriteError, open_reader};

/// Characters of an id that are escaped in a URI.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why the server did not run.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the MCP server could not run: {0}")]
    Run(String),
}

/// Serves until standard input ends. What is recorded goes through `socket` where an agent listens there.
///
/// # Errors
/// Settings of the store that can never work; a client that does not speak the protocol.
pub fn serve(settings: &Settings, args: &Mcp, socket: Option<PathBuf>) -> Result<(), McpError> {
    let store: Arc<dyn Search> = Arc::from(open_reader(settings).map_err(AskError::from)?);
    let server = Server {
        store,
        meaning: Embedder::new(&settings.embeddings).map(Arc::new),
        settings: Arc::new(settings.clone()),
        socket,
        allow_write: args.allow_write,
        max_bytes: args.max_tokens.clamp(200, 100_000) * fit::BYTES_PER_TOKEN,
    };
    let failed = |e: String| McpError::Run(e);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| failed(e.to_string()))?;
    runtime.block_on(async {
        match server.serve(wire::Wire::stdio()).await {
            Ok(running) => running.waiting().await.map(|_| ()).map_err(|e| failed(e.to_string())),
            // A client that goes away before it said hello is no failure.
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(e) => Err(failed(e.to_string())),
        }
    })?;
    // A thread that still waits on standard input must not keep the process.
    runtime.shutdown_background();
    Ok(())
}

/// The server; clones share the store.
#[derive(Clone)]
struct Server {
    store: Arc<dyn Search>,
    meaning: Option<Arc<Embedder>>,
    settings: Arc<Settings>,
    socket: Option<PathBuf>,
    allow_write: bool,
    max_bytes: usize,
}

impl Server {
    /// Runs a verb on a thread for blocking work, until it is done or the request is cancelled.
    async fn ask<T: Send + 'static>(
        &self,
        context: &RequestContext<RoleServer>,
        verb: impl FnOnce(&Server, &Asking<'_>) -> Result<T, AskError> + Send + 'static,
    ) -> Result<T, AskError> {
        let server = self.clone();
        let stop = Stop::default();
        let cancelled = stop.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let store = Arc::clone(&server.store);
            let ask = Asking {
                store: &*store,
                clock: Clock::whole(),
                meaning: server.meaning.as_deref().map(|m| m as &dyn Meaning),
                stop,
            };
            verb(&server, &ask)
        });
        tokio::select! {
            answer = asked => {
                answer.unwrap_or_else(|e| Err(AskError::usage(format!("the verb ended unexpectedly: {e}"))))
            }
            () = context.ct.cancelled() => {
                cancelled.stop();
                Err(AskError::usage("the request was cancelled"))
            }
        }
    }

    fn recorder(&self) -> Recorder<'_> {
        Recorder {
            socket: self.socket.clone(),
            write: Box::new(|batch| self.write(batch)),
        }
    }

    /// Writes to the store itself; on a thread for blocking work.
    fn write(&self, batch: Batch) -> Result<Report, WriteError> {
        let store = Store::open_writer(&self.settings)?;
        tokio::runtime::Handle::current().block_on(async {
            let report = store.write(&Arc::new(batch)).await?;
            store.durable_barrier().await?;
            store.close().await;
            Ok(report)
        })
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerInfo {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .build();
        ServerInfo::new(capabilities)
            .with_server_info(Implementation::new("logagent", env!("CARGO_PKG_VERSION")))
            .with_instructions(GUIDE)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let offered = tools::offered(self.allow_write);
        Ok(ListToolsResult::with_all_items(offered.into_iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let name = request.name.to_string();
        let Some(verb) = tools::find(&name, self.allow_write) else {
            let why = if tools::find(&name, true).is_some() {
                format!("the tool {name} writes: start the server with --allow-write")
            } else {
                format!("there is no tool {name}")
            };
            return Err(ErrorData::invalid_params(why, None));
        };
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let max = self.max_bytes;
        let answer = self
            .ask(&context, move |server, ask| {
                tools::call(verb, ask, &arguments, max, &|| server.recorder())
            })
            .await;
        Ok(match answer {
            Ok(value) => CallToolResult::success(vec![Content::text(value.to_string())]),
            Err(e) => CallToolResult::error(vec![Content::text(fit::message(e.to_string(), max.min(2_000)))]),
        })
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::all()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResult, ErrorData> {
        let given = request.arguments.unwrap_or_default();
        match prompts::text(&request.name, &given) {
            Some((description, text)) => {
                let message = PromptMessage::new_text(PromptMessageRole::User, text);
                Ok(GetPromptResult::new(vec![message]).with_description(description))
            }
            None => Err(ErrorData::invalid_params(
                format!("there is no prompt {}", request.name),
                None,
            )),
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let newest = self.ask(&context, |_, ask| {
            let args = args::Runs {
                which: args::Which {
                    since: Some("30d".to_owned()),
                    limit: Some(10),
                    ..args::Which::default()
                },
                ..args::Runs::default()
            };
            runs(ask, &args)
        });
        let items = newest.await.map(|a| a.items).unwrap_or_default();
        let resource = |r: crate::query::runs::RunRow| {
            let about = format!(
                "{} of {}, {} errors, from {}",
                r.run.status, r.run.script_name, r.errors, r.run.start_time
            );
            let uri = format!("logagent://run/{}", utf8_percent_encode(&r.run.execution_id, RESERVED));
            RawResource::new(uri, r.run.execution_id)
                .with_description(about)
                .with_mime_type("application/json")
                .no_annotation()
        };
        Ok(ListResourcesResult::with_all_items(
            items.into_iter().map(resource).collect(),
        ))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = |uri: &str, name: &str, about: &str| {
            RawResourceTemplate::new(uri, name)
                .with_description(about)
                .with_mime_type("application/json")
                .no_annotation()
        };
        Ok(ListResourceTemplatesResult::with_all_items(vec![
            template("logagent://event/{key}", "event", "One event whole"),
            template("logagent://run/{execution_id}", "run", "How one run went"),
        ]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResult, ErrorData> {
        let uri = request.uri;
        let plain = percent_decode_str(&uri).decode_utf8_lossy().into_owned();
        let missing = |why: String| ErrorData::resource_not_found(why, None);
        let (tool, name, id) = match plain.strip_prefix("logagent://").and_then(|rest| rest.split_once('/')) {
            Some(("event", key)) if !key.is_empty() => ("get", "key", key),
            Some(("run", id)) if !id.is_empty() => ("summary", "execution_id", id),
            _ => return Err(missing(format!("there is no resource {uri}"))),
        };
        let arguments = serde_json::json!({name: id});
        let Some(verb) = tools::find(tool, false) else {
            return Err(missing(format!("there is no resource {uri}")));
        };
        let max = self.max_bytes;
        let answer = self
            .ask(&context, move |server, ask| {
                tools::call(verb, ask, &arguments, max, &|| server.recorder())
            })
            .await
            .map_err(|e| missing(e.to_string()))?;
        let contents = ResourceContents::text(answer.to_string(), uri).with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![contents]))
    }
}

/// A tool as the protocol describes it.
fn tool(offered: &'static tools::Offer) -> Tool {
    let schema: JsonObject = match offered.schema() {
        Value::Object(map) => map,
        _ => JsonObject::new(),
    };
    let mut tool = Tool::new(offered.name, offered.about, schema);
    tool.annotations = Some(ToolAnnotations::from_raw(
        None,
        Some(!offered.writes),
        // Of a tool that only reads it says nothing.
        offered.writes.then_some(false),
        None,
        Some(false),
    ));
    tool
}
