//! The prompt of a chat in a request.

use std::sync::Arc;

use crate::{
    engine::Chat,
    http::{Code, Problem},
    llm::{
        Extra, Message,
        turn::{self, ClientBlocks, NoPrompt},
    },
};

/// The prompt and the chat with it.
pub(super) fn chat(
    messages: Vec<Message>,
    shortenable: bool,
    extra: Extra,
    blocks: &ClientBlocks,
) -> Result<(Arc<str>, Chat), Problem> {
    let prompt = turn::prompt(&messages, blocks).map_err(no_prompt)?;
    let chat = Chat::new(messages, &prompt, shortenable, extra);
    Ok((prompt.text.into(), chat))
}

fn no_prompt(error: NoPrompt) -> Problem {
    match error {
        NoPrompt::NoUser => Problem::new(
            Code::BadChat,
            "messages has no message with role `user`, which is the prompt; send one",
        ),
        NoPrompt::Blank => Problem::new(
            Code::PromptBlank,
            "no message with role `user` has text, which is the prompt; send at least one word",
        ),
    }
}
