//! Unmodified third-party clients against the server. Their scripts assert on what they receive.

use std::path::{Path, PathBuf};

use mlsdm::testkit::{TestDatabase, TestEnv};
use tokio::process::Command;

/// The path of a file that `.ci/test` installs.
fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/sdk").join(path);
    assert!(path.exists(), "{} is missing: run .ci/test, which installs it", path.display());
    path
}

/// Runs a script of `tests/sdk` against a new server. The script has to exit with code 0.
async fn run_client(program: PathBuf, script: &str) {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let output = Command::new(program)
        .arg(scripts.join(script))
        .env("MLSDM_BASE_URL", server.base())
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.stop().await;
}

async fn python(script: &str) {
    run_client(installed("venv/bin/python"), script).await;
}

/// Runs a copy next to `node_modules`, where Node looks for packages.
async fn node(script: &str) {
    let scripts = installed("node/node_modules").with_file_name(script);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script);
    std::fs::copy(source, &scripts).unwrap();
    run_client(PathBuf::from("node"), scripts.to_str().unwrap()).await;
}

#[tokio::test]
async fn the_openai_sdk_for_python_works() {
    python("openai_client.py").await;
}

#[tokio::test]
async fn the_anthropic_sdk_for_python_works() {
    python("anthropic_client.py").await;
}

#[tokio::test]
async fn langchain_for_python_works() {
    python("langchain_client.py").await;
}

#[tokio::test]
async fn the_llm_command_works() {
    python("llm_client.py").await;
}

#[tokio::test]
async fn the_openai_sdk_for_node_works() {
    node("openai_client.mjs").await;
}

#[tokio::test]
async fn the_ai_sdk_for_node_works() {
    node("ai_client.mjs").await;
}
