//! Requests in both directions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::translate;
use crate::{
    json,
    llm::{Dialect, Extra, LlmError, Message, Request, Role},
};

/// A request of a client: its messages and its other fields.
fn request(dialect: Dialect, model: &str, messages: Value, fields: Value) -> Request {
    let message = |raw: &Value| {
        let role = match raw["role"].as_str() {
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some("tool") => Role::Tool,
            _ => Role::User,
        };
        Message { role, text: String::new(), raw: Some(json::raw(raw).unwrap()) }
    };
    let Value::Array(messages) = messages else { panic!("messages are a list") };
    let messages: Vec<Message> = messages.iter().map(message).collect();
    let fields = serde_json::from_value(fields).unwrap();
    Request {
        model: Some(model.to_owned()),
        messages: messages.into(),
        prompt: Arc::default(),
        max_tokens: None,
        temperature: None,
        takes_temperature: None,
        extra: Arc::new(Extra { dialect: Some(dialect), fields, ..Extra::default() }),
    }
}

fn to_anthropic(messages: Value, fields: Value) -> Result<(Value, Vec<&'static str>), LlmError> {
    let request = request(Dialect::OpenAi, "claude-sonnet-4-5", messages, fields);
    let (body, dropped) = translate(&request, Dialect::Anthropic)?;
    Ok((serde_json::to_value(body).unwrap(), dropped))
}

fn to_openai(messages: Value, fields: Value) -> Result<(Value, Vec<&'static str>), LlmError> {
    let request = request(Dialect::Anthropic, "gpt-4o", messages, fields);
    let (body, dropped) = translate(&request, Dialect::OpenAi)?;
    Ok((serde_json::to_value(body).unwrap(), dropped))
}

/// One exchange with two tools at once: one answers with an image, one fails.
fn openai_loop() -> Value {
    json!([
        { "role": "system", "content": [{ "type": "text", "text": "Be kind" }] },
        { "role": "user", "content": [
            { "type": "text", "text": "Look" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }
        ] },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "c.1", "type": "function", "function": { "name": "a", "arguments": "{\"z\":1,\"b\":2}" } },
            { "id": "c2", "type": "function", "function": { "name": "b", "arguments": "" } }
        ] },
        { "role": "tool", "tool_call_id": "c.1", "content": "one" },
        { "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "two" }] },
        { "role": "user", "content": "Go on" }
    ])
}

#[test]
fn the_results_of_several_tools_are_one_message_of_alternating_authors() {
    let (body, dropped) = to_anthropic(openai_loop(), json!({})).unwrap();
    assert_eq!(body["system"], "Be kind");
    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": [
                { "type": "text", "text": "Look" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } }
            ] },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "c_1", "name": "a", "input": { "z": 1, "b": 2 } },
                { "type": "tool_use", "id": "c2", "name": "b", "input": {} }
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "c_1", "content": "one" },
                { "type": "tool_result", "tool_use_id": "c2", "content": "two" },
                { "type": "text", "text": "Go on" }
            ] }
        ])
    );
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn each_result_of_a_tool_is_a_message_and_its_images_follow() {
    let messages = json!([
        { "role": "user", "content": "Look" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "s" },
            { "type": "text", "text": "Wait" },
            { "type": "tool_use", "id": "t1", "name": "a", "input": { "z": 1, "b": 2 } },
            { "type": "tool_use", "id": "t2", "name": "b", "input": {} }
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t1", "content": [
                { "type": "text", "text": "seen" },
                { "type": "image", "source": { "type": "url", "url": "https://h/i.png" } }
            ] },
            { "type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": "broken" },
            { "type": "text", "text": "Go on" }
        ] }
    ]);
    let (body, dropped) = to_openai(messages, json!({})).unwrap();
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let arguments = body["messages"][1]["tool_calls"][0]["function"]["arguments"].clone();
    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": "Look" },
            { "role": "assistant", "content": "Wait", "tool_calls": [
                call("t1", "a", arguments.as_str().unwrap()), call("t2", "b", "{}")
            ] },
            { "role": "tool", "tool_call_id": "t1", "content": "seen" },
            { "role": "tool", "tool_call_id": "t2", "content": "Error: broken" },
            { "role": "user", "content": [
                { "type": "image_url", "image_url": { "url": "https://h/i.png" } },
                { "type": "text", "text": "Go on" }
            ] }
        ])
    );
    let arguments: Value = serde_json::from_str(arguments.as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "z": 1, "b": 2 }));
    assert_eq!(dropped, ["thinking"]);
}

