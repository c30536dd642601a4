//! schemathesis generates valid and invalid requests from the API document and checks every
//! response: no server error, no undocumented status, no body that does not match its schema.

use std::path::{Path, PathBuf};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer};
use tokio::process::Command;

use crate::extended;

const KEY: &str = "a-key-of-a-test-4711";

/// The factor by which the extended tier runs longer.
const EXTENDED: u32 = 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Runs schemathesis for this many seconds.
async fn check_responses(server: &TestServer, seconds: u32, arguments: &[&str]) {
    let program = folder().join("target/ci/schema/venv/bin/schemathesis");
    assert!(program.exists(), "{} is missing: run .ci/test, which installs it", program.display());
    let scratch = tempfile::tempdir().unwrap();
    let seconds = if extended() { seconds * EXTENDED } else { seconds };
    let mut command = Command::new(program);
    command.arg("--config-file").arg(folder().join("tests/schema/schemathesis.toml"));
    command.args(["run", &format!("{}/openapi.json", server.base())]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-time", &seconds.to_string()]);
    if !extended() {
        command.args(["--seed", "1"]);
    }
    // a new folder, so that it does not reuse examples of earlier runs
    let output = command.args(arguments).current_dir(scratch.path()).env("NO_PROXY", "127.0.0.1");
    let output = output.output().await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!report.contains("Selected: 0/"), "{report}");
}

async fn guarded() -> (TestServer, TestDatabase) {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let env = env.with("MLSDM__AUTH__MODE", "keys").with("ADMIN_API_KEY", KEY);
    (env.serve().await, database)
}

#[tokio::test]
async fn responses_without_credentials_are_as_documented() {
    let (server, _database) = guarded().await;
    check_responses(&server, 15, &[]).await;
    server.stop().await;
}

#[tokio::test]
async fn responses_to_an_administrator_are_as_documented() {
    let (server, _database) = guarded().await;
    let key = format!("X-API-Key: {KEY}");
    // a shutdown would make all responses 503, and a stream has no end
    let most = ["--exclude-path-regex", "/admin/|/stream$", "--header", &key];
    check_responses(&server, 35, &most).await;
    check_responses(&server, 5, &["--include-path-regex", "/admin/", "--header", &key]).await;
    server.stop().await;
}
