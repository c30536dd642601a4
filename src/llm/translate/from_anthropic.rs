//! Reads messages of Anthropic's API.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Choice, Dropped, Effort, Image, Options, Part, Schema, Tool, Turn};
use crate::{
    json::{self, Fields},
    llm::{LlmError, Role},
};

/// Fields that this server sets.
const GOVERNED: [&str; 6] = ["model", "messages", "system", "stream", "max_tokens", "temperature"];

/// Hints: an answer without them is still an answer to the request.
const HINTS: [&str; 5] =
    ["cache_control", "context_management", "metadata", "service_tier", "speed"];

/// Reads a message, or the field `system`.
pub(super) fn turn(raw: &RawValue, role: Role, dropped: &mut Dropped) -> Result<Turn, LlmError> {
    let message = json::read::<Fields>(raw).ok();
    let content = match &message {
        Some(message) => message.get("content").map(AsRef::as_ref),
        None => Some(raw),
    };
    Ok(Turn { role, parts: self::content(content, dropped)? })
}

fn content(content: Option<&RawValue>, dropped: &mut Dropped) -> Result<Vec<Part>, LlmError> {
    let Some(content) = content.filter(|content| !json::is_null(content)) else {
        return Ok(Vec::new());
    };
    if content.get().starts_with('"') {
        return Ok(vec![Part::Text(read(content)?)]);
    }
    let blocks: Vec<Fields> = read(content)?;
    let mut parts = Vec::with_capacity(blocks.len());
    for block in &blocks {
        parts.extend(part(block, dropped)?);
    }
    Ok(parts)
}

/// A part; thinking has none, because its signature has no meaning for another provider.
fn part(block: &Fields, dropped: &mut Dropped) -> Result<Option<Part>, LlmError> {
    if block.is_set("cache_control") {
        dropped.push("cache_control");
    }
    let kind: String = required(block, "type")?;
    Ok(Some(match kind.as_str() {
        "text" => Part::Text(required(block, "text")?),
        "image" => Part::Image(image(&required(block, "source")?)?),
        "tool_use" => {
            let input = block.get("input").map_or("{}", |input| input.get());
            let (id, name) = (required(block, "id")?, required(block, "name")?);
            Part::Call { id, name, arguments: input.to_owned() }
        }
        "tool_result" => Part::Result {
            id: required(block, "tool_use_id")?,
            parts: content(block.get("content").map(AsRef::as_ref), dropped)?,
            is_error: block.read("is_error").map_err(|_| SHAPE)?.unwrap_or(false),
        },
        "document" => document(&required(block, "source")?)?,
        "thinking" | "redacted_thinking" => {
            dropped.push("thinking");
            return Ok(None);
        }
        _ => return Err(cannot("a block of an unknown type")),
    }))
}

fn image(source: &Fields) -> Result<Image, LlmError> {
    let kind: String = required(source, "type")?;
    match kind.as_str() {
        "base64" => Ok(Image::Data {
            media_type: required(source, "media_type")?,
            base64: required(source, "data")?,
        }),
        "url" => Ok(Image::Url(required(source, "url")?)),
        _ => Err(cannot("an image in a file")),
    }
}

/// A document that is a plain text.
fn document(source: &Fields) -> Result<Part, LlmError> {
    let kind: String = required(source, "type")?;
    if kind == "text" { Ok(Part::Text(required(source, "data")?)) } else { Err(cannot("a file")) }
}

/// Reads the fields beside the messages.
pub(super) fn options(
    fields: &Fields,
    options: &mut Options,
    dropped: &mut Dropped,
) -> Result<(), LlmError> {
    for (name, value) in fields.iter().filter(|(_, value)| !json::is_null(value)) {
        match name {
            "tools" => options.tools = tools(value, dropped)?,
            "tool_choice" => choice(value, options)?,
            "stop_sequences" => options.stop = read(value)?,
            "top_p" => options.top_p = Some(read(value)?),
            "top_k" => options.top_k = Some(read(value)?),
            "thinking" => options.effort = thinking(value)?,
            "output_config" => output(value, options)?,
            "output_format" => options.schema = Some(format(value)?),
            "container" | "mcp_servers" => return Err(cannot("tools of the provider")),
            "inference_geo" => return Err(cannot("a place of inference")),
            _ if GOVERNED.contains(&name) => {}
            _ => match HINTS.iter().find(|hint| **hint == name) {
                Some(hint) => dropped.push(hint),
                None => return Err(cannot("a field of another dialect")),
            },
        }
    }
    Ok(())
}

