//! The request body of chat completions.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    json::Fields,
    llm::{
        Dialect, LimitField, LlmError, Message, Request, Role,
        body::{self, Body, text_message},
        translate::{self, Dropped},
    },
};

/// Fields that this server sets. A client's values are ignored.
const GOVERNED: [&str; 4] = ["model", "messages", "stream", "mlsdm"];

/// The names of the limit of an answer.
const LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// The body of a request, and the names of the hints that were left out.
pub(super) fn body(
    request: &Request,
    max_tokens_field: LimitField,
    streaming: bool,
) -> Result<(Body, Dropped), LlmError> {
    if request.model.is_none() {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
    }
    let (mut body, dropped) = match request.extra.dialect {
        Some(Dialect::OpenAi) => {
            let mut body = unchanged(request)?;
            if let Some(temperature) = request.temperature {
                body.set_number("temperature", &temperature)?;
            }
            (body, Dropped::new())
        }
        None | Some(Dialect::Anthropic | Dialect::Responses) => {
            translate::translate(request, Dialect::OpenAi)?
        }
    };
    limit(request, max_tokens_field, &mut body)?;
    body.set("stream", &streaming)?;
    if streaming {
        body.set("stream_options", &stream_options(request))?;
    } else {
        body.remove("stream_options");
    }
    Ok((body, dropped))
}

/// The fields and messages of a client of the same dialect.
fn unchanged(request: &Request) -> Result<Body, LlmError> {
    let given = &request.extra.fields;
    // a step has one answer
    if given.is_set("n") && given.read("n").ok().flatten() != Some(1) {
        return Err(LlmError::Untranslatable { what: "more than one answer (n)" });
    }
    let mut fields = Fields::default();
    body::set(&mut fields, "model", &request.model)?;
    for (name, value) in given.iter().filter(|(name, _)| !GOVERNED.contains(name)) {
        fields.insert(name, Arc::clone(value));
    }
    let mut body = Body::new(fields, "messages");
    for message in request.messages.iter() {
        body.push(self::message(message)?);
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
    let same_dialect = request.extra.dialect == Some(Dialect::OpenAi);
    let given = request.extra.fields.read("stream_options").ok().flatten();
    let given: Option<Fields> = given.filter(|_| same_dialect);
    let mut options = given.unwrap_or_default();
    // a boolean has a JSON form
    options.set("include_usage", &true).ok();
    options
}

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
    use serde_json::{Value, json};

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
            takes_temperature: None,
            extra: Arc::new(Extra { dialect, fields, ..Extra::default() }),
        }
    }

    fn body(
        request: &Request,
        max_tokens_field: LimitField,
        streaming: bool,
    ) -> Result<Value, LlmError> {
        super::body(request, max_tokens_field, streaming)
            .map(|(body, _)| serde_json::to_value(body).unwrap())
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
    fn a_message_that_is_a_text_is_written_as_clients_write_it() {
        let hi = vec![Message::text(Role::User, "Hi")];
        let request = request(hi, Some(Dialect::OpenAi), json!({}));
        let (body, _) = super::body(&request, LimitField::MaxTokens, false).unwrap();
        let text = serde_json::to_string(&body).unwrap();
        assert!(text.contains(r#"[{"role":"user","content":"Hi"}]"#), "{text}");
    }

    #[test]
    fn messages_of_the_same_dialect_are_sent_unchanged() {
        let raw = json!({ "role": "tool", "tool_call_id": "c-1", "content": "12:00" });
        let text = json::raw(&raw).unwrap();
        let result = Message { role: Role::Tool, text: "12:00".to_owned(), raw: Some(text) };
        let same_dialect = request(vec![result], Some(Dialect::OpenAi), json!({}));
        assert_eq!(
            body(&same_dialect, LimitField::MaxTokens, false).unwrap()["messages"],
            json!([raw])
        );
    }

    #[test]
    fn untranslatable_requests_are_refused() {
        let hi = || vec![Message::text(Role::User, "Hi")];
        let search = json!({ "mcp_servers": [] });
        assert!(untranslatable(&request(hi(), Some(Dialect::Anthropic), search)));
        assert!(untranslatable(&request(hi(), Some(Dialect::OpenAi), json!({ "n": 2 }))));
        assert!(untranslatable(&request(vec![Message::text(Role::Tool, "x")], None, json!({}))));
        let without_model = Request { model: None, ..request(hi(), None, json!({})) };
        assert!(untranslatable(&without_model));
    }
}
