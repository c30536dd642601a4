//! The rows of the store as plain values, and their decoding in both dialects.
//!
//! A row consists of bytes, numbers and names; the codec interprets the events.

#[cfg(test)]
mod tests;

use sqlx::{Row, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use super::StoreError;
use crate::domain::{
    event::Envelope,
    ids::{CommandId, EngineId, MacKeyId, Micros, Position, Sha256, StepNumber, SubjectRef},
};

/// An HMAC-SHA-256 value.
pub type Hmac = [u8; 32];

/// The message authentication code of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMac {
    /// The id of its key in `mac_keys`.
    pub key: MacKeyId,
    /// HMAC-SHA-256 over engine, position and chain hash.
    pub tag: Hmac,
}

/// A row of `mac_keys`: the id and the wrapped key.
pub type MacKeyRow = (MacKeyId, Vec<u8>);

/// A row of `events` without the engine's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The position in the log.
    pub position: Position,
    /// The command that caused the event.
    pub command_id: CommandId,
    /// The event type, such as `step.admitted` (column `type`).
    pub kind: String,
    /// The version of the payload's schema.
    pub schema_version: u32,
    /// The version of `decide` that produced the event.
    pub decide_version: u32,
    /// The time by the log's clock.
    pub recorded_at: Micros,
    /// The step that the event belongs to.
    pub step: Option<StepNumber>,
    /// The id of the HTTP request (or command-line run) that caused the event.
    pub request_id: Option<String>,
    /// The authenticated actor: a pseudonym, or a plain name for administrative acts.
    pub actor: Option<String>,
    /// The data subject of its content.
    pub subject_ref: Option<SubjectRef>,
    /// The W3C trace id of the request.
    pub trace_id: Option<[u8; 16]>,
    /// The JSON payload (column `clear`), byte for byte as written.
    pub payload: Vec<u8>,
    /// The hash of its contents row, if it was written with one.
    pub content_hash: Option<Sha256>,
    /// The hash of all columns before this one.
    pub leaf_hash: Sha256,
    /// The hash of the log up to and including this event.
    pub chain_hash: Sha256,
    /// The MAC; required from log format 2 on.
    pub mac: Option<EventMac>,
}

impl Record {
    /// The columns that the domain folds together with the event.
    pub const fn envelope(&self) -> Envelope {
        Envelope {
            position: self.position,
            recorded_at: self.recorded_at,
            step: self.step,
            subject: self.subject_ref,
            content_hash: self.content_hash,
        }
    }
}

/// The erasable part of an event. Both fields are sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// The sealed text.
    pub sealed: Vec<u8>,
    /// The sealed vector.
    pub vector: Option<Vec<u8>>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let vector = self.vector.as_ref().map(Vec::len);
        write!(f, "Content {{ sealed: {} bytes, vector: {vector:?} bytes }}", self.sealed.len())
    }
}

/// A sealed text with the fields needed to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedContent {
    /// The position of its event.
    pub position: Position,
    /// The command in its associated data.
    pub command_id: CommandId,
    /// The data subject whose key opens it.
    pub subject_ref: SubjectRef,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

/// A row of `engines`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineRow {
    /// The name of the engine.
    pub engine_id: EngineId,
    /// The time of its creation by the log's clock.
    pub created_at: Micros,
    /// The log format: the newest set of event types and schema versions that may be written.
    pub log_format: u32,
    /// The key of its name index, wrapped by the content key.
    pub index_key: Vec<u8>,
}

/// A row of `subject_keys`: the key and the sealed name of a data subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectRow {
    /// The pseudonym.
    pub subject_ref: SubjectRef,
    /// The HMAC of the name under the engine's index key.
    pub name_hmac: Hmac,
    /// The subject's key, wrapped by the content key.
    pub wrapped_key: Vec<u8>,
    /// The name, sealed by the subject's key.
    pub sealed_name: Vec<u8>,
}

/// The identity of an idempotent request within an engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The HMAC of the caller's name under the engine's index key.
    pub name_hmac: Hmac,
    /// The route of the request.
    pub route: String,
    /// The `Idempotency-Key` header.
    pub key: String,
}

/// A row of `idempotency`. The request is running until `ended_position` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// The identity of the request.
    pub id: IdempotencyKey,
    /// The HMAC of the request body under the subject's key.
    pub body_hmac: Hmac,
    /// The step that the request started.
    pub step: StepNumber,
    /// The position of the step's first event.
    pub position: Position,
    /// The position of the step's ending.
    pub ended_position: Option<Position>,
    /// The time from which the row may be deleted, by the log's clock.
    pub expires_at: Micros,
}

/// The head of a log: its newest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its position; 0 for an empty log.
    pub position: Position,
    /// Its chain hash; the genesis hash for an empty log.
    pub chain_hash: Sha256,
    /// The time at which it was recorded; `Micros::MIN` for an empty log.
    pub recorded_at: Micros,
}

impl Head {
    /// True if the head is this event.
    pub fn is_at(&self, event: (Position, Sha256)) -> bool {
        (self.position, self.chain_hash) == event
    }
}