fn tools(value: &RawValue, dropped: &mut Dropped) -> Result<Vec<Tool>, LlmError> {
    let given: Vec<Fields> = read(value)?;
    let mut tools = Vec::with_capacity(given.len());
    for tool in &given {
        let kind: Option<String> = tool.read("type").map_err(|_| SHAPE)?;
        if kind.is_some_and(|kind| kind != "custom") {
            return Err(cannot("a tool of the provider"));
        }
        if tool.is_set("cache_control") {
            dropped.push("cache_control");
        }
        tools.push(Tool {
            name: required(tool, "name")?,
            description: tool.read("description").map_err(|_| SHAPE)?,
            parameters: tool.get("input_schema").cloned(),
            strict: tool.read("strict").map_err(|_| SHAPE)?,
        });
    }
    Ok(tools)
}

fn choice(value: &RawValue, options: &mut Options) -> Result<(), LlmError> {
    #[derive(Deserialize)]
    struct Given {
        #[serde(rename = "type")]
        kind: String,
        name: Option<String>,
        #[serde(default)]
        disable_parallel_tool_use: bool,
    }
    let given: Given = read(value)?;
    options.one_call = given.disable_parallel_tool_use;
    options.choice = Some(match (given.kind.as_str(), given.name) {
        ("auto", _) => Choice::Auto,
        ("none", _) => Choice::None,
        ("any", _) => Choice::Required,
        ("tool", Some(name)) => Choice::Named(name),
        _ => return Err(cannot("this choice of tools")),
    });
    Ok(())
}

fn thinking(value: &RawValue) -> Result<Option<Effort>, LlmError> {
    #[derive(Deserialize)]
    struct Given {
        #[serde(rename = "type")]
        kind: String,
        budget_tokens: Option<u32>,
    }
    let given: Given = read(value)?;
    Ok(match (given.kind.as_str(), given.budget_tokens) {
        ("disabled", _) => Some(Effort::None),
        (_, Some(budget)) => Some(Effort::of_budget(budget)),
        // how much is for the model to decide
        (_, None) => None,
    })
}

fn output(value: &RawValue, options: &mut Options) -> Result<(), LlmError> {
    let given: Fields = read(value)?;
    if let Some(effort) = given.read::<String>("effort").map_err(|_| SHAPE)? {
        options.effort = Effort::by_name(&effort);
    }
    if let Some(given) = given.get("format").filter(|format| !json::is_null(format)) {
        options.schema = Some(format(given)?);
    }
    Ok(())
}

fn format(value: &RawValue) -> Result<Schema, LlmError> {
    #[derive(Deserialize)]
    struct Given {
        #[serde(rename = "type")]
        kind: String,
        schema: Option<Box<RawValue>>,
    }
    let given: Given = read(value)?;
    let schema = given.schema.filter(|_| given.kind == "json_schema");
    let schema = schema.ok_or(cannot("this form of the answer"))?;
    Ok(Schema { name: "answer".to_owned(), json: Arc::from(schema), strict: Some(true) })
}

fn required<T: serde::de::DeserializeOwned>(fields: &Fields, name: &str) -> Result<T, LlmError> {
    fields.read(name).ok().flatten().ok_or(SHAPE)
}

fn read<T: serde::de::DeserializeOwned>(value: &RawValue) -> Result<T, LlmError> {
    json::read(value).map_err(|_| SHAPE)
}

const SHAPE: LlmError = cannot("a message or a field of an unknown shape");

const fn cannot(what: &'static str) -> LlmError {
    LlmError::Untranslatable { what }
}
