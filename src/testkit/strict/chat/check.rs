//! What chat completions refuse.

use serde_json::Value;

use super::reasons;
use crate::testkit::strict::{
    Received, Refusal,
    asked::list,
    refusal::{is_name, only, within},
};

/// The fields of the published API.
const FIELDS: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// The first reason for which the API refuses the request.
pub(in crate::testkit::strict) fn check(request: &Received, body: &Value) -> Result<(), Refusal> {
    if request.header("authorization").is_empty() && request.header("api-key").is_empty() {
        return Err(Refusal::invalid("", "You didn't provide an API key.")
            .status(401, "invalid_request_error"));
    }
    only(body, &FIELDS, "")?;
    Refusal::unless(body["model"].is_string(), "model", "you must provide a model parameter")?;
    numbers(body)?;
    limits(body)?;
    tools(body)?;
    format(body)?;
    let messages = list(&body["messages"]);
    Refusal::unless(!messages.is_empty(), "messages", "[] is too short")?;
    for (index, message) in messages.iter().enumerate() {
        self::message(message, &format!("messages[{index}]"))?;
    }
    adjacency(messages)
}

fn numbers(body: &Value) -> Result<(), Refusal> {
    within(body, "temperature", 0.0..=2.0)?;
    within(body, "top_p", 0.0..=1.0)?;
    within(body, "frequency_penalty", -2.0..=2.0)?;
    within(body, "presence_penalty", -2.0..=2.0)?;
    within(body, "top_logprobs", 0.0..=20.0)?;
    within(body, "n", 1.0..=128.0)?;
    let logprobs = body["top_logprobs"].is_null() || body["logprobs"] == true;
    Refusal::unless(logprobs, "top_logprobs", "'logprobs' must be true")?;
    let stops = list(&body["stop"]).len() <= 4;
    Refusal::unless(stops, "stop", "the array is too long: at most 4")?;
    let options = body["stream_options"].is_null() || body["stream"] == true;
    Refusal::unless(options, "stream_options", "only allowed when 'stream' is enabled")
}

fn limits(body: &Value) -> Result<(), Refusal> {
    let (old, new) = (&body["max_tokens"], &body["max_completion_tokens"]);
    for (name, limit) in [("max_tokens", old), ("max_completion_tokens", new)] {
        let ok = limit.is_null() || limit.as_u64() > Some(0);
        Refusal::unless(ok, name, "integer below minimum value: expected a value >= 1")?;
    }
    let one = old.is_null() || new.is_null();
    let message = "setting 'max_tokens' and 'max_completion_tokens' at the same time";
    Refusal::unless(one, "max_tokens", message)?;
    if !reasons(body["model"].as_str().unwrap_or_default()) {
        return Ok(());
    }
    if !old.is_null() {
        let message = "'max_tokens' is not supported with this model, use 'max_completion_tokens'";
        return Err(Refusal::invalid("max_tokens", message).code("unsupported_parameter"));
    }
    for name in ["temperature", "top_p"] {
        let value = &body[name];
        if !(value.is_null() || value.as_f64() == Some(1.0)) {
            let message = "only the default (1) value is supported";
            return Err(Refusal::invalid(name, message).code("unsupported_value"));
        }
    }
    for name in ["presence_penalty", "frequency_penalty", "logprobs", "logit_bias", "stop"] {
        if !body[name].is_null() {
            let message = "unsupported parameter with this model";
            return Err(Refusal::invalid(name, message).code("unsupported_parameter"));
        }
    }
    Ok(())
}

fn tools(body: &Value) -> Result<(), Refusal> {
    let tools = &body["tools"];
    Refusal::unless(tools.as_array().is_none_or(|all| !all.is_empty()), "tools", "too short")?;
    for name in ["tool_choice", "parallel_tool_calls"] {
        let ok = body[name].is_null() || tools.is_array();
        Refusal::unless(ok, name, "only allowed when 'tools' are specified")?;
    }
    for (index, tool) in list(tools).iter().enumerate() {
        let path = format!("tools[{index}]");
        only(tool, &["type", "function", "custom"], &path)?;
        if tool["type"] == "function" {
            let function = &tool["function"];
            let path = format!("{path}.function");
            only(function, &["name", "description", "parameters", "strict"], &path)?;
            let name = function["name"].as_str().unwrap_or_default();
            Refusal::unless(is_name(name, 64), &path, "the name does not match the pattern")?;
            if function["strict"] == true {
                strict_schema(&function["parameters"], &path)?;
            }
        }
    }
    Ok(())
}

