//! The inserts: PostgreSQL takes columns as arrays, SQLite rows.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::rows::{Rows, TimeAndHead, now_and_head};
use crate::{
    domain::ids::{EngineId, Position, Sha256},
    store::{
        Conn, Content, IdempotencyRow, Record, StoreError, SubjectRow,
        connection::{PgQuery, execute, fetch_all},
        error::classify,
        limits::within,
        postgres::Session,
        simulated::unsupported,
        sql,
    },
};

/// Rows of one SQLite statement: 18 columns each, far under its limit of 32,766 parameters.
const SQLITE_GROUP: usize = 64;

/// Appends events.
pub(in crate::store) async fn events(
    conn: Conn<'_>,
    engine: &EngineId,
    events: &[Record],
) -> Result<(), StoreError> {
    let done = match conn {
        Conn::Sqlite(conn, limit) => within(limit, sqlite_events(conn, engine, events)).await,
        Conn::Postgres(session) => postgres_events(session, engine, events).await,
        Conn::Simulated(tx) => return tx.insert(events).await,
    };
    done.map_err(classify)
}

/// Adds the contents of events.
pub(in crate::store) async fn contents(
    conn: Conn<'_>,
    engine: &EngineId,
    contents: &[(Position, Content)],
) -> Result<(), StoreError> {
    let done = match conn {
        Conn::Sqlite(conn, limit) => within(limit, sqlite_contents(conn, engine, contents)).await,
        Conn::Postgres(session) => postgres_contents(session, engine, contents).await,
        // no read of contents is simulated
        Conn::Simulated(_) => return Ok(()),
    };
    done.map_err(classify)
}

/// Locks a log and appends rows to it if its head is the expected one; returns the time and the head
/// before the rows.
pub(in crate::store) async fn expected(
    conn: Conn<'_>,
    engine: &EngineId,
    rows: Rows<'_>,
) -> Result<Vec<TimeAndHead>, StoreError> {
    match conn {
        Conn::Sqlite(conn, limit) => {
            let locked = Conn::Sqlite(&mut *conn, limit);
            let found = fetch!(locked, sql::LOCKED_HEAD, now_and_head, [engine.as_str()])?;
            if found.iter().filter_map(|(_, head)| *head).any(|head| head.is_at(rows.expected)) {
                let contents = sqlite_contents(conn, engine, rows.contents);
                within(limit, contents).await.map_err(classify)?;
                let events = sqlite_events(conn, engine, rows.events);
                within(limit, events).await.map_err(classify)?;
            }
            Ok(found)
        }
        Conn::Postgres(session) => {
            let query = sqlx::query(sql::APPEND.postgres)
                .bind(engine.as_str())
                .bind(rows.expected.0 as i64)
                .bind(rows.expected.1.0.as_slice());
            let query = bind_events(bind_contents(query, rows.contents), rows.events);
            let found = fetch_all(session, query).await?;
            found.iter().map(now_and_head).collect()
        }
        Conn::Simulated(tx) => Ok(vec![(None, Some(tx.append(rows).await?))]),
    }
}

