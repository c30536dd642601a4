//! What responses refuse.

use serde_json::Value;

use crate::testkit::strict::{
    Received, Refusal,
    asked::list,
    chat::{reasons, strict_schema},
    refusal::{is_name, only, within},
};

/// The fields of the published API.
const FIELDS: [&str; 32] = [
    "background",
    "client_metadata",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "moderation",
];

/// The first reason for which the API refuses the request.
pub(in crate::testkit::strict) fn check(request: &Received, body: &Value) -> Result<(), Refusal> {
    if request.header("authorization").is_empty() && request.header("api-key").is_empty() {
        return Err(Refusal::invalid("", "You didn't provide an API key.")
            .status(401, "invalid_request_error"));
    }
    only(body, &FIELDS, "")?;
    Refusal::unless(body["model"].is_string(), "model", "Missing required parameter: 'model'.")?;
    within(body, "temperature", 0.0..=2.0)?;
    within(body, "top_p", 0.0..=1.0)?;
    within(body, "max_output_tokens", 16.0..=f64::MAX)?;
    let options = body["stream_options"].is_null() || body["stream"] == true;
    Refusal::unless(options, "stream_options", "only allowed when 'stream' is enabled")?;
    if reasons(body["model"].as_str().unwrap_or_default()) {
        for name in ["temperature", "top_p"] {
            let message = "Unsupported parameter: it is not supported with this model.";
            Refusal::unless(body[name].is_null(), name, message)?;
        }
    }
    tools(body)?;
    let format = &body["text"]["format"];
    if format["type"] == "json_schema" {
        let name = is_name(format["name"].as_str().unwrap_or_default(), 64);
        Refusal::unless(name, "text.format.name", "Missing required parameter")?;
        if format["strict"] == true {
            strict_schema(&format["schema"], "text.format.schema")?;
        }
    }
    input(body)
}

fn tools(body: &Value) -> Result<(), Refusal> {
    for (index, tool) in list(&body["tools"]).iter().enumerate() {
        let path = format!("tools[{index}]");
        Refusal::unless(tool["type"].is_string(), &path, "Missing required parameter: 'type'.")?;
        if tool["type"] == "function" {
            let name = is_name(tool["name"].as_str().unwrap_or_default(), 64);
            Refusal::unless(name, &format!("{path}.name"), "Missing required parameter.")?;
            let fields = ["type", "name", "description", "parameters", "strict", "defer_loading"];
            only(tool, &fields, &path)?;
            if tool["strict"] == true {
                strict_schema(&tool["parameters"], &path)?;
            }
        }
    }
    Ok(())
}

fn input(body: &Value) -> Result<(), Refusal> {
    if body["input"].is_string() {
        return Ok(());
    }
    let items = list(&body["input"]);
    Refusal::unless(!items.is_empty(), "input", "Missing required parameter: 'input'.")?;
    for (index, item) in items.iter().enumerate() {
        self::item(item, body["store"] == false, &format!("input[{index}]"))?;
    }
    calls(items)?;
    reasoning(items)
}

fn item(item: &Value, stateless: bool, path: &str) -> Result<(), Refusal> {
    match item["type"].as_str() {
        None | Some("message") => message(item, path),
        Some("function_call") => {
            let name = is_name(item["name"].as_str().unwrap_or_default(), 64);
            Refusal::unless(name, &format!("{path}.name"), "Missing required parameter.")?;
            let text = item["arguments"].is_string();
            Refusal::unless(text, &format!("{path}.arguments"), "expected a string")
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let output = &item["output"];
            let ok = output.is_string() || output.is_array();
            Refusal::unless(ok, &format!("{path}.output"), "Missing required parameter.")
        }
        Some("reasoning") => {
            let content = &item["encrypted_content"];
            let own = content.as_str().is_some_and(|content| content.starts_with("enc-"));
            let message = "the encrypted content could not be verified";
            Refusal::unless(own || (content.is_null() && !stateless), path, message)
        }
        Some(_) => Ok(()),
    }
}

fn message(item: &Value, path: &str) -> Result<(), Refusal> {
    let parts: &[&str] = match item["role"].as_str() {
        Some("user" | "system" | "developer") => &["input_text", "input_image", "input_file"],
        Some("assistant") => &["output_text", "refusal"],
        _ => return Err(Refusal::invalid(format!("{path}.role"), "Invalid value")),
    };
    let content = &item["content"];
    let ok = content.is_string() || content.is_array();
    let path = format!("{path}.content");
    Refusal::unless(ok, &path, "expected a string or an array")?;
    list(content).iter().try_for_each(|part| {
        let kind = part["type"].as_str().unwrap_or_default();
        Refusal::unless(parts.contains(&kind), &path, "Invalid value of the type of a part")
    })
}

/// Every call has an output, and every output has a call before it.
fn calls(items: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for item in items {
        let id = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("function_call" | "custom_tool_call") => {
                Refusal::unless(!id.is_empty(), "input", "Missing required parameter: 'call_id'")?;
                open.push(id);
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                let Some(at) = open.iter().position(|known| *known == id) else {
                    let text =
                        format!("No tool call found for function call output with call_id {id}.");
                    return Err(Refusal::invalid("input", text));
                };
                open.swap_remove(at);
            }
            _ => {}
        }
    }
    Refusal::unless(open.is_empty(), "input", "No tool output found for function call.")
}

/// A reasoning item is followed by an item of the same turn.
fn reasoning(items: &[Value]) -> Result<(), Refusal> {
    let kinds: Vec<&str> =
        items.iter().map(|item| item["type"].as_str().unwrap_or("message")).collect();
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or_default();
        let role =
            items.get(index + 1).map_or("", |item| item["role"].as_str().unwrap_or("assistant"));
        let followed = !next.is_empty() && !next.ends_with("output") && role == "assistant";
        let message = "Item of type 'reasoning' was provided without its required following item.";
        Refusal::unless(*kind != "reasoning" || followed, "input", message)?;
    }
    Ok(())
}
