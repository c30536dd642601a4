//! Lets each database plan all statements of its dialect.

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

/// An ending is searched from the step's admission on by the primary key: a second index would slow
/// down all appends for a rare query.
#[tokio::test]
async fn postgres_finds_endings_by_index() {
    let database = TestDatabase::postgres().await;
    migrated(&database).await;
    let mut conn = PgConnection::connect(database.url()).await.unwrap();
    conn.execute("SET enable_seqscan = off").await.unwrap();
    let text = super::ENDING.postgres.replace("$1", "'e'").replace("$2", "1").replace("$3", "0");
    let plan: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(format!("EXPLAIN {text}")))
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert!(
        plan.iter().any(|(line,)| line.contains("events_pk") && !line.contains("Seq Scan")),
        "{plan:?}"
    );
}

/// Statistics older than an engine count it as empty. Joins must look up rows by their full key
/// nevertheless, or a replay takes quadratic time.
#[tokio::test]
async fn postgres_joins_by_full_keys_without_statistics_of_the_engine() {
    const OLD: &str =
        "INSERT INTO contents SELECT 'old', n, '', NULL FROM generate_series(1, 20000) AS n";
    let database = TestDatabase::postgres().await;
    migrated(&database).await;
    let mut conn = PgConnection::connect(database.url()).await.unwrap();
    for text in [OLD, "ANALYZE contents", "SET enable_seqscan = off"] {
        conn.execute(text).await.unwrap();
    }
    let new = "'e'";
    let lists = [("$2::bigint[]", "'{1,2}'::bigint[]"), ("$2::bytea[]", "'{a}'::bytea[]")];
    let more = [("$3::text[]", "'{r}'::text[]"), ("$4::text[]", "'{k}'::text[]")];
    for (name, sql) in [
        ("READ_FOR_FOLD", super::READ_FOR_FOLD),
        ("READ_FOR_AUDIT", super::READ_FOR_AUDIT),
        ("SEALED_CONTENTS", super::SEALED_CONTENTS),
        ("IDEMPOTENCY", super::IDEMPOTENCY),
    ] {
        let given = lists
            .iter()
            .chain(&more)
            .fold(sql.postgres.to_owned(), |text, (from, to)| text.replace(from, to));
        let given = given.replace("$1", new).replace("$2", "0").replace("$3", "2000");
        let plan: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(format!("EXPLAIN {given}")))
            .fetch_all(&mut conn)
            .await
            .unwrap();
        let lines: Vec<&str> = plan.iter().map(|(line,)| line.trim()).collect();
        let loose = |line: &&&str| line.starts_with("Join Filter") || line.starts_with("Filter");
        assert_eq!(lines.iter().find(loose), None, "{name}: {lines:#?}");
        let whole = |line: &&str| line.starts_with("Index Cond") && line.contains(" AND ");
        assert!(lines.iter().any(whole), "{name}: {lines:#?}");
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
