//! What a script answers, independent of the API.

use serde_json::Value;

use super::{Asked, Refusal, ordered};

/// A call of a tool.
#[derive(Clone, Debug)]
pub struct ToolUse {
    /// The id; empty until the provider names it.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// The arguments, an object.
    pub arguments: Value,
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// It said all, or calls tools.
    #[default]
    Complete,
    /// The limit of tokens.
    Length,
}

/// An answer of the model.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Thinking before the answer; chat completions have it as `reasoning_content`.
    pub thinking: Option<String>,
    /// The text.
    pub text: String,
    /// Parallel calls of tools.
    pub calls: Vec<ToolUse>,
    /// Why it stopped.
    pub finish: Finish,
    /// Answers by the JSON schema of the request, with its properties in the order of the schema.
    pub structured: bool,
}

/// The outcome of a script.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The API's form of this answer.
    Answer(Answer),
    /// An error of the provider.
    Refuse(Refusal),
    /// These bytes, with status 200.
    Raw {
        /// The content type.
        content_type: &'static str,
        /// The pieces of the body, each written on its own.
        body: Vec<Vec<u8>>,
    },
    /// The beginning of this answer; then nothing, on an open connection.
    Stall(Answer),
}

impl Answer {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Parallel calls of tools: names and arguments.
    pub fn calls(calls: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let call = |(name, arguments): (&str, Value)| ToolUse {
            id: String::new(),
            name: name.to_owned(),
            arguments,
        };
        Self { calls: calls.into_iter().map(call).collect(), ..Self::default() }
    }

    /// The same with thinking before it.
    #[must_use]
    pub fn thinking(self, thinking: impl Into<String>) -> Self {
        Self { thinking: Some(thinking.into()), ..self }
    }

    /// The same with a text beside its calls.
    #[must_use]
    pub fn saying(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// The same with the ids of its calls, and with its structured text.
    pub(super) fn named(mut self, asked: &Asked<'_>) -> Self {
        for (number, call) in self.calls.iter_mut().enumerate() {
            call.id = format!("{}_{}_{number}", asked.face.call_prefix(), asked.turn);
        }
        if self.structured {
            let names = ordered::schema_properties(asked.raw);
            let fields: Vec<String> =
                names.iter().map(|name| format!("\"{name}\":\"the {name}\"")).collect();
            self.text = format!("{{{}}}", fields.join(","));
        }
        self
    }
}

/// The signature of a thinking block, by which the provider recognises its own text.
pub fn signature(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("sig{hash:016x}")
}

/// A text in pieces of a few characters, as a stream has it.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(24).map(|piece| piece.iter().collect()).collect()
}
