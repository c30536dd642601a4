//! A content block, collected from its deltas.

use serde_json::{Map, Value, value::RawValue};

use crate::llm::{
    LlmError, Sink,
    object::{Object, Writer, merge},
    tool_calls::CallPart,
};

/// Maximum number of fields of a block. Further ones are not kept.
const FIELDS_MAX: usize = 64;

/// A content block.
pub(super) struct Block {
    /// The provider's index.
    pub(super) index: Option<u64>,
    kind: Kind,
    fields: Map<String, Value>,
    /// The input of a tool as the block began with it.
    given: String,
    /// The input of a tool, as far as deltas brought it.
    input: String,
    pub(super) is_open: bool,
}

/// The kinds of blocks that have a neutral form, and all others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Tool,
    Other,
}

impl Block {
    /// Reads the start of a block, or a whole one.
    pub(super) async fn new(
        index: Option<u64>,
        at: usize,
        text: &RawValue,
        sink: &mut Sink,
    ) -> Result<Self, LlmError> {
        let block = Object::parse(text.get()).unwrap_or_default();
        let kind = match block.text("type").as_deref() {
            Some("text") => Kind::Text,
            Some("thinking") => Kind::Thinking,
            Some("tool_use") => Kind::Tool,
            _ => Kind::Other,
        };
        match kind {
            Kind::Text => sink.push_text(&block.text("text").unwrap_or_default()).await?,
            Kind::Thinking => {
                sink.push_reasoning(&block.text("thinking").unwrap_or_default()).await?;
            }
            Kind::Tool => {
                let (id, name) = (block.text("id"), block.text("name"));
                let part = CallPart { index: Some(at), id, name, ..CallPart::default() };
                sink.push_call(part).await?;
            }
            Kind::Other => sink.count_media(text.get().len())?,
        }
        let given = block.get("input").map(|input| input.get().to_owned()).unwrap_or_default();
        let fields = block.iter().filter(|(name, _)| *name != "input");
        let fields = fields.filter_map(|(name, value)| {
            Some((name.to_owned(), serde_json::from_str(value.get()).ok()?))
        });
        let (fields, input) = (fields.collect(), String::new());
        Ok(Self { index, kind, fields, given, input, is_open: true })
    }

    /// Reads a delta.
    pub(super) async fn push(
        &mut self,
        at: usize,
        delta: &Object<'_>,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        let kind = delta.text("type").unwrap_or_default();
        match (self.kind, kind.as_str()) {
            (_, "input_json_delta") => {
                let more = delta.text("partial_json").unwrap_or_default();
                self.input.push_str(&more);
                return match self.kind {
                    Kind::Tool => push_arguments(at, more, sink).await,
                    Kind::Text | Kind::Thinking | Kind::Other => sink.count_media(more.len()),
                };
            }
            (_, "citations_delta") => {
                if let Some(citation) = delta.get("citation")
                    && sink.keep_extra(citation.get().len())?
                {
                    let citation: Value = serde_json::from_str(citation.get()).unwrap_or_default();
                    merge(&mut self.fields, "citations", Value::Array(vec![citation]));
                }
                return Ok(());
            }
            (Kind::Text, "text_delta") => {
                let text = delta.text("text").unwrap_or_default();
                sink.push_text(&text).await?;
                return self.add("text", Value::String(text), delta, sink);
            }
            (Kind::Thinking, "thinking_delta") => {
                let text = delta.text("thinking").unwrap_or_default();
                sink.push_reasoning(&text).await?;
                return self.add("thinking", Value::String(text), delta, sink);
            }
            _ => {}
        }
        self.add_others("", delta, sink)
    }

    /// Merges a text that the sink has, and the other fields of its delta.
    fn add(
        &mut self,
        name: &str,
        text: Value,
        delta: &Object<'_>,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        merge(&mut self.fields, name, text);
        self.add_others(name, delta, sink)
    }

    /// Merges the fields of a delta besides its type and one that is merged already.
    fn add_others(
        &mut self,
        merged: &str,
        delta: &Object<'_>,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        for (name, value) in delta.iter().filter(|(name, _)| *name != "type" && *name != merged) {
            let has_place = self.fields.len() < FIELDS_MAX || self.fields.contains_key(name);
            if has_place
                && sink.keep_extra(value.get().len())?
                && let Ok(value) = serde_json::from_str(value.get())
            {
                merge(&mut self.fields, name, value);
            }
        }
        Ok(())
    }

    /// Ends the block. A tool call without arguments gets `{}`, because clients expect a JSON text.
    pub(super) async fn close(&mut self, at: usize, sink: &mut Sink) -> Result<(), LlmError> {
        let was_open = std::mem::replace(&mut self.is_open, false);
        if was_open && self.kind == Kind::Tool && self.input.is_empty() {
            push_arguments(at, self.input().to_owned(), sink).await?;
        }
        Ok(())
    }

    /// The input of a tool: that of the deltas, or else that which the block began with.
    fn input(&self) -> &str {
        let texts = [self.input.as_str(), self.given.as_str()];
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or("{}")
    }

    /// The JSON of the block.
    pub(super) fn json(&self) -> String {
        let mut block = Writer::new();
        for (name, value) in &self.fields {
            block.raw(name, &value.to_string());
        }
        let has_input = !self.input.is_empty() || !self.given.is_empty();
        if has_input || self.kind == Kind::Tool {
            let input = self.input();
            // an input that is no JSON stays a text
            match serde_json::from_str::<&RawValue>(input) {
                Ok(json) => block.raw("input", json.get()),
                Err(_) => block.text("input", input),
            }
        }
        block.end()
    }
}

/// Appends to the arguments of the tool call of a block.
async fn push_arguments(at: usize, arguments: String, sink: &mut Sink) -> Result<(), LlmError> {
    let part = CallPart { index: Some(at), arguments, ..CallPart::default() };
    sink.push_call(part).await.map(drop)
}
