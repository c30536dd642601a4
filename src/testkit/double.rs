//! A model provider that sends scripted bytes over TCP, including what a correct HTTP server never
//! sends.
#![expect(clippy::unwrap_used, reason = "test support: a panic is the report")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Barrier, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

/// The response to one request.
pub enum Act {
    /// Sends these bytes and closes the connection.
    Send(Vec<u8>),
    /// Waits for the test, then sends these bytes and closes the connection.
    SendWhen(oneshot::Receiver<()>, Vec<u8>),
    /// Sends these bytes and leaves the connection open.
    SendAndHang(Vec<u8>),
    /// Waits until the barrier has enough concurrent requests, then sends these bytes.
    SendTogether(Arc<Barrier>, Vec<u8>),
}

impl Act {
    async fn run(self, mut stream: TcpStream) {
        match self {
            // the client may close the connection before it has read everything
            Self::Send(bytes) => drop(stream.write_all(&bytes).await),
            Self::SendWhen(allowed, bytes) => {
                allowed.await.unwrap();
                stream.write_all(&bytes).await.ok();
            }
            Self::SendAndHang(bytes) => {
                stream.write_all(&bytes).await.ok();
                std::future::pending::<()>().await;
            }
            Self::SendTogether(barrier, bytes) => {
                barrier.wait().await;
                stream.write_all(&bytes).await.ok();
            }
        }
    }
}

/// The head of a response.
pub fn head(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n")
}

/// A complete JSON response.
pub fn json(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    let headers =
        format!("Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}");
    Act::Send([head(status, &headers).as_bytes(), body.as_bytes()].concat())
}

/// A stream that ends after these events, before the announced content length.
pub fn cut_stream(events: &str) -> Act {
    let headers = "Content-Type: text/event-stream\r\nContent-Length: 1000000\r\n";
    Act::Send([head("200 OK", headers).as_bytes(), events.as_bytes()].concat())
}

/// A complete response of a chat completions API.
pub fn completion(text: &str) -> Act {
    let answer = serde_json::json!({
        "model": "m-1-2026",
        "choices": [{ "message": { "content": text }, "finish_reason": "stop" }]
    });
    json("200 OK", "", &answer.to_string())
}

/// The provider. It stops listening when dropped.
pub struct Double {
    /// The base URL.
    pub url: String,
    asked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Double {
    /// Responds to the first requests by the script and closes the connections of all later ones.
    pub async fn new(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: VecDeque<Act> = script.into_iter().collect();
        let script = Arc::new(Mutex::new(script));
        let (count, asked) = watch::channel(0);
        let task = tokio::runtime::Handle::current().spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, count) = (Arc::clone(&script), count.clone());
                open.spawn(async move {
                    if !read(&mut stream).await {
                        return;
                    }
                    // under one lock, so that the n-th request counted gets the n-th response
                    let act = {
                        let mut script = script.lock().unwrap();
                        count.send_modify(|count| *count += 1);
                        script.pop_front()
                    };
                    if let Some(act) = act {
                        act.run(stream).await;
                    }
                });
            }
        });
        Self { url, asked, task }
    }

    /// The number of requests so far.
    pub fn times(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it has received at least `times` requests.
    pub async fn asked(&self, times: usize) {
        self.asked.clone().wait_for(|asked| *asked >= times).await.unwrap();
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request. False if the connection ends before the request does.
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

/// A script of `times` responses with status 500.
pub fn failing(times: usize) -> Vec<Act> {
    (0..times).map(|_| json("500 Internal Server Error", "", "{}")).collect()
}
