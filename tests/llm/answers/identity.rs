//! Streamed tool calls keep their identity, and finish reasons their meaning.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, Server, chunks, delta, events, finish, named, request};

fn part(index: Option<u8>, id: &str, name: &str, arguments: &str) -> Value {
    let mut call = json!({"function": {"arguments": arguments}});
    if let Some(index) = index {
        call["index"] = json!(index);
    }
    if !id.is_empty() {
        call["id"] = json!(id);
    }
    if !name.is_empty() {
        call["function"]["name"] = json!(name);
    }
    delta(&json!({"tool_calls": [call]}))
}

/// The ids, names and arguments of the calls of a whole answer.
fn calls(body: &str) -> Vec<(String, String, String)> {
    let body: Value = serde_json::from_str(body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let calls = body["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    calls
        .iter()
        .map(|call| {
            let function = &call["function"];
            (text(&call["id"]), text(&function["name"]), text(&function["arguments"]))
        })
        .collect()
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.to_owned(), name.to_owned(), arguments.to_owned())
}

#[actix_web::test]
async fn parallel_calls_without_an_index_or_all_with_zero_stay_apart() {
    for index in [None, Some(0)] {
        let parts = || {
            let calls = [part(index, "c1", "a", "{}"), part(index, "c2", "b", "[1]")];
            chunks(&[calls.to_vec(), vec![finish("tool_calls")]].concat())
        };
        let server = Server::openai([parts(), parts()]).await;
        let expected = [call("c1", "a", "{}"), call("c2", "b", "[1]")];
        assert_eq!(calls(&server.post(CHAT, &request(false)).await.1), expected);
        let (_, stream) = server.post(CHAT, &request(true)).await;
        let got: Vec<Value> = events(&stream)
            .iter()
            .map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].clone())
            .filter(|call| !call.is_null())
            .collect();
        assert_eq!((got[0]["index"].as_u64(), got[1]["index"].as_u64()), (Some(0), Some(1)));
        assert_eq!((&got[0]["id"], &got[1]["function"]["name"]), (&json!("c1"), &json!("b")));
    }
}

#[actix_web::test]
async fn a_name_that_comes_late_is_kept_and_sent_once_also_in_a_repetition() {
    let parts = chunks(&[
        part(Some(0), "c1", "", ""),
        part(Some(0), "", "clock", "{"),
        part(Some(0), "", "", "}"),
        finish("tool_calls"),
    ]);
    let server = Server::openai([parts]).await;
    let (_, stream) = server.post_with_key(CHAT, &request(true), Some("k")).await;
    assert_eq!(stream.matches("clock").count(), 1, "{stream}");
    let (_, again) = server.post_with_key(CHAT, &request(true), Some("k")).await;
    let call = &events(&again)[0]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["name"]), (&json!("c1"), &json!("clock")));
    assert_eq!(call["function"]["arguments"], "{}");
}

#[actix_web::test]
async fn parallel_calls_that_arrive_interleaved_are_blocks_one_after_another() {
    let parts = chunks(&[
        part(Some(0), "c1", "a", "{"),
        part(Some(1), "c2", "b", "{}"),
        part(Some(0), "", "", "}"),
        finish("tool_calls"),
    ]);
    let server = Server::openai([parts]).await;
    let (_, stream) = server.post(MESSAGES, &request(true)).await;
    let kinds: Vec<String> = events(&stream)
        .iter()
        .filter(|event| event["index"].is_u64())
        .map(|event| format!("{} {}", event["type"].as_str().unwrap(), event["index"]))
        .collect();
    assert_eq!(
        kinds,
        [
            "content_block_start 0",
            "content_block_delta 0",
            "content_block_delta 0",
            "content_block_stop 0",
            "content_block_start 1",
            "content_block_delta 1",
            "content_block_stop 1",
        ]
    );
}

#[actix_web::test]
async fn a_limit_in_any_spelling_is_length_and_a_cut_answer_is_not_remembered() {
    for reason in ["max_tokens", "MAX_TOKENS", "length"] {
        let answer = [delta(&json!({"content": "It is noon in Rome today and"})), finish(reason)];
        let server = Server::openai([chunks(&answer)]).await;
        let (_, body) = server.post(CHAT, &request(false)).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], "length", "{body}");
        let event = server.event("step.completed").await;
        assert_eq!(event["memory"]["why"], "cut", "{event}");
    }
}

#[actix_web::test]
async fn an_unknown_reason_is_passed_on_in_its_dialect_and_named_in_another() {
    let answer = || chunks(&[delta(&json!({"content": "Noon"})), finish("system_overload")]);
    let server = Server::openai([answer(), answer()]).await;
    let (_, body) = server.post(CHAT, &request(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["choices"][0]["finish_reason"], "system_overload");
    let (_, body) = server.post(MESSAGES, &request(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["mlsdm"]["dropped"], json!(["finish_reason"]), "{body}");
}

#[actix_web::test]
async fn the_stop_reasons_of_messages_are_kept() {
    for (reason, sequence) in [("pause_turn", Value::Null), ("stop_sequence", json!("END"))] {
        let stop = json!({"stop_reason": reason, "stop_sequence": sequence});
        let events_of = || {
            named(&[
                json!({"type": "message_start", "message": {"model": "claude-1", "content": []}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Noon"}}),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}),
                json!({"type": "message_stop"}),
            ])
        };
        let server = Server::anthropic([events_of(), events_of()]).await;
        let (_, body) = server.post(MESSAGES, &request(false)).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!(reason), &sequence));
        let (_, stream) = server.post(MESSAGES, &request(true)).await;
        let got = events(&stream);
        assert_eq!(got[got.len() - 2]["delta"], stop);
    }
}
