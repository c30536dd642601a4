//! Encodes events to rows and decodes them: type names, schema versions, upcasters.
//!
//! An event is stored as its type name, a schema version and a JSON payload. Decoding applies
//! upcasters, pure functions from version N to N+1 on the raw JSON, so that the domain knows only
//! the newest schema. Unknown fields are ignored, except in policies. An unknown type, a newer
//! version or an unknown field of a policy is an error, because skipping it would give a wrong
//! state.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::{
    event::{Event, Fact, MemoryAdded},
    policy::Policy,
};

/// The reason why a row cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer binary.
    #[error("event type {kind:?} is unknown; run a newer binary")]
    UnknownType {
        /// The event type.
        kind: String,
    },
    /// Written by a newer binary.
    #[error("{kind} has version {found}, this binary reads up to {newest}; run a newer binary")]
    NewerVersion {
        /// The event type.
        kind: String,
        /// The schema version of the row.
        found: u32,
        /// The newest version that this binary reads.
        newest: u32,
    },
    /// The policy has a field that this binary does not know, so it would decide differently.
    #[error(
        "{field} in {kind} is unknown to mlsdm {}; run the mlsdm that recorded it or a newer one",
        env!("CARGO_PKG_VERSION")
    )]
    UnknownPolicyField {
        /// The event type.
        kind: String,
        /// The dotted name of the field.
        field: String,
    },
    /// The payload does not match its type and version.
    #[error("{kind} is damaged: {source}")]
    Damaged {
        /// The event type.
        kind: String,
        /// The error of the JSON parser.
        source: serde_json::Error,
    },
    /// The event has no JSON form.
    #[error("an event cannot be encoded: {0}")]
    Unwritable(serde_json::Error),
    /// The payload is too large.
    #[error("{kind} has {found} bytes; an event has at most {PAYLOAD_MAX}")]
    TooLarge {
        /// The event type.
        kind: &'static str,
        /// The size of the payload in bytes.
        found: usize,
    },
}

impl CodecError {
    /// True if a newer binary may be able to read the event.
    pub const fn may_be_newer(&self) -> bool {
        match self {
            Self::UnknownType { .. }
            | Self::NewerVersion { .. }
            | Self::UnknownPolicyField { .. } => true,
            Self::Damaged { .. } | Self::Unwritable(_) | Self::TooLarge { .. } => false,
        }
    }
}

/// The maximum size of a payload in bytes. An entry of the log (the payload with all other columns)
/// thus has at most 65,535 bytes, which proofs of inclusion require: the other columns have less
/// than 5,000.
pub const PAYLOAD_MAX: usize = 60_000;

/// The initial capacity for a payload in bytes; sufficient for nearly all events.
const PAYLOAD_CAPACITY: usize = 1_024;

/// Converts a payload from version N to N+1 of its event type.
type Upcaster = fn(Value) -> Value;

/// `(type, version read, function)`; there are none yet.
const UPCASTERS: &[(&str, u32, Upcaster)] = &[];

/// Version 2 of `memory.added` is version 1 with an optional source.
const SOURCE_OPTIONAL: u32 = 2;

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    /// The name of the event type.
    pub kind: &'static str,
    /// The version of the payload's schema.
    pub schema_version: u32,
    /// The JSON payload. Its bytes are covered by the hash chain, so they are never reformatted.
    pub payload: Vec<u8>,
}

/// The newest schema version of an event type.
fn newest(kind: &str, upcasters: &[(&str, u32, Upcaster)]) -> u32 {
    upcasters
        .iter()
        .filter(|(name, ..)| *name == kind)
        .map(|(_, from, _)| from + 1)
        .max()
        .unwrap_or(1)
}

