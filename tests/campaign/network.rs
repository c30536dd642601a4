//! A network between one replica and PostgreSQL that loses, delays or cuts.

use std::time::Duration;

use mlsdm::testkit::{
    TestDatabase,
    cut_proxy::{
        CommitFault::{self, EatAnswer, Hole, HoleBefore, ResetBefore},
        CutProxy,
    },
    postgres::{self, Cluster, private_cluster_18},
};
use tokio::time::sleep;

use crate::{extended, report::Promise, run::Scenario};

/// One fault of the network of the first of two replicas, several times.
async fn broken(name: &'static str, times: u32, promise: Promise, act: impl AsyncFn(&CutProxy)) {
    broken_before(postgres::shared(), name, times, promise, act).await;
}

async fn broken_before(
    cluster: &Cluster,
    name: &'static str,
    times: u32,
    promise: Promise,
    act: impl AsyncFn(&CutProxy),
) {
    let database = TestDatabase::within(cluster).await;
    let proxy = CutProxy::before(cluster.port()).await;
    let url = proxy.url(database.direct_url());
    let mut run =
        Scenario::new(name, database.url()).of_replica(0, "DATABASE_URL", &url).start().await;
    for _ in 0..times {
        run.fault(async |_| act(&proxy).await).await;
    }
    run.finish().await.keeps(promise);
}

/// Plans faults of commits and waits until they have happened.
async fn at_commits(proxy: &CutProxy, faults: impl IntoIterator<Item = CommitFault>) {
    proxy.at_commit(faults);
    while proxy.planned() > 0 {
        proxy.commits_after(proxy.commits()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_whose_answer_is_eaten_are_neither_lost_nor_doubled() {
    let times = if extended() { 50 } else { 5 };
    broken("COMMIT: answer eaten, 50 times", 1, Promise::STANDARD, async |proxy| {
        at_commits(proxy, (0..times).flat_map(|_| [EatAnswer, CommitFault::Passes])).await;
    })
    .await;
}

mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn commits_on_postgresql_18_are_neither_lost_nor_doubled() {
        let (name, cluster) =
            ("COMMIT: answer eaten, 50 times (PostgreSQL 18)", private_cluster_18());
        broken_before(&cluster, name, 1, Promise::STANDARD, async |proxy| {
            at_commits(proxy, (0..50).flat_map(|_| [EatAnswer, CommitFault::Passes])).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn commits_that_never_arrive_are_neither_lost_nor_doubled() {
        broken("COMMIT: connection reset before, 16 times", 1, Promise::STANDARD, async |proxy| {
            at_commits(proxy, (0..16).flat_map(|_| [ResetBefore, CommitFault::Passes])).await;
        })
        .await;
    }

    /// The fault ends when the server gives the connection up.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_commit_without_an_answer_is_given_up() {
        broken("COMMIT: answer never comes", 2, Promise::STANDARD, async |proxy| {
            at_commits(proxy, [Hole, HoleBefore]).await;
            sleep(GIVEN_UP).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn silent_connections_are_given_up() {
        broken("All connections silent", 2, Promise::STANDARD, async |proxy| {
            proxy.silence();
            sleep(GIVEN_UP).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_cut_within_a_message_cost_no_answer() {
        broken("Connection cut after 700 to 90,000 bytes", 1, Promise::STANDARD, async |proxy| {
            for cut in 0..50_u64 {
                proxy.cut_after(700 + cut * cut * 36);
                sleep(Duration::from_millis(150)).await;
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_reset_together_cost_no_answer() {
        broken("All connections reset, 20 times", 1, Promise::STANDARD, async |proxy| {
            for _ in 0..20 {
                proxy.reset();
                sleep(Duration::from_millis(400)).await;
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn half_closed_connections_cost_no_answer() {
        broken("Connections half closed, 5 times", 5, Promise::STANDARD, async |proxy| {
            proxy.half_close();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_black_hole_is_noticed_as_long_as_it_lasts() {
        broken("Black hole, 20 s", 1, Promise::STANDARD, async |proxy| {
            proxy.hole();
            sleep(Duration::from_secs(20)).await;
            proxy.pass();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn latency_is_noticed_as_long_as_it_lasts() {
        broken("Latency of 200 ms, 20 s", 1, Promise::STANDARD, async |proxy| {
            proxy.latency(Duration::from_millis(200));
            sleep(Duration::from_secs(20)).await;
            proxy.pass();
        })
        .await;
    }

    /// The timeouts of the server for an answer, with the settings of a run.
    const GIVEN_UP: Duration = Duration::from_secs(8);
}
