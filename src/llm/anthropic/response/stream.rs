//! The events of a streamed message.

use serde_json::{Map, Value, value::RawValue};

use super::{
    block::Block,
    message::{UNEXPECTED, native, reason, set, update, usage},
};
use crate::llm::{
    Dialect, LlmError, NativeEvent, ProviderCompletion, Sink, http,
    object::{Object, Writer},
    sse::Event,
};

/// Fields of a message that are collected or written elsewhere.
const OWN: [&str; 6] = ["id", "type", "role", "model", "content", "usage"];

/// Maximum number of blocks of a message.
const BLOCKS_MAX: usize = 4_096;

/// The state of a stream.
pub(super) struct Stream<'r> {
    requested_model: &'r str,
    model: Option<String>,
    /// The fields of the message.
    pub(super) message: Map<String, Value>,
    counts: Map<String, Value>,
    blocks: Vec<Block>,
    /// The event that ends the message, which a client gets when the step is recorded.
    last: Option<String>,
    has_begun: bool,
    /// True if the response is not streamed.
    pub(super) is_whole: bool,
}

impl<'r> Stream<'r> {
    pub(super) fn new(requested_model: &'r str) -> Self {
        Self {
            requested_model,
            model: None,
            message: Map::new(),
            counts: Map::new(),
            blocks: Vec::new(),
            last: None,
            has_begun: false,
            is_whole: false,
        }
    }

    /// True if the provider has said why the answer ends.
    pub(super) fn has_reason(&self) -> bool {
        self.message.get("stop_reason").is_some_and(|reason| !reason.is_null())
    }

    /// Reads an event. Returns true if it was the last one.
    pub(super) async fn take(&mut self, event: &Event, sink: &mut Sink) -> Result<bool, LlmError> {
        let Some(data) = Object::parse(&event.data) else {
            return Err(if event.is_cut { http::early_end(sink) } else { UNEXPECTED });
        };
        // some servers send no names
        let name = data.text("type").unwrap_or_else(|| event.name.clone());
        if name == "error" {
            let error = data.get("error").map(RawValue::get).unwrap_or_default();
            return Err(LlmError::in_stream(error));
        }
        if !self.has_begun {
            self.has_begun = true;
            sink.begin(Dialect::Anthropic).await?;
        }
        match name.as_str() {
            "message_start" => {
                if let Some(message) = data.object("message") {
                    self.start(&message);
                    sink.push_native(opening(&message), false).await?;
                }
            }
            "content_block_start" => {
                if let Some(block) = data.get("content_block") {
                    self.open(data.read("index"), block, sink).await?;
                    forward(&name, self.blocks.len().saturating_sub(1), &data, sink).await?;
                }
            }
            "content_block_delta" => self.push(&name, &data, sink).await?,
            "content_block_stop" => {
                if let Some(at) = self.find(&data) {
                    self.close(at, sink).await?;
                }
            }
            "message_delta" => self.finish(&data, &event.data),
            "message_stop" => return Ok(true),
            "ping" => {}
            // events of later API versions
            _ => sink.push_native(NativeEvent { name, data: event.data.clone() }, false).await?,
        }
        Ok(false)
    }

    /// Reads the fields of a message.
    pub(super) fn start(&mut self, message: &Object<'_>) {
        self.model = message.text("model");
        if let Some(usage) = message.object("usage") {
            update(&mut self.counts, &usage);
        }
        let others = message.iter().filter(|(name, _)| !OWN.contains(name));
        insert(&mut self.message, others);
    }

    fn finish(&mut self, data: &Object<'_>, text: &str) {
        if let Some(delta) = data.object("delta") {
            update(&mut self.message, &delta);
        }
        if let Some(usage) = data.object("usage") {
            update(&mut self.counts, &usage);
        }
        let others = data.iter().filter(|(name, _)| !matches!(*name, "type" | "delta" | "usage"));
        insert(&mut self.message, others);
        self.last = Some(text.to_owned());
    }

