//! A network to PostgreSQL that goes silent: requests have an answer at their limit, the server is not
//! ready, and it stops when it is told to.

use futures_util::future::join_all;
use mlsdm::testkit::{
    TestDatabase, TestEnv, TestServer,
    cut_proxy::{CommitFault, CutProxy},
    eventually, postgres, send,
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::history::{History, verifies};

/// A server whose connections to the database go through a proxy.
struct Remote {
    proxy: CutProxy,
    env: TestEnv,
    server: TestServer,
    _database: TestDatabase,
}

impl Remote {
    async fn new() -> Self {
        let database = TestDatabase::postgres().await;
        let proxy = CutProxy::before(postgres::shared().port()).await;
        let env = TestEnv::new(&proxy.url(database.url()))
            .with("API_TIMEOUT", 2)
            .with("MLSDM__LLM__TOTAL_TIMEOUT", 3)
            .with("MLSDM__LLM__DRAIN_TIMEOUT", 1)
            .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", 1)
            .with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 1)
            .with("MLSDM__DATABASE__STATEMENT_TIMEOUT_SECONDS", 2)
            .with("MLSDM__DATABASE__LOCK_TIMEOUT_SECONDS", 3)
            .with("MLSDM__DATABASE__ANSWER_MARGIN_SECONDS", 4)
            .latency_ms(10);
        let server = env.serve().await;
        Self { proxy, env, server, _database: database }
    }

    /// Waits until the readiness probe has this status; returns the body.
    async fn ready_is(&self, status: u16) -> serde_json::Value {
        eventually("the readiness", async || {
            let probed = send(self.server.get("/health/ready")).await;
            match probed {
                Ok(reply) if reply.status == status => Ok(reply.body),
                Ok(reply) => Err(format!("{} {}", reply.status, reply.body)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_delays_no_response_and_loses_nothing() {
    let remote = Remote::new().await;
    let first = remote.server.say("ann", "Before the silence").await;
    remote.proxy.at_commit([CommitFault::Hole]);
    let ask = || send(remote.server.ask("default", "ann", "Into the silence"));
    let (one, other) = tokio::join!(ask(), ask());
    one.unwrap().is_problem(504, "E616");
    other.unwrap().is_problem(504, "E616");
    let body = remote.ready_is(503).await;
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("a writer has waited for the database"), "{detail}");
    assert_eq!(send(remote.server.get("/health")).await.unwrap().status, 503);

    remote.ready_is(200).await;
    let last = remote.server.say("ann", "After the silence").await;
    remote.server.until_closed("default").await;
    let history = History::read(&remote.server, "default").await;
    history.is_whole();
    for answer in [&first, &last] {
        let event = history.at(answer["position"].as_u64().unwrap());
        assert_eq!(event["chain_hash"], answer["chain_hash"]);
    }
    verifies(&remote.env, "default").await;
    remote.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_replaced() {
    let remote = Remote::new().await;
    remote.server.say("ann", "Before the silence").await;
    remote.proxy.silence();
    eventually("an answer on a new connection", async || {
        match send(remote.server.ask("default", "ann", "Is anybody there?")).await {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) if [503, 504].contains(&reply.status) => Err(reply.body.to_string()),
            other => panic!("{other:?}"),
        }
    })
    .await;
    remote.ready_is(200).await;
    remote.server.stop().await;
}

/// The limits of the database are far longer than that of the request.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_waits_for_the_database_answers_at_its_limit() {
    let database = TestDatabase::postgres().await;
    let mut server = TestEnv::new(database.url()).with("API_TIMEOUT", 1).serve().await;
    server.say("ann", "Hello there").await;
    let created =
        send(server.post("/v1/engines").json(&json!({"engine_id": "other"}))).await.unwrap();
    assert_eq!(created.status, 201, "{created:?}");
    let mut owner = PgConnection::connect(database.direct_url()).await.unwrap();
    let mut lock = owner.begin().await.unwrap();
    let tables = "LOCK TABLE engines, events, contents, keys.subject_keys IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(tables).execute(&mut *lock).await.unwrap();
    let gets = [
        "/v1/state?at_position=1",
        "/v1/events",
        "/v1/events/1",
        "/v1/engines",
        "/v1/engines/other/state",
        "/v1/engines/unknown/events/stream",
    ];
    let step = server.ask("other", "ann", "Hello there");
    let create = server.post("/v1/engines").json(&json!({"engine_id": "third"}));
    let mut requests: Vec<_> = gets.map(|path| (path, server.get(path))).into();
    requests.extend([("a step", step), ("POST /v1/engines", create)]);
    let replies = requests.into_iter().map(async |(name, request)| (name, send(request).await));
    for (name, reply) in join_all(replies).await {
        let reply = reply.unwrap();
        assert_eq!((reply.status, &reply.body["code"]), (504, &json!("E616")), "{name}: {reply:?}");
        let unknown = (name == "POST /v1/engines").then_some("unknown");
        assert_eq!(reply.body["outcome"].as_str(), unknown, "{name}");
    }
    assert_eq!(send(server.get("/v1/admin/log-level")).await.unwrap().status, 200);
    assert_eq!(send(server.get("/health/live")).await.unwrap().status, 200);
    lock.rollback().await.unwrap();
    server.until_ready().await;
    let events = server.read("/v1/engines/other/events").await;
    assert_eq!(events["events"][0]["type"], "engine.created", "it was loaded meanwhile");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stops_although_its_database_is_silent() {
    let mut remote = Remote::new().await;
    remote.server.say("ann", "Before the silence").await;
    remote.proxy.hole();
    let refused = send(remote.server.ask("default", "ann", "Into the silence")).await.unwrap();
    assert!([503, 504].contains(&refused.status), "{refused:?}");
    remote.ready_is(503).await;
    remote.server.terminate().await;
    let status = remote.server.exit().await;
    assert!(status.code().is_some(), "it exits by itself: {status}\n{}", remote.server.log());
}
