//! The local stub: a model without a model, for trials, tests and benchmarks.
//!
//! Its answer is a function of the chat alone. It repeats what it was told and says how much
//! remembered text it was given, so that a newcomer sees the memory work.

use std::time::Duration;

use super::{LlmError, Message, Reply, Request, Role};
use crate::domain::event::Usage;

/// The model's name in events.
const MODEL: &str = "local-stub";

/// Characters of the prompt that are repeated.
const ECHO_MAX: usize = 200;

/// The stub and how slowly it answers.
#[derive(Clone, Debug, Default)]
pub struct Stub {
    /// Time to an answer.
    pub latency: Duration,
    /// When set, every call fails with it.
    pub fault: Option<LlmError>,
}

impl Stub {
    pub(super) async fn generate(&self, request: &Request) -> Result<Reply, LlmError> {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let (text, finish_reason) = shortened(answer(&request.messages), request.max_tokens);
        let usage = Usage {
            prompt_tokens: request.messages.iter().map(|m| tokens(&m.text)).sum(),
            completion_tokens: tokens(&text),
        };
        Ok(Reply { text, model: MODEL.to_owned(), finish_reason: finish_reason.to_owned(), usage })
    }
}

fn answer(messages: &[Message]) -> String {
    let said: Vec<&Message> = messages.iter().filter(|m| m.role == Role::User).collect();
    let Some((prompt, before)) = said.split_last() else {
        return "This is the local stub and it was asked nothing at all.".to_owned();
    };
    let echo: String = prompt.text.chars().take(ECHO_MAX).collect();
    let remembered: usize = before.iter().map(|m| m.text.chars().count()).sum();
    if remembered == 0 {
        return format!("This is the local stub, with nothing remembered. You said: {echo}");
    }
    format!(
        "This is the local stub, given {remembered} characters of remembered text. You said: {echo}"
    )
}

/// Words stand for tokens.
fn tokens(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn shortened(text: String, max_tokens: u32) -> (String, &'static str) {
    if tokens(&text) <= u64::from(max_tokens) {
        return (text, "stop");
    }
    let words: Vec<&str> = text.split_whitespace().take(max_tokens as usize).collect();
    (words.join(" "), "length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(texts: &[&str], max_tokens: u32) -> Request {
        let message = |text: &&str| Message { role: Role::User, text: (*text).to_owned() };
        Request { model: None, messages: texts.iter().map(message).collect(), max_tokens }
    }

    #[tokio::test]
    async fn the_same_chat_gets_the_same_answer() {
        let stub = Stub::default();
        let first = stub.generate(&request(&["remembered", "Hello there"], 100)).await.unwrap();
        let again = stub.generate(&request(&["remembered", "Hello there"], 100)).await.unwrap();
        assert_eq!(first.text, again.text);
        assert!(first.text.contains("Hello there") && first.text.contains("10 characters"));
    }

    #[tokio::test]
    async fn it_keeps_to_the_granted_tokens() {
        let reply = Stub::default().generate(&request(&["one two three"], 4)).await.unwrap();
        assert_eq!((reply.usage.completion_tokens, reply.finish_reason.as_str()), (4, "length"));
    }

    #[tokio::test]
    async fn it_fails_when_told_to() {
        let fault = LlmError::Unavailable { code: "injected" };
        let stub = Stub { fault: Some(fault.clone()), ..Stub::default() };
        assert_eq!(stub.generate(&request(&["x"], 4)).await.unwrap_err(), fault);
    }
}
