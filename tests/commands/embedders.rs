//! A server that makes vectors, as a configuration names it.

use mlsdm::testkit::{CommandOutput, TestDatabase, run_mlsdm};
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

/// A server that gives vectors of three components.
async fn server() -> MockServer {
    let server = MockServer::start().await;
    let row = json!({ "index": 0, "embedding": [1.0, 2.0, 3.0] });
    let answer = ResponseTemplate::new(200).set_body_json(json!({ "data": [row] }));
    Mock::given(path("/v1/embeddings")).respond_with(answer).mount(&server).await;
    server
}

fn run(url: &str, command: &str, dimension: &str) -> CommandOutput {
    let env = [
        ("MLSDM__EMBEDDINGS__PROVIDER", "openai"),
        ("MLSDM__EMBEDDINGS__MODEL", "small"),
        ("MLSDM__EMBEDDINGS__BASE_URL", url),
        ("MLSDM_DIM", dimension),
    ];
    run_mlsdm(TestDatabase::sqlite().url(), &[command], &env)
}

#[tokio::test]
async fn a_server_of_another_dimension_is_found_at_the_start() {
    let server = server().await;
    let url = format!("{}/v1", server.uri());
    let ran = run(&url, "check", "3").exits(0);
    assert!(ran.stdout.contains("openai:small 1, dimension 3"), "{ran:?}");
    let ran = run(&url, "check", "384").exits(1);
    assert!(ran.stdout.contains("set embeddings.dimension to 3"), "{ran:?}");
    let ran = run(&url, "serve", "384").exits(2);
    assert!(ran.stderr.contains("set embeddings.dimension to 3"), "{ran:?}");
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[test]
fn a_server_that_is_not_there_fails_a_check() {
    let ran = run("http://127.0.0.1:9/v1", "check", "384").exits(1);
    assert!(ran.stdout.contains("cannot be reached"), "{ran:?}");
}
