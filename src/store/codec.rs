//! Encodes events to rows and decodes them: type names, schema versions, upcasters.
//!
//! An event is stored as its type name, a schema version and a JSON payload. Decoding applies
//! upcasters, pure functions from version N to N+1 on the raw JSON, so that the domain knows only
//! the newest schema. Unknown fields are ignored. An unknown type or a newer version is an error,
//! because skipping it would give a wrong state.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::event::Event;

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
}

/// The initial capacity for a payload in bytes; sufficient for nearly all events.
const PAYLOAD_CAPACITY: usize = 1_024;

/// Converts a payload from version N to N+1 of its event type.
type Upcaster = fn(Value) -> Value;

/// `(type, version read, function)`; log format 1 has none.
const UPCASTERS: &[(&str, u32, Upcaster)] = &[];

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
    }?;
    let kind = event.kind();
    Ok(EncodedEvent { kind, schema_version: newest(kind, UPCASTERS), payload })
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
        "memory.added" => row.read(|e| Event::MemoryAdded(Box::new(e))),
        "memory.consolidated" => row.read(Event::MemoryConsolidated),
        "memory.evicted" => row.read(Event::MemoryEvicted),
        "engine.shutdown" => row.read(Event::EngineShutdown),
        "engine.resumed" => row.read(Event::EngineResumed),
        "subject.erased" => row.read(Event::SubjectErased),
        "state.attested" => row.read(Event::StateAttested),
        "key.created" => row.read(|e| Event::KeyCreated(Box::new(e))),
        "key.revoked" => row.read(Event::KeyRevoked),
        "key.rotated" => row.read(Event::KeyRotated),
        _ => Err(CodecError::UnknownType { kind: kind.to_owned() }),
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
        CodecError::Damaged { kind: self.kind.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
