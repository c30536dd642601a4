//! The response of chat completions, whole or streamed.
//!
//! A whole response is read like a stream of one chunk.

mod answer;
mod chunk;
mod message;
mod tool_call;

use crate::llm::{
    Dialect, LlmError, NativeEvent, ProviderCompletion, Sink, finish, http,
    object::{Object, Writer, is_empty, quoted},
    sse::Events,
};
use answer::Answer;
use chunk::{Choice, Chunk};

/// The data of the last event of a stream.
const DONE: &str = "[DONE]";

/// The fields of a chunk that the server writes itself.
const OWN: [&str; 6] = ["id", "object", "created", "model", "choices", "usage"];

/// Reads a response that is not streamed.
pub(super) async fn whole(
    body: &str,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let chunk = Chunk::parse(body).ok_or(UNEXPECTED)?;
    if let Some(error) = chunk.fields.get("error") {
        return Err(LlmError::in_stream(error.get()));
    }
    let mut reader = Reader { is_whole: true, ..Reader::new(requested_model) };
    if !reader.take(&chunk, sink).await? {
        return Err(LlmError::Malformed { what: "it has no choices" });
    }
    // the end of the body is the end of the answer, even if the server does not say why
    reader.finish.get_or_insert_with(|| "stop".to_owned());
    let completion = reader.end(sink).await?;
    sink.push_native_answer().await?;
    Ok(completion)
}

/// Reads a streamed response.
pub(super) async fn streamed(
    mut events: Events,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let mut reader = Reader::new(requested_model);
    loop {
        let event = match events.next(sink).await {
            Ok(Some(event)) => event,
            // some servers end the stream after the finish reason
            Ok(None) if reader.finish.is_some() => break,
            Ok(None) | Err(LlmError::BrokenOff) => return Err(http::early_end(sink)),
            Err(error) => return Err(error),
        };
        if event.data.trim() == DONE {
            break;
        }
        let Some(chunk) = Chunk::parse(&event.data) else {
            return Err(if event.is_cut { http::early_end(sink) } else { UNEXPECTED });
        };
        if let Some(error) = chunk.fields.get("error") {
            return Err(LlmError::in_stream(error.get()));
        }
        reader.take(&chunk, sink).await?;
    }
    if reader.finish.is_none() {
        return Err(http::early_end(sink));
    }
    reader.end(sink).await
}

const UNEXPECTED: LlmError = LlmError::Malformed { what: "the JSON has an unexpected shape" };

/// Reads the chunks of one answer.
struct Reader<'r> {
    requested_model: &'r str,
    model: Option<String>,
    /// The name of the model as JSON, once the provider has reported it.
    quoted_model: Option<String>,
    finish: Option<String>,
    answer: Answer,
    has_begun: bool,
    /// True if the response is not streamed.
    is_whole: bool,
}

impl<'r> Reader<'r> {
    fn new(requested_model: &'r str) -> Self {
        Self {
            requested_model,
            model: None,
            quoted_model: None,
            finish: None,
            answer: Answer::default(),
            has_begun: false,
            is_whole: false,
        }
    }

    /// Reads a chunk. Returns true if it has a choice.
    async fn take(&mut self, chunk: &Chunk<'_>, sink: &mut Sink) -> Result<bool, LlmError> {
        let Chunk { fields, choice } = chunk;
        if !self.has_begun {
            self.has_begun = true;
            sink.begin(Dialect::OpenAi).await?;
        }
        if self.model.is_none() {
            self.model = fields.text("model").filter(|model| !model.is_empty());
        }
        self.answer.take_usage(fields);
        for (name, value) in fields.iter().filter(|(name, _)| !OWN.contains(name)) {
            self.answer.take_field(name, value, sink)?;
        }
        // the last chunk has the usage and no choice
        let Some(choice) = choice else { return Ok(false) };
        let Some(delta) = &choice.message else { return Ok(self.take_finish(choice)) };
        let sent = message::take(delta, self.is_whole, &mut self.answer, sink).await?;
        self.answer.take_choice(&choice.fields, sink)?;
        self.take_finish(choice);
        if sink.passes_native() && !self.is_whole {
            self.forward(fields, &choice.fields, &sent, sink).await?;
        }
        Ok(true)
    }

    fn take_finish(&mut self, choice: &Choice<'_>) -> bool {
        if let Some(finish) = choice.fields.text("finish_reason") {
            self.finish = Some(finish);
        }
        self.finish.is_some()
    }

    /// Forwards a chunk without the fields that the server writes itself.
    async fn forward(
        &mut self,
        chunk: &Object<'_>,
        choice: &Object<'_>,
        sent: &message::Sent,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        let mut event = Writer::new();
        event.raw("model", self.quoted_model());
        for (name, value) in chunk.iter().filter(|(name, _)| !OWN.contains(name)) {
            event.raw(name, value.get());
        }
        let mut has_more = sent.has_fields;
        event.list_of("choices", |written| {
            written.raw("index", "0");
            written.raw("delta", &sent.delta);
            let own = ["index", "finish_reason"];
            for (name, value) in choice.iter().filter(|(name, _)| !own.contains(name)) {
                written.raw(name, value.get());
                has_more |= !is_empty(value);
            }
            written.raw("finish_reason", "null");
        });
        // the server writes the chunk that ends the answer
        if !has_more && self.finish.is_some() {
            return Ok(());
        }
        let event = NativeEvent { name: String::new(), data: event.end() };
        sink.push_native(event, sent.is_content).await
    }

    /// The name of the model as JSON. It is kept as soon as it cannot change.
    fn quoted_model(&mut self) -> &str {
        if self.quoted_model.is_none() || self.model.is_none() {
            self.quoted_model = Some(quoted(&self.model()));
        }
        self.quoted_model.as_deref().unwrap_or_default()
    }

    fn model(&self) -> String {
        http::reported_model(self.model.clone(), self.requested_model)
    }

    /// Ends the answer.
    async fn end(mut self, sink: &mut Sink) -> Result<ProviderCompletion, LlmError> {
        let held = sink.end_calls().await?;
        let model = self.model();
        if sink.passes_native() && !self.is_whole && !held.is_empty() {
            let mut event = Writer::new();
            event.text("model", &model);
            let calls = message::calls(&held);
            let choice =
                format!(r#"[{{"index":0,"delta":{{"tool_calls":{calls}}},"finish_reason":null}}]"#);
            event.raw("choices", &choice);
            let event = NativeEvent { name: String::new(), data: event.end() };
            sink.push_native(event, true).await?;
        }
        let given = self.finish.take().unwrap_or_default();
        let usage = self.answer.usage();
        let native = self.answer.native(&model, &finish::openai(&given), sink);
        if let Some(native) = native {
            sink.set_native(native);
        }
        Ok(ProviderCompletion {
            model,
            finish_reason: finish::reason(&given, !sink.tool_calls().is_empty()),
            usage,
        })
    }
}
