//! Reads outside of appends. Each sees one committed state and takes no lock.
//!
//! Callers limit the length of lists and pages. A missing row is absent from the result, not an
//! error.

use std::time::Instant;

use uuid::Uuid;

use super::{
    Conn, Content, EngineRow, Head, Hmac, IdempotencyKey, IdempotencyRow, Record, SealedContent,
    Store, StoreError, SubjectRow,
    bind::{json, signed},
    error::classify,
    records::{self, Columns},
    sql,
};
use crate::domain::ids::{EngineId, Micros, Position, StepNumber, SubjectRef};

/// Runs a query outside of a transaction and returns the connection to the pool.
macro_rules! read {
    ($store:expr, $($rest:tt)+) => {{
        let mut reader = $store.reader().await?;
        let began = Instant::now();
        let rows = fetch!(reader.conn(), $($rest)+)?;
        reader.done().await?;
        $store.metrics().read.observe_time(began.elapsed());
        rows
    }};
}

/// A page of events: the rows up to the first unreadable one.
pub(super) struct Page<T> {
    pub(super) rows: Vec<T>,
    /// The error of the next row, if it is unreadable.
    pub(super) unreadable: Option<StoreError>,
}

impl<T> Page<T> {
    fn new(read: Vec<Result<T, StoreError>>) -> Self {
        let mut page = Self { rows: Vec::with_capacity(read.len()), unreadable: None };
        for row in read {
            match row {
                Ok(row) => page.rows.push(row),
                Err(error) => {
                    page.unreadable = Some(error);
                    break;
                }
            }
        }
        page
    }
}

impl Store {
    /// All engines by name. A row that cannot be read is left out: one damaged row must not hide the other
    /// engines.
    pub async fn engines(&self) -> Result<Vec<EngineRow>, StoreError> {
        Ok(self.engine_rows().await?.into_iter().filter_map(Result::ok).collect())
    }

    /// All engines by name; of a row that cannot be read only the name.
    pub async fn engine_rows(&self) -> Result<Vec<Result<EngineRow, String>>, StoreError> {
        Ok(read!(self, sql::ENGINES, engine_or_name, []))
    }

    /// The engine with this name.
    pub async fn engine(&self, engine: &EngineId) -> Result<Option<EngineRow>, StoreError> {
        let rows = read!(self, sql::ENGINE, records::engine, [engine.as_str()]);
        Ok(rows.into_iter().next())
    }

    /// The heads of several engines in one query; engines without events are omitted.
    pub async fn heads(&self, engines: &[EngineId]) -> Result<Vec<(EngineId, Head)>, StoreError> {
        let mut reader = self.reader().await?.short();
        let began = Instant::now();
        let heads = fetch!(
            reader.conn(),
            sql::HEADS,
            named_head,
            sqlite[json(engines.iter().map(EngineId::as_str))],
            postgres[engines.iter().map(EngineId::as_str).collect::<Vec<_>>()]
        )?;
        reader.done().await?;
        self.metrics().read.observe_time(began.elapsed());
        Ok(heads)
    }

    /// The head of an engine's log; [`Head::before_first`] if the log is empty.
    pub async fn head(&self, engine: &EngineId) -> Result<Head, StoreError> {
        let rows = read!(self, sql::HEAD, first_head, [engine.as_str()]);
        Ok(rows.into_iter().next().unwrap_or_else(|| Head::before_first(engine)))
    }

    /// The events after a position, at most `limit`.
    pub async fn read(
        &self,
        engine: &EngineId,
        after: Position,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let (name, limit) = (engine.as_str(), i64::from(limit));
        Ok(read!(self, sql::READ, records::record, [name, after as i64, limit]))
    }

    /// The events after a position with their sealed vectors, at most `limit`.
    pub async fn read_for_fold(
        &self,
        engine: &EngineId,
        after: Position,
        limit: u32,
    ) -> Result<Vec<(Record, Option<Vec<u8>>)>, StoreError> {
        let (name, limit) = (engine.as_str(), i64::from(limit));
        Ok(read!(self, sql::READ_FOR_FOLD, records::record_and_vector, [name, after as i64, limit]))
    }

    /// Like [`Store::read_for_fold`], but an unreadable row ends the page.
    pub(super) async fn fold_page(
        &self,
        engine: &EngineId,
        after: Position,
        limit: u32,
    ) -> Result<Page<(Record, Option<Vec<u8>>)>, StoreError> {
        let (name, limit) = (engine.as_str(), i64::from(limit));
        Ok(Page::new(read!(self, sql::READ_FOR_FOLD, vector_or_error, [name, after as i64, limit])))
    }

