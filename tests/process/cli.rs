//! The commands of the binary and their exit codes.

use mlsdm::testkit::{Backend, TestDatabase, TestEnv, TestServer, on_every_database, send};

use crate::history::History;

/// Exit codes.
const GOOD: i32 = 0;
const FINDING: i32 = 1;
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;

on_every_database!(TestDatabase: commands_work_while_a_server_runs);

async fn commands_work_while_a_server_runs(database: TestDatabase) {
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    reads(&server).await;
    engines(&server).await;
    policies(&server, &env, database.backend()).await;
    for arguments in [&["replay", "--verify"][..], &["replay"], &["audit", "verify"], &["check"]] {
        env.run(arguments).await.exits(GOOD);
    }
    server.stop().await;
}

async fn reads(server: &TestServer) {
    let answer = server.say("ann", "My dog is called Rex").await;
    server.run(&["health"]).await.exits(GOOD);
    let state = server.run(&["state", "--json"]).await.exits(GOOD).json();
    assert_eq!(state["position"], answer["position"]);
    let text = server.run(&["state"]).await.exits(GOOD).stdout;
    assert!(text.contains("state_digest"), "{text}");
    let arguments = ["events", "--json", "--type", "step.completed"];
    let events = server.run(&arguments).await.exits(GOOD).json();
    assert_eq!(events["events"][0]["chain_hash"], answer["chain_hash"]);
    assert!(!events.to_string().contains("Rex"), "an event contains a prompt");
}

async fn engines(server: &TestServer) {
    server.run(&["engine", "create", "support"]).await.exits(GOOD);
    server.run(&["engine", "create", "support"]).await.exits(FINDING);
    server.run(&["engine", "create", "Bad Name"]).await.exits(USAGE);
    let list = server.run(&["engine", "list", "--json"]).await.exits(GOOD).json();
    let names: Vec<_> =
        list["engines"].as_array().unwrap().iter().map(|e| e["engine_id"].clone()).collect();
    assert_eq!(names, ["default", "support"]);

    server.run(&["engine", "shutdown", "support", "--reason", "a drill"]).await.exits(GOOD);
    let refused = send(server.ask("support", "ann", "Hello")).await.unwrap();
    refused.is_problem(503, "E701");
    let state = server.run(&["state", "--engine", "support", "--json"]).await.exits(GOOD).json();
    let shutdown = &state["emergency_shutdown"];
    assert_eq!((&shutdown["active"], &shutdown["reason"]), (&true.into(), &"a drill".into()));
    server.say("ann", "The other engine goes on").await;
    server.run(&["engine", "resume", "support", "--reason", "over"]).await.exits(GOOD);
    send(server.ask("support", "ann", "Hello")).await.unwrap().ok();
    server.run(&["state", "--engine", "nowhere"]).await.exits(FINDING);
}

/// On SQLite a changed configuration applies at the next start, on PostgreSQL only by command.
async fn policies(server: &TestServer, env: &TestEnv, backend: Backend) {
    let shown = server.run(&["policy", "show", "--json"]).await.exits(GOOD).json();
    assert_eq!(shown["capacity"], 20_000, "{shown}");
    if backend == Backend::Postgres {
        let changed = env.clone().with("MLSDM_CAPACITY", 100);
        changed.run(&["policy", "apply"]).await.exits(GOOD);
        server.until("/v1/state", |state| state["policy"]["capacity"] == 100).await;
        let history = History::read(server, "default").await;
        assert_eq!(history.of("policy.changed").len(), 1);
        // the second time changes nothing
        changed.run(&["policy", "apply"]).await.exits(GOOD);
        assert_eq!(History::read(server, "default").await.of("policy.changed").len(), 1);
        env.run(&["policy", "apply"]).await.exits(GOOD);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_applies_at_the_start_if_the_log_has_one_owner() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    env.serve().await.stop().await;
    let server = env.clone().with("MLSDM_CAPACITY", 100).serve().await;
    assert_eq!(server.state("default").await["policy"]["capacity"], 100);
    server.stop().await;
    let server = env.clone().with("MLSDM_CAPACITY", 100).serve().await;
    assert_eq!(History::read(&server, "default").await.of("policy.changed").len(), 1);
    server.stop().await;
    // the dimension of stored vectors cannot change
    let refused = env.with("MLSDM_DIM", 128).run(&["serve"]).await;
    assert_ne!(refused.code, GOOD, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_needs_a_command_if_replicas_share_the_log() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    env.serve().await.stop().await;
    let server = env.with("MLSDM_CAPACITY", 100).serve().await;
    assert_eq!(server.state("default").await["policy"]["capacity"], 20_000);
    assert_eq!(server.read("/health").await["policy_drift"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_an_unreachable_server_have_different_exit_codes() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let nobody = ["--server", "http://127.0.0.1:9"];
    for arguments in [&["state"][..], &["health"], &["events"], &["engine", "list"]] {
        let run = env.run(&[arguments, &nobody].concat()).await.exits(UNREACHABLE);
        assert!(run.stderr.contains("mlsdm serve"), "the error names the remedy: {run:?}");
    }
    for arguments in [&["dance"][..], &["state", "--loud"], &["engine", "shutdown"]] {
        env.run(arguments).await.exits(USAGE);
    }
    let gone = TestEnv::new("postgres://postgres@127.0.0.1:9/nowhere")
        .with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 1);
    for arguments in [&["replay"][..], &["audit", "verify"], &["check"], &["serve"]] {
        let run = gone.run(arguments).await.exits(UNREACHABLE);
        assert!(!run.stderr.is_empty(), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_work_is_refused() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let invalid = [
        ("API_KEY", "a-key-of-somebody"),
        ("LLM_BACKEND", "openai"),
        ("MLSDM_OIDC_ENABLED", "true"),
        ("MLSDM__TLS__CERT", "server.pem"),
        ("MLSDM__API__PROT", "9000"),
        ("API_PORT", "70000"),
        ("MLSDM_CAPACITY", "many"),
    ];
    for (name, value) in invalid {
        let run = env.clone().with(name, value).run(&["check"]).await.exits(USAGE);
        assert!(!run.stderr.contains("a-key-of-somebody"), "{run:?}");
        assert!(!run.stderr.is_empty(), "{name}");
    }
    let exposed = env.clone().with("API_HOST", "0.0.0.0").run(&["serve"]).await.exits(USAGE);
    assert!(exposed.stderr.contains("loopback"), "{exposed:?}");
    let shown = env.with("MLSDM_CAPACITY", 77).run(&["config"]).await.exits(GOOD);
    assert!(
        shown.stdout.contains("MLSDM_CAPACITY"),
        "values are shown with their sources: {shown:?}"
    );
    assert!(!shown.stdout.contains("424242"), "secrets are not shown");
}

/// A SQLite file has one server. A second one exits and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_sqlite_is_refused() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    let second = env.run(&["serve"]).await;
    assert_ne!(second.code, GOOD, "{second:?}");
    assert!(second.stderr.contains("another process"), "{second:?}");
    server.say("ann", "Still here").await;
    server.stop().await;
}
