//! What messages refuse.

use serde_json::Value;

use super::conversation;
use crate::testkit::strict::{
    Received, Refusal,
    asked::list,
    refusal::{is_name, only, within},
};

/// The fields of the published API.
const FIELDS: [&str; 19] = [
    "cache_control",
    "container",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "speed",
];

/// The versions of the API that clients name.
const VERSIONS: [&str; 3] = ["2023-01-01", "2023-06-01", "2026-10-21"];

/// Fields that exist only with a beta feature.
const BETA_FIELDS: [(&str, &str); 3] = [
    ("context_management", "context-management-2025-06-27"),
    ("mcp_servers", "mcp-client-2025-"),
    ("output_format", "structured-outputs-2025-11-13"),
];

/// The beta features that exist; a prefix for those with several dates.
const BETAS: [&str; 27] = [
    "advanced-tool-use-",
    "claude-code-20250219",
    "code-execution-",
    "compact-",
    "computer-use-",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "effort-2025-11-24",
    "extended-cache-ttl-2025-04-11",
    "fast-mode-",
    "files-api-2025-04-14",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "mcp-client-2025-",
    "message-batches-2024-09-24",
    "mid-conversation-system-2026-04-07",
    "model-context-window-exceeded-",
    "oauth-2025-04-20",
    "output-128k-2025-02-19",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
    "prompt-caching-scope-2026-01-05",
    "skills-2025-10-02",
    "structured-outputs-2025-11-13",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
    "token-efficient-tools-2025-02-19",
];

/// The first reason for which the API refuses the request.
pub(in crate::testkit::strict) fn check(request: &Received, body: &Value) -> Result<(), Refusal> {
    headers(request)?;
    let beta_field =
        |name: &str| BETA_FIELDS.iter().find(|(known, _)| *known == name).map(|(_, beta)| *beta);
    let allowed = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let allowed: Vec<&str> = allowed
        .filter(|name| beta_field(name).is_some_and(|beta| has_beta(request, beta)))
        .chain(FIELDS)
        .collect();
    only(body, &allowed, "")?;
    let limit = body["max_tokens"].as_u64().unwrap_or_default();
    Refusal::unless(limit > 0, "max_tokens", "Field required")?;
    Refusal::unless(body["model"].is_string(), "model", "Field required")?;
    sampling(body)?;
    thinking(request, body, limit)?;
    tools(body)?;
    metadata(body)?;
    cache_control(body)?;
    conversation::check(body, has_beta(request, "mid-conversation-system-2026-04-07"))
}

/// The same for `count_tokens`, which takes no limits and no sampling parameters.
pub(super) fn check_count(request: &Received, body: &Value) -> Result<(), Refusal> {
    headers(request)?;
    let fields = [
        "cache_control",
        "context_management",
        "messages",
        "model",
        "output_config",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    ];
    only(body, &fields, "")?;
    Refusal::unless(body["model"].is_string(), "model", "Field required")?;
    tools(body)?;
    conversation::check(body, has_beta(request, "mid-conversation-system-2026-04-07"))
}

fn headers(request: &Received) -> Result<(), Refusal> {
    if request.header("x-api-key").is_empty() && request.header("authorization").is_empty() {
        let refusal = Refusal::invalid("", "x-api-key header is required");
        return Err(refusal.status(401, "authentication_error"));
    }
    let version = VERSIONS.contains(&request.header("anthropic-version"));
    Refusal::unless(version, "anthropic-version", "header is required")?;
    let unknown = betas(request).find(|beta| !BETAS.iter().any(|known| beta.starts_with(known)));
    unknown.map_or(Ok(()), |beta| {
        let text = format!("Unexpected value(s) `{beta}` for the `anthropic-beta` header");
        Err(Refusal::invalid("", text))
    })
}

fn betas(request: &Received) -> impl Iterator<Item = &str> {
    let lines = request.headers.iter().filter(|(name, _)| name == "anthropic-beta");
    let betas = lines.flat_map(|(_, value)| value.split(',').map(str::trim));
    betas.filter(|beta| !beta.is_empty())
}

fn has_beta(request: &Received, name: &str) -> bool {
    betas(request).any(|beta| beta.starts_with(name))
}

/// True for the models that accept no temperature but 1: those after Claude Opus 4.6.
fn fixed_temperature(model: &str) -> bool {
    ["claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5"]
        .iter()
        .any(|prefix| model.starts_with(prefix))
}

/// True for the models that accept one of `temperature` and `top_p`: those from Claude 4.5.
fn one_of_two(model: &str) -> bool {
    ["-4-5", "-4-6", "-4-7", "-4-8", "-5"].iter().any(|version| model.contains(version))
}

