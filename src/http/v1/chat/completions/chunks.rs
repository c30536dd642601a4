//! Chunks of a streamed chat completion.

use serde::Serialize;
use serde_json::{Value, json};

use super::response::{self, Usage, annotations, finish_reason};
use crate::{
    clock,
    config::MoralRefusal,
    engine::Answer,
    http::{
        Problem,
        governance::{self, Governance},
        native,
        problem::envelope,
        stream,
    },
    llm::{Delta, Dialect, NativeEvent},
};

/// Writes a stream in the dialect of `OpenAI`. The last chunk with a choice has the governance of the
/// step (`mlsdm`); an answer without `[DONE]` is incomplete.
pub(super) struct Chunks {
    /// Set by `begin`.
    id: String,
    created: i64,
    model: String,
    include_usage: bool,
    refusal: MoralRefusal,
    /// True if a chunk was written.
    has_begun: bool,
}

/// A chunk with a delta. There is one for each piece of an answer, so it is written without a tree.
#[derive(Serialize)]
struct DeltaChunk<'a, D> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [DeltaChoice<'a, D>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<()>,
}

#[derive(Serialize)]
struct DeltaChoice<'a, D> {
    index: u8,
    delta: &'a D,
    logprobs: (),
    finish_reason: (),
}

#[derive(Default, Serialize)]
struct Texts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
}

impl Chunks {
    pub(super) fn new(model: String, include_usage: bool, refusal: MoralRefusal) -> Self {
        let created = clock::now_micros() / 1_000_000;
        Self { id: String::new(), created, model, include_usage, refusal, has_begun: false }
    }

    fn chunk(&self, choices: &Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// A chunk after the last piece, with the fields of the provider that clients read from it.
    fn closing_chunk(&self, answer: &Answer, choices: &Value) -> Value {
        let mut chunk = self.chunk(choices);
        let given = native::fields(answer, Dialect::OpenAi).unwrap_or_default();
        for name in ["system_fingerprint", "service_tier"] {
            if let Ok(Some(value)) = given.read::<Value>(name) {
                chunk[name] = value;
            }
        }
        chunk
    }

    fn delta(&mut self, delta: &impl Serialize) -> String {
        let first = if self.has_begun { String::new() } else { self.role() };
        first + &self.delta_chunk(delta)
    }

    fn role(&mut self) -> String {
        self.has_begun = true;
        self.delta_chunk(&json!({"role": "assistant", "content": ""}))
    }

    fn delta_chunk(&self, delta: &impl Serialize) -> String {
        stream::data_only(&DeltaChunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices: [DeltaChoice { index: 0, delta, logprobs: (), finish_reason: () }],
            usage: self.include_usage.then_some(()),
        })
    }

    /// A chunk of the provider with the fields that this server writes.
    fn native(&mut self, event: &NativeEvent) -> String {
        let Some(fields) = event.data.strip_prefix('{').filter(|fields| fields.len() > 1) else {
            return String::new();
        };
        self.has_begun = true;
        let usage = if self.include_usage { "\"usage\":null," } else { "" };
        format!(
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{},{usage}{fields}\n\n",
            self.id, self.created
        )
    }

    /// The usage: that of the provider, or the tokens that this server counts.
    fn usage(answer: &Answer) -> Value {
        let given = native::fields(answer, Dialect::OpenAi)
            .and_then(|fields| fields.read("usage").ok().flatten());
        given.unwrap_or_else(|| serde_json::to_value(Usage::from(answer)).unwrap_or_default())
    }
}

impl stream::Dialect for Chunks {
    fn begin(&mut self, id: &str) {
        self.id = response::id(id);
    }

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            Delta::Begun => String::new(),
            Delta::Native(event) => self.native(event),
            Delta::Text(text) => self.delta(&Texts { content: Some(text), ..Texts::default() }),
            Delta::Reasoning(text) => {
                self.delta(&Texts { reasoning_content: Some(text), ..Texts::default() })
            }
            Delta::ToolCall { index, id, name, arguments } => {
                let mut call = json!({"index": index, "function": {"arguments": arguments}});
                if let Some(id) = id {
                    call["id"] = json!(id);
                    call["type"] = json!("function");
                }
                if let Some(name) = name {
                    call["function"]["name"] = json!(name);
                }
                self.delta(&json!({"tool_calls": [call]}))
            }
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        let mut frames = if self.has_begun { String::new() } else { self.role() };
        let mut delta = json!({});
        if answer.refusal().is_some() {
            delta["refusal"] = json!(answer.note);
        }
        let annotations = annotations(answer);
        if !annotations.is_empty() {
            delta["annotations"] = annotations.into();
        }
        let choice = json!([{
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason(answer),
        }]);
        if !answer.model.is_empty() {
            self.model.clone_from(&answer.model);
        }
        let mut last = self.closing_chunk(answer, &choice);
        last["mlsdm"] = serde_json::to_value(Governance::from(answer)).unwrap_or_default();
        frames.push_str(&stream::data_only(&last));
        if self.include_usage {
            let mut usage = self.closing_chunk(answer, &json!([]));
            usage["usage"] = Self::usage(answer);
            frames.push_str(&stream::data_only(&usage));
        }
        frames + stream::DONE
    }

    fn dialect(&self) -> Option<Dialect> {
        Some(Dialect::OpenAi)
    }

    fn rejection(&self, answer: &Answer) -> Option<Problem> {
        governance::rejection(answer, self.refusal)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        stream::data_only(&envelope::openai(problem, None))
    }
}
