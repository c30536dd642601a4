//! The request body of Anthropic's messages API.

use std::sync::Arc;

use serde_json::{json, value::RawValue};

use crate::{
    domain::event::Sampling,
    json::{self, Fields},
    llm::{
        Dialect, LlmError, Message, Request, Role,
        body::{self, Body, raw, text_message},
        thinking,
        translate::{self, Dropped, MAX_TOKENS},
    },
};

/// Fields that this server sets. A client's values are ignored.
const GOVERNED: [&str; 4] = ["model", "messages", "system", "stream"];

/// Maximum temperature of Anthropic's API. `OpenAI`'s is 2.
const TEMPERATURE_MAX: f64 = 1.0;

/// The sampling parameters that the API gets.
pub(in crate::llm) fn sampling(given: Sampling) -> Sampling {
    let temperature = given.temperature.map(|temperature| temperature.min(TEMPERATURE_MAX));
    Sampling { temperature, ..given }
}

/// The body of a request, and the names of the hints that were left out.
pub(super) fn body(request: &Request, streaming: bool) -> Result<(Body, Dropped), LlmError> {
    if request.model.is_none() {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
    }
    let (mut body, dropped) = match request.extra.dialect {
        Some(Dialect::Anthropic) => (unchanged(request)?, Dropped::new()),
        None | Some(Dialect::OpenAi | Dialect::Responses) => {
            translate::translate(request, Dialect::Anthropic)?
        }
    };
    body.set("stream", &streaming)?;
    Ok((body, dropped))
}

/// The fields and messages of a client of the same dialect.
fn unchanged(request: &Request) -> Result<Body, LlmError> {
    let mut fields = Fields::default();
    body::set(&mut fields, "model", &request.model)?;
    same_dialect_fields(request, &mut fields)?;
    let mut body = Body::new(fields, "messages");
    let (system, chat): (Vec<&Message>, Vec<&Message>) =
        request.messages.iter().map(AsRef::as_ref).partition(|message| is_field(message));
    if let Some(system) = join_system(&system)? {
        body.set("system", &*system)?;
    }
    for message in chat {
        body.push(self::message(message)?);
    }
    let max_tokens = request.max_tokens.map_or(MAX_TOKENS, |limit| limit.tokens);
    body.set_number("max_tokens", &max_tokens)?;
    if let Some(temperature) = request.temperature {
        body.set_number("temperature", &temperature.min(TEMPERATURE_MAX))?;
    }
    Ok(body)
}

/// True for a message that belongs to the field `system`. Newer versions of the API also take system
/// messages in the list.
fn is_field(message: &Message) -> bool {
    let is_object = |raw: &Arc<RawValue>| raw.get().starts_with('{');
    message.role == Role::System && !message.raw.as_ref().is_some_and(is_object)
}

/// The fields of the client. If its limit was lowered, the budget of thinking is lowered with it.
fn same_dialect_fields(request: &Request, body: &mut Fields) -> Result<(), LlmError> {
    let fields = &request.extra.fields;
    for (name, value) in fields.iter().filter(|(name, _)| !GOVERNED.contains(name)) {
        body.insert(name, Arc::clone(value));
    }
    let asked: Option<u32> = fields.read("max_tokens").ok().flatten();
    let (Some(asked), Some(limit)) = (asked, request.max_tokens) else { return Ok(()) };
    if limit.tokens < asked {
        thinking::lower(body, asked, limit.tokens)?;
    }
    Ok(())
}

/// Joins all messages of the field `system`: plain texts into one text, otherwise blocks into one list.
/// A single original stays as it is.
fn join_system(system: &[&Message]) -> Result<Option<Arc<RawValue>>, LlmError> {
    if system.iter().all(|message| message.raw.is_none()) {
        let texts: Vec<&str> =
            system.iter().map(|m| m.text.as_str()).filter(|text| !text.is_empty()).collect();
        return (!texts.is_empty()).then(|| raw(&texts.join("\n\n"))).transpose();
    }
    if let [message] = system {
        return Ok(message.raw.clone());
    }
    let mut blocks = Vec::new();
    for message in system {
        match &message.raw {
            None => blocks.push(text_block(&message.text)?),
            Some(raw) => blocks.extend(system_blocks(raw)?),
        }
    }
    let blocks: Vec<&RawValue> = blocks.iter().map(AsRef::as_ref).collect();
    raw(&blocks).map(Some)
}

/// The blocks of the field `system`, or of the content of a message.
fn system_blocks(raw: &RawValue) -> Result<Vec<Arc<RawValue>>, LlmError> {
    let content = match json::read::<Fields>(raw) {
        Ok(message) => message.get("content").cloned().ok_or(NOT_ONLY_TEXT)?,
        Err(_) => Arc::from(raw.to_owned()),
    };
    if let Ok(text) = json::read::<String>(&content) {
        return Ok(vec![text_block(&text)?]);
    }
    let blocks: Vec<Box<RawValue>> = json::read(&content).map_err(|_| NOT_ONLY_TEXT)?;
    Ok(blocks.into_iter().map(Arc::from).collect())
}