fn sampling(body: &Value) -> Result<(), Refusal> {
    within(body, "temperature", 0.0..=1.0)?;
    within(body, "top_p", 0.0..=1.0)?;
    let model = body["model"].as_str().unwrap_or_default();
    let (temperature, top_p) = (&body["temperature"], &body["top_p"]);
    let both = one_of_two(model) && !temperature.is_null() && !top_p.is_null();
    let message = "`temperature` and `top_p` cannot both be specified for this model";
    Refusal::unless(!both, "", message)?;
    let free = temperature.is_null() || temperature.as_f64() == Some(1.0);
    let message = "`temperature` is deprecated for this model";
    Refusal::unless(free || !fixed_temperature(model), "temperature", message)
}

fn thinking(request: &Received, body: &Value, limit: u64) -> Result<(), Refusal> {
    let thinking = &body["thinking"];
    match thinking["type"].as_str() {
        None => return Refusal::unless(thinking.is_null(), "thinking.type", "Field required"),
        Some("disabled") => return Ok(()),
        Some("adaptive") => {}
        Some("enabled") => {
            let budget = thinking["budget_tokens"].as_u64().unwrap_or_default();
            let path = "thinking.enabled.budget_tokens";
            let least = "Input should be greater than or equal to 1024";
            Refusal::unless(budget >= 1024, path, least)?;
            let interleaved = has_beta(request, "interleaved-thinking-2025-05-14");
            let message = "`max_tokens` must be greater than `thinking.budget_tokens`";
            Refusal::unless(budget < limit || interleaved, "max_tokens", message)?;
        }
        Some(_) => return Err(Refusal::invalid("thinking", "Input tag found does not match")),
    }
    let temperature = body["temperature"].is_null() || body["temperature"].as_f64() == Some(1.0);
    let message = "`temperature` may only be set to 1 when thinking is enabled";
    Refusal::unless(temperature, "", message)?;
    Refusal::unless(body["top_k"].is_null(), "", "`top_k` must be unset with thinking")?;
    let top_p = body["top_p"].as_f64().is_none_or(|top_p| top_p >= 0.95);
    Refusal::unless(top_p, "", "`top_p` must be at least 0.95 with thinking")?;
    let forced = ["any", "tool"].iter().any(|kind| body["tool_choice"]["type"] == *kind);
    Refusal::unless(!forced, "", "Thinking may not be enabled when tool_choice forces tool use")
}

fn tools(body: &Value) -> Result<(), Refusal> {
    let mut names: Vec<&str> = Vec::new();
    for (index, tool) in list(&body["tools"]).iter().enumerate() {
        let path = format!("tools.{index}");
        let name = tool["name"].as_str().unwrap_or_default();
        Refusal::unless(is_name(name, 128), &path, "the name does not match the pattern")?;
        Refusal::unless(!names.contains(&name), "tools", "Tool names must be unique")?;
        names.push(name);
        if tool["type"].is_null() || tool["type"] == "custom" {
            let object = tool["input_schema"]["type"] == "object";
            Refusal::unless(object, &format!("{path}.custom.input_schema.type"), "Field required")?;
        }
    }
    let chosen = body["tool_choice"].is_null() || !names.is_empty();
    Refusal::unless(chosen, "tool_choice", "may only be specified while providing `tools`")
}

fn metadata(body: &Value) -> Result<(), Refusal> {
    let metadata = &body["metadata"];
    if metadata.is_null() {
        return Ok(());
    }
    only(metadata, &["user_id"], "metadata")?;
    let user = metadata["user_id"].as_str().unwrap_or_default();
    let message = "String should have at most 256 characters";
    Refusal::unless(user.chars().count() <= 256, "metadata.user_id", message)
}

/// At most four marks of the cache, none on thinking or on an empty text.
fn cache_control(body: &Value) -> Result<(), Refusal> {
    let messages = list(&body["messages"]).iter().flat_map(|message| list(&message["content"]));
    let blocks = list(&body["tools"]).iter().chain(list(&body["system"])).chain(messages);
    let mut marks = usize::from(body["cache_control"].is_object());
    for block in blocks {
        let inner = list(&block["content"]).iter();
        for marked in std::iter::once(block).chain(inner) {
            let mark = &marked["cache_control"];
            if mark.is_null() {
                continue;
            }
            marks += 1;
            Refusal::unless(mark["type"] == "ephemeral", "cache_control", "the type is unknown")?;
            let text = marked["type"] != "thinking" && marked["text"] != "";
            let message = "cache_control cannot be set for empty text blocks or for thinking";
            Refusal::unless(text, "cache_control", message)?;
        }
    }
    let message = "A maximum of 4 blocks with cache_control may be provided";
    Refusal::unless(marks <= 4, "", message)
}
