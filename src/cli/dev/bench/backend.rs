//! A model API that responds at once, so that the overhead of a gateway is visible.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinHandle,
};

/// Chunks of a streamed response.
pub(super) const PIECES: usize = 200;

/// A model that responds after a second.
pub(super) const SLOW: &str = "slow";
/// A model that never responds.
pub(super) const HANGING: &str = "hanging";
/// A model that responds at once.
pub(super) const INSTANT: &str = "instant";

/// Maximum size of a request in bytes.
const REQUEST_MAX: usize = 1024 * 1024;

/// Paths that receive spans and log lines, which are discarded.
const SINKS: [&str; 2] = ["post /v1/traces", "post /loki/"];
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// The running API; stopped when dropped.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Backend {
    /// Listens on `port`; 0 picks a free port.
    pub(super) async fn start(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        // ends with the benchmark; nothing waits for it
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

    /// The URL without the path of the model API.
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
    // a response delayed by Nagle's algorithm would be attributed to the gateway
    drop(stream.set_nodelay(true));
    let mut buffer = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut buffer).await {
        if SINKS.iter().any(|sink| head.starts_with(sink)) {
            if stream.write_all(TAKEN).await.is_err() {
                return;
            }
            continue;
        }
        let mentions = |word: &str| body.contains(word);
        if mentions(HANGING) {
            std::future::pending::<()>().await;
        }
        if mentions(SLOW) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let streams = mentions("\"stream\":true") || mentions("\"stream\": true");
        let sent = if streams { pieces(&mut stream).await } else { whole(&mut stream).await };
        if sent.is_err() {
            return;
        }
    }
}

/// Reads the head of the next request, in lower case, and its body.
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
