//! Two replicas on one PostgreSQL database.

use std::{sync::Arc, time::Duration};

use mlsdm::{
    domain::event::{Event, FailStage},
    engine::{Caller, Settings, StepError, heartbeat::HeartbeatTask},
    llm::LlmError,
    store::codec,
    testkit::app::{NOTED, Reaction, TestApp, TestSetup, caller, generate},
};
use tokio::sync::Notify;

fn with_key(who: &str) -> Caller {
    Caller { idempotency_key: Some("once".to_owned()), ..caller(who) }
}

async fn two() -> (TestApp, TestApp) {
    let one = TestApp::postgres().await;
    let other = one.replica().await;
    one.engines.start_background();
    other.engines.start_background();
    (one, other)
}

#[tokio::test]
async fn a_repeated_request_on_another_replica_gets_the_same_answer() {
    let (one, other) = two().await;
    let allowed = Arc::new(Notify::new());
    one.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let runs = async { one.send(with_key("ann"), generate("Hello there")).await.unwrap() };
    let waits = async {
        one.model.asked(1).await;
        let ask = |_| other.send(with_key("ann"), generate("Hello there"));
        let waiting = futures_util::future::join_all((0..5).map(ask));
        let release = async {
            // their replica has folded the admission, so the requests wait
            let mut views = other.engine().await.views();
            views.wait_for(|view| view.state.open.size() == 1).await.unwrap();
            allowed.notify_one();
        };
        tokio::join!(waiting, release).0
    };
    let (first, waited) = tokio::join!(runs, waits);
    assert!(!first.replayed);
    for response in waited {
        let mut response = response.unwrap();
        assert!(response.replayed);
        // each request has its own
        response.answer.request_id.clone_from(&first.answer.request_id);
        assert_eq!(response.answer, first.answer);
    }
    assert!(other.model.requests().is_empty());
    assert_eq!(one.model.requests().len(), 1);
    assert_eq!(other.engine().await.view().state.step, 1);
}

#[tokio::test]
async fn a_repeated_request_on_another_replica_gets_the_failure() {
    let (one, other) = two().await;
    let allowed = Arc::new(Notify::new());
    one.model.script([Reaction::SayAfter(Arc::clone(&allowed), " ".to_owned())]);
    let runs = one.send(with_key("ann"), generate("Hello there"));
    let waits = async {
        one.model.asked(1).await;
        let waiting = other.send(with_key("ann"), generate("Hello there"));
        let release = async {
            let mut views = other.engine().await.views();
            views.wait_for(|view| view.state.open.size() == 1).await.unwrap();
            allowed.notify_one();
        };
        tokio::join!(waiting, release).0
    };
    let (first, second) = tokio::join!(runs, waits);
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(
            matches!(error, StepError::Failed { stage: FailStage::EmptyResponse, step: 1, .. }),
            "{error}"
        );
    }
    // an empty answer keeps its idempotency key, a failure of the model releases it
    let again = other.send(with_key("ann"), generate("Hello there")).await;
    assert!(matches!(again, Err(StepError::Failed { step: 1, .. })));
    other.model.script([Reaction::Fail(LlmError::Timeout)]);
    let failed = other.send(with_key("bob"), generate("Hello there")).await;
    assert!(matches!(failed, Err(StepError::Failed { step: 2, .. })));
    let response = one.send(with_key("bob"), generate("Hello there")).await.unwrap();
    assert!(!response.replayed);
    assert_eq!(response.answer.step, 3);
}

#[tokio::test]
async fn a_repeated_request_fails_at_its_deadline_while_the_first_is_running() {
    let one = TestApp::postgres().await;
    let allowed = Arc::new(Notify::new());
    one.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let settings = Settings { total_timeout: Duration::ZERO, ..Settings::default() };
    let setup = TestSetup { settings, ..TestSetup::default() };
    let other = one.replica_with(setup).await;
    let runs = one.send(with_key("ann"), generate("Hello there"));
    let waits = async {
        one.model.asked(1).await;
        let refused = other.send(with_key("ann"), generate("Hello there")).await.unwrap_err();
        assert!(matches!(refused, StepError::StillRunning), "{refused}");
        allowed.notify_one();
    };
    let (response, ()) = tokio::join!(runs, waits);
    assert_eq!(response.unwrap().answer.response, NOTED);
    assert!(other.model.requests().is_empty());
}