fn format(body: &Value) -> Result<(), Refusal> {
    let format = &body["response_format"];
    match format["type"].as_str() {
        None => Refusal::unless(format.is_null(), "response_format", "the type is missing"),
        Some("text" | "json_object") => Ok(()),
        Some("json_schema") => {
            let (schema, path) = (&format["json_schema"], "response_format.json_schema");
            let name = schema["name"].as_str().unwrap_or_default();
            Refusal::unless(is_name(name, 64), path, "the name does not match the pattern")?;
            if schema["strict"] == true { strict_schema(&schema["schema"], path) } else { Ok(()) }
        }
        Some(_) => Err(Refusal::invalid("response_format.type", "the type is unknown")),
    }
}

/// A strict schema requires all properties and allows no others.
pub(in crate::testkit::strict) fn strict_schema(schema: &Value, path: &str) -> Result<(), Refusal> {
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    let closed = schema["additionalProperties"] == false;
    Refusal::unless(closed, path, "'additionalProperties' is required to be false")?;
    let required = list(&schema["required"]);
    let all = properties.keys().all(|name| required.contains(&Value::from(name.as_str())));
    Refusal::unless(all, path, "'required' has to include every key in properties")?;
    properties.values().try_for_each(|property| strict_schema(property, path))
}

fn message(message: &Value, path: &str) -> Result<(), Refusal> {
    let content = &message["content"];
    let parts: &[&str] = match message["role"].as_str() {
        Some("user") => &["text", "image_url", "input_audio", "file"],
        Some("system" | "developer" | "tool") => &["text"],
        Some("assistant") => &["text", "refusal"],
        Some("function") => return Ok(()),
        _ => return Err(Refusal::invalid(format!("{path}.role"), "the role is unknown")),
    };
    let path = format!("{path}.content");
    if message["role"] == "assistant" {
        let calls = &message["tool_calls"];
        let calls_ok = calls.as_array().is_none_or(|calls| !calls.is_empty());
        Refusal::unless(calls_ok, &path, "tool_calls: [] is too short")?;
        let says = ["content", "tool_calls", "function_call", "audio", "refusal"];
        let says = says.iter().any(|name| !message[*name].is_null());
        Refusal::unless(says, &path, "expected a string, got null")?;
        list(calls).iter().try_for_each(|call| self::call(call, &path))?;
    } else {
        let ok = content.is_string() || !list(content).is_empty();
        Refusal::unless(ok, &path, "expected a string or a non-empty array")?;
    }
    list(content).iter().try_for_each(|part| {
        let kind = part["type"].as_str().unwrap_or_default();
        Refusal::unless(parts.contains(&kind), &path, "the type of a part is unknown")?;
        Refusal::unless(kind != "text" || part["text"].is_string(), &path, "text is missing")
    })
}

fn call(call: &Value, path: &str) -> Result<(), Refusal> {
    let id = call["id"].as_str().unwrap_or_default();
    Refusal::unless((1..=40).contains(&id.len()), path, "the id of a call has 1 to 40 characters")?;
    if call["type"] != "function" {
        return Refusal::unless(call["type"] == "custom", path, "the type of a call is unknown");
    }
    let function = &call["function"];
    let name = function["name"].as_str().unwrap_or_default();
    Refusal::unless(is_name(name, 64), path, "the name of a call does not match the pattern")?;
    Refusal::unless(function["arguments"].is_string(), path, "arguments are no string")
}

/// Every call is followed by its result before any other message, and every result has a call.
fn adjacency(messages: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(at) = open.iter().position(|known| *known == id) else {
                let text = "messages with role 'tool' must be a response to a preceding message \
                     with 'tool_calls'";
                return Err(Refusal::invalid("messages", text));
            };
            open.swap_remove(at);
        } else {
            answered(&open)?;
            open = list(&message["tool_calls"]).iter().filter_map(|c| c["id"].as_str()).collect();
        }
    }
    answered(&open)
}

fn answered(open: &[&str]) -> Result<(), Refusal> {
    let text = "an assistant message with 'tool_calls' must be followed by tool messages \
         responding to each 'tool_call_id'";
    Refusal::unless(open.is_empty(), "messages", text)
}
