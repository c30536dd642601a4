//! Heartbeats: rows of live processes, on a time line that no clock sets back.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use mlsdm::{
    domain::ids::ReplicaId,
    store::{Clock, Options, Store, fleet::Fleet, replicas::Heartbeat},
    testkit::{TestStore, on_every_database},
};
use sqlx::{Connection as _, PgConnection};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

on_every_database!(
    TestStore and PgBouncer: a_heartbeat_has_one_row_until_it_is_removed,
    heartbeats_go_on_after_the_clock_was_set_back,
    old_heartbeats_are_removed,
    the_fleet_has_the_lowest_abilities_of_live_processes,
);

fn heartbeat(id: u8, rules: u32) -> Heartbeat {
    Heartbeat {
        replica: ReplicaId([id; 8]),
        host: "host".to_owned(),
        version: "0.2.0".to_owned(),
        log_format: 2,
        rules,
    }
}

/// A store with clocks that the test sets: the wall clock and the monotonic one.
async fn with_clocks(test: &TestStore) -> (Store, Arc<AtomicI64>, Arc<AtomicI64>) {
    let (wall, passed) = (Arc::new(AtomicI64::new(9 * HOUR)), Arc::new(AtomicI64::new(0)));
    let read = |time: &Arc<AtomicI64>| -> Clock {
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
    (Store::open(&options).await.unwrap(), wall, passed)
}

async fn a_heartbeat_has_one_row_until_it_is_removed(test: TestStore) {
    let store = &test.store;
    let own = heartbeat(1, 1);
    for _ in 0..2 {
        let replicas = store.heartbeat(&own).await.unwrap();
        let [row] = &replicas.rows[..] else { panic!("{replicas:?}") };
        assert_eq!(row.heartbeat, own);
        assert_eq!(replicas.age(row), 0);
    }
    store.heartbeat(&heartbeat(2, 1)).await.unwrap();
    let replicas = store.replicas().await.unwrap();
    let ids: Vec<_> = replicas.rows.iter().map(|row| row.heartbeat.replica.0[0]).collect();
    assert_eq!(ids, [1, 2]);
    store.remove_replica(own.replica).await.unwrap();
    assert_eq!(store.replicas().await.unwrap().rows.len(), 1);
}

async fn heartbeats_go_on_after_the_clock_was_set_back(test: TestStore) {
    let (store, wall, passed) = with_clocks(&test).await;
    store.heartbeat(&heartbeat(1, 1)).await.unwrap();
    wall.store(8 * HOUR, Ordering::Relaxed);
    passed.fetch_add(10 * SECOND, Ordering::Relaxed);
    let replicas = store.heartbeat(&heartbeat(2, 1)).await.unwrap();
    assert_eq!(replicas.now, 9 * HOUR + 10 * SECOND);
    assert_eq!(replicas.age(&replicas.rows[0]), 10 * SECOND);
    assert_eq!(replicas.age(&replicas.rows[1]), 0);
}

async fn old_heartbeats_are_removed(test: TestStore) {
    let (store, wall, _passed) = with_clocks(&test).await;
    store.heartbeat(&heartbeat(1, 1)).await.unwrap();
    wall.fetch_add(601 * SECOND, Ordering::Relaxed);
    let replicas = store.heartbeat(&heartbeat(2, 1)).await.unwrap();
    assert_eq!(replicas.rows.len(), 1);
    assert_eq!(store.replicas().await.unwrap().rows.len(), 1);
}

async fn the_fleet_has_the_lowest_abilities_of_live_processes(test: TestStore) {
    let (store, wall, _passed) = with_clocks(&test).await;
    let (old, own) = (heartbeat(1, 1), heartbeat(2, 7));
    store.heartbeat(&old).await.unwrap();
    wall.fetch_add(30 * SECOND, Ordering::Relaxed);
    let replicas = store.heartbeat(&own).await.unwrap();
    assert_eq!(replicas.fleet(&own, 30 * SECOND), Fleet { log_format: 2, rules: 1 });
    wall.fetch_add(1, Ordering::Relaxed);
    let replicas = store.heartbeat(&own).await.unwrap();
    assert_eq!(replicas.fleet(&own, 30 * SECOND), Fleet { log_format: 2, rules: 7 });
}

#[tokio::test]
async fn connections_of_version_0_1_are_counted() {
    let test = TestStore::on(mlsdm::testkit::Backend::Postgres).await;
    assert_eq!(test.store.old_connections().await.unwrap(), 0, "this process has another name");
    let old = format!("{}?application_name=mlsdm", test.database.url());
    let connection = PgConnection::connect(&old).await.unwrap();
    assert_eq!(test.store.old_connections().await.unwrap(), 1);
    drop(connection);
}
