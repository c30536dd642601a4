//! The strict provider refuses what the published APIs refuse, and nothing else.

use mlsdm::testkit::{
    TestResponse, http_client, send,
    strict::{Face, Provider, echo},
};
use serde_json::{Value, json};

/// Sends a body with valid headers, and with these beta features.
async fn ask(provider: &Provider, face: Face, body: &Value, betas: &str) -> TestResponse {
    let path = match face {
        Face::Chat => "chat/completions",
        Face::Messages => "messages",
        Face::Responses => "responses",
    };
    let request = http_client()
        .post(format!("{}/v1/{path}", provider.url))
        .header("authorization", "Bearer k")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", betas)
        .json(body);
    send(request).await.unwrap()
}

fn with(mut body: Value, fields: &[(&str, Value)]) -> Value {
    for (name, value) in fields {
        body[*name] = value.clone();
    }
    body
}

fn minimal(face: Face, model: &str) -> Value {
    let user = json!([{"role": "user", "content": "x"}]);
    match face {
        Face::Chat => json!({"model": model, "messages": user}),
        Face::Messages => json!({"model": model, "max_tokens": 9, "messages": user}),
        Face::Responses => json!({"model": model, "input": user}),
    }
}

/// A case: the model, fields over the minimal body, and the words of the refusal.
type Case = (&'static str, Vec<(&'static str, Value)>, &'static str);

async fn refuses(face: Face, cases: Vec<Case>) {
    let provider = Provider::new(echo()).await;
    for (model, fields, words) in cases {
        let reply = ask(&provider, face, &with(minimal(face, model), &fields), "").await;
        assert_eq!(reply.status, 400, "{fields:?}: {reply:?}");
        assert!(reply.body.to_string().contains(words), "{fields:?}: {reply:?}");
    }
    let reply = ask(&provider, face, &minimal(face, "m"), "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn chat_completions_refuse_what_openai_refuses() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "w", "arguments": "{}"}});
    let user = json!({"role": "user", "content": "x"});
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "r"});
    let chat = |messages: Value| vec![("messages", messages)];
    let tool = json!([{"type": "function", "function": {"name": "w"}}]);
    let open = json!({"type": "object", "properties": {"a": {}}, "required": ["a"]});
    let schema = json!({"type": "json_schema",
        "json_schema": {"name": "s", "strict": true, "schema": open}});
    let cases: Vec<Case> = vec![
        ("m", vec![("top_k", json!(3))], "Extra inputs"),
        ("o3", vec![("temperature", json!(0.7))], "unsupported_value"),
        ("gpt-5-mini", vec![("max_tokens", json!(9))], "unsupported_parameter"),
        ("o3", vec![("top_p", json!(0.5))], "unsupported_value"),
        ("m", vec![("max_tokens", json!(9)), ("max_completion_tokens", json!(9))], "same time"),
        ("m", vec![("parallel_tool_calls", json!(true))], "only allowed"),
        ("m", vec![("tools", json!([]))], "too short"),
        ("m", vec![("stream_options", json!({"include_usage": true}))], "only allowed"),
        ("m", vec![("response_format", schema)], "additionalProperties"),
        ("m", chat(json!([user, calls, result("a"), user, result("b")])), "must be followed"),
        ("m", chat(json!([user, calls, user, result("a"), result("b")])), "must be followed"),
        ("m", chat(json!([user, result("a")])), "must be a response"),
        ("m", chat(json!([user, {"role": "assistant", "tool_calls": []}])), "too short"),
        ("m", chat(json!([{"role": "user", "content": []}])), "non-empty"),
        ("m", vec![("tools", tool), ("temperature", json!(2.5))], "range"),
    ];
    refuses(Face::Chat, cases).await;
}