async fn sqlite_events(
    conn: &mut SqliteConnection,
    engine: &EngineId,
    events: &[Record],
) -> Result<(), sqlx::Error> {
    for group in events.chunks(SQLITE_GROUP) {
        let mut insert = QueryBuilder::<Sqlite>::new(sql::INSERT_EVENTS.sqlite);
        insert.push_values(group, |mut row, record| {
            row.push_bind(engine.as_str())
                .push_bind(record.position as i64)
                .push_bind(Uuid::from_u128(record.command_id.get()))
                .push_bind(record.kind.as_str())
                .push_bind(i64::from(record.schema_version))
                .push_bind(i64::from(record.decide_version))
                .push_bind(record.recorded_at)
                .push_bind(record.step.map(|step| step as i64))
                .push_bind(record.request_id.as_deref())
                .push_bind(record.actor.as_deref())
                .push_bind(record.subject_ref.map(|subject| Uuid::from_u128(subject.get())))
                .push_bind(record.trace_id.as_ref().map(<[u8; 16]>::as_slice))
                .push_bind(record.payload.as_slice())
                .push_bind(record.content_hash.as_ref().map(|hash| hash.0.as_slice()))
                .push_bind(record.leaf_hash.0.as_slice())
                .push_bind(record.chain_hash.0.as_slice())
                .push_bind(record.mac.map(|mac| i64::from(mac.key)))
                .push_bind(record.mac.as_ref().map(|mac| mac.tag.as_slice()));
        });
        insert.build().persistent(group.len() == SQLITE_GROUP).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn sqlite_contents(
    conn: &mut SqliteConnection,
    engine: &EngineId,
    contents: &[(Position, Content)],
) -> Result<(), sqlx::Error> {
    for group in contents.chunks(SQLITE_GROUP) {
        let mut insert = QueryBuilder::<Sqlite>::new(sql::INSERT_CONTENTS.sqlite);
        insert.push_values(group, |mut row, (position, content)| {
            row.push_bind(engine.as_str())
                .push_bind(*position as i64)
                .push_bind(content.sealed.as_slice())
                .push_bind(content.vector.as_deref());
        });
        insert.build().persistent(group.len() == SQLITE_GROUP).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn postgres_events(
    session: &mut Session,
    engine: &EngineId,
    events: &[Record],
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(sql::INSERT_EVENTS.postgres).bind(engine.as_str());
    execute(session, bind_events(query, events)).await.map(drop)
}

fn bind_events<'q>(query: PgQuery<'q>, events: &'q [Record]) -> PgQuery<'q> {
    fn column<'e, T>(events: &'e [Record], value: impl Fn(&'e Record) -> T) -> Vec<T> {
        events.iter().map(value).collect()
    }
    fn bytes(hash: &Sha256) -> &[u8] {
        &hash.0
    }
    query
        .bind(column(events, |e| e.position as i64))
        .bind(column(events, |e| Uuid::from_u128(e.command_id.get())))
        .bind(column(events, |e| e.kind.as_str()))
        .bind(column(events, |e| i64::from(e.schema_version)))
        .bind(column(events, |e| i64::from(e.decide_version)))
        .bind(column(events, |e| e.recorded_at))
        .bind(column(events, |e| e.step.map(|step| step as i64)))
        .bind(column(events, |e| e.request_id.as_deref()))
        .bind(column(events, |e| e.actor.as_deref()))
        .bind(column(events, |e| e.subject_ref.map(|subject| Uuid::from_u128(subject.get()))))
        .bind(column(events, |e| e.trace_id.as_ref().map(<[u8; 16]>::as_slice)))
        .bind(column(events, |e| e.payload.as_slice()))
        .bind(column(events, |e| e.content_hash.as_ref().map(bytes)))
        .bind(column(events, |e| bytes(&e.leaf_hash)))
        .bind(column(events, |e| bytes(&e.chain_hash)))
        .bind(column(events, |e| e.mac.map(|mac| i64::from(mac.key))))
        .bind(column(events, |e| e.mac.as_ref().map(|mac| mac.tag.as_slice())))
}

async fn postgres_contents(
    session: &mut Session,
    engine: &EngineId,
    contents: &[(Position, Content)],
) -> Result<(), sqlx::Error> {
    if contents.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(sql::INSERT_CONTENTS.postgres).bind(engine.as_str());
    execute(session, bind_contents(query, contents)).await.map(drop)
}

fn bind_contents<'q>(query: PgQuery<'q>, contents: &'q [(Position, Content)]) -> PgQuery<'q> {
    query
        .bind(contents.iter().map(|(position, _)| *position as i64).collect::<Vec<_>>())
        .bind(contents.iter().map(|(_, c)| c.sealed.as_slice()).collect::<Vec<_>>())
        .bind(contents.iter().map(|(_, c)| c.vector.as_deref()).collect::<Vec<_>>())
}

/// Adds data subjects; false if a name was taken.
pub(in crate::store) async fn subjects(
    conn: Conn<'_>,
    engine: &EngineId,
    rows: &[SubjectRow],
) -> Result<bool, StoreError> {
    let insert = sql::INSERT_SUBJECTS;
    match conn {
        Conn::Sqlite(conn, limit) => {
            let mut added = 0;
            for row in rows {
                let insert = sqlx::query(insert.sqlite)
                    .bind(engine.as_str())
                    .bind(Uuid::from_u128(row.subject_ref.get()))
                    .bind(row.name_hmac.as_slice())
                    .bind(row.wrapped_key.as_slice())
                    .bind(row.sealed_name.as_slice())
                    .execute(&mut *conn);
                let done = within(limit, insert).await.map_err(classify)?;
                added += done.rows_affected();
            }
            Ok(added == rows.len() as u64)
        }
        Conn::Postgres(session) => {
            let refs = rows.iter().map(|r| Uuid::from_u128(r.subject_ref.get()));
            let insert = sqlx::query(insert.postgres)
                .bind(engine.as_str())
                .bind(refs.collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.name_hmac.as_slice()).collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.wrapped_key.as_slice()).collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.sealed_name.as_slice()).collect::<Vec<_>>());
            let done = execute(session, insert).await.map_err(classify)?;
            Ok(done == rows.len() as u64)
        }
        Conn::Simulated(_) => Err(unsupported()),
    }
}

/// Adds idempotent requests; false if a key was taken.
pub(in crate::store) async fn idempotency(
    conn: Conn<'_>,
    engine: &EngineId,
    rows: &[IdempotencyRow],
) -> Result<bool, StoreError> {
    let insert = sql::INSERT_IDEMPOTENCY;
    match conn {
        Conn::Sqlite(conn, limit) => {
            let mut added = 0;
            for row in rows {
                let insert = sqlx::query(insert.sqlite)
                    .bind(engine.as_str())
                    .bind(row.id.name_hmac.as_slice())
                    .bind(row.id.route.as_str())
                    .bind(row.id.key.as_str())
                    .bind(row.body_hmac.as_slice())
                    .bind(row.step as i64)
                    .bind(row.position as i64)
                    .bind(row.ended_position.map(|position| position as i64))
                    .bind(row.expires_at)
                    .execute(&mut *conn);
                let done = within(limit, insert).await.map_err(classify)?;
                added += done.rows_affected();
            }
            Ok(added == rows.len() as u64)
        }
        Conn::Postgres(session) => {
            let ended = rows.iter().map(|r| r.ended_position.map(|position| position as i64));
            let insert = sqlx::query(insert.postgres)
                .bind(engine.as_str())
                .bind(rows.iter().map(|r| r.id.name_hmac.as_slice()).collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.id.route.as_str()).collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.id.key.as_str()).collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.body_hmac.as_slice()).collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.step as i64).collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.position as i64).collect::<Vec<_>>())
                .bind(ended.collect::<Vec<_>>())
                .bind(rows.iter().map(|r| r.expires_at).collect::<Vec<_>>());
            let done = execute(session, insert).await.map_err(classify)?;
            Ok(done == rows.len() as u64)
        }
        Conn::Simulated(tx) => Ok(tx.insert_idempotency(rows)),
    }
}
