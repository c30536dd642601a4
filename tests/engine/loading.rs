//! Engines are loaded on request and unloaded when they are idle.

use std::{sync::Arc, time::Duration};

use mlsdm::{
    domain::{command::Intervene, digest, ids::EngineId, policy::Policy},
    engine::{EngineError, Settings, step},
    store::{StoreError, faults::Fault},
    testkit::{
        app::{NOTED, Reaction, TestApp, TestSetup, caller, generate},
        eventually,
    },
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

/// Every engine that is not in use is idle at once.
fn evicting() -> TestSetup {
    small(Settings { idle_evict: Duration::ZERO, ..Settings::default() })
}

#[tokio::test]
async fn an_unloaded_engine_is_loaded_with_the_same_state() {
    let app = TestApp::sqlite_with(evicting()).await;
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
async fn an_engine_that_is_shut_down_stays_loaded_until_it_is_resumed() {
    let app = TestApp::sqlite_with(evicting()).await;
    let act = || Intervene { actor: "ops".to_owned(), reason: "a test".to_owned() };
    app.engine().await.shutdown(act()).await.unwrap();
    app.engines.unload_idle();
    assert_eq!(app.engines.in_memory().len(), 1);
    app.engine().await.resume(act()).await.unwrap();
    app.engines.unload_idle();
    assert!(app.engines.in_memory().is_empty());
}

#[tokio::test]
async fn an_engine_in_use_stays_loaded() {
    let app = TestApp::sqlite_with(evicting()).await;
    // a request holds the engine between its lookup and its first event
    let engine = app.engine().await;
    app.engines.unload_idle();
    assert_eq!(app.engines.in_memory().len(), 1);
    let alive = CancellationToken::new();
    let response =
        step::run(&engine, &caller("ann"), &generate("Hello there"), None, &alive).await.unwrap();
    drop(engine);
    app.engines.unload_idle();
    assert!(app.engines.in_memory().is_empty());
    assert_eq!(app.kinds().await, ["engine.created", "step.admitted", "step.completed"]);
    assert_eq!(response.answer.position, 3);
}

#[tokio::test]
async fn an_engine_with_a_running_step_stays_loaded() {
    let app = TestApp::sqlite_with(evicting()).await;
    let allowed = Arc::new(Notify::new());
    app.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let running = async { app.ask("ann", "Hello there").await.unwrap() };
    let housekeeping = async {
        app.model.asked(1).await;
        app.engines.unload_idle();
        assert_eq!(app.engines.in_memory().len(), 1);
        allowed.notify_one();
    };
    let (response, ()) = tokio::join!(running, housekeeping);
    assert_eq!(response.answer.response, NOTED);
}

#[tokio::test]
async fn above_the_memory_budget_the_least_recently_used_engines_are_unloaded() {
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
    assert_eq!(app.engines.in_memory().len(), 4, "including the default engine");
    app.engines.unload_idle();
    let left: Vec<String> = app.engines.in_memory().iter().map(|e| e.id().to_string()).collect();
    assert_eq!(left, ["third"], "one engine stays loaded even if it exceeds the budget");
    for (id, before) in ["first", "second", "third"].into_iter().zip(digests) {
        let engine = app.engines.get(&name(id)).await.unwrap();
        assert_eq!(digest::state(&engine.view().state), before);
    }
}

#[tokio::test]
async fn within_the_memory_budget_all_engines_stay_loaded() {
    let app = TestApp::sqlite_with(small(Settings::default())).await;
    app.ask("ann", "Hello there").await.unwrap();
    app.engines.unload_idle();
    assert_eq!(app.engines.in_memory().len(), 1);
}

#[tokio::test]
async fn concurrent_callers_load_an_engine_once() {
    let app = TestApp::sqlite_with(evicting()).await;
    app.ask("ann", "Hello there").await.unwrap();
    app.engines.unload_idle();
    let id = EngineId::default();
    let (a, b, c) = tokio::join!(app.engines.get(&id), app.engines.get(&id), app.engines.get(&id));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&b, &c));
}

/// If the first of two concurrent loads fails, later callers share the engine of the second. Two
/// instances would abandon each other's steps.
#[tokio::test]
async fn a_failed_load_does_not_lead_to_two_instances_of_an_engine() {
    let app = TestApp::sqlite_with(small(Settings::default())).await;
    orphan(&app).await;
    let app = app.restart().await;
    let unavailable = StoreError::Unavailable("injected".to_owned());
    // occurs when the open step is abandoned
    app.faults.plan([Fault::Begin(unavailable)]);
    let id = EngineId::default();
    let (failed, loaded) = tokio::join!(app.engines.get(&id), app.engines.get(&id));
    assert!(app.faults.all_happened());
    assert!(matches!(failed.err().unwrap(), EngineError::Write(_)));
    let (loaded, later) = (loaded.unwrap(), app.engines.get(&id).await.unwrap());
    assert!(Arc::ptr_eq(&loaded, &later));
    assert_eq!(later.view().state.open.size(), 0);
}

/// A request has a limit; a long log would never be loaded if each began the replay anew.
#[tokio::test]
async fn a_load_goes_on_after_its_caller_has_left() {
    let app = TestApp::sqlite_with(small(Settings::default())).await;
    orphan(&app).await;
    let app = app.restart().await;
    // at the abandonment of the open step
    app.faults.hold();
    let (id, begun) = (EngineId::default(), app.faults.begun());
    tokio::select! {
        _ = app.engines.get(&id) => panic!("the load is held"),
        () = app.faults.begun_after(begun) => {}
    }
    assert!(app.engines.in_memory().is_empty());
    app.faults.release();
    eventually("the end of the load", async || match app.engines.in_memory().len() {
        0 => Err("it is not loaded"),
        _ => Ok(()),
    })
    .await;
    assert_eq!(app.engine().await.view().state.open.size(), 0);
}
