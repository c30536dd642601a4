//! The overhead of a gateway between an application and a model: the same client and the same instant
//! model, with and without this server (or another gateway) in between.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use reqwest::{
    Client,
    header::{HeaderName, HeaderValue},
};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    backend::{Backend, HANGING, INSTANT, PIECES, SLOW},
    load,
    progress::say,
    server::Launcher,
    steps::bare_commit,
    table::{Row, median},
};

/// Sequential chats and streams of one client.
const CHATS: usize = 400;
const STREAMS: usize = 100;
/// Concurrent calls of one second each.
const PARALLEL: usize = 200;
/// Hanging calls while states are read.
const HANG: usize = 50;
const READS: usize = 200;

/// Another gateway in front of the same model, already running.
#[derive(Clone, Debug)]
pub(super) struct Other {
    name: String,
    url: String,
}

impl std::str::FromStr for Other {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (name, url) =
            text.split_once('=').ok_or("expected NAME=URL, with the URL up to /v1")?;
        Ok(Self { name: name.to_owned(), url: url.to_owned() })
    }
}

/// A header as typed.
#[derive(Clone, Debug)]
pub(super) struct Header(HeaderName, HeaderValue);

impl std::str::FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
        let name = name.trim().parse().map_err(|_| "invalid header name")?;
        Ok(Self(name, value.trim().parse().map_err(|_| "invalid header value")?))
    }
}

/// Other gateways, and the headers sent to all of them.
pub(super) struct Others {
    pub(super) all: Vec<Other>,
    pub(super) headers: Vec<Header>,
}

pub(super) async fn run(
    launcher: &Launcher,
    port: u16,
    others: &Others,
) -> anyhow::Result<Vec<Row>> {
    let backend = Backend::start(port).await.context("the instant model cannot listen")?;
    let url = backend.url();
    let env = [
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &url),
        ("MLSDM__LLM__MODEL", INSTANT),
        ("MLSDM__LLM__MODELS", "instant,slow,hanging"),
    ];
    // creates the tables; a log on SQLite has one owner at a time
    launcher.start().await?.kill().await?;
    let commit = bare_commit(&launcher.database).await?;
    let server = launcher.start_with(&env).await?;
    let client = Client::builder().no_proxy().tcp_nodelay(true).build()?;
    let ours = format!("http://{}/v1", server.address);

    say("chats, direct and through the server")?;
    let (direct, through) = (Figures::of(&client, &url).await?, Figures::of(&client, &ours).await?);
    let mut rows = compared("mlsdm", &through, &direct, commit);
    let headers = others.headers.iter().map(|Header(name, value)| (name.clone(), value.clone()));
    let theirs = Client::builder().no_proxy().tcp_nodelay(true).default_headers(headers.collect());
    let theirs = theirs.build()?;
    for other in &others.all {
        say(&other.name)?;
        let figures = Figures::of(&theirs, &other.url).await;
        let figures = figures.with_context(|| format!("{} at {}", other.name, other.url))?;
        rows.extend(compared(&other.name, &figures, &direct, 0.0));
    }
    say("calls that take a second, at once")?;
    rows.push(parallel(&client, &ours).await?);
    say("states while calls hang")?;
    rows.extend(reads_beside_hanging(&client, &ours).await?);
    server.kill().await?;
    Ok(rows)
}

/// Latencies in milliseconds.
struct Figures {
    p50: f64,
    p99: f64,
    /// None for a gateway that cannot stream.
    streamed: Option<Streamed>,
}

struct Streamed {
    first: f64,
    all: f64,
}

impl Streamed {
    /// Microseconds from one piece to the next.
    fn delta(&self) -> f64 {
        (self.all - self.first) / PIECES as f64 * 1_000.0
    }
}

impl Figures {
    async fn of(client: &Client, url: &str) -> anyhow::Result<Self> {
        let mut chats = Vec::with_capacity(CHATS);
        for n in 0..CHATS {
            let started = Instant::now();
            let answer = ask(client, url, INSTANT, n, false).await?;
            ensure!(answer.status().is_success(), "{} from {url}", answer.status());
            answer.bytes().await?;
            chats.push(milliseconds(started.elapsed()));
        }
        chats.sort_by(f64::total_cmp);
        let at = |share: f64| chats.get((chats.len() as f64 * share) as usize).copied();
        Ok(Self {
            p50: at(0.5).unwrap_or_default(),
            p99: at(0.99).unwrap_or_default(),
            streamed: streamed(client, url).await?,
        })
    }
}