    /// The events after a position with their contents, at most `limit`.
    pub async fn read_for_audit(
        &self,
        engine: &EngineId,
        after: Position,
        limit: u32,
    ) -> Result<Vec<(Record, Option<Content>)>, StoreError> {
        let page = self.audit_page(engine, after, limit).await?;
        page.unreadable.map_or(Ok(page.rows), Err)
    }

    /// Like [`Store::read_for_audit`], but an unreadable row ends the page.
    pub(super) async fn audit_page(
        &self,
        engine: &EngineId,
        after: Position,
        limit: u32,
    ) -> Result<Page<(Record, Option<Content>)>, StoreError> {
        let (name, limit) = (engine.as_str(), i64::from(limit));
        Ok(Page::new(read!(
            self,
            sql::READ_FOR_AUDIT,
            content_or_error,
            [name, after as i64, limit]
        )))
    }

    /// The `subject.erased` events with `after < position <= until`.
    pub(super) async fn erasures(
        &self,
        engine: &EngineId,
        after: Position,
        until: Position,
    ) -> Result<Vec<Record>, StoreError> {
        let name = engine.as_str();
        Ok(read!(self, sql::READ_ERASURES, records::record, [name, after as i64, until as i64]))
    }

    /// The existing contents at these positions, in order.
    pub async fn contents(
        &self,
        engine: &EngineId,
        positions: &[Position],
    ) -> Result<Vec<(Position, Content)>, StoreError> {
        Ok(read!(
            self,
            sql::CONTENTS,
            records::content,
            sqlite [engine.as_str(), json(positions.iter().copied())],
            postgres [engine.as_str(), signed(positions)]
        ))
    }

    /// The event at this position.
    pub async fn record(
        &self,
        engine: &EngineId,
        position: Position,
    ) -> Result<Option<Record>, StoreError> {
        let name = engine.as_str();
        let rows = read!(self, sql::RECORD, records::record, [name, position as i64]);
        Ok(rows.into_iter().next())
    }

    /// The last position up to `head` that was recorded at or before `time`; `None` if there is
    /// none.
    ///
    /// Times never decrease within a log, so a binary search needs as many queries as `head` has
    /// binary digits, and no index of times.
    pub async fn position_at(
        &self,
        engine: &EngineId,
        head: Position,
        time: Micros,
    ) -> Result<Option<Position>, StoreError> {
        let (mut before, mut after) = (0, head + 1);
        while after - before > 1 {
            let middle = before.midpoint(after);
            let name = engine.as_str();
            let rows = read!(self, sql::RECORDED_AT, records::recorded_at, [name, middle as i64]);
            if rows.first().is_some_and(|recorded| *recorded <= time) {
                before = middle;
            } else {
                after = middle;
            }
        }
        Ok((before > 0).then_some(before))
    }

    /// The first `step.completed`, `step.failed` or `step.rejected` event of a step after a
    /// position.
    pub async fn ending_of(
        &self,
        engine: &EngineId,
        step: StepNumber,
        after: Position,
    ) -> Result<Option<Record>, StoreError> {
        let (name, step, after) = (engine.as_str(), step as i64, after as i64);
        let rows = read!(self, sql::ENDING, records::record, [name, step, after]);
        Ok(rows.into_iter().next())
    }

    /// The first `step.admitted` or `step.rejected` event of a request with
    /// `after < position <= until`.
    pub async fn admission_of(
        &self,
        engine: &EngineId,
        request_id: &str,
        after: Position,
        until: Position,
    ) -> Result<Option<Record>, StoreError> {
        let (name, after, until) = (engine.as_str(), after as i64, until as i64);
        let rows =
            read!(self, sql::ADMISSION_OF, records::record, [name, after, until, request_id]);
        Ok(rows.into_iter().next())
    }

    /// The existing data subjects with these pseudonyms.
    pub async fn subjects_by_ref(
        &self,
        engine: &EngineId,
        refs: &[SubjectRef],
    ) -> Result<Vec<SubjectRow>, StoreError> {
        let mut reader = self.reader().await?;
        let rows = subjects_by_ref(reader.conn(), engine, refs).await?;
        reader.done().await?;
        Ok(rows)
    }

