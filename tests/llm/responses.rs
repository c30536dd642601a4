//! The Responses API: translated to chat completions, and passed to a provider that has it.

use actix_web::{test, web};
use mlsdm::{
    http::create_app,
    testkit::{TestDatabase, app_state},
};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

/// A server in front of a provider.
struct Setup {
    provider: MockServer,
    _database: TestDatabase,
}

/// Starts a provider and a server whose model it is. A macro, because the type of the app has no name.
macro_rules! server {
    ($env:expr, $route:expr, $answers:expr) => {{
        let provider = MockServer::start().await;
        for answer in $answers {
            Mock::given(path($route)).respond_with(answer).up_to_n_times(1).mount(&provider).await;
        }
        let url = format!("{}/v1", provider.uri());
        let own = [
            ("LLM_BACKEND", "openai"),
            ("OPENAI_API_KEY", "sk-geheim"),
            ("MLSDM__LLM__OPENAI__BASE_URL", &*url),
            ("MLSDM__LLM__MODEL", "m-1"),
            ("MLSDM__LLM__RETRY__ATTEMPTS", "1"),
            ("MLSDM__MLSDM__POLICY__CONTEXT__TOP_K", "0"),
        ];
        let env: &[(&str, &str)] = $env;
        let (state, database) = app_state(&[&own[..], env].concat()).await;
        let app = test::init_service(create_app(web::Data::new(state))).await;
        (Setup { provider, _database: database }, app)
    }};
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

impl Setup {
    /// The bodies that the provider got.
    async fn sent(&self) -> Vec<Value> {
        let requests = self.provider.received_requests().await.unwrap();
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }
}

/// The status and the body of a response. Macros, because the type of a test's request has no name.
macro_rules! send {
    ($app:expr, $request:expr) => {{
        let response = test::call_service($app, $request.to_request()).await;
        let status = response.status().as_u16();
        let body: Value = test::read_body_json(response).await;
        (status, body)
    }};
}

macro_rules! get {
    ($app:expr, $uri:expr) => {
        send!($app, test::TestRequest::get().uri($uri))
    };
}

macro_rules! post {
    ($app:expr, $body:expr $(,)?) => {
        send!($app, test::TestRequest::post().uri(RESPONSES).set_json($body))
    };
}

macro_rules! stream {
    ($app:expr, $body:expr $(,)?) => {{
        let request = test::TestRequest::post().uri(RESPONSES).set_json($body).to_request();
        let response = test::call_service($app, request).await;
        assert_eq!(response.status().as_u16(), 200);
        events(&test::read_body(response).await)
    }};
}

/// The events of a streamed response.
fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], index, "{event}");
    }
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn whole(message: &Value, finish: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "model": "m-1-2026",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 12,
                   "prompt_tokens_details": { "cached_tokens": 4 },
                   "completion_tokens_details": { "reasoning_tokens": 2 } }
    }))
}

fn said(text: &str) -> ResponseTemplate {
    whole(&json!({ "role": "assistant", "content": text }), "stop")
}

fn chunks(deltas: &[Value], finish: &str) -> ResponseTemplate {
    let mut lines: Vec<String> = deltas
        .iter()
        .map(|delta| json!({ "model": "m-1-2026", "choices": [{ "delta": delta }] }).to_string())
        .collect();
    lines.push(json!({ "choices": [{ "delta": {}, "finish_reason": finish }] }).to_string());
    lines.push("[DONE]".to_owned());
    let body = lines.iter().fold(String::new(), |body, line| body + "data: " + line + "\n\n");
    ResponseTemplate::new(200).set_body_raw(body, "text/event-stream")
}

fn tools() -> Value {
    json!([
        { "type": "function", "name": "see", "parameters": { "type": "object" } },
        { "type": "custom", "name": "run" },
        { "type": "namespace", "name": "fs", "description": "Files", "tools": [
            { "type": "function", "name": "read", "parameters": { "type": "object" } }
        ] }
    ])
}

mod native;
mod only;
mod stored;

#[actix_web::test]
async fn a_response_is_translated_to_a_chat_completion_and_back() {
    let answer = whole(
        &json!({
            "role": "assistant", "content": "I look.", "reasoning_content": "Hm.",
            "tool_calls": [
                { "id": "c1", "type": "function",
                  "function": { "name": "run", "arguments": "{\"input\":\"ls\"}" } },
                { "id": "c2", "type": "function",
                  "function": { "name": "fs__read", "arguments": "{}" } }
            ]
        }),
        "tool_calls",
    );
    let (setup, app) = server!(&[], CHAT, [answer]);
    let (status, body) = post!(
        &app,
        json!({
            "model": "m-1", "instructions": "Be brief", "input": "Look", "tools": tools(),
            "max_output_tokens": 99, "prompt_cache_key": "k", "store": true,
            "mlsdm": { "moral_value": 0.9 }
        }),
    );
    assert_eq!(status, 200, "{body}");
    let sent = &setup.sent().await[0];
    assert_eq!(
        sent["messages"],
        json!([
            { "role": "system", "content": "Be brief" },
            { "role": "user", "content": "Look" }
        ])
    );
    assert_eq!((&sent["max_tokens"], sent["tools"].as_array().unwrap().len()), (&json!(99), 3));
    assert_eq!(sent["tools"][2]["function"]["name"], "fs__read");
    let kinds: Vec<&Value> =
        body["output"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["reasoning", "message", "custom_tool_call", "function_call"]);
    assert_eq!(body["output"][0]["summary"][0]["text"], "Hm.");
    assert_eq!(body["output"][1]["content"][0]["text"], "I look.");
    assert_eq!(
        (&body["output"][2]["input"], &body["output"][2]["call_id"]),
        (&json!("ls"), &json!("c1"))
    );
    let read = &body["output"][3];
    assert_eq!((&read["namespace"], &read["name"]), (&json!("fs"), &json!("read")));
    assert_eq!((&body["status"], &body["instructions"]), (&json!("completed"), &json!("Be brief")));
    assert_eq!(body["usage"]["input_tokens_details"]["cached_tokens"], 4);
    assert_eq!(body["usage"]["output_tokens_details"]["reasoning_tokens"], 2);
    assert_eq!((&body["usage"]["total_tokens"], &body["tools"]), (&json!(21), &tools()));
    assert_eq!(body["mlsdm"]["dropped"], json!(["prompt_cache_key", "store"]));
    assert!(body["id"].as_str().unwrap().starts_with("resp_"));
}

