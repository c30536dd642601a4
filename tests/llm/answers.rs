//! Answers as clients get them: everything that a provider sends, in whatever form it sends it.

mod alive;
mod citations;
mod identity;
mod tolerant;
mod whole;

use std::rc::Rc;

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    test, web,
};
use mlsdm::{
    domain::ids::EngineId,
    http::create_app,
    testkit::{
        TestDatabase, app_state,
        double::{Act, Double, head},
        eventually,
    },
};
use serde_json::{Value, json};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const MESSAGES: &str = "/v1/messages";

/// A server whose provider acts as given.
pub(crate) struct Server {
    state: web::Data<mlsdm::http::AppState>,
    pub(crate) double: Rc<Double>,
    _database: TestDatabase,
}

impl Server {
    /// A server with a provider of chat completions.
    pub(crate) async fn openai(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::new("openai", "MLSDM__LLM__OPENAI__BASE_URL", acts).await
    }

    /// A server with a provider of messages.
    pub(crate) async fn anthropic(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::new("anthropic", "MLSDM__LLM__ANTHROPIC__BASE_URL", acts).await
    }

    async fn new(backend: &str, url: &str, acts: impl IntoIterator<Item = Act>) -> Self {
        let double = Rc::new(Double::new(acts).await);
        let env = [("LLM_BACKEND", backend), (url, &*double.url), ("MLSDM__LLM__MODEL", "m-1")];
        let (state, database) = app_state(&env).await;
        Self { state: web::Data::new(state), double, _database: database }
    }

    pub(crate) fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        create_app(self.state.clone())
    }

    /// Sends a request. Returns the status and the body.
    pub(crate) async fn post(&self, route: &str, body: &Value) -> (u16, String) {
        self.post_with_key(route, body, None).await
    }

    pub(crate) async fn post_with_key(
        &self,
        route: &str,
        body: &Value,
        key: Option<&str>,
    ) -> (u16, String) {
        let app = test::init_service(self.app()).await;
        let mut request = test::TestRequest::post().uri(route).set_json(body);
        if let Some(key) = key {
            request = request.insert_header(("Idempotency-Key", key));
        }
        let response = test::call_service(&app, request.to_request()).await;
        let status = response.status().as_u16();
        let body = test::read_body(response).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The stages of the shutdown.
    pub(crate) fn stop(&self) -> mlsdm::lifecycle::Stop {
        self.state.stop.clone()
    }

    /// Waits until no step is open.
    pub(crate) async fn all_steps_ended(&self) {
        let engine = self.state.engines.get(&EngineId::default()).await.unwrap();
        eventually("the ending of all steps", async || match engine.view().state.open.size() {
            0 => Ok(()),
            open => Err(open),
        })
        .await;
    }

    /// The last event of a kind.
    pub(crate) async fn event(&self, kind: &str) -> Value {
        let app = test::init_service(self.app()).await;
        let uri = format!("/v1/events?type={kind}");
        let request = test::TestRequest::get().uri(&uri).to_request();
        let events: Value = test::call_and_read_body_json(&app, request).await;
        let last = events["events"].as_array().unwrap().last();
        last.map_or(Value::Null, |event| event["clear"].clone())
    }
}

/// A request in either dialect.
pub(crate) fn request(streamed: bool) -> Value {
    let messages = json!([{"role": "user", "content": "What is the time in Rome?"}]);
    json!({"model": "m-1", "max_tokens": 900, "messages": messages, "stream": streamed})
}

/// A stream of events without names.
pub(crate) fn chunks(chunks: &[Value]) -> Act {
    let text: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let text = text.concat();
    raw("Content-Type: text/event-stream\r\n", &format!("{text}data: [DONE]\n\n"))
}

/// A stream of named events.
pub(crate) fn named(events: &[Value]) -> Act {
    let line = |event: &Value| {
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    };
    raw("Content-Type: text/event-stream\r\n", &events.iter().map(line).collect::<String>())
}

/// A response with these headers and this body, which ends with the connection.
pub(crate) fn raw(headers: &str, body: &str) -> Act {
    Act::Send((head("200 OK", headers) + body).into_bytes())
}

pub(crate) fn delta(delta: &Value) -> Value {
    json!({"id": "c-1", "model": "m-1-2026", "choices": [{"index": 0, "delta": delta}]})
}

pub(crate) fn finish(reason: &str) -> Value {
    json!({"model": "m-1-2026", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// The data of the events of a stream.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}
