//! The request body for a provider that has the route `/responses`.

use std::sync::Arc;

use serde_json::{json, value::RawValue};

use crate::{
    json::{self, Fields},
    llm::{
        LlmError, Message, Request, Role,
        body::{self, Body, raw},
    },
};

/// Fields that this server sets.
const GOVERNED: [&str; 7] =
    ["model", "input", "instructions", "stream", "store", "previous_response_id", "mlsdm"];

/// The body of a request. Without changes by this server it is the client's, field by field.
pub(in crate::llm) fn body(
    request: &Request,
    provider_store: bool,
    streaming: bool,
) -> Result<Body, LlmError> {
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
    };
    let given = &request.extra.fields;
    let mut fields = Fields::default();
    body::set(&mut fields, "model", model)?;
    let (system, items): (Vec<&Message>, Vec<&Message>) =
        request.messages.iter().map(AsRef::as_ref).partition(|message| is_instructions(message));
    if !system.is_empty() {
        let texts: Vec<&str> = system.iter().map(|message| message.text.as_str()).collect();
        body::set(&mut fields, "instructions", &texts.join("\n\n"))?;
    }
    for (name, value) in given.iter().filter(|(name, _)| !GOVERNED.contains(name)) {
        fields.insert(name, Arc::clone(value));
    }
    let stores = provider_store && given.get("store").is_none_or(|store| store.get() != "false");
    let mut body = if let [Message { raw: None, role: Role::User, text }] = items.as_slice() {
        // a text stays a text
        body::set(&mut fields, "input", text)?;
        Body::without_list(fields)
    } else {
        let mut body = Body::new(fields, "input");
        for item in items {
            if let Some(item) = self::item(item, stores)? {
                body.push(item);
            }
        }
        body
    };
    if let Some(limit) = request.max_tokens {
        body.set_number("max_output_tokens", &limit.tokens)?;
    }
    if let Some(temperature) = request.temperature {
        body.set_number("temperature", &temperature)?;
    }
    body.set("store", &stores)?;
    body.set("stream", &streaming)?;
    Ok(body)
}

/// True for the system prompt, which is no item.
fn is_instructions(message: &Message) -> bool {
    message.role == Role::System && message.raw.is_none()
}

/// An input item. Reasoning that only the provider's own storage could complete is left out if that
/// storage is not used.
fn item(message: &Message, stores: bool) -> Result<Option<Arc<RawValue>>, LlmError> {
    let Some(item) = &message.raw else {
        let kind = if message.role == Role::Assistant { "output_text" } else { "input_text" };
        let content = json!([{ "type": kind, "text": message.text }]);
        let item = json!({ "type": "message", "role": message.role, "content": content });
        return raw(&item).map(Some);
    };
    let is_stored_reasoning = !stores
        && json::read::<Fields>(item).is_ok_and(|item| {
            let kind: Option<String> = item.read("type").ok().flatten();
            kind.as_deref() == Some("reasoning")
                && item.is_set("id")
                && !item.is_set("encrypted_content")
        });
    Ok((!is_stored_reasoning).then(|| Arc::clone(item)))
}
