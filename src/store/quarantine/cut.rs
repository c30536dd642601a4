//! The transaction of a quarantine.

use uuid::Uuid;

use super::order::{Order, QuarantineError, Quarantined};
use crate::{
    domain::{
        command::Command,
        decide::decide,
        event::{Fact, LogRecovered},
        evolve::evolve,
        ids::{Micros, Position, QuarantineId, Sha256},
        rules::Rules,
    },
    store::{
        Append, CommitError, Conn, Record, Store, StoreError, chain, codec,
        connection::execute,
        error::classify,
        keys::ContentKey,
        limits::within,
        records::Columns,
        sql::{self, Sql},
        state_fold::StateFold,
    },
};

/// The chain hash and the MAC at a position, of any size.
pub(super) type Evidence = Option<(Vec<u8>, Option<Vec<u8>>)>;

/// The evidence at the first position to move, read outside of a transaction.
pub(super) async fn evidence_at(store: &Store, order: &Order) -> Result<Evidence, StoreError> {
    let mut reader = store.reader().await?;
    let found = evidence(reader.conn(), order, order.from).await?;
    reader.done().await?;
    Ok(found)
}

/// Moves the events after the fold and appends `log.recovered`, in one transaction. `damaged` is the
/// evidence of the damage, which must not have changed; `None` if the log verifies.
pub(super) async fn cut(
    store: &Store,
    content_key: &ContentKey,
    order: &Order,
    (mut fold, damaged): (StateFold, Option<&Evidence>),
) -> Result<Quarantined, QuarantineError> {
    let current = store.mac_key(content_key).await?;
    let key = fold.signing_key().unwrap_or(current);
    let mut append = store.begin(&order.engine).await?;
    let head = append.head;
    if !is_unchanged(&mut append, order, &fold, damaged).await? {
        return Err(QuarantineError::Changed(order.engine.clone()));
    }
    let time = time(store, &mut append).await?;
    let id = QuarantineId::new(crate::ids::command_id().get());
    let (events, contents) = move_rows(&mut append, order, id, time).await?;
    let is_moved = events + contents > 0;
    let recovered = LogRecovered {
        from: order.from,
        through: head.position.max(order.from - 1),
        quarantine_id: is_moved.then_some(id),
        last_chain_hash: (events > 0).then_some(head.chain_hash),
        checkpoint: None,
        actor: order.actor.clone(),
        reason: order.reason.clone(),
    };
    let mut record = recovered_record(&mut fold, recovered, time)?;
    chain::extend(&order.engine, fold.chain_hash, Some(&key), &mut record);
    append.insert_events(std::slice::from_ref(&record)).await?;
    append.commit().await.map_err(|error| match error {
        CommitError::Failed(error) | CommitError::Unknown(error) => error,
    })?;
    let (position, chain_hash) = (record.position, record.chain_hash);
    Ok(Quarantined { id: is_moved.then_some(id), events, damage: None, position, chain_hash })
}

/// True if the log under the lock is the one that was folded: the last event to keep, and after it the
/// damage or nothing.
async fn is_unchanged(
    append: &mut Append,
    order: &Order,
    fold: &StateFold,
    damaged: Option<&Evidence>,
) -> Result<bool, StoreError> {
    let kept = evidence(append.conn(), order, order.from - 1).await?;
    if kept.is_none_or(|(chain_hash, _)| chain_hash != fold.chain_hash.0) {
        return Ok(false);
    }
    match damaged {
        None => Ok(append.head.position == order.from - 1),
        Some(seen) => Ok(*seen == evidence(append.conn(), order, order.from).await?),
    }
}

/// The row of `log.recovered`, without hashes and MAC.
fn recovered_record(
    fold: &mut StateFold,
    recovered: LogRecovered,
    time: Micros,
) -> Result<Record, QuarantineError> {
    let defect = |error: String| QuarantineError::Defect(error);
    let Some(state) = &mut fold.state else {
        return Err(defect("the log has no state".to_owned()));
    };
    let recorded_at = time.max(state.recorded_at);
    let actor = recovered.actor.clone();
    let command = Command::Record(Box::new(Fact::Recovered(recovered)));
    let decided = decide(state, &command, recorded_at, Rules::NEWEST)?;
    let decision = decided.into_iter().next();
    let event = decision.ok_or_else(|| defect("nothing was decided".to_owned()))?.event;
    let encoded = codec::encode(&event).map_err(|error| defect(error.to_string()))?;
    let record = Record {
        position: state.position + 1,
        command_id: crate::ids::command_id(),
        kind: encoded.kind.to_owned(),
        schema_version: encoded.schema_version,
        decide_version: Rules::NEWEST.version(),
        recorded_at,
        step: None,
        request_id: None,
        actor: Some(actor),
        subject_ref: None,
        trace_id: None,
        payload: encoded.payload,
        content_hash: None,
        leaf_hash: Sha256::default(),
        chain_hash: Sha256::default(),
        mac: None,
    };
    evolve(state, &record.envelope(), &event, None).map_err(|error| defect(error.to_string()))?;
    Ok(record)
}

