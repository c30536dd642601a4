//! Pages of an engine's log, without contents: `GET /v1/events`.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Engine, EngineError};
use crate::{
    domain::ids::{Micros, Position, SubjectRef},
    store::{Record, StoreError},
};

/// Most events on a page.
pub const PAGE_MAX: usize = 500;

/// Positions one page may examine; a rare filter gives short pages with a `next`.
const EXAMINED_MAX: usize = 20_000;

/// Rows read at once.
const READ: u32 = 1_000;

/// Which events are wanted; all given conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this type.
    pub kind: Option<String>,
    /// Of this data subject, by name.
    pub subject: Option<String>,
    /// Of this step.
    pub step: Option<u64>,
    /// Of this request.
    pub request_id: Option<String>,
    /// Of this trace.
    pub trace_id: Option<[u8; 16]>,
    /// Recorded at or after.
    pub from: Option<Micros>,
    /// Recorded before.
    pub to: Option<Micros>,
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// In order of position.
    pub events: Vec<EventReport>,
    /// Where to go on (`after`); null at the present end of the log.
    pub next: Option<Position>,
}

/// One event as it stands in the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventReport {
    /// Its place.
    pub position: Position,
    /// Its type, e.g. `step.admitted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Version of its shape.
    pub schema_version: u32,
    /// Version of the rules that decided it.
    pub decide_version: u32,
    /// When, RFC 3339.
    pub recorded_at: String,
    /// The command that caused it.
    pub command_id: String,
    /// The step it belongs to.
    pub step: Option<u64>,
    /// The request it came by.
    pub request_id: Option<String>,
    /// Who: a pseudonym, or an administrator's name.
    pub actor: Option<String>,
    /// Whose words, by pseudonym.
    pub subject_ref: Option<String>,
    /// The trace it belongs to, hexadecimal.
    pub trace_id: Option<String>,
    /// What happened, as it was written.
    #[schema(value_type = Object)]
    pub clear: Box<RawValue>,
    /// SHA-256 of its sealed content.
    pub content_hash: Option<String>,
    /// SHA-256 of its own columns.
    pub leaf_hash: String,
    /// SHA-256 over the log up to here.
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

impl Engine {
    /// The matching events after a position, at most `limit`. An unknown subject has none.
    pub async fn events(
        &self,
        filter: &EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<EventPage, EngineError> {
        let subject = match &filter.subject {
            None => None,
            Some(name) => match self.known(name).await? {
                Some(subject) => Some(subject),
                None => return Ok(EventPage { events: Vec::new(), next: None }),
            },
        };
        let limit = limit.min(PAGE_MAX);
        let mut page = EventPage { events: Vec::new(), next: None };
        let (mut last, mut examined) = (after, 0);
        loop {
            let rows = self.parts.store.read(&self.id, last, READ).await?;
            let at_end = rows.len() < READ as usize;
            for record in rows {
                if page.events.len() == limit || examined == EXAMINED_MAX {
                    page.next = Some(last);
                    return Ok(page);
                }
                if record.position != last + 1 {
                    let what = "a gap before this position";
                    return Err(StoreError::Corrupt { position: record.position, what }.into());
                }
                last = record.position;
                examined += 1;
                if filter.matches(&record, subject) {
                    page.events.push(record.try_into()?);
                }
            }
            if at_end {
                return Ok(page);
            }
        }
    }

    /// One event.
    pub async fn event(&self, position: Position) -> Result<EventReport, EngineError> {
        let head = self.view().state.position;
        let record = self.parts.store.record(&self.id, position).await?;
        let record = record.ok_or(EngineError::Beyond { position, head })?;
        Ok(record.try_into()?)
    }
}

impl EventFilter {
    fn matches(&self, record: &Record, subject: Option<SubjectRef>) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == record.kind)
            && subject.is_none_or(|subject| record.subject_ref == Some(subject))
            && self.step.is_none_or(|step| record.step == Some(step))
            && self.request_id.as_ref().is_none_or(|id| record.request_id.as_ref() == Some(id))
            && self.trace_id.is_none_or(|id| record.trace_id == Some(id))
            && self.from.is_none_or(|from| record.recorded_at >= from)
            && self.to.is_none_or(|to| record.recorded_at < to)
    }
}