    /// Reads the start of a block, or a whole one.
    pub(super) async fn open(
        &mut self,
        index: Option<u64>,
        block: &RawValue,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        // some servers do not end a block before they begin another with its index
        if let Some(last) = self.blocks.len().checked_sub(1)
            && self.blocks.get(last).is_some_and(|block| block.is_open && block.index == index)
        {
            self.close(last, sink).await?;
        }
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(LlmError::Malformed { what: "too many content blocks" });
        }
        let block = Block::new(index, self.blocks.len(), block, sink).await?;
        self.blocks.push(block);
        Ok(())
    }

    async fn push(
        &mut self,
        name: &str,
        data: &Object<'_>,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        let (Some(at), Some(delta)) = (self.find(data), data.object("delta")) else {
            return Ok(());
        };
        if let Some(block) = self.blocks.get_mut(at) {
            block.push(at, &delta, sink).await?;
        }
        forward(name, at, data, sink).await
    }

    async fn close(&mut self, at: usize, sink: &mut Sink) -> Result<(), LlmError> {
        let Some(block) = self.blocks.get_mut(at).filter(|block| block.is_open) else {
            return Ok(());
        };
        block.close(at, sink).await?;
        if self.is_whole {
            return Ok(());
        }
        let name = "content_block_stop";
        let data = format!(r#"{{"type":"{name}","index":{at}}}"#);
        sink.push_native(NativeEvent { name: name.to_owned(), data }, true).await
    }

    /// The newest block with the index of an event, or the newest one of all.
    fn find(&self, data: &Object<'_>) -> Option<usize> {
        let newest = self.blocks.len().checked_sub(1);
        let Some(index) = data.read::<u64>("index") else { return newest };
        self.blocks.iter().rposition(|block| block.index == Some(index)).or(newest)
    }

    /// Ends the answer.
    pub(super) async fn end(mut self, sink: &mut Sink) -> Result<ProviderCompletion, LlmError> {
        for at in 0..self.blocks.len() {
            self.close(at, sink).await?;
        }
        sink.end_calls().await?;
        let model = http::reported_model(self.model.take(), self.requested_model);
        if let Some(native) = native(&model, &self.message, &self.blocks, &self.counts) {
            sink.set_native(native);
        }
        if let Some(data) = self.last.take() {
            let event = NativeEvent { name: "message_delta".to_owned(), data };
            sink.push_native(event, false).await?;
        }
        Ok(ProviderCompletion {
            finish_reason: reason(&self.message, sink),
            model,
            usage: usage(&self.counts),
        })
    }
}

/// The first event of a message. The server writes the id.
fn opening(message: &Object<'_>) -> NativeEvent {
    let mut written = Writer::new();
    for (name, value) in message.iter() {
        match name {
            "id" => {}
            "content" => written.raw(name, "[]"),
            _ => written.raw(name, value.get()),
        }
    }
    let data = format!(r#"{{"type":"message_start","message":{}}}"#, written.end());
    NativeEvent { name: "message_start".to_owned(), data }
}

/// Forwards an event of a block, with the index of the block from 0 without gaps.
async fn forward(
    name: &str,
    at: usize,
    data: &Object<'_>,
    sink: &mut Sink,
) -> Result<(), LlmError> {
    if !sink.passes_native() {
        return Ok(());
    }
    let mut written = Writer::new();
    written.text("type", name);
    written.raw("index", &at.to_string());
    for (name, value) in data.iter().filter(|(name, _)| !matches!(*name, "type" | "index")) {
        written.raw(name, value.get());
    }
    sink.push_native(NativeEvent { name: name.to_owned(), data: written.end() }, true).await
}

/// Sets fields of a message, as far as it has place.
fn insert<'t>(
    message: &mut Map<String, Value>,
    fields: impl Iterator<Item = (&'t str, &'t RawValue)>,
) {
    for (name, value) in fields {
        set(message, name, serde_json::from_str(value.get()).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: String) -> Event {
        Event { name: String::new(), data, is_cut: false }
    }

    #[tokio::test]
    async fn the_blocks_and_the_fields_of_a_message_are_limited() {
        let (mut stream, mut sink) = (Stream::new("m"), Sink::new(None));
        for n in 0..1_000 {
            let data = format!(r#"{{"type":"message_delta","f{n}":1,"usage":{{"u{n}":1}}}}"#);
            stream.take(&event(data), &mut sink).await.unwrap();
        }
        assert!(stream.message.len() <= 64 && stream.counts.len() <= 64);
        let mut count = 0;
        let error = loop {
            let data = format!(
                r#"{{"type":"content_block_start","index":{count},"content_block":{{"type":"text"}}}}"#
            );
            match stream.take(&event(data), &mut sink).await {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((count, error.code()), (BLOCKS_MAX, "malformed"));
    }

    #[tokio::test]
    async fn the_fields_of_a_block_are_limited() {
        let (mut stream, mut sink) = (Stream::new("m"), Sink::new(None).with_limit(10_000));
        let start = r#"{"type":"content_block_start","content_block":{"type":"text","text":""}}"#;
        stream.take(&event(start.to_owned()), &mut sink).await.unwrap();
        let text = r#""text":"x","citation":{"cited_text":"0123456789"}"#;
        for n in 0..1_000 {
            for kind in ["text_delta", "citations_delta"] {
                let delta = format!(r#"{{"type":"{kind}",{text},"f{n}":"{n:04}"}}"#);
                let data = format!(r#"{{"type":"content_block_delta","delta":{delta}}}"#);
                stream.take(&event(data), &mut sink).await.unwrap();
            }
        }
        assert_eq!(sink.text().len(), 1_000, "further fields never cost the answer");
        assert!(stream.blocks[0].json().len() < 20_000);
    }
}
