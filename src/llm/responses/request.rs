//! The request body for a provider that has the route `/responses`.

use std::sync::Arc;

use serde_json::{json, value::RawValue};

use crate::{
    json::{self, Fields},
    llm::{
        Dialect, LlmError, Message, Request, Role,
        body::{self, Body, raw},
        translate::{self, Dropped},
    },
};

/// Fields that this server sets.
const GOVERNED: [&str; 7] =
    ["model", "input", "instructions", "stream", "store", "previous_response_id", "mlsdm"];

/// The body of a request, and the names of the hints that were left out. Of a client of this dialect it
/// is the client's, field by field.
pub(in crate::llm) fn body(
    request: &Request,
    provider_store: bool,
    streaming: bool,
) -> Result<(Body, Dropped), LlmError> {
    let Some(model) = &request.model else {
        return Err(LlmError::Untranslatable { what: "the request names no model" });
    };
    let is_native = request.extra.dialect == Some(Dialect::Responses);
    let given = &request.extra.fields;
    // a client of another dialect cannot know that its answer is stored
    let stores = provider_store
        && is_native
        && given.get("store").is_none_or(|store| store.get() != "false");
    let (mut body, dropped) = if is_native {
        let mut body = unchanged(request, model, stores)?;
        if let Some(temperature) = request.temperature {
            body.set_number("temperature", &temperature)?;
        }
        (body, Dropped::new())
    } else {
        translate::translate(request, Dialect::Responses)?
    };
    if let Some(limit) = request.max_tokens {
        body.set_number("max_output_tokens", &limit.tokens)?;
    }
    body.set("store", &stores)?;
    body.set("stream", &streaming)?;
    Ok((body, dropped))
}

/// The fields and items of a client of this dialect.
fn unchanged(request: &Request, model: &str, stores: bool) -> Result<Body, LlmError> {
    let mut fields = Fields::default();
    body::set(&mut fields, "model", model)?;
    let (system, items): (Vec<&Message>, Vec<&Message>) =
        request.messages.iter().map(AsRef::as_ref).partition(|message| is_instructions(message));
    match system.as_slice() {
        [] => {}
        [message] => fields.insert("instructions", text(message)?),
        messages => {
            let texts: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
            body::set(&mut fields, "instructions", &texts.join("\n\n"))?;
        }
    }
    let given = request.extra.fields.iter();
    for (name, value) in given.filter(|(name, _)| !GOVERNED.contains(name)) {
        fields.insert(name, Arc::clone(value));
    }
    // a text stays a text
    if let [message] = items.as_slice()
        && message.role == Role::User
        && message.is_text()
    {
        fields.insert("input", text(message)?);
        return Ok(Body::without_list(fields));
    }
    let mut body = Body::new(fields, "input");
    for item in items {
        if let Some(item) = self::item(item, stores)? {
            body.push(item);
        }
    }
    Ok(body)
}

/// True for the system prompt, which is no item.
pub fn is_instructions(message: &Message) -> bool {
    message.role == Role::System && message.is_text()
}

/// The JSON of a message that is a text alone.
fn text(message: &Message) -> Result<Arc<RawValue>, LlmError> {
    message.raw.clone().map_or_else(|| raw(&message.text), Ok)
}

/// An input item. Reasoning that only the provider's own storage could complete is left out if that
/// storage is not used.
fn item(message: &Message, stores: bool) -> Result<Option<Arc<RawValue>>, LlmError> {
    let Some(item) = message.parts() else {
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
