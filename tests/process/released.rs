//! Upgrades from the released binary of version 0.1, and back.
//!
//! Extended tier only: `.ci/test --extended` builds that binary from its commit and names it in
//! `MLSDM_RELEASED_BINARY`.

mod rolling;

use std::{fs, path::PathBuf};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer};
use serde_json::Value;

use crate::history::{History, equals_replay, verifies};

const ANN: &str = "ann";

/// Both versions on one database.
struct Versions {
    released: TestEnv,
    current: TestEnv,
}

impl Versions {
    fn on(database_url: &str) -> Self {
        // as behind a load balancer: it stops to send before the server stops to serve. Without it, a step
        // in progress on version 0.1 can lose the connection that another thread of the process opened
        let current = TestEnv::new(database_url).with("MLSDM__API__DRAIN_SECONDS", 1);
        Self { released: current.clone().program(released()), current }
    }
}

/// The released binary.
fn released() -> PathBuf {
    std::env::var_os("MLSDM_RELEASED_BINARY")
        .expect(
            "MLSDM_RELEASED_BINARY names the binary of version 0.1; .ci/test --extended sets it",
        )
        .into()
}

/// Asserts that version 0.1 does not start, and says why.
async fn is_refused(versions: &Versions) {
    let refused = versions.released.run(&["serve"]).await.exits(1);
    let said = "log format 2 is newer than 1; run a newer binary";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
}

async fn log_formats(env: &TestEnv) -> Vec<u64> {
    let status: Value = env.run(&["upgrade", "status", "--json"]).await.exits(0).json();
    let logs = status["logs"].as_array().unwrap().iter();
    logs.map(|log| log["log_format"].as_u64().unwrap()).collect()
}

async fn says(env: &TestEnv, prompt: &str) -> TestServer {
    let server = env.serve().await;
    let answer = server.say(ANN, prompt).await;
    assert_eq!(answer["accepted"], true, "{answer}");
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_log_is_upgraded_in_place() {
    let database = TestDatabase::sqlite();
    let versions = Versions::on(database.url());
    says(&versions.released, "My dog is called Rex").await.stop().await;
    // the tables of this version do not hinder the released one
    says(&versions.current, "My cat is called Mia").await.stop().await;
    let server = says(&versions.released, "What is my cat called?").await;
    let history = History::read(&server, "default").await;
    history.is_whole();
    server.stop().await;
    verifies(&versions.released, "default").await;
    verifies(&versions.current, "default").await;

    let server = says(&versions.current, "What is my dog called?").await;
    let locked = versions.current.run(&["upgrade", "finish"]).await.exits(1);
    assert!(locked.stderr.contains("stop the server"), "{}", locked.stderr);
    server.stop().await;
    versions.current.run(&["upgrade", "finish"]).await.exits(0);
    assert!(log_formats(&versions.current).await.iter().all(|format| *format == 2));
    versions.current.run(&["upgrade", "finish"]).await.exits(0);
    is_refused(&versions).await;
    let server = says(&versions.current, "Is anything lost?").await;
    let state = server.state("default").await;
    assert_eq!(state["step"], 5, "{state}");
    equals_replay(&server, &versions.current, "default").await;
    server.stop().await;
    verifies(&versions.current, "default").await;
}

/// The recorded fixture, as the released binary reads it.
#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_of_format_1_is_one_of_the_released_binary() {
    let database = TestDatabase::sqlite();
    let file = database.folder().unwrap().join("mlsdm.db");
    fs::copy("tests/format1/log.db", file).unwrap();
    let key = fs::read_to_string("tests/format1/log.key").unwrap();
    let env = TestEnv::new(database.url()).with("MLSDM_CONTENT_KEY", key.trim());
    for engine in ["default", "busy", "frugal", "copy"] {
        verifies(&env.clone().program(released()), engine).await;
    }
}