/// Encodes an event.
pub fn encode(event: &Event) -> Result<EncodedEvent, CodecError> {
    let payload = match event {
        Event::EngineCreated(e) => json(e),
        Event::PolicyChanged(e) => json(e),
        Event::StepAdmitted(e) => json(e),
        Event::StepRejected(e) => json(e),
        Event::StepCompleted(e) => json(e),
        Event::StepFailed(e) => json(e),
        Event::MemoryAdded(e) => json(e),
        Event::MemoryConsolidated(e) | Event::MemoryEvicted(e) => json(e),
        Event::EngineShutdown(e) | Event::EngineResumed(e) => json(e),
        Event::SubjectErased(e) => json(e),
        Event::StateAttested(e) => json(e),
        Event::KeyCreated(e) => json(e),
        Event::KeyRevoked(e) => json(e),
        Event::KeyRotated(e) => json(e),
        Event::LogFormatRaised(e) => json(e),
        Event::Fact(e) => json(e),
    }?;
    let kind = event.kind();
    if payload.len() > PAYLOAD_MAX {
        return Err(CodecError::TooLarge { kind, found: payload.len() });
    }
    Ok(EncodedEvent { kind, schema_version: version(event), payload })
}

/// The lowest schema version that represents an event.
fn version(event: &Event) -> u32 {
    if event.is_item_without_source() {
        return SOURCE_OPTIONAL;
    }
    newest(event.kind(), UPCASTERS)
}

fn json<T: Serialize>(event: &T) -> Result<Vec<u8>, CodecError> {
    let mut payload = Vec::with_capacity(PAYLOAD_CAPACITY);
    serde_json::to_writer(&mut payload, event).map_err(CodecError::Unwritable)?;
    Ok(payload)
}

/// Decodes the event of a row.
pub fn decode(kind: &str, schema_version: u32, payload: &[u8]) -> Result<Event, CodecError> {
    let row = StoredPayload { kind, schema_version, payload };
    match kind {
        "engine.created" => row.read(|e| Event::EngineCreated(Box::new(e))),
        "policy.changed" => row.read(|e| Event::PolicyChanged(Box::new(e))),
        "step.admitted" => row.read(|e| Event::StepAdmitted(Box::new(e))),
        "step.rejected" => row.read(|e| Event::StepRejected(Box::new(e))),
        "step.completed" => row.read(|e| Event::StepCompleted(Box::new(e))),
        "step.failed" => row.read(|e| Event::StepFailed(Box::new(e))),
        "memory.added" => row.memory_added(),
        "memory.consolidated" => row.read(Event::MemoryConsolidated),
        "memory.evicted" => row.read(Event::MemoryEvicted),
        "engine.shutdown" => row.read(Event::EngineShutdown),
        "engine.resumed" => row.read(Event::EngineResumed),
        "subject.erased" => row.read(Event::SubjectErased),
        "state.attested" => row.read(Event::StateAttested),
        "key.created" => row.read(|e| Event::KeyCreated(Box::new(e))),
        "key.revoked" => row.read(Event::KeyRevoked),
        "key.rotated" => row.read(Event::KeyRotated),
        "log.format_raised" => row.read(Event::LogFormatRaised),
        _ => row.fact(),
    }
}

