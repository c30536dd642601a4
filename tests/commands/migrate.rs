use actix_web::{test, web};
use mlsdm::{
    config::{Config, Sources},
    domain::{ids::EngineId, policy::Policy},
    http::create_app,
    lifecycle::Tasks,
    startup,
    store::{Options, Record, Store},
    testkit::{CONTENT_KEY, CommandOutput, TestDatabase, open_authenticator, run_mlsdm},
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::log::{Process, clear, eventful, say};

/// The target configuration, with another dimension.
const SMALLER: (&str, &str) = ("MLSDM_DIM", "64");

fn migrate(url: &str, from: &str, to: &str, env: &[(&str, &str)]) -> CommandOutput {
    let run = run_mlsdm(url, &["engine", "migrate", from, to, "--json"], env);
    for secret in ["Rex", "cat of house"] {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{run:?}");
    }
    run
}

async fn log(store: &Store, engine: &str) -> Vec<Record> {
    store.read(&engine.parse().unwrap(), 0, 1_000).await.unwrap()
}

/// The positions in the context of an engine's last response.
async fn used(store: &Store, engine: &str) -> Vec<Value> {
    let log = log(store, engine).await;
    let last = log.iter().rfind(|record| record.kind == "step.completed").unwrap();
    clear(last)["context"]["used"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_engine_is_copied_once_and_the_actor_is_recorded() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let first = migrate(database.url(), "default", "copy", &[SMALLER]).exits(0).json();
    // eventful leaves a capacity of 5
    let counts = ["copied", "skipped", "refused", "already", "position"];
    let of = |report: &Value| counts.map(|count| report[count].as_u64().unwrap());
    assert_eq!(of(&first), [5, 0, 0, 0, 7]);
    let again = migrate(database.url(), "default", "copy", &[SMALLER]).exits(0).json();
    assert_eq!(of(&again), [0, 0, 0, 5, 7]);
    assert_eq!(again["chain_hash"], first["chain_hash"]);
    let people = run_mlsdm(database.url(), &["engine", "migrate", "default", "copy"], &[SMALLER]);
    assert!(people.exits(0).stdout.contains("already     5"));

    let store = Store::open_read_only(&Options::new(database.url())).await.unwrap();
    let log = log(&store, "copy").await;
    store.close().await;
    assert_eq!(clear(&log[0])["policy"]["dimension"], 64);
    assert_eq!(clear(&log[0])["policy"]["capacity"], 5);
    assert_eq!(clear(&log[1])["reason"], "a copy of engine default");
    for added in &log[2..] {
        assert_eq!((added.kind.as_str(), added.step), ("memory.added", None));
        assert_eq!(added.actor.as_deref(), Some("auditor"));
        assert_eq!(clear(added)["actor"], "auditor");
        assert_eq!(clear(added)["source"]["engine"], "default");
    }
    let verified =
        run_mlsdm(database.url(), &["replay", "--verify", "--json"], &[]).exits(0).json();
    let copy = &verified["engines"][0];
    assert_eq!((&copy["engine"], &copy["verified"]), (&json!("copy"), &json!(7)));
    run_mlsdm(database.url(), &["audit", "verify"], &[]).exits(0);
}

#[tokio::test]
async fn a_divergence_is_found_in_a_copy_too() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    migrate(database.url(), "default", "copy", &[SMALLER]).exits(0);
    // treat the copy as the only engine
    let store = Store::open_read_only(&Options::new(database.url())).await.unwrap();
    let id: EngineId = "copy".parse().unwrap();
    let mut rows = store.read_for_audit(&id, 0, 100).await.unwrap();
    let engine = store.engine(&id).await.unwrap().unwrap();
    let refs: Vec<_> = rows.iter().filter_map(|(record, _)| record.subject_ref).collect();
    let subjects = store.subjects_by_ref(&id, &refs).await.unwrap();
    store.close().await;
    let whole = crate::log::Copy { engine, rows: rows.clone(), subjects };
    for (pointer, value) in [
        ("/key", json!(1)),
        ("/trace_norms/1", json!(7.5)),
        ("/source/position", json!(1)),
        ("/n", json!(9)),
    ] {
        let mut altered = whole.clone();
        altered.set(4, pointer, value);
        let altered = altered.write().await;
        let run = run_mlsdm(altered.url(), &["replay", "--verify", "--json"], &[]).exits(1);
        assert!(run.stderr.contains("position 4"), "{pointer}: {run:?}");
    }
    // a missing item shows in the victims and numbers of the items after it
    rows.remove(3);
    let shorter = crate::log::Copy { rows, ..whole }.write().await;
    run_mlsdm(shorter.url(), &["replay", "--verify"], &[]).exits(1);
}

#[tokio::test]
async fn refusals_name_the_remediation() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let url = database.url();
    let itself = migrate(url, "default", "default", &[]).exits(2);
    assert!(itself.stderr.contains("choose another name"), "{itself:?}");
    let nobody = migrate(url, "nobody", "copy", &[]).exits(1);
    assert!(nobody.stderr.contains("no engine \"nobody\""), "{nobody:?}");
    run_mlsdm(url, &["engine", "migrate", "default", "Bad Name"], &[]).exits(2);
    run_mlsdm(url, &["engine", "migrate", "default"], &[]).exits(2);
    migrate(url, "default", "copy", &[SMALLER]).exits(0);
    let used = migrate(url, "copy", "default", &[]).exits(1);
    assert!(used.stderr.contains("does not exist yet"), "{used:?}");
    let other = [("MLSDM_CONTENT_KEY", &*"31".repeat(32))];
    let key = migrate(url, "default", "third", &other).exits(1);
    assert!(key.stderr.contains("MLSDM_CONTENT_KEY"), "{key:?}");

    let away = [
        ("MLSDM__EMBEDDINGS__PROVIDER", "openai"),
        ("MLSDM__EMBEDDINGS__MODEL", "small"),
        ("MLSDM__EMBEDDINGS__BASE_URL", "http://127.0.0.1:9/v1"),
    ];
    let run = migrate(url, "default", "third", &away).exits(3);
    assert!(run.stderr.contains("cannot be reached"), "{run:?}");
    // not the embedder of the copy
    let minilm =
        [("MLSDM__EMBEDDINGS__PROVIDER", "minilm"), ("MLSDM__EMBEDDINGS__PATH", "/nonexistent")];
    migrate(url, "default", "copy", &minilm).exits(2);
    migrate("postgres://nobody@127.0.0.1:9/nothing", "default", "copy", &[]).exits(3);

    let server = Store::open(&Options::new(url)).await.unwrap();
    let locked = migrate(url, "default", "copy", &[SMALLER]).exits(1);
    assert!(locked.stderr.contains("stop the server"), "{locked:?}");
    server.close().await;
}

