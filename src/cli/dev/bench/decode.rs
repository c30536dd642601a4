//! Decoding of chats of a megabyte, compared with a scan of the JSON.

use std::{hint::black_box, time::Instant};

use serde_json::{Value, json, value::RawValue};

use super::table::{Row, median};
use crate::http::v1::chat::completions::ChatRequest;

/// Number of measurements.
const TIMES: usize = 50;

/// Messages of the long history.
const MESSAGES: usize = 1_000;

/// Bytes of the image, in base64.
const IMAGE_BYTES: usize = 1_000_000;

pub(super) fn run() -> anyhow::Result<Vec<Row>> {
    Ok(vec![
        measure("decode a chat of 1 MB: a history of an agent", &history()?)?,
        measure("decode a chat of 1 MB: an image", &image())?,
    ])
}

fn measure(name: &str, chat: &Value) -> anyhow::Result<Row> {
    let body = serde_json::to_vec(chat)?;
    let mut decoded = Vec::with_capacity(TIMES);
    let mut scanned = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let start = Instant::now();
        black_box(serde_json::from_slice::<&RawValue>(&body)?);
        scanned.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let request: ChatRequest = serde_json::from_slice(&body)?;
        black_box(request.is_decoded());
        decoded.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Row::new(name, median(decoded), "ms").limit("one scan", median(scanned)))
}

/// Messages of a text, calls of tools, and lists of parts.
fn history() -> anyhow::Result<Value> {
    let text = "The quick brown fox jumps over the lazy dog, \"twice\".\n".repeat(18);
    let arguments = serde_json::to_string(&json!({ "text": text }))?;
    let message = |n: usize| match n % 3 {
        0 => json!({ "role": "user", "content": text }),
        1 => json!({ "role": "assistant", "content": null, "tool_calls": [{
            "id": format!("call_{n}"), "type": "function",
            "function": { "name": "read", "arguments": arguments },
        }] }),
        _ => json!({ "role": "user", "content": [{ "type": "text", "text": text }] }),
    };
    let messages: Vec<Value> = (0..MESSAGES).map(message).collect();
    Ok(json!({ "model": "m", "messages": messages }))
}

fn image() -> Value {
    let url = format!("data:image/png;base64,{}", "A".repeat(IMAGE_BYTES));
    let parts = json!([
        { "type": "text", "text": "Look" },
        { "type": "image_url", "image_url": { "url": url } },
    ]);
    json!({ "model": "m", "messages": [{ "role": "user", "content": parts }] })
}
