//! The parts of an answer that was received.

use crate::llm::{NativeAnswer, ToolCall};

/// The parts of an answer.
pub struct AnswerParts {
    /// The text.
    pub text: String,
    /// The tool calls.
    pub tool_calls: Vec<ToolCall>,
    /// The reasoning.
    pub reasoning: String,
    /// The answer in the provider's dialect, if it is complete.
    pub native: Option<NativeAnswer>,
    /// The names of the fields of the request that the provider's dialect has no form for.
    pub dropped: Vec<String>,
}
