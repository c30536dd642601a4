//! The request body of chat completions.

use std::sync::Arc;

use serde_json::{json, value::RawValue};

use crate::{
    json::Fields,
    llm::{
        Dialect, LimitField, LlmError, Message, Request, Role,
        body::{self, Body, raw},
    },
};

/// Fields that this server sets. A client's values are ignored.
const GOVERNED: [&str; 4] = ["model", "messages", "stream", "mlsdm"];

/// The names of the limit of an answer.
const LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// The body of a request.
pub(super) fn body(
    request: &Request,
    max_tokens_field: LimitField,
    streaming: bool,
) -> Result<Body, LlmError> {
    let same_dialect = request.extra.dialect == Some(Dialect::OpenAi);
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
    };
    let mut fields = Fields::default();
    body::set(&mut fields, "model", model)?;
    extra(request, same_dialect, &mut fields)?;
    let mut body = Body::new(fields, "messages");
    for message in request.messages.iter() {
        body.push(self::message(message, same_dialect)?);
    }
    limit(request, max_tokens_field, &mut body)?;
    if let Some(temperature) = request.temperature {
        body.set_number("temperature", &temperature)?;
    }
    body.set("stream", &streaming)?;
    if streaming {
        body.set("stream_options", &stream_options(request))?;
    } else {
        body.remove("stream_options");
    }
    Ok(body)
}

/// True if the provider can stream the answer. Sound is streamed in a format of its own only.
pub(super) fn can_stream(request: &Request) -> bool {
    let modalities: Option<Vec<String>> = request.extra.fields.read("modalities").ok().flatten();
    !modalities.is_some_and(|modalities| modalities.iter().any(|kind| kind == "audio"))
}

/// Sets the limit of the answer under the name that the client gave it.
fn limit(request: &Request, max_tokens_field: LimitField, body: &mut Body) -> Result<(), LlmError> {
    let Some(limit) = request.max_tokens else { return Ok(()) };
    let named = limit.field.filter(|field| *field != LimitField::MaxOutputTokens);
    let named = named.unwrap_or(max_tokens_field).as_str();
    for other in LIMITS.into_iter().filter(|other| *other != named) {
        body.remove(other);
    }
    body.set_number(named, &limit.tokens)
}

/// The client's options of a stream, and usage, which this server needs.
fn stream_options(request: &Request) -> Fields {
    let given: Option<Fields> = request.extra.fields.read("stream_options").ok().flatten();
    let mut options = given.unwrap_or_default();
    // a boolean has a JSON form
    options.set("include_usage", &true).ok();
    options
}

fn extra(request: &Request, same_dialect: bool, body: &mut Fields) -> Result<(), LlmError> {
    let fields = &request.extra.fields;
    if !same_dialect && !fields.is_empty() {
        return Err(LlmError::Untranslatable { what: "fields of another dialect" });
    }
    // a step has one answer
    if fields.is_set("n") && fields.read("n").ok().flatten() != Some(1) {
        return Err(LlmError::Untranslatable { what: "more than one answer (n)" });
    }
    for (name, value) in fields.iter().filter(|(name, _)| !GOVERNED.contains(name)) {
        body.insert(name, Arc::clone(value));
    }
    Ok(())
}

fn message(message: &Message, same_dialect: bool) -> Result<Arc<RawValue>, LlmError> {
    match (&message.raw, message.role) {
        (Some(raw), _) if same_dialect => Ok(Arc::clone(raw)),
        (Some(_), _) => Err(LlmError::Untranslatable { what: "a message with more than a text" }),
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
    use crate::{json, llm::Extra};

    fn request(messages: Vec<Message>, dialect: Option<Dialect>, fields: Value) -> Request {
        let fields = serde_json::from_value(fields).unwrap();
        Request {
            model: Some("m-1".to_owned()),
            messages: messages.into(),
            prompt: Arc::default(),
            max_tokens: Some(64.into()),
            temperature: Some(0.5),
            extra: Arc::new(Extra { dialect, fields, ..Extra::default() }),
        }
    }

    fn body(
        request: &Request,
        max_tokens_field: LimitField,
        streaming: bool,
    ) -> Result<Value, LlmError> {
        super::body(request, max_tokens_field, streaming)
            .map(|body| serde_json::to_value(body).unwrap())
    }

    fn untranslatable(request: &Request) -> bool {
        matches!(body(request, LimitField::MaxTokens, false), Err(LlmError::Untranslatable { .. }))
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
            body(&request, LimitField::MaxTokens, false).unwrap(),
            json!({
                "model": "m-1", "max_tokens": 64, "temperature": 0.5, "stream": false,
                "top_p": 0.9, "n": 1,
                "messages": [
                    { "role": "system", "content": "Be kind" },
                    { "role": "user", "content": "Hi" }
                ]
            })
        );
        let streamed = body(&request, LimitField::MaxCompletionTokens, true).unwrap();
        assert_eq!(streamed["stream_options"], json!({ "include_usage": true }));
        assert_eq!(streamed["max_completion_tokens"], 64);
        assert_eq!(streamed.get("max_tokens"), None);
    }

    #[test]
    fn messages_of_the_same_dialect_are_sent_unchanged() {
        let raw = json!({ "role": "tool", "tool_call_id": "c-1", "content": "12:00" });
        let text = json::raw(&raw).unwrap();
        let result = Message { role: Role::Tool, text: "12:00".to_owned(), raw: Some(text) };
        let same_dialect = request(vec![result.clone()], Some(Dialect::OpenAi), json!({}));
        assert_eq!(
            body(&same_dialect, LimitField::MaxTokens, false).unwrap()["messages"],
            json!([raw])
        );
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
