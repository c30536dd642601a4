//! Sources on the web, for clients of another dialect than the provider's.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, Server, chunks, delta, events, finish, named, request};

const RESPONSES: &str = "/v1/responses";
const URL: &str = "https://cats.example";

fn search() -> Value {
    json!({"type": "web_search_result_location", "url": URL, "title": "Cats",
        "cited_text": "A cat", "encrypted_index": "e"})
}

/// A message with a text of two blocks, of which the second has a source.
fn message(ends_in_call: bool) -> Vec<Value> {
    let start = json!({"id": "m", "type": "message", "role": "assistant", "model": "m-1-2026",
        "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}});
    let mut events = vec![json!({"type": "message_start", "message": start})];
    let mut block = |index: usize, block: Value, deltas: &[Value]| {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    };
    let text = |text: &str| json!({"type": "text_delta", "text": text});
    block(0, json!({"type": "text", "text": ""}), &[text("Ö! ")]);
    let cited = json!({"type": "citations_delta", "citation": search()});
    block(1, json!({"type": "text", "text": ""}), &[text("A cat."), cited]);
    let mut reason = "end_turn";
    if ends_in_call {
        reason = "tool_use";
        block(2, json!({"type": "tool_use", "id": "t-1", "name": "see", "input": {}}), &[]);
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason},
        "usage": {"output_tokens": 15}}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn completion() -> Vec<Value> {
    let source = json!({"url": URL, "title": "Cats", "start_index": 3, "end_index": 9});
    let annotation = json!({"type": "url_citation", "url_citation": source});
    vec![
        delta(&json!({"role": "assistant", "content": "Ö! A cat."})),
        delta(&json!({"annotations": [annotation]})),
        finish("stop"),
    ]
}

fn input(streamed: bool) -> Value {
    json!({"model": "m-1", "input": "What is a cat?", "stream": streamed})
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[actix_web::test]
async fn citations_become_annotations_of_chat_completions() {
    let expected = json!([{"type": "url_citation", "url_citation":
        {"url": URL, "title": "Cats", "start_index": 3, "end_index": 9}}]);
    let server = Server::anthropic([named(&message(false)), named(&message(true))]).await;
    let body = parsed(&server.post(CHAT, &request(false)).await.1);
    assert_eq!(body["choices"][0]["message"]["annotations"], expected);
    assert_eq!(body["mlsdm"].get("dropped"), None, "{body}");
    let (_, body) = server.post(CHAT, &request(true)).await;
    let deltas = events(&body);
    let deltas = deltas.iter().map(|chunk| &chunk["choices"][0]["delta"]["annotations"]);
    assert_eq!(deltas.filter(|given| given.is_array()).collect::<Vec<_>>(), [&expected]);
}

#[actix_web::test]
async fn citations_become_annotations_of_responses() {
    let expected = json!([{"type": "url_citation", "url": URL, "title": "Cats",
        "start_index": 3, "end_index": 9}]);
    let answers = [named(&message(false)), named(&message(false)), named(&message(true))];
    let server = Server::anthropic(answers).await;
    let body = parsed(&server.post(RESPONSES, &input(false)).await.1);
    assert_eq!(body["output"][0]["content"][0]["annotations"], expected, "{body}");
    let streamed = events(&server.post(RESPONSES, &input(true)).await.1);
    let added: Vec<&Value> = streamed
        .iter()
        .filter(|event| event["type"] == "response.output_text.annotation.added")
        .collect();
    assert_eq!((added.len(), &added[0]["annotation"]), (1, &expected[0]));
    let last = &streamed.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["annotations"], expected, "{last}");
    assert_eq!(last["mlsdm"].get("dropped"), None);
    // the message is complete before the call begins, and the sources are known at the end
    let streamed = events(&server.post(RESPONSES, &input(true)).await.1);
    let last = &streamed.last().unwrap()["response"];
    assert_eq!(last["mlsdm"]["dropped"], json!(["citations"]), "{last}");
}

#[actix_web::test]
async fn annotations_become_citations_of_messages() {
    let mut expected = search();
    for name in ["cited_text", "encrypted_index"] {
        expected[name] = json!("");
    }
    let server = Server::openai([chunks(&completion()), chunks(&completion())]).await;
    let body = parsed(&server.post(MESSAGES, &request(false)).await.1);
    assert_eq!(body["content"][0]["citations"], json!([expected]), "{body}");
    assert_eq!(body["mlsdm"].get("dropped"), None, "{body}");
    let streamed = events(&server.post(MESSAGES, &request(true)).await.1);
    let cited: Vec<&Value> =
        streamed.iter().filter(|event| event["delta"]["type"] == "citations_delta").collect();
    assert_eq!((cited.len(), &cited[0]["delta"]["citation"]), (1, &expected));
    assert_eq!(cited[0]["index"], 0);
}
