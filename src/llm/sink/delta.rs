//! The pieces of an answer, as a client that streams gets them.

use std::fmt;

use crate::llm::NativeEvent;

/// A piece of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Delta {
    /// The provider has begun to answer. The head of the response can be sent.
    Begun,
    /// More text.
    Text(String),
    /// More of the model's reasoning.
    Reasoning(String),
    /// A part of a tool call. The first part of each call names the tool.
    ToolCall {
        /// The index of the call, from 0.
        index: usize,
        /// The id of the call, in its first part.
        id: Option<String>,
        /// The name of the tool, in the first part.
        name: Option<String>,
        /// A part of the arguments.
        arguments: String,
    },
    /// An event of the provider, in place of the neutral pieces, for a client of the same dialect.
    Native(NativeEvent),
}

/// Omits the text, which must not reach a log.
impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun => f.write_str("Begun"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Reasoning(text) => write!(f, "Reasoning({} bytes)", text.len()),
            Self::Native(event) => event.fmt(f),
            Self::ToolCall { index, arguments, .. } => {
                write!(f, "ToolCall({index}, {} bytes)", arguments.len())
            }
        }
    }
}
