//! Writes messages of Anthropic's API.

use serde_json::{Value, json, value::RawValue};

use super::{Choice, Conversation, Effort, Image, Options, Part, Tool, Turn, parts::joined};
use crate::{
    json::Fields,
    llm::{
        LlmError, Request, Role,
        body::{self, Body, raw},
        model_facts::{ModelFacts, Thinking},
    },
};

/// The limit of requests that name none: the API requires one.
pub(in crate::llm) const MAX_TOKENS: u32 = 4_096;

/// Maximum temperature of Anthropic's API. `OpenAI`'s is 2.
const TEMPERATURE_MAX: f64 = 1.0;

/// The body of a request.
pub(super) fn body(
    conversation: &mut Conversation,
    request: &Request,
    facts: ModelFacts,
) -> Result<Body, LlmError> {
    let mut fields = Fields::default();
    body::set(&mut fields, "model", &request.model)?;
    let system: Vec<String> = conversation
        .turns
        .iter()
        .filter(|turn| turn.role == Role::System)
        .map(|turn| joined(&turn.parts))
        .filter(|text| !text.is_empty())
        .collect();
    if !system.is_empty() {
        body::set(&mut fields, "system", &system.join("\n\n"))?;
    }
    let thinks = think(conversation, request, facts, &mut fields)?;
    let limit = request.max_tokens.map(|limit| limit.tokens);
    let room = if thinks { budget(conversation) } else { 0 };
    body::set(&mut fields, "max_tokens", &limit.unwrap_or(MAX_TOKENS + room))?;
    sampling(conversation, request, facts, thinks, &mut fields)?;
    write_options(&conversation.options, &mut fields)?;
    let mut body = Body::new(fields, "messages");
    for message in messages(&conversation.turns)? {
        body.push(raw(&message)?);
    }
    Ok(body)
}

fn budget(conversation: &Conversation) -> u32 {
    conversation.options.effort.and_then(Effort::budget).unwrap_or(0)
}

/// Asks for thinking if the model and the conversation have a place for it. A turn with tools must
/// begin with the model's thinking, which clients of other dialects do not send back.
fn think(
    conversation: &mut Conversation,
    request: &Request,
    facts: ModelFacts,
    fields: &mut Fields,
) -> Result<bool, LlmError> {
    let Some(effort) = conversation.options.effort.filter(|effort| *effort != Effort::None) else {
        return Ok(false);
    };
    if facts.thinking == Thinking::Effort {
        body::set(fields, "output_config", &json!({ "effort": effort.as_str() }))?;
        return Ok(false);
    }
    let in_loop = conversation
        .turns
        .last()
        .is_some_and(|turn| turn.parts.iter().any(|part| matches!(part, Part::Result { .. })));
    let forced = matches!(conversation.options.choice, Some(Choice::Required | Choice::Named(_)));
    let budget = budget(conversation);
    let fits = request.max_tokens.is_none_or(|limit| limit.tokens > budget);
    let free = request.temperature.is_none() && conversation.options.top_k.is_none();
    if facts.thinking == Thinking::None || in_loop || forced || !fits || !free {
        conversation.dropped.push("reasoning_effort");
        return Ok(false);
    }
    body::set(fields, "thinking", &json!({ "type": "enabled", "budget_tokens": budget }))?;
    Ok(true)
}

/// The API takes one of temperature and `top_p`.
fn sampling(
    conversation: &mut Conversation,
    request: &Request,
    facts: ModelFacts,
    thinks: bool,
    fields: &mut Fields,
) -> Result<(), LlmError> {
    let Conversation { options, dropped, .. } = conversation;
    let temperature = request.temperature.map(|temperature| temperature.min(TEMPERATURE_MAX));
    match temperature {
        Some(temperature) if facts.takes_temperature => {
            body::set(fields, "temperature", &temperature)?;
        }
        Some(_) => dropped.push("temperature"),
        None => {}
    }
    match options.top_p {
        Some(top_p) if temperature.is_none() && !thinks && facts.takes_temperature => {
            body::set(fields, "top_p", &top_p)?;
        }
        Some(_) => dropped.push("top_p"),
        None => {}
    }
    match options.top_k {
        Some(top_k) if facts.takes_temperature => body::set(fields, "top_k", &top_k),
        Some(_) => {
            dropped.push("top_k");
            Ok(())
        }
        None => Ok(()),
    }
}