/// Typed access to the columns of a row by index, in both dialects.
pub(super) trait Columns {
    fn int(&self, column: usize) -> Result<i64, sqlx::Error>;
    fn maybe_int(&self, column: usize) -> Result<Option<i64>, sqlx::Error>;
    fn text(&self, column: usize) -> Result<String, sqlx::Error>;
    fn maybe_text(&self, column: usize) -> Result<Option<String>, sqlx::Error>;
    fn bytes(&self, column: usize) -> Result<Vec<u8>, sqlx::Error>;
    fn maybe_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, sqlx::Error>;
    fn uuid(&self, column: usize) -> Result<Uuid, sqlx::Error>;
    fn maybe_uuid(&self, column: usize) -> Result<Option<Uuid>, sqlx::Error>;
}

macro_rules! columns_of {
    ($row:ty, $($method:ident: $value:ty),+) => {
        impl Columns for $row {
            $(fn $method(&self, column: usize) -> Result<$value, sqlx::Error> {
                self.try_get(column)
            })+
        }
    };
    ($row:ty) => {
        columns_of!(
            $row,
            int: i64,
            maybe_int: Option<i64>,
            text: String,
            maybe_text: Option<String>,
            bytes: Vec<u8>,
            maybe_bytes: Option<Vec<u8>>,
            uuid: Uuid,
            maybe_uuid: Option<Uuid>
        );
    };
}
columns_of!(PgRow);
columns_of!(SqliteRow);

/// The number of columns that [`record`] reads; joined columns follow.
const RECORD_COLUMNS: usize = 17;

/// The error for an invalid column.
fn damaged<E>(position: Position, what: &'static str) -> impl Fn(E) -> StoreError {
    move |_| StoreError::Corrupt { position, what }
}

pub(super) fn fixed<const N: usize>(
    position: Position,
    what: &'static str,
    bytes: Result<Vec<u8>, sqlx::Error>,
) -> Result<[u8; N], StoreError> {
    bytes.map_err(damaged(position, what))?.try_into().map_err(damaged(position, what))
}

fn maybe_fixed<const N: usize>(
    position: Position,
    what: &'static str,
    bytes: Result<Option<Vec<u8>>, sqlx::Error>,
) -> Result<Option<[u8; N]>, StoreError> {
    let bytes = bytes.map_err(damaged(position, what))?;
    bytes.map(|b| b.try_into().map_err(damaged(position, what))).transpose()
}

/// Reads the columns of `event_columns!()`.
pub(super) fn record(row: &impl Columns) -> Result<Record, StoreError> {
    let at = row.int(0).map_err(damaged(0, "position"))? as Position;
    let version = |column: usize, what: &'static str| -> Result<u32, StoreError> {
        row.int(column).map_err(damaged(at, what))?.try_into().map_err(damaged(at, what))
    };
    Ok(Record {
        position: at,
        command_id: CommandId::new(row.uuid(1).map_err(damaged(at, "command_id"))?.as_u128()),
        kind: row.text(2).map_err(damaged(at, "type"))?,
        schema_version: version(3, "schema_version")?,
        decide_version: version(4, "decide_version")?,
        recorded_at: row.int(5).map_err(damaged(at, "recorded_at"))?,
        step: row.maybe_int(6).map_err(damaged(at, "step"))?.map(|n| n as StepNumber),
        request_id: row.maybe_text(7).map_err(damaged(at, "request_id"))?,
        actor: row.maybe_text(8).map_err(damaged(at, "actor"))?,
        subject_ref: row
            .maybe_uuid(9)
            .map_err(damaged(at, "subject_ref"))?
            .map(|id| SubjectRef::new(id.as_u128())),
        trace_id: maybe_fixed(at, "trace_id", row.maybe_bytes(10))?,
        payload: row.bytes(11).map_err(damaged(at, "clear"))?,
        content_hash: maybe_fixed(at, "content_hash", row.maybe_bytes(12))?.map(Sha256),
        leaf_hash: Sha256(fixed(at, "leaf_hash", row.bytes(13))?),
        chain_hash: Sha256(fixed(at, "chain_hash", row.bytes(14))?),
        mac: event_mac(at, row)?,
    })
}

fn event_mac(at: Position, row: &impl Columns) -> Result<Option<EventMac>, StoreError> {
    let key = row.maybe_int(15).map_err(damaged(at, "mac_key"))?;
    let tag = maybe_fixed(at, "mac", row.maybe_bytes(16))?;
    match (key, tag) {
        (None, None) => Ok(None),
        (Some(key), Some(tag)) => {
            Ok(Some(EventMac { key: key.try_into().map_err(damaged(at, "mac_key"))?, tag }))
        }
        (None, Some(_)) | (Some(_), None) => Err(StoreError::Corrupt { position: at, what: "mac" }),
    }
}

/// Reads an event and the sealed vector joined to it.
pub(super) fn record_and_vector(
    row: &impl Columns,
) -> Result<(Record, Option<Vec<u8>>), StoreError> {
    let record = record(row)?;
    let vector = row.maybe_bytes(RECORD_COLUMNS).map_err(damaged(record.position, "vector"))?;
    Ok((record, vector))
}