#[actix_web::test]
async fn a_cut_answer_is_incomplete() {
    let cut = whole(&json!({ "role": "assistant", "content": "Once" }), "length");
    let (_setup, app) = server!(&[], CHAT, [cut]);
    let (_, body) = post!(&app, json!({ "input": "Tell", "mlsdm": { "moral_value": 0.9 } }));
    assert_eq!(body["status"], "incomplete");
    assert_eq!(body["incomplete_details"], json!({ "reason": "max_output_tokens" }));
}

#[actix_web::test]
async fn a_stream_has_the_events_that_clients_need() {
    let call = |arguments: &str| json!({ "index": 0, "function": { "arguments": arguments } });
    let answer = chunks(
        &[
            json!({ "reasoning_content": "H" }),
            json!({ "reasoning_content": "m" }),
            json!({ "content": "Hel" }),
            json!({ "content": "lo" }),
            json!({ "tool_calls": [{ "index": 0, "id": "c1",
                                     "function": { "name": "see", "arguments": "" } }] }),
            json!({ "tool_calls": [call("{\"a\"")] }),
            json!({ "tool_calls": [call(":1}")] }),
        ],
        "tool_calls",
    );
    let (_setup, app) = server!(&[], CHAT, [answer]);
    let events = stream!(
        &app,
        json!({ "input": "Hi", "stream": true, "tools": tools(), "mlsdm": { "moral_value": 0.9 } }),
    );
    assert_eq!(
        kinds(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"].as_array().unwrap().iter().collect::<Vec<_>>(), done);
    assert_eq!(last["output"][2]["arguments"], "{\"a\":1}");
    assert_eq!(last["output"][1]["content"][0]["text"], "Hello");
    assert_eq!(last["mlsdm"]["outcome"], "completed");
    assert_eq!(events[0]["response"]["id"], last["id"]);
    let ids: Vec<&Value> = events.iter().filter_map(|event| event.get("item_id")).collect();
    assert!(ids.iter().all(|id| done.iter().any(|item| item["id"] == **id)), "{ids:?}");
}

#[actix_web::test]
async fn what_cannot_be_translated_is_refused_before_any_step() {
    let (setup, app) = server!(&[], CHAT, [said("never")]);
    let before = get!(&app, "/v1/state").1;
    for body in [
        json!({ "input": "Hi", "tools": [{ "type": "web_search" }] }),
        json!({ "input": [{ "role": "user", "content": "Hi" }, { "type": "computer_call" }] }),
        json!({ "input": "Hi", "background": true }),
        json!({ "input": "Hi", "conversation": "conv_1" }),
        json!({ "input": [] }),
        json!({}),
    ] {
        let (status, error) = post!(&app, body.clone());
        assert_eq!(status, 400, "{body} {error}");
        assert!(error["error"]["message"].is_string(), "{error}");
    }
    assert_eq!(get!(&app, "/v1/state").1["position"], before["position"]);
    assert!(setup.sent().await.is_empty());
}

#[actix_web::test]
async fn a_refused_request_is_a_response_with_a_refusal() {
    let (setup, app) = server!(&[], CHAT, [said("never")]);
    let harmful = json!({ "input": "Hi", "mlsdm": { "moral_value": 0.1 } });
    let (status, body) = post!(&app, harmful.clone());
    assert_eq!((status, &body["status"]), (200, &json!("completed")), "{body}");
    let refusal = &body["output"][0]["content"][0];
    assert_eq!(
        (&refusal["type"], &refusal["refusal"]),
        (&json!("refusal"), &json!("morally rejected"))
    );
    assert_eq!(body["output"][1]["content"][0]["type"], "output_text");
    let mut streamed = harmful.clone();
    streamed["stream"] = json!(true);
    let events = stream!(&app, streamed);
    assert!(kinds(&events).contains(&"response.refusal.done"), "{events:?}");
    assert_eq!(kinds(&events).last(), Some(&"response.completed"));
    let mut formed = harmful;
    formed["text"] = json!({ "format": { "type": "json_object" } });
    let (_, body) = post!(&app, formed);
    assert_eq!(body["output"].as_array().unwrap().len(), 1, "no text of another form");
    assert!(setup.sent().await.is_empty());
}

#[actix_web::test]
async fn a_failed_stream_ends_with_the_events_that_clients_read() {
    let broken = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    let answer = ResponseTemplate::new(200).set_body_raw(broken, "text/event-stream");
    let (_setup, app) = server!(&[], CHAT, [answer]);
    let request = json!({ "input": "Hi", "stream": true, "mlsdm": { "moral_value": 0.9 } });
    let events = stream!(&app, request);
    let kinds = kinds(&events);
    assert_eq!(kinds[kinds.len() - 2..], ["response.failed", "error"]);
    let failed = &events[kinds.len() - 2]["response"];
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"]["code"].is_string() && failed["error"]["message"].is_string());
    assert!(events.last().unwrap()["error"]["message"].is_string());
}
