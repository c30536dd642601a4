//! PostgreSQL that stops, refuses connections or ends them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mlsdm::testkit::{
    TestDatabase,
    cut_proxy::CutProxy,
    postgres::{self, private_cluster},
    send,
};
use tokio::time::sleep;

use crate::{
    admin::{Admin, kill},
    extended,
    fleet::Fleet,
    report::Promise,
    run::{LIMIT, Scenario},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgresql_loses_nothing_that_was_answered() {
    let cluster = private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let mut run = Scenario::new("PostgreSQL crashes, 3 s", database.url()).start().await;
    for _ in 0..if extended() { 3 } else { 1 } {
        run.fault(async |_| {
            cluster.crash();
            sleep(Duration::from_secs(3)).await;
            cluster.start();
        })
        .await;
    }
    run.finish().await.keeps(Promise::TOLD);
}

/// A run on a PostgreSQL of its own, with one fault.
async fn with_admin(
    name: &'static str,
    promise: Promise,
    act: impl AsyncFnOnce(&mut Admin, &mut Fleet),
) {
    let cluster = private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let mut run = Scenario::new(name, database.url()).start().await;
    let mut admin = Admin::of(&database).await;
    run.fault(async |fleet| act(&mut admin, fleet).await).await;
    run.finish().await.keeps(promise);
}

/// How often a loop repeats its fault.
const LOOPS: u32 = 120;
const PAUSE: Duration = Duration::from_millis(100);

mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_postgresql_ends_cost_no_answer() {
        with_admin("Connections terminated, 120 times", Promise::STANDARD, async |admin, _| {
            admin.signal("pg_terminate_backend", LOOPS, PAUSE).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statements_that_postgresql_cancels_cost_no_answer() {
        with_admin("Statements cancelled, 120 times", Promise::STANDARD, async |admin, _| {
            admin.signal("pg_cancel_backend", LOOPS, PAUSE).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_process_of_postgresql_costs_no_answer() {
        with_admin("Process of PostgreSQL killed", Promise::STANDARD, async |admin, _| {
            admin.kill_backend().await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pause_of_postgresql_ends_with_it() {
        with_admin("PostgreSQL paused, 20 s", Promise::TOLD, async |admin, _| {
            let processes = admin.server_processes().await;
            for process in &processes {
                kill("STOP", process).await;
            }
            sleep(Duration::from_secs(20)).await;
            for process in &processes {
                kill("CONT", process).await;
            }
        })
        .await;
    }

    /// A commit that no standby has is not answered, whatever PostgreSQL says after a timeout.
    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_answered_that_the_synchronous_standby_lacks() {
        let name = "Synchronous standby away, 12 s";
        with_admin(name, Promise::STANDARD, async |admin, fleet| {
            admin.run("alter system set synchronous_standby_names = 'away'").await;
            admin.run("select pg_reload_conf()").await;
            sleep(Duration::from_secs(1)).await;
            let ends = Instant::now() + Duration::from_secs(11);
            while Instant::now() < ends {
                let asked =
                    fleet.server(0).ask("default", "user-away", "Does a standby have this?");
                assert_ne!(send(asked).await.unwrap().status, 200);
            }
            admin.run("alter system reset synchronous_standby_names").await;
            admin.run("select pg_reload_conf()").await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_standby_that_is_promoted_by_hand_has_every_answer() {
        let primary = private_cluster();
        let database = TestDatabase::within(&primary).await;
        let standby = primary.standby().await;
        let proxy = CutProxy::before(primary.port()).await;
        let url = proxy.url(database.direct_url());
        let mut run = Scenario::new("Standby promoted by hand", &url).start().await;
        run.fault(async |_| {
            primary.crash();
            sleep(Duration::from_secs(3)).await;
            standby.promote();
            proxy.switch(standby.port());
        })
        .await;
        run.finish().await.keeps(Promise::TOLD);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_ends_while_postgresql_is_silent_ends_in_time() {
        let database = TestDatabase::postgres().await;
        let proxy = CutProxy::before(postgres::shared().port()).await;
        let url = proxy.url(database.direct_url());
        let name = "SIGTERM while PostgreSQL is silent";
        let scenario = Scenario::new(name, database.url()).of_replica(0, "DATABASE_URL", &url);
        let mut run = scenario.start().await;
        run.fault(async |fleet| {
            proxy.hole();
            sleep(Duration::from_secs(2)).await;
            fleet.terminate(0).await;
            proxy.pass();
            fleet.restart(0).await;
        })
        .await;
        run.finish().await.keeps(Promise::STANDARD);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_ends_while_the_model_hangs_ends_in_time() {
        let database = TestDatabase::postgres().await;
        // the breaker of the other replica opens, and tries the model again after this time
        let again = ("MLSDM__LLM__BREAKER__OPEN_SECONDS", "1");
        let scenario = Scenario::new("SIGTERM while the model hangs", database.url());
        let scenario = scenario.of_replica(0, again.0, again.1).of_replica(1, again.0, again.1);
        let mut run = scenario.start().await;
        let model = Arc::clone(&run.model);
        run.fault(async |fleet| {
            model.hang(true);
            sleep(Duration::from_secs(2)).await;
            fleet.terminate(0).await;
            model.hang(false);
            fleet.restart(0).await;
        })
        .await;
        // a call that tries the model hangs up to its limit
        let serving = LIMIT + Promise::STANDARD.serving;
        run.finish().await.keeps(Promise { serving, ..Promise::STANDARD });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn refused_logins_end_with_their_cause() {
        with_admin("Logins refused, 6 s", Promise::TOLD, async |admin, _| {
            admin.run("alter database DATABASE allow_connections false").await;
            admin.terminate_all().await;
            sleep(Duration::from_secs(6)).await;
            admin.run("alter database DATABASE allow_connections true").await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn taken_connections_are_missed_as_long_as_they_are_taken() {
        with_admin("All connections taken, 8 s", Promise::STANDARD, async |admin, _| {
            admin.take_connections(Duration::from_secs(8)).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_read_only_default_does_not_matter() {
        with_admin("Read-only by default, 6 s", Promise::STANDARD, async |admin, _| {
            admin.run("alter system set default_transaction_read_only = on").await;
            admin.run("select pg_reload_conf()").await;
            sleep(Duration::from_secs(3)).await;
            admin.terminate_all().await;
            sleep(Duration::from_secs(3)).await;
            admin.run("set default_transaction_read_only = off").await;
            admin.run("alter system reset default_transaction_read_only").await;
            admin.run("select pg_reload_conf()").await;
        })
        .await;
    }
}
