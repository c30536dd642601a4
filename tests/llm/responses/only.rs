//! Clients of other dialects at a provider that has responses and no chat completions.

use actix_web::{test, web};
use mlsdm::{http::create_app, testkit::app_state};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::{CHAT, RESPONSES, Setup, said};

const ONLY: [(&str, &str); 1] = [("MLSDM__LLM__OPENAI__RESPONSES", "only")];
const MESSAGES: &str = "/v1/messages";

fn output() -> Value {
    json!([
        { "id": "rs_1", "type": "reasoning", "summary": [
            { "type": "summary_text", "text": "Hm." }
        ], "encrypted_content": "enc" },
        { "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
          "content": [{ "type": "output_text", "text": "I look.", "annotations": [] }] },
        { "id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c2",
          "name": "see", "arguments": "{\"a\":1}" },
        { "id": "fc_2", "type": "function_call", "status": "completed", "call_id": "c3",
          "name": "see", "arguments": "{\"a\":2}" }
    ])
}

fn response(output: &Value) -> Value {
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "m-1-2026",
        "output": output,
        "usage": { "input_tokens": 9, "output_tokens": 12, "total_tokens": 21,
                   "input_tokens_details": { "cached_tokens": 4 },
                   "output_tokens_details": { "reasoning_tokens": 2 } }
    })
}

/// The response as a stream.
fn streamed() -> ResponseTemplate {
    let mut events = vec![json!({ "type": "response.created", "response": { "output": [] } })];
    for (at, item) in output().as_array().unwrap().iter().enumerate() {
        let mut begun = item.clone();
        begun["arguments"] = json!("");
        events.push(
            json!({ "type": "response.output_item.added", "output_index": at, "item": begun }),
        );
        let delta = match item["type"].as_str().unwrap() {
            "message" => Some(("response.output_text.delta", "I look.")),
            "function_call" => Some((
                "response.function_call_arguments.delta",
                item["arguments"].as_str().unwrap(),
            )),
            _ => None,
        };
        if let Some((name, delta)) = delta {
            events.push(json!({ "type": name, "output_index": at, "delta": delta }));
        }
        events
            .push(json!({ "type": "response.output_item.done", "output_index": at, "item": item }));
    }
    events.push(json!({ "type": "response.completed", "response": response(&output()) }));
    let frame =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    let body: String = events.iter().map(frame).collect();
    ResponseTemplate::new(200).set_body_raw(body, "text/event-stream")
}

/// A chat in a loop of tools, and the items that stand for it.
fn chat() -> Value {
    json!({
        "model": "m-1",
        "messages": [
            { "role": "system", "content": "Be brief" },
            { "role": "user", "content": [
                { "type": "text", "text": "Look" },
                { "type": "image_url", "image_url": { "url": "https://a.example/cat.png" } }
            ] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function",
                  "function": { "name": "see", "arguments": "{\"z\":1}" } }
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "cat" }
        ],
        "tools": [{ "type": "function", "function": {
            "name": "see", "parameters": { "type": "object", "properties": { "z": {}, "a": {} } }
        } }],
        "tool_choice": { "type": "function", "function": { "name": "see" } },
        "parallel_tool_calls": false, "prompt_cache_key": "k", "seed": 7,
        "max_completion_tokens": 99, "response_format": { "type": "json_object" },
        "mlsdm": { "moral_value": 0.9, "memory": "off" }
    })
}

macro_rules! to {
    ($app:expr, $route:expr, $body:expr) => {
        send!($app, test::TestRequest::post().uri($route).set_json($body))
    };
}

#[actix_web::test]
async fn a_chat_is_translated_to_a_response_and_back() {
    let answer = ResponseTemplate::new(200).set_body_json(response(&output()));
    let (setup, app) = server!(&ONLY, RESPONSES, [answer]);
    let (status, body) = to!(&app, CHAT, chat());
    assert_eq!(status, 200, "{body}");
    let mut sent = setup.sent().await[0].clone();
    // this server reads every answer as a stream
    assert_eq!(sent["stream"].take(), true);
    assert_eq!(
        sent,
        json!({
            "model": "m-1", "instructions": "Be brief", "prompt_cache_key": "k",
            "tools": [{ "type": "function", "name": "see", "strict": false, "parameters":
                { "type": "object", "properties": { "z": {}, "a": {} } } }],
            "parallel_tool_calls": false, "tool_choice": { "type": "function", "name": "see" },
            "text": { "format": { "type": "json_object" } },
            "input": [
                { "type": "message", "role": "user", "content": [
                    { "type": "input_text", "text": "Look" },
                    { "type": "input_image", "image_url": "https://a.example/cat.png" }
                ] },
                { "type": "function_call", "call_id": "c1", "name": "see",
                  "arguments": "{\"z\":1}" },
                { "type": "function_call_output", "call_id": "c1", "output": "cat" }
            ],
            "max_output_tokens": 99, "store": false, "stream": null
        })
    );
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], "I look.");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let ids: Vec<&Value> = calls.iter().map(|call| &call["id"]).collect();
    assert_eq!(ids, ["c2", "c3"]);
    assert_eq!(calls[1]["function"]["arguments"], "{\"a\":2}");
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(body["mlsdm"]["dropped"], json!(["seed", "encrypted_content"]));
}

