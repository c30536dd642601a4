//! The request body of Anthropic's messages API.

use std::sync::Arc;

use serde_json::{json, value::RawValue};

use crate::{
    domain::event::Sampling,
    json::{self, Fields},
    llm::{
        Dialect, LlmError, Message, Request, Role,
        body::{self, Body, raw},
        thinking,
    },
};

/// Fields that this server sets. A client's values are ignored.
const GOVERNED: [&str; 4] = ["model", "messages", "system", "stream"];

/// Maximum temperature of Anthropic's API. `OpenAI`'s is 2.
const TEMPERATURE_MAX: f64 = 1.0;

/// The limit of requests that name none: the API requires one.
const MAX_TOKENS: u32 = 4_096;

/// The sampling parameters that the API gets.
pub(in crate::llm) fn sampling(given: Sampling) -> Sampling {
    let temperature = given.temperature.map(|temperature| temperature.min(TEMPERATURE_MAX));
    Sampling { temperature, ..given }
}

/// The body of a request.
pub(super) fn body(request: &Request, streaming: bool) -> Result<Body, LlmError> {
    let same_dialect = request.extra.dialect == Some(Dialect::Anthropic);
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
    };
    let mut fields = Fields::default();
    body::set(&mut fields, "model", model)?;
    if same_dialect {
        same_dialect_fields(request, &mut fields)?;
    } else {
        translated_fields(request, &mut fields)?;
    }
    let mut body = Body::new(fields, "messages");
    let (system, chat): (Vec<&Message>, Vec<&Message>) =
        request.messages.iter().map(AsRef::as_ref).partition(|message| is_field(message));
    if let Some(system) = join_system(&system, same_dialect)? {
        body.set("system", &*system)?;
    }
    for message in chat {
        body.push(self::message(message, same_dialect)?);
    }
    let max_tokens = request.max_tokens.map_or(MAX_TOKENS, |limit| limit.tokens);
    body.set_number("max_tokens", &max_tokens)?;
    if let Some(temperature) = request.temperature {
        body.set_number("temperature", &temperature.min(TEMPERATURE_MAX))?;
    }
    body.set("stream", &streaming)?;
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

/// Translates the fields of chat completions that have an equivalent.
fn translated_fields(request: &Request, body: &mut Fields) -> Result<(), LlmError> {
    for (name, value) in request.extra.fields.iter() {
        match (name, value.get().as_bytes().first()) {
            (_, Some(b'n')) => {}
            ("top_p", _) => body.insert("top_p", Arc::clone(value)),
            ("stop", Some(b'"')) => body.insert("stop_sequences", raw(&[&**value])?),
            ("stop", Some(b'[')) => body.insert("stop_sequences", Arc::clone(value)),
            ("n", _) if value.get() == "1" => {}
            (known, _) if GOVERNED.contains(&known) => {}
            // governed in the other dialect, too; `user` only helps providers to detect abuse
            (
                "stream_options"
                | "max_tokens"
                | "max_completion_tokens"
                | "temperature"
                | "user"
                | "metadata",
                _,
            ) => {}
            _ => {
                return Err(LlmError::Untranslatable { what: "fields of another dialect" });
            }
        }
    }
    Ok(())
}

/// Joins all messages of the field `system`: plain texts into one text, otherwise blocks into one list.
/// A single original stays as it is.
fn join_system(system: &[&Message], same_dialect: bool) -> Result<Option<Arc<RawValue>>, LlmError> {
    if system.iter().all(|message| message.raw.is_none()) {
        let texts: Vec<&str> =
            system.iter().map(|m| m.text.as_str()).filter(|text| !text.is_empty()).collect();
        return (!texts.is_empty()).then(|| raw(&texts.join("\n\n"))).transpose();
    }
    if let ([message], true) = (system, same_dialect) {
        return Ok(message.raw.clone());
    }
    let mut blocks = Vec::new();
    for message in system {
        match &message.raw {
            None => blocks.push(text_block(&message.text)?),
            Some(_) if !same_dialect => return Err(NOT_ONLY_TEXT),
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

fn message(message: &Message, same_dialect: bool) -> Result<Arc<RawValue>, LlmError> {
    match (&message.raw, message.role) {
        (Some(raw), _) if same_dialect => Ok(Arc::clone(raw)),
        (Some(_), _) => Err(NOT_ONLY_TEXT),
        (None, Role::Tool) => {
            Err(LlmError::Untranslatable { what: "the result of a tool without its call" })
        }
        (None, role @ (Role::System | Role::User | Role::Assistant)) => {
            raw(&json!({ "role": role, "content": message.text }))
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
            extra: Arc::new(Extra { dialect: Some(dialect), fields, ..Extra::default() }),
        }
    }

    fn body(request: &Request, streaming: bool) -> Result<Value, LlmError> {
        super::body(request, streaming).map(|body| serde_json::to_value(body).unwrap())
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
                "system": "Be kind\n\nBe brief", "stop_sequences": ["END"], "top_p": 0.9,
                "messages": [
                    { "role": "user", "content": "Hi" },
                    { "role": "assistant", "content": "Hello" },
                    { "role": "user", "content": "Why?" }
                ]
            })
        );
    }

    #[test]
    fn untranslatable_requests_are_refused() {
        for fields in [json!({ "tools": [{}] }), json!({ "n": 2 }), json!({ "seed": 1 })] {
            let refused = body(&request(texts(), Dialect::OpenAi, fields), false);
            assert!(matches!(refused, Err(LlmError::Untranslatable { .. })));
        }
        for role in [Role::User, Role::System] {
            let raw = json::raw(&json!({ "role": role, "content": [] })).ok();
            let image = Message { role, text: "look".to_owned(), raw };
            let refused = body(&request(vec![image], Dialect::OpenAi, json!({})), false);
            assert!(matches!(refused, Err(LlmError::Untranslatable { .. })));
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
