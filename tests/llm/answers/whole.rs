//! Everything that a provider sends comes back.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, Server, chunks, delta, events, finish, named, request};

/// A stream with everything that chat completions have.
fn rich_chunks() -> Vec<Value> {
    let mut text = delta(&json!({"content": "Noon."}));
    text["system_fingerprint"] = json!("fp_1");
    text["service_tier"] = json!("default");
    text["choices"][0]["logprobs"] =
        json!({"content": [{"token": "Noon", "logprob": -0.25, "top_logprobs": []}]});
    let mut more = delta(&json!({"content": " Sharp.", "annotations": [{"type": "url_citation"}]}));
    more["choices"][0]["logprobs"] = json!({"content": [{"token": "Sharp", "logprob": -1.5}]});
    vec![
        delta(&json!({"role": "assistant", "content": "", "reasoning_content": "Rome is"})),
        delta(&json!({"reasoning_content": " in Italy."})),
        text,
        more,
        delta(&json!({"audio": {"id": "a-1", "data": "AA"}})),
        delta(&json!({"audio": {"data": "BB", "expires_at": 7}})),
        finish("stop"),
        json!({"model": "m-1-2026", "choices": [], "usage": usage()}),
    ]
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 3, "accepted_prediction_tokens": 0}
    })
}

#[actix_web::test]
async fn a_whole_chat_completion_has_everything_that_the_provider_streamed() {
    let server = Server::openai([chunks(&rich_chunks())]).await;
    let (status, body) = server.post(CHAT, &request(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200, "{body}");
    let choice = &body["choices"][0];
    let message = &choice["message"];
    assert_eq!(message["reasoning_content"], "Rome is in Italy.");
    assert_eq!(message["content"], "Noon. Sharp.");
    assert_eq!(message["annotations"], json!([{"type": "url_citation"}]));
    assert_eq!(message["audio"], json!({"id": "a-1", "data": "AABB", "expires_at": 7}));
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!((tokens.len(), &tokens[1]["logprob"]), (2, &json!(-1.5)));
    assert_eq!(
        (&body["system_fingerprint"], &body["service_tier"]),
        (&json!("fp_1"), &json!("default"))
    );
    assert_eq!((&body["usage"], &body["model"]), (&usage(), &json!("m-1-2026")));
    assert_eq!(choice["finish_reason"], "stop");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["mlsdm"]["outcome"], "completed");
    assert!(body["mlsdm"].get("dropped").is_none(), "{body}");
}

#[actix_web::test]
async fn a_streamed_chat_completion_has_everything_that_the_provider_streamed() {
    let server = Server::openai([chunks(&rich_chunks())]).await;
    let mut asked = request(true);
    asked["stream_options"] = json!({"include_usage": true});
    let (status, body) = server.post(CHAT, &asked).await;
    assert_eq!(status, 200, "{body}");
    let got = events(&body);
    let deltas: Vec<&Value> = got.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(
        deltas[0],
        &json!({"role": "assistant", "content": "", "reasoning_content": "Rome is"})
    );
    assert_eq!(deltas[4], &json!({"audio": {"id": "a-1", "data": "AA"}}));
    assert_eq!(got[2]["choices"][0]["logprobs"]["content"][0]["logprob"], -0.25);
    assert_eq!(got[2]["system_fingerprint"], "fp_1");
    assert!(got.iter().all(|chunk| chunk["id"] == got[0]["id"] && chunk["model"] == "m-1-2026"));
    let last = &got[got.len() - 2];
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["mlsdm"]["outcome"], "completed");
    assert_eq!(got[got.len() - 1]["usage"], usage());
    assert!(body.ends_with("data: [DONE]\n\n"));
}