fn text_block(text: &str) -> Result<Arc<RawValue>, LlmError> {
    raw(&json!({ "type": "text", "text": text }))
}

const NOT_ONLY_TEXT: LlmError =
    LlmError::Untranslatable { what: "a message with more than a text" };

fn message(message: &Message) -> Result<Arc<RawValue>, LlmError> {
    match (&message.raw, message.role) {
        (Some(raw), _) => Ok(Arc::clone(raw)),
        (None, Role::Tool) => {
            Err(LlmError::Untranslatable { what: "the result of a tool without its call" })
        }
        (None, role @ (Role::System | Role::User | Role::Assistant)) => {
            text_message(role, &message.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::llm::Extra;

    fn request(messages: Vec<Message>, dialect: Dialect, fields: Value) -> Request {
        let fields = serde_json::from_value(fields).unwrap();
        Request {
            model: Some("claude".to_owned()),
            messages: messages.into(),
            prompt: Arc::default(),
            max_tokens: Some(64.into()),
            temperature: Some(1.7),
            takes_temperature: None,
            extra: Arc::new(Extra { dialect: Some(dialect), fields, ..Extra::default() }),
        }
    }

    fn body(request: &Request, streaming: bool) -> Result<Value, LlmError> {
        super::body(request, streaming).map(|(body, _)| serde_json::to_value(body).unwrap())
    }

    fn texts() -> Vec<Message> {
        vec![
            Message::text(Role::System, "Be kind"),
            Message::text(Role::User, "Hi"),
            Message::text(Role::Assistant, "Hello"),
            Message::text(Role::System, "Be brief"),
            Message::text(Role::User, "Why?"),
        ]
    }

    #[test]
    fn texts_of_another_dialect_are_translated() {
        let fields = json!({ "stop": "END", "top_p": 0.9, "n": 1, "user": "u", "seed": null });
        assert_eq!(
            body(&request(texts(), Dialect::OpenAi, fields), true).unwrap(),
            json!({
                "model": "claude", "max_tokens": 64, "temperature": 1.0, "stream": true,
                "system": "Be kind\n\nBe brief", "stop_sequences": ["END"],
                "messages": [
                    { "role": "user", "content": "Hi" },
                    { "role": "assistant", "content": "Hello" },
                    { "role": "user", "content": "Why?" }
                ]
            })
        );
    }

    #[test]
    fn a_system_message_in_the_list_keeps_its_place() {
        let raw = json!({ "role": "system", "content": "Be brief" });
        let system =
            Message { role: Role::System, text: "Be brief".to_owned(), raw: json::raw(&raw).ok() };
        let messages = vec![Message::text(Role::User, "Hi"), system];
        let body = body(&request(messages, Dialect::Anthropic, json!({})), false).unwrap();
        let hi = json!({ "role": "user", "content": "Hi" });
        assert_eq!((body.get("system"), &body["messages"]), (None, &json!([hi, raw])));
    }

    #[test]
    fn a_lowered_limit_lowers_the_budget_of_thinking() {
        let thinking = json!({ "type": "enabled", "budget_tokens": 10_000 });
        let fields = json!({ "max_tokens": 16_000, "thinking": thinking });
        let mut request = request(texts(), Dialect::Anthropic, fields);
        request.temperature = None;
        for (granted, budget) in [(16_000, json!(10_000)), (8_000, json!(5_000)), (64, json!(null))]
        {
            request.max_tokens = Some(granted.into());
            let body = body(&request, false).unwrap();
            assert_eq!(
                (&body["max_tokens"], &body["thinking"]["budget_tokens"]),
                (&json!(granted), &budget)
            );
        }
    }

    #[test]
    fn messages_of_the_same_dialect_are_sent_unchanged() {
        let blocks = json!([{ "type": "text", "text": "Be kind", "cache_control": {} }]);
        let system = Message {
            role: Role::System,
            text: "Be kind".to_owned(),
            raw: json::raw(&blocks).ok(),
        };
        let raw = json!({ "role": "user", "content": [{ "type": "image" }] });
        let text = json::raw(&raw).ok();
        let image = Message { role: Role::User, text: String::new(), raw: text };
        let fields = json!({ "tools": [{ "name": "clock" }], "max_tokens": 9999, "top_k": 3 });
        let body = body(&request(vec![system, image], Dialect::Anthropic, fields), false).unwrap();
        assert_eq!((&body["system"], &body["messages"]), (&blocks, &json!([raw])));
        assert_eq!((&body["tools"][0]["name"], &body["top_k"]), (&json!("clock"), &json!(3)));
        assert_eq!(body["max_tokens"], 64);
    }
}
