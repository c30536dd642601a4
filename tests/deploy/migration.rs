//! `mlsdm upgrade tables`, the command of the migration Job: safe against its own replicas, against servers
//! that start meanwhile, and against being killed.

use mlsdm::testkit::{TestDatabase, TestEnv};

const TABLES: [&str; 2] = ["upgrade", "tables"];

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_servers_that_start_together_on_an_empty_database_all_succeed() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.direct_url());
    let (first, second, third, server, other) = tokio::join!(
        env.run(&TABLES),
        env.run(&TABLES),
        env.run(&TABLES),
        env.serve(),
        env.serve()
    );
    for job in [first, second, third] {
        let output = job.exits(0);
        assert!(output.stdout.contains("tables of this version"), "{output:?}");
    }
    server.say("ann", "Hello").await;
    other.say("ann", "Hello again").await;
    server.stop().await;
    other.stop().await;
    env.run(&TABLES).await.exits(0);
}

/// Kills the command at six moments of its life; the next run completes what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_job_leaves_nothing_that_the_next_one_cannot_complete() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.direct_url());
    // the shell kills the command after this time, unless it has ended
    for line in [
        "timeout --signal=KILL 0.01 \"$@\"; exit 0",
        "timeout --signal=KILL 0.03 \"$@\"; exit 0",
        "timeout --signal=KILL 0.05 \"$@\"; exit 0",
        "timeout --signal=KILL 0.08 \"$@\"; exit 0",
        "timeout --signal=KILL 0.12 \"$@\"; exit 0",
        "timeout --signal=KILL 0.2 \"$@\"; exit 0",
    ] {
        env.clone().wrapped(line).run(&TABLES).await;
    }
    env.run(&TABLES).await.exits(0);
    let server = env.serve().await;
    server.say("ann", "Hello").await;
    server.stop().await;
    env.run(&["audit", "verify"]).await.exits(0);
}

#[tokio::test]
async fn a_database_that_is_away_is_told_from_a_wrong_configuration() {
    let port = mlsdm::testkit::free_port();
    let away = TestEnv::new(&format!("postgres://mlsdm@127.0.0.1:{port}/mlsdm"));
    let away = away.with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 1);
    away.run(&TABLES).await.exits(3);
    TestEnv::new("mysql://mlsdm@db/mlsdm").run(&TABLES).await.exits(2);
}
