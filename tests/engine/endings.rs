//! Every admitted step has exactly one ending, whatever the model or the client does.

use std::{sync::Arc, time::Duration};

use mlsdm::{
    domain::{
        event::{Event, FailStage, MemoryOutcome, NotStoredReason, StepCompleted, StepFailed},
        ids::EngineId,
    },
    engine::{Settings, StepError},
    llm::LlmError,
    store::{StoreError, codec, faults::Fault},
    testkit::app::{NOTED, Reaction, TestApp, TestSetup},
};
use tokio::sync::Notify;

/// The newest event.
async fn last(app: &TestApp) -> Event {
    let record = app.log().await.pop().unwrap();
    codec::decode(&record.kind, record.schema_version, &record.payload).unwrap()
}

async fn failed(app: &TestApp) -> StepFailed {
    let event = last(app).await;
    let Event::StepFailed(failed) = event else { panic!("{event:?}") };
    *failed
}

async fn completed(app: &TestApp) -> StepCompleted {
    let event = last(app).await;
    let Event::StepCompleted(completed) = event else { panic!("{event:?}") };
    *completed
}

async fn memory_size(app: &TestApp) -> usize {
    app.engine().await.view().state.lattice.len()
}

async fn failure_of(app: &TestApp) -> (FailStage, String) {
    let error = app.ask("ann", "Hello there").await.unwrap_err();
    let StepError::Failed { stage, code, .. } = error else { panic!("{error}") };
    (stage, code)
}

#[tokio::test]
async fn a_failure_of_the_model_fails_the_step() {
    let app = TestApp::sqlite().await;
    let unavailable = LlmError::Unavailable { code: "refused" };
    app.model.script([Reaction::Fail(unavailable), Reaction::Fail(LlmError::Timeout)]);
    assert_eq!(failure_of(&app).await, (FailStage::Llm, "refused".to_owned()));
    let event = failed(&app).await;
    assert_eq!((event.stage, event.code.as_str(), event.attempts), (FailStage::Llm, "refused", 1));
    assert_eq!(failure_of(&app).await, (FailStage::Llm, "timeout".to_owned()));
    assert_eq!(failed(&app).await.code, "timeout");
    assert_eq!(memory_size(&app).await, 0);
    let view = app.engine().await.view();
    assert_eq!((view.state.counts.failed, view.state.open.size()), (2, 0));
}

#[tokio::test]
async fn a_model_that_hangs_fails_the_step_at_its_deadline() {
    let app = TestApp::sqlite().await;
    app.model.script([Reaction::Hang]);
    let pass = async {
        app.model.asked(1).await;
        tokio::time::pause();
        tokio::time::advance(Settings::default().timeout).await;
        tokio::time::resume();
    };
    let (failure, ()) = tokio::join!(failure_of(&app), pass);
    assert_eq!(failure, (FailStage::Llm, "timeout".to_owned()));
    assert_eq!(failed(&app).await.code, "timeout");
}

#[tokio::test]
async fn a_blank_answer_is_a_failure() {
    let app = TestApp::sqlite().await;
    app.model.script(["", " \n\t "].map(|text| Reaction::Say(text.to_owned())));
    for _ in 0..2 {
        assert_eq!(failure_of(&app).await.0, FailStage::EmptyResponse);
        let event = failed(&app).await;
        assert_eq!((event.stage, event.usage.completion_tokens), (FailStage::EmptyResponse, 11));
    }
    assert_eq!(memory_size(&app).await, 0);
}

#[tokio::test]
async fn an_answer_above_the_size_limit_is_cut_at_a_character_boundary() {
    const LIMIT: usize = 256 * 1024;
    let settings = Settings { answer_bytes: LIMIT, ..Settings::default() };
    let app = TestApp::sqlite_with(TestSetup { settings, ..TestSetup::default() }).await;
    let exact = "ab ".repeat(LIMIT / 3) + "x";
    assert_eq!(exact.len(), LIMIT);
    // 'ä' has two bytes, so the limit falls within a character
    let over = format!("x{}", "ä".repeat(LIMIT));
    app.model.script([Reaction::Say(exact.clone()), Reaction::Say(over.clone())]);
    assert_eq!(app.ask("ann", "Go on").await.unwrap().answer.response, exact);
    let event = completed(&app).await;
    assert_eq!((event.cut, event.finish_reason.as_str()), (false, "stop"));
    let response = app.ask("ann", "Go on").await.unwrap().answer.response;
    assert_eq!(response.len(), LIMIT - 1);
    assert!(over.starts_with(&response));
    let event = completed(&app).await;
    assert_eq!((event.cut, event.finish_reason.as_str()), (true, "length"));
}

#[tokio::test]
async fn a_looping_answer_is_returned_but_not_remembered() {
    let app = TestApp::sqlite().await;
    let looping = "yes ".repeat(30);
    app.model.script([Reaction::Say(looping.clone())]);
    let response = app.ask("ann", "Are you there?").await.unwrap();
    assert_eq!(response.answer.response, looping);
    let event = completed(&app).await;
    assert_eq!(event.quality, ["looping"]);
    assert_eq!(event.memory, MemoryOutcome::NotStored { why: NotStoredReason::Looping });
    assert_eq!(memory_size(&app).await, 0);
    app.ask("ann", "Are you there?").await.unwrap();
    assert_eq!(memory_size(&app).await, 1);
}