#[actix_web::test]
async fn a_server_serves_the_copy_in_place_of_the_original() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    let engine = process.default(&Policy::of_new_engine()).await;
    say(&engine, "ann", "My dog is called Rex", 0.9).await;
    drop(engine);
    process.stop().await;
    migrate(database.url(), "default", "copy", &[SMALLER]).exits(0);
    // the original does not match the configuration any more
    let run = run_mlsdm(database.url(), &["check"], &[SMALLER]).exits(1);
    assert!(run.stdout.contains("mlsdm engine migrate"), "{run:?}");
    let moved = [SMALLER, ("MLSDM__ENGINE__DEFAULT", "copy")];
    run_mlsdm(database.url(), &["check"], &moved).exits(0);
    let applied = run_mlsdm(database.url(), &["policy", "apply", "--json"], &moved).exits(0).json();
    assert_eq!((&applied["engine"], &applied["outcome"]), (&json!("copy"), &json!("unchanged")));

    let sources = Sources {
        file: None,
        dir: database.folder().unwrap().to_owned(),
        env: [("DATABASE_URL", database.url()), ("MLSDM_CONTENT_KEY", CONTENT_KEY)]
            .into_iter()
            .chain(moved)
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        flags: Vec::new(),
    };
    let config = Config::load(sources).unwrap().config;
    let tasks = Tasks::new(Handle::current());
    let llm = startup::llm(&config).await.unwrap();
    let engines = startup::start_engines(&config, llm, &tasks).await.unwrap();
    let state =
        web::Data::new(startup::state(&config, open_authenticator(&tasks).await, engines, tasks));
    let app = test::init_service(create_app(state)).await;
    let body = json!({ "prompt": "What is my dog called?", "moral_value": 0.9 });
    let request = test::TestRequest::post().uri("/v1/generate").set_json(body);
    let request = request.insert_header(("x-mlsdm-end-user", "ann")).to_request();
    let answer: Value = test::call_and_read_body_json(&app, request).await;
    assert_eq!((&answer["context_items"], &answer["step"]), (&json!(1), &json!(1)), "{answer}");
    let request = test::TestRequest::get().uri("/v1/state").to_request();
    let state: Value = test::call_and_read_body_json(&app, request).await;
    assert_eq!(state["engine"], "copy");
    let request = test::TestRequest::get().uri("/health/ready").to_request();
    assert_eq!(test::call_service(&app, request).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_a_migration_runs_next_to_a_server() {
    let database = TestDatabase::postgres().await;
    let server = Process::start(&database).await;
    let engine = server.default(&Policy::default()).await;
    say(&engine, "ann", "My dog is called Rex", 0.9).await;
    let url = database.url().to_owned();
    let run = tokio::task::spawn_blocking(move || migrate(&url, "default", "copy", &[SMALLER]));
    assert_eq!(run.await.unwrap().exits(0).json()["copied"], 1);
    // the embedder of the server supports every dimension
    let copy = server.engines.get(&"copy".parse().unwrap()).await.unwrap();
    say(&copy, "ann", "What is my dog called?", 0.9).await;
    say(&engine, "bob", "What is my dog called?", 0.9).await;
    let store = server.engines.parts().store.clone();
    assert_eq!(used(&store, "copy").await, [json!(3)]);
    assert_eq!(used(&store, "default").await, [json!(null); 0]);
    drop((engine, copy, store));
    server.stop().await;
}
