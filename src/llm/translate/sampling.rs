//! The sampling fields that chat completions and responses have in common.

use super::parts::Conversation;
use crate::{
    json::Fields,
    llm::{LlmError, Request, body, model_facts::ModelFacts},
};

/// Writes the temperature and `top_p` for an API of `OpenAI`, unless the model takes none.
pub(super) fn write(
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