#[actix_web::test]
async fn a_streamed_chat_is_translated_to_a_response_and_back() {
    let (setup, app) = server!(&ONLY, RESPONSES, [streamed()]);
    let mut request = chat();
    request["stream"] = json!(true);
    let request = test::TestRequest::post().uri(CHAT).set_json(request).to_request();
    let response = test::call_service(&app, request).await;
    assert_eq!(response.status().as_u16(), 200);
    let body = test::read_body(response).await;
    let text = std::str::from_utf8(&body).unwrap();
    let chunks: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let deltas = || chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
    let text: String = deltas().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(text, "I look.");
    let calls: Vec<&Value> = deltas().map(|delta| &delta["tool_calls"][0]).collect();
    for (index, id, arguments) in [(0, "c2", "{\"a\":1}"), (1, "c3", "{\"a\":2}")] {
        let of = || calls.iter().filter(|call| call["index"] == index);
        assert!(of().any(|call| call["id"] == id && call["function"]["name"] == "see"));
        let pieces = of().filter_map(|call| call["function"]["arguments"].as_str());
        assert_eq!(pieces.collect::<String>(), arguments);
    }
    let reasons: Vec<&str> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(reasons, ["tool_calls"]);
    assert_eq!(setup.sent().await.len(), 1);
}

/// A request of Anthropic's dialect whose tool has failed.
fn messages() -> Value {
    json!({
        "model": "m-1", "max_tokens": 99, "system": "Be brief",
        "messages": [
            { "role": "user", "content": "Look" },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "c1", "name": "see", "input": { "z": 1 } }
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "c1", "is_error": true, "content": [
                    { "type": "text", "text": "no cat" },
                    { "type": "image", "source":
                        { "type": "base64", "media_type": "image/png", "data": "AA==" } }
                ] }
            ] }
        ],
        "tools": [{ "name": "see", "input_schema": { "type": "object" } }],
        "mlsdm": { "moral_value": 0.9 }
    })
}

#[actix_web::test]
async fn messages_are_translated_to_a_response_and_back() {
    let answer = ResponseTemplate::new(200).set_body_json(response(&output()));
    let (setup, app) = server!(&ONLY, RESPONSES, [answer, streamed()]);
    let (status, body) = to!(&app, MESSAGES, messages());
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["stop_reason"], "tool_use");
    let kinds: Vec<&Value> =
        body["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(body["content"][3]["input"], json!({ "a": 2 }));
    let input = &setup.sent().await[0]["input"];
    assert_eq!(
        input[2],
        json!({ "type": "function_call_output", "call_id": "c1", "output": [
            { "type": "input_text", "text": "Error: " },
            { "type": "input_text", "text": "no cat" },
            { "type": "input_image", "image_url": "data:image/png;base64,AA==" }
        ] })
    );
    let mut request = messages();
    request["stream"] = json!(true);
    let request = test::TestRequest::post().uri(MESSAGES).set_json(request).to_request();
    let response = test::call_service(&app, request).await;
    let body = test::read_body(response).await;
    let text = std::str::from_utf8(&body).unwrap();
    for part in ["tool_use", "message_stop", r#""id":"c3""#, r#"{\"a\":2}"#] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[actix_web::test]
async fn a_request_without_a_form_in_responses_is_refused_before_the_provider_is_called() {
    let (setup, app) = server!(&ONLY, RESPONSES, [said("never")]);
    let mut request = chat();
    request["stop"] = json!(["\n"]);
    let (status, body) = to!(&app, CHAT, request);
    assert_eq!(status, 400, "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("stop sequences"), "{body}");
    assert!(setup.sent().await.is_empty());
}

#[actix_web::test]
async fn a_route_that_refuses_streams_is_asked_again_without_one() {
    let refusal = ResponseTemplate::new(400).set_body_json(json!({ "error": {
        "message": "no streams", "type": "invalid_request_error", "param": "stream"
    } }));
    let whole = ResponseTemplate::new(200).set_body_json(response(&output()));
    let (setup, app) = server!(&ONLY, RESPONSES, [refusal, whole.clone(), whole]);
    for route in [CHAT, RESPONSES] {
        let mut request = json!({ "mlsdm": { "moral_value": 0.9 } });
        if route == CHAT {
            request["messages"] = json!([{ "role": "user", "content": "Hi" }]);
        } else {
            request["input"] = json!("Hi");
        }
        let (status, body) = to!(&app, route, request);
        assert_eq!(status, 200, "{body}");
    }
    let streams: Vec<Value> =
        setup.sent().await.iter().map(|request| request["stream"].clone()).collect();
    assert_eq!(streams, [true, false, false], "the refusal is remembered");
}