#[tokio::test]
async fn an_uncertain_answer_is_returned_but_not_remembered() {
    let app = TestApp::sqlite().await;
    let uncertain = "Maybe, perhaps, possibly. I think it could be.";
    app.model.script([Reaction::Say(uncertain.to_owned())]);
    assert_eq!(app.ask("ann", "Is it?").await.unwrap().answer.response, uncertain);
    let event = completed(&app).await;
    assert_eq!(event.memory, MemoryOutcome::NotStored { why: NotStoredReason::Confidence });
    assert_eq!(memory_size(&app).await, 0);
}

#[tokio::test]
async fn a_disconnected_client_cancels_the_step() {
    let app = TestApp::sqlite().await;
    app.model.script([Reaction::Hang]);
    {
        let step = app.ask("ann", "Hello there");
        tokio::select! {
            _ = step => panic!("the model hangs"),
            () = app.model.asked(1) => {}
        }
    }
    let mut views = app.engine().await.views();
    views.wait_for(|view| view.state.counts.failed == 1).await.unwrap();
    let event = failed(&app).await;
    assert_eq!((event.stage, event.code.as_str()), (FailStage::Cancelled, "client_gone"));
    assert_eq!(memory_size(&app).await, 0);
}

#[tokio::test]
async fn the_answer_to_an_abandoned_step_is_discarded() {
    let app = TestApp::sqlite().await;
    let allowed = Arc::new(Notify::new());
    app.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let late = async {
        let error = app.ask("ann", "Hello there").await.unwrap_err();
        assert!(matches!(error, StepError::TooLate { step: 1 }), "{error}");
    };
    let clock = async {
        app.model.asked(1).await;
        let settings = Settings::default();
        // at the deadline, and just after it
        app.pass(settings.total_timeout + settings.grace);
        app.engines.abandon_expired().await;
        assert_eq!(app.kinds().await.last().unwrap(), "step.admitted");
        app.pass(Duration::from_micros(1));
        app.engines.abandon_expired().await;
        let event = failed(&app).await;
        assert_eq!((event.stage, event.code.as_str()), (FailStage::Abandoned, "deadline"));
        allowed.notify_one();
    };
    tokio::join!(late, clock);
    assert_eq!(app.kinds().await, ["engine.created", "step.admitted", "step.failed"]);
    assert_eq!(memory_size(&app).await, 0);
}

#[tokio::test]
async fn a_step_that_cannot_be_abandoned_does_not_keep_the_others_open() {
    let app = TestApp::sqlite().await;
    let never = Arc::new(Notify::new());
    app.model.script([1, 2].map(|_| Reaction::SayAfter(Arc::clone(&never), NOTED.to_owned())));
    let closing = async {
        app.model.asked(2).await;
        let settings = Settings::default();
        app.pass(settings.total_timeout + settings.grace + Duration::from_micros(1));
        app.faults.plan([Fault::Insert(StoreError::Other("injected".to_owned()))]);
        app.engines.abandon_expired().await;
        assert!(app.faults.all_happened());
        let open: Vec<_> = app.engine().await.view().state.open.keys().copied().collect();
        assert!(!open.contains(&2), "{open:?}");
    };
    tokio::select! {
        answer = app.ask("ann", "Hello there") => panic!("the model does not answer: {answer:?}"),
        answer = app.ask("bob", "Hello there") => panic!("the model does not answer: {answer:?}"),
        () = closing => {}
    }
}

#[tokio::test]
async fn a_deadline_passes_although_the_clock_was_set_back() {
    let app = TestApp::sqlite().await;
    let allowed = Arc::new(Notify::new());
    app.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let late = async { app.ask("ann", "Hello there").await.unwrap_err() };
    let clock = async {
        app.model.asked(1).await;
        app.set_clock_back(Duration::from_hours(1));
        let settings = Settings::default();
        app.pass(settings.total_timeout + settings.grace);
        app.engines.abandon_expired().await;
        assert_eq!(app.kinds().await.last().unwrap(), "step.admitted");
        app.pass(Duration::from_micros(1));
        app.engines.abandon_expired().await;
        assert_eq!(failed(&app).await.code, "deadline");
        allowed.notify_one();
    };
    let (error, ()) = tokio::join!(late, clock);
    assert!(matches!(error, StepError::TooLate { step: 1 }), "{error}");
}

#[tokio::test]
async fn running_steps_end_after_a_shutdown() {
    let app = TestApp::sqlite().await;
    let allowed = Arc::new(Notify::new());
    app.model.script([Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned())]);
    let running = async { app.ask("ann", "Hello there").await.unwrap() };
    let operator = async {
        app.model.asked(1).await;
        let act = mlsdm::domain::command::Intervene {
            actor: "operator".to_owned(),
            reason: "drill".to_owned(),
        };
        let engine = app.engines.get(&EngineId::default()).await.unwrap();
        let first = engine.shutdown(act.clone()).await.unwrap();
        let again = engine.shutdown(act).await.unwrap();
        assert_eq!(first.position, again.position, "the second shutdown records nothing");
        let refused = app.ask("ann", "Me too").await.unwrap_err();
        assert!(refused.to_string().contains("drill"), "{refused}");
        allowed.notify_one();
    };
    let (response, ()) = tokio::join!(running, operator);
    assert_eq!(response.answer.response, NOTED);
    assert_eq!(app.engine().await.view().state.step, 1);
}
