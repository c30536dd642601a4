//! Generates ids. The only module that does: the domain takes ids as arguments and stays
//! deterministic.

use uuid::Uuid;

use crate::domain::ids::{CommandId, KeyId, ReplicaId, SubjectRef};

/// A new command id (UUID version 7). Sorts by time, so that the ids of a batch are adjacent in an index.
#[expect(clippy::disallowed_methods, reason = "the only module that generates ids")]
pub fn command_id() -> CommandId {
    CommandId::new(Uuid::now_v7().as_u128())
}

/// A new API key id (UUID version 7). Sorts by time, so that keys are listed in order of creation.
#[expect(clippy::disallowed_methods, reason = "the only module that generates ids")]
pub fn key_id() -> KeyId {
    KeyId::new(Uuid::now_v7().as_u128())
}

/// A new pseudonym of a data subject. Random, so that it does not reveal when it was created.
pub fn subject_ref() -> SubjectRef {
    SubjectRef::new(random())
}

/// A new id of a server process.
pub fn replica_id() -> ReplicaId {
    // the lower half contains the UUID's variant bits, the rest is random
    ReplicaId((random() as u64).to_be_bytes())
}

/// A new request id (UUID version 7), 36 characters.
#[expect(clippy::disallowed_methods, reason = "the only module that generates ids")]
pub fn request_id() -> String {
    Uuid::now_v7().to_string()
}

/// A new W3C trace id: 32 hexadecimal digits, never all zero.
pub fn trace_id() -> String {
    format!("{:032x}", random())
}

/// A new W3C span id: 16 hexadecimal digits, never all zero.
pub fn span_id() -> String {
    // the lower half contains the UUID's variant bits, so it is never zero
    format!("{:016x}", random() as u64)
}

/// Random bits, for jitter.
pub fn random_bits() -> u32 {
    random() as u32
}

/// 122 random bits. The 6 fixed bits of a UUID version 4 make the number non-zero.
#[expect(clippy::disallowed_methods, reason = "the only module that generates ids")]
fn random() -> u128 {
    Uuid::new_v4().as_u128()
}
