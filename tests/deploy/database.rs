//! A database that cannot be used: the message names host, port and cause, and the exit code tells an error
//! of the configuration from a server that is away. A running server recovers by itself.

use std::net::TcpListener;

use mlsdm::testkit::{
    TestDatabase, TestEnv, TestServer, eventually,
    postgres::{free_port, private_cluster},
    send,
};

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;

/// `serve` on this database ends with this exit code; gives the end of its standard error.
async fn refused(url: &str, code: i32) -> String {
    short(url).run(&["serve"]).await.exits(code).stderr
}

fn short(url: &str) -> TestEnv {
    TestEnv::new(url).with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 1)
}

/// The URL with another user, password and database.
fn with(url: &str, login: &str, database: &str) -> String {
    let (_, rest) = url.split_once('@').unwrap();
    let (place, _) = rest.split_once('/').unwrap();
    format!("postgres://{login}@{place}/{database}")
}

fn place(url: &str) -> &str {
    url.split_once('@').unwrap().1.split('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_unreachable_and_named() {
    let port = free_port();
    let text = refused(&format!("postgres://nobody@127.0.0.1:{port}/none"), UNREACHABLE).await;
    assert!(text.contains(&format!("127.0.0.1:{port}: ")), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    assert!(!text.contains("pool"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_route_is_unreachable_and_named() {
    // in a network namespace of its own, which has no routes
    let env = short("postgres://nobody@192.0.2.1:5432/none");
    let env = env.wrapped("exec unshare --user --map-root-user --net -- \"$@\"");
    let text = env.run(&["check"]).await.exits(UNREACHABLE).stderr;
    assert!(text.contains("192.0.2.1:5432: "), "{text}");
    assert!(text.contains("Network is unreachable"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_unreachable_and_named() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = silent.local_addr().unwrap();
    let text = refused(&format!("postgres://nobody@{place}/none"), UNREACHABLE).await;
    assert!(text.contains(&format!("{place}: ")), "{text}");
    assert!(text.contains("no answer within"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_named() {
    let text = refused("postgres://nobody@database.invalid/none", UNREACHABLE).await;
    assert!(text.contains("database.invalid:5432: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_an_error_of_the_configuration() {
    let database = TestDatabase::postgres().await;
    let url = with(database.url(), "postgres", "no_such_database");
    let text = refused(&url, USAGE).await;
    assert!(text.contains(place(database.url())), "{text}");
    assert!(text.contains("database \"no_such_database\" does not exist"), "{text}");
    assert!(text.contains("database.url"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_an_error_of_the_configuration() {
    let cluster = private_cluster();
    let database = TestDatabase::within(&cluster).await;
    cluster.demand_password("ann");
    let url = with(database.url(), "ann:not-the-password", "postgres");
    let text = refused(&url, USAGE).await;
    assert!(text.contains(place(database.url())), "{text}");
    assert!(text.contains("password authentication failed for user \"ann\""), "{text}");
    assert!(!text.contains("not-the-password"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_says_that_its_database_is_away_and_recovers() {
    let cluster = private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let env = TestEnv::new(database.url()).with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 1);
    let server = env.serve().await;
    cluster.stop();
    let problem = until_not_ready(&server).await;
    assert!(!problem.contains("127.0.0.1"), "probes are public: {problem}");
    let cause = format!("{}: Connection refused", place(database.url()));
    server.until_log_has(&cause, 1).await;
    cluster.start();
    server.until("/health/ready", |ready| ready["status"] == "ready").await;
    server.say("ann", "Hello").await;
    server.stop().await;
}

/// The body of the first refusal of the readiness probe.
async fn until_not_ready(server: &TestServer) -> String {
    eventually("a server that is not ready", async || {
        match send(server.get("/health/ready")).await {
            Ok(response) if response.status == 503 => {
                let code = response.body["code"].clone();
                assert_eq!(code, "E401", "{response:?}");
                Ok(response.body.to_string())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await
}
