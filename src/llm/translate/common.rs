//! The fields that chat completions and responses have in common: sampling, tools and their choice.

use serde_json::Value;

use super::parts::{Choice, Conversation, Options, Tool};
use crate::{
    json::Fields,
    llm::{LlmError, Request, body, model_facts::ModelFacts},
};

/// Writes the temperature and `top_p` for an API of `OpenAI`, unless the model takes none.
pub(super) fn sampling(
    conversation: &mut Conversation,
    request: &Request,
    facts: ModelFacts,
    fields: &mut Fields,
) -> Result<(), LlmError> {
    let given = [("temperature", request.temperature), ("top_p", conversation.options.top_p)];
    for (name, value) in given {
        match value {
            Some(value) if facts.takes_temperature => body::set(fields, name, &value)?,
            Some(_) => conversation.dropped.push(name),
            None => {}
        }
    }
    Ok(())
}

/// Writes the tools and their choice. `tool` and `named` write a tool and the choice of one by its name in
/// the form of the API.
pub(super) fn tools(
    options: &Options,
    fields: &mut Fields,
    tool: fn(&Tool) -> Result<Fields, LlmError>,
    named: impl FnOnce(&str) -> Value,
) -> Result<(), LlmError> {
    if !options.tools.is_empty() {
        let tools: Result<Vec<Fields>, _> = options.tools.iter().map(tool).collect();
        body::set(fields, "tools", &tools?)?;
        if options.one_call {
            body::set(fields, "parallel_tool_calls", &false)?;
        }
    }
    match &options.choice {
        Some(Choice::Auto) => body::set(fields, "tool_choice", "auto"),
        Some(Choice::None) => body::set(fields, "tool_choice", "none"),
        Some(Choice::Required) => body::set(fields, "tool_choice", "required"),
        Some(Choice::Named(name)) => body::set(fields, "tool_choice", &named(name)),
        None => Ok(()),
    }
}
