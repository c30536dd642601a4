//! The name of each event type and the log format that it needs.

use super::{Event, Fact};

/// The names and formats, written once: a variant without a name does not compile, and a name
/// without a fixture or a decoder fails the tests of the codec.
macro_rules! kinds {
    (
        events { $($variant:ident => $kind:literal, $format:literal;)* }
        facts { $($fact:ident => $fact_kind:literal, $fact_format:literal;)* }
    ) => {
        impl Event {
            /// The names of all event types as the log stores them.
            pub const KINDS: [&str; [$($kind,)* $($fact_kind),*].len()] =
                [$($kind,)* $($fact_kind),*];

            /// The name of this event's type as the log stores it.
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                    Self::Fact(fact) => fact.kind(),
                }
            }

            /// The log format that introduced this event's type.
            const fn format_of_kind(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $format,)*
                    Self::Fact(fact) => fact.format(),
                }
            }
        }

        impl Fact {
            /// The name of this fact's event type as the log stores it.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$fact(_) => $fact_kind,)* }
            }

            /// The log format that introduced this fact's event type.
            pub const fn format(&self) -> u32 {
                match self { $(Self::$fact(_) => $fact_format,)* }
            }
        }
    };
}

kinds! {
    events {
        EngineCreated => "engine.created", 1;
        PolicyChanged => "policy.changed", 1;
        StepAdmitted => "step.admitted", 1;
        StepRejected => "step.rejected", 1;
        StepCompleted => "step.completed", 1;
        StepFailed => "step.failed", 1;
        MemoryAdded => "memory.added", 1;
        MemoryConsolidated => "memory.consolidated", 1;
        MemoryEvicted => "memory.evicted", 1;
        EngineShutdown => "engine.shutdown", 1;
        EngineResumed => "engine.resumed", 1;
        SubjectErased => "subject.erased", 1;
        StateAttested => "state.attested", 1;
        KeyCreated => "key.created", 1;
        KeyRevoked => "key.revoked", 1;
        KeyRotated => "key.rotated", 1;
        LogFormatRaised => "log.format_raised", 2;
    }
    facts {
        MemoryForgotten => "memory.forgotten", 2;
        MemoryShared => "memory.shared", 2;
        ContentRead => "content.read", 2;
        ContentsExpired => "contents.expired", 2;
        HoldPlaced => "hold.placed", 2;
        HoldReleased => "hold.released", 2;
        SubjectExported => "subject.exported", 2;
        StepAnnotated => "step.annotated", 2;
        RequestsRefused => "requests.refused", 2;
        Recovered => "log.recovered", 2;
        ServerStarted => "server.started", 2;
        AccessDenied => "access.denied", 2;
        MacKeyChanged => "mac_key.changed", 2;
        AuditKeyChanged => "audit_key.changed", 2;
        SettingsChanged => "settings.changed", 2;
        EngineRetired => "engine.retired", 2;
    }
}

impl Event {
    /// The log format from this event on, if the event sets it.
    pub fn begins_format(&self) -> Option<u32> {
        if let Self::EngineCreated(created) = self {
            Some(created.log_format)
        } else if let Self::LogFormatRaised(raised) = self {
            Some(raised.to)
        } else {
            None
        }
    }

    /// True for a `memory.added` of version 2.
    pub fn is_item_without_source(&self) -> bool {
        matches!(self, Self::MemoryAdded(added) if added.source.is_none())
    }

    /// The log format that this event needs.
    pub fn format(&self) -> u32 {
        if self.is_item_without_source() { 2 } else { self.format_of_kind() }
    }
}
