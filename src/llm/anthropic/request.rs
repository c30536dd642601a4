//! A request as Anthropic wants it.

use serde_json::{Map, Value, json};

use crate::llm::{Dialect, LlmError, Message, Request, Role};

/// Fields that this server sets itself, whatever a caller wishes.
const OWN: [&str; 6] = ["model", "messages", "system", "stream", "max_tokens", "temperature"];

/// The highest temperature Anthropic knows; `OpenAI`'s scale goes on to 2.
const TEMPERATURE_MAX: f64 = 1.0;

/// The body of a request.
pub(super) fn body(request: &Request, streaming: bool) -> Result<Map<String, Value>, LlmError> {
    let same = request.extra.dialect == Some(Dialect::Anthropic);
    let mut body = if same { own_wishes(request) } else { others_wishes(request)? };
    let (system, chat): (Vec<&Message>, Vec<&Message>) = request
        .messages
        .iter()
        .map(AsRef::as_ref)
        .partition(|message| message.role == Role::System);
    if let Some(system) = joined(&system, same)? {
        body.insert("system".to_owned(), system);
    }
    let messages: Result<Vec<_>, _> = chat.into_iter().map(|m| message(m, same)).collect();
    body.insert("messages".to_owned(), Value::Array(messages?));
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "no model is named" });
    };
    body.insert("model".to_owned(), json!(model));
    body.insert("max_tokens".to_owned(), json!(request.max_tokens));
    if let Some(temperature) = request.temperature {
        body.insert("temperature".to_owned(), json!(temperature.min(TEMPERATURE_MAX)));
    }
    body.insert("stream".to_owned(), json!(streaming));
    Ok(body)
}

fn own_wishes(request: &Request) -> Map<String, Value> {
    let wishes = request.extra.fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    wishes.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The wishes of a request of chat completions that mean the same here.
fn others_wishes(request: &Request) -> Result<Map<String, Value>, LlmError> {
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
            (known, _) if OWN.contains(&known) => {}
            // set by this server in the other dialect too; `user` only helps to find abuse
            ("stream_options" | "max_completion_tokens" | "user", _) => {}
            _ => {
                return Err(LlmError::Untranslatable {
                    what: "fields of another provider's dialect",
                });
            }
        }
    }
    Ok(body)
}

/// System messages as one: texts are joined, blocks of a caller's own are kept.
fn joined(system: &[&Message], same: bool) -> Result<Option<Value>, LlmError> {
    if system.iter().all(|message| message.raw.is_none()) {
        let texts: Vec<&str> =
            system.iter().map(|m| m.text.as_str()).filter(|text| !text.is_empty()).collect();
        return Ok((!texts.is_empty()).then(|| Value::String(texts.join("\n\n"))));
    }
    let mut blocks = Vec::new();
    for message in system {
        match &message.raw {
            None => blocks.push(text_block(&message.text)),
            Some(_) if !same => return Err(MORE_THAN_TEXT),
            // the message, or what it says
            Some(raw) => match raw.get("content").unwrap_or(raw) {
                Value::Array(given) => blocks.extend(given.iter().cloned()),
                Value::String(text) => blocks.push(text_block(text)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    return Err(MORE_THAN_TEXT);
                }
            },
        }
    }
    Ok(Some(Value::Array(blocks)))
}

fn text_block(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

const MORE_THAN_TEXT: LlmError =
    LlmError::Untranslatable { what: "a message that is more than a text" };

fn message(message: &Message, same: bool) -> Result<Value, LlmError> {
    match (&message.raw, message.role) {
        (Some(raw), _) if same => Ok(raw.clone()),
        (Some(_), _) => Err(MORE_THAN_TEXT),
        (None, Role::Tool) => {
            Err(LlmError::Untranslatable { what: "a tool's result without its call" })
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
        let wishes = json!({ "stop": "END", "top_p": 0.9, "n": 1, "user": "u", "seed": null });
        assert_eq!(
            Value::Object(body(&request(texts(), Dialect::OpenAi, wishes), true).unwrap()),
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
    fn what_cannot_be_translated_is_refused() {
        for wishes in [json!({ "tools": [{}] }), json!({ "n": 2 }), json!({ "seed": 1 })] {
            let refused = body(&request(texts(), Dialect::OpenAi, wishes), false);
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
    fn its_own_dialect_goes_as_it_is() {
        let blocks = json!([{ "type": "text", "text": "Be kind", "cache_control": {} }]);
        let system =
            Message { role: Role::System, text: "Be kind".to_owned(), raw: Some(blocks.clone()) };
        let raw = json!({ "role": "user", "content": [{ "type": "image" }] });
        let image = Message { role: Role::User, text: String::new(), raw: Some(raw.clone()) };
        let wishes = json!({ "tools": [{ "name": "clock" }], "max_tokens": 9999, "top_k": 3 });
        let body = body(&request(vec![system, image], Dialect::Anthropic, wishes), false).unwrap();
        assert_eq!((&body["system"], &body["messages"]), (&blocks, &json!([raw])));
        assert_eq!((&body["tools"][0]["name"], &body["top_k"]), (&json!("clock"), &json!(3)));
        assert_eq!(body["max_tokens"], 64);
    }
}
