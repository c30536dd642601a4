//! What goes to a model and what comes back, in the words of none of the providers.
//!
//! A caller may speak the dialect of one provider: its messages are then kept as they were written
//! beside what this server understands of them, and a provider of the same dialect is sent them
//! unchanged. Another provider is sent what is understood, or the request is refused; nothing is
//! dropped in silence.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::event::Usage;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The application.
    System,
    /// The end user, and everything remembered.
    User,
    /// The model.
    Assistant,
    /// A tool that the model had called.
    Tool,
}

/// Whose request format a caller speaks, or a provider understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `OpenAI` chat completions.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
}

/// One message of a chat.
#[derive(Clone, PartialEq, Serialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, as far as it is text.
    pub text: String,
    /// The message as the caller wrote it, when there is more to it than a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
}

impl Message {
    /// A message that is nothing but a text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, text: text.into(), raw: None }
    }
}

/// A text must not reach a log by way of a debug print.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.role, self.text.len())
    }
}

/// The caller's own wishes beside the messages (`tools`, `stop`, `top_p`, …), as they were written.
#[derive(Clone, Default, PartialEq, Serialize)]
pub struct Extra {
    /// The dialect they are written in; without one there are none.
    pub dialect: Option<Dialect>,
    /// By their names in that dialect.
    pub fields: Map<String, Value>,
}

/// Tools and stop words may quote a prompt.
impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extra({:?}, {} fields)", self.dialect, self.fields.len())
    }
}

/// What a model is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The model wanted; the provider's own without.
    pub model: Option<String>,
    /// The chat so far; the prompt and what is remembered are among them.
    pub messages: Vec<Message>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Sampling temperature; the configured one without.
    pub temperature: Option<f64>,
    /// The caller's own wishes.
    pub extra: Extra,
}

/// A call of one of the caller's tools that the model wants.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call, so that its result can be told from others.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments: a JSON text, as the model wrote it.
    pub arguments: String,
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({} bytes)", self.arguments.len())
    }
}

/// How an answer ended; its text is in the [`Sink`](super::Sink).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCompletion {
    /// The model as the provider reports it.
    pub model: String,
    /// Why it ended, in the words of `OpenAI`: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish_reason: String,
    /// Tokens, if the provider counts them.
    pub usage: Option<Usage>,
}

/// A whole answer, from a function of the program this library is part of.
#[derive(Clone)]
pub struct Reply {
    /// The answer.
    pub text: String,
    /// The model.
    pub model: String,
    /// Why it ended: `stop`, `length`.
    pub finish_reason: String,
    /// Tokens.
    pub usage: Usage,
}

impl Reply {
    /// An answer that is complete, by a model that counts no tokens.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            model: "function".to_owned(),
            finish_reason: "stop".to_owned(),
            usage: Usage::default(),
        }
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes, {})", self.text.len(), self.finish_reason)
    }
}
