//! The default policy of new engines, and what older engines take over of it.

use super::{JudgedScope, Policy, RecordedMessages};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{MemoryMode, Placement};

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
