//! A provider that does what well-behaved servers do not: raw bytes over TCP, as a script says.

use std::collections::VecDeque;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// How one request is answered.
pub(crate) enum Act {
    /// With these bytes; then the connection is closed.
    Send(Vec<u8>),
    /// The same, once the test allows.
    SendWhen(oneshot::Receiver<()>, Vec<u8>),
    /// With these bytes; the connection stays open and silent.
    SendAndHang(Vec<u8>),
}

/// What an answer begins with.
pub(crate) fn head(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n")
}

/// A whole answer.
pub(crate) fn json(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    let headers =
        format!("Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}");
    Act::Send([head(status, &headers).as_bytes(), body.as_bytes()].concat())
}

/// A stream of events that is cut off after these: a length is promised that never comes.
pub(crate) fn cut_stream(events: &str) -> Act {
    let headers = "Content-Type: text/event-stream\r\nContent-Length: 1000000\r\n";
    Act::Send([head("200 OK", headers).as_bytes(), events.as_bytes()].concat())
}

/// An answer of chat completions.
pub(crate) fn completion(text: &str) -> Act {
    let answer = serde_json::json!({
        "model": "m-1-2026",
        "choices": [{ "message": { "content": text }, "finish_reason": "stop" }]
    });
    json("200 OK", "", &answer.to_string())
}

/// The provider. Its listener ends with it.
pub(crate) struct Double {
    /// Where it is.
    pub(crate) url: String,
    asked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Double {
    /// Answers the first requests as told, and closes the connections of all later ones.
    pub(crate) async fn new(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut script: VecDeque<Act> = script.into_iter().collect();
        let (count, asked) = watch::channel(0);
        let task = tokio::runtime::Handle::current().spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if !read(&mut stream).await {
                    continue;
                }
                count.send_modify(|count| *count += 1);
                match script.pop_front() {
                    // who has heard enough may hang up
                    Some(Act::Send(bytes)) => drop(stream.write_all(&bytes).await),
                    Some(Act::SendWhen(allowed, bytes)) => {
                        allowed.await.unwrap();
                        stream.write_all(&bytes).await.ok();
                    }
                    Some(Act::SendAndHang(bytes)) => {
                        stream.write_all(&bytes).await.ok();
                        open.push(stream);
                    }
                    None => {}
                }
            }
        });
        Self { url, asked, task }
    }

    /// How often it was asked.
    pub(crate) fn times(&self) -> usize {
        *self.asked.borrow()
    }

    /// Resolves when it was asked so many times.
    pub(crate) async fn asked(&self, times: usize) {
        self.asked.clone().wait_for(|asked| *asked >= times).await.unwrap();
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request to its end.
async fn read(stream: &mut TcpStream) -> bool {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return true;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Failures, so many times.
pub(crate) fn failing(times: usize) -> Vec<Act> {
    (0..times).map(|_| json("500 Internal Server Error", "", "{}")).collect()
}
