//! A server whose start takes time: the replay of a long log, or a database that is slow.

use mlsdm::testkit::{TestDatabase, TestEnv, eventually, send};
use sqlx::{Connection as _, PgConnection};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_while_the_server_starts() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    env.serve().await.stop().await;
    let mut owner = PgConnection::connect(database.direct_url()).await.unwrap();
    let mut lock = owner.begin().await.unwrap();
    let lock_out = "LOCK TABLE events IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock_out).execute(&mut *lock).await.unwrap();
    let mut server = env.start();
    eventually("life", async || match send(server.get("/health/live")).await {
        Ok(reply) if reply.status == 200 => Ok(reply),
        other => Err(format!("{other:?}")),
    })
    .await;
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
