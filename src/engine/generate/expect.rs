//! What a step may cost, before it is known: for the budget of the asker.

use super::{AnswerText, StepRequest};
use crate::{
    domain::{budget::Price, event::Usage, policy::Policy},
    llm::{Llm, TOKEN_CHARS, estimate_tokens},
};

/// Tokens of everything the model may be sent: the messages, and the most that may be remembered
/// with them.
pub(super) fn prompt_tokens(request: &StepRequest, policy: &Policy) -> u64 {
    let top_k = request.context_top_k.unwrap_or(policy.context.top_k);
    let remembered =
        if top_k > 0 { policy.context.max_chars.div_ceil(TOKEN_CHARS) as u64 } else { 0 };
    said(request) + remembered
}

fn said(request: &StepRequest) -> u64 {
    match &request.chat {
        None => estimate_tokens(&request.prompt),
        Some(chat) => chat.messages.iter().map(|message| estimate_tokens(&message.text)).sum(),
    }
}

/// What a step used that broke off: nothing before its first word, estimates after it. So going away
/// in the middle of an answer is not free.
pub(super) fn used(request: &StepRequest, text: &AnswerText) -> Usage {
    let calls = text.tool_calls.iter().map(|call| estimate_tokens(&call.arguments));
    let completion_tokens = estimate_tokens(&text.answer) + calls.sum::<u64>();
    if completion_tokens == 0 {
        return Usage::default();
    }
    Usage { prompt_tokens: said(request), completion_tokens }
}

/// What the model costs: the one that the request names, else the configured one.
pub(super) fn price(llm: &Llm, model: Option<&str>) -> Option<Price> {
    llm.price(model.or_else(|| llm.model())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::Chat,
        llm::{Extra, Message, Role},
    };

    #[test]
    fn the_context_counts_where_there_may_be_one() {
        let policy = Policy::default();
        let request = |context_top_k| StepRequest {
            prompt: "Hello there".to_owned(),
            context_top_k,
            ..StepRequest::default()
        };
        assert_eq!(prompt_tokens(&request(Some(0)), &policy), 3);
        assert_eq!(prompt_tokens(&request(Some(1)), &policy), 3 + 1_000);
        assert_eq!(prompt_tokens(&request(None), &policy), 3 + 1_000);
    }

    #[test]
    fn who_goes_away_pays_for_what_was_said() {
        let request = StepRequest { prompt: "Hello there".to_owned(), ..StepRequest::default() };
        let text = |answer: &str| AnswerText { answer: answer.to_owned(), tool_calls: Vec::new() };
        assert_eq!(used(&request, &text("")), Usage::default());
        let paid = Usage { prompt_tokens: 3, completion_tokens: 2 };
        assert_eq!(used(&request, &text("My dog")), paid);
    }

    #[test]
    fn all_messages_of_a_chat_count() {
        let messages = ["Be brief.", "Hello there"].map(|text| Message::text(Role::User, text));
        let chat = Chat {
            messages: messages.to_vec(),
            prompt: 1,
            shortenable: true,
            extra: Extra::default(),
        };
        let request = StepRequest {
            prompt: "Hello there".to_owned(),
            chat: Some(chat),
            context_top_k: Some(0),
            ..StepRequest::default()
        };
        assert_eq!(prompt_tokens(&request, &Policy::default()), 3 + 3);
    }
}
