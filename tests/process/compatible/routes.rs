//! Smaller routes that clients of these APIs call.

use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn the_older_route_for_texts_answers_whole_and_streamed() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    let post = |body: &Value| server.post("/v1/completions").json(body);
    let ask = json!({"model": "default", "prompt": ["Hello there"], "echo": false, "suffix": null});
    let whole = send(post(&ask)).await.unwrap().ok();
    assert_eq!(whole["object"], "text_completion");
    assert!(whole["id"].as_str().unwrap().starts_with("cmpl-"), "{whole}");
    let text = whole["choices"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty() && whole["choices"][0]["finish_reason"] == "stop", "{whole}");
    assert!(whole["usage"]["total_tokens"].as_u64().unwrap() > 0 && whole["mlsdm"]["step"] == 1);

    let streamed =
        json!({"prompt": "Hello there", "stream": true, "stream_options": {"include_usage": true}});
    let frames = frames(post(&streamed)).await;
    let (done, chunks) = frames.split_last().unwrap();
    assert_eq!(done.data, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(crate::streaming::Frame::json).collect();
    let joined: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert!(!joined.is_empty() && chunks.last().unwrap()["usage"].is_object(), "{chunks:?}");
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"), "{chunks:?}");

    for bad in [
        json!({"prompt": [1, 2]}),
        json!({"prompt": ["a", "b"]}),
        json!({"prompt": "a", "suffix": "b"}),
        json!({"prompt": "a", "echo": true}),
        json!({"prompt": "a", "api_base": "http://127.0.0.1"}),
    ] {
        let refused = send(post(&bad)).await.unwrap();
        assert_eq!((refused.status, refused.body["error"].is_object()), (400, true), "{bad}");
    }
    server.stop().await;
}

#[tokio::test]
async fn models_and_counts_of_tokens_are_given_in_the_forms_of_both_dialects() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    let list = server.read("/v1/models").await;
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!(list["first_id"], list["data"][0]["id"]);
    for name in ["local-stub", "default"] {
        let model = server.read(&format!("/v1/models/{name}")).await;
        assert_eq!((&model["object"], &model["type"]), (&json!("model"), &json!("model")));
        assert_eq!((&model["id"], &model["display_name"]), (&json!(name), &json!(name)));
        assert!(model["created"].is_i64() && model["created_at"].is_string(), "{model}");
    }
    let body =
        json!({"model": "claude", "messages": [{"role": "user", "content": "x".repeat(400)}]});
    let count = send(server.post("/v1/messages/count_tokens").json(&body)).await.unwrap().ok();
    assert_eq!(count, json!({"input_tokens": 104}));
    assert_eq!(server.head().await, 1, "no step and no call of a model");
    server.stop().await;
}
