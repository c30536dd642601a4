//! HTTP/1.1 as far as clients of model providers need it.
#![expect(clippy::unwrap_used, reason = "test support: a panic is the report")]

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Face, Refusal};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body without transfer encoding.
    pub body: Vec<u8>,
    /// Why the provider refused it.
    pub refused: Option<String>,
}

impl Received {
    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The API that the path names.
    pub fn face(&self) -> Option<Face> {
        let faces = [
            ("/chat/completions", Face::Chat),
            ("/messages", Face::Messages),
            ("/responses", Face::Responses),
        ];
        let known = faces.into_iter().find(|(end, _)| self.path().ends_with(end));
        known.map(|(_, face)| face)
    }

    /// The value of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body, which has to be a JSON object.
    pub(super) fn object(&self) -> Result<Value, Refusal> {
        let body: Value = serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::invalid("", format!("the body is not JSON: {error}")))?;
        Refusal::unless(body.is_object(), "", "the body is not a JSON object")?;
        Ok(body)
    }
}

/// A response: a status, a content type and the pieces of a body, each written on its own.
pub(super) struct Response {
    status: u16,
    content_type: &'static str,
    pieces: Vec<Vec<u8>>,
    /// Leaves out the last pieces and keeps the connection open.
    stalls: bool,
}

impl Response {
    pub(super) fn json(status: u16, body: impl Into<String>) -> Self {
        let pieces = vec![body.into().into_bytes()];
        Self { status, content_type: "application/json", pieces, stalls: false }
    }

    pub(super) const fn raw(content_type: &'static str, body: Vec<Vec<u8>>) -> Self {
        Self { status: 200, content_type, pieces: body, stalls: false }
    }

    /// A stream of events, with the names that the events have.
    pub(super) fn events(events: impl IntoIterator<Item = (Option<&'static str>, String)>) -> Self {
        let piece = |(name, data): (Option<&str>, String)| {
            let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
            format!("{name}data: {data}\n\n").into_bytes()
        };
        Self::raw("text/event-stream; charset=utf-8", events.into_iter().map(piece).collect())
    }

    /// The first half of the pieces.
    pub(super) fn stalled(mut self) -> Self {
        self.stalls = true;
        self
    }

    pub(super) async fn write(mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        let length: usize = self.pieces.iter().map(Vec::len).sum();
        let head = format!(
            "HTTP/1.1 {} Status\r\nContent-Type: {}\r\nContent-Length: {length}\r\n\
             request-id: req_strict\r\nx-request-id: req_strict\r\n\r\n",
            self.status, self.content_type
        );
        stream.write_all(head.as_bytes()).await?;
        if self.stalls {
            self.pieces.truncate(self.pieces.len() / 2);
        }
        for piece in self.pieces {
            stream.write_all(&piece).await?;
            stream.flush().await?;
        }
        if self.stalls {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// Reads one request. None if the connection ends before the request does.
pub(super) async fn read(stream: &mut TcpStream) -> Option<Received> {
    let (mut bytes, mut body_at) = (Vec::new(), None);
    let mut buffer = vec![0; 65_536];
    loop {
        if body_at.is_none() {
            body_at = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        }
        if let Some(at) = body_at {
            let request = parse(&bytes[..at]);
            let body = &bytes[at..];
            if request.header("transfer-encoding") == "chunked" {
                if body.ends_with(b"0\r\n\r\n") {
                    return Some(Received { body: unchunked(body), ..request });
                }
            } else {
                let length: usize = request.header("content-length").parse().unwrap_or(0);
                if body.len() >= length {
                    return Some(Received { body: body[..length].to_vec(), ..request });
                }
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn parse(head: &[u8]) -> Received {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Received {
        method: first.next().unwrap_or_default(),
        target: first.next().unwrap_or_default(),
        headers: headers.collect(),
        body: Vec::new(),
        refused: None,
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}
