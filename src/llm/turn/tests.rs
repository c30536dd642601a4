use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// A message as the routes read it: `text` is the text of its text parts.
fn message(raw: &Value) -> Message {
    let role = match raw["role"].as_str().unwrap() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => Role::Tool,
    };
    let content = &raw["content"];
    let text = content.as_str().map_or_else(
        || {
            let parts = content.as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        },
        str::to_owned,
    );
    Message { role, text, raw: Some(json::raw(raw).unwrap()) }
}

fn chat(messages: Value) -> Vec<Message> {
    let Value::Array(messages) = messages else { panic!("messages are a list") };
    messages.iter().map(message).collect()
}

fn prompt_of(messages: Value) -> Result<Prompt, NoPrompt> {
    prompt(&chat(messages), &ClientBlocks::default())
}

/// The text of the prompt, and the indices of its message and part.
fn found(messages: Value) -> (String, usize, usize) {
    let Prompt { text, place, .. } = prompt_of(messages).unwrap();
    (text, place.message, place.part)
}

fn user(content: impl Into<Value>) -> Value {
    json!({ "role": "user", "content": content.into() })
}

fn assistant(content: impl Into<Value>) -> Value {
    json!({ "role": "assistant", "content": content.into() })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn tool_result() -> Value {
    json!({ "type": "tool_result", "tool_use_id": "t", "content": "x" })
}

#[test]
fn a_turn_of_tool_results_has_the_prompt_of_the_turn_before() {
    let call = json!([{ "type": "tool_use", "id": "t", "name": "w", "input": {} }]);
    let result = user(json!([tool_result()]));
    assert_eq!(found(json!([user("q"), assistant(call.clone()), result])), ("q".into(), 0, 0));
    let result = json!({ "role": "tool", "tool_call_id": "c", "content": "x" });
    let calls = json!({ "role": "assistant", "content": null, "tool_calls": [] });
    let chat = json!([user("a"), assistant("b"), user("q"), calls, result, calls, result]);
    assert_eq!(found(chat), ("q".into(), 2, 0));
    let results = user(json!([tool_result(), text("go on")]));
    assert_eq!(found(json!([user("q"), assistant(call), results])), ("go on".into(), 2, 1));
}

#[test]
fn all_messages_of_a_turn_are_the_prompt() {
    let chat = json!([user("a"), assistant("b"), user("one"), user(""), user("two")]);
    assert_eq!(found(chat), ("one\n\ntwo".into(), 2, 0));
}

#[test]
fn an_empty_last_message_leaves_the_prompt_before_it() {
    assert_eq!(found(json!([user("q"), user("")])), ("q".into(), 0, 0));
    assert_eq!(found(json!([user("q"), assistant("a"), user(" ")])), ("q".into(), 0, 0));
    assert_eq!(found(json!([user("q"), assistant("a begun answer")])), ("q".into(), 0, 0));
}

#[test]
fn media_without_text_have_an_empty_prompt() {
    for kind in ["image_url", "input_audio", "file", "image", "document"] {
        let media = user(json!([{ "type": kind }]));
        assert_eq!(found(json!([user("q"), assistant("a"), media])), (String::new(), 2, 0));
    }
    let described = user(json!([{ "type": "image" }, text("what is it?")]));
    assert_eq!(found(json!([described])), ("what is it?".into(), 0, 1));
}

#[test]
fn blocks_of_the_client_are_not_the_prompt() {
    let reminder = "<system-reminder>\nToday is Monday.\n</system-reminder>";
    let parts = json!([text(reminder), text("Fix the test"), text(&format!("now {reminder}"))]);
    assert_eq!(found(json!([user(parts)])), ("Fix the test\nnow".into(), 0, 1));
    // the client adds them to the results of tools, too
    let call = assistant(json!([{ "type": "tool_use", "id": "t" }]));
    let result = user(json!([tool_result(), text(reminder)]));
    assert_eq!(found(json!([user("q"), call, result])), ("q".into(), 0, 0));
    assert_eq!(found(json!([user(reminder)])).0, reminder, "there is no other text");
    let open = "<system-reminder> without an end";
    assert_eq!(found(json!([user(open)])).0, open);
}

#[test]
fn a_chat_without_content_of_the_user_has_no_prompt() {
    assert_eq!(prompt_of(json!([assistant("a")])), Err(NoPrompt::NoUser));
    assert_eq!(prompt_of(json!([user("")])), Err(NoPrompt::Blank));
    assert_eq!(prompt_of(json!([user(json!([tool_result()]))])), Err(NoPrompt::Blank));
}

fn judged_in(messages: Value, scope: JudgedScope) -> Vec<String> {
    let messages = chat(messages);
    let turn = prompt(&messages, &ClientBlocks::default()).unwrap().turn;
    let fields = json!({ "tools": [{ "type": "function", "description": "Ends a process" }] });
    let fields = serde_json::from_value(fields).unwrap();
    let extra = Extra { fields, ..Extra::default() };
    let messages = messages.into();
    judged(&messages, &extra, turn, scope).into_iter().map(Cow::into_owned).collect()
}

#[test]
fn the_judged_texts_are_those_of_the_scope_before_anything_is_left_out() {
    let hidden = "<system-reminder>Attack</system-reminder>";
    let chat = || {
        json!([
            { "role": "system", "content": "Be kind" },
            user("old"),
            assistant("answer"),
            user(hidden),
            user(json!([text("Please do that"), { "type": "image", "data": "iVBO" }])),
            assistant([json!({ "type": "tool_use", "id": "t", "name": "run", "input": { "c": "ls" } })].to_vec()),
            user(json!([tool_result()])),
        ])
    };
    assert_eq!(judged_in(chat(), JudgedScope::LastMessage), ["Please do that"]);
    assert_eq!(judged_in(chat(), JudgedScope::Turn), [hidden, "Please do that"]);
    let all = judged_in(chat(), JudgedScope::Request);
    let expected =
        ["Be kind", "old", "answer", hidden, "Please do that", "ls", "run", "x", "Ends a process"];
    assert_eq!(all, expected);
}

#[test]
fn a_text_that_begins_like_a_file_is_judged() {
    let file = "data:image/png;base64,iVBORw0KGgo=";
    for text in ["data: kill", "data:text/plain,kill", "data:text/plain;base64,kill them"] {
        let image = json!({ "type": "image_url", "image_url": { "url": text } });
        let messages = json!([
            { "role": "user", "name": "a", "content": text },
            { "role": "user", "content": [image] },
        ]);
        let judged = judged_in(messages, JudgedScope::Request);
        assert_eq!(judged.iter().filter(|one| *one == text).count(), 2, "{judged:?}");
        let image = json!({ "type": "image_url", "image_url": { "url": file } });
        let messages = json!([{ "role": "user", "content": [image] }]);
        assert!(!judged_in(messages, JudgedScope::Request).contains(&file.to_owned()));
    }
}

fn with_context(messages: Value) -> Value {
    let messages = chat(messages);
    let place = prompt(&messages, &ClientBlocks::default()).unwrap().place;
    let messages = Messages::from(messages).with_context_at(place, "C");
    let raw = |message: &Arc<Message>| match &message.raw {
        Some(raw) => serde_json::from_str(raw.get()).unwrap(),
        None => json!({ "role": message.role, "content": message.text }),
    };
    messages.iter().map(raw).collect()
}

#[test]
fn the_context_is_a_part_directly_before_the_prompt() {
    let parts = json!([tool_result(), text("go on")]);
    let expected = json!([user(json!([tool_result(), text("C"), text("go on")]))]);
    assert_eq!(with_context(json!([user(parts)])), expected);
    let input = json!([{ "type": "input_text", "text": "hi" }]);
    let expected =
        json!([{ "type": "input_text", "text": "C" }, { "type": "input_text", "text": "hi" }]);
    assert_eq!(with_context(json!([user(input)])), json!([user(expected)]));
}

#[test]
fn the_context_is_a_paragraph_of_a_plain_text_whose_other_fields_stay() {
    let named = json!({ "role": "user", "content": "hi", "name": "ann" });
    let expected = json!({ "role": "user", "content": "C\n\nhi", "name": "ann" });
    assert_eq!(with_context(json!([named])), json!([expected]));
}

#[test]
fn the_context_never_stands_between_a_call_and_its_result() {
    let call = assistant(json!([{ "type": "tool_use", "id": "t" }]));
    let result = user(json!([tool_result()]));
    let chat = json!([user("q"), call, result]);
    assert_eq!(with_context(chat), json!([user("C\n\nq"), call, result]));
}

#[test]
fn a_system_context_follows_the_system_text() {
    let plain: Messages =
        vec![Message::text(Role::System, "S"), Message::text(Role::User, "q")].into();
    assert_eq!(plain.with_system_context("C")[0].text, "S\n\nC");
    let none: Messages = vec![Message::text(Role::User, "q")].into();
    let added = none.with_system_context("C");
    assert_eq!((added.len(), added[0].role, added[0].text.as_str()), (2, Role::System, "C"));
    let blocks = json::raw(&json!([text("S")])).unwrap();
    let system = Message { role: Role::System, text: "S".to_owned(), raw: Some(blocks) };
    let added = Messages::from(vec![system]).with_system_context("C");
    let raw: Value = serde_json::from_str(added[0].raw.as_ref().unwrap().get()).unwrap();
    assert_eq!(raw, json!([text("S"), text("C")]));
}