/// A stream with everything that messages have.
fn rich_events() -> Vec<Value> {
    let block = |index: u8, start: Value, deltas: &[Value]| {
        let start = json!({"type": "content_block_start", "index": index, "content_block": start});
        let deltas = deltas
            .iter()
            .map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
        let stop = json!({"type": "content_block_stop", "index": index});
        std::iter::once(start).chain(deltas).chain([stop]).collect::<Vec<_>>()
    };
    let usage = json!({"input_tokens": 3, "cache_read_input_tokens": 2000, "output_tokens": 1});
    let start = json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-1",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
    let mut events =
        vec![json!({"type": "message_start", "message": start}), json!({"type": "ping"})];
    events.extend(block(
        0,
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        &[
            json!({"type": "thinking_delta", "thinking": "Rome is in Italy."}),
            json!({"type": "signature_delta", "signature": "c2ln"}),
        ],
    ));
    events.extend(block(1, json!({"type": "redacted_thinking", "data": "b64"}), &[]));
    events.extend(block(
        2,
        json!({"type": "text", "text": ""}),
        &[
            json!({"type": "text_delta", "text": "Noon."}),
            json!({"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "x"}}),
        ],
    ));
    events.extend(block(
        3,
        json!({"type": "tool_use", "id": "t-1", "name": "clock", "input": {}}),
        &[json!({"type": "input_json_delta", "partial_json": "{\"zone\": 1, \"at\": 2}"})],
    ));
    events.push(json!({"type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 15}}));
    events.push(json!({"type": "message_stop"}));
    events
}

#[actix_web::test]
async fn a_whole_message_has_every_block_with_signatures_and_citations() {
    let server = Server::anthropic([named(&rich_events())]).await;
    let (status, text) = server.post(MESSAGES, &request(false)).await;
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body["content"],
        json!([
            {"type": "thinking", "thinking": "Rome is in Italy.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "b64"},
            {"type": "text", "text": "Noon.", "citations": [{"type": "char_location", "cited_text": "x"}]},
            {"type": "tool_use", "id": "t-1", "name": "clock", "input": {"zone": 1, "at": 2}}
        ])
    );
    assert!(text.contains("{\"zone\": 1, \"at\": 2}"), "the input keeps its order: {text}");
    let usage = json!({"input_tokens": 3, "cache_read_input_tokens": 2000, "output_tokens": 15});
    assert_eq!((&body["usage"], &body["stop_reason"]), (&usage, &json!("tool_use")));
}

#[actix_web::test]
async fn a_streamed_message_has_the_events_of_the_provider() {
    let server = Server::anthropic([named(&rich_events())]).await;
    let (_, body) = server.post(MESSAGES, &request(true)).await;
    let got = events(&body);
    let sent: Vec<Value> =
        rich_events().into_iter().filter(|event| event["type"] != "ping").collect();
    assert_eq!(got.len(), sent.len(), "{body}");
    assert_eq!(got[1..got.len() - 2], sent[1..sent.len() - 2]);
    let (first, last) = (&got[0]["message"], &got[got.len() - 2]);
    assert!(first["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(first["usage"]["cache_read_input_tokens"], 2000);
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    assert_eq!(last["mlsdm"]["outcome"], "completed");
}

#[actix_web::test]
async fn a_client_of_another_dialect_gets_what_has_a_form_and_the_names_of_the_rest() {
    let server = Server::anthropic([named(&rich_events())]).await;
    let (_, body) = server.post(CHAT, &request(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let message = &body["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "Rome is in Italy.");
    assert_eq!(message["tool_calls"][0]["function"]["name"], "clock");
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 2000);
    let dropped = json!(["citations", "redacted_thinking", "signature"]);
    assert_eq!(body["mlsdm"]["dropped"], dropped, "{body}");

    let server = Server::openai([chunks(&rich_chunks())]).await;
    let (_, body) = server.post(MESSAGES, &request(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["content"][0]["thinking"], "Rome is in Italy.");
    assert_eq!(body["content"][1]["text"], "Noon. Sharp.");
    assert_eq!(body["usage"]["cache_read_input_tokens"], 8);
    let dropped = json!(["annotations", "audio", "logprobs", "service_tier", "system_fingerprint"]);
    assert_eq!(body["mlsdm"]["dropped"], dropped, "{body}");
}

#[actix_web::test]
async fn a_repeated_request_gets_everything_again() {
    for streamed in [false, true] {
        let server = Server::anthropic([named(&rich_events())]).await;
        let (_, first) = server.post_with_key(MESSAGES, &request(streamed), Some("k")).await;
        let (_, again) = server.post_with_key(MESSAGES, &request(streamed), Some("k")).await;
        assert_eq!(server.double.times(), 1);
        if streamed {
            let blocks = |body: &str| -> Vec<Value> {
                let mut events = events(body);
                events.retain(|event| event["type"] == "content_block_start");
                events.into_iter().map(|event| event["content_block"]["type"].clone()).collect()
            };
            assert_eq!(blocks(&first), blocks(&again));
            assert!(again.contains("signature_delta") && again.contains("c2ln"), "{again}");
        } else {
            let content =
                |body: &str| serde_json::from_str::<Value>(body).unwrap()["content"].clone();
            assert_eq!(content(&first), content(&again));
        }
    }
}
