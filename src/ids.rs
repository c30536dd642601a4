//! Makes ids. Deliberately the only place: the domain takes them as arguments.

use uuid::Uuid;

use crate::domain::ids::{CommandId, KeyId, SubjectRef};

/// A new command's id: sorts by time, so that those of one batch lie together in an index.
#[expect(clippy::disallowed_methods, reason = "ids are made here")]
pub fn command_id() -> CommandId {
    CommandId::new(Uuid::now_v7().as_u128())
}

/// A new API key's id: sorts by time, so that keys are listed in the order in which they were made.
#[expect(clippy::disallowed_methods, reason = "ids are made here")]
pub fn key_id() -> KeyId {
    KeyId::new(Uuid::now_v7().as_u128())
}

/// A new pseudonym: random, so that it tells nothing about when the subject came.
pub fn subject_ref() -> SubjectRef {
    SubjectRef::new(random())
}

/// A new request id: 36 characters that sort by time.
#[expect(clippy::disallowed_methods, reason = "ids are made here")]
pub fn request_id() -> String {
    Uuid::now_v7().to_string()
}

/// A new W3C trace id: 32 hexadecimal digits, never all zero.
pub fn trace_id() -> String {
    format!("{:032x}", random())
}

/// A new W3C span id: 16 hexadecimal digits, never all zero.
pub fn span_id() -> String {
    // the lower half has the two bits that are fixed
    format!("{:016x}", random() as u64)
}

/// Random bits: so that waits differ from process to process.
pub fn random_bits() -> u32 {
    random() as u32
}

/// 122 random bits; the 6 fixed ones of a version 4 UUID make it non-zero.
#[expect(clippy::disallowed_methods, reason = "ids are made here")]
fn random() -> u128 {
    Uuid::new_v4().as_u128()
}
