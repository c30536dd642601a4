//! Chunks of a streamed completion.

use serde_json::{Value, json};

use super::response::{self, TextChoice, finish_reason};
use crate::{
    clock,
    config::MoralRefusal,
    engine::Answer,
    http::{
        Problem,
        governance::{self, Governance},
        problem::envelope,
        stream,
        v1::chat::completions::Usage,
    },
    llm::Delta,
};

/// Writes a stream of texts. The last chunk with a choice has the governance of the step (`mlsdm`); an
/// answer without `[DONE]` is incomplete.
pub(super) struct TextChunks {
    /// Set by `begin`.
    id: String,
    created: i64,
    model: String,
    include_usage: bool,
    refusal: MoralRefusal,
}

impl TextChunks {
    pub(super) fn new(model: String, include_usage: bool, refusal: MoralRefusal) -> Self {
        let created = clock::now_micros() / 1_000_000;
        Self { id: String::new(), created, model, include_usage, refusal }
    }

    fn chunk(&self, choices: &[TextChoice]) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    fn text(&self, text: &str, finish_reason: Option<String>) -> Value {
        let text = text.to_owned();
        self.chunk(&[TextChoice { text, index: 0, logprobs: None, finish_reason }])
    }
}

impl stream::Dialect for TextChunks {
    fn begin(&mut self, id: &str) {
        self.id = response::id(id);
    }

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            Delta::Text(text) => stream::data_only(&self.text(text, None)),
            // this route has neither reasoning nor tools
            Delta::Begun | Delta::Native(_) | Delta::Reasoning(_) | Delta::ToolCall { .. } => {
                String::new()
            }
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        let mut last = self.text("", Some(finish_reason(answer)));
        last["mlsdm"] = serde_json::to_value(Governance::from(answer)).unwrap_or_default();
        let mut frames = stream::data_only(&last);
        if self.include_usage {
            let mut usage = self.chunk(&[]);
            usage["usage"] = serde_json::to_value(Usage::from(answer)).unwrap_or_default();
            frames.push_str(&stream::data_only(&usage));
        }
        frames + stream::DONE
    }

    fn rejection(&self, answer: &Answer) -> Option<Problem> {
        governance::rejection(answer, self.refusal)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        stream::data_only(&envelope::openai(problem, None))
    }
}
