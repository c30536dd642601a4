//! An engine whose log cannot be folded is untrusted: it can be read and refuses commands. Other engines
//! are not affected.

use mlsdm::{
    domain::{
        ids::{CommandId, EngineId, Sha256},
        policy::Policy,
    },
    engine::{StepError, step},
    store::{Record, Store, chain, keys::ContentKey, writer::WriteError},
    testkit::{
        CONTENT_KEY,
        app::{TestApp, caller, generate},
    },
};
use tokio_util::sync::CancellationToken;

/// Appends an event with a valid chain, as a newer version would. Returns its position.
async fn append(store: &Store, engine: &EngineId, kind: &str, version: u32, payload: &str) -> u64 {
    let key = store.mac_key(&ContentKey::from_text(CONTENT_KEY).unwrap()).await.unwrap();
    let mut append = store.begin(engine).await.unwrap();
    let mut record = Record {
        position: append.head.position + 1,
        command_id: CommandId::new(99),
        kind: kind.to_owned(),
        schema_version: version,
        decide_version: 1,
        recorded_at: append.now,
        step: None,
        request_id: None,
        actor: None,
        subject_ref: None,
        trace_id: None,
        payload: payload.as_bytes().to_vec(),
        content_hash: None,
        leaf_hash: Sha256::default(),
        chain_hash: Sha256::default(),
        mac: None,
    };
    chain::extend(engine, append.head.chain_hash, Some(&key), &mut record);
    let position = record.position;
    append.insert_events(&[record]).await.unwrap();
    append.commit().await.unwrap();
    position
}

/// The refusal of a step of an engine, which is loaded up to the event at position 3.
async fn refusal(app: &TestApp, id: &EngineId) -> String {
    let engine = app.engines.get(id).await.unwrap();
    assert_eq!(engine.view().state.position, 3);
    let alive = CancellationToken::new();
    let refused = step::run(&engine, &caller("ann"), &generate("Hello"), None, &alive).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, StepError::Write(WriteError::Untrusted(_))), "{error}");
    error.to_string()
}

async fn other_engines_are_not_affected(app: TestApp) {
    let bad = [
        ("unknown", "step.dreamt", 1, "{}"),
        ("newer", "engine.shutdown", 3, "{}"),
        ("damaged", "engine.shutdown", 1, "{\"actor\":4"),
    ];
    for (id, kind, version, clear) in bad {
        let id: EngineId = id.parse().unwrap();
        app.engines.create(&id, Policy::default(), None, "test").await.unwrap();
        let engine = app.engines.get(&id).await.unwrap();
        let alive = CancellationToken::new();
        step::run(&engine, &caller("ann"), &generate("Hello there"), None, &alive).await.unwrap();
        drop(engine);
        let position = append(&app.engines.parts().store, &id, kind, version, clear).await;
        assert_eq!(position, 4);
    }
    let app = app.restart().await;
    for (id, kind, ..) in bad {
        for _ in 0..2 {
            let error = refusal(&app, &id.parse().unwrap()).await;
            assert!(error.contains(&format!("engine {id}, position 4")), "{error}");
            assert!(error.contains(kind), "{error}");
        }
    }
    let response = app.ask("ann", "Hello there").await.unwrap();
    assert_eq!(response.answer.step, 1);
}

#[tokio::test]
async fn a_damaged_sqlite_log_does_not_affect_other_engines() {
    other_engines_are_not_affected(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn a_damaged_postgres_log_does_not_affect_other_engines() {
    other_engines_are_not_affected(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_loaded_engine_refuses_requests_after_an_unknown_event() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "Hello there").await.unwrap();
    let before = app.digest().await;
    let id = EngineId::default();
    append(&app.engines.parts().store, &id, "step.dreamt", 1, "{}").await;
    for _ in 0..2 {
        let refused = app.ask("ann", "And again").await.unwrap_err().to_string();
        assert!(refused.contains("position 4") && refused.contains("step.dreamt"), "{refused}");
    }
    assert_eq!(app.digest().await, before);
    assert_eq!(app.model.requests().len(), 1);
}
