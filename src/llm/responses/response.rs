//! The response of a provider of the Responses API, whole or streamed.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::{
    domain::event::Usage,
    llm::{
        Dialect, LlmError, NativeAnswer, NativeEvent, ProviderCompletion, Sink, finish, http,
        object::{Object, Writer},
        sse::Events,
        tool_calls::CallPart,
    },
};

use super::tools::CUSTOM_INPUT;

/// Fields of a response that repeat the request, or that this server writes itself.
const OWN: [&str; 12] = [
    "background",
    "created_at",
    "id",
    "instructions",
    "input",
    "metadata",
    "object",
    "previous_response_id",
    "store",
    "tools",
    "user",
    "completed_at",
];

/// Maximum number of output items that arrive in pieces.
const ITEMS_MAX: usize = 4_096;

const UNEXPECTED: LlmError = LlmError::Malformed { what: "the JSON has an unexpected shape" };

/// Reads a response that is not streamed.
pub(in crate::llm) async fn whole(
    body: &str,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let response = Object::parse(body).ok_or(UNEXPECTED)?;
    sink.begin(Dialect::Responses).await?;
    let mut reader = Reader::default();
    for (at, item) in response.read::<Vec<Object<'_>>>("output").into_iter().flatten().enumerate() {
        reader.take_item(at, &item, sink).await?;
    }
    let completion = reader.end(&response, requested_model, sink).await?;
    sink.push_native_answer().await?;
    Ok(completion)
}

/// Reads a streamed response.
pub(in crate::llm) async fn streamed(
    mut events: Events,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let mut reader = Reader::default();
    loop {
        let event = match events.next(sink).await {
            Ok(Some(event)) => event,
            Ok(None) | Err(LlmError::BrokenOff) => return Err(http::early_end(sink)),
            Err(error) => return Err(error),
        };
        let Some(data) = Object::parse(&event.data) else {
            return Err(if event.is_cut { http::early_end(sink) } else { UNEXPECTED });
        };
        let kind = data.text("type").unwrap_or(event.name);
        match kind.as_str() {
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = data.object("response").ok_or(UNEXPECTED)?;
                return reader.end(&response, requested_model, sink).await;
            }
            "error" => {
                let error = data.get("error").map_or(&*event.data, RawValue::get);
                return Err(LlmError::in_stream(error));
            }
            _ => {}
        }
        if !std::mem::replace(&mut reader.has_begun, true) {
            sink.begin(Dialect::Responses).await?;
        }
        reader.take_event(&kind, &data, sink).await?;
        let is_content = !matches!(
            kind.as_str(),
            "response.created" | "response.in_progress" | "response.queued"
        );
        sink.push_native(NativeEvent { name: kind, data: event.data }, is_content).await?;
    }
}

/// Reads the events of one response.
#[derive(Default)]
struct Reader {
    has_begun: bool,
    /// The indexes of the items whose content has arrived in pieces.
    read: BTreeSet<usize>,
}

impl Reader {
    async fn take_event(
        &mut self,
        kind: &str,
        data: &Object<'_>,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        let at: usize = data.read("output_index").unwrap_or_default();
        let delta = || data.text("delta").unwrap_or_default();
        match kind {
            "response.output_text.delta" | "response.refusal.delta" => {
                self.mark(at)?;
                sink.push_text(&delta()).await
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.mark(at)?;
                sink.push_reasoning(&delta()).await
            }
            "response.function_call_arguments.delta" => {
                self.mark(at)?;
                let part = CallPart { index: Some(at), arguments: delta(), ..CallPart::default() };
                sink.push_call(part).await.map(drop)
            }
            "response.output_item.added" => {
                let item = data.object("item").unwrap_or_default();
                if let Some(part) = call(at, &item) {
                    sink.push_call(part).await?;
                }
                Ok(())
            }
            "response.output_item.done" => {
                let item = data.object("item").unwrap_or_default();
                self.take_item(at, &item, sink).await
            }
            _ => Ok(()),
        }
    }

    fn mark(&mut self, at: usize) -> Result<(), LlmError> {
        self.read.insert(at);
        let is_long = self.read.len() > ITEMS_MAX;
        if is_long { Err(LlmError::Malformed { what: "too many output items" }) } else { Ok(()) }
    }

    /// Reads a complete item, unless it has arrived in pieces.
    async fn take_item(
        &mut self,
        at: usize,
        item: &Object<'_>,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        if self.read.contains(&at) {
            return Ok(());
        }
        match item.text("type").as_deref() {
            Some("message") => {
                for part in item.read::<Vec<Object<'_>>>("content").into_iter().flatten() {
                    if let Some(text) = part.text("text").or_else(|| part.text("refusal")) {
                        sink.push_text(&text).await?;
                    }
                }
            }
            Some("reasoning") => {
                for list in ["summary", "content"] {
                    for part in item.read::<Vec<Object<'_>>>(list).into_iter().flatten() {
                        sink.push_reasoning(&part.text("text").unwrap_or_default()).await?;
                    }
                }
            }
            Some("function_call" | "custom_tool_call") => {
                let arguments = match item.text("input") {
                    Some(input) => serde_json::json!({ CUSTOM_INPUT: input }).to_string(),
                    None => item.text("arguments").unwrap_or_default(),
                };
                if let Some(part) = call(at, item) {
                    sink.push_call(CallPart { arguments, ..part }).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the answer.
    async fn end(
        self,
        response: &Object<'_>,
        requested_model: &str,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let has_failed = response.text("status").as_deref() == Some("failed");
        let given = response.get("error").map(RawValue::get);
        if let Some(error) = given.or_else(|| has_failed.then_some("{}")) {
            return Err(LlmError::in_stream(error));
        }
        sink.end_calls().await?;
        let mut native = Writer::new();
        for (name, value) in response.iter().filter(|(name, _)| !OWN.contains(name)) {
            native.raw(name, value.get());
        }
        if let Ok(message) = RawValue::from_string(native.end()) {
            sink.set_native(NativeAnswer { dialect: Dialect::Responses, message });
        }
        let details = response.object("incomplete_details").unwrap_or_default();
        let reason = details.text("reason").unwrap_or_else(|| "stop".to_owned());
        Ok(ProviderCompletion {
            model: http::reported_model(response.text("model"), requested_model),
            finish_reason: finish::reason(&reason, !sink.tool_calls().is_empty()),
            usage: response.object("usage").and_then(|usage| self::usage(&usage)),
        })
    }
}

/// The beginning of a tool call.
fn call(at: usize, item: &Object<'_>) -> Option<CallPart> {
    let kind = item.text("type")?;
    let is_call = matches!(kind.as_str(), "function_call" | "custom_tool_call");
    is_call.then(|| CallPart {
        index: Some(at),
        id: item.text("call_id"),
        name: item.text("name"),
        ..CallPart::default()
    })
}

fn usage(counts: &Object<'_>) -> Option<Usage> {
    let detail = |object: &str, name: &str| counts.object(object)?.read::<u64>(name);
    Some(Usage {
        cached_tokens: detail("input_tokens_details", "cached_tokens"),
        reasoning_tokens: detail("output_tokens_details", "reasoning_tokens"),
        ..Usage::new(counts.read("input_tokens")?, counts.read("output_tokens")?)
    })
}
