//! A request as chat completions want it.

use serde_json::{Map, Value, json};

use crate::llm::{Dialect, LlmError, Message, Request, Role};

/// Fields that this server sets itself, whatever a caller wishes.
const OWN: [&str; 7] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
];

/// The body of a request.
pub(super) fn body(
    request: &Request,
    max_tokens_field: &str,
    streaming: bool,
) -> Result<Map<String, Value>, LlmError> {
    let same = request.extra.dialect == Some(Dialect::OpenAi);
    let mut body = extra(request, same)?;
    let messages: Result<Vec<_>, _> = request.messages.iter().map(|m| message(m, same)).collect();
    body.insert("messages".to_owned(), Value::Array(messages?));
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "no model is named" });
    };
    body.insert("model".to_owned(), json!(model));
    body.insert(max_tokens_field.to_owned(), json!(request.max_tokens));
    if let Some(temperature) = request.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    body.insert("stream".to_owned(), json!(streaming));
    if streaming {
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    Ok(body)
}

fn extra(request: &Request, same: bool) -> Result<Map<String, Value>, LlmError> {
    let fields = &request.extra.fields;
    if !same && !fields.is_empty() {
        return Err(LlmError::Untranslatable { what: "fields of another provider's dialect" });
    }
    // one step has one answer
    if fields.get("n").is_some_and(|n| !n.is_null() && n.as_u64() != Some(1)) {
        return Err(LlmError::Untranslatable { what: "more than one answer (n)" });
    }
    let wishes = fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    Ok(wishes.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn message(message: &Message, same: bool) -> Result<Value, LlmError> {
    match (&message.raw, message.role) {
        (Some(raw), _) if same => Ok(raw.clone()),
        (Some(_), _) => {
            Err(LlmError::Untranslatable { what: "a message that is more than a text" })
        }
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

    fn request(messages: Vec<Message>, dialect: Option<Dialect>, fields: Value) -> Request {
        let Value::Object(fields) = fields else { panic!("fields are an object") };
        Request {
            model: Some("m-1".to_owned()),
            messages: messages.into(),
            max_tokens: 64,
            temperature: Some(0.5),
            extra: Arc::new(Extra { dialect, fields }),
        }
    }

    fn untranslatable(request: &Request) -> bool {
        matches!(body(request, "max_tokens", false), Err(LlmError::Untranslatable { .. }))
    }

    #[test]
    fn wishes_are_merged_but_never_over_what_is_governed() {
        let wishes = json!({
            "top_p": 0.9, "model": "other", "messages": [], "stream": true, "max_tokens": 9999,
            "max_completion_tokens": 9999, "temperature": 2, "stream_options": {}, "n": 1
        });
        let texts = vec![Message::text(Role::System, "Be kind"), Message::text(Role::User, "Hi")];
        let asked = request(texts, Some(Dialect::OpenAi), wishes);
        assert_eq!(
            Value::Object(body(&asked, "max_tokens", false).unwrap()),
            json!({
                "model": "m-1", "max_tokens": 64, "temperature": 0.5, "stream": false,
                "top_p": 0.9, "n": 1,
                "messages": [
                    { "role": "system", "content": "Be kind" },
                    { "role": "user", "content": "Hi" }
                ]
            })
        );
        let streamed = body(&asked, "max_completion_tokens", true).unwrap();
        assert_eq!(streamed["stream_options"], json!({ "include_usage": true }));
        assert_eq!(streamed["max_completion_tokens"], 64);
        assert!(!streamed.contains_key("max_tokens"));
    }

    #[test]
    fn messages_of_the_same_dialect_go_as_they_are() {
        let raw = json!({ "role": "tool", "tool_call_id": "c-1", "content": "12:00" });
        let told = Message { role: Role::Tool, text: "12:00".to_owned(), raw: Some(raw.clone()) };
        let same = request(vec![told.clone()], Some(Dialect::OpenAi), json!({}));
        assert_eq!(body(&same, "max_tokens", false).unwrap()["messages"], json!([raw]));
        assert!(untranslatable(&request(vec![told], Some(Dialect::Anthropic), json!({}))));
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let hi = || vec![Message::text(Role::User, "Hi")];
        assert!(untranslatable(&request(hi(), Some(Dialect::Anthropic), json!({ "top_k": 1 }))));
        assert!(untranslatable(&request(hi(), Some(Dialect::OpenAi), json!({ "n": 2 }))));
        assert!(untranslatable(&request(vec![Message::text(Role::Tool, "x")], None, json!({}))));
        let nameless = Request { model: None, ..request(hi(), None, json!({})) };
        assert!(untranslatable(&nameless));
    }
}
