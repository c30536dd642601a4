//! Connections of HTTP/2 at a stop, and clients that leave.

use mlsdm::testkit::{TestDatabase, TestServer, http_client_builder};
use reqwest::{Certificate, Version};
use serde_json::json;
use tokio::task::JoinSet;

use super::Authority;

/// A server with a client that keeps its connection of HTTP/2.
async fn with_kept_connection(
    authority: &Authority,
    database: &TestDatabase,
    latency_ms: u32,
) -> TestServer {
    let root = Certificate::from_pem(authority.issuer.pem().as_bytes()).unwrap();
    let client = http_client_builder().tls_built_in_root_certs(false).add_root_certificate(root);
    let env = authority.env(database).with("MLSDM__LLM__STUB__LATENCY_MS", latency_ms);
    let server = env.over_tls(client.build().unwrap()).serve().await;
    let response = server.get("/v1/state").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_http_2_does_not_delay_a_stop() {
    let (authority, database) = (Authority::new(), TestDatabase::sqlite());
    authority.serve("server");
    let mut server = with_kept_connection(&authority, &database, 1_000).await;
    let asked = server.post("/v1/generate").json(&json!({"prompt": "Hello", "moral_value": 0.9}));
    let mut calls = JoinSet::new();
    calls.spawn(asked.send());
    server.until("/v1/state", |state| state["step"] == 1).await;
    server.terminate().await;
    let answer = calls.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 200, "the last step ends");
    // the default of llm.drain_timeout is as long as the deadline of a test
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_2_that_leaves_before_the_first_token_cancels_its_step() {
    let (authority, database) = (Authority::new(), TestDatabase::sqlite());
    authority.serve("server");
    let server = with_kept_connection(&authority, &database, 60_000).await;
    let asked = server.post("/v1/generate").json(&json!({"prompt": "Hello", "moral_value": 0.9}));
    let mut calls = JoinSet::new();
    calls.spawn(asked.send());
    server.until("/v1/state", |state| state["step"] == 1).await;
    calls.shutdown().await;
    server.until_closed("default").await;
    let events = server.read("/v1/events?type=step.failed").await;
    assert_eq!(events["events"][0]["clear"]["stage"], "cancelled", "{events}");
    server.until_log_has("\"error_code\":\"E605\"", 1).await;
    server.stop().await;
}
