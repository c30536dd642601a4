//! The plans of PostgreSQL 15 (and 18 in the extended tier): rows are found by index, and every table is
//! restricted by the name of the engine itself.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::{super::Sql, all, migrated};
use crate::testkit::{TestDatabase, postgres};

/// Statements that concern all engines.
const OF_ALL_ENGINES: [&str; 2] = ["ENGINES", "EXPIRED_IDEMPOTENCY"];
/// The tables that deploy/scale/citus.sql distributes.
const DISTRIBUTED: [&str; 6] =
    ["engines", "events", "contents", "idempotency", "subject_keys", "quarantined_events"];
/// Rows of other engines.
const OLD: &str = "INSERT INTO contents SELECT 'old', n, '', NULL FROM generate_series(1, 20000) AS n; \
    INSERT INTO events SELECT 'old', n, gen_random_uuid(), 'x', 1, 1, n, NULL, NULL, NULL, NULL, NULL, \
    '', NULL, decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex') \
    FROM generate_series(1, 20000) AS n; ANALYZE events; ANALYZE contents";
/// Rows of an engine that no statistics know.
const NEW: &str = "INSERT INTO engines VALUES ('e', 1, 1, ''); \
    INSERT INTO contents SELECT 'e', n, '', NULL FROM generate_series(1, 3000) AS n; \
    INSERT INTO events SELECT 'e', n, gen_random_uuid(), 'x', 1, 1, n, NULL, NULL, NULL, NULL, NULL, \
    '', NULL, decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex') \
    FROM generate_series(1, 3000) AS n";

async fn connect(database: &TestDatabase) -> PgConnection {
    migrated(database).await;
    PgConnection::connect(database.url()).await.unwrap()
}

