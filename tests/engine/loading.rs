//! Engines come into memory when they are wanted and leave it when they are not.

use std::{sync::Arc, time::Duration};

use mlsdm::{
    domain::{command::Intervene, digest, ids::EngineId, policy::Policy},
    engine::{EngineError, Settings, step},
    store::{StoreError, faults::Fault},
    testkit::app::{NOTED, Reaction, TestApp, TestSetup, caller, generate},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::restarts::orphan;

fn name(text: &str) -> EngineId {
    text.parse().unwrap()
}

fn small(settings: Settings) -> TestSetup {
    let policy = Policy { dimension: 16, capacity: 100, ..Policy::default() };
    TestSetup { policy, settings, ..TestSetup::default() }
}

/// Everything not in use is idle at once.
fn forgetful() -> TestSetup {
    small(Settings { idle_evict: Duration::ZERO, ..Settings::default() })
}

#[tokio::test]
async fn an_idle_engine_is_unloaded_and_comes_back_equal() {
    let app = TestApp::sqlite_with(forgetful()).await;
    for i in 0..10 {
        app.ask("ann", &format!("Hello for the {i}th time")).await.unwrap();
    }
    let before = app.digest().await;
    app.engines.unload_idle();
    assert!(app.engines.in_memory().is_empty());
    assert_eq!(app.digest().await, before);
    assert_eq!(app.engines.in_memory().len(), 1);
}

#[tokio::test]
async fn an_engine_that_is_shut_down_stays_until_it_is_resumed() {
    let app = TestApp::sqlite_with(forgetful()).await;
    let act = || Intervene { actor: "ops".to_owned(), reason: "a test".to_owned() };
    app.engine().await.shutdown(act()).await.unwrap();
    app.engines.unload_idle();
    assert_eq!(app.engines.in_memory().len(), 1);
    app.engine().await.resume(act()).await.unwrap();
    app.engines.unload_idle();
    assert!(app.engines.in_memory().is_empty());
}

#[tokio::test]
async fn an_engine_somebody_holds_stays() {
    let app = TestApp::sqlite_with(forgetful()).await;
    // as a request does between finding its engine and its first event
    let engine = app.engine().await;
    app.engines.unload_idle();
    assert_eq!(app.engines.in_memory().len(), 1);
    let alive = CancellationToken::new();
    let told =
        step::run(&engine, &caller("ann"), &generate("Hello there"), None, &alive).await.unwrap();
    drop(engine);
    app.engines.unload_idle();
    assert!(app.engines.in_memory().is_empty());
    assert_eq!(app.kinds().await, ["engine.created", "step.admitted", "step.completed"]);
    assert_eq!(told.answer.position, 3);
}

#[tokio::test]
async fn an_engine_with_a_running_step_stays() {
    let app = TestApp::sqlite_with(forgetful()).await;
    let allowed = Arc::new(Notify::new());
    app.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let running = async { app.ask("ann", "Hello there").await.unwrap() };
    let housekeeping = async {
        app.model.asked(1).await;
        app.engines.unload_idle();
        assert_eq!(app.engines.in_memory().len(), 1);
        allowed.notify_one();
    };
    let (told, ()) = tokio::join!(running, housekeeping);
    assert_eq!(told.answer.response, NOTED);
}

#[tokio::test]
async fn over_the_budget_the_longest_unused_go() {
    let app =
        TestApp::sqlite_with(small(Settings { memory_budget: 1, ..Settings::default() })).await;
    let mut digests = Vec::new();
    for id in ["first", "second", "third"] {
        let policy = Policy { dimension: 16, capacity: 100, ..Policy::default() };
        app.engines.create(&name(id), policy, None, "test").await.unwrap();
        let engine = app.engines.get(&name(id)).await.unwrap();
        let alive = CancellationToken::new();
        step::run(&engine, &caller("ann"), &generate("Hello there"), None, &alive).await.unwrap();
        digests.push(digest::state(&engine.view().state));
    }
    assert_eq!(app.engines.in_memory().len(), 4, "with the default one");
    app.engines.unload_idle();
    let left: Vec<String> = app.engines.in_memory().iter().map(|e| e.id().to_string()).collect();
    assert_eq!(left, ["third"], "one may be too large for the budget: it must be able to work");
    for (id, before) in ["first", "second", "third"].into_iter().zip(digests) {
        let engine = app.engines.get(&name(id)).await.unwrap();
        assert_eq!(digest::state(&engine.view().state), before);
    }
}

#[tokio::test]
async fn within_the_budget_all_stay() {
    let app = TestApp::sqlite_with(small(Settings::default())).await;
    app.ask("ann", "Hello there").await.unwrap();
    app.engines.unload_idle();
    assert_eq!(app.engines.in_memory().len(), 1);
}

#[tokio::test]
async fn callers_at_the_same_time_load_an_engine_once() {
    let app = TestApp::sqlite_with(forgetful()).await;
    app.ask("ann", "Hello there").await.unwrap();
    app.engines.unload_idle();
    let id = EngineId::default();
    let (a, b, c) = tokio::join!(app.engines.get(&id), app.engines.get(&id), app.engines.get(&id));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&b, &c));
}

/// Two ask at once and the first load fails: the second's engine must be everybody's. Two of them
/// would take each other's steps for orphans.
#[tokio::test]
async fn a_failed_load_does_not_make_two_engines_of_one() {
    let app = TestApp::sqlite_with(small(Settings::default())).await;
    orphan(&app).await;
    let app = app.restart().await;
    let away = StoreError::Unavailable("injected".to_owned());
    // met when the orphan is to be closed
    app.faults.plan([Fault::Begin(away)]);
    let id = EngineId::default();
    let (failed, loaded) = tokio::join!(app.engines.get(&id), app.engines.get(&id));
    assert!(app.faults.all_happened());
    assert!(matches!(failed.err().unwrap(), EngineError::Write(_)));
    let (loaded, later) = (loaded.unwrap(), app.engines.get(&id).await.unwrap());
    assert!(Arc::ptr_eq(&loaded, &later));
    assert_eq!(later.view().state.open.size(), 0);
}
