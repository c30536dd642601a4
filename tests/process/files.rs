//! SQLite files that are removed or replaced while a server uses them.

use std::fs;

use mlsdm::testkit::{TestDatabase, TestEnv, eventually, send};

/// The exit code of a fault.
const FAULT: i32 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_moved_away_is_noticed() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    server.say("ann", "My dog is called Rex").await;
    let path = database.folder().unwrap().join("mlsdm.db");
    let away = path.with_extension("away");
    fs::rename(&path, &away).unwrap();

    // noticed in the background, without a request
    server.until_log_has("store.file_changed", 1).await;
    let refused = send(server.ask("default", "ann", "Is anybody there?")).await.unwrap();
    refused.is_problem(503, "E401");
    assert!(
        refused.body["detail"].as_str().unwrap().contains("removed or replaced"),
        "{refused:?}"
    );
    eventually("the readiness probe fails", async || {
        let ready = send(server.get("/health/ready")).await.unwrap();
        if ready.status == 503 { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
    assert_eq!(send(server.get("/health/live")).await.unwrap().status, 200);

    fs::rename(&away, &path).unwrap();
    server.until_log_has("store.file_restored", 1).await;
    server.say("ann", "What is my dog called?").await;
    assert_eq!(server.log().matches("store.file_changed").count(), 1, "reported once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_begin_an_empty_log_beside_the_key_of_a_missing_one() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url()).without("MLSDM_CONTENT_KEY");
    let server = env.serve().await;
    server.say("ann", "My dog is called Rex").await;
    server.stop().await;
    let path = database.folder().unwrap().join("mlsdm.db");
    let away = path.with_extension("away");
    fs::rename(&path, &away).unwrap();
    for arguments in [["serve"], ["check"]] {
        let run = env.run(&arguments).await.exits(FAULT);
        let told = run.stdout + &run.stderr;
        assert!(told.contains("is missing, but its key file"), "{told}");
    }
    assert!(!path.exists(), "a refused start creates nothing");
    fs::rename(&away, &path).unwrap();
    let server = env.serve().await;
    assert_eq!(server.say("ann", "What is my dog called?").await["accepted"], true);
    server.stop().await;
}
