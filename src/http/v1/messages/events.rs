//! Events of a streamed message.

use serde_json::{Value, json};

use super::response::{self, MessagesUsage, stop_reason};
use crate::{
    config::MoralRefusal,
    engine::Answer,
    http::{
        Problem,
        governance::{self, Governance},
        problem::envelope,
        stream::{self, named},
    },
    llm::Delta,
};

/// The content block that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Text,
    Tool(usize),
}

/// Writes a stream in the dialect of Anthropic. The event `message_delta` has the governance of the
/// step (`mlsdm`); an answer without `message_stop` is incomplete.
pub(super) struct Events {
    model: String,
    refusal: MoralRefusal,
    block: Block,
    /// Number of blocks opened.
    blocks: usize,
}

impl Events {
    pub(super) const fn new(model: String, refusal: MoralRefusal) -> Self {
        Self { model, refusal, block: Block::None, blocks: 0 }
    }

    fn index(&self) -> usize {
        self.blocks.saturating_sub(1)
    }

    /// Closes the open block, if any, and opens another.
    fn open(&mut self, block: Block, start: &Value) -> String {
        let mut frames = self.close();
        self.block = block;
        self.blocks += 1;
        let start = json!({
            "type": "content_block_start", "index": self.index(), "content_block": start,
        });
        frames.push_str(&named("content_block_start", &start));
        frames
    }

    fn close(&mut self) -> String {
        if self.block == Block::None {
            return String::new();
        }
        self.block = Block::None;
        let stop = json!({"type": "content_block_stop", "index": self.index()});
        named("content_block_stop", &stop)
    }

    fn delta(&self, delta: &Value) -> String {
        let delta = json!({"type": "content_block_delta", "index": self.index(), "delta": delta});
        named("content_block_delta", &delta)
    }
}

impl stream::Dialect for Events {
    fn begin(&mut self, id: &str) -> String {
        let message = json!({
            "id": response::id(id), "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        });
        named("message_start", &json!({"type": "message_start", "message": message}))
    }

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            Delta::Text(text) => {
                let mut frames = String::new();
                if self.block != Block::Text {
                    frames = self.open(Block::Text, &json!({"type": "text", "text": ""}));
                }
                frames + &self.delta(&json!({"type": "text_delta", "text": text}))
            }
            Delta::ToolCall { index, id, name, arguments } => {
                let mut frames = String::new();
                if self.block != Block::Tool(*index) {
                    let start = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                    frames = self.open(Block::Tool(*index), &start);
                }
                let delta = json!({"type": "input_json_delta", "partial_json": arguments});
                frames + &self.delta(&delta)
            }
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        let usage = MessagesUsage::from(answer);
        let delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
            "usage": usage,
            "mlsdm": Governance::from(answer),
        });
        let stop = json!({"type": "message_stop"});
        self.close() + &named("message_delta", &delta) + &named("message_stop", &stop)
    }

    fn rejection(&self, answer: &Answer) -> Option<Problem> {
        governance::rejection(answer, self.refusal)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        named("error", &envelope::anthropic(problem, None))
    }
}
