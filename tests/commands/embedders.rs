//! An embedding server named by the configuration.

use mlsdm::testkit::{CommandOutput, TestDatabase, run_mlsdm};
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

/// A server that returns vectors of dimension 3.
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
async fn a_server_of_another_dimension_is_refused_at_startup() {
    let server = server().await;
    let url = format!("{}/v1", server.uri());
    let output = run(&url, "check", "3").exits(0);
    assert!(output.stdout.contains("openai:small 1, dimension 3"), "{output:?}");
    let output = run(&url, "check", "384").exits(1);
    assert!(output.stdout.contains("set embeddings.dimension to 3"), "{output:?}");
    let output = run(&url, "serve", "384").exits(2);
    assert!(output.stderr.contains("set embeddings.dimension to 3"), "{output:?}");
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[test]
fn an_unreachable_server_fails_a_check() {
    let output = run("http://127.0.0.1:9/v1", "check", "384").exits(1);
    assert!(output.stdout.contains("cannot be reached"), "{output:?}");
}