/// Copies the events and contents into the quarantine and removes them from the log, with the idempotent
/// requests of events that were lost: later events take their positions. Returns the number of events,
/// and of contents without an event.
async fn move_rows(
    append: &mut Append,
    order: &Order,
    id: QuarantineId,
    time: Micros,
) -> Result<(u64, u64), QuarantineError> {
    let (engine, from) = (order.engine.as_str(), order.from as i64);
    let id = Uuid::from_u128(id.get());
    let stray = execute!(append.conn(), sql::QUARANTINE_STRAY, [id, time, engine, from]);
    let stray = stray.map_err(owner_only)?;
    let events = execute!(append.conn(), sql::QUARANTINE, [id, time, engine, from]);
    let events = events.map_err(owner_only)?;
    for statement in [sql::CUT_CONTENTS, sql::CUT_IDEMPOTENCY, sql::REOPEN_IDEMPOTENCY] {
        execute!(append.conn(), statement, [engine, from]).map_err(owner_only)?;
    }
    if events > 0 {
        // last: on PostgreSQL no event can be appended to any log until the commit
        let trigger = suspend_trigger(append.conn()).await?;
        execute!(append.conn(), sql::CUT_EVENTS, [engine, from]).map_err(owner_only)?;
        restore_trigger(append.conn(), trigger).await.map_err(owner_only)?;
    }
    Ok((events, stray))
}

/// The time without that of the log's head: that event is to be moved, and its time may be forged.
async fn time(store: &Store, append: &mut Append) -> Result<Micros, StoreError> {
    if let Some(replaced) = store.clock().wall() {
        return Ok(replaced);
    }
    let rows = fetch!(append.conn(), sql::DATABASE_TIME, database_time, [])?;
    Ok(rows.into_iter().next().flatten().unwrap_or_else(|| store.local_time()))
}

fn database_time(row: &impl Columns) -> Result<Option<Micros>, StoreError> {
    row.maybe_int(0).map_err(classify)
}

async fn evidence(conn: Conn<'_>, order: &Order, at: Position) -> Result<Evidence, StoreError> {
    let engine = order.engine.as_str();
    let rows = fetch!(conn, sql::EVIDENCE, chain_and_mac, [engine, at as i64])?;
    Ok(rows.into_iter().next())
}

fn chain_and_mac(row: &impl Columns) -> Result<(Vec<u8>, Option<Vec<u8>>), StoreError> {
    Ok((row.bytes(0).map_err(classify)?, row.maybe_bytes(1).map_err(classify)?))
}

/// Suspends the trigger that refuses to delete events. Returns the text to restore it by; `None` if it
/// does not exist.
async fn suspend_trigger(mut conn: Conn<'_>) -> Result<Option<String>, QuarantineError> {
    let found = fetch!(conn.again(), sql::DELETE_TRIGGER, trigger, [])?.into_iter().next();
    if found.is_some() {
        let suspend = Sql {
            sqlite: "DROP TRIGGER events_no_delete",
            postgres: "ALTER TABLE events DISABLE TRIGGER events_no_update_or_delete",
        };
        execute!(conn, suspend, []).map_err(owner_only)?;
    }
    Ok(found)
}

async fn restore_trigger(conn: Conn<'_>, trigger: Option<String>) -> Result<(), sqlx::Error> {
    let Some(text) = trigger else { return Ok(()) };
    match conn {
        Conn::Sqlite(conn, limit) => {
            let create = sqlx::raw_sql(sqlx::AssertSqlSafe(text));
            within(limit, create.execute(conn)).await.map(drop)
        }
        Conn::Postgres(session) => {
            let enable = "ALTER TABLE events ENABLE TRIGGER events_no_update_or_delete";
            execute(session, sqlx::query(enable)).await.map(drop)
        }
        Conn::Simulated(_) => Ok(()),
    }
}

fn trigger(row: &impl Columns) -> Result<String, StoreError> {
    row.text(0).map_err(classify)
}

/// The role does not own the table.
fn owner_only(error: sqlx::Error) -> QuarantineError {
    let error = classify(error);
    if matches!(error, StoreError::Denied(_)) { QuarantineError::NotOwner } else { error.into() }
}
