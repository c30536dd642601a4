//! Sends one request and records what came back.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    call::{Call, Outcome, Receipt},
    client::{Plan, Shared, lap},
    log::traceparent,
    model,
};

/// The longest time without a byte so far.
struct Silence {
    last: Instant,
    longest: Duration,
}

impl Silence {
    fn heard(&mut self) {
        let (silent, now) = lap(self.last);
        self.longest = self.longest.max(silent);
        self.last = now;
    }
}

pub(crate) async fn send(shared: &Shared, plan: Plan) -> Call {
    let began = Instant::now();
    let mut silence = Silence { last: began, longest: Duration::ZERO };
    let patience = plan.leaves_after.unwrap_or(shared.patience);
    let answer = exchange(request(shared, &plan), plan.streamed, &mut silence);
    let outcome = match timeout(patience, answer).await {
        Ok(outcome) => outcome.unwrap_or(Outcome::Cut),
        Err(_) if plan.leaves_after.is_some() => Outcome::Left,
        Err(_) => Outcome::Unanswered,
    };
    silence.heard();
    Call {
        number: plan.number,
        prompt: plan.prompt,
        keyed: plan.key.is_some(),
        replica: plan.replica,
        began,
        ended: Instant::now(),
        silence: silence.longest,
        outcome,
    }
}

fn request(shared: &Shared, plan: &Plan) -> RequestBuilder {
    let url = format!("{}/v1/generate", shared.targets[plan.replica].base());
    let moral_value = if plan.accepted { 0.9 } else { 0.1 };
    let mut body = json!({"prompt": model::prompt(plan.prompt), "moral_value": moral_value});
    if plan.streamed {
        body["stream"] = json!(true);
    }
    let request = shared
        .http
        .post(url)
        .header("traceparent", traceparent(plan.number))
        .header("X-MLSDM-End-User", format!("user-{}", plan.end_user))
        .json(&body);
    match &plan.key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    }
}

/// `None` if the connection was refused or closed too early.
async fn exchange(
    request: RequestBuilder,
    streamed: bool,
    silence: &mut Silence,
) -> Option<Outcome> {
    let response = request.send().await.ok()?;
    silence.heard();
    let status = response.status().as_u16();
    let body = read(response, silence).await?;
    if status != 200 {
        return Some(refused(status, &serde_json::from_slice(&body).unwrap_or_default()));
    }
    if !streamed {
        return Receipt::read(serde_json::from_slice(&body).ok()?).map(Outcome::Answered);
    }
    last_event(&String::from_utf8_lossy(&body))
}

async fn read(response: Response, silence: &mut Silence) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        body.extend(piece.ok()?);
        silence.heard();
    }
    Some(body)
}

fn refused(status: u16, problem: &Value) -> Outcome {
    Outcome::Refused { status, code: problem["code"].as_str().unwrap_or_default().to_owned() }
}

/// The outcome of a stream: its last event is `done` with the answer or `error` with a problem.
fn last_event(stream: &str) -> Option<Outcome> {
    let frames = stream.split_terminator("\n\n");
    let last = frames.filter(|frame| !frame.starts_with(':')).last()?;
    let field = |name: &str| last.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let data: Value = serde_json::from_str(field("data:")?).ok()?;
    match field("event:")? {
        "done" => Receipt::read(data).map(Outcome::Answered),
        "error" => Some(refused(data["status"].as_u64()? as u16, &data)),
        _ => None,
    }
}
