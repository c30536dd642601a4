//! Estimates of the tokens and the price of a step, for the budget of its data subject.

use super::request::StepRequest;
use crate::{
    domain::{budget::Price, event::Usage, policy::Policy},
    engine::content::StoredAnswer,
    llm::{Llm, TOKEN_CHARS, estimate_tokens},
};

/// Upper estimate of the tokens sent to the model: the messages and the largest context.
pub(super) fn prompt_tokens(request: &StepRequest, policy: &Policy) -> u64 {
    let top_k = request.context_top_k.unwrap_or(policy.context.top_k);
    let context = if top_k > 0 { policy.context.max_chars.div_ceil(TOKEN_CHARS) as u64 } else { 0 };
    message_tokens(request) + context
}

fn message_tokens(request: &StepRequest) -> u64 {
    match &request.chat {
        None => estimate_tokens(&request.prompt),
        Some(chat) => chat.messages.iter().map(|message| estimate_tokens(&message.text)).sum(),
    }
}

/// The usage of a step that failed: zero if the model had sent nothing, otherwise an estimate. A
/// client that disconnects in the middle of an answer pays for the part it has received.
pub(super) fn partial_usage(request: &StepRequest, partial: &StoredAnswer) -> Usage {
    let calls = partial.tool_calls.iter().map(|call| estimate_tokens(&call.arguments));
    let completion_tokens =
        estimate_tokens(&partial.answer) + estimate_tokens(&partial.reasoning) + calls.sum::<u64>();
    if completion_tokens == 0 {
        return Usage::default();
    }
    Usage::new(message_tokens(request), completion_tokens)
}

/// The price of the requested model, or of the configured one if the request names none.
pub(super) fn price(llm: &Llm, model: Option<&str>) -> Option<Price> {
    llm.price(model.or_else(|| llm.model())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::Chat,
        llm::{Message, Role},
    };

    #[test]
    fn the_context_is_counted_unless_the_request_disables_it() {
        let policy = Policy::default();
        let request = |context_top_k| StepRequest {
            prompt: "Hello there".into(),
            context_top_k,
            ..StepRequest::default()
        };
        assert_eq!(prompt_tokens(&request(Some(0)), &policy), 3);
        assert_eq!(prompt_tokens(&request(Some(1)), &policy), 3 + 1_000);
        assert_eq!(prompt_tokens(&request(None), &policy), 3 + 1_000);
    }

    #[test]
    fn a_disconnected_client_pays_for_the_partial_answer() {
        let request = StepRequest { prompt: "Hello there".into(), ..StepRequest::default() };
        let partial =
            |answer: &str| StoredAnswer { answer: answer.to_owned(), ..StoredAnswer::default() };
        assert_eq!(partial_usage(&request, &partial("")), Usage::default());
        let usage = Usage::new(3, 2);
        assert_eq!(partial_usage(&request, &partial("My dog")), usage);
    }

    #[test]
    fn all_messages_of_a_chat_are_counted() {
        let messages = ["Be brief.", "Hello there"].map(|text| Message::text(Role::User, text));
        let chat = Chat {
            messages: messages.into_iter().collect(),
            prompt: 1,
            part: 0,
            turn: 0,
            shortenable: true,
            extra: std::sync::Arc::default(),
        };
        let request = StepRequest {
            prompt: "Hello there".into(),
            chat: Some(chat),
            context_top_k: Some(0),
            ..StepRequest::default()
        };
        assert_eq!(prompt_tokens(&request, &Policy::default()), 3 + 3);
    }
}
