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
//! * An id that the protocol does not know (a fraction, null) is an invalid request, not a notification.
//!
//! The library drops `receive` whenever an answer is ready, and calls it again. What was read of a line by then stays in
//! [`Wire::line`], and an error that is being written is written by a task of its own, so that neither is lost.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{ClientRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Stdin, Stdout};
use tokio::task::JoinSet;

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
pub struct Wire<R = Stdin, W = Stdout> {
    input: BufReader<R>,
    output: Arc<tokio::sync::Mutex<W>>,
    /// What has been read of the next line.
    line: Vec<u8>,
    /// Errors that are being written.
    answers: JoinSet<io::Result<()>>,
    /// The rest of a batch.
    batch: VecDeque<Value>,
    open: Arc<Mutex<Open>>,
    begun: bool,
}

impl Wire {
    pub fn stdio() -> Wire {
        Wire::new(tokio::io::stdin(), tokio::io::stdout())
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send + 'static> Wire<R, W> {
    fn new(input: R, output: W) -> Wire<R, W> {
        Wire {
            input: BufReader::new(input),
            output: Arc::new(tokio::sync::Mutex::new(output)),
            line: Vec::new(),
            answers: JoinSet::new(),
            batch: VecDeque::new(),
            open: Arc::default(),
            begun: false,
        }
    }

    /// The next JSON value; `None` at the end of the input. May be dropped at any await: it goes on where it was.
    async fn next(&mut self) -> Option<Result<Value, ErrorData>> {
        loop {
            if let Some(value) = self.batch.pop_front() {
                return Some(Ok(value));
            }
            match self.input.read_until(b'\n', &mut self.line).await {
                Ok(0) if self.line.is_empty() => return None,
                Ok(_) => {}
                Err(e) => {
                    tracing::error!("standard input cannot be read: {e}");
                    return None;
                }
            }
            let whole = std::mem::take(&mut self.line);
            let line = whole.trim_ascii();
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
        if is_request && !method.is_empty() && id_of(&value).is_none() {
            return Err(Some(invalid(
                "the id of a request is a text or a whole number of 64 bits".to_owned(),
            )));
        }
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

/// The answer to what is no message: under its id as it was given where that can be one, else under none.
fn refusal(wrong: &ErrorData, id: Option<&Value>) -> Value {
    let id = id
        .filter(|id| id.is_string() || id.is_number())
        .cloned()
        .unwrap_or_default();
    json!({"jsonrpc": "2.0", "id": id, "error": wrong})
}

async fn write<W: AsyncWrite + Unpin>(
    output: &tokio::sync::Mutex<W>,
    message: &impl serde::Serialize,
) -> io::Result<()> {
    let mut frame = serde_json::to_vec(message).map_err(io::Error::from)?;
    frame.push(b'\n');
    let mut output = output.lock().await;
    output.write_all(&frame).await?;
    output.flush().await
}

impl<R, W> Transport<RoleServer> for Wire<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
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
            while let Some(written) = self.answers.join_next().await {
                if !matches!(written, Ok(Ok(()))) {
                    return None;
                }
            }
            let (id, wrong) = match self.next().await? {
                Err(e) => (None, e),
                Ok(value) => {
                    let id = value.get("id").cloned();
                    match self.message(value) {
                        Ok(message) => return Some(message),
                        Err(None) => continue,
                        Err(Some(e)) => (id, e),
                    }
                }
            };
            let (output, answer) = (Arc::clone(&self.output), refusal(&wrong, id.as_ref()));
            self.answers.spawn(async move { write(&output, &answer).await });
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.output.lock().await.flush().await
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::io::DuplexStream;

    use super::*;

    /// A wire whose `receive` is dropped after each byte, as an answer that is ready has it dropped; what it received.
    async fn bitten(input: &str) -> (Vec<RxJsonRpcMessage<RoleServer>>, String) {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let (output, mut answers): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(server, output);
        let mut received = Vec::new();
        for byte in input.bytes() {
            client.write_all(&[byte]).await.expect("the pipe is open");
            let once = {
                let mut receive = pin!(wire.receive());
                poll_fn(|cx| {
                    Poll::Ready(match receive.as_mut().poll(cx) {
                        Poll::Ready(message) => message,
                        Poll::Pending => None,
                    })
                })
                .await
            };
            received.extend(once);
            tokio::task::yield_now().await;
        }
        drop(client);
        while let Some(message) = wire.receive().await {
            received.push(message);
        }
        drop(wire);
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut answers, &mut said)
            .await
            .expect("text");
        (received, said)
    }

    const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;

    #[tokio::test]
    async fn a_message_arrives_though_receiving_is_broken_off_at_every_byte() {
        let ping = r#"{"jsonrpc":"2.0","id":"é","method":"ping"}"#;
        let batch = r#"[{"jsonrpc":"2.0","id":7,"method":"ping"},{"jsonrpc":"2.0","id":8,"method":"ping"}]"#;
        let (received, said) = bitten(&format!("{HELLO}\n{ping}\r\n\n{batch}\n{ping}")).await;
        assert_eq!(received.len(), 5, "the last one without a line feed too");
        assert_eq!(said, "");
    }

    #[tokio::test]
    async fn each_error_is_answered_once_and_whole_though_receiving_is_broken_off() {
        let (received, said) = bitten(&format!("{HELLO}\nno json\n{{\"id\":3}}\n{HELLO}\n{{}}\n")).await;
        assert_eq!(received.len(), 2);
        let answers: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let ids: Vec<&Value> = answers.iter().map(|a| &a["id"]).collect();
        assert_eq!(ids, [&json!(null), &json!(3), &json!(null)]);
    }

    #[tokio::test]
    async fn every_request_is_answered_whatever_its_id() {
        let ids = [
            "1.0",
            "1e1",
            "1.5",
            "18446744073709551615",
            "null",
            "true",
            "{\"a\":1}",
            "[]",
        ];
        let lines: Vec<String> = ids
            .iter()
            .map(|id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n"))
            .collect();
        let (received, said) = bitten(&format!("{HELLO}\n{}", lines.concat())).await;
        assert_eq!(received.len(), 1);
        let answers: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(answers.len(), ids.len(), "{said}");
        for answer in &answers {
            assert_eq!(answer["error"]["code"], -32600);
            assert!(answer.get("id").is_some(), "{answer}");
        }
        assert_eq!(answers[3]["id"], json!(u64::MAX));
    }
}
