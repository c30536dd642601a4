//! Events of a streamed message.

mod tools;

use serde::Serialize;
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
    json::Fields,
    llm::{Delta, Dialect, NativeEvent},
};

use tools::{ToolPart, ToolQueue};

/// The content block that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Text,
    Thinking,
    Tool(usize),
}

/// A piece of a block. There is one for each piece of an answer, so it is written without a tree.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names of the dialect")]
enum BlockDelta<'a> {
    TextDelta { text: &'a str },
    ThinkingDelta { thinking: &'a str },
    InputJsonDelta { partial_json: &'a str },
    CitationsDelta { citation: Value },
}

#[derive(Serialize)]
struct DeltaEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: usize,
    delta: &'a BlockDelta<'a>,
}

/// Writes a stream in the dialect of Anthropic. The event `message_delta` has the governance of the
/// step (`mlsdm`); an answer without `message_stop` is incomplete.
pub(super) struct Events {
    /// Set by `begin`.
    id: String,
    model: String,
    refusal: MoralRefusal,
    block: Block,
    /// Number of blocks opened.
    blocks: usize,
    /// True if the first event was written.
    has_begun: bool,
    tools: ToolQueue,
    /// The event of the provider that ends the message.
    last: Option<String>,
}

impl Events {
    pub(super) fn new(model: String, refusal: MoralRefusal) -> Self {
        Self {
            id: String::new(),
            model,
            refusal,
            block: Block::None,
            blocks: 0,
            has_begun: false,
            tools: ToolQueue::default(),
            last: None,
        }
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

    fn delta(&self, delta: &BlockDelta<'_>) -> String {
        let (kind, index) = ("content_block_delta", self.index());
        named(kind, &DeltaEvent { kind, index, delta })
    }
}

impl Events {
    /// The first event, unless it was written.
    fn start(&mut self) -> String {
        if std::mem::replace(&mut self.has_begun, true) {
            return String::new();
        }
        let message = json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        });
        named("message_start", &json!({"type": "message_start", "message": message}))
    }

    /// A piece of a block, which is opened if it is not open.
    fn block_delta(
        &mut self,
        block: Block,
        start: impl FnOnce() -> Value,
        delta: &BlockDelta<'_>,
    ) -> String {
        let mut frames = self.start();
        if self.block != block {
            frames.push_str(&self.open(block, &start()));
        }
        frames + &self.delta(delta)
    }

    fn tool_parts(&mut self, parts: Vec<ToolPart>) -> String {
        let write = |ToolPart { index, id, name, arguments }| {
            self.block_delta(
                Block::Tool(index),
                || json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                &BlockDelta::InputJsonDelta { partial_json: &arguments },
            )
        };
        parts.into_iter().map(write).collect()
    }

    fn end_tools(&mut self) -> String {
        let parts = self.tools.end();
        self.tool_parts(parts)
    }

    /// An event of the provider. The event that ends the message is held back until the step is
    /// recorded.
    fn native(&mut self, event: &NativeEvent) -> String {
        let NativeEvent { name, data } = event;
        match name.as_str() {
            "message_delta" => {
                self.last = Some(data.clone());
                String::new()
            }
            "message_start" => {
                let Some(message) = data.strip_prefix(MESSAGE_START) else { return String::new() };
                self.has_begun = true;
                format!("event: {name}\ndata: {MESSAGE_START}\"id\":\"{}\",{message}\n\n", self.id)
            }
            _ => self.start() + &format!("event: {name}\ndata: {data}\n\n"),
        }
    }

    /// The sources of the open text; without one, the name of what is lost.
    fn citations(&self, answer: &Answer) -> (String, Option<&'static str>) {
        let citations = response::citations(answer);
        if self.block == Block::Text {
            let delta = |citation| self.delta(&BlockDelta::CitationsDelta { citation });
            return (citations.map(delta).collect(), None);
        }
        (String::new(), citations.into_iter().next().map(|_| "citations"))
    }

    /// The event that ends the message: that of the provider with the governance of the step.
    fn message_delta(&mut self, answer: &Answer) -> Option<String> {
        let mut last: Fields = serde_json::from_str(&self.last.take()?).ok()?;
        last.set("mlsdm", &Governance::from(answer)).ok()?;
        Some(named("message_delta", &last))
    }
}

/// The beginning of the data of a provider's first event.
const MESSAGE_START: &str = r#"{"type":"message_start","message":{"#;

impl stream::Dialect for Events {
    fn begin(&mut self, id: &str) {
        self.id = response::id(id);
    }

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            Delta::Begun => String::new(),
            Delta::Native(event) => self.native(event),
            Delta::Text(text) => {
                self.end_tools()
                    + &self.block_delta(
                        Block::Text,
                        || json!({"type": "text", "text": ""}),
                        &BlockDelta::TextDelta { text },
                    )
            }
            Delta::Reasoning(text) => {
                self.end_tools()
                    + &self.block_delta(
                        Block::Thinking,
                        || json!({"type": "thinking", "thinking": "", "signature": ""}),
                        &BlockDelta::ThinkingDelta { thinking: text },
                    )
            }
            Delta::ToolCall { index, id, name, arguments } => {
                let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
                let parts = self.tools.push(ToolPart { index: *index, id, name, arguments });
                self.tool_parts(parts)
            }
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        let begun = self.start() + &self.end_tools();
        let (cited, without_form) = self.citations(answer);
        let frames = begun + &cited + &self.close();
        let last = self.message_delta(answer).unwrap_or_else(|| {
            let mut governance = Governance::from(answer);
            governance.dropped.extend(without_form.map(str::to_owned));
            let delta = json!({
                "type": "message_delta",
                "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
                "usage": MessagesUsage::from(answer),
                "mlsdm": governance,
            });
            named("message_delta", &delta)
        });
        frames + &last + &named("message_stop", &json!({"type": "message_stop"}))
    }

    fn dialect(&self) -> Option<Dialect> {
        Some(Dialect::Anthropic)
    }

    fn rejection(&self, answer: &Answer) -> Option<Problem> {
        governance::rejection(answer, self.refusal)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        named("error", &envelope::anthropic(problem, None))
    }
}
