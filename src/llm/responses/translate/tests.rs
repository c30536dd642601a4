use serde_json::{Value, json};

use super::*;
use crate::llm::{Message, Role};

fn item(role: Role, item: &Value) -> Message {
    Message { role, text: String::new(), raw: json::raw(item).ok() }
}

fn request(messages: Vec<Message>, fields: Value) -> Request {
    Request {
        model: Some("m-1".to_owned()),
        messages: messages.into(),
        prompt: Arc::default(),
        max_tokens: None,
        temperature: None,
        takes_temperature: None,
        extra: Arc::new(Extra {
            dialect: Some(Dialect::Responses),
            fields: serde_json::from_value(fields).unwrap(),
            ..Extra::default()
        }),
    }
}

/// The messages, as chat completions gets them.
fn messages(translated: &Translated) -> Value {
    let written = translated.request.messages.iter().map(|message| match &message.raw {
        Some(raw) => json::read::<Value>(raw).unwrap(),
        None => json!({ "role": message.role, "content": message.text }),
    });
    Value::Array(written.collect())
}

fn fields(translated: &Translated) -> Value {
    serde_json::to_value(&translated.request.extra.fields).unwrap()
}

fn turn() -> Vec<Message> {
    vec![
        Message::text(Role::System, "Be brief"),
        item(Role::System, &json!({ "role": "developer", "content": "Use tools" })),
        item(
            Role::User,
            &json!({ "role": "user", "content": [{ "type": "input_text", "text": "Look" }] }),
        ),
        item(
            Role::Assistant,
            &json!({ "type": "reasoning", "id": "rs_1", "summary": [
                { "type": "summary_text", "text": "Hm" }
            ] }),
        ),
        item(
            Role::Assistant,
            &json!({ "type": "message", "role": "assistant", "content": [
                { "type": "output_text", "text": "I look" }
            ] }),
        ),
        item(
            Role::Assistant,
            &json!({ "type": "function_call", "call_id": "c1", "name": "see", "arguments": "{}" }),
        ),
        item(
            Role::Assistant,
            &json!({ "type": "custom_tool_call", "call_id": "c2", "name": "run", "input": "ls" }),
        ),
        item(
            Role::Tool,
            &json!({ "type": "function_call_output", "call_id": "c1", "output": [
                { "type": "input_text", "text": "a cat" },
                { "type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low" }
            ] }),
        ),
        item(
            Role::Tool,
            &json!({ "type": "custom_tool_call_output", "call_id": "c2", "output": "x" }),
        ),
    ]
}

#[test]
fn the_items_of_one_turn_become_one_message_and_its_results_stay_adjacent() {
    let mut turn = turn();
    "Use tools".clone_into(&mut turn[1].text);
    let translated = to_chat(&request(turn, json!({})), Dialect::OpenAi).unwrap();
    let image = json!({
        "type": "image_url", "image_url": { "url": "data:image/png;base64,AA", "detail": "low" }
    });
    assert_eq!(
        messages(&translated),
        json!([
            { "role": "system", "content": "Be brief" },
            { "role": "system", "content": "Use tools" },
            { "role": "user", "content": "Look" },
            { "role": "assistant", "content": "I look", "reasoning_content": "Hm", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "see", "arguments": "{}" } },
                { "id": "c2", "type": "function", "function": {
                    "name": "run", "arguments": "{\"input\":\"ls\"}"
                } }
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "a cat" },
            { "role": "tool", "tool_call_id": "c2", "content": "x" },
            { "role": "user", "content": [image] }
        ])
    );
}

#[test]
fn images_of_results_join_the_next_message_of_the_user() {
    let mut turn = turn();
    turn.push(Message::text(Role::User, "And now?"));
    let translated = to_chat(&request(turn, json!({})), Dialect::OpenAi).unwrap();
    let messages = messages(&translated);
    let last = messages.as_array().unwrap().last().unwrap();
    assert_eq!(last["content"][0]["type"], "image_url");
    assert_eq!(last["content"][1], json!({ "type": "text", "text": "And now?" }));
    assert_eq!(messages.as_array().unwrap().len(), 7);
}

#[test]
fn a_provider_whose_results_have_images_gets_them_there() {
    let translated = to_chat(&request(turn(), json!({})), Dialect::Anthropic).unwrap();
    let messages = messages(&translated);
    assert_eq!(messages.as_array().unwrap().len(), 6);
    assert_eq!(messages[4]["content"][1]["type"], "image_url");
}

