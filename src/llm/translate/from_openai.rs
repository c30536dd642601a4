//! Reads chat completions.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Choice, Dropped, Effort, Image, Options, Part, Schema, Tool, Turn};
use crate::{
    json::{self, Fields},
    llm::{LlmError, Role},
};

/// Fields that this server sets or that no provider needs.
const GOVERNED: [&str; 8] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "n",
];

/// Hints: an answer without them is still an answer to the request.
const HINTS: [&str; 13] = [
    "frequency_penalty",
    "logit_bias",
    "metadata",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "verbosity",
];

/// Reads a message.
pub(super) fn turn(raw: &RawValue, dropped: &mut Dropped) -> Result<Turn, LlmError> {
    let message: Fields = json::read(raw).map_err(|_| SHAPE)?;
    let role: String = field(&message, "role")?.ok_or(SHAPE)?;
    let mut parts = content(message.get("content").map(AsRef::as_ref))?;
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => {
            assistant(&message, &mut parts, dropped)?;
            Role::Assistant
        }
        "tool" => {
            let id = field(&message, "tool_call_id")?.ok_or(SHAPE)?;
            parts = vec![Part::Result { id, parts, is_error: false }];
            Role::User
        }
        _ => return Err(cannot("the result of a function; use tools")),
    };
    Ok(Turn { role, parts })
}

fn assistant(
    message: &Fields,
    parts: &mut Vec<Part>,
    dropped: &mut Dropped,
) -> Result<(), LlmError> {
    #[derive(Deserialize)]
    struct Call {
        id: String,
        function: Function,
    }
    #[derive(Deserialize)]
    struct Function {
        name: String,
        #[serde(default)]
        arguments: String,
    }
    if message.is_set("function_call") {
        return Err(cannot("the call of a function; use tools"));
    }
    if message.is_set("audio") {
        return Err(cannot("audio"));
    }
    for name in ["reasoning_content", "reasoning"] {
        if message.is_set(name) {
            dropped.push("reasoning_content");
        }
    }
    if let Some(refusal) = field::<String>(message, "refusal")? {
        parts.push(Part::Text(refusal));
    }
    let calls: Option<Vec<Call>> = message
        .read("tool_calls")
        .map_err(|_| cannot("a tool call that is not a call of a function"))?;
    for Call { id, function: Function { name, arguments } } in calls.unwrap_or_default() {
        parts.push(Part::Call { id, name, arguments });
    }
    Ok(())
}

fn content(content: Option<&RawValue>) -> Result<Vec<Part>, LlmError> {
    let Some(content) = content.filter(|content| !json::is_null(content)) else {
        return Ok(Vec::new());
    };
    if content.get().starts_with('"') {
        return Ok(vec![Part::Text(json::read(content).map_err(|_| SHAPE)?)]);
    }
    let parts: Vec<Fields> = json::read(content).map_err(|_| SHAPE)?;
    parts.iter().map(part).collect()
}

fn part(part: &Fields) -> Result<Part, LlmError> {
    #[derive(Deserialize)]
    struct Url {
        url: String,
    }
    let kind: String = field(part, "type")?.ok_or(SHAPE)?;
    match kind.as_str() {
        "text" => Ok(Part::Text(field(part, "text")?.ok_or(SHAPE)?)),
        "refusal" => Ok(Part::Text(field(part, "refusal")?.ok_or(SHAPE)?)),
        "image_url" => {
            let Url { url } = field(part, "image_url")?.ok_or(SHAPE)?;
            Ok(Part::Image(image(url)?))
        }
        "input_audio" => Err(cannot("audio")),
        "file" => Err(cannot("a file")),
        _ => Err(cannot("a part of an unknown type")),
    }
}

/// An image by its URL, which may hold the data.
pub(super) fn image(url: String) -> Result<Image, LlmError> {
    let Some(data) = url.strip_prefix("data:") else { return Ok(Image::Url(url)) };
    let (head, base64) = data.split_once(',').ok_or(cannot("an image with a malformed URL"))?;
    let media_type =
        head.strip_suffix(";base64").ok_or(cannot("an image whose URL is not in base64"))?;
    Ok(Image::Data { media_type: media_type.to_owned(), base64: base64.to_owned() })
}

