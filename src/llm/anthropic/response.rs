//! The response of Anthropic's messages API, whole or streamed.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    domain::event::Usage,
    llm::{
        LlmError, ProviderCompletion, Sink, http, provider_error,
        sse::{Event, Events},
    },
};

/// A whole response, or the message at the start of a stream.
#[derive(Deserialize)]
pub(super) struct MessageBody {
    model: Option<String>,
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<TokenCounts>,
}

/// A content block or a delta of one. Blocks that are neither a text nor a tool call, such as
/// thinking, are ignored.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Value>,
    partial_json: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "named as in the API")]
struct TokenCounts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// The data of any event.
#[derive(Deserialize)]
struct EventData {
    message: Option<MessageBody>,
    content_block: Option<Block>,
    delta: Option<Value>,
    usage: Option<TokenCounts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct MessageDelta {
    stop_reason: Option<String>,
}

/// Reads a response that is not streamed.
pub(super) async fn whole(
    body: MessageBody,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let MessageBody { model, content, stop_reason, usage } = body;
    for block in content {
        let input = block.input.clone();
        if OpenBlock::new(block, sink).await? == OpenBlock::Tool {
            let input = input.filter(|input| !input.is_null());
            let arguments = input.map_or_else(|| "{}".to_owned(), |input| input.to_string());
            push_arguments(arguments, sink).await?;
        }
    }
    Ok(ProviderCompletion {
        model: http::reported_model(model, requested_model),
        finish_reason: reason(stop_reason.as_deref()).to_owned(),
        usage: usage.and_then(TokenCounts::usage),
    })
}

/// Reads a streamed response.
pub(super) async fn streamed(
    mut events: Events,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let mut stream = Stream::default();
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                if stream.take(&event, sink).await? {
                    return Ok(ProviderCompletion {
                        model: http::reported_model(stream.model, requested_model),
                        finish_reason: reason(stream.stop.as_deref()).to_owned(),
                        usage: stream.counts.usage(),
                    });
                }
            }
            Ok(None) | Err(LlmError::BrokenOff) => return Err(http::early_end(sink)),
            Err(error) => return Err(error),
        }
    }
}

/// The kind of the current block.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum OpenBlock {
    #[default]
    Other,
    Text,
    Tool,
}

impl OpenBlock {
    /// Reads the start of a block.
    async fn new(block: Block, sink: &mut Sink) -> Result<Self, LlmError> {
        match block.kind.as_str() {
            "text" => {
                sink.push_text(&block.text.unwrap_or_default()).await?;
                Ok(Self::Text)
            }
            "tool_use" => {
                let next = sink.tool_calls().len();
                sink.push_tool_call(next, block.id, block.name, String::new()).await?;
                Ok(Self::Tool)
            }
            _ => Ok(Self::Other),
        }
    }
}

/// Appends to the arguments of the newest tool call.
async fn push_arguments(arguments: String, sink: &mut Sink) -> Result<(), LlmError> {
    let newest = sink.tool_calls().len().saturating_sub(1);
    sink.push_tool_call(newest, None, None, arguments).await
}

/// The state of a stream besides its texts.
#[derive(Default)]
struct Stream {
    model: Option<String>,
    stop: Option<String>,
    counts: TokenCounts,
    open: OpenBlock,
}

impl Stream {
    /// Reads an event. Returns true if it was the last one.
    async fn take(&mut self, event: &Event, sink: &mut Sink) -> Result<bool, LlmError> {
        match event.name.as_str() {
            "message_start" => {
                let data = data(event)?;
                if let Some(answer) = data.message {
                    self.model = answer.model;
                    self.counts = answer.usage.unwrap_or_default();
                }
            }
            "content_block_start" => {
                if let Some(block) = data(event)?.content_block {
                    self.open = OpenBlock::new(block, sink).await?;
                }
            }
            "content_block_delta" => self.push_delta(data(event)?.delta, sink).await?,
            "content_block_stop" => self.close_block(sink).await?,
            "message_delta" => {
                let data = data(event)?;
                let stop: Option<MessageDelta> = data.delta.map(typed).transpose()?;
                self.stop = stop.and_then(|stop| stop.stop_reason).or_else(|| self.stop.take());
                self.counts.update(data.usage.unwrap_or_default());
            }
            "message_stop" => return Ok(true),
            "error" => {
                let error = data(event)?.error.unwrap_or_default();
                return Err(provider_error::in_stream(&error));
            }
            // ping, and events of later API versions
            _ => {}
        }
        Ok(false)
    }

    async fn push_delta(&self, delta: Option<Value>, sink: &mut Sink) -> Result<(), LlmError> {
        let Some(piece) = delta.map(typed::<Block>).transpose()? else { return Ok(()) };
        match (self.open, piece.kind.as_str()) {
            (OpenBlock::Text, "text_delta") => {
                sink.push_text(&piece.text.unwrap_or_default()).await
            }
            (OpenBlock::Tool, "input_json_delta") => {
                push_arguments(piece.partial_json.unwrap_or_default(), sink).await
            }
            _ => Ok(()),
        }
    }

    /// A tool call without arguments gets `{}`, because clients expect a JSON text.
    async fn close_block(&mut self, sink: &mut Sink) -> Result<(), LlmError> {
        let is_empty = sink.tool_calls().last().is_some_and(|call| call.arguments.is_empty());
        if std::mem::take(&mut self.open) == OpenBlock::Tool && is_empty {
            push_arguments("{}".to_owned(), sink).await?;
        }
        Ok(())
    }
}

fn data(event: &Event) -> Result<EventData, LlmError> {
    http::parse(event.data.as_bytes())
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, LlmError> {
    serde_json::from_value(value)
        .map_err(|_| LlmError::Malformed { what: "the JSON has an unexpected shape" })
}

impl TokenCounts {
    /// Replaces the counts that a later event reports.
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }

    /// The usage. Tokens read from a cache or written to it are part of the prompt.
    fn usage(self) -> Option<Usage> {
        let cached = [self.cache_creation_input_tokens, self.cache_read_input_tokens];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        Some(Usage {
            cached_tokens: self.cache_read_input_tokens,
            ..Usage::new(self.input_tokens?.saturating_add(cached), self.output_tokens?)
        })
    }
}

fn reason(given: Option<&str>) -> &'static str {
    match given {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        _ => "stop",
    }
}
