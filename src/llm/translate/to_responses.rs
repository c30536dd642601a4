//! Writes requests of the Responses API, for a server that has no other route.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Conversation, Effort, Options, Part, Tool, Turn, common,
    parts::{ERROR, joined},
};
use crate::{
    json::Fields,
    llm::{
        Dialect, LlmError, Request, Role,
        body::{self, Body, raw},
        model_facts::{ModelFacts, Thinking},
    },
};

/// Fields of chat completions that have the same name and meaning in this API.
const SHARED: [&str; 6] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
];

/// The fields and items of a request, without its limit.
pub(super) fn body(
    conversation: &mut Conversation,
    request: &Request,
    facts: ModelFacts,
) -> Result<Body, LlmError> {
    let mut fields = Fields::default();
    body::set(&mut fields, "model", &request.model)?;
    common::sampling(conversation, request, facts, &mut fields)?;
    let Conversation { turns, options, dropped } = conversation;
    let leading = turns.iter().take_while(|turn| turn.role == Role::System).count();
    let system: Vec<String> = turns[..leading].iter().map(|turn| joined(&turn.parts)).collect();
    if !system.is_empty() {
        body::set(&mut fields, "instructions", &system.join("\n\n"))?;
    }
    share(request, &mut fields, dropped);
    if options.top_k.is_some() {
        dropped.push("top_k");
    }
    match options.effort {
        Some(Effort::None) if facts.thinking == Thinking::Effort => dropped.push("thinking"),
        None | Some(Effort::None) => {}
        Some(effort) if facts.thinking == Thinking::Effort => {
            body::set(&mut fields, "reasoning", &json!({ "effort": effort.as_str() }))?;
        }
        Some(_) => dropped.push("thinking"),
    }
    write_options(options, &mut fields)?;
    let mut body = Body::new(fields, "input");
    for turn in &turns[leading..] {
        for item in items(turn)? {
            body.push(raw(&item)?);
        }
    }
    Ok(body)
}

/// Keeps the hints that the two APIs of `OpenAI` share.
fn share(request: &Request, fields: &mut Fields, dropped: &mut Vec<&'static str>) {
    if request.extra.dialect != Some(Dialect::OpenAi) {
        return;
    }
    for name in SHARED {
        if let Some(given) = request.extra.fields.get(name) {
            fields.insert(name, Arc::clone(given));
            dropped.retain(|other| *other != name);
        }
    }
}

fn write_options(options: &Options, fields: &mut Fields) -> Result<(), LlmError> {
    if !options.stop.is_empty() {
        return Err(LlmError::Untranslatable { what: "stop sequences" });
    }
    common::tools(options, fields, tool, |name| json!({ "type": "function", "name": name }))?;
    let mut format = Fields::default();
    if options.is_json {
        body::set(&mut format, "type", "json_object")?;
    }
    if let Some(schema) = &options.schema {
        body::set(&mut format, "type", "json_schema")?;
        body::set(&mut format, "name", &schema.name)?;
        format.insert("schema", schema.json.clone());
        if let Some(strict) = schema.strict {
            body::set(&mut format, "strict", &strict)?;
        }
    }
    if !format.is_empty() {
        let mut text = Fields::default();
        body::set(&mut text, "format", &format)?;
        body::set(fields, "text", &text)?;
    }
    Ok(())
}

fn tool(tool: &Tool) -> Result<Fields, LlmError> {
    let mut fields = Fields::default();
    body::set(&mut fields, "type", "function")?;
    body::set(&mut fields, "name", &tool.name)?;
    if let Some(description) = &tool.description {
        body::set(&mut fields, "description", description)?;
    }
    if let Some(parameters) = &tool.parameters {
        fields.insert("parameters", parameters.clone());
    } else {
        let none = json!({ "type": "object", "properties": {} });
        body::set(&mut fields, "parameters", &none)?;
    }
    // the default of this API is true, that of the others is false
    body::set(&mut fields, "strict", &tool.strict.unwrap_or(false))?;
    Ok(fields)
}

/// The items of a turn: the results of tools come first, after their calls.
fn items(turn: &Turn) -> Result<Vec<Value>, LlmError> {
    match turn.role {
        Role::System => Ok(vec![message("system", &[input_text(&joined(&turn.parts))])]),
        Role::Assistant => assistant(&turn.parts),
        Role::User | Role::Tool => Ok(user(&turn.parts)),
    }
}

fn message(role: &str, content: &[Value]) -> Value {
    json!({ "type": "message", "role": role, "content": content })
}

fn input_text(text: &str) -> Value {
    json!({ "type": "input_text", "text": text })
}

fn assistant(parts: &[Part]) -> Result<Vec<Value>, LlmError> {
    let mut items = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => {
                let content = json!({ "type": "output_text", "text": text });
                items.push(message("assistant", &[content]));
            }
            Part::Call { id, name, arguments } => items.push(json!({
                "type": "function_call", "call_id": id, "name": name, "arguments": arguments,
            })),
            Part::Image(_) | Part::Result { .. } => {
                return Err(LlmError::Untranslatable { what: "an image of the model" });
            }
        }
    }
    Ok(items)
}

fn user(parts: &[Part]) -> Vec<Value> {
    let mut items = Vec::new();
    for part in parts {
        if let Part::Result { id, parts, is_error } = part {
            let output = output(parts, *is_error);
            items.push(json!({ "type": "function_call_output", "call_id": id, "output": output }));
        }
    }
    let content: Vec<Value> = parts.iter().filter_map(input_part).collect();
    if !content.is_empty() {
        items.push(message("user", &content));
    }
    items
}

/// The output of a tool: a text, or a list of parts if it has images.
fn output(parts: &[Part], is_error: bool) -> Value {
    let mark = if is_error { ERROR } else { "" };
    if parts.iter().any(|part| matches!(part, Part::Image(_))) {
        let mark = is_error.then(|| input_text(mark));
        return mark.into_iter().chain(parts.iter().filter_map(input_part)).collect();
    }
    format!("{mark}{}", joined(parts)).into()
}

fn input_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text(text) if text.is_empty() => None,
        Part::Text(text) => Some(input_text(text)),
        Part::Image(image) => Some(json!({ "type": "input_image", "image_url": image.url() })),
        Part::Call { .. } | Part::Result { .. } => None,
    }
}
