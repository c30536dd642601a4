//! The local stub: a deterministic provider for trials, tests and benchmarks.
//!
//! Its answer depends on the chat only. It repeats the prompt and reports the amount of context it was
//! given, which shows a new user that the memory works. It streams word by word.

use std::time::Duration;

use super::{LlmError, ProviderCompletion, Request, Role, Sink, TokenLimit};
use crate::domain::event::Usage;

/// The model's name in events.
const MODEL: &str = "local-stub";

/// Maximum number of characters of the prompt that are repeated.
const ECHO_MAX: usize = 200;

/// The stub and its latencies.
#[derive(Clone, Debug, Default)]
pub struct Stub {
    /// Time to the first word.
    pub latency: Duration,
    /// Time between two words of a streamed answer.
    pub word_latency: Duration,
    /// If set, every call fails with this error.
    pub fault: Option<LlmError>,
}

impl Stub {
    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        pause(self.latency).await;
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let (text, finish_reason) = shortened(answer(request), request.max_tokens);
        if sink.is_streaming() {
            for word in text.split_inclusive(' ') {
                sink.push_text(word).await?;
                pause(self.word_latency).await;
            }
        } else {
            sink.push_text(&text).await?;
        }
        let usage =
            Usage::new(request.messages.iter().map(|m| tokens(&m.text)).sum(), tokens(&text));
        let (model, finish_reason) = (MODEL.to_owned(), finish_reason.to_owned());
        Ok(ProviderCompletion { model, finish_reason, usage: Some(usage) })
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn answer(request: &Request) -> String {
    if !request.messages.iter().any(|message| message.role == Role::User) {
        return "This is the local stub and it was asked nothing at all.".to_owned();
    }
    let echo: String = request.prompt.chars().take(ECHO_MAX).collect();
    let texts = request.messages.iter().filter(|message| message.role == Role::User);
    let chars: usize = texts.map(|message| message.text.chars().count()).sum();
    let remembered = chars.saturating_sub(request.prompt.chars().count());
    if remembered == 0 {
        return format!("This is the local stub, with nothing remembered. You said: {echo}");
    }
    format!(
        "This is the local stub, given {remembered} characters of remembered text. You said: {echo}"
    )
}

/// The stub counts words as tokens.
fn tokens(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn shortened(text: String, limit: Option<TokenLimit>) -> (String, &'static str) {
    let max_tokens = limit.map_or(u32::MAX, |limit| limit.tokens);
    if tokens(&text) <= u64::from(max_tokens) {
        return (text, "stop");
    }
    let words: Vec<&str> = text.split_whitespace().take(max_tokens as usize).collect();
    (words.join(" "), "length")
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use std::sync::Arc;

    use crate::llm::{DELTAS_MAX, Delta, Message};

    fn request(texts: &[&str], max_tokens: u32) -> Request {
        let messages = texts.iter().map(|text| Message::text(Role::User, *text)).collect();
        let max_tokens = Some(max_tokens.into());
        Request {
            model: None,
            messages,
            prompt: (*texts.last().unwrap_or(&"")).into(),
            max_tokens,
            temperature: None,
            takes_temperature: None,
            extra: Arc::default(),
        }
    }

    async fn answer_to(texts: &[&str], max_tokens: u32) -> (String, ProviderCompletion) {
        let mut sink = Sink::new(None);
        let ending = Stub::default().call(&request(texts, max_tokens), &mut sink).await.unwrap();
        (sink.into_parts().text, ending)
    }

    #[tokio::test]
    async fn equal_chats_get_equal_answers() {
        let (first, _) = answer_to(&["remembered", "Hello there"], 100).await;
        let (again, _) = answer_to(&["remembered", "Hello there"], 100).await;
        assert_eq!(first, again);
        assert!(first.contains("Hello there") && first.contains("10 characters"));
    }

    #[tokio::test]
    async fn a_streamed_answer_equals_the_whole_one() {
        let (client, mut deltas) = mpsc::channel(DELTAS_MAX);
        let mut sink = Sink::new(Some(client));
        Stub::default().call(&request(&["Hello"], 100), &mut sink).await.unwrap();
        let collected = sink.into_parts().text;
        let mut streamed = String::new();
        while let Some(Delta::Text(text)) = deltas.recv().await {
            streamed.push_str(&text);
        }
        let whole = answer_to(&["Hello"], 100).await.0;
        assert_eq!((streamed, collected), (whole.clone(), whole));
    }

    #[tokio::test]
    async fn an_answer_has_at_most_the_granted_tokens() {
        let (_, ending) = answer_to(&["one two three"], 4).await;
        assert_eq!(ending.usage.unwrap().completion_tokens, 4);
        assert_eq!(ending.finish_reason, "length");
    }

    #[tokio::test]
    async fn every_call_fails_with_the_configured_fault() {
        let fault = LlmError::Unavailable { code: "injected" };
        let stub = Stub { fault: Some(fault.clone()), ..Stub::default() };
        let mut sink = Sink::new(None);
        assert_eq!(stub.call(&request(&["x"], 4), &mut sink).await.unwrap_err(), fault);
    }
}