async fn streamed(client: &Client, url: &str) -> anyhow::Result<Option<Streamed>> {
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for n in 0..STREAMS {
        let started = Instant::now();
        let answer = ask(client, url, INSTANT, n, true).await?;
        if !answer.status().is_success() {
            say(&format!("no streams: {} from {url}", answer.status()))?;
            return Ok(None);
        }
        let mut bytes = answer.bytes_stream();
        let mut has_started = false;
        while let Some(more) = bytes.next().await {
            let is_word = more?.windows(4).any(|four| four == b"word");
            if is_word && !has_started {
                has_started = true;
                first.push(milliseconds(started.elapsed()));
            }
        }
        all.push(milliseconds(started.elapsed()));
    }
    Ok(Some(Streamed { first: median(first), all: median(all) }))
}

/// The rows of one gateway, compared with the direct call and, if it commits, the bare commits.
fn compared(name: &str, through: &Figures, direct: &Figures, commit: f64) -> Vec<Row> {
    let beside = if commit > 0.0 { "direct, and its bare commits" } else { "direct" };
    let ms = |what: &str, value, limit| {
        Row::new(format!("{name}: {what}"), value, "ms").limit(beside, limit)
    };
    let mut rows = vec![
        ms("chat, p50", through.p50, direct.p50 + 2.0 * commit),
        ms("chat, p99", through.p99, direct.p99 + 2.0 * commit),
    ];
    if let (Some(through), Some(direct)) = (&through.streamed, &direct.streamed) {
        rows.push(ms("first streamed token, p50", through.first, direct.first + commit));
        let delta = Row::new(format!("{name}: a streamed delta"), through.delta(), "µs");
        rows.push(delta.limit("direct", direct.delta()));
    }
    rows
}

async fn ask(
    client: &Client,
    url: &str,
    model: &str,
    n: usize,
    stream: bool,
) -> anyhow::Result<reqwest::Response> {
    let messages = json!([{"role": "user", "content": load::prompt(7, n)}]);
    let body = json!({"model": model, "messages": messages, "stream": stream, "max_tokens": 1000});
    let request = client.post(format!("{url}/chat/completions")).bearer_auth("bench").json(&body);
    Ok(request.send().await?)
}

async fn parallel(client: &Client, url: &str) -> anyhow::Result<Row> {
    let started = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..PARALLEL {
        let (client, url) = (client.clone(), url.to_owned());
        calls.spawn(async move { ask(&client, &url, SLOW, n, false).await });
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer??;
        ensure!(answer.status().is_success(), "a slow call got {}", answer.status());
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Row::new(format!("{PARALLEL} calls of a second at once"), seconds, "s")
        .limit("one call", 1.0))
}

async fn reads_beside_hanging(client: &Client, url: &str) -> anyhow::Result<Vec<Row>> {
    let mut hanging = JoinSet::new();
    for n in 0..HANG {
        let (client, url) = (client.clone(), url.to_owned());
        hanging.spawn(async move { ask(&client, &url, HANGING, n, false).await });
    }
    let state = format!("{url}/state");
    let open = async || -> anyhow::Result<u64> {
        let state: serde_json::Value = client.get(&state).send().await?.json().await?;
        Ok(state["open_count"].as_u64().unwrap_or_default())
    };
    while open().await? < HANG as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut reads = Vec::with_capacity(READS);
    for _ in 0..READS {
        let started = Instant::now();
        open().await?;
        reads.push(milliseconds(started.elapsed()));
    }
    reads.sort_by(f64::total_cmp);
    let p99 = reads.get(READS * 99 / 100).copied().unwrap_or_default();
    Ok(vec![
        Row::new(format!("state while {HANG} calls hang, p50"), median(reads), "ms"),
        Row::new(format!("state while {HANG} calls hang, p99"), p99, "ms"),
    ])
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
