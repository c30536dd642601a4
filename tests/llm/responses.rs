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
const NATIVE: [(&str, &str); 1] = [("MLSDM__LLM__OPENAI__RESPONSES", "always")];

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
async fn a_response_is_continued_from_the_log() {
    let call = whole(
        &json!({ "role": "assistant", "content": null, "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "see", "arguments": "{}" } }
        ] }),
        "tool_calls",
    );
    let (setup, app) = server!(&[], CHAT, [call, said("A cat."), said("Yes.")]);
    let good = json!({ "moral_value": 0.9 });
    let (_, first) = post!(
        &app,
        json!({ "instructions": "Be brief", "input": "Look", "tools": tools(), "mlsdm": good }),
    );
    let result = json!([{ "type": "function_call_output", "call_id": "c1", "output": "cat" }]);
    let (status, second) = post!(
        &app,
        json!({ "input": result, "previous_response_id": first["id"], "tools": tools(), "mlsdm": good }),
    );
    assert_eq!(status, 200, "{second}");
    let (_, third) = post!(
        &app,
        json!({ "input": "Sure?", "previous_response_id": second["id"], "mlsdm": good }),
    );
    assert_eq!(third["previous_response_id"], second["id"]);
    let sent = setup.sent().await;
    assert_eq!(
        sent[2]["messages"],
        json!([
            { "role": "user", "content": "Look" },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "see", "arguments": "{}" } }
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "cat" },
            { "role": "assistant", "content": "A cat." },
            { "role": "user", "content": "Sure?" }
        ]),
        "the instructions are not inherited"
    );
    let id = third["id"].as_str().unwrap();
    let (status, got) = get!(&app, &format!("{RESPONSES}/{id}"));
    assert_eq!(status, 200, "{got}");
    for field in ["id", "output", "usage", "status", "created_at", "previous_response_id"] {
        assert_eq!(got[field], third[field], "{field}");
    }
    let uri = format!("{RESPONSES}/{id}/input_items?order=asc&limit=2");
    let (_, items) = get!(&app, &uri);
    assert_eq!(items["has_more"], true);
    assert_eq!(items["data"][0]["content"][0], json!({ "type": "input_text", "text": "Look" }));
    assert_eq!(items["data"][1]["type"], "function_call");
    let uri = format!("{uri}&after={}", items["last_id"].as_str().unwrap());
    let (_, items) = get!(&app, &uri);
    assert_eq!(items["data"][0]["type"], "function_call_output");
}

#[actix_web::test]
async fn references_to_items_are_resolved_from_the_log() {
    let call = whole(
        &json!({ "role": "assistant", "content": "I look.", "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "see", "arguments": "{}" } }
        ] }),
        "tool_calls",
    );
    let (setup, app) = server!(&[], CHAT, [call, said("A cat.")]);
    let good = json!({ "moral_value": 0.9 });
    let (_, first) = post!(&app, json!({ "input": "Look", "tools": tools(), "mlsdm": good }));
    let reference =
        |at: usize| json!({ "type": "item_reference", "id": first["output"][at]["id"] });
    let input = json!([
        { "role": "user", "content": "Look" },
        reference(0),
        reference(1),
        { "type": "function_call_output", "call_id": "c1", "output": "cat" }
    ]);
    let (status, body) = post!(&app, json!({ "input": input, "tools": tools(), "mlsdm": good }));
    assert_eq!(status, 200, "{body}");
    let sent = &setup.sent().await[1]["messages"];
    assert_eq!(
        (&sent[1]["content"], &sent[1]["tool_calls"][0]["id"]),
        (&json!("I look."), &json!("c1"))
    );
    let unknown = json!([{ "type": "item_reference", "id": "fc_nowhere" }, { "role": "user", "content": "x" }]);
    assert_eq!(post!(&app, json!({ "input": unknown, "mlsdm": good })).0, 404);
}

