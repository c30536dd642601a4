//! A conversation in terms of no dialect.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::llm::{LlmError, Message, Role};

/// The text that a failed tool's result begins with, for an API that has no other mark of it.
pub(super) const ERROR: &str = "Error: ";

/// The names of the hints that were left out.
pub(in crate::llm) type Dropped = Vec<&'static str>;

/// A request without its limits.
#[derive(Default)]
pub(in crate::llm) struct Conversation {
    pub(in crate::llm) turns: Vec<Turn>,
    pub(in crate::llm) options: Options,
    pub(in crate::llm) dropped: Dropped,
}

/// What one author said.
pub(in crate::llm) struct Turn {
    /// The author. Results of tools belong to the user.
    pub(in crate::llm) role: Role,
    pub(in crate::llm) parts: Vec<Part>,
}

/// A part of a message.
pub(in crate::llm) enum Part {
    Text(String),
    Image(Image),
    Call {
        id: String,
        name: String,
        /// A JSON text.
        arguments: String,
    },
    Result {
        /// The id of the call.
        id: String,
        parts: Vec<Part>,
        is_error: bool,
    },
}

/// An image.
pub(in crate::llm) enum Image {
    Url(String),
    Data { media_type: String, base64: String },
}

impl Image {
    /// The URL, which may hold the data.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
        }
    }
}

/// What a request asks for beside its messages.
#[derive(Default)]
pub(in crate::llm) struct Options {
    pub(in crate::llm) tools: Vec<Tool>,
    pub(in crate::llm) choice: Option<Choice>,
    /// True if the model may call at most one tool.
    pub(in crate::llm) one_call: bool,
    pub(in crate::llm) stop: Vec<String>,
    pub(in crate::llm) top_p: Option<f64>,
    pub(in crate::llm) top_k: Option<u64>,
    pub(in crate::llm) schema: Option<Schema>,
    /// True if the answer must be a JSON object of any schema.
    pub(in crate::llm) is_json: bool,
    pub(in crate::llm) effort: Option<Effort>,
}

/// A tool of the client.
pub(in crate::llm) struct Tool {
    pub(in crate::llm) name: String,
    pub(in crate::llm) description: Option<String>,
    /// The JSON schema of the arguments.
    pub(in crate::llm) parameters: Option<Arc<RawValue>>,
    pub(in crate::llm) strict: Option<bool>,
}

/// Whether the model calls a tool.
pub(in crate::llm) enum Choice {
    Auto,
    None,
    Required,
    Named(String),
}

/// The form of the answer.
pub(in crate::llm) struct Schema {
    pub(in crate::llm) name: String,
    pub(in crate::llm) json: Arc<RawValue>,
    pub(in crate::llm) strict: Option<bool>,
}

/// How much the model thinks before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::llm) enum Effort {
    None,
    Low,
    Medium,
    High,
}

impl Effort {
    /// The effort of a name in a request; `None` for an unknown one.
    pub(in crate::llm) fn by_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "minimal" | "low" => Some(Self::Low),
            "medium" => Some(Self::Medium),
            "high" | "xhigh" | "max" => Some(Self::High),
            _ => None,
        }
    }

    /// The effort of a budget of thinking, in tokens.
    pub(in crate::llm) const fn of_budget(tokens: u32) -> Self {
        match tokens {
            0..4_096 => Self::Low,
            4_096..16_384 => Self::Medium,
            16_384.. => Self::High,
        }
    }

    /// The budget of thinking, in tokens; `None` for no thinking.
    pub(in crate::llm) const fn budget(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Low => Some(1_024),
            Self::Medium => Some(8_192),
            Self::High => Some(24_576),
        }
    }

    /// The name in requests of both dialects.
    pub(in crate::llm) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The turn of a message that has a text only.
pub(super) fn text_turn(message: &Message) -> Result<Turn, LlmError> {
    if message.role == Role::Tool {
        return Err(LlmError::Untranslatable { what: "the result of a tool without its call" });
    }
    Ok(Turn { role: message.role, parts: vec![Part::Text(message.text.clone())] })
}

/// The texts of the parts, joined by line breaks.
pub(super) fn joined(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text(text) if !text.is_empty() => Some(text.clone()),
        Part::Text(_) | Part::Image(_) | Part::Call { .. } | Part::Result { .. } => None,
    };
    parts.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}
