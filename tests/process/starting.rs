//! A server whose start takes time: the replay of a long log, or a database that is slow.

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, eventually, send};
use sqlx::{Connection as _, PgConnection, PgTransaction};

/// Locks the table of events: a server cannot load an engine.
async fn lock_out(owner: &mut PgConnection) -> PgTransaction<'_> {
    let mut lock = owner.begin().await.unwrap();
    let statement = "LOCK TABLE events IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(statement).execute(&mut *lock).await.unwrap();
    lock
}

async fn until_alive(server: &TestServer) {
    eventually("life", async || match send(server.get("/health/live")).await {
        Ok(reply) if reply.status == 200 => Ok(reply),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_while_the_server_starts() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    env.serve().await.stop().await;
    let mut owner = PgConnection::connect(database.direct_url()).await.unwrap();
    let lock = lock_out(&mut owner).await;
    let mut server = env.start();
    until_alive(&server).await;
    let step = server.ask("default", "ann", "Hello there");
    for (name, request) in [
        ("state", server.get("/v1/state")),
        ("ready", server.get("/health/ready")),
        ("health", server.get("/health")),
        ("a step", step),
    ] {
        let reply = send(request).await.unwrap();
        reply.is_problem(503, "E705");
        assert_eq!(reply.header("retry-after"), "1", "{name}");
        assert!(!reply.header("x-request-id").is_empty(), "{name}");
    }
    lock.rollback().await.unwrap();
    server.until_ready().await;
    server.say("ann", "Hello there").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_can_be_stopped() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    env.serve().await.stop().await;
    let mut owner = PgConnection::connect(database.direct_url()).await.unwrap();
    let lock = lock_out(&mut owner).await;
    // no request needs the time to drain
    let server = env.clone().with("MLSDM__API__DRAIN_SECONDS", 300).start();
    until_alive(&server).await;
    server.stop().await;
    lock.rollback().await.unwrap();
    env.serve().await.stop().await;
}
