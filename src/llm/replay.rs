//! The provider `replay`: returns the recorded answers of a log, without a network.
//!
//! The answers to equal prompts are returned in the order of the log; the last one is then repeated.
//! Deliberately not here: reading the log (`engine::read_recorded_answers`).

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::{
    LlmError, NativeAnswer, ProviderCompletion, Request, Sink, ToolCall, tool_calls::CallPart,
};

/// Maximum number of answers. Later ones are left out.
const ANSWERS_MAX: usize = 100_000;

/// Maximum size of all answers, in bytes. Later ones are left out.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// A recorded answer.
#[derive(Clone)]
pub struct RecordedAnswer {
    /// The text.
    pub text: String,
    /// The tool calls.
    pub tool_calls: Vec<ToolCall>,
    /// The reasoning.
    pub reasoning: String,
    /// The answer in the dialect of the provider that gave it.
    pub native: Option<NativeAnswer>,
    /// The provider's report.
    pub completion: ProviderCompletion,
}

/// Recorded answers by prompt.
#[derive(Default)]
pub struct Replay {
    by_prompt: HashMap<[u8; 32], Answers>,
    answers: usize,
    bytes: usize,
}

/// The answers to one prompt.
#[derive(Default)]
struct Answers {
    recorded: Vec<RecordedAnswer>,
    /// The index of the next answer.
    next: Mutex<usize>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replay({} answers)", self.answers)
    }
}

impl Replay {
    /// Adds an answer. Returns false if a limit is reached.
    pub fn add(&mut self, prompt: &str, recorded: RecordedAnswer) -> bool {
        let called: usize = recorded.tool_calls.iter().map(|call| call.arguments.len()).sum();
        let native = recorded.native.as_ref().map_or(0, |native| native.message.get().len());
        let bytes = recorded.text.len() + recorded.reasoning.len() + called + native;
        if self.answers >= ANSWERS_MAX || self.bytes + bytes > BYTES_MAX {
            return false;
        }
        self.answers += 1;
        self.bytes += bytes;
        self.by_prompt.entry(digest(prompt)).or_default().recorded.push(recorded);
        true
    }

    /// The number of answers.
    pub const fn len(&self) -> usize {
        self.answers
    }

    /// True if there are no answers.
    pub const fn is_empty(&self) -> bool {
        self.answers == 0
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let answers = self.by_prompt.get(&digest(&request.prompt)).ok_or(LlmError::NotRecorded)?;
        let recorded = answers.next().ok_or(LlmError::NotRecorded)?;
        if let Some(native) = &recorded.native {
            sink.begin(native.dialect).await?;
        }
        sink.push_reasoning(&recorded.reasoning).await?;
        sink.push_text(&recorded.text).await?;
        for call in &recorded.tool_calls {
            let ToolCall { id, name, arguments } = call.clone();
            let part =
                CallPart { id: Some(id), name: Some(name), arguments, ..CallPart::default() };
            sink.push_call(part).await?;
        }
        sink.end_calls().await?;
        if let Some(native) = &recorded.native {
            sink.set_native(native.clone());
            sink.push_native_answer().await?;
        }
        Ok(recorded.completion.clone())
    }
}

impl Answers {
    fn next(&self) -> Option<&RecordedAnswer> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = self.recorded.get(*next);
        if *next + 1 < self.recorded.len() {
            *next += 1;
        }
        recorded
    }
}

fn digest(prompt: &str) -> [u8; 32] {
    Sha256::digest(prompt).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::llm::{Message, Role};

    fn recorded(text: &str) -> RecordedAnswer {
        let finish_reason = "stop".to_owned();
        let completion = ProviderCompletion { model: "m-1".to_owned(), finish_reason, usage: None };
        let (text, reasoning) = (text.to_owned(), String::new());
        RecordedAnswer { text, tool_calls: Vec::new(), reasoning, native: None, completion }
    }

    async fn ask(replay: &Replay, prompt: &str) -> Result<String, LlmError> {
        let request = Request {
            model: None,
            messages: vec![Message::text(Role::User, format!("context\n\n{prompt}"))].into(),
            prompt: prompt.into(),
            max_tokens: Some(10.into()),
            temperature: None,
            takes_temperature: None,
            extra: Arc::default(),
        };
        let mut sink = Sink::new(None);
        replay.call(&request, &mut sink).await.map(|_| sink.into_parts().text)
    }

    #[tokio::test]
    async fn answers_are_returned_in_order_and_the_last_one_is_repeated() {
        let mut replay = Replay::default();
        for (prompt, text) in [("a", "one"), ("b", "other"), ("a", "two")] {
            assert!(replay.add(prompt, recorded(text)));
        }
        for text in ["one", "two", "two"] {
            assert_eq!(ask(&replay, "a").await.as_deref(), Ok(text));
        }
        assert_eq!(ask(&replay, "b").await.as_deref(), Ok("other"));
        assert_eq!(ask(&replay, "c").await, Err(LlmError::NotRecorded));
        assert_eq!(ask(&replay, "context").await, Err(LlmError::NotRecorded));
    }

    #[test]
    fn the_number_and_size_of_answers_are_limited() {
        let mut replay = Replay::default();
        assert!((0..ANSWERS_MAX).all(|_| replay.add("a", recorded("x"))));
        assert!(!replay.add("a", recorded("x")));
        let mut large = Replay::default();
        let half = "x".repeat(BYTES_MAX / 2);
        assert!(large.add("a", recorded(&half)) && large.add("a", recorded(&half)));
        assert!(!large.add("a", recorded("x")));
    }
}
