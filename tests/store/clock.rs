//! A clock that is set back stops no log.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use mlsdm::{
    domain::ids::EngineId,
    store::{Options, Store},
    testkit::{TestStore, on_every_database},
};

use crate::events::{append, create, engine, event};

const HOUR: i64 = 3_600_000_000;

on_every_database!(TestStore: a_log_goes_on_after_the_clock_was_set_back);

async fn times(store: &Store, name: &EngineId) -> Vec<i64> {
    let records = store.read(name, 0, 100).await.unwrap();
    records.iter().map(|record| record.recorded_at).collect()
}

async fn a_log_goes_on_after_the_clock_was_set_back(test: TestStore) {
    let (name, wall, passed) =
        (engine("e"), Arc::new(AtomicI64::new(9 * HOUR)), Arc::new(AtomicI64::new(0)));
    create(&test.store, &name).await;
    let read = |time: &Arc<AtomicI64>| -> mlsdm::store::Clock {
        let time = Arc::clone(time);
        Arc::new(move || time.load(Ordering::Relaxed))
    };
    let options = Options {
        clock: Some(read(&wall)),
        monotonic: Some(read(&passed)),
        ..test.options.clone()
    };
    if test.database.is_sqlite() {
        test.store.close().await;
    }
    let store = Store::open(&options).await.unwrap();
    append(&store, &name, vec![(event("x", "{}"), None)]).await;
    wall.store(8 * HOUR, Ordering::Relaxed);
    for _ in 0..2 {
        passed.fetch_add(5, Ordering::Relaxed);
        append(&store, &name, vec![(event("x", "{}"), None)]).await;
    }
    // a process that starts now begins at the newest event
    if test.database.is_sqlite() {
        store.close().await;
    }
    let store = Store::open(&options).await.unwrap();
    append(&store, &name, vec![(event("x", "{}"), None)]).await;
    passed.fetch_add(5, Ordering::Relaxed);
    append(&store, &name, vec![(event("x", "{}"), None)]).await;
    let at = 9 * HOUR;
    assert_eq!(times(&store, &name).await[1..], [at, at + 5, at + 10, at + 10, at + 15]);
}

#[tokio::test]
async fn a_log_goes_on_after_the_clock_of_postgresql_was_set_back() {
    let test = TestStore::on(mlsdm::testkit::Backend::Postgres).await;
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    append(store, &name, vec![(event("x", "{}"), None)]).await;
    test.database
        .execute(
            "ALTER FUNCTION locked_head RENAME TO head_by_the_true_clock; \
             CREATE FUNCTION locked_head(engine text, OUT now bigint, OUT head bigint, \
             OUT chain bytea, OUT recorded bigint) LANGUAGE sql VOLATILE AS $$ \
             SELECT now - 3600000000, head, chain, recorded FROM head_by_the_true_clock(engine) $$",
        )
        .await
        .unwrap();
    for _ in 0..3 {
        append(store, &name, vec![(event("x", "{}"), None)]).await;
    }
    let times = times(store, &name).await;
    assert!(times[1..].is_sorted_by(|a, b| a < b), "{times:?}");
}

/// The database's clock is behind that of this process: functions of a schema before `pg_catalog` replace
/// the built-in ones.
#[tokio::test]
async fn the_time_of_a_new_log_is_that_of_the_database() {
    let test = TestStore::on(mlsdm::testkit::Backend::Postgres).await;
    test.database
        .execute(
            "CREATE SCHEMA late; CREATE FUNCTION late.clock_timestamp() RETURNS timestamptz \
             LANGUAGE sql VOLATILE AS \
             $$ SELECT pg_catalog.clock_timestamp() - interval '1 hour' $$; \
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = late, public, pg_catalog', \
             current_database()); END $$",
        )
        .await
        .unwrap();
    let store = Store::open(&test.options).await.unwrap();
    let own = mlsdm::clock::now_micros();
    let apart = own - store.time().await.unwrap();
    assert!(apart > HOUR / 2, "{apart} µs behind this process");
    let local = own - store.local_time();
    assert!(local > HOUR / 2, "{local} µs: the known time is the database's too");
}
