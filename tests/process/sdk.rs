//! Clients of other people's, unmodified, pointed at us: what they make of our answers is the test.

use std::path::{Path, PathBuf};

use mlsdm::testkit::{TestDatabase, TestEnv};
use tokio::process::Command;

/// Where `.ci/test` installs the clients.
fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/sdk").join(path);
    assert!(path.exists(), "{} is missing: `.ci/test` installs it", path.display());
    path
}

/// Runs a script of `tests/sdk` against a server of its own; it must end without a complaint.
async fn speaks(program: PathBuf, script: &str) {
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
    speaks(installed("venv/bin/python"), script).await;
}

/// Node finds packages beside the script it runs, or in a folder above it.
async fn node(script: &str) {
    let scripts = installed("node/node_modules").with_file_name(script);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script);
    std::fs::copy(source, &scripts).unwrap();
    speaks(PathBuf::from("node"), scripts.to_str().unwrap()).await;
}

#[tokio::test]
async fn openai_for_python() {
    python("openai_client.py").await;
}

#[tokio::test]
async fn anthropic_for_python() {
    python("anthropic_client.py").await;
}

#[tokio::test]
async fn langchain_for_python() {
    python("langchain_client.py").await;
}

#[tokio::test]
async fn the_llm_command() {
    python("llm_client.py").await;
}

#[tokio::test]
async fn openai_for_node() {
    node("openai_client.mjs").await;
}

#[tokio::test]
async fn ai_for_node() {
    node("ai_client.mjs").await;
}
