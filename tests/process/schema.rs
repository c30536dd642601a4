//! schemathesis, which makes requests of the API document, good and bad ones, and holds every answer
//! against it: no error of the server's, no status and no body that is not documented.

use std::path::{Path, PathBuf};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer};
use tokio::process::Command;

use crate::extended;

const KEY: &str = "a-key-of-a-test-4711";

/// How much longer the long tier is.
const EXTENDED: u32 = 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Asks for so many seconds.
async fn asks(server: &TestServer, seconds: u32, arguments: &[&str]) {
    let program = folder().join("target/ci/schema/venv/bin/schemathesis");
    assert!(program.exists(), "{} is missing: `.ci/test` installs it", program.display());
    let scratch = tempfile::tempdir().unwrap();
    let seconds = if extended() { seconds * EXTENDED } else { seconds };
    let mut command = Command::new(program);
    command.arg("--config-file").arg(folder().join("tests/schema/schemathesis.toml"));
    command.args(["run", &format!("{}/openapi.json", server.base())]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-time", &seconds.to_string()]);
    if !extended() {
        command.args(["--seed", "1"]);
    }
    // what it remembers of runs before is none of this one's
    let output = command.args(arguments).current_dir(scratch.path()).env("NO_PROXY", "127.0.0.1");
    let output = output.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains("Selected: 0/"), "{told}");
}

async fn guarded() -> (TestServer, TestDatabase) {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let env = env.with("MLSDM__AUTH__MODE", "keys").with("ADMIN_API_KEY", KEY);
    (env.serve().await, database)
}

#[tokio::test]
async fn answers_to_nobody_are_as_documented() {
    let (server, _database) = guarded().await;
    asks(&server, 15, &[]).await;
    server.stop().await;
}

#[tokio::test]
async fn answers_to_an_administrator_are_as_documented() {
    let (server, _database) = guarded().await;
    let key = format!("X-API-Key: {KEY}");
    // an engine that is shut down answers nothing but 503, and a stream has no end
    let most = ["--exclude-path-regex", "/admin/|/stream$", "--header", &key];
    asks(&server, 35, &most).await;
    asks(&server, 5, &["--include-path-regex", "/admin/", "--header", &key]).await;
    server.stop().await;
}
