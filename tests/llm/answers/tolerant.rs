//! Answers are read in the forms in which servers send them.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use mlsdm::testkit::double::{Act, head};
use serde_json::{Value, json};

use super::{CHAT, MESSAGES, Server, chunks, delta, finish, raw, request};

const STREAM: &str = "Content-Type: text/event-stream\r\n";

/// The text and the reasoning of a whole answer.
async fn answer(act: Act) -> (String, Value) {
    let server = Server::openai([act]).await;
    let (status, body) = server.post(CHAT, &request(false)).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let message = &body["choices"][0]["message"];
    (message["content"].as_str().unwrap().to_owned(), message["reasoning_content"].clone())
}

fn lines(end: &str) -> String {
    let text = delta(&json!({"content": "Noon"}));
    format!("data: {text}\n\ndata: {}{end}", finish("stop"))
}

#[actix_web::test]
async fn the_last_event_of_a_stream_may_lack_its_blank_line() {
    for end in ["", "\n", "\n\n"] {
        assert_eq!(answer(raw(STREAM, &lines(end))).await.0, "Noon", "{end:?}");
    }
}

#[actix_web::test]
async fn a_stream_is_recognized_by_its_first_character() {
    for headers in
        ["", "Content-Type: application/json\r\n", "Content-Type: application/octet-stream\r\n"]
    {
        assert_eq!(answer(raw(headers, &lines("\n\n"))).await.0, "Noon", "{headers}");
    }
    for before in ["\u{feff}", ": comment\n\n", "\r\n", "event: x\n"] {
        let body = format!("{before}{}", lines("\n\n"));
        assert_eq!(answer(raw(STREAM, &body)).await.0, "Noon", "{before:?}");
    }
    let whole = json!({"choices": [{"message": {"content": "Noon"}, "finish_reason": "stop"}]});
    for (headers, before) in [(STREAM, ""), ("", "\u{feff} ")] {
        assert_eq!(answer(raw(headers, &format!("{before}{whole}"))).await.0, "Noon");
    }
}

#[actix_web::test]
async fn a_compressed_answer_is_read_although_none_was_requested() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(lines("\n\n").as_bytes()).unwrap();
    let headers = format!("{STREAM}Content-Encoding: gzip\r\n");
    let bytes = [head("200 OK", &headers).into_bytes(), encoder.finish().unwrap()].concat();
    assert_eq!(answer(Act::Send(bytes)).await.0, "Noon");
}

#[actix_web::test]
async fn content_as_a_list_of_parts_is_text_and_reasoning() {
    let parts = json!([
        {"type": "thinking", "thinking": [{"type": "text", "text": "Rome"}]},
        {"type": "text", "text": "No"}, {"type": "text", "text": "on"}
    ]);
    let streamed = chunks(&[delta(&json!({"content": parts})), finish("stop")]);
    assert_eq!(answer(streamed).await, ("Noon".to_owned(), json!("Rome")));
    // a whole answer has the list as it came, for clients of other dialects it is text
    let whole = json!({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]});
    let whole = || raw("", &format!("{whole:#}"));
    let server = Server::openai([whole(), whole()]).await;
    let (_, body) = server.post(CHAT, &request(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], parts);
    let (_, stream) = server.post(CHAT, &request(true)).await;
    assert_eq!(super::events(&stream)[0]["choices"][0]["delta"]["content"], parts);
    assert_eq!(server.event("step.completed").await["finish_reason"], "stop");
}

#[actix_web::test]
async fn a_malformed_extra_field_does_not_cost_the_answer() {
    let mut odd = delta(&json!({"content": "Noon", "annotations": 7, "tool_calls": {}}));
    odd["usage"] = json!("many");
    odd["model"] = json!(5);
    let mut last = finish("stop");
    last["usage"] = json!({"prompt_tokens": "nine", "completion_tokens": -1});
    assert_eq!(answer(chunks(&[odd, last])).await.0, "Noon");
}

#[actix_web::test]
async fn events_without_names_have_their_type_in_the_data() {
    let events = [
        json!({"type": "message_start", "message": {"model": "claude-1", "content": []}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Noon"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
    ];
    let body: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let server = Server::anthropic([raw(STREAM, &body.concat())]).await;
    let (status, body) = server.post(MESSAGES, &request(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["content"][0]["text"]), (200, &json!("Noon")), "{body}");
}

#[actix_web::test]
async fn a_stream_without_a_finish_reason_is_broken_off_and_remembers_nothing() {
    let body = format!("data: {}\n\ndata: [DONE]\n\n", delta(&json!({"content": "Noon"})));
    let server = Server::openai([raw(STREAM, &body)]).await;
    let (status, body) = server.post(CHAT, &request(false)).await;
    assert_eq!(status, 502, "{body}");
    assert_eq!(server.event("step.failed").await["code"], "broken_off");
}
