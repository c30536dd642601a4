//! A model that remembers which prompts it has answered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlsdm::testkit::TestEnv;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

/// The time that the model takes to answer.
const LATENCY: Duration = Duration::from_millis(20);
/// The same while it hangs: longer than any caller waits.
const HANGING: Duration = Duration::from_hours(1);

/// The numbers of prompts, and how often each was answered.
pub(crate) type Answers = HashMap<u64, u32>;

/// A provider with the API of `OpenAI`.
pub(crate) struct Model {
    server: MockServer,
    answers: Arc<Mutex<Answers>>,
    hangs: Arc<AtomicBool>,
}

/// The text of a prompt.
pub(crate) fn prompt(number: u64) -> String {
    format!("Tell me of garden number #{number}# and of what was planted there last year")
}

fn prompt_number(body: &Value) -> Option<u64> {
    let text = body["messages"].as_array()?.last()?["content"].to_string();
    let mut parts = text.rsplit('#');
    parts.next()?;
    parts.next()?.parse().ok()
}

impl Model {
    pub(crate) async fn start() -> Self {
        let server = MockServer::builder().disable_request_recording().start().await;
        let answers = Arc::new(Mutex::new(Answers::new()));
        let hangs = Arc::new(AtomicBool::new(false));
        let (kept, hanging) = (Arc::clone(&answers), Arc::clone(&hangs));
        let respond = move |request: &Request| {
            let body: Value = request.body_json().unwrap_or_default();
            if hanging.load(Ordering::Relaxed) {
                return ResponseTemplate::new(200).set_delay(HANGING);
            }
            let number = prompt_number(&body);
            if let Some(number) = number {
                *kept.lock().unwrap().entry(number).or_default() += 1;
            }
            let text = format!("A garden of roses and beans, number {}.", number.unwrap_or(0));
            answer(&text, body["stream"] == true).set_delay(LATENCY)
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        Self { server, answers, hangs }
    }

    /// Sets whether requests that arrive from now on stay without an answer.
    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }

    /// An environment whose servers ask this model.
    pub(crate) fn serves(&self, env: TestEnv) -> TestEnv {
        env.with("LLM_BACKEND", "openai")
            .with("MLSDM__LLM__MODEL", "m-1")
            .with("MLSDM__LLM__OPENAI__BASE_URL", self.server.uri())
    }

    /// How often each prompt was answered so far.
    pub(crate) fn answers(&self) -> Answers {
        self.answers.lock().unwrap().clone()
    }
}

fn answer(text: &str, streamed: bool) -> ResponseTemplate {
    if !streamed {
        return ResponseTemplate::new(200).set_body_json(json!({
            "id": "c-1", "object": "chat.completion", "created": 1, "model": "m-1",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        }));
    }
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({
            "id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]
        });
        format!("data: {chunk}\n\n")
    };
    let body = chunk(json!({"role": "assistant", "content": text}), Value::Null)
        + &chunk(json!({}), json!("stop"))
        + "data: [DONE]\n\n";
    ResponseTemplate::new(200).set_body_raw(body, "text/event-stream")
}
