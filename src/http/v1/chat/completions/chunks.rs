//! Chunks of a streamed chat completion.

use serde_json::{Value, json};

use super::response::{self, Usage, finish_reason};
use crate::{
    config::MoralRefusal,
    engine::Answer,
    http::{
        Problem,
        governance::{self, Governance},
        problem::envelope,
        stream,
    },
    llm::Delta,
};

/// The last event of a complete stream.
const DONE: &str = "data: [DONE]\n\n";

/// Writes a stream in the dialect of `OpenAI`. The last chunk with a choice has the governance of the
/// step (`mlsdm`); an answer without `[DONE]` is incomplete.
pub(super) struct Chunks {
    /// Set by `begin`.
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
    pub(super) include_usage: bool,
    pub(super) refusal: MoralRefusal,
}

impl Chunks {
    fn chunk(&self, choices: &Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn delta(&self, delta: &Value) -> String {
        let choice = json!([{
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": null,
        }]);
        stream::data_only(&self.chunk(&choice))
    }
}

impl stream::Dialect for Chunks {
    fn begin(&mut self, id: &str) -> String {
        self.id = response::id(id);
        self.delta(&json!({"role": "assistant", "content": ""}))
    }

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            Delta::Text(text) => self.delta(&json!({"content": text})),
            Delta::ToolCall { index, id, name, arguments } => {
                let mut call = json!({"index": index, "function": {"arguments": arguments}});
                if let Some(id) = id {
                    call["id"] = json!(id);
                    call["type"] = json!("function");
                }
                if let Some(name) = name {
                    call["function"]["name"] = json!(name);
                }
                self.delta(&json!({"tool_calls": [call]}))
            }
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        let mut delta = json!({});
        if answer.refusal().is_some() {
            delta["refusal"] = json!(answer.note);
        }
        let choice = json!([{
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason(answer),
        }]);
        if !answer.model.is_empty() {
            self.model.clone_from(&answer.model);
        }
        let mut last = self.chunk(&choice);
        last["mlsdm"] = serde_json::to_value(Governance::from(answer)).unwrap_or_default();
        let mut frames = stream::data_only(&last);
        if self.include_usage {
            let mut usage = self.chunk(&json!([]));
            usage["usage"] = serde_json::to_value(Usage::from(answer)).unwrap_or_default();
            frames.push_str(&stream::data_only(&usage));
        }
        frames + DONE
    }

    fn rejection(&self, answer: &Answer) -> Option<Problem> {
        governance::rejection(answer, self.refusal)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        stream::data_only(&envelope::openai(problem, None))
    }
}
