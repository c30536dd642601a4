use mlsdm::{
    domain::policy::Policy,
    store::{Options, Store},
    testkit::{TestDatabase, run_mlsdm},
};
use serde_json::json;

use crate::log::{Copy, Process, clear};

const APPLY: [&str; 3] = ["policy", "apply", "--json"];

#[tokio::test]
async fn a_configuration_is_applied_once_and_its_actor_is_recorded() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    drop(process.default(&Policy::of_new_engine()).await);
    process.stop().await;

    let same = run_mlsdm(database.url(), &APPLY, &[]).exits(0).json();
    assert_eq!((&same["outcome"], &same["position"]), (&json!("unchanged"), &json!(1)));
    let smaller = [("MLSDM_CAPACITY", "100")];
    let applied = run_mlsdm(database.url(), &APPLY, &smaller).exits(0).json();
    assert_eq!((&applied["outcome"], &applied["position"]), (&json!("applied"), &json!(2)));
    assert_eq!(applied["diff"], json!({ "capacity": { "before": 20_000, "after": 100 } }));
    let again = run_mlsdm(database.url(), &APPLY, &smaller).exits(0).json();
    assert_eq!((&again["outcome"], &again["position"]), (&json!("unchanged"), &json!(2)));

    let log = Copy::of(&database).await;
    let (changed, _) = &log.rows[1];
    assert_eq!(changed.chain_hash.to_string(), applied["chain_hash"]);
    assert_eq!(
        (changed.kind.as_str(), changed.actor.as_deref()),
        ("policy.changed", Some("auditor"))
    );
    assert_eq!(clear(changed)["diff"], json!(["capacity"]));
    let text = run_mlsdm(database.url(), &["policy", "apply"], &[("MLSDM_CAPACITY", "7")]).exits(0);
    assert!(text.stdout.contains("capacity"), "{text:?}");
    let fixed = run_mlsdm(database.url(), &APPLY, &[("MLSDM_DIM", "128")]).exits(1);
    assert!(fixed.stderr.contains("dimension"), "{fixed:?}");
    let nobody = ["policy", "apply", "--engine", "nobody"];
    run_mlsdm(database.url(), &nobody, &[]).exits(1);
}

#[tokio::test]
async fn an_older_engine_adopts_the_defaults_of_new_ones_when_an_operator_applies_them() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    drop(process.default(&Policy::default()).await);
    process.stop().await;
    let applied = run_mlsdm(database.url(), &APPLY, &[]).exits(0).json();
    let changes = json!({
        "moral.scope": { "before": "last_message", "after": "turn" },
        "record.messages": { "before": "all", "after": "new" },
    });
    assert_eq!(applied["diff"], changes);
}

#[tokio::test]
async fn the_default_engine_is_created_in_a_new_database() {
    let database = TestDatabase::sqlite();
    let created = run_mlsdm(database.url(), &APPLY, &[]).exits(0).json();
    assert_eq!(created["outcome"], "created");
}

#[tokio::test]
async fn a_locked_database_is_not_written() {
    let database = TestDatabase::sqlite();
    let server = Store::open(&Options::new(database.url())).await.unwrap();
    let run = run_mlsdm(database.url(), &APPLY, &[]).exits(1);
    assert!(run.stderr.contains("stop the server"), "{run:?}");
    server.close().await;
}
