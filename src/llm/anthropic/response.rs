//! An answer as Anthropic gives it, whole or in named events.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    domain::event::Usage,
    llm::{
        LlmError, ProviderCompletion, Sink, http,
        sse::{Event, Events},
    },
};

/// A whole answer, and the beginning of a streamed one.
#[derive(Deserialize)]
pub(super) struct Answer {
    model: Option<String>,
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

/// A block, and a piece of one; kinds that are neither text nor a call of the caller's tools (such
/// as thinking) are passed over.
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
#[expect(clippy::struct_field_names, reason = "named as they are sent")]
struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// The payload of any event.
#[derive(Deserialize)]
struct Payload {
    message: Option<Answer>,
    content_block: Option<Block>,
    delta: Option<Value>,
    usage: Option<Counts>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Stop {
    stop_reason: Option<String>,
}

/// An error within a stream; its text stays unread.
#[derive(Deserialize)]
struct Fault {
    #[serde(rename = "type")]
    kind: String,
}

/// Takes an answer that came whole.
pub(super) async fn whole(
    answer: Answer,
    wanted: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let Answer { model, content, stop_reason, usage } = answer;
    for block in content {
        let input = block.input.clone();
        if Open::new(block, sink).await? == Open::Tool {
            let input = input.filter(|input| !input.is_null());
            let arguments = input.map_or_else(|| "{}".to_owned(), |input| input.to_string());
            more_of_tool(arguments, sink).await?;
        }
    }
    Ok(ProviderCompletion {
        model: http::reported_model(model, wanted),
        finish_reason: reason(stop_reason.as_deref()).to_owned(),
        usage: usage.and_then(Counts::usage),
    })
}

/// Takes an answer piece by piece.
pub(super) async fn streamed(
    mut events: Events,
    wanted: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let mut stream = Stream::default();
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                if stream.take(&event, sink).await? {
                    return Ok(ProviderCompletion {
                        model: http::reported_model(stream.model, wanted),
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

/// The block that is being said.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Other,
    Text,
    Tool,
}

impl Open {
    /// Takes the beginning of a block.
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

/// More arguments of the newest call.
async fn more_of_tool(arguments: String, sink: &mut Sink) -> Result<(), LlmError> {
    let newest = sink.tool_calls().len().saturating_sub(1);
    sink.push_tool_call(newest, None, None, arguments).await
}

/// What a stream has said beside its texts.
#[derive(Default)]
struct Stream {
    model: Option<String>,
    stop: Option<String>,
    counts: Counts,
    open: Open,
}

impl Stream {
    /// Takes an event; says whether it was the last one.
    async fn take(&mut self, event: &Event, sink: &mut Sink) -> Result<bool, LlmError> {
        match event.name.as_str() {
            "message_start" => {
                let payload = payload(event)?;
                if let Some(answer) = payload.message {
                    self.model = answer.model;
                    self.counts = answer.usage.unwrap_or_default();
                }
            }
            "content_block_start" => {
                if let Some(block) = payload(event)?.content_block {
                    self.open = Open::new(block, sink).await?;
                }
            }
            "content_block_delta" => self.more(payload(event)?.delta, sink).await?,
            "content_block_stop" => self.close(sink).await?,
            "message_delta" => {
                let payload = payload(event)?;
                let stop: Option<Stop> = payload.delta.map(typed).transpose()?;
                self.stop = stop.and_then(|stop| stop.stop_reason).or_else(|| self.stop.take());
                self.counts.update(payload.usage.unwrap_or_default());
            }
            "message_stop" => return Ok(true),
            "error" => {
                let kind = payload(event)?.error.map(|error| error.kind);
                return Err(class(kind.as_deref().unwrap_or_default()));
            }
            // ping, and what later versions add
            _ => {}
        }
        Ok(false)
    }

    async fn more(&self, delta: Option<Value>, sink: &mut Sink) -> Result<(), LlmError> {
        let Some(piece) = delta.map(typed::<Block>).transpose()? else { return Ok(()) };
        match (self.open, piece.kind.as_str()) {
            (Open::Text, "text_delta") => sink.push_text(&piece.text.unwrap_or_default()).await,
            (Open::Tool, "input_json_delta") => {
                more_of_tool(piece.partial_json.unwrap_or_default(), sink).await
            }
            _ => Ok(()),
        }
    }

    /// A tool called without arguments gets none said; others expect a JSON text.
    async fn close(&mut self, sink: &mut Sink) -> Result<(), LlmError> {
        let silent = sink.tool_calls().last().is_some_and(|call| call.arguments.is_empty());
        if std::mem::take(&mut self.open) == Open::Tool && silent {
            more_of_tool("{}".to_owned(), sink).await?;
        }
        Ok(())
    }
}

fn payload(event: &Event) -> Result<Payload, LlmError> {
    http::parse(event.data.as_bytes())
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, LlmError> {
    serde_json::from_value(value).map_err(|_| LlmError::Malformed { what: "not the JSON expected" })
}

impl Counts {
    /// Later figures replace earlier ones; those not named stay.
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }

    /// Tokens read from a cache or written to it were part of the prompt.
    fn usage(self) -> Option<Usage> {
        let cached = [self.cache_creation_input_tokens, self.cache_read_input_tokens];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        Some(Usage {
            prompt_tokens: self.input_tokens?.saturating_add(cached),
            completion_tokens: self.output_tokens?,
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

/// An error's kind says what its status would have said.
fn class(kind: &str) -> LlmError {
    let status = match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "overloaded_error" => 529,
        _ => 500,
    };
    http::by_status(status, None)
}
