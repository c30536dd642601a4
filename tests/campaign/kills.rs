//! Replicas that are killed or paused.

use std::time::Duration;

use mlsdm::testkit::{Random, TestDatabase, postgres::private_cluster_18};
use tokio::time::sleep;

use crate::{
    extended,
    report::Promise,
    run::{Run, Scenario},
};

/// Kills replicas in turn, each after a random time.
async fn kill_in_turn(run: &mut Run, kills: u64, replicas: usize) {
    let mut random = Random::new(run.seed, u64::MAX);
    for kill in 0..kills {
        sleep(Duration::from_millis(random.below(500))).await;
        let replica = kill as usize % replicas;
        run.fault(async |fleet| {
            fleet.kill(replica).await;
            fleet.restart(replica).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_loses_nothing_that_was_answered() {
    let database = TestDatabase::postgres().await;
    let mut run = Scenario::new("Replica killed (PostgreSQL)", database.url()).start().await;
    kill_in_turn(&mut run, if extended() { 9 } else { 2 }, 2).await;
    run.finish().await.keeps(Promise::STANDARD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_on_sqlite_loses_nothing_that_was_answered() {
    let database = TestDatabase::sqlite();
    let scenario = Scenario::new("Server killed (SQLite)", database.url()).replicas(1);
    let mut run = scenario.start().await;
    kill_in_turn(&mut run, if extended() { 20 } else { 2 }, 1).await;
    run.finish().await.keeps(Promise::STANDARD);
}

mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_replica_on_postgresql_18_loses_nothing_that_was_answered() {
        let cluster = private_cluster_18();
        let database = TestDatabase::within(&cluster).await;
        let mut run = Scenario::new("Replica killed (PostgreSQL 18)", database.url()).start().await;
        kill_in_turn(&mut run, 4, 2).await;
        run.finish().await.keeps(Promise::STANDARD);
    }
}
