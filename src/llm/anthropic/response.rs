//! The response of Anthropic's messages API, whole or streamed.

mod block;
mod message;
mod stream;

use serde_json::{Value, value::RawValue};

use crate::llm::{Dialect, LlmError, ProviderCompletion, Sink, http, object::Object, sse::Events};
use message::UNEXPECTED;
use stream::Stream;

/// Reads a response that is not streamed.
pub(super) async fn whole(
    body: &str,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let body = Object::parse(body).ok_or(UNEXPECTED)?;
    if let Some(error) = body.get("error") {
        return Err(LlmError::in_stream(error.get()));
    }
    let blocks: Vec<&RawValue> = body.read("content").ok_or(UNEXPECTED)?;
    sink.begin(Dialect::Anthropic).await?;
    let mut stream = Stream::new(requested_model);
    stream.is_whole = true;
    stream.start(&body);
    for block in blocks {
        stream.open(None, block, sink).await?;
    }
    // the end of the body is the end of the answer, even if the server does not say why
    if !stream.has_reason() {
        stream.message.insert("stop_reason".to_owned(), Value::from("end_turn"));
    }
    let completion = stream.end(sink).await?;
    sink.push_native_answer().await?;
    Ok(completion)
}

/// Reads a streamed response.
pub(super) async fn streamed(
    mut events: Events,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let mut stream = Stream::new(requested_model);
    loop {
        match events.next(sink).await {
            Ok(Some(event)) => {
                if stream.take(&event, sink).await? {
                    break;
                }
            }
            Ok(None) if stream.has_reason() => break,
            Ok(None) | Err(LlmError::BrokenOff) => return Err(http::early_end(sink)),
            Err(error) => return Err(error),
        }
    }
    if !stream.has_reason() {
        return Err(http::early_end(sink));
    }
    stream.end(sink).await
}
