//! Steps with an embedder that is slow, that fails, or that differs from the engine's.

use std::{future::pending, sync::Arc};

use mlsdm::{
    domain::{
        event::{Event, FailStage},
        policy::{EmbedderId, Policy},
    },
    embed::{EmbedError, Embedder, Function, hashing},
    engine::{EngineError, Settings, StepError},
    store::codec,
    testkit::app::{TestApp, TestSetup},
};
use tokio::sync::Notify;

const DIMENSION: usize = 8;

/// Engines with a function as embedder.
fn with(function: Function) -> TestSetup {
    let embedder = EmbedderId { id: "own".to_owned(), version: 1 };
    TestSetup {
        policy: Policy { dimension: DIMENSION, embedder, ..Policy::default() },
        embedder: Embedder::function("own", 1, DIMENSION, function).cached(1 << 20),
        ..TestSetup::default()
    }
}

/// Yields once before it answers, as an embedder on the network does.
fn slow() -> Function {
    Arc::new(|text| {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(hashing::embed(&text, DIMENSION))
        })
    })
}

async fn failed(app: &TestApp) -> String {
    let error = app.ask("ann", "a secret question").await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    let StepError::Failed { stage: FailStage::Embedding, code, .. } = error else {
        panic!("{error}")
    };
    let record = app.log().await.pop().unwrap();
    let event = codec::decode(&record.kind, record.schema_version, &record.payload).unwrap();
    let Event::StepFailed(event) = event else { panic!("{event:?}") };
    assert_eq!((event.stage, event.attempts, &event.code), (FailStage::Embedding, 0, &code));
    code
}

#[tokio::test]
async fn a_slow_embedder_finds_memories() {
    let app = TestApp::sqlite_with(with(slow())).await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    app.ask("ann", "My dog is called Rex").await.unwrap();
    assert!(app.model.requests()[1].messages[0].text.contains("<remembered>"));
    let before = app.digest().await;
    assert_eq!(app.restart().await.digest().await, before);
}

#[tokio::test]
async fn a_failed_embedding_fails_the_step_with_its_code() {
    let error = |error: EmbedError| -> Function {
        Arc::new(move |_| {
            let error = error.clone();
            Box::pin(async move { Err(error) })
        })
    };
    let numbers = |values: &'static [f32]| -> Function {
        Arc::new(move |_| Box::pin(async { Ok(values.to_vec()) }))
    };
    let cases = [
        (error(EmbedError::Unreachable), "unreachable"),
        (error(EmbedError::Busy), "busy"),
        (error(EmbedError::Unavailable { code: "on_strike" }), "on_strike"),
        (numbers(&[1.0; 7]), "dimension"),
        (numbers(&[f32::NAN; 8]), "not_finite"),
        (numbers(&[0.0; 8]), "no_vector"),
    ];
    for (function, code) in cases {
        let app = TestApp::sqlite_with(with(function)).await;
        assert_eq!(failed(&app).await, code);
        assert!(app.model.requests().is_empty());
    }
}

#[tokio::test]
async fn an_embedder_that_hangs_fails_the_step_at_its_deadline() {
    let called = Arc::new(Notify::new());
    let calls = Arc::clone(&called);
    let hanging: Function = Arc::new(move |_| {
        calls.notify_one();
        Box::pin(pending())
    });
    let app = TestApp::sqlite_with(with(hanging)).await;
    let pass = async {
        called.notified().await;
        tokio::time::pause();
        tokio::time::advance(Settings::default().timeout).await;
        tokio::time::resume();
    };
    let (code, ()) = tokio::join!(failed(&app), pass);
    assert_eq!(code, "timeout");
}

#[tokio::test]
async fn loading_an_engine_of_another_embedder_fails_and_names_both() {
    let app = TestApp::sqlite_with(with(slow())).await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    let id = app.engine().await.id().clone();
    let app = app.restart_with(TestSetup::default()).await;
    let Err(error) = app.engines.get(&id).await else { panic!("it was loaded") };
    assert!(matches!(error, EngineError::Embedder { .. }), "{error}");
    let text = error.to_string();
    for name in ["own 1, dimension 8", "hashing 1, dimension 384"] {
        assert!(text.contains(name), "{text}");
    }
    app.restart_with(with(slow())).await.ask("ann", "What is my dog called?").await.unwrap();
}
