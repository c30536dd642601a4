//! Lets each database plan all statements of its dialect.

mod plans;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection};

use super::{ALL, Sql, authenticity, replicas};
use crate::{
    store::{Options, Store},
    testkit::TestDatabase,
};

/// The statements that are the start of a VALUES list on SQLite.
const HEADS: [&str; 2] = ["INSERT_EVENTS", "INSERT_CONTENTS"];

fn all() -> impl Iterator<Item = &'static (&'static str, Sql)> {
    ALL.iter().chain(authenticity::ALL).chain(replicas::ALL)
}

async fn migrated(database: &TestDatabase) {
    let store = Store::open(&Options::new(database.url())).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate().await.expect("a second migration changes nothing");
    store.close().await;
    database.distribute().await;
}

#[tokio::test]
async fn sqlite_plans_every_statement() {
    let database = TestDatabase::sqlite();
    migrated(&database).await;
    let mut conn = SqliteConnection::connect(database.url()).await.unwrap();
    for (name, Sql { sqlite, .. }) in all().filter(|(name, _)| !HEADS.contains(name)) {
        let prepared = conn.prepare((*sqlite).into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn postgres_plans_every_statement() {
    let database = TestDatabase::postgres().await;
    migrated(&database).await;
    let mut conn = PgConnection::connect(database.url()).await.unwrap();
    for (name, Sql { postgres, .. }) in all() {
        let prepared = conn.prepare((*postgres).into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn sqlite_finds_endings_by_index() {
    let database = TestDatabase::sqlite();
    migrated(&database).await;
    let mut conn = SqliteConnection::connect(database.url()).await.unwrap();
    let text = format!("EXPLAIN QUERY PLAN {}", super::ENDING.sqlite);
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(AssertSqlSafe(text)).fetch_all(&mut conn).await.unwrap();
    assert!(plan.iter().any(|row| row.3.contains("engine_id=? AND position>?")), "{plan:?}");
}
