//! A model's API that answers at once: what a gateway costs shows only before such a one.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinHandle,
};

/// Pieces of a streamed answer.
pub(super) const PIECES: usize = 200;

/// A model that takes a second.
pub(super) const SLOW: &str = "slow";
/// A model that never answers.
pub(super) const HANGING: &str = "hanging";
/// A model that answers at once.
pub(super) const INSTANT: &str = "instant";

/// Largest request it reads, in bytes.
const REQUEST_MAX: usize = 1024 * 1024;

/// Where spans and log lines are sent: it takes them, and that is all.
const SINKS: [&str; 2] = ["post /v1/traces", "post /loki/"];
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// The API; ends when dropped.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Backend {
    /// Listens on a port, or (0) on any that is free.
    pub(super) async fn start(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        // its own side of the measurement: it ends with the benchmark, nothing waits for it
        let task = Handle::current().spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Ok(Self { address, task })
    }

    pub(super) fn url(&self) -> String {
        format!("{}/v1", self.root())
    }

    /// Without the path of the model's API.
    pub(super) fn root(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream) {
    // an answer that is late by Nagle's algorithm would be measured as the gateway's
    drop(stream.set_nodelay(true));
    let mut buffer = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut buffer).await {
        if SINKS.iter().any(|sink| head.starts_with(sink)) {
            if stream.write_all(TAKEN).await.is_err() {
                return;
            }
            continue;
        }
        let asked = |what: &str| body.contains(what);
        if asked(HANGING) {
            std::future::pending::<()>().await;
        }
        if asked(SLOW) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let streams = asked("\"stream\":true") || asked("\"stream\": true");
        let sent = if streams { pieces(&mut stream).await } else { whole(&mut stream).await };
        if sent.is_err() {
            return;
        }
    }
}

/// The next request's head, in lower case, and its body.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            let all = end + 4 + length;
            if buffer.len() >= all {
                let body = String::from_utf8_lossy(&buffer[end + 4..all]).into_owned();
                buffer.drain(..all);
                return Some((head, body));
            }
        }
        if buffer.len() > REQUEST_MAX || stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

const ANSWER: &str = "This is a sure and sufficiently long answer to whatever it was.";

async fn whole(stream: &mut TcpStream) -> std::io::Result<()> {
    let body = serde_json::json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": INSTANT,
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": ANSWER}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 12, "total_tokens": 112},
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}

async fn pieces(stream: &mut TcpStream) -> std::io::Result<()> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n";
    stream.write_all(HEAD.as_bytes()).await?;
    for n in 0..PIECES {
        let piece = serde_json::json!({
            "id": "x", "object": "chat.completion.chunk", "created": 1, "model": INSTANT,
            "choices": [{"index": 0, "delta": {"content": format!("word{n} ")},
                "finish_reason": null}],
        });
        chunk(stream, &format!("data: {piece}\n\n")).await?;
    }
    let last = serde_json::json!({
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": INSTANT,
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    });
    chunk(stream, &format!("data: {last}\n\ndata: [DONE]\n\n")).await?;
    stream.write_all(b"0\r\n\r\n").await
}

async fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}