fn write_options(options: &Options, fields: &mut Fields) -> Result<(), LlmError> {
    if !options.tools.is_empty() {
        let tools: Result<Vec<Fields>, _> = options.tools.iter().map(tool).collect();
        body::set(fields, "tools", &tools?)?;
        if let Some(choice) = choice(options) {
            body::set(fields, "tool_choice", &choice)?;
        }
    }
    // the API refuses sequences of white space
    let stop: Vec<&String> = options.stop.iter().filter(|text| !text.trim().is_empty()).collect();
    if !stop.is_empty() {
        body::set(fields, "stop_sequences", &stop)?;
    }
    if options.is_json {
        return Err(LlmError::Untranslatable { what: "an answer in JSON without a schema" });
    }
    if let Some(schema) = &options.schema {
        let mut config: Fields = fields.read("output_config").ok().flatten().unwrap_or_default();
        let mut format = Fields::default();
        body::set(&mut format, "type", "json_schema")?;
        format.insert("schema", schema.json.clone());
        body::set(&mut config, "format", &format)?;
        body::set(fields, "output_config", &config)?;
    }
    Ok(())
}

fn choice(options: &Options) -> Option<Value> {
    let mut choice = match &options.choice {
        Some(Choice::None) => return Some(json!({ "type": "none" })),
        Some(Choice::Required) => json!({ "type": "any" }),
        Some(Choice::Named(name)) => json!({ "type": "tool", "name": name }),
        Some(Choice::Auto) => json!({ "type": "auto" }),
        None if options.one_call => json!({ "type": "auto" }),
        None => return None,
    };
    if options.one_call {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

fn tool(tool: &Tool) -> Result<Fields, LlmError> {
    let mut fields = Fields::default();
    body::set(&mut fields, "name", &tool.name)?;
    if let Some(description) = &tool.description {
        body::set(&mut fields, "description", description)?;
    }
    if let Some(parameters) = &tool.parameters {
        fields.insert("input_schema", parameters.clone());
    } else {
        let none = json!({ "type": "object", "properties": {} });
        body::set(&mut fields, "input_schema", &none)?;
    }
    Ok(fields)
}

/// The messages, of alternating authors: the results of several tools are one message.
fn messages(turns: &[Turn]) -> Result<Vec<Fields>, LlmError> {
    let mut joined: Vec<(&'static str, Vec<Fields>)> = Vec::new();
    for turn in turns {
        let role = match turn.role {
            Role::System => continue,
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let mut blocks = Vec::new();
        for part in &turn.parts {
            blocks.extend(block(part)?);
        }
        match joined.last_mut() {
            Some((last, earlier)) if *last == role => earlier.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => joined.push((role, blocks)),
        }
    }
    let message = |(role, blocks): (&str, Vec<Fields>)| {
        let mut message = Fields::default();
        body::set(&mut message, "role", role)?;
        match plain(&blocks) {
            Some(text) => message.insert("content", text),
            None => body::set(&mut message, "content", &blocks)?,
        }
        Ok(message)
    };
    joined.into_iter().map(message).collect()
}

/// The text of a message that is one text.
fn plain(blocks: &[Fields]) -> Option<std::sync::Arc<RawValue>> {
    let [block] = blocks else { return None };
    block.get("text").cloned()
}

/// A block; the API refuses one with an empty text.
fn block(part: &Part) -> Result<Option<Fields>, LlmError> {
    let mut block = Fields::default();
    match part {
        Part::Text(text) if text.trim().is_empty() => return Ok(None),
        Part::Text(text) => {
            body::set(&mut block, "type", "text")?;
            body::set(&mut block, "text", text)?;
        }
        Part::Image(image) => {
            body::set(&mut block, "type", "image")?;
            body::set(&mut block, "source", &source(image))?;
        }
        Part::Call { id, name, arguments } => {
            body::set(&mut block, "type", "tool_use")?;
            body::set(&mut block, "id", &plain_id(id))?;
            body::set(&mut block, "name", name)?;
            block.insert("input", input(arguments)?);
        }
        Part::Result { id, parts, is_error } => {
            body::set(&mut block, "type", "tool_result")?;
            body::set(&mut block, "tool_use_id", &plain_id(id))?;
            let mut content = Vec::new();
            for part in parts {
                content.extend(self::block(part)?);
            }
            if !content.is_empty() {
                match plain(&content) {
                    Some(text) => block.insert("content", text),
                    None => body::set(&mut block, "content", &content)?,
                }
            }
            if *is_error {
                body::set(&mut block, "is_error", &true)?;
            }
        }
    }
    Ok(Some(block))
}

fn source(image: &Image) -> Value {
    match image {
        Image::Url(url) => json!({ "type": "url", "url": url }),
        Image::Data { media_type, base64 } => {
            json!({ "type": "base64", "media_type": media_type, "data": base64 })
        }
    }
}

/// An id in the characters that the API takes.
fn plain_id(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    id.chars().map(plain).collect()
}

/// The arguments as an object. Models sometimes write arguments that are none.
fn input(arguments: &str) -> Result<std::sync::Arc<RawValue>, LlmError> {
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(object) if object.get().starts_with('{') => raw(object),
        _ if arguments.trim().is_empty() => raw(&json!({})),
        _ => raw(&json!({ "arguments": arguments })),
    }
}
