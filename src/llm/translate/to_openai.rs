//! Writes chat completions.

use serde_json::{Map, Value, json};

use super::{
    Conversation, Effort, Options, Part, Tool, Turn, common,
    parts::{ERROR, joined},
};
use crate::{
    json::Fields,
    llm::{
        LlmError, Request, Role,
        body::{self, Body, raw},
        model_facts::{ModelFacts, Thinking},
    },
};

/// The fields and messages of a request, without its limit.
pub(super) fn body(
    conversation: &mut Conversation,
    request: &Request,
    facts: ModelFacts,
) -> Result<Body, LlmError> {
    let mut fields = Fields::default();
    body::set(&mut fields, "model", &request.model)?;
    common::sampling(conversation, request, facts, &mut fields)?;
    let Conversation { turns, options, dropped } = conversation;
    if options.top_k.is_some() {
        dropped.push("top_k");
    }
    if let Some(effort) = options.effort {
        match facts.thinking {
            Thinking::Effort if effort != Effort::None => {
                body::set(&mut fields, "reasoning_effort", effort.as_str())?;
            }
            _ if effort == Effort::None => {}
            Thinking::Effort | Thinking::Budget | Thinking::None => dropped.push("thinking"),
        }
    }
    write_options(options, &mut fields)?;
    let mut body = Body::new(fields, "messages");
    for turn in turns.iter() {
        for message in messages(turn)? {
            body.push(raw(&message)?);
        }
    }
    Ok(body)
}

fn write_options(options: &Options, fields: &mut Fields) -> Result<(), LlmError> {
    common::tools(
        options,
        fields,
        tool,
        |name| json!({ "type": "function", "function": { "name": name } }),
    )?;
    if !options.stop.is_empty() {
        body::set(fields, "stop", &options.stop)?;
    }
    if options.is_json {
        body::set(fields, "response_format", &json!({ "type": "json_object" }))?;
    }
    if let Some(schema) = &options.schema {
        let mut inner = Fields::default();
        body::set(&mut inner, "name", &schema.name)?;
        inner.insert("schema", schema.json.clone());
        if let Some(strict) = schema.strict {
            body::set(&mut inner, "strict", &strict)?;
        }
        let mut format = Fields::default();
        body::set(&mut format, "type", "json_schema")?;
        body::set(&mut format, "json_schema", &inner)?;
        body::set(fields, "response_format", &format)?;
    }
    Ok(())
}

fn tool(tool: &Tool) -> Result<Fields, LlmError> {
    let mut function = Fields::default();
    body::set(&mut function, "name", &tool.name)?;
    if let Some(description) = &tool.description {
        body::set(&mut function, "description", description)?;
    }
    if let Some(parameters) = &tool.parameters {
        function.insert("parameters", parameters.clone());
    }
    if let Some(strict) = tool.strict {
        body::set(&mut function, "strict", &strict)?;
    }
    let mut tool = Fields::default();
    body::set(&mut tool, "type", "function")?;
    body::set(&mut tool, "function", &function)?;
    Ok(tool)
}

/// The messages of a turn: each result of a tool is one, and they come first, after their calls.
fn messages(turn: &Turn) -> Result<Vec<Value>, LlmError> {
    match turn.role {
        Role::System => Ok(vec![json!({ "role": "system", "content": joined(&turn.parts) })]),
        Role::Assistant => Ok(vec![assistant(&turn.parts)?]),
        Role::User | Role::Tool => Ok(user(&turn.parts)),
    }
}

fn assistant(parts: &[Part]) -> Result<Value, LlmError> {
    let mut calls = Vec::new();
    for part in parts {
        match part {
            Part::Call { id, name, arguments } => calls.push(json!({
                "id": id, "type": "function",
                "function": { "name": name, "arguments": arguments },
            })),
            Part::Text(_) => {}
            Part::Image(_) | Part::Result { .. } => {
                return Err(LlmError::Untranslatable { what: "an image of the model" });
            }
        }
    }
    let text = joined(parts);
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    message.insert("content".to_owned(), content);
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    Ok(message.into())
}

fn user(parts: &[Part]) -> Vec<Value> {
    let mut messages = Vec::new();
    let mut content = Vec::new();
    for part in parts {
        if let Part::Result { id, parts, is_error } = part {
            let text = joined(parts);
            let text = if *is_error { format!("{ERROR}{text}") } else { text };
            messages.push(json!({ "role": "tool", "tool_call_id": id, "content": text }));
            // a result has no images there; they follow all results
            content.extend(parts.iter().filter(|part| matches!(part, Part::Image(_))));
        }
    }
    content.extend(parts.iter().filter(|part| !matches!(part, Part::Result { .. })));
    if content.is_empty() && !messages.is_empty() {
        return messages;
    }
    let content = if content.iter().all(|part| matches!(part, Part::Text(_))) {
        Value::String(joined(parts))
    } else {
        content.into_iter().filter_map(user_part).collect()
    };
    messages.push(json!({ "role": "user", "content": content }));
    messages
}

fn user_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text(text) if text.is_empty() => None,
        Part::Text(text) => Some(json!({ "type": "text", "text": text })),
        Part::Image(image) => {
            Some(json!({ "type": "image_url", "image_url": { "url": image.url() } }))
        }
        Part::Call { .. } | Part::Result { .. } => None,
    }
}
