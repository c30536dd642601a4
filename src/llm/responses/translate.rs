//! A request of the Responses API as a request for a chat completion.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    items::Conversation,
    refuse::{object, untranslatable},
    tools,
};
use crate::{
    json::{self, Fields},
    llm::{Dialect, Extra, LlmError, Request, body::raw},
};

/// Fields that help a provider of this dialect, but do not change what the client gets.
const HINTS: [&str; 14] = [
    "client_metadata",
    "context_management",
    "include",
    "max_tool_calls",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "top_logprobs",
    "truncation",
    "prompt_cache_breakpoint",
];

/// Fields that this server resolves itself, or that have another place in chat completions.
const RESOLVED: [&str; 13] = [
    "background",
    "conversation",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "mlsdm",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "stream",
    "stream_options",
    "temperature",
];

/// A translated request.
#[derive(Debug)]
pub struct Translated {
    /// The request in the dialect of chat completions.
    pub request: Request,
    /// The names of the hints that were left out.
    pub dropped: Vec<String>,
}

/// Translates a request for a provider whose own dialect is `target`.
///
/// # Errors
/// [`LlmError::Untranslatable`] if the request has an input item, a tool or a field that changes the
/// answer and has no form in chat completions.
pub fn to_chat(request: &Request, target: Dialect) -> Result<Translated, LlmError> {
    let mut conversation = Conversation::new(target);
    for message in request.messages.iter() {
        conversation.push(message)?;
    }
    let mut fields = ChatFields::default();
    for (name, value) in request.extra.fields.iter() {
        if !json::is_null(value) {
            fields.add(name, value)?;
        }
    }
    fields.add_tools(&request.extra.fields)?;
    let extra = Extra { dialect: Some(Dialect::OpenAi), fields: fields.fields, ..Extra::default() };
    let request =
        Request { messages: conversation.end()?, extra: Arc::new(extra), ..request.clone() };
    Ok(Translated { request, dropped: fields.dropped })
}

/// The fields of a chat completion, as far as they are translated.
#[derive(Default)]
struct ChatFields {
    fields: Fields,
    dropped: Vec<String>,
}

impl ChatFields {
    fn add(&mut self, name: &str, value: &Arc<RawValue>) -> Result<(), LlmError> {
        match name {
            "tools" | "tool_choice" => Ok(()),
            "text" => self.add_text(value),
            "reasoning" => self.add_reasoning(value),
            "prompt" => Err(untranslatable("a stored prompt (prompt)")),
            _ if RESOLVED.contains(&name) => Ok(()),
            _ if HINTS.contains(&name) => {
                if !is_default(name, value) {
                    self.dropped.push(name.to_owned());
                }
                Ok(())
            }
            _ => {
                self.fields.insert(name, Arc::clone(value));
                Ok(())
            }
        }
    }

    /// The form of the answer.
    fn add_text(&mut self, value: &RawValue) -> Result<(), LlmError> {
        let mut text: Fields = object(value, "the field text")?;
        if let Some(format) = text.remove("format").filter(|format| !json::is_null(format)) {
            let mut format: Fields = object(&format, "the field text.format")?;
            let kind: Option<String> = format.take("type").ok().flatten();
            match kind.as_deref() {
                Some("text") | None => {}
                Some("json_object") => {
                    let format = serde_json::json!({ "type": "json_object" });
                    self.fields.insert("response_format", raw(&format)?);
                }
                Some("json_schema") => {
                    let mut response_format = Fields::default();
                    response_format.insert("type", raw("json_schema")?);
                    response_format.insert("json_schema", raw(&format)?);
                    self.fields.insert("response_format", raw(&response_format)?);
                }
                Some(_) => return Err(untranslatable("a text.format of this type")),
            }
        }
        self.drop_set("text", &text);
        Ok(())
    }

    fn add_reasoning(&mut self, value: &RawValue) -> Result<(), LlmError> {
        let mut reasoning: Fields = object(value, "the field reasoning")?;
        if let Some(effort) = reasoning.remove("effort").filter(|effort| !json::is_null(effort)) {
            self.fields.insert("reasoning_effort", effort);
        }
        self.drop_set("reasoning", &reasoning);
        Ok(())
    }

    /// Names the remaining fields of an object as left out.
    fn drop_set(&mut self, object: &str, rest: &Fields) {
        let set = rest.iter().filter(|(_, value)| !json::is_null(value));
        self.dropped.extend(set.map(|(name, _)| format!("{object}.{name}")));
    }

    /// The tools, and which of them the model may or must call.
    fn add_tools(&mut self, given: &Fields) -> Result<(), LlmError> {
        let choice = given.get("tool_choice").filter(|choice| !json::is_null(choice));
        let choice = choice.map(tools::choice).transpose()?;
        let tools::Tools { mut tools, lacks_search } = tools::tools(given)?;
        if lacks_search {
            self.dropped.push("tools.web_search".to_owned());
        }
        if let Some(allowed) = choice.as_ref().and_then(|choice| choice.allowed.as_ref()) {
            tools.retain(|tool| allowed.contains(&tool.name));
        }
        if tools.is_empty() {
            return Ok(());
        }
        let tools: Vec<&RawValue> = tools.iter().map(|tool| &*tool.json).collect();
        self.fields.insert("tools", raw(&tools)?);
        if let Some(choice) = choice {
            self.fields.insert("tool_choice", choice.json);
        }
        // several calls at a time are the default of chat completions
        if given.get("parallel_tool_calls").is_some_and(|parallel| parallel.get() == "false") {
            self.fields.insert("parallel_tool_calls", raw(&false)?);
        }
        Ok(())
    }
}

/// True if a hint says what chat completions do anyway.
fn is_default(name: &str, value: &RawValue) -> bool {
    match name {
        "truncation" => value.get() == "\"disabled\"",
        "top_logprobs" => value.get() == "0",
        "include" => value.get() == "[]",
        _ => false,
    }
}

#[cfg(test)]
mod tests;
