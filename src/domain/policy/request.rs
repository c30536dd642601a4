//! The parts of a request that a policy has judged, remembered and recorded.
//!
//! Policies recorded before one of these fields existed keep the meaning they had: it is the
//! `Default` of the field, and the canonical JSON omits it. `defaults.rs` has those of new engines.

use serde::{Deserialize, Serialize};

/// The score of a request without text: that of a text with neither harmful nor kind words.
pub(super) const NO_TEXT: f64 = 0.8;

/// The part of a request that is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedScope {
    /// The last message of the user.
    #[default]
    LastMessage,
    /// All text of the user after the last answer.
    Turn,
    /// All text written by the caller.
    Request,
}

/// The use of the memory by a step. The order is from less to more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryMode {
    /// The step neither searches the memory nor is remembered.
    Off,
    /// The step searches the memory and is not remembered.
    Recall,
    /// The step searches the memory and is remembered.
    #[default]
    Full,
}

/// The place of the memory context in a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Directly before the text of the prompt, in the same message.
    #[default]
    Prompt,
    /// At the end of the system text.
    System,
}

/// The messages of a chat that the log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedMessages {
    /// The messages that the log does not have from an earlier step.
    New,
    /// All messages of each request.
    #[default]
    All,
}

/// The contents that the log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordPolicy {
    /// The messages of a chat.
    pub messages: RecordedMessages,
}

/// True for the value that the canonical JSON omits.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// True for the score that the canonical JSON omits.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_no_text(value: &f64) -> bool {
    value.to_bits() == NO_TEXT.to_bits()
}
