//! The APIs of OpenAI and Anthropic, compared field by field with the formats of the originals.

mod routes;

use mlsdm::testkit::{TestDatabase, TestEnv, TestResponse, TestServer, send};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, method},
};

use crate::streaming::frames;

async fn serve() -> (TestServer, TestDatabase) {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    (server, database)
}

fn chat(server: &TestServer, body: &Value) -> RequestBuilder {
    server.post("/v1/chat/completions").json(body)
}

fn user(text: &str) -> Value {
    json!({"model": "default", "messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

#[track_caller]
fn is_openai_error(reply: &TestResponse, status: u16, code: &str, kind: &str) {
    let error = &reply.body["error"];
    assert_eq!((reply.status, error["code"].as_str()), (status, Some(code)), "{reply:?}");
    assert_eq!(error["type"], kind, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json");
    assert!(error["message"].is_string() && error["param"].is_null());
}

#[tokio::test]
async fn a_chat_is_a_governed_step_with_a_receipt() {
    let (server, _database) = serve().await;
    let body = with(user("My dog is called Rex"), "user", json!("ann"));
    let reply = send(chat(&server, &body)).await.unwrap();
    assert_eq!(reply.header("x-mlsdm-step"), "1");
    assert_eq!(reply.header("x-mlsdm-accepted"), "true");
    let answer = reply.ok();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let usage = &answer["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    let receipt = &answer["mlsdm"];
    let event = server.read(&format!("/v1/events/{}", receipt["position"])).await;
    assert_eq!(event["chain_hash"], receipt["chain_hash"]);

    // a later prompt of the same end user finds the memory; one of another end user does not
    for (end_user, items) in [("ann", 1), ("bob", 0)] {
        let body = with(user("What is my dog called?"), "user", json!(end_user));
        let answer = send(chat(&server, &body)).await.unwrap().ok();
        assert_eq!(answer["mlsdm"]["context_items"], items, "{end_user}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_prompt_is_the_last_user_message() {
    let (server, _database) = serve().await;
    let body = json!({"messages": [
        {"role": "system", "content": "attack kill destroy"},
        {"role": "user", "content": "attack kill destroy"},
        {"role": "assistant", "content": "attack kill destroy"},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "you"}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "x", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "attack kill destroy"},
    ]});
    let answer = send(chat(&server, &body)).await.unwrap().ok();
    assert_eq!(answer["mlsdm"]["accepted"], true, "{answer}");
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("You said: Hello\nyou"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_moral_refusal_is_an_answer_or_an_error_by_configuration() {
    let (server, _database) = serve().await;
    let body = user("attack kill destroy");
    let answer = send(chat(&server, &body)).await.unwrap().ok();
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(answer["choices"][0]["message"]["refusal"], "morally rejected");
    let message =
        json!({"max_tokens": 9, "messages": [{"role": "user", "content": "attack kill destroy"}]});
    let answer = send(server.post("/v1/messages").json(&message)).await.unwrap().ok();
    assert_eq!((&answer["stop_reason"], &answer["content"]), (&json!("refusal"), &json!([])));
    server.stop().await;

    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).with("MLSDM__API__REFUSAL", "error").serve().await;
    for body in [body.clone(), with(body, "stream", json!(true))] {
        let reply = send(chat(&server, &body)).await.unwrap();
        is_openai_error(&reply, 400, "content_filter", "invalid_request_error");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_during_sleep_gets_the_time_to_retry() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url())
        .with("MLSDM__MLSDM__POLICY__RHYTHM__SLEEP_MODE", "refuse")
        .with("MLSDM_WAKE_DURATION", 1)
        .with("MLSDM_SLEEP_DURATION", 1)
        .serve()
        .await;
    send(chat(&server, &user("Hello"))).await.unwrap().ok();
    let reply = send(chat(&server, &user("Hello"))).await.unwrap();
    is_openai_error(&reply, 429, "E502", "rate_limit_error");
    assert!(!reply.header("retry-after").is_empty());
    send(chat(&server, &user("Hello"))).await.unwrap().ok();
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_a_receipt_the_usage_and_done() {
    let (server, _database) = serve().await;
    let body = with(user("My dog is called Rex"), "stream", json!(true));
    let body = with(body, "stream_options", json!({"include_usage": true}));
    let mut frames = frames(chat(&server, &body)).await;
    assert_eq!(frames.pop().unwrap().data, "[DONE]");
    let usage = frames.pop().unwrap().json();
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["total_tokens"].as_u64() > Some(0), "{usage}");
    let last = frames.pop().unwrap().json();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["mlsdm"]["step"], 1);
    let first = frames[0].json();
    assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let text: String = frames[1..]
        .iter()
        .map(|frame| frame.json()["choices"][0]["delta"]["content"].as_str().unwrap().to_owned())
        .collect();
    assert!(text.ends_with("You said: My dog is called Rex"), "{text}");
    assert!(frames.iter().all(|frame| frame.json()["id"] == last["id"]));
    server.stop().await;
}

#[tokio::test]
async fn a_messages_stream_has_named_events() {
    let (server, _database) = serve().await;
    let body = json!({
        "model": "default", "max_tokens": 100, "stream": true, "system": "Be kind.",
        "metadata": {"user_id": "ann"},
        "messages": [{"role": "user", "content": "My dog is called Rex"}],
    });
    let frames = frames(server.post("/v1/messages").json(&body)).await;
    let names: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert!(frames.iter().all(|frame| frame.json()["type"] == frame.event));
    let delta = frames[frames.len() - 2].json();
    assert_eq!(delta["delta"]["stop_reason"], "end_turn");
    assert!(delta["usage"]["output_tokens"].as_u64() > Some(0));
    assert_eq!(delta["mlsdm"]["outcome"], "completed");
    server.stop().await;
}

#[tokio::test]
async fn engines_are_named_by_path_header_or_model() {
    let (server, _database) = serve().await;
    let created = server.post("/v1/engines").json(&json!({"engine_id": "support"}));
    send(created).await.unwrap().ok();
    let body = user("Hello");
    send(server.post("/v1/engines/support/chat/completions").json(&body)).await.unwrap().ok();
    send(chat(&server, &body).header("X-MLSDM-Engine", "support")).await.unwrap().ok();
    let named = with(body.clone(), "model", json!("support/default"));
    send(chat(&server, &named)).await.unwrap().ok();
    assert_eq!(server.state("support").await["step"], 3);
    assert_eq!(server.state("default").await["step"], 0);
    let nobody = with(body, "model", json!("nobody/default"));
    is_openai_error(&send(chat(&server, &nobody)).await.unwrap(), 404, "E408", "not_found_error");
    server.stop().await;
}

#[tokio::test]
async fn invalid_chats_get_errors_in_the_format_of_their_api_and_append_nothing() {
    let (server, _database) = serve().await;
    let hello = user("Hello");
    let cases = [
        (json!({"model": "default"}), "E102"),
        (json!({"messages": []}), "E113"),
        (json!({"messages": [7]}), "E113"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "E113"),
        (json!({"messages": [{"role": "system", "content": "x"}]}), "E113"),
        (json!({"messages": [{"role": "user", "content": "  "}]}), "E103"),
        (json!({"messages": [{"role": "user", "content": {"text": "x"}}]}), "E113"),
        (with(hello.clone(), "n", json!(2)), "E113"),
        (with(hello.clone(), "temperature", json!(7)), "E113"),
        (with(hello.clone(), "max_tokens", json!(0)), "E106"),
        (with(hello.clone(), "mlsdm", json!({"moral_value": 2})), "E105"),
        (with(hello.clone(), "mlsdm", json!({"morals": 2})), "E102"),
        (with(hello.clone(), "user", json!("")), "E102"),
        (with(hello.clone(), "some_future_field", json!({"kept": true})), "E102"),
        (with(hello.clone(), "base_url", json!("http://127.0.0.1:1")), "E102"),
        (user(&"x".repeat(1_000_001)), "E104"),
    ];
    for (body, code) in cases {
        let reply = send(chat(&server, &body)).await.unwrap();
        is_openai_error(&reply, 400, code, "invalid_request_error");
    }
    let text = server.post("/v1/chat/completions").body(hello.to_string());
    is_openai_error(&send(text).await.unwrap(), 415, "E903", "invalid_request_error");
    let unknown = send(server.get("/v1/models/nothing-like-this")).await.unwrap();
    is_openai_error(&unknown, 404, "model_not_found", "not_found_error");
    for path in ["/v1/images/generations", "/v1/engines/default/files", "/v1/nonsense"] {
        let reply = send(server.post(path).json(&json!({}))).await.unwrap();
        is_openai_error(&reply, 404, "E901", "not_found_error");
    }
    let images = send(server.get("/v1/images/generations")).await.unwrap();
    assert!(images.body["error"]["message"].as_str().unwrap().contains("images"), "{images:?}");
    let batches = send(server.get("/v1/messages/batches")).await.unwrap();
    assert_eq!((batches.status, &batches.body["type"]), (404, &json!("error")), "{batches:?}");
    let message = send(server.post("/v1/messages").json(&json!({"messages": []}))).await.unwrap();
    assert_eq!((message.status, &message.body["type"]), (400, &json!("error")), "{message:?}");
    assert_eq!(message.body["error"]["type"], "invalid_request_error");
    assert_eq!(server.head().await, 1, "nothing was appended");
    server.stop().await;
}

#[tokio::test]
async fn models_and_moderations_have_the_format_of_openai() {
    let (server, _database) = serve().await;
    let models = server.read("/v1/models").await;
    assert_eq!(models["data"][0]["id"], "local-stub");
    assert_eq!(server.read("/v1/models/local-stub").await["object"], "model");
    let body = json!({"input": ["Thank you, friend", "attack kill destroy"]});
    let judged = send(server.post("/v1/moderations").json(&body)).await.unwrap().ok();
    let flagged: Vec<&Value> =
        judged["results"].as_array().unwrap().iter().map(|result| &result["flagged"]).collect();
    assert_eq!(flagged, [&json!(false), &json!(true)]);
    assert_eq!(server.head().await, 1, "nothing was appended");
    server.stop().await;
}

/// A provider that answers with a tool call, complete or streamed.
async fn tool_caller() -> MockServer {
    let call = json!({"id": "call-1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let whole = json!({"model": "m-1",
        "choices": [{"message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7}});
    let piece = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!("data: {}\n\n", json!({"model": "m-1", "choices": [choice]}))
    };
    let begin = json!({"tool_calls": [{"index": 0, "id": "call-1", "type": "function",
        "function": {"name": "weather", "arguments": ""}}]});
    let more = json!({"tool_calls": [{"index": 0,
        "function": {"arguments": "{\"city\":\"Rome\"}"}}]});
    let stream = [
        piece(begin, Value::Null),
        piece(more, Value::Null),
        piece(json!({}), json!("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let provider = MockServer::start().await;
    let streams = body_partial_json(json!({"stream": true}));
    let body = ResponseTemplate::new(200).set_body_raw(stream, "text/event-stream");
    Mock::given(streams).respond_with(body).with_priority(1).mount(&provider).await;
    let body = ResponseTemplate::new(200).set_body_json(whole);
    Mock::given(method("POST")).respond_with(body).mount(&provider).await;
    provider
}

#[tokio::test]
async fn tool_definitions_and_tool_calls_pass_through() {
    let provider = tool_caller().await;
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url())
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", provider.uri())
        .with("MLSDM__LLM__MODEL", "m-1")
        .serve()
        .await;
    let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
    let body = with(user("How is the weather in Rome?"), "tools", tools.clone());
    let body = with(body, "some_future_field", json!("kept"));
    let answer = send(chat(&server, &body)).await.unwrap().ok();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"], json!({"name": "weather", "arguments": "{\"city\":\"Rome\"}"}));

    let frames = frames(chat(&server, &with(body, "stream", json!(true)))).await;
    let deltas: Vec<Value> = frames
        .iter()
        .filter(|frame| frame.data != "[DONE]")
        .map(|frame| frame.json()["choices"][0]["delta"]["tool_calls"][0].clone())
        .filter(|call| !call.is_null())
        .collect();
    assert_eq!(
        (&deltas[0]["id"], &deltas[0]["function"]["name"]),
        (&json!("call-1"), &json!("weather"))
    );
    assert_eq!(deltas[1]["function"]["arguments"], "{\"city\":\"Rome\"}");

    // both answers are sealed, and neither is remembered, since they contain no text
    let state = server.until_closed("default").await;
    assert_eq!((&state["completed_count"], &state["memory"]["used"]), (&json!(2), &json!(0)));
    for request in provider.received_requests().await.unwrap() {
        let asked: Value = request.body_json().unwrap();
        assert_eq!((&asked["tools"], &asked["model"]), (&tools, &json!("m-1")));
        assert_eq!(asked["some_future_field"], "kept", "short unknown fields are passed on");
        assert!(asked.get("mlsdm").is_none() && asked.get("user").is_none());
    }
    server.stop().await;
}

#[tokio::test]
async fn memories_are_inserted_right_before_the_prompt() {
    let provider = MockServer::start().await;
    let answer = json!({"model": "m-1", "choices": [{"finish_reason": "stop",
        "message": {"content": "Noted: your dog is called Rex, and I will keep it in mind."}}]});
    let answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(method("POST")).respond_with(answer).mount(&provider).await;
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url())
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", provider.uri())
        .with("MLSDM__LLM__MODEL", "m-1")
        .serve()
        .await;
    send(chat(&server, &user("My dog is called Rex"))).await.unwrap().ok();
    let body = json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "What is my dog called?"},
    ]});
    send(chat(&server, &body)).await.unwrap().ok();
    let requests = provider.received_requests().await.unwrap();
    let asked: Value = requests[1].body_json().unwrap();
    let roles: Vec<&str> =
        asked["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    let message = asked["messages"][3]["content"].as_str().unwrap();
    let context = message.strip_suffix("\n\nWhat is my dog called?").unwrap();
    assert!(context.contains("Rex") && context.contains("<remembered>"), "{context}");
    server.stop().await;
}
