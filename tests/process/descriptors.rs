//! A low limit of open files: clients do not take what the database needs.

use mlsdm::testkit::{TestDatabase, TestEnv, eventually, send};

/// The process gets few descriptors.
const FEW: &str = "ulimit -n 128; exec \"$@\"";

#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_take_the_descriptors_of_the_database() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url())
        .wrapped(FEW)
        .with("MLSDM__LIMITS__HEADER_TIMEOUT_MS", 1_000)
        .with("MLSDM__LIMITS__KEEP_ALIVE_MS", 1_000)
        .serve()
        .await;
    server.until_logged("server.descriptors", 1).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(server.connect().await);
    }
    // behind the idle connections, each of which is closed after a second
    let answer = eventually("an answer", async || {
        match send(server.ask("default", "ann", "Is there a place?")).await {
            Ok(reply) if reply.status == 200 => Ok(reply),
            Ok(reply) => panic!("{reply:?}"),
            Err(error) => Err(error),
        }
    });
    answer.await.ok();
    let log = server.log();
    assert!(!log.contains("os error 24"), "too many open files: {log}");
    server.stop().await;
}
