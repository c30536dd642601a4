//! A provider that has the Responses API.

use actix_web::{test, web};
use mlsdm::{http::create_app, testkit::app_state};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::{RESPONSES, Setup, events, kinds};

const NATIVE: [(&str, &str); 1] = [("MLSDM__LLM__OPENAI__RESPONSES", "always")];

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
    let mut sent = given.clone();
    // this server reads every answer as a stream
    sent["stream"] = json!(true);
    assert_eq!(setup.sent().await[0], sent);
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
    let mut body = String::new();
    for (n, event) in events.iter().enumerate() {
        let mut event = event.clone();
        event["sequence_number"] = json!(n);
        body += "event: ";
        body += event["type"].as_str().unwrap();
        body += "\ndata: ";
        body += &event.to_string();
        body += "\n\n";
    }
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

/// Texts that another writer of JSON would write in another way.
const ESCAPED: &str = r#""Be \u0062rief \/ caf\u00e9""#;

#[actix_web::test]
async fn texts_with_escapes_are_passed_byte_for_byte() {
    let answer = ResponseTemplate::new(200).set_body_json(native());
    let (setup, app) = server!(&NATIVE, RESPONSES, [answer.clone(), answer]);
    let off = r#""mlsdm":{"moral_value":0.9,"memory":"off"}"#;
    let text = format!(r#"{{"instructions":{ESCAPED},"input":{ESCAPED},{off}}}"#);
    let item = format!(r#"{{"role":"user","content":{ESCAPED}}}"#);
    let items = format!(r#"{{"instructions":{ESCAPED},"input":[{item}],{off}}}"#);
    for (body, input) in [(&text, ESCAPED.to_owned()), (&items, format!("[{item}]"))] {
        let request = test::TestRequest::post().uri(RESPONSES);
        let request = request.insert_header(("Content-Type", "application/json"));
        let (status, response) = send!(&app, request.set_payload(body.clone()));
        assert_eq!((status, &response["instructions"]), (200, &json!("Be brief / café")));
        let sent = setup.provider.received_requests().await.unwrap();
        let sent = std::str::from_utf8(&sent.last().unwrap().body).unwrap().to_owned();
        for (name, value) in [("instructions", ESCAPED), ("input", &input)] {
            assert!(sent.contains(&format!(r#""{name}":{value}"#)), "{name}: {sent}");
        }
    }
}