#[actix_web::test]
async fn only_the_caller_s_stored_responses_are_found() {
    let (_setup, app) = server!(&[], CHAT, [said("One."), said("Two."), said("Three.")]);
    let good = json!({ "moral_value": 0.9 });
    let ann = |request: test::TestRequest| request.insert_header(("X-MLSDM-End-User", "ann"));
    let body = json!({ "input": "Hi", "mlsdm": good });
    let (_, first) = send!(&app, ann(test::TestRequest::post().uri(RESPONSES).set_json(&body)));
    let (_, unstored) = post!(&app, json!({ "input": "Hi", "store": false, "mlsdm": good }));
    let id = |response: &Value| response["id"].as_str().unwrap().to_owned();
    let uri = format!("{RESPONSES}/{}", id(&first));
    assert_eq!(send!(&app, ann(test::TestRequest::get().uri(&uri))).0, 200);
    for missing in [id(&first), id(&unstored), "resp_x".to_owned(), "x".to_owned()] {
        let uri = format!("{RESPONSES}/{missing}");
        let (status, error) = get!(&app, &uri);
        assert_eq!((status, error["error"]["code"].is_string()), (404, true), "{error}");
        let body = json!({ "input": "More", "previous_response_id": missing, "mlsdm": good });
        let (status, continued) = post!(&app, body);
        assert_eq!(status, 404);
        assert_eq!(continued["error"]["message"], error["error"]["message"]);
    }
}

#[actix_web::test]
async fn a_refused_turn_is_not_repeated_to_the_model() {
    let (setup, app) = server!(&[], CHAT, [said("Hello."), said("Fine.")]);
    let (_, first) = post!(&app, json!({ "input": "Hi", "mlsdm": { "moral_value": 0.9 } }));
    let harmful = json!({ "input": "harm", "previous_response_id": first["id"],
                          "mlsdm": { "moral_value": 0.1 } });
    let (_, refused) = post!(&app, harmful);
    let (status, _) = post!(
        &app,
        json!({ "input": "Sorry", "previous_response_id": refused["id"],
                "mlsdm": { "moral_value": 0.9 } }),
    );
    assert_eq!(status, 200);
    let texts: Vec<Value> = setup.sent().await[1]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"].clone())
        .collect();
    assert_eq!(texts, ["Hi", "Hello.", "Sorry"]);
}

/// A response of a provider of this dialect.
fn native() -> Value {
    json!({
        "id": "resp_p1", "object": "response", "created_at": 1, "status": "completed",
        "model": "m-1-2026", "service_tier": "flex", "temperature": 1.0, "store": false,
        "output": [
            { "id": "rs_p1", "type": "reasoning", "summary": [
                { "type": "summary_text", "text": "Hm." }
            ], "encrypted_content": "enc-1" },
            { "id": "ws_p1", "type": "web_search_call", "status": "completed",
              "action": { "type": "search", "query": "cats" } },
            { "id": "msg_p1", "type": "message", "status": "completed", "role": "assistant",
              "content": [{ "type": "output_text", "text": "A cat.", "logprobs": [], "annotations": [
                  { "type": "url_citation", "url": "https://cats.example", "title": "Cats",
                    "start_index": 0, "end_index": 6 }
              ] }] },
            { "id": "fc_p1", "type": "function_call", "status": "completed", "call_id": "c1",
              "name": "see", "arguments": "{\"a\":1}" }
        ],
        "usage": { "input_tokens": 9, "output_tokens": 12, "total_tokens": 21,
                   "input_tokens_details": { "cached_tokens": 4 },
                   "output_tokens_details": { "reasoning_tokens": 2 } }
    })
}

#[actix_web::test]
async fn a_provider_of_this_dialect_gets_the_request_as_it_is() {
    let answer = ResponseTemplate::new(200).set_body_json(native());
    let (setup, app) = server!(&NATIVE, RESPONSES, [answer.clone(), answer]);
    let given = json!({
        "model": "m-1", "instructions": "Be brief", "store": false,
        "input": [
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Look" }] },
            { "type": "reasoning", "id": "rs_0", "summary": [], "encrypted_content": "enc-0" },
            { "type": "web_search_call", "id": "ws_0", "status": "completed" },
            { "type": "message", "role": "user", "content": "And?" }
        ],
        "tools": [{ "type": "web_search" }, { "type": "function", "name": "see", "parameters": {
            "properties": { "z": {}, "a": {} } } }],
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
        "client_metadata": { "a": "b" }, "max_output_tokens": 99, "stream": false
    });
    let mut body = given.clone();
    body["mlsdm"] = json!({ "moral_value": 0.9 });
    let (status, response) = post!(&app, body);
    assert_eq!(status, 200, "{response}");
    assert_eq!(setup.sent().await[0], given);
    for (name, value) in native().as_object().unwrap() {
        if !["id", "created_at", "output"].contains(&name.as_str()) {
            assert_eq!(&response[name], value, "{name}");
        }
    }
    assert_ne!(response["id"], "resp_p1");
    assert_eq!(response["output"][0], native()["output"][0], "reasoning keeps its id");
    assert_eq!(response["output"][2]["content"], native()["output"][2]["content"]);
    assert_eq!(response["mlsdm"].get("dropped"), None);
    let (_, text) = post!(&app, json!({ "input": "Hi", "mlsdm": { "moral_value": 0.9 } }));
    assert_eq!(text["status"], "completed");
    let sent = &setup.sent().await[1];
    assert_eq!((&sent["input"], &sent["store"]), (&json!("Hi"), &json!(false)));
}

