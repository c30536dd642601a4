//! The whole answer, collected from its chunks.

use serde_json::{Map, Value, value::RawValue};

use super::tool_call::write_call;
use crate::{
    domain::event::Usage,
    llm::{
        Dialect, LlmError, NativeAnswer, Sink,
        object::{Object, Writer, is_empty, merge},
    },
};

/// Fields of a message that are text and counted by the sink.
const TEXTS: [&str; 5] = ["role", "content", "refusal", "reasoning_content", "reasoning"];

/// Maximum number of fields of a response, of a choice and of a message. Further ones are not kept.
const FIELDS_MAX: usize = 64;

/// The parts of an answer that are collected besides the tool calls.
#[derive(Default)]
pub(super) struct Answer {
    /// The fields of the response, the last value of each.
    fields: Vec<(String, Box<RawValue>)>,
    message: Map<String, Value>,
    /// The fields of the choice.
    choice: Map<String, Value>,
    /// Fields of the choice that are not kept: a part of log probabilities would look like all of them.
    left_out: Vec<String>,
    usage: Option<Box<RawValue>>,
}

impl Answer {
    pub(super) fn take_usage(&mut self, chunk: &Object<'_>) {
        if let Some(usage) = chunk.get("usage") {
            self.usage = Some(usage.to_owned());
        }
    }

    /// Takes a field of the response. Those beyond the limit of their number are not kept.
    ///
    /// # Errors
    /// [`LlmError::OverMemory`].
    pub(super) fn take_field(
        &mut self,
        name: &str,
        value: &RawValue,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        let count = self.fields.len();
        match self.fields.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) if is_empty(value) || old.get() == value.get() => {}
            Some((_, old)) => {
                sink.reserve(value.get().len().saturating_sub(old.get().len()))?;
                *old = value.to_owned();
            }
            None if count < FIELDS_MAX => {
                sink.reserve(name.len() + value.get().len())?;
                self.fields.push((name.to_owned(), value.to_owned()));
            }
            None => {}
        }
        Ok(())
    }

    /// Appends to a text of the message.
    pub(super) fn add_text(&mut self, name: &str, text: &str) {
        match self.message.get_mut(name) {
            Some(Value::String(old)) => old.push_str(text),
            _ => drop(self.message.insert(name.to_owned(), Value::String(text.to_owned()))),
        }
    }

    /// Merges a field of the message.
    pub(super) fn add(&mut self, name: &str, value: Value) {
        if self.message.len() < FIELDS_MAX || self.message.contains_key(name) {
            merge(&mut self.message, name, value);
        }
    }

    /// Takes a field of the message.
    ///
    /// # Errors
    /// [`LlmError::Malformed`] if the media of the answer exceed its limit.
    pub(super) fn take_message(
        &mut self,
        name: &str,
        value: &RawValue,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        if !TEXTS.contains(&name) && !is_empty(value) {
            sink.count_media(value.get().len())?;
        }
        if let Ok(value) = serde_json::from_str(value.get()) {
            self.add(name, value);
        }
        Ok(())
    }

    /// Takes the fields of a choice. One that exceeds the limit of an answer, such as log probabilities, is
    /// left out as a whole, and named.
    ///
    /// # Errors
    /// [`LlmError::OverMemory`].
    pub(super) fn take_choice(
        &mut self,
        choice: &Object<'_>,
        sink: &mut Sink,
    ) -> Result<(), LlmError> {
        for (name, value) in choice.iter() {
            let is_known = self.choice.contains_key(name);
            let is_new = !is_empty(value) || !is_known;
            if matches!(name, "index" | "finish_reason") || !is_new {
                continue;
            }
            if self.left_out.iter().any(|left_out| left_out == name) {
                continue;
            }
            let is_full = self.left_out.len() >= FIELDS_MAX;
            if is_full && !is_known {
                continue;
            }
            if !sink.keep_extra(value.get().len())? {
                self.choice.remove(name);
                self.left_out.push(name.to_owned());
                sink.add_dropped(&[name]);
            } else if (is_known || self.choice.len() < FIELDS_MAX)
                && let Ok(value) = serde_json::from_str(value.get())
            {
                merge(&mut self.choice, name, value);
            }
        }
        Ok(())
    }

    /// The token counts, if the provider reports them.
    pub(super) fn usage(&self) -> Option<Usage> {
        let usage = Object::parse(self.usage.as_ref()?.get())?;
        let detail = |object: &str, name: &str| usage.object(object)?.read(name);
        Some(Usage {
            cached_tokens: detail("prompt_tokens_details", "cached_tokens"),
            reasoning_tokens: detail("completion_tokens_details", "reasoning_tokens"),
            ..Usage::new(usage.read("prompt_tokens")?, usage.read("completion_tokens")?)
        })
    }

    /// The answer in the provider's dialect.
    pub(super) fn native(mut self, model: &str, finish: &str, sink: &Sink) -> Option<NativeAnswer> {
        let mut body = Writer::new();
        body.text("model", model);
        for (name, value) in &self.fields {
            body.raw(name, value.get());
        }
        self.choice.entry("logprobs").or_insert(Value::Null);
        body.list_of("choices", |choice| {
            choice.raw("index", "0");
            let message = std::mem::take(&mut self.message);
            choice.object("message", |written| write_message(written, message, sink));
            for (name, value) in &self.choice {
                choice.value(name, value);
            }
            choice.text("finish_reason", finish);
        });
        if let Some(usage) = &self.usage {
            body.raw("usage", usage.get());
        }
        let message = RawValue::from_string(body.end()).ok()?;
        Some(NativeAnswer { dialect: Dialect::OpenAi, message })
    }
}

