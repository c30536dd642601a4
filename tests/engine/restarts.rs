//! A restart restores the state, and abandons steps that the former process left open.

use mlsdm::{
    domain::{digest, event::Event},
    engine::step,
    store::codec,
    testkit::app::{Reaction, TestApp, caller, generate},
};
use tokio_util::sync::CancellationToken;

/// Leaves a step open, as a killed process does: the future of the step is dropped.
pub(crate) async fn orphan(app: &TestApp) {
    let asked = app.model.requests().len();
    app.model.script([Reaction::Hang]);
    let engine = app.engine().await;
    let (caller, request) = (caller("ann"), generate("Never to be answered"));
    let (alive, killed) = (CancellationToken::new(), app.model.asked(asked + 1));
    tokio::select! {
        _ = step::run(&engine, &caller, &request, None, &alive) => panic!("the model hangs"),
        () = killed => {}
    }
    assert_eq!(engine.view().state.open.size(), 1);
}

async fn run_steps(app: &TestApp) {
    for i in 0..20 {
        let mut request = generate(&format!("Prompt number {i} about topic {}", i % 4));
        request.moral_value = Some(if i % 6 == 5 { 0.2 } else { 0.9 });
        if i % 7 == 3 {
            app.model.script([Reaction::Say(String::new())]);
        }
        // some are rejected, some fail
        drop(app.send(caller(&format!("person {}", i % 3)), request).await);
    }
}

async fn state_is_restored(app: TestApp) {
    run_steps(&app).await;
    let (before, chain) = (app.digest().await, app.engine().await.view().chain_hash);
    let traces = digest::traces(app.engine().await.view().state.traces.as_ref());
    let app = app.restart().await;
    let view = app.engine().await.view();
    assert_eq!(app.digest().await, before);
    assert_eq!(view.chain_hash, chain);
    assert_eq!(digest::traces(view.state.traces.as_ref()), traces);
    assert!(traces.is_some());
    // and further steps follow
    let response = app.ask("person 1", "One more").await.unwrap();
    assert_eq!(response.answer.step, 21);
}

#[tokio::test]
async fn the_state_is_restored_from_sqlite() {
    state_is_restored(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn the_state_is_restored_from_postgres() {
    state_is_restored(TestApp::postgres().await).await;
}

#[tokio::test]
async fn the_sole_owner_of_a_log_abandons_open_steps_at_startup() {
    let app = TestApp::sqlite().await;
    orphan(&app).await;
    let app = app.restart().await;
    assert_eq!(app.engine().await.view().state.open.size(), 0);
    let record = app.log().await.pop().unwrap();
    let event = codec::decode(&record.kind, record.schema_version, &record.payload).unwrap();
    let Event::StepFailed(failed) = event else { panic!("{event:?}") };
    assert_eq!(failed.code, "sole_owner");
    // only once
    let length = app.log().await.len();
    let app = app.restart().await;
    app.engine().await;
    assert_eq!(app.log().await.len(), length);
}

#[tokio::test]
async fn a_replica_abandons_open_steps_only_after_their_deadline() {
    let app = TestApp::postgres().await;
    orphan(&app).await;
    let app = app.restart().await;
    assert_eq!(app.engine().await.view().state.open.size(), 1);
    app.engines.abandon_expired().await;
    assert_eq!(app.engine().await.view().state.open.size(), 1);
    let settings = mlsdm::engine::Settings::default();
    app.pass(settings.total_timeout + settings.grace + std::time::Duration::from_secs(1));
    app.engines.abandon_expired().await;
    assert_eq!(app.engine().await.view().state.open.size(), 0);
    assert_eq!(app.kinds().await.last().unwrap(), "step.failed");
}

#[tokio::test]
async fn an_idempotency_key_survives_a_restart() {
    let app = TestApp::sqlite().await;
    let mut once = caller("ann");
    once.idempotency_key = Some("once".to_owned());
    let first = app.send(once.clone(), generate("Hello there")).await.unwrap();
    let app = app.restart().await;
    let mut later = caller("ann");
    later.idempotency_key = Some("once".to_owned());
    let mut again = app.send(later, generate("Hello there")).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_ne!(again.answer.request_id, first.answer.request_id);
    again.answer.request_id.clone_from(&first.answer.request_id);
    assert_eq!(again.answer, first.answer);
    assert!(app.model.requests().is_empty(), "the model is not called again");
}

#[tokio::test]
async fn an_edited_idempotency_row_gives_nobody_the_answer_of_another() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "Hello there").await.unwrap();
    let mut bob = caller("bob");
    bob.idempotency_key = Some("once".to_owned());
    app.send(bob.clone(), generate("Hello there")).await.unwrap();
    for edit in ["position = 2, ended_position = 3", "step = 1"] {
        app.database().execute(&format!("UPDATE idempotency SET {edit}")).await.unwrap();
        let error = app.send(bob.clone(), generate("Hello there")).await.unwrap_err().to_string();
        assert!(error.contains("events of another step"), "{error}");
    }
}