#[actix_web::test]
async fn the_stream_of_a_provider_of_this_dialect_is_passed_on() {
    let mut events = vec![
        json!({ "type": "response.created", "response": { "id": "resp_p1", "output": [] } }),
        json!({ "type": "response.in_progress", "response": { "id": "resp_p1", "output": [] } }),
    ];
    for (at, item) in native()["output"].as_array().unwrap().iter().enumerate() {
        events.push(
            json!({ "type": "response.output_item.added", "output_index": at, "item": item }),
        );
        if item["type"] == "message" {
            events.push(json!({
                "type": "response.output_text.delta", "output_index": at, "content_index": 0,
                "item_id": item["id"], "delta": "A cat.", "logprobs": [], "obfuscation": "xyz"
            }));
        }
        if item["type"] == "function_call" {
            events.push(json!({
                "type": "response.function_call_arguments.delta", "output_index": at,
                "item_id": item["id"], "delta": "{\"a\":1}"
            }));
        }
        events
            .push(json!({ "type": "response.output_item.done", "output_index": at, "item": item }));
    }
    events.push(json!({ "type": "response.completed", "response": native() }));
    let body: String = events
        .iter()
        .enumerate()
        .map(|(n, event)| {
            let mut event = event.clone();
            event["sequence_number"] = json!(n);
            format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
        })
        .collect();
    let answer = ResponseTemplate::new(200).set_body_raw(body, "text/event-stream");
    let (setup, app) = server!(&NATIVE, RESPONSES, [answer]);
    let request = json!({ "input": "Look", "stream": true, "mlsdm": { "moral_value": 0.9 } });
    let got = stream!(&app, request);
    assert_eq!(kinds(&got), kinds(&events));
    assert_eq!(setup.sent().await[0]["stream"], true);
    let last = &got.last().unwrap()["response"];
    assert_eq!((&last["service_tier"], &last["usage"]), (&json!("flex"), &native()["usage"]));
    let items: Vec<&Value> = got
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(last["output"].as_array().unwrap().iter().collect::<Vec<_>>(), items);
    let delta = got.iter().find(|event| event["type"] == "response.output_text.delta").unwrap();
    assert_eq!((&delta["item_id"], &delta["obfuscation"]), (&items[2]["id"], &json!("xyz")));
    assert_ne!(delta["item_id"], "msg_p1");
}

#[actix_web::test]
async fn a_provider_of_this_dialect_gets_the_original_items_of_earlier_responses() {
    let answer = ResponseTemplate::new(200).set_body_json(native());
    let (setup, app) = server!(&NATIVE, RESPONSES, [answer.clone(), answer.clone(), answer]);
    let good = json!({ "moral_value": 0.9 });
    let (_, first) = post!(&app, json!({ "input": "Look", "mlsdm": good }));
    let output = json!([{ "type": "function_call_output", "call_id": "c1", "output": "cat" }]);
    let (status, _) =
        post!(&app, json!({ "input": output, "previous_response_id": first["id"], "mlsdm": good }));
    assert_eq!(status, 200);
    let sent = &setup.sent().await[1];
    assert_eq!((&sent["store"], sent.get("previous_response_id")), (&json!(false), None));
    let mut expected = native()["output"].as_array().unwrap().clone();
    expected.push(output[0].clone());
    assert_eq!(sent["input"].as_array().unwrap()[1..], expected);
    let reference = json!({ "type": "item_reference", "id": first["output"][3]["id"] });
    let input = json!([{ "role": "user", "content": "Look" }, reference, output[0]]);
    let (status, _) = post!(&app, json!({ "input": input, "mlsdm": good }));
    assert_eq!(status, 200);
    assert_eq!(setup.sent().await[2]["input"][1], native()["output"][3]);
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
