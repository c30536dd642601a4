//! The parts of a request that a policy has judged, remembered and recorded.
//!
//! Policies recorded before one of these fields existed keep the meaning they had: it is the
//! `Default` of the field, and the canonical JSON omits it. [`Policy::of_new_engine`] has the
//! defaults of new engines.

use serde::{Deserialize, Serialize};

use super::Policy;

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

impl Policy {
    /// The default policy of an engine that is created now.
    pub fn of_new_engine() -> Self {
        let mut policy = Self::default();
        policy.moral.scope = JudgedScope::Turn;
        policy.record.messages = RecordedMessages::New;
        policy
    }

    /// This configuration as an engine with the configuration `before` applies it: fields that did
    /// not exist when `before` was recorded keep their old meaning, because a new version of the
    /// program is no decision of an operator. A value other than the default is one.
    #[must_use]
    pub fn as_change_of(&self, before: &Self) -> Self {
        let (old, new) = (Self::default(), Self::of_new_engine());
        let dated = |policy: &Self| (policy.moral.scope, policy.record.messages);
        let mut policy = self.clone();
        if dated(before) == dated(&old) && dated(self) == dated(&new) {
            (policy.moral.scope, policy.record.messages) = dated(&old);
        }
        policy
    }

    /// This policy as a log of a format can record it: the binaries that read format 1 refuse fields
    /// that they do not know, so these keep their old meaning there.
    #[must_use]
    pub fn for_format(&self, log_format: u32) -> Self {
        let (mut policy, old) = (self.clone(), Self::default());
        if log_format < 2 {
            policy.memory.mode = old.memory.mode;
            policy.moral.scope = old.moral.scope;
            policy.moral.no_text = old.moral.no_text;
            policy.context.placement = old.context.placement;
            policy.record = old.record;
        }
        policy
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_from_before_a_field_existed_keeps_its_canonical_form() {
        let json = serde_json::to_string(&Policy::default()).unwrap();
        for name in ["scope\":\"last", "no_text", "mode\":\"full", "placement", "record"] {
            assert!(!json.contains(name), "{name}: {json}");
        }
        let new = serde_json::to_value(Policy::of_new_engine()).unwrap();
        assert_eq!(
            (&new["moral"]["scope"], &new["record"]["messages"]),
            (&"turn".into(), &"new".into())
        );
    }

    #[test]
    fn an_upgrade_changes_no_existing_engine() {
        let (old, new) = (Policy::default(), Policy::of_new_engine());
        assert_eq!(new.as_change_of(&old), old);
        assert_eq!(new.as_change_of(&new), new);
        let mut chosen = new.clone();
        chosen.moral.scope = JudgedScope::Request;
        assert_eq!(chosen.as_change_of(&old), chosen);
        assert_eq!(old.as_change_of(&new), old, "an operator chose the old meaning");
        let smaller = Policy { capacity: 7, ..new };
        assert_eq!(smaller.as_change_of(&old), Policy { capacity: 7, ..old });
    }

    #[test]
    fn a_log_of_format_1_gets_no_field_that_its_readers_do_not_know() {
        let mut policy = Policy { capacity: 7, ..Policy::of_new_engine() };
        (policy.memory.mode, policy.moral.no_text) = (MemoryMode::Off, 0.2);
        policy.context.placement = Placement::System;
        assert_eq!(policy.for_format(1), Policy { capacity: 7, ..Policy::default() });
        assert_eq!(policy.for_format(2), policy);
    }

    #[test]
    fn a_request_never_gets_more_memory_than_its_policy_allows() {
        assert!(MemoryMode::Off < MemoryMode::Recall && MemoryMode::Recall < MemoryMode::Full);
    }
}