#[test]
fn fields_have_their_form_and_hints_are_named() {
    let given = json!({
        "tools": [
            { "type": "function", "name": "see", "description": "d", "strict": true,
              "parameters": { "type": "object", "properties": { "z": {}, "a": {} } } },
            { "type": "custom", "name": "run", "description": "Runs.",
              "format": { "type": "grammar", "syntax": "lark", "definition": "start: /x/" } }
        ],
        "tool_choice": { "type": "function", "name": "see" },
        "parallel_tool_calls": false,
        "text": { "format": { "type": "json_schema", "name": "n", "schema": {}, "strict": true },
                  "verbosity": "low" },
        "reasoning": { "effort": "high", "summary": "auto" },
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k", "client_metadata": {}, "store": false, "service_tier": "auto",
        "truncation": "disabled", "top_p": 0.5, "previous_response_id": null
    });
    let translated =
        to_chat(&request(vec![Message::text(Role::User, "Hi")], given), Dialect::OpenAi).unwrap();
    let fields = fields(&translated);
    assert_eq!(fields["tools"][0]["function"]["strict"], true);
    assert_eq!(fields["tools"][0]["type"], "function");
    let custom = &fields["tools"][1]["function"];
    assert_eq!(custom["parameters"]["required"], json!(["input"]));
    assert!(custom["description"].as_str().unwrap().ends_with("start: /x/"));
    assert_eq!(fields["tool_choice"], json!({ "type": "function", "function": { "name": "see" } }));
    assert_eq!(
        fields["response_format"],
        json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": {}, "strict": true } })
    );
    assert_eq!(
        (&fields["reasoning_effort"], &fields["top_p"], &fields["parallel_tool_calls"]),
        (&json!("high"), &json!(0.5), &json!(false))
    );
    assert_eq!(fields.as_object().unwrap().len(), 6, "{fields}");
    let mut dropped = translated.dropped;
    dropped.sort_unstable();
    assert_eq!(
        dropped,
        [
            "client_metadata",
            "include",
            "prompt_cache_key",
            "reasoning.summary",
            "service_tier",
            "store",
            "text.verbosity"
        ]
    );
}

#[test]
fn the_order_of_a_schema_is_kept() {
    let text = r#"{"text":{"format":{"type":"json_schema","name":"n","schema":{"z":1,"a":2}}}}"#;
    let mut request = request(vec![Message::text(Role::User, "Hi")], json!({}));
    request.extra = Arc::new(Extra {
        dialect: Some(Dialect::Responses),
        fields: serde_json::from_str(text).unwrap(),
        ..Extra::default()
    });
    let translated = to_chat(&request, Dialect::OpenAi).unwrap();
    let format = translated.request.extra.fields.get("response_format").unwrap();
    assert_eq!(
        format.get(),
        r#"{"type":"json_schema","json_schema":{"name":"n","schema":{"z":1,"a":2}}}"#
    );
}

#[test]
fn only_allowed_tools_are_offered() {
    let given = json!({
        "tools": [
            { "type": "function", "name": "a", "parameters": {} },
            { "type": "function", "name": "b", "parameters": {} }
        ],
        "tool_choice": { "type": "allowed_tools", "mode": "required",
                         "tools": [{ "type": "function", "name": "b" }] }
    });
    let translated =
        to_chat(&request(vec![Message::text(Role::User, "Hi")], given), Dialect::OpenAi).unwrap();
    let fields = fields(&translated);
    assert_eq!(fields["tools"].as_array().unwrap().len(), 1);
    assert_eq!(fields["tools"][0]["function"]["name"], "b");
    assert_eq!(fields["tool_choice"], "required");
}

#[test]
fn what_has_no_form_is_refused_by_its_name() {
    let refused = |messages: Vec<Message>, fields: Value| match to_chat(
        &request(messages, fields),
        Dialect::OpenAi,
    ) {
        Err(LlmError::Untranslatable { what }) => what,
        other => panic!("{other:?}"),
    };
    let hi = || vec![Message::text(Role::User, "Hi")];
    let search = refused(hi(), json!({ "tools": [{ "type": "web_search" }] }));
    assert!(search.contains("web_search"), "{search}");
    assert!(refused(hi(), json!({ "prompt": { "id": "p" } })).contains("prompt"));
    let computer = json!({ "type": "computer_call", "id": "x" });
    assert!(refused(vec![item(Role::Assistant, &computer)], json!({})).contains("computer_call"));
    let file = json!({ "role": "user", "content": [{ "type": "input_file", "file_id": "f" }] });
    assert!(refused(vec![item(Role::User, &file)], json!({})).contains("file"));
}

#[test]
fn a_custom_tool_gets_its_text() {
    use super::super::custom_input;
    assert_eq!(custom_input(r#"{"input":"ls -l"}"#), "ls -l");
    assert_eq!(custom_input("ls -l"), "ls -l");
}

#[test]
fn the_search_of_the_web_is_left_out_beside_tools_of_the_client() {
    let given = json!({ "tools": [
        { "type": "web_search", "external_web_access": false },
        { "type": "namespace", "name": "fs", "description": "Files", "tools": [
            { "type": "function", "name": "read", "parameters": {} }
        ] }
    ] });
    let translated =
        to_chat(&request(vec![Message::text(Role::User, "Hi")], given), Dialect::OpenAi).unwrap();
    assert_eq!(fields(&translated)["tools"][0]["function"]["name"], "fs__read");
    assert_eq!(fields(&translated)["tools"].as_array().unwrap().len(), 1);
    assert_eq!(translated.dropped, ["tools.web_search"]);
}
