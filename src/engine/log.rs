//! The events of a log as `GET /v1/events` reports them, without their contents.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    domain::ids::{Micros, Position, SubjectRef},
    store::{Record, StoreError},
};

/// Maximum number of events on a page.
pub const PAGE_MAX: usize = 500;

/// Selects the events for which all given conditions hold.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Event type.
    pub kind: Option<String>,
    /// Name of the data subject.
    pub subject: Option<String>,
    /// Step number.
    pub step: Option<u64>,
    /// The id of the request, as the event has it.
    pub request_id: Option<String>,
    /// Trace id.
    pub trace_id: Option<[u8; 16]>,
    /// Recorded at this time or later.
    pub from: Option<Micros>,
    /// Recorded before this time.
    pub to: Option<Micros>,
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The events in the order of their positions.
    pub events: Vec<EventReport>,
    /// The value of `after` for the next page; null at the current end of the log.
    pub next: Option<Position>,
}

/// One event of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventReport {
    /// The log position.
    pub position: Position,
    /// The event type, e.g. `step.admitted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of the payload's schema.
    pub schema_version: u32,
    /// The version of the rules that decided the event.
    pub decide_version: u32,
    /// The time of recording, RFC 3339.
    pub recorded_at: String,
    /// The id of the command that caused the event.
    pub command_id: String,
    /// The number of the step that the event belongs to.
    pub step: Option<u64>,
    /// The server's id of the request that caused the event. Version 0.1 recorded the client's id
    /// if it sent one.
    pub request_id: Option<String>,
    /// The caller: a pseudonym, or the name of an administrator.
    pub actor: Option<String>,
    /// The pseudonym of the data subject.
    pub subject_ref: Option<String>,
    /// The trace id, hexadecimal.
    pub trace_id: Option<String>,
    /// The payload of the event, as recorded.
    #[schema(value_type = Object)]
    pub clear: Box<RawValue>,
    /// SHA-256 of the sealed content.
    pub content_hash: Option<String>,
    /// SHA-256 of the event's own columns.
    pub leaf_hash: String,
    /// SHA-256 over the log up to this event.
    pub chain_hash: String,
}

impl TryFrom<Record> for EventReport {
    type Error = StoreError;

    fn try_from(record: Record) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Corrupt { position: record.position, what };
        let clear = String::from_utf8(record.payload).map_err(|_| damaged("clear"))?;
        Ok(Self {
            position: record.position,
            schema_version: record.schema_version,
            decide_version: record.decide_version,
            recorded_at: crate::clock::rfc3339(record.recorded_at),
            command_id: record.command_id.to_string(),
            step: record.step,
            request_id: record.request_id,
            actor: record.actor,
            subject_ref: record.subject_ref.map(|s| s.to_string()),
            trace_id: record.trace_id.map(hex::encode),
            clear: RawValue::from_string(clear).map_err(|_| damaged("clear"))?,
            content_hash: record.content_hash.map(|h| h.to_string()),
            leaf_hash: record.leaf_hash.to_string(),
            chain_hash: record.chain_hash.to_string(),
            kind: record.kind,
        })
    }
}

impl EventFilter {
    /// True if the event is selected; `subject` is the pseudonym of the filter's subject.
    pub(super) fn matches(&self, record: &Record, subject: Option<SubjectRef>) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == record.kind)
            && subject.is_none_or(|subject| record.subject_ref == Some(subject))
            && self.step.is_none_or(|step| record.step == Some(step))
            && self.request_id.as_ref().is_none_or(|id| record.request_id.as_ref() == Some(id))
            && self.trace_id.is_none_or(|id| record.trace_id == Some(id))
            && self.from.is_none_or(|from| record.recorded_at >= from)
            && self.to.is_none_or(|to| record.recorded_at < to)
    }
}