/// Reads an event and the contents row joined to it.
pub(super) fn record_and_content(
    row: &impl Columns,
) -> Result<(Record, Option<Content>), StoreError> {
    let record = record(row)?;
    let sealed = row.maybe_bytes(RECORD_COLUMNS).map_err(damaged(record.position, "sealed"))?;
    let vector = row.maybe_bytes(RECORD_COLUMNS + 1).map_err(damaged(record.position, "vector"))?;
    Ok((record, sealed.map(|sealed| Content { sealed, vector })))
}

/// Reads position, sealed, vector.
pub(super) fn content(row: &impl Columns) -> Result<(Position, Content), StoreError> {
    let at = row.int(0).map_err(damaged(0, "position"))? as Position;
    let sealed = row.bytes(1).map_err(damaged(at, "sealed"))?;
    let vector = row.maybe_bytes(2).map_err(damaged(at, "vector"))?;
    Ok((at, Content { sealed, vector }))
}

/// Reads position, `command_id`, `subject_ref`, sealed.
pub(super) fn sealed_content(row: &impl Columns) -> Result<SealedContent, StoreError> {
    let at = row.int(0).map_err(damaged(0, "position"))? as Position;
    let command_id = row.uuid(1).map_err(damaged(at, "command_id"))?;
    let subject_ref = row.uuid(2).map_err(damaged(at, "subject_ref"))?;
    Ok(SealedContent {
        position: at,
        command_id: CommandId::new(command_id.as_u128()),
        subject_ref: SubjectRef::new(subject_ref.as_u128()),
        sealed: row.bytes(3).map_err(damaged(at, "sealed"))?,
    })
}

/// Reads `engine_id`, `created_at`, `log_format`, `index_key`.
pub(super) fn engine(row: &impl Columns) -> Result<EngineRow, StoreError> {
    let format = row.int(2).map_err(damaged(0, "engines.log_format"))?;
    Ok(EngineRow {
        engine_id: engine_id(row)?,
        created_at: row.int(1).map_err(damaged(0, "engines.created_at"))?,
        log_format: format.try_into().map_err(damaged(0, "engines.log_format"))?,
        index_key: row.bytes(3).map_err(damaged(0, "engines.index_key"))?,
    })
}

/// Reads the first column as an engine's name.
pub(super) fn engine_id(row: &impl Columns) -> Result<EngineId, StoreError> {
    let name = row.text(0).map_err(damaged(0, "engine_id"))?;
    EngineId::of_log(&name).map_err(damaged(0, "engine_id"))
}

/// Reads `recorded_at`.
pub(super) fn recorded_at(row: &impl Columns) -> Result<Micros, StoreError> {
    row.int(0).map_err(damaged(0, "recorded_at"))
}

/// Reads position, `chain_hash`, `recorded_at` from the given column on.
pub(super) fn head(row: &impl Columns, from: usize) -> Result<Head, StoreError> {
    let position = row.int(from).map_err(damaged(0, "position"))? as Position;
    Ok(Head {
        position,
        chain_hash: Sha256(fixed(position, "chain_hash", row.bytes(from + 1))?),
        recorded_at: row.int(from + 2).map_err(damaged(position, "recorded_at"))?,
    })
}

/// Reads `subject_ref`, `name_hmac`, `wrapped_key`, `sealed_name`.
pub(super) fn subject(row: &impl Columns) -> Result<SubjectRow, StoreError> {
    let subject_ref = row.uuid(0).map_err(damaged(0, "subject_keys.subject_ref"))?;
    Ok(SubjectRow {
        subject_ref: SubjectRef::new(subject_ref.as_u128()),
        name_hmac: fixed(0, "subject_keys.name_hmac", row.bytes(1))?,
        wrapped_key: row.bytes(2).map_err(damaged(0, "subject_keys.wrapped_key"))?,
        sealed_name: row.bytes(3).map_err(damaged(0, "subject_keys.sealed_name"))?,
    })
}

/// Reads `name_hmac`, `route`, `key`, `body_hmac`, `step`, `position`, `ended_position`,
/// `expires_at`.
pub(super) fn idempotency(row: &impl Columns) -> Result<IdempotencyRow, StoreError> {
    let damaged = damaged(0, "idempotency");
    Ok(IdempotencyRow {
        id: IdempotencyKey {
            name_hmac: fixed(0, "idempotency.name_hmac", row.bytes(0))?,
            route: row.text(1).map_err(&damaged)?,
            key: row.text(2).map_err(&damaged)?,
        },
        body_hmac: fixed(0, "idempotency.body_hmac", row.bytes(3))?,
        step: row.int(4).map_err(&damaged)? as StepNumber,
        position: row.int(5).map_err(&damaged)? as Position,
        ended_position: row.maybe_int(6).map_err(&damaged)?.map(|n| n as Position),
        expires_at: row.int(7).map_err(&damaged)?,
    })
}
