//! A streamed delta, from the bytes of the provider to those of the client, compared with parsing its
//! JSON. All chunks are sent at once, so that no time is spent waiting for them.

use std::{hint::black_box, sync::Arc, time::Instant};

use anyhow::ensure;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::table::{Row, median};
use crate::{
    http::{stream::Dialect as _, v1::chat::completions::frames},
    llm::{
        DELTAS_MAX, Dialect, Extra, LimitField, Message, OpenAi, OpenAiRoutes, OpenAiSettings,
        Request, Role, Sink, http_client,
    },
};

/// Number of measurements.
const TIMES: usize = 20;

/// Chunks of a stream.
const CHUNKS: usize = 10_000;

pub(super) async fn run() -> anyhow::Result<Vec<Row>> {
    let chunks: Vec<String> = (0..CHUNKS).map(chunk).collect();
    let openai = provider(&chunks).await?;
    let (mut same, mut other, mut parsed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        same.push(streamed(&openai, Dialect::OpenAi).await?);
        other.push(streamed(&openai, Dialect::Anthropic).await?);
        let start = Instant::now();
        for chunk in &chunks {
            black_box(serde_json::from_str::<Value>(chunk)?);
        }
        parsed.push(microseconds(start));
    }
    let parsed = median(parsed);
    let row = |name: &str, values| Row::new(name, median(values), "µs").limit("one parse", parsed);
    Ok(vec![
        row("a streamed delta, for a client of the same dialect", same),
        row("a streamed delta, for a client of another dialect", other),
    ])
}

fn chunk(n: usize) -> String {
    let choice = json!({ "index": 0, "delta": { "content": format!("word{n} ") },
        "logprobs": null, "finish_reason": null });
    json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "m-1", "system_fingerprint": "fp_1", "choices": [choice] })
    .to_string()
}

/// A provider that sends all chunks in answer to each request.
async fn provider(chunks: &[String]) -> anyhow::Result<OpenAi> {
    let last = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let events = chunks.iter().map(String::as_str).chain([last, "[DONE]"]);
    let events: Vec<String> = events.map(|data| format!("data: {data}\n\n")).collect();
    let body = events.concat();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = (head + &body).into_bytes();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    // ends with the benchmark; nothing waits for it
    tokio::runtime::Handle::current().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // a request is small and arrives in one piece
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                if stream.write_all(&answer).await.is_err() {
                    break;
                }
            }
        }
    });
    Ok(OpenAi::new(
        http_client()?,
        OpenAiSettings {
            name: "openai",
            base_url: &base_url,
            api_key: None,
            api_version: "",
            max_tokens_field: LimitField::MaxTokens,
            headers: HeaderMap::new(),
            routes: OpenAiRoutes::Chat,
            may_store: false,
        },
    )?)
}

/// Microseconds per delta for a client of this dialect. The frames are those of chat completions.
async fn streamed(openai: &OpenAi, client: Dialect) -> anyhow::Result<f64> {
    let request = Request {
        model: Some("m-1".to_owned()),
        messages: vec![Message::text(Role::User, "Hello")].into(),
        prompt: Arc::from("Hello"),
        max_tokens: None,
        temperature: None,
        takes_temperature: None,
        extra: Arc::new(Extra { dialect: Some(Dialect::OpenAi), ..Extra::default() }),
    };
    let (sender, mut deltas) = mpsc::channel(DELTAS_MAX);
    let mut sink = Sink::new(Some(sender)).with_dialect(Some(client));
    let start = Instant::now();
    let answer = async {
        let result = openai.call(&request, &mut sink).await;
        drop(sink);
        result
    };
    let client = async {
        let (mut frames, mut arrived, mut bytes) = (frames("m-1"), Vec::new(), 0);
        while deltas.recv_many(&mut arrived, DELTAS_MAX).await > 0 {
            bytes += arrived.drain(..).map(|delta| frames.piece(&delta).len()).sum::<usize>();
        }
        bytes
    };
    let (result, bytes) = tokio::join!(answer, client);
    let elapsed = microseconds(start);
    result?;
    ensure!(bytes > CHUNKS * 100, "the frames have {bytes} bytes");
    Ok(elapsed)
}

fn microseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / CHUNKS as f64
}