#[tokio::test]
async fn messages_refuse_what_anthropic_refuses() {
    let user = json!({"role": "user", "content": "x"});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "w", "input": {}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "r"});
    let calls = json!({"role": "assistant", "content": [call("a"), call("b")]});
    let text = json!({"type": "text", "text": "x"});
    let chat = |messages: Value| vec![("messages", messages)];
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let after = |content: Value| json!([user, calls, {"role": "user", "content": content}]);
    let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    let thought = json!({"type": "thinking", "thinking": "x", "signature": "s"});
    let cases: Vec<Case> = vec![
        ("m", vec![("context_management", json!({"edits": []}))], "Extra inputs"),
        ("claude-opus-4-8", vec![("temperature", json!(0.7))], "deprecated"),
        ("claude-haiku-4-5", vec![("temperature", json!(1)), ("top_p", json!(0.9))], "cannot both"),
        ("m", vec![("thinking", budget(1024)), ("max_tokens", json!(1024))], "must be greater"),
        ("m", vec![("thinking", budget(1000)), ("max_tokens", json!(4096))], "1024"),
        (
            "m",
            vec![("thinking", json!({"type": "adaptive"})), ("temperature", json!(0.7))],
            "only be set",
        ),
        ("m", vec![("metadata", json!({"user_id": "u".repeat(257)}))], "256"),
        ("m", vec![("system", json!([{"type": "text", "text": " "}]))], "non-whitespace"),
        ("m", vec![("system", json!([marked, marked, marked, marked, marked]))], "maximum of 4"),
        ("m", chat(json!([user, user])), "alternate"),
        ("m", chat(json!([user, {"role": "system", "content": "s"}])), "Input should be"),
        ("m", chat(json!([{"role": "assistant", "content": "x"}])), "alternate"),
        ("m", chat(json!([{"role": "user", "content": ""}])), "non-empty"),
        ("m", chat(after(json!([result("a")]))), "without `tool_result`"),
        ("m", chat(after(json!([text, result("a"), result("b")]))), "without `tool_result`"),
        ("m", chat(after(json!([result("a"), result("b"), result("c")]))), "unexpected"),
        ("m", chat(json!([user, {"role": "assistant", "content": [thought]}])), "signature"),
        ("m", chat(json!([user, {"role": "assistant", "content": "x "}])), "whitespace"),
    ];
    refuses(Face::Messages, cases).await;
}

#[tokio::test]
async fn messages_take_beta_fields_with_their_header_alone() {
    let provider = Provider::new(echo()).await;
    let edits = [("context_management", json!({"edits": []}))];
    let body = with(minimal(Face::Messages, "m"), &edits);
    let known = "effort-2025-11-24,context-management-2025-06-27";
    assert_eq!(ask(&provider, Face::Messages, &body, known).await.status, 200);
    let unknown = ask(&provider, Face::Messages, &body, "fast-lane-2031-01-01").await;
    assert!(unknown.body.to_string().contains("Unexpected value"), "{unknown:?}");
}

#[tokio::test]
async fn responses_refuse_what_openai_refuses() {
    let user = json!({"role": "user", "content": "x"});
    let call = json!({"type": "function_call", "call_id": "a", "name": "w", "arguments": "{}"});
    let result = json!({"type": "function_call_output", "call_id": "a", "output": "r"});
    let thought = json!({"type": "reasoning", "summary": [], "encrypted_content": "enc-1"});
    let input = |items: Value| vec![("input", items)];
    let part = json!({"role": "user", "content": [{"type": "text", "text": "x"}]});
    let nested = json!([{"type": "function", "function": {"name": "w"}}]);
    let cases: Vec<Case> = vec![
        ("m", vec![("max_tokens", json!(9))], "Extra inputs"),
        ("m", vec![("messages", json!([]))], "Extra inputs"),
        ("o3", vec![("temperature", json!(1))], "Unsupported"),
        ("m", vec![("tools", nested)], "Missing"),
        ("m", vec![("previous_response_id", json!("resp_0"))], "previous_response_not_found"),
        ("m", input(json!([user, call])), "No tool output"),
        ("m", input(json!([user, result])), "No tool call"),
        ("m", input(json!([user, thought])), "required following item"),
        ("m", input(json!([part])), "Invalid value"),
        ("m", input(json!([])), "Missing"),
    ];
    refuses(Face::Responses, cases).await;
}

#[tokio::test]
async fn structured_answers_follow_the_order_of_the_schema() {
    let provider = Provider::new(echo()).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":
        {"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object","properties":
        {"reasoning":{"type":"string"},"answer":{"type":"string"}}}}}}"#;
    let request = http_client().post(format!("{}/v1/chat/completions", provider.url));
    let request = request.header("authorization", "Bearer k").body(body);
    let answer = send(request).await.unwrap().ok();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(text, r#"{"reasoning":"the reasoning","answer":"the answer"}"#);
}
