//! Frames on standard input and output: one JSON value a line.
//!
//! The protocol library reads and writes messages; what is no message is dealt with here, so that a sloppy client gets
//! an answer instead of silence:
//!
//! * A line that is no JSON, or no message, is answered with an error; under its id, where it has one.
//! * A batch (protocol 2025-03-26) is taken apart; its answers come one by one.
//! * `initialize` is completed where it leaves out what it should say. What comes before it is answered with an error.
//! * A known method with parameters that do not fit is told so, not that its method is unknown.
//! * A request that was cancelled is not answered.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{ClientRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Stdin, Stdout};

/// Methods whose parameters the library knows.
const KNOWN: [&str; 9] = [
    "initialize",
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "completion/complete",
];

/// Requests that are not answered yet.
#[derive(Default)]
struct Open {
    waiting: HashSet<RequestId>,
    cancelled: HashSet<RequestId>,
}

/// Standard input and output as the library wants them.
pub struct Wire {
    input: BufReader<Stdin>,
    output: Arc<tokio::sync::Mutex<Stdout>>,
    line: Vec<u8>,
    /// The rest of a batch.
    batch: VecDeque<Value>,
    open: Arc<Mutex<Open>>,
    begun: bool,
}

impl Wire {
    pub fn stdio() -> Wire {
        Wire {
            input: BufReader::new(tokio::io::stdin()),
            output: Arc::new(tokio::sync::Mutex::new(tokio::io::stdout())),
            line: Vec::new(),
            batch: VecDeque::new(),
            open: Arc::default(),
            begun: false,
        }
    }

    /// The next JSON value; `None` at the end of the input.
    async fn next(&mut self) -> Option<Result<Value, ErrorData>> {
        loop {
            if let Some(value) = self.batch.pop_front() {
                return Some(Ok(value));
            }
            self.line.clear();
            match self.input.read_until(b'\n', &mut self.line).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(e) => {
                    tracing::error!("standard input cannot be read: {e}");
                    return None;
                }
            }
            let line = self.line.trim_ascii();
            let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(Value::Array(values)) if !values.is_empty() => self.batch.extend(values),
                Ok(value) => return Some(Ok(value)),
                Err(e) => return Some(Err(ErrorData::parse_error(format!("this is no JSON: {e}"), None))),
            }
        }
    }

    /// The message in a value; else what is wrong with it, or nothing where nobody waits for an answer.
    fn message(&mut self, mut value: Value) -> Result<RxJsonRpcMessage<RoleServer>, Option<ErrorData>> {
        let method = value.get("method").and_then(Value::as_str).unwrap_or("").to_owned();
        let is_request = value.get("id").is_some();
        if method == "initialize" {
            complete(&mut value);
            self.begun = true;
        } else if !self.begun && method != "ping" {
            let early = || invalid(format!("{method:?} before initialize"));
            return Err((is_request || method.is_empty()).then(early));
        }
        match serde_json::from_value(value) {
            Ok(JsonRpcMessage::Request(request)) => match &request.request {
                ClientRequest::CustomRequest(c) if KNOWN.contains(&c.method.as_str()) => {
                    let text = format!("the params of {} do not fit", c.method);
                    Err(Some(ErrorData::invalid_params(text, None)))
                }
                _ => {
                    open(&self.open).waiting.insert(request.id.clone());
                    Ok(JsonRpcMessage::Request(request))
                }
            },
            Ok(JsonRpcMessage::Notification(notification)) => {
                if let rmcp::model::ClientNotification::CancelledNotification(c) = &notification.notification {
                    let mut open = open(&self.open);
                    if open.waiting.contains(&c.params.request_id) {
                        open.cancelled.insert(c.params.request_id.clone());
                    }
                }
                Ok(JsonRpcMessage::Notification(notification))
            }
            Ok(message) => Ok(message),
            // A notification that the protocol does not know is nobody's business.
            Err(_) if !is_request && !method.is_empty() => Err(None),
            Err(_) => Err(Some(invalid("this is no message of the protocol".to_owned()))),
        }
    }
}

fn open(open: &Mutex<Open>) -> std::sync::MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

fn invalid(text: String) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_REQUEST, text, None)
}

/// Adds to `initialize` what it should say and does not.
fn complete(message: &mut Value) {
    let Some(message) = message.as_object_mut() else { return };
    let params = message.entry("params").or_insert_with(|| json!({}));
    if !params.is_object() {
        *params = Value::Object(Map::new());
    }
    let Some(params) = params.as_object_mut() else { return };
    // One that nobody speaks is answered with ours.
    if !params.get("protocolVersion").is_some_and(Value::is_string) {
        params.insert("protocolVersion".to_owned(), json!("unknown"));
    }
    if !params.get("capabilities").is_some_and(Value::is_object) {
        params.insert("capabilities".to_owned(), json!({}));
    }
    let client = params.entry("clientInfo").or_insert_with(|| json!({}));
    if !client.is_object() {
        *client = json!({});
    }
    if let Some(client) = client.as_object_mut() {
        for name in ["name", "version"] {
            if !client.get(name).is_some_and(Value::is_string) {
                client.insert(name.to_owned(), json!("unknown"));
            }
        }
    }
}

/// The id of a message, if it is one.
fn id_of(value: &Value) -> Option<RequestId> {
    serde_json::from_value(value.get("id")?.clone()).ok()
}

async fn write(output: &tokio::sync::Mutex<Stdout>, message: &TxJsonRpcMessage<RoleServer>) -> io::Result<()> {
    let mut frame = serde_json::to_vec(message).map_err(io::Error::from)?;
    frame.push(b'\n');
    let mut output = output.lock().await;
    output.write_all(&frame).await?;
    output.flush().await
}

impl Transport<RoleServer> for Wire {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let (output, requests) = (Arc::clone(&self.output), Arc::clone(&self.open));
        async move {
            let id = match &item {
                JsonRpcMessage::Response(r) => Some(&r.id),
                JsonRpcMessage::Error(e) => e.id.as_ref(),
                _ => None,
            };
            if let Some(id) = id {
                let mut requests = open(&requests);
                requests.waiting.remove(id);
                if requests.cancelled.remove(id) {
                    return Ok(());
                }
            }
            write(&output, &item).await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let (id, wrong) = match self.next().await? {
                Err(e) => (None, e),
                Ok(value) => {
                    let id = id_of(&value);
                    match self.message(value) {
                        Ok(message) => return Some(message),
                        Err(None) => continue,
                        Err(Some(e)) => (id, e),
                    }
                }
            };
            if write(&self.output, &TxJsonRpcMessage::<RoleServer>::error(wrong, id))
                .await
                .is_err()
            {
                return None;
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.output.lock().await.flush().await
    }
}
