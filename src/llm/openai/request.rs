//! The request body of chat completions.

use serde_json::{Map, Value, json};

use crate::llm::{Dialect, LlmError, Message, Request, Role};

/// Fields that this server sets. A client's values are ignored.
const GOVERNED: [&str; 7] = [
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
    let same_dialect = request.extra.dialect == Some(Dialect::OpenAi);
    let mut body = extra(request, same_dialect)?;
    let messages: Result<Vec<_>, _> =
        request.messages.iter().map(|m| message(m, same_dialect)).collect();
    body.insert("messages".to_owned(), Value::Array(messages?));
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
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

fn extra(request: &Request, same_dialect: bool) -> Result<Map<String, Value>, LlmError> {
    let fields = &request.extra.fields;
    if !same_dialect && !fields.is_empty() {
        return Err(LlmError::Untranslatable { what: "fields of another dialect" });
    }
    // a step has one answer
    if fields.get("n").is_some_and(|n| !n.is_null() && n.as_u64() != Some(1)) {
        return Err(LlmError::Untranslatable { what: "more than one answer (n)" });
    }
    let passed_on = fields.iter().filter(|(name, _)| !GOVERNED.contains(&name.as_str()));
    Ok(passed_on.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn message(message: &Message, same_dialect: bool) -> Result<Value, LlmError> {
    match (&message.raw, message.role) {
        (Some(raw), _) if same_dialect => Ok(raw.clone()),
        (Some(_), _) => Err(LlmError::Untranslatable { what: "a message with more than a text" }),
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
    fn extra_fields_do_not_replace_governed_fields() {
        let fields = json!({
            "top_p": 0.9, "model": "other", "messages": [], "stream": true, "max_tokens": 9999,
            "max_completion_tokens": 9999, "temperature": 2, "stream_options": {}, "n": 1
        });
        let texts = vec![Message::text(Role::System, "Be kind"), Message::text(Role::User, "Hi")];
        let request = request(texts, Some(Dialect::OpenAi), fields);
        assert_eq!(
            Value::Object(body(&request, "max_tokens", false).unwrap()),
            json!({
                "model": "m-1", "max_tokens": 64, "temperature": 0.5, "stream": false,
                "top_p": 0.9, "n": 1,
                "messages": [
                    { "role": "system", "content": "Be kind" },
                    { "role": "user", "content": "Hi" }
                ]
            })
        );
        let streamed = body(&request, "max_completion_tokens", true).unwrap();
        assert_eq!(streamed["stream_options"], json!({ "include_usage": true }));
        assert_eq!(streamed["max_completion_tokens"], 64);
        assert!(!streamed.contains_key("max_tokens"));
    }

    #[test]
    fn messages_of_the_same_dialect_are_sent_unchanged() {
        let raw = json!({ "role": "tool", "tool_call_id": "c-1", "content": "12:00" });
        let result = Message { role: Role::Tool, text: "12:00".to_owned(), raw: Some(raw.clone()) };
        let same_dialect = request(vec![result.clone()], Some(Dialect::OpenAi), json!({}));
        assert_eq!(body(&same_dialect, "max_tokens", false).unwrap()["messages"], json!([raw]));
        assert!(untranslatable(&request(vec![result], Some(Dialect::Anthropic), json!({}))));
    }

    #[test]
    fn untranslatable_requests_are_refused() {
        let hi = || vec![Message::text(Role::User, "Hi")];
        assert!(untranslatable(&request(hi(), Some(Dialect::Anthropic), json!({ "top_k": 1 }))));
        assert!(untranslatable(&request(hi(), Some(Dialect::OpenAi), json!({ "n": 2 }))));
        assert!(untranslatable(&request(vec![Message::text(Role::Tool, "x")], None, json!({}))));
        let without_model = Request { model: None, ..request(hi(), None, json!({})) };
        assert!(untranslatable(&without_model));
    }
}
