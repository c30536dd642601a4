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
        Append, CommitError, Conn, Head, Record, Store, StoreError, chain, codec,
        error::classify,
        keys::ContentKey,
        records::{self, Columns},
        sql,
        state_fold::StateFold,
    },
};

/// Moves the events after the fold and appends `log.recovered`, in one transaction.
pub(super) async fn cut(
    store: &Store,
    content_key: &ContentKey,
    order: &Order,
    mut fold: StateFold,
) -> Result<Quarantined, QuarantineError> {
    let key = store.mac_key(content_key).await?;
    let mut unlocked = store.begin_unlocked(&order.engine).await?;
    let triggers = suspend_triggers(unlocked.conn()).await.map_err(owner_only)?;
    let mut append = unlocked.lock().await?;
    let last = record_at(&mut append, order.from - 1).await?;
    if last.map(|record| record.chain_hash) != Some(fold.chain_hash) {
        return Err(QuarantineError::Changed(order.engine.clone()));
    }
    // not the log's clock, which follows the time of the head: that event is to be moved
    let time = store.local_time();
    let head = append.head;
    let is_moved = head.position >= order.from;
    let id = QuarantineId::new(crate::ids::command_id().get());
    let events = move_events(&mut append, order, id, time).await?;
    let recovered = LogRecovered {
        from: order.from,
        through: head.position.max(order.from - 1),
        quarantine_id: is_moved.then_some(id),
        last_chain_hash: is_moved.then_some(head.chain_hash),
        checkpoint: None,
        actor: order.actor.clone(),
        reason: order.reason.clone(),
    };
    let mut record = recovered_record(&mut fold, recovered, time)?;
    chain::extend(&order.engine, fold.chain_hash, Some(&key), &mut record);
    append.insert_events(std::slice::from_ref(&record)).await?;
    restore_triggers(append.conn(), &triggers).await?;
    append.commit().await.map_err(|error| match error {
        CommitError::Failed(error) | CommitError::Unknown(error) => error,
    })?;
    let (position, chain_hash) = (record.position, record.chain_hash);
    Ok(Quarantined { id: is_moved.then_some(id), events, damage: None, position, chain_hash })
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

/// Copies the events with their contents into the quarantine and removes them from the log, with the
/// contents and idempotent requests of events that were lost: later events take their positions.
async fn move_events(
    append: &mut Append,
    order: &Order,
    id: QuarantineId,
    time: Micros,
) -> Result<u64, StoreError> {
    let (engine, from) = (order.engine.as_str(), order.from as i64);
    let id = Uuid::from_u128(id.get());
    execute!(append.conn(), sql::QUARANTINE, [id, time, engine, from]).map_err(classify)?;
    for statement in [sql::CUT_CONTENTS, sql::CUT_IDEMPOTENCY, sql::REOPEN_IDEMPOTENCY] {
        execute!(append.conn(), statement, [engine, from]).map_err(classify)?;
    }
    execute!(append.conn(), sql::CUT_EVENTS, [engine, from]).map_err(classify)
}

async fn record_at(append: &mut Append, at: Position) -> Result<Option<Head>, StoreError> {
    let engine = append.engine().clone();
    let rows = fetch!(append.conn(), sql::RECORD, event_head, [engine.as_str(), at as i64])?;
    Ok(rows.into_iter().next())
}

fn event_head(row: &impl Columns) -> Result<Head, StoreError> {
    let Record { position, chain_hash, recorded_at, .. } = records::record(row)?;
    Ok(Head { position, chain_hash, recorded_at })
}

/// Suspends the triggers that refuse changes of events until the end of the transaction; returns the
/// statements that create them again.
async fn suspend_triggers(conn: Conn<'_>) -> Result<Vec<String>, sqlx::Error> {
    match conn {
        Conn::Sqlite(conn) => {
            let triggers: Vec<(String, String)> = sqlx::query_as(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'",
            )
            .fetch_all(&mut *conn)
            .await?;
            for (name, _) in &triggers {
                let drop = format!("DROP TRIGGER \"{}\"", name.replace('"', "\"\""));
                sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut *conn).await?;
            }
            Ok(triggers.into_iter().map(|(_, sql)| sql).collect())
        }
        Conn::Postgres(conn, _) => {
            let suspend =
                "SET LOCAL statement_timeout = 0; ALTER TABLE events DISABLE TRIGGER USER";
            sqlx::raw_sql(suspend).execute(conn).await?;
            Ok(Vec::new())
        }
        Conn::Simulated(_) => Ok(Vec::new()),
    }
}

async fn restore_triggers(conn: Conn<'_>, triggers: &[String]) -> Result<(), StoreError> {
    match conn {
        Conn::Sqlite(conn) => {
            for create in triggers {
                let create = sqlx::AssertSqlSafe(create.clone());
                sqlx::raw_sql(create).execute(&mut *conn).await.map_err(classify)?;
            }
        }
        Conn::Postgres(conn, _) => {
            let enable = sqlx::raw_sql("ALTER TABLE events ENABLE TRIGGER USER");
            enable.execute(conn).await.map_err(classify)?;
        }
        Conn::Simulated(_) => {}
    }
    Ok(())
}

/// SQLSTATE 42501: the role does not own the table.
fn owner_only(error: sqlx::Error) -> QuarantineError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.as_deref() == Some("42501") {
        return QuarantineError::NotOwner;
    }
    classify(error).into()
}