    /// The sealed texts at these positions, with the fields needed to open them.
    pub async fn sealed_contents(
        &self,
        engine: &EngineId,
        positions: &[Position],
    ) -> Result<Vec<SealedContent>, StoreError> {
        Ok(read!(
            self,
            sql::SEALED_CONTENTS,
            records::sealed_content,
            sqlite [engine.as_str(), json(positions.iter().copied())],
            postgres [engine.as_str(), signed(positions)]
        ))
    }

    /// The data subject with this name HMAC. A read never creates one.
    pub async fn subject_by_name(
        &self,
        engine: &EngineId,
        name: &Hmac,
    ) -> Result<Option<SubjectRow>, StoreError> {
        let rows = read!(
            self,
            sql::SUBJECTS_BY_NAME,
            records::subject,
            sqlite [engine.as_str(), json([hex::encode(name)])],
            postgres [engine.as_str(), [name.as_slice()]]
        );
        Ok(rows.into_iter().next())
    }

    /// The idempotent request with this key, expired or not.
    pub async fn idempotency_row(
        &self,
        engine: &EngineId,
        key: &IdempotencyKey,
    ) -> Result<Option<IdempotencyRow>, StoreError> {
        let mut reader = self.reader().await?;
        let rows = idempotency(reader.conn(), engine, std::slice::from_ref(key)).await?;
        reader.done().await?;
        Ok(rows.into_iter().next())
    }

    /// The first contents row without an event.
    pub(super) async fn stray_content(
        &self,
        engine: &EngineId,
    ) -> Result<Option<Position>, StoreError> {
        let rows = read!(self, sql::STRAY_CONTENT, position, [engine.as_str()]);
        Ok(rows.into_iter().next())
    }

    /// The engine names of events or contents for which no engine exists.
    pub async fn unknown_engines(&self) -> Result<Vec<String>, StoreError> {
        Ok(read!(self, sql::UNKNOWN_ENGINES, name, []))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every row function")]
fn engine_or_name(row: &impl Columns) -> Result<Result<EngineRow, String>, StoreError> {
    Ok(records::engine(row).map_err(|_| row.text(0).unwrap_or_default()))
}

fn named_head(row: &impl Columns) -> Result<(EngineId, Head), StoreError> {
    Ok((records::engine_id(row)?, records::head(row, 1)?))
}

fn first_head(row: &impl Columns) -> Result<Head, StoreError> {
    records::head(row, 0)
}

fn position(row: &impl Columns) -> Result<Position, StoreError> {
    row.int(0).map(|n| n as Position).map_err(classify)
}

fn name(row: &impl Columns) -> Result<String, StoreError> {
    row.text(0).map_err(classify)
}

/// The error of one row, apart from that of the query.
type RowOrError<T> = Result<Result<T, StoreError>, StoreError>;

#[expect(clippy::unnecessary_wraps, reason = "the shape of every row function")]
fn content_or_error(row: &impl Columns) -> RowOrError<(Record, Option<Content>)> {
    Ok(records::record_and_content(row))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every row function")]
fn vector_or_error(row: &impl Columns) -> RowOrError<(Record, Option<Vec<u8>>)> {
    Ok(records::record_and_vector(row))
}

/// Idempotent requests by key.
pub(super) async fn idempotency(
    conn: Conn<'_>,
    engine: &EngineId,
    keys: &[IdempotencyKey],
) -> Result<Vec<IdempotencyRow>, StoreError> {
    let tuples = || {
        let tuple =
            |k: &IdempotencyKey| vec![hex::encode(k.name_hmac), k.route.clone(), k.key.clone()];
        json(keys.iter().map(tuple))
    };
    fetch!(
        conn,
        sql::IDEMPOTENCY,
        records::idempotency,
        sqlite [engine.as_str(), tuples()],
        postgres [
            engine.as_str(),
            keys.iter().map(|k| k.name_hmac.as_slice()).collect::<Vec<_>>(),
            keys.iter().map(|k| k.route.as_str()).collect::<Vec<_>>(),
            keys.iter().map(|k| k.key.as_str()).collect::<Vec<_>>()
        ]
    )
}

pub(super) async fn subjects_by_ref(
    conn: Conn<'_>,
    engine: &EngineId,
    refs: &[SubjectRef],
) -> Result<Vec<SubjectRow>, StoreError> {
    let ids = || refs.iter().map(|subject| Uuid::from_u128(subject.get()));
    fetch!(
        conn,
        sql::SUBJECTS_BY_REF,
        records::subject,
        sqlite [engine.as_str(), json(refs.iter().map(SubjectRef::to_string))],
        postgres [engine.as_str(), ids().collect::<Vec<_>>()]
    )
}