/// Reads the fields beside the messages.
pub(super) fn options(
    fields: &Fields,
    options: &mut Options,
    dropped: &mut Dropped,
) -> Result<(), LlmError> {
    for (name, value) in fields.iter().filter(|(_, value)| !json::is_null(value)) {
        match name {
            "n" if value.get() != "1" => return Err(cannot("more than one answer (n)")),
            "tools" => options.tools = tools(value)?,
            "tool_choice" => options.choice = Some(choice(value)?),
            "parallel_tool_calls" => options.one_call = value.get() == "false",
            "stop" => options.stop = stop(value)?,
            "top_p" => options.top_p = read(value)?,
            "top_k" => options.top_k = json::read(value).ok(),
            "response_format" => format(value, options)?,
            "reasoning_effort" => {
                let name: String = read(value)?;
                options.effort = Effort::by_name(&name);
            }
            "logprobs" | "top_logprobs" if !matches!(value.get(), "false" | "0") => {
                return Err(cannot("log probabilities"));
            }
            "modalities" if value.get().contains("audio") => return Err(cannot("audio")),
            "logprobs" | "top_logprobs" | "modalities" => {}
            "audio" => return Err(cannot("audio")),
            "functions" | "function_call" => return Err(cannot("functions; use tools")),
            "web_search_options" => return Err(cannot("web search")),
            "user" => dropped.push("user"),
            _ if GOVERNED.contains(&name) => {}
            _ => match HINTS.iter().find(|hint| **hint == name) {
                Some(hint) => dropped.push(hint),
                None => return Err(cannot("a field of another dialect")),
            },
        }
    }
    Ok(())
}

fn tools(value: &RawValue) -> Result<Vec<Tool>, LlmError> {
    #[derive(Deserialize)]
    struct Given {
        #[serde(rename = "type")]
        kind: String,
        function: Option<Function>,
    }
    #[derive(Deserialize)]
    struct Function {
        name: String,
        description: Option<String>,
        parameters: Option<Box<RawValue>>,
        strict: Option<bool>,
    }
    let given: Vec<Given> = read(value)?;
    let tool = |given: Given| {
        let function = given.function.filter(|_| given.kind == "function");
        let function = function.ok_or(cannot("a tool that is not a function"))?;
        let Function { name, description, parameters, strict } = function;
        Ok(Tool { name, description, parameters: parameters.map(Arc::from), strict })
    };
    given.into_iter().map(tool).collect()
}

fn choice(value: &RawValue) -> Result<Choice, LlmError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Word(String),
        Named { function: Named },
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    match json::read(value) {
        Ok(Given::Word(word)) if word == "auto" => Ok(Choice::Auto),
        Ok(Given::Word(word)) if word == "none" => Ok(Choice::None),
        Ok(Given::Word(word)) if word == "required" => Ok(Choice::Required),
        Ok(Given::Named { function }) => Ok(Choice::Named(function.name)),
        Ok(Given::Word(_)) | Err(_) => Err(cannot("this choice of tools")),
    }
}

fn stop(value: &RawValue) -> Result<Vec<String>, LlmError> {
    if value.get().starts_with('"') { Ok(vec![read(value)?]) } else { read(value) }
}

fn format(value: &RawValue, options: &mut Options) -> Result<(), LlmError> {
    #[derive(Deserialize)]
    struct Format {
        #[serde(rename = "type")]
        kind: String,
        json_schema: Option<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
        schema: Box<RawValue>,
        strict: Option<bool>,
    }
    let format: Format = read(value)?;
    match (format.kind.as_str(), format.json_schema) {
        ("text", _) => {}
        ("json_object", _) => options.is_json = true,
        ("json_schema", Some(Named { name, schema, strict })) => {
            options.schema = Some(Schema { name, json: Arc::from(schema), strict });
        }
        _ => return Err(cannot("this form of the answer")),
    }
    Ok(())
}

fn field<T: serde::de::DeserializeOwned>(
    fields: &Fields,
    name: &str,
) -> Result<Option<T>, LlmError> {
    fields.read(name).map_err(|_| SHAPE)
}

fn read<T: serde::de::DeserializeOwned>(value: &RawValue) -> Result<T, LlmError> {
    json::read(value).map_err(|_| SHAPE)
}

const SHAPE: LlmError = cannot("a message or a field of an unknown shape");

const fn cannot(what: &'static str) -> LlmError {
    LlmError::Untranslatable { what }
}