#[test]
fn tools_and_their_choice_are_translated_in_both_directions() {
    let schema = json!({ "type": "object", "properties": { "z": {}, "a": {} } });
    let openai = json!({
        "tools": [{ "type": "function", "function": {
            "name": "clock", "description": "Time", "parameters": schema
        } }],
        "tool_choice": "required", "parallel_tool_calls": false, "stop": "END", "top_p": 0.5
    });
    let anthropic = json!({
        "tools": [{ "name": "clock", "description": "Time", "input_schema": schema }],
        "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
        "stop_sequences": ["END"], "top_p": 0.5
    });
    let hi = || json!([{ "role": "user", "content": "Hi" }]);
    let (body, _) = to_anthropic(hi(), openai.clone()).unwrap();
    for (name, value) in anthropic.as_object().unwrap() {
        assert_eq!(&body[name], value, "{name}");
    }
    let (body, _) = to_openai(hi(), anthropic).unwrap();
    for (name, value) in openai.as_object().unwrap() {
        let value = if name == "stop" { &json!(["END"]) } else { value };
        assert_eq!(&body[name], value, "{name}");
    }
    for (openai, anthropic) in [
        (json!("auto"), json!({ "type": "auto" })),
        (json!("none"), json!({ "type": "none" })),
        (
            json!({ "type": "function", "function": { "name": "clock" } }),
            json!({ "type": "tool", "name": "clock" }),
        ),
    ] {
        let tools = json!([{ "type": "function", "function": { "name": "clock" } }]);
        let fields = json!({ "tools": tools, "tool_choice": openai });
        assert_eq!(to_anthropic(hi(), fields).unwrap().0["tool_choice"], anthropic);
        let fields = json!({ "tools": [{ "name": "clock" }], "tool_choice": anthropic });
        assert_eq!(to_openai(hi(), fields).unwrap().0["tool_choice"], openai);
    }
}

#[test]
fn the_order_of_a_schema_survives_the_translation() {
    let schema = r#"{"type":"object","properties":{"reasoning":{},"answer":{}}}"#;
    let fields = format!(
        r#"{{"response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}}}"#
    );
    let mut request =
        request(Dialect::OpenAi, "claude", json!([{ "role": "user", "content": "Hi" }]), json!({}));
    let fields = serde_json::from_str(&fields).unwrap();
    request.extra = Arc::new(Extra { dialect: Some(Dialect::OpenAi), fields, ..Extra::default() });
    let (body, _) = translate(&request, Dialect::Anthropic).unwrap();
    let text = serde_json::to_string(&body).unwrap();
    let format =
        format!(r#""output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}"#);
    assert!(text.contains(&format), "{text}");
}

#[test]
fn thinking_is_translated_where_the_conversation_has_a_place_for_it() {
    let hi = || json!([{ "role": "user", "content": "Hi" }]);
    let (body, dropped) = to_anthropic(hi(), json!({ "reasoning_effort": "low" })).unwrap();
    assert_eq!(body["thinking"], json!({ "type": "enabled", "budget_tokens": 1_024 }));
    assert!(body["max_tokens"].as_u64() > Some(1_024) && dropped.is_empty());
    let mut messages = openai_loop();
    messages.as_array_mut().unwrap().pop();
    let (body, dropped) = to_anthropic(messages, json!({ "reasoning_effort": "low" })).unwrap();
    assert_eq!((body.get("thinking"), dropped), (None, vec!["reasoning_effort"]));

    let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 8_192 } });
    let (body, dropped) = to_openai(hi(), thinking.clone()).unwrap();
    assert_eq!((body.get("reasoning_effort"), dropped), (None, vec!["thinking"]));
    let request = request(Dialect::Anthropic, "o3", hi(), thinking);
    let (body, _) = translate(&request, Dialect::OpenAi).unwrap();
    assert_eq!(serde_json::to_value(body).unwrap()["reasoning_effort"], "medium");
}

#[test]
fn hints_without_a_form_are_left_out_and_named() {
    let hi = || json!([{ "role": "user", "content": "Hi" }]);
    let fields = json!({ "seed": 1, "user": "ann", "store": false, "n": 1, "logprobs": false });
    let (body, dropped) = to_anthropic(hi(), fields).unwrap();
    assert_eq!(dropped, ["seed", "store", "user"]);
    assert_eq!(body.as_object().unwrap().len(), 3, "model, max_tokens and messages");
    let fields = json!({ "metadata": { "user_id": "ann" }, "top_k": 3 });
    let (body, dropped) = to_openai(hi(), fields).unwrap();
    assert_eq!(dropped, ["metadata", "top_k"]);
    assert_eq!(body.as_object().unwrap().len(), 2, "model and messages");
}

#[test]
fn what_has_no_form_is_refused() {
    let hi = || json!([{ "role": "user", "content": "Hi" }]);
    for fields in [
        json!({ "n": 2 }),
        json!({ "logprobs": true }),
        json!({ "response_format": { "type": "json_object" } }),
        json!({ "tools": [{ "type": "custom", "custom": {} }] }),
        json!({ "modalities": ["text", "audio"] }),
        json!({ "vendor": 1 }),
    ] {
        assert!(to_anthropic(hi(), fields.clone()).is_err(), "{fields}");
    }
    for part in [json!({ "type": "input_audio" }), json!({ "type": "file" })] {
        let messages = json!([{ "role": "user", "content": [part] }]);
        assert!(to_anthropic(messages, json!({})).is_err());
    }
    for fields in [
        json!({ "mcp_servers": [] }),
        json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search" }] }),
    ] {
        assert!(to_openai(hi(), fields.clone()).is_err(), "{fields}");
    }
    let source = json!({ "type": "base64", "media_type": "application/pdf", "data": "" });
    let document = json!([{ "type": "document", "source": source }]);
    let messages = json!([{ "role": "user", "content": document }]);
    assert!(to_openai(messages, json!({})).is_err());
}