/// Writes a message. Each of its fields is dropped when it is written, because a text may be large.
fn write_message(written: &mut Writer, mut message: Map<String, Value>, sink: &Sink) {
    written.raw("role", "\"assistant\"");
    message.entry("content").or_insert(Value::Null);
    message.entry("refusal").or_insert(Value::Null);
    for (name, value) in message.into_iter().filter(|(name, _)| *name != "role") {
        written.value(&name, &value);
    }
    let none = Map::new();
    let calls: Vec<String> = sink
        .tool_calls()
        .iter()
        .enumerate()
        .map(|(index, call)| {
            let extra = sink.tool_call_fields(index).unwrap_or(&none);
            let mut written = Writer::new();
            write_call(&mut written, Some(&call.id), Some(&call.name), &call.arguments, extra);
            written.end()
        })
        .collect();
    if !calls.is_empty() {
        written.raw("tool_calls", &format!("[{}]", calls.join(",")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_beyond_the_limit_are_left_out_as_a_whole() {
        let (mut answer, mut sink) = (Answer::default(), Sink::new(None).with_limit(100));
        for bytes in [40, 90, 1] {
            let token = "t".repeat(bytes);
            let choice = format!(r#"{{"logprobs":{{"content":[{{"token":"{token}"}}]}}}}"#);
            answer.take_choice(&Object::parse(&choice).unwrap(), &mut sink).unwrap();
        }
        assert!(!answer.choice.contains_key("logprobs"), "{:?}", answer.choice);
        assert_eq!(sink.into_parts().dropped, ["logprobs"]);
    }

    #[test]
    fn the_fields_of_a_response_a_choice_and_a_message_are_limited() {
        let (mut answer, mut sink) = (Answer::default(), Sink::new(None).with_limit(10_000));
        let value = RawValue::from_string("\"0123456789\"".to_owned()).unwrap();
        for n in 0..1_000 {
            let name = format!("f{n}");
            answer.take_field(&name, &value, &mut sink).unwrap();
            let choice = format!(r#"{{"{name}":[1],"logprobs":[{n}]}}"#);
            answer.take_choice(&Object::parse(&choice).unwrap(), &mut sink).unwrap();
            answer.add(&name, Value::Null);
        }
        let counts = [answer.fields.len(), answer.choice.len(), answer.message.len()];
        assert!(counts.iter().all(|count| *count <= FIELDS_MAX), "{counts:?}");
    }
}
