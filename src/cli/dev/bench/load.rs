//! A load generator with little overhead: HTTP/1.1 with keep-alive, written by hand.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// Maximum size of a response in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// Latencies of the requests, and the total time.
pub(super) struct Measured {
    pub(super) latencies: Vec<Duration>,
    pub(super) elapsed: Duration,
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends `requests` in total over `clients` connections, each waiting for its response.
pub(super) async fn run(
    address: SocketAddr,
    path: &str,
    clients: usize,
    requests: usize,
) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let path = path.to_owned();
        let share = requests / clients + usize::from(client < requests % clients);
        tasks.spawn(async move { one_client(address, &path, client, share).await });
    }
    let mut latencies = Vec::with_capacity(requests);
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    Ok(Measured { latencies, elapsed: started.elapsed() })
}

async fn one_client(
    address: SocketAddr,
    path: &str,
    client: usize,
    requests: usize,
) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::with_capacity(requests);
    let mut buffer = Vec::with_capacity(ANSWER_MAX);
    for n in 0..requests {
        let body = format!(r#"{{"prompt":"{}","moral_value":0.9}}"#, prompt(client, n));
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        answer(&mut stream, &mut buffer).await?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

/// Reads one response; any status but 200 is an error.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    loop {
        ensure!(stream.read_buf(buffer).await? > 0, "the server closed the connection");
        ensure!(buffer.len() <= ANSWER_MAX, "an answer is too large");
        let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end])?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("an answer without a length")?;
        if buffer.len() >= end + 4 + length.parse::<usize>()? {
            ensure!(
                head.starts_with("HTTP/1.1 200"),
                "the server refused: {}",
                String::from_utf8_lossy(buffer)
            );
            return Ok(());
        }
    }
}

const WORDS: [&str; 32] = [
    "river", "lantern", "copper", "meadow", "signal", "harbour", "orchid", "glacier", "violin",
    "ledger", "compass", "thunder", "saddle", "mosaic", "pepper", "anchor", "velvet", "tunnel",
    "marble", "candle", "falcon", "garden", "hammer", "island", "jacket", "kettle", "ladder",
    "magnet", "needle", "oyster", "pillow", "quartz",
];

/// A prompt of 500 bytes, unique per client and request.
pub(super) fn prompt(client: usize, n: usize) -> String {
    let mut text = format!("Note {n} of client {client}:");
    let mut seed = (client as u64) << 32 | n as u64;
    while text.len() < 500 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(' ');
        // numbered, so that an echo of the prompt does not count as repetitive
        text.push_str(WORDS[(seed >> 59) as usize]);
        text.push_str(&((seed >> 32) % 10_000).to_string());
    }
    text.truncate(500);
    text
}
