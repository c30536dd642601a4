//! A restart finds the state as it was, and closes what nobody can end any more.

use mlsdm::{
    domain::{digest, event::Event},
    engine::step,
    store::codec,
    testkit::app::{Reaction, TestApp, caller, generate},
};
use tokio_util::sync::CancellationToken;

/// Leaves a step open as a killed process does: its future is never run to its end.
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

async fn busy(app: &TestApp) {
    for i in 0..20 {
        let mut request = generate(&format!("Prompt number {i} about topic {}", i % 4));
        request.moral_value = Some(if i % 6 == 5 { 0.2 } else { 0.9 });
        if i % 7 == 3 {
            app.model.script([Reaction::Say(String::new())]);
        }
        // some are refused, some fail
        drop(app.send(caller(&format!("person {}", i % 3)), request).await);
    }
}

async fn comes_back_equal(app: TestApp) {
    busy(&app).await;
    let (before, chain) = (app.digest().await, app.engine().await.view().chain_hash);
    let traces = digest::traces(app.engine().await.view().state.traces.as_ref());
    let app = app.restart().await;
    let view = app.engine().await.view();
    assert_eq!(app.digest().await, before);
    assert_eq!(view.chain_hash, chain);
    assert_eq!(digest::traces(view.state.traces.as_ref()), traces);
    assert!(traces.is_some());
    // and it goes on from there
    let told = app.ask("person 1", "One more").await.unwrap();
    assert_eq!(told.answer.step, 21);
}

#[tokio::test]
async fn sqlite_comes_back_equal() {
    comes_back_equal(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn postgres_comes_back_equal() {
    comes_back_equal(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_sole_owner_closes_orphans_when_it_starts() {
    let app = TestApp::sqlite().await;
    orphan(&app).await;
    let app = app.restart().await;
    assert_eq!(app.engine().await.view().state.open.size(), 0);
    let record = app.log().await.pop().unwrap();
    let event = codec::decode(&record.kind, record.schema_version, &record.payload).unwrap();
    let Event::StepFailed(failed) = event else { panic!("{event:?}") };
    assert_eq!(failed.code, "sole_owner");
    // once
    let length = app.log().await.len();
    let app = app.restart().await;
    app.engine().await;
    assert_eq!(app.log().await.len(), length);
}

#[tokio::test]
async fn a_replica_leaves_open_steps_to_their_deadline() {
    let app = TestApp::postgres().await;
    orphan(&app).await;
    let app = app.restart().await;
    assert_eq!(app.engine().await.view().state.open.size(), 1);
    app.engines.abandon_expired().await;
    assert_eq!(app.engine().await.view().state.open.size(), 1);
    app.pass(std::time::Duration::from_secs(61));
    app.engines.abandon_expired().await;
    assert_eq!(app.engine().await.view().state.open.size(), 0);
    assert_eq!(app.kinds().await.last().unwrap(), "step.failed");
}

#[tokio::test]
async fn a_key_outlives_a_restart() {
    let app = TestApp::sqlite().await;
    let mut once = caller("ann");
    once.idempotency_key = Some("once".to_owned());
    let first = app.send(once.clone(), generate("Hello there")).await.unwrap();
    let app = app.restart().await;
    let again = app.send(once, generate("Hello there")).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(again.answer, first.answer);
    assert!(app.model.requests().is_empty(), "no second call");
}
