//! The distribution of the tables over a Citus cluster, as far as one PostgreSQL can show it: the script is
//! run with functions that refuse what Citus refuses.

use std::collections::BTreeSet;

use mlsdm::{
    store::{Options, Store},
    testkit::{TestDatabase, TestEnv},
};

const CITUS: &str = include_str!("../../deploy/scale/citus.sql");
const EXTENSION: &str = "CREATE EXTENSION IF NOT EXISTS citus;";

/// Citus distributes no table with triggers, and requires the distribution column in each unique index.
const DOUBLES: &str = "
    CREATE TABLE placed (relation text, kind text, colocated text);
    CREATE FUNCTION create_distributed_table(
        relation regclass, distribution_column text, colocate_with text
    ) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal) THEN
            RAISE EXCEPTION 'triggers on %', relation;
        END IF;
        IF EXISTS (SELECT FROM pg_index WHERE indrelid = relation AND indisunique AND NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = relation AND attnum = ANY(indkey)
            AND attname = distribution_column
        )) THEN
            RAISE EXCEPTION 'a unique index of % lacks %', relation, distribution_column;
        END IF;
        IF colocate_with <> 'none' AND NOT EXISTS (SELECT FROM placed WHERE placed.relation = colocate_with)
        THEN
            RAISE EXCEPTION '% is not distributed yet', colocate_with;
        END IF;
        INSERT INTO placed VALUES (relation::text, distribution_column, colocate_with);
    END $$;
    CREATE FUNCTION create_reference_table(relation regclass) RETURNS void LANGUAGE sql
        AS 'INSERT INTO placed VALUES (relation::text, ''reference'', NULL)'";

/// Tables that stay on the coordinator: only migrations use them.
const OF_MIGRATIONS: [&str; 2] = ["_sqlx_migrations", "mlsdm_migrations"];

async fn names(database: &TestDatabase, query: &str) -> BTreeSet<String> {
    let joined = format!("SELECT coalesce(string_agg(name, ' '), '') FROM ({query}) AS t(name)");
    database.query_text(&joined).await.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_table_with_an_engine_is_distributed_and_every_other_is_a_reference_table() {
    let database = TestDatabase::postgres().await;
    let store = Store::open(&Options::new(database.url())).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let tables = "SELECT c.oid::regclass::text FROM pg_class AS c \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname IN ('public', 'keys')";
    let with_engine = format!(
        "{tables} AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'engine_id')"
    );
    let (all, with_engine) = (names(&database, tables).await, names(&database, &with_engine).await);
    database.execute(DOUBLES).await.unwrap();
    assert!(CITUS.contains(EXTENSION));
    database.execute(&CITUS.replace(EXTENSION, "")).await.unwrap();

    let distributed = "SELECT relation FROM placed WHERE kind = 'engine_id'";
    assert_eq!(names(&database, distributed).await, with_engine);
    let reference = "SELECT relation FROM placed WHERE kind = 'reference'";
    let mut others: BTreeSet<String> = all.difference(&with_engine).cloned().collect();
    for table in OF_MIGRATIONS {
        assert!(others.remove(table) && CITUS.contains(table), "{table}");
    }
    assert_eq!(names(&database, reference).await, others);
    let groups = "SELECT DISTINCT coalesce(nullif(colocated, 'none'), 'engines') FROM placed \
                  WHERE kind = 'engine_id'";
    assert_eq!(names(&database, groups).await, BTreeSet::from(["engines".to_owned()]));

    // a server works on tables without triggers
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    server.say("ann", "a prompt").await;
    server.stop().await;
    env.run(&["audit", "verify", "--require", "authenticity"]).await.exits(0);
}

#[tokio::test]
async fn a_log_goes_on_in_tables_that_are_partitioned_by_engine() {
    let guide = include_str!("../../deploy/scale.md");
    let statements = guide.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0;
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    server.say("ann", "My dog is called Rex").await;
    let before = server.head().await;
    server.stop().await;
    database.execute(statements).await.unwrap();

    env.run(&["audit", "verify", "--require", "authenticity"]).await.exits(0);
    let server = env.serve().await;
    let answer = server.say("ann", "What is my dog called?").await;
    assert_eq!(answer["context_items"], 1, "the memory is there: {answer}");
    assert!(server.head().await > before);
    server.stop().await;
    env.run(&["replay", "--verify"]).await.exits(0);
    let kinds = "SELECT count(DISTINCT tableoid)::text FROM events";
    assert_eq!(database.query_text(kinds).await, "2", "both partitions have an engine");
    let error = database.execute("DELETE FROM events").await.unwrap_err().to_string();
    assert!(error.contains("never changed or deleted"), "{error}");
}
