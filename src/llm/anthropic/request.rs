//! The request body of Anthropic's messages API.

use serde_json::{Map, Value, json};

use crate::domain::event::Sampling;
use crate::llm::{Dialect, LlmError, Message, Request, Role};

/// Fields that this server sets. A client's values are ignored.
const GOVERNED: [&str; 6] = ["model", "messages", "system", "stream", "max_tokens", "temperature"];

/// Maximum temperature of Anthropic's API. `OpenAI`'s is 2.
const TEMPERATURE_MAX: f64 = 1.0;

/// The sampling parameters that the API gets.
pub(in crate::llm) fn sampling(given: Sampling) -> Sampling {
    let temperature = given.temperature.map(|temperature| temperature.min(TEMPERATURE_MAX));
    Sampling { temperature, ..given }
}

/// The body of a request.
pub(super) fn body(request: &Request, streaming: bool) -> Result<Map<String, Value>, LlmError> {
    let same_dialect = request.extra.dialect == Some(Dialect::Anthropic);
    let mut body =
        if same_dialect { same_dialect_fields(request) } else { translated_fields(request)? };
    let (system, chat): (Vec<&Message>, Vec<&Message>) = request
        .messages
        .iter()
        .map(AsRef::as_ref)
        .partition(|message| message.role == Role::System);
    if let Some(system) = join_system(&system, same_dialect)? {
        body.insert("system".to_owned(), system);
    }
    let messages: Result<Vec<_>, _> = chat.into_iter().map(|m| message(m, same_dialect)).collect();
    body.insert("messages".to_owned(), Value::Array(messages?));
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
    };
    body.insert("model".to_owned(), json!(model));
    body.insert("max_tokens".to_owned(), json!(request.max_tokens));
    if let Some(temperature) = request.temperature {
        body.insert("temperature".to_owned(), json!(temperature.min(TEMPERATURE_MAX)));
    }
    body.insert("stream".to_owned(), json!(streaming));
    Ok(body)
}

fn same_dialect_fields(request: &Request) -> Map<String, Value> {
    let fields = request.extra.fields.iter().filter(|(name, _)| !GOVERNED.contains(&name.as_str()));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Translates the fields of chat completions that have an equivalent.
fn translated_fields(request: &Request) -> Result<Map<String, Value>, LlmError> {
    let mut body = Map::new();
    for (name, value) in &request.extra.fields {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("top_p", _) => drop(body.insert("top_p".to_owned(), value.clone())),
            ("stop", Value::String(_)) => {
                body.insert("stop_sequences".to_owned(), json!([value]));
            }
            ("stop", Value::Array(_)) => {
                body.insert("stop_sequences".to_owned(), value.clone());
            }
            ("n", one) if one.as_u64() == Some(1) => {}
            (known, _) if GOVERNED.contains(&known) => {}
            // governed in the other dialect, too; `user` only helps providers to detect abuse
            ("stream_options" | "max_completion_tokens" | "user", _) => {}
            _ => {
                return Err(LlmError::Untranslatable { what: "fields of another dialect" });
            }
        }
    }
    Ok(body)
}

/// Joins all system messages: plain texts into one text, otherwise blocks into one list.
fn join_system(system: &[&Message], same_dialect: bool) -> Result<Option<Value>, LlmError> {
    if system.iter().all(|message| message.raw.is_none()) {
        let texts: Vec<&str> =
            system.iter().map(|m| m.text.as_str()).filter(|text| !text.is_empty()).collect();
        return Ok((!texts.is_empty()).then(|| Value::String(texts.join("\n\n"))));
    }
    let mut blocks = Vec::new();
    for message in system {
        match &message.raw {
            None => blocks.push(text_block(&message.text)),
            Some(_) if !same_dialect => return Err(NOT_ONLY_TEXT),
            // the content of a message, or the field `system` itself
            Some(raw) => match raw.get("content").unwrap_or(raw) {
                Value::Array(given) => blocks.extend(given.iter().cloned()),
                Value::String(text) => blocks.push(text_block(text)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    return Err(NOT_ONLY_TEXT);
                }
            },
        }
    }
    Ok(Some(Value::Array(blocks)))
}

fn text_block(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

const NOT_ONLY_TEXT: LlmError =
    LlmError::Untranslatable { what: "a message with more than a text" };

fn message(message: &Message, same_dialect: bool) -> Result<Value, LlmError> {
    match (&message.raw, message.role) {
        (Some(raw), _) if same_dialect => Ok(raw.clone()),
        (Some(_), _) => Err(NOT_ONLY_TEXT),
        (None, Role::Tool) => {
            Err(LlmError::Untranslatable { what: "the result of a tool without its call" })
        }
        (None, role @ (Role::System | Role::User | Role::Assistant)) => {
            Ok(json!({ "role": role, "content": message.text }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::llm::Extra;

    fn request(messages: Vec<Message>, dialect: Dialect, fields: Value) -> Request {
        let Value::Object(fields) = fields else { panic!("fields are an object") };
        Request {
            model: Some("claude".to_owned()),
            messages: messages.into(),
            max_tokens: 64,
            temperature: Some(1.7),
            extra: Arc::new(Extra { dialect: Some(dialect), fields }),
        }
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
            Value::Object(body(&request(texts(), Dialect::OpenAi, fields), true).unwrap()),
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
            let raw = Some(json!({ "role": role, "content": [] }));
            let image = Message { role, text: "look".to_owned(), raw };
            let refused = body(&request(vec![image], Dialect::OpenAi, json!({})), false);
            assert!(matches!(refused, Err(LlmError::Untranslatable { .. })));
        }
    }

    #[test]
    fn messages_of_the_same_dialect_are_sent_unchanged() {
        let blocks = json!([{ "type": "text", "text": "Be kind", "cache_control": {} }]);
        let system =
            Message { role: Role::System, text: "Be kind".to_owned(), raw: Some(blocks.clone()) };
        let raw = json!({ "role": "user", "content": [{ "type": "image" }] });
        let image = Message { role: Role::User, text: String::new(), raw: Some(raw.clone()) };
        let fields = json!({ "tools": [{ "name": "clock" }], "max_tokens": 9999, "top_k": 3 });
        let body = body(&request(vec![system, image], Dialect::Anthropic, fields), false).unwrap();
        assert_eq!((&body["system"], &body["messages"]), (&blocks, &json!([raw])));
        assert_eq!((&body["tools"][0]["name"], &body["top_k"]), (&json!("clock"), &json!(3)));
        assert_eq!(body["max_tokens"], 64);
    }
}