async fn lines(conn: &mut PgConnection, text: String) -> Vec<String> {
    let rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

/// The plan of a statement whose parameters are unknown, with one property a line.
async fn generic_plan(conn: &mut PgConnection, name: &str, text: &str) -> String {
    let prepare = format!("PREPARE {name} AS {text}");
    conn.execute(AssertSqlSafe(prepare)).await.unwrap();
    let count = format!(
        "SELECT cardinality(parameter_types)::text FROM pg_prepared_statements WHERE name = lower('{name}')"
    );
    let count = lines(conn, count).await[0].parse().unwrap();
    let parameters =
        if count == 0 { String::new() } else { format!("({})", vec!["NULL"; count].join(", ")) };
    lines(conn, format!("EXPLAIN (FORMAT YAML) EXECUTE {name}{parameters}")).await.join("\n")
}

/// A join of two tables by their engines would not be enough: a distributed database looks at the
/// restriction of each table.
async fn every_table_is_restricted_by_the_engine_itself(database: &TestDatabase) {
    let mut conn = connect(database).await;
    conn.execute("SET plan_cache_mode = force_generic_plan").await.unwrap();
    let mut restricted = 0;
    for (name, Sql { postgres, .. }) in all().filter(|(name, _)| !OF_ALL_ENGINES.contains(name)) {
        let plan = generic_plan(&mut conn, name, postgres).await;
        for node in plan.split("Node Type:").filter(|node| !node.starts_with(" \"ModifyTable")) {
            let reads = |table: &&&str| node.contains(&format!("Relation Name: \"{table}\""));
            if let Some(table) = DISTRIBUTED.iter().find(reads) {
                let is_restricted = ["engine_id = $", "engine_id = ($"].map(|by| node.contains(by));
                assert!(is_restricted.contains(&true), "{name} reads {table}:\n{plan}");
                restricted += 1;
            }
        }
    }
    assert!(restricted > 20, "only {restricted} reads were found");
}

/// An ending is searched from the step's admission on by the primary key: a second index would slow
/// down all appends for a rare query.
async fn endings_are_found_by_index(database: &TestDatabase) {
    let mut conn = connect(database).await;
    conn.execute("SET enable_seqscan = off").await.unwrap();
    let ending = super::super::ENDING.postgres;
    let text = ending.replace("$1", "'e'").replace("$2", "1").replace("$3", "0");
    let plan = lines(&mut conn, format!("EXPLAIN {text}")).await;
    assert!(
        plan.iter().any(|line| line.contains("events_pk") && !line.contains("Seq Scan")),
        "{plan:?}"
    );
}

/// Statistics older than an engine count it as empty. Joins must look up rows by their full key
/// nevertheless, or a replay takes quadratic time.
async fn joins_use_full_keys_without_statistics_of_the_engine(database: &TestDatabase) {
    let mut conn = connect(database).await;
    conn.execute(AssertSqlSafe(OLD)).await.unwrap();
    conn.execute("SET enable_seqscan = off").await.unwrap();
    let given = [
        ("$1", "'e'"),
        ("$2::bigint[]", "'{1,2}'::bigint[]"),
        ("$2::bytea[]", "'{a}'::bytea[]"),
        ("$3::text[]", "'{r}'::text[]"),
        ("$4::text[]", "'{k}'::text[]"),
        ("$2", "0"),
        ("$3", "2000"),
    ];
    for (name, sql) in [
        ("READ_FOR_FOLD", super::super::READ_FOR_FOLD),
        ("READ_FOR_AUDIT", super::super::READ_FOR_AUDIT),
        ("SEALED_CONTENTS", super::super::SEALED_CONTENTS),
        ("IDEMPOTENCY", super::super::IDEMPOTENCY),
    ] {
        let text =
            given.iter().fold(sql.postgres.to_owned(), |text, (from, to)| text.replace(from, to));
        let plan = lines(&mut conn, format!("EXPLAIN {text}")).await;
        let plan: Vec<&str> = plan.iter().map(|line| line.trim()).collect();
        let loose = |line: &&&str| line.starts_with("Join Filter") || line.starts_with("Filter");
        assert_eq!(plan.iter().find(loose), None, "{name}: {plan:#?}");
        let whole = |line: &&str| line.starts_with("Index Cond") && line.contains(" AND ");
        assert!(plan.iter().any(whole), "{name}: {plan:#?}");
    }
}

/// The rows that this connection has read lately.
async fn rows_read(conn: &mut PgConnection) -> u64 {
    let read = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::text \
         FROM pg_stat_xact_user_tables WHERE relname IN ('events', 'contents')";
    lines(conn, read.to_owned()).await[0].parse().unwrap()
}

/// The functions have plans that EXPLAIN does not show, so this counts the rows that they read.
async fn functions_read_no_more_rows_than_they_need(database: &TestDatabase) {
    let mut conn = connect(database).await;
    conn.execute(AssertSqlSafe(OLD)).await.unwrap();
    conn.execute(AssertSqlSafe(NEW)).await.unwrap();
    let arrays = "'{3001}', '{x}', '{x}', '{3001}', ARRAY[gen_random_uuid()], '{x}', '{1}', '{1}', '{1}', \
         '{1}', '{r}', '{a}', ARRAY[gen_random_uuid()], ARRAY[NULL::bytea], '{p}', ARRAY[NULL::bytea], \
         ARRAY[h.zero], ARRAY[h.zero], ARRAY[NULL::bigint], ARRAY[NULL::bytea]";
    let zero = "(SELECT decode(repeat('00', 32), 'hex') AS zero) AS h";
    let append =
        format!("SELECT a.head::text FROM {zero}, append_after('e', 3000, h.zero, {arrays}) AS a");
    for (call, found, most) in [
        (
            "SELECT head::text FROM log_heads('{old,e,none}') ORDER BY head".to_owned(),
            "20000 3000",
            2,
        ),
        ("SELECT name FROM unknown_engines() AS name".to_owned(), "old", 6),
        (append, "3000", 1),
    ] {
        let mut found: Vec<&str> = found.split(' ').collect();
        found.sort_unstable();
        conn.execute("BEGIN").await.unwrap();
        let before = rows_read(&mut conn).await;
        let mut rows = lines(&mut conn, call.clone()).await;
        rows.sort_unstable();
        assert_eq!(rows, found, "{call}");
        let read = rows_read(&mut conn).await - before;
        assert!(read <= most, "{read} rows are read by {call}");
        conn.execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn postgres_restricts_every_table_by_the_engine_itself() {
    every_table_is_restricted_by_the_engine_itself(&TestDatabase::postgres().await).await;
}

#[tokio::test]
async fn postgres_finds_endings_by_index() {
    endings_are_found_by_index(&TestDatabase::postgres().await).await;
}

#[tokio::test]
async fn postgres_joins_by_full_keys_without_statistics_of_the_engine() {
    joins_use_full_keys_without_statistics_of_the_engine(&TestDatabase::postgres().await).await;
}

#[tokio::test]
async fn postgres_reads_no_more_rows_in_functions_than_they_need() {
    functions_read_no_more_rows_than_they_need(&TestDatabase::postgres().await).await;
}

mod heavy {
    use super::*;

    #[tokio::test]
    async fn postgres_18_has_the_same_plans() {
        let cluster = postgres::private_cluster_18();
        let database = async || TestDatabase::within(&cluster).await;
        every_table_is_restricted_by_the_engine_itself(&database().await).await;
        endings_are_found_by_index(&database().await).await;
        joins_use_full_keys_without_statistics_of_the_engine(&database().await).await;
        functions_read_no_more_rows_than_they_need(&database().await).await;
    }
}
