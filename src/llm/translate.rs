//! Requests between dialects: a request is read into neutral parts and written in the provider's form.
//!
//! What a provider's API has no form for is refused before it is called. A hint, which only tunes an
//! answer, is left out and named.

mod common;
mod from_anthropic;
mod from_openai;
mod parts;
#[cfg(test)]
mod tests;
mod to_anthropic;
mod to_openai;
mod to_responses;

use super::{Dialect, LlmError, Request, body::Body, model_facts};
pub(super) use parts::{
    Choice, Conversation, Dropped, Effort, Image, Options, Part, Schema, Tool, Turn,
};
pub(super) use to_anthropic::MAX_TOKENS;

/// The body of a request in another dialect than the client's.
pub(super) fn translate(request: &Request, to: Dialect) -> Result<(Body, Dropped), LlmError> {
    let mut facts = model_facts::facts(request.model.as_deref().unwrap_or_default(), None);
    facts.takes_temperature = request.takes_temperature.unwrap_or(facts.takes_temperature);
    let mut conversation = conversation(request)?;
    let body = match to {
        Dialect::OpenAi => to_openai::body(&mut conversation, request, facts)?,
        Dialect::Anthropic => to_anthropic::body(&mut conversation, request, facts)?,
        Dialect::Responses => to_responses::body(&mut conversation, request, facts)?,
    };
    conversation.dropped.sort_unstable();
    conversation.dropped.dedup();
    Ok((body, conversation.dropped))
}

/// The request in neutral parts.
pub(super) fn conversation(request: &Request) -> Result<Conversation, LlmError> {
    let mut conversation = Conversation::default();
    for message in request.messages.iter() {
        let turn = match (&message.raw, request.extra.dialect) {
            (None, _) => parts::text_turn(message)?,
            (Some(raw), Some(Dialect::OpenAi)) => {
                from_openai::turn(raw, &mut conversation.dropped)?
            }
            (Some(raw), Some(Dialect::Anthropic)) => {
                from_anthropic::turn(raw, message.role, &mut conversation.dropped)?
            }
            (Some(_), Some(Dialect::Responses) | None) => return Err(unsupported("this dialect")),
        };
        conversation.turns.push(turn);
    }
    let Conversation { options, dropped, .. } = &mut conversation;
    match request.extra.dialect {
        Some(Dialect::OpenAi) => from_openai::options(&request.extra.fields, options, dropped)?,
        Some(Dialect::Anthropic) => {
            from_anthropic::options(&request.extra.fields, options, dropped)?;
        }
        Some(Dialect::Responses) => return Err(unsupported("responses")),
        None => {}
    }
    Ok(conversation)
}

const fn unsupported(what: &'static str) -> LlmError {
    LlmError::Untranslatable { what }
}