#[tokio::test]
async fn replicas_follow_each_other_to_the_same_state() {
    let (one, other) = two().await;
    for i in 0..10 {
        one.ask("ann", &format!("From one, {i}")).await.unwrap();
        other.ask("bob", &format!("From the other, {i}")).await.unwrap();
    }
    let head = one.log().await.len() as u64;
    for app in [&one, &other] {
        let mut views = app.engine().await.views();
        views.wait_for(|view| view.state.position == head).await.unwrap();
    }
    assert_eq!(one.digest().await, other.digest().await);
    // a memory of one replica is context on the other
    one.ask("ann", "My dog is called Rex").await.unwrap();
    let head = one.log().await.len() as u64;
    let mut views = other.engine().await.views();
    views.wait_for(|view| view.state.position == head).await.unwrap();
    other.ask("ann", "What is my dog called?").await.unwrap();
    let messages = other.model.requests().pop().unwrap().messages;
    assert!(messages[0].text.contains("My dog is called Rex"));
}

#[tokio::test]
async fn a_running_step_of_another_replica_is_not_abandoned() {
    let (one, other) = two().await;
    let allowed = Arc::new(Notify::new());
    one.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let runs = async { one.ask("ann", "Hello there").await.unwrap() };
    let checks = async {
        one.model.asked(1).await;
        let mut views = other.engine().await.views();
        views.wait_for(|view| view.state.open.size() == 1).await.unwrap();
        other.engines.abandon_expired().await;
        let third = one.replica().await;
        third.engines.abandon_expired().await;
        assert_eq!(third.engine().await.view().state.open.size(), 1);
        allowed.notify_one();
    };
    let (response, ()) = tokio::join!(runs, checks);
    assert!(response.answer.accepted);
}

/// A running step of `one`, and an `other` replica that sees it; `during` gets their heartbeat tasks.
async fn during_a_step(during: impl AsyncFnOnce(&TestApp, &TestApp, HeartbeatTask, HeartbeatTask)) {
    // without background tasks, whose heartbeats would follow real time
    let one = TestApp::postgres().await;
    let other = one.replica().await;
    let allowed = Arc::new(Notify::new());
    one.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let runs = async {
        // discarded if the step was closed
        drop(one.ask("ann", "Hello there").await);
    };
    let checks = async {
        one.model.asked(1).await;
        assert_eq!(other.engine().await.view().state.open.size(), 1);
        during(&one, &other, HeartbeatTask::new(&one.engines), HeartbeatTask::new(&other.engines))
            .await;
        allowed.notify_one();
    };
    tokio::join!(runs, checks);
}

const BEAT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_open_step_of_a_replica_without_a_heartbeat_is_closed() {
    Box::pin(during_a_step(async |one, other, mut dying, mut heart| {
        assert!(dying.beat().await && heart.beat().await);
        for _ in 0..3 {
            one.pass(BEAT);
            assert!(heart.beat().await);
        }
        assert_eq!(other.kinds().await.last().unwrap(), "step.admitted", "30 s are not over");
        one.pass(Duration::from_micros(1));
        assert!(heart.beat().await);
        let mut views = other.engine().await.views();
        views.wait_for(|view| view.state.counts.failed == 1).await.unwrap();
        let record = other.log().await.pop().unwrap();
        let event = codec::decode(&record.kind, record.schema_version, &record.payload).unwrap();
        let Event::StepFailed(failed) = event else { panic!("{event:?}") };
        assert_eq!(failed.code, "replica_gone");
    }))
    .await;
}

#[tokio::test]
async fn the_open_step_of_a_live_replica_is_not_closed() {
    Box::pin(during_a_step(async |one, other, mut live, mut heart| {
        for round in 0..10 {
            assert!(live.beat().await && heart.beat().await);
            // within the deadline of the step
            one.pass(BEAT / 2);
            if round == 5 {
                one.set_clock_back(Duration::from_hours(1));
            }
        }
        assert_eq!(other.kinds().await.last().unwrap(), "step.admitted");
    }))
    .await;
}

#[tokio::test]
async fn an_outage_of_the_database_closes_no_step() {
    Box::pin(during_a_step(async |one, other, mut live, mut heart| {
        assert!(live.beat().await && heart.beat().await);
        // nobody was able to write a heartbeat
        one.pass(Duration::from_secs(50));
        assert!(heart.beat().await && live.beat().await && heart.beat().await);
        assert_eq!(other.kinds().await.last().unwrap(), "step.admitted");
    }))
    .await;
}
