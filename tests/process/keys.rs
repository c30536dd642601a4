//! API keys of running servers: created by command, revoked under load, still valid after a crash.

use std::time::Instant;

use futures_util::future::join_all;
use tokio::{sync::watch, time::timeout};

use mlsdm::testkit::{DEADLINE, TestDatabase, TestEnv, TestServer, on_every_database, send};

const ADMIN: &str = "geheim-admin-key-4711";

/// The number of callers that send requests continuously.
const CALLERS: usize = 8;

fn env(database_url: &str) -> TestEnv {
    let env = TestEnv::new(database_url).with("MLSDM__AUTH__MODE", "keys");
    env.with("ADMIN_API_KEY", ADMIN).with("MLSDM_API_KEY", ADMIN)
}

/// Creates a key by command; gives its id and its secret.
async fn created(server: &TestServer, arguments: &[&str]) -> (String, String) {
    let create = ["key", "create", "bot", "--role", "service", "--json"];
    let key = server.run(&[&create, arguments].concat()).await.exits(0).json();
    (key["id"].as_str().unwrap().to_owned(), key["key"].as_str().unwrap().to_owned())
}

async fn status(server: &TestServer, key: &str) -> u16 {
    send(server.get("/v1/me").header("x-api-key", key)).await.unwrap().status
}

/// Sends requests until one has this status.
async fn until(server: &TestServer, key: &str, wanted: u16) {
    let becomes = async { while status(server, key).await != wanted {} };
    timeout(DEADLINE, becomes).await.expect("a response with the status");
}

/// Sends requests until `stop` is set, and one more. Gives the start and the status of each.
async fn ask(server: &TestServer, key: &str, stop: watch::Receiver<bool>) -> Vec<(Instant, u16)> {
    let mut seen = Vec::new();
    while !*stop.borrow() {
        seen.push((Instant::now(), status(server, key).await));
    }
    seen.push((Instant::now(), status(server, key).await));
    seen
}

on_every_database!(TestDatabase: keys_survive_a_kill_and_end_when_revoked);

async fn keys_survive_a_kill_and_end_when_revoked(database: TestDatabase) {
    let env = env(database.url());
    let server = env.serve().await;
    let (id, key) = created(&server, &[]).await;
    let (kept_id, kept) =
        created(&server, &["--ttl", "1h", "--rate", "100/60", "--tokens", "9"]).await;

    let (stopping, stop) = watch::channel(false);
    let revoke = async {
        until(&server, &key, 200).await;
        server.run(&["key", "revoke", &id]).await.exits(0);
        let revoked = Instant::now();
        stopping.send_replace(true);
        revoked
    };
    let asking = join_all((0..CALLERS).map(|_| ask(&server, &key, stop.clone())));
    let (seen, revoked) = tokio::join!(asking, revoke);
    let seen: Vec<_> = seen.into_iter().flatten().collect();
    assert!(seen.iter().any(|(_, status)| *status == 200), "the key was valid");
    let late = seen.iter().filter(|(asked, _)| *asked >= revoked);
    assert!(late.clone().count() >= CALLERS && late.clone().all(|(_, status)| *status == 401));
    assert_eq!(status(&server, &kept).await, 200);
    let log = server.log();
    server.kill().await;

    let server = env.serve().await;
    assert_eq!((status(&server, &key).await, status(&server, &kept).await), (401, 200));
    let rotated =
        server.run(&["key", "rotate", &kept_id, "--grace", "1h", "--json"]).await.exits(0);
    let fresh = rotated.json()["key"].as_str().unwrap().to_owned();
    assert_eq!((status(&server, &fresh).await, status(&server, &kept).await), (200, 200));
    let rotated = server.run(&["key", "rotate", &kept_id, "--json"]).await.exits(0);
    let newest = rotated.json()["key"].as_str().unwrap().to_owned();
    assert_eq!((status(&server, &newest).await, status(&server, &fresh).await), (200, 401));
    let list = server.run(&["key", "list"]).await.exits(0).stdout;
    assert!(list.contains(&kept_id) && !list.contains(&id), "{list}");
    let logs = log + &server.log();
    for secret in [&key, &kept, &fresh, &newest] {
        assert!(!logs.contains(secret.rsplit('_').next().unwrap()), "a secret in the log");
    }
    let count = "SELECT CAST(count(*) AS TEXT) FROM events WHERE type LIKE 'key.%'";
    let keys = database.query_text(count).await;
    assert_eq!(keys, "5", "two keys, a revocation and two rotations");
    env.run(&["audit", "verify", "--engine", "_system"]).await.exits(0);
    env.run(&["replay", "--verify", "--engine", "_system"]).await.exits(0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_valid_on_both_replicas_until_it_is_revoked_on_one() {
    let database = TestDatabase::postgres().await;
    let env = env(database.url());
    let (one, two) = tokio::join!(env.serve(), env.serve());
    let (id, key) = created(&one, &[]).await;
    assert_eq!(status(&one, &key).await, 200, "immediately on the replica that created it");
    until(&two, &key, 200).await;
    two.run(&["key", "revoke", &id]).await.exits(0);
    assert_eq!(status(&two, &key).await, 401, "immediately on the replica that revoked it");
    until(&one, &key, 401).await;
    one.stop().await;
    two.stop().await;
}
