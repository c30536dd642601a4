//! A recorded event beside the one decided again: where they first differ.

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

/// The field that follows from erased vectors.
pub(super) const TRACE_NORMS: &str = "trace_norms";

/// Where a recorded event differs from the one decided again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergence {
    /// The event.
    pub position: Position,
    /// The dotted name of the field; `type` where the events are of two kinds.
    pub field: String,
    /// What the log says; null where it says nothing.
    pub recorded: Value,
    /// What the rules say.
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

/// Another kind of event, or none, or a refusal was due.
pub(super) fn kind(record: &Record, recomputed: &str) -> Divergence {
    Divergence::new(record.position, "type", record.kind.as_str(), recomputed)
}

/// What stands beside the payload.
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

/// The payload, field by field as it is written; `ignored` is a top-level field that is not compared.
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
    // as text: two zeros of different sign are equal numbers
    let text = Value::to_string;
    (text(old) != text(new)).then(|| (path.to_owned(), old.clone(), new.clone()))
}
