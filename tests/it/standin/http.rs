//! Just enough HTTP/1.1 to be exact about it, and to break it off where a test wants that.

use std::io::{Read, Write};

use serde_json::{Value, json};

/// What requests come over: a plain connection, or TLS over one.
pub trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Percent-decoded.
    pub path: Vec<String>,
    pub query: Vec<(String, String)>,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub wire: usize,
    pub body: Vec<u8>,
    /// A fault of the framing, which the server answers before anything else.
    pub framing: Option<(u16, &'static str)>,
}

impl Request {
    /// The next request of a connection; `None` at its end.
    pub fn read(stream: &mut impl Wire, left: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
        let head_end = loop {
            if let Some(at) = memchr::memmem::find(left, b"\r\n\r\n") {
                break at + 4;
            }
            if !more(stream, left)? {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&left[..head_end]).into_owned();
        left.drain(..head_end);
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_string();
        let target = first.next().unwrap_or_default().to_string();
        let headers: Vec<(String, String)> = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_string()))
            .collect();
        let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let mut framing = None;
        if find("transfer-encoding").is_some() {
            framing = Some((411, "chunked bodies are refused"));
        }
        if matches!(method.as_str(), "POST" | "PUT" | "PATCH") && find("content-length").is_none() {
            framing = framing.or(Some((411, "the length of the body is not told")));
        }
        let length: usize = find("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        while left.len() < length {
            if !more(stream, left)? {
                return Ok(None);
            }
        }
        let body: Vec<u8> = left.drain(..length).collect();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = path.trim_start_matches('/').split('/').map(decode).collect();
        let pairs = query.split('&').filter(|p| !p.is_empty());
        let query = pairs
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .map(|(k, v)| (decode(k), decode(v)))
            .collect();
        Ok(Some(Request {
            method,
            path,
            query,
            target,
            wire: body.len(),
            headers,
            body,
            framing,
        }))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), Some("true" | "1"))
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

fn more(stream: &mut impl Wire, left: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut buffer = [0u8; 65536];
    let n = stream.read(&mut buffer)?;
    left.extend_from_slice(&buffer[..n]);
    Ok(n > 0)
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[i], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(b)) => {
                out.push(b);
                i += 3;
            }
            (b, _) => {
                out.push(b);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn raw(status: u16, body: Vec<u8>) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body,
        }
    }

    pub fn json(status: u16, body: &Value) -> Response {
        Response::raw(status, body.to_string().into_bytes())
    }

    /// The server's error object. Number 0: a route it does not know, which is answered without a body.
    pub fn error(status: u16, num: i64, message: &str) -> Response {
        if num == 0 {
            return Response::raw(status, Vec::new());
        }
        Response::json(
            status,
            &json!({"error": true, "code": status, "errorNum": num, "errorMessage": message}),
        )
    }

    /// An object with the `error` and `code` that most answers carry.
    pub fn ok(status: u16, mut body: Value) -> Response {
        if let Some(map) = body.as_object_mut() {
            map.insert("error".into(), false.into());
            map.insert("code".into(), status.into());
        }
        Response::json(status, &body)
    }

    /// Writes the answer, or half of it.
    pub fn write(&self, stream: &mut impl Wire, half: bool) -> std::io::Result<()> {
        let mut out = format!("HTTP/1.1 {} Any\r\nServer: stand-in\r\n", self.status).into_bytes();
        out.extend_from_slice(b"Content-Type: application/json; charset=utf-8\r\nConnection: Keep-Alive\r\n");
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        let head = out.len();
        out.extend_from_slice(&self.body);
        if half {
            out.truncate(head + self.body.len() / 2);
        }
        stream.write_all(&out)?;
        stream.flush()
    }
}
