//! Compares a recorded event with the one decided again and reports the first difference.

use serde::Serialize;
use serde_json::Value;

use crate::{
    domain::{
        decide::{Decision, Retention},
        event::Event,
        ids::{Position, SubjectRef},
    },
    store::{Record, codec},
};

/// The field that depends on vectors, which may have been erased.
pub(super) const TRACE_NORMS: &str = "trace_norms";

/// The first difference between a recorded event and the one decided again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergence {
    /// The position of the event.
    pub position: Position,
    /// The dotted path of the field; `type` if the event types differ.
    pub field: String,
    /// The recorded value; null if the field is missing.
    pub recorded: Value,
    /// The value decided again.
    pub recomputed: Value,
}

impl Divergence {
    pub(super) fn new(
        position: Position,
        field: &str,
        recorded: impl Into<Value>,
        recomputed: impl Into<Value>,
    ) -> Self {
        Self {
            position,
            field: field.to_owned(),
            recorded: recorded.into(),
            recomputed: recomputed.into(),
        }
    }
}

/// The event types differ, or no event was expected, or the command is refused.
pub(super) fn kind(record: &Record, recomputed: &str) -> Divergence {
    Divergence::new(record.position, "type", record.kind.as_str(), recomputed)
}

/// Compares the fields of the envelope.
pub(super) fn envelope(record: &Record, decided: &Decision) -> Option<Divergence> {
    let kind = decided.event.kind();
    if record.kind != kind {
        return Some(self::kind(record, kind));
    }
    let at = record.position;
    if record.step != decided.step {
        return Some(Divergence::new(at, "step", record.step, decided.step));
    }
    if record.subject_ref != decided.subject {
        let [old, new] =
            [record.subject_ref, decided.subject].map(|s| s.as_ref().map(SubjectRef::to_string));
        return Some(Divergence::new(at, "subject_ref", old, new));
    }
    let hash = record.content_hash.filter(|_| decided.retention == Retention::Nothing)?;
    Some(Divergence::new(at, "content_hash", hash.to_string(), Value::Null))
}

/// Compares the payloads field by field in their JSON form, except the top-level field `ignored`.
pub(super) fn payload(
    record: &Record,
    recorded: &Event,
    recomputed: &Event,
    ignored: &str,
) -> Option<Divergence> {
    let json = |event: &Event| codec::encode(event).ok().map(|encoded| encoded.payload);
    let (old, new) = (json(recorded), json(recomputed));
    if old == new {
        return None;
    }
    let tree = |bytes: Option<Vec<u8>>| {
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
    };
    let (mut old, mut new): (Value, Value) = (tree(old), tree(new));
    for side in [&mut old, &mut new] {
        if let Some(fields) = side.as_object_mut() {
            fields.remove(ignored);
        }
    }
    let (field, old, new) = difference("", &old, &new)?;
    Some(Divergence::new(record.position, &field, old, new))
}

fn difference(path: &str, old: &Value, new: &Value) -> Option<(String, Value, Value)> {
    if let (Some(left), Some(right)) = (old.as_object(), new.as_object()) {
        let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
        return names.into_iter().find_map(|name| {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let side = |map: &serde_json::Map<String, Value>| map.get(name).cloned();
            difference(
                &inner,
                &side(left).unwrap_or(Value::Null),
                &side(right).unwrap_or(Value::Null),
            )
        });
    }
    // compared as text because 0.0 and -0.0 are equal numbers
    let text = Value::to_string;
    (text(old) != text(new)).then(|| (path.to_owned(), old.clone(), new.clone()))
}