impl StoredPayload<'_> {
    fn fact(&self) -> Result<Event, CodecError> {
        let fact = match self.kind {
            "memory.forgotten" => Fact::MemoryForgotten(self.parse(UPCASTERS)?),
            "memory.shared" => Fact::MemoryShared(self.parse(UPCASTERS)?),
            "content.read" => Fact::ContentRead(self.parse(UPCASTERS)?),
            "contents.expired" => Fact::ContentsExpired(self.parse(UPCASTERS)?),
            "hold.placed" => Fact::HoldPlaced(self.parse(UPCASTERS)?),
            "hold.released" => Fact::HoldReleased(self.parse(UPCASTERS)?),
            "subject.exported" => Fact::SubjectExported(self.parse(UPCASTERS)?),
            "step.annotated" => Fact::StepAnnotated(self.parse(UPCASTERS)?),
            "requests.refused" => Fact::RequestsRefused(self.parse(UPCASTERS)?),
            "log.recovered" => Fact::Recovered(self.parse(UPCASTERS)?),
            "server.started" => Fact::ServerStarted(self.parse(UPCASTERS)?),
            "access.denied" => Fact::AccessDenied(self.parse(UPCASTERS)?),
            "mac_key.changed" => Fact::MacKeyChanged(self.parse(UPCASTERS)?),
            "audit_key.changed" => Fact::AuditKeyChanged(self.parse(UPCASTERS)?),
            "settings.changed" => Fact::SettingsChanged(self.parse(UPCASTERS)?),
            "engine.retired" => Fact::EngineRetired(self.parse(UPCASTERS)?),
            kind => return Err(CodecError::UnknownType { kind: kind.to_owned() }),
        };
        Ok(Event::Fact(Box::new(fact)))
    }

    /// Reads both versions without an upcaster: a detour over a JSON tree could change the last bit
    /// of an `f32`.
    fn memory_added(&self) -> Result<Event, CodecError> {
        let as_is = StoredPayload { schema_version: 1, ..*self };
        let added: MemoryAdded = match self.schema_version {
            1 | SOURCE_OPTIONAL => as_is.parse(UPCASTERS)?,
            found => {
                let kind = self.kind.to_owned();
                return Err(CodecError::NewerVersion { kind, found, newest: SOURCE_OPTIONAL });
            }
        };
        if self.schema_version == 1 && added.source.is_none() {
            return Err(self.damaged(serde::de::Error::missing_field("source")));
        }
        Ok(Event::MemoryAdded(Box::new(added)))
    }
}

struct StoredPayload<'a> {
    kind: &'a str,
    schema_version: u32,
    payload: &'a [u8],
}

impl StoredPayload<'_> {
    fn read<T: DeserializeOwned>(
        &self,
        wrap: impl FnOnce(T) -> Event,
    ) -> Result<Event, CodecError> {
        self.parse(UPCASTERS).map(wrap)
    }

    fn parse<T: DeserializeOwned>(
        &self,
        upcasters: &[(&str, u32, Upcaster)],
    ) -> Result<T, CodecError> {
        let newest = newest(self.kind, upcasters);
        if self.schema_version == newest {
            return serde_json::from_slice(self.payload).map_err(|e| self.damaged(e));
        }
        if self.schema_version > newest {
            return Err(CodecError::NewerVersion {
                kind: self.kind.to_owned(),
                found: self.schema_version,
                newest,
            });
        }
        let mut value = serde_json::from_slice(self.payload).map_err(|e| self.damaged(e))?;
        for version in self.schema_version..newest {
            for (_, _, up) in upcasters.iter().filter(|(k, v, _)| *k == self.kind && *v == version)
            {
                value = up(value);
            }
        }
        serde_json::from_value(value).map_err(|e| self.damaged(e))
    }

    fn damaged(&self, source: serde_json::Error) -> CodecError {
        let kind = self.kind.to_owned();
        match unknown_policy_field(self.payload) {
            Some(field) => CodecError::UnknownPolicyField { kind, field },
            None => CodecError::Damaged { kind, source },
        }
    }
}

/// The first field of a policy in this payload that this binary does not know.
fn unknown_policy_field(payload: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(payload).ok()?;
    let known = Policy::default().tree().ok()?;
    let find = |name| unknown_field(name, event.get(name)?, &known);
    find("policy").or_else(|| find("config"))
}

fn unknown_field(path: &str, found: &Value, known: &Value) -> Option<String> {
    let (found, known) = (found.as_object()?, known.as_object()?);
    found.iter().find_map(|(name, value)| {
        let path = format!("{path}.{name}");
        match known.get(name) {
            Some(known) => unknown_field(&path, value, known),
            None => Some(path),
        }
    })
}

#[cfg(test)]
mod tests;
